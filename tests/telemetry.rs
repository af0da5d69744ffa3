//! What an operator sees: the metrics, the query log and the pages.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use namegate::answer::{Desk, Outcome, Reason, Ruling};
use namegate::config::{ClientIp, Config, Log, Queries, Sink};
use namegate::front::{self, Client, Road as _, Step};
use namegate::matcher::{Grant, Rule, Rules, Verdict};
use namegate::policy::Pattern;
use namegate::telemetry::http::{self, State};
use namegate::telemetry::{
    AuditFigures, Done, Finding, Live, METRICS, Refused, Snapshot, Telemetry, Timings, Transport,
    UpstreamFigures, Watch,
};
use namegate::wire::{Name, Rcode, Type};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{OneAddress, live as live_policy, query, road_told};

/// The rule of the one wildcard of a policy.
fn rule() -> Rule {
    let pattern = Pattern::parse("*.npmjs.org").expect("a pattern");
    let rules = Rules::builder().grant(Grant::Listed, [&pattern]).build();
    match rules.judge(&name("registry.npmjs.org")) {
        Verdict::Allow(rule) => rule,
        Verdict::Deny(_) => unreachable!("the pattern matches"),
    }
}

/// How long every query took.
const TOOK: Duration = Duration::from_micros(38);

/// A query for `name` that has just ended for `reason`.
fn done(name: &Name, reason: Reason) -> Done<'_> {
    Done {
        name: Some(name),
        kind: Type::A,
        transport: Transport::Udp,
        client: "10.0.3.7:41822".parse().expect("an address"),
        outcome: Outcome {
            desk: Desk::Blocked,
            reason,
            rcode: Some(Rcode::NXDOMAIN),
            ede: Some(15),
        },
        rule: None,
        generation: 1,
        began: Instant::now() - TOOK,
        took: TOOK,
        ttl_s: None,
    }
}

fn name(text: &str) -> Name {
    text.parse().expect(text)
}

fn log(queries: Queries, file: &Path) -> Log {
    Log {
        queries,
        sink: Sink::File(file.to_owned()),
        ..Config::default().log
    }
}

/// A telemetry that logs nothing.
fn quiet() -> Telemetry {
    Telemetry::open(&log(Queries::None, Path::new("/nowhere/log"))).expect("no file is opened")
}

fn live(generation: u64, pattern: &str) -> Live {
    let patterns = [Pattern::parse(pattern).expect(pattern)];
    Live {
        id: "npl_1".to_owned(),
        name: "ci \"default\"".to_owned(),
        sha256: "0123456789abcdef".repeat(4),
        generation,
        rules: Arc::new(Rules::builder().grant(Grant::Listed, &patterns).build()),
        at: SystemTime::now(),
        propagation: Some(Duration::from_millis(3)),
    }
}

fn finding() -> Finding {
    Finding {
        code: "NP012".to_owned(),
        message: "a scheme is no part of a \"name\"\n".to_owned(),
        line: 9,
        column: 7,
    }
}

fn upstream() -> UpstreamFigures {
    UpstreamFigures {
        name: "udp://192.0.2.1:53".to_owned(),
        outcomes: [7, 6, 5, 4, 3, 2, 1],
        seconds: Timings {
            buckets: vec![(0.01, 1), (0.1, 3)],
            count: 5,
            sum_s: 1.5,
        },
        up: true,
    }
}

/// Something of everything.
fn busy() -> Telemetry {
    let telemetry = quiet();
    telemetry.policy_live(live(1, "*.npmjs.org"));
    telemetry.watch(Watch::Inotify, true);
    telemetry.watch(Watch::Poll, false);
    telemetry.selftest(Duration::from_micros(200));
    telemetry.done(&done(&name("evil.example"), Reason::NotListed));
    telemetry.figures_from(Box::new(|| Snapshot {
        upstreams: vec![upstream()],
        inflight: 3,
        ..Snapshot::default()
    }));
    telemetry
}

#[track_caller]
fn check(page: &str, line: &str) {
    assert!(page.lines().any(|it| it == line), "no `{line}` in\n{page}");
}

#[test]
fn the_table_of_metrics_is_what_a_scrape_shows() {
    let page = busy().metrics();
    let shown: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .filter(|name| !name.starts_with("process_"))
        .collect();
    let listed: BTreeSet<&str> = METRICS.iter().map(|row| row.name).collect();
    assert_eq!(shown, listed);
    assert!(page.contains("\nprocess_start_time_seconds "));
}

#[test]
fn every_label_says_what_it_counts() {
    let page = busy().metrics();
    for line in [
        r#"namegate_policy_info{id="npl_1",name="ci \"default\"",sha256_8="01234567"} 1"#,
        r#"namegate_policy_patterns{kind="wildcard"} 1"#,
        r#"namegate_policy_reloads_total{result="applied"} 1"#,
        "namegate_policy_last_reload_successful 1",
        r#"namegate_policy_watch_healthy{method="inotify"} 1"#,
        r#"namegate_policy_watch_healthy{method="poll"} 0"#,
        r#"namegate_queries_total{proto="udp",type="A"} 1"#,
        r#"namegate_queries_total{proto="tcp",type="other"} 0"#,
        r#"namegate_responses_total{verdict="blocked",reason="not_listed",rcode="NXDOMAIN"} 1"#,
        r#"namegate_response_seconds_bucket{source="policy",le="0.00005"} 1"#,
        r#"namegate_upstream_requests_total{upstream="udp://192.0.2.1:53",outcome="mismatch"} 1"#,
        r#"namegate_upstream_seconds_bucket{upstream="udp://192.0.2.1:53",le="0.1"} 4"#,
        r#"namegate_upstream_seconds_bucket{upstream="udp://192.0.2.1:53",le="+Inf"} 5"#,
        "namegate_inflight_queries 3",
    ] {
        check(&page, line);
    }
    let responses = page
        .lines()
        .filter(|it| it.starts_with("namegate_responses_total{"));
    assert_eq!(
        responses.count(),
        1,
        "pairs that were not seen are left out"
    );
}

#[test]
fn a_new_policy_replaces_the_old_ones_labels() {
    let telemetry = busy();
    telemetry.policy_live(Live {
        id: "npl_2".to_owned(),
        ..live(2, "github.com")
    });
    let page = telemetry.metrics();
    check(&page, "namegate_policy_generation 2");
    assert!(!page.contains("npl_1"), "{page}");
}

#[test]
fn a_rejected_policy_is_an_alarm_until_a_good_one_comes() {
    let telemetry = busy();
    telemetry.policy_rejected([finding()].into_iter());
    check(
        &telemetry.metrics(),
        "namegate_policy_last_reload_successful 0",
    );
    let status = telemetry.status();
    assert_eq!(
        status["reloads"]["last_rejected"]["errors"][0]["code"],
        "NP012"
    );
    telemetry.policy_unchanged();
    check(
        &telemetry.metrics(),
        "namegate_policy_last_reload_successful 1",
    );
}

#[test]
fn an_audit_shows_on_every_page() {
    let telemetry = quiet();
    check(&telemetry.metrics(), r#"namegate_mode{mode="enforce"} 1"#);
    check(&telemetry.metrics(), "namegate_audit_seconds_remaining 0");
    assert_eq!(telemetry.status()["mode"], "enforce");
    assert_eq!(telemetry.status()["audit_ends"], Value::Null);
    telemetry.figures_from(Box::new(|| Snapshot {
        audit: Some(AuditFigures {
            ends: SystemTime::UNIX_EPOCH,
            left: Duration::from_millis(90_500),
        }),
        ..Snapshot::default()
    }));
    check(&telemetry.metrics(), r#"namegate_mode{mode="audit"} 1"#);
    check(
        &telemetry.metrics(),
        "namegate_audit_seconds_remaining 90.5",
    );
    assert!(!telemetry.metrics().contains(r#"mode="enforce""#));
    assert_eq!(telemetry.status()["mode"], "audit");
    assert_eq!(telemetry.status()["audit_ends"], "1970-01-01T00:00:00.000Z");
}

#[test]
fn the_status_tells_the_state() {
    let status = busy().status();
    assert_eq!(status["policy"]["generation"], 1);
    assert_eq!(status["watch"]["poll"], false);
    assert_eq!(status["queries"]["blocked"], 1);
    assert_eq!(status["queries"]["would_block"], 0);
    assert_eq!(status["upstreams"][0]["p50_ms"], 100.0);
}

/// The lines of a log, each checked against the published schema.
fn records(file: &Path) -> Vec<Value> {
    let schema = include_str!("../docs/querylog.schema.json");
    let schema: Value = serde_json::from_str(schema).expect("the schema is JSON");
    let schema = jsonschema::validator_for(&schema).expect("the schema is a schema");
    let text = fs::read_to_string(file).expect("the log is there");
    let parse = |line: &str| {
        let record = serde_json::from_str(line).expect(line);
        let faults: Vec<String> = schema
            .iter_errors(&record)
            .map(|it| it.to_string())
            .collect();
        assert!(faults.is_empty(), "{line}\n{faults:?}");
        record
    };
    text.lines().map(parse).collect()
}

#[test]
fn every_record_is_what_the_schema_says() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("queries.log");
    let telemetry = Telemetry::open(&log(Queries::All, &file)).expect("opened");
    telemetry.policy_live(live(1, "*.npmjs.org"));
    let odd = name("\\034\\010\\092.npmjs.org");
    for reason in Reason::ALL {
        telemetry.done(&done(&odd, reason));
    }
    telemetry.done(&Done {
        name: None,
        outcome: Outcome {
            rcode: None,
            ede: None,
            ..done(&odd, Reason::Malformed).outcome
        },
        ..done(&odd, Reason::Malformed)
    });
    telemetry.done(&Done {
        rule: Some(rule()),
        ttl_s: Some(60),
        transport: Transport::Tcp,
        ..done(&name("registry.npmjs.org"), Reason::Wildcard)
    });
    telemetry.policy_rejected(vec![finding(); 30].into_iter());
    telemetry.policy_unchanged();
    telemetry.mode_changed(Some(SystemTime::UNIX_EPOCH));
    telemetry.mode_changed(None);
    telemetry.close();
    let mut records = records(&file);
    let stop = records.pop().expect("the last");
    let [audit, enforce] = [2, 1].map(|back| records[records.len() - back].clone());
    assert_eq!(
        (&audit["mode"], &audit["ends"]),
        (&"audit".into(), &"1970-01-01T00:00:00.000Z".into())
    );
    assert_eq!(
        (&enforce["mode"], &enforce["ends"]),
        (&"enforce".into(), &Value::Null)
    );
    records.truncate(records.len() - 2);
    assert_eq!([&audit["event"], &enforce["event"]], ["mode.change"; 2]);
    records.push(stop);
    let events: Vec<&str> = records
        .iter()
        .filter_map(|it| it["event"].as_str())
        .collect();
    let mut expected = vec!["start", "policy.reload"];
    expected.extend(["dns.query"; Reason::ALL.len() + 2]);
    expected.extend(["policy.reload", "policy.reload", "stop"]);
    assert_eq!(events, expected);
    let granted = &records[records.len() - 4];
    assert_eq!(granted["matched"], "*.npmjs.org");
    assert_eq!(granted["policy_id"], "npl_1");
    assert_eq!(granted["ttl"], 60);
}

#[test]
fn a_query_is_logged_with_the_policy_that_judged_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("queries.log");
    let telemetry = Telemetry::open(&log(Queries::All, &file)).expect("opened");
    let first = live(1, "*.npmjs.org");
    // As a query does that is still judged by it.
    let judging = Arc::clone(&first.rules);
    telemetry.policy_live(first);
    telemetry.policy_live(live(2, "*.pypi.org"));
    for generation in 1..=3 {
        telemetry.done(&Done {
            rule: Some(rule()),
            generation,
            ..done(&name("a.example"), Reason::Wildcard)
        });
    }
    drop(judging);
    telemetry.close();
    let matched: Vec<Value> = records(&file)
        .iter()
        .filter(|it| it["event"] == "dns.query")
        .map(|it| it["matched"].clone())
        .collect();
    assert_eq!(
        matched,
        ["*.npmjs.org".into(), "*.pypi.org".into(), Value::Null]
    );
}

/// The records of queries.
fn queries(file: &Path) -> Vec<Value> {
    let mut records = records(file);
    records.retain(|it| it["event"] == "dns.query");
    records
}

#[test]
fn a_name_that_is_not_listed_is_logged_with_the_nearest_pattern() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("queries.log");
    let telemetry = Telemetry::open(&log(Queries::Blocked, &file)).expect("opened");
    telemetry.policy_live(live(1, "*.npmjs.org"));
    for (asked, reason) in [
        ("npmjs.org", Reason::NotListed),
        ("npmjs.org", Reason::NotListed),
        ("evil.example", Reason::NotListed),
        ("npmjs.org", Reason::Qtype),
    ] {
        telemetry.done(&done(&name(asked), reason));
    }
    telemetry.close();
    let nearest: Vec<Value> = queries(&file)
        .iter()
        .map(|it| it["nearest"].clone())
        .collect();
    let pattern = || Value::from("*.npmjs.org");
    assert_eq!(nearest, [pattern(), pattern(), Value::Null, Value::Null]);
}

#[tokio::test]
async fn the_log_tells_the_ttl_that_the_reply_carried() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("queries.log");
    let config = Config {
        log: log(Queries::All, &file),
        ..Config::default()
    };
    let telemetry = Arc::new(Telemetry::open(&config.log).expect("opened"));
    let policy = live_policy(&config, &["github.com"]);
    let road = road_told(&config, policy, Arc::new(OneAddress), telemetry.clone());
    let client = Client {
        address: "127.0.0.1:40000".parse().expect("an address"),
        transport: front::Transport::Udp,
    };
    let asked = Instant::now();
    for (name, kind, past_s) in [
        ("github.com", Type::A, 0),
        ("github.com", Type::ANY, 0),
        ("github.com", Type(65280), 0),
        ("evil.example", Type::A, 0),
        ("github.com", Type::AXFR, 0),
        // It was fetched a little after this began, and is a little less old than that.
        ("github.com", Type::A, 20),
    ] {
        let (octets, mut out) = (query(name, kind, true), Vec::new());
        let now = asked + Duration::from_secs(past_s);
        if let Step::Later(pending) = road.answer_now(&octets, &client, now, &mut out) {
            let ready = road.answer_later(pending).await;
            road.finish(ready, &mut out);
        }
    }
    telemetry.close();
    let records = queries(&file);
    let ttl = |it: &Value| it["ttl"].as_u64();
    let mut ttls: Vec<Option<u64>> = records.iter().map(ttl).collect();
    let aged = ttls.pop().flatten().expect("a TTL");
    assert!((280..300).contains(&aged), "{aged}");
    let expected = [Some(300), Some(3600), Some(5), Some(5), None];
    assert_eq!(ttls, expected, "{records:#?}");
}

#[test]
fn a_client_is_logged_as_far_as_the_operator_wants() {
    let dir = tempfile::tempdir().expect("a directory");
    for (client_ip, client, port) in [
        (ClientIp::Full, Value::from("10.0.3.7"), Value::from(41822)),
        (ClientIp::Prefix, "10.0.3.0/24".into(), Value::Null),
        (ClientIp::None, Value::Null, Value::Null),
    ] {
        let file = dir.path().join(format!("{client_ip:?}.log"));
        let log = Log {
            client_ip,
            ..log(Queries::All, &file)
        };
        let telemetry = Telemetry::open(&log).expect("opened");
        telemetry.done(&done(&name("evil.example"), Reason::NotListed));
        telemetry.close();
        let record = &queries(&file)[0];
        assert_eq!(
            (&record["client"], &record["client_port"]),
            (&client, &port)
        );
    }
}

#[test]
fn a_collector_on_a_socket_may_come_and_go() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("socket");
    let log = Log {
        queries: Queries::All,
        sink: Sink::Unix(path.clone()),
        ..Config::default().log
    };
    let telemetry = Telemetry::open(&log).expect("nobody need listen yet");
    let evil = name("evil.example");
    telemetry.done(&done(&evil, Reason::NotListed));
    wait_until(|| telemetry.status()["querylog"]["dropped"] == 2);
    for _ in 0..2 {
        let listener = UnixListener::bind(&path).expect("bound");
        listener.set_nonblocking(true).expect("set");
        // Whatever comes before the next look for the collector is lost, and counted.
        let mut accepted = None;
        wait_until(|| {
            telemetry.done(&done(&evil, Reason::NotListed));
            accepted = listener.accept().ok().map(|it| it.0);
            accepted.is_some()
        });
        let mut lines = BufReader::new(accepted.expect("accepted"));
        let mut line = String::new();
        lines.get_ref().set_nonblocking(false).expect("set");
        lines.read_line(&mut line).expect("a line");
        let record: Value = serde_json::from_str(&line).expect("whole lines");
        assert_eq!(record["name"], "evil.example");
        fs::remove_file(&path).expect("removed");
    }
    check_counts(&telemetry);
}

/// What was logged was written or is counted as lost.
#[track_caller]
fn check_counts(telemetry: &Telemetry) {
    telemetry.catch_up();
    let status = telemetry.status();
    let count = |it: &Value| it.as_u64().expect("a count");
    let ended = count(&status["queries"]["blocked"]);
    let kept = &status["querylog"];
    let told = count(&kept["written"]) + count(&kept["dropped"]);
    assert_eq!(told, ended + 1, "and the start: {status}");
}

#[test]
fn the_box_can_read_what_was_blocked() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("blocked");
    let read = || fs::read_to_string(&file).unwrap_or_default();
    let telemetry = quiet();
    telemetry.post_blocked(&file, "#platform-net");
    wait_until(|| read().contains("(nothing was blocked lately)"));
    telemetry.policy_live(live(1, "*.npmjs.org"));
    telemetry.done(&done(&name("evil.example"), Reason::NotListed));
    telemetry.done(&done(&name("github.com"), Reason::Exact));
    // The daemon is as idle as can be, and the second in which it was written already is over some time.
    wait_until(|| read().contains("  evil.example  A  x1     not_listed\n"));
    assert!(read().contains("the network policy 'ci \"default\"' (generation 1)"));
    assert!(read().contains("ask #platform-net to allow it"));
    assert!(!read().contains("github.com"));
}

#[test]
fn what_finds_no_room_on_its_way_to_the_trail_is_counted() {
    let (reader, pipe) = io::pipe().expect("a pipe");
    let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    let telemetry = Telemetry::open(&log(Queries::All, Path::new(&path))).expect("opened");
    drop(pipe);
    let evil = name("evil.example");
    // Nobody reads the log, so that its writer is stuck, and with it the way to the trail.
    for _ in 0..10_000 {
        telemetry.done(&done(&evil, Reason::NotListed));
    }
    let dropped = telemetry.status()["querylog"]["dropped"].as_u64();
    let line = format!("namegate_trail_dropped_total {}", dropped.expect("a count"));
    check(&telemetry.metrics(), &line);
    drop(reader);
    let seen = || {
        telemetry
            .sightings(|_| true)
            .first()
            .map_or(0, |it| it.count)
    };
    wait_until(|| seen() + dropped.unwrap_or(0) == 10_000);
}

#[test]
fn rules_that_nobody_judges_by_are_freed() {
    for queries in [Queries::All, Queries::None] {
        let telemetry = Telemetry::open(&log(queries, Path::new("/dev/null"))).expect("opened");
        let first = live(1, "*.npmjs.org");
        let rules = Arc::downgrade(&first.rules);
        let judging = Arc::clone(&first.rules);
        telemetry.policy_live(first);
        telemetry.policy_live(live(2, "*.pypi.org"));
        telemetry.catch_up();
        drop(judging);
        assert!(rules.upgrade().is_some(), "a query was judged by them");
        telemetry.catch_up();
        assert!(rules.upgrade().is_none());
    }
}

#[test]
fn the_trail_shows_what_was_counted_before_it_was_asked() {
    let telemetry = quiet();
    for (owner, reason) in [
        ("registry.npmjs.org", Reason::NotListed),
        ("_http._tcp.deb.debian.org", Reason::NotListed),
        ("github.com", Reason::Exact),
    ] {
        telemetry.done(&done(&name(owner), reason));
        let seen = telemetry.sightings(|_| true);
        assert!(owner.ends_with(&seen[0].name.to_string()), "{seen:?}");
    }
    let blocked = telemetry.sightings(|it| it.ruling == Ruling::Blocked);
    let names: Vec<String> = blocked.iter().map(|it| it.name.to_string()).collect();
    assert_eq!(names, ["deb.debian.org", "registry.npmjs.org"]);
    check(&telemetry.metrics(), "namegate_trail_dropped_total 0");
}

#[tokio::test]
async fn who_watches_sees_each_decision_as_it_comes() {
    let telemetry = quiet();
    telemetry.policy_live(live(1, "*.npmjs.org"));
    telemetry.done(&done(&name("before.example"), Reason::NotListed));
    telemetry.catch_up();
    let mut decisions = telemetry.watch_decisions();
    telemetry.done(&Done {
        rule: Some(rule()),
        ..done(&name("registry.npmjs.org"), Reason::Wildcard)
    });
    telemetry.done(&done(&name("evil.example"), Reason::NotListed));
    let first = decisions.recv().await.expect("a decision");
    assert_eq!(first.name.to_string(), "registry.npmjs.org");
    assert_eq!(first.matched.as_deref(), Some("*.npmjs.org"));
    assert_eq!(first.took, TOOK);
    let second = decisions.recv().await.expect("a decision");
    assert_eq!(second.outcome.reason, Reason::NotListed);
}

#[test]
fn blocked_logs_what_the_policy_denied_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("queries.log");
    let telemetry = Telemetry::open(&log(Queries::Blocked, &file)).expect("opened");
    for reason in Reason::ALL {
        telemetry.done(&done(&name("evil.example"), reason));
    }
    telemetry.close();
    let records = records(&file);
    let reasons: Vec<&str> = records
        .iter()
        .filter_map(|it| it["reason"].as_str())
        .collect();
    assert_eq!(
        reasons,
        [
            "not_listed",
            "deny_all",
            "bad_label",
            "search_suffix",
            "private_address",
            "qtype"
        ]
    );
}

#[test]
fn a_renamed_log_goes_on_in_a_new_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let (file, old) = (dir.path().join("queries.log"), dir.path().join("old.log"));
    let telemetry = Telemetry::open(&log(Queries::All, &file)).expect("opened");
    wait_until(|| records(&file).len() == 1);
    fs::rename(&file, &old).expect("renamed");
    telemetry.reopen();
    telemetry.done(&done(&name("evil.example"), Reason::NotListed));
    telemetry.close();
    assert_eq!(records(&old).len(), 1);
    assert_eq!(records(&file).len(), 2);
}

#[test]
fn a_stuck_sink_delays_nobody_and_every_lost_record_is_counted() {
    const QUERIES: u64 = 10_000;
    let (reader, pipe) = io::pipe().expect("a pipe");
    let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    let telemetry = Telemetry::open(&log(Queries::All, Path::new(&path))).expect("opened");
    drop(pipe);
    let evil = name("evil.example");
    // Nobody reads: were one of these to wait, the test would never end.
    for _ in 0..QUERIES {
        telemetry.done(&done(&evil, Reason::NotListed));
    }
    let count = |of: &str| {
        telemetry.status()["querylog"][of]
            .as_u64()
            .expect("a count")
    };
    wait_until(|| count("written") + count("dropped") == QUERIES + 1);
    let dropped = count("dropped");
    assert!(dropped > 0, "a pipe and a queue are bounded");
    check(
        &telemetry.metrics(),
        &format!(r#"namegate_querylog_dropped_total{{sink="file"}} {dropped}"#),
    );
    // The writer has gone on without the reader.
    let seen = telemetry.sightings(|it| it.name == evil);
    assert!(seen.iter().any(|it| it.blocked + dropped >= QUERIES));
    // Now somebody does: what was not dropped comes out whole, before the stop; one may have been cut off.
    let lines = std::thread::spawn(move || {
        let lines = BufReader::new(reader).lines().map_while(Result::ok);
        lines
            .filter(|line| serde_json::from_str::<Value>(line).is_ok())
            .count()
    });
    wait_until(|| {
        telemetry.done(&done(&evil, Reason::NotListed));
        telemetry.catch_up();
        count("written") > QUERIES + 1 - dropped
    });
    telemetry.close();
    let written = count("written");
    drop(telemetry);
    let lines = lines.join().expect("the reader ended");
    assert_eq!(lines as u64, written);
}

#[test]
fn a_log_that_is_closed_drops_and_counts() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("queries.log");
    // Often, because the writer may be anywhere in its round when the end comes.
    for _ in 0..100 {
        let telemetry = Telemetry::open(&log(Queries::All, &file)).expect("opened");
        telemetry.close();
        telemetry.done(&done(&name("evil.example"), Reason::NotListed));
        assert_eq!(telemetry.status()["querylog"]["dropped"], 1);
    }
    assert_eq!(records(&file).len(), 200);
}

/// Waits for another thread; the caller's assertion is that it gets there at all.
#[track_caller]
fn wait_until(mut is_so: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(is_so(), "it never came to pass");
}

/// A daemon whose socket is dead and whose upstream is down.
struct Ailing;

impl State for Ailing {
    fn live(&self) -> Result<Duration, String> {
        Err("no answer within 1 s".to_owned())
    }

    fn missing(&self) -> Vec<String> {
        Vec::new()
    }

    fn missing_upstreams(&self) -> Vec<String> {
        vec!["upstream udp://192.0.2.1:53".to_owned()]
    }

    fn status(&self) -> Value {
        busy().status()
    }

    fn refused(&self, most: usize) -> Vec<Refused> {
        busy().refused(most)
    }

    fn metrics(&self) -> String {
        busy().metrics()
    }
}

/// Sends octets to the pages and returns all that comes back.
async fn talk(octets: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let pages = tokio::spawn(http::serve(listener, Arc::new(Ailing)));
    let mut socket = TcpStream::connect(address).await.expect("connected");
    socket.write_all(octets.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("answered");
    pages.abort();
    answer
}

/// Asks for a page and returns its status and body.
async fn ask(line: &str, host: &str) -> (u16, String) {
    let answer = talk(&format!("{line} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.contains("connection: close"), "{head}");
    let status = head.split(' ').nth(1).expect("a status");
    (status.parse().expect("a number"), body.to_owned())
}

#[tokio::test]
async fn each_page_says_its_thing() {
    let host = "127.0.0.1:9953";
    let (status, body) = ask("GET /metrics", host).await;
    assert_eq!(status, 200);
    check(&body, "namegate_policy_generation 1");
    let (status, body) = ask("GET /status", host).await;
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, &body["policy"]["id"]), (200, &"npl_1".into()));
    assert_eq!(
        ask("GET /livez", host).await,
        (503, "no answer within 1 s\n".to_owned())
    );
    assert_eq!(ask("GET /readyz", host).await, (200, "[]\n".to_owned()));
    let (status, body) = ask("GET /readyz?verbose&upstream=1", host).await;
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(
        (status, &body[0]),
        (503, &"upstream udp://192.0.2.1:53".into())
    );
    assert_eq!(ask("HEAD /metrics", host).await, (200, String::new()));
}

#[tokio::test]
async fn what_is_no_page_is_refused() {
    assert_eq!(ask("GET /v1/blocked", "localhost").await.0, 404);
    assert_eq!(ask("POST /v1/reload", "localhost").await.0, 405);
    assert_eq!(ask("GET /metrics/", "localhost").await.0, 404);
    assert_eq!(ask("POST /metrics", "localhost").await.0, 405);
    assert_eq!(ask("GET /metrics", "evil.example:9953").await.0, 403);
    assert_eq!(ask("GET /metrics", "[::1]").await.0, 200);
    let nameless = talk("GET /metrics HTTP/1.0\r\n\r\n").await;
    assert!(nameless.starts_with("HTTP/1.0 403 "), "{nameless}");
    let doubled = talk("GET /metrics HTTP/1.1\r\nHost: [::1]\r\nHost: evil.example\r\n\r\n").await;
    assert!(doubled.starts_with("HTTP/1.1 403 "), "{doubled}");
}

#[tokio::test]
async fn no_body_is_waited_for_and_no_head_is_endless() {
    let posted =
        talk("POST /status HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 1000000\r\n\r\n").await;
    assert!(posted.starts_with("HTTP/1.1 405 "), "{posted}");
    let endless = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(8 << 10));
    let endless = talk(&endless).await;
    assert!(endless.starts_with("HTTP/1.1 431 "), "{endless}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_sent_away() {
    // The clock is the test's: a wait ends as soon as there is nothing else to do.
    let start = tokio::time::Instant::now();
    assert_eq!(talk("GET /metrics HTTP/1.1\r\n").await, "");
    assert_eq!(start.elapsed().as_secs(), 5);
}
