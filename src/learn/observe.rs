//! What was asked, put together by name.
//!
//! [`Observation`]s come in, one for each query of a log or one for many of a
//! running resolver; by name they go out. Only what was asked counts: what an
//! alias leads to never gets here.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use crate::answer::{Reason, Ruling};
use crate::wire::{Name, Type};

/// Different names that are kept: a tunnel makes more than any work does, and this many show it. About 40 MB.
pub const NAMES_MAX: usize = 100_000;
/// Clients that are told apart for a name.
const CLIENTS_MAX: usize = 16;

/// Queries for one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The name that was asked for.
    pub name: Name,
    /// For which types.
    pub types: Vec<Type>,
    /// How many queries.
    pub count: u64,
    /// When the first came, milliseconds since 1970; none: not known.
    pub first_ms: Option<u64>,
    /// When the last came.
    pub last_ms: Option<u64>,
    /// Why it was answered as it was; none: not known.
    pub reason: Option<Reason>,
    /// Who asked.
    pub client: Option<IpAddr>,
}

/// What was asked, by name.
#[derive(Clone, Debug, Default)]
pub struct Observations {
    seen: HashMap<Name, Seen>,
    left_out: u64,
    /// Names that a policy allowed are among them, so one that is not was not asked for.
    shows_allowed: bool,
}

/// What is known of one name's queries.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) types: BTreeSet<Type>,
    pub(super) count: u64,
    pub(super) first_ms: Option<u64>,
    pub(super) last_ms: Option<u64>,
    pub(super) clients: BTreeSet<IpAddr>,
    /// Some of it was not answered from our own zones and special names.
    pub(super) needs_policy: bool,
    /// Some of it was not said to be a search list's making by the resolver that was asked.
    pub(super) stands_alone: bool,
}

impl Observations {
    /// Adds queries. Those that were refused for who asked or how are nobody's need, and do not count.
    pub fn add(&mut self, observation: &Observation) {
        let reason = observation.reason;
        if reason.is_some_and(|it| it.ruling() == Ruling::Refused || it == Reason::Malformed) {
            return;
        }
        if self.seen.len() >= NAMES_MAX && !self.seen.contains_key(&observation.name) {
            self.left_out = self.left_out.saturating_add(observation.count);
            return;
        }
        let is_ours = matches!(reason, Some(Reason::SpecialUse | Reason::Local));
        self.shows_allowed |= !is_ours && reason.is_some_and(|it| it.ruling() == Ruling::Allowed);
        let seen = self.seen.entry(observation.name).or_default();
        seen.types.extend(&observation.types);
        seen.add(observation.count, observation.first_ms, observation.last_ms);
        seen.needs_policy |= !is_ours;
        seen.stands_alone |= reason != Some(Reason::SearchSuffix);
        if let Some(client) = observation.client
            && seen.clients.len() < CLIENTS_MAX
        {
            seen.clients.insert(client);
        }
    }

    /// Forgets the names that were last asked for more than `span_ms` before the end.
    pub fn keep_last(&mut self, span_ms: u64) {
        let Some((_, end)) = self.span_ms() else {
            return;
        };
        let from = end.saturating_sub(span_ms);
        self.seen
            .retain(|_, seen| seen.last_ms.is_none_or(|it| it >= from));
    }

    /// Are queries among them that a policy allowed? A log of what was blocked has none, and does not show what is unused.
    pub fn shows_allowed(&self) -> bool {
        self.shows_allowed
    }

    /// Queries, of all names.
    pub fn lookups(&self) -> u64 {
        self.seen
            .values()
            .fold(0, |sum, seen| sum.saturating_add(seen.count))
    }

    /// Different names.
    pub fn names(&self) -> usize {
        self.seen.len()
    }

    /// Queries of names that there was no room for.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// When the first and the last query came, milliseconds since 1970.
    pub fn span_ms(&self) -> Option<(u64, u64)> {
        let first = self.seen.values().filter_map(|it| it.first_ms).min();
        let last = self.seen.values().filter_map(|it| it.last_ms).max();
        first.zip(last)
    }

    /// Every name in its text form, sorted.
    pub(super) fn sorted(&self) -> Vec<(String, Name, &Seen)> {
        let named = |(name, seen): (&Name, _)| (name.to_string(), *name, seen);
        let mut sorted: Vec<(String, Name, &Seen)> = self.seen.iter().map(named).collect();
        sorted.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        sorted
    }
}

impl Seen {
    fn add(&mut self, count: u64, first_ms: Option<u64>, last_ms: Option<u64>) {
        self.count = self.count.saturating_add(count);
        self.first_ms = [self.first_ms, first_ms].into_iter().flatten().min();
        self.last_ms = self.last_ms.max(last_ms);
    }

    /// Adds another name's queries to these: it means this one.
    pub(super) fn join(&mut self, other: &Self) {
        self.add(other.count, other.first_ms, other.last_ms);
        self.types.extend(&other.types);
        let room = CLIENTS_MAX - self.clients.len();
        self.clients.extend(other.clients.iter().take(room));
        self.needs_policy |= other.needs_policy;
        self.stands_alone |= other.stands_alone;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn once(name: &str, at_ms: u64) -> Observation {
        Observation {
            name: name.parse().expect(name),
            types: vec![Type::A],
            count: 1,
            first_ms: Some(at_ms),
            last_ms: Some(at_ms),
            reason: None,
            client: None,
        }
    }

    #[test]
    fn queries_of_one_name_are_put_together_and_counts_have_an_end() {
        let mut all = Observations::default();
        all.add(&once("a.example", 5));
        all.add(&Observation {
            count: u64::MAX,
            types: vec![Type::AAAA, Type::A],
            ..once("A.example", 3)
        });
        let (text, _, seen) = &all.sorted()[0];
        assert_eq!((text.as_str(), seen.count), ("a.example", u64::MAX));
        assert_eq!((seen.first_ms, seen.last_ms), (Some(3), Some(5)));
        assert_eq!(seen.types.len(), 2);
        assert_eq!((all.names(), all.lookups()), (1, u64::MAX));
    }

    #[test]
    fn what_was_refused_for_who_asked_is_nobodys_need() {
        let mut all = Observations::default();
        for reason in [
            Reason::ClientAcl,
            Reason::Rate,
            Reason::NotServed,
            Reason::Malformed,
        ] {
            let reason = Some(reason);
            all.add(&Observation {
                reason,
                ..once("a.example", 1)
            });
        }
        assert_eq!(all.names(), 0);
    }

    #[test]
    fn the_number_of_names_has_an_end() {
        let mut all = Observations::default();
        for n in 0..NAMES_MAX + 5 {
            all.add(&once(&format!("n{n}.example"), 1));
        }
        all.add(&once("n0.example", 2));
        assert_eq!((all.names(), all.left_out()), (NAMES_MAX, 5));
    }

    #[test]
    fn old_names_can_be_forgotten_by_the_logs_own_clock() {
        let mut all = Observations::default();
        all.add(&once("old.example", 1_000));
        all.add(&once("new.example", 9_000));
        all.keep_last(5_000);
        assert_eq!(all.sorted()[0].0, "new.example");
        assert_eq!(all.names(), 1);
    }
}
