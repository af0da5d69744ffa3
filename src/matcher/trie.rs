//! The policy compiled to a trie over labels, root first.
//!
//! [`Rules::judge`] takes a name and returns a [`Verdict`]; it cannot fail, does
//! not allocate, and knows nothing of sockets, caches or the clock. It works on
//! wire labels alone (SPEC 3).

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hasher};

use crate::policy::Pattern;
use crate::wire::Name;

/// What grants a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Grant {
    /// `allowed_hostnames` of the policy.
    Listed,
    /// `allow_agent_gateway`.
    AgentGateway,
    /// `allow_mcp_gateway`.
    McpGateway,
    /// `allow_devbox_to_devbox`.
    DevboxToDevbox,
    /// `allow_runloop_mirrors`.
    Mirrors,
    /// A `[[forward]]` with `exempt`.
    Forward,
}

/// The form of the pattern that matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// The name itself.
    Exact,
    /// `*.` and an ending.
    Wildcard,
    /// No pattern: `allow_all`.
    Everything,
}

/// Why a name is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// Who grants it.
    pub grant: Grant,
    /// How it matched.
    pub shape: Shape,
    /// The pattern's place in its list, from 0; 0 with [`Shape::Everything`].
    pub index: u32,
    /// Where the pattern stands in the trie that matched.
    node: u32,
}

/// Why a name is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// No pattern matches.
    NotListed,
    /// There is no pattern at all.
    DenyAll,
    /// A label holds an octet outside `[A-Za-z0-9_-]`.
    BadLabel,
    /// No pattern matches, and a search list made the name. Never said by [`Rules::judge`]: it is what
    /// [`SearchSuffixes::recognise`](super::SearchSuffixes::recognise) makes of the first two.
    SearchSuffix,
}

/// A denied name's place in the trie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Why.
    pub why: Why,
    /// The octet of the name at which its deepest proper ancestor in the trie begins.
    pub encloser_at: u8,
    /// Is the name itself an ancestor of an allowed one?
    pub is_ancestor: bool,
}

impl Denial {
    /// The same where `apex` is served beside the policy: it exists, as all names above it do, and the denial of a `name`
    /// beside it is to cut none of them off.
    #[must_use]
    #[inline]
    pub fn beside(self, name: &Name, apex: &Name) -> Self {
        // Most names are under another top-level domain.
        let top = apex.starts().last().unwrap_or(0);
        if !name.octets().ends_with(&apex.octets()[top..]) {
            return self;
        }
        let exists = |at: &usize| {
            apex.starts()
                .any(|it| apex.octets()[it..] == name.octets()[*at..])
        };
        let is_ancestor = self.is_ancestor || exists(&0);
        let above = name.starts().skip(1).find(exists);
        let encloser_at = above.and_then(|at| u8::try_from(at).ok());
        Self {
            why: self.why,
            encloser_at: encloser_at.map_or(self.encloser_at, |at| at.min(self.encloser_at)),
            is_ancestor,
        }
    }
}

/// May this name resolve? The same for every type, class, flag, transport and case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Yes, by this rule.
    Allow(Rule),
    /// No.
    Deny(Denial),
}

/// No parent.
const NONE: u32 = u32::MAX;
const ROOT: u32 = 0;
/// The rule of a policy that allows all.
const EVERYTHING: Rule = Rule {
    grant: Grant::Listed,
    shape: Shape::Everything,
    index: 0,
    node: ROOT,
};
/// Slots of the smallest table.
const SLOTS_MIN: usize = 16;
/// Labels that a builder has in mind; a power of two.
const RECENT_LABELS: usize = 1024;

/// The compiled rules. Immutable; share them behind an `Arc`.
///
/// Invariants: `nodes[0]` is the root. `table` has a power of two of slots, at
/// least a quarter of them empty, and finds each other node by its parent and
/// label. A node is there because a pattern stands at it or below it, so a
/// denied name that has a node is an ancestor of an allowed one.
pub struct Rules {
    nodes: Vec<Node>,
    /// Each node's label behind its length octet; nodes may share one.
    labels: Vec<u8>,
    /// A node's number in the low bits, as many as the table's size has, and above them a tag
    /// of its hash, so that a stranger's slot is seen without looking at his node; 0: empty.
    table: Box<[u32]>,
    hasher: foldhash::fast::RandomState,
    /// What grants patterns that are not the policy's own.
    others: Vec<(Grant, u32)>,
    /// The patterns of nodes that have one of each shape: exact, below.
    pairs: Vec<(PatternId, PatternId)>,
    allow_all: bool,
}

struct Node {
    parent: u32,
    label_at: u32,
    patterns: Patterns,
}

/// A pattern: of the policy, by its index; from [`OTHER`] on one of `Rules::others`.
type PatternId = u32;
const OTHER: PatternId = 1 << 29;

/// The patterns at a node in four octets: the shapes in the upper two bits, and a pattern's id,
/// or with both shapes the place of a pair.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Patterns(u32);

impl Patterns {
    const NOTHING: Self = Self(0);
    const EXACT: u32 = 1 << 30;
    const BELOW: u32 = 2 << 30;
    const BOTH: u32 = Self::EXACT | Self::BELOW;

    fn shapes(self) -> u32 {
        self.0 & Self::BOTH
    }

    fn value(self) -> u32 {
        self.0 & !Self::BOTH
    }
}

/// How far a name could be followed.
struct Walk {
    /// The node of the whole name.
    node: Option<u32>,
    /// The node of the deepest wildcard above the name.
    wildcard: Option<u32>,
    encloser_at: usize,
}

impl Rules {
    /// An empty set, to be filled.
    pub fn builder() -> RulesBuilder {
        RulesBuilder {
            rules: Self {
                nodes: vec![Node {
                    parent: NONE,
                    label_at: 0,
                    patterns: Patterns::NOTHING,
                }],
                labels: vec![0],
                table: vec![0; SLOTS_MIN].into(),
                hasher: foldhash::fast::RandomState::default(),
                others: Vec::new(),
                pairs: Vec::new(),
                allow_all: false,
            },
            recent: vec![0; RECENT_LABELS].into(),
        }
    }

    /// May `name` resolve?
    #[inline]
    pub fn judge(&self, name: &Name) -> Verdict {
        let walk = self.walk(name);
        let why = if !name.is_plain() {
            Why::BadLabel
        } else if let Some((node, id)) = self.exact_at(walk.node) {
            return Verdict::Allow(self.rule(node, id, Shape::Exact));
        } else if let Some((node, id)) = self.below_at(walk.wildcard) {
            return Verdict::Allow(self.rule(node, id, Shape::Wildcard));
        } else if self.allow_all {
            return Verdict::Allow(EVERYTHING);
        } else if self.nodes.len() == 1 {
            Why::DenyAll
        } else {
            Why::NotListed
        };
        let encloser_at = u8::try_from(walk.encloser_at).expect("a name has at most 255 octets");
        Verdict::Deny(Denial {
            why,
            encloser_at,
            is_ancestor: walk.node.is_some(),
        })
    }

    /// Does a pattern cover `name`? For lists that are not a policy; `allow_all` plays no part.
    pub fn covers(&self, name: &Name) -> bool {
        let walk = self.walk(name);
        walk.wildcard.is_some() || self.exact_at(walk.node).is_some()
    }

    /// What allows every name that a pattern stands for; none when one of them is denied.
    pub fn covering(&self, pattern: &Pattern) -> Option<Rule> {
        let walk = self.walk(&pattern.name());
        let own = match pattern.is_wildcard() {
            true => self.below_at(walk.node).zip(Some(Shape::Wildcard)),
            false => self.exact_at(walk.node).zip(Some(Shape::Exact)),
        };
        let above = self.below_at(walk.wildcard).zip(Some(Shape::Wildcard));
        let rule = own.or(above);
        let rule = rule.map(|((node, id), shape)| self.rule(node, id, shape));
        rule.or(self.allow_all.then_some(EVERYTHING))
    }

    /// Every pattern that matches `name`, the most specific first: [`Self::judge`] goes by that one.
    /// For reports; `allow_all` plays no part.
    pub fn matching(&self, name: &Name) -> Vec<Rule> {
        if !name.is_plain() {
            return Vec::new();
        }
        let exact = self.exact_at(self.walk(name).node);
        let exact = exact.map(|(node, id)| self.rule(node, id, Shape::Exact));
        let above = std::iter::successors(name.parent(), Name::parent);
        let below = above
            .filter(|it| !it.is_root())
            .filter_map(|it| self.below_at(self.walk(&it).node))
            .map(|(node, id)| self.rule(node, id, Shape::Wildcard));
        exact.into_iter().chain(below).collect()
    }

    /// Does the policy allow every name?
    pub fn allows_all(&self) -> bool {
        self.allow_all
    }

    /// Patterns without and with a wildcard, those that stand twice counted once.
    pub fn counts(&self) -> (usize, usize) {
        let count = |shape| {
            self.nodes
                .iter()
                .filter(|node| node.patterns.shapes() & shape != 0)
                .count()
        };
        (count(Patterns::EXACT), count(Patterns::BELOW))
    }

    /// What there is to read for who reads every pattern: as many steps, or a few more, as there are patterns.
    pub fn steps(&self) -> usize {
        self.nodes.len()
    }

    /// The text of the pattern behind a rule of these rules; none for `allow_all`.
    pub fn pattern(&self, rule: Rule) -> Option<String> {
        match rule.shape {
            Shape::Exact => Some(self.path(rule.node)),
            Shape::Wildcard => Some(format!("*.{}", self.path(rule.node))),
            Shape::Everything => None,
        }
    }

    /// Every pattern: its rule, and its text without the `*.`.
    pub fn patterns(&self) -> impl Iterator<Item = (Rule, String)> + '_ {
        (0_u32..).zip(&self.nodes).flat_map(move |(at, _)| {
            let exact = self
                .exact_at(Some(at))
                .map(|(node, id)| self.rule(node, id, Shape::Exact));
            let below = self
                .below_at(Some(at))
                .map(|(node, id)| self.rule(node, id, Shape::Wildcard));
            exact
                .into_iter()
                .chain(below)
                .map(move |rule| (rule, self.path(at)))
        })
    }

    fn path(&self, node: u32) -> String {
        let mut text = String::new();
        let mut node = &self.nodes[node as usize];
        while node.parent != NONE {
            let label = &self.labels[node.label_at as usize..];
            text.extend(
                label[1..=usize::from(label[0])]
                    .iter()
                    .copied()
                    .map(char::from),
            );
            node = &self.nodes[node.parent as usize];
            if node.parent != NONE {
                text.push('.');
            }
        }
        text
    }

    fn rule(&self, node: u32, id: PatternId, shape: Shape) -> Rule {
        let (grant, index) = match id.checked_sub(OTHER) {
            None => (Grant::Listed, id),
            Some(other) => self.others[other as usize],
        };
        Rule {
            grant,
            shape,
            index,
            node,
        }
    }

    /// The node again and its pattern without a wildcard.
    fn exact_at(&self, node: Option<u32>) -> Option<(u32, PatternId)> {
        let patterns = self.nodes[node? as usize].patterns;
        let id = match patterns.shapes() {
            Patterns::EXACT => patterns.value(),
            Patterns::BOTH => self.pairs[patterns.value() as usize].0,
            _ => return None,
        };
        Some((node?, id))
    }

    /// The node again and its pattern for everything below it.
    fn below_at(&self, node: Option<u32>) -> Option<(u32, PatternId)> {
        let patterns = self.nodes[node? as usize].patterns;
        let id = match patterns.shapes() {
            Patterns::BELOW => patterns.value(),
            Patterns::BOTH => self.pairs[patterns.value() as usize].1,
            _ => return None,
        };
        Some((node?, id))
    }

    /// Follows a name from the root for as long as there are nodes: a miss costs one probe.
    fn walk(&self, name: &Name) -> Walk {
        let mut starts = [0_u8; 128];
        let mut labels = 0;
        for at in name.starts() {
            starts[labels] = u8::try_from(at).expect("a name has at most 255 octets");
            labels += 1;
        }
        let mut walk = Walk {
            node: None,
            wildcard: None,
            encloser_at: name.octets().len() - 1,
        };
        let mut node = ROOT;
        for depth in (0..labels).rev() {
            let at = usize::from(starts[depth]);
            let label = &name.octets()[at..][..=usize::from(name.octets()[at])];
            let Some(child) = self.child(node, label) else {
                return walk;
            };
            node = child;
            if depth == 0 {
                break;
            }
            walk.encloser_at = at;
            if self.nodes[node as usize].patterns.shapes() & Patterns::BELOW != 0 {
                walk.wildcard = Some(node);
            }
        }
        // The root is above every name, once there is one.
        walk.node = (node != ROOT || self.nodes.len() > 1).then_some(node);
        walk
    }

    /// The node under `parent` for a label, its length octet included.
    #[inline]
    fn child(&self, parent: u32, label: &[u8]) -> Option<u32> {
        let (mut slot, tag) = self.place_of(parent, label);
        let mask = self.table.len() - 1;
        loop {
            let entry = self.table[slot];
            if entry == 0 {
                return None;
            }
            if (entry ^ tag) & !self.number_mask() == 0 {
                let number = entry & self.number_mask();
                if self.is(number, parent, label) {
                    return Some(number);
                }
            }
            slot = (slot + 1) & mask;
        }
    }

    fn is(&self, node: u32, parent: u32, label: &[u8]) -> bool {
        let node = &self.nodes[node as usize];
        node.parent == parent && self.labels[node.label_at as usize..].starts_with(label)
    }

    /// The bits of a slot that are a node's number: there are fewer nodes than slots.
    #[inline]
    fn number_mask(&self) -> u32 {
        u32::try_from(self.table.len() - 1).expect("a policy is at most 64 MiB")
    }

    /// The slot in which a node is looked for first, and its tag where slots have theirs.
    #[inline]
    fn place_of(&self, parent: u32, label: &[u8]) -> (usize, u32) {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u32(parent);
        hasher.write(label);
        let hash = hasher.finish();
        #[expect(clippy::cast_possible_truncation, reason = "a hash is cut in two")]
        let (low, high) = (hash as u32, (hash >> 32) as u32);
        ((low & self.number_mask()) as usize, high)
    }
}

/// Fills a set of [`Rules`].
pub struct RulesBuilder {
    rules: Rules,
    /// Where labels lie that were seen lately, by their hashes; 0, the root's, is nobody's.
    recent: Box<[u32]>,
}

impl RulesBuilder {
    /// Allows every name that can be asked for.
    #[must_use]
    pub fn allow_all(mut self) -> Self {
        self.rules.allow_all = true;
        self
    }

    /// Grants the patterns of a list. Of two equal ones the first counts.
    #[must_use]
    pub fn grant(
        mut self,
        grant: Grant,
        patterns: impl IntoIterator<Item: Borrow<Pattern>>,
    ) -> Self {
        for (pattern, index) in patterns.into_iter().zip(0..) {
            let pattern = pattern.borrow();
            self.add(grant, index, &pattern.name(), pattern.is_wildcard());
        }
        self
    }

    /// Grants a zone: its apex and every name below.
    #[must_use]
    pub fn grant_zone(mut self, grant: Grant, index: usize, zone: &Name) -> Self {
        let index = u32::try_from(index).expect("a configuration is at most 1 MiB");
        self.add(grant, index, zone, false);
        self.add(grant, index, zone, true);
        self
    }

    fn add(&mut self, grant: Grant, index: u32, name: &Name, below: bool) {
        let node = self.node(name) as usize;
        let patterns = self.rules.nodes[node].patterns;
        let shape = if below {
            Patterns::BELOW
        } else {
            Patterns::EXACT
        };
        if patterns.shapes() & shape != 0 {
            return;
        }
        let id = self.id_of(grant, index);
        self.rules.nodes[node].patterns = if patterns == Patterns::NOTHING {
            Patterns(shape | id)
        } else {
            let pair = u32::try_from(self.rules.pairs.len()).expect("a policy is at most 64 MiB");
            let other = patterns.value();
            self.rules
                .pairs
                .push(if below { (other, id) } else { (id, other) });
            Patterns(Patterns::BOTH | pair)
        };
    }

    fn id_of(&mut self, grant: Grant, index: u32) -> PatternId {
        if grant == Grant::Listed {
            return index;
        }
        self.rules.others.push((grant, index));
        OTHER
            + u32::try_from(self.rules.others.len() - 1).expect("a configuration is at most 1 MiB")
    }

    /// The node of a name, made with all above it where it is not there.
    fn node(&mut self, name: &Name) -> u32 {
        let mut starts = [0_u8; 128];
        let mut labels = 0;
        for at in name.starts() {
            starts[labels] = u8::try_from(at).expect("a name has at most 255 octets");
            labels += 1;
        }
        let mut node = ROOT;
        for at in starts[..labels].iter().rev().map(|at| usize::from(*at)) {
            let label = &name.octets()[at..][..=usize::from(name.octets()[at])];
            node = match self.rules.child(node, label) {
                Some(child) => child,
                None => self.insert(node, label),
            };
        }
        node
    }

    fn insert(&mut self, parent: u32, label: &[u8]) -> u32 {
        if (self.rules.nodes.len() + 1) * 4 > self.rules.table.len() * 3 {
            self.grow();
        }
        let node = u32::try_from(self.rules.nodes.len()).expect("a policy is at most 64 MiB");
        let label_at = self.lay_down(label);
        self.rules.nodes.push(Node {
            parent,
            label_at,
            patterns: Patterns::NOTHING,
        });
        self.place(node);
        node
    }

    /// Where a label lies: with its equal, if that was seen lately, since `www` stands before many a name.
    fn lay_down(&mut self, label: &[u8]) -> u32 {
        let hash = self.rules.hasher.hash_one(label);
        #[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
        let recent = &mut self.recent[hash as usize % RECENT_LABELS];
        if !self.rules.labels[*recent as usize..].starts_with(label) {
            *recent = u32::try_from(self.rules.labels.len()).expect("a policy is at most 64 MiB");
            self.rules.labels.extend_from_slice(label);
        }
        *recent
    }

    /// Puts a node into the table.
    fn place(&mut self, node: u32) {
        let Node {
            parent, label_at, ..
        } = self.rules.nodes[node as usize];
        let label = &self.rules.labels[label_at as usize..];
        let (mut slot, tag) = self
            .rules
            .place_of(parent, &label[..=usize::from(label[0])]);
        let mask = self.rules.table.len() - 1;
        while self.rules.table[slot] != 0 {
            slot = (slot + 1) & mask;
        }
        let numbers = self.rules.number_mask();
        self.rules.table[slot] = tag & !numbers | node;
    }

    fn grow(&mut self) {
        self.rules.table = vec![0; self.rules.table.len() * 2].into();
        for node in 1..self.rules.nodes.len() {
            self.place(u32::try_from(node).expect("counted before"));
        }
    }

    /// The rules, ready to judge.
    pub fn build(mut self) -> Rules {
        self.rules.nodes.shrink_to_fit();
        self.rules.labels.shrink_to_fit();
        self.rules.others.shrink_to_fit();
        self.rules.pairs.shrink_to_fit();
        self.rules
    }
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;

    fn rules(patterns: &[&str]) -> Rules {
        let patterns: Vec<Pattern> = patterns
            .iter()
            .map(|it| Pattern::parse(it).expect(it))
            .collect();
        Rules::builder().grant(Grant::Listed, &patterns).build()
    }

    #[track_caller]
    fn check(patterns: &[&str], name: &str, expected: Option<&str>) {
        let rules = rules(patterns);
        let matched = match rules.judge(&name.parse().expect(name)) {
            Verdict::Allow(rule) => rules.pattern(rule),
            Verdict::Deny(_) => None,
        };
        assert_eq!(matched.as_deref(), expected, "{name} under {patterns:?}");
    }

    #[track_caller]
    fn encloser(patterns: &[&str], name: &str, expected: &str) {
        let name: Name = name.parse().expect(name);
        let Verdict::Deny(denial) = rules(patterns).judge(&name) else {
            panic!("{name} is allowed")
        };
        assert_eq!(
            name.ancestor_at(denial.encloser_at.into()).to_string(),
            expected
        );
    }

    #[track_caller]
    fn covered(patterns: &[&str], pattern: &str, expected: Option<&str>) {
        let rules = rules(patterns);
        let rule = rules.covering(&Pattern::parse(pattern).expect(pattern));
        let by = rule.and_then(|rule| rules.pattern(rule));
        assert_eq!(by.as_deref(), expected, "{pattern} under {patterns:?}");
    }

    #[test]
    fn a_pattern_is_covered_by_what_allows_all_its_names() {
        let list = ["a.com", "*.b.com", "x.b.com", "deep.c.b.com"];
        covered(&list, "a.com", Some("a.com"));
        covered(&list, "*.a.com", None);
        covered(&list, "x.b.com", Some("x.b.com"));
        covered(&list, "y.b.com", Some("*.b.com"));
        covered(&list, "b.com", None);
        covered(&list, "*.b.com", Some("*.b.com"));
        covered(&list, "*.c.b.com", Some("*.b.com"));
        covered(&list, "*.com", None);
        let all = Rules::builder().allow_all().build();
        assert!(
            all.covering(&Pattern::parse("*.com").expect("a pattern"))
                .is_some()
        );
    }

    #[test]
    fn all_matching_patterns_are_told_and_judge_goes_by_the_first() {
        let rules = rules(&["*.com", "*.b.com", "x.b.com", "y.com"]);
        let texts = |name: &str| -> Vec<String> {
            let found = rules.matching(&name.parse().expect(name));
            let texts = found.into_iter().filter_map(|it| rules.pattern(it));
            texts.collect()
        };
        assert_eq!(texts("x.b.com"), ["x.b.com", "*.b.com", "*.com"]);
        assert_eq!(texts("b.com"), ["*.com"]);
        assert_eq!(texts("a.org"), [""; 0]);
        assert_eq!(texts("a!.com"), [""; 0]);
    }

    #[test]
    fn an_empty_list_allows_nothing() {
        check(&[], "github.com", None);
    }

    #[test]
    fn a_wildcard_reaches_every_depth_below() {
        check(&["*.npmjs.org"], "registry.npmjs.org", Some("*.npmjs.org"));
        check(&["*.npmjs.org"], "a.b.npmjs.org", Some("*.npmjs.org"));
    }

    #[test]
    fn a_wildcard_is_not_its_own_apex() {
        check(&["*.npmjs.org"], "npmjs.org", None);
    }

    #[test]
    fn labels_match_whole() {
        check(&["*.npmjs.org"], "evilnpmjs.org", None);
        check(&["github.com"], "api.github.com", None);
    }

    #[test]
    fn the_narrowest_pattern_is_named() {
        let list = ["*.com", "*.example.com", "www.example.com"];
        check(&list, "www.example.com", Some("www.example.com"));
        check(&list, "ftp.example.com", Some("*.example.com"));
        check(&list, "example.com", Some("*.com"));
        check(
            &["*.a.example", "b.a.example"],
            "x.b.a.example",
            Some("*.a.example"),
        );
    }

    #[test]
    fn strange_labels_are_denied_also_when_everything_is_allowed() {
        check(&["*.google.com"], "attacker.example\\000.google.com", None);
        let all = Rules::builder().allow_all().build();
        assert!(matches!(
            all.judge(&"github.com".parse().expect("a name")),
            Verdict::Allow(_)
        ));
        let odd = "a\\.b.github.com".parse().expect("a name");
        assert!(matches!(
            all.judge(&odd),
            Verdict::Deny(Denial {
                why: Why::BadLabel,
                ..
            })
        ));
    }

    #[test]
    fn a_denial_knows_the_deepest_node_above() {
        encloser(&["api.github.com"], "evil.com", "com");
        encloser(&["api.github.com"], "x.github.com", "github.com");
        encloser(&["api.github.com"], "github.com", "com");
        encloser(&["api.github.com"], "a.b.example", ".");
        encloser(&["api.github.com"], "x.api.github.com", "api.github.com");
        encloser(&["api.github.com"], ".", ".");
        encloser(&[], "com", ".");
    }

    #[test]
    fn what_is_served_beside_the_policy_is_not_cut_off() {
        let rules = rules(&["github.com"]);
        let beside = |name: &str, apex: &str| {
            let name: Name = name.parse().expect(name);
            let Verdict::Deny(denial) = rules.judge(&name) else {
                panic!("{name} is allowed")
            };
            let denial = denial.beside(&name, &apex.parse().expect(apex));
            let encloser = name.ancestor_at(usize::from(denial.encloser_at));
            (encloser.to_string(), denial.is_ancestor)
        };
        let said = |encloser: &str, is_ancestor| (encloser.to_owned(), is_ancestor);
        assert_eq!(
            beside("a.internal", "corp.internal"),
            said("internal", false)
        );
        assert_eq!(
            beside("a.xcorp.internal", "corp.internal"),
            said("internal", false)
        );
        assert_eq!(beside("internal", "corp.internal"), said(".", true));
        assert_eq!(beside("internal", "internal.example"), said(".", false));
        assert_eq!(beside("a.com", "corp.internal"), said("com", false));
        assert_eq!(beside("com", "corp.internal"), said(".", true));
        assert_eq!(beside("a.github.com", "lab.com"), said("github.com", false));
    }

    #[test]
    fn ancestors_are_known() {
        for (name, expected) in [
            ("com", true),
            ("github.com", true),
            ("org", false),
            (".", true),
        ] {
            let Verdict::Deny(denial) =
                rules(&["api.github.com"]).judge(&name.parse().expect(name))
            else {
                panic!("{name} is allowed")
            };
            assert_eq!(denial.is_ancestor, expected, "{name}");
        }
    }

    #[test]
    fn equal_labels_lie_in_one_place() {
        let list: Vec<String> = (0..100).map(|i| format!("www.n{i:02}.example")).collect();
        let list: Vec<&str> = list.iter().map(String::as_str).collect();
        // A label that is met in between may take the place of `www` in the builder's mind; few do.
        let (others, www) = (1 + 8 + 100 * 4, 4);
        let laid_down = rules(&list).labels.len();
        assert!(
            (others + www..=others + 10 * www).contains(&laid_down),
            "{laid_down}"
        );
    }

    #[test]
    fn many_names_are_all_found() {
        let list: Vec<String> = (0..5000)
            .map(|i| format!("n{i}.z{}.example", i % 97))
            .collect();
        let list: Vec<&str> = list.iter().map(String::as_str).collect();
        let rules = rules(&list);
        for name in &list {
            assert!(
                matches!(rules.judge(&name.parse().expect(name)), Verdict::Allow(_)),
                "{name}"
            );
        }
        assert_eq!(rules.counts(), (5000, 0));
    }
}
