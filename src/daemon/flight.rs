//! Identical questions share one fetch.

use std::collections::HashMap;
use std::future::Future;
use std::hash::BuildHasher;
use std::mem::ManuallyDrop;
use std::sync::{Mutex, MutexGuard};

use foldhash::fast::RandomState;
use tokio::sync::oneshot;

use crate::wire::Asked;

/// A leader can leave before he has landed, when his client does; then one of those who wait leads.
/// So many who leave one after the other are no accident.
const LEADERS_MAX: usize = 8;
/// Boards, so that threads seldom meet at one.
const BOARDS: usize = 16;

/// Those who wait for a fetch that somebody else leads.
type Followers<T> = Vec<oneshot::Sender<T>>;

/// Fetches on their way, by question: no more than there are queries that wait and refreshes.
pub(super) struct Flights<T> {
    hasher: RandomState,
    boards: [Mutex<HashMap<Asked, Followers<T>, RandomState>>; BOARDS],
}

/// One's part in a flight.
enum Part<'a, T> {
    Lead(Landing<'a, T>),
    Follow(oneshot::Receiver<T>),
}

impl<T: Clone> Flights<T> {
    pub(super) fn new() -> Self {
        Self {
            hasher: RandomState::default(),
            boards: Default::default(),
        }
    }

    /// Has a question fetched in the caller's own task, or waits for the one who does. None: all who led have left.
    pub(super) async fn join<F>(&self, asked: &Asked, fetch: impl Fn() -> F) -> Option<T>
    where
        F: Future<Output = T>,
    {
        for _ in 0..LEADERS_MAX {
            match self.board(asked) {
                Part::Lead(landing) => return Some(landing.land(fetch().await)),
                Part::Follow(landed) => {
                    if let Ok(fetched) = landed.await {
                        return Some(fetched);
                    }
                }
            }
        }
        None
    }

    fn board<'a>(&'a self, asked: &'a Asked) -> Part<'a, T> {
        let mut flights = self.at(asked);
        if let Some(followers) = flights.get_mut(asked) {
            let (land, landed) = oneshot::channel();
            followers.push(land);
            return Part::Follow(landed);
        }
        flights.insert(*asked, Vec::new());
        Part::Lead(Landing {
            flights: self,
            asked,
        })
    }
}

impl<T> Flights<T> {
    fn at(&self, asked: &Asked) -> MutexGuard<'_, HashMap<Asked, Followers<T>, RandomState>> {
        let board = self.hasher.hash_one(asked) % BOARDS as u64;
        let board = usize::try_from(board).expect("it is small");
        let flights = self.boards[board].lock();
        flights.expect("no holder of this lock panics")
    }
}

/// A flight that is led; it is off the board when this is dropped, and whoever has not been told boards anew.
struct Landing<'a, T> {
    flights: &'a Flights<T>,
    asked: &'a Asked,
}

impl<T> Landing<'_, T> {
    /// Tells all who wait, and those who come now ask the cache.
    fn land(self, fetched: T) -> T
    where
        T: Clone,
    {
        // It leaves once: who comes after it may lead a flight of his own to the same place.
        let landing = ManuallyDrop::new(self);
        for follower in landing.leave() {
            // Who has stopped waiting needs no answer.
            let _ = follower.send(fetched.clone());
        }
        fetched
    }

    /// Takes the flight off the board. Returns those who follow.
    fn leave(&self) -> Followers<T> {
        let mut flights = self.flights.at(self.asked);
        flights.remove(self.asked).unwrap_or_default()
    }
}

impl<T> Drop for Landing<'_, T> {
    fn drop(&mut self) {
        drop(self.leave());
    }
}

#[cfg(test)]
#[allow(clippy::panic, reason = "tests may")]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::wire::Type;

    fn asked(name: &str) -> Asked {
        Asked {
            name: name.parse().expect(name),
            kind: Type::A,
            dnssec_ok: false,
            checking_disabled: false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_fly_as_one() {
        let (flights, fetched) = (Flights::new(), Cell::new(0));
        let fetch = || async {
            sleep(Duration::from_secs(1)).await;
            fetched.replace(fetched.get() + 1)
        };
        let (one, other) = (asked("a.example"), asked("b.example"));
        let (first, second, third, elsewhere) = tokio::join!(
            flights.join(&one, fetch),
            flights.join(&one, fetch),
            flights.join(&one, fetch),
            flights.join(&other, fetch),
        );
        assert_eq!((first, second), (second, third));
        assert_ne!(first, elsewhere);
        assert_eq!(
            flights.join(&one, fetch).await,
            Some(2),
            "it was off the board"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn another_leads_when_the_leader_leaves() {
        let flights = Flights::new();
        let one = asked("a.example");
        let slow = || async {
            sleep(Duration::from_secs(10)).await;
            "slow"
        };
        let leader = timeout(Duration::from_secs(1), flights.join(&one, slow));
        let follower = flights.join(&one, || async { "quick" });
        let (left, landed) = tokio::join!(leader, follower);
        assert!(left.is_err());
        assert_eq!(landed, Some("quick"));
    }

    #[tokio::test]
    async fn one_who_has_landed_takes_nobody_else_off_the_board() {
        let flights = Flights::new();
        let one = asked("a.example");
        let Part::Lead(first) = flights.board(&one) else {
            panic!("nobody was there")
        };
        let Part::Follow(follower) = flights.board(&one) else {
            panic!("somebody leads")
        };
        assert_eq!(first.land(1), 1);
        assert_eq!(follower.await, Ok(1));
        let Part::Lead(second) = flights.board(&one) else {
            panic!("the first has landed")
        };
        assert!(matches!(flights.board(&one), Part::Follow(_)));
        drop(second);
        assert!(matches!(flights.board(&one), Part::Lead(_)));
    }
}
