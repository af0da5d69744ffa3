//! The policies that take each other's place, and what each of them says of a name.
//!
//! Version `v` is the `v`th policy, and namegate's generation of it. Which versions may be in force is known to two
//! ends: `written`, the newest that the file may hold, and `proven`, the newest by which a reply was given.
//! The verdict is found in sets of names, without the crate's matcher.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use super::hash;
use super::support::pattern;

/// Patterns that are not [`pattern`]'s: two that stay, five switches, and one that no other version has.
const OWN: usize = 8;
/// Each stands on one of two sides.
pub(super) const SWITCHES: u64 = 5;
/// Up from this one, a switch is a wildcard.
pub(super) const WILD_SWITCHES: u64 = 3;
/// Sizes of policies, and how many of 16 that are not of a large one have it.
const SIZES: [(usize, u64); 4] = [(10, 3), (100, 4), (1000, 5), (10_000, 4)];
pub(super) const LARGE: usize = 100_000;
pub(super) const LARGEST: usize = 1_000_000;

/// Every version, and which may be in force.
pub(super) struct Policies {
    all: Vec<Policy>,
    written: AtomicU32,
    proven: AtomicU32,
    /// When each version was proven, microseconds after `began`.
    proven_at_us: Vec<AtomicU64>,
    began: Instant,
}

/// One version.
pub(super) struct Policy {
    pub(super) version: u32,
    /// So many patterns.
    pub(super) size: usize,
    own: Vec<String>,
    rules: Rules,
    fill: Arc<Fill>,
}

/// What policies of one size have in common.
struct Fill {
    rules: Rules,
    /// The patterns as they stand in the document.
    text: String,
}

#[derive(Default)]
struct Rules {
    exact: HashSet<Box<str>>,
    /// Wildcards, without their `*.`.
    wild: HashSet<Box<str>>,
    /// Names of patterns without their `*.`, and all above them.
    nodes: HashSet<Box<str>>,
}

/// What a policy says of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict<'n> {
    Exact,
    /// By the wildcard above which this is the name.
    Below(&'n str),
    /// The deepest name above it that is a pattern's or above one; "" is the root.
    Denied(&'n str),
}

impl Policies {
    /// Version 1, and so many that replace it.
    pub(super) fn new(replacements: u32, names_max: usize) -> Self {
        let mut fills: Vec<(usize, Arc<Fill>)> = Vec::new();
        let mut fill = |size: usize| match fills.iter().find(|it| it.0 == size) {
            Some((_, fill)) => fill.clone(),
            None => {
                fills.push((size, Arc::new(Fill::new(size - OWN))));
                fills[fills.len() - 1].1.clone()
            }
        };
        let versions = 1..=replacements + 1;
        let sized = versions.clone().map(|v| (v, size(v, names_max)));
        Self {
            all: sized
                .map(|(v, size)| Policy::new(v, size, fill(size)))
                .collect(),
            written: AtomicU32::new(0),
            proven: AtomicU32::new(0),
            proven_at_us: versions.map(|_| AtomicU64::new(0)).collect(),
            began: Instant::now(),
        }
    }

    pub(super) fn last(&self) -> u32 {
        u32::try_from(self.all.len()).expect("few")
    }

    /// Is there such a version?
    pub(super) fn version(&self, version: u32) -> Option<&Policy> {
        self.all.get((version as usize).checked_sub(1)?)
    }

    /// The newest that the file may hold by now.
    pub(super) fn written(&self) -> u32 {
        self.written.load(SeqCst)
    }

    /// The newest that a reply was given by.
    pub(super) fn proven(&self) -> u32 {
        self.proven.load(SeqCst)
    }

    /// From now on the file may hold this version.
    pub(super) fn write(&self, version: u32) {
        self.written.store(version, SeqCst);
    }

    /// A reply was given by this version.
    pub(super) fn prove(&self, version: u32) {
        if self.proven.fetch_max(version, SeqCst) < version {
            let now = u64::try_from(self.began.elapsed().as_micros()).expect("not for ever");
            self.proven_at_us[version as usize - 1].store(now.max(1), SeqCst);
        }
    }

    /// When this version was proven.
    pub(super) fn proven_at(&self, version: u32) -> Option<Instant> {
        let at_us = self.proven_at_us[version as usize - 1].load(SeqCst);
        (at_us > 0).then(|| self.began + Duration::from_micros(at_us))
    }
}

/// One in a hundred is as large as can be, one in 25 large, the rest are of all other sizes.
fn size(version: u32, names_max: usize) -> usize {
    let size = match version {
        v if v % 100 == 50 => LARGEST,
        v if v % 25 == 13 => LARGE,
        v => {
            let mut draw = hash(&v.to_be_bytes()) % 16;
            let drawn = SIZES.iter().find(|(_, share)| {
                let is_drawn = draw < *share;
                draw = draw.saturating_sub(*share);
                is_drawn
            });
            drawn.expect("the shares are 16").0
        }
    };
    size.min(names_max.max(SIZES[0].0))
}

/// The patterns of a switch's two sides.
pub(super) fn switch(number: u64, side: bool) -> String {
    let side = if side { "on" } else { "off" };
    match number < WILD_SWITCHES {
        true => format!("s{number}{side}.flip.example"),
        false => format!("*.s{number}{side}.flip.example"),
    }
}

/// The name that this version alone allows.
pub(super) fn only(version: u32) -> String {
    format!("v{version}.only.example")
}

impl Policy {
    fn new(version: u32, size: usize, fill: Arc<Fill>) -> Self {
        let sides = hash(&(u64::from(version) << 8).to_be_bytes());
        let switches = (0..SWITCHES).map(|it| switch(it, sides >> (it * 7) & 1 == 1));
        let stay = ["*.up.example".to_owned(), "exact.stay.example".to_owned()];
        let own: Vec<String> = stay
            .into_iter()
            .chain([only(version)])
            .chain(switches)
            .collect();
        assert_eq!(own.len(), OWN);
        Self {
            version,
            size,
            rules: Rules::new(own.iter().map(String::as_str)),
            own,
            fill,
        }
    }

    pub(super) fn name(&self) -> String {
        format!("soak-{}", self.version)
    }

    /// The policy file.
    pub(super) fn document(&self) -> String {
        let own = self.own.join("\",\n\"");
        format!(
            "{{\"id\": \"npl_soak\", \"name\": \"{}\", \"description\": null, \"create_time_ms\": 0, \"update_time_ms\": 0,\n\
             \"egress\": {{\"allow_all\": false, \"allow_devbox_to_devbox\": false, \"allow_agent_gateway\": false,\n\
             \"allow_mcp_gateway\": false, \"allowed_hostnames\": [\"{own}\"{}]}}}}",
            self.name(),
            self.fill.text
        )
    }

    pub(super) fn judge<'n>(&self, name: &'n str) -> Verdict<'n> {
        let (own, fill) = (&self.rules, &self.fill.rules);
        if own.exact.contains(name) || fill.exact.contains(name) {
            return Verdict::Exact;
        }
        let is_wild = |it: &&str| own.wild.contains(*it) || fill.wild.contains(*it);
        if let Some(base) = above(name).find(is_wild) {
            return Verdict::Below(base);
        }
        let is_node = |it: &&str| own.nodes.contains(*it) || fill.nodes.contains(*it);
        Verdict::Denied(above(name).find(is_node).unwrap_or(""))
    }

    pub(super) fn allows(&self, name: &str) -> bool {
        !matches!(self.judge(name), Verdict::Denied(_))
    }
}

/// The names above a name, the deepest first, the root not among them.
pub(super) fn above(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(name.split_once('.').map(|it| it.1), |it| {
        it.split_once('.').map(|it| it.1)
    })
}

impl Rules {
    fn new<'p>(patterns: impl Iterator<Item = &'p str>) -> Self {
        let mut rules = Self::default();
        for pattern in patterns {
            let base = match pattern.strip_prefix("*.") {
                Some(base) => {
                    rules.wild.insert(base.into());
                    base
                }
                None => {
                    rules.exact.insert(pattern.into());
                    pattern
                }
            };
            let nodes = std::iter::once(base).chain(above(base));
            rules.nodes.extend(nodes.map(Box::from));
        }
        rules
    }
}

impl Fill {
    fn new(patterns: usize) -> Self {
        let patterns: Vec<String> = (0..patterns).map(pattern).collect();
        let text = patterns.iter().map(|it| format!(",\n\"{it}\"")).collect();
        Self {
            rules: Rules::new(patterns.iter().map(String::as_str)),
            text,
        }
    }
}
