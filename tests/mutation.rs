//! Good replies of an upstream, spoilt at random, sent down the real road.
//!
//! The seeds are the named ones of the fuzzer's corpus (`fuzz/corpus/upstream_answer`). Bits are flipped, octets
//! cut out, put in and moved, and replies spliced with each other. Whatever comes of it, the fuzz target's promises
//! hold; and what a client is told has the manners of every reply, no owner off the chain of its question and no
//! private address, and comes from the cache again as it was.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use namegate::answer::upstream::{Carrier, Exchange, Fit, Over, fit};
use namegate::config::{Config, Queries};
use namegate::daemon::Road;
use namegate::front::{Client, Road as _, Step, Transport};
use namegate::wire::{Message, Name, Section, Type};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config as Cases, TestRunner};
use tokio::time::{Instant, advance};

use crate::bodies::{self, Fact, leads_inside, off_the_chain, upstream_answer};
use crate::support::client::{Ask, faults};
use crate::support::{query, road};

/// Spoilt replies that a run tries.
const CASES: u32 = 4000;
/// Nothing is kept for as long.
const LONG: Duration = Duration::from_secs(3600);

/// A good reply and its question.
#[derive(Clone, Debug)]
struct Seed {
    file: String,
    octets: Vec<u8>,
    name: Name,
    kind: Type,
}

/// The named seeds whose question a policy can allow.
fn seeds() -> Vec<Seed> {
    let files = fs::read_dir("fuzz/corpus/upstream_answer").expect("the corpus");
    let mut paths: Vec<_> = files.map(|it| it.expect("a file").path()).collect();
    paths.sort();
    let seed = |path: &std::path::PathBuf| {
        let file = path.file_name()?.to_string_lossy().into_owned();
        let octets = fs::read(path).expect("it can be read");
        let (name, kind) = *Message::read(&octets).ok()?.question()?;
        let is_askable = !kind.is_meta() && name.is_plain() && name.labels().count() > 1;
        (is_askable && !file.starts_with("found-")).then_some(Seed {
            file,
            octets,
            name,
            kind,
        })
    };
    paths.iter().filter_map(seed).collect()
}

/// One way of spoiling a message. Places are taken within what is there.
#[derive(Clone, Debug)]
enum Spoil {
    Flip(Index, u8),
    Set(Index, u8),
    Cut(Index),
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
    /// Octets from one place again at another.
    Copy(Index, usize, Index),
    /// The rest is that of another reply.
    Splice(Index, Index, Index),
    /// A count, and what it says.
    Count(usize, u16),
}

fn spoils() -> impl Strategy<Value = Vec<Spoil>> {
    let place = any::<Index>;
    let spoil = prop_oneof![
        4 => (place(), 0_u8..8).prop_map(|(at, bit)| Spoil::Flip(at, bit)),
        4 => (place(), any::<u8>()).prop_map(|(at, to)| Spoil::Set(at, to)),
        1 => place().prop_map(Spoil::Cut),
        1 => (place(), 1_usize..16).prop_map(|(at, len)| Spoil::Remove(at, len)),
        1 => (place(), prop::collection::vec(any::<u8>(), 1..16)).prop_map(|(at, octets)| Spoil::Insert(at, octets)),
        2 => (place(), 1_usize..40, place()).prop_map(|(from, len, to)| Spoil::Copy(from, len, to)),
        2 => (place(), place(), place()).prop_map(|(of, from, to)| Spoil::Splice(of, from, to)),
        1 => (0_usize..3, prop_oneof![0_u16..5, Just(65_535)]).prop_map(|(which, to)| Spoil::Count(which, to)),
    ];
    prop::collection::vec(spoil, 1..6)
}

impl Spoil {
    /// Does it, behind the question: a reply to another question is passed over, which is told elsewhere.
    fn spoil(&self, octets: &mut Vec<u8>, others: &[Vec<u8>], from: usize) {
        let len = octets.len() - from;
        if len == 0 {
            return;
        }
        let place = |at: &Index| from + at.index(len);
        match self {
            Self::Flip(at, bit) => octets[place(at)] ^= 1 << bit,
            Self::Set(at, to) => octets[place(at)] = *to,
            Self::Cut(at) => octets.truncate(place(at)),
            Self::Remove(at, count) => {
                drop(octets.drain(place(at)..(place(at) + count).min(from + len)));
            }
            Self::Insert(at, more) => {
                drop(octets.splice(place(at)..place(at), more.iter().copied()));
            }
            Self::Copy(start, count, to) => {
                let piece = octets[place(start)..(place(start) + count).min(from + len)].to_vec();
                octets.splice(place(to)..place(to), piece);
            }
            Self::Splice(of, start, to) => {
                let other = of.get(others);
                if other.is_empty() {
                    return;
                }
                octets.truncate(place(to));
                octets.extend(&other[start.index(other.len())..]);
            }
            Self::Count(which, to) if octets.len() >= 12 => {
                octets[6 + which * 2..][..2].copy_from_slice(&to.to_be_bytes());
            }
            Self::Count(..) => {}
        }
    }
}

/// An upstream that has one reply, for whoever asks.
#[derive(Default)]
struct Parrot {
    reply: Mutex<Vec<u8>>,
    asked: AtomicU32,
}

impl Carrier for Parrot {
    fn exchange<'a>(&'a self, _: SocketAddr, _: Over, query: &'a [u8]) -> Exchange<'a> {
        self.asked.fetch_add(1, Relaxed);
        let mut reply = self.reply.lock().expect("no panic under this lock").clone();
        reply[..2].copy_from_slice(&query[..2]);
        Box::pin(async move {
            match fit(query, &reply) {
                Fit::Whole | Fit::OtherCase => Ok((reply, 0)),
                Fit::No => std::future::pending().await,
            }
        })
    }
}

/// Asks over TCP, where every answer has room.
async fn ask(road: &Arc<Road>, query: &[u8]) -> Vec<u8> {
    let client = Client {
        address: SocketAddr::from(([127, 0, 0, 1], 40_000)),
        transport: Transport::Tcp,
    };
    let mut reply = Vec::new();
    match road.answer_now(query, &client, Instant::now().into_std(), &mut reply) {
        Step::Reply => {}
        Step::Silence => panic!("a well-formed question has an answer"),
        Step::Later(pending) => {
            let ready = road.answer_later(pending).await;
            road.finish(ready, &mut reply);
        }
    }
    let ask = Ask {
        octets: query.to_vec(),
        client,
    };
    let mut faults = faults(&ask, &reply, 1232);
    faults.retain(|it| !it.starts_with("hickory-proto") || !is_passed_unread(&reply));
    assert!(faults.is_empty(), "{faults:?} in {reply:02x?}");
    reply
}

/// Holds it data that goes through as it came, readable or not? Other types' data is read on its way.
fn is_passed_unread(reply: &[u8]) -> bool {
    use Type as T;
    let read = [
        T::A,
        T::NS,
        T::CNAME,
        T::SOA,
        T::PTR,
        T::MX,
        T::AAAA,
        T::SRV,
        T::DNAME,
    ];
    let message = Message::read(reply).expect("a reply of ours can be read");
    let sections = [Section::Answer, Section::Authority];
    let mut records = sections
        .into_iter()
        .flat_map(|section| message.records(section));
    records.any(|it| !read.contains(&it.kind))
}

fn facts(reply: &Message<'_>, section: Section) -> Vec<Fact> {
    let fact = |it: namegate::wire::Record<'_>| {
        (it.owner(), it.kind, it.spelled().expect("a whole record"))
    };
    reply.records(section).map(fact).collect()
}

/// What a client may be told, whatever upstream says.
fn holds(name: &Name, reply: &[u8]) {
    let message = Message::read(reply).expect("a reply of ours can be read");
    let answers = facts(&message, Section::Answer);
    let stranger = off_the_chain(name, &answers);
    assert!(stranger.is_none(), "{stranger:?} is off the chain");
    let inside = answers.iter().find(|it| leads_inside(it));
    assert!(inside.is_none(), "{inside:?} leads inside");
    let elsewhere = [Section::Authority, Section::Additional]
        .map(|section| facts(&message, section))
        .concat();
    let is_address = |it: &&Fact| matches!(it.1, Type::A | Type::AAAA | Type::SVCB | Type::HTTPS);
    assert!(!elsewhere.iter().any(|it| is_address(&it)), "{elsewhere:?}");
}

#[test]
fn spoilt_replies_harm_nobody() {
    let seeds = seeds();
    assert!(seeds.len() >= 25, "only {} seeds", seeds.len());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build();
    let runtime = runtime.expect("a runtime");
    let mut config = Config::default();
    config.log.queries = Queries::None;
    config.cache.serve_stale = Duration::ZERO;
    config.cache.prefetch = false;
    let mut names: Vec<String> = seeds.iter().map(|it| it.name.to_string()).collect();
    names.dedup();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let parrot = Arc::new(Parrot::default());
    let road = runtime.block_on(async { road(&config, &names, parrot.clone()) });
    let others: Vec<Vec<u8>> = seeds.iter().map(|it| it.octets.clone()).collect();
    let kept = AtomicU32::new(0);
    let strategy = (any::<Index>(), spoils(), any::<bool>());
    let cases = Cases {
        cases: CASES,
        failure_persistence: None,
        ..Cases::default()
    };
    let ran = TestRunner::new(cases).run(&strategy, |(which, spoils, wants_signatures)| {
        let seed = which.get(&seeds);
        let mut octets = seed.octets.clone();
        let end = 12
            + Message::read(&octets)
                .expect("a good reply")
                .question_octets()
                .len();
        spoils
            .iter()
            .for_each(|it| it.spoil(&mut octets, &others, end));
        upstream_answer(&octets);
        *parrot.reply.lock().expect("no panic under this lock") = octets;
        let mut query = query(&seed.name.to_string(), seed.kind, true);
        let do_at = query.len() - 4;
        query[do_at] = u8::from(wants_signatures) << 7;
        runtime.block_on(async {
            let first = ask(&road, &query).await;
            holds(&seed.name, &first);
            let asked = parrot.asked.load(Relaxed);
            let second = ask(&road, &query).await;
            if asked == parrot.asked.load(Relaxed) {
                assert_eq!(first, second, "{} is another from the cache", seed.file);
                kept.fetch_add(1, Relaxed);
            }
            advance(LONG).await;
        });
        Ok(())
    });
    ran.unwrap_or_else(|error| panic!("{error}"));
    let kept = kept.into_inner();
    assert!(kept > CASES / 2, "only {kept} answers came from the cache");
}

/// What else comes in, spoilt in the same ways, keeps the promises of its fuzz target.
fn spoilt_files(target: &str, body: fn(&[u8])) {
    let files = fs::read_dir(format!("fuzz/corpus/{target}")).expect("the corpus");
    let mut paths: Vec<_> = files.map(|it| it.expect("a file").path()).collect();
    paths.sort();
    let seeds: Vec<Vec<u8>> = paths
        .iter()
        .map(|path| fs::read(path).expect("it can be read"))
        .collect();
    let cases = Cases {
        cases: CASES / 4,
        failure_persistence: None,
        ..Cases::default()
    };
    let ran = TestRunner::new(cases).run(&(any::<Index>(), spoils()), |(which, spoils)| {
        let mut octets = which.get(&seeds).clone();
        spoils
            .iter()
            .for_each(|it| it.spoil(&mut octets, &seeds, 0));
        body(&octets);
        Ok(())
    });
    ran.unwrap_or_else(|error| panic!("{target}: {error}"));
}

#[test]
fn spoilt_configurations_harm_nobody() {
    spoilt_files("config", bodies::config);
}

#[test]
fn spoilt_zones_harm_nobody() {
    spoilt_files("zone", bodies::zone);
}

#[test]
fn spoilt_policies_harm_nobody() {
    spoilt_files("policy", bodies::policy);
}

#[test]
fn spoilt_queries_harm_nobody() {
    spoilt_files("message", bodies::message);
}

#[test]
fn spoilt_streams_harm_nobody() {
    spoilt_files("stream", bodies::stream);
}

#[test]
fn spoilt_conversations_harm_nobody() {
    spoilt_files("road", bodies::road);
}

#[test]
fn spoilt_records_are_written_as_they_are_read() {
    spoilt_files("reply", bodies::reply);
}

#[test]
fn spoilt_logs_harm_nobody() {
    spoilt_files("log", bodies::log);
}

#[test]
fn spoilt_parameters_harm_nobody() {
    spoilt_files("params", bodies::params);
}
