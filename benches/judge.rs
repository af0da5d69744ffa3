//! The matcher: what a list costs to compile and to hold, and a name to judge.
//!
//! Beside it stands a `HashMap` of the same names (the standard library's, keyed by
//! wire octets) that is asked for the name and then for each name above it, which is
//! what a list with wildcards takes. `cargo bench --bench judge`.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::print_stdout,
    clippy::cast_precision_loss
)]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use namegate::matcher::{Grant, Rules};
use namegate::policy::Pattern;
use namegate::wire::Name;

use support::{Numbers, median, nanoseconds, pattern};

/// The system's allocator, with a count of the octets that are out.
struct Weighing;

static HELD: AtomicUsize = AtomicUsize::new(0);

#[allow(unsafe_code, reason = "an allocator cannot be written without")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Weighing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static WEIGHING: Weighing = Weighing;

const SIZES: [usize; 3] = [10, 10_000, 1_000_000];
/// Names that are asked in turn: more than a processor guesses ahead, and the same for both sides.
const ASKED: usize = 4096;
/// Lists are built so often.
const BUILDS: usize = 15;
/// Short rounds, many of them: what else the machine does then falls on few.
const ROUNDS: usize = 501;
const CALLS: usize = ASKED;

type Twin = HashMap<Box<[u8]>, u32>;

fn main() {
    println!("names      side     build ms   octets/name   hit ns   miss ns   deep miss ns");
    for size in SIZES {
        let patterns: Vec<Pattern> = (0..size)
            .map(|i| Pattern::parse(&pattern(i)).expect("a pattern"))
            .collect();
        let asked = [hits(&patterns), misses(&patterns), deep_misses(&patterns)];
        let (rules, built_ms, octets) = weigh(size, || compile(&patterns));
        let judged = asked.each_ref().map(|names| {
            nanoseconds(ROUNDS, CALLS, |i| {
                let _ = black_box(rules.judge(black_box(&names[i % ASKED])));
            })
        });
        show(size, "rules", built_ms, octets, judged);
        drop(rules);
        let (twin, built_ms, octets) = weigh(size, || twin(&patterns));
        let found = asked.each_ref().map(|names| {
            nanoseconds(ROUNDS, CALLS, |i| {
                black_box(find(&twin, black_box(&names[i % ASKED])));
            })
        });
        show(size, "HashMap", built_ms, octets, found);
    }
}

fn show(size: usize, side: &str, built_ms: f64, octets: f64, [hit, miss, deep]: [f64; 3]) {
    println!(
        "{size:<10} {side:<8} {built_ms:>8.3} {octets:>13.1} {hit:>8.1} {miss:>9.1} {deep:>14.1}"
    );
}

/// Builds several times; the median in ms, and the octets a name of it takes.
fn weigh<T>(size: usize, build: impl Fn() -> T) -> (T, f64, f64) {
    let rounds = if size > 100_000 { 5 } else { BUILDS };
    let mut took = Vec::new();
    for _ in 1..rounds {
        let began = Instant::now();
        let built = build();
        took.push(began.elapsed());
        drop(black_box(built));
    }
    let before = HELD.load(Relaxed);
    let built = build();
    let octets = (HELD.load(Relaxed) - before) as f64 / size as f64;
    (built, median(&mut took).as_secs_f64() * 1e3, octets)
}

fn compile(patterns: &[Pattern]) -> Rules {
    Rules::builder().grant(Grant::Listed, patterns).build()
}

fn twin(patterns: &[Pattern]) -> Twin {
    let key = |it: &Pattern| it.name().octets().into();
    patterns.iter().map(key).zip(0..).collect()
}

fn find(twin: &Twin, name: &Name) -> Option<u32> {
    let octets = name.octets();
    name.starts()
        .find_map(|at| twin.get(&octets[at..]).copied())
}

/// Names that are allowed; below a wildcard one label more.
fn hits(patterns: &[Pattern]) -> Vec<Name> {
    let text = |it: &Pattern| it.text().replace('*', "a");
    chosen(patterns, text)
}

/// Names under the same endings as allowed ones, and no further.
fn misses(patterns: &[Pattern]) -> Vec<Name> {
    let text = |it: &Pattern| {
        let (_, above) = it.text().split_once('.').expect("patterns have two labels");
        format!("nothing.x{above}")
    };
    chosen(patterns, text)
}

/// Names of eight labels more, below names that are allowed themselves.
fn deep_misses(patterns: &[Pattern]) -> Vec<Name> {
    let exact: Vec<Pattern> = patterns
        .iter()
        .filter(|it| !it.is_wildcard())
        .cloned()
        .collect();
    chosen(&exact, |it| format!("a.b.c.d.e.f.g.h.{it}"))
}

fn chosen(patterns: &[Pattern], text: impl Fn(&Pattern) -> String) -> Vec<Name> {
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    let mut choose = || text(&patterns[numbers.below(patterns.len())]);
    (0..ASKED)
        .map(|_| choose().parse().expect("a name"))
        .collect()
}
