//! Identical questions share one fetch.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::wire::Asked;

/// A leader can leave before he has landed, when his client does; then one of those who wait leads.
/// So many who leave one after the other are no accident.
const LEADERS_MAX: usize = 8;

/// Fetches on their way, by question: no more than there are queries that wait and refreshes.
pub(super) struct Flights<T>(Mutex<HashMap<Asked, watch::Receiver<Option<T>>>>);

/// One's part in a flight.
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart in the next line"
)]
enum Part<T> {
    Lead(Landing<T>),
    Follow(watch::Receiver<Option<T>>),
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    /// Has a question fetched in the caller's own task, or waits for the one who does. None: all who led have left.
    pub(super) async fn join<F>(this: &Arc<Self>, asked: Asked, fetch: impl Fn() -> F) -> Option<T>
    where
        F: Future<Output = T> + Send,
    {
        for _ in 0..LEADERS_MAX {
            match this.board(asked) {
                Part::Lead(landing) => return Some(landing.land(fetch().await)),
                Part::Follow(mut landed) => {
                    if let Ok(fetched) = landed.wait_for(Option::is_some).await {
                        return fetched.clone();
                    }
                }
            }
        }
        None
    }

    fn board(self: &Arc<Self>, asked: Asked) -> Part<T> {
        let mut flights = self.0.lock().expect("no holder of this lock panics");
        if let Some(flight) = flights.get(&asked) {
            return Part::Follow(flight.clone());
        }
        let (land, landed) = watch::channel(None);
        flights.insert(asked, landed);
        Part::Lead(Landing {
            flights: self.clone(),
            asked,
            land,
        })
    }
}

/// A flight that is led; it is off the board when this is dropped.
struct Landing<T> {
    flights: Arc<Flights<T>>,
    asked: Asked,
    land: watch::Sender<Option<T>>,
}

impl<T: Clone> Landing<T> {
    /// Tells all who wait, and those who come now ask the cache.
    fn land(self, fetched: T) -> T {
        self.land.send_replace(Some(fetched.clone()));
        fetched
    }
}

impl<T> Drop for Landing<T> {
    fn drop(&mut self) {
        if let Ok(mut flights) = self.flights.0.lock() {
            flights.remove(&self.asked);
        }
    }
}
