//! The matcher as it is; what may be read for the nearest pattern goes by the clock of the models.

use std::time::Instant;

pub use namegate::matcher::{
    Denial, Grant, Kinship, Near, Rule, Rules, RulesBuilder, SearchSuffixes, Shape, Verdict, Why,
};

/// Everything may be read.
pub struct Allowance;

impl Allowance {
    /// Everything may be read.
    pub fn new(_: Instant) -> Self {
        Self
    }

    /// It may.
    pub fn spend(&mut self, _patterns: u64, _: Instant) -> Option<()> {
        Some(())
    }
}
