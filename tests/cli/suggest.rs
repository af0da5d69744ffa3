//! `suggest`: what it says of recorded clients, and what it writes.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use super::{Room, hold, hold_to_schema, said};
use crate::support::document;

/// Every log in `tests/data/suggest`, as recorded by `tests/record.sh`.
const RECORDED: [&str; 14] = [
    "apt",
    "apt-blocked",
    "browser",
    "cargo",
    "git",
    "go",
    "maven",
    "npm",
    "pip",
    "pip-blocked",
    "pip-office",
    "pip-pod",
    "release",
    "tunnel",
];

const DAY: &str = r#"{"v":1,"ts":"2026-11-22T12:00:00.000Z","event":"start","version":"0.1.0"}
{"v":1,"ts":"2026-11-22T12:00:01.000Z","event":"dns.query","verdict":"blocked","reason":"not_listed","name":"pypi.org","type":"A","client":"10.0.0.7","later":[1,{}]}
{"v":1,"ts":"2026-11-22T12:00:01.000Z","event":"dns.query","verdict":"blocked","reason":"not_listed","name":"pypi.org","type":"AAAA","client":"10.0.0.8"}
not a record
{"v":1,"ts":"2026-11-22T13:59:00.000Z","event":"dns.query","verdict":"allowed","reason":"exact","name":"github.com","type":"A","client":"10.0.0.7"}
{"v":1,"ts":"2026-11-22T13:59:30.000Z","event":"dns.query","verdict":"blocked","reason":"not_listed","name":"_http._tcp.deb.debian.org","type":"SRV","client":"10.0.0.7"}
{"v":1,"ts":"2026-11-22T14:00:00.000Z","event":"dns.query","verdict":"blocked","reason":"not_listed","name":"api.githib.com","type":"A","client":"10.0.0.7"}
{"v":1,"ts":"2026-11-22T14:00:00.000Z","event":"dns.query","verdict":"blocked","reason":"not_listed","name":"api.mycompany.com","type":"A","client":"10.0.0.7"}
{"v":1,"ts":"2026-11-22T14:00:00.000Z","event":"dns.query","verdict":"blocked","reason":"not_listed","name":"o1.ingest.sentry.io","type":"A","client":"10.0.0.7"}
{"v":1,"ts":"2026-11-22T14:00:01.000Z","event":"dns.qu"#;

const POLICY: &str = r#"{
    "id": "npl_1", "name": "ci",
    "egress": {
        "allowed_hostnames": [ "github.com",
                               "*.npmjs.org" ],
        "allow_all": false, "allow_devbox_to_devbox": false,
        "allow_agent_gateway": false, "allow_mcp_gateway": false
    },
    "update_time_ms": 1,
    "create_time_ms": 1
}
"#;

/// With a day's log and a policy in a hand of its own.
fn room() -> Room {
    let room = Room::new();
    room.write("day.jsonl", DAY);
    room.write("ci.json", POLICY);
    room.write("config.toml", "[policy]\nfile = \"gone.json\"\n");
    room
}

fn recorded() -> Room {
    let room = Room::new();
    for name in RECORDED {
        let log = format!(
            "{}/tests/data/suggest/{name}.jsonl",
            env!("CARGO_MANIFEST_DIR")
        );
        room.write(
            &format!("{name}.jsonl"),
            &fs::read_to_string(log).expect(name),
        );
    }
    room
}

#[track_caller]
fn check_recorded(kept: &str, more: &str) {
    let commands =
        RECORDED.map(|name| format!("suggest --log {name}.jsonl --policy policy.json{more}"));
    recorded().check(kept, &commands.each_ref().map(String::as_str));
}

#[test]
fn recorded_clients_in_text() {
    check_recorded("suggest_recorded", "");
}

#[test]
fn recorded_clients_for_programs() {
    check_recorded("suggest_recorded_json", " --format json");
}

#[test]
fn what_is_for_programs_is_what_the_schema_says() {
    let (recorded, day) = (recorded(), room());
    let logs = RECORDED.map(|name| format!(" --log {name}.jsonl")).concat();
    for (room, more) in [
        (&recorded, format!("{logs} --policy policy.json")),
        (&day, " --log day.jsonl --policy ci.json".to_owned()),
        (&day, " --log day.jsonl --config config.toml".to_owned()),
    ] {
        let command = format!("suggest{more} --format json");
        let words: Vec<&str> = command.split(' ').collect();
        let output = room.namegate(&words).output().expect("the program starts");
        hold_to_schema("suggest.schema.json", &command, &output.stdout);
    }
}

#[test]
fn all_recorded_clients_on_one_box() {
    let logs = RECORDED.map(|name| format!(" --log {name}.jsonl")).concat();
    recorded().check(
        "suggest_all",
        &[
            &format!("suggest{logs} --policy policy.json"),
            &format!("suggest{logs} --policy policy.json --all --accept example.com"),
        ],
    );
}

#[test]
fn a_day_in_every_form() {
    room().check(
        "suggest_day",
        &[
            "suggest --log day.jsonl --policy ci.json",
            "suggest --log day.jsonl --policy ci.json --all --since 30m",
            "suggest --log day.jsonl --policy ci.json --format json",
            "suggest --log day.jsonl --policy ci.json --format policy",
            "suggest --log day.jsonl --policy ci.json --format policy --accept api.mycompany.com",
            "suggest --log day.jsonl --config config.toml",
        ],
    );
}

#[test]
fn what_cannot_be_done_is_told() {
    let room = room();
    room.write(
        "all.json",
        &POLICY.replace("\"allow_all\": false", "\"allow_all\": true"),
    );
    room.write("refused.json", "{}");
    room.write("empty.jsonl", "");
    room.check(
        "suggest_refused",
        &[
            "suggest",
            "suggest --log none.jsonl --policy ci.json",
            "suggest --log ci.json --policy ci.json",
            "suggest --log day.jsonl --policy none.json",
            "suggest --log day.jsonl --policy refused.json",
            "suggest --log day.jsonl --policy ci.json --accept evil.com",
            "suggest --log day.jsonl --policy ci.json --accept a..b",
            "suggest --log day.jsonl --policy ci.json --write policy.json",
            "suggest --log day.jsonl --write no/such/directory.json",
            "suggest --log empty.jsonl --policy ci.json",
            "suggest --log empty.jsonl --write ci.json",
            "suggest --log day.jsonl --policy all.json",
        ],
    );
    assert_eq!(
        fs::read_to_string(room.path("ci.json")).expect("a policy"),
        POLICY
    );
    let beside = document(&["github.com", "*.npmjs.org"]);
    assert_eq!(
        fs::read_to_string(room.path("policy.json")).expect("a policy"),
        beside
    );
}

#[test]
fn the_policy_grows_in_its_own_hand_once_the_difference_was_shown() {
    let room = room();
    let file = room.path("ci.json");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("set");
    let command = "suggest --log day.jsonl --accept api.mycompany.com --write ci.json";
    let told = [
        room.tell(command),
        room.tell("check --policy ci.json"),
        room.tell("suggest --log day.jsonl --write ci.json"),
        room.tell("suggest --log day.jsonl --write new.json"),
        room.tell("check --policy new.json"),
    ];
    hold("suggest_write", &told.join("\n"));
    let grown = POLICY.replace(
        "\"*.npmjs.org\" ]",
        &[
            "\"*.npmjs.org\"",
            "\"api.mycompany.com\"",
            "\"deb.debian.org\"",
            "\"files.pythonhosted.org\"",
            "\"pypi.org\" ]",
        ]
        .join(",\n                               "),
    );
    assert_eq!(fs::read_to_string(&file).expect("a policy"), grown);
    let mode = fs::metadata(&file).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let names = fs::read_dir(room.path("")).expect("a directory");
    let left = names.filter(|it| {
        it.as_ref()
            .is_ok_and(|it| it.file_name().to_string_lossy().starts_with('.'))
    });
    assert_eq!(left.count(), 0, "nothing is left beside it");
}

#[test]
fn a_log_may_come_from_a_pipe() {
    let room = room();
    let mut command = room.namegate(&[
        "suggest", "--log", "-", "--policy", "ci.json", "--format", "policy",
    ]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut pipe = child.stdin.take().expect("a pipe");
    pipe.write_all(DAY.as_bytes()).expect("written");
    drop(pipe);
    let output = child.wait_with_output().expect("it ends");
    let piped = said(&output).replace("note: -:", "note: day.jsonl:");
    let read = room.tell("suggest --log day.jsonl --policy ci.json --format policy");
    assert_eq!(
        format!(
            "$ namegate suggest --log day.jsonl --policy ci.json --format policy\n{}",
            room.steady(&piped)
        ),
        read
    );
}
