//! Upstream's reply, followed to an answer and sent on.
//!
//! A message comes in, as any upstream might send it. What goes out to clients
//! is read again: it holds nothing that did not come in, and no private address
//! where the guard has been; and from the cache it is the same, but for its age.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use namegate::answer::cache::Kind;
use namegate::answer::guard::{Caps, Finding, Guarded, Step, Trail};
use namegate::wire::{
    Age, Asked, Head, MESSAGE_OCTETS_MAX, Message, Name, Query, Record, Room, Section, Sections,
    Type, reply,
};

use super::kept::keep;

/// Replies that one question may take before we look no further.
const REPLIES_MAX: usize = 12;
const CAPS: Caps = Caps {
    positive_s: 300,
    negative_s: 60,
};

/// A record: whose, of which type, with which data.
pub type Fact = (Name, Type, Vec<u8>);

/// A reply to the question it repeats. Its id says whether signatures are wanted, and whether validation is.
pub fn upstream_answer(input: &[u8]) {
    let Ok(message) = Message::read(input) else {
        return;
    };
    let Some((name, kind)) = message.question().copied() else {
        return;
    };
    if kind.is_meta() {
        return;
    }
    let asked = Asked {
        name,
        kind,
        dnssec_ok: input[0] & 1 == 1,
        checking_disabled: input[0] & 2 == 2,
    };
    let dnssec_ok = asked.dnssec_ok;
    let mut trail = Trail::new(name, kind, dnssec_ok, CAPS);
    for _ in 0..REPLIES_MAX {
        match trail.follow(&message) {
            Ok(Step::Done) => break,
            Ok(Step::Ask(_)) => {}
            Err(_) => return,
        }
    }
    assert!(trail.ttl_s() <= CAPS.positive_s || trail.ttl_s() == u32::MAX);
    let (ttl_s, is_negative) = (trail.ttl_s(), trail.is_negative());
    let facts = facts(&message);
    let finding = trail.finish();
    let query = question(&name, kind, dnssec_ok);
    let said = send(&query, &finding, &finding.said, 7);
    let answers = &said[..usize::from(finding.said.counts()[0])];
    let stranger = off_the_chain(&name, answers);
    assert!(
        stranger.is_none(),
        "{stranger:?} is nobody's who was asked for"
    );
    for fact in &said {
        let made = fact.1 == Type::CNAME;
        assert!(made || facts.contains(fact), "{fact:?} is invented");
    }
    for fact in guarded(&finding)
        .map(|it| send(&query, &finding, it, 7))
        .into_iter()
        .flatten()
    {
        assert!(
            fact.1 != kind || !leads_inside(&fact),
            "{fact:?} is private"
        );
    }
    let kind = if is_negative {
        Kind::Negative
    } else {
        Kind::Positive
    };
    keep(&asked, &finding, kind, ttl_s, |again, age_s| {
        assert_eq!(send(&query, again, &again.said, age_s), said);
        assert_eq!(
            guarded(again).map(|it| send(&query, again, it, age_s)),
            guarded(&finding).map(|it| send(&query, &finding, it, age_s)),
        );
    });
}

/// The first of the answers whose owner is neither the name that was asked for, nor what its aliases lead to, nor a
/// DNAME above one of these.
pub fn off_the_chain<'a>(asked: &Name, answers: &'a [Fact]) -> Option<&'a Fact> {
    let mut chain = vec![*asked];
    let alias_of = |name: &Name| {
        let alias = answers
            .iter()
            .find(|it| it.0 == *name && it.1 == Type::CNAME)?;
        Name::of_octets(&alias.2)
    };
    while let Some(next) = alias_of(&chain[chain.len() - 1]).filter(|it| !chain.contains(it)) {
        chain.push(next);
    }
    let signs_dname = |data: &[u8]| data.starts_with(&Type::DNAME.0.to_be_bytes());
    let is_above = |owner: &Name| {
        chain
            .iter()
            .any(|it| it != owner && it.is_at_or_below(owner))
    };
    answers.iter().find(|(owner, kind, data)| {
        let is_dname = *kind == Type::DNAME || *kind == Type::RRSIG && signs_dname(data);
        let may_stand = chain.contains(owner) || is_dname && is_above(owner);
        !may_stand
    })
}

fn guarded(finding: &Finding) -> Option<&Sections> {
    match &finding.guarded {
        Guarded::Same => Some(&finding.said),
        Guarded::Reduced(sections) => Some(sections),
        Guarded::Emptied => None,
    }
}

fn facts(message: &Message<'_>) -> HashSet<Fact> {
    let fact = |it: Record<'_>| Some((it.owner(), it.kind, it.spelled().ok()?));
    [Section::Answer, Section::Authority]
        .into_iter()
        .flat_map(|section| message.records(section))
        .filter_map(fact)
        .collect()
}

fn question(name: &Name, kind: Type, dnssec_ok: bool) -> Vec<u8> {
    let mut octets = vec![0xBE, 0xEF, 0x01, 0x20, 0, 1, 0, 0, 0, 0, 0, 1];
    octets.extend(name.octets().to_ascii_uppercase());
    octets.extend(kind.0.to_be_bytes());
    octets.extend([0, 1]);
    octets.extend([0, 0, 41, 4, 208, 0, 0, u8::from(dnssec_ok) << 7, 0, 0, 0]);
    octets
}

/// Sends records to a client over either transport. Returns what it reads.
fn send(question: &[u8], finding: &Finding, sections: &Sections, age_s: u32) -> Vec<Fact> {
    let query = Query::read(question).expect("a well-formed question");
    let head = Head {
        rcode: finding.rcode,
        authoritative: false,
        authentic: finding.authentic,
    };
    let ede = finding
        .ede
        .as_deref()
        .map(|(code, text)| namegate::wire::Ede { code: *code, text });
    let mut out = Vec::new();
    let limit = query.udp_limit(1232);
    reply(&query, head, &mut out)
        .sections(sections, Age::Seconds(age_s))
        .finish(ede, Room::plain(1232, limit));
    assert!(out.len() <= limit, "a datagram of {} octets", out.len());
    let _ = Message::read(&out).expect("a datagram of ours can be read");
    reply(&query, head, &mut out)
        .sections(sections, Age::Seconds(age_s))
        .finish(ede, Room::plain(1232, MESSAGE_OCTETS_MAX));
    let read = Message::read(&out).expect("a message of ours can be read");
    assert!(!read.is_truncated(), "what was kept has room");
    assert_eq!(read.rcode(), finding.rcode);
    heard(&read, sections.counts())
}

fn heard(read: &Message<'_>, counts: [u16; 3]) -> Vec<Fact> {
    let mut facts = Vec::new();
    for (section, count) in [Section::Answer, Section::Authority]
        .into_iter()
        .zip(counts)
    {
        let before = facts.len();
        for record in read.records(section) {
            assert!(record.ttl_s <= CAPS.positive_s);
            let data = record.spelled().expect("a record of ours can be read");
            facts.push((record.owner(), record.kind, data));
        }
        assert_eq!(facts.len() - before, usize::from(count));
    }
    facts
}

/// Holds this record an address of a network that is not the internet? Said without the guard's own table.
pub fn leads_inside((_, kind, data): &Fact) -> bool {
    match *kind {
        Type::A => inside_4(data),
        Type::AAAA => inside_6(data),
        Type::SVCB | Type::HTTPS => hints(data).is_none_or(|inside| inside),
        _ => false,
    }
}

fn inside_4(octets: &[u8]) -> bool {
    let address = Ipv4Addr::from(<[u8; 4]>::try_from(octets).expect("four octets"));
    let is_inside = address.is_private() || address.is_loopback() || address.is_link_local();
    is_inside || address.is_unspecified() || address.is_multicast() || address.is_broadcast()
}

fn inside_6(octets: &[u8]) -> bool {
    let address = Ipv6Addr::from(<[u8; 16]>::try_from(octets).expect("sixteen octets"));
    match address.to_canonical() {
        IpAddr::V4(embedded) => inside_4(&embedded.octets()),
        IpAddr::V6(address) => {
            let is_inside = address.is_unique_local() || address.is_unicast_link_local();
            is_inside || address.is_loopback() || address.is_unspecified() || address.is_multicast()
        }
    }
}

/// The hints of a service's parameters; none when they cannot be read.
fn hints(data: &[u8]) -> Option<bool> {
    let mut rest = &data[2..];
    while rest[0] != 0 {
        rest = &rest[usize::from(rest[0]) + 1..];
    }
    rest = &rest[1..];
    let mut inside = false;
    while let [key_high, key_low, len_high, len_low, behind @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*len_high, *len_low]));
        let (value, next) = behind.split_at_checked(len)?;
        inside |= match u16::from_be_bytes([*key_high, *key_low]) {
            4 => value.chunks(4).any(inside_4),
            6 => value.chunks(16).any(inside_6),
            _ => false,
        };
        rest = next;
    }
    rest.is_empty().then_some(inside)
}
