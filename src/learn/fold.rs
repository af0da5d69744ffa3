//! Names that mean another name: service records, and what a search list makes.
//!
//! Nothing is decided here but what a name stands for; a name that stands for
//! itself is left alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::observe::Seen;
use crate::policy::domains::{above, is_at_or_below, is_public_suffix};
use crate::wire::{Name, Type};

/// Spellings that are kept of a name.
const SPELLINGS_MAX: usize = 8;
/// Different names that have to be seen with an ending before it is a search list's: one may be a name made to look like another.
const WITNESSES_MIN: usize = 2;
/// Where every pod's search list ends.
const POD_SUFFIX: &str = "cluster.local";

/// What was asked under one name, itself or as something that means it.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) name: Name,
    pub(super) seen: Seen,
    /// How it was asked for, where that was not the name itself: `SRV _http._tcp.deb.debian.org`.
    pub(super) asked_as: BTreeSet<String>,
}

impl Asked {
    pub(super) fn new(name: Name, seen: &Seen) -> Self {
        Self {
            name,
            seen: seen.clone(),
            asked_as: BTreeSet::new(),
        }
    }
}

/// By text.
pub(super) type ByName = BTreeMap<String, Asked>;

/// Counts service names (`_http._tcp.deb.debian.org`) for the host that they are about.
///
/// A client of HTTP goes on to the host itself when there is no such record, so the host is what it needs. Of other
/// services only those count for their host which was asked for, too: the rest need the record.
pub(super) fn services(names: ByName) -> ByName {
    let (services, mut hosts): (ByName, ByName) = names
        .into_iter()
        .partition(|(text, _)| text.starts_with('_'));
    for (text, asked) in services {
        let Some(host) = host(&text).map(str::to_owned) else {
            hosts.insert(text, asked);
            continue;
        };
        if is_web(&text) && !hosts.contains_key(&host) {
            hosts.insert(host.clone(), of_service(&host, &asked));
        }
        match hosts.get_mut(&host) {
            Some(found) => count(found, &text, &asked),
            None => {
                hosts.insert(text, asked);
            }
        }
    }
    hosts
}

/// What stands behind the labels that begin with an underscore.
pub(super) fn host(text: &str) -> Option<&str> {
    let host = above(text).find(|it| !it.starts_with('_'))?;
    host.contains('.').then_some(host)
}

fn is_web(text: &str) -> bool {
    ["_http._tcp.", "_https._tcp."]
        .iter()
        .any(|it| text.starts_with(it))
}

/// A host of which nothing is known yet.
fn of_service(host: &str, asked: &Asked) -> Asked {
    let name = host.parse().unwrap_or(asked.name);
    Asked::new(name, &Seen::default())
}

fn count(found: &mut Asked, text: &str, asked: &Asked) {
    found.seen.join(&asked.seen);
    if found.asked_as.len() < SPELLINGS_MAX {
        let types: Vec<String> = asked.seen.types.iter().map(Type::to_string).collect();
        found.asked_as.insert(format!("{} {text}", types.join(" ")));
    }
}

/// A name that a search list made: the name that was meant, and the ending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Suffixed {
    pub(super) meant: String,
    pub(super) suffix: String,
    /// The ending is a search list's beyond doubt: said to be one, a pod's, or seen behind a name that is known.
    pub(super) is_sure: bool,
}

/// What search lists made of names: those of `names` that are a name and an ending.
///
/// The name before the ending was asked for too, or `is_known`. The ending is one of `search` or a pod's, or is seen
/// behind several names.
pub(super) fn suffixed<'a>(
    names: impl Iterator<Item = &'a str> + Clone,
    search: &[String],
    is_known: impl Fn(&str) -> bool,
) -> (HashMap<String, Suffixed>, HashMap<String, Suffixed>) {
    let asked: BTreeSet<&str> = names.clone().collect();
    let mut witnesses: HashMap<String, usize> = HashMap::new();
    let mut found = HashMap::new();
    for name in names {
        let splits = name.match_indices('.').skip(1);
        let splits = splits.map(|(at, _)| (&name[..at], &name[at + 1..]));
        let meant = splits.filter(|(meant, suffix)| {
            !is_public_suffix(suffix) && (asked.contains(meant) || is_known(meant))
        });
        // The longest name that is known leaves the ending that was put behind it.
        let Some((meant, suffix)) = meant.last() else {
            continue;
        };
        let is_said = search.iter().map(String::as_str).chain([POD_SUFFIX]);
        let is_said = { is_said }.any(|it| is_at_or_below(suffix, it));
        *witnesses.entry(suffix.to_owned()).or_default() += 1;
        let suffixed = Suffixed {
            meant: meant.to_owned(),
            suffix: suffix.to_owned(),
            is_sure: is_said || is_known(meant),
        };
        found.insert(name.to_owned(), (suffixed, is_said));
    }
    let parted = found
        .into_iter()
        .partition::<HashMap<_, _>, _>(|(_, (it, is_said))| {
            *is_said || witnesses[&it.suffix] >= WITNESSES_MIN
        });
    let plain = |it: HashMap<String, (Suffixed, bool)>| {
        it.into_iter().map(|(name, (it, _))| (name, it)).collect()
    };
    (plain(parted.0), plain(parted.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(names: &[(&str, Type)]) -> ByName {
        let one = |(text, kind): &(&str, Type)| {
            let mut seen = Seen {
                count: 1,
                ..Seen::default()
            };
            seen.types.insert(*kind);
            (
                (*text).to_owned(),
                Asked::new(text.parse().expect("a name"), &seen),
            )
        };
        names.iter().map(one).collect()
    }

    #[track_caller]
    fn folds(names: &[(&str, Type)], expected: &[(&str, u64)]) {
        let folded = services(asked(names));
        let found: Vec<(&str, u64)> = folded
            .iter()
            .map(|(text, it)| (text.as_str(), it.seen.count))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_web_service_counts_for_its_host() {
        folds(
            &[("_http._tcp.deb.debian.org", Type::SRV)],
            &[("deb.debian.org", 1)],
        );
        folds(
            &[
                ("_http._tcp.deb.debian.org", Type::SRV),
                ("deb.debian.org", Type::A),
            ],
            &[("deb.debian.org", 2)],
        );
        let folded = services(asked(&[("_http._tcp.deb.debian.org", Type::SRV)]));
        let spelled: Vec<&String> = folded["deb.debian.org"].asked_as.iter().collect();
        assert_eq!(spelled, ["SRV _http._tcp.deb.debian.org"]);
    }

    #[test]
    fn another_service_counts_for_a_host_that_was_asked_for_and_else_for_itself() {
        let mongo = ("_mongodb._tcp.db.example.net", Type::SRV);
        folds(
            &[mongo, ("db.example.net", Type::A)],
            &[("db.example.net", 2)],
        );
        folds(&[mongo], &[("_mongodb._tcp.db.example.net", 1)]);
        folds(
            &[("_x._y", Type::SRV), ("_z.com", Type::TXT)],
            &[("_x._y", 1), ("_z.com", 1)],
        );
    }

    #[track_caller]
    fn check(names: &[&str], sure: &[&str], doubtful: &[&str]) {
        let is_known = |name: &str| name == "github.com";
        let (hidden, odd) = suffixed(
            names.iter().copied(),
            &["corp.example.net".to_owned()],
            is_known,
        );
        let sorted = |it: HashMap<String, Suffixed>| it.into_keys().collect::<BTreeSet<_>>();
        let of = |it: &[&str]| {
            it.iter()
                .map(|it| (*it).to_owned())
                .collect::<BTreeSet<_>>()
        };
        assert_eq!((sorted(hidden), sorted(odd)), (of(sure), of(doubtful)));
    }

    #[test]
    fn a_known_ending_needs_one_name_and_another_two() {
        check(
            &["pypi.org", "pypi.org.default.svc.cluster.local"],
            &["pypi.org.default.svc.cluster.local"],
            &[],
        );
        check(
            &["github.com.corp.example.net"],
            &["github.com.corp.example.net"],
            &[],
        );
        check(
            &["github.com.evil.example"],
            &[],
            &["github.com.evil.example"],
        );
        check(
            &["github.com.lan", "a.org", "a.org.lan"],
            &["github.com.lan", "a.org.lan"],
            &[],
        );
    }

    #[test]
    fn names_that_only_begin_alike_are_left_alone() {
        check(&["amazon.co", "amazon.co.uk"], &[], &[]);
        check(&["git", "git.lan"], &[], &[]);
        check(&["api.svc.cluster.local", "b.org"], &[], &[]);
    }
}
