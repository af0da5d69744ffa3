//! Immediate answers allocate nothing: counted by the allocator itself.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use namegate::config::{Config, Queries, Sink};
use namegate::daemon::Audit;
use namegate::front::{Client, Road as _, Step, Transport};
use namegate::wire::{MESSAGE_OCTETS_MAX, Type};

use crate::support::{OneAddress, query, road};

/// The system's allocator, with a count of what each thread asks of it.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

#[allow(unsafe_code, reason = "an allocator cannot be written without")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that ends may still allocate when its locals are gone.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
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
    for (what, name, kind, edns) in cases {
        for transport in [Transport::Udp, Transport::Tcp] {
            let octets = query(name, kind, edns);
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
const UNCACHED_MAX: u64 = 18;

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
