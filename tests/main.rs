//! The one integration-test binary: what the library promises, tested from outside.

mod deploy;
mod schema;
mod telemetry;
mod vectors;
mod watch;
