//! Audit mode of the built program: how it is begun and refused, what it tells, and that it ends by itself.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::Room;
use super::run::{Running, Upstream, eventually};
use super::supervisor::{hear, supervisor};
use crate::support::document;

/// What an audit shows takes less, also on a busy machine.
const SOON: Duration = Duration::from_secs(8);
const TOMORROW: Duration = Duration::from_secs(24 * 3600);

/// So long from now, as a file says it.
fn from_now(time: Duration) -> String {
    humantime::format_rfc3339_millis(SystemTime::now() + time).to_string()
}

/// Waits for what [`from_now`] said.
fn sleep_until(end: &str) {
    let end = humantime::parse_rfc3339(end).expect("we wrote it");
    thread::sleep(end.duration_since(SystemTime::now()).unwrap_or_default());
}

fn until(end: &str) -> impl FnOnce(&mut Command) {
    move |command| {
        command.env("NAMEGATE_MODE", "audit");
        command.env("NAMEGATE_POLICY_AUDIT_UNTIL", end);
    }
}

#[test]
fn it_ends_by_itself_and_a_restart_does_not_lengthen_it() {
    let (room, upstream) = (Room::new(), Upstream::open(Duration::ZERO));
    let end = from_now(SOON);
    let mut running = Running::start_with(&room, &upstream, &[], until(&end));
    assert_eq!(running.ask("evil.example"), "192.0.2.7");
    running.says("audit mode: names that the policy does not allow resolve");
    assert_eq!(status(&running)["mode"], "audit");
    assert_eq!(status(&running)["audit_ends"], end);
    let (_, page) = running.page("/metrics");
    assert!(
        page.contains("\nnamegate_mode{mode=\"audit\"} 1\n"),
        "{page}"
    );

    sleep_until(&end);
    assert_eq!(running.ask("evil.example"), "NXDOMAIN");
    running.says("audit mode is over: the policy is enforced");
    assert_eq!(status(&running)["mode"], "enforce");
    eventually("all is recorded", || told(&running).len() == 4);
    let told = told(&running);
    assert_eq!(told[..2], ["audit", "would_block"]);
    assert!(told[2..].contains(&"enforce".to_owned()) && told[2..].contains(&"blocked".to_owned()));
    running.signal("TERM");
    assert_eq!(running.exit_code(), 0);

    let again = Running::start_with(&room, &upstream, &[], until(&end));
    again.says("audit mode is over: the policy is enforced");
    assert_eq!(again.ask("evil.example"), "NXDOMAIN");
}

fn status(running: &Running) -> Value {
    let (_, page) = running.page("/status");
    let (_, body) = page.split_once("\r\n\r\n").expect("a body");
    serde_json::from_str(body).expect("JSON")
}

/// Runs a start that should be refused; one that is not is ended by timeout(1), with 124.
fn refused(room: &Room, flags: &str, prepare: impl FnOnce(&mut Command)) -> String {
    let start =
        "run --listen 127.0.0.1:0 --upstream udp://127.0.0.9 --metrics off --policy policy.json";
    let all = format!("20 {} {start} {flags}", env!("CARGO_BIN_EXE_namegate"));
    let mut command = room.command("timeout", &all.split(' ').collect::<Vec<_>>());
    prepare(&mut command);
    room.told(flags, &mut command)
}

/// Of the query log: changes of the mode, and verdicts.
fn told(running: &Running) -> Vec<String> {
    let word = |it: &Value| {
        it["mode"]
            .as_str()
            .or(it["verdict"].as_str())
            .map(str::to_owned)
    };
    running.records().iter().filter_map(word).collect()
}

#[test]
fn a_reload_neither_ends_nor_lengthens_it() {
    let (room, upstream) = (Room::new(), Upstream::open(Duration::ZERO));
    let running = Running::start_with(&room, &upstream, &[], until(&from_now(TOMORROW)));
    room.write("policy.json", &document(&["pypi.org"]));
    running.says("a new policy is in force");
    assert_eq!(running.ask("github.com"), "192.0.2.7");
    assert_eq!(status(&running)["mode"], "audit");
}

#[test]
fn without_a_policy_there_is_nothing_to_audit() {
    let (room, upstream) = (Room::new(), Upstream::open(Duration::ZERO));
    let args = [
        "--policy",
        "later.json",
        "--mode",
        "audit",
        "--audit-for",
        "2h",
    ];
    fs::remove_file(room.path("policy.json")).expect("it was there");
    let missing = refused(&room, "--mode audit --audit-for 2h", |_| ());
    assert!(missing.ends_with("--- exit 66\n"), "{missing}");
    room.write(
        "config.toml",
        "[policy]\non_missing = \"deny_all\"\npoll_every = \"100ms\"\n",
    );
    let args = [&args[..], &["--config", "config.toml"]].concat();
    let running = Running::start(&room, &upstream, &args);
    assert_eq!(running.ask("evil.example"), "NXDOMAIN");
    room.write("later.json", &document(&["github.com"]));
    eventually("there is one", || {
        running.ask("evil.example") == "192.0.2.7"
    });
}

#[test]
fn without_an_end_it_does_not_start() {
    let room = Room::new();
    for (flags, told, code) in [
        (
            "--mode audit",
            "error: policy.mode: an audit needs an end",
            78,
        ),
        (
            "--mode audit --audit-for 8d",
            "write a duration from \"1m\" to \"7days\"",
            78,
        ),
        (
            "--mode audit --audit-for 30s",
            "write a duration from \"1m\" to \"7days\"",
            78,
        ),
        ("--mode log", "\"log\" is not known", 78),
        ("--audit-for 2h", "--mode <MODE>", 2),
    ] {
        let said = refused(&room, flags, |_| ());
        assert!(said.contains(told), "{flags}: {said}");
        assert!(
            said.ends_with(&format!("--- exit {code}\n")),
            "{flags}: {said}"
        );
    }
    fs::write(
        room.path("config.toml"),
        "[policy]\nmode = 'audit'\naudit_for = '2h'\n",
    )
    .expect("written");
    let said = room.tell("check --config config.toml --policy policy.json");
    assert!(said.contains("each restart would begin it anew"), "{said}");
    assert!(said.ends_with("--- exit 78\n"), "{said}");
}

#[test]
fn check_says_that_nothing_will_be_enforced() {
    let room = Room::new();
    let config = format!(
        "[policy]\nmode = 'audit'\naudit_until = '{}'\n",
        from_now(TOMORROW)
    );
    room.write("config.toml", &config);
    let said = room.tell("check --config config.toml --policy policy.json");
    assert!(said.contains("this is an audit"), "{said}");
}

#[test]
fn the_supervisor_is_told_and_may_not_begin_it_again_and_again() {
    let (room, upstream) = (Room::new(), Upstream::open(Duration::ZERO));
    let socket = supervisor(&room);
    let notify = room.path("notify");
    let refused = refused(&room, "--mode audit --audit-for 2h", |command| {
        command.env("NOTIFY_SOCKET", &notify);
    });
    assert!(refused.contains("policy.audit_until"), "{refused}");
    assert!(refused.ends_with("--- exit 78\n"), "{refused}");

    let end = from_now(SOON);
    let running = Running::start_with(&room, &upstream, &[], |command| {
        until(&end)(command);
        command.env("NOTIFY_SOCKET", &notify);
    });
    let ready = hear(&socket, "READY=1\n");
    assert!(
        ready.contains("STATUS=policy test gen 1, 2 names, AUDIT MODE for "),
        "{ready}"
    );
    sleep_until(&end);
    running.says("audit mode is over");
    let over = hear(&socket, "2 names\n");
    assert!(!over.contains("READY"), "{over}");
}
