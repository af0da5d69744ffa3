//! What was asked, turned into a proposal for the policy.
//!
//! Lines of a query log, or [`Observation`]s from elsewhere, are put together in
//! [`Observations`]; [`suggest`] holds them against the policy in force and the
//! lists of `data/`, and returns a [`Proposal`]. Reads no file and no clock; what
//! it proposes is never put in force here. The rules: docs/SUGGEST.md.

mod observe;

mod log;

mod catalogue;

mod fold;

mod tunnel;

mod alike;

mod opinion;

mod proposal;

mod suggest;

mod report;

pub use catalogue::{Bundle, bundles};
pub use log::{LINE_OCTETS_MAX, read_line, read_trail};
pub use observe::{NAMES_MAX, Observation, Observations};
pub use proposal::{Class, Evidence, Item, Proposal};
pub use report::{Detail, json, text};
pub use suggest::{Current, suggest};
