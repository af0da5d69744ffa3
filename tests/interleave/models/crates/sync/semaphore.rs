//! tokio's places.

use std::sync::Arc;

pub use tokio::sync::TryAcquireError;

use crate::step;

/// So many places.
#[derive(Debug)]
pub struct Semaphore(Arc<tokio::sync::Semaphore>);

/// A place, given back when dropped.
#[derive(Debug)]
pub struct OwnedSemaphorePermit(
    #[expect(dead_code, reason = "it is held")] tokio::sync::OwnedSemaphorePermit,
);

impl Semaphore {
    pub fn new(places: usize) -> Self {
        Self(Arc::new(tokio::sync::Semaphore::new(places)))
    }

    pub fn available_permits(&self) -> usize {
        step();
        self.0.available_permits()
    }

    pub fn try_acquire_owned(self: Arc<Self>) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        step();
        self.0.clone().try_acquire_owned().map(OwnedSemaphorePermit)
    }
}
