//! Names that are never anyone's (RFC 6761 and kin), answered from zones that are compiled in.
//!
//! [`Special::find`] takes a name and says whether it is such a one; [`Hit::write`]
//! writes the reply. Neither allocates, nothing here is ever forwarded, and
//! what an operator's own zone says comes before it (SPEC 4).

use hickory_proto::rr::{Name as ZoneName, RData, RecordSet};
use hickory_proto::serialize::txt::Parser;

use crate::wire::{Head, Name, Query, Rcode, Reply, Section, Type, data_octets, reply};

/// One row for each special name, or for a range of them: apex, treatment, zone file.
const LIST: &str = include_str!("../../zones/special/special.list");
/// The zone files that the list names.
const FILES: [(&str, &str); 6] = [
    ("empty", include_str!("../../zones/special/empty.zone")),
    (
        "localhost",
        include_str!("../../zones/special/localhost.zone"),
    ),
    (
        "loopback-ipv4",
        include_str!("../../zones/special/loopback-ipv4.zone"),
    ),
    (
        "loopback-ipv6",
        include_str!("../../zones/special/loopback-ipv6.zone"),
    ),
    (
        "ipv4only",
        include_str!("../../zones/special/ipv4only.zone"),
    ),
    (
        "ipv4only-reverse",
        include_str!("../../zones/special/ipv4only-reverse.zone"),
    ),
];
/// The HINFO that answers ANY: "RFC8482" and an empty text (RFC 8482 §4.2).
const ANY_DATA: &[u8] = b"\x07RFC8482\0";

/// The special names, by the last label of their apex: a glance at it sends most names on.
pub struct Special {
    tops: Vec<Top>,
}

struct Top {
    label: Vec<u8>,
    /// No apex lies below another.
    zones: Vec<Zone>,
}

struct Zone {
    apex: Name,
    treatment: Treatment,
    soa: Vec<u8>,
    /// For how long a denial holds (RFC 2308 §3).
    negative_ttl_s: u32,
    records: Vec<Record>,
}

#[derive(Clone, Copy)]
enum Treatment {
    /// What the records say.
    AsWritten,
    /// Neither the apex nor anything below it exists.
    Absent,
    /// The apex and everything below it exists and holds nothing.
    Hollow,
}

struct Record {
    owner: Name,
    kind: Type,
    ttl_s: u32,
    data: Vec<u8>,
}

/// A name in a special zone.
#[derive(Clone, Copy)]
pub struct Hit<'s> {
    zone: &'s Zone,
    /// The octet of the name at which the zone's apex begins.
    apex_at: usize,
}

/// What a zone holds for a name.
enum Place<'s> {
    /// The records of this owner: the name, or the wildcard that stands for it.
    Owner(&'s Name),
    /// The name exists and holds nothing.
    Hollow,
    /// The name does not exist.
    Nowhere,
}

impl Special {
    /// Reads what is compiled in.
    pub fn new() -> Self {
        let mut tops: Vec<Top> = Vec::new();
        for zone in rows().flat_map(|row| zones(&row)) {
            let label = last_label(&zone.apex).expect("no row is for the root");
            match tops.iter_mut().find(|top| top.label == label) {
                Some(top) => top.zones.push(zone),
                None => tops.push(Top {
                    label: label.to_vec(),
                    zones: vec![zone],
                }),
            }
        }
        Self { tops }
    }

    /// The special zone that holds this name, if any does.
    #[inline]
    pub fn find(&self, name: &Name) -> Option<Hit<'_>> {
        let label = last_label(name)?;
        let top = self.tops.iter().find(|top| top.label == label)?;
        top.zones.iter().find_map(|zone| zone.hit(name))
    }
}

impl Default for Special {
    fn default() -> Self {
        Self::new()
    }
}

impl Zone {
    #[inline]
    fn hit(&self, name: &Name) -> Option<Hit<'_>> {
        // Octets first: most zones of a top differ there, and labels need not be walked for them.
        if !name.octets().ends_with(self.apex.octets()) {
            return None;
        }
        let apex_at = name.depth_below(&self.apex)?;
        Some(Hit {
            zone: self,
            apex_at,
        })
    }

    fn place(&self, name: &Name) -> Place<'_> {
        match self.treatment {
            Treatment::Absent => Place::Nowhere,
            Treatment::Hollow => Place::Hollow,
            Treatment::AsWritten => self.place_as_written(name),
        }
    }

    fn place_as_written(&self, name: &Name) -> Place<'_> {
        if let Some(owner) = self.owners().find(|owner| *owner == name) {
            return Place::Owner(owner);
        }
        // RFC 4592 §2.2.2: what lies on the way to a record exists.
        if self.exists(name) {
            return Place::Hollow;
        }
        match self.owners().find(|owner| self.stands_for(owner, name)) {
            Some(wildcard) => Place::Owner(wildcard),
            None => Place::Nowhere,
        }
    }

    /// RFC 4592 §3.3.1: is `owner` the wildcard just below the closest encloser of `name`?
    fn stands_for(&self, owner: &Name, name: &Name) -> bool {
        let [1, b'*', above @ ..] = owner.octets() else {
            return false;
        };
        let encloser = name
            .starts()
            .map(|at| name.ancestor_at(at))
            .find(|ancestor| self.exists(ancestor));
        encloser.is_some_and(|encloser| encloser.octets() == above)
    }

    fn exists(&self, name: &Name) -> bool {
        self.owners().any(|owner| owner.is_at_or_below(name))
    }

    fn owners(&self) -> impl Iterator<Item = &Name> {
        self.records.iter().map(|record| &record.owner)
    }
}

impl Hit<'_> {
    /// Writes the whole reply and returns its code.
    pub fn write(&self, query: &Query<'_>, payload: u16, limit: usize, out: &mut Vec<u8>) -> Rcode {
        let place = self.zone.place(query.name());
        let rcode = match place {
            Place::Owner(_) | Place::Hollow => Rcode::NOERROR,
            Place::Nowhere => Rcode::NXDOMAIN,
        };
        let head = Head {
            rcode,
            authoritative: true,
            authentic: false,
        };
        self.records(query, &place, reply(query, head, out))
            .finish(None, payload, limit);
        rcode
    }

    /// Adds what answers the question; the zone's SOA where nothing does.
    fn records<'o>(&self, query: &Query<'_>, place: &Place<'_>, reply: Reply<'o>) -> Reply<'o> {
        let owner = match place {
            Place::Nowhere => return self.soa(self.above_nothing(query.name()), reply),
            Place::Owner(_) | Place::Hollow if query.kind() == Type::ANY => {
                let ttl_s = self.zone.negative_ttl_s;
                return reply.record(Section::Answer, 0, Type::HINFO, ttl_s, ANY_DATA);
            }
            Place::Hollow => return self.soa(self.apex_at, reply),
            Place::Owner(owner) => *owner,
        };
        let (mut reply, mut found) = (reply, false);
        for record in &self.zone.records {
            if record.kind == query.kind() && record.owner == *owner {
                reply = reply.record(Section::Answer, 0, record.kind, record.ttl_s, &record.data);
                found = true;
            }
        }
        match found {
            true => reply,
            false => self.soa(self.apex_at, reply),
        }
    }

    /// The owner of the SOA for a name that does not exist. Caches take an SOA at the
    /// very name for a sign that it does exist, so an apex that does not has it at its parent.
    fn above_nothing(&self, name: &Name) -> usize {
        match self.apex_at {
            0 => usize::from(name.octets()[0]) + 1,
            below => below,
        }
    }

    fn soa<'o>(&self, owner_at: usize, reply: Reply<'o>) -> Reply<'o> {
        let Zone {
            negative_ttl_s,
            soa,
            ..
        } = self.zone;
        reply.record(
            Section::Authority,
            owner_at,
            Type::SOA,
            *negative_ttl_s,
            soa,
        )
    }
}

/// The label under the root.
#[inline]
fn last_label(name: &Name) -> Option<&[u8]> {
    name.labels().last()
}

/// A row of the list.
struct Row {
    apex: &'static str,
    treatment: Treatment,
    text: &'static str,
}

fn rows() -> impl Iterator<Item = Row> {
    LIST.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let mut words = line.split_whitespace();
            let mut word = || words.next().expect("a row of the list has three words");
            Row {
                apex: word(),
                treatment: treatment(word()),
                text: text(word()),
            }
        })
}

fn treatment(word: &str) -> Treatment {
    [
        ("zone", Treatment::AsWritten),
        ("absent", Treatment::Absent),
        ("hollow", Treatment::Hollow),
    ]
    .into_iter()
    .find_map(|(known, treatment)| (known == word).then_some(treatment))
    .expect("the list says `zone`, `absent` or `hollow`")
}

fn text(file: &str) -> &'static str {
    FILES
        .into_iter()
        .find_map(|(known, text)| (known == file).then_some(text))
        .expect("every zone file of the list is compiled in")
}

/// The zone of a row, or the zones where its first label is a range like `16-31`.
fn zones(row: &Row) -> Vec<Zone> {
    let (label, rest) = row.apex.split_once('.').unwrap_or((row.apex, ""));
    let range = label.split_once('-').and_then(|(first, last)| {
        let first: u8 = first.parse().ok()?;
        Some(first..=last.parse().ok()?)
    });
    match range {
        Some(range) => range
            .map(|number| zone(&format!("{number}.{rest}"), row))
            .collect(),
        None => vec![zone(row.apex, row)],
    }
}

fn zone(apex: &str, row: &Row) -> Zone {
    let apex: Name = apex.parse().expect("the list holds names");
    let (_, sets) = Parser::new(row.text, None, Some(ZoneName::from(&apex)))
        .parse()
        .expect("the zone files that are compiled in are well-formed");
    let records: Vec<Record> = sets.values().flat_map(records).collect();
    let soa = records.iter().find(|record| record.kind == Type::SOA);
    let soa = soa.expect("every zone has an SOA");
    let minimum_s = soa.data.last_chunk().map(|it| u32::from_be_bytes(*it));
    Zone {
        apex,
        treatment: row.treatment,
        soa: soa.data.clone(),
        negative_ttl_s: minimum_s.map_or(0, |it| it.min(soa.ttl_s)),
        records,
    }
}

fn records(set: &RecordSet) -> impl Iterator<Item = Record> {
    set.records_without_rrsigs().map(|record| Record {
        owner: Name::from(&record.name),
        kind: Type(record.record_type().into()),
        ttl_s: record.ttl,
        data: octets(&record.data),
    })
}

fn octets(data: &RData) -> Vec<u8> {
    data_octets(data).expect("what hickory has read from a zone file it can write")
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
        let rcode = hit.write(&query, 1232, limit, &mut out);
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
    fn no(code: &str, name: &str, kind: Type, owner: &str, ttl_s: u32) {
        let names = "namegate.internal. hostmaster.namegate.internal.";
        assert_eq!(
            ask(name, kind),
            format!("{code} | | {owner} {ttl_s} SOA {names} 1 3600 600 86400 {ttl_s}"),
        );
    }

    #[track_caller]
    fn nodata(name: &str, kind: Type, owner: &str) {
        no("NoError", name, kind, owner, 300);
    }

    #[track_caller]
    fn nxdomain(name: &str, kind: Type, owner: &str) {
        no("NXDomain", name, kind, owner, 300);
    }

    #[test]
    fn localhost_is_this_host_at_every_depth() {
        for name in ["localhost", "a.localhost", "b.a.localhost"] {
            yes(name, Type::A, &format!("{name}. 86400 A 127.0.0.1"));
            yes(name, Type::AAAA, &format!("{name}. 86400 AAAA ::1"));
            for kind in [Type::MX, Type::TXT, Type::HTTPS, Type(65280)] {
                no("NoError", name, kind, "localhost.", 86400);
            }
        }
        yes("localhost", Type::NS, "localhost. 86400 NS localhost.");
    }

    #[test]
    fn loopback_addresses_have_a_name() {
        yes(
            "1.0.0.127.in-addr.arpa",
            Type::PTR,
            "1.0.0.127.in-addr.arpa. 86400 PTR localhost.",
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
            &format!("{loopback}. 86400 PTR localhost."),
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
            "ipv4only.arpa. 86400 A 192.0.0.170 ipv4only.arpa. 86400 A 192.0.0.171",
        );
        nodata("ipv4only.arpa", Type::AAAA, "ipv4only.arpa.");
        nxdomain("x.ipv4only.arpa", Type::A, "ipv4only.arpa.");
        for host in [170, 171] {
            let name = format!("{host}.0.0.192.in-addr.arpa");
            yes(
                &name,
                Type::PTR,
                &format!("{name}. 86400 PTR ipv4only.arpa."),
            );
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
            assert!(ask(&apex, Type::NS).ends_with(" NS localhost. |"));
        }
    }

    #[test]
    fn the_list_is_whole_and_no_apex_is_below_another() {
        let special = Special::new();
        let zones = || special.tops.iter().flat_map(|top| &top.zones);
        assert_eq!(zones().count(), private_reverse().len() + 15);
        for zone in zones() {
            let above = |other: &&Zone| zone.apex.is_at_or_below(&other.apex);
            assert_eq!(zones().filter(above).count(), 1, "{}", zone.apex);
            let child = zone.apex.child(b"x").expect("an apex is short");
            assert_eq!(special.find(&child).map(|hit| hit.apex_at), Some(2));
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
        let hinfo = |name: &str, ttl_s: u32| {
            yes(name, Type::ANY, &format!("{name}. {ttl_s} HINFO RFC8482 "));
        };
        hinfo("localhost", 86400);
        hinfo("a.localhost", 86400);
        hinfo("1.0.0.127.in-addr.arpa", 300);
        hinfo("_dns.resolver.arpa", 300);
        hinfo("10.in-addr.arpa", 300);
        nxdomain("1.10.in-addr.arpa", Type::ANY, "10.in-addr.arpa.");
    }

    #[test]
    fn a_wildcard_does_not_reach_past_a_name_that_exists() {
        let row = Row {
            apex: "x.example",
            treatment: Treatment::AsWritten,
            text: "@ 1 SOA a b 1 2 3 4 5\n* 1 A 192.0.2.1\nb.a 1 A 192.0.2.2\n",
        };
        let zone = zone(row.apex, &row);
        let place = |name: &str| match zone.place(&name.parse().expect(name)) {
            Place::Owner(owner) => owner.to_string(),
            Place::Hollow => "hollow".to_owned(),
            Place::Nowhere => "nowhere".to_owned(),
        };
        assert_eq!(place("q.x.example"), "*.x.example");
        assert_eq!(place("r.q.x.example"), "*.x.example");
        assert_eq!(place("a.x.example"), "hollow");
        assert_eq!(place("c.a.x.example"), "nowhere");
        assert_eq!(place("c.b.a.x.example"), "nowhere");
    }

    #[test]
    fn odd_octets_are_a_name_like_any() {
        yes(
            "a\\.b.localhost",
            Type::A,
            "a\\.b.localhost. 86400 A 127.0.0.1",
        );
        nxdomain("a\\000b.invalid", Type::A, "invalid.");
        yes("*.localhost", Type::A, "*.localhost. 86400 A 127.0.0.1");
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
