//! One question, several servers, four seconds.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::carrier::{Carrier, Lost, Over};
use super::message::{Dress, Fit, fit_of, query_for};
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
    servers: Vec<Server>,
}

/// The resolvers, by the zones that go to them.
pub struct Upstreams {
    /// The longest zones first; the root's is last and always there.
    groups: Vec<Group>,
    manner: Manner,
}

/// How servers are asked.
struct Manner {
    carrier: Arc<dyn Carrier>,
    timeout: Duration,
    random_case: bool,
}

/// Puts [`Upstreams`] together.
pub struct UpstreamsBuilder {
    upstreams: Upstreams,
}

/// Does forwarding `zone` take `name` from those whom all else is asked of, which are the root zone's servers?
pub fn takes(zone: &Name, name: &Name) -> bool {
    !zone.is_root() && name.is_at_or_below(zone)
}

impl UpstreamsBuilder {
    /// Sends a zone and all below it to these servers.
    #[must_use]
    pub fn zone(mut self, zone: Name, servers: &[(SocketAddr, Over)]) -> Self {
        let servers = servers
            .iter()
            .map(|(address, over)| Server::new(*address, *over))
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

    /// Is this name forwarded elsewhere than all others? Nothing allocates.
    pub fn forwards(&self, name: &Name) -> bool {
        self.groups.iter().any(|group| takes(&group.zone, name))
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
        let servers = group.map_or(&[][..], |group| &group.servers);
        if servers.is_empty() {
            return Err(Failure::NoServer);
        }
        let now = Instant::now();
        let mut race = Race::new(&self.manner, question, servers, now, deadline);
        race.start(now);
        // One clock for all that may run out of time; it is wound up when an answer is not there at once.
        let mut alarm = pin!(sleep_until(race.alarm_at()));
        poll_fn(|context| {
            loop {
                if let Poll::Ready(end) = race.poll(context) {
                    return Poll::Ready(end);
                }
                if alarm.deadline() != race.alarm_at() {
                    alarm.as_mut().reset(race.alarm_at());
                }
                ready!(alarm.as_mut().poll(context));
                if let Some(failure) = race.ring(Instant::now()) {
                    return Poll::Ready(Err(failure));
                }
            }
        })
        .await
    }
}

/// The attempts at one question.
struct Race<'a> {
    manner: &'a Manner,
    question: &'a Asked,
    /// The servers in the order in which they are asked.
    lanes: Vec<Lane<'a>>,
    /// What they say, in the task of the one who asks: no thread is changed for it.
    running: Vec<Attempt<'a>>,
    started: usize,
    next: usize,
    next_at: Instant,
    pause: Duration,
    deadline: Instant,
    failure: Failure,
}

/// A server in a race.
struct Lane<'a> {
    server: &'a Server,
    /// Has it said that it cannot help?
    struck: bool,
    /// When it was last asked and has not answered since.
    asked_at: Option<Instant>,
}

/// One try of one server.
struct Attempt<'a> {
    lane: usize,
    ends_at: Instant,
    talk: Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send + 'a>>,
}

impl<'a> Race<'a> {
    fn new(
        manner: &'a Manner,
        question: &'a Asked,
        servers: &'a [Server],
        now: Instant,
        deadline: Instant,
    ) -> Self {
        let lane = |server| Lane {
            server,
            struck: false,
            asked_at: None,
        };
        let mut lanes: Vec<_> = servers.iter().map(lane).collect();
        lanes.sort_by_key(|lane| lane.server.rests(now));
        Self {
            pause: lanes[0].server.patience(),
            next_at: now,
            running: Vec::with_capacity(1),
            started: 0,
            next: 0,
            failure: Failure::Timeout,
            manner,
            question,
            lanes,
            deadline,
        }
    }

    fn may_start(&self) -> bool {
        self.started < ATTEMPTS_MAX && self.lanes.iter().any(|lane| !lane.struck)
    }

    /// Nobody is thinking and nobody is left to ask.
    fn is_lost(&self) -> bool {
        self.running.is_empty() && !self.may_start()
    }

    /// Asks the next server that may still help, and sets the time for the one after it.
    fn start(&mut self, now: Instant) {
        while self.lanes[self.next % self.lanes.len()].struck {
            self.next += 1;
        }
        let at = self.next % self.lanes.len();
        self.next += 1;
        self.started += 1;
        self.lanes[at].asked_at.get_or_insert(now);
        self.next_at = now + self.pause;
        // Each server gets its first turn soon; then the pauses grow.
        if self.started >= self.lanes.len() {
            self.pause *= 2;
        }
        self.running.push(Attempt {
            lane: at,
            ends_at: now + self.manner.timeout,
            talk: Box::pin(attempt(
                self.manner,
                self.question,
                self.lanes[at].server,
                now,
            )),
        });
    }

    /// Hears who has something to say: the answer, or the failure of the last who could have had one.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Reply, Failure>> {
        let mut at = 0;
        while let Some(attempt) = self.running.get_mut(at) {
            let Poll::Ready(said) = attempt.talk.as_mut().poll(context) else {
                at += 1;
                continue;
            };
            let lane = self.running.remove(at).lane;
            match said {
                Ok(reply) => {
                    self.blame_the_silent(Some(lane));
                    return Poll::Ready(Ok(reply));
                }
                Err(failure) => self.strike(lane, failure),
            }
            if self.is_lost() {
                return Poll::Ready(Err(self.give_up()));
            }
        }
        Poll::Pending
    }

    /// When the next thing is due that is not a server's to say.
    fn alarm_at(&self) -> Instant {
        let ends = self.running.iter().map(|attempt| attempt.ends_at).min();
        let next = self.may_start().then_some(self.next_at);
        let first = ends.into_iter().chain(next).min();
        first.map_or(self.deadline, |first| first.min(self.deadline))
    }

    /// Does what is due. Returns the failure when that is the end.
    fn ring(&mut self, now: Instant) -> Option<Failure> {
        self.running.retain(|attempt| now < attempt.ends_at);
        if now >= self.deadline || self.is_lost() {
            return Some(self.give_up());
        }
        if self.may_start() && now >= self.next_at {
            self.start(now);
        }
        None
    }

    /// A server has failed.
    fn strike(&mut self, lane: usize, failure: Failure) {
        self.lanes[lane].asked_at = None;
        self.lanes[lane].struck = true;
        // What a server says of its failure says more than that another was silent.
        if !matches!(self.failure, Failure::Failed { .. })
            || matches!(failure, Failure::Failed { .. })
        {
            self.failure = failure;
        }
        if self.started < self.lanes.len() || self.running.is_empty() {
            self.next_at = Instant::now();
        }
    }

    fn give_up(&mut self) -> Failure {
        self.blame_the_silent(None);
        std::mem::replace(&mut self.failure, Failure::Timeout)
    }

    /// Servers that kept silent for as long as they may, while `winner` answered, have timed out.
    fn blame_the_silent(&self, winner: Option<usize>) {
        for (at, lane) in self.lanes.iter().enumerate() {
            let Some(since) = lane.asked_at.filter(|_| Some(at) != winner) else {
                continue;
            };
            let now = Instant::now();
            if now.duration_since(since) >= lane.server.patience() {
                lane.server.timed_out(now);
            }
        }
    }
}

/// One try of one server; over TCP when the reply is truncated or not to be trusted, without EDNS when that is not understood.
async fn attempt(
    manner: &Manner,
    question: &Asked,
    server: &Server,
    asked_at: Instant,
) -> Result<Reply, Failure> {
    match converse(manner, question, server).await {
        Ok((octets, weight)) => {
            server.answered(asked_at.elapsed());
            weight.map(|()| Reply { octets })
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

/// Returns the last reply, and whether it is an answer.
async fn converse(
    manner: &Manner,
    question: &Asked,
    server: &Server,
) -> Result<(Vec<u8>, Result<(), Failure>), Lost> {
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
        let message = Message::read(&octets).map_err(|_| Lost::Mismatch)?;
        match way.after(&query, &message, server)? {
            Some(other) => way = other,
            None => {
                let weight = weigh(&message, question.kind, server);
                return Ok((octets, weight));
            }
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
    fn after(
        mut self,
        query: &[u8],
        message: &Message<'_>,
        server: &Server,
    ) -> Result<Option<Self>, Lost> {
        if fit_of(query, message) == Fit::OtherCase {
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
fn weigh(message: &Message<'_>, kind: Type, server: &Server) -> Result<(), Failure> {
    if is_broken(message, kind) {
        server.count(Outcome::Servfail);
        return Err(Failure::Failed {
            rcode: Rcode::SERVFAIL,
            ede: Some((Ede::OTHER, (*b"the answer holds a broken record").into())),
        });
    }
    let outcome = match message.rcode() {
        Rcode::NOERROR if is_referral(message) => Outcome::Refused,
        Rcode::NOERROR | Rcode::YXDOMAIN => Outcome::Ok,
        Rcode::NXDOMAIN => Outcome::Nxdomain,
        Rcode::REFUSED => Outcome::Refused,
        _ => Outcome::Servfail,
    };
    server.count(outcome);
    match outcome {
        Outcome::Ok | Outcome::Nxdomain => Ok(()),
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
