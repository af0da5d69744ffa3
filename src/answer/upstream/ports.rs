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
use tokio::io::Interest;
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

    /// Takes every datagram there is.
    fn hear(&self, datagram: &mut [u8]) {
        loop {
            match self.socket.try_recv(datagram) {
                Ok(len) => self.take(datagram, len),
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
        for (_, waiting) in lock(&self.waiting).drain() {
            let _ = waiting.answer.send(Err(Lost::Io(error.kind().into())));
        }
    }
}

/// Reads a port's datagrams for as long as somebody holds it.
async fn listen(port: Weak<Port>) {
    let mut datagram = vec![0; DATAGRAM_OCTETS_MAX];
    let wanted = Interest::READABLE | Interest::ERROR;
    while let Some(port) = port.upgrade() {
        // A port that is given up is let go when it has been silent for a while.
        let Ok(ready) = tokio::time::timeout(AGE_MAX, port.socket.ready(wanted)).await else {
            continue;
        };
        match ready {
            Ok(ready) if ready.is_error() => port.hear_error(),
            Ok(_) => port.hear(&mut datagram),
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
        assert!(ports.open.iter().all(|port| {
            lock(port)
                .as_ref()
                .is_none_or(|it| lock(&it.waiting).is_empty())
        }));
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
        let first = ports
            .port(0)
            .expect("a port")
            .socket
            .local_addr()
            .expect("bound");
        let still = ports
            .port(0)
            .expect("a port")
            .socket
            .local_addr()
            .expect("bound");
        assert_eq!(first, still);
        lock(&ports.open[0])
            .as_ref()
            .expect("it is open")
            .uses
            .store(USES_MAX, Relaxed);
        let next = ports
            .port(0)
            .expect("a port")
            .socket
            .local_addr()
            .expect("bound");
        assert_ne!(first, next);
        drop(server);
    }
}
