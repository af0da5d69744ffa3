//! Sockets that somebody else has bound for us: each is looked at, and taken as ours would be.
//!
//! Descriptors come in and [`Bound`] goes out, or which of them is of no use and
//! why. They stay the giver's too: he holds the same sockets for whoever serves
//! after us, so nothing is done to them that would keep another from serving.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt};
use socket2::{Socket, Type};

use super::sockets::{Bound, Keeper, make_room};

/// Who sleeps on a socket that may not be shut down looks up this often, to see whether it is time to stop.
const LOOK_UP: Duration = Duration::from_millis(500);

/// Why the sockets cannot be served.
#[derive(Debug)]
pub enum Unfit {
    /// What is wrong with one descriptor.
    Descriptor(RawFd, String),
    /// An address that was handed over for one transport alone.
    Half {
        /// Which.
        address: SocketAddr,
        /// The setting of a socket unit that is missing.
        missing: &'static str,
    },
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Descriptor(number, what) => write!(
                f,
                "descriptor {number}, which was handed over to be served (LISTEN_FDS), {what}\n  \
                 help: hand over UDP sockets and listening TCP sockets, in a socket unit: ListenDatagram=127.0.0.1:53 and ListenStream=127.0.0.1:53"
            ),
            Self::Half { address, missing } => write!(
                f,
                "{address} was handed over for one transport (LISTEN_FDS), and DNS needs UDP and TCP\n  \
                 help: in the socket unit: {missing}={address}"
            ),
        }
    }
}

impl std::error::Error for Unfit {}

/// Takes sockets that are bound already, each address over both transports.
///
/// # Errors
/// For the first that is no such socket.
pub fn adopt(handed: Vec<OwnedFd>) -> Result<Bound, Unfit> {
    let mut bound = Bound::none(Keeper::Giver);
    let mut over_tcp = Vec::new();
    for descriptor in handed {
        let number = descriptor.as_raw_fd();
        let socket = Socket::from(descriptor);
        let unfit = |what: String| Unfit::Descriptor(number, what);
        let kind = kind(&socket).map_err(unfit)?;
        let unprepared = |error: io::Error| unfit(format!("cannot be served: {error}"));
        match kind {
            Kind::Udp(address) => {
                make_room(&socket);
                socket.set_read_timeout(Some(LOOK_UP)).map_err(unprepared)?;
                bound.udp.push(socket.into());
                bound.serves(address);
            }
            Kind::Tcp(address) => {
                socket.set_nonblocking(true).map_err(unprepared)?;
                bound.tcp.push(socket.into());
                over_tcp.push(address);
            }
        }
    }
    whole(bound.addresses(), &over_tcp)?;
    Ok(bound)
}

enum Kind {
    Udp(SocketAddr),
    Tcp(SocketAddr),
}

/// What a descriptor is, or a half sentence why it is none of what we serve.
fn kind(socket: &Socket) -> Result<Kind, String> {
    let kind = socket.r#type().map_err(|_| "is no socket".to_owned())?;
    let address = socket.local_addr().map_err(|error| error.to_string())?;
    let Some(address) = address.as_socket() else {
        return Err("is a socket of this machine alone, without an address".to_owned());
    };
    match kind {
        Type::DGRAM if address.port() == 0 => Err("is a UDP socket that is not bound".to_owned()),
        Type::DGRAM => Ok(Kind::Udp(address)),
        Type::STREAM if listens(socket) => Ok(Kind::Tcp(address)),
        Type::STREAM => Err(format!("is a TCP socket on {address} that does not listen")),
        _ => Err("carries neither UDP nor TCP".to_owned()),
    }
}

fn listens(socket: &Socket) -> bool {
    getsockopt(socket, sockopt::AcceptConn).unwrap_or(false)
}

/// Does each address have both transports?
fn whole(over_udp: &[SocketAddr], over_tcp: &[SocketAddr]) -> Result<(), Unfit> {
    let lonely = |these: &[SocketAddr], those: &[SocketAddr], missing| {
        let address = these.iter().find(|it| !those.contains(it))?;
        let address = *address;
        Some(Unfit::Half { address, missing })
    };
    let no_tcp = lonely(over_udp, over_tcp, "ListenStream");
    no_tcp
        .or_else(|| lonely(over_tcp, over_udp, "ListenDatagram"))
        .map_or(Ok(()), Err)
}
