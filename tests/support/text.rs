//! Names and records between text and octets; hickory-proto reads and prints what it knows.

use hickory_proto::rr::{RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};
use namegate::wire::Type;

/// A name's wire form, letter case as written; `\DDD` and `\.` as in a zone file.
pub(crate) fn name(text: &str) -> Vec<u8> {
    let mut labels: Vec<Vec<u8>> = vec![Vec::new()];
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        let label = labels.last_mut().expect("there is always one");
        match octet {
            b'.' => labels.push(Vec::new()),
            b'\\' => label.push(escaped(&mut octets)),
            _ => label.push(octet),
        }
    }
    labels.retain(|label| !label.is_empty());
    let mut wire = Vec::new();
    for label in labels {
        wire.push(u8::try_from(label.len()).expect("a label of a story is short"));
        wire.extend(label);
    }
    wire.push(0);
    wire
}

fn escaped(octets: &mut std::str::Bytes<'_>) -> u8 {
    let first = octets.next().expect("something behind a backslash");
    if !first.is_ascii_digit() {
        return first;
    }
    let digits = [
        first,
        octets.next().expect("a digit"),
        octets.next().expect("a digit"),
    ];
    str::from_utf8(&digits)
        .ok()
        .and_then(|it| it.parse().ok())
        .expect("three digits up to 255")
}

/// An uncompressed wire name as text, without the final dot.
pub(crate) fn spelled(wire: &[u8]) -> String {
    let (mut labels, mut rest) = (Vec::new(), wire);
    while let [len @ 1..=63, behind @ ..] = rest {
        let (label, behind) = behind.split_at(usize::from(*len));
        labels.push(
            label
                .iter()
                .map(|octet| spelled_octet(*octet))
                .collect::<String>(),
        );
        rest = behind;
    }
    if labels.is_empty() {
        ".".to_owned()
    } else {
        labels.join(".")
    }
}

fn spelled_octet(octet: u8) -> String {
    match octet {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'*' => {
            char::from(octet).to_string()
        }
        _ => format!("\\{octet:03}"),
    }
}

/// Octets of `00ff`, white space left out.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|it| !it.is_ascii_whitespace())
        .collect();
    assert!(digits.len().is_multiple_of(2), "half an octet: {text}");
    let octet = |pair: &[u8]| {
        str::from_utf8(pair)
            .ok()
            .and_then(|it| u8::from_str_radix(it, 16).ok())
    };
    digits
        .chunks(2)
        .map(|pair| octet(pair).unwrap_or_else(|| panic!("no octets: {text}")))
        .collect()
}

/// `00ff`
pub(crate) fn to_hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// A record's data as octets, names spelled out; `\# LENGTH HEX` for any type (RFC 3597 §5).
pub(crate) fn data(kind: Type, text: &str) -> Vec<u8> {
    if let Some(generic) = text.strip_prefix("\\#") {
        let (length, octets) = generic
            .trim()
            .split_once(' ')
            .unwrap_or((generic.trim(), ""));
        let octets = hex(octets);
        assert_eq!(length.parse(), Ok(octets.len()), "the length of {text}");
        return octets;
    }
    if kind == Type::DNAME {
        return name(text);
    }
    let data = RData::try_from_str(RecordType::from(kind.0), text)
        .unwrap_or_else(|error| panic!("{kind} {text}: {error}"));
    let mut octets = Vec::new();
    let mut encoder = BinEncoder::new(&mut octets);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    data.emit(&mut encoder).expect("it was read from text");
    octets
}

/// `owner ttl TYPE rdata`
pub(crate) fn record(record: &Record) -> String {
    let kind = Type(record.record_type().into());
    format!(
        "{} {} {kind} {}",
        record.name,
        record.ttl,
        printed(kind, &record.data)
    )
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "hickory's list of types is long"
)]
fn printed(kind: Type, data: &RData) -> String {
    let quoted = |text: &[u8]| format!("\"{}\"", text.escape_ascii());
    match data {
        RData::TXT(txt) => txt
            .txt_data
            .iter()
            .map(|it| quoted(it))
            .collect::<Vec<_>>()
            .join(" "),
        RData::HINFO(hinfo) => format!("{} {}", quoted(&hinfo.cpu), quoted(&hinfo.os)),
        RData::HTTPS(_) | RData::SVCB(_) => data
            .to_string()
            .replace(", ", " ")
            .trim_end_matches(',')
            .to_owned(),
        RData::Unknown { rdata, .. } if kind == Type::DNAME => {
            format!("{}.", spelled(&rdata.anything))
        }
        RData::Unknown { rdata, .. } => {
            format!("\\# {} {}", rdata.anything.len(), to_hex(&rdata.anything))
        }
        other => other.to_string(),
    }
}

#[test]
fn names_and_data_go_there_and_back() {
    assert_eq!(name("GitHub.com."), b"\x06GitHub\x03com\0");
    assert_eq!(name("."), b"\0");
    assert_eq!(spelled(&name("a\\000b\\.c.org")), "a\\000b\\046c.org");
    assert_eq!(data(Type::A, "192.0.2.1"), [192, 0, 2, 1]);
    assert_eq!(data(Type::SOA, "a.b. c.b. 1 2 3 4 5").len(), 5 + 5 + 20);
    assert_eq!(data(Type(65280), "\\# 2 00ff"), [0, 255]);
}
