//! namegate: a DNS resolver for devboxes that answers only the names a network policy allows.
//!
//! The rooms, in the order in which a newcomer should read them:
//!
//! * [`wire`]: the words the rooms speak; octets to words and back.
//! * [`config`]: what the operator says.
//! * [`policy`]: what the account says.
//! * [`matcher`]: the policy compiled; may this name resolve, and why.
//! * [`answer`]: the desks that answer, and what they did as a value.
//! * [`learn`]: what was asked, turned into a proposal for the policy.
//! * [`front`]: sockets; octets in, octets out.
//! * [`telemetry`]: outcomes as counters, log lines and pages.
//! * [`daemon`]: the corridor; carries each query through the rooms, reloads, stops.
//! * [`cli`]: the commands.

pub mod wire;

pub mod config;

pub mod policy;

pub mod matcher;

pub mod answer;

pub mod learn;

pub mod front;

pub mod telemetry;

pub mod daemon;

pub mod cli;
