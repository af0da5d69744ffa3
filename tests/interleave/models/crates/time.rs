//! tokio's clock and time-outs, on the virtual clock.

use std::future::{Future, pending};
use std::pin::pin;
use std::task::Poll;

use models_std::time::{Duration, NEVER, ends, pass_until};

/// A moment, as tokio has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(models_std::time::Instant);

impl Instant {
    pub fn now() -> Self {
        Self(models_std::time::Instant::now())
    }

    pub fn into_std(self) -> models_std::time::Instant {
        self.0
    }
}

impl From<models_std::time::Instant> for Instant {
    fn from(moment: models_std::time::Instant) -> Self {
        Self(moment)
    }
}

impl std::ops::Add<Duration> for Instant {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0 + time)
    }
}

/// Waits until then. It may be the next thing that happens, or come after much else; far off, it never comes.
pub async fn sleep_until(then: Instant) {
    if then
        .0
        .saturating_duration_since(models_std::time::Instant::now())
        >= NEVER
    {
        pending::<()>().await;
    }
    while !ends() {
        crate::task::yield_now().await;
    }
    pass_until(then.0);
}

/// Waits so long.
pub async fn sleep(time: Duration) {
    sleep_until(Instant::now() + time).await;
}

/// The time is up.
#[derive(Debug, PartialEq, Eq)]
pub struct Elapsed;

/// Waits for a future, for so long.
///
/// # Errors
/// When the time is up first.
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    let (mut future, mut over) = (pin!(future), pin!(sleep(limit)));
    std::future::poll_fn(|context| {
        if let Poll::Ready(done) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(done));
        }
        over.as_mut().poll(context).map(|()| Err(Elapsed))
    })
    .await
}
