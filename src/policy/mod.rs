//! What the account says: a network policy, taken whole or refused whole.
//!
//! A document comes in as octets; a [`Policy`] goes out, or [`Diagnostics`]
//! that name every fault at its place. Nothing is guessed and nothing repaired.

mod diagnose;
mod pattern;
mod schema;
pub mod watch;

pub use diagnose::{Diagnostic, Diagnostics, Severity};
pub use pattern::{Flaw, Pattern};
pub use schema::{Accepted, Policy, Select, read};
