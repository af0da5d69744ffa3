//! What tasks share: tokio's own primitives, one step an operation, and quick_cache's map.

pub mod broadcast;
pub mod mpsc;
pub mod oneshot;

mod map;
mod notify;
mod semaphore;

pub use map::{Cache, DefaultLifecycle};
pub use notify::Notify;
pub use semaphore::{OwnedSemaphorePermit, Semaphore};
