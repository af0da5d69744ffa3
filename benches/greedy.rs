//! A greedy client, for as long as it is let: what the resolver takes, and what another client sees beside it.
//!
//! `cargo bench --bench greedy` lets each flood go on for 20 s, `cargo bench --bench greedy -- 5` for 5; it prints a row for
//! each as it ends. The program is the built one, or that of the variable PROGRAM, in a process of its own; all traffic stays
//! on loopback. `tests/greedy.rs` is the same for a moment each, with bounds.

#![allow(missing_docs, unreachable_pub, clippy::print_stdout)]

#[path = "../tests/greedy/flood.rs"]
mod flood;
#[path = "../tests/greedy/house.rs"]
mod house;
#[path = "../tests/greedy/other.rs"]
mod other;
#[path = "../tests/greedy/peak.rs"]
mod peak;

use std::thread;
use std::time::Duration;

use flood::Flood;
use house::House;
use other::{Other, Seen};
use peak::Peak;

const SECONDS: u64 = 20;
/// What waits for upstream has been given up by then, and what is idle has been closed.
const CALM: Duration = Duration::from_secs(12);

fn main() {
    // The harness has flags of its own.
    let seconds = std::env::args().skip(1).find_map(|it| it.parse().ok());
    let time = Duration::from_secs(seconds.unwrap_or(SECONDS));
    println!(
        "| flood, {} s | sent | upstream heard | MiB | MiB after | descriptors | after | asked | again | wrong | p99 ms | worst ms |",
        time.as_secs()
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    row(None, time);
    Flood::ALL.into_iter().for_each(|it| row(Some(it), time));
}

/// One flood on a resolver of its own, or none.
fn row(flood: Option<Flood>, time: Duration) {
    let built = env!("CARGO_BIN_EXE_namegate").to_owned();
    let house = House::open(&std::env::var("PROGRAM").unwrap_or(built));
    let other = Other::arrive(house.server());
    let (sent, peak) = Peak::during(&house, || match flood {
        Some(flood) => flood.pour(house.server(), time),
        None => {
            thread::sleep(time);
            0
        }
    });
    let (seen, heard) = (other.leave(), house.heard());
    thread::sleep(CALM);
    println!(
        "| {} | {sent} | {heard} | {} | {} | {} | {} | {} |",
        flood.map_or("none".to_owned(), |it| format!("{it:?}")),
        peak.octets >> 20,
        house.octets() >> 20,
        peak.descriptors,
        house.descriptors(),
        seen_by(&seen),
    );
}

fn seen_by(seen: &Seen) -> String {
    let ms = |of_a_thousand| seen.within(of_a_thousand).as_secs_f64() * 1e3;
    let (asked, again, wrong) = (seen.asked, seen.again, seen.wrong.len());
    format!(
        "{asked} | {again} | {wrong} | {:.1} | {:.1}",
        ms(990),
        ms(1000)
    )
}
