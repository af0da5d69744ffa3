//! The pattern nearest to a blocked name, for the query log.
//!
//! To find it the whole policy is read, which is why it is remembered for a
//! name, done on the writer's thread, and not done at all when much is to be
//! read: a box that asks for ever new names must not keep the writer from its log.

use std::collections::HashMap;
use std::time::Instant;

use super::reloads::Generation;
use crate::matcher::Allowance;
use crate::wire::Name;

/// Names whose nearest pattern is remembered: a client tries a name that it does not get a few times in a row.
const NAMES_MAX: usize = 256;

/// What was found, and how much more may be read.
pub(super) struct Nearest {
    generation: u64,
    found: HashMap<Box<[u8]>, Option<Box<str>>>,
    allowance: Allowance,
}

impl Nearest {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            generation: 0,
            found: HashMap::new(),
            allowance: Allowance::new(now),
        }
    }

    /// The pattern nearest to a name that `generation` does not list.
    pub(super) fn of(
        &mut self,
        name: &Name,
        generation: &Generation,
        now: Instant,
    ) -> Option<&str> {
        if self.generation != generation.live.generation || self.found.len() >= NAMES_MAX {
            self.found.clear();
            self.generation = generation.live.generation;
        }
        if !self.found.contains_key(name.octets()) {
            self.allowance.spend(generation.patterns(), now)?;
            let near = generation.live.rules.nearest(name);
            let nearest = near.into_iter().next().map(|it| it.pattern.into());
            self.found.insert(name.octets().into(), nearest);
        }
        self.found.get(name.octets())?.as_deref()
    }
}
