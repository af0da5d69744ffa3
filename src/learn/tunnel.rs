//! Names that look like data on their way out.
//!
//! Who sends data through names needs many different ones below a name of his
//! own, and puts as much as he can into each. Names and when they were first
//! asked for come in; the names below which it looks like that go out. What is
//! missed here is unknown at best and never added of itself, so the thresholds
//! may be coarse; docs/SUGGEST.md has them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::policy::domains::{above, is_at_or_below, is_below, registrable, shared_suffix};

const MINUTE_MS: u64 = 60_000;
/// Fast: that many different names within a minute,
const FAST_NAMES: usize = 10;
/// or slow: that many in all,
const SLOW_NAMES: usize = 50;
/// each with that many characters below the parent, in the mean,
const PAYLOAD_MEAN: usize = 20;
/// that are not of a few kinds: bits per character, over all of them. Counting has 2 to 3, hex digits 4, base32 5.
const ENTROPY_MIN: f64 = 3.0;
/// A flood: so many within a minute that short labels carry as much.
const FLOOD_NAMES: usize = 60;
const FLOOD_PAYLOAD_MEAN: usize = 8;
/// A few names that are nearly all payload.
const LONG_NAMES: usize = 5;
const LONG_PAYLOAD_MEAN: usize = 60;
/// More names than any service has, whatever they look like: in all, or within a minute.
const MANY_NAMES: usize = 500;
const BURST_NAMES: usize = 200;
/// A deeper parent is told in place of one above it when it has this share of its names, in percent.
const DEEPER_PERCENT: usize = 90;
/// Parents that are told of one domain.
const PARENTS_MAX: usize = 8;
/// Names that are shown of each.
const EXAMPLES: usize = 3;

/// A parent whose children look like data.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tunnel {
    pub(super) parent: String,
    pub(super) shape: Shape,
    /// A few of the names, for evidence.
    pub(super) examples: Vec<String>,
}

/// What names below a parent have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shape {
    pub(super) names: usize,
    /// Different names first asked for within the busiest minute.
    pub(super) in_a_minute: usize,
    pub(super) longest_label: usize,
    payload_mean: usize,
    entropy: f64,
}

impl Shape {
    /// Are the characters of about as many kinds as those of data?
    pub(super) fn is_varied(&self) -> bool {
        self.entropy >= ENTROPY_MIN
    }

    fn is_tunnel(&self) -> bool {
        let is_varied = self.is_varied();
        let is_full = self.payload_mean >= PAYLOAD_MEAN && is_varied;
        (is_full && (self.in_a_minute >= FAST_NAMES || self.names >= SLOW_NAMES))
            || (self.in_a_minute >= FLOOD_NAMES
                && self.payload_mean >= FLOOD_PAYLOAD_MEAN
                && is_varied)
            || (self.names >= LONG_NAMES && self.payload_mean >= LONG_PAYLOAD_MEAN)
            || self.names >= MANY_NAMES
            || self.in_a_minute >= BURST_NAMES
    }
}

/// A name, and when it was first asked for.
pub(super) type Dated<'a> = (&'a str, Option<u64>);

/// The parents below which names look like data, sorted.
pub(super) fn tunnels(names: &[Dated<'_>]) -> Vec<Tunnel> {
    let mut domains: BTreeMap<&str, Vec<Dated<'_>>> = BTreeMap::new();
    for dated in names {
        if let Some(top) = top(dated.0).filter(|it| *it != dated.0) {
            domains.entry(top).or_default().push(*dated);
        }
    }
    let mut tunnels: Vec<Tunnel> = domains
        .into_iter()
        .flat_map(|(top, names)| of_domain(top, names))
        .collect();
    tunnels.sort_by(|a, b| a.parent.cmp(&b.parent));
    tunnels
}

/// The highest name that one party can have servers for: a registered domain, or a suffix that somebody shares out.
fn top(name: &str) -> Option<&str> {
    shared_suffix(name).or_else(|| registrable(name))
}

fn of_domain(top: &str, mut names: Vec<Dated<'_>>) -> Vec<Tunnel> {
    let mut found = Vec::new();
    while found.len() < PARENTS_MAX && names.len() >= LONG_NAMES {
        let Some(tunnel) = likeliest(top, &names) else {
            break;
        };
        names.retain(|(name, _)| !is_below(name, &tunnel.parent));
        found.push(tunnel);
    }
    found
}

/// The deepest parent that has about as many of the names as the one that has most.
fn likeliest(top: &str, names: &[Dated<'_>]) -> Option<Tunnel> {
    let mut parents: HashMap<&str, Vec<Dated<'_>>> = HashMap::new();
    for dated in names {
        for parent in above(dated.0).take_while(|it| is_at_or_below(it, top)) {
            parents.entry(parent).or_default().push(*dated);
        }
    }
    parents.retain(|_, names| names.len() >= LONG_NAMES);
    let shapes = parents
        .iter()
        .map(|(parent, names)| (*parent, shape(parent, names)));
    let mut suspects: Vec<(&str, Shape)> = shapes.filter(|(_, it)| it.is_tunnel()).collect();
    let most = suspects.iter().map(|(_, it)| it.names).max()?;
    suspects.retain(|(_, it)| it.names * 100 >= most * DEEPER_PERCENT);
    let depth = |name: &str| name.matches('.').count();
    suspects.sort_by(|(a, _), (b, _)| depth(b).cmp(&depth(a)).then(a.cmp(b)));
    let (parent, shape) = suspects.first()?;
    let examples: BTreeSet<&str> = parents[parent].iter().map(|(name, _)| *name).collect();
    Some(Tunnel {
        parent: (*parent).to_owned(),
        shape: *shape,
        examples: examples
            .into_iter()
            .take(EXAMPLES)
            .map(str::to_owned)
            .collect(),
    })
}

fn shape(parent: &str, names: &[Dated<'_>]) -> Shape {
    let payload = |name: &str| name.len() - parent.len() - 1;
    let payloads = names.iter().map(|(name, _)| &name[..payload(name)]);
    let longest = payloads.clone().flat_map(|it| it.split('.')).map(str::len);
    let total: usize = payloads.clone().map(str::len).sum();
    Shape {
        names: names.len(),
        in_a_minute: busiest_minute(names),
        longest_label: longest.max().unwrap_or(0),
        payload_mean: total / names.len().max(1),
        entropy: entropy(payloads.flat_map(str::bytes)),
    }
}

/// Names without a time count as asked at once.
fn busiest_minute(names: &[Dated<'_>]) -> usize {
    let mut times: Vec<u64> = names.iter().map(|(_, at)| at.unwrap_or(0)).collect();
    times.sort_unstable();
    let mut from = 0;
    let mut most = 0;
    for (to, at) in times.iter().enumerate() {
        while at - times[from] >= MINUTE_MS {
            from += 1;
        }
        most = most.max(to + 1 - from);
    }
    most
}

/// Bits per character (Shannon), dots not counted.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of characters, for a threshold"
)]
fn entropy(octets: impl Iterator<Item = u8>) -> f64 {
    let mut counts = [0_usize; 256];
    for octet in octets.filter(|it| *it != b'.') {
        counts[usize::from(octet)] += 1;
    }
    let total: usize = counts.iter().sum();
    let share = |count: usize| count as f64 / total as f64;
    let present = counts.into_iter().filter(|it| *it > 0).map(share);
    -present.map(|it| it * it.log2()).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twenty-six characters that differ with `n`.
    fn noise(n: usize) -> String {
        let letter = |i: usize| {
            let mixed = (n * 7919 + i * 104_729 + n * i * 31) % 36;
            char::from_digit(u32::try_from(mixed).expect("small"), 36).expect("a digit")
        };
        (0..26).map(letter).collect()
    }

    #[track_caller]
    fn check(names: &[(String, u64)], expected: &[&str]) {
        let dated: Vec<Dated<'_>> = names
            .iter()
            .map(|(name, at)| (name.as_str(), Some(*at)))
            .collect();
        let found: Vec<String> = tunnels(&dated).into_iter().map(|it| it.parent).collect();
        assert_eq!(found, expected);
    }

    fn many(count: usize, every_ms: u64, name: impl Fn(usize) -> String) -> Vec<(String, u64)> {
        (0..count).map(|n| (name(n), n as u64 * every_ms)).collect()
    }

    #[test]
    fn data_in_labels_is_seen_fast_and_slow() {
        check(
            &many(10, 1_000, |n| format!("{}.k.dnsm.example", noise(n))),
            &["k.dnsm.example"],
        );
        check(
            &many(50, 600_000, |n| format!("{}.k.dnsm.example", noise(n))),
            &["k.dnsm.example"],
        );
        check(
            &many(60, 900, |n| format!("{}.t.evil.com", &noise(n)[..8])),
            &["t.evil.com"],
        );
        let long = |n| format!("{0}.{0}.{0}.t.evil.com", noise(n));
        check(&many(5, 600_000, long), &["t.evil.com"]);
    }

    #[test]
    fn data_spread_over_labels_and_branches_is_seen() {
        let spread =
            |n: usize| format!("{}.{}.{n}.t.evil.com", &noise(n)[..13], &noise(n + 1)[..13]);
        check(&many(20, 1_000, spread), &["t.evil.com"]);
        let mut two = many(20, 1_000, |n| format!("{}.a.evil.com", noise(n)));
        two.extend(many(20, 1_000, |n| format!("{}.b.evil.com", noise(n))));
        check(&two, &["evil.com"]);
    }

    #[test]
    fn a_tunnel_among_honest_names_is_told_alone() {
        let mut names = many(20, 1_000, |n| format!("{}.t.known.com", noise(n)));
        names.extend(many(2, 1_000, |n| format!("www{n}.known.com")));
        check(&names, &["t.known.com"]);
        names.extend(many(40, 60_000, |n| format!("www{n}.known.com")));
        check(&names, &["t.known.com"]);
    }

    #[test]
    fn more_names_than_a_service_has_are_told_whatever_they_look_like() {
        check(
            &many(500, 60_000, |n| format!("n{n}.evil.com")),
            &["evil.com"],
        );
        check(
            &many(500, 60_000, |n| format!("n{n}.github.io")),
            &["github.io"],
        );
        check(&many(200, 250, |n| format!("n{n}.evil.com")), &["evil.com"]);
    }

    #[test]
    fn the_names_of_services_are_not_taken_for_data() {
        check(
            &many(200, 2_000, |n| format!("web-{n}.prod.known.com")),
            &[],
        );
        check(&many(9, 1_000, |n| format!("{}.known.com", noise(n))), &[]);
        check(
            &many(49, 60_000, |n| format!("{}.known.com", noise(n))),
            &[],
        );
        check(&many(100, 1_000, |n| format!("{}.com", noise(n))), &[]);
        check(&[], &[]);
    }

    #[test]
    fn a_minute_is_any_minute() {
        let times = [0, 59_000, 61_000, 119_000, 200_000];
        let names: Vec<Dated<'_>> = times.iter().map(|at| ("x", Some(*at))).collect();
        assert_eq!(busiest_minute(&names), 2);
    }
}
