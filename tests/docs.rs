//! The guides show what the program does: their console blocks are run, and what they print is what is shown.
//!
//! In a `console` block a line that begins with `$ ` is run by a shell; the lines below it are what it says on
//! standard output. The blocks of one page share a directory, in which `seen.jsonl` is a recorded query log. What stands in the other blocks needs a network.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// What `pip install` asks for on a machine with a search list.
const SEEN: &str = "tests/data/suggest/pip-office.jsonl";

/// Runs a page's console blocks in order.
#[track_caller]
fn run(page: &str) {
    let room = tempfile::tempdir().expect("a directory");
    fs::copy(SEEN, room.path().join("seen.jsonl")).expect(SEEN);
    let text = fs::read_to_string(page).expect(page);
    let mut commands = 0;
    for block in text.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        for step in block.split("$ ").filter(|it| !it.is_empty()) {
            let (command, expected) = step.split_once('\n').unwrap_or((step, ""));
            assert_eq!(said(room.path(), command), expected, "{page}: {command}");
            commands += 1;
        }
    }
    assert!(commands > 3, "{page}: {commands} commands");
}

/// What a shell command prints on standard output.
fn said(directory: &Path, command: &str) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_namegate"));
    let beside = program.parent().expect("a directory").display();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("sh")
        .args(["-c", command])
        .current_dir(directory)
        .env_clear()
        .env("PATH", format!("{beside}:{path}"))
        .stdin(Stdio::null())
        .output()
        .expect("a shell");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn the_developer_s_page_is_true() {
    run("docs/DEVELOPER.md");
}

#[test]
fn the_platform_engineer_s_page_is_true() {
    run("docs/PLATFORM.md");
}

#[test]
fn what_is_read_inside_a_box_widens_nothing() {
    let page = fs::read_to_string("docs/BLOCKED.md").expect("the page");
    for way in [
        "policy add",
        "policy new",
        "suggest",
        "allow_all",
        "--allow",
        "namegate run",
        "8.8.8.8",
        "1.1.1.1",
        "audit",
    ] {
        assert!(!page.contains(way), "docs/BLOCKED.md shows {way:?}");
    }
}

#[test]
fn every_link_of_a_guide_leads_somewhere() {
    for page in ["DEVELOPER", "PLATFORM", "OPERATING", "BLOCKED", "SUGGEST"] {
        let text = fs::read_to_string(format!("docs/{page}.md")).expect(page);
        let links = text.split("](").skip(1);
        for link in links.filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            let is_web = link.starts_with("https://");
            assert!(
                is_web || Path::new("docs").join(file).exists(),
                "{page}: {link}"
            );
        }
    }
}
