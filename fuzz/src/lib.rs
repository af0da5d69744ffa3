//! What each fuzz target holds to be true of every input.
//!
//! A target is one function over octets that panics when a promise is broken.
//! The fuzzer calls it by `fuzz_targets/`; `cargo test` replays the stored
//! inputs through the same function (`tests/fuzz.rs`). Nothing here reads a
//! file, a socket or a clock.

// The resolver's tests take this file in as a module.
#![allow(missing_docs, unreachable_pub, clippy::panic, clippy::print_stderr)]

mod files;
mod kept;
mod lines;
mod message;
pub mod model;
mod reply;
mod road;
mod stream;
mod upstream;

pub use files::{config, zone};
pub use lines::{log, params};
pub use message::message;
pub use reply::reply;
pub use road::road;
pub use stream::stream;
pub use upstream::{Fact, leads_inside, off_the_chain, upstream_answer};

use namegate::config::Config;
use namegate::daemon::{Grants, compile};
use namegate::matcher::{Grant, Rules, Verdict};
use namegate::policy::{Accepted, Pattern, Select, lint, read};

use self::model::{Labels, Model, said};

/// A document is taken or refused with reasons, and what is taken judges as it says.
pub fn policy(input: &[u8]) {
    match read("policy.json", input, &Select::Only) {
        Ok(accepted) => taken(input, &accepted),
        Err(diagnostics) => {
            assert!(diagnostics.has_errors(), "refused without a reason");
            assert!(!diagnostics.render(true).is_empty());
            assert!(!diagnostics.github().is_empty());
            assert!(!diagnostics.json().is_null());
        }
    }
}

fn taken(input: &[u8], accepted: &Accepted) {
    let policy = &accepted.policy;
    assert!(
        serde_json::from_slice::<serde_json::Value>(input).is_ok(),
        "it is no JSON"
    );
    assert_eq!(accepted.lines.len(), policy.allowed_hostnames.len());
    let config = Config::default();
    let grants = Grants::of(&config).expect("the defaults are patterns");
    let rules = compile(policy, &config, &grants);
    for pattern in policy
        .allowed_hostnames
        .iter()
        .filter(|it| !it.is_wildcard())
    {
        let verdict = rules.judge(&pattern.name());
        assert!(matches!(verdict, Verdict::Allow(_)), "{pattern} is listed");
    }
    let remarks = lint("policy.json", input, accepted, &Select::Only);
    assert!(!remarks.has_errors(), "an error in what was taken");
    let _ = remarks.render(false);
}

/// A policy with this list, as JSON.
fn accepted(list: &str) -> Accepted {
    let document = format!(
        r#"{{"id":"npl_1","name":"test","egress":{{"allow_all":false,"allow_devbox_to_devbox":false,
        "allowed_hostnames":{list},"allow_agent_gateway":false,"allow_mcp_gateway":false}},
        "create_time_ms":1,"update_time_ms":1}}"#
    );
    read("policy.json", document.as_bytes(), &Select::Only).expect("a policy")
}

/// The matcher says what the model says.
///
/// The input is a line of flags (`all` or nothing), lines of patterns, an empty line, and a name in wire form.
pub fn judge(input: &[u8]) {
    let Some(at) = input.windows(2).position(|it| it == b"\n\n") else {
        return;
    };
    let (Ok(text), Some(name)) = (str::from_utf8(&input[..at]), labels(&input[at + 2..])) else {
        return;
    };
    let mut lines = text.lines();
    let allow_all = lines.next() == Some("all");
    let patterns: Vec<Pattern> = lines.flat_map(Pattern::parse).collect();
    let mut rules = Rules::builder().grant(Grant::Listed, &patterns);
    if allow_all {
        rules = rules.allow_all();
    }
    let model = Model::new(&patterns, allow_all);
    assert_eq!(
        said(&rules.build(), &name),
        model.judge(&name),
        "{name:?} under {patterns:?}"
    );
}

/// The labels of a name in wire form that fills `octets` exactly.
fn labels(octets: &[u8]) -> Option<Labels> {
    let mut labels = Labels::new();
    let mut rest = octets;
    loop {
        match *rest {
            [0] if octets.len() <= 255 => return Some(labels),
            [len @ 1..=63, ref tail @ ..] if tail.len() > usize::from(len) => {
                let (label, behind) = tail.split_at(len.into());
                labels.push(label.to_vec());
                rest = behind;
            }
            _ => return None,
        }
    }
}
