//! Turns outcomes into counters, log lines and pages.
//!
//! The corridor hands in each finished query as a [`Done`], once, and says when
//! a policy went live; figures of other rooms are fetched at a scrape. Out go
//! the metrics, the query log, the status and, in [`http`], the pages that show
//! them. Nothing here decides anything, and [`Telemetry::done`] never waits.

mod queue;
mod writer;

mod blocked;
mod log;
mod metrics;
mod nearest;
mod querylog;
mod reloads;
mod sink;
mod stream;
mod trail;

pub mod http;

pub use blocked::{Heading, blocked_text, time_of_day};
pub use log::install;
pub use metrics::{
    AuditFigures, CacheFigures, Kind, METRICS, Metric, Snapshot, Timings, UPSTREAM_OUTCOMES,
    UpstreamFigures,
};
pub use reloads::{Finding, Live, Watch, rfc3339};
pub use trail::{Decision, Refusal, Sighting};

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{Registry, TextEncoder};
use serde_json::{Value, json};
use tokio::sync::broadcast;

use self::blocked::blocked_text_whole;
use self::metrics::{Durations, Page, Sharded};
use self::nearest::Nearest;
use self::querylog::{QueryLog, Tally, is_wanted};
use self::queue::{Event, Worth};
use self::reloads::Reloads;
use self::writer::Handle;
use crate::answer::{Outcome, Reason, Ruling};
use crate::config::{Log, Mode, Queries, Sink};
use crate::matcher::Rule;
use crate::wire::{Name, Type};

/// How a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words say it")]
pub enum Transport {
    Udp,
    Tcp,
}

impl Transport {
    fn word(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// Everything known about one finished query. A value; nothing in it allocates.
#[derive(Clone, Copy, Debug)]
pub struct Done<'a> {
    /// What was asked for; none when that could not be read.
    pub name: Option<&'a Name>,
    /// The type asked for; means nothing without a name.
    pub kind: Type,
    /// How it came.
    pub transport: Transport,
    /// Who asked.
    pub client: SocketAddr,
    /// What became of it.
    pub outcome: Outcome,
    /// What granted it.
    pub rule: Option<Rule>,
    /// The number of the policy that judged it.
    pub generation: u64,
    /// When it came.
    pub began: Instant,
    /// From then to the reply.
    pub took: Duration,
    /// The smallest TTL in the reply, seconds; none: no record in it.
    pub ttl_s: Option<u32>,
}

/// A name that was blocked, and the pattern nearest to it, where that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What is remembered of it.
    pub seen: Sighting,
    /// None: none is near, or the policy is too large to be read for it.
    pub nearest: Option<String>,
}

/// Reads the figures of the other rooms.
pub type Source = Box<dyn Fn() -> Snapshot + Send + Sync>;

/// The room's one value; share it behind an `Arc`.
pub struct Telemetry {
    shared: Arc<Shared>,
    registry: Registry,
    queries: Queries,
}

/// What counts, and what a scrape reads.
struct Shared {
    figures: Sharded,
    selftest: Durations,
    reloads: Arc<Reloads>,
    writer: Handle,
    /// Of those who look at the pages.
    nearest: Mutex<Nearest>,
    started_at: SystemTime,
    /// Of the query log.
    tally: Arc<Tally>,
    /// The log's `sink` label.
    sink: &'static str,
    source: OnceLock<Source>,
}

impl Telemetry {
    /// Opens the query log, starts its writer, and logs the start.
    ///
    /// # Errors
    /// When the query log's file cannot be opened or its thread not be started.
    pub fn open(log: &Log) -> io::Result<Self> {
        let reloads = Arc::<Reloads>::default();
        let tally = Arc::<Tally>::default();
        let querylog = (log.queries != Queries::None)
            .then(|| QueryLog::open(log, Arc::clone(&tally)))
            .transpose()?;
        let shared = Arc::new(Shared {
            figures: Sharded::default(),
            selftest: Durations::default(),
            nearest: Mutex::new(Nearest::new(Instant::now())),
            started_at: SystemTime::now(),
            writer: Handle::start(querylog, Arc::clone(&reloads))?,
            tally,
            sink: sink_word(&log.sink),
            reloads,
            source: OnceLock::new(),
        });
        let telemetry = Self {
            registry: registry(&shared),
            shared,
            queries: log.queries,
        };
        telemetry.event("start", json!({ "version": env!("CARGO_PKG_VERSION") }));
        Ok(telemetry)
    }

    /// Counts a finished query, and hands it to the trail and the log. The one place where either is done.
    /// It neither allocates nor waits: what finds no room is dropped and counted.
    #[inline]
    pub fn done(&self, done: &Done<'_>) {
        self.shared.figures.count(done);
        let is_logged = is_wanted(self.queries, done.outcome);
        let ledger = &self.shared.writer.ledger;
        let worth = match is_logged || ledger.is_watched() {
            true => Worth::Wanted,
            false => Worth::Idle,
        };
        if !ledger.queue.put(done, worth) && is_logged {
            self.shared.tally.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Names decided about lately, newest first; `wanted` chooses. Only what the trail still holds; what was
    /// counted before this call is among it, unless a slow sink holds the writer up for half a second.
    pub fn sightings(&self, wanted: impl Fn(&Sighting) -> bool) -> Vec<Sighting> {
        self.shared.writer.ledger.sightings(wanted)
    }

    /// What is remembered of one name, as it was asked or as folded.
    pub fn sighting(&self, name: &Name) -> Option<Sighting> {
        self.shared.writer.ledger.sighting(name)
    }

    /// The names that were blocked last and that no search list made, the newest first, at most so many.
    pub fn refused(&self, most: usize) -> Vec<Refused> {
        let mut seen = self.sightings(is_blocked_by_intent);
        seen.truncate(most);
        let live = self.shared.reloads.live();
        let mut nearest = self.shared.nearest.lock().expect("nobody panics with it");
        let mut near = |seen: &Sighting| {
            let live = live.as_deref().filter(|_| seen.reason == Reason::NotListed);
            let near = nearest.of(&seen.name, live?, Instant::now());
            near.map(str::to_owned)
        };
        let refused = seen.into_iter().map(|seen| Refused {
            nearest: near(&seen),
            seen,
        });
        refused.collect()
    }

    /// The names that were blocked since then, as [`blocked_text`] tells them; with `all`, every one in a line.
    pub fn blocked_text(&self, contact: &str, since: Option<SystemTime>, all: bool) -> String {
        let sightings = self.sightings(is_blocked_since(since));
        let live = self.shared.reloads.live();
        let heading = Heading {
            policy: live.as_ref().map_or("", |it| it.live.name.as_str()),
            generation: self.shared.reloads.number(),
            contact,
            at: SystemTime::now(),
        };
        match all {
            true => blocked_text_whole(&heading, &sightings),
            false => blocked_text(&heading, &sightings),
        }
    }

    /// The same for programs; without `all`, names that a search list made are counted.
    pub fn blocked_json(&self, since: Option<SystemTime>, all: bool) -> Value {
        let sightings = self.sightings(is_blocked_since(since));
        let is_noise = |it: &&Sighting| it.reason == Reason::SearchSuffix;
        let noise: Vec<_> = sightings.iter().filter(is_noise).collect();
        let names = sightings.iter().filter(|it| all || !is_noise(it));
        json!({
            "v": 1,
            "policy": self.shared.reloads.live().map(|it| it.status()),
            "names": names.map(Sighting::json).collect::<Vec<_>>(),
            "search_suffix": {
                "names": noise.len(),
                "lookups": noise.iter().map(|it| it.blocked).sum::<u64>(),
            },
        })
    }

    /// A decision as the query log would record it.
    pub fn record(&self, decision: &Decision) -> String {
        let generation = self.shared.reloads.generation(decision.generation);
        querylog::line_of(decision, generation.as_deref())
    }

    /// The latest names that `client` was refused and would be again, newest first, at most `most`, but for those that
    /// a search list made. It waits as [`Self::sightings`] does.
    pub fn refused_to(&self, client: IpAddr, most: usize) -> Vec<Refusal> {
        let client = client.to_canonical();
        self.shared.writer.ledger.refused_to(client, most)
    }

    /// Decisions as they come, from now on. Who does not keep up loses the oldest, and is told how many.
    pub fn watch_decisions(&self) -> broadcast::Receiver<Arc<Decision>> {
        self.shared.writer.ledger.watch()
    }

    /// Keeps the names that were blocked lately as text in a file, for those in the box, with whom to ask. The
    /// last call counts.
    pub fn post_blocked(&self, file: &Path, contact: &str) {
        self.shared.writer.ledger.post_blocked(file, contact);
    }

    /// Waits until what was counted so far has been taken in, and rules that nobody judges by any more are
    /// freed; a slow sink is waited for for half a second.
    pub fn catch_up(&self) {
        self.shared.writer.ledger.catch_up();
    }

    /// A policy went live, at start or by a reload.
    pub fn policy_live(&self, live: Live) {
        let generation = self.shared.reloads.applied(live);
        self.event(
            "policy.reload",
            json!({ "result": "applied", "policy": generation.status() }),
        );
        self.shared.writer.ledger.queue.nudge();
    }

    /// The file was read again and says what the live policy says.
    pub fn policy_unchanged(&self) {
        self.shared.reloads.unchanged(SystemTime::now());
        let kept_gen = self.shared.reloads.number();
        self.event(
            "policy.reload",
            json!({ "result": "unchanged", "kept_gen": kept_gen }),
        );
    }

    /// The file was refused; the live policy stays.
    pub fn policy_rejected(&self, findings: impl ExactSizeIterator<Item = Finding>) {
        let errors_total = findings.len();
        let errors = self.shared.reloads.rejected(SystemTime::now(), findings);
        let kept_gen = self.shared.reloads.number();
        self.event(
            "policy.reload",
            json!({ "result": "rejected", "errors": errors, "errors_total": errors_total, "kept_gen": kept_gen }),
        );
    }

    /// An audit has begun, which ends then; or none is, and the policy is enforced.
    pub fn mode_changed(&self, ends: Option<SystemTime>) {
        let fields = match ends {
            Some(ends) => json!({ "mode": Mode::Audit.word(), "ends": rfc3339(ends) }),
            None => json!({ "mode": Mode::Enforce.word() }),
        };
        self.event("mode.change", fields);
    }

    /// Are changes of the policy file noticed this way?
    pub fn watch(&self, method: Watch, healthy: bool) {
        self.shared.reloads.watch(method, healthy);
    }

    /// The query to ourselves was answered.
    pub fn selftest(&self, took: Duration) {
        self.shared.selftest.record(took);
    }

    /// Where the figures of other rooms come from. The first call counts.
    pub fn figures_from(&self, source: Source) {
        drop(self.shared.source.set(source));
    }

    /// The metrics in Prometheus' text format 0.0.4.
    pub fn metrics(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .expect("no family is empty, and text goes to a string")
    }

    /// The policy in force and what became of its file last, as the status page tells it.
    pub fn policy(&self) -> Value {
        self.shared.reloads.status()["policy"].take()
    }

    /// The part of the status page that is known here.
    pub fn status(&self) -> Value {
        let mut status = self.shared.reloads.status();
        let snapshot = self.shared.snapshot();
        status["version"] = env!("CARGO_PKG_VERSION").into();
        status["started_at"] = rfc3339(self.shared.started_at).into();
        status["mode"] = snapshot.mode().word().into();
        status["audit_ends"] = snapshot.audit.map(|it| rfc3339(it.ends)).into();
        status["queries"] = self.shared.rulings();
        status["reasons"] = self.shared.reasons();
        status["querylog"] = self.shared.log_status(self.queries != Queries::None);
        status["upstreams"] = snapshot.upstreams.iter().map(upstream_status).collect();
        let [positive, negative] = snapshot.cache.entries;
        let hits: u64 = snapshot.cache.hits.iter().sum();
        status["cache"] = json!({ "positive": positive, "negative": negative, "hits": hits });
        status["inflight"] = snapshot.inflight.into();
        status["tcp_connections"] = snapshot.tcp_connections.into();
        status
    }

    /// Has the query log's file opened anew, after it was renamed.
    pub fn reopen(&self) {
        self.shared.writer.ledger.queue.put_event(Event::Reopen);
    }

    /// Logs the stop, writes what waits, and ends the writer. What comes later is dropped.
    pub fn close(&self) {
        self.event("stop", json!({}));
        self.shared.writer.close();
    }

    fn event(&self, event: &str, mut fields: Value) {
        if self.queries == Queries::None {
            return;
        }
        fields["v"] = querylog::VERSION.into();
        fields["ts"] = rfc3339(SystemTime::now()).into();
        fields["event"] = event.into();
        let line = Event::Line(fields.to_string());
        if !self.shared.writer.ledger.queue.put_event(line) {
            self.shared.tally.dropped.fetch_add(1, Relaxed);
        }
    }
}

/// In an audit, too, where it would have been.
fn is_blocked_by_intent(seen: &Sighting) -> bool {
    let is_blocked = matches!(seen.ruling, Ruling::Blocked | Ruling::WouldBlock);
    is_blocked && seen.reason != Reason::SearchSuffix
}

fn is_blocked_since(since: Option<SystemTime>) -> impl Fn(&Sighting) -> bool {
    move |it| it.ruling == Ruling::Blocked && since.is_none_or(|since| it.last >= since)
}

fn sink_word(sink: &Sink) -> &'static str {
    match sink {
        Sink::Stdout => "stdout",
        Sink::File(_) => "file",
        Sink::Unix(_) => "unix",
    }
}

fn registry(shared: &Arc<Shared>) -> Registry {
    let registry = Registry::new();
    let scrape = Scrape {
        shared: Arc::clone(shared),
        descriptions: metrics::descriptions(),
    };
    let collectors: [Box<dyn Collector>; 2] =
        [Box::new(scrape), Box::new(ProcessCollector::for_self())];
    for collector in collectors {
        let registered = registry.register(collector);
        registered.expect("the table names each metric once, and none is named process_");
    }
    registry
}

/// What the registry calls at a scrape.
struct Scrape {
    shared: Arc<Shared>,
    descriptions: Vec<Desc>,
}

impl Collector for Scrape {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut page = Page::new();
        self.shared.show(&mut page);
        page.finish()
    }
}

impl Shared {
    fn show(&self, page: &mut Page) {
        let revision = option_env!("NAMEGATE_GIT_SHA").unwrap_or("unknown");
        let build = [env!("CARGO_PKG_VERSION"), revision];
        page.count("namegate_build_info", &build, 1);
        self.reloads.show(page);
        self.figures.sum().show(page);
        self.snapshot().show(page);
        page.timings("namegate_selftest_seconds", &[], &self.selftest.timings());
        let (written, dropped) = self.log_counts();
        page.count("namegate_querylog_records_total", &[self.sink], written);
        page.count("namegate_querylog_dropped_total", &[self.sink], dropped);
        let lost = self.writer.ledger.queue.lost();
        page.count("namegate_trail_dropped_total", &[], lost);
    }

    fn snapshot(&self) -> Snapshot {
        self.source
            .get()
            .map_or_else(Snapshot::default, |read| read())
    }

    /// Records written and dropped.
    fn log_counts(&self) -> (u64, u64) {
        let Tally { written, dropped } = &*self.tally;
        (written.load(Relaxed), dropped.load(Relaxed))
    }

    fn log_status(&self, is_on: bool) -> Value {
        let (written, dropped) = self.log_counts();
        let sink = is_on.then_some(self.sink);
        json!({ "sink": sink, "written": written, "dropped": dropped })
    }

    /// How many queries ended with each ruling.
    fn rulings(&self) -> Value {
        let figures = self.figures.sum();
        let zero = |ruling: Ruling| (ruling.word().to_owned(), 0.into());
        let mut counts = Value::Object(Ruling::ALL.into_iter().map(zero).collect());
        for (ruling, ended) in Reason::ALL.into_iter().flat_map(|it| figures.ended(it)) {
            let count = &mut counts[ruling.word()];
            *count = (count.as_u64().unwrap_or(0) + ended).into();
        }
        counts
    }
}

impl Shared {
    /// How many queries ended for each reason; those that none ended for are left out.
    fn reasons(&self) -> Value {
        let figures = self.figures.sum();
        let count = |reason: Reason| {
            let ended: u64 = figures.ended(reason).iter().map(|(_, ended)| ended).sum();
            (reason.word().to_owned(), ended.into())
        };
        let all = Reason::ALL.into_iter().map(count);
        Value::Object(all.filter(|(_, count)| *count != 0).collect())
    }
}

fn upstream_status(upstream: &UpstreamFigures) -> Value {
    let p50_ms = upstream.seconds.median_s().map(|it| it * 1e3);
    json!({ "name": upstream.name, "up": upstream.up, "p50_ms": p50_ms })
}
