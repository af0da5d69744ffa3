//! The UDP ports from which one server is asked.
//!
//! Each is a connected socket: the kernel drops what comes from elsewhere (RFC 5452
//! §9.2), and says at once when the server's port is closed. Queries choose one of
//! a handful at random, and each port is given up for a new one, also random, before
//! it has been of use for long: a forger has to guess it together with the id.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use rand::RngExt;
use tokio::net::UdpSocket;
use tokio::sync::oneshot;

use super::carrier::Lost;
use super::message::{Fit, fit};
use crate::wire::Query;

/// Ports of one server at a time.
const PORTS: usize = 16;
/// A port is given up after so many queries, or after so long.
const USES_MAX: u32 = 2000;
const AGE_MAX: Duration = Duration::from_secs(30);
/// We offer 1232 octets; servers that send more are read all the same, up to this. Beyond it they are asked over TCP.
const DATAGRAM_OCTETS_MAX: usize = 4096;
/// TC, in the third octet of a header (RFC 1035 §4.1.1).
const TC: u8 = 0x02;

/// A reply, and the number of messages that came in its place and were none.
type Answered = Result<(Vec<u8>, u32), Lost>;

/// The ports of one server.
pub(super) struct Ports {
    server: SocketAddr,
    open: [Mutex<Option<Arc<Port>>>; PORTS],
}

/// One port: a socket, and who waits for what comes to it.
struct Port {
    socket: UdpSocket,
    born: Instant,
    uses: AtomicU32,
    waiting: Mutex<HashMap<u16, Waiting>>,
}

struct Waiting {
    query: Box<[u8]>,
    mismatches: u32,
    answer: oneshot::Sender<Answered>,
}

impl Ports {
    pub(super) fn new(server: SocketAddr) -> Self {
        Self {
            server,
            open: Default::default(),
        }
    }

    /// Sends a query and waits, for ever if need be, for a message that fits it.
    pub(super) async fn exchange(&self, query: &[u8]) -> Answered {
        let place = rand::rng().random_range(0..PORTS);
        let mut port = self.port(place)?;
        let (answer, answered) = oneshot::channel();
        let mut waiting = Waiting {
            query: query.into(),
            mismatches: 0,
            answer,
        };
        let id = id_of(query);
        // Two queries with one id on one port could not be told apart; a new port is free of all.
        while let Err(refused) = port.expect(id, waiting) {
            waiting = refused;
            port = self.renew(place)?;
        }
        let _leave = Leave { port: &port, id };
        port.socket.send(query).await?;
        answered
            .await
            .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::ConnectionAborted).into()))
    }

    /// The port at a place of the pool, a new one where there is none or it has been of use for too long.
    fn port(&self, place: usize) -> io::Result<Arc<Port>> {
        let open = lock(&self.open[place]).clone();
        match open.filter(|port| port.is_good()) {
            Some(port) => Ok(port),
            None => self.renew(place),
        }
    }

    /// A new port in the place of the old one, which goes on listening for those who wait.
    fn renew(&self, place: usize) -> io::Result<Arc<Port>> {
        let port = Port::open(self.server)?;
        *lock(&self.open[place]) = Some(port.clone());
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
        lock(&self.port.waiting).remove(&self.id);
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
        let port = Arc::new(Self {
            socket: UdpSocket::from_std(socket)?,
            born: Instant::now(),
            uses: AtomicU32::new(0),
            waiting: Mutex::default(),
        });
        tokio::spawn(listen(Arc::downgrade(&port)));
        Ok(port)
    }

    fn is_good(&self) -> bool {
        self.uses.fetch_add(1, Relaxed) < USES_MAX && self.born.elapsed() < AGE_MAX
    }

    /// Takes somebody in who waits for this id; not two for the same.
    fn expect(&self, id: u16, waiting: Waiting) -> Result<(), Waiting> {
        match lock(&self.waiting).entry(id) {
            Entry::Vacant(place) => {
                place.insert(waiting);
                Ok(())
            }
            Entry::Occupied(_) => Err(waiting),
        }
    }

    /// Gives a datagram to the one who waits for it. What fits nobody is no reason to stop waiting
    /// (RFC 5452 §9.1 and the TuDoor papers).
    fn take(&self, datagram: &mut [u8], len: usize) {
        let mut waiting = lock(&self.waiting);
        let Entry::Occupied(mut place) = waiting.entry(id_of(&datagram[..len])) else {
            return;
        };
        let len = if len == DATAGRAM_OCTETS_MAX {
            as_truncated(datagram, &place.get().query)
        } else {
            len
        };
        let reply = &datagram[..len];
        if fit(&place.get().query, reply) == Fit::No {
            place.get_mut().mismatches += 1;
            return;
        }
        let Waiting {
            mismatches, answer, ..
        } = place.remove();
        // Who has stopped waiting needs no answer.
        let _ = answer.send(Ok((reply.to_vec(), mismatches)));
    }

    /// Tells all who wait that the network says no.
    fn fail(&self, error: &io::Error) {
        for (_, waiting) in lock(&self.waiting).drain() {
            let _ = waiting.answer.send(Err(Lost::Io(error.kind().into())));
        }
    }
}

/// Reads a port's datagrams for as long as somebody holds it.
async fn listen(port: Weak<Port>) {
    let mut datagram = vec![0; DATAGRAM_OCTETS_MAX];
    while let Some(port) = port.upgrade() {
        // A port that is given up is let go when it has been silent for a while.
        let Ok(ready) = tokio::time::timeout(AGE_MAX, port.socket.readable()).await else {
            continue;
        };
        if ready.is_err() {
            return;
        }
        loop {
            match port.socket.try_recv(&mut datagram) {
                Ok(len) => port.take(&mut datagram, len),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => port.fail(&error),
            }
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
