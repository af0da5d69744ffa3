//! What is shipped in `deploy/` is read by the code that it is shipped for.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use namegate::{config, policy};

/// The files of a kind, with their texts; at least one, or the check checks nothing.
fn shipped(kind: &str) -> Vec<(PathBuf, String)> {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let mut found = Vec::new();
    collect(&deploy, kind, &mut found);
    assert!(!found.is_empty(), "no {kind} file in deploy");
    found
}

fn collect(dir: &Path, kind: &str, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(dir).expect("deploy is a tree of directories") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, kind, found);
        } else if path.extension().is_some_and(|it| it == kind) {
            let text = fs::read_to_string(&path).expect("a text file");
            found.push((path, text));
        }
    }
}

/// The text of the fenced blocks of a language, in a page of Markdown.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let open = format!("```{language}\n");
    let starts = page.split(open.as_str()).skip(1);
    starts.filter_map(|rest| rest.split("```").next()).collect()
}

#[test]
fn every_toml_file_is_a_configuration() {
    for (path, text) in shipped("toml") {
        if let Err(error) = config::read(&path.display().to_string(), &text) {
            unreachable!("{error}");
        }
    }
}

#[test]
fn every_toml_block_of_a_page_is_a_configuration() {
    let pages = shipped("md");
    let all: Vec<_> = pages
        .iter()
        .flat_map(|(_, page)| blocks(page, "toml"))
        .collect();
    assert!(!all.is_empty());
    for text in all {
        assert!(config::read("block", text).is_ok(), "{text}");
    }
}

#[test]
fn every_policy_is_a_policy() {
    let policies = shipped("json").into_iter();
    let policies = policies.filter(|(path, _)| path.ancestors().all(|it| !it.ends_with("grafana")));
    for (path, text) in policies {
        let name = path.display().to_string();
        let read = policy::read(&name, text.as_bytes(), &policy::Select::Only);
        assert!(read.is_ok(), "{name}: {:?}", read.err());
        let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert!(document["egress"]["allow_all"] == false, "{name}");
    }
}

#[test]
fn every_panel_of_the_dashboard_asks_for_something_of_ours() {
    for (path, text) in shipped("json") {
        if !path.ends_with("grafana/namegate.json") {
            continue;
        }
        let board: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let panels = board["panels"].as_array().expect("panels");
        let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
        assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
        for panel in panels {
            let asked = panel["targets"][0]["expr"].as_str().expect("a query");
            assert!(asked.contains("namegate_"), "{asked}");
        }
        return;
    }
    unreachable!("there is no dashboard");
}

#[test]
fn every_link_of_a_page_leads_somewhere() {
    for (path, page) in shipped("md") {
        let links = page
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        for link in links {
            let target = path.parent().expect("a page lies somewhere").join(link);
            assert!(target.exists(), "{}: {link}", path.display());
        }
    }
}

#[test]
fn every_service_restarts_but_for_what_a_restart_cannot_mend() {
    for (path, unit) in shipped("service") {
        let line = unit
            .lines()
            .find_map(|it| it.strip_prefix("RestartPreventExitStatus="));
        let codes: Vec<u8> = line
            .unwrap_or_default()
            .split(' ')
            .flat_map(str::parse)
            .collect();
        let kinds = [
            config::Kind::Missing,
            config::Kind::NoPermission,
            config::Kind::Bad,
        ];
        for kind in kinds {
            assert!(
                codes.contains(&kind.exit_code()),
                "{}: {kind:?}",
                path.display()
            );
        }
    }
}

#[test]
fn the_sockets_of_systemd_are_the_addresses_of_the_configuration_over_both_transports() {
    let (_, unit) = &shipped("socket")[0];
    let listed = |setting: &str| -> Vec<std::net::SocketAddr> {
        let values = unit.lines().filter_map(|line| line.strip_prefix(setting));
        values.map(|it| it.parse().expect("an address")).collect()
    };
    let addresses = config::Config::default().listen.addresses;
    assert_eq!(listed("ListenDatagram="), addresses);
    assert_eq!(listed("ListenStream="), addresses);
    let (_, dropin) = &shipped("conf")[0];
    for taken in ["AmbientCapabilities=", "CapabilityBoundingSet="] {
        assert!(dropin.lines().any(|line| line == taken), "{taken}");
    }
}
