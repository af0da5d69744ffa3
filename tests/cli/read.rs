//! The commands that read and explain, and the help of all.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::{Room, hold};
use crate::support::document;

pub(super) const WARNED: &str = r#"{
  "id": "npl_1",
  "name": "ci",
  "egress": {
    "allow_all": false,
    "allow_devbox_to_devbox": false,
    "allowed_hostnames": [
      "github.com",
      "*.npmjs.org",
      "registry.npmjs.org",
      "*.github.io",
      "dns.google"
    ],
    "allow_agent_gateway": true,
    "allow_mcp_gateway": false
  },
  "create_time_ms": 1,
  "update_time_ms": 1
}
"#;

const REFUSED: &str = r#"{
  "id": "npl_1",
  "name": "ci",
  "egress": {
    "allow_all": "no",
    "allow_devbox_to_devbox": false,
    "allowed_hostnames": [
      "https://registry.npmjs.org/",
      "*"
    ],
    "allow_agent_gateway": true
  },
  "creat_time_ms": 1,
  "create_time_ms": 1,
  "update_time_ms": 1
}
"#;

/// A room with a policy of each kind.
fn room() -> Room {
    let room = Room::new();
    room.write("warned.json", WARNED);
    room.write("refused.json", REFUSED);
    room.write(
        "ok.json",
        &document(&["registry.npmjs.org", "files.pythonhosted.org"]),
    );
    let alpha = document(&["registry.npmjs.org"])
        .replace("npl_1", "npl_a")
        .replace("\"test\"", "\"alpha\"");
    let beta = document(&[])
        .replace("npl_1", "npl_b")
        .replace("\"test\"", "\"beta\"");
    let list = format!(r#"{{"network_policies":[{alpha},{beta}],"has_more":false}}"#);
    room.write("list.json", &list);
    room
}

/// Help is kept as it is: its addresses and ports are what it says.
#[test]
fn help() {
    let room = Room::new();
    let mut told = String::new();
    for args in [
        "--help",
        "run --help",
        "demo --help",
        "exec --help",
        "check --help",
        "explain --help",
        "status --help",
        "blocked --help",
        "tail --help",
        "reload --help",
        "cache flush --help",
        "suggest --help",
        "doctor --help",
        "policy --help",
        "policy new --help",
        "policy show --help",
        "policy diff --help",
        "policy test --help",
        "policy unused --help",
        "policy add --help",
        "policy rm --help",
        "policy wait --help",
        "gen completions --help",
        "gen man --help",
    ] {
        let words: Vec<&str> = args.split(' ').collect();
        let output = room.namegate(&words).output().expect("the program starts");
        assert!(output.stderr.is_empty(), "help that was asked for is data");
        told += &format!("$ namegate {args}\n{}\n", super::said(&output));
    }
    hold("help", &told);
}

#[test]
fn version() {
    let told = Room::new().tell("--version");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        told,
        format!("$ namegate --version\nnamegate {version}\n--- exit 0\n")
    );
}

#[test]
fn usage_errors_end_with_2() {
    Room::new().check(
        "usage",
        &[
            "",
            "rum",
            "run --lisen 127.0.0.1:53",
            "exec true",
            "exec --allow github.com",
            "exec --allow github.com --policy policy.json true",
            "exec --allow github.com --audit --fail-fast true",
            "check --format yaml",
            "explain",
            "explain --type BOGUS github.com",
            "explain --type AXFR github.com",
            "explain a..b",
            "policy new",
            "policy add https://github.com/",
            "policy wait --sha256 12",
            "policy unused --since yesterday",
            "explain NP999",
        ],
    );
}

#[test]
fn check_in_text() {
    room().check(
        "check_text",
        &[
            "check --policy ok.json",
            "check --policy ok.json --strict",
            "check --policy warned.json",
            "check --policy refused.json",
        ],
    );
}

#[test]
fn warnings_fail_when_strict() {
    let told = room().tell("check --policy warned.json --strict");
    assert!(told.ends_with("--- exit 1\n"), "{told}");
}

#[test]
fn check_for_programs() {
    let formats = ["json", "github"];
    let policies = ["ok", "warned", "refused"];
    let commands: Vec<String> = formats
        .iter()
        .flat_map(|format| policies.map(|it| format!("check --policy {it}.json --format {format}")))
        .collect();
    let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
    room().check("check_programs", &commands);
}

#[test]
fn check_of_a_list() {
    room().check(
        "check_list",
        &[
            "check --policy list.json",
            "check --policy list.json --policy-id npl_a",
            "check --policy list.json --policy-name beta",
            "check --policy list.json --policy-name gamma",
        ],
    );
}

#[test]
fn check_of_what_is_not_there() {
    room().check(
        "check_missing",
        &[
            "check --policy nope.json",
            "check --config nope.toml",
            "check --policy .",
        ],
    );
}

#[test]
fn check_of_a_configuration() {
    let room = room();
    let faults = "[listen]\nadresses = [\"127.0.0.1:53\"]\n\n[blocked]\nttl = \"5 minutes\"\nancestors = \"nodat\"\n";
    room.write("faults.toml", faults);
    room.write(
        "patterns.toml",
        "[services]\nmirrors = [\"https://mirror.example/\"]\n",
    );
    room.write("nodata.toml", "[blocked]\nancestors = \"nodata\"\n");
    fs::create_dir(room.path("zones")).expect("a directory");
    room.write("zones/corp.zone", "$TTL 60\n@ NS ns\n");
    room.write("zones.toml", "[zones]\ndir = \"zones\"\n");
    room.check(
        "check_config",
        &[
            "check --config faults.toml --policy ok.json",
            "check --config patterns.toml --policy ok.json",
            "check --config zones.toml --policy ok.json",
            // Without the note about a cache in between: it is told what the note asks for.
            "check --config nodata.toml --policy ok.json",
        ],
    );
}

#[test]
fn check_of_a_file_that_anybody_may_write() {
    let room = room();
    let anybody = fs::Permissions::from_mode(0o666);
    fs::set_permissions(room.path("ok.json"), anybody).expect("our file");
    room.check(
        "check_writable",
        &[
            "check --policy ok.json",
            "check --policy ok.json --strict --format json",
            "check --policy ok.json --format github",
        ],
    );
}

#[test]
fn colour_is_for_who_asks() {
    let room = room();
    let colours = |args: &[&str]| {
        let output = room.namegate(args).output().expect("the program starts");
        output.stdout.contains(&0x1B)
    };
    assert!(!colours(&["check", "--policy", "warned.json"]));
    assert!(colours(&[
        "check",
        "--policy",
        "warned.json",
        "--color",
        "always"
    ]));
}

#[test]
fn explain() {
    room().check(
        "explain",
        &[
            "explain --policy warned.json GitHub.com. a.b.npmjs.org www.github.io gateway.runloop.ai",
            "explain --policy warned.json npmjs.org githib.com evil.example",
            "explain --policy warned.json github.com evil.example",
            "explain --policy warned.json localhost foo.local ipv4only.arpa",
            "explain --policy warned.json --type TYPE65280 github.com",
            "explain --policy warned.json --type ANY github.com",
            "explain --policy list.json --policy-name beta github.com",
        ],
    );
}

#[test]
fn explain_of_what_no_policy_can_list() {
    room().check(
        "explain_unlistable",
        &[
            "explain --policy warned.json https://github.com/x bücher.example 10.0.0.1 com",
            "explain --policy warned.json --format json 10.0.0.1",
        ],
    );
}

#[test]
fn explain_of_a_code() {
    room().check(
        "explain_code",
        &[
            "explain NP012 np031",
            "explain NP012 --format json",
            "explain --policy warned.json NP034 dns.google",
        ],
    );
}

#[test]
fn explain_follows_the_configuration() {
    let room = room();
    fs::create_dir(room.path("zones")).expect("a directory");
    let zone = "$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 10.0.0.1\n";
    room.write("zones/corp.internal.zone", zone);
    room.write(
        "config.toml",
        "[zones]\ndir = \"zones\"\n[blocked]\nancestors = \"nodata\"\ndnssec_ancestors = true\n\
         [[forward]]\nzone = \"cluster.local.\"\nservers = [\"udp://127.0.0.9\"]\nexempt = true\n",
    );
    room.check(
        "explain_config",
        &[
            "explain --config config.toml --policy warned.json ns.corp.internal a.cluster.local org internal",
            "explain --config config.toml --policy warned.json --type DS org",
        ],
    );
}

#[test]
fn explain_for_programs() {
    room().check(
        "explain_json",
        &["explain --policy warned.json --format json github.com npmjs.org localhost"],
    );
}

#[test]
fn explain_without_a_policy() {
    let room = room();
    assert!(
        room.tell("explain --policy nope.json x.com")
            .ends_with("--- exit 66\n")
    );
    assert!(
        room.tell("explain --policy refused.json x.com")
            .ends_with("--- exit 65\n")
    );
}

#[test]
fn a_new_policy_passes_its_check() {
    let room = Room::new();
    let args = [
        "policy",
        "new",
        "--name",
        "a \"b\"",
        "--allow",
        "registry.npmjs.org,*.npmjs.org",
        "pypi.org",
    ];
    let output = room.namegate(&args).output().expect("the program starts");
    hold("policy_new", &room.steady(&super::said(&output)));
    room.write(
        "new.json",
        &String::from_utf8(output.stdout).expect("UTF-8"),
    );
    let told = room.tell("check --policy new.json");
    assert!(
        told.contains("policy a \"b\" (local_a \"b\"), 3 names (2 exact, 1 wildcard)"),
        "{told}"
    );
    assert!(told.ends_with("--- exit 0\n"), "{told}");
}

#[test]
fn a_new_policy_without_names_allows_none() {
    let room = Room::new();
    let output = room
        .namegate(&["policy", "new", "--name", "none"])
        .output()
        .expect("the program starts");
    room.write(
        "new.json",
        &String::from_utf8(output.stdout).expect("UTF-8"),
    );
    let told = room.tell("check --policy new.json");
    assert!(
        told.contains("policy none (local_none), no names\n--- exit 0\n"),
        "{told}"
    );
}

#[test]
fn a_new_policy_of_what_is_no_name_is_refused() {
    Room::new().check(
        "policy_new_refused",
        &["policy new --name ci --allow https://x.com ok.example.com *"],
    );
}

#[test]
fn a_new_policy_of_bundles() {
    Room::new().check(
        "policy_new_bundle",
        &[
            "policy new --name ci --bundle python,npm --allow pypi.org",
            "policy new --name ci --bundle help",
        ],
    );
}

#[test]
fn a_variable_that_is_no_setting_is_mentioned() {
    let room = room();
    let mut command = room.namegate(&["check", "--policy", "ok.json"]);
    command
        .env("NAMEGATE_LOG_QUERY", "all")
        .env("NAMEGATE_POD", "7");
    let output = command.output().expect("the program starts");
    let notes = "note: NAMEGATE_LOG_QUERY is not a setting; did you mean NAMEGATE_LOG_QUERIES?";
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(stderr.lines().any(|it| it == notes), "{stderr}");
    assert!(
        stderr
            .lines()
            .any(|it| it == "note: NAMEGATE_POD is not a setting"),
        "{stderr}"
    );
    assert!(output.status.success());
}
