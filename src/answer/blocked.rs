//! The one way we say no.
//!
//! Everything that a denial says beside the question is put together once per
//! policy generation; writing one is a few copies. A denial never echoes a
//! client's octets but its question, and never leaves the machine.

use crate::matcher::{Denial, Why};
use crate::wire::{Ede, Head, Query, Rcode, Room, Section, Type, reply};

/// MNAME and RNAME of every SOA of ours.
const SOA_NAMES: &[u8] = b"\x08namegate\x08internal\x00\x0Ahostmaster\x08namegate\x08internal\x00";
/// REFRESH, RETRY and EXPIRE: for secondaries, of which we have none.
const SOA_TIMERS_S: [u32; 3] = [3600, 600, 86_400];
/// The line of an extended error fits a terminal and a datagram (SPEC 5).
const TEXT_OCTETS_MAX: usize = 160;
/// What stands before the line about a name that a search list made: nobody meant it.
const SEARCH: &str = "search_suffix: ";

/// How one generation of the policy says no.
#[derive(Debug)]
pub struct Blocked {
    ttl_s: u32,
    nodata_ancestors: bool,
    soa: Vec<u8>,
    text: Vec<u8>,
    /// For names that a search list made.
    search_text: Vec<u8>,
}

impl Blocked {
    /// For the policy `name` in its `generation`. With `nodata_ancestors`, names above allowed ones are said to
    /// exist; a `contact` that is not empty is named as the one to ask.
    pub fn new(
        ttl_s: u32,
        nodata_ancestors: bool,
        name: &str,
        generation: u32,
        contact: &str,
    ) -> Self {
        let mut soa = SOA_NAMES.to_vec();
        soa.extend(generation.to_be_bytes());
        soa.extend(SOA_TIMERS_S.iter().flat_map(|timer| timer.to_be_bytes()));
        soa.extend(ttl_s.to_be_bytes());
        Self {
            ttl_s,
            nodata_ancestors,
            soa,
            text: text("", name, generation, contact),
            search_text: text(SEARCH, name, generation, contact),
        }
    }

    /// The TTL of every record in it, seconds.
    pub fn ttl_s(&self) -> u32 {
        self.ttl_s
    }

    /// Writes the denial of a name (SPEC 5). Returns its code.
    #[inline]
    pub fn deny(
        &self,
        query: &Query<'_>,
        denial: Denial,
        room: Room<'_>,
        out: &mut Vec<u8>,
    ) -> Rcode {
        let exists = denial.is_ancestor && self.nodata_ancestors;
        let rcode = if exists {
            Rcode::NOERROR
        } else {
            Rcode::NXDOMAIN
        };
        // The SOA of an empty answer may stand at the name itself, as that of any zone does.
        let owner_at = if exists {
            0
        } else {
            usize::from(denial.encloser_at)
        };
        let text = match denial.why {
            Why::NotListed | Why::DenyAll | Why::BadLabel => &self.text,
            Why::SearchSuffix => &self.search_text,
        };
        let soa_at = (Section::Authority, owner_at);
        self.write(query, rcode, soa_at, Some(text), room, out);
        rcode
    }

    /// Writes that an allowed name has nothing of this type for this client, and why (SPEC 7).
    pub fn nodata(
        &self,
        query: &Query<'_>,
        why: &'static str,
        room: Room<'_>,
        out: &mut Vec<u8>,
    ) -> Rcode {
        let parent_at = query
            .name()
            .starts()
            .nth(1)
            .unwrap_or(query.name().octets().len() - 1);
        let soa_at = (Section::Authority, parent_at);
        let why = Some(why.as_bytes());
        self.write(query, Rcode::NOERROR, soa_at, why, room, out);
        Rcode::NOERROR
    }

    /// Writes that there is nothing of this name or type in the zone of ours that begins at octet `apex_at` of the
    /// name, but for its SOA. No policy is behind that, so it has no extended error.
    pub fn nothing(
        &self,
        query: &Query<'_>,
        rcode: Rcode,
        apex_at: usize,
        room: Room<'_>,
        out: &mut Vec<u8>,
    ) -> Rcode {
        let is_soa = apex_at == 0 && query.kind() == Type::SOA;
        let section = match is_soa {
            true => Section::Answer,
            false => Section::Authority,
        };
        self.write(query, rcode, (section, apex_at), None, room, out);
        rcode
    }

    fn write(
        &self,
        query: &Query<'_>,
        rcode: Rcode,
        (section, owner_at): (Section, usize),
        text: Option<&[u8]>,
        room: Room<'_>,
        out: &mut Vec<u8>,
    ) {
        let head = Head::ours(rcode);
        reply(query, head, out)
            .record(section, owner_at, Type::SOA, self.ttl_s, &self.soa)
            .finish(
                text.map(|text| Ede {
                    code: Ede::BLOCKED,
                    text,
                }),
                room,
            );
    }
}

/// What an audit says with the answer to a name that it lets pass (RFC 8914 §4.1).
pub fn would_deny(why: Why) -> Ede<'static> {
    let text: &[u8] = match why {
        Why::NotListed => b"audit: would be blocked: not_listed",
        Why::DenyAll => b"audit: would be blocked: deny_all",
        Why::BadLabel => b"audit: would be blocked: bad_label",
        Why::SearchSuffix => b"audit: would be blocked: search_suffix",
    };
    Ede {
        code: Ede::OTHER,
        text,
    }
}

/// The line for the extended error, in ASCII, `about` first, the policy's name cut where it would be too long.
fn text(about: &str, name: &str, generation: u32, contact: &str) -> Vec<u8> {
    let ascii = |text: &str| -> String {
        text.chars()
            .map(|c| {
                if c.is_ascii_graphic() || c == ' ' {
                    c
                } else {
                    '?'
                }
            })
            .collect()
    };
    let ask = match contact {
        "" => String::new(),
        contact => format!("; ask {}", ascii(contact)),
    };
    let around = |name: &str| {
        format!(
            "{about}not in allowed_hostnames of policy '{name}' generation {generation}; \
             this is deliberate, retrying will not help{ask}"
        )
    };
    let room = TEXT_OCTETS_MAX.saturating_sub(around("").len());
    let mut name = ascii(name);
    name.truncate(room);
    let mut line = around(&name).into_bytes();
    line.truncate(TEXT_OCTETS_MAX);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_ascii_and_bounded() {
        let long = "näme".repeat(100);
        for (name, contact) in [
            ("ci", ""),
            (long.as_str(), "#platform"),
            ("ci", long.as_str()),
        ] {
            let line = text(SEARCH, name, u32::MAX, contact);
            assert!(
                line.len() <= TEXT_OCTETS_MAX && line.is_ascii(),
                "{}",
                String::from_utf8_lossy(&line)
            );
        }
        assert_eq!(
            String::from_utf8_lossy(&text("", "ci", 7, "#net")),
            "not in allowed_hostnames of policy 'ci' generation 7; this is deliberate, retrying will not help; ask #net"
        );
    }
}
