//! `policy test`: a policy held against what it must allow and must block.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use serde_json::json;

use super::super::querylog::unreadable;
use super::super::{configuration, exit, printable, say, shown, talk};
use super::args::TestArgs;
use super::judge_by;
use crate::daemon::Judge;
use crate::wire::{Name, Type};

pub(super) fn test(args: &TestArgs, color: clap::ColorChoice) -> Result<u8, u8> {
    let file = shown(&args.cases);
    let config = configuration(&args.beside.flags())?;
    let (judge, _) = judge_by(&args.policy, &config, color)?;
    let text = read(&args.cases, &file)?;
    let cases = cases(&text).map_err(|faults| refuse(&file, &faults))?;
    let mut told = format!("TAP version 14\n1..{}\n", cases.len());
    let mut failed = 0;
    for (case, number) in cases.iter().zip(1..) {
        let wrong = case.wrong(&judge, &args.policy);
        told += &case.told(number, &file, wrong.as_deref());
        failed += usize::from(wrong.is_some());
    }
    if failed > 0 {
        let _ = writeln!(told, "# failed {failed} of {}", cases.len());
    }
    say(&told);
    Ok(if failed > 0 { exit::FOUND } else { exit::OK })
}

fn read(path: &Path, file: &str) -> Result<String, u8> {
    let text = match path == Path::new("-") {
        true => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map(|_| text)
        }
        false => fs::read_to_string(path),
    };
    text.map_err(|error| {
        talk(&format!("namegate: cannot read the cases {file}: {error}"));
        match error.kind() == io::ErrorKind::InvalidData {
            true => exit::BAD_POLICY,
            false => unreadable(&error),
        }
    })
}

/// Cases that cannot be read test nothing, so none is tried.
fn refuse(file: &str, faults: &[Fault]) -> u8 {
    for fault in faults {
        let message = printable(&fault.message);
        talk(&format!("{file}:{}: error: {message}", fault.line));
    }
    exit::BAD_POLICY
}

/// What a name must be.
struct Case<'a> {
    line: usize,
    /// As written.
    typed: &'a str,
    name: Name,
    allowed: bool,
}

/// A line that is no case.
struct Fault {
    line: usize,
    message: String,
}

/// All cases, or all lines that are none.
fn cases(text: &str) -> Result<Vec<Case<'_>>, Vec<Fault>> {
    let (mut cases, mut faults) = (Vec::new(), Vec::new());
    for (line, text) in (1..).zip(text.lines()) {
        let words = text.split('#').next().unwrap_or_default();
        let words: Vec<&str> = words.split_whitespace().collect();
        match case(line, &words) {
            Ok(case) => cases.extend(case),
            Err(message) => faults.push(Fault { line, message }),
        }
    }
    if cases.is_empty() && faults.is_empty() {
        let message = "there is no case; write `allow NAME` or `block NAME`".to_owned();
        faults.push(Fault { line: 1, message });
    }
    if faults.is_empty() {
        Ok(cases)
    } else {
        Err(faults)
    }
}

fn case<'a>(line: usize, words: &[&'a str]) -> Result<Option<Case<'a>>, String> {
    let (verb, typed) = match words {
        [] => return Ok(None),
        [verb, typed] => (*verb, *typed),
        _ => return Err("a case is two words, `allow NAME` or `block NAME`".to_owned()),
    };
    let allowed = match verb {
        "allow" => true,
        "block" => false,
        _ => return Err(format!("{verb:?} is neither `allow` nor `block`")),
    };
    if typed.starts_with("*.") {
        return Err(format!(
            "{typed:?} is a pattern; write a name that it stands for"
        ));
    }
    let name = typed.parse();
    let name = name.map_err(|error| format!("{typed:?} is not a name: {error}"))?;
    Ok(Some(Case {
        line,
        typed,
        name,
        allowed,
    }))
}

impl Case<'_> {
    /// What the policy says, if that is not what it should.
    fn wrong(&self, judge: &Judge, policy: &Path) -> Option<String> {
        let opinion = judge.judge(&self.name, Type::A);
        let verdict = match opinion.allowed {
            same if same == self.allowed => return None,
            true => "allowed",
            false => "blocked",
        };
        let rule = judge.rule_text(&opinion);
        let rule = rule.split_whitespace().collect::<Vec<_>>().join(" ");
        let message = format!("{verdict} by {}: {rule}", policy.display());
        Some(printable(&message))
    }

    /// Its line of TAP, and a block of YAML below when it is wrong.
    fn told(&self, number: usize, file: &str, wrong: Option<&str>) -> String {
        let verb = if self.allowed { "allow" } else { "block" };
        // A number sign would begin a directive; there is none in a case's name, but a backslash may be.
        let typed = printable(self.typed).replace('\\', "\\\\");
        let line = format!("ok {number} - {verb} {typed}\n");
        let Some(wrong) = wrong else {
            return line;
        };
        // JSON's strings are YAML's, too.
        let (wrong, at) = (json!(wrong), json!(format!("{file}:{}", self.line)));
        format!("not {line}  ---\n  message: {wrong}\n  at: {at}\n  ...\n")
    }
}
