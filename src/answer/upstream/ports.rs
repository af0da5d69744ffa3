//! The UDP ports from which one server is asked.
//!
//! Each is a connected socket: the kernel drops what comes from elsewhere (RFC 5452
//! §9.2), and says at once when the server's port is closed. Queries leave from one of
//! a handful, chosen anew at random every few queries, and each port is given up for a
//! new one, also random, before it has been of use for long: a forger has to guess it
//! together with the id.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::poll_fn;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg, sendmmsg, setsockopt, sockopt};
use rand::RngExt;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::carrier::Lost;
use super::message::{Fit, fit};
use crate::wire::Query;

/// Ports of one server at a time.
const PORTS: usize = 16;
/// Queries that leave from one port before another is chosen: when there are many, their replies come together.
const RUN: u32 = 32;
/// A port is given up after so many queries, or after so long.
const USES_MAX: u32 = 2000;
const AGE_MAX: Duration = Duration::from_secs(10);
/// For so long a port counts as new: a network that refuses everything does not cost a port a query.
const YOUTH: Duration = Duration::from_secs(1);
/// We offer 1232 octets; servers that send more are read all the same, up to this. Beyond it they are asked over TCP.
const DATAGRAM_OCTETS_MAX: usize = 4096;
/// Replies taken at a time.
const BATCH: usize = 32;
/// What a port may hold until it is read; the kernel doubles it, for its own measure. With the usual 208 KiB it is full
/// of 277 datagrams, and a forger's three hundred push the right reply out.
const UNREAD_OCTETS: usize = 256 << 10;
/// TC, in the third octet of a header (RFC 1035 §4.1.1).
const TC: u8 = 0x02;

/// A reply, and the number of messages that came in its place and were none.
type Answered = Result<(Vec<u8>, u32), Lost>;

/// The ports of one server.
pub(super) struct Ports {
    server: SocketAddr,
    open: Mutex<Open>,
}

/// Those that are open, and the place of the one from which queries leave now.
#[derive(Default)]
struct Open {
    ports: [Option<Arc<Port>>; PORTS],
    place: usize,
    /// Queries that still leave from there.
    left: u32,
}

impl Open {
    /// One that is open, however old; from the chosen place on.
    fn any(&self) -> Option<Arc<Port>> {
        let (before, from) = self.ports.split_at(self.place);
        from.iter().chain(before).flatten().next().cloned()
    }
}

/// A port of some age is better than none: whoever holds many connections is not to end all resolving.
fn is_for_want_of_descriptors(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    [Errno::EMFILE, Errno::ENFILE]
        .map(|it| Some(it as i32))
        .contains(&errno)
}

/// One port: a socket, and who waits for what comes to it.
struct Port {
    socket: UdpSocket,
    born: Instant,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// Queries that this port has been of use for.
    uses: u32,
    by_id: HashMap<u16, Wait, RandomState>,
    /// Those whose query is to be sent.
    unsent: Vec<u16>,
}

/// One who waits.
struct Wait {
    query: Box<[u8]>,
    mismatches: u32,
    answered: Option<Answered>,
    waker: Option<Waker>,
}

impl Wait {
    fn tell(&mut self, answered: Answered) {
        self.answered = Some(answered);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Ports {
    pub(super) fn new(server: SocketAddr) -> Self {
        Self {
            server,
            open: Mutex::default(),
        }
    }

    /// Sends a query and waits, for ever if need be, for a message that fits it.
    pub(super) async fn exchange(&self, query: &[u8]) -> Answered {
        for _ in 0..PORTS {
            let port = self.port()?;
            match self.exchange_from(port.clone(), query).await {
                Err(Lost::Io(error)) if port.is_at_fault(&error) => port.give_up(),
                answered => return answered,
            }
        }
        self.exchange_from(self.port()?, query).await
    }

    async fn exchange_from(&self, mut port: Arc<Port>, query: &[u8]) -> Answered {
        let id = id_of(query);
        // Two queries with one id on one port could not be told apart; a new port is free of all.
        while !port.expect(id, query) {
            port = self.renew(&mut lock(&self.open))?;
        }
        let _leave = Leave { port: &port, id };
        port.clone().send_soon(id);
        poll_fn(|context| port.poll_answer(id, context)).await
    }

    /// The port from which the next query leaves, a new one where it has been of use for too long.
    fn port(&self) -> io::Result<Arc<Port>> {
        let mut open = lock(&self.open);
        if open.left == 0 {
            open.place = rand::rng().random_range(0..PORTS);
            open.left = RUN;
        }
        open.left -= 1;
        match &open.ports[open.place] {
            Some(port) if port.is_good() => Ok(port.clone()),
            _ => self.renew(&mut open).or_else(|error| {
                let kept = open.any().filter(|_| is_for_want_of_descriptors(&error));
                kept.ok_or(error)
            }),
        }
    }

    /// A new port in the place of the old one, which goes on listening for those who wait.
    fn renew(&self, open: &mut Open) -> io::Result<Arc<Port>> {
        let port = Port::open(self.server)?;
        open.ports[open.place] = Some(port.clone());
        Ok(port)
    }
}

/// Ends a wait, however it ends.
struct Leave<'a> {
    port: &'a Port,
    id: u16,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        lock(&self.port.waiting).by_id.remove(&self.id);
    }
}

impl Port {
    fn open(server: SocketAddr) -> io::Result<Arc<Self>> {
        let any: SocketAddr = match server {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = std::net::UdpSocket::bind(any)?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        let _ = setsockopt(&socket, sockopt::RcvBuf, &UNREAD_OCTETS);
        let port = Arc::new(Self {
            socket: UdpSocket::from_std(socket)?,
            born: Instant::now(),
            waiting: Mutex::default(),
        });
        tokio::spawn(listen(Arc::downgrade(&port)));
        Ok(port)
    }

    fn is_good(&self) -> bool {
        lock(&self.waiting).uses < USES_MAX && self.born.elapsed() < AGE_MAX
    }

    /// A port keeps the address of ours that it was opened with, and that may be gone. What befalls a new one is no fault of
    /// the port's, and neither is a server that is closed.
    fn is_at_fault(&self, error: &io::Error) -> bool {
        error.kind() != io::ErrorKind::ConnectionRefused && self.born.elapsed() > YOUTH
    }

    /// Whoever comes next has a new one.
    fn give_up(&self) {
        lock(&self.waiting).uses = USES_MAX;
    }

    /// Takes somebody in who waits for this id; not two for the same.
    fn expect(&self, id: u16, query: &[u8]) -> bool {
        let mut waiting = lock(&self.waiting);
        waiting.uses += 1;
        let Entry::Vacant(place) = waiting.by_id.entry(id) else {
            return false;
        };
        place.insert(Wait {
            query: query.into(),
            mismatches: 0,
            answered: None,
            waker: None,
        });
        true
    }

    /// Has a query sent when those that are on their way to here in this turn of the runtime have come: they leave together.
    fn send_soon(self: Arc<Self>, id: u16) {
        let mut waiting = lock(&self.waiting);
        waiting.unsent.push(id);
        if waiting.unsent.len() == 1 {
            drop(waiting);
            tokio::spawn(self.send_all());
        }
    }

    async fn send_all(self: Arc<Self>) {
        // The kernel takes them at once, but for when the network is slower than we are.
        while !self.try_send_all() {
            let full = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            let _ = self.socket.try_io(Interest::WRITABLE, full);
            if self.socket.writable().await.is_err() {
                return;
            }
        }
    }

    /// False: the kernel takes no more now.
    fn try_send_all(&self) -> bool {
        let mut waiting = lock(&self.waiting);
        let Waiting { by_id, unsent, .. } = &mut *waiting;
        while !unsent.is_empty() {
            // Who has left meanwhile needs no answer.
            unsent.retain(|id| by_id.contains_key(id));
            let batch = &unsent[..unsent.len().min(BATCH)];
            match send(&self.socket, batch.iter().map(|id| &*by_id[id].query)) {
                Ok(sent) => drop(unsent.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) => {
                    let first = by_id.get_mut(&unsent.remove(0));
                    let first = first.expect("those who have left were left out");
                    first.tell(Err(Lost::Io(error)));
                }
            }
        }
        true
    }

    fn poll_answer(&self, id: u16, context: &Context<'_>) -> Poll<Answered> {
        let mut waiting = lock(&self.waiting);
        let wait = waiting.by_id.get_mut(&id);
        let wait = wait.expect("it is there until the one who waits leaves");
        if let Some(answered) = wait.answered.take() {
            return Poll::Ready(answered);
        }
        match &mut wait.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Gives a datagram to the one who waits for it. What fits nobody is no reason to stop waiting
    /// (RFC 5452 §9.1 and the TuDoor papers).
    fn take(&self, datagram: &mut [u8], len: usize) {
        let mut waiting = lock(&self.waiting);
        let Some(wait) = waiting.by_id.get_mut(&id_of(&datagram[..len])) else {
            return;
        };
        let len = if len == DATAGRAM_OCTETS_MAX {
            as_truncated(datagram, &wait.query)
        } else {
            len
        };
        let reply = &datagram[..len];
        if fit(&wait.query, reply) == Fit::No {
            wait.mismatches += 1;
        } else if wait.answered.is_none() {
            wait.tell(Ok((reply.to_vec(), wait.mismatches)));
        }
    }

    /// Takes every datagram there is.
    fn hear(&self) {
        loop {
            let mut count = 0;
            let heard = self.socket.try_io(Interest::READABLE, || {
                count = receive(&self.socket, |datagram, len| self.take(datagram, len))?;
                match count {
                    BATCH => Ok(()),
                    // That was all: the runtime says when there is more.
                    _ => Err(io::ErrorKind::WouldBlock.into()),
                }
            });
            match heard {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => self.fail(&error),
            }
        }
    }

    /// A closed port is told by ICMP, and by the kernel as an error of the socket.
    fn hear_error(&self) {
        if let Ok(Some(error)) = self.socket.take_error() {
            self.fail(&error);
        }
        // The runtime holds an error to be there until it is told otherwise.
        let seen = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = self.socket.try_io(Interest::ERROR, seen);
    }

    /// Tells all who wait that the network says no.
    fn fail(&self, error: &io::Error) {
        for wait in lock(&self.waiting).by_id.values_mut() {
            wait.tell(Err(Lost::Io(error.kind().into())));
        }
    }
}

/// Sends at most [`BATCH`] datagrams. Returns how many the kernel has taken.
fn send<'q>(socket: &UdpSocket, queries: impl Iterator<Item = &'q [u8]>) -> io::Result<usize> {
    thread_local! {
        static SENT: RefCell<MultiHeaders<()>> =
            RefCell::new(MultiHeaders::preallocate(BATCH, None));
    }
    let mut parts = [[IoSlice::new(&[])]; BATCH];
    let mut count = 0;
    for (part, query) in parts.iter_mut().zip(queries) {
        *part = [IoSlice::new(query)];
        count += 1;
    }
    let (parts, flags) = (parts[..count].iter(), MsgFlags::MSG_DONTWAIT);
    SENT.with_borrow_mut(|headers| {
        let sent = sendmmsg(socket.as_raw_fd(), headers, parts, [None; BATCH], [], flags)?;
        Ok(sent.count())
    })
}

/// Takes at most [`BATCH`] datagrams. Returns how many there were.
fn receive(socket: &UdpSocket, mut take: impl FnMut(&mut [u8], usize)) -> io::Result<usize> {
    /// What the ports of a thread share.
    struct Room {
        headers: MultiHeaders<()>,
        datagrams: Box<[[u8; DATAGRAM_OCTETS_MAX]; BATCH]>,
    }
    thread_local! {
        static ROOM: RefCell<Room> = RefCell::new(Room {
            headers: MultiHeaders::preallocate(BATCH, None),
            datagrams: vec![[0; DATAGRAM_OCTETS_MAX]; BATCH]
                .into_boxed_slice()
                .try_into()
                .expect("it was made of this length"),
        });
    }
    ROOM.with_borrow_mut(|Room { headers, datagrams }| {
        let mut lens = [0; BATCH];
        let mut count = 0;
        {
            let mut parts = datagrams.each_mut().map(|it| [IoSliceMut::new(it)]);
            let flags = MsgFlags::MSG_DONTWAIT;
            for message in recvmmsg(socket.as_raw_fd(), headers, parts.iter_mut(), flags, None)? {
                lens[count] = message.bytes;
                count += 1;
            }
        }
        for (datagram, len) in datagrams.iter_mut().zip(&lens[..count]) {
            take(datagram, *len);
        }
        Ok(count)
    })
}

/// Reads a port's datagrams for as long as somebody holds it.
async fn listen(port: Weak<Port>) {
    let wanted = Interest::READABLE | Interest::ERROR;
    while let Some(port) = port.upgrade() {
        // A port that is given up is let go when it has been silent for a while.
        let Ok(ready) = tokio::time::timeout(AGE_MAX, port.socket.ready(wanted)).await else {
            continue;
        };
        match ready {
            Ok(ready) if ready.is_error() => port.hear_error(),
            Ok(_) => port.hear(),
            Err(_) => return,
        }
    }
}

/// Makes a reply that the kernel has cut, because it is longer than we take, one that says so itself: TC, and
/// nothing behind the question. Returns its length.
fn as_truncated(reply: &mut [u8], query: &[u8]) -> usize {
    reply[2] |= TC;
    reply[6..12].fill(0);
    let question = Query::read(query).map_or(0, |query| query.question().len());
    12 + question
}

fn id_of(message: &[u8]) -> u16 {
    message
        .first_chunk()
        .map_or(0, |id| u16::from_be_bytes(*id))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder of this lock panics")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A query of this id for `a.example A`.
    fn query(id: u16) -> Vec<u8> {
        [
            &id.to_be_bytes()[..],
            b"\x01\0\0\x01\0\0\0\0\0\0\x01a\x07example\0\0\x01\0\x01",
        ]
        .concat()
    }

    fn reply(query: &[u8]) -> Vec<u8> {
        let mut reply = query.to_vec();
        reply[2] |= 0x80;
        reply
    }

    async fn server() -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("bound");
        (socket, address)
    }

    async fn receive(server: &UdpSocket) -> (Vec<u8>, SocketAddr) {
        let mut datagram = vec![0; 512];
        let (len, client) = server.recv_from(&mut datagram).await.expect("a query");
        datagram.truncate(len);
        (datagram, client)
    }

    #[tokio::test]
    async fn each_query_gets_the_reply_that_fits_it() {
        let (server, address) = server().await;
        let ports = Arc::new(Ports::new(address));
        let answering = tokio::spawn(async move {
            let mut asked = Vec::new();
            for _ in 0..200 {
                asked.push(receive(&server).await);
            }
            // The last is answered first.
            for (query, client) in asked.iter().rev() {
                server.send_to(&reply(query), client).await.expect("sent");
            }
            let ports: std::collections::HashSet<u16> =
                asked.iter().map(|(_, client)| client.port()).collect();
            ports.len()
        });
        let mut waiting = tokio::task::JoinSet::new();
        for id in 0..200 {
            let ports = ports.clone();
            waiting.spawn(async move { (id, ports.exchange(&query(id)).await) });
        }
        while let Some(done) = waiting.join_next().await {
            let (id, answered) = done.expect("no panic");
            assert_eq!(answered.expect("a reply").0, reply(&query(id)));
        }
        let used = answering.await.expect("no panic");
        assert!((2..=PORTS).contains(&used), "{used} ports");
        let nobody = |port: &Arc<Port>| lock(&port.waiting).by_id.is_empty();
        assert!(lock(&ports.open).ports.iter().flatten().all(nobody));
    }

    #[tokio::test]
    async fn what_does_not_fit_is_counted_and_waited_out() {
        let (server, address) = server().await;
        let ports = Ports::new(address);
        let answering = async {
            let (query, client) = receive(&server).await;
            let mut other_id = reply(&query);
            other_id[0] ^= 1;
            let mut other_name = reply(&query);
            other_name[13] ^= 1;
            for wrong in [
                &other_id,
                &other_name,
                &b"xx".to_vec(),
                &other_name,
                &reply(&query),
            ] {
                server.send_to(wrong, client).await.expect("sent");
            }
        };
        let (answered, ()) = tokio::join!(
            ports.exchange(b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01"),
            answering
        );
        // Those with another id are nobody's.
        assert_eq!(answered.expect("a reply").1, 2);
    }

    #[tokio::test]
    async fn a_closed_port_is_known_at_once() {
        let (server, address) = server().await;
        drop(server);
        let ports = Ports::new(address);
        let answered =
            tokio::time::timeout(Duration::from_secs(10), ports.exchange(&query(1))).await;
        assert!(matches!(answered.expect("at once"), Err(Lost::Io(_))));
    }

    #[tokio::test]
    async fn one_id_is_not_used_twice_on_one_port() {
        let (server, address) = server().await;
        let ports = Arc::new(Ports::new(address));
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let ports = ports.clone();
            waiting.spawn(async move { ports.exchange(&query(7)).await.expect("a reply") });
        }
        let mut clients = std::collections::HashSet::new();
        for _ in 0..100 {
            let (query, client) = receive(&server).await;
            assert!(
                clients.insert(client),
                "two queries of one id from {client}"
            );
            server.send_to(&reply(&query), client).await.expect("sent");
            // Leaves no doubt that both may be under way at once.
            tokio::task::yield_now().await;
            clients.remove(&client);
        }
        while waiting.join_next().await.is_some() {}
    }

    #[tokio::test]
    async fn a_port_is_given_up_after_its_uses() {
        let (server, address) = server().await;
        let ports = Ports::new(address);
        let here = || {
            ports
                .port()
                .expect("a port")
                .socket
                .local_addr()
                .expect("bound")
        };
        let first = here();
        assert_eq!(here(), first);
        let place = lock(&ports.open).place;
        let port = lock(&ports.open).ports[place].clone().expect("it is open");
        lock(&port.waiting).uses = USES_MAX;
        assert_ne!(here(), first);
        drop(server);
    }
}
