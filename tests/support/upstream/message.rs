//! Messages by hand: our queries read and held to what they may say, replies written, and replies forged.

use std::net::IpAddr;

use namegate::answer::upstream::Over;
use namegate::wire::{Name, Rcode, Type};

use super::super::text;
use super::said::{Record, Stray, What};

/// Where forged answers lead.
const FORGED: [u8; 4] = [198, 51, 100, 66];

/// A query of ours, read by hand.
pub(super) struct Asked {
    pub(super) octets: Vec<u8>,
    pub(super) question_end: usize,
    pub(super) name: Name,
    pub(super) kind: Type,
    pub(super) has_opt: bool,
    pub(super) dnssec_ok: bool,
    pub(super) over: Over,
    pub(super) server: IpAddr,
}

impl Asked {
    /// Reads it, and says what of it stands in the ledger behind its name: the type, DO and CD, the transport, and in
    /// capitals whatever of it should not be there.
    pub(super) fn read(octets: &[u8], over: Over, server: IpAddr) -> (Self, String) {
        let mut name_end = 12;
        while octets[name_end] != 0 {
            name_end += usize::from(octets[name_end]) + 1;
        }
        name_end += 1;
        let word = |at: usize| u16::from_be_bytes([octets[at], octets[at + 1]]);
        let question_end = name_end + 4;
        let has_opt = word(10) == 1;
        let name: Name = text::spelled(&octets[12..name_end])
            .parse()
            .expect("a name that was spelled");
        let kind = Type(word(name_end));
        let opt = &octets[question_end..];
        let dnssec_ok = has_opt && opt[7] & 0x80 != 0;
        let plain_opt = [
            &[0, 0, 41, 4, 208, 0, 0][..],
            &[u8::from(dnssec_ok) << 7, 0, 0, 0],
        ]
        .concat();
        let is_plain = word(2) & !0x0010 == 0x0120
            && (word(4), word(6), word(8)) == (1, 0, 0)
            && word(name_end + 2) == 1
            && opt == if has_opt { plain_opt } else { Vec::new() };
        let notes = [
            (server != IpAddr::from([192, 0, 2, 1]), format!("@{server}")),
            (over == Over::Tcp, "tcp".to_owned()),
            (dnssec_ok, "do".to_owned()),
            (word(2) & 0x0010 != 0, "cd".to_owned()),
            (!has_opt, "no-edns".to_owned()),
            (!is_plain, format!("STRANGE {}", text::to_hex(octets))),
        ];
        let notes = notes
            .into_iter()
            .filter(|(is_so, _)| *is_so)
            .map(|(_, note)| format!(" {note}"));
        let rest = format!("{kind}{}", notes.collect::<String>());
        (
            Self {
                octets: octets.to_vec(),
                question_end,
                name,
                kind,
                has_opt,
                dnssec_ok,
                over,
                server,
            },
            rest,
        )
    }
}

/// A reply being put together.
#[derive(Clone)]
pub(super) struct Reply {
    pub(super) id: [u8; 2],
    pub(super) flags: u16,
    pub(super) rcode: Rcode,
    pub(super) question: Vec<u8>,
    pub(super) records: [Vec<Record>; 3],
    pub(super) has_opt: bool,
    pub(super) ede: Option<(u16, String)>,
}

impl Reply {
    pub(super) fn to(asked: &Asked) -> Self {
        Self {
            id: [asked.octets[0], asked.octets[1]],
            flags: 0x8180,
            rcode: Rcode::NOERROR,
            question: asked.octets[12..asked.question_end].to_vec(),
            records: Default::default(),
            has_opt: asked.has_opt,
            ede: None,
        }
    }

    /// What holds for every reply about the name, whatever the answer.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the other words are not about this"
    )]
    pub(super) fn dress(&mut self, asked: &Asked, about: &[What]) {
        for what in about {
            match what {
                What::Authentic => self.flags |= 0x0020,
                What::ExtendedError(code, text) => self.ede = Some((*code, text.clone())),
                What::FoldsCase => self.question[..asked.question_end - 16].make_ascii_lowercase(),
                What::Bare => self.question.clear(),
                What::NoEdns => self.has_opt = false,
                What::Beside(section, record) => self.records[*section].push(record.clone()),
                _ => {}
            }
        }
    }

    /// TC, and nothing but the question.
    pub(super) fn cut(mut self) -> Self {
        self.flags |= 0x0200;
        self.records = Default::default();
        self
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let count = |section: &[Record]| u16::try_from(section.len()).expect("few records");
        let [answers, authorities, additionals] =
            [0, 1, 2].map(|section| count(&self.records[section]));
        let mut out = self.id.to_vec();
        let flags = self.flags | self.rcode.0 & 0x000F;
        let questions = u16::from(!self.question.is_empty());
        let counts = [
            flags,
            questions,
            answers,
            authorities,
            additionals + u16::from(self.has_opt),
        ];
        out.extend(counts.iter().flat_map(|word| word.to_be_bytes()));
        out.extend(&self.question);
        for record in self.records.iter().flatten() {
            self.write_record(record, &mut out);
        }
        if self.has_opt {
            self.write_opt(&mut out);
        }
        out
    }

    /// The owner is a pointer to the question where it is the same name, as real servers have it.
    fn write_record(&self, record: &Record, out: &mut Vec<u8>) {
        let owner = text::name(&record.owner);
        match self
            .question
            .len()
            .checked_sub(4)
            .map(|end| &self.question[..end])
        {
            Some(asked) if asked.eq_ignore_ascii_case(&owner) => out.extend([0xC0, 12]),
            _ => out.extend(owner),
        }
        out.extend(record.kind.0.to_be_bytes());
        out.extend([0, 1]);
        out.extend(record.ttl_s.to_be_bytes());
        out.extend(
            u16::try_from(record.data.len())
                .expect("short data")
                .to_be_bytes(),
        );
        out.extend(&record.data);
    }

    fn write_opt(&self, out: &mut Vec<u8>) {
        let [_, high] = (self.rcode.0 >> 4).to_be_bytes();
        out.extend([0, 0, 41, 4, 208, high, 0, 0, 0]);
        let option = self.ede.as_ref().map_or(Vec::new(), |(code, text)| {
            let len = u16::try_from(text.len() + 2).expect("a short text");
            [
                &[0, 15][..],
                &len.to_be_bytes(),
                &code.to_be_bytes(),
                text.as_bytes(),
            ]
            .concat()
        });
        out.extend(
            u16::try_from(option.len())
                .expect("one option")
                .to_be_bytes(),
        );
        out.extend(option);
    }
}

/// The wrong datagrams that come before the right one; those that lie lead to [`FORGED`].
pub(super) fn strays(asked: &Asked, about: &[What]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for what in about {
        match (what, asked.over) {
            (What::Stray(kind, times), Over::Udp) => {
                all.extend((0..*times).map(|_| forged(asked, *kind)));
            }
            (What::TcpStray(kind), Over::Tcp) => all.push(forged(asked, *kind)),
            _ => {}
        }
    }
    all
}

fn forged(asked: &Asked, kind: Stray) -> Vec<u8> {
    let mut reply = Reply::to(asked);
    let forged = Record {
        owner: asked.name.to_string(),
        ttl_s: 86_400,
        kind: Type::A,
        data: FORGED.to_vec(),
    };
    reply.records[0].push(forged);
    let kind_at = reply.question.len() - 3;
    match kind {
        Stray::Id => reply.id[1] ^= 1,
        Stray::Question => reply.question[1] ^= 1,
        Stray::Kind => reply.question[kind_at] ^= 2,
        Stray::Case => reply.question[1] ^= 0x20,
        Stray::Query => reply.flags &= !0x8000,
        Stray::Opcode => reply.flags |= 0x2000,
        Stray::Headless => {
            (reply.question, reply.rcode) = (Vec::new(), Rcode::NXDOMAIN);
        }
        Stray::Itself | Stray::Forward | Stray::Label => return nonsense(&reply, kind),
        Stray::Counts => {
            let mut octets = reply.write();
            octets[6..8].fill(0xFF);
            return octets;
        }
        Stray::Garbage => return [&reply.id[..], &[0xFF; 40]].concat(),
        Stray::Cut => {
            let mut octets = reply.write();
            octets.truncate(octets.len() - 14);
            return octets;
        }
    }
    reply.write()
}

/// A reply whose one record has an owner that is no name.
#[expect(clippy::wildcard_enum_match_arm, reason = "three of a long list")]
fn nonsense(reply: &Reply, kind: Stray) -> Vec<u8> {
    let mut octets = reply.write();
    let owner_at = 12 + reply.question.len();
    let [high, low] = u16::try_from(owner_at)
        .expect("a short question")
        .to_be_bytes();
    let owner = match kind {
        Stray::Forward => [0xC0 | high, low + 2],
        Stray::Label => [0x41, 0],
        _ => [0xC0 | high, low],
    };
    octets[owner_at..owner_at + 2].copy_from_slice(&owner);
    octets
}
