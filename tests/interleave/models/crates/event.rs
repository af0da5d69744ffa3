//! notify, on a system that has no events left.

use std::path::Path;

pub use notify::event::*;
use notify::{Config, Error, EventHandler, RecursiveMode, Result, Watcher, WatcherKind};

/// There is none.
#[derive(Debug)]
pub enum RecommendedWatcher {}

impl Watcher for RecommendedWatcher {
    fn new<F: EventHandler>(_: F, _: Config) -> Result<Self> {
        Err(Error::generic("there are no events"))
    }

    fn watch(&mut self, _: &Path, _: RecursiveMode) -> Result<()> {
        match *self {}
    }

    fn unwatch(&mut self, _: &Path) -> Result<()> {
        match *self {}
    }

    fn kind() -> WatcherKind {
        WatcherKind::NullWatcher
    }
}
