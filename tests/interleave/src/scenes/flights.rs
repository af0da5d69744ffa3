//! Identical questions share one fetch, whoever leaves meanwhile.
//!
//! In every schedule: one fetch at a time for a question; every asker who stays is told
//! what was fetched while he waited, or, if eight leaders left before him, that nobody
//! knows; as many fetches begin as leaders have left or landed; and no board holds anything
//! in the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::task::{JoinHandle, spawn, yield_now};
use tokio::time::timeout;

use super::flight::Flights;
use crate::explore::{SOON, below, by_now};
use crate::wire::{Asked, Type};

/// Those who fetch.
#[derive(Default)]
struct Ledger {
    begun: AtomicUsize,
    landed: AtomicUsize,
    left: AtomicUsize,
    aloft: AtomicUsize,
    /// One more than the latest fetch that somebody was told of.
    told: AtomicUsize,
}

/// One fetch; it has left when it is dropped before its end.
struct Fetch<'a>(&'a Ledger, bool);

impl<'a> Fetch<'a> {
    fn begin(ledger: &'a Ledger) -> Self {
        assert_eq!(
            ledger.aloft.fetch_add(1, SeqCst),
            0,
            "two fetches of one question"
        );
        ledger.begun.fetch_add(1, SeqCst);
        Self(ledger, false)
    }

    /// The number of fetches that had landed before.
    fn land(mut self) -> usize {
        self.1 = true;
        self.0.landed.fetch_add(1, SeqCst)
    }
}

impl Drop for Fetch<'_> {
    fn drop(&mut self) {
        self.0.aloft.fetch_sub(1, SeqCst);
        if !self.1 {
            self.0.left.fetch_add(1, SeqCst);
        }
    }
}

type Shared = Arc<(Flights<usize>, Ledger)>;

fn asked(name: &str) -> Asked {
    Asked {
        name: name.parse().expect(name),
        kind: Type::A,
        dnssec_ok: false,
        checking_disabled: false,
    }
}

/// One who asks: none, where he was told that nobody knows.
async fn ask(shared: &Shared) -> Option<usize> {
    let (flights, ledger) = &**shared;
    let told_before = ledger.told.load(SeqCst);
    let fetch = || async {
        let fetch = Fetch::begin(ledger);
        for _ in 0..below(3) {
            yield_now().await;
        }
        fetch.land()
    };
    let told = flights.join(&asked("a.example"), fetch).await;
    // A flight that others know the answer of is over: nobody joins it.
    assert!(
        told.is_none_or(|number| number >= told_before),
        "an answer from before the question"
    );
    ledger
        .told
        .fetch_max(told.map_or(0, |number| number + 1), SeqCst);
    told
}

/// One who leaves at any moment.
async fn ask_in_haste(shared: Shared) {
    // That he left is no matter to anybody but him.
    drop(timeout(SOON, ask(&shared)).await);
}

fn hasty(shared: &Shared, count: usize) -> Vec<JoinHandle<()>> {
    (0..count)
        .map(|_| spawn(ask_in_haste(shared.clone())))
        .collect()
}

fn staying(shared: &Shared, count: usize) -> Vec<JoinHandle<Option<usize>>> {
    let stay = |_| {
        let shared = shared.clone();
        spawn(async move { ask(&shared).await })
    };
    (0..count).map(stay).collect()
}

async fn finish(shared: &Shared, hasty: Vec<JoinHandle<()>>) {
    for task in hasty {
        task.await.expect("it ends");
    }
    let (flights, ledger) = &**shared;
    let count = |of: &AtomicUsize| of.load(SeqCst);
    assert_eq!(count(&ledger.aloft), 0);
    assert_eq!(
        count(&ledger.begun),
        count(&ledger.landed) + count(&ledger.left)
    );
    // Whoever comes now leads, as nobody is on the board: he waits for none.
    let fetch = || async { usize::MAX };
    let alone = by_now(flights.join(&asked("a.example"), fetch)).await;
    assert_eq!(
        alone,
        Some(Some(usize::MAX)),
        "a flight is on the board when all have gone"
    );
}

/// Two stay, three leave at any moment.
pub fn leaders_come_and_go() {
    shuttle::future::block_on(async {
        let shared = Shared::new((Flights::new(), Ledger::default()));
        let hasty = hasty(&shared, 3);
        for told in staying(&shared, 2) {
            let told = told.await.expect("it ends");
            assert!(told.is_some(), "fewer than eight leaders have left");
        }
        finish(&shared, hasty).await;
    });
}

/// All who led have left: whoever stays is told so, and does not wait for ever.
pub fn more_leaders_leave_than_one_waits_for() {
    shuttle::future::block_on(async {
        let shared = Shared::new((Flights::new(), Ledger::default()));
        let hasty = hasty(&shared, 10);
        let staying = staying(&shared, 1);
        for told in staying {
            let told = told.await.expect("it ends");
            let left = shared.1.left.load(SeqCst);
            assert!(told.is_some() || left >= 8, "{left} have left");
        }
        finish(&shared, hasty).await;
    });
}

/// Tasks are taken away, as a front's are that closes.
pub fn tasks_are_aborted() {
    shuttle::future::block_on(async {
        let shared = Shared::new((Flights::new(), Ledger::default()));
        let leaving = staying(&shared, 2);
        let staying = staying(&shared, 2);
        leaving.iter().for_each(JoinHandle::abort);
        for told in staying {
            assert!(told.await.expect("it ends").is_some());
        }
        for task in leaving {
            drop(task.await);
        }
        finish(&shared, Vec::new()).await;
    });
}
