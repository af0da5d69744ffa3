//! The road without sockets: a datagram in, a datagram out.
//!
//! What is measured is `Road::answer_now` as a front calls it, with the figures
//! counted and no query log, and for uncached names the whole road with an upstream
//! that answers at once; the kernel's part of a query is not in it.
//!
//! `cargo bench --bench road` prints nanoseconds. `cargo bench --bench road -- CASE COUNT`
//! asks COUNT queries of one case and prints nothing: `benches/counts.sh` counts their instructions.

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
    let stage = Stage::new();
    // Cargo says `--bench` to every bench.
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|it| it != "--bench")
        .collect();
    match &words[..] {
        [] => stage.time_all().await,
        [what, count] => stage.ask(what, count.parse().expect("a count")).await,
        _ => panic!("either nothing or a case and a count"),
    }
}

/// A road, and what it is asked by case.
struct Stage {
    road: Arc<Road>,
    cases: Vec<(&'static str, Vec<Vec<u8>>)>,
    /// Names that the policy has a wildcard for.
    wildcard: String,
}

impl Stage {
    fn new() -> Self {
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
        let cases = vec![
            (
                "blocked",
                questions(|i| format!("host{i}.evil{i}.example"), Type::A),
            ),
            (
                "blocked below allowed",
                questions(|i| format!("no.{}", exact[i]), Type::A),
            ),
            ("localhost", questions(|_| "localhost".to_owned(), Type::A)),
            (
                "special-use",
                questions(|i| format!("printer{i}.local"), Type::AAAA),
            ),
            (
                "cached",
                questions(|i| list[i * 7].replace('*', "a"), Type::A),
            ),
        ];
        Self {
            road: tests::road(&config, &allowed, Arc::new(tests::OneAddress)),
            cases,
            wildcard: list[0].clone(),
        }
    }

    /// Nanoseconds of all that is answered at once.
    async fn time_all(&self) {
        println!("a policy of {NAMES} names          ns/query");
        for (what, asked) in &self.cases {
            prime(&self.road, asked).await;
            let mut out = Vec::with_capacity(MESSAGE_OCTETS_MAX);
            let took = nanoseconds(ROUNDS, CALLS, |i| {
                let octets = black_box(&asked[i % ASKED]);
                let step = self
                    .road
                    .answer_now(octets, &CLIENT, Instant::now(), &mut out);
                assert!(matches!(step, Step::Reply), "{what}");
                black_box(&out);
            });
            println!("{what:<32} {took:>8.0}");
        }
    }

    /// Asks so many queries of one case, and ends the program: cleaning up is no part of it.
    async fn ask(&self, what: &str, count: usize) -> ! {
        if what == "uncached" {
            self.ask_fresh(count).await;
        } else {
            let case = self.cases.iter().find(|(name, _)| *name == what);
            let (_, asked) = case.expect("a case of the table, or uncached");
            prime(&self.road, asked).await;
            let mut out = Vec::with_capacity(MESSAGE_OCTETS_MAX);
            for octets in asked.iter().cycle().take(count) {
                let step = self
                    .road
                    .answer_now(octets, &CLIENT, Instant::now(), &mut out);
                assert!(matches!(step, Step::Reply), "{what}");
            }
        }
        std::process::exit(0)
    }

    /// A new name each time.
    async fn ask_fresh(&self, count: usize) {
        let name = self.wildcard.replace('*', "a00000000");
        let mut asked = [tests::query(&name, Type::A, true)];
        for _ in 0..count {
            let digits = &mut asked[0][DIGITS];
            let last = digits.iter().rposition(|digit| *digit < b'9');
            let last = last.expect("there are enough numbers");
            digits[last] += 1;
            digits[last + 1..].fill(b'0');
            prime(&self.road, &asked).await;
        }
    }
}

/// Where the digits of a fresh name stand in its query: behind the header, a length octet and an `a`.
const DIGITS: std::ops::Range<usize> = 14..22;

fn questions(name: impl Fn(usize) -> String, kind: Type) -> Vec<Vec<u8>> {
    (0..ASKED)
        .map(|i| tests::query(&name(i), kind, true))
        .collect()
}

/// Asks for every name once, so that the cache has what it is to have.
async fn prime(road: &Arc<Road>, questions: &[Vec<u8>]) {
    let mut out = Vec::with_capacity(MESSAGE_OCTETS_MAX);
    for octets in questions {
        if let Step::Later(pending) = road.answer_now(octets, &CLIENT, Instant::now(), &mut out) {
            let ready = road.answer_later(pending).await;
            road.finish(ready, &mut out);
        }
    }
}
