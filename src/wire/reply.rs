//! The one way a reply is written, for every desk and every transport.
//!
//! Header, the question as it came, records, and an OPT if there was one in the
//! query. What does not fit is left out whole, with TC set. Nothing allocates
//! while the buffer has room for a message.

use super::HEADER_OCTETS;
use super::codes::{Ede, Rcode, Type};
use super::malformed::Unreadable;
use super::message::Section;
use super::query::{CLASS_CH, CLASS_IN, Edns, Query};
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
}

/// A reply being written.
#[derive(Debug)]
pub struct Reply<'o> {
    out: &'o mut Vec<u8>,
    question_end: usize,
    counts: [u16; 3],
    rcode: Rcode,
    edns: Option<Edns>,
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
pub fn reply_unreadable(octets: &[u8], bad: &Unreadable, payload: u16, out: &mut Vec<u8>) -> bool {
    let Some(rcode) = bad.why.rcode() else {
        out.clear();
        return false;
    };
    let heard = &octets[..bad.question_end];
    Reply::begin(heard, RESPONSE | RECURSION_AVAILABLE, rcode, bad.edns, out).finish(
        None,
        payload,
        usize::MAX,
    );
    true
}

impl<'o> Reply<'o> {
    fn begin(
        heard: &[u8],
        flags: u16,
        rcode: Rcode,
        edns: Option<Edns>,
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
            edns,
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

    /// Ends the reply: an OPT that offers `payload` octets if the query had one, and TC with
    /// nothing but the question when the whole does not fit into `limit` octets.
    #[inline]
    pub fn finish(mut self, ede: Option<Ede<'_>>, payload: u16, limit: usize) {
        let records_end = self.out.len();
        self.write_opt(ede, payload);
        if self.out.len() > limit && ede.is_some() {
            // The records matter more than the line about them.
            self.out.truncate(records_end);
            self.write_opt(None, payload);
        }
        if self.out.len() > limit {
            self.out.truncate(self.question_end);
            self.write_opt(None, payload);
            self.out[2] |= TRUNCATED.to_be_bytes()[0];
            self.counts = [0; 3];
        }
        self.counts[2] += u16::from(self.edns.is_some());
        for (section, count) in self.counts.iter().enumerate() {
            self.out[6 + section * 2..][..2].copy_from_slice(&count.to_be_bytes());
        }
    }

    /// RFC 6891 §6.1.2: owner root, our payload, the upper half of the code, version 0, DO as asked (RFC 3225 §3).
    fn write_opt(&mut self, ede: Option<Ede<'_>>, payload: u16) {
        let Some(edns) = self.edns else { return };
        let flags = if edns.dnssec_ok { DNSSEC_OK } else { 0 };
        let [_, rcode_high] = (self.rcode.0 >> 4).to_be_bytes();
        self.out.push(0);
        self.out.extend_from_slice(&Type::OPT.0.to_be_bytes());
        self.out.extend_from_slice(&payload.to_be_bytes());
        self.out.extend_from_slice(&[rcode_high, 0]);
        self.out.extend_from_slice(&flags.to_be_bytes());
        let Some(ede) = ede else {
            self.out.extend_from_slice(&[0; 2]);
            return;
        };
        // RFC 8914 §2: the option's length counts the code and the text.
        let text = line(ede.text);
        let option = u16::try_from(text.len() + 2).expect("the text was cut");
        self.out.extend_from_slice(&(option + 4).to_be_bytes());
        self.out.extend_from_slice(&OPTION_EDE.to_be_bytes());
        self.out.extend_from_slice(&option.to_be_bytes());
        self.out.extend_from_slice(&ede.code.to_be_bytes());
        self.out.extend_from_slice(text);
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
