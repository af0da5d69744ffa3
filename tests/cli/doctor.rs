//! `doctor` on whatever machine the tests run on: the form of what it says. What it finds is for `tests/doctor.sh`.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::{Room, hold_to_schema};

const SCHEMA: &str = include_str!("../../docs/doctor.schema.json");
/// The words that ids begin with.
const GROUPS: [&str; 14] = [
    "nameserver",
    "listen",
    "resolv_conf",
    "nsswitch",
    "nscd",
    "resolver",
    "upstream",
    "policy",
    "inotify",
    "descriptors",
    "landlock",
    "ipv6",
    "clock",
    "bypass",
];

fn schema() -> Value {
    serde_json::from_str(SCHEMA).expect("the schema is JSON")
}

#[test]
fn a_report_is_what_the_schema_says_and_the_exit_code_follows_it() {
    let room = Room::new();
    // The limits of this machine, and its loopback: nothing is sent to another.
    let args = [
        "doctor",
        "--no-network",
        "--policy",
        "policy.json",
        "--format",
        "json",
    ];
    let output = room.namegate(&args).output().expect("the program starts");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    hold_to_schema("doctor.schema.json", "doctor", &output.stdout);
    let healthy = report["healthy"].as_bool().expect("the schema says so");
    assert_eq!(output.status.code(), Some(i32::from(!healthy)));
    let found = report["findings"].as_array().map_or(0, Vec::len);
    assert!(found >= GROUPS.len() / 2, "{report:#}");
}

#[test]
fn a_refused_configuration_ends_it() {
    let room = Room::new();
    room.write("config.toml", "[listen]\nadresses = []\n");
    let told = room.tell("doctor --config config.toml");
    assert!(told.ends_with("--- exit 78\n"), "{told}");
}

/// Ids are stable because whoever adds or drops one has to say so there.
#[test]
fn the_schema_lists_every_id_and_no_other() {
    let listed = schema()["$defs"]["id"]["enum"].clone();
    let listed: BTreeSet<String> = serde_json::from_value(listed).expect("a list of ids");
    assert_eq!(listed, ids_in_the_source());
}

/// The literals of the commands' source that look like an id.
fn ids_in_the_source() -> BTreeSet<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli/doctor");
    let mut ids = BTreeSet::new();
    for file in fs::read_dir(folder).expect("the source").flatten() {
        let text = fs::read_to_string(file.path()).expect("the source");
        let code = text.split("mod tests {").next().unwrap_or_default();
        let literals = code.split('"').filter(|it| is_id(it));
        ids.extend(literals.map(str::to_owned));
    }
    ids
}

fn is_id(literal: &str) -> bool {
    let is_word =
        |it: &str| !it.is_empty() && it.bytes().all(|c| c == b'_' || c.is_ascii_lowercase());
    let parts = literal.split_once('.');
    parts.is_some_and(|(group, rest)| GROUPS.contains(&group) && is_word(rest))
}
