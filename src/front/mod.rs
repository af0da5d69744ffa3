//! Sockets. Octets in, octets out; framing, limits, and nothing of what they mean.
//!
//! A front reads messages and takes each down the [`Road`]; what the road has
//! written goes back to where the message came from. It never looks into one.

mod owner;
mod sockets;
mod tcp;
mod udp;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Acquire};
use std::time::{Duration, Instant};

pub use owner::{listeners_on, owner_of};
pub use sockets::{Bound, NotBound, bind};

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
    /// Queries that came by UDP and wait.
    waiting: Arc<AtomicUsize>,
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
            waiting: Arc::default(),
        };
        let runtime = tokio::runtime::Handle::current();
        for socket in bound.udp {
            let served = udp::serve(socket, road.clone(), runtime.clone(), front.waiting.clone())?;
            front.udp.push(served);
        }
        let limits = tcp::Limits {
            idle: listen.tcp_idle,
            clients_max: listen.tcp_max_clients,
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
        let threads = std::mem::take(&mut self.udp);
        let drained = async {
            let joined =
                tokio::task::spawn_blocking(|| threads.into_iter().for_each(udp::Served::join));
            let _ = joined.await;
            while self.tcp.join_next().await.is_some() {}
            while self.connections.load(Acquire) + self.waiting.load(Acquire) > 0 {
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

/// Waits until the fronts are told to stop.
async fn told_to_stop(stopped: &mut tokio::sync::watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Echoes, after it has begun something that nobody waits for.
    struct Echo(AtomicUsize);

    impl Road for Echo {
        type Pending = ();
        type Ready = ();

        fn answer_now(
            self: &Arc<Self>,
            octets: &[u8],
            _: &Client,
            _: Instant,
            out: &mut Vec<u8>,
        ) -> Step<()> {
            let road = self.clone();
            tokio::spawn(async move { road.0.fetch_add(1, Acquire) });
            out.clear();
            out.extend_from_slice(octets);
            Step::Reply
        }

        async fn answer_later(self: &Arc<Self>, (): ()) {}

        fn finish(self: &Arc<Self>, (): (), _: &mut Vec<u8>) {}
    }

    #[tokio::test]
    async fn what_a_road_begins_on_the_way_is_carried_out() {
        let mut listen = config::Config::default().listen;
        listen.addresses = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        let bound = bind(&listen.addresses, 2).expect("a port");
        let address = bound.addresses()[0];
        let echo = Arc::new(Echo(AtomicUsize::new(0)));
        let front = Front::serve(bound, &listen, &echo).expect("served");
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let mut reply = [0; 16];
        for query in [b"one", b"two"] {
            socket.send_to(query, address).await.expect("sent");
            let received = tokio::time::timeout(Duration::from_secs(10), socket.recv(&mut reply));
            let len = received.await.expect("it answers").expect("a reply");
            assert_eq!(&reply[..len], query);
        }
        front.stop(Duration::from_secs(2)).await;
        tokio::task::yield_now().await;
        assert_eq!(echo.0.load(Acquire), 2);
    }
}
