//! What a query log holds: which names were asked for, how often, and over which time.
//!
//! Lines of JSON come in as `docs/querylog.schema.json` has them; counts by name and type go out. A line
//! that is no record (the last one may be half written) is counted, never fatal by itself.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::{exit, printable, talk};
use super::{counted, unreadable};
use crate::wire::{Name, Type};

/// The event that a query leaves.
const QUERY: &str = "dns.query";
/// The rulings of those that alone are recorded by default.
const BLOCKED: [&str; 2] = ["blocked", "would_block"];

/// The queries of a log.
#[derive(Default)]
pub(super) struct Recorded {
    /// How often each question was asked.
    pub(super) questions: HashMap<(Name, Type), u64>,
    queries: u64,
    blocked: u64,
    /// The first and the last of them.
    span: Option<(SystemTime, SystemTime)>,
    /// Lines that are no records, and the first of them.
    strange: u64,
    strange_first: u64,
}

/// What is read of a record.
#[derive(Deserialize)]
struct Record {
    ts: String,
    event: String,
    verdict: Option<String>,
    name: Option<String>,
    r#type: Option<String>,
}

impl Recorded {
    /// Reads a log, or what of it is younger than `since`; the exit code, after it was told why, when it cannot.
    pub(super) fn read(file: &Path, since: Option<SystemTime>) -> Result<Self, u8> {
        let shown = printable(&file.display().to_string());
        let unread = |error: io::Error| {
            talk(&format!(
                "namegate: cannot read the query log {shown}: {error}"
            ));
            unreadable(&error)
        };
        let recorded = Self::from(open(file).map_err(unread)?, since).map_err(unread)?;
        if recorded.strange > 0 {
            let count = counted(recorded.strange, "line");
            let first = recorded.strange_first;
            talk(&format!(
                "note: {shown}:{first}: not a record of a query log ({count} in all)"
            ));
        }
        if recorded.strange > 0 && recorded.span.is_none() && since.is_none() {
            talk(&format!("namegate: {shown} is not a query log"));
            return Err(exit::BAD_POLICY);
        }
        Ok(recorded)
    }

    fn from(mut log: impl BufRead, since: Option<SystemTime>) -> io::Result<Self> {
        let mut recorded = Self::default();
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            if log.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            let Some((at, record)) = read(&line) else {
                if recorded.strange == 0 {
                    recorded.strange_first = number;
                }
                recorded.strange += 1;
                continue;
            };
            if since.is_none_or(|since| at >= since) {
                recorded.count(at, &record);
            }
        }
        Ok(recorded)
    }

    fn count(&mut self, at: SystemTime, record: &Record) {
        let (first, last) = self.span.unwrap_or((at, at));
        self.span = Some((first.min(at), last.max(at)));
        let question = record.name.as_ref().zip(record.r#type.as_ref());
        let question = question.map(|(name, kind)| (name.parse(), kind.parse()));
        let (QUERY, Some((Ok(name), Ok(kind)))) = (record.event.as_str(), question) else {
            return;
        };
        *self.questions.entry((name, kind)).or_default() += 1;
        self.queries += 1;
        let is_blocked = record
            .verdict
            .as_deref()
            .is_some_and(|it| BLOCKED.contains(&it));
        self.blocked += u64::from(is_blocked);
    }

    /// Was everything in it blocked? Then it says nothing about what is needed.
    pub(super) fn holds_blocked_only(&self) -> bool {
        self.queries > 0 && self.blocked == self.queries
    }

    /// When it begins.
    pub(super) fn begins(&self) -> Option<SystemTime> {
        self.span.map(|(first, _)| first)
    }

    /// `1204 queries from 2026-01-01T00:00:00Z to 2026-01-02T00:00:00Z (1day)`
    pub(super) fn summary(&self) -> String {
        let queries = counted(self.queries, "query");
        match self.span {
            None => "no queries".to_owned(),
            Some((first, last)) => {
                let [from, to] = [first, last].map(humantime::format_rfc3339_seconds);
                let long = in_words(last.duration_since(first).unwrap_or_default());
                format!("{queries} from {from} to {to} ({long})")
            }
        }
    }

    /// The same for programs.
    pub(super) fn json(&self) -> Value {
        let at = |at: SystemTime| humantime::format_rfc3339_millis(at).to_string();
        json!({
            "queries": self.queries,
            "from": self.span.map(|(first, _)| at(first)),
            "to": self.span.map(|(_, last)| at(last)),
            "blocked_only": self.holds_blocked_only(),
        })
    }
}

/// A length of time to the second.
pub(super) fn in_words(time: Duration) -> String {
    humantime::format_duration(Duration::from_secs(time.as_secs())).to_string()
}

fn open(file: &Path) -> io::Result<Box<dyn BufRead>> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    Ok(Box::new(BufReader::new(File::open(file)?)))
}

/// A record and its time.
fn read(line: &[u8]) -> Option<(SystemTime, Record)> {
    let record: Record = serde_json::from_slice(line).ok()?;
    let at = humantime::parse_rfc3339(&record.ts).ok()?;
    Some((at, record))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(ts: &str, verdict: &str, name: &str) -> String {
        format!(
            "{{\"v\":1,\"ts\":\"{ts}\",\"event\":\"dns.query\",\"verdict\":\"{verdict}\",\"name\":{name},\"type\":\"A\",\"more\":[]}}\n"
        )
    }

    #[test]
    fn questions_are_counted_and_the_rest_is_not() {
        let log = [
            "{\"v\":1,\"ts\":\"2026-01-01T00:00:00.000Z\",\"event\":\"start\",\"version\":\"0.1.0\"}\n",
            &line("2026-01-01T00:00:01.000Z", "blocked", "\"a.com\""),
            &line("2026-01-03T00:00:00.500Z", "allowed", "\"a.com\""),
            &line("2026-01-03T00:00:00.000Z", "allowed", "\"a\\\\.b.com\""),
            &line("2026-01-02T00:00:00.000Z", "error", "null"),
            "{\"v\":1,\"ts\":\"2026-01",
        ]
        .concat();
        let recorded = Recorded::from(log.as_bytes(), None).expect("memory");
        let count = |name: &str| recorded.questions[&(name.parse().expect(name), Type::A)];
        assert_eq!((count("a.com"), count("a\\.b.com")), (2, 1));
        assert_eq!((recorded.strange, recorded.strange_first), (1, 6));
        assert_eq!(
            recorded.summary(),
            "3 queries from 2026-01-01T00:00:00Z to 2026-01-03T00:00:00Z (2days)"
        );
        assert!(!recorded.holds_blocked_only());
    }

    #[test]
    fn what_is_older_does_not_count() {
        let log = line("2026-01-01T00:00:00.000Z", "allowed", "\"a.com\"")
            + &line("2026-01-02T00:00:00.000Z", "would_block", "\"b.com\"");
        let since = humantime::parse_rfc3339("2026-01-02T00:00:00Z").expect("a time");
        let recorded = Recorded::from(log.as_bytes(), Some(since)).expect("memory");
        assert_eq!(recorded.questions.len(), 1);
        assert_eq!(recorded.begins(), Some(since));
        assert!(recorded.holds_blocked_only());
    }
}
