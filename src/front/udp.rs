//! Datagrams: taken as many at a time as there are, answered in place, sent together.
//!
//! Each socket has a thread of its own, and the thread a runtime of its own. While
//! no query waits, the thread sleeps in the kernel on its socket alone, which is
//! what costs least; while some do, the runtime watches the socket with all else.
//! No query changes threads, and replies that are ready in one turn leave together.

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    MsgFlags, MultiHeaders, Shutdown, SockaddrStorage, recvmmsg, sendmmsg, shutdown,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

use super::{Client, Keeper, Road, Step, Transport};

/// Datagrams taken and sent at a time: beyond some dozens a system call costs next to nothing per datagram.
const BATCH: usize = 32;
/// A query has at most 12 + 259 octets and an OPT; of a longer one the head is enough to refuse it.
const QUERY_OCTETS_MAX: usize = 4096;
/// What a reply buffer holds from the first day; `listen.udp_payload` is at most this.
const REPLY_OCTETS: usize = 4096;
/// A socket that fails is tried again after this.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);

/// A socket being served, until it is stopped and all are answered.
pub(super) struct Served {
    socket: Arc<UdpSocket>,
    keeper: Keeper,
    stopped: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Served {
    /// Takes no more queries.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        match self.keeper {
            // Says that the socket is not connected, and wakes whoever sleeps on it all the same (inet_shutdown in Linux).
            Keeper::Us => {
                let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Read);
            }
            // Who serves after us would have a socket that is shut down; the thread looks up by itself.
            Keeper::Giver => {}
        }
    }

    /// After a [`Served::stop`]: has all been sent?
    pub(super) fn is_done(&self) -> bool {
        self.thread.is_finished()
    }
}

/// Serves one socket on a thread of its own.
pub(super) fn serve<R: Road>(
    socket: UdpSocket,
    keeper: Keeper,
    road: Arc<R>,
) -> io::Result<Served> {
    socket.set_nonblocking(false)?;
    let address = socket.local_addr()?;
    let is_wildcard = address.ip().is_unspecified();
    if is_wildcard {
        ancillary::ask_for_destination(&socket, address)?;
    }
    let socket = Arc::new(socket);
    let stopped = Arc::<AtomicBool>::default();
    let (its_socket, told) = (socket.clone(), stopped.clone());
    // The thread comes first: a runtime without one could not be dropped here, inside another.
    let (runtime, handed_over) = sync_channel::<Runtime>(1);
    let thread = std::thread::Builder::new()
        .name(format!("udp {address}"))
        .spawn(move || match handed_over.recv() {
            Ok(runtime) if is_wildcard => {
                Desk::<R, OneByOne>::open(road, its_socket, told).serve(&runtime);
            }
            Ok(runtime) => Desk::<R, Together>::open(road, its_socket, told).serve(&runtime),
            Err(_) => {}
        })?;
    let built = Builder::new_current_thread().enable_all().build()?;
    runtime
        .send(built)
        .expect("the thread waits for it, and there is room");
    Ok(Served {
        socket,
        keeper,
        stopped,
        thread,
    })
}

/// One socket, and all that serving it takes. Nothing in it is made anew for a query that is answered in place.
struct Desk<R, L: Line> {
    road: Arc<R>,
    socket: Arc<UdpSocket>,
    stopped: Arc<AtomicBool>,
    line: L,
    replies: Letters<L::Back>,
    outbox: Arc<Outbox<L>>,
}

impl<R: Road, L: Line> Desk<R, L> {
    fn open(road: Arc<R>, socket: Arc<UdpSocket>, stopped: Arc<AtomicBool>) -> Box<Self> {
        Box::new(Self {
            road,
            outbox: Arc::new(Outbox::new(socket.clone())),
            socket,
            stopped,
            line: L::new(),
            replies: Letters::new(),
        })
    }

    /// Serves until stopped, and until those who wait are answered.
    fn serve(mut self: Box<Self>, runtime: &Runtime) {
        let inside = runtime.enter();
        runtime.spawn(self.outbox.clone().send_for_ever());
        loop {
            if self.outbox.is_anybody_waiting() {
                // A task like those that it waits for: they wake each other without a system call.
                let attended = runtime.block_on(runtime.spawn(self.attend()));
                self = attended.expect("nobody cancels it, and a panic ends the process");
            } else if self.is_stopped() {
                break;
            } else {
                match self.line.receive(self.socket.as_raw_fd(), Patience::Sleep) {
                    Ok(received) => self.answer(received),
                    // A signal, or it was time to look up.
                    Err(error) if is_passing(&error) => {}
                    Err(_) => std::thread::sleep(PAUSE_AFTER_ERROR),
                }
            }
        }
        drop(inside);
    }

    /// Takes queries while others wait, until nobody does.
    async fn attend(mut self: Box<Self>) -> Box<Self> {
        let outbox = self.outbox.clone();
        let Ok(socket) = watched(self.socket.clone()) else {
            outbox.nobody_waits.notified().await;
            return self;
        };
        loop {
            tokio::select! {
                biased;
                () = outbox.nobody_waits.notified() => return self,
                ready = socket.readable(), if !self.is_stopped() => {
                    let received = self.line.receive(socket.as_raw_fd(), Patience::None);
                    let received = received.unwrap_or(0);
                    self.answer(received);
                    match ready {
                        // There may be more, but those who wait have their turn first.
                        Ok(_) if received == BATCH => tokio::task::yield_now().await,
                        Ok(mut ready) => ready.clear_ready(),
                        Err(_) => tokio::time::sleep(PAUSE_AFTER_ERROR).await,
                    }
                }
            }
        }
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Answers the queries of a batch, and sets aside those that wait.
    fn answer(&mut self, received: usize) {
        let now = Instant::now();
        for at in 0..received {
            let Some((query, address, back)) = self.line.query(at) else {
                continue;
            };
            // A socket that is shut down reads as an empty datagram, from whoever sent the one before: nobody's query.
            if query.is_empty() && self.is_stopped() {
                continue;
            }
            let client = Client {
                address,
                transport: Transport::Udp,
            };
            let blank = self.replies.blank();
            match self.road.answer_now(query, &client, now, blank) {
                Step::Reply => self.replies.seal(back),
                Step::Silence => {}
                Step::Later(pending) => self.set_aside(pending, back),
            }
        }
        self.replies.send::<L>(&self.socket);
    }

    /// Has a query answered when it has waited.
    fn set_aside(&self, pending: R::Pending, back: L::Back) {
        let (road, outbox) = (self.road.clone(), self.outbox.clone());
        let place = outbox.place();
        tokio::spawn(async move {
            let ready = road.answer_later(pending).await;
            outbox.put(place, back, |reply| road.finish(ready, reply));
        });
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
    )
}

/// Has the runtime say when there is something to take.
#[allow(
    unsafe_code,
    reason = "the socket is blocking for those who sleep on it, and tokio's own sockets are not"
)]
fn watched(socket: Arc<UdpSocket>) -> io::Result<AsyncFd<Arc<UdpSocket>>> {
    // SAFETY: the socket owns its descriptor, which is neither replaced nor closed while the `Arc` is held.
    let watched = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
    Ok(watched?)
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

/// Replies that wait for each other, at most [`BATCH`]; their buffers are used again and again.
struct Letters<B> {
    replies: Vec<Vec<u8>>,
    /// To whom each goes; there are as many as letters.
    backs: Vec<B>,
}

impl<B: Copy> Letters<B> {
    fn new() -> Self {
        Self {
            replies: Vec::new(),
            backs: Vec::with_capacity(BATCH),
        }
    }

    /// Room for the next reply.
    fn blank(&mut self) -> &mut Vec<u8> {
        if self.replies.len() == self.backs.len() {
            self.replies.push(Vec::with_capacity(REPLY_OCTETS));
        }
        &mut self.replies[self.backs.len()]
    }

    /// What was written into the blank is a letter.
    fn seal(&mut self, back: B) {
        self.backs.push(back);
    }

    fn send<L: Line<Back = B>>(&mut self, socket: &UdpSocket) {
        if !self.backs.is_empty() {
            let replies = &self.replies[..self.backs.len()];
            L::send(socket.as_raw_fd(), replies, &self.backs);
            self.backs.clear();
        }
    }
}

/// Replies of queries that have waited: those that are ready in one turn of the runtime leave together.
struct Outbox<L: Line> {
    socket: Arc<UdpSocket>,
    waiting: Arc<AtomicUsize>,
    nobody_waits: Notify,
    letters: Mutex<(Letters<L::Back>, Vec<Counted>)>,
    filled: Notify,
}

impl<L: Line> Outbox<L> {
    fn new(socket: Arc<UdpSocket>) -> Self {
        Self {
            socket,
            waiting: Arc::default(),
            nobody_waits: Notify::new(),
            letters: Mutex::new((Letters::new(), Vec::with_capacity(BATCH))),
            filled: Notify::new(),
        }
    }

    /// A place among those that wait, until its reply is sent.
    fn place(&self) -> Counted {
        Counted::new(&self.waiting)
    }

    fn is_anybody_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    /// Takes the reply that `write` writes.
    fn put(&self, place: Counted, back: L::Back, write: impl FnOnce(&mut Vec<u8>)) {
        let mut held = self.letters.lock().expect("no holder of this lock panics");
        let (letters, places) = &mut *held;
        write(letters.blank());
        letters.seal(back);
        places.push(place);
        match places.len() {
            1 => self.filled.notify_one(),
            BATCH => self.send(letters, places),
            _ => {}
        }
    }

    async fn send_for_ever(self: Arc<Self>) {
        loop {
            self.filled.notified().await;
            let mut held = self.letters.lock().expect("no holder of this lock panics");
            let (letters, places) = &mut *held;
            self.send(letters, places);
        }
    }

    fn send(&self, letters: &mut Letters<L::Back>, places: &mut Vec<Counted>) {
        letters.send::<L>(&self.socket);
        // Of the few long replies none is kept in memory.
        let replies = letters.replies.iter_mut();
        replies.for_each(|reply| reply.shrink_to(REPLY_OCTETS));
        places.clear();
        if !self.is_anybody_waiting() {
            self.nobody_waits.notify_one();
        }
    }
}

/// Is there time to wait for a datagram?
#[derive(Clone, Copy)]
enum Patience {
    Sleep,
    None,
}

/// How datagrams come and go on one kind of socket. What is received stays until the next batch.
trait Line: Send + 'static {
    /// The way back to a client.
    type Back: Copy + Send + Sync + 'static;

    fn new() -> Self;

    /// Takes what is there, at most [`BATCH`] datagrams. Returns how many.
    fn receive(&mut self, socket: RawFd, patience: Patience) -> io::Result<usize>;

    /// A query of the batch, who sent it, and the way back.
    fn query(&self, at: usize) -> Option<(&[u8], SocketAddr, Self::Back)>;

    /// Sends each reply its way. A client that has gone, or a network that is down, is no matter of ours.
    fn send(socket: RawFd, replies: &[Vec<u8>], backs: &[Self::Back]);
}

/// Room for the datagrams of a batch.
type Queries = Box<[[u8; QUERY_OCTETS_MAX]; BATCH]>;

fn queries() -> Queries {
    let queries = vec![[0; QUERY_OCTETS_MAX]; BATCH].into_boxed_slice();
    queries.try_into().expect("it was made of this length")
}

thread_local! {
    /// What the kernel is handed to receive a batch; it points at things, and so stays with its thread.
    static RECEIVED: RefCell<MultiHeaders<SockaddrStorage>> =
        RefCell::new(MultiHeaders::preallocate(BATCH, None));
    /// The same for sending. One would not do for both: `sendmmsg` leaves pointers to the addresses of the last batch in it.
    static SENT: RefCell<MultiHeaders<SockaddrStorage>> =
        RefCell::new(MultiHeaders::preallocate(BATCH, None));
}

/// Many with one system call.
struct Together {
    queries: Queries,
    /// Length and sender of each query received.
    arrivals: [Option<(usize, SockaddrStorage)>; BATCH],
}

impl Line for Together {
    type Back = SockaddrStorage;

    fn new() -> Self {
        Self {
            queries: queries(),
            arrivals: [None; BATCH],
        }
    }

    fn receive(&mut self, socket: RawFd, patience: Patience) -> io::Result<usize> {
        let flags = match patience {
            Patience::Sleep => MsgFlags::MSG_WAITFORONE,
            Patience::None => MsgFlags::MSG_DONTWAIT,
        };
        RECEIVED.with_borrow_mut(|headers| {
            let parts = self.queries.each_mut();
            let mut parts = parts.map(|query| [io::IoSliceMut::new(query)]);
            let received = recvmmsg(socket, headers, parts.iter_mut(), flags, None)?;
            let mut count = 0;
            for message in received {
                self.arrivals[count] = message.address.map(|address| (message.bytes, address));
                count += 1;
            }
            Ok(count)
        })
    }

    fn query(&self, at: usize) -> Option<(&[u8], SocketAddr, SockaddrStorage)> {
        let (len, sender) = self.arrivals[at]?;
        let query = &self.queries[at][..len.min(QUERY_OCTETS_MAX)];
        Some((query, ancillary::to_std(&sender)?, sender))
    }

    fn send(socket: RawFd, replies: &[Vec<u8>], backs: &[SockaddrStorage]) {
        let parts: [_; BATCH] =
            std::array::from_fn(|at| [io::IoSlice::new(replies.get(at).map_or(&[], |it| it))]);
        let to: [_; BATCH] = std::array::from_fn(|at| backs.get(at).copied());
        let mut first = 0;
        while first < replies.len() {
            let rest = first..replies.len();
            let sent = SENT.with_borrow_mut(|headers| {
                let (parts, to) = (parts[rest.clone()].iter(), &to[rest]);
                sendmmsg(socket, headers, parts, to, [], MsgFlags::empty()).map(|it| it.count())
            });
            // The one that the kernel does not take is lost, as datagrams are; the rest is not.
            first += sent.unwrap_or(1).max(1);
        }
    }
}

/// For a socket bound to `0.0.0.0` or `::`, whose replies have to name their source (RFC 2181 §4.1).
struct OneByOne {
    queries: Queries,
    arrivals: [Option<(usize, ancillary::Path)>; BATCH],
}

impl Line for OneByOne {
    type Back = ancillary::Path;

    fn new() -> Self {
        Self {
            queries: queries(),
            arrivals: [None; BATCH],
        }
    }

    fn receive(&mut self, socket: RawFd, patience: Patience) -> io::Result<usize> {
        for at in 0..BATCH {
            let flags = match patience {
                Patience::Sleep if at == 0 => MsgFlags::empty(),
                Patience::Sleep | Patience::None => MsgFlags::MSG_DONTWAIT,
            };
            match ancillary::receive(socket, &mut self.queries[at], flags) {
                Ok(arrival) => self.arrivals[at] = Some(arrival),
                Err(_) if at > 0 => return Ok(at),
                Err(error) => return Err(error),
            }
        }
        Ok(BATCH)
    }

    fn query(&self, at: usize) -> Option<(&[u8], SocketAddr, ancillary::Path)> {
        let (len, path) = self.arrivals[at]?;
        Some((&self.queries[at][..len], path.client, path))
    }

    fn send(socket: RawFd, replies: &[Vec<u8>], backs: &[ancillary::Path]) {
        for (reply, path) in replies.iter().zip(backs) {
            ancillary::send(socket, reply, *path);
        }
    }
}

/// The address a datagram was sent to, asked from and told to the kernel (ip(7), IP_PKTINFO; RFC 3542 §6).
mod ancillary {
    use std::io::{self, IoSlice, IoSliceMut};
    use std::net::SocketAddr;
    use std::os::fd::RawFd;

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

    pub(super) fn receive(
        socket: RawFd,
        datagram: &mut [u8],
        flags: MsgFlags,
    ) -> io::Result<(usize, Path)> {
        let mut control = nix::cmsg_space!(in6_pktinfo);
        let mut parts = [IoSliceMut::new(datagram)];
        let received = recvmsg::<SockaddrStorage>(socket, &mut parts, Some(&mut control), flags)?;
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
    pub(super) fn send(socket: RawFd, datagram: &[u8], path: Path) {
        let parts = [IoSlice::new(datagram)];
        let client = SockaddrStorage::from(path.client);
        let _ = match &path.ours {
            Some(Ours::V4(info)) => sendmsg(
                socket,
                &parts,
                &[ControlMessage::Ipv4PacketInfo(info)],
                MsgFlags::empty(),
                Some(&client),
            ),
            Some(Ours::V6(info)) => sendmsg(
                socket,
                &parts,
                &[ControlMessage::Ipv6PacketInfo(info)],
                MsgFlags::empty(),
                Some(&client),
            ),
            None => sendmsg(socket, &parts, &[], MsgFlags::empty(), Some(&client)),
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
