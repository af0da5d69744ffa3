//! What the commands read that a resolver has written, or somebody in its name:
//! lines of a query log, and the page of what is remembered; and the parameters of a request.
//!
//! Any octets come in. A line is an observation, says nothing of a name, or is no
//! line of the log; and whatever was observed, what is proposed for the policy can
//! be read, and is the same again.

use std::sync::LazyLock;

use namegate::config::Config;
use namegate::daemon::{Grants, compile};
use namegate::learn::{
    Class, Current, Detail, Item, Observation, Observations, json, read_line, read_trail, suggest,
    text,
};
use namegate::matcher::Rules;
use namegate::policy::Patterns;
use namegate::telemetry::http::Params;
use serde_json::Value;

use super::accepted;

/// The policy for which something is proposed.
const ALLOWED: &str = r#"["github.com", "*.npmjs.org", "*.github.com", "corp.example"]"#;

static LISTED: LazyLock<(Patterns, Rules)> = LazyLock::new(|| {
    let policy = accepted(ALLOWED).policy;
    let config = Config::default();
    let grants = Grants::of(&config).expect("the defaults are patterns");
    let rules = compile(&policy, &config, &grants);
    (policy.allowed_hostnames, rules)
});

/// A log or a page gives observations, and these a proposal.
pub fn log(input: &[u8]) {
    let mut seen = Observations::default();
    for line in input.split(|it| *it == b'\n') {
        let observed = match read_line(line) {
            Ok(observed) => observed,
            Err(why) => {
                assert!(!why.is_empty(), "refused without a reason");
                None
            }
        };
        if let Some(observation) = &observed {
            is_said(line, observation);
            seen.add(observation);
        }
    }
    for observation in read_trail(input).into_iter().flatten() {
        seen.add(&observation);
    }
    if seen.names() > 0 {
        propose(&seen);
    }
}

/// What was observed stands in the line, as any reader of JSON finds it.
fn is_said(line: &[u8], observation: &Observation) {
    // What is passed over need not be right: `\ud800` in a member that is not known.
    let Ok(value) = serde_json::from_slice::<Value>(line) else {
        return;
    };
    assert_eq!(value["event"], "dns.query");
    assert_ne!(value["verdict"], "refused");
    let name = value["name"].as_str().expect("it has a name");
    assert_eq!(name.parse(), Ok(observation.name));
    let kind = observation.types.first().map(|it| it.to_string());
    assert_eq!(kind.is_some(), !value["type"].is_null(), "{kind:?}");
    let reason = observation.reason.map(|it| it.word());
    assert!(reason.is_none_or(|it| value["reason"] == it));
    let written = observation.name.to_string();
    assert_eq!(written.parse(), Ok(observation.name), "{written}");
    assert_eq!(observation.count, 1);
}

/// Nothing is proposed but patterns, each once, none that the policy has; and both reports can be read.
fn propose(seen: &Observations) {
    let (listed, rules) = &*LISTED;
    let current = Current {
        rules,
        listed,
        search: &["corp.example".to_owned()],
        accept: &[],
    };
    let proposal = suggest(seen, &current);
    assert_eq!(suggest(seen, &current), proposal, "the same again");
    let additions = proposal.additions();
    assert_eq!(
        additions.len(),
        proposal.of(Class::Add).count(),
        "what is no pattern is to be added"
    );
    for addition in &additions {
        let is_there = listed.iter().any(|it| it.text() == addition.text());
        assert!(!is_there, "{addition} is in the policy");
    }
    assert!(proposal.items.iter().all(|it: &Item| !it.why.is_empty()));
    for detail in [Detail::Brief, Detail::All] {
        let text = text(&proposal, "test", &[], detail);
        let is_plain = |it: char| it == '\n' || !it.is_control();
        assert!(text.chars().all(is_plain), "{text:?}");
    }
    let read: Value = serde_json::from_str(&json(&proposal, &[])).expect("it is JSON");
    assert_eq!(
        read["items"].as_array().map(Vec::len),
        Some(proposal.items.len())
    );
}

/// The parameters of a request are those that stand there, each taken once.
pub fn params(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    let expected: Option<Vec<(String, String)>> = text
        .split('&')
        .filter(|it| !it.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "1")))
        .map(|(key, value)| Some((plain(key)?, plain(value)?)))
        .collect();
    let read = Params::read(Some(text));
    assert_eq!(read.is_ok(), expected.is_some());
    let (Ok(mut params), Some(expected)) = (read, expected) else {
        return;
    };
    for (key, value) in &expected {
        assert_eq!(params.text(key).as_ref(), Some(value));
    }
    assert!(params.done().is_ok(), "one is left over");
    taken_in_part(text, &expected);
}

/// One that nobody takes is told, and so is one that is no number or no switch.
fn taken_in_part(text: &str, expected: &[(String, String)]) {
    let Some((key, value)) = expected.first() else {
        return;
    };
    let again = || Params::read(Some(text)).expect("it was read");
    assert!(again().done().is_err());
    let mut params = again();
    assert_eq!(params.value::<u16>(key).ok(), value.parse().ok().map(Some));
    assert_eq!(params.done().is_ok(), expected.len() == 1);
    let switch = again().switch(key).ok();
    assert_eq!(
        switch,
        ["0", "1"]
            .iter()
            .position(|it| it == value)
            .map(|it| it == 1)
    );
}

/// The text behind `%41` and `+`, as another would read it.
fn plain(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    let mut parts = text.split('%');
    let mut octets = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let digits = part
            .get(..2)
            .filter(|it| it.bytes().all(|it| it.is_ascii_hexdigit()))?;
        octets.push(u8::from_str_radix(digits, 16).ok()?);
        octets.extend(&part.as_bytes()[2..]);
    }
    String::from_utf8(octets).ok()
}
