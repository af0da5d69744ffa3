//! The decision trail: what was decided lately, by name.
//!
//! Finished queries come in from the writer's thread, one by one; what is known
//! of a name goes out as a [`Sighting`]. Names are folded: `_http._tcp.NAME`
//! counts for `NAME`. The table is bounded, and the names that were seen least
//! recently make room. Nothing here touches the road of a query.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::Transport;
use super::queue::Record;
use super::reloads::rfc3339;
use crate::answer::{Outcome, Reason, Ruling};
use crate::wire::{Name, Type};

/// Names that are remembered: a day of a busy box, in under 4 MB when all of them are long.
const NAMES_MAX: usize = 10_000;
/// How many are kept when the table is full: making room for many at once costs each little.
const NAMES_KEPT: usize = NAMES_MAX - NAMES_MAX / 8;
/// Types that are remembered of one name: clients ask for three or four.
const KINDS_MAX: usize = 8;

/// What is remembered of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// As folded: `_http._tcp.deb.debian.org` counts for `deb.debian.org`.
    pub name: Name,
    /// The last unfolded owner, when it differed.
    pub asked_as: Option<Name>,
    /// Of the last decision; what was decided about the name itself goes before what was about a folded owner.
    pub ruling: Ruling,
    /// Why so.
    pub reason: Reason,
    /// The types asked for, in the order of first sight, at most eight.
    pub kinds: Vec<Type>,
    /// How often it was asked for.
    pub count: u64,
    /// How many of those were blocked.
    pub blocked: u64,
    /// When it was asked for first.
    pub first: SystemTime,
    /// When it was asked for last.
    pub last: SystemTime,
    /// The number of the policy that judged last.
    pub generation: u64,
    /// The last that asked.
    pub client: IpAddr,
}

impl Sighting {
    /// For programs.
    pub fn json(&self) -> Value {
        let kinds: Vec<String> = self.kinds.iter().map(ToString::to_string).collect();
        json!({
            "name": self.name.to_string(),
            "asked_as": self.asked_as.map(|it| it.to_string()),
            "verdict": self.ruling.word(),
            "reason": self.reason.word(),
            "types": kinds,
            "count": self.count,
            "blocked": self.blocked,
            "first": rfc3339(self.first),
            "last": rfc3339(self.last),
            "generation": self.generation,
            "client": self.client.to_string(),
        })
    }
}

/// One decision, as it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// When it was made.
    pub at: SystemTime,
    /// What was asked for, not folded.
    pub name: Name,
    /// The type asked for.
    pub kind: Type,
    /// How it was asked.
    pub transport: Transport,
    /// Who asked.
    pub client: SocketAddr,
    /// What became of it.
    pub outcome: Outcome,
    /// The pattern that granted it.
    pub matched: Option<String>,
    /// The number of the policy that judged it.
    pub generation: u64,
    /// From the query's arrival to the reply.
    pub took: Duration,
    /// The smallest TTL in the reply, seconds; none: no record in it.
    pub ttl_s: Option<u32>,
}

/// The table.
#[derive(Default)]
pub(super) struct Trail {
    /// By the wire form of the folded name.
    slots: HashMap<Box<[u8]>, Slot>,
    /// Blocked lookups so far: rises with each.
    blocked: u64,
}

/// What is remembered of one name, small.
struct Slot {
    asked_as: Option<Box<[u8]>>,
    reason: Reason,
    /// Was that decided about the name itself, not about a folded owner?
    is_own: bool,
    kinds: Kinds,
    count: u64,
    blocked: u64,
    first: SystemTime,
    last: SystemTime,
    generation: u64,
    client: IpAddr,
}

/// A few types, each once.
#[derive(Default)]
struct Kinds {
    types: [u16; KINDS_MAX],
    len: u8,
}

impl Trail {
    /// Takes in a finished query, if a name was decided about in it.
    pub(super) fn note(&mut self, record: &Record) {
        let Some(name) = record.name.filter(|_| is_decision(record.outcome.reason)) else {
            return;
        };
        let folded = folded(&name);
        let is_own = folded.len() == name.octets().len();
        if !self.slots.contains_key(folded) {
            self.make_room();
            self.slots.insert(folded.into(), Slot::new(record, is_own));
        }
        let slot = self.slots.get_mut(folded).expect("it was put there");
        slot.note(record, is_own);
        if !is_own {
            slot.asked_as = Some(name.octets().into());
        }
        self.blocked += u64::from(is_blocked(record.outcome.reason));
    }

    /// Lookups that were blocked so far.
    pub(super) fn blocked(&self) -> u64 {
        self.blocked
    }

    /// What is remembered, newest first; `wanted` chooses.
    pub(super) fn sightings(&self, wanted: impl Fn(&Sighting) -> bool) -> Vec<Sighting> {
        let all = self.slots.iter().map(|(name, slot)| slot.sighting(name));
        let mut chosen: Vec<Sighting> = all.filter(wanted).collect();
        chosen.sort_by(|a, b| {
            b.last
                .cmp(&a.last)
                .then_with(|| a.name.octets().cmp(b.name.octets()))
        });
        chosen
    }

    /// Lets the names go that were seen least recently, when there is no room for one more.
    fn make_room(&mut self) {
        if self.slots.len() < NAMES_MAX {
            return;
        }
        let mut seen: Vec<SystemTime> = self.slots.values().map(|it| it.last).collect();
        let (_, oldest_kept, _) = seen.select_nth_unstable(NAMES_MAX - NAMES_KEPT);
        let oldest_kept = *oldest_kept;
        self.slots.retain(|_, slot| slot.last >= oldest_kept);
        // All at the same moment: a clock that stands still.
        if self.slots.len() >= NAMES_MAX {
            self.slots.clear();
        }
    }
}

/// Was there a decision about the name? A client that is turned away gets none, and leaves no trace.
fn is_decision(reason: Reason) -> bool {
    match reason.ruling() {
        Ruling::Allowed | Ruling::Blocked | Ruling::Error => true,
        Ruling::Refused => false,
    }
}

fn is_blocked(reason: Reason) -> bool {
    reason.ruling() == Ruling::Blocked
}

/// The wire form of the name that an owner counts for: labels in front that begin with an underscore
/// (RFC 8552) say what is asked about a name, and not which name it is.
fn folded(name: &Name) -> &[u8] {
    let octets = name.octets();
    let named = name
        .starts()
        .find(|at| !name.label_at(*at).starts_with(b"_"));
    &octets[named.unwrap_or(0)..]
}

impl Slot {
    fn new(record: &Record, is_own: bool) -> Self {
        Self {
            asked_as: None,
            reason: record.outcome.reason,
            is_own,
            kinds: Kinds::default(),
            count: 0,
            blocked: 0,
            first: record.at,
            last: record.at,
            generation: record.generation,
            client: record.client.ip().to_canonical(),
        }
    }

    fn note(&mut self, record: &Record, is_own: bool) {
        let reason = record.outcome.reason;
        self.count += 1;
        self.blocked += u64::from(is_blocked(reason));
        self.kinds.note(record.kind);
        self.first = self.first.min(record.at);
        // The SRV question that is refused beside the address that is granted is no news about the name.
        if is_own || !self.is_own || self.generation != record.generation {
            self.reason = reason;
            self.is_own = is_own;
            self.generation = record.generation;
        }
        self.last = self.last.max(record.at);
        self.client = record.client.ip().to_canonical();
    }

    fn sighting(&self, name: &[u8]) -> Sighting {
        let name_of = |octets: &[u8]| Name::of_octets(octets).expect("only names are kept");
        Sighting {
            name: name_of(name),
            asked_as: self.asked_as.as_deref().map(name_of),
            ruling: self.reason.ruling(),
            reason: self.reason,
            kinds: self.kinds.list(),
            count: self.count,
            blocked: self.blocked,
            first: self.first,
            last: self.last,
            generation: self.generation,
            client: self.client,
        }
    }
}

impl Kinds {
    fn note(&mut self, kind: Type) {
        let len = usize::from(self.len);
        if len < KINDS_MAX && !self.types[..len].contains(&kind.0) {
            self.types[len] = kind.0;
            self.len += 1;
        }
    }

    fn list(&self) -> Vec<Type> {
        let types = &self.types[..usize::from(self.len)];
        types.iter().copied().map(Type).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Desk;
    use crate::wire::Rcode;

    fn record(name: &str, kind: Type, reason: Reason, at_s: u64) -> Record {
        Record {
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(at_s),
            name: Some(name.parse().expect(name)),
            kind,
            transport: Transport::Udp,
            client: "[::ffff:10.0.3.7]:41822".parse().expect("an address"),
            outcome: Outcome {
                desk: Desk::Blocked,
                reason,
                rcode: Some(Rcode::NXDOMAIN),
                ede: Some(15),
            },
            rule: None,
            generation: 1,
            took: Duration::ZERO,
            ttl_s: None,
        }
    }

    /// The one sighting.
    fn only(trail: &Trail) -> Sighting {
        let mut all = trail.sightings(|_| true);
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    #[test]
    fn owners_with_underscores_count_for_the_name_they_are_about() {
        for (owner, name) in [
            ("_http._tcp.deb.debian.org", "deb.debian.org"),
            ("_dmarc.example.com", "example.com"),
            ("a._b.example.com", "a._b.example.com"),
            ("_tcp", "_tcp"),
            ("_a._b", "_a._b"),
            (".", "."),
        ] {
            let mut trail = Trail::default();
            trail.note(&record(owner, Type::SRV, Reason::NotListed, 1));
            let seen = only(&trail);
            assert_eq!(seen.name.to_string(), name);
            let asked_as = seen.asked_as.map(|it| it.to_string());
            assert_eq!(asked_as.as_deref(), (owner != name).then_some(owner));
        }
    }

    #[test]
    fn all_that_is_asked_of_a_name_adds_up() {
        let mut trail = Trail::default();
        for (kind, reason, at_s) in [
            (Type::A, Reason::NotListed, 5),
            (Type::AAAA, Reason::NotListed, 4),
            (Type::A, Reason::Exact, 6),
        ] {
            trail.note(&record("a.example", kind, reason, at_s));
        }
        let seen = only(&trail);
        assert_eq!((seen.count, seen.blocked), (3, 2));
        assert_eq!(seen.kinds, [Type::A, Type::AAAA]);
        assert_eq!((seen.ruling, seen.reason), (Ruling::Allowed, Reason::Exact));
        let at = |at_s| SystemTime::UNIX_EPOCH + Duration::from_secs(at_s);
        assert_eq!((seen.first, seen.last), (at(4), at(6)));
        assert_eq!(seen.client.to_string(), "10.0.3.7");
    }

    #[test]
    fn a_folded_owner_does_not_overrule_the_name_itself() {
        let mut trail = Trail::default();
        let (name, owner) = ("deb.debian.org", "_http._tcp.deb.debian.org");
        trail.note(&record(owner, Type::SRV, Reason::NotListed, 1));
        assert_eq!(only(&trail).reason, Reason::NotListed);
        trail.note(&record(name, Type::A, Reason::Exact, 2));
        trail.note(&record(owner, Type::SRV, Reason::NotListed, 3));
        assert_eq!(only(&trail).reason, Reason::Exact);
        let later = record(owner, Type::SRV, Reason::NotListed, 4);
        trail.note(&Record {
            generation: 2,
            ..later
        });
        assert_eq!(only(&trail).reason, Reason::NotListed, "another policy");
    }

    #[test]
    fn only_decisions_about_names_leave_a_trace() {
        let mut trail = Trail::default();
        for reason in [Reason::ClientAcl, Reason::Rate, Reason::NotServed] {
            trail.note(&record("a.example", Type::A, reason, 1));
        }
        trail.note(&Record {
            name: None,
            ..record("a.example", Type::A, Reason::Malformed, 1)
        });
        assert!(trail.sightings(|_| true).is_empty());
    }

    #[test]
    fn the_types_of_a_name_are_bounded() {
        let mut trail = Trail::default();
        for kind in 1..=100 {
            trail.note(&record("a.example", Type(kind), Reason::NotListed, 1));
        }
        assert_eq!(only(&trail).kinds.len(), KINDS_MAX);
    }

    #[test]
    fn the_least_recently_seen_make_room() {
        let mut trail = Trail::default();
        let note = |trail: &mut Trail, i: u64, at_s| {
            let name = format!("n{i}.example");
            trail.note(&record(&name, Type::A, Reason::NotListed, at_s));
        };
        for i in 0..NAMES_MAX as u64 {
            note(&mut trail, i, i);
        }
        // The oldest is seen again, and so is not the oldest any more.
        note(&mut trail, 0, NAMES_MAX as u64);
        note(&mut trail, NAMES_MAX as u64, NAMES_MAX as u64 + 1);
        assert_eq!(trail.slots.len(), NAMES_KEPT + 1);
        let seen = |text: &str| {
            let name: Name = text.parse().expect(text);
            !trail.sightings(|it| it.name == name).is_empty()
        };
        assert!(seen("n0.example") && seen("n10000.example"));
        assert!(!seen("n1.example") && !seen("n1250.example"));
        assert!(seen("n1251.example"));
    }

    #[test]
    fn a_clock_that_stands_still_is_no_way_around_the_bound() {
        let mut trail = Trail::default();
        for i in 0..2 * NAMES_MAX {
            let name = format!("n{i}.example");
            trail.note(&record(&name, Type::A, Reason::NotListed, 1));
        }
        assert!(trail.slots.len() <= NAMES_MAX);
    }

    #[test]
    fn the_newest_come_first() {
        let mut trail = Trail::default();
        for (name, at_s) in [("b.example", 1), ("c.example", 3), ("a.example", 1)] {
            trail.note(&record(name, Type::A, Reason::NotListed, at_s));
        }
        let names: Vec<String> = trail
            .sightings(|it| it.reason == Reason::NotListed)
            .iter()
            .map(|it| it.name.to_string())
            .collect();
        assert_eq!(names, ["c.example", "a.example", "b.example"]);
    }
}
