//! Names that a search list made: `api.github.com.svc.cluster.local`.
//!
//! A stub resolver puts each ending of its search list behind a name and asks
//! for that too; in a pod of Kubernetes, before it asks for the name itself
//! (ndots:5). Nobody needs these names, and whoever looks for what was blocked
//! should not have to read past them.

use super::trie::{Denial, Why};
use crate::policy::is_top_level;
use crate::wire::Name;

/// What every pod searches, behind its own namespace and by itself, where the cluster was not given another name.
const KUBERNETES: [&str; 2] = ["svc.cluster.local", "cluster.local"];

/// How the names end by which this resolver tells of itself; where a search list is tried first, it is put behind
/// them too.
const OURS: &[u8] = b"\x08namegate\x08internal";

/// The endings that search lists put behind names.
#[derive(Clone, Debug)]
pub struct SearchSuffixes {
    suffixes: Vec<Name>,
    /// Behind one label more, the namespace, it is an ending too.
    services: Name,
}

impl Default for SearchSuffixes {
    /// Those of Kubernetes.
    fn default() -> Self {
        Self::new(&[])
    }
}

impl SearchSuffixes {
    /// These, and those of Kubernetes.
    pub fn new(further: &[Name]) -> Self {
        let known = KUBERNETES.map(|it| it.parse().expect("a constant name"));
        let is_suffix = |it: &&Name| !it.is_root();
        Self {
            suffixes: further
                .iter()
                .filter(is_suffix)
                .chain(&known)
                .copied()
                .collect(),
            services: known[0],
        }
    }

    /// The denial of `name`, with the better reason where a search list made the name.
    #[must_use]
    pub fn recognise(&self, name: &Name, denial: Denial) -> Denial {
        let why = match denial.why {
            Why::NotListed | Why::DenyAll if self.made(name) => Why::SearchSuffix,
            why @ (Why::NotListed | Why::DenyAll | Why::BadLabel | Why::SearchSuffix) => why,
        };
        Denial { why, ..denial }
    }

    /// Is `name` one that stands for itself, with an ending of a search list behind it?
    ///
    /// What stands in front has two labels or more and ends as names of the internet do: `db.prod` in front
    /// of `svc.cluster.local` is a service, and nobody's but the cluster's.
    fn made(&self, name: &Name) -> bool {
        self.suffixes
            .iter()
            .filter_map(|suffix| name.depth_below(suffix))
            .any(|at| stands_for_itself(&name.octets()[..at]))
            || self.behind_a_namespace(name)
    }

    fn behind_a_namespace(&self, name: &Name) -> bool {
        let Some(end) = name.depth_below(&self.services) else {
            return false;
        };
        let namespace = name.starts().take_while(|at| *at < end).last();
        namespace.is_some_and(|at| stands_for_itself(&name.octets()[..at]))
    }
}

/// Are these labels, in wire form, a name by themselves?
fn stands_for_itself(labels: &[u8]) -> bool {
    let mut rest = labels;
    let mut count = 0;
    let mut last = &[][..];
    while let Some((len, behind)) = rest.split_first() {
        (last, rest) = behind.split_at(usize::from(*len));
        count += 1;
    }
    count >= 2 && (is_top_level(last) || labels.ends_with(OURS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(search: &[&str], name: &str, expected: bool) {
        let search: Vec<Name> = search.iter().map(|it| it.parse().expect(it)).collect();
        let made = SearchSuffixes::new(&search).made(&name.parse().expect(name));
        assert_eq!(made, expected, "{name}");
    }

    #[test]
    fn a_pod_s_search_list_is_known() {
        for name in [
            "github.com.cluster.local",
            "github.com.svc.cluster.local",
            "api.github.com.svc.cluster.local",
            "github.com.default.svc.cluster.local",
            "_http._tcp.deb.debian.org.prod.svc.cluster.local",
        ] {
            check(&[], name, true);
        }
    }

    #[test]
    fn what_is_the_clusters_own_is_not_noise() {
        for name in [
            "cluster.local",
            "svc.cluster.local",
            "db.svc.cluster.local",
            "db.staging.svc.cluster.local",
            "kafka-0.kafka.staging.svc.cluster.local",
            "10-0-3-7.staging.pod.cluster.local",
            "com.svc.cluster.local",
            "com.default.svc.cluster.local",
        ] {
            check(&[], name, false);
        }
    }

    #[test]
    fn the_machine_s_own_endings_are_known() {
        let search = ["corp.example", "."];
        check(&search, "github.com.corp.example", true);
        check(&search, "com.corp.example", false);
        check(&search, "wiki.corp.example", false);
        check(&search, "wiki.intranet.corp.example", false);
        check(&search, "github.com", false);
        check(&search, "www.github.com", false);
        check(&search, "github.com.notcorp.example", false);
        check(&search, "db.internal.corp.example", false);
    }

    #[test]
    fn a_question_about_a_block_is_no_block_of_its_own() {
        for name in ["pypi.org.why.namegate.internal", "namegate.internal"] {
            check(&[], &format!("{name}.prod.svc.cluster.local"), true);
            check(&["corp.example"], &format!("{name}.corp.example"), true);
        }
    }

    #[test]
    fn labels_end_where_they_end() {
        // The octets of "svc.cluster.local" stand at the end, in the midst of a label.
        check(&[], "github.com.x\\003svc\\007cluster\\005local", false);
        check(&["corp.example"], "a.com.x\\004corp\\007example", false);
    }
}
