//! x

mod telemetry;
