//! The commands that work with policy documents.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;
use std::time::{Duration, SystemTime};

use namegate::daemon::sha256_of;

use super::read::WARNED;
use super::run::{Running, Upstream};
use super::{Room, hold, hold_to_schema, said, skip};
use crate::support::document;

/// A record of the query log.
fn record(ts: &str, verdict: &str, name: &str) -> String {
    let reason = match verdict {
        "blocked" => "not_listed",
        "allowed" => "exact",
        _ => "upstream_timeout",
    };
    format!(
        "{{\"v\":1,\"ts\":\"{ts}\",\"event\":\"dns.query\",\"verdict\":\"{verdict}\",\"reason\":\"{reason}\",\"name\":\"{name}\",\"type\":\"A\"}}\n"
    )
}

/// A day in the life of a box.
fn log() -> String {
    let at = |minute: u32| format!("2026-03-01T10:{minute:02}:00.000Z");
    [
        "{\"v\":1,\"ts\":\"2026-03-01T09:59:00.000Z\",\"event\":\"start\",\"version\":\"0.1.0\"}\n"
            .to_owned(),
        record(&at(0), "allowed", "registry.npmjs.org"),
        record(&at(1), "allowed", "cdn.npmjs.org"),
        record(&at(2), "allowed", "cdn.npmjs.org"),
        record(&at(3), "allowed", "github.com"),
        record(&at(4), "blocked", "pypi.org"),
        record(&at(5), "allowed", "printer.local"),
        record(&at(6), "error", "a.b.npmjs.org"),
        record(&at(7), "blocked", "odd\\\\.name.npmjs.org"),
        "{\"v\":1,\"ts\":\"2026-03-01T10:0".to_owned(),
    ]
    .concat()
}

/// `WARNED` is as people write policies: one entry a line.
fn room() -> Room {
    let room = Room::new();
    room.write("ci.json", WARNED);
    room.write("log.jsonl", &log());
    let alpha = document(&["registry.npmjs.org"]).replace("npl_1", "npl_a");
    let beta = document(&[]).replace("npl_1", "npl_b");
    let beta = beta.replace("\"test\"", "\"beta\"");
    let list = format!("{{\"network_policies\":[{alpha},\n{beta}],\"has_more\":false}}");
    room.write("list.json", &list);
    room.write("refused.json", &document(&["10.0.0.1"]));
    room
}

fn content(room: &Room, name: &str) -> String {
    fs::read_to_string(room.path(name)).expect(name)
}

#[test]
fn show() {
    let room = room();
    let described = WARNED.replace(
        "\"egress\"",
        "\"description\": \"for \\u001b[31m CI\",\n  \"egress\"",
    );
    room.write("described.json", &described);
    let many: Vec<String> = (0..50).map(|it| format!("h{it}.example.com")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    room.write("many.json", &document(&many));
    room.check(
        "policy_show",
        &[
            "policy show --policy described.json",
            "policy show --policy ci.json --format json",
            "policy show --policy list.json --policy-name beta",
            "policy show --policy many.json",
            "policy show --policy refused.json",
            "policy show --policy nope.json",
        ],
    );
}

#[test]
fn diff() {
    let room = room();
    let tight = WARNED
        .replace("\"*.npmjs.org\",\n", "")
        .replace("\"*.github.io\"", "\"org.github.io\"")
        .replace("\"dns.google\"", "\"pypi.org\"")
        .replace(
            "allow_agent_gateway\": true",
            "allow_agent_gateway\": false",
        );
    room.write("tight.json", &tight);
    let all = WARNED.replace("allow_all\": false", "allow_all\": true");
    room.write("all.json", &all);
    // Neither order nor names nor times nor what is covered twice make a difference.
    let sorted = WARNED
        .replace("\"github.com\",\n", "")
        .replace(
            "\"dns.google\"",
            "\"dns.google\", \"GitHub.com\", \"github.com\"",
        )
        .replace("npl_1", "npl_2");
    room.write("sorted.json", &sorted);
    let blocked = record("2026-03-01T10:00:00.000Z", "blocked", "pypi.org");
    room.write("blocked.jsonl", &blocked);
    room.write("text.log", "query: github.com\nquery: pypi.org\n");
    room.check(
        "policy_diff",
        &[
            "policy diff ci.json tight.json --log log.jsonl",
            "policy diff tight.json ci.json --log blocked.jsonl",
            "policy diff ci.json tight.json --log log.jsonl --format json",
            "policy diff ci.json all.json --log log.jsonl",
            "policy diff ci.json sorted.json",
            "policy diff ci.json list.json --policy-id npl_b",
            "policy diff ci.json tight.json --log text.log",
            "policy diff ci.json refused.json",
            "policy diff ci.json nope.json",
            "policy diff ci.json tight.json --log nope.jsonl",
        ],
    );
}

#[test]
fn a_pattern_that_is_covered_is_no_loss() {
    let room = room();
    room.write("one.json", &document(&["*.b.com", "x.b.com", "a.com"]));
    room.write("two.json", &document(&["*.b.com", "a.com", "y.b.com"]));
    let output = room
        .namegate(&["policy", "diff", "one.json", "two.json", "--format", "json"])
        .output()
        .expect("the program starts");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(told["removed"][0]["pattern"], "x.b.com");
    assert_eq!(told["removed"][0]["covered_by"], "*.b.com");
    assert_eq!(
        (&told["lost"], &told["gained"]),
        (&serde_json::json!([]), &serde_json::json!([]))
    );
    assert_eq!(told["same"], false);
}

#[test]
fn test() {
    let room = room();
    let cases = "# what CI needs\nallow registry.npmjs.org   # by the wildcard, too\nallow GitHub.com.\nblock npmjs.org\n\n\
                 block evil.example\nallow gateway.runloop.ai\nallow localhost\nblock odd\\.name.npmjs.org\n";
    room.write("good.cases", cases);
    room.write(
        "bad.cases",
        "allow pypi.org\nblock github.com\nallow a!.com\n",
    );
    room.write(
        "wrong.cases",
        "allow github.com\nalow pypi.org\nblock\nallow a b\nblock a..b\nallow *.npmjs.org\n",
    );
    room.write("no.cases", "# nothing\n");
    room.write(
        "config.toml",
        "[services]\nagent_gateway = [\"gw.example.com\"]\n[[forward]]\nzone = \"corp.example.\"\nservers = [\"udp://127.0.0.9\"]\nexempt = true\n",
    );
    room.write(
        "config.cases",
        "allow gw.example.com\nblock gateway.runloop.ai\nallow git.corp.example\n",
    );
    room.check(
        "policy_test",
        &[
            "policy test ci.json good.cases",
            "policy test ci.json bad.cases",
            "policy test ci.json wrong.cases",
            "policy test ci.json no.cases",
            "policy test ci.json config.cases --config config.toml",
            "policy test refused.json good.cases",
            "policy test ci.json nope.cases",
        ],
    );
}

#[test]
fn unused() {
    let room = room();
    room.write("config.toml", "[log]\nsink = \"file:log.jsonl\"\n");
    let blocked = record("2026-03-01T10:00:00.000Z", "blocked", "evil.example");
    room.write("blocked.jsonl", &blocked);
    let wide = document(&[
        "*.org",
        "*.npmjs.org",
        "github.com",
        "pypi.org",
        // Answered here: no lookup needs it.
        "printer.local",
    ]);
    room.write("wide.json", &wide);
    let all = wide.replace("allow_all\":false", "allow_all\":true");
    room.write("all.json", &all);
    let needed = document(&["*.npmjs.org", "github.com", "pypi.org"]);
    room.write("needed.json", &needed);
    room.check(
        "policy_unused",
        &[
            "policy unused --policy ci.json --log log.jsonl",
            "policy unused --policy ci.json --log log.jsonl --format json",
            "policy unused --policy wide.json --config config.toml",
            "policy unused --policy all.json --config config.toml",
            "policy unused --policy needed.json --log log.jsonl",
            "policy unused --policy needed.json --log blocked.jsonl",
            "policy unused --policy ci.json",
            "policy unused --policy ci.json --log nope.jsonl",
        ],
    );
}

#[test]
fn unused_lately() {
    let room = room();
    let ago = |time: Duration| {
        let at = SystemTime::now() - time;
        humantime::format_rfc3339_millis(at).to_string()
    };
    let hour = Duration::from_secs(3600);
    let log = record(&ago(48 * hour), "allowed", "dns.google")
        + &record(&ago(hour), "allowed", "github.com");
    room.write("late.jsonl", &log);
    room.write("two.json", &document(&["dns.google", "github.com"]));
    let told = room.tell("policy unused --policy two.json --log late.jsonl --since 1day");
    assert!(
        told.contains("dns.google                    line 2     no lookup\n1 of 2"),
        "{told}"
    );
    assert!(told.contains("note: the log begins 22h 59m"), "{told}");
    let told = room.tell("policy unused --policy two.json --log late.jsonl --since 3days");
    assert!(told.contains("\n0 of 2 patterns not needed\n"), "{told}");
}

#[test]
fn what_is_for_programs_is_what_the_schema_says() {
    let room = room();
    room.write("tight.json", &document(&["registry.npmjs.org"]));
    for (part, command) in [
        ("show", "show --policy ci.json"),
        ("diff", "diff ci.json tight.json --log log.jsonl"),
        ("diff", "diff ci.json tight.json"),
        ("diff", "diff ci.json ci.json --log log.jsonl"),
        ("unused", "unused --policy ci.json --log log.jsonl"),
    ] {
        let command = format!("policy {command} --format json");
        let words: Vec<&str> = command.split(' ').collect();
        let output = room.namegate(&words).output().expect("the program starts");
        let schema = format!("policy-commands.schema.json#/$defs/{part}");
        hold_to_schema(&schema, &command, &output.stdout);
    }
}

#[test]
fn add_and_rm() {
    let room = room();
    let told = [
        room.tell("policy add --policy ci.json pypi.org *.PyPI.org. --dry-run"),
        room.tell("policy add --policy ci.json pypi.org *.PyPI.org."),
        room.tell("policy add --policy ci.json pypi.org cdn.npmjs.org"),
        room.tell("policy add --policy ci.json *.s3.amazonaws.com cloudflare-dns.com *.google"),
        room.tell("policy rm --policy ci.json github.com dns.google registry.npmjs.org"),
        room.tell("policy rm --policy ci.json cdn.npmjs.org"),
        room.tell("policy rm --policy ci.json evil.example"),
        content(&room, "ci.json"),
        room.tell("policy add --policy list.json --policy-name beta pypi.org"),
        room.tell("policy rm --policy list.json --policy-id npl_a registry.npmjs.org"),
        content(&room, "list.json"),
        room.tell(
            "policy add --policy ci.json --bundle npm,python files.pythonhosted.org --dry-run",
        ),
        room.tell("policy rm --policy ci.json --bundle python"),
        room.tell("policy add --policy ci.json --bundle pyton"),
        room.tell("policy add --policy refused.json pypi.org"),
        room.tell("policy add --policy nope.json pypi.org"),
    ];
    hold("policy_amend", &told.join("\n"));
}

#[test]
fn added_and_removed_again_leaves_the_file_as_it_was() {
    let room = room();
    for policy in ["ci.json", "policy.json"] {
        let before = content(&room, policy);
        room.tell(&format!("policy add --policy {policy} pypi.org *.pypi.org"));
        assert_ne!(content(&room, policy), before);
        room.tell(&format!("policy rm --policy {policy} pypi.org *.pypi.org"));
        assert_eq!(content(&room, policy), before);
    }
}

#[test]
fn a_dry_run_writes_nothing() {
    let room = room();
    room.tell("policy add --policy ci.json pypi.org --dry-run");
    assert_eq!(content(&room, "ci.json"), WARNED);
}

#[test]
fn the_file_behind_a_link_is_replaced_and_keeps_its_mode_and_owner() {
    let room = room();
    let file = room.path("ci.json");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("ours");
    // Somebody else's file, where we may give it away.
    let is_given = std::os::unix::fs::chown(&file, Some(4711), Some(4712)).is_ok();
    symlink("ci.json", room.path("link.json")).expect("a link");
    let before = fs::metadata(&file).expect("there");
    let told = room.tell("policy add --policy link.json pypi.org");
    assert!(told.ends_with("--- exit 0\n"), "{told}");
    let after = fs::metadata(&file).expect("there");
    assert_ne!(after.ino(), before.ino(), "by a rename");
    assert_eq!(after.mode() & 0o777, 0o640);
    assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
    assert!(
        fs::symlink_metadata(room.path("link.json"))
            .expect("there")
            .is_symlink()
    );
    assert!(content(&room, "link.json").contains("pypi.org"));
    if !is_given {
        skip("not root: the owner was ours all the time");
    }
}

#[test]
fn a_file_that_is_a_mount_is_left_alone() {
    let room = room();
    fs::copy(room.path("ci.json"), room.path("target.json")).expect("a copy");
    let mounted = |then: &str, args: &[&str]| {
        let script = format!("mount --bind ci.json target.json && exec {then}");
        let args = [&["-m", "sh", "-c", &script], args].concat();
        room.command("unshare", &args).output()
    };
    if !mounted("true", &[]).is_ok_and(|it| it.status.success()) {
        return skip("no mount namespaces here");
    }
    let program = env!("CARGO_BIN_EXE_namegate");
    let then = "\"$0\" policy add --policy target.json pypi.org";
    let output = mounted(then, &[program]).expect("it ran a moment ago");
    let told = said(&output);
    assert!(
        told.contains("target.json is not changed: the file is a mount by itself"),
        "{told}"
    );
    assert_eq!(output.status.code(), Some(71), "{told}");
    assert_eq!(content(&room, "ci.json"), WARNED);
    let left = fs::read_dir(room.path("")).expect("ours").flatten();
    let left = left.filter(|it| it.file_name().to_string_lossy().starts_with('.'));
    assert_eq!(left.count(), 0, "nothing half-written stays");
}

#[test]
fn a_directory_that_takes_no_file_is_told() {
    let room = room();
    let read_only = fs::Permissions::from_mode(0o555);
    let told = as_nobody(&room, "policy add --policy ci.json pypi.org", &read_only);
    let Some(told) = told else { return };
    assert!(
        told.contains("ci.json is not changed: Permission denied"),
        "{told}"
    );
    assert!(told.ends_with("--- exit 77\n"), "{told}");
    assert_eq!(content(&room, "ci.json"), WARNED);
}

/// Runs a command as a user who owns nothing here; none where that cannot be done.
fn as_nobody(room: &Room, args: &str, mode: &fs::Permissions) -> Option<String> {
    fs::set_permissions(room.path(""), mode.clone()).expect("ours");
    let program = env!("CARGO_BIN_EXE_namegate");
    let copy = room.path("").with_extension("namegate");
    fs::copy(program, &copy).expect("a place that anybody can enter");
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command
        .arg(&copy)
        .args(args.split(' '))
        .current_dir(room.path(""));
    let output = command.output();
    fs::remove_file(copy).expect("ours");
    let told = output.map(|it| said(&it)).unwrap_or_default();
    if told.is_empty() || told.contains("setpriv:") {
        skip(&format!("nobody else can be here: {told}"));
        return None;
    }
    Some(told)
}

#[test]
fn wait_returns_when_the_content_is_served() {
    let room = room();
    let upstream = Upstream::open(Duration::ZERO);
    let running = Running::start(&room, &upstream, &["--policy", "ci.json"]);
    let pages = running.address("metrics");
    let wait = |sha256: &str, timeout: &str| {
        room.tell(&format!(
            "policy wait --metrics {pages} --timeout {timeout} --sha256 {sha256}"
        ))
    };
    let first = sha256_of(WARNED.as_bytes());
    let told = wait(&first, "5s");
    assert!(
        told.contains(&format!(
            "policy ci (npl_1) gen 1 sha256 {first}\n--- exit 0\n"
        )),
        "{told}"
    );

    room.tell("policy add --policy ci.json pypi.org");
    let second = sha256_of(content(&room, "ci.json").as_bytes());
    let told = wait(&second[..8].to_uppercase(), "10s");
    assert!(
        told.contains(" gen 2 ") && told.ends_with("--- exit 0\n"),
        "{told}"
    );

    let told = wait(&first, "1s");
    assert!(
        told.contains("not within 1s; it serves policy ci (npl_1) gen 2"),
        "{told}"
    );
    assert!(told.ends_with("--- exit 1\n"), "{told}");

    let bad = document(&["10.0.0.1"]);
    room.write("ci.json", &bad);
    running.says("refused");
    let told = wait(&sha256_of(bad.as_bytes()), "1s");
    assert!(
        told.contains("the file was refused:\n  line 2: NP013"),
        "{told}"
    );
}

#[test]
fn wait_for_what_is_not_there() {
    let room = room();
    let digest = "0".repeat(64);
    let told = room.tell(&format!(
        "policy wait --metrics 127.0.0.1:1 --timeout 1ms --sha256 {digest}"
    ));
    assert!(
        told.contains("no status from 127.0.0.1:1: Connection refused"),
        "{told}"
    );
    assert!(told.ends_with("--- exit 1\n"), "{told}");
    let told = room.tell(&format!("policy wait --metrics off --sha256 {digest}"));
    assert!(told.ends_with("--- exit 78\n"), "{told}");
}
