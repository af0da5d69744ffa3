//! Plays a scene under many schedules.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, begin};

use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner};

/// Steps of one schedule: a scene that takes more goes in circles.
const STEPS_MAX: usize = 200_000;
/// Changes of priority in a schedule of the second kind: a fault that takes more orderings than these is found by chance alone.
const DEPTH: usize = 3;

/// Plays a scene under so many schedules, times `NAMEGATE_SCHEDULES` where that is set: half of them drawn evenly, half
/// with few changes between threads, of which a fault needs more seldom than it seems (PCT). A scene that panics, that
/// goes in circles or in which all wait for each other fails, and shuttle prints the schedule to play again.
pub fn explore(schedules: usize, scene: fn()) {
    let times = std::env::var("NAMEGATE_SCHEDULES")
        .map_or(1, |it| it.parse().expect("NAMEGATE_SCHEDULES is a number"));
    let half = schedules * times / 2;
    let played =
        play(RandomScheduler::new(half), scene) + play(PctScheduler::new(DEPTH, half), scene);
    report(played, "");
}

/// Plays a scene under every schedule there is, which are fewer than `most`; it draws no lots.
pub fn explore_all(most: usize, scene: fn()) {
    let played = play(DfsScheduler::new(Some(most), false), scene);
    assert!(played < most, "there are more schedules than {most}");
    report(played, ", which are all");
}

fn report(played: usize, more: &str) {
    let thread = std::thread::real();
    println!(
        "{}: {played} schedules{more}",
        thread.name().unwrap_or_default()
    );
}

fn play(scheduler: impl Scheduler + 'static, scene: fn()) -> usize {
    let mut config = Config::new();
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    config.stack_size = 1 << 20;
    config.silence_warnings = true;
    let runner = Runner::new(scheduler, config);
    runner.run(move || {
        begin();
        scene();
    })
}

/// A wait that may be over at any moment.
pub const SOON: Duration = Duration::from_secs(1);

/// What a future has come to by now.
pub async fn by_now<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| {
        Poll::Ready(match future.as_mut().poll(context) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        })
    })
    .await
}

/// Lets the others go on for a while.
pub fn linger() {
    for _ in 0..below(40) {
        shuttle::thread::yield_now();
    }
}

/// A number below so many.
pub fn below(bound: usize) -> usize {
    use shuttle::rand::Rng;
    shuttle::rand::thread_rng().gen_range(0..bound)
}

/// More threads than this share a place, so that some meet there and some do not.
const PLACES: usize = 3;

/// The place of the thread that asks, in a table by threads.
pub struct Place;

impl Place {
    /// Uses it.
    pub fn with<R>(&self, then: impl FnOnce(&usize) -> R) -> R {
        then(&(usize::from(shuttle::current::me()) % PLACES))
    }
}
