//! The one integration-test binary: what the library promises, tested from outside.

mod schema;
mod vectors;
