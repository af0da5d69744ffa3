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
/// Clients that are remembered of one blocked name: boxes that start alike ask alike.
const CLIENTS_MAX: usize = 8;

/// What is remembered of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// As folded: `_http._tcp.deb.debian.org` counts for `deb.debian.org`.
    pub name: Name,
    /// The last unfolded owner, when it differed.
    pub asked_as: Option<Name>,
    /// Of the last decision, which in an audit may be that it would have been blocked; what was decided about the name itself goes before what was about a folded owner.
    pub ruling: Ruling,
    /// Why so.
    pub reason: Reason,
    /// The types asked for, in the order of first sight, at most eight.
    pub kinds: Vec<Type>,
    /// How often it was asked for.
    pub count: u64,
    /// How many of those were blocked.
    pub blocked: u64,
    /// How many more would have been, but for an audit.
    pub would_block: u64,
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
            "would_block": self.would_block,
            "first": rfc3339(self.first),
            "last": rfc3339(self.last),
            "generation": self.generation,
            "client": self.client.to_string(),
        })
    }
}

/// A name that was blocked for one client, and still is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// As folded.
    pub name: Name,
    /// Why so.
    pub reason: Reason,
    /// How often it was blocked for this client.
    pub count: u64,
    /// When that was last.
    pub last: SystemTime,
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
    ruling: Ruling,
    reason: Reason,
    /// Was that decided about the name itself, not about a folded owner?
    is_own: bool,
    kinds: Kinds,
    count: u64,
    blocked: u64,
    would_block: u64,
    first: SystemTime,
    last: SystemTime,
    generation: u64,
    client: IpAddr,
    /// For whom it was blocked; at most [`CLIENTS_MAX`], those that were seen last.
    refused: Vec<Refused>,
}

/// For whom a name was blocked.
struct Refused {
    client: IpAddr,
    count: u64,
    last: SystemTime,
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
        let Some(name) = record.name.filter(|_| is_decision(record.outcome)) else {
            return;
        };
        let folded = &name.octets()[name.host_at()..];
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
        self.blocked += u64::from(record.outcome.ruling() == Ruling::Blocked);
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

    /// What is remembered of a name, as it was asked or as folded.
    pub(super) fn sighting(&self, name: &Name) -> Option<Sighting> {
        let folded = &name.octets()[name.host_at()..];
        let seen = self.slots.get(folded)?.sighting(folded);
        (seen.name == *name || seen.asked_as == Some(*name)).then_some(seen)
    }

    /// The names that `client` was refused and would be again, newest first, at most `most`; those that a search
    /// list made are left out.
    pub(super) fn refused_to(&self, client: IpAddr, most: usize) -> Vec<Refusal> {
        let is_shown =
            |slot: &Slot| slot.ruling == Ruling::Blocked && slot.reason != Reason::SearchSuffix;
        let slots = self.slots.iter().filter(|(_, slot)| is_shown(slot));
        let mut refused: Vec<_> = slots
            .filter_map(|(name, slot)| Some((name, slot, slot.refused_to(client)?)))
            .collect();
        refused.sort_by(|(a, _, to_a), (b, _, to_b)| {
            let newest_first = to_b.last.cmp(&to_a.last);
            newest_first.then_with(|| a.cmp(b))
        });
        let latest = refused.into_iter().take(most);
        latest
            .map(|(name, slot, to)| Refusal {
                name: kept(name),
                reason: slot.reason,
                count: to.count,
                last: to.last,
            })
            .collect()
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
fn is_decision(outcome: Outcome) -> bool {
    match outcome.ruling() {
        Ruling::Allowed | Ruling::Blocked | Ruling::WouldBlock | Ruling::Error => true,
        Ruling::Refused => false,
    }
}

/// The name that was kept as these octets.
fn kept(octets: &[u8]) -> Name {
    Name::of_octets(octets).expect("only names are kept")
}

impl Slot {
    fn new(record: &Record, is_own: bool) -> Self {
        Self {
            asked_as: None,
            ruling: record.outcome.ruling(),
            reason: record.outcome.reason,
            is_own,
            kinds: Kinds::default(),
            count: 0,
            blocked: 0,
            would_block: 0,
            first: record.at,
            last: record.at,
            generation: record.generation,
            client: record.client.ip().to_canonical(),
            refused: Vec::new(),
        }
    }

    fn note(&mut self, record: &Record, is_own: bool) {
        let ruling = record.outcome.ruling();
        self.count += 1;
        self.blocked += u64::from(ruling == Ruling::Blocked);
        self.would_block += u64::from(ruling == Ruling::WouldBlock);
        self.kinds.note(record.kind);
        self.first = self.first.min(record.at);
        // The SRV question that is refused beside the address that is granted is no news about the name.
        if is_own || !self.is_own || self.generation != record.generation {
            self.ruling = ruling;
            self.reason = record.outcome.reason;
            self.is_own = is_own;
            self.generation = record.generation;
        }
        self.last = self.last.max(record.at);
        self.client = record.client.ip().to_canonical();
        if ruling == Ruling::Blocked {
            self.note_refused(self.client, record.at);
        }
    }

    fn note_refused(&mut self, client: IpAddr, at: SystemTime) {
        if let Some(known) = self.refused.iter_mut().find(|it| it.client == client) {
            known.count += 1;
            known.last = known.last.max(at);
            return;
        }
        if self.refused.len() >= CLIENTS_MAX {
            let oldest = (0..CLIENTS_MAX).min_by_key(|i| self.refused[*i].last);
            self.refused.swap_remove(oldest.unwrap_or_default());
        }
        // Most names have one.
        self.refused.reserve_exact(1);
        self.refused.push(Refused {
            client,
            count: 1,
            last: at,
        });
    }

    fn refused_to(&self, client: IpAddr) -> Option<&Refused> {
        self.refused.iter().find(|it| it.client == client)
    }

    fn sighting(&self, name: &[u8]) -> Sighting {
        Sighting {
            name: kept(name),
            asked_as: self.asked_as.as_deref().map(kept),
            ruling: self.ruling,
            reason: self.reason,
            kinds: self.kinds.list(),
            count: self.count,
            blocked: self.blocked,
            would_block: self.would_block,
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
            let sighting = |text: &str| trail.sighting(&text.parse().expect(text));
            assert_eq!(sighting(owner).as_ref(), Some(&seen));
            assert_eq!(sighting(name).as_ref(), Some(&seen));
            assert_eq!(sighting("_other.example.com"), None);
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
    fn what_an_audit_let_pass_is_kept_apart() {
        let mut trail = Trail::default();
        let passed = |desk| {
            let record = record("a.example", Type::A, Reason::NotListed, 1);
            let outcome = Outcome {
                desk,
                ..record.outcome
            };
            Record { outcome, ..record }
        };
        for desk in [Desk::Upstream, Desk::Cache] {
            trail.note(&passed(desk));
        }
        let seen = only(&trail);
        assert_eq!(
            (seen.ruling, seen.reason),
            (Ruling::WouldBlock, Reason::NotListed)
        );
        assert_eq!((seen.count, seen.blocked, seen.would_block), (2, 0, 2));
        assert_eq!(trail.blocked(), 0);
        trail.note(&passed(Desk::Blocked));
        let seen = only(&trail);
        assert_eq!(
            (seen.ruling, seen.blocked, seen.would_block),
            (Ruling::Blocked, 1, 2)
        );
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
    fn a_client_is_told_what_was_refused_to_it() {
        let mut trail = Trail::default();
        let from = |client: &str, record: Record| Record {
            client: format!("{client}:40000").parse().expect("an address"),
            ..record
        };
        let mut note = |client, name, reason, at_s| {
            trail.note(&from(client, record(name, Type::A, reason, at_s)));
        };
        note("10.0.0.1", "a.example", Reason::NotListed, 1);
        note("[::ffff:10.0.0.1]", "a.example", Reason::NotListed, 2);
        note("10.0.0.2", "a.example", Reason::NotListed, 3);
        note("10.0.0.1", "b.example", Reason::NotListed, 4);
        note("10.0.0.1", "c.example", Reason::SearchSuffix, 5);
        note("10.0.0.1", "d.example", Reason::NotListed, 6);
        // It was allowed meanwhile.
        note("10.0.0.2", "d.example", Reason::Exact, 7);
        let told = |client: &str, most| -> Vec<(String, u64)> {
            let told = trail.refused_to(client.parse().expect("an address"), most);
            let told = told.into_iter();
            told.map(|it| (it.name.to_string(), it.count)).collect()
        };
        let (a, b) = (("a.example".to_owned(), 2), ("b.example".to_owned(), 1));
        assert_eq!(told("10.0.0.1", 10), [b.clone(), a]);
        assert_eq!(told("10.0.0.1", 1), [b]);
        assert_eq!(told("10.0.0.2", 10), [("a.example".to_owned(), 1)]);
        assert!(told("10.0.0.3", 10).is_empty());
    }

    #[test]
    fn the_clients_of_a_name_are_bounded() {
        let mut trail = Trail::default();
        let client =
            |i: usize| -> SocketAddr { format!("10.0.0.{i}:40000").parse().expect("an address") };
        for i in 0..=CLIENTS_MAX {
            let seen = record("a.example", Type::A, Reason::NotListed, i as u64);
            trail.note(&Record {
                client: client(i),
                ..seen
            });
        }
        let told = |i| !trail.refused_to(client(i).ip(), 10).is_empty();
        assert!(!told(0) && told(1) && told(CLIENTS_MAX));
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
