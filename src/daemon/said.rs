//! A reply in words, for people: what stands in it, without the octets.

use std::io;

use crate::wire::{Ede, Message, Name, Rcode, Section, Type};

/// What a resolver says, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The code.
    pub rcode: Rcode,
    /// The data of the answer's records of the type asked for.
    pub data: Vec<String>,
    /// The extended error: code and text.
    pub ede: Option<(u16, String)>,
}

impl Said {
    /// `192.0.2.10`, `NXDOMAIN  EDE 15 Blocked`, `NODATA    EDE 15 Blocked`.
    pub fn summary(&self) -> String {
        let answer = match (self.rcode, self.data.is_empty()) {
            (Rcode::NOERROR, false) => self.data.join(" "),
            (Rcode::NOERROR, true) => "NODATA".to_owned(),
            (rcode, _) => rcode.to_string(),
        };
        match &self.ede {
            Some((Ede::BLOCKED, _)) => format!("{answer:<8}  EDE 15 Blocked"),
            Some((code, _)) => format!("{answer:<8}  EDE {code}"),
            None => answer,
        }
    }

    /// What a reply to a question for `kind` says.
    ///
    /// # Errors
    /// When it is no message.
    pub fn read(reply: &[u8], kind: Type) -> io::Result<Self> {
        let message = Message::read(reply)
            .map_err(|why| io::Error::new(io::ErrorKind::InvalidData, format!("{why:?}")))?;
        let records = message.records(Section::Answer);
        Ok(Self {
            rcode: message.rcode(),
            data: records
                .filter(|record| record.kind == kind)
                .map(|record| data(record.kind, record.data()))
                .collect(),
            ede: message
                .ede()
                .map(|ede| (ede.code, String::from_utf8_lossy(ede.text).into_owned())),
        })
    }
}

/// A question with an OPT.
pub fn query(name: &Name, kind: Type) -> Vec<u8> {
    let header = [0x4E, 0x47, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    let opt = [0, 0, 41, 0x04, 0xD0, 0, 0, 0, 0, 0, 0];
    [
        &header[..],
        name.octets(),
        &kind.0.to_be_bytes(),
        &[0, 1],
        &opt,
    ]
    .concat()
}

/// Addresses and texts as people write them; other data by its length.
fn data(kind: Type, octets: &[u8]) -> String {
    match (kind, octets) {
        (Type::A, [a, b, c, d]) => std::net::Ipv4Addr::new(*a, *b, *c, *d).to_string(),
        (Type::AAAA, octets) if octets.len() == 16 => <[u8; 16]>::try_from(octets)
            .map(|it| std::net::Ipv6Addr::from(it).to_string())
            .unwrap_or_default(),
        (Type::TXT, [_, text @ ..]) => format!("\"{}\"", text.escape_ascii()),
        (_, octets) => format!("{} octets", octets.len()),
    }
}
