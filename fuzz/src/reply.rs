//! The writer of replies, with hickory to read what it wrote.
//!
//! Eight octets say what the reply is to be like, and a message follows, whose
//! records are to stand in it. Both readers read the reply: it holds those
//! records in their sections, under names that are compressed anew, and an OPT
//! with what was asked for; or, where there is no room, what has to stand.

use hickory_proto::op;
use hickory_proto::rr::{self, RData};
use namegate::wire::{
    Age, Ede, Head, Message, Name, Options, Query, Rcode, Record, Room, Section, Sections,
    SectionsBuilder, Type, reply as begin,
};

const SECTIONS: [Section; 3] = [Section::Answer, Section::Authority, Section::Additional];
/// The text of an extended error is cut to this, in octets.
const TEXT_OCTETS_MAX: usize = 160;
const IDENTITY: &str = "box-7";
const COOKIE: [u8; 24] = *b"abcdefgh\x01\0\0\0\0\0\0\0sealseal";
const KEEPALIVE_DS: u16 = 100;
const PAYLOAD: u16 = 1232;
/// Types whose names we may compress and hickory does not read: MD, MF, MB, MG, MR, MINFO.
const MAY_BE_COMPRESSED: [u16; 6] = [3, 4, 7, 8, 9, 14];

/// What a reply is to be like.
struct Wish {
    bits: [u8; 2],
    limit: usize,
    rcode: Rcode,
    text: Vec<u8>,
    age: Age,
}

/// A record that stands in the reply.
struct Kept {
    section: Section,
    owner: Name,
    kind: Type,
    ttl_s: u32,
    data: Vec<u8>,
    /// As hickory has read it, where it has.
    theirs: Option<rr::Record>,
}

/// What there is room for.
#[derive(Debug, PartialEq, Eq)]
struct Fits {
    octets: usize,
    records: bool,
    ede: bool,
    nsid: bool,
}

/// What is written is read again, by us and by others.
pub fn reply(input: &[u8]) {
    let Some((wish, octets)) = input.split_first_chunk() else {
        return;
    };
    let Ok(message) = Message::read(octets) else {
        return;
    };
    let Some((name, kind)) = message.question().filter(|it| !it.1.is_meta()).copied() else {
        return;
    };
    let wish = Wish::read(*wish);
    let (sections, kept) = keep(&message, octets, &name, wish.age);
    let ttl_s = kept.iter().map(|it| it.ttl_s).min();
    assert_eq!(sections.ttl_s(wish.age), ttl_s);
    let asked = wish.query(&name, kind);
    let query = Query::read(&asked).expect("a well-formed question");
    let mut out = vec![0; 3];
    begin(&query, wish.head(), &mut out)
        .sections(&sections, wish.age)
        .finish(wish.ede(), wish.room());
    let fits = wish.fits(12 + query.question().len(), sections.len());
    assert_eq!(out.len(), fits.octets, "{fits:?}");
    let kept = if fits.records { &kept[..] } else { &[] };
    ours(
        &Message::read(&out).expect("a reply of ours can be read"),
        kept,
    );
    match op::Message::from_vec(&out) {
        Ok(read) => theirs(&read, &wish, &fits, &query, kept),
        Err(error) => assert!(kept.iter().any(|it| it.theirs.is_none()), "{error}"),
    }
}

impl Wish {
    fn read([first, second, limit @ .., age]: [u8; 8]) -> Self {
        let [limit_high, limit_low, code_high, code_low, text] = limit;
        let limit = u16::from_be_bytes([limit_high, limit_low]).max(512);
        let aged = Age::Seconds(u32::from(age & 0x7F) * 60);
        Self {
            bits: [first, second],
            limit: limit.into(),
            rcode: Rcode(u16::from_be_bytes([code_high & 0x0F, code_low])),
            text: b"upstream said so, ".repeat(15)[..text.into()].to_vec(),
            age: if age < 0x80 { aged } else { Age::Fixed(30) },
        }
    }

    fn has(&self, bit: u8) -> bool {
        self.bits[usize::from(bit / 8)] >> (bit % 8) & 1 == 1
    }

    fn has_opt(&self) -> bool {
        self.has(0)
    }

    fn head(&self) -> Head {
        Head {
            rcode: self.rcode,
            authoritative: self.has(1),
            authentic: self.has(2),
        }
    }

    fn dnssec_ok(&self) -> bool {
        self.has_opt() && self.has(3)
    }

    fn ede(&self) -> Option<Ede<'_>> {
        self.has(4).then_some(Ede {
            code: Ede::BLOCKED,
            text: &self.text,
        })
    }

    fn options(&self) -> Options<'static> {
        Options {
            cookie: self.has(5).then_some(COOKIE),
            keepalive: self.has(6).then_some(KEEPALIVE_DS),
            nsid: self.has(7).then_some(IDENTITY),
        }
    }

    fn room(&self) -> Room<'static> {
        Room {
            payload: PAYLOAD,
            limit: self.limit,
            options: self.options(),
        }
    }

    /// A question as a client sends it: RD, AD, CD and letter case as wished.
    fn query(&self, name: &Name, kind: Type) -> Vec<u8> {
        let bit = |bit, value| u8::from(self.has(bit)) * value;
        let flags = [bit(8, 0x01), bit(9, 0x20) | bit(10, 0x10)];
        let mut octets = [&[0xBE, 0xEF][..], &flags, &[0, 1, 0, 0, 0, 0, 0]].concat();
        octets.push(u8::from(self.has_opt()));
        match self.has(11) {
            true => octets.extend(name.octets().to_ascii_uppercase()),
            false => octets.extend(name.octets()),
        }
        octets.extend(kind.0.to_be_bytes());
        octets.extend([0, 1]);
        if self.has_opt() {
            octets.extend([0, 0, 41, 4, 208, 0, 0, bit(3, 0x80), 0, 0, 0]);
        }
        octets
    }

    /// First our name gives way, then the text, then the records.
    fn fits(&self, head: usize, records: usize) -> Fits {
        let [opt, ede, nsid, others] = self.costs();
        let whole = [(records, ede, nsid), (records, ede, 0), (records, 0, 0)];
        let sum = |it: &(usize, usize, usize)| head + opt + others + it.0 + it.1 + it.2;
        let chosen = whole.iter().find(|it| sum(it) <= self.limit);
        let (kept, ede, nsid) = *chosen.unwrap_or(&(0, 0, 0));
        Fits {
            octets: sum(&(kept, ede, nsid)),
            records: chosen.is_some(),
            ede: ede > 0,
            nsid: nsid > 0,
        }
    }

    /// Octets of the OPT without options, of the extended error, of our name, and of what is always said.
    fn costs(&self) -> [usize; 4] {
        if !self.has_opt() {
            return [0; 4];
        }
        let cost = |is_there, octets| if is_there { octets } else { 0 };
        let ede = cost(self.has(4), 6 + self.text.len().min(TEXT_OCTETS_MAX));
        let nsid = cost(self.has(7), 4 + IDENTITY.len());
        let others = cost(self.has(5), 4 + COOKIE.len()) + cost(self.has(6), 6);
        [11, ede, nsid, others]
    }
}

/// The message's records as they are to be sent; those that are broken, or of other classes, stay behind.
fn keep(message: &Message<'_>, octets: &[u8], name: &Name, age: Age) -> (Sections, Vec<Kept>) {
    let mut builder = SectionsBuilder::new(name);
    let mut kept = Vec::new();
    let theirs = op::Message::from_vec(octets).ok();
    for section in SECTIONS {
        let records: Vec<Record<'_>> = message.records(section).collect();
        // Hickory takes signatures of messages out of their section.
        let theirs = theirs.as_ref().map(|it| of(it, section));
        let theirs = theirs.filter(|it| it.len() == records.len());
        for (at, record) in records.iter().enumerate().filter(|it| it.1.class == 1) {
            if builder.push(section, record, record.ttl_s).is_ok() {
                kept.push(Kept {
                    section,
                    owner: record.owner(),
                    kind: record.kind,
                    ttl_s: aged(record.ttl_s, age),
                    data: record.spelled().expect("it was pushed"),
                    theirs: theirs.map(|it| it[at].clone()),
                });
            }
        }
    }
    (builder.finish(), kept)
}

fn aged(ttl_s: u32, age: Age) -> u32 {
    match age {
        Age::Seconds(past) => ttl_s.saturating_sub(past),
        Age::Fixed(ttl_s) => ttl_s,
    }
}

fn of(message: &op::Message, section: Section) -> &[rr::Record] {
    match section {
        Section::Answer => &message.answers,
        Section::Authority => &message.authorities,
        Section::Additional => &message.additionals,
    }
}

/// Our own reader finds the records, and no others.
fn ours(read: &Message<'_>, kept: &[Kept]) {
    for section in SECTIONS {
        let mut expected = kept.iter().filter(|it| it.section == section);
        for record in read.records(section) {
            let it = expected.next().expect("a record too many");
            let data = record.spelled().expect("a record of ours can be read");
            assert_eq!((record.owner(), record.kind), (it.owner, it.kind));
            assert_eq!((record.ttl_s, data), (it.ttl_s, it.data.clone()));
        }
        assert!(expected.next().is_none(), "a record is missing");
    }
}

/// So does hickory, and the header and the OPT say what they should.
fn theirs(read: &op::Message, wish: &Wish, fits: &Fits, query: &Query<'_>, kept: &[Kept]) {
    let (said, head) = (&read.metadata, wish.head());
    assert_eq!(said.id, 0xBEEF);
    assert_eq!(said.truncation, !fits.records);
    assert_eq!(said.authoritative, head.authoritative);
    assert_eq!(
        said.authentic_data,
        head.authentic && query.wants_authentic()
    );
    assert_eq!(said.recursion_desired, query.recursion_desired());
    assert_eq!(said.checking_disabled, query.checking_disabled());
    assert!(said.recursion_available);
    let code = if wish.has_opt() { 0xFFF } else { 0x00F };
    assert_eq!(u16::from(said.response_code), wish.rcode.0 & code);
    let labels: Vec<&[u8]> = read.queries[0].name().iter().collect();
    let spelled = labels
        .iter()
        .flat_map(|it| [&[it.len() as u8][..], it].concat());
    assert!(
        spelled.eq(query.question()[..query.question().len() - 5]
            .iter()
            .copied())
    );
    for section in SECTIONS {
        let expected = kept.iter().filter(|it| it.section == section);
        let records = of(read, section);
        assert_eq!(records.len(), expected.clone().count());
        records
            .iter()
            .zip(expected)
            .for_each(|(it, kept)| same(it, kept));
    }
    opt(read, wish, fits);
}

/// What hickory knows the shape of is what it has read before; of the rest it has the octets.
fn same(read: &rr::Record, kept: &Kept) {
    assert_eq!(Name::from(&read.name), kept.owner);
    assert_eq!(u16::from(read.record_type()), kept.kind.0);
    assert_eq!(read.ttl, kept.ttl_s);
    match (&read.data, kept.theirs.as_ref().map(|it| &it.data)) {
        (RData::Unknown { .. }, _) if MAY_BE_COMPRESSED.contains(&kept.kind.0) => {}
        (RData::Unknown { rdata, .. }, _) => assert_eq!(rdata.anything, kept.data),
        (_, None) => {}
        (read, Some(before)) => assert_eq!(read, before),
    }
}

fn opt(read: &op::Message, wish: &Wish, fits: &Fits) {
    let Some(edns) = &read.edns else {
        assert!(!wish.has_opt());
        return;
    };
    assert_eq!((edns.max_payload(), edns.version()), (PAYLOAD, 0));
    assert_eq!(edns.flags().dnssec_ok, wish.dnssec_ok());
    let options = wish.options();
    let ede = wish.ede().filter(|_| fits.ede);
    let ede = ede.map(|it| {
        [
            &it.code.to_be_bytes(),
            &it.text[..it.text.len().min(TEXT_OCTETS_MAX)],
        ]
        .concat()
    });
    let nsid = options.nsid.filter(|_| fits.nsid);
    let expected = [
        (15, ede),
        (10, options.cookie.map(Vec::from)),
        (11, options.keepalive.map(|it| it.to_be_bytes().to_vec())),
        (3, nsid.map(|it| it.as_bytes().to_vec())),
    ];
    let expected = expected
        .into_iter()
        .filter_map(|(code, data)| Some((code, data?)));
    let said = edns.options().options.iter();
    let said = said.map(|(code, it)| {
        (
            u16::from(*code),
            Vec::<u8>::try_from(it).expect("it was read"),
        )
    });
    assert!(said.eq(expected), "{:?}", edns.options());
}
