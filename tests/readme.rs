//! What README.md and docs/OPERATING.md show is what the program reads and serves.
//!
//! `BLESS=1` writes the configuration and the table of metrics anew.

use std::fs;

use namegate::telemetry::METRICS;
use namegate::{config, policy};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
const OPERATING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/OPERATING.md");

fn readme() -> String {
    fs::read_to_string(README).expect("README.md")
}

/// The fenced blocks of a language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let open = format!("```{language}\n");
    let starts = page.split(open.as_str()).skip(1);
    starts
        .filter_map(|rest| rest.split("```").next())
        .map(str::to_owned)
        .collect()
}

/// Holds a part of a page, from a line to a line or to the end, against what it should be.
pub(crate) fn hold(file: &str, first: &str, last: Option<&str>, expected: &str) {
    let page = fs::read_to_string(file).expect(file);
    let start = page
        .find(first)
        .unwrap_or_else(|| panic!("{file} has no {first:?}"));
    let length = last.map_or(Some(page.len() - start), |last| page[start..].find(last));
    let end = start + length.unwrap_or_else(|| panic!("{file} has no {last:?}"));
    if std::env::var_os("BLESS").is_some() {
        fs::write(file, [&page[..start], expected, &page[end..]].concat()).expect(file);
        return;
    }
    assert_eq!(
        &page[start..end],
        expected,
        "run with BLESS=1 to write it anew"
    );
}

#[test]
fn the_configuration_is_shown_whole() {
    let expected = format!("```toml\n{}```\n", config::EXAMPLE);
    hold(README, "```toml\n", None, &expected);
}

#[test]
fn every_metric_is_in_the_table() {
    let mut table = "| metric | type | labels | meaning |\n|---|---|---|---|\n".to_owned();
    for metric in METRICS {
        let labels: Vec<String> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        table += &format!(
            "| `{}` | {:?} | {} | {} |\n",
            metric.name,
            metric.kind,
            labels.join(" "),
            metric.meaning
        );
    }
    hold(OPERATING, "| metric |", None, &table);
}

#[test]
fn every_block_is_read_by_the_real_reader() {
    let page = readme();
    let configurations = blocks(&page, "toml");
    let policies = blocks(&page, "json");
    assert!(!configurations.is_empty() && !policies.is_empty());
    for text in configurations {
        config::read("README.md", &text).unwrap_or_else(|error| panic!("{error}"));
    }
    for text in policies {
        let read = policy::read("README.md", text.as_bytes(), &policy::Select::Only);
        read.unwrap_or_else(|diagnostics| panic!("{}", diagnostics.render(false)));
    }
}

#[test]
fn every_link_leads_to_a_file() {
    let page = readme();
    for target in page
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
    {
        let file = target.split('#').next().unwrap_or_default();
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        assert!(path.exists(), "README.md links to {target}");
    }
}
