//! The query that goes upstream, built new, and what a reply to it has to look like.

use rand::Rng;

use crate::wire::{Asked, CLASS_IN, Malformed, Message, Name, Rcode, Type, UDP_OCTETS};

const RECURSION_DESIRED: u16 = 0x0100;
/// RFC 6840 §5.7: we understand AD in the reply. Always set, so it says nothing about the client.
const AUTHENTIC_DATA: u16 = 0x0020;
const CHECKING_DISABLED: u16 = 0x0010;
const DNSSEC_OK: u16 = 0x8000;

/// How a query is dressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dress {
    /// Letters in random case (draft-vixie-dnsext-dns0x20).
    pub random_case: bool,
    /// With an OPT.
    pub edns: bool,
}

/// The message that asks: our id, our OPT, our letter case.
pub(super) fn query_for(asked: &Asked, dress: Dress) -> Vec<u8> {
    let mut rng = rand::rng();
    let mut id = [0; 2];
    rng.fill_bytes(&mut id);
    let mut flags = RECURSION_DESIRED | AUTHENTIC_DATA;
    if asked.checking_disabled {
        flags |= CHECKING_DISABLED;
    }
    let mut octets = Vec::with_capacity(12 + 255 + 4 + 11);
    octets.extend(id);
    octets.extend(flags.to_be_bytes());
    octets.extend([0, 1, 0, 0, 0, 0, 0, u8::from(dress.edns)]);
    octets.extend_from_slice(asked.name.octets());
    if dress.random_case {
        randomise_case(&mut octets[12..], &mut rng);
    }
    octets.extend(asked.kind.0.to_be_bytes());
    octets.extend(CLASS_IN.to_be_bytes());
    if dress.edns {
        let flags = if asked.dnssec_ok { DNSSEC_OK } else { 0 };
        octets.push(0);
        octets.extend(Type::OPT.0.to_be_bytes());
        octets.extend(UDP_OCTETS.to_be_bytes());
        octets.extend([0, 0]);
        octets.extend(flags.to_be_bytes());
        octets.extend([0, 0]);
    }
    octets
}

/// Flips letters by coin. A length octet is never a letter.
fn randomise_case(name: &mut [u8], rng: &mut impl Rng) {
    let mut coins = [0; 32];
    rng.fill_bytes(&mut coins);
    for (at, octet) in name.iter_mut().enumerate() {
        if octet.is_ascii_lowercase() && coins[at / 8 % 32] >> (at % 8) & 1 == 1 {
            octet.make_ascii_uppercase();
        }
    }
}

/// Is this the reply to that query (RFC 5452 §9.1)?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Yes.
    Whole,
    /// But for the letter case of the name.
    OtherCase,
    /// No: somebody else's, or nonsense. The wait goes on.
    No,
}

/// Compares a message with the query it may answer: id, question, case, and a frame that holds.
pub fn fit(query: &[u8], reply: &[u8]) -> Fit {
    if reply.get(..2) != query.get(..2) {
        return Fit::No;
    }
    Message::read(reply).map_or(Fit::No, |message| fit_of(query, &message))
}

/// The same for a message that was read and has the query's id.
pub(super) fn fit_of(query: &[u8], message: &Message<'_>) -> Fit {
    let Some((name, kind)) = message.question() else {
        // A server that could not read the question says so without one. It settles nothing but its own turn.
        let helpless = [
            Rcode::FORMERR,
            Rcode::NOTIMP,
            Rcode::SERVFAIL,
            Rcode::REFUSED,
        ];
        return if helpless.contains(&message.rcode()) {
            Fit::Whole
        } else {
            Fit::No
        };
    };
    let asked = &query[12..12 + message.question_octets().len().min(query.len() - 12)];
    if message.question_octets() == asked {
        return Fit::Whole;
    }
    match question_of(query) {
        Ok((asked_name, asked_kind)) if asked_name == *name && asked_kind == *kind => {
            Fit::OtherCase
        }
        Ok(_) | Err(_) => Fit::No,
    }
}

fn question_of(query: &[u8]) -> Result<(Name, Type), Malformed> {
    let query = crate::wire::Query::read(query).map_err(|bad| bad.why)?;
    Ok((*query.name(), query.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Query;

    fn question() -> Asked {
        let name = "registry.npmjs.org".parse().expect("a name");
        Asked {
            name,
            kind: Type::A,
            dnssec_ok: true,
            checking_disabled: true,
        }
    }

    fn answered(query: &[u8]) -> Vec<u8> {
        let mut reply = query.to_vec();
        reply[2] |= 0x80;
        reply
    }

    #[test]
    fn a_query_says_the_name_the_type_and_two_bits() {
        let octets = query_for(
            &question(),
            Dress {
                random_case: true,
                edns: true,
            },
        );
        let query = Query::read(&octets).expect("our own query");
        assert_eq!((*query.name(), query.kind()), (question().name, Type::A));
        assert!(query.dnssec_ok() && query.checking_disabled() && query.recursion_desired());
        assert_eq!(query.edns().map(|it| it.payload), Some(1232));
        let plain = Asked {
            dnssec_ok: false,
            checking_disabled: false,
            ..question()
        };
        let octets = query_for(
            &plain,
            Dress {
                random_case: false,
                edns: false,
            },
        );
        let query = Query::read(&octets).expect("our own query");
        assert!(query.edns().is_none() && !query.checking_disabled());
        assert!(
            query
                .question()
                .starts_with(b"\x08registry\x05npmjs\x03org\0")
        );
    }

    #[test]
    fn ids_and_case_differ() {
        let dress = Dress {
            random_case: true,
            edns: false,
        };
        let queries: std::collections::HashSet<Vec<u8>> = (0..64)
            .map(|_| query_for(&question(), dress)[..30].to_vec())
            .collect();
        assert!(queries.len() > 60);
    }

    #[test]
    fn only_the_right_reply_fits() {
        let query = query_for(
            &question(),
            Dress {
                random_case: true,
                edns: true,
            },
        );
        let reply = answered(&query);
        assert_eq!(fit(&query, &reply), Fit::Whole);
        assert_eq!(fit(&query, &query), Fit::No, "not a response");
        let changed = |at: usize, by: u8| {
            let mut reply = reply.clone();
            reply[at] ^= by;
            fit(&query, &reply)
        };
        assert_eq!(changed(0, 1), Fit::No, "another id");
        assert_eq!(changed(13, 0x20), Fit::OtherCase);
        assert_eq!(changed(13, 1), Fit::No, "another name");
        assert_eq!(changed(12 + 20 + 1, 2), Fit::No, "another type");
        assert_eq!(changed(7, 1), Fit::No, "a record that is not there");
        assert_eq!(changed(2, 0x08), Fit::No, "another opcode");
        assert_eq!(fit(&query, &reply[..20]), Fit::No);
        let mut bare = reply[..12].to_vec();
        bare[3] = 1;
        bare[4..12].fill(0);
        assert_eq!(fit(&query, &bare), Fit::Whole, "FORMERR without a question");
        bare[3] = 3;
        assert_eq!(fit(&query, &bare), Fit::No, "NXDOMAIN without a question");
    }
}
