//! The structures that the resolver's threads share, under many interleavings.
//!
//! The resolver's own sources are compiled here once more, as they stand, in a crate where
//! the names `std`, `tokio`, `arc_swap`, `quick_cache`, `notify` and `foldhash` mean models that tell
//! shuttle of every step at which threads can meet. `rooms` stands in for what is beside
//! them. Each module of `scenes` has one structure's story and what has to be true of it in
//! every schedule; `tests/` plays them.

#![allow(
    dead_code,
    unused_imports,
    dropping_copy_types,
    clippy::let_unit_value,
    clippy::needless_question_mark,
    reason = "of the sources only a part is played, and models have less to say than what they stand for"
)]

extern crate models_crates as arc_swap;
extern crate models_crates as foldhash;
extern crate models_crates as notify;
extern crate models_crates as quick_cache;
extern crate models_crates as tokio;
extern crate models_std as std;

/// What a thread has to itself is, of the resolver, its place in a table.
macro_rules! thread_local {
    (static $place:ident: usize = $by_turns:block;) => {
        static $place: $crate::explore::Place = $crate::explore::Place;
    };
    ($($own:tt)*) => { std::real_thread_local! { $($own)* } };
}

pub mod explore;

pub use namegate::{config, wire};

#[path = "../../../src/front"]
pub mod front {
    //! What serves a socket of datagrams.

    mod udp;

    #[path = "../../tests/interleave/src/rooms/kernel.rs"]
    mod kernel;
    #[path = "../../tests/interleave/src/rooms/front.rs"]
    mod model;

    pub use model::{Client, Keeper, Road, Step, Transport};

    #[path = "../../tests/interleave/src/scenes/drain.rs"]
    pub mod drain;
}

#[path = "rooms/matcher.rs"]
pub mod matcher;

#[path = "../../../src/policy"]
pub mod policy {
    //! The policy as it is, and the watch compiled anew.

    pub use namegate::policy::*;

    pub mod watch;
}

#[path = "../../../src/answer"]
pub mod answer {
    //! The desks as they are, and the cache compiled anew.

    pub use namegate::answer::{Desk, Outcome, Reason, Ruling, blocked, guard, special, why, zone};

    pub mod cache;

    #[path = "../../tests/interleave/src/rooms/upstream.rs"]
    pub mod upstream;
}

#[path = "../../../src/telemetry"]
pub mod telemetry {
    //! The queue and its writer compiled anew, the query log kept for whoever plays a scene.

    mod blocked;
    mod queue;
    mod reloads;
    mod trail;
    mod writer;

    #[path = "../../tests/interleave/src/rooms/metrics.rs"]
    mod metrics;
    #[path = "../../tests/interleave/src/rooms/telemetry.rs"]
    mod model;
    #[path = "../../tests/interleave/src/rooms/querylog.rs"]
    mod querylog;

    pub use model::{Counted, Done, Telemetry, Transport};
    pub use reloads::{Finding, Live, Watch};
    pub use trail::{Decision, Refusal, Sighting};

    #[path = "../../tests/interleave/src/scenes/ledger.rs"]
    pub mod ledger;
}

#[path = "../../../src/daemon"]
pub mod daemon {
    //! The corridor.

    mod announced;
    mod audit;
    mod buckets;
    mod cookies;
    mod fetch;
    mod flight;
    mod live;
    mod places;
    mod rate;
    mod reload;
    mod road;
    mod waiting;

    #[path = "../../tests/interleave/src/rooms/start_error.rs"]
    mod start_error;

    #[path = "../../tests/interleave/src/scenes/flights.rs"]
    pub mod flights;
    #[path = "../../tests/interleave/src/scenes/flush.rs"]
    pub mod flush;
    #[path = "../../tests/interleave/src/scenes/places.rs"]
    pub mod parts;
    #[path = "../../tests/interleave/src/scenes/reload.rs"]
    pub mod reloading;
    #[path = "../../tests/interleave/src/scenes/swap.rs"]
    pub mod swap;
}
