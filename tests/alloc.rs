//! Immediate answers allocate nothing: counted by the allocator itself.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use namegate::config::{Config, Queries, Sink};
use namegate::daemon::Audit;
use namegate::front::{Client, Road as _, Step, Transport};
use namegate::wire::{MESSAGE_OCTETS_MAX, Type, block_octets};

use crate::support::{OneAddress, query, road, with_options};

/// The system's allocator, with a count of what each thread asks of it, and of the octets that it has.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static OCTETS: Cell<usize> = const { Cell::new(0) };
}

#[allow(unsafe_code, reason = "an allocator cannot be written without")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that ends may still allocate when its locals are gone.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        let taken = block_octets(layout.size());
        let _ = OCTETS.try_with(|octets| octets.set(octets.get().wrapping_add(taken)));
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let given = block_octets(layout.size());
        let _ = OCTETS.try_with(|octets| octets.set(octets.get().wrapping_sub(given)));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

#[test]
fn the_allocator_counts() {
    let before = allocations();
    drop(std::hint::black_box(vec![1_u8]));
    assert_eq!(allocations(), before + 1);
}

#[tokio::test]
async fn immediate_answers_allocate_nothing() {
    let mut config = Config::default();
    config.log.queries = Queries::All;
    config.log.sink = Sink::File("/dev/null".into());
    config.listen.identity = "box-7".into();
    let road = road(
        &config,
        &["github.com", "*.npmjs.org"],
        Arc::new(OneAddress),
    );
    let client = |transport| Client {
        address: SocketAddr::from(([127, 0, 0, 1], 40_000)),
        transport,
    };
    let mut out = Vec::with_capacity(MESSAGE_OCTETS_MAX);
    for cached in ["github.com", "registry.npmjs.org"] {
        let octets = query(cached, Type::A, true);
        let Step::Later(pending) =
            road.answer_now(&octets, &client(Transport::Udp), Instant::now(), &mut out)
        else {
            panic!("{cached} was known before it was asked for")
        };
        let ready = road.answer_later(pending).await;
        road.finish(ready, &mut out);
        assert_eq!(out[3] & 0x0F, 0, "{cached} resolves");
    }
    let cases = [
        ("blocked", "evil.example", Type::A, true),
        ("blocked, without an OPT", "evil.example", Type::AAAA, false),
        ("blocked, an ancestor", "com", Type::NS, true),
        (
            "blocked, a strange label",
            "a\\000b.github.com",
            Type::A,
            true,
        ),
        ("special", "localhost", Type::A, true),
        ("special, negative", "printer.local", Type::AAAA, true),
        (
            "special, reverse",
            "1.1.168.192.in-addr.arpa",
            Type::PTR,
            false,
        ),
        ("cached", "github.com", Type::A, true),
        ("cached, by a wildcard", "registry.npmjs.org", Type::A, true),
        ("cached, without an OPT", "github.com", Type::A, false),
        ("ANY", "github.com", Type::ANY, true),
        ("a type that is not served", "github.com", Type(65280), true),
        ("refused", "github.com", Type::AXFR, true),
    ];
    let all: &[u8] = b"\0\x03\0\0\0\x0A\0\x08abcdefgh\0\x0B\0\0\0\x08\0\0\0\x0C\0\0";
    let options: [(_, _, &[u8]); 8] = [
        ("a cookie", "github.com", b"\0\x0A\0\x08abcdefgh"),
        (
            "a cookie of both",
            "github.com",
            b"\0\x0A\0\x18abcdefghabcdefghijklmnop",
        ),
        ("no cookie", "github.com", b"\0\x0A\0\x01a"),
        ("keepalive", "github.com", b"\0\x0B\0\0"),
        ("no keepalive", "github.com", b"\0\x0B\0\x02\0\0"),
        ("NSID", "github.com", b"\0\x03\0\0"),
        ("all options, blocked", "evil.example", all),
        ("all options, special", "localhost", all),
    ];
    let plain = cases.map(|(what, name, kind, edns)| (what, query(name, kind, edns)));
    let optioned = options
        .map(|(what, name, options)| (what, with_options(query(name, Type::A, true), options)));
    for (what, octets) in plain.into_iter().chain(optioned) {
        for transport in [Transport::Udp, Transport::Tcp] {
            // The first may set up what the thread needs; every further one is what a box costs us.
            for round in 0..3 {
                let before = allocations();
                let step = road.answer_now(&octets, &client(transport), Instant::now(), &mut out);
                let allocated = allocations() - before;
                assert!(matches!(step, Step::Reply), "{what}: not answered at once");
                assert!(
                    allocated == 0 || round == 0,
                    "{what} over {transport:?}: {allocated} allocations"
                );
            }
        }
    }
}

/// Names of three lengths, enough to fill the cache several times over.
const CROWD: usize = 30_000;
const CACHE_OCTETS: usize = 2 << 20;

#[tokio::test]
async fn the_cache_takes_the_memory_that_it_says() {
    let (without, _) = taken_by_a_crowd(0).await;
    let (with, reckoned) = taken_by_a_crowd(CACHE_OCTETS).await;
    let taken = with - without;
    // What the map remembers of those who left, and the holes of a heap, are not reckoned with.
    assert!(
        (CACHE_OCTETS * 8 / 10..=CACHE_OCTETS * 15 / 16).contains(&reckoned),
        "{reckoned} reckoned"
    );
    assert!(
        (reckoned..=CACHE_OCTETS).contains(&taken),
        "{taken} octets taken, {reckoned} reckoned"
    );
}

/// Octets that a road has taken when many different names were asked for, and those that its cache reckons with.
async fn taken_by_a_crowd(cache_octets: usize) -> (usize, usize) {
    let before = OCTETS.get();
    let mut config = Config::default();
    config.log.queries = Queries::None;
    config.cache.bytes = cache_octets as u64;
    let road = road(&config, &["*.npmjs.org"], Arc::new(OneAddress));
    let client = Client {
        address: SocketAddr::from(([127, 0, 0, 1], 40_000)),
        transport: Transport::Udp,
    };
    let mut out = Vec::with_capacity(MESSAGE_OCTETS_MAX);
    for i in 0..CROWD {
        let name = format!("{:x<1$}{i:05}.npmjs.org", "h", 1 + i % 3 * 15);
        let octets = query(&name, Type::A, true);
        if let Step::Later(pending) = road.answer_now(&octets, &client, Instant::now(), &mut out) {
            let ready = road.answer_later(pending).await;
            road.finish(ready, &mut out);
        }
    }
    let reckoned = usize::try_from(road.cache().octets()).expect("it is small");
    (OCTETS.get() - before, reckoned)
}

#[tokio::test]
async fn an_audit_allocates_no_more() {
    let mut config = Config::default();
    config.log.queries = Queries::None;
    let an_hour = || Duration::from_secs(3600);
    let road = road(&config, &["github.com"], Arc::new(OneAddress));
    let road = Arc::into_inner(road).expect("nobody else has it");
    let road = Arc::new(road.audited(Audit::lasting(SystemTime::now() + an_hour(), an_hour)));
    let client = Client {
        address: SocketAddr::from(([127, 0, 0, 1], 40_000)),
        transport: Transport::Udp,
    };
    let (mut out, octets) = (
        Vec::with_capacity(MESSAGE_OCTETS_MAX),
        query("evil.example", Type::A, true),
    );
    for round in 0..4 {
        let before = allocations();
        let step = road.answer_now(&octets, &client, Instant::now(), &mut out);
        let allocated = allocations() - before;
        if let Step::Later(pending) = step {
            assert_eq!(round, 0, "it is cached");
            let ready = road.answer_later(pending).await;
            road.finish(ready, &mut out);
        }
        assert!(allocated == 0 || round < 2, "{allocated} allocations");
        assert_eq!(out[3] & 0x0F, 0, "it resolves");
    }
}

/// What an uncached answer takes, but for the sockets: the query set aside, the race, the answer put together and kept.
const UNCACHED_MAX: u64 = 13;

#[tokio::test]
async fn an_uncached_answer_allocates_little() {
    let mut config = Config::default();
    config.log.queries = Queries::None;
    let road = road(&config, &["*.npmjs.org"], Arc::new(OneAddress));
    let client = Client {
        address: SocketAddr::from(([127, 0, 0, 1], 40_000)),
        transport: Transport::Udp,
    };
    let mut out = Vec::with_capacity(MESSAGE_OCTETS_MAX);
    let mut least = u64::MAX;
    for round in 0..100 {
        let octets = query(&format!("host{round}.npmjs.org"), Type::A, true);
        let before = allocations();
        let Step::Later(pending) = road.answer_now(&octets, &client, Instant::now(), &mut out)
        else {
            panic!("it is not known")
        };
        let ready = road.answer_later(pending).await;
        road.finish(ready, &mut out);
        least = least.min(allocations() - before);
    }
    assert!(least <= UNCACHED_MAX, "{least} allocations");
}
