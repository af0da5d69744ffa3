//! What is wrong with a reply.
//!
//! A reply that names its generation (a denial's SOA and extended error do) is held against that one version, and the
//! version against those that may have been in force while the query was on its way. An answer that names none has
//! to be right by one of those. What it says is held against `truth`.

use std::time::Instant;

use namegate::wire::{Message, Section};

use super::policies::{Policies, Policy, Verdict, above};
use super::question::{ANY, Fixed, OURS, Question, STRANGE, Special};
use super::truth::{DENIAL_TTL_S, Record, SOA, Truth, apex, soa, truth, wire};
use super::upstream::Upstream;

const HINFO: u16 = 13;
const NOERROR: u16 = 0;
const SERVFAIL: u16 = 2;
const NXDOMAIN: u16 = 3;
const AA: u16 = 0x0400;
const TC: u16 = 0x0200;
const RD: u16 = 0x0100;
const RA: u16 = 0x0080;
const CD: u16 = 0x0010;
const PLAIN_OCTETS: usize = 512;
const PAYLOAD: u16 = 1232;
/// Of our denials.
const BLOCKED_TTL_S: u32 = 5;
/// RFC 8767 §4.
const STALE_TTL_S: u32 = 30;
const SPECIAL_TTL_S: u32 = 300;
const EDE_BLOCKED: u16 = 15;
const EDE_STALE: [u16; 2] = [3, 19];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Udp,
    Tcp,
}

/// A question that was sent.
pub(super) struct Sent {
    pub(super) question: Question,
    pub(super) at: Instant,
    /// The newest version that was proven then.
    pub(super) floor: u32,
    pub(super) over: Over,
}

/// What a reply was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Upstream's records.
    Answer,
    /// That upstream has none.
    Nothing,
    /// NXDOMAIN of the policy.
    Denial,
    /// The address was private, or the type is not served.
    Withheld,
    /// TC.
    Truncated,
    /// What was known before, in an absence of upstream.
    Stale,
    /// SERVFAIL, in an absence of upstream.
    Failure,
    /// Special names, our own, and what is malformed.
    Fixed,
}

impl Kind {
    pub(super) const ALL: [Self; 8] = [
        Self::Answer,
        Self::Nothing,
        Self::Denial,
        Self::Withheld,
        Self::Truncated,
        Self::Stale,
        Self::Failure,
        Self::Fixed,
    ];
}

/// What was found out by a reply that is right.
pub(super) struct Found {
    pub(super) kind: Kind,
    /// The version by which it was given, where it says so.
    pub(super) version: Option<u32>,
}

/// By what replies are judged.
#[derive(Clone, Copy)]
pub(super) struct Law<'a> {
    pub(super) policies: &'a Policies,
    pub(super) upstream: &'a Upstream,
}

/// A reply, read.
struct Reply<'a> {
    octets: &'a [u8],
    flags: u16,
    rcode: u16,
    message: Message<'a>,
    answers: Vec<Record>,
    authorities: Vec<Record>,
    ede: Option<(u16, String)>,
}

type Judged<T> = Result<T, String>;

/// A fault, if it is one.
fn check(is_right: bool, fault: impl FnOnce() -> String) -> Judged<()> {
    if is_right { Ok(()) } else { Err(fault()) }
}

impl Law<'_> {
    /// The version by which the reply was given, and what it was.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn judge(self, sent: &Sent, octets: &[u8], received: Instant) -> Judged<Found> {
        let ceiling = self.policies.written();
        check(octets.len() >= 12, || {
            "it is shorter than a header".to_owned()
        })?;
        if let Fixed::Rcode(rcode) = sent.question.fixed {
            return malformed(&sent.question, octets, rcode).map(|()| fixed(None));
        }
        let reply = Reply::read(octets)?;
        manners(sent, &reply)?;
        let range = sent.floor..=ceiling;
        if let Fixed::Special(special) = sent.question.fixed {
            return judge_special(special, &reply).map(|()| fixed(None));
        }
        if sent.question.name == OURS {
            let version = self.named(&reply)?;
            check(range.contains(&version), || {
                format!("it tells of generation {version}")
            })?;
            return Ok(fixed(Some(version)));
        }
        if let Some(version) = reply.generation() {
            check(range.contains(&version), || {
                format!("it is by generation {version}, which cannot be in force")
            })?;
            let policy = self.policies.version(version);
            let policy = policy.ok_or_else(|| format!("there is no generation {version}"))?;
            let kind = judge_denial(&sent.question, &reply, policy)?;
            return Ok(Found {
                kind,
                version: Some(version),
            });
        }
        let mut versions = range.filter_map(|it| self.policies.version(it));
        let is_allowed = versions.any(|it| it.allows(&sent.question.name));
        check(is_allowed, || {
            "no policy that may be in force allows it".to_owned()
        })?;
        let kind = judge_answer(sent, &reply)?;
        let needs_excuse = matches!(kind, Kind::Stale | Kind::Failure);
        let is_shared = sent.question.sort.is_shared();
        let is_excused = || self.upstream.excuses(sent.at, received, is_shared);
        check(!needs_excuse || is_excused(), || {
            let back_for = self.upstream.back_for(sent.at);
            format!("{kind:?} although upstream was there, for {back_for:?} when it was sent")
        })?;
        Ok(Found {
            kind,
            version: None,
        })
    }

    /// The version that our own name tells of.
    fn named(self, reply: &Reply<'_>) -> Judged<u32> {
        let first = reply
            .answers
            .first()
            .map(|it| String::from_utf8_lossy(&it.data).into_owned());
        let first = first.unwrap_or_default();
        let number = first
            .split_once("generation=")
            .map(|it| it.1.split(' ').next().unwrap_or_default());
        let version = number
            .and_then(|it| it.parse().ok())
            .and_then(|it| self.policies.version(it));
        let version = version.ok_or_else(|| format!("it names no generation: {first}"))?;
        let name = format!("policy='{}'", version.name());
        check(first.contains(&name), || format!("{first} is not {name}"))?;
        Ok(version.version)
    }
}

fn fixed(version: Option<u32>) -> Found {
    Found {
        kind: Kind::Fixed,
        version,
    }
}

impl<'a> Reply<'a> {
    fn read(octets: &'a [u8]) -> Judged<Self> {
        let message = Message::read(octets).map_err(|why| format!("it cannot be read: {why:?}"))?;
        let records = |section| {
            message
                .records(section)
                .map(|it| record(&it))
                .collect::<Judged<Vec<_>>>()
        };
        let (answers, authorities) = (records(Section::Answer)?, records(Section::Authority)?);
        check(
            message.records(Section::Additional).next().is_none(),
            || "it has additional records".to_owned(),
        )?;
        Ok(Self {
            octets,
            flags: u16::from_be_bytes([octets[2], octets[3]]),
            rcode: message.rcode().0,
            ede: message
                .ede()
                .map(|it| (it.code, String::from_utf8_lossy(it.text).into_owned())),
            answers,
            authorities,
            message,
        })
    }

    fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// The serial of our own SOA.
    fn generation(&self) -> Option<u32> {
        let [soa] = &self.authorities[..] else {
            return None;
        };
        let rest = soa.data.strip_prefix(&wire(OURS)[..])?;
        let numbers = rest.strip_prefix(&wire("hostmaster.namegate.internal")[..])?;
        Some(u32::from_be_bytes(*numbers.first_chunk()?))
    }
}

fn record(record: &namegate::wire::Record<'_>) -> Judged<Record> {
    check(record.class == 1, || {
        "a record is of another class".to_owned()
    })?;
    Ok(Record {
        owner: record.owner().to_string(),
        kind: record.kind.0,
        ttl_s: record.ttl_s,
        data: record
            .spelled()
            .map_err(|why| format!("a record is broken: {why:?}"))?,
        is_private: false,
    })
}

/// Its code, its id, and nothing more than may be in it.
fn malformed(question: &Question, octets: &[u8], rcode: u16) -> Judged<()> {
    let is_alike = octets[2] & 0xF8 == 0x80 | question.octets[2] & 0x78;
    check(is_alike, || {
        "QR or opcode is not as it should be".to_owned()
    })?;
    let low = u16::from(octets[3] & 0x0F);
    check(low == rcode & 0x0F, || {
        format!("the code is {low}, not {rcode}")
    })?;
    check(octets[6..10] == [0; 4], || "it has records".to_owned())?;
    let is_bare = octets.len() <= question.octets.len() + 11;
    check(is_bare, || "it is longer than question and OPT".to_owned())
}

/// What is so of each reply to a question.
fn manners(sent: &Sent, reply: &Reply<'_>) -> Judged<()> {
    let (question, octets) = (&sent.question, reply.octets);
    let asked = u16::from_be_bytes([question.octets[2], question.octets[3]]);
    let same = RD | CD;
    check(reply.flags & same == asked & same, || {
        "RD or CD is not the query's".to_owned()
    })?;
    check(
        reply.flags & (0x0040 | 0x0020) == 0 && reply.has(RA),
        || "Z or AD is set, or RA is not".to_owned(),
    )?;
    let end = 12 + question.name.len() + 2 + 4;
    check(octets.get(12..end) == question.octets.get(12..end), || {
        "the question is another".to_owned()
    })?;
    check(question.edns.is_some() == reply.message.has_opt(), || {
        "an OPT is in one of both alone".to_owned()
    })?;
    let limit = match (sent.over, question.edns) {
        (Over::Tcp, _) => usize::from(u16::MAX),
        (Over::Udp, Some(edns)) => usize::from(edns.payload.min(PAYLOAD)),
        (Over::Udp, None) => PLAIN_OCTETS,
    };
    check(octets.len() <= limit, || {
        format!("{} octets are more than {limit}", octets.len())
    })?;
    if let Some(edns) = question.edns {
        let opt = opt(octets, end).ok_or("its OPT is not found")?;
        check((opt[6] & 0x80 != 0) == edns.dnssec_ok, || {
            "DO is not the query's".to_owned()
        })?;
        let is_there = edns.cookie.is_none_or(|cookie| {
            let begin = [b"\0\x0A\0\x18", &cookie[..]].concat();
            opt.windows(begin.len()).any(|it| it == begin)
        });
        check(is_there, || "the cookie does not come back".to_owned())?;
    }
    Ok(())
}

/// The OPT, from its type on: it is the last record, and its owner is the root.
fn opt(octets: &[u8], from: usize) -> Option<&[u8]> {
    let begin = [0, 0, 41, (PAYLOAD >> 8) as u8, (PAYLOAD & 0xFF) as u8];
    let at = octets[from..].windows(5).rposition(|it| it == begin)?;
    octets.get(from + at + 1..).filter(|it| it.len() >= 9)
}

fn judge_special(special: &Special, reply: &Reply<'_>) -> Judged<()> {
    check(reply.rcode == special.rcode && reply.has(AA), || {
        format!("code {}, flags {:#x}", reply.rcode, reply.flags)
    })?;
    let data: Vec<&[u8]> = reply.answers.iter().map(|it| &it.data[..]).collect();
    check(data == special.data, || {
        format!("{data:?} is not {:?}", special.data)
    })?;
    let ttls = reply
        .answers
        .iter()
        .chain(&reply.authorities)
        .all(|it| it.ttl_s == SPECIAL_TTL_S);
    check(ttls, || "a TTL is another".to_owned())?;
    let soa = reply.authorities.first().map_or("", |it| &it.owner);
    check(soa == special.soa_owner, || {
        format!("the SOA is of {soa}, not {}", special.soa_owner)
    })
}

/// What a version denies, or withholds of what it allows.
fn judge_denial(question: &Question, reply: &Reply<'_>, policy: &Policy) -> Judged<Kind> {
    let name = &question.name;
    let (kind, rcode, owner, text) = match policy.judge(name) {
        Verdict::Denied(encloser) => {
            let text = format!(
                "not in allowed_hostnames of policy '{}' generation {}; this is deliberate, retrying will not help",
                policy.name(),
                policy.version
            );
            (Kind::Denial, NXDOMAIN, encloser, text)
        }
        Verdict::Exact | Verdict::Below(_) => {
            let parent = above(name).next().unwrap_or_default();
            let text = withheld(question)
                .ok_or_else(|| format!("generation {} allows it", policy.version))?;
            (Kind::Withheld, NOERROR, parent, text.to_owned())
        }
    };
    check(reply.rcode == rcode, || {
        format!("the code is {}, not {rcode}", reply.rcode)
    })?;
    check(reply.has(AA) && !reply.has(TC), || {
        "AA is not set, or TC is".to_owned()
    })?;
    check(reply.answers.is_empty(), || "it has answers".to_owned())?;
    let soa = &reply.authorities[0];
    let owner = if owner.is_empty() { "." } else { owner };
    check(soa.owner == owner, || {
        format!("the SOA is of {}, not {owner}", soa.owner)
    })?;
    let numbers = [policy.version, 3600, 600, 86_400, BLOCKED_TTL_S]
        .map(u32::to_be_bytes)
        .concat();
    let is_whole = soa.ttl_s == BLOCKED_TTL_S && soa.data.ends_with(&numbers);
    check(is_whole, || "the SOA is another".to_owned())?;
    let expected = question.edns.map(|_| (EDE_BLOCKED, text));
    check(reply.ede == expected, || {
        format!("{:?} is not {expected:?}", reply.ede)
    })?;
    Ok(kind)
}

/// Why an allowed name has nothing of this type.
fn withheld(question: &Question) -> Option<&'static str> {
    if question.kind == STRANGE {
        return Some("type not served");
    }
    match truth(&question.name, question.kind) {
        Truth::Records(records) if records.iter().all(|it| it.is_private) => {
            Some("private address removed")
        }
        Truth::Records(_) | Truth::Nodata | Truth::Nxdomain => None,
    }
}

/// What upstream says of a name that is allowed.
fn judge_answer(sent: &Sent, reply: &Reply<'_>) -> Judged<Kind> {
    let (question, name) = (&sent.question, &sent.question.name);
    let code = reply.ede.as_ref().map(|it| it.0);
    if question.kind == ANY {
        let is_hinfo = matches!(&reply.answers[..], [it] if it.kind == HINFO && it.owner == *name && it.data == b"\x07RFC8482\0");
        check(is_hinfo && reply.rcode == NOERROR, || {
            "that is no answer to ANY".to_owned()
        })?;
        return Ok(Kind::Answer);
    }
    check(!reply.has(AA), || "AA is set".to_owned())?;
    if reply.rcode == SERVFAIL {
        let is_bare = reply.answers.is_empty() && reply.authorities.is_empty();
        check(is_bare && code.is_some() == question.edns.is_some(), || {
            "SERVFAIL with records, or without a reason".to_owned()
        })?;
        return Ok(Kind::Failure);
    }
    let is_stale = code.is_some_and(|it| EDE_STALE.contains(&it));
    check(code.is_none() || is_stale, || {
        format!("an extended error {:?}", reply.ede)
    })?;
    check(withheld(question).is_none(), || {
        "what is withheld was not".to_owned()
    })?;
    let kind = match truth(name, question.kind) {
        Truth::Records(records) => judge_records(sent, reply, records)?,
        Truth::Nodata => judge_nothing(name, reply, NOERROR)?,
        Truth::Nxdomain => judge_nothing(name, reply, NXDOMAIN)?,
    };
    let is_stale = is_stale || is_stale_by_ttl(reply, name, question.kind);
    let mut ttls = reply
        .answers
        .iter()
        .chain(&reply.authorities)
        .map(|it| it.ttl_s);
    check(!is_stale || ttls.all(|it| it == STALE_TTL_S), || {
        "a TTL is longer than upstream's, and not that of a stale answer".to_owned()
    })?;
    Ok(if is_stale { Kind::Stale } else { kind })
}

fn judge_nothing(name: &str, reply: &Reply<'_>, rcode: u16) -> Judged<Kind> {
    check(reply.rcode == rcode && !reply.has(TC), || {
        format!("the code is {}, not {rcode}", reply.rcode)
    })?;
    check(reply.answers.is_empty(), || {
        "there are answers where there is nothing".to_owned()
    })?;
    let apex = apex(name);
    let is_soa = matches!(&reply.authorities[..], [it] if it.kind == SOA && it.owner == apex && it.data == soa(apex));
    check(is_soa, || {
        format!("{:?} is not upstream's SOA", reply.authorities)
    })?;
    Ok(Kind::Nothing)
}

fn judge_records(sent: &Sent, reply: &Reply<'_>, mut records: Vec<Record>) -> Judged<Kind> {
    check(
        reply.rcode == NOERROR && reply.authorities.is_empty(),
        || {
            format!(
                "the code is {}, {} in the authority section",
                reply.rcode,
                reply.authorities.len()
            )
        },
    )?;
    records.retain(|it| !it.is_private);
    if reply.has(TC) {
        // Sixteen octets for each address, behind the question and an OPT.
        let is_too_long = records.len() * 16 + reply.octets.len() > PLAIN_OCTETS;
        let is_due = sent.over == Over::Udp && is_too_long && reply.answers.is_empty();
        check(is_due, || "it is truncated".to_owned())?;
        return Ok(Kind::Truncated);
    }
    let mut given = reply.answers.clone();
    let key = |it: &Record| (it.owner.clone(), it.kind, it.data.clone());
    given.sort_by_key(key);
    records.sort_by_key(key);
    check(given.len() == records.len(), || {
        format!("{} records, not {}", given.len(), records.len())
    })?;
    for (given, true_) in given.iter().zip(&records) {
        check(key(given) == key(true_), || {
            format!("{given:?} is not {true_:?}")
        })?;
    }
    Ok(Kind::Answer)
}

/// Without an OPT, a stale answer is known by its TTL alone: it is longer than upstream's.
fn is_stale_by_ttl(reply: &Reply<'_>, name: &str, kind: u16) -> bool {
    let records = match truth(name, kind) {
        Truth::Records(records) => records,
        Truth::Nodata | Truth::Nxdomain => Vec::new(),
    };
    let is_longer = |given: &Record| {
        let said = records
            .iter()
            .find(|it| it.owner == given.owner && it.kind == given.kind);
        given.ttl_s > said.map_or(DENIAL_TTL_S, |it| it.ttl_s)
    };
    reply
        .answers
        .iter()
        .chain(&reply.authorities)
        .any(is_longer)
}
