//! The patterns that nearly match a denied name, for people.

use super::trie::{Rule, Rules, Shape};
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
    let is_below = |lower: &str, upper: &str| {
        lower
            .strip_suffix(upper)
            .is_some_and(|rest| rest.ends_with('.'))
    };
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
}
