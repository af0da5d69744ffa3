//! The words of `upstream` lines: what is said about a name, read into [`What`] it comes to.

use std::net::IpAddr;
use std::time::Duration;

use namegate::wire::{Name, Rcode, Type};

use super::super::story::words;
use super::super::text;

/// One line of a story: something about a name, or about all.
#[derive(Clone, Debug)]
pub(super) struct Saying {
    pub(super) server: Option<IpAddr>,
    pub(super) name: Option<Name>,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
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
    /// Over TCP the connection is made, and then this happens.
    Tcp(Trouble),
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
    /// Nothing that was said before.
    Forgotten,
}

#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) owner: String,
    pub(super) ttl_s: u32,
    pub(super) kind: Type,
    pub(super) data: Vec<u8>,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    /// Nothing is said on it.
    Silent,
    /// The answer takes this long.
    Slow(Duration),
    /// It is closed before the answer is whole.
    Closed,
    Reset,
}

/// The ways in which a datagram can be the wrong one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stray {
    Id,
    Question,
    Kind,
    Case,
    Garbage,
    Query,
    Opcode,
    Cut,
    Headless,
    /// An owner that is a pointer to itself, one to what comes behind it, and one whose label has a void type.
    Itself,
    Forward,
    Label,
    /// 65,535 answers are promised.
    Counts,
}

impl Saying {
    /// Is it about this server and this name?
    pub(super) fn concerns(&self, server: IpAddr, name: &Name) -> bool {
        self.server.is_none_or(|it| it == server) && self.name.is_none_or(|it| it == *name)
    }
}

/// Reads an `upstream` line: `[@SERVER] NAME|* …`. With `forgotten`, [`What::Forgotten`] is all it says.
pub(super) fn read(line: &str) -> Vec<Saying> {
    let (server, line) = match line.strip_prefix('@') {
        Some(rest) => {
            let (server, rest) = rest.split_once(' ').expect("a name behind the server");
            let server = server
                .parse()
                .unwrap_or_else(|_| panic!("no address: {server}"));
            (Some(server), rest.trim())
        }
        None => (None, line),
    };
    let (owner, said) = line
        .split_once(' ')
        .unwrap_or_else(|| panic!("nothing said of {line}"));
    let name = (owner != "*").then(|| {
        owner
            .parse()
            .unwrap_or_else(|error| panic!("{owner}: {error}"))
    });
    if let Some(links) = said.trim().strip_prefix("chain ") {
        let links = links.trim().parse().expect("how many links");
        return chain(server, owner, links);
    }
    whats(owner, said.trim())
        .into_iter()
        .map(|what| Saying { server, name, what })
        .collect()
}

/// So many aliases, from the owner on, and an address behind them.
fn chain(server: Option<IpAddr>, owner: &str, links: usize) -> Vec<Saying> {
    let name = |at: usize| match at {
        0 => owner.to_owned(),
        _ => format!("n{at}.{owner}"),
    };
    let said = |at: usize| match at == links {
        true => "60 A 203.0.113.1".to_owned(),
        false => format!("60 CNAME {}", name(at + 1)),
    };
    let saying = |at: usize| Saying {
        server,
        name: Some(name(at).parse().expect("a name")),
        what: What::Record(record(&name(at), &said(at))),
    };
    (0..=links).map(saying).collect()
}

/// What the words behind a name say: a record, or one trait after another.
fn whats(owner: &str, said: &str) -> Vec<What> {
    if said.starts_with(|c: char| c.is_ascii_digit()) {
        return vec![What::Record(record(owner, said))];
    }
    if let Some(count) = said.strip_prefix("big ") {
        let count: u16 = count.trim().parse().expect("how many addresses");
        let address = |host: u16| {
            let [net, host] = host.to_be_bytes();
            format!("60 A 203.0.{}.{host}", 113 + net)
        };
        return (0..count)
            .map(|host| What::Record(record(owner, &address(host))))
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
            "tcp-silent" => What::Tcp(Trouble::Silent),
            "tcp-slow" => What::Tcp(Trouble::Slow(
                humantime::parse_duration(next()).expect("a time behind tcp-slow"),
            )),
            "tcp-closed" => What::Tcp(Trouble::Closed),
            "tcp-reset" => What::Tcp(Trouble::Reset),
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
            "forgotten" => What::Forgotten,
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
        "itself" => Stray::Itself,
        "forward" => Stray::Forward,
        "label" => Stray::Label,
        "counts" => Stray::Counts,
        other => panic!("no stray is a {other:?}"),
    }
}

/// `TTL TYPE RDATA`
pub(super) fn record(owner: &str, said: &str) -> Record {
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
