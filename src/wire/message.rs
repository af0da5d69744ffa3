//! A reply from upstream, walked within bounds and never taken at its word.
//!
//! [`Message::read`] proves the frame: the counts, every owner name, every
//! length. The data of a record is looked at when somebody wants that record,
//! so one broken record that nobody asked for spoils nothing.

use std::ops::Range;

use super::codes::{Ede, Rcode, Type};
use super::malformed::Malformed;
use super::name::Name;
use super::query::CLASS_IN;
use super::{HEADER_OCTETS, u16_at};

const RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const TRUNCATED: u16 = 0x0200;
const AUTHENTIC_DATA: u16 = 0x0020;
/// The option that holds an extended error (RFC 8914 §2).
const OPTION_EDE: u16 = 15;
/// RFC 2181 §8: a TTL with the top bit set is zero.
const TTL_TOP_BIT: u32 = 0x8000_0000;

/// The sections behind the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// What was asked for.
    Answer,
    /// Who says so.
    Authority,
    /// What goes with it.
    Additional,
}

/// A reply whose frame holds together.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    octets: &'a [u8],
    question: Option<(Name, Type)>,
    question_end: usize,
    counts: [u16; 3],
    starts: [usize; 3],
    opt: Option<Opt>,
}

#[derive(Clone, Debug)]
struct Opt {
    rcode_high: u16,
    data: Range<usize>,
}

/// One record of a [`Message`].
#[derive(Clone, Debug)]
pub struct Record<'a> {
    message: &'a [u8],
    owner_at: usize,
    /// Its type.
    pub kind: Type,
    /// Its class.
    pub class: u16,
    /// Seconds it may be kept.
    pub ttl_s: u32,
    data: Range<usize>,
}

impl<'a> Message<'a> {
    /// Walks a whole message. The work is bounded by its length.
    ///
    /// # Errors
    /// When it is not a response of opcode QUERY with at most one question, or its frame does not hold.
    pub fn read(octets: &'a [u8]) -> Result<Self, Malformed> {
        let header = octets.get(..HEADER_OCTETS).ok_or(Malformed::TooShort)?;
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        if word(2) & RESPONSE == 0 || word(2) & OPCODE != 0 {
            return Err(Malformed::OtherOpcode);
        }
        let (question, question_end) = match word(4) {
            // Servers that cannot read a question say so without one.
            0 => (None, HEADER_OCTETS),
            1 => {
                let (name, at) = Name::read_plain(octets, HEADER_OCTETS)?;
                let kind = Type(u16_at(octets, at).ok_or(Malformed::Truncated)?);
                if u16_at(octets, at + 2).ok_or(Malformed::Truncated)? != CLASS_IN {
                    return Err(Malformed::OtherClass);
                }
                (Some((name, kind)), at + 4)
            }
            _ => return Err(Malformed::ManyQuestions),
        };
        let mut message = Self {
            octets,
            question,
            question_end,
            counts: [word(6), word(8), word(10)],
            starts: [question_end; 3],
            opt: None,
        };
        let mut at = question_end;
        for section in 0..3 {
            message.starts[section] = at;
            for _ in 0..message.counts[section] {
                let (record, end) = read_record(octets, at)?;
                at = end;
                if record.kind == Type::OPT {
                    message.hear_opt(&record, section)?;
                }
            }
        }
        Ok(message)
    }

    fn hear_opt(&mut self, record: &Record<'_>, section: usize) -> Result<(), Malformed> {
        if self.opt.is_some() {
            return Err(Malformed::ManyOpts);
        }
        if section != 2 || self.octets[record.owner_at] != 0 {
            return Err(Malformed::BadOpt);
        }
        let rcode_high = u16_at(self.octets, record.data.start - 6).map_or(0, |it| it >> 8);
        self.opt = Some(Opt {
            rcode_high,
            data: record.data.clone(),
        });
        Ok(())
    }

    fn flags(&self) -> u16 {
        u16::from_be_bytes([self.octets[2], self.octets[3]])
    }

    /// The name and type it says it answers; none from servers that could not read ours.
    pub fn question(&self) -> Option<&(Name, Type)> {
        self.question.as_ref()
    }

    /// The name of the question, letter case as it came.
    pub fn question_octets(&self) -> &'a [u8] {
        &self.octets[HEADER_OCTETS..self.question_end]
    }

    /// The response code with the OPT's upper bits (RFC 6891 §6.1.3).
    pub fn rcode(&self) -> Rcode {
        let high = self.opt.as_ref().map_or(0, |opt| opt.rcode_high);
        Rcode(high << 4 | self.flags() & 0x000F)
    }

    /// TC: the rest is to be had over TCP.
    pub fn is_truncated(&self) -> bool {
        self.flags() & TRUNCATED != 0
    }

    /// AD: the server says that it has validated this (RFC 4035 §3.2.3).
    pub fn is_authentic(&self) -> bool {
        self.flags() & AUTHENTIC_DATA != 0
    }

    /// Does it hold an OPT?
    pub fn has_opt(&self) -> bool {
        self.opt.is_some()
    }

    /// The first extended error (RFC 8914); one that is cut off is none. A text that is not what it should be is left out.
    pub fn ede(&self) -> Option<Ede<'a>> {
        let mut options = &self.octets[self.opt.as_ref()?.data.clone()];
        loop {
            let (code, len) = (u16_at(options, 0)?, usize::from(u16_at(options, 2)?));
            let value = options.get(4..4 + len)?;
            if code == OPTION_EDE {
                return Some(Ede {
                    code: u16_at(value, 0)?,
                    text: line_of_text(&value[2..]),
                });
            }
            options = &options[4 + len..];
        }
    }

    /// The records of a section, OPT left out.
    pub fn records(&self, section: Section) -> impl Iterator<Item = Record<'a>> + use<'a> {
        let section = section as usize;
        let (octets, mut at) = (self.octets, self.starts[section]);
        (0..self.counts[section])
            .map_while(move |_| {
                let (record, end) = read_record(octets, at).ok()?;
                at = end;
                Some(record)
            })
            .filter(|record| record.kind != Type::OPT)
    }
}

/// RFC 8914 §2: the text is UTF-8. It ends on terminals and in logs, so that one with control characters is none.
fn line_of_text(octets: &[u8]) -> &[u8] {
    let is_line = str::from_utf8(octets).is_ok_and(|text| !text.contains(char::is_control));
    if is_line { octets } else { b"" }
}

fn read_record(octets: &[u8], at: usize) -> Result<(Record<'_>, usize), Malformed> {
    let fixed = Name::end(octets, at)?;
    let word = |at| u16_at(octets, at).ok_or(Malformed::Truncated);
    let ttl_s = u32::from(word(fixed + 4)?) << 16 | u32::from(word(fixed + 6)?);
    let data = fixed + 10..fixed + 10 + usize::from(word(fixed + 8)?);
    if data.end > octets.len() {
        return Err(Malformed::Truncated);
    }
    let end = data.end;
    let ttl_s = if ttl_s & TTL_TOP_BIT == 0 { ttl_s } else { 0 };
    Ok((
        Record {
            message: octets,
            owner_at: at,
            kind: Type(word(fixed)?),
            class: word(fixed + 2)?,
            ttl_s,
            data,
        },
        end,
    ))
}

/// What a record's data is made of, for the types whose names may be compressed.
#[derive(Clone, Copy)]
enum Part {
    Octets(usize),
    Text,
    Name,
    Rest,
}

/// RFC 3597 §4 lists the types whose names a receiver has to spell out; the later ones are here for their targets.
fn layout(kind: Type) -> &'static [Part] {
    use Part::{Name, Octets, Rest, Text};
    match kind.0 {
        1 => &[Octets(4)],
        28 => &[Octets(16)],
        2 | 3 | 4 | 5 | 7 | 8 | 9 | 12 | 39 => &[Name],
        6 => &[Name, Name, Octets(20)],
        14 | 17 => &[Name, Name],
        15 | 18 | 21 | 36 => &[Octets(2), Name],
        24 | 46 => &[Octets(18), Name, Rest],
        26 => &[Octets(2), Name, Name],
        30 | 47 => &[Name, Rest],
        33 => &[Octets(6), Name],
        35 => &[Octets(4), Text, Text, Text, Name],
        64 | 65 => &[Octets(2), Name, Rest],
        _ => &[Rest],
    }
}

/// May the names in this type's data be compressed when written (RFC 3597 §4)?
pub(super) fn is_compressible(kind: Type) -> bool {
    matches!(kind.0, 2..=9 | 12 | 14 | 15)
}

impl<'a> Record<'a> {
    /// Whose it is.
    pub fn owner(&self) -> Name {
        let owner = Name::read(self.message, self.owner_at);
        owner.expect("the frame holds, and so do the names in it").0
    }

    /// Is it this name's?
    pub fn is_of(&self, name: &Name) -> bool {
        name.is_at(self.message, self.owner_at)
    }

    /// The data as it came; names in it may be compressed.
    pub fn data(&self) -> &'a [u8] {
        &self.message[self.data.clone()]
    }

    /// The name a CNAME, DNAME, NS or PTR leads to.
    ///
    /// # Errors
    /// When the data is not exactly one name.
    pub fn target(&self) -> Result<Name, Malformed> {
        let (name, end) = Name::read(self.message, self.data.start)?;
        match end == self.data.end {
            true => Ok(name),
            false => Err(Malformed::BadData),
        }
    }

    /// The last four octets of an SOA: how long a denial holds, in seconds (RFC 2308 §4).
    pub fn soa_minimum_s(&self) -> Option<u32> {
        self.data().last_chunk().map(|it| u32::from_be_bytes(*it))
    }

    /// Walks the data by its type: octets go to `octets`, names to `name`.
    ///
    /// # Errors
    /// When the data does not have the shape its type asks for. What was written until then is void.
    pub(super) fn walk(
        &self,
        out: &mut Vec<u8>,
        octets: impl Fn(&mut Vec<u8>, &[u8]),
        mut name: impl FnMut(&mut Vec<u8>, &Name),
    ) -> Result<(), Malformed> {
        let mut at = self.data.start;
        for part in layout(self.kind) {
            let end = match part {
                Part::Octets(len) => at + len,
                Part::Text => {
                    at + 1 + usize::from(*self.message.get(at).ok_or(Malformed::BadData)?)
                }
                Part::Rest => self.data.end,
                Part::Name => {
                    let (read, end) = Name::read(self.message, at)?;
                    name(out, &read);
                    at = end;
                    continue;
                }
            };
            if end > self.data.end || at > end {
                return Err(Malformed::BadData);
            }
            octets(out, &self.message[at..end]);
            at = end;
        }
        match at == self.data.end {
            true => Ok(()),
            false => Err(Malformed::BadData),
        }
    }

    /// Does the data have the shape its type asks for?
    pub fn is_whole(&self) -> bool {
        self.walk(&mut Vec::new(), |_, _| {}, |_, _| {}).is_ok()
    }

    /// The data with every name in it spelled out.
    ///
    /// # Errors
    /// When the data does not have the shape its type asks for.
    pub fn spelled(&self) -> Result<Vec<u8>, Malformed> {
        let mut out = Vec::with_capacity(self.data.len());
        self.walk(
            &mut out,
            |out, octets| out.extend_from_slice(octets),
            |out, name| {
                out.extend_from_slice(name.octets());
            },
        )?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extended_error_has_a_line_of_text_or_none() {
        let check = |text: &[u8], expected: &[u8]| {
            let len = u8::try_from(text.len() + 2).expect("short");
            let option = [&[0, 15, 0, len, 0, 22], text].concat();
            let opt = [&b"\0\0\x29\x04\xD0\0\0\0\0\0"[..], &[len + 4], &option].concat();
            let octets = [&b"\0\0\x80\x02\0\0\0\0\0\0\0\x01"[..], &opt].concat();
            let message = Message::read(&octets).expect("its frame holds");
            let ede = message.ede().expect("it has one");
            assert_eq!((ede.code, ede.text), (22, expected));
        };
        check(b"no zone", b"no zone");
        check("gr\u{fc}n".as_bytes(), "gr\u{fc}n".as_bytes());
        check(b"\x1B[2Jgone", b"");
        check(b"two\nlines", b"");
        check(b"\xE6", b"");
    }
}
