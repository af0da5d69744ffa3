//! The road without sockets: a datagram in, a datagram out.
//!
//! What is measured is `Road::answer_now` as a front calls it, with the figures
//! counted and no query log; the kernel's part of a query is not in it.
//! `cargo bench --bench road`.

#![allow(missing_docs, unreachable_pub, clippy::print_stdout, clippy::panic)]

mod support;
#[allow(dead_code, reason = "the tests need more of it")]
#[path = "../tests/support/mod.rs"]
mod tests;

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use namegate::config::{Config, Queries};
use namegate::daemon::Road;
use namegate::front::{Client, Road as _, Step, Transport};
use namegate::wire::{MESSAGE_OCTETS_MAX, Type};

use support::{nanoseconds, pattern};

const NAMES: usize = 10_000;
/// Names that are asked in turn.
const ASKED: usize = 1024;
/// Short rounds, many of them: what else the machine does then falls on few.
const ROUNDS: usize = 2001;
const CALLS: usize = ASKED;
const CLIENT: Client = Client {
    address: SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 40_000),
    transport: Transport::Udp,
};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut config = Config::default();
    config.log.queries = Queries::None;
    // What is being measured is not the refreshing of answers that grow old meanwhile.
    config.cache.prefetch = false;
    let list: Vec<String> = (0..NAMES).map(pattern).collect();
    let allowed: Vec<&str> = list.iter().map(String::as_str).collect();
    let exact: Vec<&str> = allowed
        .iter()
        .copied()
        .filter(|it| !it.starts_with('*'))
        .collect();
    let road = tests::road(&config, &allowed, Arc::new(tests::OneAddress));
    let cached = questions(|i| list[i * 7].replace('*', "a"), Type::A);
    prime(&road, &cached).await;
    println!("a policy of {NAMES} names          ns/query");
    for (what, asked) in [
        (
            "blocked",
            questions(|i| format!("host{i}.evil{i}.example"), Type::A),
        ),
        (
            "blocked, below an allowed name",
            questions(|i| format!("no.{}", exact[i]), Type::A),
        ),
        (
            "special (localhost)",
            questions(|_| "localhost".to_owned(), Type::A),
        ),
        (
            "special (NXDOMAIN)",
            questions(|i| format!("printer{i}.local"), Type::AAAA),
        ),
        ("cached", cached),
    ] {
        let mut out = Vec::with_capacity(MESSAGE_OCTETS_MAX);
        let took = nanoseconds(ROUNDS, CALLS, |i| {
            let octets = black_box(&asked[i % ASKED]);
            let step = road.answer_now(octets, &CLIENT, Instant::now(), &mut out);
            assert!(matches!(step, Step::Reply), "{what}");
            black_box(&out);
        });
        println!("{what:<32} {took:>8.0}");
    }
}

fn questions(name: impl Fn(usize) -> String, kind: Type) -> Vec<Vec<u8>> {
    (0..ASKED)
        .map(|i| tests::query(&name(i), kind, true))
        .collect()
}

/// Asks for every name once, so that the cache has it.
async fn prime(road: &Arc<Road>, questions: &[Vec<u8>]) {
    let mut out = Vec::with_capacity(MESSAGE_OCTETS_MAX);
    for octets in questions {
        if let Step::Later(pending) = road.answer_now(octets, &CLIENT, Instant::now(), &mut out) {
            let ready = road.answer_later(pending).await;
            road.finish(ready, &mut out);
        }
        assert_eq!(out[3] & 0x0F, 0, "it resolves");
    }
}
