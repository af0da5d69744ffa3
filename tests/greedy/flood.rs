//! The greedy client: each way of asking for more than one's share, for a time that has an end.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::house::{SILENT, framed, query};

/// From where he asks.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Connections held at once; the resolver lets in 256.
const CONNECTIONS: usize = 1000;
/// Connections of one who asks without end and does not read, and questions written at a time.
const DEAF: usize = 64;
const PIPELINED: usize = 1000;
/// Between two octets that drip in, or two looks at a crowd of connections.
const PAUSE: Duration = Duration::from_millis(20);
/// A new source address every so many datagrams.
const DATAGRAMS_A_SOURCE: u32 = 16;

/// A way of asking for too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flood {
    /// Datagrams, each for a new name that is allowed, about which upstream is silent.
    Uncached,
    /// The same over TCP, on connections that are left as soon as the question is written.
    Abandoned,
    /// Datagrams, each for a new name that is not allowed.
    Blocked,
    /// Datagrams that hold no message.
    Garbage,
    /// Datagrams for new names from ever new addresses of clients.
    ManySources,
    /// And from addresses that are no client's.
    Strangers,
    /// Connections that say nothing.
    Mute,
    /// Connections on which a message drips in that never ends.
    Dripping,
    /// Connections that ask without end and never read.
    Deaf,
    /// Connections on which one question after the other waits for upstream.
    Busy,
}

impl Flood {
    pub(crate) const ALL: [Self; 10] = [
        Self::Uncached,
        Self::Abandoned,
        Self::Blocked,
        Self::Garbage,
        Self::ManySources,
        Self::Strangers,
        Self::Mute,
        Self::Dripping,
        Self::Deaf,
        Self::Busy,
    ];

    /// Floods for so long. Returns how many datagrams were sent, or connections made.
    pub(crate) fn pour(self, server: SocketAddr, time: Duration) -> usize {
        let end = Instant::now() + time;
        match self {
            Self::Uncached => datagrams(server, end, |nth| query(id(nth), &uncached(nth))),
            Self::Blocked => datagrams(server, end, |nth| query(id(nth), &blocked(nth))),
            Self::Garbage => datagrams(server, end, |nth| nth.to_be_bytes().repeat(8)),
            Self::ManySources => sources(server, end, [127, 0]),
            Self::Strangers => sources(server, end, [127, 1]),
            Self::Abandoned => abandoned(server, end),
            Self::Mute => crowd(server, end, |_, _| Ok(())),
            Self::Dripping => crowd(server, end, |stream, _| stream.write_all(&[0xFF])),
            Self::Busy => crowd(server, end, |stream, nth| {
                let _ = stream.read(&mut [0; 512]);
                stream.write_all(&framed(id(nth), &uncached(nth)))
            }),
            Self::Deaf => deaf(server, end),
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "ids begin anew")]
fn id(nth: u32) -> u16 {
    nth as u16
}

/// Names that differ from those of every other flood.
fn uncached(nth: u32) -> String {
    format!("u{:x}-{nth}.{SILENT}", nonce())
}

fn blocked(nth: u32) -> String {
    format!("b{nth}.evil.test.example")
}

fn nonce() -> u32 {
    let since = std::time::UNIX_EPOCH.elapsed();
    since.expect("after 1970").subsec_nanos()
}

fn from(address: impl Into<IpAddr>, server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((address.into(), 0)).expect("loopback has that address");
    socket.connect(server).expect("loopback");
    socket
}

/// As many as there is time for, all from one socket whose replies nobody reads.
fn datagrams(server: SocketAddr, end: Instant, make: impl Fn(u32) -> Vec<u8>) -> usize {
    let socket = from(ADDRESS, server);
    let mut sent = 0;
    for nth in 0.. {
        if Instant::now() >= end {
            break;
        }
        sent += usize::from(socket.send(&make(nth)).is_ok());
    }
    sent
}

/// The same from all over a range of addresses.
fn sources(server: SocketAddr, end: Instant, range: [u8; 2]) -> usize {
    let mut sent = 0;
    let mut socket = from(ADDRESS, server);
    for nth in 0_u32.. {
        if Instant::now() >= end {
            break;
        }
        if nth.is_multiple_of(DATAGRAMS_A_SOURCE) {
            let [.., third, fourth] = (nth / DATAGRAMS_A_SOURCE).to_be_bytes();
            socket = from([range[0], range[1], third, fourth.max(4)], server);
        }
        sent += usize::from(socket.send(&query(id(nth), &uncached(nth))).is_ok());
    }
    sent
}

/// None: the resolver takes no more just now.
fn connect(server: SocketAddr) -> Option<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).ok()?;
    socket.bind(&SocketAddr::from((ADDRESS, 0)).into()).ok()?;
    socket
        .connect_timeout(&server.into(), Duration::from_secs(1))
        .ok()?;
    Some(socket.into())
}

/// Asks and hangs up, again and again.
fn abandoned(server: SocketAddr, end: Instant) -> usize {
    let mut made = 0;
    for nth in 0.. {
        if Instant::now() >= end {
            break;
        }
        let Some(mut stream) = connect(server) else {
            continue;
        };
        made += 1;
        // It may be closed in our face.
        let _ = stream.write_all(&framed(id(nth), &uncached(nth)));
        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }
    made
}

/// Holds many connections and does something with each now and then; one that is closed is made anew.
fn crowd(
    server: SocketAddr,
    end: Instant,
    mut act: impl FnMut(&mut TcpStream, u32) -> std::io::Result<()>,
) -> usize {
    let mut open: Vec<Option<TcpStream>> = (0..CONNECTIONS).map(|_| None).collect();
    let (mut made, mut nth) = (0, 0);
    while Instant::now() < end {
        for place in &mut open {
            if Instant::now() >= end {
                break;
            }
            if place.is_none() {
                *place = connect(server);
                made += usize::from(place.is_some());
                let _ = place.as_ref().map(|stream| stream.set_nonblocking(true));
            }
            nth += 1;
            let acted = place
                .as_mut()
                .map(|stream| act(stream, nth).and(peek(stream)));
            if matches!(acted, Some(Err(error)) if error.kind() != ErrorKind::WouldBlock) {
                *place = None;
            }
        }
        thread::sleep(PAUSE);
    }
    made
}

/// Whether the other side has closed it.
fn peek(stream: &TcpStream) -> std::io::Result<()> {
    match stream.peek(&mut [0]) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Writes thousands of questions on each connection and reads none of the replies.
fn deaf(server: SocketAddr, end: Instant) -> usize {
    let many = |first: u32| -> Vec<u8> {
        let all = first..first + u32::try_from(PIPELINED).expect("a thousand");
        all.flat_map(|nth| match nth % 8 {
            0 => framed(id(nth), &uncached(nth)),
            _ => framed(id(nth), &blocked(nth)),
        })
        .collect()
    };
    let mut open: Vec<(Option<TcpStream>, Vec<u8>)> =
        (0..DEAF).map(|_| (None, Vec::new())).collect();
    let (mut made, mut nth) = (0, 0);
    while Instant::now() < end {
        for (place, unsent) in &mut open {
            if place.is_none() {
                (*place, *unsent) = (connect(server), Vec::new());
                made += usize::from(place.is_some());
                let _ = place.as_ref().map(|stream| stream.set_nonblocking(true));
            }
            if unsent.is_empty() {
                *unsent = many(nth);
                nth += u32::try_from(PIPELINED).expect("a thousand");
            }
            let Some(stream) = place else { continue };
            match stream.write(unsent) {
                Ok(written) => drop(unsent.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => *place = None,
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
    made
}
