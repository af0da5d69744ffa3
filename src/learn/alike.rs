//! Names that look like a host that is known, and are not.
//!
//! A name comes in, a few words go out when it resembles one of the hosts that
//! bundles or the policy have. The words are for the eye: what is like a known
//! host is never taken for it.

use std::collections::HashSet;

use crate::policy::domains::{above, is_at_or_below, is_below, registrable};

/// Names shorter than this are not compared: too much is one slip away from them.
const COMPARED_MIN: usize = 6;
/// From this length on, two slips are one.
const TWO_SLIPS_MIN: usize = 10;

/// The hosts that others may be mistaken for.
pub(super) struct Known<'a> {
    hosts: Vec<&'a str>,
    domains: Vec<&'a str>,
    all: HashSet<&'a str>,
}

/// What a name resembles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Likeness {
    /// It begins as a known name does, and belongs to somebody else.
    Imitation { of: String, owner: String },
    /// A character or two away.
    Typo { of: String },
    /// The same under another ending.
    OtherEnding { of: String },
}

impl<'a> Known<'a> {
    pub(super) fn new(hosts: impl Iterator<Item = &'a str>) -> Self {
        let hosts: Vec<&str> = hosts.collect();
        let mut domains: Vec<&str> = hosts.iter().filter_map(|it| registrable(it)).collect();
        domains.sort_unstable();
        domains.dedup();
        let all = hosts.iter().chain(&domains).copied().collect();
        Self {
            hosts,
            domains,
            all,
        }
    }

    /// What a name resembles that is not known itself. What belongs to the owner of a known host resembles nothing.
    pub(super) fn likeness(&self, name: &str) -> Option<Likeness> {
        let owner = registrable(name).unwrap_or(name);
        self.imitated(name, owner)
            .or_else(|| self.slip(name, owner))
            .or_else(|| self.other_ending(owner))
    }

    /// Does somebody known own this name?
    pub(super) fn owner(&self, name: &str) -> Option<&'a str> {
        let owner = registrable(name)?;
        let at = self.domains.binary_search(&owner).ok()?;
        Some(self.domains[at])
    }

    fn imitated(&self, name: &str, owner: &str) -> Option<Likeness> {
        let ends = name.match_indices('.').map(|(at, _)| at);
        let beginnings = ends.flat_map(|end| {
            let starts = name.match_indices('.').map(|(at, _)| at + 1);
            let starts = std::iter::once(0).chain(starts);
            starts
                .take_while(move |start| *start < end)
                .map(move |start| &name[start..end])
        });
        let found = beginnings
            .filter(|it| self.all.contains(it))
            .max_by_key(|it| it.len())?;
        // What is known owns the whole name, too: nothing is imitated.
        let is_theirs = is_at_or_below(found, owner);
        (!is_theirs).then(|| Likeness::Imitation {
            of: found.to_owned(),
            owner: owner.to_owned(),
        })
    }

    fn slip(&self, name: &str, owner: &str) -> Option<Likeness> {
        let near = |list: &[&'a str], name: &str| {
            let near = list.iter().filter(|it| is_slip(name, it));
            near.min_by_key(|it| (strsim::osa_distance(name, it), **it))
                .copied()
        };
        if self.domains.binary_search(&owner).is_ok() {
            // A slip in the host alone: one owner, the other name.
            let of = near(&self.hosts, name)
                .filter(|it| is_below(it, owner))?
                .to_owned();
            return Some(Likeness::Typo { of });
        }
        let of = near(&self.hosts, name).or_else(|| near(&self.domains, owner))?;
        Some(Likeness::Typo { of: of.to_owned() })
    }

    fn other_ending(&self, owner: &str) -> Option<Likeness> {
        let label = |it: &str| it.split('.').next().map(str::to_owned);
        let own = label(owner).filter(|it| it.len() >= 4)?;
        if self.domains.binary_search(&owner).is_ok() {
            return None;
        }
        let of = self
            .domains
            .iter()
            .find(|it| label(it).as_ref() == Some(&own))?;
        Some(Likeness::OtherEnding {
            of: (*of).to_owned(),
        })
    }
}

fn is_slip(a: &str, b: &str) -> bool {
    let shorter = a.len().min(b.len());
    if shorter < COMPARED_MIN || a == b || above(a).count() == 0 {
        return false;
    }
    let slips = if shorter >= TWO_SLIPS_MIN { 2 } else { 1 };
    // A slip takes one kind of character away and brings another at most: most names need no closer look.
    let kinds_apart = (kinds(a) ^ kinds(b)).count_ones() as usize;
    a.len().abs_diff(b.len()) <= slips
        && kinds_apart <= 2 * slips
        && strsim::osa_distance(a, b) <= slips
}

/// Which characters there are, a bit for each.
fn kinds(text: &str) -> u128 {
    text.bytes().fold(0, |kinds, it| kinds | 1 << (it & 127))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: Option<&str>) {
        let hosts = [
            "api.github.com",
            "github.com",
            "gitlab.com",
            "registry.npmjs.org",
            "pypi.org",
        ];
        let likeness = Known::new(hosts.into_iter()).likeness(name);
        let text = likeness.map(|it| match it {
            Likeness::Imitation { of, owner } => format!("begins like {of}, of {owner}"),
            Likeness::Typo { of } => format!("typo of {of}"),
            Likeness::OtherEnding { of } => format!("other ending than {of}"),
        });
        assert_eq!(text.as_deref(), expected, "{name}");
    }

    #[test]
    fn slips_are_found_in_hosts_and_in_their_domains() {
        check("api.githib.com", Some("typo of api.github.com"));
        check("uploads.githib.com", Some("typo of github.com"));
        check("registry-npmjs.org", Some("typo of registry.npmjs.org"));
        check("g1thub.com", Some("typo of github.com"));
        check("pypl.org", Some("typo of pypi.org"));
        check("registri.npmjs.org", Some("typo of registry.npmjs.org"));
    }

    #[test]
    fn imitations_name_who_would_be_asked() {
        check(
            "github.com.evil.example",
            Some("begins like github.com, of evil.example"),
        );
        check(
            "registry.npmjs.org.evil.example",
            Some("begins like registry.npmjs.org, of evil.example"),
        );
        check(
            "x.github.com.evil.github.io",
            Some("begins like github.com, of evil.github.io"),
        );
        check("pypi.io", Some("other ending than pypi.org"));
    }

    #[test]
    fn what_is_merely_unknown_resembles_nothing() {
        check("uploads.github.com", None);
        check("www.example.net", None);
        check("a.b", None);
        check("go.dev", None);
    }
}
