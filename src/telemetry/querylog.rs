//! The query log: one line of JSON for each query that is wanted, and for each
//! reload, start and stop.
//!
//! Records come in on the writer's thread, which alone formats and writes. When
//! the sink fails, what was to be written is dropped and counted.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;
use std::{fmt, io};

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use super::nearest::Nearest;
use super::queue::Record;
use super::reloads::{Generation, Reloads};
use super::sink::{Out, is_torn};
use super::trail::Decision;
use crate::answer::{Outcome, Reason, Ruling};
use crate::config::{ClientIp, Log, Queries, Sink};
use crate::wire::{Name, Rcode, Type};

/// The version of the records; it rises when a field goes or changes its meaning.
pub(super) const VERSION: u8 = 1;
/// Octets that are written at once.
const BATCH_OCTETS: usize = 64 << 10;

/// Both sides' counts.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) written: AtomicU64,
    pub(super) dropped: AtomicU64,
}

/// The log, in the hands of the writer.
pub(super) struct QueryLog {
    queries: Queries,
    tally: Arc<Tally>,
    sink: Sink,
    client_ip: ClientIp,
    out: Out,
    nearest: Nearest,
    /// Whole lines.
    batch: Vec<u8>,
    state: State,
}

/// What the writer remembers from one batch to the next.
#[derive(Default)]
struct State {
    /// A line was cut off, by an error or in the life before, and the next one must not continue it.
    is_torn: bool,
    /// The last write failed, and that was said.
    is_failing: bool,
    /// A full channel was seen, and that was said.
    drops_said: bool,
}

impl QueryLog {
    /// Opens the sink.
    pub(super) fn open(log: &Log, tally: Arc<Tally>) -> io::Result<Self> {
        Ok(Self {
            queries: log.queries,
            tally,
            out: Out::open(&log.sink)?,
            sink: log.sink.clone(),
            client_ip: log.client_ip,
            nearest: Nearest::new(Instant::now()),
            batch: Vec::with_capacity(BATCH_OCTETS),
            state: State {
                is_torn: is_torn(&log.sink),
                ..State::default()
            },
        })
    }

    /// Logs a query, if that is wanted.
    pub(super) fn query(&mut self, record: &Record, reloads: &Reloads) {
        if !is_wanted(self.queries, record.outcome) {
            return;
        }
        let generation = reloads.generation(record.generation);
        let nearest = match (&record.name, &generation) {
            (Some(name), Some(it)) if record.outcome.reason == Reason::NotListed => {
                self.nearest.of(name, it, Instant::now())
            }
            _ => None,
        };
        let line = Line {
            nearest,
            ..Line::new(record, generation.as_deref(), self.client_ip)
        };
        serde_json::to_writer(&mut self.batch, &line).expect("a line is strings and numbers");
        self.end_line();
    }

    /// Logs something else, given as one line of JSON.
    pub(super) fn event(&mut self, line: &str) {
        self.batch.extend_from_slice(line.as_bytes());
        self.end_line();
    }

    fn end_line(&mut self) {
        self.batch.push(b'\n');
        if self.batch.len() >= BATCH_OCTETS {
            self.flush();
        }
    }

    /// Writes what was logged so far.
    pub(super) fn flush(&mut self) {
        self.mention_drops();
        let (written, result) = self.write();
        let (kept, lost) = self.batch.split_at(written);
        self.tally.written.fetch_add(lines(kept), Relaxed);
        self.tally.dropped.fetch_add(lines(lost), Relaxed);
        self.state.is_torn |= kept.last().is_some_and(|it| *it != b'\n');
        self.batch.clear();
        match result {
            Ok(()) => self.state.is_failing = false,
            Err(_) if self.state.is_failing => (),
            // It is there, and slow: what is lost is counted, and said once.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
            Err(error) => {
                self.state.is_failing = true;
                tracing::warn!(%error, "the query log cannot be written; its records are dropped and counted");
            }
        }
    }

    /// Writes the batch. Returns how much of it was written, also when an error ended it.
    fn write(&mut self) -> (usize, io::Result<()>) {
        if let Err(error) = self.begin() {
            return (0, Err(error));
        }
        let mut written = 0;
        while written < self.batch.len() {
            match self.out.write(&self.batch[written..]) {
                Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
                Ok(octets) => written += octets,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => return (written, Err(error)),
            }
        }
        (written, Ok(()))
    }

    /// Ends a line that was cut off, for a reader that has its beginning.
    fn begin(&mut self) -> io::Result<()> {
        let is_new_reader = self.out.prepare()?;
        if self.state.is_torn && !is_new_reader && self.out.write(b"\n")? == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.state.is_torn = false;
        Ok(())
    }

    fn mention_drops(&mut self) {
        if self.state.drops_said || self.tally.dropped.load(Relaxed) == 0 {
            return;
        }
        self.state.drops_said = true;
        if !self.state.is_failing {
            tracing::warn!("the query log's sink is too slow; records are dropped and counted");
        }
    }

    /// Opens the file anew: its name may have been given to another one. The old file is kept where that cannot be done.
    pub(super) fn reopen(&mut self) {
        self.flush();
        match Out::open(&self.sink) {
            Ok(out) => {
                self.out = out;
                self.state.is_torn = is_torn(&self.sink);
                self.state.is_failing = false;
            }
            Err(error) => tracing::warn!(%error, "the query log's file cannot be opened anew"),
        }
    }
}

/// A decision as a record of the log, with all of the client's address.
pub(super) fn line_of(decision: &Decision, generation: Option<&Generation>) -> String {
    let record = Record {
        at: decision.at,
        name: Some(decision.name),
        kind: decision.kind,
        transport: decision.transport,
        client: decision.client,
        outcome: decision.outcome,
        rule: None,
        generation: decision.generation,
        took: decision.took,
        ttl_s: decision.ttl_s,
    };
    let line = Line {
        matched: decision.matched.clone(),
        ..Line::new(&record, generation, ClientIp::Full)
    };
    serde_json::to_string(&line).expect("a line is strings and numbers")
}

/// Does the log hold queries that end like this?
pub(super) fn is_wanted(queries: Queries, outcome: Outcome) -> bool {
    match queries {
        Queries::All => true,
        // An audit's, too: both stand for a denial.
        Queries::Blocked => outcome.reason.ruling() == Ruling::Blocked,
        Queries::None => false,
    }
}

fn lines(octets: &[u8]) -> u64 {
    octets.iter().filter(|it| **it == b'\n').count() as u64
}

/// A record as it is written.
#[derive(Serialize)]
struct Line<'a> {
    v: u8,
    ts: Shown<humantime::Rfc3339Timestamp>,
    event: &'static str,
    verdict: &'static str,
    reason: &'static str,
    name: Option<Shown<&'a Name>>,
    r#type: Option<Shown<Type>>,
    rcode: Option<Shown<Rcode>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_port: Option<u16>,
    proto: &'static str,
    policy_id: Option<&'a str>,
    policy_gen: u64,
    matched: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nearest: Option<&'a str>,
    source: &'static str,
    dur_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ede: Option<u16>,
}

impl<'a> Line<'a> {
    fn new(record: &'a Record, generation: Option<&'a Generation>, client_ip: ClientIp) -> Self {
        let Outcome {
            desk,
            reason,
            rcode,
            ede,
        } = record.outcome;
        Self {
            v: VERSION,
            ts: Shown(humantime::format_rfc3339_millis(record.at)),
            event: "dns.query",
            verdict: record.outcome.ruling().word(),
            reason: reason.word(),
            name: record.name.as_ref().map(Shown),
            r#type: record.name.map(|_| Shown(record.kind)),
            rcode: rcode.map(Shown),
            client: told(record.client.ip(), client_ip),
            client_port: (client_ip == ClientIp::Full).then(|| record.client.port()),
            proto: record.transport.word(),
            policy_id: generation.map(|it| it.live.id.as_str()),
            policy_gen: record.generation,
            matched: generation
                .zip(record.rule)
                .and_then(|(it, rule)| it.pattern(rule)),
            nearest: None,
            source: desk.word(),
            dur_us: u64::try_from(record.took.as_micros()).unwrap_or(u64::MAX),
            ttl: record.ttl_s,
            ede,
        }
    }
}

/// What is told of a client's address.
fn told(ip: IpAddr, how: ClientIp) -> Option<String> {
    let ip = ip.to_canonical();
    let bits = if ip.is_ipv4() { 24 } else { 56 };
    match how {
        ClientIp::Full => Some(ip.to_string()),
        ClientIp::Prefix => {
            let net = IpNet::new(ip, bits).expect("either kind of address has more bits");
            Some(net.trunc().to_string())
        }
        ClientIp::None => None,
    }
}

/// Written as its text.
struct Shown<T>(T);

impl<T: fmt::Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::io::Write;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::answer::Desk;
    use crate::telemetry::Transport;
    use crate::telemetry::stream::Stream;

    #[test]
    fn no_name_breaks_a_line_or_a_string() {
        let name: Name = "a\\034\\010\\092\\027.example".parse().expect("a name");
        let record = Record {
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1),
            name: Some(name),
            kind: Type(65280),
            transport: Transport::Tcp,
            client: "[::ffff:10.0.3.7]:53".parse().expect("an address"),
            outcome: Outcome {
                desk: Desk::Blocked,
                reason: Reason::BadLabel,
                rcode: Some(Rcode::NXDOMAIN),
                ede: Some(15),
            },
            rule: None,
            generation: 0,
            took: Duration::from_micros(38),
            ttl_s: None,
        };
        let text =
            serde_json::to_string(&Line::new(&record, None, ClientIp::Full)).expect("a line");
        assert_eq!(
            text,
            r#"{"v":1,"ts":"1970-01-01T00:00:00.001Z","event":"dns.query","verdict":"blocked","reason":"bad_label","name":"a\\034\\010\\092\\027.example","type":"TYPE65280","rcode":"NXDOMAIN","client":"10.0.3.7","client_port":53,"proto":"tcp","policy_id":null,"policy_gen":0,"matched":null,"source":"policy","dur_us":38,"ede":15}"#
        );
    }

    /// A log whose file is `out`.
    fn log(out: File) -> QueryLog {
        QueryLog {
            queries: Queries::All,
            tally: Arc::default(),
            sink: Sink::Stdout,
            client_ip: ClientIp::Full,
            out: Out::Stream(Stream::new(out).expect("open")),
            nearest: Nearest::new(Instant::now()),
            batch: Vec::new(),
            state: State::default(),
        }
    }

    #[test]
    fn of_a_client_is_told_what_may_be() {
        let check = |ip: &str, how, expected: Option<&str>| {
            let told = told(ip.parse().expect(ip), how);
            assert_eq!(told.as_deref(), expected, "{ip}");
        };
        check("::ffff:10.0.3.7", ClientIp::Full, Some("10.0.3.7"));
        check("::ffff:10.0.3.7", ClientIp::Prefix, Some("10.0.3.0/24"));
        let long = "2001:db8:1:2ff::7";
        check(long, ClientIp::Prefix, Some("2001:db8:1:200::/56"));
        check(long, ClientIp::None, None);
    }

    #[test]
    fn a_reopening_parts_what_came_before_it_from_what_came_after() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, old) = (dir.path().join("log"), dir.path().join("old"));
        let sink = Sink::File(path.clone());
        let out = Out::open(&sink).expect("opened");
        let file = tempfile::tempfile().expect("a file");
        let mut log = QueryLog {
            sink,
            out,
            ..log(file)
        };
        log.event("before");
        std::fs::rename(&path, &old).expect("renamed");
        log.reopen();
        log.event("after");
        log.flush();
        let read = |path| std::fs::read_to_string(path).expect("a log");
        assert_eq!(
            (read(old), read(path)),
            ("before\n".into(), "after\n".into())
        );
    }

    #[test]
    fn what_a_life_before_has_left_half_written_is_ended() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        std::fs::write(&path, "{\"half").expect("written");
        let config = Log {
            sink: Sink::File(path.clone()),
            ..crate::config::Config::default().log
        };
        let mut log = QueryLog::open(&config, Arc::default()).expect("opened");
        log.event("{}");
        log.flush();
        let text = std::fs::read_to_string(path).expect("a log");
        assert_eq!(text, "{\"half\n{}\n");
    }

    #[test]
    fn a_failing_sink_costs_the_records_and_is_counted() {
        let full = OpenOptions::new().write(true).open("/dev/full");
        let mut log = log(full.expect("/dev/full"));
        for _ in 0..3 {
            log.event("{}");
        }
        log.flush();
        assert_eq!(log.tally.dropped.load(Relaxed), 3);
        assert_eq!(log.tally.written.load(Relaxed), 0);
        assert!(log.state.is_failing && log.batch.is_empty());
    }

    #[test]
    fn a_torn_line_is_ended_before_the_next() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"{\"half").expect("written");
        let mut log = log(file.try_clone().expect("a second handle"));
        log.state.is_torn = true;
        log.event("{}");
        log.flush();
        io::Seek::rewind(&mut file).expect("rewound");
        let text = io::read_to_string(file).expect("text");
        assert_eq!(text, "{\"half\n{}\n");
        assert_eq!(log.tally.written.load(Relaxed), 1);
    }
}
