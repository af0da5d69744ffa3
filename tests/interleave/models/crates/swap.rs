//! arc_swap's pointer.

use std::sync::Arc;

use arc_swap::Guard;

use crate::step;

/// A pointer that is read and swapped, each in one step.
pub struct ArcSwap<T>(arc_swap::ArcSwap<T>);

impl<T> ArcSwap<T> {
    pub fn from_pointee(value: T) -> Self {
        Self(arc_swap::ArcSwap::from_pointee(value))
    }

    pub fn load(&self) -> Guard<Arc<T>> {
        step();
        self.0.load()
    }

    pub fn load_full(&self) -> Arc<T> {
        step();
        self.0.load_full()
    }

    pub fn store(&self, value: Arc<T>) {
        step();
        self.0.store(value);
    }
}
