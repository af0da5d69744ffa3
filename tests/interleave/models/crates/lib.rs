//! Stands in for the crates that the resolver's threads share things by, under shuttle.
//!
//! What tokio and arc_swap promise is taken for granted: their own primitives are used,
//! each operation of them is one step, and a step is a place where another thread may go
//! on before it. Tasks are shuttle's. The map of quick_cache is a list behind a lock, as
//! the crate's own locks know nothing of shuttle. foldhash has the same seed each time, so
//! that a schedule can be played again. One crate under four names, as their paths differ.

pub mod event;
pub mod io;
pub mod runtime;
pub mod sync;
pub mod task;
pub mod time;

mod swap;

pub use event::RecommendedWatcher;
pub use notify::{Config, Error, Event, EventKind, RecursiveMode, Result, Watcher};
pub use quick_cache::{Equivalent, Lifecycle, OptionsBuilder, Weighter};
pub use swap::ArcSwap;
pub use task::spawn;
#[doc(hidden)]
pub use tokio as real;

/// tokio's, which would draw lots.
#[macro_export]
macro_rules! select {
    (biased; $($branches:tt)*) => { $crate::real::select! { biased; $($branches)* } };
    ($($branches:tt)*) => { $crate::real::select! { biased; $($branches)* } };
}

pub mod fast {
    //! foldhash's fast hash.

    pub type RandomState = foldhash::fast::FixedState;
}

/// A place where another thread may go on.
pub(crate) fn step() {
    let nothing = shuttle::sync::atomic::AtomicBool::new(false);
    nothing.load(std::sync::atomic::Ordering::SeqCst);
}
