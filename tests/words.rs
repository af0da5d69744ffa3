//! One word for one reason, wherever it is said: EDE, TXT, trail, log, metrics, status, text, JSON, command line.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use namegate::answer::{Desk, Outcome, Reason, Ruling};
use namegate::config::{self, Config, Queries, Sink};
use namegate::daemon::{Audit, Road};
use namegate::front::{Client, Road as _, Step, Transport};
use namegate::telemetry::{self, Done, Heading, Telemetry, blocked_text};
use namegate::wire::{MESSAGE_OCTETS_MAX, Message, Name, Record, Section, Type};
use serde_json::Value;

use crate::support::{OneAddress, document, live_of, query, road_told};

fn name(text: &str) -> Name {
    text.parse().expect(text)
}

fn done(name: &Name, reason: Reason) -> Done<'_> {
    Done {
        name: Some(name),
        kind: Type::A,
        transport: telemetry::Transport::Udp,
        client: "10.0.3.7:41822".parse().expect("an address"),
        outcome: Outcome {
            desk: Desk::Blocked,
            reason,
            rcode: None,
            ede: None,
        },
        rule: None,
        generation: 1,
        began: Instant::now(),
        took: Duration::ZERO,
        ttl_s: None,
    }
}

/// The name that a query is asked for, to know its record by.
fn asked(reason: Reason) -> Name {
    name(&format!("{reason}.example"))
}

#[test]
fn the_log_the_metrics_the_status_and_the_trail_say_the_same_word() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("queries.log");
    let mut log = Config::default().log;
    (log.queries, log.sink) = (Queries::All, Sink::File(file.clone()));
    let telemetry = Telemetry::open(&log).expect("opened");
    for reason in Reason::ALL {
        telemetry.done(&done(&asked(reason), reason));
    }
    let (page, status) = (telemetry.metrics(), telemetry.status());
    let sightings = telemetry.sightings(|_| true);
    telemetry.close();
    let records = records(&file);
    for reason in Reason::ALL {
        let (verdict, word) = (reason.ruling().word(), reason.word());
        let line = format!(
            r#"namegate_responses_total{{verdict="{verdict}",reason="{word}",rcode="none"}} 1"#
        );
        assert!(page.lines().any(|it| it == line), "no `{line}` in\n{page}");
        assert_eq!(status["reasons"][word], 1, "{status}");
        let name = asked(reason);
        let record = records.iter().find(|it| it["name"] == name.to_string());
        let record = record.unwrap_or_else(|| panic!("no record of {name}"));
        assert_eq!(
            (&record["verdict"], &record["reason"]),
            (&verdict.into(), &word.into())
        );
        let seen = sightings.iter().find(|it| it.name == name);
        assert_eq!(seen.is_none(), reason.ruling() == Ruling::Refused, "{word}");
        assert!(seen.is_none_or(|it| it.reason == reason && it.ruling == reason.ruling()));
    }
}

fn records(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).expect("the log is there");
    let record = |line| serde_json::from_str(line).expect("JSON");
    text.lines().map(record).collect()
}

#[test]
fn the_text_in_the_box_says_the_word_of_each_block() {
    let mut log = Config::default().log;
    log.queries = Queries::None;
    let telemetry = Telemetry::open(&log).expect("opened");
    for reason in Reason::ALL {
        telemetry.done(&done(&asked(reason), reason));
    }
    let heading = Heading {
        policy: "ci",
        generation: 1,
        contact: "",
        at: SystemTime::now(),
    };
    let text = blocked_text(&heading, &telemetry.sightings(|_| true));
    for reason in Reason::ALL {
        let name = asked(reason).to_string();
        let line = text.lines().find(|it| it.contains(&name));
        assert_eq!(
            line.is_some(),
            reason.ruling() == Ruling::Blocked,
            "{reason}\n{text}"
        );
        assert!(
            line.is_none_or(|it| it.trim_end_matches(')').ends_with(reason.word())),
            "{text}"
        );
    }
}

#[test]
fn the_published_schema_has_every_word_and_no_other() {
    let schema = include_str!("../docs/querylog.schema.json");
    let schema: Value = serde_json::from_str(schema).expect("JSON");
    let words = |of: &str| -> BTreeSet<String> {
        let list = schema["$defs"]["query"]["properties"][of]["enum"].as_array();
        let text = |it: &Value| it.as_str().expect("a word").to_owned();
        list.expect("a list").iter().map(text).collect()
    };
    let all = |word: fn(Reason) -> &'static str| -> BTreeSet<String> {
        Reason::ALL
            .into_iter()
            .map(|it| word(it).to_owned())
            .collect()
    };
    assert_eq!(words("reason"), all(Reason::word));
    let rulings = Ruling::ALL.map(|it| it.word().to_owned());
    assert_eq!(words("verdict"), BTreeSet::from(rulings));
}

/// A policy, a question, and what it comes to.
struct Case {
    policy: String,
    name: &'static str,
    kind: &'static str,
    reason: Reason,
    /// What TXT says of the name, which the type asked for plays no part in.
    txt: Reason,
    /// What the extended error's text begins with, where there is one.
    ede: Option<&'static str>,
}

const CONFIG: &str = r#"
blocked.search_suffixes = ["corp.example"]
blocked.file = ""
log.queries = "none"
"#;
const NOT_ALLOWED: &str = "not in allowed_hostnames of policy 'test'";

fn cases() -> Vec<Case> {
    let listed = document(&["github.com", "*.npmjs.org"]);
    let with = |policy: &str, name, kind, reason, ede| Case {
        policy: policy.to_owned(),
        name,
        kind,
        reason,
        // What goes by the type asked for is not told of the name.
        txt: if matches!(reason, Reason::Any | Reason::Qtype) {
            Reason::Exact
        } else {
            reason
        },
        ede,
    };
    let all = listed.replace(r#""allow_all":false"#, r#""allow_all":true"#);
    let agent = listed.replace(
        r#""allow_agent_gateway":false"#,
        r#""allow_agent_gateway":true"#,
    );
    let nothing = document(&[]);
    let search = "search_suffix: not in allowed_hostnames of policy 'test'";
    vec![
        with(&listed, "github.com", "A", Reason::Exact, None),
        with(&listed, "a.npmjs.org", "A", Reason::Wildcard, None),
        with(&all, "evil.example", "A", Reason::AllowAll, None),
        with(
            &agent,
            "gateway.runloop.ai",
            "A",
            Reason::GatewayAgent,
            None,
        ),
        with(&listed, "github.com", "ANY", Reason::Any, None),
        with(&listed, "localhost", "A", Reason::SpecialUse, None),
        with(&all, "x.why.namegate.internal", "TXT", Reason::Local, None),
        with(
            &listed,
            "evil.example",
            "A",
            Reason::NotListed,
            Some(NOT_ALLOWED),
        ),
        with(
            &nothing,
            "github.com",
            "A",
            Reason::DenyAll,
            Some(NOT_ALLOWED),
        ),
        with(
            &listed,
            "a\\000b.github.com",
            "A",
            Reason::BadLabel,
            Some(NOT_ALLOWED),
        ),
        with(
            &listed,
            "github.com.corp.example",
            "A",
            Reason::SearchSuffix,
            Some(search),
        ),
        with(
            &nothing,
            "github.com.corp.example",
            "A",
            Reason::SearchSuffix,
            Some(search),
        ),
        with(
            &listed,
            "github.com",
            "TYPE65280",
            Reason::Qtype,
            Some("type not served"),
        ),
    ]
}

#[tokio::test]
async fn the_server_and_explain_say_the_same_word() {
    for case in cases() {
        let about = format!("{} {} {}", case.reason, case.name, case.kind);
        assert_eq!(
            answered(&case).await,
            (case.reason, case.ede.map(str::to_owned)),
            "{about}"
        );
        let (verdict, reason) = (case.txt.ruling().word(), case.txt.word());
        let told = told(&case).await;
        assert!(
            told[0].starts_with(&format!("verdict={verdict} reason={reason} policy=")),
            "{about}: {told:?}"
        );
        let (json, text) = explained(&case);
        let json: Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(json["reason"], case.reason.word(), "{about}");
        assert_eq!(json["verdict"], case.reason.ruling().word(), "{about}");
        let line = format!("  reason   {}", case.reason);
        assert!(text.lines().any(|it| it == line), "{about}\n{text}");
    }
}

#[tokio::test]
async fn the_pages_show_what_is_told() {
    let contact = format!("{CONFIG}blocked.contact = \"#platform-net\"\n");
    let config = config::read("config.toml", &contact).expect("a configuration");
    let policy = document(&["github.com", "*.npmjs.org"]).replace("test", "ci");
    let telemetry = Arc::new(Telemetry::open(&config.log).expect("opened"));
    let live = live_of(&config, &policy);
    let road = road_told(&config, live, Arc::new(OneAddress), telemetry);
    for (page, name) in [
        (include_str!("../docs/OPERATING.md"), "npmjs.org"),
        (include_str!("../docs/BLOCKED.md"), "pypi.org"),
    ] {
        let texts = told_by(&road, name).await;
        let texts: String = texts.iter().map(|it| format!("\"{it}\"\n")).collect();
        let asked = format!("$ dig +short TXT {name}.why.namegate.internal\n{texts}```");
        assert!(page.contains(&asked), "no page shows\n{asked}");
    }
}

/// The reason that the trail has, and as much of the extended error's text as the case tells.
async fn answered(case: &Case) -> (Reason, Option<String>) {
    let (telemetry, road) = road_of(case);
    let out = asked_of(&road, case.name, case.kind).await;
    let reply = Message::read(&out).expect("a reply");
    let text = reply
        .ede()
        .map(|it| String::from_utf8_lossy(it.text).into_owned());
    let text = text.map(|it| it[..case.ede.map_or(0, str::len).min(it.len())].to_owned());
    let seen = telemetry.sightings(|_| true);
    assert_eq!(seen.len(), 1, "{}", case.name);
    (seen[0].reason, text)
}

/// What those in the box are told of the name, a text a record.
async fn told(case: &Case) -> Vec<String> {
    let (_, road) = road_of(case);
    told_by(&road, case.name).await
}

async fn told_by(road: &Arc<Road>, name: &str) -> Vec<String> {
    let out = asked_of(road, &format!("{name}.why.namegate.internal"), "TXT").await;
    let reply = Message::read(&out).expect("a reply");
    let text = |record: Record<'_>| String::from_utf8_lossy(&record.data()[1..]).into_owned();
    reply.records(Section::Answer).map(text).collect()
}

fn road_of(case: &Case) -> (Arc<Telemetry>, Arc<Road>) {
    let config = config::read("config.toml", CONFIG).expect("a configuration");
    let telemetry = Arc::new(Telemetry::open(&config.log).expect("opened"));
    let live = live_of(&config, &case.policy);
    let road = road_told(&config, live, Arc::new(OneAddress), telemetry.clone());
    (telemetry, road)
}

/// The reply to a question.
async fn asked_of(road: &Arc<Road>, name: &str, kind: &str) -> Vec<u8> {
    let client = Client {
        address: SocketAddr::from(([127, 0, 0, 1], 40_000)),
        transport: Transport::Udp,
    };
    let octets = query(name, kind.parse().expect("a type"), true);
    let mut out = Vec::with_capacity(MESSAGE_OCTETS_MAX);
    if let Step::Later(pending) = road.answer_now(&octets, &client, Instant::now(), &mut out) {
        let ready = road.answer_later(pending).await;
        road.finish(ready, &mut out);
    }
    out
}

#[tokio::test]
async fn an_audit_says_the_word_of_what_it_lets_pass() {
    for case in cases() {
        let would_block = matches!(
            case.reason,
            Reason::NotListed | Reason::DenyAll | Reason::SearchSuffix
        );
        let told = audited(&case).await;
        let expected = case.reason.word();
        if !would_block {
            assert_eq!(
                (told.ruling, told.reason),
                (case.reason.ruling(), expected.into()),
                "{}",
                case.name
            );
            continue;
        }
        assert_eq!(told.ruling, Ruling::WouldBlock, "{}", case.name);
        assert_eq!(told.reason, expected);
        assert_eq!(
            told.ede,
            Some(format!("audit: would be blocked: {expected}"))
        );
        let line = format!(
            r#"namegate_responses_total{{verdict="would_block",reason="{expected}",rcode="NOERROR"}} 1"#
        );
        assert!(told.page.lines().any(|it| it == line), "{}", told.page);
        assert_eq!(told.status["queries"]["would_block"], 1, "{}", told.status);
        assert_eq!(told.status["queries"]["blocked"], 0);
        assert_eq!(told.status["reasons"][expected], 1);
        let record = (&told.record["verdict"], &told.record["reason"]);
        assert_eq!(record, (&"would_block".into(), &expected.into()));
        assert_eq!(told.record["rcode"], "NOERROR");
        assert_eq!(told.record["source"], "upstream");
        let txt = format!("verdict=would_block reason={expected} ");
        assert!(told.texts[0].starts_with(&txt), "{:?}", told.texts);
    }
}

/// What is told of a question in an audit, everywhere.
struct Audited {
    ruling: Ruling,
    reason: String,
    ede: Option<String>,
    page: String,
    status: Value,
    /// Of the query log, which holds what is blocked, by default.
    record: Value,
    /// Those in the box.
    texts: Vec<String>,
}

async fn audited(case: &Case) -> Audited {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("queries.log");
    let mut config = config::read("config.toml", CONFIG).expect("a configuration");
    (config.log.queries, config.log.sink) = (Queries::Blocked, Sink::File(file.clone()));
    let telemetry = Arc::new(Telemetry::open(&config.log).expect("opened"));
    let live = live_of(&config, &case.policy);
    let road = road_told(&config, live, Arc::new(OneAddress), telemetry.clone());
    let road = Arc::into_inner(road).expect("nobody else has it");
    let an_hour = || Duration::from_secs(3600);
    let road = Arc::new(road.audited(Audit::lasting(SystemTime::now() + an_hour(), an_hour)));
    let reply = asked_of(&road, case.name, case.kind).await;
    let ede = Message::read(&reply).expect("a reply").ede();
    let seen = telemetry.sightings(|_| true).remove(0);
    let told = Audited {
        ruling: seen.ruling,
        reason: seen.reason.to_string(),
        ede: ede.map(|it| String::from_utf8_lossy(it.text).into_owned()),
        page: telemetry.metrics(),
        status: telemetry.status(),
        record: Value::Null,
        texts: told_by(&road, case.name).await,
    };
    telemetry.close();
    let mut records = records(&file);
    records.retain(|it| it["event"] == "dns.query");
    Audited {
        record: records.pop().unwrap_or_default(),
        ..told
    }
}

/// What `explain` says, as JSON and as text.
fn explained(case: &Case) -> (String, String) {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("policy.json"), &case.policy).expect("written");
    fs::write(dir.path().join("config.toml"), CONFIG).expect("written");
    let run = |format: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_namegate"))
            .args([
                "explain",
                "--config",
                "config.toml",
                "--policy",
                "policy.json",
            ])
            .args(["--format", format, "--type", case.kind, case.name])
            .current_dir(dir.path())
            .env_clear()
            .output()
            .expect("the program starts");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    (run("json"), run("text"))
}
