//! How a query gets to a server and its reply back: one socket, one query.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::message::{Fit, fit};
use super::ports::Ports;

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

/// The real carrier: sockets of this machine.
///
/// UDP queries leave from a pool of connected sockets for each server and thread, on ports that the kernel
/// chooses at random and that are given up after a while. TCP is for the few queries
/// that need it, with a connection each.
#[derive(Default)]
pub struct Sockets {
    shelves: [Mutex<HashMap<SocketAddr, Arc<Ports>>>; SHELVES],
}

/// More threads than this share shelves.
const SHELVES: usize = 16;

thread_local! {
    /// Where this thread's ports are: its replies come to a socket that nobody else reads.
    static SHELF: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Relaxed) % SHELVES
    };
}

impl Sockets {
    fn ports(&self, server: SocketAddr) -> Arc<Ports> {
        let shelf = SHELF.with(|shelf| self.shelves[*shelf].lock());
        let mut ports = shelf.expect("no holder of this lock panics");
        ports
            .entry(server)
            .or_insert_with(|| Arc::new(Ports::new(server)))
            .clone()
    }
}

impl Carrier for Sockets {
    fn exchange<'a>(&'a self, server: SocketAddr, over: Over, query: &'a [u8]) -> Exchange<'a> {
        match over {
            Over::Udp => {
                let ports = self.ports(server);
                Box::pin(async move { ports.exchange(query).await })
            }
            Over::Tcp => Box::pin(over_tcp(server, query)),
        }
    }
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
