//! quick_cache's map: what its operations promise, behind one lock that shuttle knows. It has no bound.

use std::hash::BuildHasher;
use std::marker::PhantomData;

pub use quick_cache::sync::DefaultLifecycle;
use quick_cache::{Equivalent, Lifecycle, Options, Weighter};
use shuttle::sync::{Mutex, MutexGuard};

/// Entries by key.
pub struct Cache<K, V, W, B, L> {
    entries: Mutex<Vec<(K, V)>>,
    weighter: W,
    lifecycle: L,
    hasher: PhantomData<B>,
}

impl<K, V, W, B, L> Cache<K, V, W, B, L>
where
    K: Eq,
    V: Clone,
    W: Weighter<K, V>,
    B: BuildHasher,
    L: Lifecycle<K, V>,
{
    pub fn with_options(_: Options, weighter: W, _: B, lifecycle: L) -> Self {
        Self {
            entries: Mutex::default(),
            weighter,
            lifecycle,
            hasher: PhantomData,
        }
    }

    pub fn reserve(&self, _more: usize) {}

    pub fn get<Q: Equivalent<K>>(&self, key: &Q) -> Option<V> {
        let entries = self.lock();
        let found = entries.iter().find(|(it, _)| key.equivalent(it));
        found.map(|(_, value)| value.clone())
    }

    pub fn peek<Q: Equivalent<K>>(&self, key: &Q) -> Option<V> {
        self.get(key)
    }

    pub fn insert(&self, key: K, value: V) {
        let mut entries = self.lock();
        if let Err(new) = self.put(&mut entries, key, value) {
            entries.push(new);
        }
    }

    /// Takes the place of an entry, where there is one.
    pub fn replace(&self, key: K, value: V, _soft: bool) -> Result<(), (K, V)> {
        self.put(&mut self.lock(), key, value)
    }

    fn put(&self, entries: &mut [(K, V)], key: K, value: V) -> Result<(), (K, V)> {
        let Some(entry) = entries.iter_mut().find(|(it, _)| *it == key) else {
            return Err((key, value));
        };
        let (key, value) = std::mem::replace(entry, (key, value));
        let mut state = L::RequestState::default();
        self.lifecycle.on_evict(&mut state, key, value);
        Ok(())
    }

    /// Takes out one after the other; others come and go meanwhile.
    pub fn drain(&self) -> impl Iterator<Item = (K, V)> {
        std::iter::from_fn(|| {
            let mut entries = self.lock();
            (!entries.is_empty()).then(|| entries.remove(0))
        })
    }

    pub fn weight(&self) -> u64 {
        let entries = self.lock();
        entries
            .iter()
            .map(|(key, value)| self.weighter.weight(key, value))
            .sum()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(K, V)>> {
        self.entries.lock().expect("nobody panics with it")
    }
}
