//! The clients: sockets and connections with a window of questions each, every reply matched and judged.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::judge::{Found, Kind, Law, Over, Sent};
use super::question::{Asker, Sort};

/// Questions of one UDP socket on their way. All windows together fit the receive buffer of one of namegate's sockets.
const WINDOW_UDP: usize = 32;
/// And of one connection: as many as namegate lets wait.
const WINDOW_TCP: usize = 64;
/// Whoever waits longer waits for nothing: namegate gives up after 4 s.
const PATIENCE: Duration = Duration::from_secs(6);
/// How often is looked for those.
const LOOK: Duration = Duration::from_millis(500);
/// How long a read waits.
const GLANCE: Duration = Duration::from_millis(20);
/// A connection is closed and made anew after so many questions.
const QUESTIONS_A_CONNECTION: u64 = 5000;
/// What is told of faults in full.
const FAULTS_TOLD: usize = 10;

/// What all clients share.
pub(super) struct Crowd<'a> {
    pub(super) law: Law<'a>,
    pub(super) server: SocketAddr,
    /// No more questions are to be asked.
    pub(super) is_over: AtomicBool,
    pub(super) asked: AtomicU64,
    pub(super) tally: Mutex<Tally>,
}

/// What came of the questions.
#[derive(Clone, Default)]
pub(super) struct Tally {
    /// By sort, then by kind of reply.
    pub(super) counts: [[u64; Kind::ALL.len()]; Sort::ALL.len()],
    pub(super) asked: [u64; 2],
    pub(super) answered: [u64; 2],
    pub(super) connections: u64,
    pub(super) lost: u64,
    pub(super) wrong: u64,
    /// Replies for which more than one version was possible when they came.
    pub(super) open: u64,
    /// The first of them in full.
    pub(super) faults: Vec<String>,
    pub(super) slowest: Duration,
}

impl Tally {
    fn fault(&mut self, fault: String) {
        if self.faults.len() < FAULTS_TOLD {
            self.faults.push(fault);
        }
    }

    fn add(&mut self, other: &Self) {
        for (row, more) in self.counts.iter_mut().zip(other.counts) {
            row.iter_mut().zip(more).for_each(|(it, more)| *it += more);
        }
        for over in 0..2 {
            self.asked[over] += other.asked[over];
            self.answered[over] += other.answered[over];
        }
        self.connections += other.connections;
        self.lost += other.lost;
        self.wrong += other.wrong;
        self.open += other.open;
        self.slowest = self.slowest.max(other.slowest);
        other.faults.iter().for_each(|it| self.fault(it.clone()));
    }
}

/// The questions of one socket that are on their way, and what came of the others.
struct Desk<'a> {
    crowd: &'a Crowd<'a>,
    asker: Asker,
    over: Over,
    window: Vec<Option<(u16, Sent)>>,
    waiting: usize,
    next_id: u16,
    looked_at: Instant,
    tally: Tally,
}

impl<'a> Desk<'a> {
    fn new(crowd: &'a Crowd<'a>, who: usize, over: Over) -> Self {
        let window = match over {
            Over::Udp => WINDOW_UDP,
            Over::Tcp => WINDOW_TCP,
        };
        Self {
            crowd,
            asker: Asker::new(who),
            over,
            window: (0..window).map(|_| None).collect(),
            waiting: 0,
            next_id: 0,
            looked_at: Instant::now(),
            tally: Tally::default(),
        }
    }

    fn is_over(&self) -> bool {
        self.crowd.is_over.load(Relaxed)
    }

    fn has_room(&self) -> bool {
        self.waiting < self.window.len()
    }

    /// The next question, ready to be sent. There has to be room.
    fn ask(&mut self) -> Vec<u8> {
        let policies = self.crowd.law.policies;
        let question = self.asker.next(policies);
        let id = self.free_id();
        let mut octets = question.octets.clone();
        octets[..2].copy_from_slice(&id.to_be_bytes());
        let sent = Sent {
            question,
            over: self.over,
            // What is proven now binds whoever answers what is sent from now on.
            floor: policies.proven(),
            at: Instant::now(),
        };
        let place = usize::from(id) % self.window.len();
        self.window[place] = Some((id, sent));
        self.waiting += 1;
        self.tally.asked[self.over as usize] += 1;
        self.crowd.asked.fetch_add(1, Relaxed);
        octets
    }

    /// The next id whose place is free.
    fn free_id(&mut self) -> u16 {
        loop {
            self.next_id = self.next_id.wrapping_add(1);
            if self.window[usize::from(self.next_id) % self.window.len()].is_none() {
                return self.next_id;
            }
        }
    }

    fn hear(&mut self, octets: &[u8], received: Instant) {
        let id = octets.first_chunk().map_or(0, |it| u16::from_be_bytes(*it));
        let place = usize::from(id) % self.window.len();
        match self.window[place].take_if(|it| it.0 == id) {
            Some((_, sent)) => {
                self.waiting -= 1;
                self.settle(&sent, octets, received);
            }
            None => {
                self.tally.wrong += 1;
                self.tally
                    .fault(format!("a reply that nobody waits for: {octets:02x?}"));
            }
        }
    }

    fn settle(&mut self, sent: &Sent, octets: &[u8], received: Instant) {
        let policies = self.crowd.law.policies;
        let took = received.duration_since(sent.at);
        self.tally.slowest = self.tally.slowest.max(took);
        self.tally.answered[self.over as usize] += 1;
        self.tally.open += u64::from(policies.written() != sent.floor);
        match self.crowd.law.judge(sent, octets, received) {
            Ok(Found { kind, version }) => {
                let sort = Sort::ALL.iter().position(|it| *it == sent.question.sort);
                let kind = Kind::ALL.iter().position(|it| *it == kind);
                self.tally.counts[sort.expect("all are listed")][kind.expect("so are these")] += 1;
                if let Some(version) = version {
                    policies.prove(version);
                }
            }
            Err(why) => {
                self.tally.wrong += 1;
                let what = told(sent, took, policies.written());
                self.tally
                    .fault(format!("wrong: {what}: {why}; {octets:02x?}"));
            }
        }
    }

    /// Counts those who have waited too long.
    fn look_for_lost(&mut self) {
        let now = Instant::now();
        if now.duration_since(self.looked_at) > LOOK {
            self.looked_at = now;
            self.lose(|sent| now.duration_since(sent.at) > PATIENCE);
        }
    }

    fn lose(&mut self, is_lost: impl Fn(&Sent) -> bool) {
        for place in 0..self.window.len() {
            if let Some((_, sent)) = self.window[place].take_if(|it| is_lost(&it.1)) {
                self.waiting -= 1;
                self.tally.lost += 1;
                let what = told(&sent, sent.at.elapsed(), self.crowd.law.policies.written());
                self.tally.fault(format!("lost: {what}"));
            }
        }
    }

    /// Hands in what came of it.
    fn close(self) {
        self.crowd.tally.lock().expect("no panic").add(&self.tally);
    }
}

fn told(sent: &Sent, took: Duration, written: u32) -> String {
    let question = &sent.question;
    format!(
        "{:?} {} type {} over {:?}, generations {} to {written}, after {took:?}",
        question.sort, question.name, question.kind, sent.over, sent.floor
    )
}

/// Asks from one UDP socket until it is over.
pub(super) fn ask_over_udp(crowd: &Crowd<'_>, who: usize) {
    let mut desk = Desk::new(crowd, who, Over::Udp);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.connect(crowd.server).expect("loopback");
    socket.set_read_timeout(Some(GLANCE)).expect("a time-out");
    let mut reply = [0; 4096];
    while !desk.is_over() || desk.waiting > 0 {
        while desk.has_room() && !desk.is_over() {
            let octets = desk.ask();
            // Refused, where the program is gone: then it is lost.
            let _ = socket.send(&octets);
        }
        if let Ok(len) = socket.recv(&mut reply) {
            desk.hear(&reply[..len], Instant::now());
        }
        desk.look_for_lost();
    }
    desk.close();
}

/// Asks over one connection after the other until it is over.
pub(super) fn ask_over_tcp(crowd: &Crowd<'_>, who: usize) {
    let mut desk = Desk::new(crowd, who, Over::Tcp);
    while !desk.is_over() {
        if converse(&mut desk).is_err() {
            std::thread::sleep(GLANCE);
        }
        // Whatever a connection leaves unanswered is lost.
        desk.lose(|_| true);
    }
    desk.close();
}

/// One connection, until it has had its questions and all of them are answered.
fn converse(desk: &mut Desk<'_>) -> io::Result<()> {
    let mut stream = TcpStream::connect(desk.crowd.server)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(GLANCE))?;
    desk.tally.connections += 1;
    let (mut unread, mut asked, mut is_done) = (Vec::new(), 0, false);
    while !is_done || desk.waiting > 0 {
        // As much as there is room for goes out together, but not a question at a time.
        if !is_done && desk.waiting <= WINDOW_TCP / 2 {
            let mut batch = Vec::new();
            while desk.has_room() {
                push_framed(&mut batch, &desk.ask());
                asked += 1;
            }
            stream.write_all(&batch)?;
            is_done = asked >= QUESTIONS_A_CONNECTION || desk.is_over();
            if is_done && desk.tally.connections.is_multiple_of(2) {
                // RFC 7766 §6.2.4: its half is closed, and it still gets its answers.
                stream.shutdown(Shutdown::Write)?;
            }
        }
        hear_all(desk, &mut stream, &mut unread)?;
        desk.look_for_lost();
    }
    Ok(())
}

fn push_framed(batch: &mut Vec<u8>, octets: &[u8]) {
    let len = u16::try_from(octets.len()).expect("a short question");
    batch.extend(len.to_be_bytes());
    batch.extend(octets);
}

/// Hears what there is to read, and waits a little for it.
fn hear_all(desk: &mut Desk<'_>, stream: &mut TcpStream, unread: &mut Vec<u8>) -> io::Result<()> {
    let mut part = [0; 16 << 10];
    match stream.read(&mut part) {
        Ok(0) if desk.waiting > 0 => return Err(ErrorKind::UnexpectedEof.into()),
        Ok(len) => unread.extend(&part[..len]),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
        Err(error) => return Err(error),
    }
    let (received, mut at) = (Instant::now(), 0);
    while let Some(len) = unread.get(at..at + 2) {
        let end = at + 2 + usize::from(u16::from_be_bytes([len[0], len[1]]));
        let Some(message) = unread.get(at + 2..end) else {
            break;
        };
        desk.hear(message, received);
        at = end;
    }
    unread.drain(..at);
    Ok(())
}
