//! The tables of `tests/data`: what a pattern is, and which names it allows.
//!
//! Every row of `match-vectors.tsv` is run, and every line of the realistic
//! list `hostnames.tsv`, with the entries that people paste into such lists
//! and that are no hostnames.

use namegate::matcher::{Grant, Rules, Verdict};
use namegate::policy::{Pattern, Select, lint, read};
use namegate::wire::Name;

const VECTORS: &str = include_str!("data/match-vectors.tsv");
const HOSTNAMES: &str = include_str!("data/hostnames.tsv");

/// The words of the third column.
fn outcome(patterns: &[&str], name: &str) -> &'static str {
    let Ok(patterns) = patterns
        .iter()
        .map(|it| Pattern::parse(it))
        .collect::<Result<Vec<_>, _>>()
    else {
        return "LOADERR";
    };
    let rules = Rules::builder().grant(Grant::Listed, &patterns).build();
    // A name that cannot exist on the wire cannot be asked for.
    match name.parse::<Name>().map(|name| rules.judge(&name)) {
        Ok(Verdict::Allow(_)) => "ALLOW",
        Ok(Verdict::Deny(_)) | Err(_) => "DENY",
    }
}

fn document(patterns: &[&str]) -> String {
    serde_json::json!({
        "id": "npol_1",
        "name": "vectors",
        "egress": {
            "allow_all": false,
            "allow_devbox_to_devbox": false,
            "allowed_hostnames": patterns,
            "allow_agent_gateway": false,
            "allow_mcp_gateway": false,
        },
        "create_time_ms": 0,
        "update_time_ms": 0,
    })
    .to_string()
}

#[test]
fn every_match_vector_holds() {
    let mut rows = 0;
    for row in VECTORS.lines().filter(|row| !row.starts_with('#')) {
        let columns: Vec<&str> = row.split('\t').collect();
        let [list, name, expected, why] = columns[..].try_into().expect("four columns");
        let patterns: Vec<&str> = list.split(',').filter(|it| !it.is_empty()).collect();
        assert_eq!(outcome(&patterns, name), expected, "{list:?} {name}: {why}");
        let is_read = read("vectors", document(&patterns).as_bytes(), &Select::Only).is_ok();
        assert_eq!(is_read, expected != "LOADERR", "{list:?}: {why}");
        rows += 1;
    }
    assert_eq!(rows, 58);
}

#[test]
fn every_real_hostname_is_a_pattern() {
    let names: Vec<&str> = HOSTNAMES
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split('\t').next())
        .collect();
    assert_eq!(names.len(), 415);
    let source = document(&names);
    let accepted = read("hostnames", source.as_bytes(), &Select::Only).expect("all are valid");
    assert_eq!(accepted.policy.allowed_hostnames.len(), names.len());
    let remarks = lint("hostnames", source.as_bytes(), &accepted, &Select::Only);
    assert!(!remarks.has_errors());
}

#[test]
fn what_people_paste_by_mistake_is_refused() {
    let mut entries = 0;
    for line in HOSTNAMES
        .lines()
        .filter_map(|line| line.strip_prefix("#! "))
    {
        let (texts, note) = line.split_once(" (").expect("a note in brackets");
        let is_valid = note.contains("valid syntax");
        for text in texts.split_whitespace() {
            assert_eq!(Pattern::parse(text).is_ok(), is_valid, "{text}");
            entries += 1;
        }
    }
    assert_eq!(entries, 14);
}
