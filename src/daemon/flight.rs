//! Identical questions share one fetch.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::answer::cache::Asked;

/// Fetches on their way, by question.
///
/// A fetch runs in a task of its own, so that no client's leaving ends it for the
/// others. Each begins with a query in flight and ends within the time of a question,
/// so there are at most as many as queries can come to wait in that time.
pub(super) struct Flights<T>(Mutex<HashMap<Asked, watch::Receiver<Option<T>>>>);

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    /// Waits for the fetch of a question, which `fetch` begins where there is none. None: it has failed in a way
    /// that it never should.
    pub(super) async fn join<F>(
        this: &Arc<Self>,
        asked: Asked,
        fetch: impl FnOnce() -> F,
    ) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut landed = this.board(asked, fetch);
        let landed = landed.wait_for(Option::is_some).await.ok()?;
        landed.clone()
    }

    fn board<F>(
        self: &Arc<Self>,
        asked: Asked,
        fetch: impl FnOnce() -> F,
    ) -> watch::Receiver<Option<T>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut flights = self.0.lock().expect("no holder of this lock panics");
        if let Some(flight) = flights.get(&asked) {
            return flight.clone();
        }
        let (land, landed) = watch::channel(None);
        flights.insert(asked, landed.clone());
        let (fetch, entry) = (
            fetch(),
            Landing {
                flights: self.clone(),
                asked,
            },
        );
        tokio::spawn(async move {
            let fetched = fetch.await;
            drop(entry);
            land.send_replace(Some(fetched));
        });
        landed
    }
}

/// Takes a flight off the board, also when its task ends in a panic.
struct Landing<T> {
    flights: Arc<Flights<T>>,
    asked: Asked,
}

impl<T> Drop for Landing<T> {
    fn drop(&mut self) {
        if let Ok(mut flights) = self.flights.0.lock() {
            flights.remove(&self.asked);
        }
    }
}
