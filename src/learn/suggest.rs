//! From observations and the policy in force to a proposal.
//!
//! The whole of it is [`suggest`]: the same observations and the same policy
//! give the same proposal, and it looks at nothing else.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::alike::Known;
use super::catalogue::CATALOGUE;
use super::fold::{self, Asked, ByName, Suffixed};
use super::observe::{Observations, Seen};
use super::opinion::{Context, Opinion, by_form, by_search};
use super::proposal::{Class, Evidence, Item, Proposal};
use super::tunnel::{Dated, Tunnel, tunnels};
use crate::matcher::{Grant, Rule, Rules, Shape, Verdict};
use crate::policy::domains::{has_one_owner, is_at_or_below, is_below};
use crate::policy::{Pattern, Patterns};
use crate::wire::Name;

/// Different first labels that make a wildcard of names which look generated, or are known to change.
const WILDCARD_LABELS: usize = 3;
/// Different first labels that make one of names which do not.
const WILDCARD_PLAIN_LABELS: usize = 8;
/// Names that an item for several shows.
const NAMES_SHOWN: usize = 16;
/// Names of the policy that others may be mistaken for: a list of more is no hand's work.
const KNOWN_MAX: usize = 1000;
/// A label that looks generated has that many characters and digits.
const GENERATED_LEN: usize = 8;
const GENERATED_DIGITS: usize = 2;

/// What is in force, and what the one who asks has to say.
pub struct Current<'a> {
    /// The policy compiled, its list in force also where `allow_all` is true.
    pub rules: &'a Rules,
    /// The policy's list.
    pub listed: &'a Patterns,
    /// Endings of search lists, lower-case, without dots at either end.
    pub search: &'a [String],
    /// Names under review that are to be added all the same.
    pub accept: &'a [Pattern],
}

/// Proposes what to add to a policy, and says what to leave out and why.
pub fn suggest(observations: &Observations, current: &Current<'_>) -> Proposal {
    let catalogue_hosts = CATALOGUE.hosts();
    let listed: Vec<String> = names_of(current.listed);
    let hosts = catalogue_hosts.iter().copied();
    let known = Known::new(hosts.chain(listed.iter().map(String::as_str)));
    let mut suggester = Suggester {
        current,
        context: Context {
            known,
            suffixed: HashMap::new(),
            tunnels: Vec::new(),
        },
        proposal: Proposal {
            lookups: observations.lookups(),
            names: observations.names(),
            span_ms: observations.span_ms(),
            left_out: observations.left_out(),
            ..Proposal::default()
        },
        made: HashMap::new(),
        used: HashSet::new(),
        asked_hosts: BTreeSet::new(),
    };
    suggester.run(observations);
    suggester.proposal
}

/// The exact names of a list.
fn names_of(listed: &Patterns) -> Vec<String> {
    let exact = listed.iter().filter(|it| !it.is_wildcard());
    exact
        .take(KNOWN_MAX)
        .map(|it| it.text().to_owned())
        .collect()
}

struct Suggester<'a> {
    current: &'a Current<'a>,
    context: Context<'a>,
    proposal: Proposal,
    /// What search lists made, unless it turns out to be data.
    made: HashMap<String, Suffixed>,
    /// Patterns of the policy by which something was looked up.
    used: HashSet<String>,
    /// Hosts of bundles that were asked for and are or will be allowed.
    asked_hosts: BTreeSet<String>,
}

impl Suggester<'_> {
    fn run(&mut self, observations: &Observations) {
        let names = observations.sorted();
        let names = names.into_iter();
        let names: ByName = names
            .map(|(text, name, seen)| (text, Asked::new(name, seen)))
            .collect();
        let names = self.without_by_products(names);
        let names = self.without_tunnels(names);
        for (text, asked) in &fold::services(names) {
            self.judge(text, asked);
        }
        self.wildcards();
        self.accept();
        self.companions();
        if observations.shows_allowed() {
            self.unused();
        }
        self.proposal.items.sort_by(in_order);
    }

    /// Takes out what looking names up brings with it.
    fn without_by_products(&mut self, names: ByName) -> ByName {
        let (by_products, names): (ByName, ByName) = names
            .into_iter()
            .partition(|(text, _)| by_form(text).is_some());
        for (text, asked) in &by_products {
            let opinion = by_form(text).expect("they were parted by it");
            self.put(text, &asked.seen, opinion);
        }
        let asked = names.keys().map(String::as_str);
        let known = |name: &str| self.is_known(name);
        let (made, doubtful) = fold::suffixed(asked, self.current.search, known);
        self.context.suffixed = doubtful;
        let is_sure = |text: &str| made.get(text).is_some_and(|it| it.is_sure);
        let (sure, names): (ByName, ByName) = names
            .into_iter()
            .partition(|(text, asked)| is_sure(text) || !asked.seen.stands_alone);
        for (text, asked) in &sure {
            self.put(text, &asked.seen, by_search(made.get(text)));
        }
        self.made = made;
        names
    }

    /// Is it a bundle's host, or this very name on the policy's list?
    fn is_known(&self, name: &str) -> bool {
        CATALOGUE.host(name).is_some() || self.is_listed(name)
    }

    /// Is this very name on the policy's list?
    fn is_listed(&self, name: &str) -> bool {
        let rule = name.parse().ok().and_then(|name| self.allowed_by(&name));
        rule.is_some_and(|it| it.shape == Shape::Exact)
    }

    fn allowed_by(&self, name: &Name) -> Option<Rule> {
        match self.current.rules.judge(name) {
            Verdict::Allow(rule) => Some(rule),
            Verdict::Deny(_) => None,
        }
    }

    /// Takes out what looks like data. Names that somebody listed one by one carry none.
    fn without_tunnels(&mut self, names: ByName) -> ByName {
        let (mut names, mut suspects): (ByName, ByName) =
            names.into_iter().partition(|(text, _)| self.is_known(text));
        let dated: Vec<Dated<'_>> = suspects
            .iter()
            .map(|(text, asked)| (text.as_str(), asked.seen.first_ms))
            .collect();
        let found = tunnels(&dated);
        for tunnel in &found {
            let (members, rest): (ByName, ByName) = suspects
                .into_iter()
                .partition(|(text, _)| is_at_or_below(text, &tunnel.parent));
            suspects = rest;
            self.danger(tunnel, &members);
        }
        self.context.tunnels = found.into_iter().map(|it| it.parent).collect();
        names.extend(suspects);
        names
    }

    fn danger(&mut self, tunnel: &Tunnel, members: &ByName) {
        let mut seen = Seen::default();
        members.values().for_each(|it| seen.join(&it.seen));
        let mut why = tunnel_text(tunnel, &seen);
        let rules: Vec<Rule> = members
            .values()
            .filter_map(|it| self.allowed_by(&it.name))
            .collect();
        for rule in &rules {
            self.note_use(*rule);
        }
        if let Some(pattern) = rules.first().and_then(|it| self.current.rules.pattern(*it)) {
            why += &format!("; the policy allows it by {pattern}");
        }
        let opinion = Opinion {
            class: Class::Danger,
            kind: "tunnel",
            why,
            group: None,
            near: None,
        };
        self.put(&format!("*.{}", tunnel.parent), &seen, opinion);
        if let Some(item) = self.proposal.items.last_mut() {
            item.evidence.names.clone_from(&tunnel.examples);
            item.evidence.names_total = tunnel.shape.names;
        }
    }

    fn note_use(&mut self, rule: Rule) {
        if rule.grant == Grant::Listed
            && let Some(pattern) = self.current.rules.pattern(rule)
        {
            self.used.insert(pattern);
        }
    }

    fn judge(&mut self, text: &str, asked: &Asked) {
        if let Some(rule) = self.allowed_by(&asked.name) {
            self.proposal.allowed += 1;
            self.note_use(rule);
            self.asked_hosts.insert(text.to_owned());
            return;
        }
        let opinion = match self.made.get(text) {
            Some(suffixed) => by_search(Some(suffixed)),
            None => self.context.opinion(text, asked),
        };
        self.put(text, &asked.seen, opinion);
        let spelled: Vec<String> = asked.asked_as.iter().cloned().collect();
        if let Some(item) = self
            .proposal
            .items
            .last_mut()
            .filter(|_| !spelled.is_empty())
        {
            item.why += &format!(" (asked as {})", spelled.join(", "));
            item.evidence.asked_as = spelled;
        }
    }

    fn put(&mut self, text: &str, seen: &Seen, opinion: Opinion) {
        self.proposal.items.push(Item {
            name: text.to_owned(),
            class: opinion.class,
            count: seen.count,
            first_ms: seen.first_ms,
            last_ms: seen.last_ms,
            types: seen.types.iter().copied().collect(),
            why: opinion.why,
            evidence: Evidence {
                kind: opinion.kind,
                group: opinion.group,
                near: opinion.near,
                clients: seen.clients.len(),
                ..Evidence::default()
            },
        });
    }

    /// Puts one wildcard in the place of names that change from run to run.
    fn wildcards(&mut self) {
        let mut families: BTreeMap<String, Vec<Item>> = BTreeMap::new();
        let items = std::mem::take(&mut self.proposal.items);
        for item in items {
            match base_of(&item) {
                Some(base) => families.entry(base).or_default().push(item),
                None => self.proposal.items.push(item),
            }
        }
        for (base, family) in families {
            let accepted = |it: &Item| self.current.accept.iter().any(|by| by.text() == it.name);
            let (own, family): (Vec<Item>, Vec<Item>) = family.into_iter().partition(accepted);
            self.proposal.items.extend(own);
            match is_rotating(&base, &family) {
                true => self.proposal.items.push(wildcard(&base, &family)),
                false => self.proposal.items.extend(family),
            }
        }
    }

    /// What a person has looked at counts as needed.
    fn accept(&mut self) {
        let accept = self.current.accept;
        let accept: Vec<&Pattern> = accept.iter().filter(|it| !self.has(it)).collect();
        for pattern in accept {
            let mut items = self.proposal.items.iter_mut();
            match items.find(|it| it.class == Class::Review && it.name == pattern.text()) {
                Some(item) => {
                    item.class = Class::Add;
                    item.why = format!("accepted; {}", item.why);
                }
                None => {
                    let name = pattern.text().to_owned();
                    self.proposal.not_accepted.push(name);
                }
            }
        }
    }

    /// Does the policy allow what this pattern does, already?
    fn has(&self, pattern: &Pattern) -> bool {
        match pattern.is_wildcard() {
            true => self.current.listed.iter().any(|it| it == *pattern),
            false => self.allowed_by(&pattern.name()).is_some(),
        }
    }

    /// Adds what the hosts that were asked for are never used without.
    fn companions(&mut self) {
        let added = self.proposal.items.iter_mut();
        for item in added.filter(|it| it.class == Class::Add) {
            self.asked_hosts.insert(item.name.clone());
            if let Some(need) = CATALOGUE.need(&item.name) {
                item.why += &format!(" ({})", need.why);
            }
        }
        let mut present: HashSet<String> = self.asked_hosts.iter().cloned().collect();
        let asked: Vec<String> = self.asked_hosts.iter().cloned().collect();
        for host in asked {
            let Some(need) = CATALOGUE.need(&host) else {
                continue;
            };
            for other in &need.others {
                if self.may_join(other) && present.insert((*other).to_owned()) {
                    self.companion(other, &host, need.why);
                }
            }
        }
    }

    /// Not what is allowed, nor what a tunnel's owner has, nor what was put somewhere else already.
    fn may_join(&self, host: &str) -> bool {
        let is_allowed = host
            .parse()
            .ok()
            .and_then(|it| self.allowed_by(&it))
            .is_some();
        let is_placed = self.proposal.items.iter().any(|it| it.name == host);
        let is_endangered = self.context.tunnels.iter().any(|it| is_below(host, it));
        !is_allowed && !is_placed && !is_endangered
    }

    fn companion(&mut self, host: &str, of: &str, why: &str) {
        let entry = CATALOGUE
            .host(host)
            .expect("companions are hosts of bundles");
        let opinion = Opinion {
            class: Class::Add,
            kind: "companion",
            why: format!("{}: {} ({why}; not seen yet)", entry.group, entry.what),
            group: Some(entry.group),
            near: Some(of.to_owned()),
        };
        self.put(host, &Seen::default(), opinion);
    }

    fn unused(&mut self) {
        let mut told = HashSet::new();
        for pattern in self.current.listed.iter() {
            let text = pattern.text();
            if self.used.contains(text) || !told.insert(text.to_owned()) {
                continue;
            }
            let opinion = Opinion {
                class: Class::Unused,
                kind: "unused",
                why: "no lookup matched it".to_owned(),
                group: None,
                near: None,
            };
            self.put(text, &Seen::default(), opinion);
        }
    }
}

/// The base that an item could share a wildcard on: known to rotate, or of a name that nothing else is said of.
fn base_of(item: &Item) -> Option<String> {
    match item.evidence.kind {
        "rotating" => item.evidence.near.clone(),
        "unknown" | "same_owner" => {
            let (_, base) = item.name.split_once('.')?;
            has_one_owner(base).then(|| base.to_owned())
        }
        _ => None,
    }
}

fn is_rotating(base: &str, family: &[Item]) -> bool {
    let labels = first_labels(base, family);
    let generated = labels.iter().filter(|it| looks_generated(it)).count();
    let is_known = family.iter().all(|it| it.evidence.kind == "rotating");
    let changes = is_known || generated * 3 >= labels.len() * 2;
    let enough = if changes {
        WILDCARD_LABELS
    } else {
        WILDCARD_PLAIN_LABELS
    };
    labels.len() >= enough && has_one_owner(base)
}

/// The labels that stand directly on the base.
fn first_labels<'a>(base: &str, family: &'a [Item]) -> BTreeSet<&'a str> {
    let below = |it: &'a Item| &it.name[..it.name.len() - base.len() - 1];
    let last = |it: &'a str| it.rsplit('.').next().unwrap_or(it);
    family.iter().map(|it| last(below(it))).collect()
}

fn looks_generated(label: &str) -> bool {
    let digits = label.bytes().filter(u8::is_ascii_digit).count();
    label.len() >= GENERATED_LEN && digits >= GENERATED_DIGITS && digits < label.len()
}

/// One item for a family of names.
fn wildcard(base: &str, family: &[Item]) -> Item {
    let labels = first_labels(base, family).len();
    let mut names: Vec<String> = family.iter().map(|it| it.name.clone()).collect();
    names.sort_unstable();
    names.truncate(NAMES_SHOWN);
    let first = &family[0];
    let mut types: Vec<_> = family.iter().flat_map(|it| it.types.clone()).collect();
    types.sort_unstable();
    types.dedup();
    Item {
        name: format!("*.{base}"),
        count: family
            .iter()
            .fold(0, |sum, it| sum.saturating_add(it.count)),
        first_ms: family.iter().filter_map(|it| it.first_ms).min(),
        last_ms: family.iter().filter_map(|it| it.last_ms).max(),
        types,
        why: format!(
            "{}; wildcard: {labels} different first labels, one owner",
            first.why
        ),
        evidence: Evidence {
            names,
            names_total: family.len(),
            clients: family
                .iter()
                .map(|it| it.evidence.clients)
                .max()
                .unwrap_or(0),
            ..first.evidence.clone()
        },
        class: first.class,
    }
}

fn tunnel_text(tunnel: &Tunnel, seen: &Seen) -> String {
    let shape = &tunnel.shape;
    let span = seen.first_ms.zip(seen.last_ms);
    let minutes = span.map(|(first, last)| last.saturating_sub(first).div_ceil(60_000).max(1));
    let span = minutes.map_or(String::new(), |it| format!(" in {it} min"));
    let variety = if shape.is_varied() {
        ", high entropy"
    } else {
        ""
    };
    format!(
        "{} different names{span}, up to {} a minute, labels of up to {} characters{variety}: looks like data leaving through DNS",
        shape.names, shape.in_a_minute, shape.longest_label
    )
}

/// Bundles stay together; what was asked most stands first; the policy's own patterns keep their order.
fn in_order(a: &Item, b: &Item) -> std::cmp::Ordering {
    let by_class = a.class.cmp(&b.class);
    let by_group = match a.class {
        Class::Add | Class::KeepBlocked => a.evidence.group.cmp(&b.evidence.group),
        Class::Hidden => a.evidence.kind.cmp(b.evidence.kind),
        Class::Unused => return by_class,
        Class::Review | Class::Danger => std::cmp::Ordering::Equal,
    };
    by_class
        .then(by_group)
        .then(b.count.cmp(&a.count))
        .then_with(|| a.name.cmp(&b.name))
}
