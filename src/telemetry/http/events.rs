//! Decisions as they come, as lines of JSON: the body of a page that does not end.
//!
//! Whoever reads too slowly loses the oldest, and a line says how many: nobody
//! who answers a query ever waits for him.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use hyper::body::{Body, Bytes, Frame};
use ipnet::IpNet;
use serde_json::json;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc};
use tokio::time;

use super::super::querylog::VERSION;
use super::super::reloads::rfc3339;
use super::super::{Decision, Telemetry};
use super::params::Params;
use crate::answer::{Reason, Ruling};
use crate::wire::Name;

/// Chunks that wait for the reader; beyond them decisions wait in the telemetry, which has room for some thousands.
const CHUNKS_MAX: usize = 4;
/// Lines that go into one chunk.
const LINES_MAX: usize = 256;
/// An empty line this often shows a reader that we are here, and us that he is.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// How often octets were taken for a connection; 0: it is no stream.
pub(super) type Pulse = Arc<AtomicU64>;

/// Which decisions are wanted.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    blocked_only: bool,
    with_noise: bool,
    name: Option<NamePattern>,
    client: Option<IpNet>,
}

/// A name, or every name below one.
#[derive(Debug)]
struct NamePattern {
    base: Name,
    is_wildcard: bool,
}

impl Wanted {
    pub(super) fn read(params: &mut Params) -> Result<Self, String> {
        let name = params.text("name");
        let client = params.text("client");
        Ok(Self {
            blocked_only: params.switch("blocked")?,
            with_noise: params.switch("all")?,
            name: name.as_deref().map(NamePattern::read).transpose()?,
            client: client.as_deref().map(clients).transpose()?,
        })
    }

    fn holds(&self, decision: &Decision) -> bool {
        let reason = decision.outcome.reason;
        let ruling = decision.outcome.ruling();
        let is_blocked = matches!(ruling, Ruling::Blocked | Ruling::WouldBlock);
        let is_noise = reason == Reason::SearchSuffix && !self.with_noise;
        let ip = decision.client.ip().to_canonical();
        (!self.blocked_only || is_blocked && !is_noise)
            && self.name.as_ref().is_none_or(|it| it.holds(&decision.name))
            && self.client.is_none_or(|it| it.contains(&ip))
    }
}

impl NamePattern {
    fn read(text: &str) -> Result<Self, String> {
        let below = text.strip_prefix("*.");
        let base = below.unwrap_or(text).parse();
        Ok(Self {
            base: base.map_err(|error| format!("name={text}: {error}"))?,
            is_wildcard: below.is_some(),
        })
    }

    fn holds(&self, name: &Name) -> bool {
        match self.is_wildcard {
            true => name.is_at_or_below(&self.base) && *name != self.base,
            false => *name == self.base,
        }
    }
}

fn clients(text: &str) -> Result<IpNet, String> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    let net = address.or_else(|_| text.parse());
    net.map_err(|_| format!("client={text}: write an address or a range such as 10.0.0.0/8"))
}

/// The body.
pub(super) struct Events {
    chunks: mpsc::Receiver<Bytes>,
    pulse: Pulse,
    _place: OwnedSemaphorePermit,
}

impl Events {
    /// From now on, for as long as somebody reads. `place` is given back then.
    pub(super) fn begin(
        telemetry: Arc<Telemetry>,
        wanted: Wanted,
        pulse: Pulse,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let decisions = telemetry.watch_decisions();
        let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
        tokio::spawn(pump(telemetry, decisions, wanted, sender));
        Self {
            chunks,
            pulse,
            _place: place,
        }
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = self.chunks.poll_recv(context);
        if chunk.is_ready() {
            self.pulse.fetch_add(1, Relaxed);
        }
        chunk.map(|it| it.map(|chunk| Ok(Frame::data(chunk))))
    }
}

/// Puts decisions into chunks, until the reader has gone or nothing more will come.
async fn pump(
    telemetry: Arc<Telemetry>,
    mut decisions: broadcast::Receiver<Arc<Decision>>,
    wanted: Wanted,
    chunks: mpsc::Sender<Bytes>,
) {
    let mut heartbeat = time::interval(HEARTBEAT);
    loop {
        let mut chunk = String::new();
        tokio::select! {
            () = chunks.closed() => return,
            _ = heartbeat.tick() => chunk.push('\n'),
            received = decisions.recv() => match received {
                Ok(decision) => add(&mut chunk, &telemetry, &wanted, &decision),
                Err(RecvError::Lagged(count)) => chunk += &lost(count),
                Err(RecvError::Closed) => return,
            },
        }
        for _ in 1..LINES_MAX {
            match decisions.try_recv() {
                Ok(decision) => add(&mut chunk, &telemetry, &wanted, &decision),
                Err(TryRecvError::Lagged(count)) => chunk += &lost(count),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        if !chunk.is_empty() && chunks.send(chunk.into()).await.is_err() {
            return;
        }
    }
}

fn add(chunk: &mut String, telemetry: &Telemetry, wanted: &Wanted, decision: &Decision) {
    if wanted.holds(decision) {
        *chunk += &telemetry.record(decision);
        chunk.push('\n');
    }
}

fn lost(count: u64) -> String {
    let ts = rfc3339(SystemTime::now());
    let line = json!({ "v": VERSION, "ts": ts, "event": "lost", "count": count });
    format!("{line}\n")
}

#[cfg(test)]
mod tests {
    use super::super::super::Transport;
    use super::*;
    use crate::answer::{Desk, Outcome};
    use crate::wire::{Rcode, Type};

    fn decision(name: &str, reason: Reason) -> Decision {
        Decision {
            at: SystemTime::UNIX_EPOCH,
            name: name.parse().expect(name),
            kind: Type::A,
            transport: Transport::Udp,
            client: "[::ffff:10.0.3.7]:41822".parse().expect("an address"),
            outcome: Outcome {
                desk: Desk::Blocked,
                reason,
                rcode: Some(Rcode::NXDOMAIN),
                ede: None,
            },
            matched: None,
            generation: 1,
            took: Duration::ZERO,
            ttl_s: None,
        }
    }

    #[track_caller]
    fn check(query: &str, name: &str, reason: Reason, expected: bool) {
        let mut params = Params::read(Some(query)).expect(query);
        let wanted = Wanted::read(&mut params).expect(query);
        let held = wanted.holds(&decision(name, reason));
        assert_eq!(held, expected, "{query} {name} {reason}");
    }

    #[test]
    fn each_filter_holds_what_it_says() {
        check("", "a.example", Reason::Exact, true);
        check("blocked=1", "a.example", Reason::Exact, false);
        check("blocked=1", "a.example", Reason::NotListed, true);
        check("blocked=1", "a.example", Reason::SearchSuffix, false);
        check("blocked=1&all=1", "a.example", Reason::SearchSuffix, true);
        check("name=*.Example", "b.a.example", Reason::Exact, true);
        check("name=*.example", "example", Reason::Exact, false);
        check("name=a.example", "b.a.example", Reason::Exact, false);
        check("client=10.0.3.7", "a.example", Reason::Exact, true);
        check("client=10.0.0.0/8", "a.example", Reason::Exact, true);
        check("client=10.0.3.8", "a.example", Reason::Exact, false);
    }
}
