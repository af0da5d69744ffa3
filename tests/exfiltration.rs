//! What a client can say upstream through an allowed name: the name, the type, DO and CD, and not a bit more.
//!
//! Thousands of messages ask for a few questions, with all else that a message can hold chosen at random. Whatever goes
//! upstream is compared, octet for octet, with what the plainest message for the same question sends: our own id and
//! letter case are left out, and are held to have nothing of the client's. `tests/script/exfiltration_by_timing.dns` is about when.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use namegate::answer::upstream::{Carrier, Exchange, Over, Upstreams};
use namegate::answer::zone::Zones;
use namegate::config::{Config, Queries};
use namegate::daemon::{Grants, Road};
use namegate::front::{Client, Road as _, Step, Transport};
use namegate::telemetry::Telemetry;
use namegate::wire::{Message, Name, Rcode, Type};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::support;

const NAME: &str = "registry.npmjs.org";
/// In a message, where upstream and clients have it alike.
const NAME_AT: std::ops::Range<usize> = 12..12 + NAME.len() + 2;
const TYPES: [Type; 4] = [Type::A, Type::AAAA, Type::TXT, Type::HTTPS];
const MESSAGES: usize = 6000;
/// Ids and letter cases that are the client's by chance: one in 65,536 of each.
const BY_CHANCE_MAX: usize = 6;

/// Messages that ask nothing: about one in eight.
const REFUSED_MIN: usize = MESSAGES / 16;

/// One exchange with upstream: whom, how, what.
type Sent = (SocketAddr, bool, Vec<u8>);

/// Answers at once, and writes down all there is to see.
#[derive(Default)]
struct Ledger(Mutex<Vec<Sent>>);

impl Carrier for Ledger {
    fn exchange<'a>(&'a self, server: SocketAddr, over: Over, query: &'a [u8]) -> Exchange<'a> {
        let mut ledger = self.0.lock().expect("nobody panics");
        ledger.push((server, over == Over::Tcp, query.to_vec()));
        support::OneAddress.exchange(server, over, query)
    }
}

impl Ledger {
    fn take(&self) -> Vec<Sent> {
        std::mem::take(&mut self.0.lock().expect("nobody panics"))
    }
}

/// A question as far as it may go upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    kind: Type,
    dnssec_ok: bool,
    checking_disabled: bool,
}

/// A client's message, all of it.
struct Said {
    octets: Vec<u8>,
    client: Client,
}

/// A road on which nothing is kept, so that every question goes upstream, in letter case of our own.
fn road(ledger: Arc<Ledger>) -> Arc<Road> {
    let mut config = Config::default();
    config.cache.bytes = 0;
    config.log.queries = Queries::None;
    let servers = ["192.0.2.53:53", "192.0.2.54:53"].map(|it| (it.parse().expect(it), Over::Udp));
    let upstreams = Upstreams::builder(ledger, Duration::from_secs(2), true)
        .zone(Name::ROOT, &servers)
        .build();
    let zones = Zones::parse(&[]).unwrap_or_else(|_| panic!("no zones are no fault"));
    let grants = Grants::of(&config).expect("patterns");
    let live = support::live(&config, &["*.npmjs.org"]);
    let telemetry = Arc::new(Telemetry::open(&config.log).expect("a query log"));
    Arc::new(Road::new(
        &config, &grants, live, zones, upstreams, telemetry,
    ))
}

/// What a message for this question can hold besides, at random; sometimes so that it is none.
fn said(key: Key, dice: &mut StdRng) -> Said {
    let mut octets = support::query(NAME, key.kind, false);
    octets[..2].copy_from_slice(&dice.random::<[u8; 2]>());
    for at in NAME_AT {
        if octets[at].is_ascii_lowercase() && dice.random() {
            octets[at] = octets[at].to_ascii_uppercase();
        }
    }
    // AA, TC, RD and RA, Z, AD and a code, which are a reply's or nobody's business; seldom another opcode.
    octets[2] = dice.random::<u8>() & 0x07;
    octets[3] = dice.random::<u8>() & !0x10 | u8::from(key.checking_disabled) << 4;
    if dice.random_ratio(1, 32) {
        octets[2] |= dice.random_range(1..16) << 3;
    }
    if dice.random_ratio(1, 32) {
        let last = octets.len() - 1;
        octets[last] = dice.random_range(2..=255);
    }
    if key.dnssec_ok || dice.random() {
        octets[11] = 1;
        octets.extend(opt(key.dnssec_ok, dice));
    }
    if dice.random_ratio(1, 32) {
        let stray = dice.random::<[u8; 16]>();
        octets.extend(&stray[..dice.random_range(1..16)]);
    }
    let by_tcp = dice.random();
    let from = [127, dice.random(), dice.random(), dice.random_range(1..255)];
    Said {
        octets,
        client: Client {
            address: SocketAddr::from((from, dice.random_range(1..=u16::MAX))),
            transport: if by_tcp {
                Transport::Tcp
            } else {
                Transport::Udp
            },
        },
    }
}

/// An OPT of any size and flags, with up to six options known and unknown; now and then of another version.
fn opt(dnssec_ok: bool, dice: &mut StdRng) -> Vec<u8> {
    let mut options = Vec::new();
    for _ in 0..dice.random_range(0..6) {
        let known = [
            3_u16, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 65001,
        ];
        let code = known[dice.random_range(0..known.len())];
        let data: Vec<u8> = (0..length(code, dice)).map(|_| dice.random()).collect();
        options.extend(code.to_be_bytes());
        options.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
        options.extend(data);
    }
    let version = u8::from(dice.random_ratio(1, 32));
    let flags = dice.random::<u8>() & 0x7F | u8::from(dnssec_ok) << 7;
    let size = dice.random::<[u8; 2]>();
    let head = [0, 0, 41, size[0], size[1], 0, version, flags, dice.random()];
    let len = u16::try_from(options.len()).expect("short").to_be_bytes();
    [&head[..], &len, &options].concat()
}

/// Mostly a length that the option may have.
fn length(code: u16, dice: &mut StdRng) -> usize {
    match code {
        10 if dice.random() => 8,
        10 => dice.random_range(16..=40),
        3 | 11 => 0,
        _ => dice.random_range(0..40),
    }
}

/// Sends a message down the road. Returns the code of what is replied, if that is an answer to a question at all.
async fn ask(road: &Arc<Road>, said: &Said) -> Option<Rcode> {
    let mut out = Vec::new();
    match road.answer_now(&said.octets, &said.client, Instant::now(), &mut out) {
        Step::Reply => {}
        Step::Silence => return None,
        Step::Later(pending) => {
            let ready = road.answer_later(pending).await;
            road.finish(ready, &mut out);
        }
    }
    Message::read(&out).ok().map(|it| it.rcode())
}

/// What went upstream without our id and letter case.
fn plain(sent: &[Sent]) -> Vec<Sent> {
    let plain = |(server, by_tcp, octets): &Sent| {
        let mut octets = octets.clone();
        octets[..2].fill(0);
        octets[NAME_AT].make_ascii_lowercase();
        (*server, *by_tcp, octets)
    };
    sent.iter().map(plain).collect()
}

fn keys() -> impl Iterator<Item = Key> {
    let bits = [(false, false), (false, true), (true, false), (true, true)];
    TYPES.into_iter().flat_map(move |kind| {
        bits.map(|(dnssec_ok, checking_disabled)| Key {
            kind,
            dnssec_ok,
            checking_disabled,
        })
    })
}

#[tokio::test]
async fn a_client_says_a_name_a_type_and_two_bits() {
    let ledger = Arc::<Ledger>::default();
    let road = road(ledger.clone());
    let mut dice = StdRng::seed_from_u64(0x4E47);
    let mut known = BTreeMap::<Key, Vec<Sent>>::new();
    let (mut refused, mut same_id, mut same_case) = (0, 0, 0);
    let keys: Vec<Key> = keys().collect();
    for key in keys.iter().cycle().take(MESSAGES) {
        let said = said(*key, &mut dice);
        let rcode = ask(&road, &said).await;
        let sent = ledger.take();
        if rcode != Some(Rcode::NOERROR) {
            assert_eq!(sent, [], "{rcode:?}: {:02x?}", said.octets);
            refused += 1;
            continue;
        }
        let first = known.entry(*key).or_insert_with(|| plain(&sent));
        assert_eq!(&plain(&sent), first, "{key:?}: {:02x?}", said.octets);
        assert_eq!(sent.len(), 1, "one question, one query");
        same_id += usize::from(sent[0].2[..2] == said.octets[..2]);
        same_case += usize::from(sent[0].2[NAME_AT] == said.octets[NAME_AT]);
    }
    assert!(
        refused > REFUSED_MIN && refused < MESSAGES / 2,
        "{refused} of {MESSAGES} refused"
    );
    assert!(same_id <= BY_CHANCE_MAX, "{same_id} ids are the client's");
    assert!(
        same_case <= BY_CHANCE_MAX,
        "{same_case} times the case is the client's"
    );
    let distinct: std::collections::BTreeSet<_> = known.values().collect();
    assert_eq!(
        distinct.len(),
        keys.len(),
        "four types, DO and CD: each is told apart"
    );
}
