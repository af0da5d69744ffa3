//! The resolvers of a story: what they know, how they misbehave, and a ledger of all that was sent to them.
//!
//! `upstream` lines come in as [`Saying`]s; as a [`Carrier`] this then answers
//! our queries in virtual time. It reads each query by hand and writes into
//! the ledger whatever in it is more than a name, a type, DO and CD.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use namegate::answer::upstream::{Carrier, Exchange, Fit, Lost, Over, fit};
use namegate::wire::{Name, Rcode, Type};
use tokio::time::{Instant, sleep};

use super::story::words;
use super::text;

/// What a server that was asked over UDP sends at most, for our OPT offers as much; without one 512.
const UDP_OCTETS: usize = 1232;
/// Where forged answers lead.
const FORGED: [u8; 4] = [198, 51, 100, 66];

/// The resolvers of one story.
pub(super) struct Upstream {
    sayings: Mutex<Vec<Saying>>,
    ledger: Mutex<Vec<Sent>>,
}

/// One query in the ledger.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    /// When.
    pub(super) at: Instant,
    /// The name, as it was spelled.
    pub(super) name: String,
    /// The type, and what else is worth a word.
    pub(super) rest: String,
}

/// One line of a story: something about a name, or about all.
#[derive(Clone, Debug)]
struct Saying {
    server: Option<IpAddr>,
    name: Option<Name>,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Record(Record),
    /// A record in any answer about the name, whether it belongs there or not: section and record.
    Beside(usize, Record),
    Nxdomain,
    Nodata,
    /// TTL and MINIMUM of the SOA in denials.
    Soa(u32, u32),
    NoSoa,
    Rcode(Rcode),
    Delay(Duration),
    /// As many datagrams are lost.
    Lose(u32),
    Silent,
    Truncated,
    /// As many wrong datagrams come before the right one.
    Stray(Stray, u32),
    /// Over TCP a wrong message comes in place of the right one.
    TcpStray(Stray),
    FoldsCase,
    NoEdns,
    Unreachable,
    NoTcp,
    Referral,
    Authentic,
    ExtendedError(u16, String),
    Split,
    BareDname,
    Reversed,
    Bare,
}

#[derive(Clone, Debug)]
struct Record {
    owner: String,
    ttl_s: u32,
    kind: Type,
    data: Vec<u8>,
}

/// The ways in which a datagram can be the wrong one.
#[derive(Clone, Copy, Debug)]
enum Stray {
    Id,
    Question,
    Kind,
    Case,
    Garbage,
    Query,
    Opcode,
    Cut,
    Headless,
}

impl Upstream {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            sayings: Mutex::default(),
            ledger: Mutex::default(),
        })
    }

    /// Takes an `upstream` line: `[@SERVER] NAME|* …`.
    pub(super) fn say(&self, line: &str) {
        let (server, line) = match line.strip_prefix('@') {
            Some(rest) => {
                let (server, rest) = rest.split_once(' ').expect("a name behind the server");
                (
                    Some(
                        server
                            .parse()
                            .unwrap_or_else(|_| panic!("no address: {server}")),
                    ),
                    rest.trim(),
                )
            }
            None => (None, line),
        };
        let (name, said) = line
            .split_once(' ')
            .unwrap_or_else(|| panic!("a name says nothing: {line}"));
        let owner = name.to_owned();
        let name = (name != "*").then(|| {
            name.parse()
                .unwrap_or_else(|error| panic!("{name}: {error}"))
        });
        let mut sayings = self.sayings.lock().expect("no panic under this lock");
        match said.trim() {
            "forgotten" => sayings.retain(|it| {
                (name.is_some() && it.name != name) || (server.is_some() && it.server != server)
            }),
            said => sayings.extend(whats(&owner, said).into_iter().map(|what| Saying {
                server,
                name,
                what,
            })),
        }
    }

    /// Takes the ledger's pages out.
    pub(super) fn take_ledger(&self) -> Vec<Sent> {
        std::mem::take(&mut self.ledger.lock().expect("no panic under this lock"))
    }

    /// How many queries stand in the ledger.
    pub(super) fn sent(&self) -> usize {
        self.ledger.lock().expect("no panic under this lock").len()
    }

    /// What is said about a name and this server, in the order of the story.
    fn about(&self, server: IpAddr, name: &Name) -> Vec<What> {
        let sayings = self.sayings.lock().expect("no panic under this lock");
        let concerns = |it: &&Saying| {
            it.server.is_none_or(|at| at == server) && it.name.is_none_or(|of| of == *name)
        };
        sayings
            .iter()
            .filter(concerns)
            .map(|it| it.what.clone())
            .collect()
    }

    /// Is this datagram lost? Takes one off the number of those that are.
    fn loses(&self, server: IpAddr, name: &Name) -> bool {
        let mut sayings = self.sayings.lock().expect("no panic under this lock");
        sayings.iter_mut().any(|it| match &mut it.what {
            What::Lose(left)
                if *left > 0
                    && it.server.is_none_or(|at| at == server)
                    && it.name.is_none_or(|of| of == *name) =>
            {
                *left -= 1;
                true
            }
            _ => false,
        })
    }
}

/// What the words behind a name say: a record, or one trait after another.
fn whats(owner: &str, said: &str) -> Vec<What> {
    if said.starts_with(|c: char| c.is_ascii_digit()) {
        return vec![What::Record(record(owner, said))];
    }
    if let Some(count) = said.strip_prefix("big ") {
        let count = count.trim().parse().expect("how many addresses, up to 255");
        return (0..count)
            .map(|host: u8| What::Record(record(owner, &format!("60 A 203.0.113.{host}"))))
            .collect();
    }
    if let Some(rest) = said.strip_prefix("beside ") {
        let (section, rest) = match rest.trim().split_once(' ') {
            Some(("auth:", rest)) => (1, rest),
            Some(("add:", rest)) => (2, rest),
            _ => (0, rest),
        };
        let (owner, rest) = rest
            .trim()
            .split_once(' ')
            .expect("a record behind its owner");
        return vec![What::Beside(section, record(owner, rest))];
    }
    traits(said)
}

fn traits(said: &str) -> Vec<What> {
    let words = words(said);
    let (mut words, mut whats) = (words.iter(), Vec::new());
    while let Some(word) = words.next() {
        let mut next = || *words.next().unwrap_or_else(|| panic!("{word} of what?"));
        let number = |text: &str| {
            text.parse::<u32>()
                .unwrap_or_else(|_| panic!("no number: {text}"))
        };
        whats.push(match *word {
            "nxdomain" => What::Nxdomain,
            "nodata" => What::Nodata,
            "soa" => What::Soa(number(next()), number(next())),
            "nosoa" => What::NoSoa,
            "servfail" => What::Rcode(Rcode::SERVFAIL),
            "refused" => What::Rcode(Rcode::REFUSED),
            "formerr" => What::Rcode(Rcode::FORMERR),
            "notimp" => What::Rcode(Rcode::NOTIMP),
            "rcode" => What::Rcode(Rcode(u16::try_from(number(next())).expect("a code"))),
            "delay" => What::Delay(humantime::parse_duration(next()).expect("a time behind delay")),
            "lose" => What::Lose(number(next())),
            "silent" => What::Silent,
            "truncated" => What::Truncated,
            "stray" => What::Stray(stray(next()), number(next())),
            "tcp-stray" => What::TcpStray(stray(next())),
            "folds-case" => What::FoldsCase,
            "no-edns" => What::NoEdns,
            "unreachable" => What::Unreachable,
            "no-tcp" => What::NoTcp,
            "referral" => What::Referral,
            "authentic" => What::Authentic,
            "ede" => What::ExtendedError(
                u16::try_from(number(next())).expect("a code"),
                next().trim_matches('"').to_owned(),
            ),
            "split" => What::Split,
            "bare-dname" => What::BareDname,
            "reversed" => What::Reversed,
            "bare" => What::Bare,
            other => panic!("upstream knows no {other:?}"),
        });
    }
    whats
}

fn stray(word: &str) -> Stray {
    match word {
        "id" => Stray::Id,
        "question" => Stray::Question,
        "type" => Stray::Kind,
        "case" => Stray::Case,
        "garbage" => Stray::Garbage,
        "query" => Stray::Query,
        "opcode" => Stray::Opcode,
        "cut" => Stray::Cut,
        "headless" => Stray::Headless,
        other => panic!("no stray is a {other:?}"),
    }
}

/// `TTL TYPE RDATA`
fn record(owner: &str, said: &str) -> Record {
    let split = |text: &'static str, said: &str| -> (String, String) {
        let (word, rest) = said
            .trim()
            .split_once(char::is_whitespace)
            .unwrap_or_else(|| panic!("no {text} behind {said}"));
        (word.to_owned(), rest.trim().to_owned())
    };
    let (ttl_s, rest) = split("type", said);
    let (kind, data) = split("data", &rest);
    let kind = kind.parse().unwrap_or_else(|()| panic!("no type: {kind}"));
    Record {
        owner: owner.to_owned(),
        ttl_s: ttl_s.parse().expect("a TTL"),
        kind,
        data: text::data(kind, &data),
    }
}

/// A query of ours, read by hand.
struct Asked {
    octets: Vec<u8>,
    question_end: usize,
    name: Name,
    kind: Type,
    has_opt: bool,
    dnssec_ok: bool,
    over: Over,
    server: IpAddr,
}

impl Asked {
    /// Reads it, and says what of it stands in the ledger behind its name: the type, DO and CD, the transport, and in
    /// capitals whatever of it should not be there.
    fn read(octets: &[u8], over: Over, server: IpAddr) -> (Self, String) {
        let mut name_end = 12;
        while octets[name_end] != 0 {
            name_end += usize::from(octets[name_end]) + 1;
        }
        name_end += 1;
        let word = |at: usize| u16::from_be_bytes([octets[at], octets[at + 1]]);
        let question_end = name_end + 4;
        let has_opt = word(10) == 1;
        let name: Name = text::spelled(&octets[12..name_end])
            .parse()
            .expect("a name that was spelled");
        let kind = Type(word(name_end));
        let opt = &octets[question_end..];
        let dnssec_ok = has_opt && opt[7] & 0x80 != 0;
        let plain_opt = [
            &[0, 0, 41, 4, 208, 0, 0][..],
            &[u8::from(dnssec_ok) << 7, 0, 0, 0],
        ]
        .concat();
        let is_plain = word(2) & !0x0010 == 0x0120
            && (word(4), word(6), word(8)) == (1, 0, 0)
            && word(name_end + 2) == 1
            && opt == if has_opt { plain_opt } else { Vec::new() };
        let notes = [
            (server != IpAddr::from([192, 0, 2, 1]), format!("@{server}")),
            (over == Over::Tcp, "tcp".to_owned()),
            (dnssec_ok, "do".to_owned()),
            (word(2) & 0x0010 != 0, "cd".to_owned()),
            (!has_opt, "no-edns".to_owned()),
            (!is_plain, format!("STRANGE {}", text::to_hex(octets))),
        ];
        let notes = notes
            .into_iter()
            .filter(|(is_so, _)| *is_so)
            .map(|(_, note)| format!(" {note}"));
        let rest = format!("{kind}{}", notes.collect::<String>());
        (
            Self {
                octets: octets.to_vec(),
                question_end,
                name,
                kind,
                has_opt,
                dnssec_ok,
                over,
                server,
            },
            rest,
        )
    }
}

impl Carrier for Upstream {
    fn exchange<'a>(&'a self, server: SocketAddr, over: Over, query: &'a [u8]) -> Exchange<'a> {
        let (asked, rest) = Asked::read(query, over, server.ip());
        let name = text::spelled(&query[12..asked.question_end - 4]);
        let sent = Sent {
            at: Instant::now(),
            name,
            rest,
        };
        self.ledger
            .lock()
            .expect("no panic under this lock")
            .push(sent);
        Box::pin(self.carry(asked))
    }
}

impl Upstream {
    async fn carry(&self, asked: Asked) -> Result<(Vec<u8>, u32), Lost> {
        let about = self.about(asked.server, &asked.name);
        let is = |wanted: fn(&What) -> bool| about.iter().any(wanted);
        if is(|it| matches!(it, What::Unreachable))
            || (asked.over == Over::Tcp && is(|it| matches!(it, What::NoTcp)))
        {
            return Err(Lost::Io(std::io::ErrorKind::ConnectionRefused.into()));
        }
        if asked.over == Over::Udp && self.loses(asked.server, &asked.name) {
            return std::future::pending().await;
        }
        let right = self.answer(&asked, &about);
        let mut mismatches = 0;
        for stray in strays(&asked, &about) {
            // As the sockets do: what does not fit is passed over, on a datagram socket.
            match (fit(&asked.octets, &stray), asked.over) {
                (Fit::No, Over::Udp) => mismatches += 1,
                (Fit::No, Over::Tcp) => return Err(Lost::Mismatch),
                (Fit::Whole | Fit::OtherCase, _) => return Ok((stray, mismatches)),
            }
        }
        for what in &about {
            if let What::Delay(delay) = what {
                sleep(*delay).await;
            }
        }
        if is(|it| matches!(it, What::Silent)) || fit(&asked.octets, &right) == Fit::No {
            return std::future::pending().await;
        }
        Ok((right, mismatches))
    }

    /// The answer of a server that knows what the story says.
    fn answer(&self, asked: &Asked, about: &[What]) -> Vec<u8> {
        let mut reply = Reply::to(asked);
        for what in about {
            match what {
                What::Authentic => reply.flags |= 0x0020,
                What::ExtendedError(code, text) => reply.ede = Some((*code, text.clone())),
                What::FoldsCase => reply.question[..asked.question_end - 16].make_ascii_lowercase(),
                What::Bare => reply.question.clear(),
                What::Beside(section, record) => reply.records[*section].push(record.clone()),
                _ => {}
            }
        }
        let helpless = about.iter().find_map(|it| match it {
            What::Rcode(rcode) => Some(*rcode),
            What::NoEdns if asked.has_opt => Some(Rcode::FORMERR),
            _ => None,
        });
        if about.iter().any(|it| matches!(it, What::NoEdns)) {
            reply.has_opt = false;
        }
        match helpless {
            Some(rcode) => reply.rcode = rcode,
            None if about.iter().any(|it| matches!(it, What::Referral)) => {
                reply.records[1].push(record(
                    &asked.name.to_string(),
                    "60 NS ns.elsewhere.example.",
                ));
            }
            None => self.follow(asked, &mut reply),
        }
        if about.iter().any(|it| matches!(it, What::Reversed)) {
            reply.records[0].reverse();
        }
        let room = if asked.has_opt { UDP_OCTETS } else { 512 };
        let whole = reply.write();
        let is_cut = about.iter().any(|it| matches!(it, What::Truncated)) || whole.len() > room;
        if is_cut && asked.over == Over::Udp {
            reply.cut().write()
        } else {
            whole
        }
    }

    /// Walks from alias to alias, to records or to a denial.
    fn follow(&self, asked: &Asked, reply: &mut Reply) {
        let mut here = asked.name;
        // A loop in a story is walked a few times, as a careless server might.
        for _ in 0..32 {
            let about = self.about(asked.server, &here);
            if about
                .iter()
                .any(|it| matches!(it, What::Nxdomain | What::Nodata))
            {
                return deny(&here, &about, reply);
            }
            let records: Vec<&Record> = about
                .iter()
                .filter_map(|it| {
                    if let What::Record(it) = it {
                        Some(it)
                    } else {
                        None
                    }
                })
                .collect();
            let wanted: Vec<&Record> = records
                .iter()
                .copied()
                .filter(|it| it.kind == asked.kind || signs(it, asked))
                .collect();
            if wanted.iter().any(|it| it.kind == asked.kind) {
                reply.records[0].extend(wanted.into_iter().cloned());
                return;
            }
            let alias = records
                .into_iter()
                .find(|it| it.kind == Type::CNAME)
                .cloned();
            let Some(alias) = alias.or_else(|| self.dname(asked, &here, &about, reply)) else {
                return deny(&here, &about, reply);
            };
            here = text::spelled(&alias.data)
                .parse()
                .expect("an alias's target");
            reply.records[0].push(alias);
            if about.iter().any(|it| matches!(it, What::Split)) {
                return;
            }
        }
    }

    /// The DNAME above a name, into the answer, and the CNAME that it makes.
    fn dname(
        &self,
        asked: &Asked,
        here: &Name,
        about: &[What],
        reply: &mut Reply,
    ) -> Option<Record> {
        let above = |it: &Name| {
            self.about(asked.server, it)
                .into_iter()
                .find_map(|what| match what {
                    What::Record(record) if record.kind == Type::DNAME => Some(record),
                    _ => None,
                })
        };
        let (parent, dname) = std::iter::successors(here.parent(), Name::parent)
            .find_map(|it| Some((it, above(&it)?)))?;
        let end = here.depth_below(&parent).expect("a parent");
        let data = [&here.octets()[..end], &dname.data].concat();
        reply.records[0].push(dname.clone());
        if about.iter().any(|it| matches!(it, What::BareDname)) {
            return None;
        }
        Some(Record {
            owner: here.to_string(),
            ttl_s: dname.ttl_s,
            kind: Type::CNAME,
            data,
        })
    }
}

/// Is this the signature of what was asked for, and wanted?
fn signs(record: &Record, asked: &Asked) -> bool {
    asked.dnssec_ok
        && record.kind == Type::RRSIG
        && record.data.starts_with(&asked.kind.0.to_be_bytes())
}

/// NXDOMAIN, or NODATA where the name is known for something else; with an SOA at the parent.
fn deny(name: &Name, about: &[What], reply: &mut Reply) {
    let exists = about
        .iter()
        .any(|it| matches!(it, What::Record(_) | What::Nodata | What::BareDname));
    if !exists || about.iter().any(|it| matches!(it, What::Nxdomain)) {
        reply.rcode = Rcode::NXDOMAIN;
    }
    let soa = about.iter().fold(Some((60, 60)), |soa, it| match it {
        What::Soa(ttl_s, minimum_s) => Some((*ttl_s, *minimum_s)),
        What::NoSoa => None,
        _ => soa,
    });
    if let Some((ttl_s, minimum_s)) =
        soa.filter(|_| !about.iter().any(|it| matches!(it, What::BareDname)))
    {
        let parent = name.parent().unwrap_or(Name::ROOT).to_string();
        let said = format!(
            "{ttl_s} SOA ns.upstream.example. root.upstream.example. 1 3600 600 86400 {minimum_s}"
        );
        reply.records[1].push(record(&parent, &said));
    }
}

/// A reply being put together.
#[derive(Clone)]
struct Reply {
    id: [u8; 2],
    flags: u16,
    rcode: Rcode,
    question: Vec<u8>,
    records: [Vec<Record>; 3],
    has_opt: bool,
    ede: Option<(u16, String)>,
}

impl Reply {
    fn to(asked: &Asked) -> Self {
        Self {
            id: [asked.octets[0], asked.octets[1]],
            flags: 0x8180,
            rcode: Rcode::NOERROR,
            question: asked.octets[12..asked.question_end].to_vec(),
            records: Default::default(),
            has_opt: asked.has_opt,
            ede: None,
        }
    }

    /// TC, and nothing but the question.
    fn cut(mut self) -> Self {
        self.flags |= 0x0200;
        self.records = Default::default();
        self
    }

    fn write(&self) -> Vec<u8> {
        let count = |section: &[Record]| u16::try_from(section.len()).expect("few records");
        let [answers, authorities, additionals] =
            [0, 1, 2].map(|section| count(&self.records[section]));
        let mut out = self.id.to_vec();
        let flags = self.flags | self.rcode.0 & 0x000F;
        let questions = u16::from(!self.question.is_empty());
        let counts = [
            flags,
            questions,
            answers,
            authorities,
            additionals + u16::from(self.has_opt),
        ];
        out.extend(counts.iter().flat_map(|word| word.to_be_bytes()));
        out.extend(&self.question);
        for record in self.records.iter().flatten() {
            self.write_record(record, &mut out);
        }
        if self.has_opt {
            self.write_opt(&mut out);
        }
        out
    }

    /// The owner is a pointer to the question where it is the same name, as real servers have it.
    fn write_record(&self, record: &Record, out: &mut Vec<u8>) {
        let owner = text::name(&record.owner);
        match self
            .question
            .len()
            .checked_sub(4)
            .map(|end| &self.question[..end])
        {
            Some(asked) if asked.eq_ignore_ascii_case(&owner) => out.extend([0xC0, 12]),
            _ => out.extend(owner),
        }
        out.extend(record.kind.0.to_be_bytes());
        out.extend([0, 1]);
        out.extend(record.ttl_s.to_be_bytes());
        out.extend(
            u16::try_from(record.data.len())
                .expect("short data")
                .to_be_bytes(),
        );
        out.extend(&record.data);
    }

    fn write_opt(&self, out: &mut Vec<u8>) {
        let [_, high] = (self.rcode.0 >> 4).to_be_bytes();
        out.extend([0, 0, 41, 4, 208, high, 0, 0, 0]);
        let option = self.ede.as_ref().map_or(Vec::new(), |(code, text)| {
            let len = u16::try_from(text.len() + 2).expect("a short text");
            [
                &[0, 15][..],
                &len.to_be_bytes(),
                &code.to_be_bytes(),
                text.as_bytes(),
            ]
            .concat()
        });
        out.extend(
            u16::try_from(option.len())
                .expect("one option")
                .to_be_bytes(),
        );
        out.extend(option);
    }
}

/// The wrong datagrams that come before the right one; those that lie lead to [`FORGED`].
fn strays(asked: &Asked, about: &[What]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for what in about {
        match (what, asked.over) {
            (What::Stray(kind, times), Over::Udp) => {
                all.extend((0..*times).map(|_| forged(asked, *kind)))
            }
            (What::TcpStray(kind), Over::Tcp) => all.push(forged(asked, *kind)),
            _ => {}
        }
    }
    all
}

fn forged(asked: &Asked, kind: Stray) -> Vec<u8> {
    let mut reply = Reply::to(asked);
    let forged = Record {
        owner: asked.name.to_string(),
        ttl_s: 86_400,
        kind: Type::A,
        data: FORGED.to_vec(),
    };
    reply.records[0].push(forged);
    let kind_at = reply.question.len() - 3;
    match kind {
        Stray::Id => reply.id[1] ^= 1,
        Stray::Question => reply.question[1] ^= 1,
        Stray::Kind => reply.question[kind_at] ^= 2,
        Stray::Case => reply.question[1] ^= 0x20,
        Stray::Query => reply.flags &= !0x8000,
        Stray::Opcode => reply.flags |= 0x2000,
        Stray::Headless => {
            (reply.question, reply.rcode) = (Vec::new(), Rcode::NXDOMAIN);
        }
        Stray::Garbage => return [&reply.id[..], &[0xFF; 40]].concat(),
        Stray::Cut => {
            let mut octets = reply.write();
            octets.truncate(octets.len() - 14);
            return octets;
        }
    }
    reply.write()
}
