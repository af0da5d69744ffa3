//! Datagrams: taken as many at a time as there are, answered in place, sent together.
//!
//! Each socket has a thread of its own that sleeps in the kernel until something
//! comes. It never waits for anything else: what takes waiting is handed to the
//! runtime, which sends the reply by itself.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    MsgFlags, MultiHeaders, Shutdown, SockaddrStorage, recvmmsg, sendmmsg, shutdown,
};
use tokio::runtime::Handle;

use super::{Client, Road, Step, Transport};

/// Datagrams taken and sent at a time: beyond some dozens a system call costs next to nothing per datagram.
const BATCH: usize = 32;
/// A query has at most 12 + 259 octets and an OPT; of a longer one the head is enough to refuse it.
const QUERY_OCTETS_MAX: usize = 4096;
/// What a reply buffer holds from the first day; `listen.udp_payload` is at most this.
const REPLY_OCTETS: usize = 4096;
/// A socket that fails is tried again after this.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);

/// A socket being served.
pub(super) struct Served {
    socket: Arc<UdpSocket>,
    stopped: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Served {
    /// Ends the thread once it has sent what it holds.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        // Says that the socket is not connected, and wakes whoever sleeps on it all the same (inet_shutdown in Linux).
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Read);
    }

    /// Waits for the thread, after a [`Served::stop`].
    pub(super) fn join(self) {
        let _ = self.thread.join();
    }
}

/// Serves one socket on a thread of its own. `waiting` counts the queries handed to `runtime` and not yet answered.
pub(super) fn serve<R: Road>(
    socket: UdpSocket,
    road: Arc<R>,
    runtime: Handle,
    waiting: Arc<AtomicUsize>,
) -> io::Result<Served> {
    socket.set_nonblocking(false)?;
    let address = socket.local_addr()?;
    let is_wildcard = address.ip().is_unspecified();
    if is_wildcard {
        ancillary::ask_for_destination(&socket, address)?;
    }
    let socket = Arc::new(socket);
    let stopped = Arc::new(AtomicBool::new(false));
    let later = Later {
        road,
        socket: socket.clone(),
        runtime,
        waiting,
    };
    let told = stopped.clone();
    let thread = std::thread::Builder::new()
        .name(format!("udp {address}"))
        .spawn(move || {
            // What the road begins on the way, such as a fetch that nobody waits for, is the runtime's.
            let runtime = later.runtime.clone();
            let _runtime = runtime.enter();
            if is_wildcard {
                serve_one_by_one(&later, &told);
            } else {
                serve_in_batches(&later, &told);
            }
        })?;
    Ok(Served {
        socket,
        stopped,
        thread,
    })
}

/// Where queries go that wait.
struct Later<R: Road> {
    road: Arc<R>,
    socket: Arc<UdpSocket>,
    runtime: Handle,
    waiting: Arc<AtomicUsize>,
}

impl<R: Road> Later<R> {
    /// Has a query answered by the runtime, and the reply sent with `send`.
    fn hand_over(
        &self,
        pending: R::Pending,
        send: impl FnOnce(&UdpSocket, &[u8]) + Send + 'static,
    ) {
        let (road, socket) = (self.road.clone(), self.socket.clone());
        let place = Counted::new(&self.waiting);
        self.runtime.spawn(async move {
            let ready = road.answer_later(pending).await;
            let mut out = Vec::new();
            road.finish(ready, &mut out);
            send(&socket, &out);
            drop(place);
        });
    }
}

/// One of those that wait.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// A batch of datagrams on their way in and out. Nothing in it is made anew for a batch.
struct Batch {
    queries: Box<[[u8; QUERY_OCTETS_MAX]; BATCH]>,
    received: MultiHeaders<SockaddrStorage>,
    /// Length and sender of each query received.
    arrivals: [Option<(usize, SockaddrStorage)>; BATCH],
    replies: [Vec<u8>; BATCH],
    /// To whom each reply goes.
    clients: [Option<SockaddrStorage>; BATCH],
    sent: MultiHeaders<SockaddrStorage>,
}

impl Batch {
    fn new() -> Self {
        let queries = vec![[0; QUERY_OCTETS_MAX]; BATCH].into_boxed_slice();
        Self {
            queries: queries.try_into().expect("it was made of this length"),
            received: MultiHeaders::preallocate(BATCH, None),
            arrivals: [None; BATCH],
            replies: std::array::from_fn(|_| Vec::with_capacity(REPLY_OCTETS)),
            clients: [None; BATCH],
            sent: MultiHeaders::preallocate(BATCH, None),
        }
    }

    /// Sleeps until there is a datagram, and takes all there are. Returns how many.
    fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        let mut parts = self
            .queries
            .each_mut()
            .map(|query| [io::IoSliceMut::new(query)]);
        let received = recvmmsg(
            socket.as_raw_fd(),
            &mut self.received,
            parts.iter_mut(),
            MsgFlags::MSG_WAITFORONE,
            None,
        )?;
        let mut count = 0;
        for message in received {
            self.arrivals[count] = message.address.map(|address| (message.bytes, address));
            count += 1;
        }
        Ok(count)
    }

    /// Sends the first `count` replies.
    fn send(&mut self, socket: &UdpSocket, count: usize) {
        let mut first = 0;
        while first < count {
            let parts =
                std::array::from_fn::<_, BATCH, _>(|i| [io::IoSlice::new(&self.replies[i])]);
            let sent = sendmmsg(
                socket.as_raw_fd(),
                &mut self.sent,
                parts[first..count].iter(),
                &self.clients[first..count],
                [],
                MsgFlags::empty(),
            );
            // The one that the kernel does not take is lost, as datagrams are; the rest is not.
            first += sent.map_or(1, |sent| sent.count().max(1));
        }
    }
}

fn serve_in_batches<R: Road>(later: &Later<R>, stopped: &AtomicBool) {
    let mut batch = Batch::new();
    while !stopped.load(Ordering::Acquire) {
        let Some(received) = or_pause(batch.receive(&later.socket)) else {
            continue;
        };
        let now = Instant::now();
        let mut replies = 0;
        for i in 0..received {
            let Some((len, sender)) = batch.arrivals[i] else {
                continue;
            };
            if is_wake_up(len, stopped) {
                continue;
            }
            let Some(address) = ancillary::to_std(&sender) else {
                continue;
            };
            let client = Client {
                address,
                transport: Transport::Udp,
            };
            let query = &batch.queries[i][..len.min(QUERY_OCTETS_MAX)];
            match later
                .road
                .answer_now(query, &client, now, &mut batch.replies[replies])
            {
                Step::Reply => {
                    batch.clients[replies] = Some(sender);
                    replies += 1;
                }
                Step::Silence => {}
                Step::Later(pending) => later.hand_over(pending, move |socket, reply| {
                    // A client that has gone, or a network that is down, is no matter of ours.
                    let _ = socket.send_to(reply, address);
                }),
            }
        }
        batch.send(&later.socket, replies);
    }
}

/// The same for a socket bound to `0.0.0.0` or `::`, whose replies have to name their source (RFC 2181 §4.1).
fn serve_one_by_one<R: Road>(later: &Later<R>, stopped: &AtomicBool) {
    let mut query = [0; QUERY_OCTETS_MAX];
    let mut reply = Vec::with_capacity(REPLY_OCTETS);
    while !stopped.load(Ordering::Acquire) {
        let Some((len, path)) = or_pause(ancillary::receive(&later.socket, &mut query)) else {
            continue;
        };
        if is_wake_up(len, stopped) {
            continue;
        }
        let client = Client {
            address: path.client,
            transport: Transport::Udp,
        };
        match later
            .road
            .answer_now(&query[..len], &client, Instant::now(), &mut reply)
        {
            Step::Reply => ancillary::send(&later.socket, &reply, path),
            Step::Silence => {}
            Step::Later(pending) => {
                later.hand_over(pending, move |socket, reply| {
                    ancillary::send(socket, reply, path);
                });
            }
        }
    }
}

/// A socket that is shut down reads as an empty datagram, from whoever sent the one before: nobody's query.
fn is_wake_up(len: usize, stopped: &AtomicBool) -> bool {
    len == 0 && stopped.load(Ordering::Acquire)
}

/// What was received; nothing after an error, which a signal is none of and others are waited out.
fn or_pause<T>(received: io::Result<T>) -> Option<T> {
    let error = match received {
        Ok(received) => return Some(received),
        Err(error) => error,
    };
    if error.kind() != io::ErrorKind::Interrupted {
        std::thread::sleep(PAUSE_AFTER_ERROR);
    }
    None
}

/// The address a datagram was sent to, asked from and told to the kernel (ip(7), IP_PKTINFO; RFC 3542 §6).
mod ancillary {
    use std::io::{self, IoSlice, IoSliceMut};
    use std::net::SocketAddr;
    use std::os::fd::AsRawFd;

    use nix::libc::{in_pktinfo, in6_pktinfo};
    use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage};
    use nix::sys::socket::{recvmsg, sendmsg, setsockopt, sockopt};

    /// Where a datagram came from, and to which of our addresses.
    #[derive(Clone, Copy)]
    pub(super) struct Path {
        pub(super) client: SocketAddr,
        ours: Option<Ours>,
    }

    #[derive(Clone, Copy)]
    enum Ours {
        V4(in_pktinfo),
        V6(in6_pktinfo),
    }

    pub(super) fn ask_for_destination(
        socket: &std::net::UdpSocket,
        address: SocketAddr,
    ) -> io::Result<()> {
        match address {
            SocketAddr::V4(_) => setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?,
            SocketAddr::V6(_) => setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?,
        }
        Ok(())
    }

    pub(super) fn receive(socket: &impl AsRawFd, datagram: &mut [u8]) -> io::Result<(usize, Path)> {
        let mut control = nix::cmsg_space!(in6_pktinfo);
        let mut parts = [IoSliceMut::new(datagram)];
        let received = recvmsg::<SockaddrStorage>(
            socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::empty(),
        )?;
        let client = received
            .address
            .as_ref()
            .and_then(to_std)
            .ok_or(io::ErrorKind::Interrupted)?;
        let mut ours = None;
        for message in received.cmsgs()? {
            if let ControlMessageOwned::Ipv4PacketInfo(info) = message {
                ours = Some(Ours::V4(info));
            } else if let ControlMessageOwned::Ipv6PacketInfo(info) = message {
                ours = Some(Ours::V6(info));
            }
        }
        Ok((received.bytes, Path { client, ours }))
    }

    /// A client that has gone, or a network that is down, is no matter of ours.
    pub(super) fn send(socket: &impl AsRawFd, datagram: &[u8], path: Path) {
        let parts = [IoSlice::new(datagram)];
        let client = SockaddrStorage::from(path.client);
        let fd = socket.as_raw_fd();
        let _ = match &path.ours {
            Some(Ours::V4(info)) => sendmsg(
                fd,
                &parts,
                &[ControlMessage::Ipv4PacketInfo(info)],
                MsgFlags::empty(),
                Some(&client),
            ),
            Some(Ours::V6(info)) => sendmsg(
                fd,
                &parts,
                &[ControlMessage::Ipv6PacketInfo(info)],
                MsgFlags::empty(),
                Some(&client),
            ),
            None => sendmsg(fd, &parts, &[], MsgFlags::empty(), Some(&client)),
        };
    }

    pub(super) fn to_std(address: &SockaddrStorage) -> Option<SocketAddr> {
        let v4 = address
            .as_sockaddr_in()
            .map(|it| SocketAddr::new(it.ip().into(), it.port()));
        v4.or_else(|| {
            address
                .as_sockaddr_in6()
                .map(|it| SocketAddr::V6((*it).into()))
        })
    }
}
