//! Every input that the fuzzer keeps goes through its target again.
//!
//! `fuzz/corpus` holds inputs that reach much of the code, `fuzz/regressions`
//! those that once broke a promise. The promises stand in `fuzz/src/lib.rs`.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::bodies;

/// An input is done within this, without optimisation and on a busy machine: nothing a peer sends holds up the others.
const PATIENCE: Duration = Duration::from_secs(5);

/// Replays the folders of a target; the corpus must be there.
fn replay(target: &str, body: fn(&[u8])) {
    let inputs = inputs(&Path::new("fuzz/corpus").join(target));
    assert!(
        inputs.len() >= 12,
        "only {} inputs for {target}",
        inputs.len()
    );
    let regressions = self::inputs(&Path::new("fuzz/regressions").join(target));
    for (file, input) in inputs.iter().chain(&regressions) {
        let began = Instant::now();
        let ran = std::panic::catch_unwind(|| body(input));
        assert!(ran.is_ok(), "{file} breaks {target}");
        let took = began.elapsed();
        assert!(took < PATIENCE, "{file} holds up {target} for {took:?}");
    }
}

/// The files of a folder; one that is not there holds none.
fn inputs(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let read = |path: &Path| fs::read(path).unwrap_or_else(|it| panic!("{}: {it}", path.display()));
    entries
        .map(|entry| entry.expect("a folder that can be read").path())
        .map(|path| (path.display().to_string(), read(&path)))
        .collect()
}

#[test]
fn messages_keep_their_promises() {
    replay("message", bodies::message);
}

#[test]
fn policies_keep_their_promises() {
    replay("policy", bodies::policy);
}

#[test]
fn verdicts_keep_their_promises() {
    replay("judge", bodies::judge);
}

#[test]
fn upstream_answers_keep_their_promises() {
    replay("upstream_answer", bodies::upstream_answer);
}

#[test]
fn configurations_keep_their_promises() {
    replay("config", bodies::config);
}

#[test]
fn zones_keep_their_promises() {
    replay("zone", bodies::zone);
}

#[test]
fn streams_keep_their_promises() {
    replay("stream", bodies::stream);
}

#[test]
fn replies_keep_their_promises() {
    replay("reply", bodies::reply);
}

#[test]
fn roads_keep_their_promises() {
    replay("road", bodies::road);
}

#[test]
fn logs_keep_their_promises() {
    replay("log", bodies::log);
}

#[test]
fn parameters_keep_their_promises() {
    replay("params", bodies::params);
}
