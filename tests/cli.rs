//! The built program as its users meet it: what it prints, what it ends with, what signals do to it.
//!
//! Each test has a directory of its own and starts the binary there with no
//! environment but PATH. What is printed is held against `tests/cli/*.txt`;
//! `BLESS=1` writes those anew. Traffic stays on loopback.

mod admin;
mod audit;
mod demo;
mod doctor;
mod generate;
mod policy;
mod process;
mod read;
mod run;
mod suggest;
mod supervisor;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::document;

/// What differs from run to run: the number behind each of these, of so many digits at least.
const VOLATILE: [(&str, usize); 5] = [
    // A port of the kernel's choice; those of ours have fewer digits.
    ("127.0.0.1:", 5),
    ("(pid ", 1),
    ("after ", 1),
    ("create_time_ms\": ", 2),
    ("update_time_ms\": ", 2),
];

/// A directory with what a test needs in it.
struct Room(tempfile::TempDir);

impl Room {
    /// With a policy that allows `github.com` and all below `npmjs.org`.
    fn new() -> Self {
        let room = Self(tempfile::tempdir().expect("a directory"));
        room.write("policy.json", &document(&["github.com", "*.npmjs.org"]));
        room
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file as programs should: beside it, then renamed.
    fn write(&self, name: &str, text: &str) {
        let fresh = self.path("fresh");
        fs::write(&fresh, text).expect("a file");
        fs::rename(fresh, self.path(name)).expect("the same directory");
    }

    /// A command to be run here, without an environment.
    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(self.0.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("TMPDIR", self.0.path())
            // The machine may have a namegate of its own.
            .env("NAMEGATE_BLOCKED_FILE", "")
            .env("NAMEGATE_ADMIN_SOCKET", "")
            .stdin(Stdio::null());
        command
    }

    fn namegate(&self, args: &[&str]) -> Command {
        self.command(env!("CARGO_BIN_EXE_namegate"), args)
    }

    /// Runs it to its end; the command line, what it said, and its exit code. One that goes on where it should not
    /// is ended by timeout(1), with 124.
    fn tell(&self, args: &str) -> String {
        let mut words = vec!["60", env!("CARGO_BIN_EXE_namegate")];
        words.extend(args.split_whitespace());
        self.told(args, &mut self.command("timeout", &words))
    }

    fn told(&self, args: &str, command: &mut Command) -> String {
        let output = command.output().expect("the program starts");
        self.steady(&format!("$ namegate {args}\n{}", said(&output)))
    }

    /// A text without what differs from run to run.
    fn steady(&self, text: &str) -> String {
        let here = self.0.path().to_str().expect("a UTF-8 path");
        let text = text.replace(here, "DIR").replace(&program(), "PROGRAM");
        VOLATILE.iter().fold(text, |text, (before, digits)| {
            numberless(&text, before, *digits)
        })
    }

    /// Holds what several command lines print against `tests/cli/NAME.txt`.
    #[track_caller]
    fn check(&self, name: &str, commands: &[&str]) {
        let told: Vec<String> = commands.iter().map(|args| self.tell(args)).collect();
        hold(name, &told.join("\n"));
    }
}

/// stdout, stderr under its title, and the exit code.
fn said(output: &Output) -> String {
    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).expect("UTF-8");
    let mut said = text(&output.stdout);
    if !output.stderr.is_empty() {
        said += &format!("--- stderr\n{}", text(&output.stderr));
    }
    match output.status.code() {
        Some(code) => said + &format!("--- exit {code}\n"),
        None => said + "--- killed\n",
    }
}

/// The name of the program that runs the tests, as the kernel has it.
fn program() -> String {
    let name = fs::read_to_string("/proc/self/comm").expect("/proc");
    name.trim().to_owned()
}

/// The text with N for every number that stands behind `before` and has so many digits or more.
fn numberless(text: &str, before: &str, digits: usize) -> String {
    let mut parts = text.split(before);
    let mut steady = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        let is_volatile = part.len() - rest.len() >= digits;
        let kept = if is_volatile { ["N", rest] } else { ["", part] };
        steady += before;
        steady.extend(kept);
    }
    steady
}

/// Holds a text against the one that is kept, or keeps it with `BLESS=1`.
#[track_caller]
fn hold(name: &str, text: &str) {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/cli/{name}.txt"));
    if std::env::var_os("BLESS").is_some() {
        fs::write(kept, text).expect("tests/cli is writable");
        return;
    }
    let expected = fs::read_to_string(&kept).unwrap_or_default();
    assert!(
        text == expected,
        "{}, expected:\n{expected}\ngot:\n{text}\nrun with BLESS=1 to keep it",
        kept.display()
    );
}

/// Holds what a command prints for programs against its published schema: a file below docs/, or a part of one.
#[track_caller]
fn hold_to_schema(schema: &str, command: &str, printed: &[u8]) {
    let (file, part) = schema.split_once('#').unwrap_or((schema, ""));
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(file);
    let text = fs::read_to_string(path).expect(file);
    let whole: Value = serde_json::from_str(&text).expect("the schema is JSON");
    let schema = match part {
        "" => whole,
        part => json!({ "$ref": format!("#{part}"), "$defs": whole["$defs"] }),
    };
    let schema = jsonschema::validator_for(&schema).expect("the schema is a schema");
    let report: Value = serde_json::from_slice(printed).expect(command);
    let faults: Vec<String> = schema
        .iter_errors(&report)
        .map(|it| format!("{}: {it}", it.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{command}: {faults:#?}");
    assert!(
        !schema.is_valid(&json!({ "v": 1 })),
        "it asks for something"
    );
}

/// A test that cannot be made here says so past the capture of its output.
fn skip(why: &str) {
    drop(writeln!(std::io::stderr(), "SKIPPED: {why}"));
}

#[test]
fn numbers_are_replaced_where_they_differ() {
    let steady = numberless("a 127.0.0.1:40123, 127.0.0.1:53 and 40123", "127.0.0.1:", 5);
    assert_eq!(steady, "a 127.0.0.1:N, 127.0.0.1:53 and 40123");
}
