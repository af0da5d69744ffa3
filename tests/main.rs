//! The one integration-test binary: what the library promises, tested from outside.

mod deploy;
mod schema;
mod script;
mod support;
mod telemetry;
mod vectors;
