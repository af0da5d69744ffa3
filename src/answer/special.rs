//! Names that are never anyone's (RFC 6761 and kin).
//!
//! `zones/special.list` is compiled in and read once; a query's name is looked
//! up by its endings and answered without waiting or allocating. What is
//! answered here is never forwarded and never judged.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::wire::{ANY_HINFO, Head, Name, Query, Rcode, Reply, Room, Section, Type, reply};

const LIST: &str = include_str!("../../zones/special.list");
/// Of everything answered here, SOA and MINIMUM included: the operator may take a name for his own and restart.
const TTL_S: u32 = 300;
/// Serial, refresh, retry, expire, minimum, behind the two names of an SOA.
const SOA_NUMBERS: [u32; 5] = [1, 3600, 600, 86_400, TTL_S];

/// What there is at a zone's name and below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Neither exists.
    Nxdomain,
    /// The name exists, and below it what is recorded.
    Empty,
    /// Both exist and hold nothing.
    Nodata,
    /// Both hold the records of the name.
    Hosts,
}

/// One line's worth of names.
struct Zone {
    manner: Manner,
    records: Vec<Record>,
}

struct Record {
    name: Name,
    kind: Type,
    data: Vec<u8>,
}

/// The special-use names.
pub struct Special {
    zones: HashMap<Box<[u8]>, Zone, foldhash::fast::RandomState>,
    /// Last labels that no special name has end most look-ups.
    last_labels: Vec<Box<[u8]>>,
    soa: Vec<u8>,
    ns: Vec<u8>,
}

impl Default for Special {
    fn default() -> Self {
        Self::new()
    }
}

impl Special {
    /// Reads the list.
    pub fn new() -> Self {
        let mut special = Self {
            zones: HashMap::default(),
            last_labels: Vec::new(),
            soa: soa(),
            ns: server().octets().to_vec(),
        };
        let mut zone = Name::ROOT;
        for line in LIST
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [verb, name, rest @ ..] = words.as_slice() else {
                continue;
            };
            let name: Name = name.parse().expect("the list's names are names");
            match manner(verb) {
                Some(manner) => {
                    zone = name;
                    special.add(zone, manner);
                }
                None => special.record(&zone, record(name, rest)),
            }
        }
        special
    }

    fn add(&mut self, name: Name, manner: Manner) {
        self.zones.insert(
            name.octets().into(),
            Zone {
                manner,
                records: Vec::new(),
            },
        );
        let last = name.labels().last().unwrap_or_default().into();
        if !self.last_labels.contains(&last) {
            self.last_labels.push(last);
        }
    }

    fn record(&mut self, zone: &Name, record: Record) {
        let zone = self
            .zones
            .get_mut(zone.octets())
            .expect("a record stands below its zone");
        zone.records.push(record);
    }

    /// The zone that a name is special by; the deepest one counts. Nothing allocates.
    #[inline]
    pub fn find(&self, name: &Name) -> Option<Hit<'_>> {
        let last = name.labels().last()?;
        if !self.last_labels.iter().any(|it| **it == *last) {
            return None;
        }
        name.starts().find_map(|at| {
            let zone = self.zones.get(&name.octets()[at..])?;
            Some(Hit {
                special: self,
                zone,
                apex_at: at,
            })
        })
    }
}

fn manner(verb: &str) -> Option<Manner> {
    match verb {
        "nxdomain" => Some(Manner::Nxdomain),
        "empty" => Some(Manner::Empty),
        "nodata" => Some(Manner::Nodata),
        "hosts" => Some(Manner::Hosts),
        _ => None,
    }
}

fn record(name: Name, rest: &[&str]) -> Record {
    let [kind, data] = rest else {
        unreachable!("a record has a type and data: {name}")
    };
    let kind: Type = kind.parse().expect("the list's types are types");
    let data = match kind {
        Type::A => data
            .parse::<Ipv4Addr>()
            .expect("an address")
            .octets()
            .to_vec(),
        Type::AAAA => data
            .parse::<Ipv6Addr>()
            .expect("an address")
            .octets()
            .to_vec(),
        _ => data.parse::<Name>().expect("a name").octets().to_vec(),
    };
    Record { name, kind, data }
}

/// Who these zones' server is said to be.
fn server() -> Name {
    "namegate.internal".parse().expect("a constant name")
}

fn soa() -> Vec<u8> {
    let mut soa = server().octets().to_vec();
    soa.extend_from_slice(b"\x0Ahostmaster");
    soa.extend_from_slice(server().octets());
    soa.extend(SOA_NUMBERS.iter().flat_map(|number| number.to_be_bytes()));
    soa
}

/// A special name, found.
pub struct Hit<'a> {
    special: &'a Special,
    zone: &'a Zone,
    /// The octet of the name at which its zone begins.
    apex_at: usize,
}

impl Hit<'_> {
    /// Writes the answer. Nothing allocates.
    pub fn write(&self, query: &Query<'_>, room: Room<'_>, out: &mut Vec<u8>) -> Rcode {
        let rcode = if self.exists(query.name()) {
            Rcode::NOERROR
        } else {
            Rcode::NXDOMAIN
        };
        let head = Head::ours(rcode);
        let (written, any) = self.answer(query, reply(query, head, out));
        let written = if any {
            written
        } else {
            self.deny(query, rcode, written)
        };
        written.finish(None, room);
        rcode
    }

    fn exists(&self, name: &Name) -> bool {
        match self.zone.manner {
            Manner::Nxdomain => false,
            Manner::Nodata | Manner::Hosts => true,
            // A name with a recorded one below it exists too (RFC 8020).
            Manner::Empty => {
                self.apex_at == 0
                    || self
                        .zone
                        .records
                        .iter()
                        .any(|it| it.name.is_at_or_below(name))
            }
        }
    }

    /// Adds the records asked for. False: there are none.
    fn answer<'o>(&self, query: &Query<'_>, mut reply: Reply<'o>) -> (Reply<'o>, bool) {
        let kind = query.kind();
        let mut any = false;
        let mut add = |reply: Reply<'o>, kind, data: &[u8]| {
            any = true;
            reply.record(Section::Answer, 0, kind, TTL_S, data)
        };
        if kind == Type::ANY && self.exists(query.name()) {
            reply = add(reply, Type::HINFO, ANY_HINFO);
        }
        if self.apex_at == 0 && kind == Type::SOA && self.zone.manner != Manner::Nxdomain {
            reply = add(reply, Type::SOA, &self.special.soa);
        }
        if self.apex_at == 0 && kind == Type::NS && self.zone.manner == Manner::Empty {
            reply = add(reply, Type::NS, &self.special.ns);
        }
        let is_host = self.zone.manner == Manner::Hosts;
        for record in self
            .zone
            .records
            .iter()
            .filter(|it| it.kind == kind && (is_host || it.name == *query.name()))
        {
            reply = add(reply, kind, &record.data);
        }
        (reply, any)
    }

    /// Adds the SOA that bounds the denial: the zone's, or for a zone that does not exist itself, its parent's.
    fn deny<'o>(&self, query: &Query<'_>, rcode: Rcode, reply: Reply<'o>) -> Reply<'o> {
        let is_apex_denied = self.apex_at == 0 && rcode == Rcode::NXDOMAIN;
        let root_at = query.name().octets().len() - 1;
        let parent_at = || query.name().starts().nth(1).unwrap_or(root_at);
        let owner_at = if is_apex_denied {
            parent_at()
        } else {
            self.apex_at
        };
        reply.record(
            Section::Authority,
            owner_at,
            Type::SOA,
            TTL_S,
            &self.special.soa,
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use hickory_proto::op::Message;

    use super::*;

    const OPT: &[u8] = b"\0\0\x29\x04\xD0\0\0\0\0\0\0";

    /// The octets of a query for `name` as it is spelled.
    fn asked(name: &str, kind: Type, flags: u16, edns: bool) -> Vec<u8> {
        let mut octets = vec![0xAB, 0xCD];
        let counts = [1, 0, 0, u16::from(edns)];
        octets.extend(
            [flags]
                .iter()
                .chain(&counts)
                .flat_map(|it| it.to_be_bytes()),
        );
        let at = octets.len();
        octets.extend_from_slice(name.parse::<Name>().expect(name).octets());
        if name.bytes().any(|octet| octet.is_ascii_uppercase()) {
            octets[at..].make_ascii_uppercase();
        }
        octets.extend_from_slice(&[kind.0.to_be_bytes(), [0, 1]].concat());
        octets.extend_from_slice(if edns { OPT } else { &[] });
        octets
    }

    fn answer(octets: &[u8], limit: usize) -> Vec<u8> {
        static SPECIAL: LazyLock<Special> = LazyLock::new(Special::new);
        let query = Query::read(octets).expect("well-formed");
        let hit = SPECIAL.find(query.name()).expect("a special name");
        let mut out = Vec::new();
        let rcode = hit.write(&query, Room::plain(1232, limit), &mut out);
        assert_eq!(u16::from(out[3] & 0x0F), rcode.0);
        out
    }

    /// The reply as hickory reads it: the code, then the records, their sections parted by `|`.
    fn ask(name: &str, kind: Type) -> String {
        let octets = answer(&asked(name, kind, 0x0100, false), 512);
        let reply = Message::from_vec(&octets).expect("a reply");
        assert!(reply.metadata.authoritative && reply.metadata.recursion_available);
        assert!(!reply.metadata.authentic_data && reply.additionals.is_empty());
        let mut said = format!("{:?}", reply.metadata.response_code);
        for section in [&reply.answers, &reply.authorities] {
            said += " |";
            for record in section {
                said += &format!(" {}", record.to_string().replace(" IN ", " "));
            }
        }
        said
    }

    #[track_caller]
    fn yes(name: &str, kind: Type, records: &str) {
        assert_eq!(ask(name, kind), format!("NoError | {records} |"));
    }

    #[track_caller]
    fn no(code: &str, name: &str, kind: Type, owner: &str) {
        let names = "namegate.internal. hostmaster.namegate.internal.";
        assert_eq!(
            ask(name, kind),
            format!("{code} | | {owner} 300 SOA {names} 1 3600 600 86400 300"),
        );
    }

    #[track_caller]
    fn nodata(name: &str, kind: Type, owner: &str) {
        no("NoError", name, kind, owner);
    }

    #[track_caller]
    fn nxdomain(name: &str, kind: Type, owner: &str) {
        no("NXDomain", name, kind, owner);
    }

    #[test]
    fn localhost_is_this_host_at_every_depth() {
        for name in ["localhost", "a.localhost", "b.a.localhost"] {
            yes(name, Type::A, &format!("{name}. 300 A 127.0.0.1"));
            yes(name, Type::AAAA, &format!("{name}. 300 AAAA ::1"));
            for kind in [Type::MX, Type::TXT, Type::HTTPS, Type(65280)] {
                nodata(name, kind, "localhost.");
            }
        }
        nodata("localhost", Type::NS, "localhost.");
    }

    #[test]
    fn loopback_addresses_have_a_name() {
        yes(
            "1.0.0.127.in-addr.arpa",
            Type::PTR,
            "1.0.0.127.in-addr.arpa. 300 PTR localhost.",
        );
        nodata("1.0.0.127.in-addr.arpa", Type::A, "127.in-addr.arpa.");
        nodata("0.127.in-addr.arpa", Type::PTR, "127.in-addr.arpa.");
        nodata("127.in-addr.arpa", Type::PTR, "127.in-addr.arpa.");
        nxdomain("2.0.0.127.in-addr.arpa", Type::PTR, "127.in-addr.arpa.");
        nxdomain("x.1.0.0.127.in-addr.arpa", Type::PTR, "127.in-addr.arpa.");
        let loopback = format!("1.{}ip6.arpa", "0.".repeat(31));
        yes(
            &loopback,
            Type::PTR,
            &format!("{loopback}. 300 PTR localhost."),
        );
        nodata(&loopback, Type::A, &format!("{loopback}."));
    }

    #[test]
    fn names_that_dns_does_not_resolve_are_nowhere() {
        for apex in ["invalid", "test", "local", "onion", "alt"] {
            for kind in [
                Type::A,
                Type::AAAA,
                Type::SOA,
                Type::NS,
                Type::DS,
                Type::ANY,
            ] {
                nxdomain(apex, kind, ".");
                nxdomain(&format!("a.{apex}"), kind, &format!("{apex}."));
                nxdomain(&format!("b.a.{apex}"), kind, &format!("{apex}."));
            }
        }
        nxdomain("use-application-dns.net", Type::A, "net.");
        nxdomain(
            "a.use-application-dns.net",
            Type::A,
            "use-application-dns.net.",
        );
        for apex in ["mask.icloud.com", "mask-h2.icloud.com"] {
            nxdomain(apex, Type::HTTPS, "icloud.com.");
            nxdomain(&format!("x.{apex}"), Type::A, &format!("{apex}."));
        }
    }

    #[test]
    fn the_home_is_empty_and_the_resolver_designates_none() {
        nodata("home.arpa", Type::A, "home.arpa.");
        nxdomain("printer.home.arpa", Type::A, "home.arpa.");
        nodata("resolver.arpa", Type::A, "resolver.arpa.");
        nodata("_dns.resolver.arpa", Type::SVCB, "resolver.arpa.");
        nodata("a.b.resolver.arpa", Type::TXT, "resolver.arpa.");
    }

    #[test]
    fn ipv4only_has_its_two_addresses() {
        yes(
            "ipv4only.arpa",
            Type::A,
            "ipv4only.arpa. 300 A 192.0.0.170 ipv4only.arpa. 300 A 192.0.0.171",
        );
        nodata("ipv4only.arpa", Type::AAAA, "ipv4only.arpa.");
        nxdomain("x.ipv4only.arpa", Type::A, "ipv4only.arpa.");
        for host in [170, 171] {
            let name = format!("{host}.0.0.192.in-addr.arpa");
            yes(&name, Type::PTR, &format!("{name}. 300 PTR ipv4only.arpa."));
            nodata(&name, Type::A, &format!("{name}."));
            nxdomain(&format!("x.{name}"), Type::PTR, &format!("{name}."));
        }
    }

    /// RFC 6303 §4 and RFC 7793 §2.
    fn private_reverse() -> Vec<String> {
        let number = |rest: &'static str| move |number: u8| format!("{number}.{rest}");
        let mut apexes: Vec<String> = (16..=31).map(number("172.in-addr.arpa")).collect();
        apexes.extend((64..=127).map(number("100.in-addr.arpa")));
        apexes.push(format!("{}ip6.arpa", "0.".repeat(32)));
        let others = "10.in-addr.arpa 168.192.in-addr.arpa 0.in-addr.arpa 127.in-addr.arpa 254.169.in-addr.arpa \
            2.0.192.in-addr.arpa 100.51.198.in-addr.arpa 113.0.203.in-addr.arpa 255.255.255.255.in-addr.arpa \
            d.f.ip6.arpa 8.e.f.ip6.arpa 9.e.f.ip6.arpa a.e.f.ip6.arpa b.e.f.ip6.arpa 8.b.d.0.1.0.0.2.ip6.arpa";
        apexes.extend(others.split_whitespace().map(str::to_owned));
        apexes
    }

    #[test]
    fn private_addresses_read_backwards_are_empty_zones() {
        for apex in private_reverse() {
            nodata(&apex, Type::PTR, &format!("{apex}."));
            nxdomain(&format!("9.{apex}"), Type::PTR, &format!("{apex}."));
            nxdomain(&format!("9.9.{apex}"), Type::PTR, &format!("{apex}."));
            assert!(ask(&apex, Type::SOA).starts_with(&format!("NoError | {apex}. ")));
            assert!(ask(&apex, Type::NS).ends_with(" NS namegate.internal. |"));
        }
    }

    #[test]
    fn other_names_are_not_special() {
        let special = Special::new();
        for name in [
            ".",
            "com",
            "arpa",
            "in-addr.arpa",
            "ip6.arpa",
            "icloud.com",
            "notmask.icloud.com",
            "localhost.com",
            "notlocalhost",
            "15.172.in-addr.arpa",
            "32.172.in-addr.arpa",
            "63.100.in-addr.arpa",
            "128.100.in-addr.arpa",
            "0.0.192.in-addr.arpa",
            "internal",
            // The octets of an apex, but not its labels.
            "x\\009localhost",
            "x\\004mask\\006icloud.com",
        ] {
            assert!(special.find(&name.parse().expect(name)).is_none(), "{name}");
        }
    }

    #[test]
    fn any_is_a_hinfo_where_there_is_a_name() {
        let hinfo = |name: &str| {
            yes(name, Type::ANY, &format!("{name}. 300 HINFO RFC8482 "));
        };
        hinfo("localhost");
        hinfo("a.localhost");
        hinfo("1.0.0.127.in-addr.arpa");
        hinfo("_dns.resolver.arpa");
        hinfo("10.in-addr.arpa");
        nxdomain("1.10.in-addr.arpa", Type::ANY, "10.in-addr.arpa.");
    }

    #[test]
    fn odd_octets_are_a_name_like_any() {
        yes(
            "a\\.b.localhost",
            Type::A,
            "a\\.b.localhost. 300 A 127.0.0.1",
        );
        nxdomain("a\\000b.invalid", Type::A, "invalid.");
        yes("*.localhost", Type::A, "*.localhost. 300 A 127.0.0.1");
    }

    #[test]
    fn the_question_comes_back_as_it_was_with_rd_and_cd() {
        for flags in [0, 0x0100, 0x0010, 0x0110] {
            let octets = asked("A.LocalHost", Type::A, flags, false);
            let reply = answer(&octets, 512);
            assert_eq!(reply[12..octets.len()], octets[12..]);
            assert_eq!(u16::from_be_bytes([reply[2], reply[3]]), 0x8480 | flags);
        }
    }

    #[test]
    fn an_opt_answers_an_opt() {
        let plain = answer(&asked("x.invalid", Type::A, 0, false), 512);
        let edns = answer(&asked("x.invalid", Type::A, 0, true), 1232);
        assert_eq!((plain[11], edns[11]), (0, 1));
        assert_eq!(edns[12..plain.len()], plain[12..]);
        assert_eq!(edns[plain.len()..], *OPT);
    }

    #[test]
    fn the_longest_name_has_a_whole_denial() {
        let label = "x".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}.invalid", "x".repeat(53));
        nxdomain(&longest, Type::A, "invalid.");
    }
}
