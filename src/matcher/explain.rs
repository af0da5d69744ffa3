//! The patterns that nearly match a denied name, for people.

use std::time::Instant;

use super::trie::{Rule, Rules, Shape};
use crate::policy::domains::is_below;
use crate::wire::Name;

/// How a pattern is near to a name that it does not match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kinship {
    /// The name is what a wildcard stands on: `npmjs.org` beside `*.npmjs.org`.
    ApexOfWildcard,
    /// The name lies below an exact pattern: `api.github.com` beside `github.com`.
    BelowExact,
    /// One character off, or two swapped.
    Typo,
    /// The same but for its last label: `npmjs.com` beside `npmjs.org`.
    OtherEnding,
    /// The name lies above a pattern: `openai.com` beside `api.openai.com`.
    Above,
}

impl Kinship {
    /// The word for it in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::ApexOfWildcard => "apex_of_wildcard",
            Self::BelowExact => "below_exact",
            Self::Typo => "typo",
            Self::OtherEnding => "other_ending",
            Self::Above => "above",
        }
    }
}

/// A pattern near to a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Near {
    /// The pattern's text.
    pub pattern: String,
    /// Which one it is.
    pub rule: Rule,
    /// How it is near.
    pub kinship: Kinship,
}

/// More than these help nobody.
const NEAR_MAX: usize = 5;
/// Patterns that may be read at once: some 15 ms. A larger policy is not read at all.
const PATTERNS_MAX: u64 = 50_000;
/// And on the average in each millisecond: a twentieth of the time.
const PATTERNS_A_MS: u64 = 200;

/// How many patterns may be read for [`Rules::nearest`] where a box has it done: one that asks for ever new names must
/// not keep a running resolver from its work.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// Patterns that may be read now.
    patterns: u64,
    since: Instant,
}

impl Allowance {
    /// All that may be read at once.
    pub fn new(now: Instant) -> Self {
        Self {
            patterns: PATTERNS_MAX,
            since: now,
        }
    }

    /// Takes the reading of so many patterns from what may be read; none: they may not.
    pub fn spend(&mut self, patterns: u64, now: Instant) -> Option<()> {
        let passed = now.saturating_duration_since(self.since).as_millis();
        let earned = u64::try_from(passed).ok()?.saturating_mul(PATTERNS_A_MS);
        if earned > 0 {
            self.since = now;
            self.patterns = self.patterns.saturating_add(earned).min(PATTERNS_MAX);
        }
        self.patterns = self.patterns.checked_sub(patterns)?;
        Some(())
    }
}

impl Rules {
    /// The patterns nearest to `name`, the likeliest first. Reads every pattern: not for the query path.
    pub fn nearest(&self, name: &Name) -> Vec<Near> {
        let asked = name.to_string();
        let mut near: Vec<Near> = self
            .patterns()
            .filter_map(|(rule, base)| {
                let kinship = kinship(&asked, rule.shape, &base)?;
                let pattern = if rule.shape == Shape::Wildcard {
                    format!("*.{base}")
                } else {
                    base
                };
                Some(Near {
                    pattern,
                    rule,
                    kinship,
                })
            })
            .collect();
        near.sort_by(|a, b| (a.kinship, &a.pattern).cmp(&(b.kinship, &b.pattern)));
        near.truncate(NEAR_MAX);
        near
    }
}

fn kinship(asked: &str, shape: Shape, base: &str) -> Option<Kinship> {
    if shape == Shape::Wildcard && asked == base {
        return Some(Kinship::ApexOfWildcard);
    }
    if shape == Shape::Exact && is_below(asked, base) {
        return Some(Kinship::BelowExact);
    }
    // Under a wildcard only the ending has to be right.
    let compared = match shape {
        Shape::Wildcard => last_labels(asked, base.split('.').count()),
        Shape::Exact | Shape::Everything => asked,
    };
    if compared != base && one_edit_apart(compared, base) {
        return Some(Kinship::Typo);
    }
    let body = |name: &str| name.rsplit_once('.').map(|(body, _)| body.to_owned());
    if compared != base && body(compared).is_some_and(|it| Some(it) == body(base)) {
        return Some(Kinship::OtherEnding);
    }
    is_below(base, asked).then_some(Kinship::Above)
}

fn last_labels(name: &str, count: usize) -> &str {
    name.rmatch_indices('.')
        .nth(count - 1)
        .map_or(name, |(at, _)| &name[at + 1..])
}

fn one_edit_apart(a: &str, b: &str) -> bool {
    a.len().abs_diff(b.len()) <= 1 && strsim::osa_distance(a, b) == 1
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::matcher::Grant;
    use crate::policy::Pattern;

    #[track_caller]
    fn check(patterns: &[&str], name: &str, expected: &[(&str, Kinship)]) {
        let patterns: Vec<Pattern> = patterns
            .iter()
            .map(|it| Pattern::parse(it).expect(it))
            .collect();
        let rules = Rules::builder().grant(Grant::Listed, &patterns).build();
        let near = rules.nearest(&name.parse().expect(name));
        let near: Vec<(&str, Kinship)> = near
            .iter()
            .map(|it| (it.pattern.as_str(), it.kinship))
            .collect();
        assert_eq!(near, expected, "{name}");
    }

    #[test]
    fn each_kind_of_neighbour_is_found() {
        let list = ["github.com", "*.npmjs.org", "api.openai.com"];
        check(
            &list,
            "npmjs.org",
            &[("*.npmjs.org", Kinship::ApexOfWildcard)],
        );
        check(
            &list,
            "api.github.com",
            &[("github.com", Kinship::BelowExact)],
        );
        check(&list, "githib.com", &[("github.com", Kinship::Typo)]);
        check(
            &list,
            "registry.npmsj.org",
            &[("*.npmjs.org", Kinship::Typo)],
        );
        check(
            &list,
            "registry.npmjs.com",
            &[("*.npmjs.org", Kinship::OtherEnding)],
        );
        check(&list, "openai.com", &[("api.openai.com", Kinship::Above)]);
        check(&list, "evil.example", &[]);
    }

    #[test]
    fn what_is_read_is_bounded_and_comes_back_with_time() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        assert!(allowance.spend(PATTERNS_MAX, start).is_some());
        assert!(allowance.spend(1, start).is_none());
        let later = start + Duration::from_millis(2);
        assert!(allowance.spend(2 * PATTERNS_A_MS, later).is_some());
        assert!(allowance.spend(1, later).is_none());
        let much_later = start + Duration::from_secs(3600);
        assert!(allowance.spend(PATTERNS_MAX + 1, much_later).is_none());
        assert!(allowance.spend(PATTERNS_MAX, much_later).is_some());
    }
}
