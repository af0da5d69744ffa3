//! Completions and man pages: they are made without a shell, and read by those that are there.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use super::{Room, skip};

/// Runs a program over a text, if it is there; its exit and what it says on stderr.
fn read_by(program: &str, args: &[&str], text: &str) -> Option<(bool, String)> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped());
    let spawned = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let Ok(mut child) = spawned else {
        skip(&format!("{program} is not here"));
        return None;
    };
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(text.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Some((output.status.success(), stderr))
}

fn said(room: &Room, args: &[&str]) -> String {
    let output = room.namegate(args).output().expect("the program starts");
    assert!(output.status.success() && output.stderr.is_empty());
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn completions_know_every_command_and_their_shells_read_them() {
    let room = Room::new();
    for (shell, check) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let text = said(&room, &["gen", "completions", shell]);
        for word in ["explain", "unused", "policy-name", "dry-run"] {
            assert!(text.contains(word), "{shell} completes no {word}");
        }
        if let Some(read) = read_by(shell, &[check], &text) {
            assert_eq!(read, (true, String::new()), "{shell}");
        }
    }
}

#[test]
fn every_command_has_a_man_page_that_man_reads() {
    let room = Room::new();
    let told = room.tell("gen man --dir .");
    assert!(told.ends_with("--- exit 0\n"), "{told}");
    for page in ["namegate", "namegate-run", "namegate-policy-diff"] {
        let text = fs::read_to_string(room.path(&format!("{page}.1"))).expect(page);
        assert!(text.contains(".SH SYNOPSIS"), "{page}");
        // The reader needs to be told that it may warn; it has then nothing to warn of.
        let args = ["--warnings=w", "-l", "-"];
        if let Some((is_read, warnings)) = read_by("man", &args, &text) {
            assert!(is_read, "{page}: {warnings}");
        }
    }
    assert!(!room.path("namegate-gen.1").exists(), "it is hidden");
}

#[test]
fn the_page_on_stdout_is_the_program_s() {
    let text = said(&Room::new(), &["gen", "man"]);
    assert!(text.contains(".TH namegate 1"), "{text}");
}

#[test]
fn a_directory_that_is_not_there_is_told() {
    let told = Room::new().tell("gen man --dir nowhere");
    assert!(told.contains("cannot write to nowhere"), "{told}");
    assert!(told.ends_with("--- exit 71\n"), "{told}");
}
