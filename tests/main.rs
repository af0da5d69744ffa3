//! The one integration-test binary: what the library promises, tested from outside.

#![allow(clippy::panic, clippy::unwrap_used, clippy::cast_possible_truncation)]

#[path = "../fuzz/src/lib.rs"]
mod bodies;
mod support;

mod admin;
mod alloc;
mod amplification;
mod cli;
mod codes;
mod deploy;
mod docs;
mod exfiltration;
mod front;
mod fuzz;
mod greedy;
mod hostile;
mod learn;
mod model;
mod mutation;
mod octets;
mod options;
mod readme;
mod schema;
mod script;
mod sockets;
mod telemetry;
mod tidy;
mod vectors;
mod watch;
mod words;
