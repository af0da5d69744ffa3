//! What the account says: a network policy, taken whole or refused whole.
//!
//! A document comes in as octets; a [`Policy`] goes out, or [`Diagnostics`]
//! that name every fault at its place. Nothing is guessed and nothing repaired.

mod schema;

mod pattern;

mod lint;

pub mod domains;

mod append;

mod diagnose;

mod json;

pub mod watch;

pub use append::append;
pub use diagnose::{Diagnostic, Diagnostics, Severity};
pub use lint::lint;
pub use pattern::{Flaw, Pattern, Patterns};
pub use schema::{Accepted, OCTETS_MAX, Policy, Select, read};
