//! tokio's channel for one message.

pub use tokio::sync::oneshot::Receiver;

use crate::step;

/// The near end; dropping it is a step, too.
#[derive(Debug)]
pub struct Sender<T>(Option<tokio::sync::oneshot::Sender<T>>);

/// A channel.
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    (Sender(Some(sender)), receiver)
}

impl<T> Sender<T> {
    pub fn send(mut self, message: T) -> Result<(), T> {
        step();
        let sender = self.0.take().expect("it is taken here alone");
        sender.send(message)
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.is_some() && !std::thread::panicking() {
            step();
        }
    }
}
