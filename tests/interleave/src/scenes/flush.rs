//! The cache is emptied while queries are on their way.
//!
//! In every schedule: whoever asks after it was emptied is told nothing that lay in it, neither from the map nor from
//! what threads have near, nor from what those who came before had in their hands; and an answer that upstream gave is
//! not displaced by an older one. Whoever joins a fetch that was on its way at the flush is told what that comes to.

use std::sync::Arc;
use std::time::{Duration, pass};

use super::swap::World;
use crate::config::Config;

/// The corridor with an answer in its cache: 93.184.216.1, from a minute.
fn world() -> Arc<World> {
    let mut config = Config::default();
    config.cache.serve_stale = Duration::from_secs(1800);
    let world = Arc::new(World::new(config, &["a.example"]));
    let told = shuttle::future::block_on(world.ask("a.example", 1));
    assert_eq!(told.address, Some(1));
    world
}

/// Asks, in a task of his own.
fn ask(world: &Arc<World>, port: u16) -> tokio::task::JoinHandle<Option<u8>> {
    let world = world.clone();
    tokio::spawn(async move { world.ask("a.example", port).await.address })
}

fn wait_for(asked: Vec<tokio::task::JoinHandle<Option<u8>>>) -> Vec<Option<u8>> {
    let told = asked.into_iter().map(shuttle::future::block_on);
    told.map(|told| told.expect("it ends")).collect()
}

/// A good answer lies in the map and near those who asked for it.
pub fn a_fresh_answer_is_flushed() {
    let world = world();
    let before = (2..5).map(|port| ask(&world, port)).collect();
    world.upstreams.say(2);
    world.road.cache().clear();
    let after = (5..8).map(|port| ask(&world, port)).collect();
    assert_eq!(wait_for(after), [Some(2); 3]);
    for told in wait_for(before) {
        assert!(matches!(told, Some(1 | 2)));
    }
    assert_eq!(wait_for(vec![ask(&world, 8)]), [Some(2)]);
}

/// An answer past its time is in use because upstream fails, and those who use it put it back.
pub fn a_stale_answer_is_flushed() {
    let world = world();
    pass(Duration::from_secs(61));
    world.upstreams.say(0);
    let before = (2..5).map(|port| ask(&world, port)).collect();
    world.road.cache().clear();
    let told = [wait_for(before), wait_for(vec![ask(&world, 5)])].concat();
    assert!(told.iter().all(|it| matches!(it, None | Some(1))));
    while tokio::runtime::beside() > 0 {
        shuttle::thread::yield_now();
    }
    assert_eq!(
        wait_for(vec![ask(&world, 8)]),
        [None],
        "what was flushed was put back"
    );
}

/// Upstream is slow rather than dead: what it says at last stays, and what was held meanwhile does not come over it.
pub fn a_late_answer_is_not_displaced() {
    let world = world();
    pass(Duration::from_secs(61));
    world.upstreams.say(2);
    wait_for((2..5).map(|port| ask(&world, port)).collect());
    while tokio::runtime::beside() > 0 {
        shuttle::thread::yield_now();
    }
    assert_eq!(wait_for(vec![ask(&world, 8)]), [Some(2)]);
}
