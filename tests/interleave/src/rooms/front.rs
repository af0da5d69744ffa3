//! What a front asks of the road, as in `src/front/mod.rs`, on the clock of the models.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

pub use namegate::front::{Client, Keeper, Step, Transport};

/// What every message goes through, whatever carries it.
pub trait Road: Send + Sync + 'static {
    /// A query that waits.
    type Pending: Send + 'static;
    /// A query that has waited.
    type Ready: Send + 'static;

    /// Takes a message as far as it goes without waiting.
    fn answer_now(
        self: &Arc<Self>,
        octets: &[u8],
        client: &Client,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Step<Self::Pending>;

    /// Waits for what the query has to wait for.
    fn answer_later(
        self: &Arc<Self>,
        pending: Self::Pending,
    ) -> impl Future<Output = Self::Ready> + Send;

    /// Takes it the rest of the way.
    fn finish(self: &Arc<Self>, ready: Self::Ready, out: &mut Vec<u8>);
}
