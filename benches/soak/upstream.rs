//! The upstream: answers as `truth` says, over UDP and TCP, and is away now and then.
//!
//! When it was away is written down: a SERVFAIL or a stale answer has no other excuse.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::truth::{DENIAL_TTL_S, Record, SOA, Truth, apex, is_split, soa, truth, wire};

/// How long a thread waits before it looks whether to go on.
const GLANCE: Duration = Duration::from_millis(20);
/// What fits a datagram of ours.
const DATAGRAM_OCTETS: usize = 1232;
const TC: u8 = 0x02;
/// What a failure is remembered for (RFC 9520), and a stale answer held.
const MEMORY: Duration = Duration::from_secs(5);
/// How long a question that others join may have been on its way.
const QUESTION: Duration = Duration::from_secs(4);
/// What is left to threads that do not run at once, here and there.
const SLACK: Duration = Duration::from_millis(500);

/// How it is.
const THERE: u8 = 0;
const CLOSED: u8 = 1;
const MUTE: u8 = 2;

pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    state: AtomicU8,
    /// Are the sockets closed?
    closed: [AtomicBool; 2],
    over: AtomicBool,
    /// When it went, and when it was back.
    absences: Mutex<Vec<(Instant, Option<Instant>)>>,
    pub(super) answered: AtomicU64,
}

impl Upstream {
    pub(super) fn start(address: SocketAddr) -> Arc<Self> {
        let upstream = Arc::new(Self {
            address,
            state: AtomicU8::new(THERE),
            closed: [AtomicBool::new(true), AtomicBool::new(true)],
            over: AtomicBool::new(false),
            absences: Mutex::default(),
            answered: AtomicU64::new(0),
        });
        let (udp, tcp) = (upstream.clone(), upstream.clone());
        thread::spawn(move || udp.serve_udp());
        thread::spawn(move || tcp.serve_tcp());
        upstream.wait_until_closed(false);
        upstream
    }

    /// Its threads end.
    pub(super) fn end(&self) {
        self.over.store(true, SeqCst);
    }

    /// Closes its sockets, and opens them again.
    pub(super) fn restart(&self, away: Duration) {
        self.leave(CLOSED);
        self.wait_until_closed(true);
        thread::sleep(away);
        self.state.store(THERE, SeqCst);
        self.wait_until_closed(false);
        self.come_back();
    }

    /// Takes queries and answers none.
    pub(super) fn fall_silent(&self, away: Duration) {
        self.leave(MUTE);
        thread::sleep(away);
        self.state.store(THERE, SeqCst);
        self.come_back();
    }

    pub(super) fn times_away(&self) -> usize {
        self.absences.lock().expect("no panic").len()
    }

    /// Is there an absence for which a query may have failed, or been told what was known before? A name that others
    /// ask for too may be answered from what is remembered of theirs.
    pub(super) fn excuses(&self, sent: Instant, received: Instant, is_shared: bool) -> bool {
        let memory = if is_shared {
            MEMORY + QUESTION
        } else {
            Duration::ZERO
        };
        let absences = self.absences.lock().expect("no panic");
        absences.iter().rev().any(|(went, back)| {
            *went <= received && back.is_none_or(|back| sent <= back + memory + SLACK)
        })
    }

    /// How long it had been back at that time.
    pub(super) fn back_for(&self, at: Instant) -> Option<Duration> {
        let absences = self.absences.lock().expect("no panic");
        Some(at.duration_since(absences.last()?.1?))
    }

    fn leave(&self, how: u8) {
        let mut absences = self.absences.lock().expect("no panic");
        absences.push((Instant::now(), None));
        drop(absences);
        self.state.store(how, SeqCst);
    }

    fn come_back(&self) {
        let mut absences = self.absences.lock().expect("no panic");
        absences.last_mut().expect("it went").1 = Some(Instant::now());
    }

    fn wait_until_closed(&self, closed: bool) {
        while self.closed.iter().any(|it| it.load(SeqCst) != closed) {
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn is(&self, state: u8) -> bool {
        self.state.load(SeqCst) == state
    }

    fn is_over(&self) -> bool {
        self.over.load(SeqCst)
    }

    /// Opens a socket again and again, until it is over.
    fn again<S>(&self, which: usize, open: impl Fn() -> io::Result<S>, serve: impl Fn(S)) {
        while !self.is_over() {
            if !self.is(CLOSED)
                && let Ok(socket) = open()
            {
                self.closed[which].store(false, SeqCst);
                serve(socket);
                self.closed[which].store(true, SeqCst);
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn serve_udp(&self) {
        let open = || {
            let socket = UdpSocket::bind(self.address)?;
            socket.set_read_timeout(Some(GLANCE))?;
            let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20);
            Ok(socket)
        };
        self.again(0, open, |socket| {
            let mut datagram = [0; 1024];
            while !self.is(CLOSED) && !self.is_over() {
                let Ok((len, client)) = socket.recv_from(&mut datagram) else {
                    continue;
                };
                if let Some(reply) = self.reply(&datagram[..len], DATAGRAM_OCTETS) {
                    let _ = socket.send_to(&reply, client);
                }
            }
        });
    }

    fn serve_tcp(self: &Arc<Self>) {
        let open = || {
            let listener = TcpListener::bind(self.address)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        self.again(1, open, |listener| {
            while !self.is(CLOSED) && !self.is_over() {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let upstream = self.clone();
                        thread::spawn(move || upstream.serve_stream(stream));
                    }
                    Err(_) => thread::sleep(Duration::from_millis(1)),
                }
            }
        });
    }

    /// Until the client goes, or says nothing for longer than it would wait for an answer.
    fn serve_stream(&self, mut stream: TcpStream) -> Option<()> {
        stream.set_nonblocking(false).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(2 * QUESTION)).ok()?;
        loop {
            let mut len = [0; 2];
            stream.read_exact(&mut len).ok()?;
            let mut query = vec![0; u16::from_be_bytes(len).into()];
            stream.read_exact(&mut query).ok()?;
            if self.is(CLOSED) {
                return None;
            }
            if let Some(reply) = self.reply(&query, usize::from(u16::MAX)) {
                let len = u16::try_from(reply.len()).expect("it was cut");
                stream
                    .write_all(&[&len.to_be_bytes(), &reply[..]].concat())
                    .ok()?;
            }
        }
    }

    /// None: not now.
    fn reply(&self, query: &[u8], limit: usize) -> Option<Vec<u8>> {
        let (name, end) = read_name(query)?;
        let kind = u16::from_be_bytes([*query.get(end)?, *query.get(end + 1)?]);
        if !self.is(THERE) {
            return None;
        }
        self.answered.fetch_add(1, SeqCst);
        Some(message(&query[..end + 4], &name, kind, limit))
    }
}

/// The name of a question in lower case, and where its type stands.
fn read_name(query: &[u8]) -> Option<(String, usize)> {
    let (mut name, mut at) = (String::new(), 12);
    loop {
        let len = usize::from(*query.get(at)?);
        at += 1;
        if len == 0 {
            return Some((name, at));
        }
        if !name.is_empty() {
            name.push('.');
        }
        let label = query.get(at..at + len)?;
        name.extend(label.iter().map(|it| char::from(it.to_ascii_lowercase())));
        at += len;
    }
}

/// A whole reply; `head` is the query up to the end of its question.
fn message(head: &[u8], name: &str, kind: u16, limit: usize) -> Vec<u8> {
    let (rcode, mut answers) = match truth(name, kind) {
        Truth::Records(records) => (0, records),
        Truth::Nodata => (0, Vec::new()),
        Truth::Nxdomain => (3, Vec::new()),
    };
    if is_split(name) {
        answers.truncate(1);
    }
    let mut reply = head.to_vec();
    let is_denial = answers.is_empty();
    let count = u8::try_from(answers.len()).expect("at most a hundred");
    reply[2..12].copy_from_slice(&[
        0x81,
        0x80 | rcode,
        0,
        1,
        0,
        count,
        0,
        is_denial.into(),
        0,
        0,
    ]);
    if is_denial {
        let apex = apex(name);
        push(&mut reply, &wire(apex), SOA, DENIAL_TTL_S, &soa(apex));
    }
    for Record {
        owner,
        kind,
        ttl_s,
        data,
        ..
    } in &answers
    {
        match owner == name {
            true => push(&mut reply, &[0xC0, 12], *kind, *ttl_s, data),
            false => push(&mut reply, &wire(owner), *kind, *ttl_s, data),
        }
    }
    if reply.len() > limit {
        reply.truncate(head.len());
        reply[2] |= TC;
        reply[6..12].fill(0);
    }
    reply
}

fn push(reply: &mut Vec<u8>, owner: &[u8], kind: u16, ttl_s: u32, data: &[u8]) {
    let len = u16::try_from(data.len()).expect("short");
    reply.extend(owner);
    reply.extend(kind.to_be_bytes());
    reply.extend([0, 1]);
    reply.extend(ttl_s.to_be_bytes());
    reply.extend(len.to_be_bytes());
    reply.extend(data);
}
