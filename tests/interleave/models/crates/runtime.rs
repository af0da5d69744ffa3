//! tokio's runtime: wherever it is asked for, tasks are shuttle's.

use std::cell::Cell;
use std::future::Future;

use crate::task::{JoinHandle, spawn, spawn_blocking};

thread_local! {
    /// All threads of one schedule are one thread of the machine.
    static BESIDE: Cell<usize> = const { Cell::new(0) };
}

/// One that goes on beside those who asked for it.
struct Counted;

impl Counted {
    fn new() -> Self {
        BESIDE.set(BESIDE.get() + 1);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        BESIDE.set(BESIDE.get() - 1);
    }
}

/// Tasks that were begun through a handle and go on.
pub fn beside() -> usize {
    BESIDE.get()
}

/// A runtime from outside.
#[derive(Clone, Debug)]
pub struct Handle;

impl Handle {
    pub fn current() -> Self {
        Self
    }

    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let counted = Counted::new();
        spawn(async move {
            let _counted = counted;
            future.await
        })
    }

    pub fn spawn_blocking<F, T>(&self, work: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        spawn_blocking(work)
    }
}

/// Makes a runtime.
pub struct Builder;

/// A runtime, for whoever has it.
pub struct Runtime;

impl Builder {
    pub fn new_current_thread() -> Self {
        Self
    }

    pub fn enable_all(&mut self) -> &mut Self {
        self
    }

    pub fn build(&mut self) -> std::io::Result<Runtime> {
        Ok(Runtime)
    }
}

impl Runtime {
    pub fn enter(&self) {}

    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        spawn(future)
    }

    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        shuttle::future::block_on(future)
    }
}
