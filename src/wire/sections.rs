//! Records ready to stand behind a question, kept as octets.
//!
//! They are put together once, when an answer comes in; sending them is a copy
//! and a few TTLs. Pointers in them lead into the question (whose length is
//! part of the name) or into themselves, so they fit behind any spelling of it.

use super::HEADER_OCTETS;
use super::codes::Type;
use super::malformed::Malformed;
use super::message::{Record, Section, is_compressible};
use super::name::Name;
use super::query::CLASS_IN;
use super::{block_octets, u16_at};

/// Names that later names may point to: the longest question has 127 labels, the aliases of any usual
/// answer fewer; a longer answer is only less well compressed.
const KNOWN_NAMES_MAX: usize = 256;
/// The furthest a pointer reaches (RFC 1035 §4.1.4).
const POINTER_MAX: usize = 0x3FFF;

/// Room for the usual answer: a message, the labels in it.
const USUAL_OCTETS: usize = 512;
const USUAL_NAMES: usize = 16;

/// The records of a reply behind its question.
///
/// One block of memory: where each record's TTL lies among the records, two octets in network order
/// for each of them, and then the records.
#[derive(Clone, Debug, Default)]
pub struct Sections {
    block: Box<[u8]>,
    counts: [u16; 3],
    /// The smallest TTL, seconds; 0 without a record.
    ttl_min_s: u32,
}

/// Of each place where a TTL lies.
const TTL_PLACE_OCTETS: usize = 2;

/// What the TTLs in a reply are to be.
#[derive(Clone, Copy, Debug)]
pub enum Age {
    /// As stored, less these seconds, and not below 0.
    Seconds(u32),
    /// All the same (RFC 8767 §4: 30 seconds for stale data).
    Fixed(u32),
}

impl Age {
    /// What a stored TTL is sent as, seconds.
    #[inline]
    fn of(self, stored_s: u32) -> u32 {
        match self {
            Self::Seconds(past) => stored_s.saturating_sub(past),
            Self::Fixed(ttl_s) => ttl_s,
        }
    }
}

impl Sections {
    /// Octets behind the question.
    pub fn len(&self) -> usize {
        self.block.len() - TTL_PLACE_OCTETS * self.records()
    }

    /// Is there no record at all?
    pub fn is_empty(&self) -> bool {
        self.block.is_empty()
    }

    fn records(&self) -> usize {
        self.counts.iter().copied().map(usize::from).sum()
    }

    /// Records in the answer, authority and additional sections.
    pub fn counts(&self) -> [u16; 3] {
        self.counts
    }

    /// The smallest TTL that a reply with these records carries, seconds; none without a record.
    #[inline]
    pub fn ttl_s(&self, age: Age) -> Option<u32> {
        (!self.is_empty()).then(|| age.of(self.ttl_min_s))
    }

    /// Octets of memory this holds beside itself.
    pub fn footprint(&self) -> usize {
        block_octets(self.block.len())
    }

    /// Appends the records to a reply.
    #[inline]
    pub(super) fn write(&self, age: Age, out: &mut Vec<u8>) {
        let base = out.len();
        let (ttls, octets) = self.block.split_at(TTL_PLACE_OCTETS * self.records());
        out.extend_from_slice(octets);
        for at in ttls.as_chunks().0 {
            let at = base + usize::from(u16::from_be_bytes(*at));
            if let Some(ttl) = out[at..].first_chunk_mut::<4>() {
                *ttl = age.of(u32::from_be_bytes(*ttl)).to_be_bytes();
            }
        }
    }
}

/// Puts [`Sections`] together, answer first, then authority, then additional.
#[derive(Clone, Debug)]
pub struct SectionsBuilder {
    /// The message as it will be, header and question included.
    message: Vec<u8>,
    question_end: usize,
    counts: [u16; 3],
    ttl_min_s: u32,
    /// Names that later ones may point to: where they are written, and the octets they have when spelled out.
    known: Vec<(usize, usize)>,
}

impl SectionsBuilder {
    /// Records that will stand behind a question for `name`.
    pub fn new(name: &Name) -> Self {
        let mut message = Vec::with_capacity(USUAL_OCTETS);
        message.extend_from_slice(&[0; HEADER_OCTETS]);
        message.extend_from_slice(name.octets());
        message.extend_from_slice(&[0; 4]);
        let octets = name.octets().len();
        let mut known = Vec::with_capacity(USUAL_NAMES);
        known.extend(name.starts().map(|at| (HEADER_OCTETS + at, octets - at)));
        Self {
            question_end: message.len(),
            message,
            counts: [0; 3],
            ttl_min_s: u32::MAX,
            known,
        }
    }

    /// Adds a record of an upstream's reply with a TTL of our choice, names spelled anew.
    ///
    /// # Errors
    /// When its data is malformed or the message full; then nothing is added.
    pub fn push(
        &mut self,
        section: Section,
        record: &Record<'_>,
        ttl_s: u32,
    ) -> Result<(), Malformed> {
        self.add(section, &record.owner(), record.kind, ttl_s, |builder| {
            let compress = is_compressible(record.kind);
            let known = std::mem::take(&mut builder.known);
            let mut written = Vec::new();
            let walked = record.walk(
                &mut builder.message,
                |out, octets| out.extend_from_slice(octets),
                |out, name| match compress {
                    true => {
                        written.push((out.len(), *name));
                        write_name(out, &known, name);
                    }
                    false => out.extend_from_slice(name.octets()),
                },
            );
            builder.known = known;
            // The target of an alias is the next owner.
            for (at, name) in &written {
                builder.learn(*at, name);
            }
            walked
        })
    }

    /// Adds a record whose data is ready, names in it spelled out.
    ///
    /// # Errors
    /// When the message is full; then nothing is added.
    pub fn push_data(
        &mut self,
        section: Section,
        owner: &Name,
        kind: Type,
        ttl_s: u32,
        data: &[u8],
    ) -> Result<(), Malformed> {
        self.add(section, owner, kind, ttl_s, |builder| {
            builder.message.extend_from_slice(data);
            Ok(())
        })
    }

    fn add(
        &mut self,
        section: Section,
        owner: &Name,
        kind: Type,
        ttl_s: u32,
        data: impl FnOnce(&mut Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let undo = (self.message.len(), self.known.len());
        let added = || {
            let owner_at = self.message.len();
            write_name(&mut self.message, &self.known, owner);
            self.learn(owner_at, owner);
            self.message.extend_from_slice(&kind.0.to_be_bytes());
            self.message.extend_from_slice(&CLASS_IN.to_be_bytes());
            self.message.extend_from_slice(&ttl_s.to_be_bytes());
            let length_at = self.message.len();
            self.message.extend_from_slice(&[0; 2]);
            data(self)?;
            let length = u16::try_from(self.message.len() - length_at - 2)
                .map_err(|_| Malformed::BadData)?;
            self.message[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
            let count = self.counts[section as usize]
                .checked_add(1)
                .ok_or(Malformed::BadData)?;
            let fits = self.message.len() + OPT_ROOM <= super::MESSAGE_OCTETS_MAX;
            fits.then_some(count).ok_or(Malformed::BadData)
        };
        match added() {
            Ok(count) => {
                self.counts[section as usize] = count;
                self.ttl_min_s = self.ttl_min_s.min(ttl_s);
                Ok(())
            }
            Err(why) => {
                self.message.truncate(undo.0);
                self.known.truncate(undo.1);
                Err(why)
            }
        }
    }

    /// Remembers a name written at `at` and those above it, up to the one that is a pointer.
    fn learn(&mut self, at: usize, name: &Name) {
        for start in name.starts() {
            let here = at + start;
            let is_pointer = self.message[here] > 63;
            if is_pointer || here > POINTER_MAX || self.known.len() >= KNOWN_NAMES_MAX {
                return;
            }
            self.known.push((here, name.octets().len() - start));
        }
    }

    /// The records, as octets.
    pub fn finish(self) -> Sections {
        let records: usize = self.counts.iter().copied().map(usize::from).sum();
        if records == 0 {
            return Sections::default();
        }
        let octets = &self.message[self.question_end..];
        let mut block = Vec::with_capacity(TTL_PLACE_OCTETS * records + octets.len());
        block.extend(ttl_places(octets).flat_map(u16::to_be_bytes));
        block.extend_from_slice(octets);
        Sections {
            block: block.into(),
            counts: self.counts,
            ttl_min_s: self.ttl_min_s,
        }
    }
}

/// Where the TTLs lie in records that we have written.
fn ttl_places(records: &[u8]) -> impl Iterator<Item = u16> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let ttl_at = at + owner_octets(records.get(at..)?)? + 4;
        let length_at = ttl_at + 4;
        at = length_at + 2 + usize::from(u16_at(records, length_at)?);
        u16::try_from(ttl_at).ok()
    })
}

/// Octets of a name as it is written: its labels, then the root or a pointer. None where there is no more.
fn owner_octets(records: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match *records.get(at)? {
            0 => return Some(at + 1),
            len @ 1..=63 => at += 1 + usize::from(len),
            _ => return Some(at + 2),
        }
    }
}

/// What an OPT with an extended error may take behind the records.
const OPT_ROOM: usize = 512;

/// Writes a name, its longest known ending as a pointer (RFC 1035 §4.1.4).
///
/// Only names of the same length are compared: of the names above one name there is one of each length, so
/// that a reply made of long names that are nearly equal costs no more than another.
fn write_name(out: &mut Vec<u8>, known: &[(usize, usize)], name: &Name) {
    for at in name.starts() {
        let ending = &name.octets()[at..];
        let mut alike = known.iter().filter(|(_, octets)| *octets == ending.len());
        if let Some((there, _)) = alike.find(|(there, _)| spells(out, *there, ending)) {
            let pointer =
                u16::try_from(*there).expect("`learn` keeps no offset beyond 14 bits") | 0xC000;
            out.extend_from_slice(&pointer.to_be_bytes());
            return;
        }
        out.push(name.octets()[at]);
        out.extend_from_slice(name.label_at(at));
    }
    out.push(0);
}

/// Does the name written at `at` equal `ending`, an uncompressed rest of a name?
fn spells(message: &[u8], at: usize, ending: &[u8]) -> bool {
    let (mut at, mut ending) = (at, ending);
    loop {
        match message[at] {
            0 => return ending == [0],
            len @ 1..=63 => {
                let label = &message[at..=at + usize::from(len)];
                let Some(rest) = ending.strip_prefix(label) else {
                    return false;
                };
                (at, ending) = (at + label.len(), rest);
            }
            high => at = usize::from(u16::from_be_bytes([high & 0x3F, message[at + 1]])),
        }
    }
}
