//! What is proposed, as a value.

use crate::policy::Pattern;
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

    /// The patterns to be added to the policy, sorted.
    pub fn additions(&self) -> Vec<Pattern> {
        let texts = self.of(Class::Add).map(|it| it.name.as_str());
        let mut patterns: Vec<Pattern> = texts.filter_map(|it| Pattern::parse(it).ok()).collect();
        patterns.sort_unstable_by(|a, b| a.text().cmp(b.text()));
        patterns
    }
}
