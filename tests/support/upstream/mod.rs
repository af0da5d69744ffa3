//! The resolvers of a story: what they know, how they misbehave, and a ledger of all that was sent to them.
//!
//! `upstream` lines come in as [`Saying`]s; as a [`Carrier`] this then answers
//! our queries in virtual time, and no octet leaves the process.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "each place looks for a few words of a long vocabulary"
)]

mod message;

mod said;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use namegate::answer::upstream::{Carrier, Exchange, Fit, Lost, Over, fit};
use namegate::wire::{Name, Rcode, Type};
use tokio::time::{Instant, sleep};

use self::message::{Asked, Reply, strays};
use self::said::{Record, Saying, Trouble, What};
use super::text;

/// What a server that was asked over UDP sends at most, for our OPT offers as much; without one 512.
const UDP_OCTETS: usize = 1232;

/// The resolvers of one story.
pub(super) struct Upstream {
    sayings: Mutex<Vec<Saying>>,
    ledger: Mutex<Vec<Sent>>,
}

/// One query in the ledger.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    /// When.
    pub(super) at: Instant,
    /// The name, as it was spelled.
    pub(super) name: String,
    /// The type, and what else is worth a word.
    pub(super) rest: String,
}

impl Upstream {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            sayings: Mutex::default(),
            ledger: Mutex::default(),
        })
    }

    /// Takes an `upstream` line.
    pub(super) fn say(&self, line: &str) {
        let mut sayings = self.sayings.lock().expect("no panic under this lock");
        for saying in said::read(line) {
            if !matches!(saying.what, What::Forgotten) {
                sayings.push(saying);
                continue;
            }
            let is_meant = |it: &Saying| {
                saying.name.is_none_or(|name| it.name == Some(name))
                    && saying.server.is_none_or(|server| it.server == Some(server))
            };
            sayings.retain(|it| !is_meant(it));
        }
    }

    /// Takes the ledger's pages out.
    pub(super) fn take_ledger(&self) -> Vec<Sent> {
        std::mem::take(&mut self.ledger.lock().expect("no panic under this lock"))
    }

    /// How many queries stand in the ledger.
    pub(super) fn sent(&self) -> usize {
        self.ledger.lock().expect("no panic under this lock").len()
    }

    /// What is said about a name and this server, in the order of the story.
    fn about(&self, server: IpAddr, name: &Name) -> Vec<What> {
        let sayings = self.sayings.lock().expect("no panic under this lock");
        let about = sayings.iter().filter(|it| it.concerns(server, name));
        about.map(|it| it.what.clone()).collect()
    }

    /// Is this datagram lost? Takes one off the number of those that are.
    fn loses(&self, server: IpAddr, name: &Name) -> bool {
        let mut sayings = self.sayings.lock().expect("no panic under this lock");
        let mut about = sayings.iter_mut().filter(|it| it.concerns(server, name));
        about.any(|it| match &mut it.what {
            What::Lose(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        })
    }
}

impl Carrier for Upstream {
    fn exchange<'a>(&'a self, server: SocketAddr, over: Over, query: &'a [u8]) -> Exchange<'a> {
        let (asked, rest) = Asked::read(query, over, server.ip());
        let name = text::spelled(&query[12..asked.question_end - 4]);
        let sent = Sent {
            at: Instant::now(),
            name,
            rest,
        };
        self.ledger
            .lock()
            .expect("no panic under this lock")
            .push(sent);
        Box::pin(self.carry(asked))
    }
}

/// What becomes of a connection before the answer comes on it.
async fn befall(about: &[What]) -> Result<(), Lost> {
    use std::io::ErrorKind::{ConnectionReset, UnexpectedEof};
    for what in about {
        match what {
            What::Tcp(Trouble::Silent) => std::future::pending().await,
            What::Tcp(Trouble::Slow(time)) => sleep(*time).await,
            What::Tcp(Trouble::Closed) => return Err(Lost::Io(UnexpectedEof.into())),
            What::Tcp(Trouble::Reset) => return Err(Lost::Io(ConnectionReset.into())),
            _ => {}
        }
    }
    Ok(())
}

/// Does any of it say that?
fn says(about: &[What], wanted: fn(&What) -> bool) -> bool {
    about.iter().any(wanted)
}

impl Upstream {
    async fn carry(&self, asked: Asked) -> Result<(Vec<u8>, u32), Lost> {
        let about = self.about(asked.server, &asked.name);
        let is_closed = says(&about, |it| matches!(it, What::Unreachable))
            || asked.over == Over::Tcp && says(&about, |it| matches!(it, What::NoTcp));
        if is_closed {
            return Err(Lost::Io(std::io::ErrorKind::ConnectionRefused.into()));
        }
        if asked.over == Over::Udp && self.loses(asked.server, &asked.name) {
            return std::future::pending().await;
        }
        if asked.over == Over::Tcp {
            befall(&about).await?;
        }
        let mut mismatches = 0;
        for stray in strays(&asked, &about) {
            // As the sockets do: what does not fit is passed over, on a datagram socket.
            match (fit(&asked.octets, &stray), asked.over) {
                (Fit::No, Over::Udp) => mismatches += 1,
                (Fit::No, Over::Tcp) => return Err(Lost::Mismatch),
                (Fit::Whole | Fit::OtherCase, _) => return Ok((stray, mismatches)),
            }
        }
        self.right(&asked, &about)
            .await
            .map(|right| (right, mismatches))
    }

    /// The right message, when it comes.
    async fn right(&self, asked: &Asked, about: &[What]) -> Result<Vec<u8>, Lost> {
        for what in about {
            if let What::Delay(delay) = what {
                sleep(*delay).await;
            }
        }
        let right = self.answer(asked, about);
        let is_silent = says(about, |it| matches!(it, What::Silent));
        match fit(&asked.octets, &right) {
            Fit::Whole | Fit::OtherCase if !is_silent => Ok(right),
            Fit::Whole | Fit::OtherCase | Fit::No => std::future::pending().await,
        }
    }

    /// The answer of a server that knows what the story says; over UDP cut where it is too long.
    fn answer(&self, asked: &Asked, about: &[What]) -> Vec<u8> {
        let mut reply = Reply::to(asked);
        reply.dress(asked, about);
        match excuse(asked, about) {
            Some(rcode) => reply.rcode = rcode,
            None if says(about, |it| matches!(it, What::Referral)) => {
                let servers = said::record(&asked.name.to_string(), "60 NS ns.elsewhere.example.");
                reply.records[1].push(servers);
            }
            None => self.follow(asked, &mut reply),
        }
        if says(about, |it| matches!(it, What::Reversed)) {
            reply.records[0].reverse();
        }
        let whole = reply.write();
        let room = if asked.has_opt { UDP_OCTETS } else { 512 };
        let is_cut = says(about, |it| matches!(it, What::Truncated)) || whole.len() > room;
        match asked.over {
            Over::Udp if is_cut => reply.cut().write(),
            Over::Udp | Over::Tcp => whole,
        }
    }

    /// Walks from alias to alias, to records or to a denial.
    fn follow(&self, asked: &Asked, reply: &mut Reply) {
        let mut here = asked.name;
        // A loop in a story is walked a few times, as a careless server might.
        for _ in 0..32 {
            let about = self.about(asked.server, &here);
            if says(&about, |it| matches!(it, What::Nxdomain | What::Nodata)) {
                return deny(&here, &about, reply);
            }
            let is_wanted = |it: &&Record| it.kind == asked.kind || signs(it, asked);
            let wanted: Vec<&Record> = records(&about).filter(is_wanted).collect();
            if wanted.iter().any(|it| it.kind == asked.kind) {
                reply.records[0].extend(wanted.into_iter().cloned());
                return;
            }
            let alias = records(&about).find(|it| it.kind == Type::CNAME).cloned();
            let Some(alias) = alias.or_else(|| self.dname(asked, &here, &about, reply)) else {
                return deny(&here, &about, reply);
            };
            here = text::spelled(&alias.data)
                .parse()
                .expect("an alias's target");
            reply.records[0].push(alias);
            if says(&about, |it| matches!(it, What::Split)) {
                return;
            }
        }
    }

    /// The DNAME above a name, into the answer, and the CNAME that it makes.
    fn dname(
        &self,
        asked: &Asked,
        here: &Name,
        about: &[What],
        reply: &mut Reply,
    ) -> Option<Record> {
        let at = |name: Name| {
            let about = self.about(asked.server, &name);
            let dname = records(&about).find(|it| it.kind == Type::DNAME)?;
            Some((name, dname.clone()))
        };
        let (above, dname) = std::iter::successors(here.parent(), Name::parent).find_map(at)?;
        reply.records[0].push(dname.clone());
        if says(about, |it| matches!(it, What::BareDname)) {
            return None;
        }
        let end = here.depth_below(&above).expect("it is above");
        Some(Record {
            owner: here.to_string(),
            ttl_s: dname.ttl_s,
            kind: Type::CNAME,
            data: [&here.octets()[..end], &dname.data].concat(),
        })
    }
}

fn records(about: &[What]) -> impl Iterator<Item = &Record> {
    about.iter().filter_map(|it| match it {
        What::Record(record) => Some(record),
        _ => None,
    })
}

/// Is this the signature of what was asked for, and wanted?
fn signs(record: &Record, asked: &Asked) -> bool {
    let covers = record.data.starts_with(&asked.kind.0.to_be_bytes());
    asked.dnssec_ok && record.kind == Type::RRSIG && covers
}

/// The code of a server that has no answer.
fn excuse(asked: &Asked, about: &[What]) -> Option<Rcode> {
    about.iter().find_map(|it| match it {
        What::Rcode(rcode) => Some(*rcode),
        What::NoEdns if asked.has_opt => Some(Rcode::FORMERR),
        _ => None,
    })
}

/// NXDOMAIN, or NODATA where the name is known for something else; with an SOA at the parent.
fn deny(name: &Name, about: &[What], reply: &mut Reply) {
    let exists = says(about, |it| {
        matches!(it, What::Record(_) | What::Nodata | What::BareDname)
    });
    if !exists || says(about, |it| matches!(it, What::Nxdomain)) {
        reply.rcode = Rcode::NXDOMAIN;
    }
    if says(about, |it| matches!(it, What::NoSoa | What::BareDname)) {
        return;
    }
    let times = about.iter().rev().find_map(|it| match it {
        What::Soa(ttl_s, minimum_s) => Some((*ttl_s, *minimum_s)),
        _ => None,
    });
    let (ttl_s, minimum_s) = times.unwrap_or((60, 60));
    let parent = name.parent().unwrap_or(Name::ROOT).to_string();
    let soa = "SOA ns.upstream.example. root.upstream.example. 1 3600 600 86400";
    reply.records[1].push(said::record(&parent, &format!("{ttl_s} {soa} {minimum_s}")));
}
