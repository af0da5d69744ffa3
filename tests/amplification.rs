//! What a datagram of a client makes us send: octets in, octets out, for each kind of answer.
//!
//! Each kind goes down the real road as a datagram. The table in docs/PROOF.md is what comes of it; `BLESS=1`
//! writes it anew. UDP and IP add the same 28 octets (48 with IPv6) to both sides, which makes every ratio smaller.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use namegate::answer::upstream::{Carrier, Exchange, Over};
use namegate::answer::zone::{ZoneText, Zones};
use namegate::config::{Config, Queries};
use namegate::daemon::Road;
use namegate::front::{Client, Road as _, Step, Transport};
use namegate::wire::Type;

use crate::readme::hold;
use crate::support::{query, road, with_options};

const PROOF: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/PROOF.md");
/// SPEC 8: no datagram of ours is longer.
const REPLY_OCTETS_MAX: usize = 1232;
/// Of the shortest question with an OPT for a name of two labels, and of one without.
const RATIO_MAX: usize = 39;
/// What a stranger is sent at most for each octet of his: REFUSED, and why.
const RATIO_OF_STRANGERS_MAX: usize = 2;

/// The first label of a name says how many addresses it has: `n74.npmjs.org`.
struct Many;

impl Carrier for Many {
    fn exchange<'a>(&'a self, _: SocketAddr, _: Over, query: &'a [u8]) -> Exchange<'a> {
        let mut reply = query[..query.len() - 11].to_vec();
        let label = &query[13..13 + usize::from(query[12])];
        let count = std::str::from_utf8(&label[1..]).expect("ASCII").parse();
        let count: u16 = count.unwrap_or(1);
        reply[2] |= 0x80;
        reply[6..8].copy_from_slice(&count.to_be_bytes());
        reply[11] = 0;
        for last in 0..count {
            reply.extend(b"\xC0\x0C\0\x01\0\x01\0\0\x01\x2C\0\x04\xCB\0");
            reply.extend((0x7100 | last).to_be_bytes());
        }
        if label == b"none" {
            reply[3] |= 3;
            (reply[7], reply[9]) = (0, 1);
            reply.truncate(query.len() - 11);
            reply.extend(b"\xC0\x11\0\x06\0\x01\0\0\x01\x2C\0\x20\x02ns\xC0\x11\x04root\xC0\x11");
            reply.extend([0; 20]);
        }
        if label == b"fails" {
            reply[3] |= 2;
        }
        Box::pin(async { Ok((reply, 0)) })
    }
}

/// Three roads: as it comes, with room for nobody who waits long, and with a small rate.
struct House {
    road: Arc<Road>,
    rated: Arc<Road>,
}

impl House {
    fn open() -> Self {
        let allowed = ["github.com", "*.npmjs.org"];
        let mut config = Config::default();
        config.log.queries = Queries::None;
        config.blocked.contact =
            "#platform-net, which takes its time to look at what is asked for".into();
        config.listen.identity = "box-7".into();
        config.listen.version = "namegate".into();
        let first = road(&config, &allowed, Arc::new(Many));
        first.serve_zones(zone());
        config.listen.rate_per_client = 1;
        Self {
            road: first,
            rated: road(&config, &allowed, Arc::new(Many)),
        }
    }
}

fn zone() -> Zones {
    let text = "@ 3600 IN SOA ns hostmaster 7 3600 600 86400 60\nwww 300 IN A 192.0.2.2\n";
    let zone = ZoneText {
        file: "corp.example.zone".into(),
        origin_hint: Some("corp.example".parse().expect("a name")),
        text: text.into(),
    };
    Zones::parse(&[zone]).unwrap_or_else(|_| panic!("a good zone"))
}

/// The octets of the reply to a datagram, 0 for none.
async fn replied(road: &Arc<Road>, octets: &[u8], from: &str) -> usize {
    let client = Client {
        address: SocketAddr::new(from.parse().expect("an address"), 40_000),
        transport: Transport::Udp,
    };
    let mut out = Vec::new();
    match road.answer_now(octets, &client, Instant::now(), &mut out) {
        Step::Reply => {}
        Step::Silence => return 0,
        Step::Later(pending) => {
            let ready = road.answer_later(pending).await;
            road.finish(ready, &mut out);
        }
    }
    out.len()
}

/// The same message with octets of its header changed.
fn with(mut octets: Vec<u8>, changes: &[(usize, u8)]) -> Vec<u8> {
    for (at, octet) in changes {
        octets[*at] = *octet;
    }
    octets
}

/// What a client may ask for, and what becomes of it.
fn of_clients() -> Vec<(&'static str, Vec<u8>)> {
    let (a, txt) = (Type::A, Type::TXT);
    let plain = |name| query(name, a, false);
    let edns = |name| query(name, a, true);
    let cookie = b"\0\x0A\0\x08abcdefgh";
    let both = b"\0\x0A\0\x08abcdefgh\0\x03\0\0";
    let long = "a-rather-long-label.another-rather-long-label.evil-domain.com";
    let version = query("github.com", a, true);
    let version_at = version.len() - 5;
    vec![
        ("blocked", edns("evil.com")),
        ("blocked, no OPT", plain("evil.com")),
        ("blocked, a long name", edns(long)),
        (
            "blocked, by a search list",
            edns("github.com.svc.cluster.local"),
        ),
        (
            "blocked, with cookie and NSID",
            with_options(edns("evil.com"), both),
        ),
        ("special, NXDOMAIN", edns("printer.local")),
        ("special, an address", edns("localhost")),
        ("allowed, one address", edns("github.com")),
        ("allowed, one address, no OPT", plain("github.com")),
        (
            "allowed, with a cookie",
            with_options(edns("github.com"), cookie),
        ),
        ("allowed, NXDOMAIN of upstream", edns("none.npmjs.org")),
        ("allowed, the longest answer", edns("n74.npmjs.org")),
        ("allowed, the longest, no OPT", plain("n30.npmjs.org")),
        ("allowed, too long: TC", edns("n99.npmjs.org")),
        ("allowed, too long: TC, no OPT", plain("n99.npmjs.org")),
        ("allowed, ANY", query("github.com", Type::ANY, true)),
        (
            "allowed, a type not served",
            query("github.com", Type(999), true),
        ),
        ("allowed, upstream fails", edns("fails.npmjs.org")),
        ("local zone", edns("www.corp.example")),
        ("local zone, NXDOMAIN", edns("nothing.corp.example")),
        (
            "namegate.internal, TXT",
            query("namegate.internal", txt, true),
        ),
        (
            "why.namegate.internal, TXT",
            query("why.namegate.internal", txt, true),
        ),
        (
            "NAME.why, blocked, TXT",
            query("evil.com.why.namegate.internal", txt, true),
        ),
        (
            "NAME.why, allowed, TXT",
            query("github.com.why.namegate.internal", txt, true),
        ),
        (
            "last.namegate.internal, TXT",
            query("last.namegate.internal", txt, true),
        ),
        ("version.bind CH TXT", {
            let octets = query("version.bind", txt, false);
            let last = octets.len() - 1;
            with(octets, &[(last, 3)])
        }),
        ("REFUSED: AXFR", query("github.com", Type::AXFR, false)),
        ("NOTIMP: opcode", with(plain("github.com"), &[(2, 0x11)])),
        ("BADVERS", with(version, &[(version_at, 1)])),
        (
            "FORMERR: two questions",
            with(plain("github.com"), &[(5, 2)]),
        ),
        (
            "FORMERR: a header alone",
            with(plain("a.b")[..12].to_vec(), &[]),
        ),
        (
            "a response, or less than a header",
            with(plain("github.com"), &[(2, 0x81)]),
        ),
    ]
}

fn of_strangers() -> [(&'static str, Vec<u8>); 3] {
    let github = |edns| query("github.com", Type::A, edns);
    [
        ("a stranger", github(true)),
        ("a stranger, no OPT", github(false)),
        ("a stranger, FORMERR", with(github(false), &[(5, 2)])),
    ]
}

#[tokio::test]
async fn no_answer_is_much_longer_than_its_question() {
    let house = House::open();
    let mut table =
        "| what a datagram asks for | octets in | octets out | ratio |\n|---|---:|---:|---:|\n"
            .to_owned();
    let mut row = |what: &str, octets_in: usize, octets_out: usize, ratio_max: usize| {
        assert!(octets_out <= REPLY_OCTETS_MAX, "{what}: {octets_out}");
        assert!(
            octets_out <= ratio_max * octets_in,
            "{what}: {octets_in} in, {octets_out} out"
        );
        let tenths = (octets_out * 10 + octets_in / 2) / octets_in;
        let ratio = format!("{}.{}", tenths / 10, tenths % 10);
        writeln!(table, "| {what} | {octets_in} | {octets_out} | {ratio} |").expect("a string");
    };
    for (nth, (what, octets)) in of_clients().into_iter().enumerate() {
        // Each is a client of his own, of whom nothing is known.
        let from = format!("127.0.1.{nth}");
        let sent = replied(&house.road, &octets, &from).await;
        // What is kept is told like what is new.
        assert_eq!(sent, replied(&house.road, &octets, &from).await, "{what}");
        row(what, octets.len(), sent, RATIO_MAX);
    }
    let asks = query("evil.com", Type::A, true);
    replied(&house.rated, &asks, "127.0.0.1").await;
    let sent = replied(&house.rated, &asks, "127.0.0.1").await;
    row("REFUSED: over the rate", asks.len(), sent, RATIO_MAX);
    for (what, octets) in of_strangers() {
        let sent = replied(&house.road, &octets, "203.0.113.9").await;
        row(what, octets.len(), sent, RATIO_OF_STRANGERS_MAX);
    }
    hold(
        PROOF,
        "| what a datagram asks for |",
        Some("\n\n"),
        table.trim_end(),
    );
}

/// The most there is: the shortest questions, and as much as they allow.
#[tokio::test]
async fn the_worst_ratio_is_that_of_the_longest_answer_to_the_shortest_name() {
    let road = road(&Config::default(), &["*.b.c"], Arc::new(Many));
    for (edns, count, octets_max) in [(true, 74, REPLY_OCTETS_MAX), (false, 29, 512)] {
        for count in count..=count + 2 {
            let octets = query(&format!("n{count}.b.c"), Type::A, edns);
            let sent = replied(&road, &octets, "127.0.0.1").await;
            assert!(sent <= octets_max, "{count} addresses: {sent} octets");
            assert!(sent <= RATIO_MAX * octets.len(), "{count} addresses");
        }
    }
}
