//! Time and load, in short: what `cargo bench --bench soak` does for ten million queries, for some thousands.
//!
//! The program is this build's, as a process of its own; clients, upstream and judge are the campaign's.

use std::time::Duration;

#[allow(dead_code, reason = "the campaign needs more of it")]
#[path = "../benches/soak/mod.rs"]
mod campaign;

use campaign::{Settings, run};

#[test]
fn nothing_is_lost_or_wrong_while_policy_upstream_and_log_change() {
    let report = run(&Settings {
        queries: 40_000,
        replacements: 25,
        names_max: 10_000,
        // It takes a few; a busy machine takes its time.
        seconds_max: Duration::from_secs(120),
        restart_every: Duration::from_secs(1),
        rotate_every: Duration::from_secs(1),
        sample_every: Duration::from_secs(1),
    });
    assert!(report.is_good(), "{report}");
}
