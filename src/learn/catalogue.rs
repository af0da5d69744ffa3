//! What is known of hosts beforehand: bundles of tools, noise, services that are decisions of their own.
//!
//! The lists of `data/` are compiled in and read once; a name as text goes in,
//! what is known of it comes out. Names are compared whole, as text in
//! [`Name`](crate::wire::Name)'s spelling: nothing that only looks like one of these is one.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::policy::domains::above;

const LISTS: [&str; 3] = [
    include_str!("data/bundles.list"),
    include_str!("data/noise.list"),
    include_str!("data/services.list"),
];

/// The lists, read.
pub(super) static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| Catalogue::read(&LISTS));

/// A name or an ending of the lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The bundle, group or kind that it belongs to.
    pub(super) group: &'static str,
    /// What the group is, in words: why its class, where the entry does not say.
    pub(super) title: &'static str,
    /// What this one is for.
    pub(super) what: &'static str,
    pub(super) manner: Manner,
}

/// What an entry says about its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// A tool fetches from this very host.
    Host,
    /// The names below change from run to run, and belong to one owner.
    Rotating,
    /// No work needs it.
    Noise,
    /// A decision of its own.
    Review,
    /// The sign of a leak.
    Danger,
}

/// What one tool fetches from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// `npm`
    pub name: &'static str,
    /// What it is, in words.
    pub title: &'static str,
    /// Its hosts, in the order of the list; a wildcard where names change from run to run.
    pub patterns: Vec<String>,
}

/// All bundles, in the order of the list.
pub fn bundles() -> &'static [Bundle] {
    &CATALOGUE.bundles
}

/// Who asks for one host will ask for the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) others: Vec<&'static str>,
    pub(super) why: &'static str,
}

/// What is needed in place of another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instead {
    pub(super) needed: &'static str,
    pub(super) why: &'static str,
}

/// The lists.
#[derive(Default)]
pub(super) struct Catalogue {
    names: HashMap<&'static str, Entry>,
    /// For the name itself and all below it.
    endings: HashMap<&'static str, Entry>,
    /// For what is below, and not the name itself.
    rotating: HashMap<&'static str, Entry>,
    needs: HashMap<&'static str, Need>,
    instead: HashMap<&'static str, Instead>,
    bundles: Vec<Bundle>,
}

impl Catalogue {
    fn read(lists: &[&'static str]) -> Self {
        let mut catalogue = Self::default();
        for list in lists {
            let mut heading = None;
            let lines = list
                .lines()
                .filter(|it| !it.is_empty() && !it.starts_with('#'));
            for line in lines {
                catalogue.line(line, &mut heading);
            }
        }
        catalogue
    }

    fn line(&mut self, line: &'static str, heading: &mut Option<Entry>) {
        let (verb, rest) = line.split_once(' ').expect("a line has a verb");
        if let Some(entry) = head(verb, rest) {
            *heading = Some(entry);
            self.open(entry);
            return;
        }
        let group = heading.expect("an entry stands below its heading");
        let (name, what) = rest.split_once(' ').unwrap_or((rest, ""));
        let what = what.trim_start();
        match verb {
            "source" => (),
            "host" | "name" => {
                self.names.insert(name, Entry { what, ..group });
            }
            "below" => {
                self.endings.insert(name, Entry { what, ..group });
            }
            "rotating" => {
                let manner = Manner::Rotating;
                let entry = Entry {
                    what,
                    manner,
                    ..group
                };
                self.rotating.insert(name, entry);
            }
            "needs" => {
                let (others, why) = what.split_once(" = ").expect("names, and why");
                let others = others.split(' ').collect();
                self.needs.insert(name, Need { others, why });
            }
            "instead" => {
                let (needed, why) = what.split_once(" = ").expect("a name, and why");
                self.instead.insert(name, Instead { needed, why });
            }
            _ => unreachable!("the lists are ours: {line}"),
        }
        match verb {
            "host" => self.bundle(name.to_owned()),
            "rotating" => self.bundle(format!("*.{name}")),
            _ => (),
        }
    }

    /// A heading was read.
    fn open(
        &mut self,
        Entry {
            group,
            title,
            manner,
            ..
        }: Entry,
    ) {
        if manner == Manner::Host {
            self.bundles.push(Bundle {
                name: group,
                title,
                patterns: Vec::new(),
            });
        }
    }

    /// A pattern of the bundle that was opened last.
    fn bundle(&mut self, pattern: String) {
        let bundle = self.bundles.last_mut();
        let bundle = bundle.expect("a host stands in a bundle");
        bundle.patterns.push(pattern);
    }

    /// What is known of this very name, or of an ending that it has; the name goes first, then the longest ending.
    pub(super) fn find(&self, name: &str) -> Option<Entry> {
        let own = self.names.get(name).copied();
        let ending = || {
            let mut endings = std::iter::once(name).chain(above(name));
            endings.find_map(|it| self.endings.get(it).copied())
        };
        own.or_else(ending)
    }

    /// The host of a bundle that this name is.
    pub(super) fn host(&self, name: &str) -> Option<Entry> {
        let entry = self.names.get(name).copied();
        entry.filter(|it| it.manner == Manner::Host)
    }

    /// The base below which this name changes from run to run.
    pub(super) fn rotating(&self, name: &str) -> Option<(&'static str, Entry)> {
        above(name).find_map(|it| {
            let (base, entry) = self.rotating.get_key_value(it)?;
            Some((*base, *entry))
        })
    }

    pub(super) fn need(&self, name: &str) -> Option<&Need> {
        self.needs.get(name)
    }

    pub(super) fn instead(&self, name: &str) -> Option<Instead> {
        self.instead.get(name).copied()
    }

    /// The hosts of all bundles, sorted.
    pub(super) fn hosts(&self) -> Vec<&'static str> {
        let hosts = self.names.iter();
        let hosts = hosts.filter(|(_, it)| it.manner == Manner::Host);
        let mut hosts: Vec<&str> = hosts.map(|(name, _)| *name).collect();
        hosts.sort_unstable();
        hosts
    }
}

/// The heading that a line is, if it is one.
fn head(verb: &str, rest: &'static str) -> Option<Entry> {
    let (group, title) = rest.split_once(' ').unwrap_or((rest, ""));
    let title = title.trim_start();
    let (manner, title) = match verb {
        "bundle" => (Manner::Host, title),
        "group" => (Manner::Noise, title),
        "kind" => match title.split_once(' ').expect("a kind has a class") {
            ("danger", why) => (Manner::Danger, why.trim_start()),
            (_, why) => (Manner::Review, why.trim_start()),
        },
        _ => return None,
    };
    Some(Entry {
        group,
        title,
        what: "",
        manner,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Pattern;
    use crate::policy::domains::{has_one_owner, public_resolver, shared_suffix};

    #[test]
    fn every_entry_is_a_hostname_and_has_a_reason_and_a_source() {
        for list in LISTS {
            let mut sourced = true;
            for line in list
                .lines()
                .filter(|it| !it.is_empty() && !it.starts_with('#'))
            {
                let words: Vec<&str> = line.split_whitespace().collect();
                match words[0] {
                    "bundle" | "group" | "kind" => {
                        assert!(sourced, "no source before {line}");
                        sourced = false;
                    }
                    "source" => sourced = true,
                    _ => {
                        let name = words[1];
                        let pattern = Pattern::parse(name).expect(line);
                        assert_eq!(pattern.text(), name);
                        assert!(
                            !["host", "rotating"].contains(&words[0]) || words.len() > 2,
                            "{line}"
                        );
                    }
                }
            }
            assert!(sourced);
        }
    }

    #[test]
    fn nothing_is_said_twice() {
        let mut seen = std::collections::HashSet::new();
        for line in LISTS.iter().flat_map(|it| it.lines()) {
            let mut words = line.split_whitespace();
            let verb = words.next();
            if matches!(verb, Some("host" | "name" | "below" | "rotating")) {
                assert!(seen.insert(words.next()), "twice: {line}");
            }
        }
    }

    /// What may be added of itself is fetched from one owner's hosts; the few under a shared suffix are known one by one.
    #[test]
    fn hosts_that_may_be_added_are_safe_to_add() {
        let catalogue = &*CATALOGUE;
        for host in catalogue.hosts() {
            assert_eq!(public_resolver(host), None, "{host}");
            let theirs = ["githubusercontent.com", "blob.core.windows.net"];
            let shared = shared_suffix(host).filter(|it| !theirs.contains(it));
            assert_eq!(shared, None, "{host}");
            let found = catalogue.find(host).map(|it| it.manner);
            assert_eq!(found, Some(Manner::Host), "{host}");
        }
        for base in catalogue.rotating.keys() {
            assert!(has_one_owner(base), "{base}");
        }
    }

    #[test]
    fn a_bundle_is_the_hosts_below_its_heading() {
        let find = |name: &str| bundles().iter().find(|it| it.name == name).expect(name);
        let python = find("python");
        assert_eq!(python.title, "pip, uv and poetry");
        let hosts = ["pypi.org", "files.pythonhosted.org", "bootstrap.pypa.io"];
        assert_eq!(python.patterns, hosts);
        assert_eq!(
            find("actions").patterns,
            ["*.actions.githubusercontent.com"]
        );
        let all: usize = bundles().iter().map(|it| it.patterns.len()).sum();
        assert_eq!(all, CATALOGUE.hosts().len() + CATALOGUE.rotating.len());
        assert!(bundles().iter().all(|it| !it.patterns.is_empty()));
    }

    #[test]
    fn companions_are_hosts_of_bundles() {
        let catalogue = &*CATALOGUE;
        for (name, need) in &catalogue.needs {
            for host in need.others.iter().chain([name]) {
                assert!(catalogue.host(host).is_some(), "{host}");
            }
        }
        for instead in catalogue.instead.values() {
            assert!(catalogue.host(instead.needed).is_some());
        }
    }

    #[test]
    fn a_name_goes_before_an_ending_and_endings_are_whole_labels() {
        let find = |name: &str| CATALOGUE.find(name).map(|it| it.group);
        assert_eq!(find("o1.ingest.us.sentry.io"), Some("telemetry"));
        assert_eq!(find("ngrok.io"), Some("tunnel"));
        assert_eq!(find("notngrok.io"), None);
        assert_eq!(find("registry.npmjs.org"), Some("npm"));
        assert_eq!(find("registry.npmjs.org.evil.example"), None);
        assert_eq!(CATALOGUE.rotating("actions.githubusercontent.com"), None);
        assert!(
            CATALOGUE
                .rotating("x.actions.githubusercontent.com")
                .is_some()
        );
    }
}
