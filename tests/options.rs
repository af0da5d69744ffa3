//! Options of clients, from outside: whatever stands in an OPT, the reply's is well-formed and says what was asked for;
//! and a server cookie is known again by who made it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use hickory_proto::op::Message;
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use namegate::config::{Config, Queries};
use namegate::daemon::Road;
use namegate::front::{Client, Road as _, Step, Transport};
use namegate::wire::{Query, Rcode, Type};
use proptest::prelude::*;

use crate::support::{OneAddress, query, road, with_options};

const NSID: u16 = 3;
const COOKIE: u16 = 10;
const KEEPALIVE: u16 = 11;
const EXTENDED_ERROR: u16 = 15;

/// A corridor that has a name for itself.
fn named() -> Arc<Road> {
    let mut config = Config::default();
    config.log.queries = Queries::None;
    config.listen.identity = "box-7".into();
    road(&config, &["github.com"], Arc::new(OneAddress))
}

/// What is told at once; none is silence.
fn told(road: &Arc<Road>, octets: &[u8], from: &str, transport: Transport) -> Option<Vec<u8>> {
    let client = Client {
        address: SocketAddr::new(from.parse::<IpAddr>().expect("an address"), 40_000),
        transport,
    };
    let mut out = Vec::new();
    match road.answer_now(octets, &client, Instant::now(), &mut out) {
        Step::Reply => Some(out),
        Step::Silence => None,
        Step::Later(_) => panic!("it is answered at once"),
    }
}

/// The code, and the options in order, as hickory reads them; nothing stands behind the OPT.
fn read(reply: &[u8]) -> (u16, Vec<(u16, Vec<u8>)>) {
    let mut decoder = BinDecoder::new(reply);
    let message = Message::read(&mut decoder).expect("it can be read");
    assert!(decoder.is_empty(), "octets stand behind the OPT");
    let edns = message.edns.as_ref().expect("an OPT");
    let options = edns.options().options.iter().map(|(code, option)| {
        let data = Vec::try_from(option).expect("an option that was read");
        (u16::from(*code), data)
    });
    let code = u16::from(edns.rcode_high()) << 4 | u16::from(reply[3] & 0x0F);
    (code, options.collect())
}

fn option(code: u16, data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(data.len()).expect("short");
    [&code.to_be_bytes()[..], &len.to_be_bytes(), data].concat()
}

/// Options such as clients send, and any octets.
fn area() -> impl Strategy<Value = Vec<u8>> {
    let code = prop_oneof![Just(NSID), Just(COOKIE), Just(KEEPALIVE), 0_u16..20];
    let data = prop_oneof![
        Just(Vec::new()),
        prop::collection::vec(any::<u8>(), 8),
        prop::collection::vec(any::<u8>(), 24),
        prop::collection::vec(any::<u8>(), 0..60),
    ];
    let options = prop::collection::vec((code, data), 0..6).prop_map(|all| {
        let all: Vec<_> = all.iter().map(|(code, data)| option(*code, data)).collect();
        all.concat()
    });
    prop_oneof![4 => options, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

#[test]
fn whatever_options_a_query_has_the_opt_of_the_reply_is_well_formed() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _inside = runtime.enter();
    let road = named();
    proptest!(ProptestConfig::with_cases(2000), |(area in area(), by_tcp: bool)| {
        let transport = if by_tcp { Transport::Tcp } else { Transport::Udp };
        let asked = with_options(query("evil.example", Type::A, true), &area);
        let (rcode, said) = read(&told(&road, &asked, "127.0.0.1", transport).expect("a reply"));
        let wants = Query::read(&asked).map(|query| *query.edns().expect("an OPT"));
        if let Ok(wants) = wants.map(|edns| edns.wants) {
            let refused = by_tcp && rcode == Rcode::FORMERR.0;
            prop_assert!(refused || rcode == Rcode::NXDOMAIN.0);
            let has = |code| said.iter().any(|it| it.0 == code);
            prop_assert_eq!(has(NSID), wants.nsid);
            prop_assert_eq!(has(COOKIE), wants.cookie.is_some());
            prop_assert!(!has(KEEPALIVE) || by_tcp);
            prop_assert_eq!(has(EXTENDED_ERROR), !refused);
        } else {
            prop_assert_eq!(rcode, Rcode::FORMERR.0);
        }
        let mut codes: Vec<u16> = said.iter().map(|it| it.0).collect();
        codes.sort_unstable();
        codes.dedup();
        prop_assert_eq!(codes.len(), said.len(), "an option stands twice");
        for (code, data) in said {
            match code {
                NSID => prop_assert_eq!(data, b"box-7"),
                COOKIE => prop_assert_eq!(data.len(), 24),
                KEEPALIVE => prop_assert_eq!(data, 100_u16.to_be_bytes()),
                EXTENDED_ERROR => prop_assert!(data.len() > 2),
                other => prop_assert!(false, "option {other}"),
            }
        }
    });
}

/// The code and the cookie for a cookie without a question.
fn alone(road: &Arc<Road>, cookie: &[u8], from: &str) -> (Rcode, Vec<u8>) {
    let header = b"\xBE\xEF\x01\0\0\0\0\0\0\0\0\x01";
    let empty = [&header[..], b"\0\0\x29\x04\xD0\0\0\0\0\0\0"].concat();
    let asked = with_options(empty, &option(COOKIE, cookie));
    let reply = told(road, &asked, from, Transport::Udp).expect("a reply");
    let (rcode, mut options) = read(&reply);
    let (code, cookie) = options.pop().expect("an option");
    assert!(code == COOKIE && options.is_empty());
    (Rcode(rcode), cookie)
}

#[tokio::test]
async fn a_server_cookie_is_known_by_who_made_it_for_whom_it_was_made() {
    let (road, other) = (named(), named());
    let (rcode, both) = alone(&road, b"abcdefgh", "127.0.0.1");
    assert_eq!((rcode, &both[..9]), (Rcode::NOERROR, &b"abcdefgh\x01"[..]));
    assert_eq!(alone(&road, &both, "127.0.0.1").0, Rcode::NOERROR);
    assert_eq!(alone(&road, &both, "127.0.0.2").0, Rcode::BADCOOKIE);
    assert_eq!(alone(&other, &both, "127.0.0.1").0, Rcode::BADCOOKIE);
    let of_another = [b"ABCDEFGH", &both[8..]].concat();
    let (rcode, fresh) = alone(&road, &of_another, "127.0.0.1");
    assert_eq!(rcode, Rcode::BADCOOKIE);
    assert_eq!(alone(&road, &fresh, "127.0.0.1").0, Rcode::NOERROR);
}
