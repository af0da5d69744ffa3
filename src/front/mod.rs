//! Sockets. Octets in, octets out; framing, limits, and nothing of what they mean.
//!
//! A front reads messages and takes each down the [`Road`]; what the road has
//! written goes back to where the message came from. It never looks into one.

mod handed;
mod owner;
mod sockets;
mod tcp;
mod udp;
mod unread;

use std::fs;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Acquire};
use std::time::{Duration, Instant};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

pub use handed::{Unfit, adopt};
pub use owner::{listeners_on, owner_of};
pub use sockets::{Bound, Keeper, NotBound, bind};
pub use unread::Unread;

use crate::config;

/// The two transports that every listen address serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the words say it")]
pub enum Transport {
    Udp,
    Tcp,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// From where.
    pub address: SocketAddr,
    /// How.
    pub transport: Transport,
}

impl Client {
    /// Whom limits count as one client: an address, in the form that it has in both families.
    pub fn origin(&self) -> IpAddr {
        self.address.ip().to_canonical()
    }
}

/// What became of a message.
#[must_use]
pub enum Step<P> {
    /// The reply is written.
    Reply,
    /// There is none.
    Silence,
    /// It takes waiting.
    Later(P),
}

/// What every message goes through, whatever carries it.
pub trait Road: Send + Sync + 'static {
    /// A query that waits.
    type Pending: Send + 'static;
    /// A query that has waited: no larger for a large reply, which is written when there is somewhere to put it.
    type Ready: Send + 'static;

    /// Takes a message as far as it goes without waiting; the reply is written into `out` in place of what it held.
    /// What it begins for which no client waits is done elsewhere: the thread of a front may sleep.
    fn answer_now(
        self: &Arc<Self>,
        octets: &[u8],
        client: &Client,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Step<Self::Pending>;

    /// Waits for what the query has to wait for.
    fn answer_later(
        self: &Arc<Self>,
        pending: Self::Pending,
    ) -> impl Future<Output = Self::Ready> + Send;

    /// Takes it the rest of the way: the reply is written into `out` in place of what it held.
    fn finish(self: &Arc<Self>, ready: Self::Ready, out: &mut Vec<u8>);
}

/// The running fronts.
pub struct Front {
    stop: tokio::sync::watch::Sender<bool>,
    udp: Vec<udp::Served>,
    tcp: tokio::task::JoinSet<()>,
    connections: Arc<AtomicUsize>,
}

impl Front {
    /// Serves every socket until told to stop. To be called inside the runtime.
    ///
    /// # Errors
    /// When the kernel does not give a thread or let the runtime watch a socket.
    pub fn serve<R: Road>(
        bound: Bound,
        listen: &config::Listen,
        road: &Arc<R>,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let mut front = Self {
            stop,
            udp: Vec::new(),
            tcp: tokio::task::JoinSet::new(),
            connections: Arc::default(),
        };
        for socket in bound.udp {
            front
                .udp
                .push(udp::serve(socket, bound.keeper, road.clone())?);
        }
        let limits = tcp::Limits {
            idle: listen.tcp_idle,
            clients_max: clients_max(listen.tcp_max_clients),
        };
        let clients = Arc::new(tcp::Clients::new(limits, front.connections.clone()));
        for listener in bound.tcp {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            front.tcp.spawn(tcp::serve(
                listener,
                clients.clone(),
                road.clone(),
                stopped.clone(),
            ));
        }
        Ok(front)
    }

    /// Open TCP connections, as a counter to be read at any time.
    pub fn connections(&self) -> Arc<AtomicUsize> {
        self.connections.clone()
    }

    /// Takes no more queries, answers what is on its way for at most `patience`, and closes.
    pub async fn stop(mut self, patience: Duration) {
        let _ = self.stop.send(true);
        self.udp.iter().for_each(udp::Served::stop);
        let drained = async {
            while self.tcp.join_next().await.is_some() {}
            let all_sent = || self.udp.iter().all(udp::Served::is_done);
            while self.connections.load(Acquire) > 0 || !all_sent() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let _ = tokio::time::timeout(patience, drained).await;
    }
}

/// Fronts that nobody stopped end all the same, and their threads with them.
impl Drop for Front {
    fn drop(&mut self) {
        self.udp.iter().for_each(udp::Served::stop);
    }
}

/// As many connections as are wanted, and no more than half of the descriptors that are left: the other half is for
/// those who ask upstreams and read the policy, whom no client is to keep from it.
fn clients_max(wanted: usize) -> usize {
    let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((RLIM_INFINITY, RLIM_INFINITY));
    let left = usize::try_from(limit)
        .unwrap_or(usize::MAX)
        .saturating_sub(open);
    let share = (left / 2).max(1);
    if share < wanted {
        tracing::warn!(
            limit,
            "descriptors are enough for {share} TCP clients (listen.tcp_max_clients = {wanted})"
        );
    }
    wanted.min(share)
}

/// Waits until the fronts are told to stop.
async fn told_to_stop(stopped: &mut tokio::sync::watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says back what it hears, a `?` after a while.
    struct Echo;

    impl Road for Echo {
        type Pending = Vec<u8>;
        type Ready = Vec<u8>;

        fn answer_now(
            self: &Arc<Self>,
            octets: &[u8],
            _: &Client,
            _: Instant,
            out: &mut Vec<u8>,
        ) -> Step<Vec<u8>> {
            if octets == b"?" {
                return Step::Later(octets.to_vec());
            }
            out.clear();
            out.extend_from_slice(octets);
            Step::Reply
        }

        async fn answer_later(self: &Arc<Self>, pending: Vec<u8>) -> Vec<u8> {
            tokio::time::sleep(Duration::from_millis(100)).await;
            pending
        }

        fn finish(self: &Arc<Self>, ready: Vec<u8>, out: &mut Vec<u8>) {
            out.clear();
            out.extend_from_slice(&ready);
        }
    }

    /// What a front on this address says back to each of these, sent one after the other.
    async fn said_back(address: SocketAddr, queries: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut listen = config::Config::default().listen;
        listen.addresses = vec![address];
        let bound = bind(&listen.addresses, 1).expect("a port");
        let port = bound.addresses()[0].port();
        let front = Front::serve(bound, &listen, &Arc::new(Echo)).expect("served");
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0")
            .await
            .expect("a port");
        for query in queries {
            let to = SocketAddr::from(([127, 0, 0, 1], port));
            socket.send_to(query, to).await.expect("sent");
        }
        let mut replies = Vec::new();
        let mut reply = [0; 16];
        for _ in queries {
            let received = tokio::time::timeout(Duration::from_secs(10), socket.recv(&mut reply));
            let len = received.await.expect("it answers").expect("a reply");
            replies.push(reply[..len].to_vec());
        }
        front.stop(Duration::from_secs(2)).await;
        replies
    }

    #[tokio::test]
    async fn those_who_wait_keep_nobody_waiting() {
        for address in ["127.0.0.1:0", "0.0.0.0:0"] {
            let address = address.parse().expect("an address");
            let replies = said_back(address, &[b"a", b"?", b"b", b"?", b"c"]).await;
            assert_eq!(replies, [b"a", b"b", b"c", b"?", b"?"]);
        }
    }

    #[tokio::test]
    async fn those_who_wait_are_answered_after_a_stop() {
        let mut listen = config::Config::default().listen;
        listen.addresses = vec!["127.0.0.1:0".parse().expect("an address")];
        let bound = bind(&listen.addresses, 1).expect("a port");
        let address = bound.addresses()[0];
        let front = Front::serve(bound, &listen, &Arc::new(Echo)).expect("served");
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let mut reply = [0; 16];
        for query in [b"?", b"a"] {
            socket.send_to(query, address).await.expect("sent");
        }
        // The one that waits is taken when the one behind it is answered.
        let len = socket.recv(&mut reply).await.expect("a reply");
        assert_eq!(&reply[..len], b"a");
        front.stop(Duration::from_secs(10)).await;
        let len = socket
            .try_recv(&mut reply)
            .expect("it was answered before the end");
        assert_eq!(&reply[..len], b"?");
    }
}
