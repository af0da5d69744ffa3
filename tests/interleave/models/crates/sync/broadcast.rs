//! tokio's queue with many far ends.

pub use tokio::sync::broadcast::{Receiver, Sender, channel};
