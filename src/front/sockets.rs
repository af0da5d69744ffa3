//! Binding: every address over UDP and TCP, or a clear word about the first that fails.

use std::fmt;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use super::Transport;

/// A burst of queries waits here while all workers are busy, in octets.
const RECEIVE_BUFFER_OCTETS: usize = 4 << 20;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// Ports tried when the kernel is to choose one that is free over both transports.
const FREE_PORT_TRIES: usize = 16;

/// Sockets that hold their addresses and are not yet served.
#[derive(Debug)]
pub struct Bound {
    pub(super) udp: Vec<UdpSocket>,
    pub(super) tcp: Vec<TcpListener>,
    pub(super) keeper: Keeper,
    addresses: Vec<SocketAddr>,
}

/// Whose the sockets are when we are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// Ours: they go with us.
    Us,
    /// Of him who handed them over, for whoever serves after us.
    Giver,
}

impl Bound {
    pub(super) fn none(keeper: Keeper) -> Self {
        Self {
            udp: Vec::new(),
            tcp: Vec::new(),
            keeper,
            addresses: Vec::new(),
        }
    }

    /// One more address, which several sockets may share.
    pub(super) fn serves(&mut self, address: SocketAddr) {
        if !self.addresses.contains(&address) {
            self.addresses.push(address);
        }
    }

    /// Whose they are when we are gone.
    pub fn keeper(&self) -> Keeper {
        self.keeper
    }

    /// The addresses, with the ports that the kernel chose where it was to choose.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

/// An address that could not be had.
#[derive(Debug)]
pub struct NotBound {
    /// Which.
    pub address: SocketAddr,
    /// Over which transport.
    pub transport: Transport,
    /// What the kernel said.
    pub error: io::Error,
}

impl fmt::Display for NotBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        };
        write!(
            f,
            "cannot listen on {} over {transport}: {}",
            self.address, self.error
        )
    }
}

impl std::error::Error for NotBound {}

impl NotBound {
    /// Is it the IPv6 loopback of a machine without IPv6?
    fn is_absent_loopback(&self) -> bool {
        let is_absent = self.error.kind() == io::ErrorKind::AddrNotAvailable
            || self.error.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32);
        is_absent && self.address.ip() == Ipv6Addr::LOCALHOST
    }
}

/// Binds every address over both transports, with `workers` UDP sockets each that share the load.
///
/// The default names both loopbacks, and many containers have only one: `::1` is left out where it does not exist, unless it is all.
///
/// # Errors
/// For the first address that cannot be had; then none is held.
pub fn bind(addresses: &[SocketAddr], workers: usize) -> Result<Bound, NotBound> {
    let mut bound = Bound::none(Keeper::Us);
    for address in addresses {
        let (address, tcp, udp) = match both(*address, workers) {
            Err(absent) if absent.is_absent_loopback() && addresses.len() > 1 => {
                tracing::warn!("no IPv6 here: {} is left out", absent.address);
                continue;
            }
            tried => tried?,
        };
        bound.serves(address);
        bound.tcp.push(tcp);
        bound.udp.extend(udp);
    }
    Ok(bound)
}

/// With port 0, a port that is free over both.
fn both(
    address: SocketAddr,
    workers: usize,
) -> Result<(SocketAddr, TcpListener, Vec<UdpSocket>), NotBound> {
    let mut tries = if address.port() == 0 {
        FREE_PORT_TRIES
    } else {
        1
    };
    loop {
        tries -= 1;
        match both_once(address, workers) {
            Err(taken) if tries > 0 && taken.error.kind() == io::ErrorKind::AddrInUse => {}
            result => return result,
        }
    }
}

fn both_once(
    address: SocketAddr,
    workers: usize,
) -> Result<(SocketAddr, TcpListener, Vec<UdpSocket>), NotBound> {
    let failed = |transport| {
        move |error| NotBound {
            address,
            transport,
            error,
        }
    };
    let tcp = tcp(address).map_err(failed(Transport::Tcp))?;
    let address = tcp.local_addr().map_err(failed(Transport::Tcp))?;
    // SO_REUSEPORT would let us share the port with a stranger who asks for it too; without it we learn of him.
    drop(udp(address, false).map_err(failed(Transport::Udp))?);
    let udp: io::Result<Vec<UdpSocket>> = (0..workers).map(|_| udp(address, true)).collect();
    Ok((address, tcp, udp.map_err(failed(Transport::Udp))?))
}

fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address, Type::STREAM, Protocol::TCP)?;
    // A restart is not to wait for the old connections' last packets.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn udp(address: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
    let socket = socket(address, Type::DGRAM, Protocol::UDP)?;
    socket.set_reuse_port(shared)?;
    make_room(&socket);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Gives a UDP socket room for a burst; less than asked for is no error.
pub(super) fn make_room(socket: &Socket) {
    // With CAP_NET_ADMIN it is had whatever net.core.rmem_max allows, which is 300 datagrams on most machines. Without,
    // a socket that was handed over may have more than we could give it.
    if setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_OCTETS).is_err()
        && socket
            .recv_buffer_size()
            .is_ok_and(|it| it < RECEIVE_BUFFER_OCTETS)
    {
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_OCTETS);
    }
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        // `[::]` is IPv6 alone; IPv4 has an address of its own in the configuration.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}
