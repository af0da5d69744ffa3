//! The one way a reply is written, for every desk and every transport.
//!
//! Header, the question as it came, records, and an OPT if there was one in the
//! query. What does not fit is left out whole, with TC set. Nothing allocates
//! while the buffer has room for a message.

use super::HEADER_OCTETS;
use super::codes::{Ede, Rcode, Type};
use super::cookie::COOKIE_OCTETS;
use super::malformed::Unreadable;
use super::message::Section;
use super::query::{CLASS_CH, CLASS_IN, Edns, OPTION_COOKIE, OPTION_KEEPALIVE, OPTION_NSID, Query};
use super::sections::{Age, Sections};

const RESPONSE: u16 = 0x8000;
const AUTHORITATIVE: u16 = 0x0400;
const TRUNCATED: u16 = 0x0200;
const RECURSION_AVAILABLE: u16 = 0x0080;
const AUTHENTIC_DATA: u16 = 0x0020;
/// What is copied from a query: its opcode, RD and CD (RFC 1035 §4.1.1, RFC 4035 §3.2.2).
const COPIED: u16 = 0x7800 | 0x0100 | 0x0010;
const DNSSEC_OK: u16 = 0x8000;
const OPTION_EDE: u16 = 15;

/// What a reply's header says beside what the query decides.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// The response code.
    pub rcode: Rcode,
    /// AA: the answer is ours.
    pub authoritative: bool,
    /// AD: upstream says that it validated this; sent only to clients that can take it.
    pub authentic: bool,
}

impl Head {
    /// A header with this code and neither AA nor AD.
    pub fn plain(rcode: Rcode) -> Self {
        Self {
            rcode,
            authoritative: false,
            authentic: false,
        }
    }

    /// The header of an answer that is our own: AA.
    pub fn ours(rcode: Rcode) -> Self {
        Self {
            authoritative: true,
            ..Self::plain(rcode)
        }
    }
}

/// The sizes a reply has to keep to, and what its OPT says beside an extended error.
#[derive(Clone, Copy, Debug)]
pub struct Room<'a> {
    /// The payload that our OPT offers, in octets.
    pub payload: u16,
    /// The most octets the reply may have.
    pub limit: usize,
    /// The options of our OPT, where there is one.
    pub options: Options<'a>,
}

impl Room<'_> {
    /// For a client that asked for no option.
    pub const fn plain(payload: u16, limit: usize) -> Self {
        Self {
            payload,
            limit,
            options: Options {
                cookie: None,
                keepalive: None,
                nsid: None,
            },
        }
    }
}

/// What is said to the options that a client sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// Both halves of a cookie (RFC 7873).
    pub cookie: Option<[u8; COOKIE_OCTETS]>,
    /// How long this connection may be silent, in tenths of a second (RFC 7828).
    pub keepalive: Option<u16>,
    /// Who we are (RFC 5001), in at most 255 octets.
    pub nsid: Option<&'a str>,
}

impl Options<'_> {
    /// Octets of all of them in an OPT.
    pub fn octets(&self) -> usize {
        let cookie = self.cookie.map_or(0, |it| 4 + it.len());
        let keepalive = self.keepalive.map_or(0, |_| 4 + 2);
        let nsid = self.nsid.map_or(0, |it| 4 + it.len());
        cookie + keepalive + nsid
    }

    fn write(&self, out: &mut Vec<u8>) {
        if let Some(cookie) = &self.cookie {
            write_option(OPTION_COOKIE, &[cookie], out);
        }
        if let Some(keepalive) = self.keepalive {
            write_option(OPTION_KEEPALIVE, &[&keepalive.to_be_bytes()], out);
        }
        if let Some(nsid) = self.nsid {
            write_option(OPTION_NSID, &[nsid.as_bytes()], out);
        }
    }
}

fn write_option(code: u16, parts: &[&[u8]], out: &mut Vec<u8>) {
    let len = parts.iter().map(|part| part.len()).sum::<usize>();
    let len = u16::try_from(len).expect("our options are short");
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(&len.to_be_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// A reply being written.
#[derive(Debug)]
pub struct Reply<'o> {
    out: &'o mut Vec<u8>,
    question_end: usize,
    counts: [u16; 3],
    rcode: Rcode,
    /// The flags of our OPT; none: the query had no OPT.
    opt_flags: Option<u16>,
}

/// Begins the reply to a query: header and question, in place of what `out` held.
#[inline]
pub fn reply<'o>(query: &Query<'_>, head: Head, out: &'o mut Vec<u8>) -> Reply<'o> {
    let mut flags = RESPONSE | RECURSION_AVAILABLE;
    if head.authoritative {
        flags |= AUTHORITATIVE;
    }
    // RFC 6840 §5.8: AD goes to those who asked for it.
    if head.authentic && query.wants_authentic() {
        flags |= AUTHENTIC_DATA;
    }
    let end = HEADER_OCTETS + query.question().len();
    Reply::begin(&query.octets()[..end], flags, head.rcode, query.edns(), out)
}

/// Writes the whole reply to a message that is not judged. False: there is none to write.
pub fn reply_unreadable(
    octets: &[u8],
    bad: &Unreadable,
    room: Room<'_>,
    out: &mut Vec<u8>,
) -> bool {
    let Some(rcode) = bad.why.rcode() else {
        out.clear();
        return false;
    };
    let heard = &octets[..bad.question_end];
    let flags = RESPONSE | RECURSION_AVAILABLE;
    Reply::begin(heard, flags, rcode, bad.edns(), out).finish(None, room);
    true
}

impl<'o> Reply<'o> {
    fn begin(
        heard: &[u8],
        flags: u16,
        rcode: Rcode,
        edns: Option<&Edns>,
        out: &'o mut Vec<u8>,
    ) -> Self {
        let asked = u16::from_be_bytes([heard[2], heard[3]]);
        let flags = flags | asked & COPIED | rcode.0 & 0x000F;
        out.clear();
        out.extend_from_slice(&heard[..2]);
        out.extend_from_slice(&flags.to_be_bytes());
        out.extend_from_slice(&u16::from(heard.len() > HEADER_OCTETS).to_be_bytes());
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&heard[HEADER_OCTETS..]);
        Self {
            out,
            question_end: heard.len(),
            counts: [0; 3],
            rcode,
            // RFC 3225 §3: DO as asked.
            opt_flags: edns.map(|edns| if edns.dnssec_ok { DNSSEC_OK } else { 0 }),
        }
    }

    /// Adds records that were put together for this question.
    #[inline]
    #[must_use]
    pub fn sections(mut self, sections: &Sections, age: Age) -> Self {
        sections.write(age, self.out);
        self.counts = sections.counts();
        self
    }

    /// Adds one record whose owner is the part of the question's name that begins at octet `owner_at` of it.
    #[inline]
    #[must_use]
    pub fn record(
        mut self,
        section: Section,
        owner_at: usize,
        kind: Type,
        ttl_s: u32,
        data: &[u8],
    ) -> Self {
        let pointer = 0xC000
            | u16::try_from(HEADER_OCTETS + owner_at).expect("a name has at most 255 octets");
        let length = u16::try_from(data.len()).expect("our own records are short");
        self.out.extend_from_slice(&pointer.to_be_bytes());
        self.out.extend_from_slice(&kind.0.to_be_bytes());
        self.out.extend_from_slice(&CLASS_IN.to_be_bytes());
        self.out.extend_from_slice(&ttl_s.to_be_bytes());
        self.out.extend_from_slice(&length.to_be_bytes());
        self.out.extend_from_slice(data);
        self.counts[section as usize] += 1;
        self
    }

    /// Adds a text about the server itself, in class CHAOS (RFC 4892 §3); what is longer than 255 octets is cut.
    #[must_use]
    pub fn chaos_text(mut self, text: &str) -> Self {
        let text = &text.as_bytes()[..text.len().min(255)];
        let len = u8::try_from(text.len()).expect("it was cut");
        self.out.extend_from_slice(&0xC00C_u16.to_be_bytes());
        self.out.extend_from_slice(&Type::TXT.0.to_be_bytes());
        self.out.extend_from_slice(&CLASS_CH.to_be_bytes());
        self.out.extend_from_slice(&[0; 4]);
        self.out
            .extend_from_slice(&(u16::from(len) + 1).to_be_bytes());
        self.out.push(len);
        self.out.extend_from_slice(text);
        self.counts[0] += 1;
        self
    }

    /// Ends the reply: an OPT if the query had one, and TC with nothing but the question when the whole does not fit.
    #[inline]
    pub fn finish(mut self, ede: Option<Ede<'_>>, mut room: Room<'_>) {
        let records_end = self.out.len();
        self.write_opt(ede, &room);
        // What matters least is left out first: our name, then the line about the records, then they.
        if self.out.len() > room.limit && room.options.nsid.take().is_some() {
            self.out.truncate(records_end);
            self.write_opt(ede, &room);
        }
        if self.out.len() > room.limit && ede.is_some() {
            self.out.truncate(records_end);
            self.write_opt(None, &room);
        }
        if self.out.len() > room.limit {
            self.out.truncate(self.question_end);
            self.write_opt(None, &room);
            self.out[2] |= TRUNCATED.to_be_bytes()[0];
            self.counts = [0; 3];
        }
        self.counts[2] += u16::from(self.opt_flags.is_some());
        for (section, count) in self.counts.iter().enumerate() {
            self.out[6 + section * 2..][..2].copy_from_slice(&count.to_be_bytes());
        }
    }

    /// RFC 6891 §6.1.2: owner root, our payload, the upper half of the code, version 0, the flags, the options.
    fn write_opt(&mut self, ede: Option<Ede<'_>>, room: &Room<'_>) {
        let Some(flags) = self.opt_flags else { return };
        let [_, rcode_high] = (self.rcode.0 >> 4).to_be_bytes();
        self.out.push(0);
        self.out.extend_from_slice(&Type::OPT.0.to_be_bytes());
        self.out.extend_from_slice(&room.payload.to_be_bytes());
        self.out.extend_from_slice(&[rcode_high, 0]);
        self.out.extend_from_slice(&flags.to_be_bytes());
        let text = ede.map_or(&[][..], |ede| line(ede.text));
        let ede_octets = ede.map_or(0, |_| 4 + 2 + text.len());
        let octets = u16::try_from(ede_octets + room.options.octets()).expect("ours are short");
        self.out.extend_from_slice(&octets.to_be_bytes());
        if let Some(ede) = ede {
            // RFC 8914 §2: a code and a text.
            write_option(OPTION_EDE, &[&ede.code.to_be_bytes(), text], self.out);
        }
        room.options.write(self.out);
    }
}

/// The text, cut where it is too long and between two characters (RFC 8914 §2: it is UTF-8).
fn line(text: &[u8]) -> &[u8] {
    let is_inside = |at: &usize| text.get(*at).is_some_and(|octet| octet & 0xC0 == 0x80);
    let mut end = text.len().min(EDE_TEXT_OCTETS_MAX);
    while end > 0 && is_inside(&end) {
        end -= 1;
    }
    &text[..end]
}

/// The most text an extended error carries: a line, not a page (SPEC 5). Upstream's may be longer and is cut.
const EDE_TEXT_OCTETS_MAX: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        let check = |text: &str, octets| assert_eq!(line(text.as_bytes()).len(), octets, "{text}");
        check("upstream said so", 16);
        check(&"x".repeat(200), 160);
        check(&"\u{e9}".repeat(80), 160);
        check(&format!("x{}", "\u{e9}".repeat(80)), 159);
        check(&format!("x{}", "\u{1f512}".repeat(40)), 157);
    }
}
