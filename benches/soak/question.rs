//! What the clients ask, and by what it is to be judged.

use super::policies::{LARGEST, Policies, SWITCHES, WILD_SWITCHES, only, switch};
use super::support::{Numbers, pattern};
use super::truth::{A, AAAA, HTTPS, MX, TXT, wire};

const PTR: u16 = 12;
const SVCB: u16 = 64;
const AXFR: u16 = 252;
pub(super) const ANY: u16 = 255;
/// A type that is not served.
pub(super) const STRANGE: u16 = 65_280;
/// Names that are asked for again and again.
const POPULAR: usize = 2000;
/// All below namegate's own names.
pub(super) const OURS: &str = "namegate.internal";

/// What sort of question it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// Allowed, and asked before.
    Popular,
    /// Allowed by a wildcard, and never asked before.
    Unique,
    /// Never allowed.
    Blocked,
    /// Allowed by some versions.
    Switched,
    /// Allowed by one version.
    Only,
    /// On the list of the versions that are large enough.
    Listed,
    /// Above names that are allowed.
    Ancestor,
    /// Answered without asking anybody.
    Special,
    /// ANY, or a type that is not served.
    Strange,
    /// No question that is judged.
    Malformed,
    /// Which policy is in force?
    Ours,
}

impl Sort {
    pub(super) const ALL: [Self; 11] = [
        Self::Popular,
        Self::Unique,
        Self::Blocked,
        Self::Switched,
        Self::Only,
        Self::Listed,
        Self::Ancestor,
        Self::Special,
        Self::Strange,
        Self::Malformed,
        Self::Ours,
    ];
    /// Of a thousand; malformed ones and those for ourselves are drawn elsewhere.
    const SHARES: [(Self, usize); 9] = [
        (Self::Popular, 330),
        (Self::Unique, 200),
        (Self::Blocked, 150),
        (Self::Switched, 120),
        (Self::Only, 60),
        (Self::Listed, 60),
        (Self::Ancestor, 20),
        (Self::Special, 35),
        (Self::Strange, 25),
    ];

    /// May others ask the same?
    pub(super) fn is_shared(self) -> bool {
        self != Self::Unique
    }
}

/// A question as it is sent, but for the id.
pub(super) struct Question {
    pub(super) sort: Sort,
    pub(super) octets: Vec<u8>,
    /// Lower case.
    pub(super) name: String,
    pub(super) kind: u16,
    pub(super) edns: Option<Edns>,
    /// For those that are not judged: the code, and for special names what they are.
    pub(super) fixed: Fixed,
}

/// What an answer is that depends on no policy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fixed {
    None,
    Rcode(u16),
    Special(&'static Special),
}

/// A special-use name.
#[derive(PartialEq, Eq)]
pub(super) struct Special {
    name: &'static str,
    kind: u16,
    pub(super) rcode: u16,
    pub(super) data: &'static [&'static [u8]],
    /// Of its SOA, where there is no record.
    pub(super) soa_owner: &'static str,
}

#[derive(Clone, Copy)]
pub(super) struct Edns {
    pub(super) payload: u16,
    pub(super) dnssec_ok: bool,
    pub(super) cookie: Option<[u8; 8]>,
}

const fn denied(name: &'static str, kind: u16, rcode: u16, soa_owner: &'static str) -> Special {
    Special {
        name,
        kind,
        rcode,
        data: &[],
        soa_owner,
    }
}

const fn known(name: &'static str, kind: u16, data: &'static [&'static [u8]]) -> Special {
    Special {
        data,
        ..denied(name, kind, 0, "")
    }
}

static SPECIALS: [Special; 9] = [
    known("localhost", A, &[&[127, 0, 0, 1]]),
    known(
        "a.b.localhost",
        AAAA,
        &[&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]],
    ),
    known("ipv4only.arpa", A, &[&[192, 0, 0, 170], &[192, 0, 0, 171]]),
    denied("who.invalid", A, 3, "invalid"),
    denied("printer.local", AAAA, 3, "local"),
    denied("use-application-dns.net", A, 3, "net"),
    denied("_dns.resolver.arpa", SVCB, 0, "resolver.arpa"),
    denied("4.3.2.10.in-addr.arpa", PTR, 3, "10.in-addr.arpa"),
    denied("localhost", TXT, 0, "localhost"),
];

/// Thinks of questions.
pub(super) struct Asker {
    numbers: Numbers,
    /// By which its names are told from those of other askers.
    who: usize,
    count: u64,
}

impl Asker {
    pub(super) fn new(who: usize) -> Self {
        let mut numbers = Numbers(0x9E37_79B9 * (who as u64 + 1));
        (0..16).for_each(|_| _ = numbers.next());
        Self {
            numbers,
            who,
            count: 0,
        }
    }

    pub(super) fn next(&mut self, policies: &Policies) -> Question {
        self.count += 1;
        // One asker does, seldom: they are looked up a few at a time.
        if self.who == 0 && self.count.is_multiple_of(500) {
            return self.plain(Sort::Ours, OURS.to_owned(), TXT);
        }
        if self.numbers.below(100) < 3 {
            return self.malformed();
        }
        let sort = self.draw();
        let (name, kind) = self.name(sort, policies);
        match (sort, kind) {
            (Sort::Special, at) => self.special(&SPECIALS[usize::from(at)]),
            (_, kind) => self.plain(sort, name, kind),
        }
    }

    fn draw(&mut self) -> Sort {
        let mut draw = self.numbers.below(1000);
        let drawn = Sort::SHARES.iter().find(|(_, share)| {
            let is_drawn = draw < *share;
            draw = draw.saturating_sub(*share);
            is_drawn
        });
        drawn.expect("the shares are a thousand").0
    }

    /// A name and type of this sort; of a special one, its place in the list.
    fn name(&mut self, sort: Sort, policies: &Policies) -> (String, u16) {
        let (who, count) = (self.who, self.count);
        match sort {
            Sort::Popular => {
                // Squared: some are asked for far more often.
                let at = self.numbers.below(POPULAR) * self.numbers.below(POPULAR) / POPULAR;
                let manner = ["", "", "", "", "chain-", "nx-", "many-", "mixed-"][at % 8];
                let kind = self.kind_for(manner);
                (format!("{manner}p{at}.up.example"), kind)
            }
            Sort::Unique => {
                let manner = [
                    "", "", "", "", "", "", "", "nx-", "nd-", "chain-", "split-", "many-",
                    "private-", "mixed-",
                ][self.numbers.below(14)];
                let kind = self.kind_for(manner);
                (format!("{manner}u{who}x{count}.deep.up.example"), kind)
            }
            Sort::Blocked => (self.blocked(), self.any_kind()),
            Sort::Switched => (self.switched(), self.any_kind()),
            Sort::Only => {
                let version = policies.proven() + self.below(4);
                (only(version.saturating_sub(2).max(1)), A)
            }
            Sort::Listed => (self.listed(), self.any_kind()),
            Sort::Ancestor => {
                let names = [
                    "up.example",
                    "stay.example",
                    "only.example",
                    "flip.example",
                    "example",
                ];
                (
                    names[self.numbers.below(names.len())].to_owned(),
                    self.any_kind(),
                )
            }
            Sort::Special => (
                String::new(),
                u16::try_from(self.numbers.below(SPECIALS.len())).expect("few"),
            ),
            Sort::Strange => {
                let name = match self.numbers.below(3) {
                    0 => "exact.stay.example".to_owned(),
                    1 => self.switched(),
                    _ => format!("p{}.up.example", self.numbers.below(POPULAR)),
                };
                (name, [ANY, STRANGE][self.numbers.below(2)])
            }
            Sort::Malformed | Sort::Ours => unreachable!("drawn elsewhere"),
        }
    }

    fn below(&mut self, end: u32) -> u32 {
        u32::try_from(self.numbers.below(end as usize)).expect("it is below `end`")
    }

    /// What a manner of upstream's is for.
    fn kind_for(&mut self, manner: &str) -> u16 {
        match manner {
            "" | "nx-" | "nd-" => self.any_kind(),
            "chain-" | "split-" => [A, A, AAAA, TXT][self.numbers.below(4)],
            _ => A,
        }
    }

    fn any_kind(&mut self) -> u16 {
        [A, A, A, A, A, AAAA, AAAA, HTTPS, TXT, MX][self.numbers.below(10)]
    }

    fn blocked(&mut self) -> String {
        let number = self.numbers.next() >> 40;
        match number % 5 {
            0 => format!("h{number}.evil.example"),
            1 => format!("a.b.c.d{number}.com"),
            2 => format!("x{number}.up.example.evil.org"),
            3 => format!("notup{number}.example"),
            _ => format!("n{number}.nowhere"),
        }
    }

    fn switched(&mut self) -> String {
        let (number, side) = (self.numbers.next() % SWITCHES, self.numbers.next() & 1 == 1);
        let pattern = switch(number, side);
        match pattern.strip_prefix("*.") {
            // Below, far below, and the name itself, which the wildcard does not cover.
            Some(base) => match self.numbers.below(8) {
                0 => base.to_owned(),
                1 => format!("a.b.c.{base}"),
                at => format!("h{at}.{base}"),
            },
            None => {
                assert!(number < WILD_SWITCHES);
                // Or the name below it.
                let below = ["", "", "", "", "", "", "", "www."][self.numbers.below(8)];
                format!("{below}{pattern}")
            }
        }
    }

    /// As likely among the first ten as among the rest.
    fn listed(&mut self) -> String {
        let end = [10, 100, 1000, 10_000, 100_000, LARGEST, 2 * LARGEST][self.numbers.below(7)];
        let pattern = pattern(self.numbers.below(end));
        match pattern.strip_prefix("*.") {
            Some(base) => format!("h{}.{base}", self.numbers.below(4)),
            None => pattern,
        }
    }

    fn special(&mut self, special: &'static Special) -> Question {
        let asked = self.plain(Sort::Special, special.name.to_owned(), special.kind);
        Question {
            fixed: Fixed::Special(special),
            ..asked
        }
    }

    fn edns(&mut self) -> Option<Edns> {
        (self.numbers.below(10) >= 3).then(|| Edns {
            payload: [512, 1232, 1232, 4096][self.numbers.below(4)],
            dnssec_ok: self.numbers.below(5) == 0,
            cookie: (self.numbers.below(5) == 0).then(|| self.numbers.next().to_be_bytes()),
        })
    }

    fn plain(&mut self, sort: Sort, name: String, kind: u16) -> Question {
        let edns = self.edns();
        // RD in nineteen of twenty, AD in one of twenty, CD in one of forty.
        let draw = self.numbers.below(40);
        let (rd, ad, cd) = (
            u8::from(draw > 1),
            u8::from(draw % 20 == 5),
            u8::from(draw == 7),
        );
        let mut octets = vec![
            0,
            0,
            rd,
            ad << 5 | cd << 4,
            0,
            1,
            0,
            0,
            0,
            0,
            0,
            u8::from(edns.is_some()),
        ];
        octets.extend(wire(&name));
        if self.numbers.below(5) == 0 {
            let letters = self.numbers.next();
            let mixed = octets[12..].iter_mut().enumerate();
            mixed
                .filter(|(at, _)| letters >> (at % 64) & 1 == 1)
                .for_each(|(_, it)| it.make_ascii_uppercase());
        }
        octets.extend(kind.to_be_bytes());
        octets.extend([0, 1]);
        if let Some(edns) = &edns {
            push_opt(&mut octets, edns, 0);
        }
        Question {
            sort,
            octets,
            name,
            kind,
            edns,
            fixed: Fixed::None,
        }
    }

    /// Messages of which each has one code, whatever the policy.
    fn malformed(&mut self) -> Question {
        const OPT: &[u8] = b"\0\0\x29\x04\xD0\0\0\0\0\0\0";
        let name = format!("m{}.up.example", self.numbers.below(POPULAR));
        let mut asked = self.plain(Sort::Malformed, name, A);
        let question_end = 12 + asked.name.len() + 2 + 4;
        asked.octets.truncate(question_end);
        asked.octets[11] = 0;
        let octets = &mut asked.octets;
        let rcode = match self.numbers.below(8) {
            0 => {
                let question = octets[12..].to_vec();
                octets[5] = 2;
                octets.extend(question);
                1
            }
            1 => {
                octets.extend(b"behind it");
                1
            }
            2 => {
                octets.truncate(question_end - 3);
                1
            }
            3 => {
                octets[11] = 2;
                octets.extend([OPT, OPT].concat());
                1
            }
            4 => {
                octets[2] |= 4 << 3;
                4
            }
            5 => {
                octets[question_end - 1] = 3;
                5
            }
            6 => {
                octets[question_end - 4..question_end - 2].copy_from_slice(&AXFR.to_be_bytes());
                5
            }
            _ => {
                octets[11] = 1;
                let edns = Edns {
                    payload: 1232,
                    dnssec_ok: false,
                    cookie: None,
                };
                push_opt(octets, &edns, 1);
                16
            }
        };
        Question {
            edns: None,
            fixed: Fixed::Rcode(rcode),
            ..asked
        }
    }
}

fn push_opt(octets: &mut Vec<u8>, edns: &Edns, version: u8) {
    octets.extend(b"\0\0\x29");
    octets.extend(edns.payload.to_be_bytes());
    octets.extend([0, version, u8::from(edns.dnssec_ok) << 7, 0]);
    let cookie = edns
        .cookie
        .map(|it| [b"\0\x0A\0\x08", &it[..]].concat())
        .unwrap_or_default();
    octets.extend([0, u8::try_from(cookie.len()).expect("twelve")]);
    octets.extend(cookie);
}
