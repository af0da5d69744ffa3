//! What may stand in an answer: the chain of its question, and no private address.
//!
//! [`Trail`] takes upstream's replies, one or several, and keeps what belongs
//! to the question: CNAME and DNAME links from owner to target in any order,
//! then the records asked for, or the SOA that says there are none. All else is
//! dropped. It puts together two answers as it goes: what upstream said, and
//! the same without addresses that lead into the machine or its networks.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::slice::from_ref;

use crate::wire::{
    Malformed, Message, Name, Rcode, Record, Section, Sections, SectionsBuilder, Type, block_octets,
};

/// Links from the question to its records (SPEC 6).
pub const LINKS_MAX: usize = 8;

/// NSEC and NSEC3 records of a denial: RFC 5155 §7.2 asks for three at most, and more may come with an alias.
/// Each has us look through the whole section for its signatures.
const PROOFS_MAX: usize = 8;

/// What is said when no address is left.
pub const PRIVATE_REMOVED: &str = "private address removed";

/// An answer, ready to be kept and sent.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The code of the last name in the chain (RFC 6604 §3).
    pub rcode: Rcode,
    /// Does upstream say that it validated all of it?
    pub authentic: bool,
    /// What upstream said.
    pub said: Sections,
    /// The same for those who may not see private addresses.
    pub guarded: Guarded,
    /// Upstream's extended error: code and text. Few answers have one, so it lies elsewhere.
    pub ede: Option<Box<Told>>,
}

/// An extended error (RFC 8914): code and text.
pub type Told = (u16, Box<[u8]>);

/// What the guard made of an answer.
#[derive(Clone, Debug)]
pub enum Guarded {
    /// There was nothing to remove.
    Same,
    /// Some of it is left.
    Reduced(Box<Sections>),
    /// Nothing is left.
    Emptied,
}

impl Finding {
    /// That nobody could say.
    pub fn failure(ede: u16, text: &str) -> Self {
        Self {
            rcode: Rcode::SERVFAIL,
            authentic: false,
            said: Sections::default(),
            guarded: Guarded::Same,
            ede: Some(Box::new((ede, text.as_bytes().into()))),
        }
    }

    /// The records for a client that may see private addresses or may not, and whether they are all that was validated.
    /// None: nothing is left of them.
    pub fn records(&self, sees_private: bool) -> Option<(&Sections, bool)> {
        match &self.guarded {
            Guarded::Reduced(sections) if !sees_private => Some((sections, false)),
            Guarded::Emptied if !sees_private => None,
            Guarded::Same | Guarded::Reduced(_) | Guarded::Emptied => {
                Some((&self.said, self.authentic))
            }
        }
    }

    /// Octets of memory this holds beside itself.
    pub fn footprint(&self) -> usize {
        let guarded = match &self.guarded {
            Guarded::Same | Guarded::Emptied => 0,
            Guarded::Reduced(it) => block_octets(size_of::<Sections>()) + it.footprint(),
        };
        let ede = self.ede.as_deref().map_or(0, |(_, text)| {
            block_octets(size_of::<Told>()) + block_octets(text.len())
        });
        self.said.footprint() + guarded + ede
    }
}

/// The longest that records may be kept and passed on, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// Records.
    pub positive_s: u32,
    /// That there are none.
    pub negative_s: u32,
}

/// What a reply adds to a [`Trail`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "a name is a value, and this one lives for a line"
)]
#[must_use]
pub enum Step {
    /// The trail has come to its end.
    Done,
    /// It stops short: this name has to be asked for.
    Ask(Name),
}

/// Why a chain is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Astray {
    /// More than [`LINKS_MAX`] links.
    TooLong,
    /// It comes back to a name it has passed.
    Loop,
    /// A record in it is broken, or there are too many.
    Malformed(Malformed),
}

impl From<Malformed> for Astray {
    fn from(why: Malformed) -> Self {
        Self::Malformed(why)
    }
}

/// A question being followed to its answer.
#[derive(Debug)]
pub struct Trail {
    kind: Type,
    dnssec_ok: bool,
    caps: Caps,
    /// The name the trail stands at.
    here: Name,
    /// Every name passed before, the one asked for first.
    passed: Vec<Name>,
    rcode: Rcode,
    authentic: bool,
    ede: Option<Box<Told>>,
    /// The smallest TTL of what was kept.
    ttl_s: u32,
    is_negative: bool,
    said: SectionsBuilder,
    /// The same without what the guard removes; there is none before it removes something.
    guarded: Option<SectionsBuilder>,
    /// Records asked for that the guard left.
    left: usize,
    /// For the end of the authority section: what proves that wildcards were rightly used, of every reply.
    proofs: Vec<Proof>,
}

/// An NSEC or NSEC3 record, or a signature of one.
#[derive(Debug, PartialEq, Eq)]
struct Proof {
    owner: Name,
    kind: Type,
    ttl_s: u32,
    data: Vec<u8>,
}

impl Trail {
    /// Sets out from a question.
    pub fn new(name: Name, kind: Type, dnssec_ok: bool, caps: Caps) -> Self {
        Self {
            kind,
            dnssec_ok,
            caps,
            here: name,
            passed: Vec::new(),
            rcode: Rcode::NOERROR,
            authentic: true,
            ede: None,
            ttl_s: u32::MAX,
            is_negative: false,
            said: SectionsBuilder::new(&name),
            guarded: None,
            left: 0,
            proofs: Vec::new(),
        }
    }

    /// Takes a reply to the question for the name the trail stands at.
    ///
    /// # Errors
    /// When its chain is too long, turns in a circle, or holds a broken record.
    pub fn follow(&mut self, message: &Message<'_>) -> Result<Step, Astray> {
        let step = self.follow_links(message)?;
        if step == Step::Done {
            self.lay_proofs()?;
        }
        Ok(step)
    }

    fn follow_links(&mut self, message: &Message<'_>) -> Result<Step, Astray> {
        self.authentic &= message.is_authentic();
        self.rcode = message.rcode();
        if let Some(ede) = message.ede() {
            self.ede = Some(Box::new((ede.code, ede.text.into())));
        }
        let set_out = self.passed.len();
        loop {
            // Asked for itself, an alias is the answer, and comes with the DNAME that makes it.
            if self.kind != Type::CNAME && self.keep_set(message, self.here, self.kind)? > 0 {
                self.keep_expansion(message, set_out)?;
                return Ok(Step::Done);
            }
            let Some(target) = self.keep_link(message)? else {
                break;
            };
            if self.kind == Type::CNAME {
                self.keep_expansion(message, set_out)?;
                return Ok(Step::Done);
            }
            if target == self.here || self.passed.contains(&target) {
                return Err(Astray::Loop);
            }
            if self.passed.len() >= LINKS_MAX {
                return Err(Astray::TooLong);
            }
            self.passed.push(std::mem::replace(&mut self.here, target));
        }
        let went_on = self.passed.len() > set_out;
        self.is_negative = true;
        let denied = self.keep_denial(message)?;
        if !denied && went_on && self.rcode == Rcode::NOERROR {
            self.is_negative = false;
            self.keep_expansion(message, set_out)?;
            return Ok(Step::Ask(self.here));
        }
        if !denied {
            // RFC 2308 §5: what nobody bounds is not kept.
            self.ttl_s = 0;
        }
        Ok(Step::Done)
    }

    /// Keeps the link that leads on from here, if there is one. Returns where it leads.
    fn keep_link(&mut self, message: &Message<'_>) -> Result<Option<Name>, Astray> {
        let here = self.here;
        let is_dname = |record: &Record<'_>| {
            record.kind == Type::DNAME
                && !record.is_of(&here)
                && here.is_at_or_below(&record.owner())
        };
        // RFC 6672 §3.1: a DNAME comes with the CNAME that it makes; one of them may be missing.
        let dname = answers(message).find(is_dname);
        if let Some(dname) = &dname {
            self.keep_set(message, dname.owner(), Type::DNAME)?;
        }
        if let Some(cname) =
            answers(message).find(|record| record.kind == Type::CNAME && record.is_of(&here))
        {
            self.keep(Section::Answer, from_ref(&cname), cname.ttl_s)?;
            self.keep_signatures(message, Section::Answer, here, Type::CNAME)?;
            return Ok(Some(cname.target()?));
        }
        let Some(dname) = dname else { return Ok(None) };
        let target =
            moved(&here, &dname.owner(), &dname.target()?).ok_or(Malformed::NameTooLong)?;
        let ttl_s = dname.ttl_s.min(self.caps.positive_s);
        for sections in self.both() {
            sections.push_data(Section::Answer, &here, Type::CNAME, ttl_s, target.octets())?;
        }
        Ok(Some(target))
    }

    /// Keeps every record of one owner and type, and their signatures. Returns how many there are.
    fn keep_set(
        &mut self,
        message: &Message<'_>,
        owner: Name,
        kind: Type,
    ) -> Result<usize, Astray> {
        let of_set = |record: &Record<'_>| record.kind == kind && record.is_of(&owner);
        let mut found = answers(message).filter(of_set);
        let Some(first) = found.next() else {
            return Ok(0);
        };
        // Most sets have one record, and need no list.
        let several = match found.next() {
            None => Vec::new(),
            Some(second) => without_doubles([first.clone(), second].into_iter().chain(found))?,
        };
        let set = match several.as_slice() {
            [] => from_ref(&first),
            several => several,
        };
        // RFC 2181 §5.2: the TTLs of a set are the same; where they are not, the least counts.
        let ttl_s = set.iter().map(|it| it.ttl_s).min().unwrap_or(first.ttl_s);
        if kind == self.kind {
            return self.keep_wanted(message, &owner, set, ttl_s);
        }
        self.keep(Section::Answer, set, ttl_s)?;
        self.keep_signatures(message, Section::Answer, owner, kind)?;
        Ok(set.len())
    }

    /// Keeps the records that were asked for; the guard looks at each.
    fn keep_wanted(
        &mut self,
        message: &Message<'_>,
        owner: &Name,
        set: &[Record<'_>],
        ttl_s: u32,
    ) -> Result<usize, Astray> {
        let mut altered = false;
        for record in set {
            // RFC 4034 §3: signatures have the TTLs of what they cover, each its own.
            let ttl_s = self.cap(match self.kind {
                Type::RRSIG => record.ttl_s,
                _ => ttl_s,
            });
            let seen = inspect(record)?;
            if !matches!(seen, Seen::Clean) {
                altered = true;
                self.guarded.get_or_insert_with(|| self.said.clone());
            }
            self.said.push(Section::Answer, record, ttl_s)?;
            match (seen, &mut self.guarded) {
                (Seen::Private, _) => continue,
                (Seen::Clean, None) => {}
                (Seen::Clean, Some(guarded)) => guarded.push(Section::Answer, record, ttl_s)?,
                (Seen::Without(data), guarded) => {
                    let guarded = guarded.as_mut().expect("it was put there above");
                    guarded.push_data(
                        Section::Answer,
                        &record.owner(),
                        record.kind,
                        ttl_s,
                        &data,
                    )?;
                }
            }
            self.left += 1;
        }
        for signature in self.signatures(message, Section::Answer, *owner, self.kind) {
            let ttl_s = self.cap(signature.ttl_s);
            self.said.push(Section::Answer, &signature, ttl_s)?;
            if let Some(guarded) = self.guarded.as_mut().filter(|_| !altered) {
                guarded.push(Section::Answer, &signature, ttl_s)?;
            }
        }
        Ok(set.len())
    }

    /// Keeps the SOA that bounds a denial (RFC 2308 §3, §5) and, for those who validate, its proof. False: there is none.
    fn keep_denial(&mut self, message: &Message<'_>) -> Result<bool, Astray> {
        let here = self.here;
        let is_soa = |record: &Record<'_>| {
            record.kind == Type::SOA
                && here.is_at_or_below(&record.owner())
                && record.spelled().is_ok()
        };
        let Some(soa) = authorities(message).find(is_soa) else {
            return Ok(false);
        };
        let minimum_s = soa.soa_minimum_s().ok_or(Malformed::BadData)?;
        let ttl_s = soa.ttl_s.min(minimum_s).min(self.caps.negative_s);
        self.keep(Section::Authority, from_ref(&soa), ttl_s)?;
        self.keep_signatures(message, Section::Authority, soa.owner(), Type::SOA)?;
        if self.dnssec_ok {
            self.keep_proofs(message, ttl_s)?;
        }
        self.ttl_s = self.ttl_s.min(ttl_s);
        Ok(true)
    }

    /// What a wildcard made is only believed with the proof that there is no nearer name (RFC 4035 §5.3.4).
    fn keep_expansion(&mut self, message: &Message<'_>, set_out: usize) -> Result<(), Astray> {
        let of_trail = |owner: Name| owner == self.here || self.passed[set_out..].contains(&owner);
        let is_expanded =
            |it: Record<'_>| it.kind == Type::RRSIG && is_of_wildcard(&it) && of_trail(it.owner());
        if self.dnssec_ok && answers(message).any(is_expanded) {
            self.keep_proofs(message, u32::MAX)?;
        }
        Ok(())
    }

    /// Keeps NSEC and NSEC3 records for `ttl_s` at most, and their signatures.
    fn keep_proofs(&mut self, message: &Message<'_>, ttl_s: u32) -> Result<(), Astray> {
        let is_proof = |it: &Record<'_>| matches!(it.kind, Type::NSEC | Type::NSEC3);
        for record in authorities(message).filter(is_proof).take(PROOFS_MAX) {
            let proof = self.proof(&record, record.ttl_s.min(ttl_s))?;
            // Links of a chain may share it.
            if self.proofs.contains(&proof) {
                continue;
            }
            self.proofs.push(proof);
            for it in self.signatures(message, Section::Authority, record.owner(), record.kind) {
                let signature = self.proof(&it, it.ttl_s)?;
                self.proofs.push(signature);
            }
        }
        Ok(())
    }

    fn proof(&mut self, record: &Record<'_>, ttl_s: u32) -> Result<Proof, Astray> {
        Ok(Proof {
            owner: record.owner(),
            kind: record.kind,
            ttl_s: self.cap(ttl_s),
            data: record.spelled()?,
        })
    }

    /// The answer section is whole: the proofs stand last.
    fn lay_proofs(&mut self) -> Result<(), Astray> {
        for it in std::mem::take(&mut self.proofs) {
            for sections in self.both() {
                sections.push_data(Section::Authority, &it.owner, it.kind, it.ttl_s, &it.data)?;
            }
        }
        Ok(())
    }

    fn keep_signatures(
        &mut self,
        message: &Message<'_>,
        section: Section,
        owner: Name,
        covered: Type,
    ) -> Result<(), Astray> {
        for signature in self.signatures(message, section, owner, covered) {
            self.keep(section, from_ref(&signature), signature.ttl_s)?;
        }
        Ok(())
    }

    /// The RRSIGs of a set (RFC 4034 §3.1), for those who asked for them.
    fn signatures<'m>(
        &self,
        message: &Message<'m>,
        section: Section,
        owner: Name,
        covered: Type,
    ) -> Vec<Record<'m>> {
        let covers =
            |record: &Record<'_>| record.data().first_chunk() == Some(&covered.0.to_be_bytes());
        let is_it = |record: &Record<'_>| {
            record.kind == Type::RRSIG && record.is_of(&owner) && covers(record)
        };
        match self.dnssec_ok {
            true => message.records(section).filter(is_it).collect(),
            false => Vec::new(),
        }
    }

    fn keep(&mut self, section: Section, records: &[Record<'_>], ttl_s: u32) -> Result<(), Astray> {
        let ttl_s = self.cap(ttl_s);
        for record in records {
            for sections in self.both() {
                sections.push(section, record, ttl_s)?;
            }
        }
        Ok(())
    }

    /// What was said, and the same for those who may not see all of it, where that is another thing.
    fn both(&mut self) -> impl Iterator<Item = &mut SectionsBuilder> {
        [&mut self.said].into_iter().chain(&mut self.guarded)
    }

    fn cap(&mut self, ttl_s: u32) -> u32 {
        let ttl_s = ttl_s.min(self.caps.positive_s);
        self.ttl_s = self.ttl_s.min(ttl_s);
        ttl_s
    }

    /// Does the trail end with nothing?
    pub fn is_negative(&self) -> bool {
        self.is_negative
    }

    /// Seconds that the whole may be kept.
    pub fn ttl_s(&self) -> u32 {
        self.ttl_s
    }

    /// The answer.
    pub fn finish(self) -> Finding {
        let guarded = match (self.guarded, self.left) {
            (None, _) => Guarded::Same,
            (Some(_), 0) => Guarded::Emptied,
            (Some(guarded), _) => Guarded::Reduced(Box::new(guarded.finish())),
        };
        Finding {
            rcode: self.rcode,
            authentic: self.authentic,
            said: self.said.finish(),
            guarded,
            ede: self.ede,
        }
    }
}

/// A set without the records that stand in it twice (RFC 2181 §5).
fn without_doubles<'m>(
    set: impl Iterator<Item = Record<'m>>,
) -> Result<Vec<Record<'m>>, Malformed> {
    let mut seen = HashSet::new();
    let mut kept = Vec::new();
    for record in set {
        if seen.insert(record.spelled()?) {
            kept.push(record);
        }
    }
    Ok(kept)
}

/// The internet's records of a section (RFC 2181 §5: other classes are other worlds).
fn answers<'m>(message: &Message<'m>) -> impl Iterator<Item = Record<'m>> + use<'m> {
    message
        .records(Section::Answer)
        .filter(|record| record.class == crate::wire::CLASS_IN)
}

fn authorities<'m>(message: &Message<'m>) -> impl Iterator<Item = Record<'m>> + use<'m> {
    message
        .records(Section::Authority)
        .filter(|record| record.class == crate::wire::CLASS_IN)
}

/// Does a signature have fewer labels than its owner (RFC 4034 §3.1.3)?
fn is_of_wildcard(signature: &Record<'_>) -> bool {
    let signed = signature.data().get(3).copied().map(usize::from);
    signed.is_some_and(|labels| labels < signature.owner().labels().count())
}

/// `name` with its ending `from` replaced by `to` (RFC 6672 §2.2).
fn moved(name: &Name, from: &Name, to: &Name) -> Option<Name> {
    let end = name.depth_below(from)?;
    let mut starts: Vec<usize> = name.starts().take_while(|at| *at < end).collect();
    starts.reverse();
    starts
        .into_iter()
        .try_fold(*to, |below, at| below.child(name.label_at(at)))
}

/// What the guard sees in a record.
enum Seen {
    Clean,
    /// It is a private address.
    Private,
    /// It holds some; this is the data without them.
    Without(Vec<u8>),
}

fn inspect(record: &Record<'_>) -> Result<Seen, Astray> {
    let data = record.data();
    let is_private = match record.kind {
        Type::A => is_private(IpAddr::from(
            *data.first_chunk::<4>().ok_or(Malformed::BadData)?,
        )),
        Type::AAAA => is_private(IpAddr::from(
            *data.first_chunk::<16>().ok_or(Malformed::BadData)?,
        )),
        Type::SVCB | Type::HTTPS => return Ok(inspect_hints(&record.spelled()?)),
        _ => false,
    };
    Ok(if is_private {
        Seen::Private
    } else {
        Seen::Clean
    })
}

/// SvcParamKeys (RFC 9460 §14.3.2).
const MANDATORY: u16 = 0;
const IPV4HINT: u16 = 4;
const IPV6HINT: u16 = 6;

/// Looks at the hints of an SVCB or HTTPS record (RFC 9460 §7.3). One that cannot be read is no better than private.
fn inspect_hints(data: &[u8]) -> Seen {
    let Some(params_at) = target_end(data) else {
        return Seen::Private;
    };
    let mut kept = data[..params_at].to_vec();
    let mut rest = &data[params_at..];
    let (mut altered, mut mandatory, mut gone) = (false, Vec::new(), Vec::new());
    while !rest.is_empty() {
        let Some((key, value, behind)) = param(rest) else {
            return Seen::Private;
        };
        let public = match key {
            IPV4HINT => public_hints::<4>(value),
            IPV6HINT => public_hints::<16>(value),
            _ => Some(value.to_vec()),
        };
        let Some(public) = public else {
            return Seen::Private;
        };
        if key == MANDATORY {
            mandatory = value
                .chunks_exact(2)
                .map(|it| u16::from_be_bytes([it[0], it[1]]))
                .collect();
        }
        altered |= public.len() < value.len();
        if public.is_empty() && !value.is_empty() {
            gone.push(key);
        } else {
            let len = u16::try_from(public.len()).unwrap_or(0);
            kept.extend(key.to_be_bytes().into_iter().chain(len.to_be_bytes()));
            kept.extend(public);
        }
        rest = behind;
    }
    if gone.iter().any(|key| mandatory.contains(key)) {
        return Seen::Private;
    }
    if altered {
        Seen::Without(kept)
    } else {
        Seen::Clean
    }
}

/// Where the SvcParams begin: behind the priority and the target, spelled out.
fn target_end(data: &[u8]) -> Option<usize> {
    let mut at = 2;
    loop {
        match *data.get(at)? {
            0 => return Some(at + 1),
            len => at += usize::from(len) + 1,
        }
    }
}

/// The first SvcParam: key, value, and what lies behind it.
fn param(rest: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (key, rest) = rest.split_first_chunk()?;
    let (len, rest) = rest.split_first_chunk()?;
    let (value, behind) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
    Some((u16::from_be_bytes(*key), value, behind))
}

/// The addresses of a hint that are not private; none when it is not a list of addresses.
fn public_hints<const N: usize>(value: &[u8]) -> Option<Vec<u8>>
where
    IpAddr: From<[u8; N]>,
{
    let (addresses, rest) = value.as_chunks::<N>();
    let public = |address: &&[u8; N]| !is_private(IpAddr::from(**address));
    rest.is_empty()
        .then(|| addresses.iter().filter(public).flatten().copied().collect())
}

/// Ranges that no public host has: an address and the bits of it that count.
/// The documentation ranges are not among them: they lead nowhere (SPEC 7).
const PRIVATE_V4: [(Ipv4Addr, u32); 14] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // A cloud's metadata service, in public space.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
    (Ipv4Addr::new(255, 255, 255, 255), 32),
];

/// The same for IPv6, but for those that embed an IPv4 address.
const PRIVATE_V6: [(Ipv6Addr, u32); 11] = [
    (Ipv6Addr::UNSPECIFIED, 128),
    (Ipv6Addr::LOCALHOST, 128),
    (Ipv6Addr::new(0x64, 0xFF9B, 1, 0, 0, 0, 0, 0), 48),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64),
    (Ipv6Addr::new(0x5F00, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0xFC00, 0, 0, 0, 0, 0, 0, 0), 7),
    (Ipv6Addr::new(0xFE80, 0, 0, 0, 0, 0, 0, 0), 10),
    (Ipv6Addr::new(0xFEC0, 0, 0, 0, 0, 0, 0, 0), 10),
    (Ipv6Addr::new(0xFF00, 0, 0, 0, 0, 0, 0, 0), 8),
    // IETF protocol assignments, ORCHID and Teredo among them (RFC 2928).
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    // IPv4-compatible addresses, long deprecated (RFC 4291 §2.5.5.1).
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 0), 96),
];

/// Does an address lead into the machine, its networks, or nowhere that a policy name has business?
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => PRIVATE_V4.iter().any(|(net, bits)| {
            (v4.to_bits() ^ net.to_bits())
                .checked_shr(32 - bits)
                .unwrap_or(0)
                == 0
        }),
        IpAddr::V6(v6) => match embedded(v6) {
            Some(v4) => is_private(v4.into()),
            None => PRIVATE_V6.iter().any(|(net, bits)| {
                (v6.to_bits() ^ net.to_bits())
                    .checked_shr(128 - bits)
                    .unwrap_or(0)
                    == 0
            }),
        },
    }
}

/// The IPv4 address inside an IPv6 one: v4-mapped, NAT64 (RFC 6052) or 6to4 (RFC 3056).
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, ..] = v6.segments();
    let low = |bits: u128| Ipv4Addr::from_bits(u32::try_from(bits & 0xFFFF_FFFF).expect("masked"));
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xFFFF] | [0x64, 0xFF9B, 0, 0, 0, 0] => Some(low(v6.to_bits())),
        [0x2002, ..] => Some(low(v6.to_bits() >> 80)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_where_they_end() {
        let edges = [
            ("0.0.0.0", "0.255.255.255", "1.0.0.0"),
            ("10.0.0.0", "10.255.255.255", "11.0.0.0"),
            ("100.64.0.0", "100.127.255.255", "100.128.0.0"),
            ("127.0.0.0", "127.255.255.255", "128.0.0.0"),
            ("168.63.129.16", "168.63.129.16", "168.63.129.17"),
            ("169.254.0.0", "169.254.255.255", "169.255.0.0"),
            ("172.16.0.0", "172.31.255.255", "172.32.0.0"),
            ("192.0.0.0", "192.0.0.255", "192.0.1.0"),
            ("192.88.99.0", "192.88.99.255", "192.88.100.0"),
            ("192.168.0.0", "192.168.255.255", "192.169.0.0"),
            ("198.18.0.0", "198.19.255.255", "198.20.0.0"),
            ("224.0.0.0", "255.255.255.255", "223.255.255.255"),
            ("::", "::1", "1::"),
            (
                "::ffff:10.0.0.0",
                "::ffff:10.255.255.255",
                "::ffff:11.0.0.0",
            ),
            ("64:ff9b::a00:0", "64:ff9b::aff:ffff", "64:ff9b::b00:0"),
            (
                "64:ff9b:1::",
                "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
                "64:ff9b:2::",
            ),
            ("100::", "100::ffff:ffff:ffff:ffff", "100:0:0:1::"),
            ("2001::", "2001:1ff:ffff::", "2001:200::"),
            ("2002:a00::", "2002:aff:ffff::1", "2002:b00::"),
            ("5f00::", "5f00:ffff::", "5f01::"),
            ("fc00::", "fdff:ffff::", "fe00::"),
            ("fe80::", "febf:ffff::", "fe7f::"),
            ("fec0::", "feff:ffff::", "fe00::1"),
            ("ff00::", "ffff::", "fbff::"),
        ];
        for (first, last, beyond) in edges {
            let private = |text: &str| is_private(text.parse().expect(text));
            assert!(private(first) && private(last), "{first} to {last}");
            assert!(!private(beyond), "{beyond}");
        }
    }

    #[test]
    fn documentation_and_public_addresses_stay() {
        for public in [
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "2001:db8::1",
            "3fff::1",
            "93.184.216.34",
        ] {
            assert!(!is_private(public.parse().expect(public)), "{public}");
        }
    }

    #[test]
    fn hints_lose_their_private_addresses_alone() {
        let record = |params: &[u8]| [b"\0\x01\0", params].concat();
        let v4 = |addresses: &[[u8; 4]]| {
            let len = u8::try_from(addresses.len() * 4).expect("few");
            [&[0, 4, 0, len][..], &addresses.concat()].concat()
        };
        let alpn = b"\0\x01\0\x03\x02h2";
        let mixed = record(&[&alpn[..], &v4(&[[10, 0, 0, 1], [192, 0, 2, 1]])].concat());
        let public = record(&[&alpn[..], &v4(&[[192, 0, 2, 1]])].concat());
        assert!(matches!(inspect_hints(&mixed), Seen::Without(data) if data == public));
        assert!(matches!(inspect_hints(&public), Seen::Clean));
        let only = record(&[&alpn[..], &v4(&[[10, 0, 0, 1]])].concat());
        assert!(matches!(inspect_hints(&only), Seen::Without(data) if data == record(alpn)));
        let mandatory = record(&[&b"\0\0\0\x02\0\x04"[..], &v4(&[[10, 0, 0, 1]])].concat());
        assert!(matches!(inspect_hints(&mandatory), Seen::Private));
        assert!(matches!(
            inspect_hints(&record(b"\0\x04\0\x03\x0A\0\0")),
            Seen::Private
        ));
        assert!(matches!(
            inspect_hints(&record(b"\0\x01\0\x09h2")),
            Seen::Private
        ));
    }

    /// What a reply that denies `a.` comes to, for a client that validates.
    fn denied(authorities: &[&[u8]]) -> Finding {
        let count = u16::try_from(authorities.len()).expect("a count");
        let mut octets = b"\0\0\x81\x83\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01".to_vec();
        octets[8..10].copy_from_slice(&count.to_be_bytes());
        octets.extend(authorities.concat());
        let message = Message::read(&octets).expect("its frame holds");
        let caps = Caps {
            positive_s: 300,
            negative_s: 30,
        };
        let name = "a".parse().expect("a name");
        let mut trail = Trail::new(name, Type::A, true, caps);
        assert_eq!(trail.follow(&message), Ok(Step::Done));
        trail.finish()
    }

    const SOA: &[u8] =
        b"\0\0\x06\0\x01\0\0\0\x3C\0\x16\0\0\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x05";

    #[test]
    fn a_denial_has_as_many_proofs_as_one_takes() {
        let nsec = |types: u16| {
            let [high, low] = types.to_be_bytes();
            [&b"\0\0\x2F\0\x01\0\0\0\x3C\0\x03\0"[..], &[high, low]].concat()
        };
        let proofs = |distinct: u16| {
            let nsecs: Vec<Vec<u8>> = (0..4000).map(|i| nsec(i % distinct)).collect();
            let records = nsecs.iter().map(Vec::as_slice).chain([SOA]);
            denied(&records.collect::<Vec<_>>()).said.counts()
        };
        assert_eq!(proofs(4000), [0, 1 + 8, 0]);
        // RFC 2181 §5: one that stands there twice is one.
        assert_eq!(proofs(1), [0, 1 + 1, 0]);
    }

    #[test]
    fn a_broken_soa_bounds_nothing_and_spoils_nothing() {
        let broken: &[u8] = b"\0\0\x06\0\x01\0\0\0\x3C\0\x04\0\0\0\x05";
        let finding = denied(&[broken]);
        assert_eq!(
            (finding.rcode, finding.said.counts()),
            (Rcode::NXDOMAIN, [0; 3])
        );
        assert_eq!(denied(&[broken, SOA]).said.counts(), [0, 1, 0]);
    }

    #[test]
    fn a_dname_moves_what_is_below_it() {
        let name = |text: &str| text.parse::<Name>().expect(text);
        let at = |it: &str| moved(&name(it), &name("old.example"), &name("new.example"));
        assert_eq!(at("a.b.old.example"), Some(name("a.b.new.example")));
        assert_eq!(at("a.other.example"), None);
    }
}
