//! The cache: what an answer takes of memory, and whether the bound holds.
//!
//! A million names are asked for, through `Road`, and what the process
//! has grown by is set beside `cache.bytes` and beside the cache's own reckoning;
//! then as many again, from other threads, with names and answers of other sizes.
//! It measures octets, so it may run beside anything. `cargo bench --bench cache`.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::print_stdout,
    clippy::panic,
    clippy::cast_precision_loss
)]

#[allow(dead_code, reason = "the tests need more of it")]
#[path = "../tests/support/mod.rs"]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use namegate::answer::upstream::{Carrier, Exchange, Over};
use namegate::config::{Config, Queries};
use namegate::daemon::{Road, keep_memory_together};
use namegate::front::{Client, Road as _, Step, Transport};
use namegate::wire::{MESSAGE_OCTETS_MAX, Type};

const NAMES: usize = 1_000_000;
const MIB: u64 = 1 << 20;
/// Tells a child what to measure.
const SETTING: &str = "NAMEGATE_BENCH_CACHE_OCTETS";
const CLIENT: Client = Client {
    address: SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 40_000),
    transport: Transport::Udp,
};
/// Threads that ask one after the other in the second part: each has a part of the heap of its own.
const THREADS: usize = 4;

/// Answers with one address or several, as many as the name is long.
struct ManyAddresses;

impl Carrier for ManyAddresses {
    fn exchange<'a>(&'a self, _: SocketAddr, _: Over, query: &'a [u8]) -> Exchange<'a> {
        let mut reply = query[..query.len() - 11].to_vec();
        let addresses = u8::try_from((query.len() + 5) % 7 + 1).expect("it is small");
        reply[2] |= 0x80;
        (reply[7], reply[11]) = (addresses, 0);
        for last in 0..addresses {
            reply.extend(b"\xC0\x0C\0\x01\0\x01\0\x01\x51\x80\0\x04\xC0\0\x02");
            reply.push(last);
        }
        Box::pin(async { Ok((reply, 0)) })
    }
}

/// Each setting has a process of its own: what one has freed would be counted for the next.
fn main() {
    keep_memory_together();
    if let Ok(setting) = std::env::var(SETTING) {
        return fill(setting.parse().expect("octets"));
    }
    println!(
        "setting MiB  after                        answers   reckoned MiB   grown MiB   octets an answer"
    );
    for setting in [16 * MIB, 64 * MIB, 256 * MIB, 1024 * MIB] {
        let program = std::env::current_exe().expect("it has a path");
        let mut child = std::process::Command::new(program);
        let ended = child.env(SETTING, setting.to_string()).status();
        assert!(ended.expect("it runs").success());
    }
}

fn fill(setting: u64) {
    let mut config = Config::default();
    config.log.queries = Queries::None;
    config.cache.bytes = setting;
    config.cache.max_ttl_s = 86_400;
    let runtime = runtime();
    let road = runtime
        .block_on(async { tests::road(&config, &["*.bench.example"], Arc::new(ManyAddresses)) });
    // What the first queries set up, and what is remembered of the last ones, is not the cache's.
    ask_for_strangers(&road);
    runtime.block_on(ask(&road, 0..1000, plain));
    let before = resident_octets();
    runtime.block_on(ask(&road, 1000..NAMES, plain));
    show(setting, "a million names alike", &road, before);
    for thread in 0..THREADS {
        let (road, from) = (road.clone(), thread * NAMES / 2);
        let asked = move || self::runtime().block_on(ask(&road, from..from + NAMES / 2, motley));
        std::thread::spawn(asked).join().expect("it does not panic");
    }
    show(setting, "two million of all sizes", &road, before);
}

fn runtime() -> tokio::runtime::Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().expect("a runtime")
}

/// 24 octets, and one address.
fn plain(i: usize) -> String {
    format!("n{i:07}.bench.example")
}

/// From 26 to 66 octets.
fn motley(i: usize) -> String {
    format!("{:x<1$}{i:07}.bench.example", "m", 1 + i * 7 % 40)
}

async fn ask(road: &Arc<Road>, which: std::ops::Range<usize>, name: fn(usize) -> String) {
    let mut out = Vec::with_capacity(MESSAGE_OCTETS_MAX);
    for i in which {
        let octets = tests::query(&name(i), Type::A, true);
        // Twice, so that it takes the place of what nobody asks for any more.
        for _ in 0..2 {
            let step = road.answer_now(&octets, &CLIENT, Instant::now(), &mut out);
            if let Step::Later(pending) = step {
                let ready = road.answer_later(pending).await;
                road.finish(ready, &mut out);
            }
            assert_eq!(out[3] & 0x0F, 0, "it resolves");
        }
    }
}

/// Names that are blocked.
fn ask_for_strangers(road: &Arc<Road>) {
    let mut out = Vec::with_capacity(MESSAGE_OCTETS_MAX);
    for i in 0..NAMES {
        let octets = tests::query(&format!("n{i:07}.evil.example"), Type::A, true);
        let step = road.answer_now(&octets, &CLIENT, Instant::now(), &mut out);
        assert!(matches!(step, Step::Reply), "it is answered at once");
    }
}

fn show(setting: u64, what: &str, road: &Road, before: u64) {
    let grown = resident_octets().saturating_sub(before);
    let (answers, reckoned) = (
        road.cache().figures().entries_positive,
        road.cache().octets(),
    );
    let mib = |octets: u64| octets as f64 / MIB as f64;
    println!(
        "{:<12} {what:<26} {answers:>9} {:>14.1} {:>11.1} {:>18.1}",
        setting / MIB,
        mib(reckoned),
        mib(grown),
        grown as f64 / answers as f64
    );
}

/// What the process holds of the machine's memory.
fn resident_octets() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
    let kib = line.and_then(|it| it.split_whitespace().next()?.parse::<u64>().ok());
    kib.expect("a number") * 1024
}
