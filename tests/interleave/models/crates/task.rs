//! tokio's tasks.

use std::future::Future;

pub use shuttle::future::{JoinHandle, yield_now};

/// A task of shuttle.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    shuttle::future::spawn(future)
}

/// Work beside the tasks.
pub fn spawn_blocking<F, T>(work: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    spawn(async move { work() })
}

/// Work that the other tasks do not wait for.
pub fn block_in_place<F, T>(work: F) -> T
where
    F: FnOnce() -> T,
{
    work()
}
