//! A query log in memory: who asked, in the order in which it was written.

use std::sync::{Arc, Condvar, Mutex};
use std::time::NEVER;

use super::queue::Record;
use super::reloads::Reloads;

/// What was written: the ports of clients, with a `?` where the policy that judged is not known any more, and events.
#[derive(Default)]
pub(super) struct Written {
    lines: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Clone, Default)]
struct Lines {
    all: Vec<String>,
    is_closed: bool,
}

impl Written {
    pub(super) fn lines(&self) -> Vec<String> {
        self.lines
            .lock()
            .expect("nobody panics with it")
            .all
            .clone()
    }

    /// Waits for so many lines. It does not look again and again: shuttle would wake a writer who sleeps for that.
    pub(super) fn wait_for(&self, count: usize) {
        self.wait_while(|it| it.all.len() < count);
    }

    /// Waits until the writer has let go of the log.
    pub(super) fn wait_for_end(&self) {
        self.wait_while(|it| !it.is_closed);
    }

    fn wait_while(&self, is_early: impl Fn(&Lines) -> bool) {
        let lines = self.lines.lock().expect("nobody panics with it");
        let waited = self
            .changed
            .wait_timeout_while(lines, NEVER, |it| is_early(it));
        drop(waited.expect("nobody panics with it"));
    }

    fn change(&self, change: impl FnOnce(&mut Lines)) {
        change(&mut self.lines.lock().expect("nobody panics with it"));
        self.changed.notify_all();
    }
}

/// The log.
pub(super) struct QueryLog(pub(super) Arc<Written>);

impl QueryLog {
    pub(super) fn query(&mut self, record: &Record, reloads: &Reloads) {
        let is_known = reloads.live().is_none() || reloads.generation(record.generation).is_some();
        let doubt = if is_known { "" } else { "?" };
        self.write(format!("{}{doubt}", record.client.port()));
    }

    pub(super) fn event(&mut self, line: &str) {
        self.write(line.to_owned());
    }

    pub(super) fn reopen(&mut self) {
        self.write("reopened".to_owned());
    }

    pub(super) fn flush(&mut self) {}

    fn write(&mut self, line: String) {
        self.0.change(|it| it.all.push(line));
    }
}

impl Drop for QueryLog {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.0.change(|it| it.is_closed = true);
        }
    }
}
