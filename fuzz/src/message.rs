//! A client's datagram, and the reply to it.
//!
//! Any octets come in. What is taken for a question is compared with what
//! hickory reads; what is not, with what its reply may hold.

use hickory_proto::op;
use namegate::wire::{
    Ede, Edns, Head, Keepalive, MESSAGE_OCTETS_MAX, Malformed, Message, Options, Query, Rcode,
    Room, Secrets, UDP_OCTETS, Unreadable, reply, reply_unreadable, udp_limit,
};

/// Octets of an OPT without options.
const OPT_OCTETS: usize = 11;
/// When a cookie was made, in seconds since 1970.
const NOON_S: u32 = 1_800_014_400;
/// Who we say we are.
const IDENTITY: &str = "box-7";

/// A datagram is a question, is told what is wrong with it, or gets silence.
pub fn message(input: &[u8]) {
    if input.len() > MESSAGE_OCTETS_MAX {
        return;
    }
    match Query::read(input) {
        Ok(query) => question(input, &query),
        Err(bad) => no_question(input, &bad),
    }
}

fn question(input: &[u8], query: &Query<'_>) {
    assert_eq!(query.octets(), input);
    let end = 12 + query.question().len();
    assert_eq!(&input[12..end], query.question());
    let wire = &query.question()[..query.question().len() - 4];
    assert_eq!(wire.to_ascii_lowercase(), query.name().octets());
    let room = room(query.edns());
    let limit = room.limit;
    assert!((512..=1232).contains(&limit));
    if let Ok(theirs) = op::Message::from_vec(input) {
        compare(query, &theirs);
    }
    let mut out = Vec::new();
    let ede = Ede {
        code: Ede::BLOCKED,
        text: &[b'x'; 300],
    };
    reply(query, Head::plain(Rcode(0xFFF)), &mut out).finish(Some(ede), room);
    assert!(out.len() <= limit);
    frame(input, &out);
    assert_eq!(&out[12..end], query.question());
    if query.class() == 1 {
        let read = Message::read(&out).expect("our replies can be read");
        assert_eq!(read.has_opt(), query.edns().is_some());
        assert_eq!(read.ede().is_some(), query.edns().is_some());
        let rcode = if read.has_opt() { 0xFFF } else { 0x00F };
        assert_eq!(read.rcode(), Rcode(rcode));
    }
    options(query.edns(), &out);
    query.edns().into_iter().for_each(cookie);
}

/// A server cookie is good for the one that it was made for, for an hour, and no octet of it may be another.
fn cookie(edns: &Edns) {
    let Some(sent) = edns.wants.cookie else {
        return;
    };
    let (secrets, client) = (Secrets::new([7; 16]), [127, 0, 0, 1].into());
    let made = secrets.answer(&sent, client, NOON_S);
    let sent_back = |octets: &[u8]| Query::read(&with_cookie(octets)).ok()?.edns()?.wants.cookie;
    let ours = sent_back(&made).expect("a cookie of ours can be read");
    let refused =
        |secrets: &Secrets, address: [u8; 4], now_s| secrets.refuse(&ours, address.into(), now_s);
    assert!(!refused(&secrets, [127, 0, 0, 1], NOON_S + 3600));
    assert!(refused(&secrets, [127, 0, 0, 1], NOON_S + 3601));
    assert!(refused(&secrets, [127, 0, 0, 2], NOON_S));
    let renewed = secrets.renewed([8; 16]);
    assert!(!refused(&renewed, [127, 0, 0, 1], NOON_S));
    assert!(refused(&renewed.renewed([9; 16]), [127, 0, 0, 1], NOON_S));
    for at in 0..made.len() {
        let mut other = made;
        other[at] ^= 1;
        let other = sent_back(&other).expect("it is as long");
        assert!(
            secrets.refuse(&other, client, NOON_S),
            "octet {at} is another"
        );
    }
}

/// A question with this in its COOKIE option.
fn with_cookie(cookie: &[u8]) -> Vec<u8> {
    let header = [0xBE, 0xEF, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    let opt = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 28, 0, 10, 0, 24];
    [&header[..], &[0, 0, 1, 0, 1], &opt, cookie].concat()
}

/// Two readers, one meaning.
fn compare(query: &Query<'_>, theirs: &op::Message) {
    assert_eq!(theirs.queries.len(), 1);
    let asked = &theirs.queries[0];
    let labels: Vec<Vec<u8>> = asked
        .name()
        .iter()
        .map(<[u8]>::to_ascii_lowercase)
        .collect();
    assert!(query.name().labels().eq(&labels), "{:?}", query.name());
    assert_eq!(u16::from(asked.query_type()), query.kind().0);
    assert_eq!(u16::from(asked.query_class()), query.class());
    assert_eq!(theirs.metadata.recursion_desired, query.recursion_desired());
    assert_eq!(theirs.metadata.checking_disabled, query.checking_disabled());
    let edns = theirs
        .edns
        .as_ref()
        .map(|it| (it.max_payload(), it.flags().dnssec_ok));
    assert_eq!(query.edns().map(|it| (it.payload, it.dnssec_ok)), edns);
}

fn no_question(input: &[u8], bad: &Unreadable) {
    let mut out = vec![0; 3];
    let room = room(bad.edns());
    let answered = reply_unreadable(input, bad, room, &mut out);
    assert_eq!(answered, bad.why.rcode().is_some());
    if !answered {
        assert!(out.is_empty());
        assert!(input.len() < 12 || input[2] & 0x80 != 0, "{bad:?}");
        return;
    }
    let most = input.len() + OPT_OCTETS + room.options.octets();
    assert!(out.len() <= most.min(room.limit), "it amplifies");
    frame(input, &out);
    options(bad.edns(), &out);
    let is_cookie = matches!(bad.why, Malformed::CookieAlone);
    assert!(!is_cookie || room.options.cookie.is_some());
    let rcode = bad.why.rcode().expect("it is answered");
    assert_eq!(Rcode((out[3] & 0x0F).into()), Rcode(rcode.0 & 0x0F));
}

/// A reply's header: the id, QR, the opcode, RD and CD of the query, RA; no answers.
fn frame(input: &[u8], out: &[u8]) {
    assert_eq!(out[..2], input[..2]);
    assert_eq!(out[2], 0x80 | input[2] & 0x79);
    assert_eq!(out[3] & 0xF0, 0x80 | input[3] & 0x10);
    assert_eq!(out[6..10], [0; 4]);
}

/// As the corridor makes it for a client over UDP, but for the clock.
fn room(edns: Option<&Edns>) -> Room<'static> {
    let wants = edns.map(|it| it.wants).unwrap_or_default();
    let (secrets, client) = (Secrets::new([7; 16]), [127, 0, 0, 1].into());
    Room {
        payload: UDP_OCTETS,
        limit: udp_limit(edns, UDP_OCTETS),
        options: Options {
            cookie: wants.cookie.map(|it| secrets.answer(&it, client, 0)),
            keepalive: (wants.keepalive == Keepalive::Asked).then_some(100),
            nsid: wants.nsid.then_some(IDENTITY),
        },
    }
}

/// An OPT if there was one, with what was asked for and nothing else but an extended error.
fn options(edns: Option<&Edns>, out: &[u8]) {
    let theirs = op::Message::from_vec(out).expect("our replies can be read");
    assert_eq!(theirs.edns.is_some(), edns.is_some());
    let wants = edns.map(|it| it.wants).unwrap_or_default();
    let said = theirs.edns.iter().flat_map(|it| &it.options().options);
    for (code, option) in said {
        let data = Vec::<u8>::try_from(option).expect("it was read");
        match u16::from(*code) {
            3 => assert!(wants.nsid && data == IDENTITY.as_bytes()),
            10 => assert!(wants.cookie.is_some() && data.len() == 24),
            11 => assert!(wants.keepalive == Keepalive::Asked && data == [0, 100]),
            15 => assert!(data.len() >= 2),
            other => panic!("option {other} in our OPT"),
        }
    }
}
