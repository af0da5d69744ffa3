//! The one integration-test binary: what the library promises, tested from outside.

#![allow(clippy::panic, clippy::unwrap_used, clippy::cast_possible_truncation)]

#[path = "../fuzz/src/lib.rs"]
mod bodies;
mod support;

mod alloc;
mod deploy;
mod fuzz;
mod model;
mod schema;
mod telemetry;
mod tidy;
mod vectors;
mod watch;
