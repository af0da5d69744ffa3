//! How a query gets to a server and its reply back: one socket, one query.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::message::{Fit, fit};
use crate::wire::Query;

/// The two transports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the words say it")]
pub enum Over {
    Udp,
    Tcp,
}

impl Over {
    /// The scheme of its URLs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// Why there is no reply.
#[derive(Debug)]
pub enum Lost {
    /// The kernel or the network says so.
    Io(io::Error),
    /// What came over a connection was not the reply.
    Mismatch,
}

impl From<io::Error> for Lost {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A reply on its way, and the number of messages that came and were none.
pub type Exchange<'a> = Pin<Box<dyn Future<Output = Result<(Vec<u8>, u32), Lost>> + Send + 'a>>;

/// Carries a query to a server and brings back a message that fits it ([`fit`]), the letter case apart.
/// It waits for ever: whoever calls decides for how long.
pub trait Carrier: Send + Sync {
    /// One query, one reply.
    fn exchange<'a>(&'a self, server: SocketAddr, over: Over, query: &'a [u8]) -> Exchange<'a>;
}

/// The real carrier. Each UDP query has a socket of its own, connected, on a port that the kernel
/// chooses at random: replies from elsewhere never reach us (RFC 5452 §9.2), and a closed port is known at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sockets;

impl Carrier for Sockets {
    fn exchange<'a>(&'a self, server: SocketAddr, over: Over, query: &'a [u8]) -> Exchange<'a> {
        match over {
            Over::Udp => Box::pin(over_udp(server, query)),
            Over::Tcp => Box::pin(over_tcp(server, query)),
        }
    }
}

/// We offer 1232 octets; servers that send more are read all the same, up to this. Beyond it they are asked over TCP.
const DATAGRAM_OCTETS_MAX: usize = 4096;
/// TC, in the third octet of a header (RFC 1035 §4.1.1).
const TC: u8 = 0x02;

async fn over_udp(server: SocketAddr, query: &[u8]) -> Result<(Vec<u8>, u32), Lost> {
    let ours: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(ours).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut datagram = vec![0; DATAGRAM_OCTETS_MAX];
    let mut mismatches = 0;
    loop {
        let mut len = socket.recv(&mut datagram).await?;
        if len == DATAGRAM_OCTETS_MAX {
            len = as_truncated(&mut datagram, query);
        }
        // RFC 5452 §9.1 and the TuDoor papers: what does not fit is no reason to stop waiting.
        if fit(query, &datagram[..len]) != Fit::No {
            datagram.truncate(len);
            return Ok((datagram, mismatches));
        }
        mismatches += 1;
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

async fn over_tcp(server: SocketAddr, query: &[u8]) -> Result<(Vec<u8>, u32), Lost> {
    let mut stream = TcpStream::connect(server).await?;
    let len = u16::try_from(query.len()).expect("our queries are short");
    let framed = [&len.to_be_bytes()[..], query].concat();
    // RFC 7766 §8: length and message in one segment.
    stream.write_all(&framed).await?;
    let len = stream.read_u16().await?;
    let mut reply = vec![0; len.into()];
    stream.read_exact(&mut reply).await?;
    match fit(query, &reply) {
        Fit::No => Err(Lost::Mismatch),
        Fit::Whole | Fit::OtherCase => Ok((reply, 0)),
    }
}
