//! What is proposed, as a value.

use crate::policy::Pattern;
use crate::policy::domains::is_at_or_below;
use crate::wire::Type;

/// What to do about a name. In the order in which a reader should see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The observed work evidently needs it.
    Add,
    /// A person has to decide.
    Review,
    /// No work needs it.
    KeepBlocked,
    /// It looks like data leaving, or like a test of that.
    Danger,
    /// By-products of looking names up: nothing to decide.
    Hidden,
    /// A pattern of the policy that nothing was looked up by.
    Unused,
}

impl Class {
    /// Every class, in order.
    pub const ALL: [Self; 6] = [
        Self::Add,
        Self::Review,
        Self::KeepBlocked,
        Self::Danger,
        Self::Hidden,
        Self::Unused,
    ];

    /// The word for it in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Review => "review",
            Self::KeepBlocked => "keep_blocked",
            Self::Danger => "danger",
            Self::Hidden => "hidden",
            Self::Unused => "unused",
        }
    }

    /// The word for it in text.
    pub fn title(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Review => "REVIEW",
            Self::KeepBlocked => "KEEP BLOCKED",
            Self::Danger => "DANGER",
            Self::Hidden => "HIDDEN",
            Self::Unused => "UNUSED",
        }
    }
}

/// What a class was chosen by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The rule, in one word: `bundle`, `companion`, `unknown`, `typo`.
    pub kind: &'static str,
    /// The bundle, or the group of noise or of services.
    pub group: Option<&'static str>,
    /// The name that this one is like, goes with, or stands for.
    pub near: Option<String>,
    /// What it was asked as, where that was not the name itself.
    pub asked_as: Vec<String>,
    /// Names that this item stands for; of many, a few.
    pub names: Vec<String>,
    /// How many names it stands for.
    pub names_total: usize,
    /// Different clients that asked, as far as they are counted.
    pub clients: usize,
}

/// One line of the proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// A name, or a pattern.
    pub name: String,
    /// What to do about it.
    pub class: Class,
    /// Queries.
    pub count: u64,
    /// When the first came, milliseconds since 1970.
    pub first_ms: Option<u64>,
    /// When the last came.
    pub last_ms: Option<u64>,
    /// What was asked for.
    pub types: Vec<Type>,
    /// Why this class, in words.
    pub why: String,
    /// Why this class, for programs.
    pub evidence: Evidence,
}

/// Rules of REVIEW by which a name is not what it seems to be, or opens a way past the filter.
const SUSPECT: [&str; 8] = [
    "typo",
    "imitation",
    "other_ending",
    "look_alike",
    "beside_danger",
    "resolver",
    "metadata",
    "tunnel",
];

impl Item {
    /// May a command that allows it be shown to whoever decides, ready to be typed? What is suspect has to be
    /// written out by hand.
    pub fn is_offered(&self) -> bool {
        let is_open = matches!(self.class, Class::Add | Class::Review);
        is_open && !SUSPECT.contains(&self.evidence.kind)
    }
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proposal {
    /// Sorted by class, then by what is read first.
    pub items: Vec<Item>,
    /// Queries that were looked at.
    pub lookups: u64,
    /// Different names.
    pub names: usize,
    /// Names that the policy allows already.
    pub allowed: usize,
    /// When the first and the last query came.
    pub span_ms: Option<(u64, u64)>,
    /// Queries of names that there was no room for.
    pub left_out: u64,
    /// Of what was to be accepted, what is not up for review.
    pub not_accepted: Vec<String>,
}

impl Proposal {
    /// The items of a class, in order.
    pub fn of(&self, class: Class) -> impl Iterator<Item = &Item> {
        self.items.iter().filter(move |it| it.class == class)
    }

    /// The item that speaks of a name, which may be one for several: a wildcard, or a tunnel's parent. None: the
    /// policy allows it, or nobody asked for it.
    pub fn about(&self, name: &str) -> Option<&Item> {
        let items = || self.items.iter().filter(|it| it.class != Class::Unused);
        let speaks = |it: &&Item| {
            let base = it.name.strip_prefix("*.");
            base.is_some_and(|base| is_at_or_below(name, base))
        };
        let several = || items().filter(speaks).max_by_key(|it| it.name.len());
        items().find(|it| it.name == name).or_else(several)
    }

    /// The patterns to be added to the policy, sorted.
    pub fn additions(&self) -> Vec<Pattern> {
        let texts = self.of(Class::Add).map(|it| it.name.as_str());
        let mut patterns: Vec<Pattern> = texts.filter_map(|it| Pattern::parse(it).ok()).collect();
        patterns.sort_unstable_by(|a, b| a.text().cmp(b.text()));
        patterns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Item {
        /// One that was asked for once.
        pub(crate) fn new(name: &str, class: Class, why: &str) -> Self {
            Self {
                name: name.to_owned(),
                class,
                count: 1,
                first_ms: None,
                last_ms: None,
                types: Vec::new(),
                why: why.to_owned(),
                evidence: Evidence::default(),
            }
        }
    }

    #[test]
    fn a_name_has_its_own_item_or_that_of_the_nearest_wildcard() {
        let proposal = Proposal {
            items: vec![
                Item::new("*.example.com", Class::Danger, ""),
                Item::new("*.a.example.com", Class::Review, ""),
                Item::new("a.example.com", Class::Add, ""),
                Item::new("*.example.net", Class::Unused, ""),
            ],
            ..Proposal::default()
        };
        let about = |name: &str| proposal.about(name).map(|it| it.class);
        assert_eq!(about("a.example.com"), Some(Class::Add));
        assert_eq!(about("x.a.example.com"), Some(Class::Review));
        assert_eq!(about("b.example.com"), Some(Class::Danger));
        assert_eq!(about("example.com"), Some(Class::Danger));
        assert_eq!(about("notexample.com"), None);
        assert_eq!(about("b.example.net"), None);
    }

    #[test]
    fn what_is_suspect_is_not_offered() {
        let offered = |class: Class, kind: &'static str| {
            let mut item = Item::new("a.example.com", class, "");
            item.evidence.kind = kind;
            item.is_offered()
        };
        assert!(offered(Class::Add, "bundle") && offered(Class::Review, "unknown"));
        for kind in SUSPECT {
            assert!(!offered(Class::Review, kind), "{kind}");
        }
        for class in [Class::KeepBlocked, Class::Danger, Class::Hidden] {
            assert!(!offered(class, "noise"), "{class:?}");
        }
    }
}
