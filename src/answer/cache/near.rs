//! What each thread has to itself, so that threads that read do not meet.
//!
//! A [`Lane`] holds what its thread found last and counts what it found. The
//! map under the cache stays the one place where answers are kept and weighed;
//! what lies here is a small part of it, for as long as it is fresh.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Entry, Kind};

/// More threads than this share lanes.
pub(super) const LANES: usize = 64;
/// Answers that a thread has near, a power of two: more than are asked for much, and few enough to stay in a processor's own memory.
const NEAR_MAX: usize = 512;
/// One answer near a thread for so many octets of the cache, so that what they hold of answers that have gone is little.
const OCTETS_A_PLACE: u64 = 128 << 10;
/// One look in so many goes to the map, which keeps what it is asked for.
const LOOKS: u8 = 64;

/// A thread's own part. Processors fetch two lines of 64 octets at a time.
#[repr(align(128))]
pub(super) struct Lane<V> {
    near: Mutex<Near<V>>,
    hits: [AtomicU64; 3],
    misses: AtomicU64,
}

/// Answers by a few bits of their questions' hashes; the later takes the place of the earlier.
pub(super) struct Near<V> {
    /// Empty until something is put there.
    places: Vec<Option<Arc<Entry<V>>>>,
    looks: u8,
}

impl<V> Default for Lane<V> {
    fn default() -> Self {
        let near = Near {
            places: Vec::new(),
            looks: 0,
        };
        Self {
            near: Mutex::new(near),
            hits: Default::default(),
            misses: AtomicU64::new(0),
        }
    }
}

impl<V> Lane<V> {
    /// What the thread has near; none when another thread that shares the lane is just using it.
    pub(super) fn near(&self) -> Option<MutexGuard<'_, Near<V>>> {
        self.near.try_lock().ok()
    }

    /// Lets go of what is near, when whoever uses it just now has done so.
    pub(super) fn forget(&self) {
        let near = self.near.lock();
        near.expect("nobody panics with the lock in hand")
            .places
            .clear();
    }

    pub(super) fn count_hit(&self, kind: Kind) {
        self.hits[kind as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn count_miss(&self) {
        self.misses.fetch_add(1, Relaxed);
    }

    pub(super) fn hits(&self, kind: Kind) -> u64 {
        self.hits[kind as usize].load(Relaxed)
    }

    pub(super) fn misses(&self) -> u64 {
        self.misses.load(Relaxed)
    }
}

impl<V> Near<V> {
    /// Is it the map's turn?
    pub(super) fn looks_up(&mut self) -> bool {
        self.looks = (self.looks + 1) % LOOKS;
        self.looks == 0
    }

    /// Where an answer is put, if it is put here, by the hash of its question; `octets` are the cache's.
    pub(super) fn place(&mut self, hash: u64, octets: u64) -> &mut Option<Arc<Entry<V>>> {
        if self.places.is_empty() {
            let places = usize::try_from(octets / OCTETS_A_PLACE)
                .map_or(NEAR_MAX, |it| it.clamp(1, NEAR_MAX));
            self.places.resize_with(places.next_power_of_two(), || None);
        }
        #[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
        let place = hash as usize & (self.places.len() - 1);
        &mut self.places[place]
    }
}

/// The lane of this thread.
pub(super) fn home_lane() -> usize {
    thread_local! {
        static HOME: usize = {
            static NEXT: AtomicUsize = AtomicUsize::new(0);
            NEXT.fetch_add(1, Relaxed) % LANES
        };
    }
    HOME.with(|lane| *lane)
}
