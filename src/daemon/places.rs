//! Places for those who wait: bounded in all, and no client has them all.
//!
//! A client may hold so many times what is left: alone he has most of what there is, and whatever he does, there is
//! some for who comes next, who may do the same with the rest. Nothing is reserved, and nothing kept of who has gone.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed},
};

use super::buckets::Buckets;

/// Addresses share a bucket by chance when there are more than these; then they share a part too.
const BUCKETS: usize = 1024;
/// Of what is left: three quarters of all for one, two times three sevenths for two.
const TIMES_THE_REST: usize = 3;

/// A number of places, and how many of them each client has.
///
/// Invariant: `taken` is at most `max`, and what the buckets hold together is `taken`, but for those just coming or going.
pub(super) struct Places {
    max: usize,
    taken: AtomicUsize,
    held: Buckets<AtomicUsize>,
}

/// A place taken; given back when dropped.
pub(super) struct Place {
    places: Arc<Places>,
    bucket: usize,
}

impl Places {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            taken: AtomicUsize::new(0),
            held: Buckets::new(BUCKETS),
        })
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Relaxed)
    }

    /// A place for this client, if he has not had his part.
    pub(super) fn take(self: &Arc<Self>, client: IpAddr) -> Option<Place> {
        let bucket = self.held.of(client);
        let held = &self.held[bucket];
        // He counts as having it before he gets it: so what he takes on other threads at the same time is seen.
        held.fetch_add(1, Relaxed);
        let one_more = |taken: usize| {
            let part = TIMES_THE_REST * (self.max - taken);
            (held.load(Relaxed) <= part).then_some(taken + 1)
        };
        // Whoever sees that one was taken sees by whom.
        if self.taken.fetch_update(AcqRel, Acquire, one_more).is_err() {
            held.fetch_sub(1, Relaxed);
            return None;
        }
        Some(Place {
            places: self.clone(),
            bucket,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.held[self.bucket].fetch_sub(1, Relaxed);
        self.places.taken.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    /// An address whose bucket is not that of [`ONE`].
    fn other(places: &Places, nth: usize) -> IpAddr {
        let all = (0..=255).map(|last| IpAddr::from([198, 51, 100, last]));
        let mut others = all.filter(|it| places.held.of(*it) != places.held.of(ONE));
        others.nth(nth).expect("few share a bucket")
    }

    fn take_all(places: &Arc<Places>, client: IpAddr) -> Vec<Place> {
        std::iter::from_fn(|| places.take(client)).collect()
    }

    #[test]
    fn one_alone_has_three_quarters() {
        for (max, his) in [(1, 1), (2, 2), (4, 3), (8, 6), (10, 8), (2048, 1536)] {
            assert_eq!(take_all(&Places::new(max), ONE).len(), his, "of {max}");
        }
    }

    #[test]
    fn who_comes_next_has_the_same_part_of_the_rest() {
        let places = Places::new(2048);
        let greedy = take_all(&places, ONE);
        assert_eq!(take_all(&places, other(&places, 0)).len(), 384);
        assert!(places.take(other(&places, 0)).is_some(), "they are back");
        drop(greedy);
    }

    #[test]
    fn many_never_take_more_than_there_are() {
        let places = Places::new(100);
        let held: Vec<Place> = (0..200)
            .flat_map(|nth| take_all(&places, other(&places, nth)))
            .collect();
        assert_eq!((held.len(), places.taken()), (100, 100));
        drop(held);
        assert_eq!(places.taken(), 0);
        assert_eq!(take_all(&places, ONE).len(), 75, "all are given back");
    }
}
