//! The client's side of a story: queries as octets, replies as rows, and the manners every reply must have.
//!
//! An `ask` line becomes a message; a message that came back becomes the rows
//! of a `get`. [`faults`] says what no reply may get wrong, whatever was asked.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::Message;
use hickory_proto::rr::{DNSClass, Record};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use namegate::front::{Client, Transport};
use namegate::wire::{self, Rcode, Type};

use super::story::words;
use super::text;

/// A message to be sent, and who sends it.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) octets: Vec<u8>,
    pub(crate) client: Client,
}

const RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const AUTHORITATIVE: u16 = 0x0400;
const TRUNCATED: u16 = 0x0200;
const RECURSION_DESIRED: u16 = 0x0100;
const RECURSION_AVAILABLE: u16 = 0x0080;
const RESERVED: u16 = 0x0040;
const AUTHENTIC_DATA: u16 = 0x0020;
const CHECKING_DISABLED: u16 = 0x0010;
const DNSSEC_OK: u16 = 0x8000;

/// A client's OPT.
#[derive(Default)]
struct Opt {
    payload: u16,
    version: u8,
    flags: u16,
    options: Vec<u8>,
}

/// Reads what stands behind `ask`; `id` is for a message that does not bring its own.
pub(crate) fn ask<'a>(rows: impl Iterator<Item = &'a str>, id: u16) -> Ask {
    let rows: Vec<&str> = rows.collect();
    let said: Vec<&str> = rows.iter().flat_map(|row| words(row)).collect();
    match said[..] {
        ["hex", ref octets @ ..] => ask_octets(octets),
        [name, kind, ref more @ ..] => ask_name(name, kind, more, id),
        _ => panic!("an ask needs a name and a type: {rows:?}"),
    }
}

fn from(address: &str) -> SocketAddr {
    let address = address
        .parse()
        .unwrap_or_else(|_| panic!("no address: {address}"));
    SocketAddr::new(address, 40_000)
}

fn nobody() -> Client {
    Client {
        address: from("127.0.0.1"),
        transport: Transport::Udp,
    }
}

/// `hex`, then octets as `00ff`, `00*20`, `@a.name` or `"text"`.
fn ask_octets(said: &[&str]) -> Ask {
    let mut ask = Ask {
        octets: Vec::new(),
        client: nobody(),
    };
    let mut said = said.iter();
    while let Some(word) = said.next() {
        match *word {
            "tcp" => ask.client.transport = Transport::Tcp,
            "from" => ask.client.address = from(said.next().expect("an address behind `from`")),
            _ => ask.octets.extend(octets(word)),
        }
    }
    ask
}

/// The octets that one word of `hex` stands for.
pub(crate) fn octets(word: &str) -> Vec<u8> {
    if let Some(name) = word.strip_prefix('@') {
        return text::name(name);
    }
    if word.starts_with('"') {
        return word.trim_matches('"').into();
    }
    match word.split_once('*') {
        Some((unit, times)) => text::hex(unit).repeat(times.parse().expect("a number behind `*`")),
        None => text::hex(word),
    }
}

fn ask_name(name: &str, kind: &str, more: &[&str], id: u16) -> Ask {
    let kind: Type = kind.parse().unwrap_or_else(|()| panic!("no type: {kind}"));
    let (mut flags, mut class, mut opt, mut client) =
        (RECURSION_DESIRED, wire::CLASS_IN, None::<Opt>, nobody());
    let mut more = more.iter();
    while let Some(word) = more.next() {
        let (word, value) = word.split_once('=').unwrap_or((word, ""));
        let number = || {
            value
                .parse::<u16>()
                .unwrap_or_else(|_| panic!("no number: {value}"))
        };
        let spoken = || Opt {
            payload: 1232,
            ..Opt::default()
        };
        match word {
            "tcp" => client.transport = Transport::Tcp,
            "from" => client.address = from(more.next().expect("an address behind `from`")),
            "rd" => flags &= !RECURSION_DESIRED,
            "cd" => flags |= CHECKING_DISABLED,
            "ad" => flags |= AUTHENTIC_DATA,
            "z" => flags |= RESERVED,
            "opcode" => flags |= number() << 11,
            "class" => class = number(),
            "edns" if value.is_empty() => drop(opt.get_or_insert_with(spoken)),
            "edns" => opt.get_or_insert_with(spoken).payload = number(),
            "do" => opt.get_or_insert_with(spoken).flags |= DNSSEC_OK,
            "zflags" => opt.get_or_insert_with(spoken).flags |= !DNSSEC_OK,
            "version" => {
                opt.get_or_insert_with(spoken).version =
                    u8::try_from(number()).expect("a small number");
            }
            "option" => opt.get_or_insert_with(spoken).options.extend(option(value)),
            other => panic!("an ask knows no {other:?}"),
        }
    }
    let name = text::name(name);
    let octets = message(
        id,
        flags,
        &[&name, &kind.0.to_be_bytes()[..], &class.to_be_bytes()].concat(),
        opt,
    );
    Ask { octets, client }
}

/// `CODE:HEX`
fn option(value: &str) -> Vec<u8> {
    let (code, octets) = value.split_once(':').expect("an option is CODE:HEX");
    let (code, octets) = (
        code.parse::<u16>().expect("an option's number"),
        text::hex(octets),
    );
    let len = u16::try_from(octets.len()).expect("a short option");
    [&code.to_be_bytes()[..], &len.to_be_bytes(), &octets].concat()
}

fn message(id: u16, flags: u16, question: &[u8], opt: Option<Opt>) -> Vec<u8> {
    let mut octets = [id, flags, 1, 0, 0, u16::from(opt.is_some())]
        .map(u16::to_be_bytes)
        .concat();
    octets.extend(question);
    if let Some(opt) = opt {
        let len = u16::try_from(opt.options.len()).expect("short options");
        octets.push(0);
        octets.extend(Type::OPT.0.to_be_bytes());
        octets.extend(opt.payload.to_be_bytes());
        octets.extend([0, opt.version]);
        octets.extend(opt.flags.to_be_bytes());
        octets.extend(len.to_be_bytes());
        octets.extend(opt.options);
    }
    octets
}

/// A reply as the rows of a `get`. What costs room is shown where `like`, the row it is compared with, has it too:
/// the extended error's text, `opt` or `no-opt`, `size=`, `after=`, and `answers=` in place of the records.
pub(crate) fn show(reply: Option<&[u8]>, took: Duration, like: &str) -> Vec<String> {
    let mut rows = match reply {
        None => vec!["nothing".to_owned()],
        Some(reply) if like.starts_with("hex") => vec![format!("hex {}", text::to_hex(reply))],
        Some(reply) => match Message::from_vec(reply) {
            Ok(message) => shown(reply, &message, like),
            Err(error) => vec![format!("unreadable: {error}"), text::to_hex(reply)],
        },
    };
    if like.contains(" after=") {
        rows[0] += &format!(" after={}", humantime::format_duration(took));
    }
    rows
}

fn shown(reply: &[u8], message: &Message, like: &str) -> Vec<String> {
    let mut head = vec![rcode(reply, message).to_string()];
    let flag = |bit: u16, word: &'static str| (word16(reply, 2) & bit != 0).then_some(word);
    let flags = [
        flag(AUTHORITATIVE, "aa"),
        flag(TRUNCATED, "tc"),
        flag(RECURSION_AVAILABLE, "ra"),
        flag(AUTHENTIC_DATA, "ad"),
        flag(CHECKING_DISABLED, "cd"),
    ];
    head.extend(flags.into_iter().flatten().map(str::to_owned));
    if flag(RECURSION_DESIRED, "rd").is_none() {
        head.push("rd=0".to_owned());
    }
    if message.queries.is_empty() {
        head.push("qd=0".to_owned());
    }
    for (code, text) in extended_errors(message) {
        head.push(format!("ede={code}"));
        head.extend(like.contains('"').then(|| format!("\"{text}\"")));
    }
    head.extend(options(message).iter().filter_map(told));
    if like.contains("opt") {
        head.push(
            if message.edns.is_some() {
                "opt"
            } else {
                "no-opt"
            }
            .to_owned(),
        );
    }
    if like.contains(" size=") {
        head.push(format!("size={}", reply.len()));
    }
    if like.contains(" answers=") {
        head.push(format!("answers={}", message.answers.len()));
        return vec![head.join(" ")];
    }
    let in_section = |mark: &'static str, records: &[Record]| {
        records
            .iter()
            .map(|it| format!("{mark}{}", record(it)))
            .collect()
    };
    let sections: [Vec<String>; 3] = [
        in_section("", &message.answers),
        in_section("auth: ", &message.authorities),
        in_section("add: ", &message.additionals),
    ];
    [vec![head.join(" ")], sections.concat()].concat()
}

/// A record; its class is named where it is not the internet's.
fn record(record: &Record) -> String {
    if record.dns_class == DNSClass::IN {
        return text::record(record);
    }
    format!("class={} {}", record.dns_class, text::record(record))
}

fn word16(octets: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([octets[at], octets[at + 1]])
}

fn rcode(reply: &[u8], message: &Message) -> Rcode {
    let high = message
        .edns
        .as_ref()
        .map_or(0, |edns| u16::from(edns.rcode_high()));
    Rcode(high << 4 | word16(reply, 2) & 0x000F)
}

/// Code and text of each (RFC 8914 §2).
fn extended_errors(message: &Message) -> Vec<(u16, String)> {
    options(message)
        .into_iter()
        .filter(|(code, data)| *code == 15 && data.len() >= 2)
        .map(|(_, data)| {
            (
                word16(&data, 0),
                String::from_utf8_lossy(&data[2..]).into_owned(),
            )
        })
        .collect()
}

fn options(message: &Message) -> Vec<(u16, Vec<u8>)> {
    let options = message.edns.iter().flat_map(|edns| &edns.options().options);
    options
        .map(|(code, option)| {
            (
                u16::from(*code),
                Vec::<u8>::try_from(option).expect("an option that was read"),
            )
        })
        .collect()
}

/// An option that answers one of the query's, in a word.
fn told((code, data): &(u16, Vec<u8>)) -> Option<String> {
    match code {
        3 => Some(format!("nsid={}", String::from_utf8_lossy(data))),
        10 => Some("cookie".to_owned()),
        11 => {
            let idle = Duration::from_millis(u64::from(word16(data, 0)) * 100);
            Some(format!("keepalive={}", humantime::format_duration(idle)))
        }
        _ => None,
    }
}

/// Is this the policy's NXDOMAIN?
pub(crate) fn is_denial(reply: &[u8]) -> bool {
    const OURS: &[u8] = b"\x08namegate\x08internal\x00\x0Ahostmaster";
    let is_ours = reply.windows(OURS.len()).any(|it| it == OURS);
    is_ours && word16(reply, 2) & 0x000F == Rcode::NXDOMAIN.0
}

/// What is wrong with a reply to `ask`, whatever it says. `payload` is what our OPT offers.
pub(crate) fn faults(ask: &Ask, reply: &[u8], payload: u16) -> Vec<String> {
    let mut faults = Vec::new();
    if reply.len() < 12 || ask.octets.len() < 12 {
        return vec!["a reply to or of fewer than twelve octets".to_owned()];
    }
    let mut fault = |is_so: bool, text: &str| faults.extend(is_so.then(|| text.to_owned()));
    let (asked, said) = (word16(&ask.octets, 2), word16(reply, 2));
    fault(ask.octets[..2] != reply[..2], "the id is another");
    fault(said & RESPONSE == 0, "QR is not set");
    fault(said & RECURSION_AVAILABLE == 0, "RA is not set");
    fault(said & RESERVED != 0, "Z is set");
    fault(
        (asked ^ said) & (OPCODE | RECURSION_DESIRED | CHECKING_DISABLED) != 0,
        "opcode, RD or CD is not the query's",
    );
    let mut decoder = BinDecoder::new(reply);
    let message = match Message::read(&mut decoder) {
        Ok(message) => message,
        Err(error) => {
            return [
                faults,
                vec![format!("hickory-proto cannot read it: {error}")],
            ]
            .concat();
        }
    };
    fault(!decoder.is_empty(), "octets stand behind its last record");
    if said & OPCODE == 0 {
        fault(
            wire::Message::read(reply).is_err_and(|why| why != wire::Malformed::OtherClass),
            "we cannot read it ourselves",
        );
    }
    let question = &reply[12..question_end(reply)];
    fault(
        !ask.octets[12..].starts_with(question),
        "the question is not echoed octet for octet",
    );
    let query = wire::Query::read(&ask.octets);
    fault(
        query.is_ok() && question.is_empty(),
        "the question is left out",
    );
    if let Ok(query) = query {
        fault(
            query.edns().is_some() != message.edns.is_some(),
            "an OPT is in one of query and reply alone",
        );
    }
    faults.extend(faults_of_opt(ask, &message, payload));
    let limit = match (ask.client.transport, &query) {
        (Transport::Tcp, _) => wire::MESSAGE_OCTETS_MAX,
        (Transport::Udp, Ok(query)) => query.udp_limit(payload),
        (Transport::Udp, Err(_)) => usize::from(wire::PLAIN_UDP_OCTETS),
    };
    faults.extend(
        (reply.len() > limit).then(|| format!("{} octets where {limit} are the most", reply.len())),
    );
    faults
}

fn faults_of_opt(ask: &Ask, message: &Message, payload: u16) -> Vec<String> {
    let Some(edns) = &message.edns else {
        return Vec::new();
    };
    let mut faults = Vec::new();
    let mut fault = |is_so: bool, text: String| faults.extend(is_so.then_some(text));
    fault(
        edns.version() != 0,
        format!("EDNS version {}", edns.version()),
    );
    fault(
        edns.max_payload() != payload,
        format!("our OPT offers {} octets", edns.max_payload()),
    );
    let wants = wire::Query::read(&ask.octets).map(|query| query.dnssec_ok());
    fault(
        wants.is_ok_and(|wants| wants != edns.flags().dnssec_ok),
        "DO is not the query's".to_owned(),
    );
    for (code, data) in options(message) {
        let is_answer = code == 15 || answers(ask, code, &data);
        fault(!is_answer, format!("option {code} in our OPT: {data:02x?}"));
        let is_short_line = data
            .get(2..)
            .is_some_and(|text| text.len() <= 160 && is_line(text));
        fault(
            code == 15 && !is_short_line,
            "the extended error's text is no short line".to_owned(),
        );
    }
    faults
}

/// Is this what the query's option of the same code is answered with?
fn answers(ask: &Ask, code: u16, data: &[u8]) -> bool {
    let wants = match wire::Query::read(&ask.octets) {
        Ok(query) => query.edns().map(|edns| edns.wants),
        Err(bad) => bad.edns().map(|edns| edns.wants),
    };
    let wants = wants.unwrap_or_default();
    match code {
        3 => wants.nsid && !data.is_empty(),
        // The client's half comes back, wherever in the query it stood.
        10 => {
            let is_back = || ask.octets.windows(8).any(|it| data.starts_with(it));
            wants.cookie.is_some() && data.len() == 24 && is_back()
        }
        11 => ask.client.transport == Transport::Tcp && data.len() == 2,
        _ => false,
    }
}

/// Upstream's text may be any; ours is ASCII, which the stories that quote it show.
fn is_line(text: &[u8]) -> bool {
    str::from_utf8(text).is_ok_and(|text| !text.contains(char::is_control))
}

fn question_end(reply: &[u8]) -> usize {
    if word16(reply, 4) == 0 {
        return 12;
    }
    let mut at = 12;
    while reply[at] != 0 {
        at += usize::from(reply[at]) + 1;
    }
    at + 5
}
