//! `status`: the running resolver on one screen.

use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::args::{Format, StatusArgs};
use super::client::{Client, number, word};
use super::{exit, in_words, printable, say};

/// Between two looks with `--watch`.
const PAUSE: Duration = Duration::from_secs(2);
/// What a terminal takes for: home, and nothing below.
const CLEAR: &str = "\x1b[H\x1b[2J";

pub(super) fn status(args: &StatusArgs) -> u8 {
    shown(args).unwrap_or_else(|code| code)
}

fn shown(args: &StatusArgs) -> Result<u8, u8> {
    let client = Client::by(&args.link)?;
    loop {
        let status = client.document("/status")?;
        let text = match args.format {
            Format::Text => text(&status, SystemTime::now()),
            Format::Json => format!("{status}\n"),
        };
        if !args.watch {
            say(&text);
            return Ok(exit::OK);
        }
        let clear = if args.format == Format::Text {
            CLEAR
        } else {
            ""
        };
        say(&format!("{clear}{text}"));
        thread::sleep(PAUSE);
    }
}

fn text(status: &Value, now: SystemTime) -> String {
    let rows = [
        ("policy", policy(&status["policy"], now)),
        ("mode", mode(status)),
        ("watch", watch(&status["watch"])),
        ("listen", listen(status)),
        ("upstream", upstreams(&status["upstreams"])),
        ("queries", queries(status, now)),
        ("cache", cache(&status["cache"])),
        ("reloads", reloads(&status["reloads"])),
        ("process", process(status)),
        ("version", word(&status["version"], "?")),
    ];
    let row = |(what, said): &(&str, String)| format!("{what:<9} {said}\n");
    rows.iter().map(row).collect()
}

fn policy(policy: &Value, now: SystemTime) -> String {
    if policy.is_null() {
        return "none that is valid yet: every name is denied".to_owned();
    }
    let sha256 = word(&policy["sha256"], "?");
    let [exact, wildcard] = ["exact", "wildcard"].map(|it| number(&policy["patterns"][it]));
    let names = match policy["allow_all"].as_bool() {
        Some(true) => "ALLOW_ALL: every name resolves".to_owned(),
        _ => format!(
            "{} names ({exact} exact, {wildcard} wildcard)",
            exact + wildcard
        ),
    };
    format!(
        "{} ({})  gen {}  sha256 {}  {names}   loaded {} ago",
        word(&policy["name"], "?"),
        word(&policy["id"], "?"),
        number(&policy["generation"]),
        sha256.get(..8).unwrap_or(&sha256),
        ago(&policy["loaded_at"], now),
    )
}

fn mode(status: &Value) -> String {
    let mode = word(&status["mode"], "enforce");
    match status["audit_ends"].as_str() {
        Some(ends) => format!("{mode}  until {}: NOTHING IS ENFORCED", printable(ends)),
        None => mode,
    }
}

fn watch(watch: &Value) -> String {
    let ways = ["inotify", "poll"].into_iter().filter_map(|way| {
        Some(match watch[way].as_bool()? {
            true => format!("{way}  healthy"),
            false => format!("{way}  BLIND: changes of the file are not seen"),
        })
    });
    ways.collect::<Vec<_>>().join("   ")
}

fn listen(status: &Value) -> String {
    let addresses = texts(&status["listen"]).join("  ");
    match status["listen_from"].as_str() {
        Some("socket_activation") => format!("{addresses}   handed over"),
        _ => addresses,
    }
}

/// Whose process it is, and what the kernel keeps it from.
fn process(status: &Value) -> String {
    let sandbox = &status["sandbox"];
    let abi = sandbox["landlock_abi"].as_u64();
    let abi = abi.map_or(String::new(), |it| format!(" (ABI {it})"));
    format!(
        "user {}   landlock {}{abi}   {} descriptors at most",
        word(&sandbox["user"], "?"),
        word(&sandbox["landlock"], "?"),
        number(&status["descriptor_limit"]),
    )
}

fn upstreams(upstreams: &Value) -> String {
    let one = |it: &Value| {
        let name = word(&it["name"], "?");
        match (it["up"].as_bool(), it["p50_ms"].as_f64()) {
            (Some(false), _) => format!("{name} DOES NOT ANSWER"),
            (_, Some(p50_ms)) => format!("{name} ok {p50_ms:.0} ms p50"),
            (_, None) => format!("{name} not asked yet"),
        }
    };
    let all: Vec<String> = upstreams
        .as_array()
        .into_iter()
        .flatten()
        .map(one)
        .collect();
    all.join("   ")
}

fn queries(status: &Value, now: SystemTime) -> String {
    let count = |it: &str| number(&status["queries"][it]);
    let kinds = ["allowed", "blocked", "would_block", "error", "refused"];
    let [allowed, blocked, passed, errors, refused] = kinds.map(count);
    let audited = match passed {
        0 => String::new(),
        _ => format!("{passed} would be blocked, "),
    };
    format!(
        "{} in {}: {allowed} allowed ({} cached), {blocked} blocked ({} search suffix), {audited}{errors} errors, {refused} refused",
        allowed + blocked + passed + errors + refused,
        ago(&status["started_at"], now),
        number(&status["cache"]["hits"]),
        number(&status["reasons"]["search_suffix"]),
    )
}

fn cache(cache: &Value) -> String {
    let answers = number(&cache["positive"]) + number(&cache["negative"]);
    format!("{answers} answers, {} KiB", number(&cache["octets"]) >> 10)
}

fn reloads(reloads: &Value) -> String {
    let count = |it: &str| format!("{} {it}", number(&reloads[it]));
    let text = ["applied", "unchanged", "rejected"].map(count).join(", ");
    let refused = &reloads["last_rejected"];
    let Some(error) = refused["errors"].get(0) else {
        return text;
    };
    format!(
        "{text}: REFUSED at {}, line {}: {} {}",
        word(&refused["at"], "?"),
        number(&error["line"]),
        word(&error["code"], "?"),
        word(&error["message"], "?"),
    )
}

fn texts(values: &Value) -> Vec<String> {
    let values = values.as_array().into_iter().flatten();
    values.map(|it| word(it, "?")).collect()
}

/// How long a moment is past, to the second.
fn ago(at: &Value, now: SystemTime) -> String {
    let then = at.as_str().and_then(|it| humantime::parse_rfc3339(it).ok());
    let passed = then
        .and_then(|it| now.duration_since(it).ok())
        .unwrap_or_default();
    in_words(passed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_screen_tells_what_matters() {
        let status = json!({
            "version": "0.1.0",
            "started_at": "2026-11-22T11:00:00.000Z",
            "policy": {
                "name": "ci", "id": "npl_1", "generation": 42, "sha256": "9f2c1e00aa", "allow_all": false,
                "patterns": {"exact": 9, "wildcard": 3}, "loaded_at": "2026-11-22T13:57:00.000Z",
            },
            "watch": {"inotify": true, "poll": null},
            "listen": ["127.0.0.1:53", "[::1]:53"], "listen_from": "socket_activation", "descriptor_limit": 16384,
            "sandbox": {"landlock": "full", "landlock_abi": 7, "user": "65532:65532", "no_new_privileges": true},
            "upstreams": [{"name": "udp://10.0.0.2:53", "up": true, "p50_ms": 4.1}, {"name": "udp://10.0.0.3:53", "up": false}],
            "queries": {"allowed": 1151, "blocked": 53, "error": 0, "refused": 0},
            "reasons": {"search_suffix": 41},
            "cache": {"positive": 7, "negative": 1, "hits": 931, "octets": 9000},
            "reloads": {"applied": 42, "unchanged": 0, "rejected": 1, "last_rejected":
                {"at": "2026-11-22T13:20:07.000Z", "errors": [{"line": 9, "code": "NP012", "message": "a\u{1b}URL"}]}},
        });
        let now = humantime::parse_rfc3339("2026-11-22T14:00:00Z").expect("a time");
        assert_eq!(
            text(&status, now),
            "policy    ci (npl_1)  gen 42  sha256 9f2c1e00  12 names (9 exact, 3 wildcard)   loaded 3m ago\n\
             mode      enforce\n\
             watch     inotify  healthy\n\
             listen    127.0.0.1:53  [::1]:53   handed over\n\
             upstream  udp://10.0.0.2:53 ok 4 ms p50   udp://10.0.0.3:53 DOES NOT ANSWER\n\
             queries   1204 in 3h: 1151 allowed (931 cached), 53 blocked (41 search suffix), 0 errors, 0 refused\n\
             cache     8 answers, 8 KiB\n\
             reloads   42 applied, 0 unchanged, 1 rejected: REFUSED at 2026-11-22T13:20:07.000Z, line 9: NP012 a\u{fffd}URL\n\
             process   user 65532:65532   landlock full (ABI 7)   16384 descriptors at most\n\
             version   0.1.0\n"
        );
    }
}
