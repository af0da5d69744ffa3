//! What the account says: a network policy, taken whole or refused whole.
//!
//! A document comes in as octets; a [`Policy`] goes out, or [`Diagnostics`]
//! that name every fault at its place. Nothing is guessed and nothing repaired.

mod schema;

mod pattern;

mod lint;

mod edit;

pub mod domains;

mod diagnose;

mod codes;

mod json;

pub mod watch;

pub use codes::{CODES, Code};
pub use diagnose::{Diagnostic, Diagnostics, Severity, printable};
pub use domains::is_top_level;
pub use edit::{Hostnames, Splice, spliced};
pub use lint::lint;
pub use pattern::{Flaw, Pattern, Patterns};
pub use schema::{Accepted, OCTETS_MAX, Policy, Select, hostnames_path, read};
