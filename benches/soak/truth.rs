//! What upstream says of a name: found from the name alone, so that whoever asks can tell a wrong answer.

use super::hash;

pub(super) const A: u16 = 1;
pub(super) const CNAME: u16 = 5;
pub(super) const SOA: u16 = 6;
pub(super) const MX: u16 = 15;
pub(super) const TXT: u16 = 16;
pub(super) const AAAA: u16 = 28;
pub(super) const HTTPS: u16 = 65;
/// More addresses than a datagram holds.
const MANY: u64 = 100;
/// TTL and MINIMUM of upstream's denials.
pub(super) const DENIAL_TTL_S: u32 = 20;
/// By which upstream's SOA is known.
const SERIAL: u32 = 4242;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) owner: String,
    pub(super) kind: u16,
    pub(super) ttl_s: u32,
    pub(super) data: Vec<u8>,
    /// The guard takes it out.
    pub(super) is_private: bool,
}

/// What there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    Records(Vec<Record>),
    Nodata,
    Nxdomain,
}

/// What is so of a name and type. The first label says how, by what stands before a dash.
pub(super) fn truth(name: &str, kind: u16) -> Truth {
    match manner(name) {
        "nx" => Truth::Nxdomain,
        "nd" => Truth::Nodata,
        "chain" | "split" => aliased(name, kind, "hop"),
        "hop" => aliased(name, kind, "end"),
        "many" if kind == A => {
            Truth::Records((0..MANY).map(|it| address(name, it, false)).collect())
        }
        "private" if kind == A => {
            Truth::Records(vec![address(name, 0, true), address(name, 1, true)])
        }
        "mixed" if kind == A => {
            Truth::Records(vec![address(name, 0, true), address(name, 1, false)])
        }
        _ => plain(name, kind),
    }
}

/// Does upstream give but the first link of the chain, and leave us to ask for the rest?
pub(super) fn is_split(name: &str) -> bool {
    manner(name) == "split"
}

fn manner(name: &str) -> &str {
    let label = name.split('.').next().unwrap_or_default();
    label.split_once('-').map_or("", |it| it.0)
}

fn aliased(name: &str, kind: u16, next: &str) -> Truth {
    let label = name.split('.').next().unwrap_or_default();
    let rest = label.split_once('-').map_or("", |it| it.1);
    let target = format!("{next}-{rest}.else.example");
    let link = Record {
        owner: name.to_owned(),
        kind: CNAME,
        ttl_s: ttl_s(name, CNAME),
        data: wire(&target),
        is_private: false,
    };
    match truth(&target, kind) {
        Truth::Records(records) => Truth::Records([vec![link], records].concat()),
        Truth::Nodata | Truth::Nxdomain => Truth::Records(vec![link]),
    }
}

fn plain(name: &str, kind: u16) -> Truth {
    let mixed = hash_of(name, kind).to_be_bytes();
    let data = match kind {
        A => return Truth::Records(vec![address(name, 0, false)]),
        AAAA => [&[0x26, 0x06, 0, 0], &mixed[..4], &mixed[..]].concat(),
        TXT => [&[8][..], &mixed].concat(),
        // Priority 1, the name itself, alpn h2, an address hint.
        HTTPS => [
            b"\0\x01\0\0\x01\0\x03\x02h2\0\x04\0\x04",
            &public(hash_of(name, kind))[..],
        ]
        .concat(),
        _ => return Truth::Nodata,
    };
    Truth::Records(vec![Record {
        owner: name.to_owned(),
        kind,
        ttl_s: ttl_s(name, kind),
        data,
        is_private: false,
    }])
}

fn address(name: &str, number: u64, is_private: bool) -> Record {
    let [a, b, c, d] = public(hash_of(name, A).wrapping_add(number * 257));
    Record {
        owner: name.to_owned(),
        kind: A,
        ttl_s: ttl_s(name, A),
        data: vec![if is_private { 10 } else { a }, b, c, d],
        is_private,
    }
}

/// An address that is nobody's private one.
fn public(hash: u64) -> [u8; 4] {
    let [.., a, b, c, d] = hash.to_be_bytes();
    [64 + a % 8, b, c, d]
}

fn ttl_s(name: &str, kind: u16) -> u32 {
    5 + u32::try_from(hash_of(name, kind) >> 32 & 0x3F).expect("six bits")
}

fn hash_of(name: &str, kind: u16) -> u64 {
    hash(name.as_bytes()) ^ u64::from(kind).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Where the denials of a name come from: its last two labels.
pub(super) fn apex(name: &str) -> &str {
    let dots = name.rmatch_indices('.').nth(1);
    dots.map_or(name, |(at, _)| &name[at + 1..])
}

/// The data of upstream's SOA.
pub(super) fn soa(apex: &str) -> Vec<u8> {
    let numbers = [SERIAL, 3600, 600, 86_400, DENIAL_TTL_S].map(u32::to_be_bytes);
    let names = [wire(&format!("ns.{apex}")), wire(&format!("root.{apex}"))];
    [names.concat(), numbers.concat()].concat()
}

/// A name as it is sent.
pub(super) fn wire(name: &str) -> Vec<u8> {
    let mut octets = Vec::with_capacity(name.len() + 2);
    for label in name.split('.').filter(|it| !it.is_empty()) {
        octets.push(u8::try_from(label.len()).expect("short labels"));
        octets.extend(label.bytes());
    }
    octets.push(0);
    octets
}
