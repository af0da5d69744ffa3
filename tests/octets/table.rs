//! The tables of messages: text in, octets and what is expected of them out.
//!
//! A line at the margin says the section of the RFC, the answer and the reason; the indented lines below it are
//! the messages. `tests/octets/README.md` says what words a message is made of.

use namegate::front::Transport;
use namegate::wire::Rcode;

use crate::support::{client, text};

/// One message and what should come of it.
pub(super) struct Case {
    /// Where it stands, and its words.
    pub(super) place: String,
    pub(super) octets: Vec<u8>,
    pub(super) expected: Expected,
}

/// What should come of a message.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    /// None: silence.
    pub(super) rcode: Option<Rcode>,
    /// Is there an OPT in the reply?
    pub(super) opt: bool,
    /// Is the question?
    pub(super) question: bool,
    pub(super) answers: u16,
    /// Does it go upstream?
    pub(super) sent: bool,
    /// TC, over UDP.
    pub(super) truncated: bool,
    over: Option<Transport>,
}

impl Expected {
    pub(super) fn is_over(&self, transport: Transport) -> bool {
        self.over.is_none_or(|over| over == transport)
    }

    fn read(words: &str) -> Self {
        let mut expected = Self {
            rcode: None,
            opt: false,
            question: true,
            answers: 0,
            sent: false,
            truncated: false,
            over: None,
        };
        for word in words.split_whitespace() {
            match word.split_once('=').unwrap_or((word, "")) {
                ("udp", _) => expected.over = Some(Transport::Udp),
                ("tcp", _) => expected.over = Some(Transport::Tcp),
                ("opt", _) => expected.opt = true,
                ("sent", _) => expected.sent = true,
                ("tc", _) => expected.truncated = true,
                ("qd", _) => expected.question = false,
                ("an", count) => expected.answers = number(count),
                ("silence", _) => {}
                (code, _) => expected.rcode = Some(rcode(code)),
            }
        }
        expected
    }
}

fn rcode(word: &str) -> Rcode {
    let all = (0..=23).map(Rcode);
    all.into_iter()
        .find(|it| it.name() == Some(word))
        .unwrap_or_else(|| panic!("no code is {word}"))
}

fn number(word: &str) -> u16 {
    word.parse().unwrap_or_else(|_| panic!("no number: {word}"))
}

/// A block's head and its rows: the head says section, answer and reason.
pub(super) struct Block<'a> {
    pub(super) answer: &'a str,
    pub(super) rows: Vec<String>,
}

/// The blocks of a table, the braces of their rows spread out. Each head names its section.
pub(super) fn blocks(table: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    for line in table
        .lines()
        .map(|it| it.split(" # ").next().unwrap_or_default().trim_end())
    {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with(' ') {
            let block = blocks.last_mut().expect("a row has a head above it");
            block.rows.extend(spread(line.trim()));
            continue;
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [section, answer, reason] = cells[..] else {
            panic!("three cells make a head: {line}")
        };
        assert!(
            section.contains('§') || section.starts_with("SPEC") && !reason.is_empty(),
            "no section: {line}"
        );
        blocks.push(Block {
            answer,
            rows: Vec::new(),
        });
    }
    blocks
}

/// Reads a table. Every message has an id of its own.
pub(super) fn read(table: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    for block in blocks(table) {
        let expected = Expected::read(block.answer);
        for row in block.rows {
            let id = 0x1000 + u16::try_from(cases.len()).expect("a table is not as long");
            let octets = message(id, &row);
            cases.push(Case {
                place: format!("`{row}`"),
                octets,
                expected: expected.clone(),
            });
        }
    }
    cases
}

/// `a{1,3..5}b` as `a1b`, `a3b`, `a4b`, `a5b`; `0x` in front of a bound makes the numbers hexadecimal, as wide as it is.
fn spread(row: &str) -> Vec<String> {
    let Some((before, rest)) = row.split_once('{') else {
        return vec![row.to_owned()];
    };
    let (inside, after) = rest.split_once('}').expect("a brace is closed");
    let tails = spread(after);
    let items = inside.split(',').flat_map(numbers);
    items
        .flat_map(|item| {
            tails
                .iter()
                .map(move |tail| format!("{before}{item}{tail}"))
        })
        .collect()
}

fn numbers(item: &str) -> Vec<String> {
    let Some((from, to)) = item.split_once("..") else {
        return vec![item.to_owned()];
    };
    match (from.strip_prefix("0x"), to.strip_prefix("0x")) {
        (Some(from), Some(to)) => {
            let value =
                |digits: &str| u32::from_str_radix(digits, 16).expect("a hexadecimal number");
            (value(from)..=value(to))
                .map(|it| format!("{it:0width$x}", width = from.len()))
                .collect()
        }
        _ => (number(from)..=number(to))
            .map(|it| it.to_string())
            .collect(),
    }
}

/// The message that a row's words make.
pub(super) fn message(id: u16, row: &str) -> Vec<u8> {
    let (mut flags, mut opcode, mut counts, mut cut) = (0x0100, 0, [None; 4], usize::MAX);
    let (mut body, mut opts, mut is_raw) = (Vec::new(), 0, false);
    for word in row.split_whitespace() {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        match key {
            "raw" => is_raw = true,
            "cut" => cut = usize::from(number(value)),
            "flags" => flags = u16::from_str_radix(value, 16).expect("sixteen bits"),
            "opcode" => opcode = number(value) << 11,
            "qd" | "an" | "ns" | "ar" => {
                let at = ["qd", "an", "ns", "ar"].iter().position(|it| *it == key);
                counts[at.expect("one of the four")] = Some(number(value));
            }
            "q" => body.extend(question(if value.is_empty() {
                "GitHub.com:1"
            } else {
                value
            })),
            "label" => body.extend(
                [
                    &[number(value).to_be_bytes()[1]][..],
                    &vec![b'a'; number(value).into()],
                ]
                .concat(),
            ),
            "opt" => {
                opts += 1;
                body.extend(opt(value));
            }
            "option" => body.extend(option(value)),
            "record" => body.extend(
                [
                    &[0xC0, 12],
                    &number(value).to_be_bytes()[..],
                    b"\0\x01\0\0\0\0\0\x04\x01\x02\x03\x04",
                ]
                .concat(),
            ),
            _ => body.extend(client::octets(word)),
        }
    }
    if is_raw {
        return body;
    }
    let [qd, an, ns, ar] = counts;
    let counts = [
        qd.unwrap_or(1),
        an.unwrap_or(0),
        ns.unwrap_or(0),
        ar.unwrap_or(opts),
    ];
    let mut octets = [&[id, flags | opcode][..], &counts]
        .concat()
        .iter()
        .flat_map(|it| it.to_be_bytes())
        .collect::<Vec<_>>();
    octets.extend(body);
    octets.truncate(cut);
    octets
}

/// `NAME:TYPE[:CLASS]`
fn question(said: &str) -> Vec<u8> {
    let parts: Vec<&str> = said.split(':').collect();
    let class = parts.get(2).map_or(1, |it| number(it));
    [
        &text::name(parts[0])[..],
        &number(parts[1]).to_be_bytes(),
        &class.to_be_bytes(),
    ]
    .concat()
}

/// `payload:1232,version:0,…`; what is not said is that of an OPT without options. `rdlen` is what it says of its length.
fn opt(said: &str) -> Vec<u8> {
    let (mut owner, mut payload, mut rcode, mut version, mut flags) = (vec![0], 1232, 0, 0, 0);
    let (mut data, mut rdlen) = (Vec::new(), None);
    for part in said.split(',').filter(|it| !it.is_empty()) {
        let (key, value) = part.split_once(':').expect("a word and its value");
        match key {
            "owner" => owner = client::octets(value),
            "payload" => payload = number(value),
            "rcode" => rcode = u8::try_from(number(value)).expect("an octet"),
            "version" => version = u8::try_from(number(value)).expect("an octet"),
            "flags" => flags = u16::from_str_radix(value, 16).expect("sixteen bits"),
            "data" => data.extend(client::octets(value)),
            "option" => data.extend(option(value)),
            "rdlen" => rdlen = Some(number(value)),
            other => panic!("an OPT has no {other}"),
        }
    }
    let len = rdlen.unwrap_or_else(|| u16::try_from(data.len()).expect("short data"));
    let fixed = [
        &payload.to_be_bytes()[..],
        &[rcode, version],
        &u16::to_be_bytes(flags),
        &len.to_be_bytes(),
    ]
    .concat();
    [&owner, &[0, 41][..], &fixed, &data].concat()
}

/// `CODE/OCTETS`, with the length of the octets; `CODE/LENGTH/OCTETS` with that one.
fn option(said: &str) -> Vec<u8> {
    let parts: Vec<&str> = said.split('/').collect();
    let octets = client::octets(parts.last().expect("there is always one"));
    let length = if parts.len() == 3 {
        number(parts[1])
    } else {
        u16::try_from(octets.len()).expect("a short option")
    };
    [
        &number(parts[0]).to_be_bytes()[..],
        &length.to_be_bytes(),
        &octets,
    ]
    .concat()
}

/// Where the question of a message ends whose name is written out.
pub(super) fn question_end(octets: &[u8]) -> usize {
    let mut at = 12;
    while octets.get(at).is_some_and(|len| *len != 0) {
        at += usize::from(octets[at]) + 1;
    }
    at + 5
}

/// Where the OPT begins that is a reply's last record. Ours have no more than one option, an extended error.
pub(super) fn opt_at_end(reply: &[u8]) -> Option<usize> {
    let is_opt = |at: &usize| {
        let fixed = &reply[*at..];
        let len = |it: &[u8]| usize::from(u16::from_be_bytes([it[9], it[10]]));
        fixed.starts_with(&[0, 0, 41]) && fixed.len() >= 11 && fixed.len() == 11 + len(fixed)
    };
    (12..reply.len().saturating_sub(10)).find(is_opt)
}

#[test]
fn a_row_is_spread_and_put_together() {
    assert_eq!(
        spread("a{1,3..4}b{0x0a..0x0b}"),
        ["a1b0a", "a1b0b", "a3b0a", "a3b0b", "a4b0a", "a4b0b"]
    );
    assert_eq!(
        message(0xBEEF, "qd=2 q=a:28:3 cut=18"),
        b"\xBE\xEF\x01\0\0\x02\0\0\0\0\0\0\x01a\0\0\x1C\0"
    );
    assert_eq!(
        message(0, "raw opt=version:1,option:10/1/0000"),
        b"\0\0\x29\x04\xD0\0\x01\0\0\0\x06\0\x0A\0\x01\0\0"
    );
}
