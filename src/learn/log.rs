//! A line of the query log, or what a running resolver remembers, as observations.
//!
//! Octets of one line come in, an [`Observation`] goes out, nothing for a line
//! that speaks of something else, or why it is not a line of the log. Fields
//! that are not known here are passed over; no part of a bad line is repeated.

use std::net::IpAddr;
use std::time::SystemTime;

use serde::Deserialize;

use super::Observation;
use crate::answer::{Reason, Ruling};
use crate::wire::{Name, Type};

/// The longest line that is read: a record with a name of 253 escaped octets and every field has a quarter of it.
pub const LINE_OCTETS_MAX: usize = 16 << 10;

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    event: Option<String>,
    #[serde(default)]
    ts: Option<String>,
    #[serde(default)]
    verdict: Option<String>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    client: Option<String>,
}

/// Reads a line without its end. None: it says nothing of a name.
///
/// # Errors
/// Why it is no line of a query log, in a few words.
pub fn read_line(line: &[u8]) -> Result<Option<Observation>, &'static str> {
    if line.trim_ascii().is_empty() {
        return Ok(None);
    }
    if line.len() > LINE_OCTETS_MAX {
        return Err("longer than any record");
    }
    let line: Line = serde_json::from_slice(line).map_err(|_| "not a JSON record")?;
    match line.event.as_deref() {
        Some("dns.query") => observation(line),
        Some(_) => Ok(None),
        None => Err("a record without an event"),
    }
}

#[derive(Deserialize)]
struct Trail {
    names: Vec<Remembered>,
}

#[derive(Deserialize)]
struct Remembered {
    name: String,
    reason: String,
    types: Vec<String>,
    count: u64,
    first: String,
    last: String,
    client: Option<String>,
}

/// Reads the page `/v1/trail` of a running resolver.
///
/// # Errors
/// Why it is no such page, in a few words.
pub fn read_trail(page: &[u8]) -> Result<Vec<Observation>, &'static str> {
    let trail: Trail = serde_json::from_slice(page).map_err(|_| "not what a resolver remembers")?;
    trail.names.into_iter().map(remembered).collect()
}

fn remembered(it: Remembered) -> Result<Observation, &'static str> {
    let types: Result<Vec<Type>, ()> = it.types.iter().map(|kind| kind.parse()).collect();
    let at = |text: &str| milliseconds(text).ok_or("its time is not a time");
    Ok(Observation {
        name: it.name.parse().map_err(|_| "its name is not a name")?,
        types: types.map_err(|()| "its type is not a type")?,
        count: it.count,
        first_ms: Some(at(&it.first)?),
        last_ms: Some(at(&it.last)?),
        reason: reason_of(&it.reason),
        client: it.client.and_then(|it| it.parse().ok()),
    })
}

fn reason_of(word: &str) -> Option<Reason> {
    Reason::ALL.into_iter().find(|it| it.word() == word)
}

fn observation(line: Line) -> Result<Option<Observation>, &'static str> {
    // Names that could not be read, and clients that were sent away.
    let refused = line.verdict.as_deref() == Some(Ruling::Refused.word());
    let Some(name) = line.name.filter(|_| !refused) else {
        return Ok(None);
    };
    let name: Name = name.parse().map_err(|_| "its name is not a name")?;
    let kind = line.kind.map(|it| it.parse());
    let kind = kind.transpose().map_err(|()| "its type is not a type")?;
    let at = line
        .ts
        .map(|it| milliseconds(&it).ok_or("its time is not a time"));
    let at = at.transpose()?;
    let word = line.reason.unwrap_or_default();
    Ok(Some(Observation {
        name,
        types: kind.into_iter().collect(),
        count: 1,
        first_ms: at,
        last_ms: at,
        reason: reason_of(&word),
        client: line.client.and_then(|it| it.parse::<IpAddr>().ok()),
    }))
}

fn milliseconds(text: &str) -> Option<u64> {
    let at = humantime::parse_rfc3339(text).ok()?;
    let since = at.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Type;

    const RECORD: &str = r#"{"v":1,"ts":"1970-01-01T00:00:01.500Z","event":"dns.query","verdict":"blocked","reason":"not_listed","name":"registry.npmjs.org","type":"AAAA","rcode":"NXDOMAIN","client":"10.0.3.7","client_port":41822,"proto":"udp","policy_id":"npl_123","policy_gen":42,"matched":null,"source":"policy","dur_us":38,"box":"dbx_9","labels":{"account":"acme"}}"#;

    #[track_caller]
    fn refused(line: &str, why: &str) {
        assert_eq!(read_line(line.as_bytes()), Err(why), "{line}");
    }

    #[test]
    fn a_record_is_read_whatever_else_it_says() {
        let seen = read_line(RECORD.as_bytes())
            .expect("a record")
            .expect("a query");
        assert_eq!(seen.name.to_string(), "registry.npmjs.org");
        assert_eq!((seen.types.as_slice(), seen.count), (&[Type::AAAA][..], 1));
        assert_eq!((seen.first_ms, seen.last_ms), (Some(1500), Some(1500)));
        assert_eq!(seen.reason, Some(Reason::NotListed));
        assert_eq!(seen.client, "10.0.3.7".parse().ok());
    }

    #[test]
    fn words_of_later_versions_are_no_fault() {
        let line = RECORD
            .replace("not_listed", "later")
            .replace("blocked", "would_block");
        let seen = read_line(line.as_bytes())
            .expect("a record")
            .expect("a query");
        assert_eq!(seen.reason, None);
    }

    #[test]
    fn what_is_not_about_a_name_is_passed_over() {
        for line in [
            "",
            "  ",
            r#"{"event":"start","version":"1"}"#,
            r#"{"event":"dns.query","name":null}"#,
        ] {
            assert_eq!(read_line(line.as_bytes()), Ok(None), "{line}");
        }
        let sent_away = RECORD.replace("blocked", "refused");
        assert_eq!(read_line(sent_away.as_bytes()), Ok(None));
    }

    #[test]
    fn what_is_no_record_is_told() {
        refused(&RECORD[..RECORD.len() - 9], "not a JSON record");
        refused("[1]", "not a JSON record");
        refused("{}", "a record without an event");
        refused(
            &RECORD.replace("npmjs.", "npmjs.."),
            "its name is not a name",
        );
        refused(&RECORD.replace("AAAA", "A A"), "its type is not a type");
        refused(&RECORD.replace("1970", "later"), "its time is not a time");
        refused(&RECORD.replace("npmjs", "\u{1}"), "not a JSON record");
        refused(
            &RECORD.replace("npl_123", &"x".repeat(LINE_OCTETS_MAX)),
            "longer than any record",
        );
        assert_eq!(read_line(b"{\"event\":\"\xff\"}"), Err("not a JSON record"));
    }
}
