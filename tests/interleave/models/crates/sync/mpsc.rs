//! tokio's queue.

pub use tokio::sync::mpsc::{Receiver, Sender, channel};
