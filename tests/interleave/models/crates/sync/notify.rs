//! tokio's notice.

use tokio::sync::futures::Notified;

use crate::step;

/// Keeps one notice for whoever comes to wait.
#[derive(Debug, Default)]
pub struct Notify(tokio::sync::Notify);

impl Notify {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn notify_one(&self) {
        step();
        self.0.notify_one();
    }

    pub fn notified(&self) -> Notified<'_> {
        step();
        self.0.notified()
    }
}
