//! The commands that ask the running resolver over its admin socket.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Room;
use super::run::{Running, Upstream};
use crate::admin::hold_to_schema;
use crate::support::document;

/// A resolver with a socket, and the room it is in.
struct Served {
    room: Room,
    running: Running,
    upstream: Upstream,
}

impl Served {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(variables: &[(&str, &str)]) -> Self {
        Self::run(&[], variables)
    }

    fn run(args: &[&str], variables: &[(&str, &str)]) -> Self {
        let room = Room::new();
        let upstream = Upstream::open(Duration::ZERO);
        let running = Running::start_with(&room, &upstream, args, |command| {
            command.env("NAMEGATE_ADMIN_SOCKET", room.path("admin.sock"));
            command.env("NAMEGATE_BLOCKED_FILE", room.path("blocked"));
            command.envs(variables.iter().copied());
        });
        Self {
            room,
            running,
            upstream,
        }
    }

    /// What a command says to this resolver, and its exit code.
    fn tell(&self, args: &str) -> String {
        let told = self.room.tell(&format!("{args} --socket admin.sock"));
        let (_, said) = told.split_once('\n').expect("the command line");
        said.to_owned()
    }

    /// The one document that a command prints.
    fn json(&self, args: &str) -> Value {
        let told = self.tell(&format!("{args} --format json"));
        let line = told.lines().next().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|_| panic!("{told}"))
    }
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

#[test]
fn the_socket_is_its_owners_and_goes_with_its_daemon() {
    let mut served = Served::new();
    let socket = served.room.path("admin.sock");
    let made = fs::symlink_metadata(&socket).expect("it is there");
    assert!(made.file_type().is_socket());
    assert_eq!(made.permissions().mode() & 0o777, 0o600);
    served.running.signal("TERM");
    assert_eq!(served.running.exit_code(), 0);
    assert!(!socket.exists());
}

#[test]
fn the_socket_has_the_mode_it_is_to_have_whatever_the_umask() {
    let served = Served::with(&[("NAMEGATE_ADMIN_MODE", "0666")]);
    let made = fs::metadata(served.room.path("admin.sock")).expect("it is there");
    assert_eq!(made.permissions().mode() & 0o777, 0o666);
}

#[test]
fn a_socket_that_is_served_names_its_owner_and_a_dead_one_is_replaced() {
    let room = Room::new();
    let socket = room.path("admin.sock");
    let held = UnixListener::bind(&socket).expect("bound");
    let start =
        "run --policy policy.json --listen 127.0.0.1:0 --metrics off --upstream udp://127.0.0.9";
    let words: Vec<&str> = start.split(' ').collect();
    let mut command = room.namegate(&words);
    let told = room.told(start, command.env("NAMEGATE_ADMIN_SOCKET", &socket));
    has(
        &told,
        &[
            "cannot serve the admin socket",
            "it is held by PROGRAM (pid N)",
            "admin.socket",
            "exit 71",
        ],
    );
    drop(held);
    let upstream = Upstream::open(Duration::ZERO);
    let _running = Running::start_with(&room, &upstream, &[], |command| {
        command.env("NAMEGATE_ADMIN_SOCKET", &socket);
    });
    has(
        &room.tell("status --socket admin.sock"),
        &["policy    test (npl_1)  gen 1", "exit 0"],
    );
}

#[test]
fn status_is_one_screen() {
    let served = Served::new();
    served.running.ask("github.com");
    served.running.ask("evil.example");
    let told = served.tell("status");
    has(
        &told,
        &[
            "policy    test (npl_1)  gen 1  sha256 ",
            "2 names (1 exact, 1 wildcard)",
            "mode      enforce\n",
            "2 in ",
            "1 allowed (0 cached), 1 blocked (0 search suffix)",
            "reloads   1 applied, 0 unchanged, 0 rejected\n",
            "--- exit 0",
        ],
    );
    assert_eq!(served.json("status")["policy"]["generation"], 1);
}

#[test]
fn suggest_asks_what_the_resolver_remembers() {
    let served = Served::new();
    for name in ["github.com", "pypi.org", "pypi.org", "evil.example"] {
        served.running.ask(name);
    }
    let told = served.tell("suggest --policy policy.json --format json");
    let (proposed, _) = told.split_once("--- exit 0").expect("it ends well");
    let proposed: Value = serde_json::from_str(proposed).expect("a document");
    let items = proposed["items"].as_array().expect("a list").clone();
    let of = |name: &str| {
        let item = items.iter().find(|it| it["name"] == name);
        let item = item.unwrap_or_else(|| panic!("{name} is not in {proposed}"));
        (item["class"].clone(), item["count"].clone())
    };
    assert_eq!(of("pypi.org"), ("add".into(), 2.into()));
    assert_eq!(of("evil.example").0, "review");
    let told = served.tell("suggest --policy policy.json");
    has(
        &told,
        &["ADD  2 names", "--socket admin.sock", "--- exit 0"],
    );
    let nobody = served
        .room
        .tell("suggest --policy policy.json --socket no.sock");
    has(&nobody, &["--- exit 69"]);
}

#[test]
fn blocked_is_the_text_of_the_file_in_the_box() {
    let served = Served::new();
    served.running.ask("evil.example");
    served.running.ask("npmjs.org");
    let body = |text: &str| {
        let names = text.split("\n\n").nth(1).unwrap_or_default();
        names.split("---").next().unwrap_or_default().to_owned()
    };
    let told = served.tell("blocked");
    has(&told, &["npmjs.org", "evil.example", "--- exit 0"]);
    let until = Instant::now() + Duration::from_secs(10);
    while fs::read_to_string(served.room.path("blocked"))
        .map(|it| body(&it))
        .ok()
        != Some(body(&told))
    {
        assert!(
            Instant::now() < until,
            "the file says something else than:\n{told}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let blocked = served.json("blocked --since 10m --all");
    hold_to_schema("blocked", &blocked);
    assert_eq!(blocked["names"].as_array().map(Vec::len), Some(2));
}

#[test]
fn explain_asks_the_resolver_and_tells_what_it_knows() {
    let served = Served::new();
    for name in ["github.com", "github.com", "npmjs.org"] {
        served.running.ask(name);
    }
    let told = served.tell("explain github.com npmjs.org");
    has(
        &told,
        &[
            "ALLOWED  github.com\n",
            "test (npl_1) gen 1, loaded ",
            "rule     github.com   (line ",
            "seen     2 queries (A) since ",
            "cache    records, ",
            "used 1 times",
            "\n\nBLOCKED  npmjs.org\n",
            "seen     1 query (A) since ",
            "1 blocked, the last ",
            "cache    nothing\n",
            "to allow add \"npmjs.org\"",
            "--- exit 1",
        ],
    );
    assert!(!told.contains("upstream"), "{told}");
    let told = served.tell("explain --resolve github.com");
    has(&told, &["upstream 192.0.2.7, TTL 60 s, in ", "--- exit 0"]);
    assert_eq!(served.upstream.asked(), 2, "whatever is cached");
    let told = served.tell("explain --resolve evil.example");
    assert!(!told.contains("upstream"), "{told}");
    assert_eq!(served.upstream.asked(), 2, "nothing about it leaves");
    let live = served.json("explain --resolve github.com");
    hold_to_schema("explain", &live);
    assert_eq!(live["upstream"]["data"][0], "192.0.2.7");
    assert_eq!(live["live"], true);
}

#[test]
fn explain_says_which_policy_it_was() {
    let served = Served::new();
    // The file is judged when it is named, whatever runs.
    served
        .room
        .write("other.json", &document(&["evil.example"]));
    let room = &served.room;
    let told = room.told(
        "",
        room.namegate(&["explain", "evil.example", "--policy", "other.json"])
            .env("NAMEGATE_ADMIN_SOCKET", room.path("admin.sock")),
    );
    has(&told, &["ALLOWED  evil.example", "from other.json"]);
    // A file that is no policy any more is told, and what is in force judges.
    served.room.write("policy.json", "{");
    has(&served.tell("reload"), &["--- exit 65"]);
    let told = served.tell("explain github.com");
    has(
        &told,
        &[
            "ALLOWED",
            "holds something else by now",
            "rule     github.com   exact\n",
        ],
    );
    let judged = served.json("explain evil.example");
    hold_to_schema("explain", &judged);
    assert!(
        judged["fix"].is_null() && judged["policy"]["generation"] == 1,
        "{judged}"
    );
    // Without a resolver the file is judged, and that is said.
    served.room.write("policy.json", &document(&["github.com"]));
    let alone = room.told(
        "",
        room.namegate(&["explain", "github.com"])
            .env("NAMEGATE_ADMIN_SOCKET", "gone.sock")
            .env("NAMEGATE_POLICY_FILE", "policy.json"),
    );
    has(
        &alone,
        &[
            "ALLOWED  github.com\n  policy   test (npl_1) from policy.json\n",
            "note: no resolver answers at gone.sock; this is of the file policy.json",
            "--- exit 0",
        ],
    );
}

#[test]
fn reload_waits_for_what_becomes_of_the_file() {
    let served = Served::new();
    has(
        &served.tell("reload"),
        &[
            "unchanged: policy test (npl_1) gen 1, 2 names\n",
            "--- exit 0",
        ],
    );
    served
        .room
        .write("policy.json", &document(&["evil.example"]));
    // Whether the watch or this was quicker: it is in force when it returns.
    has(
        &served.tell("reload"),
        &[": policy test (npl_1) gen 2, 1 name\n", "--- exit 0"],
    );
    assert_eq!(served.running.ask("evil.example"), "192.0.2.7");
    served.room.write("policy.json", &document(&["10.0.0.1"]));
    has(
        &served.tell("reload"),
        &[
            "error[NP013]",
            "in force stays: policy test (npl_1) gen 2",
            "--- exit 65",
        ],
    );
    let refused = served.json("reload");
    hold_to_schema("reload", &refused);
    assert_eq!(refused["errors"][0]["code"], "NP013");
    fs::remove_file(served.room.path("policy.json")).expect("removed");
    has(
        &served.tell("reload"),
        &["policy.json is not there", "--- exit 66"],
    );
}

/// Half of the pokes come while a look is on its way: each has to be answered by one that began after it.
#[test]
fn a_reload_never_tells_of_the_file_before() {
    let served = Served::new();
    for round in 0..20 {
        let (names, expected) = match round % 2 {
            0 => (vec!["10.0.0.1"], "--- exit 65"),
            _ => (vec!["github.com"], "--- exit 0"),
        };
        let text = document(&names).replace("npl_1", &format!("npl_{round}"));
        served.room.write("policy.json", &text);
        has(&served.tell("reload"), &[expected]);
    }
}

#[test]
fn tail_follows_what_is_decided() {
    let served = Served::new();
    let mut tail = served
        .room
        .namegate(&["tail", "--blocked", "--socket", "admin.sock"]);
    let mut tail = tail
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(tail.stdout.take().expect("piped")).lines();
    // It may take its place after the first of these.
    let asked = std::thread::scope(|scope| {
        let line = scope.spawn(|| lines.next().expect("a line").expect("text"));
        while !line.is_finished() {
            served.running.ask("github.com");
            served.running.ask("evil.example");
            std::thread::sleep(Duration::from_millis(50));
        }
        line.join().expect("a line")
    });
    has(
        &asked,
        &[" BLOCK 127.0.0.1 A     evil.example ", " not_listed ", "ms"],
    );
    drop(served);
    let ended = tail.wait_with_output().expect("it ends with the resolver");
    assert_eq!(ended.status.code(), Some(69));
    has(&String::from_utf8_lossy(&ended.stderr), &["the resolver"]);
}

#[test]
fn the_cache_is_emptied() {
    let served = Served::new();
    served.running.ask("github.com");
    has(
        &served.tell("cache flush"),
        &["flushed: 1 answer\n", "--- exit 0"],
    );
    has(&served.tell("cache flush"), &["flushed: 0 answers\n"]);
}

#[test]
fn wait_asks_at_the_socket() {
    let served = Served::new();
    let sha256 = served.json("status")["policy"]["sha256"]
        .as_str()
        .expect("a digest")
        .to_owned();
    let told = served.tell(&format!("policy wait --sha256 {sha256} --timeout 5s"));
    has(&told, &["policy test (npl_1) gen 1 sha256 ", "--- exit 0"]);
    let told = served.tell("policy wait --sha256 00000000 --timeout 1s");
    has(
        &told,
        &["not within 1s; it serves policy test", "--- exit 1"],
    );
}

#[test]
fn without_a_resolver_they_say_what_to_do() {
    let room = Room::new();
    for command in [
        "status",
        "blocked",
        "tail",
        "reload",
        "cache flush",
        "explain a.example",
    ] {
        let told = room.tell(&format!("{command} --socket gone.sock"));
        has(
            &told,
            &[
                "no resolver answers at gone.sock",
                "help: start it",
                "--- exit 69",
            ],
        );
        if !command.starts_with("explain") {
            let told = room.tell(command);
            has(&told, &["admin.socket is off", "--- exit 78"]);
        }
    }
    let told = room.tell("explain a.example --resolve --policy policy.json");
    has(&told, &["cannot be used with", "--- exit 2"]);
}

#[test]
fn the_remedy_for_a_list_points_into_the_list() {
    let room = Room::new();
    let other = document(&[])
        .replace("npl_1", "npl_0")
        .replace("\"test\"", "\"other\"");
    let list = format!(
        r#"{{"network_policies":[{other},{}],"has_more":false}}"#,
        document(&["github.com"])
    );
    room.write("list.json", &list);
    let args = "explain evil.example --policy list.json --policy-name test --format json";
    let told = room.tell(args);
    let line = told.lines().nth(1).expect("a line");
    let explained: Value = serde_json::from_str(line).expect("JSON");
    hold_to_schema("explain", &explained);
    let path = explained["fix"]["path"].as_str().expect("a remedy");
    assert_eq!(path, "/network_policies/1/egress/allowed_hostnames/-");
    let document: Value = serde_json::from_str(&list).expect("JSON");
    let list = document.pointer(path.trim_end_matches("/-"));
    assert_eq!(list, Some(&serde_json::json!(["github.com"])));
}

#[test]
fn an_audit_is_told_wherever_the_operator_looks() {
    let served = Served::run(&["--mode", "audit", "--audit-for", "2h"], &[]);
    assert_eq!(served.running.ask("evil.example"), "192.0.2.7");
    has(
        &served.tell("status"),
        &[
            "mode      audit  until 2",
            ": NOTHING IS ENFORCED\n",
            " 1 would be blocked, ",
        ],
    );
    has(
        &served.tell("explain evil.example"),
        &[
            "BLOCKED  evil.example\n",
            "mode     audit for another ",
            "--- exit 1",
        ],
    );
    let explained = served.json("explain evil.example");
    hold_to_schema("explain", &explained);
    assert_eq!(explained["mode"], "audit");
    assert_eq!(explained["seen"]["would_block"], 1);
    let (status, page) = served.running.page("/");
    assert_eq!(status, 200);
    has(
        &page,
        &[
            "audit until 2",
            "nothing is enforced",
            "<td class=\"name\">evil.example</td>",
        ],
    );
}
