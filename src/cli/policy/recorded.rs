//! What a query log holds: which names were asked for, how often, and over which time.
//!
//! A log comes in, read as `suggest` reads it; counts by name and type go out.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::super::querylog::{Findings, read_log};
use super::super::{counted, in_words, milliseconds, talk};
use crate::answer::{Reason, Ruling};
use crate::learn::{NAMES_MAX, Observation};
use crate::wire::{Name, Type};

/// The queries of a log.
#[derive(Default)]
pub(super) struct Recorded {
    /// How often each question was asked.
    pub(super) questions: HashMap<(Name, Type), u64>,
    queries: u64,
    blocked: u64,
    /// The first and the last of them, milliseconds since 1970.
    span_ms: Option<(u64, u64)>,
    /// Queries of questions that there was no room for.
    left_out: u64,
}

impl Recorded {
    /// Reads a log, or what of it is younger than `since`; the exit code, after it was told why, when it cannot.
    pub(super) fn read(file: &Path, since: Option<SystemTime>) -> Result<Self, u8> {
        let since_ms = since.map_or(0, milliseconds);
        let (mut recorded, mut findings) = (Self::default(), Findings::default());
        read_log(file, &mut findings, |it| recorded.add(&it, since_ms))?;
        findings.talk();
        if recorded.left_out > 0 {
            let more = counted(recorded.left_out, "query");
            talk(&format!(
                "warning: there are too many different names: {more} of later ones were not looked at"
            ));
        }
        Ok(recorded)
    }

    /// Counts a query that says when, for what and which type.
    fn add(&mut self, query: &Observation, since_ms: u64) {
        let Some((at_ms, kind)) = query.first_ms.zip(query.types.first()) else {
            return;
        };
        if at_ms < since_ms {
            return;
        }
        let (first, last) = self.span_ms.unwrap_or((at_ms, at_ms));
        self.span_ms = Some((first.min(at_ms), last.max(at_ms)));
        self.queries += 1;
        let ruling = query.reason.map(Reason::ruling);
        self.blocked += u64::from(ruling == Some(Ruling::Blocked));
        let question = (query.name, *kind);
        if self.questions.len() >= NAMES_MAX && !self.questions.contains_key(&question) {
            self.left_out += 1;
            return;
        }
        *self.questions.entry(question).or_default() += 1;
    }

    /// Was everything in it blocked? Then it says nothing about what is needed.
    pub(super) fn holds_blocked_only(&self) -> bool {
        self.queries > 0 && self.blocked == self.queries
    }

    /// When it begins.
    pub(super) fn begins(&self) -> Option<SystemTime> {
        self.span_ms.map(|(first, _)| at(first))
    }

    /// `1204 queries from 2026-01-01T00:00:00Z to 2026-01-02T00:00:00Z (1day)`
    pub(super) fn summary(&self) -> String {
        let queries = counted(self.queries, "query");
        match self.span_ms {
            None => "no queries".to_owned(),
            Some((first, last)) => {
                let [from, to] = [first, last].map(|it| humantime::format_rfc3339_seconds(at(it)));
                let long = in_words(Duration::from_millis(last - first));
                format!("{queries} from {from} to {to} ({long})")
            }
        }
    }

    /// The same for programs.
    pub(super) fn json(&self) -> Value {
        let at = |ms: u64| humantime::format_rfc3339_millis(at(ms)).to_string();
        json!({
            "queries": self.queries,
            "from": self.span_ms.map(|(first, _)| at(first)),
            "to": self.span_ms.map(|(_, last)| at(last)),
            "blocked_only": self.holds_blocked_only(),
        })
    }
}

/// A time that a record had.
fn at(ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::read_line;

    /// What is recorded of these: time, verdict's reason and name.
    fn recorded(queries: &[(&str, &str, &str)], since: Option<SystemTime>) -> Recorded {
        let mut recorded = Recorded::default();
        for (ts, reason, name) in queries {
            let line = format!(
                "{{\"ts\":\"{ts}\",\"event\":\"dns.query\",\"reason\":\"{reason}\",\"name\":\"{name}\",\"type\":\"A\"}}"
            );
            let query = read_line(line.as_bytes()).expect("a record");
            recorded.add(&query.expect("a query"), since.map_or(0, milliseconds));
        }
        recorded
    }

    #[test]
    fn questions_are_counted() {
        let log = recorded(
            &[
                ("2026-01-01T00:00:00.000Z", "not_listed", "a.com"),
                ("2026-01-03T00:00:00.500Z", "exact", "a.com"),
                ("2026-01-03T00:00:00.000Z", "exact", "a\\\\.b.com"),
            ],
            None,
        );
        let count = |name: &str| log.questions[&(name.parse().expect(name), Type::A)];
        assert_eq!((count("a.com"), count("a\\.b.com")), (2, 1));
        assert_eq!(
            log.summary(),
            "3 queries from 2026-01-01T00:00:00Z to 2026-01-03T00:00:00Z (2days)"
        );
        assert!(!log.holds_blocked_only());
    }

    #[test]
    fn what_is_older_does_not_count() {
        let queries = [
            ("2026-01-01T00:00:00.000Z", "exact", "a.com"),
            ("2026-01-02T00:00:00.000Z", "not_listed", "b.com"),
        ];
        let since = humantime::parse_rfc3339("2026-01-02T00:00:00Z").expect("a time");
        let log = recorded(&queries, Some(since));
        assert_eq!(log.questions.len(), 1);
        assert_eq!(log.begins(), Some(since));
        assert!(log.holds_blocked_only());
    }

    #[test]
    fn different_questions_have_an_end() {
        let mut recorded = Recorded::default();
        let line =
            br#"{"ts":"2026-01-01T00:00:00Z","event":"dns.query","name":"a.com","type":"A"}"#;
        let mut query = read_line(line).expect("a record").expect("a query");
        for n in 0..NAMES_MAX + 3 {
            query.name = format!("n{n}.example").parse().expect("a name");
            recorded.add(&query, 0);
        }
        assert_eq!(
            (recorded.questions.len(), recorded.left_out),
            (NAMES_MAX, 3)
        );
    }
}
