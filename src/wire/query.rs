//! One question, as it lies in the client's datagram.

use super::codes::Type;
use super::cookie::Cookie;
use super::malformed::{Malformed, Unreadable};
use super::name::Name;
use super::{HEADER_OCTETS, PLAIN_UDP_OCTETS, u16_at};

/// The internet's class.
pub const CLASS_IN: u16 = 1;
/// CHAOS, in which servers are asked for their names (RFC 4892).
pub const CLASS_CH: u16 = 3;

const RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const RECURSION_DESIRED: u16 = 0x0100;
const AUTHENTIC_DATA: u16 = 0x0020;
const CHECKING_DISABLED: u16 = 0x0010;
/// DO, in the flags of an OPT (RFC 3225 §3).
const DNSSEC_OK: u16 = 0x8000;
/// The fixed part of an OPT behind its owner: type, payload, rcode, version, flags, RDLENGTH (RFC 6891 §6.1.2).
const OPT_FIXED_OCTETS: usize = 10;
/// Options (IANA "DNS EDNS0 Option Codes (OPT)").
pub(super) const OPTION_NSID: u16 = 3;
pub(super) const OPTION_COOKIE: u16 = 10;
pub(super) const OPTION_KEEPALIVE: u16 = 11;
/// Questions and records of a refused message among which its OPT is looked for: names may be long, and it is refused anyway.
const LOOKED_AT_MAX: usize = 16;

/// What a client's OPT says that we heed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    /// The largest UDP reply it takes, in octets; at least 512 (RFC 6891 §6.2.3).
    pub payload: u16,
    /// DO: it wants signatures.
    pub dnssec_ok: bool,
    /// What its options ask for.
    pub wants: Wants,
}

/// What options ask for that is answered by the next hop alone. None of it is forwarded, or part of what is asked;
/// all other options are ignored (RFC 6891 §6.1.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// COOKIE (RFC 7873).
    pub cookie: Option<Cookie>,
    /// edns-tcp-keepalive (RFC 7828).
    pub keepalive: Keepalive,
    /// NSID (RFC 5001): who we are.
    pub nsid: bool,
}

/// The option edns-tcp-keepalive, which means something over TCP alone (RFC 7828 §3.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keepalive {
    /// It is not there.
    #[default]
    Absent,
    /// The client wants to know how long a connection may be silent.
    Asked,
    /// It says something, as only a server may.
    Misshapen,
}

/// All of a question that reaches the cache and upstream: nothing else may tell two answers apart, or leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    /// The name, lower-cased.
    pub name: Name,
    /// The type.
    pub kind: Type,
    /// DO: with signatures.
    pub dnssec_ok: bool,
    /// CD: unvalidated data is welcome.
    pub checking_disabled: bool,
}

/// One well-formed question and the octets it came in.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    octets: &'a [u8],
    question_end: usize,
    flags: u16,
    name: Name,
    kind: Type,
    class: u16,
    edns: Option<Edns>,
}

impl<'a> Query<'a> {
    /// Reads a message to its last octet. Nothing allocates.
    ///
    /// # Errors
    /// Everything that is not exactly one question of opcode QUERY, with at most one OPT behind it.
    #[inline]
    pub fn read(octets: &'a [u8]) -> Result<Self, Unreadable> {
        let silent = |why| Unreadable {
            why,
            question_end: HEADER_OCTETS,
            edns: None,
        };
        let Some(header) = octets.get(..HEADER_OCTETS) else {
            return Err(silent(Malformed::TooShort));
        };
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let flags = word(2);
        if flags & RESPONSE != 0 {
            return Err(silent(Malformed::IsResponse));
        }
        let counts = [word(6), word(8), word(10)];
        let question = match word(4) {
            1 => read_question(octets),
            0 => Err(Malformed::NoQuestion),
            _ => Err(Malformed::ManyQuestions),
        };
        let question_end = question.as_ref().map_or(HEADER_OCTETS, |it| it.end);
        // RFC 6891 §6.1.1 and §7: a reply holds an OPT whenever the query did, also one that says no.
        let refused = |why, edns: Option<Edns>| Unreadable {
            why,
            question_end,
            edns: edns.or_else(|| opt_among(octets, word(4), counts)),
        };
        if flags & OPCODE != 0 {
            return Err(refused(Malformed::OtherOpcode, None));
        }
        if word(4) == 0 {
            let mut edns = None;
            let read = read_records(octets, question_end, counts, &mut edns);
            let has_cookie = edns.is_some_and(|it: Edns| it.wants.cookie.is_some());
            let why = match read.is_ok() && has_cookie {
                true => Malformed::CookieAlone,
                false => Malformed::NoQuestion,
            };
            return Err(refused(why, edns));
        }
        let question = question.map_err(|why| refused(why, None))?;
        let mut edns = None;
        let read = if counts == [0, 0, 0] && question_end == octets.len() {
            Ok(())
        } else {
            read_records(octets, question_end, counts, &mut edns)
        };
        let unreadable = |why| refused(why, edns);
        match (read, question.kind) {
            // RFC 1995 §3: an IXFR carries the SOA it has in its authority section.
            (_, Type::AXFR | Type::IXFR) => return Err(unreadable(Malformed::Transfer)),
            (Err(why), _) => return Err(unreadable(why)),
            (Ok(()), Type::NXNAME) => return Err(unreadable(Malformed::NxnameAsked)),
            (Ok(()), Type::ANY) => {}
            (Ok(()), kind) if kind.is_meta() => return Err(unreadable(Malformed::MetaType)),
            (Ok(()), _) => {}
        }
        if !matches!(question.class, CLASS_IN | CLASS_CH) {
            return Err(unreadable(Malformed::OtherClass));
        }
        Ok(Self {
            octets,
            question_end,
            flags,
            name: question.name,
            kind: question.kind,
            class: question.class,
            edns,
        })
    }

    /// What is asked, without how.
    #[inline]
    pub fn asked(&self) -> Asked {
        Asked {
            name: self.name,
            kind: self.kind,
            dnssec_ok: self.dnssec_ok(),
            checking_disabled: self.checking_disabled(),
        }
    }

    /// The name asked for, lower-cased.
    #[inline]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The type asked for.
    #[inline]
    pub fn kind(&self) -> Type {
        self.kind
    }

    /// The class asked for: [`CLASS_IN`] or [`CLASS_CH`].
    pub fn class(&self) -> u16 {
        self.class
    }

    /// The client's OPT, where it sent one.
    #[inline]
    pub fn edns(&self) -> Option<&Edns> {
        self.edns.as_ref()
    }

    /// What is wrong with it if it came over TCP: there, an option is heard that means nothing over UDP.
    #[inline]
    pub fn fault_over_tcp(&self) -> Option<Unreadable> {
        let keepalive = self.edns.as_ref().map(|edns| edns.wants.keepalive);
        (keepalive == Some(Keepalive::Misshapen)).then_some(Unreadable {
            why: Malformed::BadOption,
            question_end: self.question_end,
            edns: self.edns,
        })
    }

    /// Does the client want signatures (RFC 3225)?
    pub fn dnssec_ok(&self) -> bool {
        self.edns.as_ref().is_some_and(|edns| edns.dnssec_ok)
    }

    /// RD.
    pub fn recursion_desired(&self) -> bool {
        self.flags & RECURSION_DESIRED != 0
    }

    /// CD (RFC 4035 §3.2.2).
    pub fn checking_disabled(&self) -> bool {
        self.flags & CHECKING_DISABLED != 0
    }

    /// Does the client understand AD (RFC 6840 §5.7)?
    pub fn wants_authentic(&self) -> bool {
        self.flags & AUTHENTIC_DATA != 0 || self.dnssec_ok()
    }

    /// The question's octets as the client sent them, letter case included.
    pub fn question(&self) -> &'a [u8] {
        &self.octets[HEADER_OCTETS..self.question_end]
    }

    /// The whole message.
    pub fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// As [`udp_limit`] of its OPT.
    pub fn udp_limit(&self, ours: u16) -> usize {
        udp_limit(self.edns(), ours)
    }
}

/// The most octets a UDP reply may have: what the client takes, within what we send.
#[inline]
pub fn udp_limit(edns: Option<&Edns>, ours: u16) -> usize {
    usize::from(edns.map_or(PLAIN_UDP_OCTETS, |edns| {
        edns.payload.min(ours).max(PLAIN_UDP_OCTETS)
    }))
}

struct Question {
    name: Name,
    kind: Type,
    class: u16,
    end: usize,
}

fn read_question(octets: &[u8]) -> Result<Question, Malformed> {
    let (name, at) = Name::read_plain(octets, HEADER_OCTETS)?;
    let kind = Type(u16_at(octets, at).ok_or(Malformed::Truncated)?);
    let class = u16_at(octets, at + 2).ok_or(Malformed::Truncated)?;
    Ok(Question {
        name,
        kind,
        class,
        end: at + 4,
    })
}

/// Walks what stands behind the question: one OPT and nothing else.
fn read_records(
    octets: &[u8],
    at: usize,
    counts: [u16; 3],
    edns: &mut Option<Edns>,
) -> Result<(), Malformed> {
    if counts[0] > 0 || counts[1] > 0 {
        return Err(Malformed::StrayRecord);
    }
    let (mut at, mut version) = (at, 0);
    for _ in 0..counts[2] {
        let (owner, fixed) = Name::read(octets, at)?;
        let kind = Type(u16_at(octets, fixed).ok_or(Malformed::Truncated)?);
        let rdlength = u16_at(octets, fixed + 8).ok_or(Malformed::Truncated)?;
        let data_at = fixed + OPT_FIXED_OCTETS;
        at = data_at + usize::from(rdlength);
        let data = octets.get(data_at..at).ok_or(Malformed::Truncated)?;
        match kind {
            Type::TSIG => return Err(Malformed::Signed),
            Type::OPT => {}
            _ => return Err(Malformed::StrayRecord),
        }
        if edns.is_some() {
            return Err(Malformed::ManyOpts);
        }
        if !owner.is_root() {
            return Err(Malformed::BadOpt);
        }
        version = octets[fixed + 5];
        // RFC 6891 §7: the OPT is heard already, for the refusal of its options holds one too.
        let heard = edns.insert(read_opt(octets, fixed).ok_or(Malformed::Truncated)?);
        // What they are in another version, we do not know.
        if version == 0 {
            read_options(data, &mut heard.wants)?;
        }
    }
    if at != octets.len() {
        return Err(Malformed::TrailingOctets);
    }
    // A broken frame goes before: it is broken in every version.
    match version {
        0 => Ok(()),
        _ => Err(Malformed::OtherEdnsVersion),
    }
}

/// What the OPT says whose fixed part begins there.
fn read_opt(octets: &[u8], fixed: usize) -> Option<Edns> {
    let (payload, flags) = (u16_at(octets, fixed + 2)?, u16_at(octets, fixed + 6)?);
    Some(Edns {
        payload: payload.max(PLAIN_UDP_OCTETS),
        dnssec_ok: flags & DNSSEC_OK != 0,
        wants: Wants::default(),
    })
}

/// The OPT of a message that was refused before it was come to: behind a second question, or a record that should not be there.
#[cold]
fn opt_among(octets: &[u8], questions: u16, counts: [u16; 3]) -> Option<Edns> {
    let [answers, authorities, additionals] = counts.map(usize::from);
    let questions = usize::from(questions);
    let additional_at = questions + answers + authorities;
    let mut at = HEADER_OCTETS;
    for place in 0..(additional_at + additionals).min(LOOKED_AT_MAX) {
        let fixed = Name::end(octets, at).ok()?;
        if place < questions {
            at = fixed + 4;
            continue;
        }
        let data_at = fixed + OPT_FIXED_OCTETS;
        let end = data_at + usize::from(u16_at(octets, fixed + 8)?);
        let is_opt = u16_at(octets, fixed)? == Type::OPT.0 && octets[at] == 0;
        if place >= additional_at && is_opt && end <= octets.len() {
            let mut edns = read_opt(octets, fixed)?;
            if octets[fixed + 5] == 0 {
                // Of options that are broken those in front are heard.
                let _ = read_options(&octets[data_at..end], &mut edns.wants);
            }
            return Some(edns);
        }
        at = end;
    }
    None
}

/// Hears the options; their lengths have to add up to the OPT's (RFC 6891 §6.1.2).
fn read_options(mut rest: &[u8], wants: &mut Wants) -> Result<(), Malformed> {
    while !rest.is_empty() {
        let code = u16_at(rest, 0).ok_or(Malformed::BadOpt)?;
        let len = u16_at(rest, 2).ok_or(Malformed::BadOpt)?;
        let (option, behind) = rest[4..]
            .split_at_checked(len.into())
            .ok_or(Malformed::BadOpt)?;
        read_option(code, option, wants)?;
        rest = behind;
    }
    Ok(())
}

fn read_option(code: u16, data: &[u8], wants: &mut Wants) -> Result<(), Malformed> {
    match code {
        // RFC 5001 §2.1: what a question says in it is ignored.
        OPTION_NSID => wants.nsid = true,
        // RFC 7873 §4: of several the first counts.
        OPTION_COOKIE if wants.cookie.is_none() => {
            wants.cookie = Some(Cookie::read(data).ok_or(Malformed::BadOption)?);
        }
        OPTION_KEEPALIVE if data.is_empty() => wants.keepalive = Keepalive::Asked,
        OPTION_KEEPALIVE => wants.keepalive = Keepalive::Misshapen,
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GITHUB: &[u8] = b"\x06GitHub\x03com\x00\x00\x01\x00\x01";

    fn message(flags: u16, counts: [u16; 4], rest: &[&[u8]]) -> Vec<u8> {
        let mut octets = vec![0xAB, 0xCD];
        octets.extend(flags.to_be_bytes());
        octets.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
        octets.extend(rest.concat());
        octets
    }

    #[track_caller]
    fn refused(octets: &[u8], why: Malformed) {
        assert_eq!(
            Query::read(octets).map(|_| ()).map_err(|it| it.why),
            Err(why)
        );
    }

    #[test]
    fn a_plain_question_is_read() {
        let octets = message(0x0110, [1, 0, 0, 0], &[GITHUB]);
        let query = Query::read(&octets).expect("well-formed");
        assert_eq!(query.name().to_string(), "github.com");
        assert_eq!((query.kind(), query.class()), (Type::A, CLASS_IN));
        assert!(query.recursion_desired() && query.checking_disabled() && !query.wants_authentic());
        assert_eq!(query.question(), GITHUB);
        assert_eq!(query.udp_limit(1232), 512);
    }

    #[test]
    fn an_opt_is_heard() {
        let opt = b"\0\0\x29\x10\0\0\0\x80\0\0\0";
        let octets = message(0, [1, 0, 0, 1], &[GITHUB, opt]);
        let query = Query::read(&octets).expect("well-formed");
        assert_eq!(
            query.edns(),
            Some(&Edns {
                payload: 4096,
                dnssec_ok: true,
                wants: Wants::default(),
            })
        );
        assert_eq!(query.udp_limit(1232), 1232);
        assert!(query.wants_authentic());
    }

    #[test]
    fn each_deformity_has_its_name() {
        use Malformed::*;
        let opt: &[u8] = b"\0\0\x29\x10\0\0\0\0\0\0\0";
        refused(&[0; 11], TooShort);
        refused(&message(0x8000, [1, 0, 0, 0], &[GITHUB]), IsResponse);
        refused(&message(0x2800, [1, 0, 0, 0], &[GITHUB]), OtherOpcode);
        refused(&message(0, [0, 0, 0, 0], &[]), NoQuestion);
        refused(&message(0, [2, 0, 0, 0], &[GITHUB, GITHUB]), ManyQuestions);
        refused(&message(0, [65535, 0, 0, 0], &[GITHUB]), ManyQuestions);
        refused(&message(0, [1, 0, 0, 0], &[&GITHUB[..14]]), Truncated);
        refused(&message(0, [1, 0, 0, 1], &[GITHUB]), Truncated);
        refused(
            &message(0, [1, 0, 0, 0], &[b"\xC0\x0C\0\x01\0\x01"]),
            BadPointer,
        );
        refused(
            &message(0, [1, 0, 0, 0], &[b"\x41x\0\0\x01\0\x01"]),
            BadLabelType,
        );
        refused(&message(0, [1, 0, 0, 0], &[GITHUB, b"x"]), TrailingOctets);
        refused(&message(0, [1, 0, 0, 0], &[GITHUB, opt]), TrailingOctets);
        refused(&message(0, [1, 1, 0, 0], &[GITHUB]), StrayRecord);
        refused(&message(0, [1, 0, 1, 0], &[GITHUB]), StrayRecord);
        refused(
            &message(0, [1, 0, 0, 1], &[GITHUB, b"\0\0\x01\0\x01\0\0\0\0\0\0"]),
            StrayRecord,
        );
        refused(&message(0, [1, 0, 0, 2], &[GITHUB, opt, opt]), ManyOpts);
        refused(
            &message(
                0,
                [1, 0, 0, 1],
                &[GITHUB, b"\x01a\0\0\x29\x10\0\0\0\0\0\0\0"],
            ),
            BadOpt,
        );
        refused(
            &message(
                0,
                [1, 0, 0, 1],
                &[GITHUB, b"\0\0\x29\x10\0\0\0\0\0\0\x03\0\x0A\0"],
            ),
            BadOpt,
        );
        refused(
            &message(0, [1, 0, 0, 1], &[GITHUB, b"\0\0\x29\x10\0\0\x01\0\0\0\0"]),
            OtherEdnsVersion,
        );
        refused(
            &message(0, [1, 0, 0, 1], &[GITHUB, b"\0\0\xFA\0\xFF\0\0\0\0\0\0"]),
            Signed,
        );
        refused(&message(0, [1, 0, 0, 0], &[b"\0\0\x01\0\x04"]), OtherClass);
        refused(&message(0, [1, 0, 0, 0], &[b"\0\0\x01\0\xFF"]), OtherClass);
        refused(&message(0, [1, 0, 0, 0], &[b"\0\0\xFC\0\x01"]), Transfer);
        refused(&message(0, [1, 0, 1, 0], &[b"\0\0\xFB\0\x01"]), Transfer);
        refused(&message(0, [1, 0, 0, 0], &[b"\0\0\x29\0\x01"]), MetaType);
        refused(&message(0, [1, 0, 0, 0], &[b"\0\0\0\0\x01"]), MetaType);
        refused(&message(0, [1, 0, 0, 0], &[b"\0\0\x80\0\x01"]), NxnameAsked);
    }

    #[test]
    fn an_opt_is_heard_although_the_query_is_refused() {
        use Malformed::*;
        let check = |opts: &[u8], count, why| {
            let octets = message(0, [1, 0, 0, count], &[GITHUB, opts]);
            let bad = Query::read(&octets).expect_err("malformed");
            assert_eq!(bad.why, why, "{opts:?}");
            assert!(bad.edns.is_some(), "RFC 6891 section 7: {opts:?}");
        };
        let newer: &[u8] = b"\0\0\x29\x10\0\0\x01\0\0\0\0";
        check(b"\0\0\x29\x10\0\0\0\0\0\0\x03\0\x0A\0", 1, BadOpt);
        check(newer, 1, OtherEdnsVersion);
        check(b"\0\0\x29\x10\0\0\x01\0\0\0\x03abc", 1, OtherEdnsVersion);
        check(&[newer, newer].concat(), 2, ManyOpts);
        check(&[newer, b"x"].concat(), 1, TrailingOctets);
        let stray: &[u8] = b"\xC0\x0C\0\x01\0\x01\0\0\0\0\0\0";
        check(&[stray, newer].concat(), 2, StrayRecord);
        let many = [&stray.repeat(LOOKED_AT_MAX), newer].concat();
        let octets = message(0, [1, 0, 0, 17], &[GITHUB, &many]);
        let bad = Query::read(&octets).expect_err("malformed");
        assert!(bad.edns.is_none(), "it is looked for within bounds");
    }

    /// A question with these options; or, without `question`, a message that has none.
    fn with_options(question: &[u8], options: &[u8]) -> Vec<u8> {
        let len = u16::try_from(options.len()).expect("short options");
        let opt: &[u8] = b"\0\0\x29\x10\0\0\0\0\0";
        let counts = [u16::from(!question.is_empty()), 0, 0, 1];
        message(0, counts, &[question, opt, &len.to_be_bytes(), options])
    }

    #[test]
    fn options_are_heard() {
        let heard = |options: &[u8]| {
            let octets = with_options(GITHUB, options);
            let query = Query::read(&octets).expect("well-formed");
            query.edns().expect("an OPT").wants
        };
        assert_eq!(heard(b"\0\x08\0\0\0\x0C\0\x02\0\0"), Wants::default());
        assert!(heard(b"\0\x03\0\0").nsid && heard(b"\0\x03\0\x01x").nsid);
        let first = b"\0\x0A\0\x08abcdefgh";
        let twice = heard(b"\0\x0A\0\x08abcdefgh\0\x0A\0\x01x").cookie;
        assert!(twice.is_some() && twice == heard(first).cookie);
        assert_eq!(heard(b"\0\x0B\0\0").keepalive, Keepalive::Asked);
        let misshapen = with_options(GITHUB, b"\0\x0B\0\x02\0\x64");
        let misshapen = Query::read(&misshapen).expect("it may come over UDP");
        let fault = misshapen.fault_over_tcp().expect("not over TCP");
        assert_eq!(fault.why, Malformed::BadOption);
        assert!(fault.edns().is_some());
    }

    #[test]
    fn a_cookie_needs_its_length_and_no_question() {
        use Malformed::*;
        let (good, bad): (&[u8], &[u8]) = (b"\0\x0A\0\x08abcdefgh", b"\0\x0A\0\x07abcdefg");
        refused(&with_options(GITHUB, bad), BadOption);
        refused(&with_options(b"", bad), NoQuestion);
        refused(&with_options(b"", b"\0\x03\0\0"), NoQuestion);
        refused(&with_options(b"", good), CookieAlone);
        refused(&[&with_options(b"", good)[..], b"x"].concat(), NoQuestion);
    }

    #[test]
    fn every_prefix_of_a_query_is_refused() {
        let octets = message(
            0,
            [1, 0, 0, 1],
            &[GITHUB, b"\0\0\x29\x10\0\0\0\0\0\0\x04\0\x0C\0\0"],
        );
        assert!(Query::read(&octets).is_ok());
        for end in 0..octets.len() {
            assert!(Query::read(&octets[..end]).is_err(), "{end} octets");
        }
    }
}
