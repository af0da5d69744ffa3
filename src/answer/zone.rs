//! Names we are the authority for: the operator's zones, held and answered by hickory-server.
//!
//! Zone texts come in, whole or not at all; a question goes in, and records go
//! out, to be sent as any other answer is. Nothing here reads a file or sends.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_proto::rr::{LowerName, Record, RecordSet, RrKey};
use hickory_proto::serialize::binary::BinEncoder;
use hickory_proto::serialize::txt::Parser;
use hickory_server::net::NetError;
use hickory_server::net::runtime::{TokioRuntimeProvider, TokioTime};
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, MessageResponse, ZoneHandler, ZoneType};

use crate::wire::{
    MESSAGE_OCTETS_MAX, Message, Name, Query, Rcode, Section, Sections, SectionsBuilder, Type,
};

/// The whole of one zone file.
#[derive(Clone, Debug)]
pub struct ZoneText {
    /// The name it is spoken of by.
    pub file: String,
    /// The zone's name, for texts without `$ORIGIN`.
    pub origin_hint: Option<Name>,
    /// RFC 1035 §5.
    pub text: String,
}

/// What is wrong with a zone file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneError {
    /// Which.
    pub file: String,
    /// The line, from 1, where it is known.
    pub line: Option<u32>,
    /// The fault and the remedy.
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

/// Answered as the authority.
#[derive(Debug)]
pub struct ZoneAnswer {
    /// The code.
    pub rcode: Rcode,
    /// Is it our own data, and not a referral?
    pub authoritative: bool,
    /// The records.
    pub sections: Sections,
}

/// A set of zones. Immutable; share it behind an `Arc`.
pub struct Zones {
    apexes: Vec<Name>,
    catalog: Catalog,
}

impl Zones {
    /// Reads every text.
    ///
    /// # Errors
    /// Every fault of every text; then none is served.
    pub fn parse(texts: &[ZoneText]) -> Result<Self, Vec<ZoneError>> {
        let mut zones = Self {
            apexes: Vec::new(),
            catalog: Catalog::new(),
        };
        let mut errors = Vec::new();
        for text in texts {
            if let Err(error) = zones.add(text) {
                errors.push(error);
            }
        }
        if errors.is_empty() {
            Ok(zones)
        } else {
            Err(errors)
        }
    }

    fn add(&mut self, text: &ZoneText) -> Result<(), ZoneError> {
        let fault = |line, message: String| ZoneError {
            file: text.file.clone(),
            line,
            message,
        };
        check_text(&text.text).map_err(|(line, message)| fault(Some(line), message.to_owned()))?;
        let origin = text.origin_hint.as_ref().map(to_hickory);
        let (origin, records) = Parser::new(text.text.as_str(), None, origin)
            .parse()
            .map_err(|error| {
                fault(
                    None,
                    format!("not a zone file (RFC 1035 section 5): {error}"),
                )
            })?;
        let apex =
            from_hickory(&origin).ok_or_else(|| fault(None, "its name is too long".to_owned()))?;
        check_records(&origin, &records).map_err(|message| fault(None, message))?;
        if self.apexes.contains(&apex) {
            return Err(fault(
                None,
                format!("the zone {apex} stands in another file already"),
            ));
        }
        let handler = InMemoryZoneHandler::<TokioRuntimeProvider>::new(
            origin.clone(),
            records,
            ZoneType::Primary,
            AxfrPolicy::Deny,
        );
        let handler = handler.map_err(|error| fault(None, error))?;
        self.catalog.upsert(
            LowerName::new(&origin),
            vec![Arc::new(handler) as Arc<dyn ZoneHandler>],
        );
        self.apexes.push(apex);
        Ok(())
    }

    /// Is this a name that a zone has, or would have if it existed? Nothing allocates.
    #[inline]
    pub fn covers(&self, name: &Name) -> bool {
        self.apexes.iter().any(|apex| name.is_at_or_below(apex))
    }

    /// The zones' names.
    pub fn apexes(&self) -> impl Iterator<Item = &Name> {
        self.apexes.iter()
    }

    /// The answer to a question for a name that is covered; none when there is something that cannot be said.
    pub async fn answer(&self, query: &Query<'_>) -> Option<ZoneAnswer> {
        if query.kind() == Type::ANY {
            return self.answer_any(query).await;
        }
        let octets = self.ask(query, query.kind()).await?;
        let message = Message::read(&octets).ok()?;
        let mut sections = SectionsBuilder::new(query.name());
        let negative_ttl_s = negative_ttl_s(&message);
        for section in [Section::Answer, Section::Authority, Section::Additional] {
            for record in message.records(section) {
                let is_denial = section == Section::Authority && record.kind == Type::SOA;
                let ttl_s = negative_ttl_s.filter(|_| is_denial).unwrap_or(record.ttl_s);
                sections.push(section, &record, ttl_s).ok()?;
            }
        }
        Some(ZoneAnswer {
            rcode: message.rcode(),
            authoritative: octets[2] & 0x04 != 0,
            sections: sections.finish(),
        })
    }

    /// RFC 8482 §4.2: ANY of a name that exists is told one record; one that does not exist is denied.
    async fn answer_any(&self, query: &Query<'_>) -> Option<ZoneAnswer> {
        let octets = self.ask(query, Type::HINFO).await?;
        let message = Message::read(&octets).ok()?;
        let mut sections = SectionsBuilder::new(query.name());
        if message.rcode() == Rcode::NOERROR {
            sections
                .push_data(
                    Section::Answer,
                    query.name(),
                    Type::HINFO,
                    3600,
                    b"\x07RFC8482\x00",
                )
                .ok()?;
        } else {
            let ttl_s = negative_ttl_s(&message).unwrap_or(0);
            for record in message.records(Section::Authority) {
                sections.push(Section::Authority, &record, ttl_s).ok()?;
            }
        }
        Some(ZoneAnswer {
            rcode: message.rcode(),
            authoritative: true,
            sections: sections.finish(),
        })
    }

    /// Asks hickory over what it takes for TCP, so that it cuts nothing: size and OPT are the reply writer's matter.
    async fn ask(&self, query: &Query<'_>, kind: Type) -> Option<Vec<u8>> {
        let header = [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let octets = [
            &header[..],
            query.name().octets(),
            &kind.0.to_be_bytes(),
            &[0, 1],
        ]
        .concat();
        let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let request = Request::from_bytes(octets, nobody, Protocol::Tcp).ok()?;
        let captured = Captured::default();
        self.catalog
            .handle_request::<_, TokioTime>(&request, captured.clone())
            .await;
        let octets =
            std::mem::take(&mut *captured.0.lock().expect("no holder of this lock panics"));
        (!octets.is_empty()).then_some(octets)
    }
}

/// RFC 2308 §3: a denial holds for the SOA's TTL or its MINIMUM, whichever is less.
fn negative_ttl_s(message: &Message<'_>) -> Option<u32> {
    let soa = message
        .records(Section::Authority)
        .find(|record| record.kind == Type::SOA)?;
    Some(soa.ttl_s.min(soa.soa_minimum_s()?))
}

/// Where hickory's answer goes.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

#[async_trait::async_trait]
impl ResponseHandler for Captured {
    async fn send_response<'a>(
        &mut self,
        response: MessageResponse<
            '_,
            'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
        >,
    ) -> Result<ResponseInfo, NetError> {
        let mut octets = Vec::with_capacity(512);
        let mut encoder = BinEncoder::new(&mut octets);
        encoder.set_max_size(
            u16::try_from(MESSAGE_OCTETS_MAX).expect("it is the largest of its type"),
        );
        let info = response.destructive_emit(&mut encoder)?;
        *self.0.lock().expect("no holder of this lock panics") = octets;
        Ok(info)
    }
}

/// What hickory's reader would take and should not: files from anywhere, and `\DDD`, which it reads as octal.
fn check_text(text: &str) -> Result<(), (u32, &'static str)> {
    for (line, number) in text.lines().zip(1..) {
        let word = line.trim_start().get(..8).unwrap_or_default();
        if word.eq_ignore_ascii_case("$INCLUDE") {
            return Err((number, "$INCLUDE is not taken: put its records here"));
        }
        if word.eq_ignore_ascii_case("$GENERAT") {
            return Err((number, "$GENERATE is not taken: write its records out"));
        }
        let code = line.split(';').next().unwrap_or_default();
        if code.split_whitespace().skip(1).any(|word| word == "@") {
            return Err((
                number,
                "`@` is taken at the beginning of a line alone: write the zone's name out",
            ));
        }
        let is_escaped_number = |pair: &[u8]| pair[0] == b'\\' && pair[1].is_ascii_digit();
        if code.as_bytes().windows(2).any(is_escaped_number) {
            return Err((
                number,
                "an octet by its number (\\DDD) is not taken: write the character",
            ));
        }
    }
    Ok(())
}

/// A zone has an SOA, and nothing that lies outside it.
fn check_records(
    origin: &hickory_proto::rr::Name,
    records: &BTreeMap<RrKey, RecordSet>,
) -> Result<(), String> {
    let apex = LowerName::new(origin);
    let is_soa =
        |key: &&RrKey| key.name == apex && key.record_type == hickory_proto::rr::RecordType::SOA;
    if !records.keys().any(|key| is_soa(&key)) {
        return Err(format!(
            "no SOA at {origin}: add `@ 3600 IN SOA ns hostmaster 1 3600 600 86400 300`"
        ));
    }
    match records.keys().find(|key| !apex.zone_of(&key.name)) {
        Some(key) => Err(format!("{} does not lie in the zone {origin}", key.name)),
        None => Ok(()),
    }
}

fn to_hickory(name: &Name) -> hickory_proto::rr::Name {
    let mut converted = hickory_proto::rr::Name::from_labels(name.labels()).unwrap_or_default();
    converted.set_fqdn(true);
    converted
}

fn from_hickory(name: &hickory_proto::rr::Name) -> Option<Name> {
    let labels: Vec<&[u8]> = name.iter().collect();
    labels
        .iter()
        .rev()
        .try_fold(Name::ROOT, |below, label| below.child(label))
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;

    const CORP: &str = "\
$ORIGIN corp.internal.
@ 3600 IN SOA ns hostmaster 1 3600 600 86400 60
@ 300 IN NS ns
ns 300 IN A 192.0.2.1
www 300 IN CNAME web
web 300 IN A 192.0.2.2
out 300 IN CNAME www.example.com.
*.apps 300 IN A 192.0.2.3
a.b 300 IN A 192.0.2.4
";

    fn zones(texts: &[&str]) -> Result<Zones, Vec<ZoneError>> {
        let text = |(i, text): (usize, &&str)| ZoneText {
            file: format!("{i}.zone"),
            origin_hint: None,
            text: (*text).to_owned(),
        };
        Zones::parse(&texts.iter().enumerate().map(text).collect::<Vec<_>>())
    }

    /// The code, the answer's types, and the types and TTLs of the authority section.
    fn ask(zones: &Zones, name: &str, kind: Type) -> (Rcode, Vec<String>, Vec<String>) {
        let name: Name = name.parse().expect(name);
        assert!(zones.covers(&name), "{name}");
        let header = [0xBE, 0xEF, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let octets = [&header[..], name.octets(), &kind.0.to_be_bytes(), &[0, 1]].concat();
        let query = Query::read(&octets).expect("well-formed");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let answer = runtime.block_on(zones.answer(&query)).expect("an answer");
        let mut out = Vec::new();
        crate::wire::reply(&query, crate::wire::Head::plain(answer.rcode), &mut out)
            .sections(&answer.sections, crate::wire::Age::Seconds(0))
            .finish(None, 1232, 65_535);
        let message = Message::read(&out).expect("our own reply");
        let shown = |section| {
            let records = message.records(section);
            records
                .map(|it| format!("{} {} {}", it.owner, it.ttl_s, it.kind))
                .collect()
        };
        (
            answer.rcode,
            shown(Section::Answer),
            shown(Section::Authority),
        )
    }

    #[track_caller]
    fn check(name: &str, kind: Type, rcode: Rcode, answer: &[&str], authority: &[&str]) {
        let zones = zones(&[CORP]).unwrap_or_else(|errors| panic!("{}", errors[0]));
        let (found, answers, authorities) = ask(&zones, name, kind);
        assert_eq!(
            (found, answers),
            (rcode, answer.iter().map(|it| (*it).to_owned()).collect()),
            "{name} {kind}"
        );
        assert_eq!(authorities, authority, "{name} {kind}");
    }

    #[test]
    fn an_authority_answers_whole() {
        let soa = "corp.internal 60 SOA";
        check(
            "web.corp.internal",
            Type::A,
            Rcode::NOERROR,
            &["web.corp.internal 300 A"],
            &[],
        );
        check(
            "www.corp.internal",
            Type::A,
            Rcode::NOERROR,
            &["www.corp.internal 300 CNAME", "web.corp.internal 300 A"],
            &[],
        );
        check(
            "out.corp.internal",
            Type::A,
            Rcode::NOERROR,
            &["out.corp.internal 300 CNAME"],
            &[],
        );
        check(
            "x.apps.corp.internal",
            Type::A,
            Rcode::NOERROR,
            &["x.apps.corp.internal 300 A"],
            &[],
        );
        check("web.corp.internal", Type::AAAA, Rcode::NOERROR, &[], &[soa]);
        check(
            "web.corp.internal",
            Type(65280),
            Rcode::NOERROR,
            &[],
            &[soa],
        );
        check("b.corp.internal", Type::A, Rcode::NOERROR, &[], &[soa]);
        check(
            "nothing.corp.internal",
            Type::A,
            Rcode::NXDOMAIN,
            &[],
            &[soa],
        );
        check(
            "web.corp.internal",
            Type::ANY,
            Rcode::NOERROR,
            &["web.corp.internal 3600 HINFO"],
            &[],
        );
        check(
            "nothing.corp.internal",
            Type::ANY,
            Rcode::NXDOMAIN,
            &[],
            &[soa],
        );
    }

    #[test]
    fn the_deepest_zone_answers() {
        let deeper = "$ORIGIN lab.corp.internal.\n@ 60 IN SOA ns h 1 1 1 1 60\n@ 60 IN NS ns\nns 60 IN A 192.0.2.9\n";
        let zones = zones(&[CORP, deeper]).unwrap_or_else(|errors| panic!("{}", errors[0]));
        let (rcode, answer, _) = ask(&zones, "ns.lab.corp.internal", Type::A);
        assert_eq!(
            (rcode, answer),
            (Rcode::NOERROR, vec!["ns.lab.corp.internal 60 A".to_owned()])
        );
        assert!(!zones.covers(&"internal".parse().expect("a name")));
    }

    #[test]
    fn a_long_answer_is_whole() {
        let texts: String = (0..20)
            .map(|i| format!("big 60 IN TXT \"{i} {}\"\n", "x".repeat(200)))
            .collect();
        let zones =
            zones(&[&format!("{CORP}{texts}")]).unwrap_or_else(|errors| panic!("{}", errors[0]));
        let (_, answer, _) = ask(&zones, "big.corp.internal", Type::TXT);
        assert_eq!(answer.len(), 20);
    }

    #[test]
    fn a_faulty_text_is_refused_with_its_place() {
        let check = |text: &str, line: Option<u32>, message: &str| {
            let Err(errors) = zones(&[text]) else {
                panic!("{text:?} is taken")
            };
            assert!(errors[0].message.contains(message), "{}", errors[0]);
            assert_eq!(errors[0].line, line, "{}", errors[0]);
        };
        let origin = "$ORIGIN corp.internal.\n";
        check(&format!("{origin}@ 60 IN A 192.0.2.1\n"), None, "no SOA");
        check(
            &format!("{CORP}www.example.com. 60 IN A 192.0.2.1\n"),
            None,
            "does not lie in the zone",
        );
        check(
            &format!("{CORP}$INCLUDE /etc/passwd\n"),
            Some(10),
            "$INCLUDE",
        );
        check(
            &format!("{CORP}$GENERATE 1-9 a$ A 192.0.2.$\n"),
            Some(10),
            "$GENERATE",
        );
        check(
            &format!("{CORP}a\\065 60 IN A 192.0.2.1\n"),
            Some(10),
            "\\DDD",
        );
        check(
            &format!("{CORP}x 60 IN A 192.0.2.256\n"),
            None,
            "not a zone file",
        );
        let Err(errors) = zones(&[CORP, CORP]) else {
            panic!("two zones of one name are taken")
        };
        assert!(errors[0].message.contains("another file"), "{}", errors[0]);
    }
}
