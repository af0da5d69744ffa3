//! One resolver as we know it: where it is, how quick, and whether it answers.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

use super::carrier::Over;

/// The least and the most time before somebody else is asked, at first (SPEC 6).
const PATIENCE_MIN: Duration = Duration::from_millis(200);
const PATIENCE_MAX: Duration = Duration::from_millis(400);
/// As many time-outs in a row put a server behind the others: one may be a lost packet.
const TIMEOUTS_TO_REST: u32 = 2;
/// How long it stays there before it is tried first again.
const REST: Duration = Duration::from_secs(10);

/// What came of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words say it")]
pub enum Outcome {
    Ok,
    Nxdomain,
    Servfail,
    Timeout,
    Refused,
    Io,
    Mismatch,
}

/// Upper bounds of the round-trip histogram, in microseconds.
pub const RTT_BOUNDS_US: [u32; 13] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000,
];

/// A resolver.
#[derive(Debug)]
pub(super) struct Server {
    pub address: SocketAddr,
    pub over: Over,
    born: Instant,
    /// Smoothed round-trip time in microseconds; 0 before the first.
    srtt_us: AtomicU32,
    timeouts: AtomicU32,
    /// Milliseconds after `born` until which it rests.
    rests_until_ms: AtomicU64,
    /// It does not keep the case of a question.
    pub folds_case: AtomicBool,
    outcomes: [AtomicU64; 7],
    rtts: [AtomicU64; RTT_BOUNDS_US.len() + 1],
    rtt_sum_us: AtomicU64,
}

impl Server {
    pub(super) fn new(address: SocketAddr, over: Over) -> Self {
        Self {
            address,
            over,
            born: Instant::now(),
            srtt_us: AtomicU32::new(0),
            timeouts: AtomicU32::new(0),
            rests_until_ms: AtomicU64::new(0),
            folds_case: AtomicBool::new(false),
            outcomes: Default::default(),
            rtts: Default::default(),
            rtt_sum_us: AtomicU64::new(0),
        }
    }

    /// How long to wait for it before asking on: twice its round trip, within bounds.
    pub(super) fn patience(&self) -> Duration {
        let srtt = Duration::from_micros(self.srtt_us.load(Relaxed).into());
        (srtt * 2).clamp(PATIENCE_MIN, PATIENCE_MAX)
    }

    /// Is it to be asked after the others?
    pub(super) fn rests(&self, now: Instant) -> bool {
        now < self.born + Duration::from_millis(self.rests_until_ms.load(Relaxed))
    }

    /// It answered, whatever it said.
    pub(super) fn answered(&self, took: Duration) {
        let took_us = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        let old = self.srtt_us.load(Relaxed);
        // RFC 6298 §2: an eighth of what is new; the first counts whole.
        let new = if old == 0 {
            took_us
        } else {
            old - old / 8 + took_us / 8
        };
        self.srtt_us.store(new.max(1), Relaxed);
        self.timeouts.store(0, Relaxed);
        self.rests_until_ms.store(0, Relaxed);
        let bucket = RTT_BOUNDS_US
            .iter()
            .position(|bound| took_us <= *bound)
            .unwrap_or(RTT_BOUNDS_US.len());
        self.rtts[bucket].fetch_add(1, Relaxed);
        self.rtt_sum_us.fetch_add(took_us.into(), Relaxed);
    }

    /// It did not answer while others did, or at all.
    pub(super) fn timed_out(&self, now: Instant) {
        self.count(Outcome::Timeout);
        if self.timeouts.fetch_add(1, Relaxed) + 1 >= TIMEOUTS_TO_REST {
            let until = now.duration_since(self.born) + REST;
            self.rests_until_ms.store(
                u64::try_from(until.as_millis()).unwrap_or(u64::MAX),
                Relaxed,
            );
        }
    }

    pub(super) fn count(&self, outcome: Outcome) {
        self.outcomes[outcome as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn figures(&self) -> Figures {
        let of = |counter: &AtomicU64| counter.load(Relaxed);
        Figures {
            name: format!("{}://{}", self.over.word(), self.address),
            outcomes: std::array::from_fn(|i| of(&self.outcomes[i])),
            rtts: std::array::from_fn(|i| of(&self.rtts[i])),
            rtt_sum_us: of(&self.rtt_sum_us),
            srtt_us: self.srtt_us.load(Relaxed),
            up: self.timeouts.load(Relaxed) < TIMEOUTS_TO_REST,
        }
    }
}

/// Figures of one resolver since start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// `udp://10.0.0.2:53`
    pub name: String,
    /// Attempts by [`Outcome`], in its order.
    pub outcomes: [u64; 7],
    /// Round trips by [`RTT_BOUNDS_US`], the last beyond them all; not cumulative.
    pub rtts: [u64; RTT_BOUNDS_US.len() + 1],
    /// Their sum, in microseconds.
    pub rtt_sum_us: u64,
    /// The smoothed round trip, in microseconds; 0 before the first.
    pub srtt_us: u32,
    /// Did it answer lately?
    pub up: bool,
}
