//! What is counted, and how a scrape shows it.
//!
//! [`Figures`] are the counts of finished queries: plain atomics in arrays that
//! an enum indexes, so that counting neither locks, hashes nor allocates.
//! [`METRICS`] is the table of every metric; a [`Page`] fills it at a scrape.
//! No label takes a value that a client can choose.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use prometheus::core::Desc;
use prometheus::proto;

use super::Done;
use crate::answer::{Desk, Outcome, Reason, Ruling};
use crate::config::Mode;
use crate::wire::{Rcode, Type};

/// How a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words of Prometheus")]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One row of the table of metrics.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the table's columns")]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub meaning: &'static str,
}

const fn row(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    meaning: &'static str,
) -> Metric {
    Metric {
        name,
        kind,
        labels,
        meaning,
    }
}

/// Every metric but the `process_*` ones.
#[rustfmt::skip]
pub const METRICS: [Metric; 29] = [
    row("namegate_build_info", Kind::Gauge, &["version", "revision"], "1; which build runs"),
    row("namegate_policy_info", Kind::Gauge, &["id", "name", "sha256_8"], "1; which policy is live"),
    row("namegate_policy_generation", Kind::Gauge, &[], "rises by one with each policy that went live"),
    row("namegate_policy_patterns", Kind::Gauge, &["kind"], "patterns of the live policy"),
    row("namegate_policy_allow_all", Kind::Gauge, &[], "1 when the live policy allows every name"),
    row("namegate_policy_reloads_total", Kind::Counter, &["result"], "policy files taken, found unchanged, or refused"),
    row("namegate_policy_last_reload_successful", Kind::Gauge, &[], "0 when the last policy file was refused"),
    row("namegate_policy_last_reload_success_timestamp_seconds", Kind::Gauge, &[], "when the file was last found good"),
    row("namegate_policy_propagation_seconds", Kind::Histogram, &[], "from a change seen to the policy being live"),
    row("namegate_policy_watch_healthy", Kind::Gauge, &["method"], "1 when changes of the file are noticed this way"),
    row("namegate_mode", Kind::Gauge, &["mode"], "1; is the policy enforced, or only audited"),
    row("namegate_audit_seconds_remaining", Kind::Gauge, &[], "until the policy is enforced again; 0 when it is"),
    row("namegate_queries_total", Kind::Counter, &["proto", "type"], "queries"),
    row("namegate_responses_total", Kind::Counter, &["verdict", "reason", "rcode"], "what became of them; rcode none: silence"),
    row("namegate_response_seconds", Kind::Histogram, &["source"], "how long an answer took, by where it came from"),
    row("namegate_dropped_total", Kind::Counter, &["reason"], "queries turned away, with an error or in silence"),
    row("namegate_upstream_requests_total", Kind::Counter, &["upstream", "outcome"], "queries sent to an upstream"),
    row("namegate_upstream_seconds", Kind::Histogram, &["upstream"], "how long an upstream took"),
    row("namegate_upstream_up", Kind::Gauge, &["upstream"], "0 when an upstream does not answer"),
    row("namegate_cache_entries", Kind::Gauge, &["kind"], "answers held"),
    row("namegate_cache_hits_total", Kind::Counter, &["kind"], "queries answered from the cache"),
    row("namegate_cache_misses_total", Kind::Counter, &[], "queries the cache could not answer"),
    row("namegate_cache_evictions_total", Kind::Counter, &[], "answers that made room for others"),
    row("namegate_inflight_queries", Kind::Gauge, &[], "queries that wait for an upstream"),
    row("namegate_tcp_connections", Kind::Gauge, &[], "open TCP connections of clients"),
    row("namegate_querylog_records_total", Kind::Counter, &["sink"], "records written to the query log"),
    row("namegate_querylog_dropped_total", Kind::Counter, &["sink"], "records lost because the sink was slow or failed"),
    row("namegate_trail_dropped_total", Kind::Counter, &[], "decisions that found no room on their way to the trail"),
    row("namegate_selftest_seconds", Kind::Histogram, &[], "how long the query to ourselves took"),
];

/// The types with a series of their own; the others share one.
#[rustfmt::skip]
const TYPES: [Type; 14] = [
    Type::A, Type::AAAA, Type::HTTPS, Type::SVCB, Type::CNAME, Type::TXT, Type::MX,
    Type::SRV, Type::NS, Type::SOA, Type::PTR, Type(257), Type::DS, Type::DNSKEY,
];
const TYPE_OTHER: usize = TYPES.len();

/// The codes with a series of their own; the others share one, and silence has one.
#[rustfmt::skip]
const RCODES: [Rcode; 9] = [
    Rcode::NOERROR, Rcode::FORMERR, Rcode::SERVFAIL, Rcode::NXDOMAIN, Rcode::NOTIMP,
    Rcode::REFUSED, Rcode::YXDOMAIN, Rcode::NOTAUTH, Rcode::BADVERS,
];
const RCODE_OTHER: usize = RCODES.len();
const RCODE_NONE: usize = RCODES.len() + 1;

/// The places an answer comes from.
const SOURCES: [&str; 4] = ["policy", "local", "cache", "upstream"];
/// Why a query is turned away.
const TURNED_AWAY: [Reason; 4] = [
    Reason::Overload,
    Reason::Rate,
    Reason::Malformed,
    Reason::ClientAcl,
];

/// Upper bounds of the buckets of every duration, microseconds.
const BOUNDS_US: [u64; 16] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000,
];

/// What was counted of finished queries, by the threads that count: each has figures of its own,
/// so that none waits for a line of memory that another one writes.
pub(super) struct Sharded(Box<[Shard]>);

/// More threads than this share.
pub(super) const SHARDS: usize = 16;

/// Figures on lines of memory of their own: processors fetch two lines of 64 octets at a time.
#[derive(Default)]
#[repr(align(128))]
struct Shard(Figures);

thread_local! {
    /// The shard this thread counts in.
    static SHARD: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Relaxed) % SHARDS
    };
}

/// The place of this thread in a table of [`SHARDS`].
#[inline]
pub(super) fn home_shard() -> usize {
    SHARD.with(|shard| *shard)
}

impl Default for Sharded {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Shard::default()).collect())
    }
}

impl Sharded {
    /// Counts one finished query.
    #[inline]
    pub(super) fn count(&self, done: &Done<'_>) {
        self.0[home_shard()].0.count(done);
    }

    /// All of them, summed.
    pub(super) fn sum(&self) -> Figures {
        let sum = Figures::default();
        for Shard(figures) in &self.0 {
            for (total, part) in sum.counters().zip(figures.counters()) {
                total.fetch_add(part.load(Relaxed), Relaxed);
            }
        }
        sum
    }
}

/// What was counted of finished queries.
#[derive(Default)]
pub(super) struct Figures {
    queries: [[AtomicU64; TYPES.len() + 1]; 2],
    /// Those that an audit let pass are the second half.
    responses: [[[AtomicU64; RCODES.len() + 2]; Reason::ALL.len()]; 2],
    took: [Durations; SOURCES.len()],
    turned_away: [AtomicU64; TURNED_AWAY.len()],
}

impl Figures {
    /// Every counter, in one order.
    fn counters(&self) -> impl Iterator<Item = &AtomicU64> {
        let queries = self.queries.as_flattened().iter();
        let responses = self.responses.as_flattened().as_flattened().iter();
        let took = self
            .took
            .iter()
            .flat_map(|took| took.buckets.iter().chain([&took.sum_ns]));
        queries
            .chain(responses)
            .chain(took)
            .chain(&self.turned_away)
    }

    /// Counts one finished query.
    #[inline]
    fn count(&self, done: &Done<'_>) {
        let Outcome {
            desk,
            reason,
            rcode,
            ede: _,
        } = done.outcome;
        add_one(&self.queries[done.transport as usize][type_slot(done.kind)]);
        let passed = usize::from(done.outcome.ruling() == Ruling::WouldBlock);
        add_one(&self.responses[passed][reason as usize][rcode_slot(rcode)]);
        self.took[source_slot(desk)].record(done.took);
        if let Some(slot) = turned_away_slot(reason) {
            add_one(&self.turned_away[slot]);
        }
    }

    /// Queries that ended for one reason, whatever the reply's code: those that an audit let pass, and the others.
    pub(super) fn ended(&self, reason: Reason) -> [(Ruling, u64); 2] {
        let sum = |half: usize| {
            let counts = self.responses[half][reason as usize].iter();
            counts.map(|count| count.load(Relaxed)).sum()
        };
        [(reason.ruling(), sum(0)), (Ruling::WouldBlock, sum(1))]
    }

    pub(super) fn show(&self, page: &mut Page) {
        for (proto, counts) in ["udp", "tcp"].iter().zip(&self.queries) {
            for (slot, count) in counts.iter().enumerate() {
                page.count(
                    "namegate_queries_total",
                    &[proto, &type_word(slot)],
                    count.load(Relaxed),
                );
            }
        }
        for reason in Reason::ALL {
            self.show_responses(0, reason.ruling(), reason, page);
            self.show_responses(1, Ruling::WouldBlock, reason, page);
        }
        for (source, took) in SOURCES.iter().zip(&self.took) {
            page.timings("namegate_response_seconds", &[source], &took.timings());
        }
        for (reason, count) in TURNED_AWAY.iter().zip(&self.turned_away) {
            page.count(
                "namegate_dropped_total",
                &[reason.word()],
                count.load(Relaxed),
            );
        }
    }

    /// Only the pairs that were seen: most never occur.
    fn show_responses(&self, half: usize, ruling: Ruling, reason: Reason, page: &mut Page) {
        for (slot, count) in self.responses[half][reason as usize].iter().enumerate() {
            let count = count.load(Relaxed);
            if count > 0 {
                let labels = [ruling.word(), reason.word(), rcode_word(slot)];
                page.count("namegate_responses_total", &labels, count);
            }
        }
    }
}

fn add_one(count: &AtomicU64) {
    count.fetch_add(1, Relaxed);
}

fn type_slot(kind: Type) -> usize {
    let slot = TYPES.iter().position(|it| *it == kind);
    slot.unwrap_or(TYPE_OTHER)
}

fn type_word(slot: usize) -> String {
    TYPES
        .get(slot)
        .map_or_else(|| "other".to_owned(), Type::to_string)
}

fn rcode_slot(rcode: Option<Rcode>) -> usize {
    let Some(rcode) = rcode else {
        return RCODE_NONE;
    };
    let slot = RCODES.iter().position(|it| *it == rcode);
    slot.unwrap_or(RCODE_OTHER)
}

fn rcode_word(slot: usize) -> &'static str {
    let unnamed = if slot == RCODE_NONE { "none" } else { "other" };
    RCODES.get(slot).and_then(|it| it.name()).unwrap_or(unnamed)
}

/// The place in [`SOURCES`].
fn source_slot(desk: Desk) -> usize {
    match desk {
        Desk::Front | Desk::Blocked => 0,
        Desk::Special | Desk::Zone => 1,
        Desk::Cache => 2,
        Desk::Upstream => 3,
    }
}

/// The place in [`TURNED_AWAY`]; none for a query that was served or judged.
fn turned_away_slot(reason: Reason) -> Option<usize> {
    match reason {
        Reason::Overload => Some(0),
        Reason::Rate => Some(1),
        Reason::Malformed => Some(2),
        Reason::ClientAcl => Some(3),
        Reason::Exact
        | Reason::Wildcard
        | Reason::AllowAll
        | Reason::GatewayAgent
        | Reason::GatewayMcp
        | Reason::Devbox
        | Reason::Mirrors
        | Reason::DnssecAncestor
        | Reason::Local
        | Reason::ForwardExempt
        | Reason::NotListed
        | Reason::DenyAll
        | Reason::BadLabel
        | Reason::SearchSuffix
        | Reason::PrivateAddress
        | Reason::SpecialUse
        | Reason::Qtype
        | Reason::Any
        | Reason::UpstreamTimeout
        | Reason::UpstreamServfail
        | Reason::UpstreamUnreachable
        | Reason::NotServed => None,
    }
}

/// Durations, counted in buckets.
#[derive(Default)]
pub(super) struct Durations {
    /// One for each bound, and one for what is longer than all of them.
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_ns: AtomicU64,
}

impl Durations {
    #[inline]
    pub(super) fn record(&self, took: Duration) {
        let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let slot = BOUNDS_US
            .iter()
            .position(|bound_us| took_ns <= bound_us * 1_000);
        add_one(&self.buckets[slot.unwrap_or(BOUNDS_US.len())]);
        self.sum_ns.fetch_add(took_ns, Relaxed);
    }

    pub(super) fn timings(&self) -> Timings {
        let counts = self.buckets.each_ref().map(|it| it.load(Relaxed));
        let bounds_s = BOUNDS_US.map(|bound_us| bound_us as f64 / 1e6);
        Timings {
            buckets: bounds_s.into_iter().zip(counts).collect(),
            count: counts.iter().sum(),
            sum_s: self.sum_ns.load(Relaxed) as f64 / 1e9,
        }
    }
}

/// A histogram of durations at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timings {
    /// Upper bounds in seconds, rising, each with the number in that bucket alone.
    pub buckets: Vec<(f64, u64)>,
    /// All of them, those above the last bound included.
    pub count: u64,
    /// Their sum in seconds.
    pub sum_s: f64,
}

impl Timings {
    /// The bound of the bucket in which the median lies, seconds; none when there is none.
    pub fn median_s(&self) -> Option<f64> {
        let half = self.count.div_ceil(2);
        let mut passed = 0;
        let is_reached = |(_, count): &&(f64, u64)| {
            passed += count;
            half > 0 && passed >= half
        };
        self.buckets.iter().find(is_reached).map(|it| it.0)
    }
}

/// What became of the queries sent to an upstream, in the order of [`UpstreamFigures::outcomes`].
pub const UPSTREAM_OUTCOMES: [&str; 7] = [
    "ok", "nxdomain", "servfail", "timeout", "refused", "io", "mismatch",
];

/// One upstream's figures.
#[derive(Clone, Debug, Default)]
pub struct UpstreamFigures {
    /// As configured.
    pub name: String,
    /// By the words of [`UPSTREAM_OUTCOMES`].
    pub outcomes: [u64; UPSTREAM_OUTCOMES.len()],
    /// How long its answers took.
    pub seconds: Timings,
    /// Does it answer?
    pub up: bool,
}

/// The cache's figures; pairs are positive answers, then negative ones.
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "named for the metrics")]
pub struct CacheFigures {
    pub entries: [u64; 2],
    pub hits: [u64; 2],
    pub misses: u64,
    pub evictions: u64,
}

/// An audit that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditFigures {
    /// When it ends.
    pub ends: SystemTime,
    /// How long that is.
    pub left: Duration,
}

/// What the other rooms know, read at each scrape.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Every configured upstream, once.
    pub upstreams: Vec<UpstreamFigures>,
    /// The cache.
    pub cache: CacheFigures,
    /// Queries that wait for an upstream.
    pub inflight: u64,
    /// Open TCP connections of clients.
    pub tcp_connections: u64,
    /// None: the policy is enforced.
    pub audit: Option<AuditFigures>,
}

impl Snapshot {
    /// What becomes of names that the policy does not allow.
    pub(super) fn mode(&self) -> Mode {
        match self.audit {
            Some(_) => Mode::Audit,
            None => Mode::Enforce,
        }
    }

    pub(super) fn show(&self, page: &mut Page) {
        let left = self.audit.map_or(Duration::ZERO, |it| it.left);
        page.count("namegate_mode", &[self.mode().word()], 1);
        page.value("namegate_audit_seconds_remaining", &[], left.as_secs_f64());
        for upstream in &self.upstreams {
            upstream.show(page);
        }
        for (slot, kind) in ["positive", "negative"].into_iter().enumerate() {
            page.count("namegate_cache_entries", &[kind], self.cache.entries[slot]);
            page.count("namegate_cache_hits_total", &[kind], self.cache.hits[slot]);
        }
        page.count("namegate_cache_misses_total", &[], self.cache.misses);
        page.count("namegate_cache_evictions_total", &[], self.cache.evictions);
        page.count("namegate_inflight_queries", &[], self.inflight);
        page.count("namegate_tcp_connections", &[], self.tcp_connections);
    }
}

impl UpstreamFigures {
    fn show(&self, page: &mut Page) {
        for (outcome, count) in UPSTREAM_OUTCOMES.iter().zip(self.outcomes) {
            page.count(
                "namegate_upstream_requests_total",
                &[&self.name, outcome],
                count,
            );
        }
        page.timings("namegate_upstream_seconds", &[&self.name], &self.seconds);
        page.count("namegate_upstream_up", &[&self.name], u64::from(self.up));
    }
}

/// What a scrape is answered with: [`METRICS`], row by row.
pub(super) struct Page(Vec<proto::MetricFamily>);

impl Page {
    pub(super) fn new() -> Self {
        Self(METRICS.iter().map(family).collect())
    }

    /// The families; the registry leaves out those without a sample.
    pub(super) fn finish(self) -> Vec<proto::MetricFamily> {
        self.0
    }

    /// One sample of a counter or gauge.
    pub(super) fn count(&mut self, name: &str, labels: &[&str], count: u64) {
        self.value(name, labels, count as f64);
    }

    /// One sample of a counter or gauge that is not a whole number.
    pub(super) fn value(&mut self, name: &str, labels: &[&str], value: f64) {
        self.add(name, labels, |sample| {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            sample.set_counter(counter);
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            sample.set_gauge(gauge);
        });
    }

    /// One histogram.
    pub(super) fn timings(&mut self, name: &str, labels: &[&str], timings: &Timings) {
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(cumulated(&timings.buckets));
        histogram.set_sample_count(timings.count);
        histogram.set_sample_sum(timings.sum_s);
        self.add(name, labels, |sample| sample.set_histogram(histogram));
    }

    fn add(&mut self, name: &str, values: &[&str], fill: impl FnOnce(&mut proto::Metric)) {
        let at = METRICS.iter().position(|it| it.name == name);
        let at = at.expect("only names of the table are used");
        let names = METRICS[at].labels;
        assert_eq!(names.len(), values.len(), "labels of {name}");
        let pairs = names.iter().zip(values).map(|(name, value)| {
            let mut pair = proto::LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        let mut sample = proto::Metric::from_label(pairs.collect());
        fill(&mut sample);
        self.0[at].mut_metric().push(sample);
    }
}

fn family(row: &Metric) -> proto::MetricFamily {
    let mut family = proto::MetricFamily::default();
    family.set_name(row.name.to_owned());
    family.set_help(row.meaning.to_owned());
    family.set_field_type(match row.kind {
        Kind::Counter => proto::MetricType::COUNTER,
        Kind::Gauge => proto::MetricType::GAUGE,
        Kind::Histogram => proto::MetricType::HISTOGRAM,
    });
    family
}

fn cumulated(buckets: &[(f64, u64)]) -> Vec<proto::Bucket> {
    let mut passed = 0;
    let below = |(bound_s, count): &(f64, u64)| {
        passed += count;
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(*bound_s);
        bucket.set_cumulative_count(passed);
        bucket
    };
    buckets.iter().map(below).collect()
}

/// What the registry wants to know of each row beforehand.
pub(super) fn descriptions() -> Vec<Desc> {
    let describe = |row: &Metric| {
        let labels = row.labels.iter().map(|it| (*it).to_owned()).collect();
        Desc::new(
            row.name.to_owned(),
            row.meaning.to_owned(),
            labels,
            HashMap::new(),
        )
        .expect("the table's names are valid")
    };
    METRICS.iter().map(describe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enum_is_its_own_place_in_the_tables() {
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at, "{reason}");
            if let Some(slot) = turned_away_slot(reason) {
                assert_eq!(TURNED_AWAY[slot], reason);
            }
        }
        for reason in TURNED_AWAY {
            assert!(turned_away_slot(reason).is_some(), "{reason}");
        }
        for desk in Desk::ALL {
            assert_eq!(SOURCES[source_slot(desk)], desk.word(), "{desk:?}");
        }
    }

    #[test]
    fn what_has_no_series_of_its_own_is_other() {
        assert_eq!(type_word(type_slot(Type::AAAA)), "AAAA");
        assert_eq!(type_word(type_slot(Type(257))), "CAA");
        assert_eq!(type_word(type_slot(Type(65280))), "other");
        assert_eq!(rcode_word(rcode_slot(Some(Rcode::BADVERS))), "BADVERS");
        assert_eq!(rcode_word(rcode_slot(Some(Rcode(3841)))), "other");
        assert_eq!(rcode_word(rcode_slot(None)), "none");
    }

    #[test]
    fn a_duration_lies_in_the_first_bucket_that_is_not_below_it() {
        let durations = Durations::default();
        for took in [50_000, 50_001, 6_000_000_000] {
            durations.record(Duration::from_nanos(took));
        }
        let timings = durations.timings();
        assert_eq!(timings.buckets[..2], [(0.00005, 1), (0.0001, 1)]);
        assert_eq!((timings.count, timings.sum_s), (3, 6.000_100_001));
        assert_eq!(timings.median_s(), Some(0.0001));
        assert_eq!(Timings::default().median_s(), None);
    }
}
