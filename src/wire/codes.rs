//! The numbers of DNS and their names: record types, response codes, extended errors.

use std::fmt;
use std::str::FromStr;

/// A record or question type (IANA "Resource Record (RR) TYPEs").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Type(pub u16);

#[expect(missing_docs, reason = "a type's name says all")]
impl Type {
    pub const A: Self = Self(1);
    pub const NS: Self = Self(2);
    pub const CNAME: Self = Self(5);
    pub const SOA: Self = Self(6);
    pub const PTR: Self = Self(12);
    pub const HINFO: Self = Self(13);
    pub const MX: Self = Self(15);
    pub const TXT: Self = Self(16);
    pub const AAAA: Self = Self(28);
    pub const SRV: Self = Self(33);
    pub const DNAME: Self = Self(39);
    pub const OPT: Self = Self(41);
    pub const DS: Self = Self(43);
    pub const RRSIG: Self = Self(46);
    pub const NSEC: Self = Self(47);
    pub const DNSKEY: Self = Self(48);
    pub const NSEC3: Self = Self(50);
    pub const SVCB: Self = Self(64);
    pub const HTTPS: Self = Self(65);
    pub const NXNAME: Self = Self(128);
    pub const TSIG: Self = Self(250);
    pub const IXFR: Self = Self(251);
    pub const AXFR: Self = Self(252);
    pub const ANY: Self = Self(255);
}

/// What ANY is told of a name that exists: CPU and OS as character strings (RFC 8482 §4.2).
pub const ANY_HINFO: &[u8] = b"\x07RFC8482\x00";

impl Type {
    /// Is this a type that no record has: zero, OPT, and 128 to 255 (RFC 6895 §3.1)?
    /// ANY is one of them and has an answer of its own (RFC 8482).
    pub fn is_meta(self) -> bool {
        self == Self(0) || self == Self::OPT || (128..=255).contains(&self.0)
    }
}

/// The types that have a mnemonic and may stand in a question.
const MNEMONICS: [(u16, &str); 52] = [
    (1, "A"),
    (2, "NS"),
    (3, "MD"),
    (4, "MF"),
    (5, "CNAME"),
    (6, "SOA"),
    (7, "MB"),
    (8, "MG"),
    (9, "MR"),
    (10, "NULL"),
    (11, "WKS"),
    (12, "PTR"),
    (13, "HINFO"),
    (14, "MINFO"),
    (15, "MX"),
    (16, "TXT"),
    (17, "RP"),
    (18, "AFSDB"),
    (24, "SIG"),
    (25, "KEY"),
    (28, "AAAA"),
    (29, "LOC"),
    (33, "SRV"),
    (35, "NAPTR"),
    (36, "KX"),
    (37, "CERT"),
    (39, "DNAME"),
    (41, "OPT"),
    (42, "APL"),
    (43, "DS"),
    (44, "SSHFP"),
    (45, "IPSECKEY"),
    (46, "RRSIG"),
    (47, "NSEC"),
    (48, "DNSKEY"),
    (49, "DHCID"),
    (50, "NSEC3"),
    (51, "NSEC3PARAM"),
    (52, "TLSA"),
    (53, "SMIMEA"),
    (55, "HIP"),
    (59, "CDS"),
    (60, "CDNSKEY"),
    (61, "OPENPGPKEY"),
    (64, "SVCB"),
    (65, "HTTPS"),
    (99, "SPF"),
    (251, "IXFR"),
    (252, "AXFR"),
    (255, "ANY"),
    (256, "URI"),
    (257, "CAA"),
];

/// The mnemonic, or `TYPE65280` for a type without one (RFC 3597 §5).
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match MNEMONICS.iter().find(|(code, _)| *code == self.0) {
            Some((_, mnemonic)) => f.write_str(mnemonic),
            None => write!(f, "TYPE{}", self.0),
        }
    }
}

/// A mnemonic in any case, or `TYPE65280`.
impl FromStr for Type {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if let Some((code, _)) = MNEMONICS
            .iter()
            .find(|(_, it)| it.eq_ignore_ascii_case(text))
        {
            return Ok(Self(*code));
        }
        let code = text
            .get(..4)
            .filter(|it| it.eq_ignore_ascii_case("TYPE"))
            .ok_or(())?;
        text[code.len()..].parse().map(Self).map_err(|_| ())
    }
}

/// A response code, the extended ones included (IANA "DNS RCODEs").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rcode(pub u16);

#[expect(missing_docs, reason = "a code's name says all")]
impl Rcode {
    pub const NOERROR: Self = Self(0);
    pub const FORMERR: Self = Self(1);
    pub const SERVFAIL: Self = Self(2);
    pub const NXDOMAIN: Self = Self(3);
    pub const NOTIMP: Self = Self(4);
    pub const REFUSED: Self = Self(5);
    pub const YXDOMAIN: Self = Self(6);
    pub const NOTAUTH: Self = Self(9);
    pub const BADVERS: Self = Self(16);
    pub const BADCOOKIE: Self = Self(23);
}

impl Rcode {
    /// The name, or none for a code that servers do not send in answers to queries.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::NOERROR => Some("NOERROR"),
            Self::FORMERR => Some("FORMERR"),
            Self::SERVFAIL => Some("SERVFAIL"),
            Self::NXDOMAIN => Some("NXDOMAIN"),
            Self::NOTIMP => Some("NOTIMP"),
            Self::REFUSED => Some("REFUSED"),
            Self::YXDOMAIN => Some("YXDOMAIN"),
            Self::NOTAUTH => Some("NOTAUTH"),
            Self::BADVERS => Some("BADVERS"),
            Self::BADCOOKIE => Some("BADCOOKIE"),
            _ => None,
        }
    }
}

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "RCODE{}", self.0),
        }
    }
}

/// An extended error: its code and a line for a person (RFC 8914).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ede<'a> {
    /// The INFO-CODE.
    pub code: u16,
    /// The EXTRA-TEXT, UTF-8.
    pub text: &'a [u8],
}

#[expect(missing_docs, reason = "a code's name says all")]
impl Ede<'_> {
    pub const OTHER: u16 = 0;
    pub const STALE_ANSWER: u16 = 3;
    pub const BLOCKED: u16 = 15;
    pub const PROHIBITED: u16 = 18;
    pub const STALE_NXDOMAIN: u16 = 19;
    pub const NO_REACHABLE_AUTHORITY: u16 = 22;
    pub const NETWORK_ERROR: u16 = 23;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_print_and_parse_alike() {
        for (text, code) in [
            ("A", 1),
            ("HTTPS", 65),
            ("SVCB", 64),
            ("CAA", 257),
            ("URI", 256),
            ("TYPE65280", 65280),
            ("TYPE0", 0),
        ] {
            assert_eq!(Type(code).to_string(), text);
            assert_eq!(text.parse(), Ok(Type(code)));
        }
        assert_eq!("aaaa".parse(), Ok(Type::AAAA));
        assert_eq!("nonsense".parse::<Type>(), Err(()));
        assert_eq!("type70000".parse::<Type>(), Err(()));
    }
}
