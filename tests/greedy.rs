//! Two clients, one greedy: whatever he does, the other has his answers, and the resolver stays within its bounds.
//!
//! The program runs as its users run it, in a process whose memory and descriptors are read while
//! a flood goes on. `benches/greedy.rs` lets each flood go on for longer, and prints what there was to see.

mod flood;
mod house;
mod other;
mod peak;

use std::thread;
use std::time::{Duration, Instant};

use self::flood::Flood;
use self::house::House;
use self::other::{Other, Seen};
use self::peak::Peak;

/// How long each flood goes on here.
const TIME: Duration = Duration::from_millis(600);
/// Memory of the whole program under any flood. It has 8 MiB when it starts, or 20 as it is built for tests; the questions that
/// may wait take 20 more, connections 64 KiB each that nobody reads, which is 16 for all, and failures are kept in the cache.
const OCTETS_MAX: usize = 96 << 20;
/// Descriptors under any flood, beside what it had: 256 connections, 32 that have been sent away and one at the door.
const CONNECTIONS_MAX: usize = 256 + 32 + 1;
/// And ports from which upstream is asked: sixteen of each thread, and as many that are being given up.
const PORTS_OF_A_THREAD_MAX: usize = 2 * 16;
/// All is as before when what waits for upstream has been given up, which takes 4 s, and what is idle has been closed.
const CALM: Duration = Duration::from_secs(20);

#[test]
#[expect(clippy::print_stdout, reason = "the figures are worth a line each")]
fn a_greedy_client_hurts_nobody_else() {
    let house = House::open(env!("CARGO_BIN_EXE_namegate"));
    // What is made once is made now, and the other client's answer is kept.
    let alone = Other::arrive(house.server());
    thread::sleep(Duration::from_millis(300));
    is_unhurt("alone", &alone.leave());
    let (descriptors, mut faults) = (house.descriptors(), Vec::new());
    let threads = 2 * thread::available_parallelism().map_or(1, usize::from);
    let ports_max = threads * PORTS_OF_A_THREAD_MAX;
    for flood in Flood::ALL {
        let other = Other::arrive(house.server());
        let (count, peak) = Peak::during(&house, || flood.pour(house.server(), TIME));
        let seen = other.leave();
        println!(
            "{flood:?}: {count}; {} MiB, {} descriptors; {} asked, {} again, worst {:?}, upstream {}",
            peak.octets >> 20,
            peak.descriptors,
            seen.asked,
            seen.again,
            seen.within(1000),
            house.heard(),
        );
        faults.extend(seen.wrong.iter().map(|it| format!("{flood:?}: {it}")));
        let mut hold = |what: &str, is: usize, at_most: usize| {
            let fault = format!("{flood:?}: {is} {what}, {at_most} at most");
            faults.extend((is > at_most).then_some(fault));
        };
        hold("octets", peak.octets, OCTETS_MAX);
        let at_most = descriptors + CONNECTIONS_MAX + ports_max;
        hold("descriptors", peak.descriptors, at_most);
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
    let calm = Instant::now();
    while house.descriptors() > descriptors + ports_max {
        assert!(
            calm.elapsed() < CALM,
            "{} descriptors are left",
            house.descriptors()
        );
        thread::sleep(Duration::from_millis(50));
    }
    println!("calm after {:?}", calm.elapsed());
    let after = Other::arrive(house.server());
    thread::sleep(Duration::from_millis(300));
    is_unhurt("afterwards", &after.leave());
}

#[track_caller]
fn is_unhurt(when: &str, seen: &Seen) {
    assert!(seen.asked > 0, "{when}: nothing was asked");
    assert!(seen.wrong.is_empty(), "{when}: {}", seen.wrong.join("\n"));
}
