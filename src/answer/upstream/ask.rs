//! One question, several servers, four seconds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until, timeout};

use super::carrier::{Carrier, Lost, Over};
use super::message::{Dress, Fit, fit, query_for};
use super::server::{Figures, Outcome, Server};
use super::system::is_ours;
use crate::wire::{Asked, Ede, Message, Name, Rcode, Section, Type};

/// Datagrams that one question may cost: the first and what is sent when it seems lost.
const ATTEMPTS_MAX: usize = 6;

/// A server's reply and the server's name.
#[derive(Debug)]
pub struct Reply {
    /// The message: its frame holds and its question is ours.
    pub octets: Vec<u8>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody answered in time.
    Timeout,
    /// No server could be reached.
    Unreachable,
    /// Every server failed; what the last of them said of it (RFC 8914).
    Failed {
        /// Its code.
        rcode: Rcode,
        /// Its extended error, code and text.
        ede: Option<(u16, Box<[u8]>)>,
    },
    /// Nobody is there to ask.
    NoServer,
}

/// The servers for a zone and all below it.
struct Group {
    zone: Name,
    servers: Vec<Arc<Server>>,
}

/// The resolvers, by the zones that go to them.
pub struct Upstreams {
    /// The longest zones first; the root's is last and always there.
    groups: Vec<Group>,
    manner: Manner,
}

/// How servers are asked.
#[derive(Clone)]
struct Manner {
    carrier: Arc<dyn Carrier>,
    timeout: Duration,
    random_case: bool,
}

/// Puts [`Upstreams`] together.
pub struct UpstreamsBuilder {
    upstreams: Upstreams,
}

impl UpstreamsBuilder {
    /// Sends a zone and all below it to these servers.
    #[must_use]
    pub fn zone(mut self, zone: Name, servers: &[(SocketAddr, Over)]) -> Self {
        let servers = servers
            .iter()
            .map(|(address, over)| Arc::new(Server::new(*address, *over)))
            .collect();
        self.upstreams.groups.push(Group { zone, servers });
        self
    }

    /// The resolvers.
    pub fn build(mut self) -> Upstreams {
        self.upstreams
            .groups
            .sort_by_key(|group| std::cmp::Reverse(group.zone.octets().len()));
        self.upstreams
    }
}

impl Upstreams {
    /// Resolvers that are reached by `carrier`; each try takes at most `timeout`.
    pub fn builder(
        carrier: Arc<dyn Carrier>,
        timeout: Duration,
        random_case: bool,
    ) -> UpstreamsBuilder {
        UpstreamsBuilder {
            upstreams: Self {
                groups: Vec::new(),
                manner: Manner {
                    carrier,
                    timeout,
                    random_case,
                },
            },
        }
    }

    /// Does a zone other than the root's cover this name? Nothing allocates.
    pub fn forwards(&self, name: &Name) -> bool {
        self.groups
            .iter()
            .any(|group| !group.zone.is_root() && name.is_at_or_below(&group.zone))
    }

    /// The first of the servers that is one of our own addresses: a query to it would come back.
    pub fn loop_onto(&self, own: &[SocketAddr]) -> Option<SocketAddr> {
        let mut servers = self.groups.iter().flat_map(|group| &group.servers);
        servers
            .find(|server| is_ours(server.address, own))
            .map(|server| server.address)
    }

    /// Figures of every server.
    pub fn figures(&self) -> Vec<Figures> {
        self.groups
            .iter()
            .flat_map(|group| &group.servers)
            .map(|server| server.figures())
            .collect()
    }

    /// Asks the servers for this name until one has an answer.
    ///
    /// NXDOMAIN and NODATA are answers. SERVFAIL, REFUSED and their like are not, while there is a
    /// server that has not been asked. The next server, or the same one again, is asked when the last
    /// has had its time (200 to 400 ms at first); a server known to fail is replaced at once.
    ///
    /// # Errors
    /// When all have failed or `deadline` is there.
    pub async fn ask(&self, question: &Asked, deadline: Instant) -> Result<Reply, Failure> {
        let group = self
            .groups
            .iter()
            .find(|group| question.name.is_at_or_below(&group.zone));
        let mut servers = group.map(|group| group.servers.clone()).unwrap_or_default();
        if servers.is_empty() {
            return Err(Failure::NoServer);
        }
        let now = Instant::now();
        servers.sort_by_key(|server| server.rests(now));
        let mut race = Race::new(self.manner.clone(), *question, servers);
        race.start();
        loop {
            tokio::select! {
                biased;
                Some((server, done)) = race.running.next() => match done {
                    Ok(reply) => {
                        race.blame_the_silent(Some(server));
                        return Ok(reply);
                    }
                    Err(failure) => race.strike(server, failure),
                },
                () = sleep_until(race.next_at), if race.may_start() => race.start(),
                () = sleep_until(deadline) => return Err(race.give_up()),
            }
            if race.is_lost() {
                return Err(race.give_up());
            }
        }
    }
}

/// The attempts at one question.
struct Race {
    manner: Manner,
    question: Asked,
    servers: Vec<Arc<Server>>,
    /// By server: has it said that it cannot help?
    struck: Vec<bool>,
    /// By server: when it was last asked and has not answered since.
    asked_at: Vec<Option<Instant>>,
    /// What they say, in the task of the one who asks: no thread is changed for it.
    running: FuturesUnordered<BoxFuture<'static, (usize, Result<Reply, Failure>)>>,
    started: usize,
    next: usize,
    next_at: Instant,
    pause: Duration,
    failure: Failure,
}

impl Race {
    fn new(manner: Manner, question: Asked, servers: Vec<Arc<Server>>) -> Self {
        Self {
            struck: vec![false; servers.len()],
            asked_at: vec![None; servers.len()],
            pause: servers[0].patience(),
            next_at: Instant::now(),
            running: FuturesUnordered::new(),
            started: 0,
            next: 0,
            failure: Failure::Timeout,
            manner,
            question,
            servers,
        }
    }

    fn may_start(&self) -> bool {
        self.started < ATTEMPTS_MAX && self.struck.iter().any(|struck| !struck)
    }

    /// Nobody is thinking and nobody is left to ask.
    fn is_lost(&self) -> bool {
        self.running.is_empty() && !self.may_start()
    }

    /// Asks the next server that may still help, and sets the time for the one after it.
    fn start(&mut self) {
        while self.struck[self.next % self.servers.len()] {
            self.next += 1;
        }
        let at = self.next % self.servers.len();
        self.next += 1;
        self.started += 1;
        let now = Instant::now();
        self.asked_at[at].get_or_insert(now);
        self.next_at = now + self.pause;
        // Each server gets its first turn soon; then the pauses grow.
        if self.started >= self.servers.len() {
            self.pause *= 2;
        }
        let (manner, question, server) =
            (self.manner.clone(), self.question, self.servers[at].clone());
        self.running.push(Box::pin(async move {
            (at, attempt(&manner, &question, &server).await)
        }));
    }

    /// A server has failed. Silence does not strike it out: a packet may be lost.
    fn strike(&mut self, server: usize, failure: Failure) {
        if failure == Failure::Timeout {
            return;
        }
        self.asked_at[server] = None;
        self.struck[server] = true;
        // What a server says of its failure says more than that another was silent.
        if !matches!(self.failure, Failure::Failed { .. })
            || matches!(failure, Failure::Failed { .. })
        {
            self.failure = failure;
        }
        if self.started < self.servers.len() || self.running.is_empty() {
            self.next_at = Instant::now();
        }
    }

    fn give_up(self) -> Failure {
        self.blame_the_silent(None);
        self.failure
    }

    /// Servers that kept silent for as long as they may, while `winner` answered, have timed out.
    fn blame_the_silent(&self, winner: Option<usize>) {
        let now = Instant::now();
        for (at, server) in self.servers.iter().enumerate() {
            let had_its_time = self.asked_at[at]
                .is_some_and(|since| now.duration_since(since) >= server.patience());
            if Some(at) != winner && had_its_time {
                server.timed_out(now);
            }
        }
    }
}

/// One query to one server; over TCP when the reply is truncated or not to be trusted, without EDNS when that is not understood.
async fn attempt(manner: &Manner, question: &Asked, server: &Server) -> Result<Reply, Failure> {
    let asked_at = Instant::now();
    let tried = timeout(manner.timeout, converse(manner, question, server)).await;
    let Ok(result) = tried else {
        return Err(Failure::Timeout);
    };
    match result {
        Ok(octets) => {
            server.answered(asked_at.elapsed());
            weigh(octets, question.kind, server)
        }
        Err(Lost::Mismatch) => {
            server.count(Outcome::Mismatch);
            Err(Failure::Failed {
                rcode: Rcode::SERVFAIL,
                ede: None,
            })
        }
        Err(Lost::Io(_)) => {
            server.count(Outcome::Io);
            Err(Failure::Unreachable)
        }
    }
}

async fn converse(manner: &Manner, question: &Asked, server: &Server) -> Result<Vec<u8>, Lost> {
    let mut way = Way {
        over: server.over,
        dress: Dress {
            random_case: manner.random_case && !server.folds_case.load(Relaxed),
            edns: true,
        },
        settles_case: false,
    };
    loop {
        let query = query_for(question, way.dress);
        let (octets, mismatches) = match way.exchange(manner, server, &query).await {
            // There is no TCP. What is left is a question that has no case to keep.
            Err(Lost::Io(_)) if way.settles_case => {
                way = way.over(Over::Udp).plain();
                continue;
            }
            exchanged => exchanged?,
        };
        (0..mismatches).for_each(|_| server.count(Outcome::Mismatch));
        match way.after(&query, &octets, server)? {
            Some(other) => way = other,
            None => return Ok(octets),
        }
    }
}

/// How a server is asked.
#[derive(Clone, Copy)]
struct Way {
    over: Over,
    dress: Dress,
    /// It is asked over TCP because its reply over UDP did not keep the case of the question.
    settles_case: bool,
}

impl Way {
    fn over(self, over: Over) -> Self {
        Self {
            over,
            settles_case: false,
            ..self
        }
    }

    fn plain(mut self) -> Self {
        self.dress.random_case = false;
        self
    }

    /// TCP that is tried for the case alone leaves time for the other way to ask.
    async fn exchange(
        self,
        manner: &Manner,
        server: &Server,
        query: &[u8],
    ) -> Result<(Vec<u8>, u32), Lost> {
        let exchange = manner.carrier.exchange(server.address, self.over, query);
        if !self.settles_case {
            return exchange.await;
        }
        let silent = |_| Err(Lost::Io(std::io::ErrorKind::TimedOut.into()));
        timeout(manner.timeout / 2, exchange)
            .await
            .unwrap_or_else(silent)
    }

    /// The other way to ask, when this reply is none to rely on.
    fn after(mut self, query: &[u8], octets: &[u8], server: &Server) -> Result<Option<Self>, Lost> {
        let message = Message::read(octets).map_err(|_| Lost::Mismatch)?;
        if fit(query, octets) == Fit::OtherCase {
            // Over UDP this may be a forgery. Over TCP it is how this server answers.
            if self.over == Over::Tcp {
                server.folds_case.store(true, Relaxed);
            } else {
                self.settles_case = self.dress.random_case;
                self.over = Over::Tcp;
                return Ok(Some(self));
            }
        }
        if message.is_truncated() {
            return match self.over {
                Over::Udp => Ok(Some(self.over(Over::Tcp))),
                // RFC 2181 §9: half an answer is none, and over TCP there is no other half.
                Over::Tcp => Err(Lost::Mismatch),
            };
        }
        // RFC 6891 §7: FORMERR is the word of a server that does not know EDNS; some send our own OPT back with it.
        let is_puzzled = matches!(
            message.rcode(),
            Rcode::FORMERR | Rcode::NOTIMP | Rcode::BADVERS
        );
        let other = (is_puzzled && self.dress.edns).then(|| {
            self.dress.edns = false;
            self
        });
        Ok(other)
    }
}

/// Is this reply an answer, or only a server's excuse?
fn weigh(octets: Vec<u8>, kind: Type, server: &Server) -> Result<Reply, Failure> {
    let message = Message::read(&octets).expect("`converse` reads it");
    if is_broken(&message, kind) {
        server.count(Outcome::Servfail);
        return Err(Failure::Failed {
            rcode: Rcode::SERVFAIL,
            ede: Some((Ede::OTHER, (*b"the answer holds a broken record").into())),
        });
    }
    let outcome = match message.rcode() {
        Rcode::NOERROR if is_referral(&message) => Outcome::Refused,
        Rcode::NOERROR | Rcode::YXDOMAIN => Outcome::Ok,
        Rcode::NXDOMAIN => Outcome::Nxdomain,
        Rcode::REFUSED => Outcome::Refused,
        _ => Outcome::Servfail,
    };
    server.count(outcome);
    match outcome {
        Outcome::Ok | Outcome::Nxdomain => Ok(Reply { octets }),
        Outcome::Servfail
        | Outcome::Refused
        | Outcome::Timeout
        | Outcome::Io
        | Outcome::Mismatch => {
            let ede = message.ede().map(|ede| (ede.code, ede.text.into()));
            Err(Failure::Failed {
                rcode: message.rcode(),
                ede,
            })
        }
    }
}

/// Is there a record that matters, asked for or an alias, whose data is not what its type says? One that nobody
/// asked for spoils nothing.
fn is_broken(message: &Message<'_>, kind: Type) -> bool {
    let matters = |it: Type| it == kind || it == Type::CNAME || it == Type::DNAME;
    message
        .records(Section::Answer)
        .any(|record| matters(record.kind) && !record.is_whole())
}

/// A server that does not recurse points elsewhere: name servers, no SOA, no answer.
fn is_referral(message: &Message<'_>) -> bool {
    let has = |kind: Type| {
        message
            .records(Section::Authority)
            .any(|record| record.kind == kind)
    };
    message.records(Section::Answer).next().is_none() && has(Type::NS) && !has(Type::SOA)
}
