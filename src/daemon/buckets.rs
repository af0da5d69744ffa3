//! A table over clients' addresses that cannot grow.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::ops::Index;

/// So many values, each for whatever addresses come to it: when there are more than these, some share one by chance,
/// and nobody can choose with whom.
pub(super) struct Buckets<T> {
    hasher: RandomState,
    values: Box<[T]>,
}

impl<T: Default> Buckets<T> {
    pub(super) fn new(count: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            values: (0..count).map(|_| T::default()).collect(),
        }
    }
}

impl<T> Buckets<T> {
    /// The number of an address's bucket.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a hash is cut to the table's size"
    )]
    pub(super) fn of(&self, address: IpAddr) -> usize {
        self.hasher.hash_one(address) as usize % self.values.len()
    }
}

impl<T> Index<usize> for Buckets<T> {
    type Output = T;

    fn index(&self, number: usize) -> &T {
        &self.values[number]
    }
}
