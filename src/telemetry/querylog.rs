//! The query log: one line of JSON for each query that is wanted, and for each
//! reload, start and stop.
//!
//! A [`Record`] is a value of fixed size; it goes through a bounded channel to a
//! thread of its own, which alone formats and writes. Whoever logs never waits:
//! when the channel is full, or the sink fails, the record is dropped and counted.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use std::{fmt, thread};

use serde::{Serialize, Serializer};

use super::reloads::{Generation, Reloads};
use super::{Done, Transport};
use crate::answer::Outcome;
use crate::config::Sink;
use crate::matcher::Rule;
use crate::wire::{Name, Rcode, Type};

/// The version of the records; it rises when a field goes or changes its meaning.
pub(super) const VERSION: u8 = 1;
/// Records that wait for the writer: what comes in during a [`LINGER`] at 300,000 queries a second, in under 1 MB.
const QUEUE_RECORDS_MAX: usize = 2048;
/// The writer sleeps this long after each batch: under load the next batch is then a
/// large one, and those who log find nobody to wake.
const LINGER: Duration = Duration::from_millis(5);
/// Octets that are written at once.
const BATCH_OCTETS: usize = 64 << 10;
/// How long the end of the program waits for a slow sink.
const CLOSE_WAIT: Duration = Duration::from_secs(1);
/// The log names clients and what they asked for: the owner's and the group's.
const FILE_MODE: u32 = 0o640;

/// What is known of one query, in a fixed number of octets.
pub(super) struct Record {
    at: SystemTime,
    name: Option<Name>,
    kind: Type,
    transport: Transport,
    client: SocketAddr,
    outcome: Outcome,
    rule: Option<Rule>,
    generation: u64,
    took: Duration,
    ttl_s: Option<u32>,
}

impl Record {
    #[inline]
    pub(super) fn new(done: &Done<'_>, at: SystemTime) -> Self {
        Self {
            at,
            name: done.name.copied(),
            kind: done.kind,
            transport: done.transport,
            client: done.client,
            outcome: done.outcome,
            rule: done.rule,
            generation: done.generation,
            took: done.took,
            ttl_s: done.ttl_s,
        }
    }
}

#[expect(
    clippy::large_enum_variant,
    reason = "a record in a box would be an allocation for each query"
)]
enum Entry {
    Query(Record),
    /// A line without its end.
    Event(String),
    /// Look at the flags.
    Nudge,
}

/// Both sides' counts and flags.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) written: AtomicU64,
    pub(super) dropped: AtomicU64,
    reopen: AtomicBool,
    closing: AtomicBool,
}

/// The near end of the log.
pub(super) struct QueryLog {
    entries: SyncSender<Entry>,
    tally: Arc<Tally>,
    /// Hangs up when the writer has ended.
    ended: Mutex<Receiver<()>>,
}

impl QueryLog {
    /// Opens the sink and starts the writer.
    pub(super) fn open(sink: &Sink, reloads: Arc<Reloads>) -> io::Result<Self> {
        let (entries, queue) = sync_channel(QUEUE_RECORDS_MAX);
        let (alive, ended) = sync_channel(1);
        let tally = Arc::<Tally>::default();
        let writer = Writer {
            queue,
            tally: Arc::clone(&tally),
            reloads,
            out: open(sink)?,
            sink: sink.clone(),
            batch: Vec::with_capacity(BATCH_OCTETS),
            state: State::default(),
            _alive: alive,
        };
        let thread = thread::Builder::new().name("querylog".to_owned());
        thread.spawn(move || writer.run())?;
        Ok(Self {
            entries,
            tally,
            ended: Mutex::new(ended),
        })
    }

    /// Logs a query, or drops it and counts that.
    #[inline]
    pub(super) fn query(&self, record: Record) {
        self.put(Entry::Query(record));
    }

    /// Logs something else, given as one line of JSON.
    pub(super) fn event(&self, line: String) {
        self.put(Entry::Event(line));
    }

    fn put(&self, entry: Entry) {
        if self.entries.try_send(entry).is_err() {
            self.tally.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Has the writer open the file anew: its name may have been given to another one.
    pub(super) fn reopen(&self) {
        self.tally.reopen.store(true, Release);
        self.nudge();
    }

    /// Writes what was logged so far and ends; gives up on a sink that takes too long.
    pub(super) fn close(&self) {
        self.tally.closing.store(true, Release);
        self.nudge();
        let ended = self.ended.lock().expect("nobody panics with it in hand");
        if ended.recv_timeout(CLOSE_WAIT) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the query log's sink is stuck; its last records are lost");
        }
    }

    /// A full channel needs none: the writer looks at the flags before each batch.
    fn nudge(&self) {
        drop(self.entries.try_send(Entry::Nudge));
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }
}

fn open(sink: &Sink) -> io::Result<File> {
    match sink {
        Sink::Stdout => Ok(io::stdout().as_fd().try_clone_to_owned()?.into()),
        Sink::File(path) => OpenOptions::new()
            .append(true)
            .create(true)
            .mode(FILE_MODE)
            .open(path),
    }
}

/// The far end of the log, on a thread of its own.
struct Writer {
    queue: Receiver<Entry>,
    tally: Arc<Tally>,
    reloads: Arc<Reloads>,
    sink: Sink,
    out: File,
    /// Whole lines.
    batch: Vec<u8>,
    state: State,
    _alive: SyncSender<()>,
}

/// What the writer remembers from one batch to the next.
#[derive(Default)]
struct State {
    /// A line was cut off by an error, and the next one must not continue it.
    is_torn: bool,
    /// The last write failed, and that was said.
    is_failing: bool,
    /// A full channel was seen, and that was said.
    drops_said: bool,
}

impl Writer {
    fn run(mut self) {
        while let Ok(first) = self.queue.recv() {
            self.write_batch(first);
            // Read after a batch: the nudge that follows the flag has been taken by now or ends the next `recv`.
            if self.tally.closing.load(Acquire) {
                return self.write_batch(Entry::Nudge);
            }
            thread::sleep(LINGER);
        }
    }

    fn write_batch(&mut self, first: Entry) {
        self.reopen_if_asked();
        self.take(first);
        for _ in 0..QUEUE_RECORDS_MAX {
            let Ok(entry) = self.queue.try_recv() else {
                break;
            };
            self.take(entry);
        }
        self.flush();
        self.mention_drops();
    }

    fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Query(record) => self.format(&record),
            Entry::Event(line) => self.batch.extend_from_slice(line.as_bytes()),
            Entry::Nudge => return self.reopen_if_asked(),
        }
        self.batch.push(b'\n');
        if self.batch.len() >= BATCH_OCTETS {
            self.flush();
        }
    }

    fn format(&mut self, record: &Record) {
        let generation = self.reloads.generation(record.generation);
        let line = Line::new(record, generation.as_deref());
        serde_json::to_writer(&mut self.batch, &line).expect("a line is strings and numbers");
    }

    fn flush(&mut self) {
        let (written, result) = self.write();
        let (kept, lost) = self.batch.split_at(written);
        self.tally.written.fetch_add(lines(kept), Relaxed);
        self.tally.dropped.fetch_add(lines(lost), Relaxed);
        self.state.is_torn |= kept.last().is_some_and(|it| *it != b'\n');
        self.batch.clear();
        match result {
            Ok(()) => self.state.is_failing = false,
            Err(_) if self.state.is_failing => (),
            Err(error) => {
                self.state.is_failing = true;
                tracing::warn!(%error, "the query log cannot be written; its records are dropped and counted");
            }
        }
    }

    /// Writes the batch. Returns how much of it was written, also when an error ended it.
    fn write(&mut self) -> (usize, io::Result<()>) {
        if self.state.is_torn {
            if let Err(error) = self.out.write_all(b"\n") {
                return (0, Err(error));
            }
            self.state.is_torn = false;
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

    fn mention_drops(&mut self) {
        if self.state.drops_said || self.tally.dropped.load(Relaxed) == 0 {
            return;
        }
        self.state.drops_said = true;
        if !self.state.is_failing {
            tracing::warn!("the query log's sink is too slow; records are dropped and counted");
        }
    }

    /// The old file is kept where the new one cannot be opened.
    fn reopen_if_asked(&mut self) {
        if !self.tally.reopen.swap(false, AcqRel) {
            return;
        }
        self.flush();
        match open(&self.sink) {
            Ok(out) => {
                self.out = out;
                self.state.is_torn = false;
                self.state.is_failing = false;
            }
            Err(error) => tracing::warn!(%error, "the query log's file cannot be opened anew"),
        }
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
    client: IpAddr,
    client_port: u16,
    proto: &'static str,
    policy_id: Option<&'a str>,
    policy_gen: u64,
    matched: Option<String>,
    source: &'static str,
    dur_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ede: Option<u16>,
}

impl<'a> Line<'a> {
    fn new(record: &'a Record, generation: Option<&'a Generation>) -> Self {
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
            verdict: reason.ruling().word(),
            reason: reason.word(),
            name: record.name.as_ref().map(Shown),
            r#type: record.name.map(|_| Shown(record.kind)),
            rcode: rcode.map(Shown),
            client: record.client.ip().to_canonical(),
            client_port: record.client.port(),
            proto: record.transport.word(),
            policy_id: generation.map(|it| it.live.id.as_str()),
            policy_gen: record.generation,
            matched: generation
                .zip(record.rule)
                .and_then(|(it, rule)| it.pattern(rule)),
            source: desk.word(),
            dur_us: u64::try_from(record.took.as_micros()).unwrap_or(u64::MAX),
            ttl: record.ttl_s,
            ede,
        }
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
    use super::*;
    use crate::answer::{Desk, Reason};

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
        let text = serde_json::to_string(&Line::new(&record, None)).expect("a line");
        assert_eq!(
            text,
            r#"{"v":1,"ts":"1970-01-01T00:00:00.001Z","event":"dns.query","verdict":"blocked","reason":"bad_label","name":"a\\034\\010\\092\\027.example","type":"TYPE65280","rcode":"NXDOMAIN","client":"10.0.3.7","client_port":53,"proto":"tcp","policy_id":null,"policy_gen":0,"matched":null,"source":"policy","dur_us":38,"ede":15}"#
        );
    }

    #[test]
    fn an_entry_is_small_enough_for_its_queue() {
        assert!(size_of::<Entry>() * QUEUE_RECORDS_MAX <= 1 << 20);
    }

    /// A writer whose file is `out`, and the tally it keeps.
    fn writer(out: File) -> Writer {
        let (_, queue) = sync_channel(1);
        Writer {
            queue,
            tally: Arc::default(),
            reloads: Arc::default(),
            sink: Sink::Stdout,
            out,
            batch: Vec::new(),
            state: State::default(),
            _alive: sync_channel(1).0,
        }
    }

    fn event(text: &str) -> Entry {
        Entry::Event(text.to_owned())
    }

    #[test]
    fn what_was_logged_before_the_end_is_written() {
        let (entries, queue) = sync_channel(QUEUE_RECORDS_MAX * 2);
        let file = tempfile::tempfile().expect("a file");
        let writer = Writer {
            queue,
            ..writer(file)
        };
        let tally = Arc::clone(&writer.tally);
        for _ in 0..QUEUE_RECORDS_MAX * 2 {
            entries.try_send(event("{}")).expect("room");
        }
        tally.closing.store(true, Release);
        writer.run();
        let written = tally.written.load(Relaxed);
        assert_eq!(written, QUEUE_RECORDS_MAX as u64 * 2);
    }

    #[test]
    fn a_reopening_parts_what_came_before_it_from_what_came_after() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, old) = (dir.path().join("log"), dir.path().join("old"));
        let sink = Sink::File(path.clone());
        let out = open(&sink).expect("opened");
        let mut writer = Writer {
            sink,
            ..writer(out)
        };
        writer.take(event("before"));
        std::fs::rename(&path, &old).expect("renamed");
        writer.tally.reopen.store(true, Release);
        writer.take(Entry::Nudge);
        writer.take(event("after"));
        writer.flush();
        let read = |path| std::fs::read_to_string(path).expect("a log");
        assert_eq!(
            (read(old), read(path)),
            ("before\n".into(), "after\n".into())
        );
    }

    #[test]
    fn a_failing_sink_costs_the_records_and_is_counted() {
        let full = OpenOptions::new().write(true).open("/dev/full");
        let mut writer = writer(full.expect("/dev/full"));
        for _ in 0..3 {
            writer.take(event("{}"));
        }
        writer.flush();
        assert_eq!(writer.tally.dropped.load(Relaxed), 3);
        assert_eq!(writer.tally.written.load(Relaxed), 0);
        assert!(writer.state.is_failing && writer.batch.is_empty());
    }

    #[test]
    fn a_torn_line_is_ended_before_the_next() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"{\"half").expect("written");
        let mut writer = writer(file.try_clone().expect("a second handle"));
        writer.state.is_torn = true;
        writer.take(event("{}"));
        writer.flush();
        io::Seek::rewind(&mut file).expect("rewound");
        let text = io::read_to_string(file).expect("text");
        assert_eq!(text, "{\"half\n{}\n");
        assert_eq!(writer.tally.written.load(Relaxed), 1);
    }
}
