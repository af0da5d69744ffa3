//! The policy compiled to a trie; one name in, one [`Verdict`] out; and why.

mod explain;
mod trie;

pub use explain::{Kinship, Near};
pub use trie::{Denial, Grant, Rule, Rules, RulesBuilder, Shape, Verdict, Why};
