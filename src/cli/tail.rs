//! `tail`: decisions as they are made, one a line, until somebody stops it.

use std::io::{self, BufRead};

use serde_json::Value;

use super::args::{Format, TailArgs};
use super::client::{self, Client, encoded};
use super::{exit, printable, say, talk};

pub(super) fn tail(args: &TailArgs) -> u8 {
    followed(args).unwrap_or_else(|code| code)
}

fn followed(args: &TailArgs) -> Result<u8, u8> {
    let client = Client::by(&args.link)?;
    let mut asked = format!(
        "/v1/events?blocked={}&all={}",
        u8::from(args.blocked),
        u8::from(args.all)
    );
    for (key, value) in [("name", &args.name), ("client", &args.client)] {
        if let Some(value) = value {
            asked += &format!("&{key}={}", encoded(value));
        }
    }
    for line in client.lines(&asked)?.lines() {
        let line = line.map_err(|error| silent(&client, &error))?;
        // An empty one only shows that the daemon is there.
        match args.format {
            _ if line.is_empty() => {}
            Format::Json => say(&format!("{line}\n")),
            Format::Text => say(&text(&serde_json::from_str(&line).unwrap_or_default())),
        }
    }
    talk("namegate: the resolver has ended");
    Err(exit::UNAVAILABLE)
}

fn silent(client: &Client, error: &io::Error) -> u8 {
    let socket = client.socket().display();
    talk(&format!(
        "namegate: the resolver at {socket} says nothing more: {error}"
    ));
    exit::UNAVAILABLE
}

/// `14:05:31.204 BLOCK 10.0.3.7 AAAA registry.npmjs.org  not_listed  0.04ms`
fn text(event: &Value) -> String {
    let word = |key: &str| client::word(&event[key], "-");
    if event["event"] == "lost" {
        let count = client::number(&event["count"]);
        return format!("({count} decisions went by too fast to be shown)\n");
    }
    let at = word("ts").get(11..23).unwrap_or("-").to_owned();
    let verdict = match event["verdict"].as_str() {
        Some("allowed") => "ALLOW",
        Some("blocked") => "BLOCK",
        Some("refused") => "REFUSE",
        Some("would_block") => "WOULD",
        _ => "ERROR",
    };
    let because = match event["matched"].as_str() {
        Some(pattern) => format!("{} {}", word("reason"), printable(pattern)),
        None => word("reason"),
    };
    let source = match event["source"].as_str() {
        Some("policy") | None => String::new(),
        Some(source) => format!("{} ", printable(source)),
    };
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let took_ms = client::number(&event["dur_us"]) as f64 / 1e3;
    format!(
        "{at} {verdict:<5} {} {:<5} {:<32} {because:<28} {source}{took_ms:.2}ms\n",
        word("client"),
        word("type"),
        word("name"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_tells_one_decision() {
        let event = json!({"ts": "2026-11-22T14:05:31.204Z", "event": "dns.query", "verdict": "blocked", "client": "10.0.3.7",
            "type": "AAAA", "name": "registry.npmjs.org", "reason": "not_listed", "matched": null, "source": "policy", "dur_us": 38});
        assert_eq!(
            text(&event),
            "14:05:31.204 BLOCK 10.0.3.7 AAAA  registry.npmjs.org               not_listed                   0.04ms\n"
        );
        let event = json!({"ts": "2026-11-22T14:05:31.310Z", "event": "dns.query", "verdict": "allowed", "client": "10.0.3.7",
            "type": "A", "name": "github.com", "reason": "exact", "matched": "github.com", "source": "cache", "dur_us": 20});
        assert_eq!(
            text(&event),
            "14:05:31.310 ALLOW 10.0.3.7 A     github.com                       exact github.com             cache 0.02ms\n"
        );
        let event = json!({"event": "lost", "count": 7});
        assert_eq!(text(&event), "(7 decisions went by too fast to be shown)\n");
    }
}
