//! How often one address may ask: a table that cannot grow.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use super::buckets::Buckets;

/// Addresses share a bucket by chance when there are more than these; then both get the less.
const BUCKETS: usize = 4096;
/// What may come at once, as time at the permitted rate, in microseconds.
const BURST_US: u64 = 1_000_000;

/// A token bucket per address.
///
/// Invariant: each bucket holds the time, in microseconds after `born`, at which
/// all that was taken from it would have come at the permitted rate.
pub(super) struct Rates {
    step_us: u64,
    born: Instant,
    buckets: Buckets<AtomicU64>,
}

impl Rates {
    /// Permits `per_s` queries a second from each address; none when 0: there is no limit.
    pub(super) fn new(per_s: u32, now: Instant) -> Option<Self> {
        (per_s > 0).then(|| Self {
            step_us: 1_000_000 / u64::from(per_s),
            born: now,
            buckets: Buckets::new(BUCKETS),
        })
    }

    /// Takes one query of an address. False: it has had its share.
    pub(super) fn take(&self, address: IpAddr, now: Instant) -> bool {
        let now_us =
            u64::try_from(now.saturating_duration_since(self.born).as_micros()).unwrap_or(u64::MAX);
        let bucket = &self.buckets[self.buckets.of(address)];
        let next = |due_us: u64| {
            let due_us = due_us.max(now_us) + self.step_us;
            (due_us <= now_us + BURST_US).then_some(due_us)
        };
        bucket.fetch_update(Relaxed, Relaxed, next).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_second_holds_what_it_may() {
        let now = Instant::now();
        let rates = Rates::new(10, now).expect("a limit");
        let address = IpAddr::from([192, 0, 2, 1]);
        let taken = |at: Duration| (0..100).filter(|_| rates.take(address, now + at)).count();
        assert_eq!(taken(Duration::ZERO), 10);
        assert_eq!(taken(Duration::from_millis(500)), 5);
        assert_eq!(taken(Duration::from_secs(60)), 10);
        assert!(Rates::new(0, now).is_none());
    }
}
