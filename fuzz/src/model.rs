//! The matcher as anybody would write it: lists of labels, compared one by one.
//!
//! A list of patterns and the labels of a name come in, what a resolver has to
//! say of the name goes out. Slow, and too simple to be wrong.

use namegate::matcher::{Denial, Rule, Rules, Shape, Verdict, Why};
use namegate::policy::Pattern;
use namegate::wire::Query;

/// Labels from the left, the root not among them.
pub type Labels = Vec<Vec<u8>>;

/// A verdict in words that both sides have.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// By the pattern with this text and place.
    Allowed(String, usize),
    /// By `allow_all`.
    AllowedAll,
    /// Its deepest known ancestor has so many labels.
    Denied {
        why: Why,
        encloser_labels: usize,
        is_ancestor: bool,
    },
}

/// A list of patterns.
pub struct Model {
    patterns: Vec<(bool, Labels, String)>,
    allow_all: bool,
}

impl Model {
    pub fn new(patterns: &[Pattern], allow_all: bool) -> Self {
        let read = |it: &Pattern| {
            let base = it.text().trim_start_matches("*.");
            let labels = base.split('.').map(|label| label.as_bytes().to_vec());
            (it.is_wildcard(), labels.collect(), it.text().to_owned())
        };
        Self {
            patterns: patterns.iter().map(read).collect(),
            allow_all,
        }
    }

    pub fn judge(&self, name: &Labels) -> Said {
        let name: Labels = name.iter().map(|it| it.to_ascii_lowercase()).collect();
        let plain = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_".contains(octet);
        let is_plain = name.iter().flatten().all(plain);
        match self.matching(&name) {
            Some(at) if is_plain => Said::Allowed(self.patterns[at].2.clone(), at),
            None if is_plain && self.allow_all => Said::AllowedAll,
            _ if !is_plain => self.denied(Why::BadLabel, &name),
            _ if self.patterns.is_empty() => self.denied(Why::DenyAll, &name),
            _ => self.denied(Why::NotListed, &name),
        }
    }

    /// The first pattern that is the name, else the first of the deepest wildcards above it.
    fn matching(&self, name: &Labels) -> Option<usize> {
        let is_below = |base: &Labels| name.len() > base.len() && name.ends_with(base);
        let (mut exact, mut wild) = (None, None::<(usize, usize)>);
        for (at, (is_wildcard, base, _)) in self.patterns.iter().enumerate() {
            if !is_wildcard && base == name {
                exact = exact.or(Some(at));
            } else if *is_wildcard && is_below(base) && wild.is_none_or(|it| base.len() > it.0) {
                wild = Some((base.len(), at));
            }
        }
        exact.or(wild.map(|it| it.1))
    }

    /// Is this a pattern's name, without its `*.`, or above one?
    fn is_known(&self, name: &[Vec<u8>]) -> bool {
        self.patterns
            .iter()
            .any(|(_, base, _)| base.ends_with(name))
    }

    fn denied(&self, why: Why, name: &Labels) -> Said {
        let encloser = (1..name.len()).find(|at| self.is_known(&name[*at..]));
        Said::Denied {
            why,
            encloser_labels: encloser.map_or(0, |at| name.len() - at),
            is_ancestor: self.is_known(name),
        }
    }
}

/// What the rules say of a name that comes as a client sends it.
pub fn said(rules: &Rules, name: &Labels) -> Said {
    let octets = datagram(name);
    let query = Query::read(&octets).expect("a well-formed question");
    match rules.judge(query.name()) {
        Verdict::Allow(rule) if rule.shape == Shape::Everything => Said::AllowedAll,
        Verdict::Allow(rule) => allowed(rules, rule),
        Verdict::Deny(Denial {
            why,
            encloser_at,
            is_ancestor,
        }) => Said::Denied {
            why,
            encloser_labels: query
                .name()
                .ancestor_at(encloser_at.into())
                .labels()
                .count(),
            is_ancestor,
        },
    }
}

fn allowed(rules: &Rules, rule: Rule) -> Said {
    let text = rules.pattern(rule).expect("a rule has its pattern");
    assert_eq!(rule.shape == Shape::Wildcard, text.starts_with("*."));
    Said::Allowed(text, rule.index as usize)
}

/// A query for the address of a name, letter case kept.
pub fn datagram(name: &Labels) -> Vec<u8> {
    let mut octets = vec![0xBE, 0xEF, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name {
        octets.push(u8::try_from(label.len()).expect("at most 63 octets"));
        octets.extend(label);
    }
    octets.extend([0, 0, 1, 0, 1]);
    octets
}
