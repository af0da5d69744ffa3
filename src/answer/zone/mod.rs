//! Names we are the authority for: the operator's zone files (RFC 1035 §5).
//!
//! Texts come in and [`Zones`] come out, whole or not at all; then a query comes
//! in and a [`ZoneAnswer`] goes out. Hickory reads, holds and looks up the
//! records. Which of them answer is decided here by RFC 1034 §4.3.2 and RFC
//! 4592, because hickory 0.26 takes a wildcard also where a nearer name exists,
//! denies what lies on the way to a name, and ends a chain of aliases without
//! the SOA of its last zone. No file is read here.

mod text;

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use hickory_server::net::runtime::TokioRuntimeProvider;
use hickory_server::proto::rr::rdata::HTTPS;
use hickory_server::proto::rr::{
    DNSClass, LowerName, Name as ZoneName, RData, Record, RecordSet, RecordType, RrKey,
};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{
    AuthLookup, AxfrPolicy, LookupOptions, ZoneHandler as _, ZoneType,
};

use self::text::Entry;
use crate::wire::{
    ANY_HINFO, Malformed, Name, Query, Rcode, Section, Sections, SectionsBuilder, Type, data_octets,
};

/// Aliases that are followed for one answer: as many as of an upstream's chain (SPEC 6).
const ALIASES_MAX: usize = 8;
/// The longest TTL there is (RFC 2181 §8).
const TTL_S_MAX: u32 = 0x7FFF_FFFF;

/// A zone file as it was read.
#[derive(Clone, Debug)]
pub struct ZoneText {
    /// The file's name, for errors.
    pub file: String,
    /// What its name says the zone is, for files without `$ORIGIN`: `corp.internal` of `corp.internal.zone`.
    pub origin_hint: Option<Name>,
    /// What is in it.
    pub text: String,
}

/// What is wrong with a zone file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneError {
    /// The file's name.
    pub file: String,
    /// The line, from 1, where one is to blame.
    pub line: Option<u32>,
    /// A sentence for the operator, and what to do about it.
    pub message: String,
}

impl fmt::Display for ZoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

impl std::error::Error for ZoneError {}

/// The zones that are served. Immutable; share them behind an `Arc`.
#[derive(Default)]
pub struct Zones {
    /// By the octets of the apex.
    zones: HashMap<Box<[u8]>, Zone>,
}

/// What a zone says to a query.
#[derive(Clone, Debug)]
pub struct ZoneAnswer {
    /// The code of the last name of the chain (RFC 6604 §3).
    pub rcode: Rcode,
    /// The records.
    pub sections: Sections,
    /// AA. A failure is nobody's word, and a referral to a zone below is not ours (RFC 1034 §4.3.1).
    pub authoritative: bool,
}

impl Zones {
    /// Reads zone files, whole or not at all.
    ///
    /// # Errors
    /// Every fault of every file.
    pub fn parse(texts: &[ZoneText]) -> Result<Self, Vec<ZoneError>> {
        let mut zones = Self::default();
        let mut files: HashMap<Name, &str> = HashMap::new();
        let mut errors = Vec::new();
        for text in texts {
            let zone = match Zone::parse(text) {
                Ok(zone) => zone,
                Err(found) => {
                    errors.extend(found);
                    continue;
                }
            };
            match files.insert(zone.apex, &text.file) {
                None => drop(zones.zones.insert(zone.apex.octets().into(), zone)),
                Some(other) => errors.push(ZoneError {
                    file: text.file.clone(),
                    line: None,
                    message: format!(
                        "the zone {} is already in {other}: put its records into one file",
                        zone.apex
                    ),
                }),
            }
        }
        match errors.is_empty() {
            true => Ok(zones),
            false => Err(errors),
        }
    }

    /// Is this name in one of the zones? Nothing allocates.
    #[inline]
    pub fn covers(&self, name: &Name) -> bool {
        !self.zones.is_empty() && self.zone_of(name).is_some()
    }

    /// The apexes, in no order.
    pub fn apexes(&self) -> impl Iterator<Item = &Name> {
        self.zones.values().map(|zone| &zone.apex)
    }

    /// Answers from the deepest zone that holds the name; none: no zone does.
    pub async fn answer(&self, query: &Query<'_>) -> Option<ZoneAnswer> {
        let zone = self.zone_of(query.name())?;
        // Records that fill no message, or aliases that never end, are the zone's fault and not a denial.
        let failure = ZoneAnswer {
            rcode: Rcode::SERVFAIL,
            sections: Sections::default(),
            authoritative: false,
        };
        Some(self.follow(query, zone).await.unwrap_or(failure))
    }

    /// RFC 1034 §4.3.2, step by step, from the query's name to the end of its aliases.
    async fn follow(&self, query: &Query<'_>, zone: &Zone) -> Result<ZoneAnswer, Malformed> {
        let (mut zone, mut name) = (zone, *query.name());
        let mut sections = SectionsBuilder::new(&name);
        for followed in 0..=ALIASES_MAX {
            let kinds = match zone.place(&name, query.kind()) {
                Place::Exists(kinds) => kinds,
                Place::Nowhere => {
                    zone.push_soa(&mut sections)?;
                    return Ok(ours(Rcode::NXDOMAIN, sections));
                }
                Place::Delegated(at) => {
                    let cut = name.ancestor_at(at);
                    zone.push_referral(&mut sections, &cut).await?;
                    let authoritative = followed > 0;
                    return Ok(ZoneAnswer {
                        authoritative,
                        ..ours(Rcode::NOERROR, sections)
                    });
                }
            };
            if !kinds.contains(&Type::CNAME) || matches!(query.kind(), Type::CNAME | Type::ANY) {
                zone.push_answer(&mut sections, &name, query.kind(), kinds)
                    .await?;
                return Ok(ours(Rcode::NOERROR, sections));
            }
            name = zone.push_alias(&mut sections, &name).await?;
            zone = match self.zone_of(&name) {
                Some(zone) => zone,
                // The rest of the chain is not ours to tell.
                None => return Ok(ours(Rcode::NOERROR, sections)),
            };
        }
        Err(Malformed::BadData)
    }

    /// The deepest zone that holds the name.
    #[inline]
    fn zone_of(&self, name: &Name) -> Option<&Zone> {
        name.starts()
            .find_map(|at| self.zones.get(&name.octets()[at..]))
    }
}

fn ours(rcode: Rcode, sections: SectionsBuilder) -> ZoneAnswer {
    ZoneAnswer {
        rcode,
        sections: sections.finish(),
        authoritative: true,
    }
}

/// One zone.
struct Zone {
    apex: Name,
    soa: Vec<u8>,
    /// For how long a denial holds (RFC 2308 §3).
    negative_ttl_s: u32,
    /// The names that exist, by their octets, and the kinds of record each has: none for a name
    /// that lies on the way to others (RFC 4592 §2.2.2).
    names: HashMap<Box<[u8]>, Vec<Type>>,
    records: InMemoryZoneHandler<TokioRuntimeProvider>,
}

/// Where a name stands in its zone.
enum Place<'z> {
    /// It exists, or a wildcard stands for it; with these kinds of record.
    Exists(&'z [Type]),
    /// It does not exist.
    Nowhere,
    /// It belongs to the servers of a zone that begins at this octet of it.
    Delegated(usize),
}

impl Zone {
    fn parse(text: &ZoneText) -> Result<Self, Vec<ZoneError>> {
        let origin = text
            .origin_hint
            .as_ref()
            .map_or_else(ZoneName::root, ZoneName::from);
        let entries = text::read(&text.file, &text.text, origin)?;
        let error = |line, message| ZoneError {
            file: text.file.clone(),
            line,
            message,
        };
        let apex = apex(&entries).map_err(|(line, message)| vec![error(line, message)])?;
        let mut names = HashMap::new();
        let errors: Vec<ZoneError> = entries
            .iter()
            .filter_map(|entry| {
                let fault = admit(&mut names, &apex, &entry.record).err()?;
                Some(error(Some(entry.line), fault))
            })
            .collect();
        if !errors.is_empty() {
            return Err(errors);
        }
        Self::hold(apex, names, entries).map_err(|message| vec![error(None, message)])
    }

    /// Gives the records to hickory.
    fn hold(
        apex: Name,
        names: HashMap<Box<[u8]>, Vec<Type>>,
        entries: Vec<Entry>,
    ) -> Result<Self, String> {
        let mut soa = Vec::new();
        let mut negative_ttl_s = 0;
        let mut sets: BTreeMap<RrKey, RecordSet> = BTreeMap::new();
        for Entry { record, .. } in entries {
            if let RData::SOA(data) = &record.data {
                negative_ttl_s = data.minimum.min(record.ttl);
                soa = data_octets(&record.data).ok_or("the SOA cannot be written")?;
            }
            let kind = record.record_type();
            sets.entry(RrKey::new(LowerName::new(&record.name), kind))
                .or_insert_with(|| RecordSet::new(record.name.clone(), kind, 0))
                .insert(record, 0);
        }
        let records = InMemoryZoneHandler::new(
            ZoneName::from(&apex),
            sets,
            ZoneType::Primary,
            AxfrPolicy::Deny,
        )?;
        Ok(Self {
            apex,
            soa,
            negative_ttl_s,
            names,
            records,
        })
    }

    fn place(&self, name: &Name, kind: Type) -> Place<'_> {
        let octets = name.octets();
        let apex_at = octets.len() - self.apex.octets().len();
        let below_apex = || name.starts().take_while(|at| *at < apex_at);
        let cut = below_apex()
            .filter(|at| self.has(&octets[*at..], Type::NS))
            .last();
        // RFC 4035 §3.1.4.1: the DS of a zone below is held on our side of the cut.
        if let Some(at) = cut.filter(|at| *at > 0 || kind != Type::DS) {
            return Place::Delegated(at);
        }
        if let Some(kinds) = self.names.get(octets) {
            return Place::Exists(kinds);
        }
        let encloser = below_apex().find(|at| self.names.contains_key(&octets[*at..]));
        let wildcard = name.ancestor_at(encloser.unwrap_or(apex_at)).child(b"*");
        match wildcard.and_then(|wildcard| self.names.get(wildcard.octets())) {
            Some(kinds) => Place::Exists(kinds),
            None => Place::Nowhere,
        }
    }

    fn has(&self, octets: &[u8], kind: Type) -> bool {
        self.names
            .get(octets)
            .is_some_and(|kinds| kinds.contains(&kind))
    }

    /// Adds the records of a name that has no alias to follow.
    async fn push_answer(
        &self,
        sections: &mut SectionsBuilder,
        name: &Name,
        kind: Type,
        kinds: &[Type],
    ) -> Result<(), Malformed> {
        let kind = match kind {
            Type::ANY if kinds.contains(&Type::CNAME) => Type::CNAME,
            Type::ANY => {
                let ttl_s = self.negative_ttl_s;
                return sections.push_data(Section::Answer, name, Type::HINFO, ttl_s, ANY_HINFO);
            }
            kind => kind,
        };
        if !kinds.contains(&kind) {
            return self.push_soa(sections);
        }
        let found = self.look_up(name, kind).await;
        push_set(sections, Section::Answer, &found)
    }

    /// Adds an alias and returns what it leads to.
    async fn push_alias(
        &self,
        sections: &mut SectionsBuilder,
        name: &Name,
    ) -> Result<Name, Malformed> {
        let found = self.look_up(name, Type::CNAME).await;
        push_set(sections, Section::Answer, &found)?;
        match found.iter().next().map(|record| &record.data) {
            Some(RData::CNAME(target)) => Ok(Name::from(&target.0)),
            Some(_) | None => Err(Malformed::BadData),
        }
    }

    /// Adds the servers of a zone below, and their addresses where we know them.
    async fn push_referral(
        &self,
        sections: &mut SectionsBuilder,
        cut: &Name,
    ) -> Result<(), Malformed> {
        let found = self.look_up(cut, Type::NS).await;
        push_set(sections, Section::Authority, &found)?;
        // Hickory looks up nothing below a cut, so the addresses are taken from what it holds.
        let held = self.records.records().await;
        for record in &found {
            let RData::NS(server) = &record.data else {
                continue;
            };
            for kind in [RecordType::A, RecordType::AAAA] {
                let set = held.get(&RrKey::new(LowerName::new(&server.0), kind));
                for record in set.into_iter().flat_map(|set| set.records_without_rrsigs()) {
                    push_record(sections, Section::Additional, record, record.ttl)?;
                }
            }
        }
        Ok(())
    }

    fn push_soa(&self, sections: &mut SectionsBuilder) -> Result<(), Malformed> {
        let ttl_s = self.negative_ttl_s;
        sections.push_data(Section::Authority, &self.apex, Type::SOA, ttl_s, &self.soa)
    }

    async fn look_up(&self, name: &Name, kind: Type) -> AuthLookup {
        let name = LowerName::from(ZoneName::from(name));
        let kind = RecordType::from(kind.0);
        self.records
            .lookup(&name, kind, None, LookupOptions::default())
            .await
            .unwrap_or_default()
    }
}

/// Adds records of one set, all with the lowest TTL among them (RFC 2181 §5.2).
fn push_set(
    sections: &mut SectionsBuilder,
    section: Section,
    found: &AuthLookup,
) -> Result<(), Malformed> {
    let ttl_s = found.iter().map(|record| record.ttl).min().unwrap_or(0);
    for record in found {
        push_record(sections, section, record, ttl_s)?;
    }
    Ok(())
}

fn push_record(
    sections: &mut SectionsBuilder,
    section: Section,
    record: &Record,
    ttl_s: u32,
) -> Result<(), Malformed> {
    let data = data_octets(&record.data).ok_or(Malformed::BadData)?;
    let kind = Type(record.record_type().into());
    sections.push_data(section, &Name::from(&record.name), kind, ttl_s, &data)
}

/// The owner of the one SOA.
fn apex(entries: &[Entry]) -> Result<Name, (Option<u32>, String)> {
    let mut soas = entries
        .iter()
        .filter(|entry| entry.record.record_type() == RecordType::SOA);
    let Some(soa) = soas.next() else {
        let remedy = "`@ SOA ns.example. hostmaster.example. 1 3600 600 86400 60`";
        return Err((
            None,
            format!("there is no SOA: begin the zone with one, like {remedy}"),
        ));
    };
    if let Some(second) = soas.next() {
        let message = format!(
            "a second SOA (the first is on line {}): a file holds one zone",
            soa.line
        );
        return Err((Some(second.line), message));
    }
    let apex = Name::from(&soa.record.name);
    match apex.is_root() {
        true => Err((
            Some(soa.line),
            "a zone for the root would answer for every name: \
             name the file after its zone, or begin it with $ORIGIN"
                .to_owned(),
        )),
        false => Ok(apex),
    }
}

/// Enters a record into the names of its zone, if it may stand there.
fn admit(
    names: &mut HashMap<Box<[u8]>, Vec<Type>>,
    apex: &Name,
    record: &Record,
) -> Result<(), String> {
    let name = Name::from(&record.name);
    let kind = Type(record.record_type().into());
    if record.dns_class != DNSClass::IN {
        return Err(format!(
            "class {} is not served: write IN, or nothing",
            record.dns_class
        ));
    }
    let Some(apex_at) = name.depth_below(apex) else {
        return Err(format!(
            "{name} lies outside the zone {apex}: a name without a final dot has $ORIGIN added to it"
        ));
    };
    if record.ttl > TTL_S_MAX {
        return Err(format!(
            "a TTL of {} s: the most is {TTL_S_MAX} (RFC 2181 section 8)",
            record.ttl
        ));
    }
    serves(&record.data)?;
    for at in name
        .starts()
        .take_while(|at| *at < apex_at)
        .chain([apex_at])
    {
        names.entry(name.octets()[at..].into()).or_default();
    }
    let kinds = names.entry(name.octets().into()).or_default();
    // RFC 1034 §3.6.2.
    if kinds.contains(&Type::CNAME) || kind == Type::CNAME && !kinds.is_empty() {
        return Err(format!(
            "{name} has a CNAME, and with it no other record: keep one of them"
        ));
    }
    if !kinds.contains(&kind) {
        kinds.push(kind);
    }
    Ok(())
}

/// Records that hickory reads and that would not be answered as they are written.
fn serves(data: &RData) -> Result<(), String> {
    if matches!(data, RData::ANAME(_)) {
        return Err("ANAME is not served: write the addresses, or a CNAME".to_owned());
    }
    if let RData::SVCB(service) | RData::HTTPS(HTTPS(service)) = data
        && !service.target_name.is_fqdn()
    {
        return Err("the target of an SVCB or HTTPS record needs its final dot".to_owned());
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::panic, reason = "a test fails by it")]
mod tests {
    use hickory_server::proto::op::Message;

    use super::*;
    use crate::wire::{Age, Head, Room, reply};

    const SOA: &str = "@ 300 SOA ns hostmaster 7 3600 600 86400 60\n";
    const CORP: &str = "\
$TTL 300
@       IN SOA ns hostmaster (
            7 3600 600 ; serial, refresh, retry
            86400 60 )
        NS    ns
        MX    10 mail
        TXT   ( \"one; two\" \"three\" )
ns      A     192.0.2.1
mail    A     192.0.2.2
        AAAA  2001:db8::2
www  60 CNAME mail
deep    CNAME www
away    CNAME www.example.com.
home    CNAME @
lost    CNAME nobody
odd     CNAME none.a.b.sub
loop    CNAME pool
pool    CNAME loop
*.dev   A     192.0.2.3
        A     192.0.2.4
x.y.dev TXT   \"here\"
a.b     A     192.0.2.5
part    NS    ns.part
part    NS    elsewhere.example.
ns.part A     192.0.2.6
svc     HTTPS 1 . alpn=h2,h3 ipv4hint=192.0.2.7
*.alias CNAME mail
";

    fn text(file: &str, text: &str) -> ZoneText {
        ZoneText {
            file: file.to_owned(),
            origin_hint: file
                .strip_suffix(".zone")
                .map(|name| name.parse().expect(name)),
            text: text.to_owned(),
        }
    }

    fn corp() -> Zones {
        zones(&[text("corp.internal.zone", CORP)])
    }

    #[track_caller]
    fn zones(texts: &[ZoneText]) -> Zones {
        Zones::parse(texts).unwrap_or_else(|errors| panic!("{errors:#?}"))
    }

    /// The octets of the reply to one question.
    async fn octets(zones: &Zones, name: &str, kind: Type) -> Vec<u8> {
        let mut asked = vec![0xAB, 0xCD, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        asked.extend_from_slice(name.parse::<Name>().expect(name).octets());
        asked.extend_from_slice(&[kind.0.to_be_bytes(), [0, 1]].concat());
        let query = Query::read(&asked).expect("well-formed");
        let answer = zones.answer(&query).await.expect("a zone of ours");
        let head = Head {
            rcode: answer.rcode,
            authoritative: answer.authoritative,
            authentic: false,
        };
        let mut out = Vec::new();
        reply(&query, head, &mut out)
            .sections(&answer.sections, Age::Seconds(0))
            .finish(None, Room::plain(1232, usize::MAX));
        out
    }

    /// The reply as hickory reads it: code, flag, then the records, their sections parted by `|`.
    async fn ask(zones: &Zones, name: &str, kind: Type) -> String {
        let reply = Message::from_vec(&octets(zones, name, kind).await).expect("a reply");
        let flag = if reply.metadata.authoritative {
            " aa"
        } else {
            ""
        };
        let mut said = format!("{:?}{flag}", reply.metadata.response_code);
        for section in [&reply.answers, &reply.authorities, &reply.additionals] {
            said += " |";
            for record in section {
                said += &format!(" {}", record.to_string().replace(" IN ", " "));
            }
        }
        said
    }

    #[track_caller]
    fn check(name: &str, kind: Type, expected: &str) {
        check_in(&corp(), name, kind, expected);
    }

    #[track_caller]
    fn check_in(zones: &Zones, name: &str, kind: Type, expected: &str) {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let said = runtime.expect("a runtime").block_on(ask(zones, name, kind));
        assert_eq!(said, expected);
    }

    const DENIAL: &str =
        "corp.internal. 60 SOA ns.corp.internal. hostmaster.corp.internal. 7 3600 600 86400 60";

    fn nodata() -> String {
        format!("NoError aa | | {DENIAL} |")
    }

    fn nxdomain() -> String {
        format!("NXDomain aa | | {DENIAL} |")
    }

    #[test]
    fn what_is_written_is_answered() {
        check(
            "ns.corp.internal",
            Type::A,
            "NoError aa | ns.corp.internal. 300 A 192.0.2.1 | |",
        );
        check(
            "corp.internal",
            Type::SOA,
            "NoError aa | corp.internal. 300 SOA ns.corp.internal. hostmaster.corp.internal. 7 3600 600 86400 60 | |",
        );
        check(
            "corp.internal",
            Type::TXT,
            "NoError aa | corp.internal. 300 TXT one; twothree | |",
        );
        check(
            "svc.corp.internal",
            Type::HTTPS,
            "NoError aa | svc.corp.internal. 300 HTTPS 1 . alpn=h2,h3, ipv4hint=192.0.2.7, | |",
        );
    }

    #[test]
    fn an_answer_is_no_longer_than_it_need_be() {
        // What stub resolvers do not read must not be what makes an answer too long for a datagram.
        check(
            "corp.internal",
            Type::MX,
            "NoError aa | corp.internal. 300 MX 10 mail.corp.internal. | |",
        );
    }

    #[test]
    fn aliases_are_followed_within_the_zone() {
        check(
            "deep.corp.internal",
            Type::A,
            "NoError aa | deep.corp.internal. 300 CNAME www.corp.internal. \
             www.corp.internal. 60 CNAME mail.corp.internal. mail.corp.internal. 300 A 192.0.2.2 | |",
        );
        check(
            "www.corp.internal",
            Type::CNAME,
            "NoError aa | www.corp.internal. 60 CNAME mail.corp.internal. | |",
        );
        check(
            "q.alias.corp.internal",
            Type::A,
            "NoError aa | q.alias.corp.internal. 300 CNAME mail.corp.internal. \
             mail.corp.internal. 300 A 192.0.2.2 | |",
        );
    }

    #[test]
    fn an_alias_out_of_the_zone_stands_alone() {
        check(
            "away.corp.internal",
            Type::A,
            "NoError aa | away.corp.internal. 300 CNAME www.example.com. | |",
        );
    }

    #[test]
    fn a_chain_ends_in_the_denial_of_its_last_name() {
        let alias = |name: &str, to: &str| {
            format!("| {name}.corp.internal. 300 CNAME {to}corp.internal. | {DENIAL} |")
        };
        check(
            "home.corp.internal",
            Type::A,
            &format!("NoError aa {}", alias("home", "")),
        );
        check(
            "lost.corp.internal",
            Type::A,
            &format!("NXDomain aa {}", alias("lost", "nobody.")),
        );
        check(
            "odd.corp.internal",
            Type::A,
            &format!("NXDomain aa {}", alias("odd", "none.a.b.sub.")),
        );
    }

    #[test]
    fn aliases_that_never_end_are_a_failure() {
        check("loop.corp.internal", Type::A, "ServFail | | |");
        check(
            "loop.corp.internal",
            Type::CNAME,
            "NoError aa | loop.corp.internal. 300 CNAME pool.corp.internal. | |",
        );
    }

    #[test]
    fn a_wildcard_stands_for_names_that_do_not_exist() {
        check(
            "q.dev.corp.internal",
            Type::A,
            "NoError aa | q.dev.corp.internal. 300 A 192.0.2.3 q.dev.corp.internal. 300 A 192.0.2.4 | |",
        );
        check(
            "r.q.dev.corp.internal",
            Type::A,
            "NoError aa | r.q.dev.corp.internal. 300 A 192.0.2.3 r.q.dev.corp.internal. 300 A 192.0.2.4 | |",
        );
        check("q.dev.corp.internal", Type::AAAA, &nodata());
        check("*.dev.corp.internal", Type::AAAA, &nodata());
    }

    #[test]
    fn a_wildcard_does_not_reach_past_a_name_that_exists() {
        // RFC 4592 §2.2.1: the name itself, what lies on the way to it, and what lies below it.
        check("x.y.dev.corp.internal", Type::A, &nodata());
        check("y.dev.corp.internal", Type::A, &nodata());
        check("z.x.y.dev.corp.internal", Type::A, &nxdomain());
        check("z.y.dev.corp.internal", Type::A, &nxdomain());
    }

    #[test]
    fn a_name_on_the_way_to_another_exists() {
        check("b.corp.internal", Type::A, &nodata());
        check("c.b.corp.internal", Type::A, &nxdomain());
        check("dev.corp.internal", Type::A, &nodata());
    }

    #[test]
    fn denials_carry_the_soa_with_the_lower_of_its_ttls() {
        check("nobody.corp.internal", Type::A, &nxdomain());
        check("ns.corp.internal", Type::AAAA, &nodata());
        check("ns.corp.internal", Type(65280), &nodata());
        let brief = zones(&[text("b.test.zone", "@ 30 SOA ns h 1 2 3 4 60\n")]);
        check_in(
            &brief,
            "x.b.test",
            Type::A,
            "NXDomain aa | | b.test. 30 SOA ns.b.test. h.b.test. 1 2 3 4 60 |",
        );
    }

    #[test]
    fn any_has_its_own_answer() {
        check(
            "mail.corp.internal",
            Type::ANY,
            "NoError aa | mail.corp.internal. 60 HINFO RFC8482  | |",
        );
        check(
            "www.corp.internal",
            Type::ANY,
            "NoError aa | www.corp.internal. 60 CNAME mail.corp.internal. | |",
        );
        check("nobody.corp.internal", Type::ANY, &nxdomain());
    }

    #[test]
    fn a_zone_below_is_its_servers_to_tell() {
        let referral = "NoError | | part.corp.internal. 300 NS ns.part.corp.internal. \
                        part.corp.internal. 300 NS elsewhere.example. | ns.part.corp.internal. 300 A 192.0.2.6";
        check("part.corp.internal", Type::A, referral);
        check("a.b.part.corp.internal", Type::TXT, referral);
        check("ns.part.corp.internal", Type::A, referral);
        check("part.corp.internal", Type::DS, &nodata());
    }

    #[test]
    fn the_deepest_zone_answers() {
        let nested = zones(&[
            text("corp.internal.zone", CORP),
            text(
                "dev.corp.internal.zone",
                &format!("{SOA}q A 192.0.2.9\nup CNAME mail.corp.internal.\n"),
            ),
        ]);
        check_in(
            &nested,
            "q.dev.corp.internal",
            Type::A,
            "NoError aa | q.dev.corp.internal. 300 A 192.0.2.9 | |",
        );
        check_in(
            &nested,
            "r.dev.corp.internal",
            Type::A,
            "NXDomain aa | | dev.corp.internal. 60 SOA ns.dev.corp.internal. \
             hostmaster.dev.corp.internal. 7 3600 600 86400 60 |",
        );
        check_in(
            &nested,
            "up.dev.corp.internal",
            Type::A,
            "NoError aa | up.dev.corp.internal. 300 CNAME mail.corp.internal. mail.corp.internal. 300 A 192.0.2.2 | |",
        );
    }

    #[test]
    fn covers_whole_labels() {
        let zones = corp();
        let covers = |name: &str| zones.covers(&name.parse().expect(name));
        assert!(covers("corp.internal") && covers("a.b.c.corp.internal"));
        assert!(!covers("internal") && !covers("notcorp.internal") && !covers("."));
        assert!(!covers("x\\004corp.internal"));
        assert_eq!(
            zones.apexes().map(ToString::to_string).collect::<Vec<_>>(),
            ["corp.internal"]
        );
        assert!(!Zones::default().covers(&Name::ROOT));
    }

    #[tokio::test]
    async fn a_name_of_no_zone_has_no_answer() {
        let asked = b"\0\0\0\0\0\x01\0\0\0\0\0\0\x07example\0\0\x01\0\x01";
        let query = Query::read(asked).expect("well-formed");
        assert!(corp().answer(&query).await.is_none());
    }

    #[tokio::test]
    async fn a_big_answer_is_whole() {
        let part = "x".repeat(250);
        let big = format!("{SOA}big TXT {}\n", format!("\"{part}\" ").repeat(8));
        let big = zones(&[text("b.test.zone", &big)]);
        let octets = octets(&big, "big.b.test", Type::TXT).await;
        let reply = Message::from_vec(&octets).expect("a reply");
        let RData::TXT(data) = &reply.answers[0].data else {
            panic!("no TXT")
        };
        assert_eq!(
            data.txt_data.iter().map(|part| part.len()).sum::<usize>(),
            2000
        );
    }

    #[tokio::test]
    async fn records_that_fill_no_message_are_a_failure() {
        let mut huge = SOA.to_owned();
        for number in 0..300 {
            huge += &format!("huge TXT \"{number}\" \"{}\"\n", "x".repeat(250));
        }
        let huge = zones(&[text("b.test.zone", &huge)]);
        assert_eq!(ask(&huge, "huge.b.test", Type::TXT).await, "ServFail | | |");
    }

    #[test]
    fn origin_owner_and_ttl_carry_over() {
        let said = zones(&[text(
            "b.test.zone",
            "\u{feff}@ SOA ns h 1 2 3 4 60\r\n\r\n\t; a remark\r\n$ORIGIN sub\r\nwww 9 A 192.0.2.1\r\n  \
             AAAA 2001:db8::1\r\n$TTL 1h\r\n$ORIGIN other.b.test.\r\n@ A 192.0.2.2",
        )]);
        check_in(
            &said,
            "www.sub.b.test",
            Type::A,
            "NoError aa | www.sub.b.test. 9 A 192.0.2.1 | |",
        );
        check_in(
            &said,
            "www.sub.b.test",
            Type::AAAA,
            "NoError aa | www.sub.b.test. 9 AAAA 2001:db8::1 | |",
        );
        check_in(
            &said,
            "other.b.test",
            Type::A,
            "NoError aa | other.b.test. 3600 A 192.0.2.2 | |",
        );
        check_in(
            &said,
            "b.test",
            Type::SOA,
            "NoError aa | b.test. 3600 SOA ns.b.test. h.b.test. 1 2 3 4 60 | |",
        );
    }

    #[test]
    fn the_demo_has_its_internet() {
        let texts: Vec<ZoneText> = [
            (
                "evil.example.zone",
                include_str!("../../../zones/demo/evil.example.zone"),
            ),
            (
                "githib.com.zone",
                include_str!("../../../zones/demo/githib.com.zone"),
            ),
            (
                "github.com.zone",
                include_str!("../../../zones/demo/github.com.zone"),
            ),
            (
                "npmjs.org.zone",
                include_str!("../../../zones/demo/npmjs.org.zone"),
            ),
            (
                "openai.com.zone",
                include_str!("../../../zones/demo/openai.com.zone"),
            ),
            (
                "pypi.org.zone",
                include_str!("../../../zones/demo/pypi.org.zone"),
            ),
            (
                "pythonhosted.org.zone",
                include_str!("../../../zones/demo/pythonhosted.org.zone"),
            ),
        ]
        .map(|(file, said)| text(file, said))
        .to_vec();
        let demo = zones(&texts);
        for (name, kind, expected) in [
            ("github.com", Type::A, "github.com. 300 A 192.0.2.10"),
            (
                "github.com",
                Type::AAAA,
                "github.com. 300 AAAA 2001:db8::10",
            ),
            (
                "registry.npmjs.org",
                Type::AAAA,
                "registry.npmjs.org. 300 AAAA 2001:db8::20",
            ),
            ("a.b.npmjs.org", Type::A, "a.b.npmjs.org. 300 A 192.0.2.21"),
            ("npmjs.org", Type::A, "npmjs.org. 300 A 192.0.2.19"),
            (
                "rebind.npmjs.org",
                Type::A,
                "rebind.npmjs.org. 300 A 10.0.0.5",
            ),
            ("evil.example", Type::A, "evil.example. 300 A 192.0.2.66"),
            (
                "files.pythonhosted.org",
                Type::A,
                "files.pythonhosted.org. 300 A 192.0.2.32",
            ),
            ("githib.com", Type::A, "githib.com. 300 A 192.0.2.66"),
        ] {
            check_in(&demo, name, kind, &format!("NoError aa | {expected} | |"));
        }
    }

    /// The faults of one file, `line: message`, each cut to the length of what is expected.
    #[track_caller]
    fn refused(said: &str, expected: &[&str]) {
        let Err(errors) = Zones::parse(&[text("b.test.zone", said)]) else {
            panic!("it was taken: {said}")
        };
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors.len(), expected.len(), "{errors:#?}");
        for (error, expected) in errors.iter().zip(expected) {
            assert!(
                error.starts_with(&format!("b.test.zone:{expected}")),
                "{error}"
            );
        }
    }

    #[test]
    fn each_fault_is_told_at_its_line() {
        let with_soa = |rest: &str, expected: &str| refused(&format!("{SOA}{rest}\n"), &[expected]);
        refused("", &[" there is no SOA"]);
        refused("@ A 192.0.2.1", &[" there is no SOA"]);
        refused(" A 192.0.2.1", &["1: a record without an owner"]);
        refused(
            "$ORIGIN .\n@ SOA ns h 1 2 3 4 5",
            &["2: a zone for the root"],
        );
        with_soa(
            "\n@ SOA ns h 1 2 3 4 5",
            "3: a second SOA (the first is on line 1)",
        );
        with_soa(
            "www.example.com. A 192.0.2.1",
            "2: www.example.com lies outside the zone b.test",
        );
        with_soa("www A 192.0.2.256", "2: not a record that can be served:");
        with_soa("www", "2: a name, and nothing about it");
        with_soa("www WKS 1", "2: not a record that can be served:");
        with_soa("www TYPE65280 \\# 0", "2: a backslash");
        with_soa("www CH TXT x", "2: class CH is not served");
        with_soa("www ANAME x", "2: ANAME is not served");
        with_soa("www HTTPS 1 x alpn=h2", "2: the target of an SVCB or HTTPS");
        with_soa("www 2147483648 A 192.0.2.1", "2: a TTL of 2147483648 s");
        with_soa("a\\098c A 192.0.2.1", "2: a backslash");
        with_soa("www TXT \"a\\098c\"", "2: a backslash");
        with_soa("www TXT \"a", "2: a quoted text does not end on its line");
        with_soa("www TXT ( a", "2: the `(` of this record has no `)`");
        with_soa("www TXT a )", "2: `)` without a `(`");
        with_soa("www TXT ( ( a ) )", "2: a second `(`");
        with_soa("$INCLUDE /etc/passwd", "2: $INCLUDE is refused");
        with_soa(
            "$GENERATE 1-9 a$ A 192.0.2.$",
            "2: $GENERATE is not understood",
        );
        with_soa("$TTL soon", "2: `soon` is no TTL");
        with_soa("$TTL", "2: $TTL takes one word");
        with_soa("$ORIGIN a..b", "2: `a..b` is no name");
        with_soa("www CNAME a\nwww A 192.0.2.1", "3: www.b.test has a CNAME");
        with_soa("www A 192.0.2.1\nwww CNAME a", "3: www.b.test has a CNAME");
        with_soa("www CNAME a\nwww CNAME b", "3: www.b.test has a CNAME");
        with_soa("@ CNAME a", "2: b.test has a CNAME");
    }

    #[test]
    fn all_faults_of_all_files_are_told_and_nothing_is_served() {
        let faulty = format!("{SOA}a A x\n( b\nA x\n)\nc A 192.0.2.1\nd A (\n");
        refused(&faulty, &["2: not", "3: not", "7: the `(`"]);
        refused(&format!("{SOA}a TXT )\nb A x\n"), &["2: `)`", "3: not"]);
        let Err(errors) = Zones::parse(&[
            text("a.test.zone", "a A 192.0.2.1"),
            text("corp.internal.zone", CORP),
            text("again.zone", &format!("$ORIGIN corp.internal.\n{SOA}")),
        ]) else {
            panic!("it was taken")
        };
        assert_eq!(errors.len(), 2);
        assert_eq!(errors[0].file, "a.test.zone");
        assert_eq!(
            errors[1].to_string(),
            "again.zone: the zone corp.internal is already in corp.internal.zone: put its records into one file"
        );
    }

    #[test]
    fn owners_may_be_any_name() {
        let odd = zones(&[text(
            "b.test.zone",
            "@ 60 SOA ns h 1 2 3 4 60\nbuild_agent.b.test. A 192.0.2.1\n0/25 A 192.0.2.1\nb\u{fc}cher A 192.0.2.1\n",
        )]);
        // Hickory prints a slash behind a backslash, and `xn--` as the letters it stands for.
        for (name, printed) in [
            ("build_agent", "build_agent"),
            ("0/25", "0\\/25"),
            ("xn--bcher-kva", "b\u{fc}cher"),
        ] {
            let expected = format!("NoError aa | {printed}.b.test. 60 A 192.0.2.1 | |");
            check_in(&odd, &format!("{name}.b.test"), Type::A, &expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(
            spots in proptest::collection::vec((0..CORP.len(), "[ -~\\n\\t\u{e9}]{0,4}"), 1..9),
        ) {
            let mut said: Vec<String> = CORP.chars().map(String::from).collect();
            for (at, other) in spots {
                said[at] = other;
            }
            let _ = Zones::parse(&[text("corp.internal.zone", &said.concat())]);
        }
    }

    #[test]
    fn an_escaped_dot_is_part_of_its_label() {
        let odd = zones(&[text(
            "b.test.zone",
            "@ 60 SOA ns first\\.last 1 2 3 4 60\na\\.b A 192.0.2.1\nq TXT \"a \\\"b\\\" \\\\\"\n",
        )]);
        check_in(
            &odd,
            "q.b.test",
            Type::TXT,
            "NoError aa | q.b.test. 60 TXT a \"b\" \\ | |",
        );
        check_in(
            &odd,
            "b.b.test",
            Type::A,
            "NXDomain aa | | b.test. 60 SOA ns.b.test. first\\.last.b.test. 1 2 3 4 60 |",
        );
        check_in(
            &odd,
            "a\\.b.b.test",
            Type::A,
            "NoError aa | a\\.b.b.test. 60 A 192.0.2.1 | |",
        );
    }
}
