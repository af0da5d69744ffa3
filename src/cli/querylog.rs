//! The one reader of query logs: for every command that looks at what was asked.
//!
//! A file or standard input comes in, line by line, with an end to each line's length; observations go out, and
//! what is no record, which is never fatal by itself: the last line may be half written.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde_json::{Value, json};

use super::{exit, shown, talk};
use crate::learn::{LINE_OCTETS_MAX, Observation, read_line};

/// Bad lines that are told one by one.
const FINDINGS_SHOWN: usize = 5;
/// Bad lines that are kept for programs.
const FINDINGS_MAX: usize = 100;

/// Lines that are none of a log's.
#[derive(Default)]
pub(super) struct Findings {
    found: Vec<Finding>,
    total: usize,
}

struct Finding {
    log: String,
    line: u64,
    message: &'static str,
}

/// Reads a log, `-` for standard input, and takes what it says of names. The exit code, after it was told why, when it
/// cannot be read or holds no record at all, but other things.
pub(super) fn read_log(
    log: &Path,
    findings: &mut Findings,
    take: impl FnMut(Observation),
) -> Result<(), u8> {
    let before = findings.total;
    let read = match log.as_os_str() == "-" {
        true => read(log, io::stdin().lock(), findings, take),
        false => File::open(log).and_then(|it| read(log, BufReader::new(it), findings, take)),
    };
    let name = shown(log);
    match read {
        Ok(records) if records == 0 && findings.total > before => {
            findings.talk();
            talk(&format!("namegate: {name} is not a query log"));
            Err(exit::BAD_POLICY)
        }
        Ok(_) => Ok(()),
        Err(error) => {
            findings.talk();
            talk(&format!(
                "namegate: cannot read the query log {name}: {error}"
            ));
            Err(unreadable(&error))
        }
    }
}

/// The exit code for a file that cannot be read.
pub(super) fn unreadable(error: &io::Error) -> u8 {
    match error.kind() == io::ErrorKind::PermissionDenied {
        true => exit::FORBIDDEN,
        false => exit::MISSING,
    }
}

/// Returns how many lines were records.
fn read(
    log: &Path,
    mut from: impl BufRead,
    findings: &mut Findings,
    mut take: impl FnMut(Observation),
) -> io::Result<u64> {
    let mut records = 0;
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if !take_line(&mut from, &mut line)? {
            break;
        }
        let is_whole = line.last() == Some(&b'\n');
        let line = line.trim_ascii_end();
        match read_line(line) {
            Ok(observation) => {
                records += u64::from(!line.is_empty());
                observation.into_iter().for_each(&mut take);
            }
            // Somebody is still writing it.
            Err(_) if !is_whole => findings.add(log, number, "the last line is cut off"),
            Err(message) => findings.add(log, number, message),
        }
    }
    Ok(records)
}

/// Takes a line with its end; of one that is longer than any record, only that much. False: there is no more.
fn take_line(from: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    let mut any = false;
    loop {
        let octets = from.fill_buf()?;
        if octets.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = octets.iter().position(|it| *it == b'\n');
        let taken = end.map_or(octets.len(), |at| at + 1);
        let room = (LINE_OCTETS_MAX + 1).saturating_sub(line.len());
        line.extend_from_slice(&octets[..taken.min(room)]);
        from.consume(taken);
        if end.is_some() {
            // A line that was cut here has its end all the same.
            if line.last() != Some(&b'\n') {
                line.push(b'\n');
            }
            return Ok(true);
        }
    }
}

impl Findings {
    fn add(&mut self, log: &Path, line: u64, message: &'static str) {
        self.total += 1;
        if self.found.len() < FINDINGS_MAX {
            let log = shown(log);
            self.found.push(Finding { log, line, message });
        }
    }

    pub(super) fn talk(&self) {
        for Finding { log, line, message } in self.found.iter().take(FINDINGS_SHOWN) {
            talk(&format!("note: {log}:{line}: {message}"));
        }
        if let more @ 1.. = self.total.saturating_sub(FINDINGS_SHOWN) {
            talk(&format!("note: and {more} more lines that are no records"));
        }
    }

    pub(super) fn json(&self) -> Value {
        let found = self.found.iter();
        found
            .map(|it| json!({"log": it.log, "line": it.line, "message": it.message}))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_an_end_and_long_ones_do_not_fill_the_memory() {
        let long = "x".repeat(LINE_OCTETS_MAX * 3);
        let text = format!("a\n{long}\nb");
        let mut from = BufReader::with_capacity(7, text.as_bytes());
        let mut take = || {
            let mut line = Vec::new();
            take_line(&mut from, &mut line)
                .expect("read")
                .then_some(line)
        };
        assert_eq!(take().as_deref(), Some(&b"a\n"[..]));
        assert_eq!(take().map(|it| it.len()), Some(LINE_OCTETS_MAX + 2));
        assert_eq!(take().as_deref(), Some(&b"b"[..]));
        assert_eq!(take(), None);
    }

    #[test]
    fn records_are_taken_and_the_rest_is_found() {
        let text =
            "{\"event\":\"start\"}\n\nno\n{\"event\":\"dns.query\",\"name\":\"a.com\"}\n{\"eve";
        let (mut findings, mut names) = (Findings::default(), Vec::new());
        let log = Path::new("log");
        let records = read(log, text.as_bytes(), &mut findings, |it| {
            names.push(it.name.to_string());
        });
        assert_eq!(records.expect("memory"), 2);
        assert_eq!(names, ["a.com"]);
        let found = findings.found.iter().map(|it| (it.line, it.message));
        let expected = [(3, "not a JSON record"), (5, "the last line is cut off")];
        assert!(found.eq(expected));
    }
}
