//! Names that are never anyone's (RFC 6761 and kin).
//!
//! `zones/special.list` is compiled in and read once; a query's name is looked
//! up by its endings and answered without waiting or allocating. What is
//! answered here is never forwarded and never judged.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::wire::{Head, Name, Query, Rcode, Reply, Section, Type, reply};

const LIST: &str = include_str!("../../zones/special.list");
/// Of everything answered here, SOA and MINIMUM included: the operator may take a name for his own and restart.
const TTL_S: u32 = 300;
/// Serial, refresh, retry, expire, minimum, behind the two names of an SOA.
const SOA_NUMBERS: [u32; 5] = [1, 3600, 600, 86_400, TTL_S];
/// RFC 8482 §4.2: CPU and OS as character strings.
const ANY_HINFO: &[u8] = b"\x07RFC8482\x00";

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
    /// Writes the answer. `payload` and `limit` as for [`Reply::finish`]. Nothing allocates.
    pub fn write(&self, query: &Query<'_>, payload: u16, limit: usize, out: &mut Vec<u8>) -> Rcode {
        let rcode = if self.exists(query.name()) {
            Rcode::NOERROR
        } else {
            Rcode::NXDOMAIN
        };
        let head = Head {
            rcode,
            authoritative: true,
            authentic: false,
        };
        let (written, any) = self.answer(query, reply(query, head, out));
        let written = if any {
            written
        } else {
            self.deny(query, rcode, written)
        };
        written.finish(None, payload, limit);
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
    use super::*;
    use crate::wire::Message;

    /// The code, the answer's types, and the SOA's owner.
    fn ask(name: &str, kind: Type) -> Option<(Rcode, Vec<Type>, Option<String>)> {
        let special = Special::new();
        let name: Name = name.parse().expect(name);
        let hit = special.find(&name)?;
        let header = [0xBE, 0xEF, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let octets = [&header[..], name.octets(), &kind.0.to_be_bytes(), &[0, 1]].concat();
        let query = Query::read(&octets).expect("well-formed");
        let mut out = Vec::new();
        let rcode = hit.write(&query, 1232, 512, &mut out);
        let message = Message::read(&out).expect("our own reply");
        assert_eq!(message.rcode(), rcode);
        let kinds = message
            .records(Section::Answer)
            .map(|record| record.kind)
            .collect();
        let soa = message
            .records(Section::Authority)
            .next()
            .map(|record| record.owner.to_string());
        Some((rcode, kinds, soa))
    }

    #[track_caller]
    fn check(name: &str, kind: Type, rcode: Rcode, kinds: &[Type], soa: Option<&str>) {
        assert_eq!(
            ask(name, kind),
            Some((rcode, kinds.to_vec(), soa.map(str::to_owned))),
            "{name} {kind}"
        );
    }

    #[test]
    fn localhost_is_this_machine_at_every_depth() {
        for name in ["localhost", "a.localhost", "a.b.localhost"] {
            check(name, Type::A, Rcode::NOERROR, &[Type::A], None);
            check(name, Type::AAAA, Rcode::NOERROR, &[Type::AAAA], None);
            check(name, Type::MX, Rcode::NOERROR, &[], Some("localhost"));
            check(name, Type::ANY, Rcode::NOERROR, &[Type::HINFO], None);
        }
    }

    #[test]
    fn names_of_other_systems_do_not_exist() {
        for zone in ["invalid", "test", "local", "onion", "alt"] {
            check(zone, Type::A, Rcode::NXDOMAIN, &[], Some("."));
            check(
                &format!("a.b.{zone}"),
                Type::AAAA,
                Rcode::NXDOMAIN,
                &[],
                Some(zone),
            );
            check(
                &format!("a.{zone}"),
                Type::ANY,
                Rcode::NXDOMAIN,
                &[],
                Some(zone),
            );
        }
        check(
            "use-application-dns.net",
            Type::A,
            Rcode::NXDOMAIN,
            &[],
            Some("net"),
        );
        check(
            "mask.icloud.com",
            Type::A,
            Rcode::NXDOMAIN,
            &[],
            Some("icloud.com"),
        );
        check(
            "mask-h2.icloud.com",
            Type::HTTPS,
            Rcode::NXDOMAIN,
            &[],
            Some("icloud.com"),
        );
    }

    #[test]
    fn private_addresses_have_no_names_but_loopback() {
        check(
            "1.1.168.192.in-addr.arpa",
            Type::PTR,
            Rcode::NXDOMAIN,
            &[],
            Some("168.192.in-addr.arpa"),
        );
        check(
            "168.192.in-addr.arpa",
            Type::SOA,
            Rcode::NOERROR,
            &[Type::SOA],
            None,
        );
        check(
            "168.192.in-addr.arpa",
            Type::NS,
            Rcode::NOERROR,
            &[Type::NS],
            None,
        );
        check(
            "168.192.in-addr.arpa",
            Type::PTR,
            Rcode::NOERROR,
            &[],
            Some("168.192.in-addr.arpa"),
        );
        check(
            "1.0.0.127.in-addr.arpa",
            Type::PTR,
            Rcode::NOERROR,
            &[Type::PTR],
            None,
        );
        check(
            "0.0.127.in-addr.arpa",
            Type::PTR,
            Rcode::NOERROR,
            &[],
            Some("127.in-addr.arpa"),
        );
        check(
            "2.0.0.127.in-addr.arpa",
            Type::PTR,
            Rcode::NXDOMAIN,
            &[],
            Some("127.in-addr.arpa"),
        );
        check(
            "1.2.64.100.in-addr.arpa",
            Type::PTR,
            Rcode::NXDOMAIN,
            &[],
            Some("64.100.in-addr.arpa"),
        );
        let v6_loopback = format!("1.{}ip6.arpa", "0.".repeat(31));
        check(&v6_loopback, Type::PTR, Rcode::NOERROR, &[Type::PTR], None);
        check(
            "1.0.d.f.ip6.arpa",
            Type::PTR,
            Rcode::NXDOMAIN,
            &[],
            Some("d.f.ip6.arpa"),
        );
    }

    #[test]
    fn resolvers_are_asked_about_here() {
        check(
            "_dns.resolver.arpa",
            Type::SVCB,
            Rcode::NOERROR,
            &[],
            Some("resolver.arpa"),
        );
        check(
            "ipv4only.arpa",
            Type::A,
            Rcode::NOERROR,
            &[Type::A, Type::A],
            None,
        );
        check(
            "ipv4only.arpa",
            Type::AAAA,
            Rcode::NOERROR,
            &[],
            Some("ipv4only.arpa"),
        );
        check(
            "170.0.0.192.in-addr.arpa",
            Type::PTR,
            Rcode::NOERROR,
            &[Type::PTR],
            None,
        );
        check(
            "printer.home.arpa",
            Type::A,
            Rcode::NXDOMAIN,
            &[],
            Some("home.arpa"),
        );
    }

    #[test]
    fn all_other_names_are_none_of_ours() {
        for name in [
            "github.com",
            "arpa",
            "in-addr.arpa",
            "1.1.1.1.in-addr.arpa",
            "icloud.com",
            "localhost.com",
            ".",
        ] {
            assert_eq!(ask(name, Type::A), None, "{name}");
        }
    }

    #[test]
    fn every_zone_of_rfc_6303_is_there() {
        let special = Special::new();
        let reverse = special
            .zones
            .keys()
            .filter(|name| name.ends_with(b"\x07in-addr\x04arpa\0"))
            .count();
        // 15 + 9 of RFC 6303 §4.2 (172.16 to 172.31 are sixteen), 64 of RFC 7793, 2 of RFC 8880.
        assert_eq!(reverse, 25 + 64 + 2);
    }
}
