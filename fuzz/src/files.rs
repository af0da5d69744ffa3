//! The operator's files: the configuration and a local zone.
//!
//! Any octets come in. A file is taken or refused with reasons that name it;
//! what is taken answers questions, and the answers can be read.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use namegate::answer::zone::{ZoneText, Zones};
use namegate::config;
use namegate::wire::{Age, Head, MESSAGE_OCTETS_MAX, Message, Name, Query, Room, Type, reply};

/// Turns that an answer from memory may take.
const TURNS_MAX: usize = 1000;

/// A configuration is taken, or everything that is wrong with it is said.
pub fn config(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    match config::read("config.toml", text) {
        Ok(config) => {
            assert!(!config.listen.addresses.is_empty());
            assert!((512..=65_535).contains(&config.listen.udp_payload));
            assert!((1..=60).contains(&config.blocked.ttl_s));
        }
        Err(error) => {
            assert!(!error.faults.is_empty(), "refused without a reason");
            assert!(error.faults.iter().all(|it| !it.message().is_empty()));
            assert!(!error.to_string().is_empty());
        }
    }
}

/// A zone is taken whole and answers for its names, or all that is wrong with it is said.
pub fn zone(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    let file = ZoneText {
        file: "corp.internal.zone".to_owned(),
        origin_hint: "corp.internal".parse().ok(),
        text: text.to_owned(),
    };
    match Zones::parse(&[file]) {
        Ok(zones) => zones.apexes().for_each(|apex| answers(&zones, apex)),
        Err(errors) => {
            assert!(!errors.is_empty(), "refused without a reason");
            assert!(
                errors
                    .iter()
                    .all(|it| it.to_string().starts_with("corp.internal.zone"))
            );
        }
    }
}

/// The apex, a name below it and one that a wildcard may hold, for types that are there and that are not.
fn answers(zones: &Zones, apex: &Name) {
    let below = |label: &[u8]| apex.child(label).unwrap_or(*apex);
    for name in [*apex, below(b"www"), below(b"no-such-name")] {
        assert!(zones.covers(&name));
        for kind in [Type::A, Type::SOA, Type::CNAME, Type::TXT, Type::ANY] {
            answer(zones, &name, kind);
        }
    }
}

fn answer(zones: &Zones, name: &Name, kind: Type) {
    let header = [0xBE, 0xEF, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let octets = [
        &header[..],
        name.octets(),
        &kind.0.to_be_bytes(),
        &1_u16.to_be_bytes(),
    ]
    .concat();
    let query = Query::read(&octets).expect("a well-formed question");
    let answer = at_once(zones.answer(&query)).expect("the zone covers it");
    let mut out = Vec::new();
    reply(&query, Head::plain(answer.rcode), &mut out)
        .sections(&answer.sections, Age::Seconds(0))
        .finish(None, Room::plain(1232, MESSAGE_OCTETS_MAX));
    let read = Message::read(&out).expect("a reply of ours can be read");
    assert_eq!(read.rcode(), answer.rcode);
}

/// What a future comes to that waits for nobody.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..TURNS_MAX {
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
    }
    panic!("an answer from memory waits for something");
}
