//! The pattern nearest to a blocked name, for the query log.
//!
//! To find it the whole policy is read, which is why it is remembered for a
//! name, done on the writer's thread, and not done at all when much is to be
//! read: a box that asks for ever new names must not keep the writer from its log.

use std::collections::HashMap;
use std::time::Instant;

use super::reloads::Generation;
use crate::wire::Name;

/// Names whose nearest pattern is remembered: a client tries a name that it does not get a few times in a row.
const NAMES_MAX: usize = 256;
/// Patterns that may be read at once: some 15 ms. A larger policy is not read at all.
const PATTERNS_MAX: u64 = 50_000;
/// And on the average in each millisecond: a twentieth of the time.
const PATTERNS_A_MS: u64 = 200;

/// What was found, and how much more may be read.
pub(super) struct Nearest {
    generation: u64,
    found: HashMap<Box<[u8]>, Option<Box<str>>>,
    /// Patterns that may be read now.
    allowance: u64,
    since: Instant,
}

impl Nearest {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            generation: 0,
            found: HashMap::new(),
            allowance: PATTERNS_MAX,
            since: now,
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
            self.spend(generation.patterns(), now)?;
            let near = generation.live.rules.nearest(name);
            let nearest = near.into_iter().next().map(|it| it.pattern.into());
            self.found.insert(name.octets().into(), nearest);
        }
        self.found.get(name.octets())?.as_deref()
    }

    /// Takes the reading of so many patterns from what may be read.
    fn spend(&mut self, patterns: u64, now: Instant) -> Option<()> {
        let passed = now.saturating_duration_since(self.since).as_millis();
        let earned = u64::try_from(passed).ok()?.saturating_mul(PATTERNS_A_MS);
        if earned > 0 {
            self.since = now;
            self.allowance = self.allowance.saturating_add(earned).min(PATTERNS_MAX);
        }
        self.allowance = self.allowance.checked_sub(patterns)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_read_is_bounded_and_comes_back_with_time() {
        let start = Instant::now();
        let mut nearest = Nearest::new(start);
        assert!(nearest.spend(PATTERNS_MAX, start).is_some());
        assert!(nearest.spend(1, start).is_none());
        let later = start + Duration::from_millis(2);
        assert!(nearest.spend(2 * PATTERNS_A_MS, later).is_some());
        assert!(nearest.spend(1, later).is_none());
        let much_later = start + Duration::from_secs(3600);
        assert!(nearest.spend(PATTERNS_MAX + 1, much_later).is_none());
        assert!(nearest.spend(PATTERNS_MAX, much_later).is_some());
    }
}
