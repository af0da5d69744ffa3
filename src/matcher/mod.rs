//! The policy compiled to a trie; one name in, one [`Verdict`] out; and why.

mod explain;
mod suffix;
mod trie;

pub use explain::{Allowance, Kinship, Near};
pub use suffix::SearchSuffixes;
pub use trie::{Denial, Grant, Rule, Rules, RulesBuilder, Shape, Verdict, Why};
