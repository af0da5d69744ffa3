//! The matcher is held against a model that anybody can check by eye (`fuzz/src/model.rs`).
//!
//! Lists and names are made of few short labels, so that equal, nested and
//! neighbouring ones are common. What the rules say is compared in full:
//! verdict, pattern, encloser, ancestry. Then the road says the same, whatever
//! the type, flags, transport and letter case of the question (SPEC 10.9).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use namegate::answer::upstream::{Carrier, Exchange, Over};
use namegate::config::{Config, Queries};
use namegate::daemon::Road;
use namegate::front::{Client, Road as _, Step, Transport};
use namegate::matcher::{Grant, Rules, Verdict};
use namegate::policy::Pattern;
use namegate::wire::{Query, Type};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::bodies::model::{Labels, Model, Said, datagram, said};
use crate::support::{live, road};

/// Labels of patterns: few, and endings of each other.
const LABELS: [&str; 6] = ["a", "b", "ab", "x-y", "_c", "com"];

/// Labels that no pattern can have.
const STRANGE: [&[u8]; 7] = [b"a.b", b"*", b"a\0", b"\\", b" ", b"\xC3\xA4", b"@"];

fn pattern() -> impl Strategy<Value = String> {
    let name = prop::collection::vec(select(&LABELS[..]), 2..5).prop_map(|it| it.join("."));
    let wildcard = prop::collection::vec(select(&LABELS[..]), 1..5);
    prop_oneof![name, wildcard.prop_map(|it| format!("*.{}", it.join(".")))]
}

fn patterns() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(pattern(), 0..12)
}

/// A label as a box may send it: mostly one that patterns have, in any case, sometimes anything.
fn label() -> impl Strategy<Value = Vec<u8>> {
    let usual = select(&LABELS[..]).prop_map(|it| it.as_bytes().to_vec());
    let shouted = select(&LABELS[..]).prop_map(|it| it.to_ascii_uppercase().into_bytes());
    let strange = select(&STRANGE[..]);
    let any = prop::collection::vec(any::<u8>(), 1..8);
    prop_oneof![8 => usual, 4 => shouted, 1 => strange.prop_map(<[u8]>::to_vec), 1 => any]
}

/// How a name is made of a pattern's: labels taken off the left, then others put on.
fn name() -> impl Strategy<Value = (Index, usize, Labels)> {
    (
        any::<Index>(),
        0_usize..5,
        prop::collection::vec(label(), 0..4),
    )
}

fn named(patterns: &[String], (of, off, on): (Index, usize, Labels)) -> Labels {
    let base = match patterns.is_empty() {
        true => "",
        false => of.get(patterns).trim_start_matches("*."),
    };
    let below = base.split('.').filter(|it| !it.is_empty()).skip(off);
    on.into_iter()
        .chain(below.map(|it| it.as_bytes().to_vec()))
        .collect()
}

fn parsed(patterns: &[String]) -> Vec<Pattern> {
    patterns
        .iter()
        .map(|it| Pattern::parse(it).expect(it))
        .collect()
}

fn rules(patterns: &[Pattern], allow_all: bool) -> Rules {
    let rules = Rules::builder().grant(Grant::Listed, patterns);
    if allow_all {
        rules.allow_all().build()
    } else {
        rules.build()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_matcher_equals_the_model(
        patterns in patterns(),
        allow_all in prop::bool::weighted(0.1),
        names in prop::collection::vec(name(), 1..24),
    ) {
        let list = parsed(&patterns);
        let (rules, model) = (rules(&list, allow_all), Model::new(&list, allow_all));
        for name in names {
            let name = named(&patterns, name);
            prop_assert_eq!(said(&rules, &name), model.judge(&name), "{:?} under {:?}", name, patterns);
        }
    }
}

#[track_caller]
fn check(patterns: &[&str], name: &str, expected: &Said) {
    let list: Vec<Pattern> = patterns
        .iter()
        .map(|it| Pattern::parse(it).expect(it))
        .collect();
    let labels = name
        .split('.')
        .filter(|it| !it.is_empty())
        .map(|it| it.as_bytes().to_vec());
    assert_eq!(Model::new(&list, false).judge(&labels.collect()), *expected);
}

/// The model's own sentences, so that it is not the matcher that teaches it.
#[test]
fn the_model_is_the_specification() {
    let list = ["*.com", "a.com", "*.b.com", "a.com", "*.b.com"];
    check(&list, "A.com", &Said::Allowed("a.com".into(), 1));
    check(&list, "x.b.com", &Said::Allowed("*.b.com".into(), 2));
    check(&list, "b.com", &Said::Allowed("*.com".into(), 0));
    for (name, why, encloser_labels, is_ancestor) in [
        ("com", namegate::matcher::Why::NotListed, 0, true),
        ("", namegate::matcher::Why::NotListed, 0, true),
        ("org", namegate::matcher::Why::NotListed, 0, false),
        ("x y.b.com", namegate::matcher::Why::BadLabel, 2, false),
    ] {
        check(
            &list,
            name,
            &Said::Denied {
                why,
                encloser_labels,
                is_ancestor,
            },
        );
    }
}

/// A hundred thousand names under five thousand domains, one in ten a wildcard.
#[test]
fn a_long_list_is_judged_like_a_short_one() {
    let text = |i: usize| match i % 10 {
        0 => format!("*.w{i}.d{}.example", i % 5000),
        _ => format!("h{i}.d{}.example", i % 5000),
    };
    let texts: Vec<String> = (0..100_000).map(text).collect();
    let list = parsed(&texts);
    let (rules, model) = (rules(&list, false), Model::new(&list, false));
    for (at, pattern) in list.iter().enumerate().filter(|(_, it)| !it.is_wildcard()) {
        let Verdict::Allow(rule) = rules.judge(&pattern.name()) else {
            panic!("{pattern} is denied")
        };
        assert_eq!(rule.index as usize, at);
    }
    for text in texts.iter().step_by(1009) {
        let base: Labels = text
            .trim_start_matches("*.")
            .split('.')
            .map(|it| it.as_bytes().to_vec())
            .collect();
        let below = [&[b"deeper".to_vec(), b"Still".to_vec()], &base[..]].concat();
        let beside = [&[b"other".to_vec()], &base[1..]].concat();
        for name in [&base[1..], &base, &below, &beside] {
            assert_eq!(
                said(&rules, &name.to_vec()),
                model.judge(&name.to_vec()),
                "{name:?}"
            );
        }
    }
}

/// Nobody is asked in these tests.
struct Nobody;

impl Carrier for Nobody {
    fn exchange<'a>(&'a self, _: SocketAddr, _: Over, _: &'a [u8]) -> Exchange<'a> {
        Box::pin(std::future::pending())
    }
}

/// What the client may set: flags, type, and whether there is an OPT, with or without DO.
fn manner() -> impl Strategy<Value = (u8, u8, u16, Option<bool>)> {
    let served = select(&[1_u16, 28, 5, 2, 6, 15, 16, 33, 43, 48, 64, 65, 255][..]);
    let other = (1_u16..40).prop_union(256..65535);
    (
        0_u8..2,
        any::<u8>(),
        prop_oneof![served, other],
        any::<Option<bool>>(),
    )
}

fn dressed(name: &Labels, (rd, low, kind, edns): (u8, u8, u16, Option<bool>)) -> Vec<u8> {
    let mut octets = datagram(name);
    (octets[2], octets[3]) = (rd, low & 0x70);
    let at = octets.len() - 4;
    octets[at..at + 2].copy_from_slice(&kind.to_be_bytes());
    if let Some(dnssec_ok) = edns {
        octets[11] = 1;
        octets.extend([0, 0, 41, 4, 208, 0, 0, u8::from(dnssec_ok) << 7, 0, 0, 0]);
    }
    octets
}

/// Does the road let this question pass? A denial is NXDOMAIN at once; nothing else is.
fn passes(road: &Arc<Road>, octets: &[u8], transport: Transport) -> bool {
    let client = Client {
        address: SocketAddr::from(([127, 0, 0, 1], 40_000)),
        transport,
    };
    let mut out = Vec::new();
    match road.answer_now(octets, &client, Instant::now(), &mut out) {
        Step::Later(_) => true,
        Step::Silence => panic!("every question is answered"),
        Step::Reply => out[3] & 0x0F != 3,
    }
}

#[tokio::test]
async fn the_verdict_is_the_same_for_every_type_flag_transport_and_case() {
    let mut config = Config::default();
    config.log.queries = Queries::None;
    let road = road(&config, &[], Arc::new(Nobody));
    let cases = (patterns(), name(), prop::collection::vec(manner(), 1..16));
    let run = |(patterns, name, manners): (Vec<String>, _, Vec<_>)| {
        let name = named(&patterns, name);
        let expected = allowed(&patterns, &name);
        let texts: Vec<&str> = patterns.iter().map(String::as_str).collect();
        road.go_live(live(&config, &texts));
        for manner in manners {
            for spelled in [&name, &swapped(&name)] {
                let octets = dressed(spelled, manner);
                for transport in [Transport::Udp, Transport::Tcp] {
                    let passed = passes(&road, &octets, transport);
                    prop_assert_eq!(passed, expected, "{:?} {:?} {:?}", name, manner, transport);
                }
            }
        }
        Ok(())
    };
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(300));
    runner
        .run(&cases, run)
        .unwrap_or_else(|failure| panic!("{failure}"));
}

fn allowed(patterns: &[String], name: &Labels) -> bool {
    let octets = datagram(name);
    let query = Query::read(&octets).expect("a well-formed question");
    assert_eq!(query.kind(), Type::A);
    matches!(
        rules(&parsed(patterns), false).judge(query.name()),
        Verdict::Allow(_)
    )
}

fn swapped(name: &Labels) -> Labels {
    let swap = |octet: &u8| octet ^ (u8::from(octet.is_ascii_alphabetic()) << 5);
    name.iter()
        .map(|label| label.iter().map(swap).collect())
        .collect()
}
