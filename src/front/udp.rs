//! Datagrams: read as many as there are, answer in place, hand over what waits.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::sync::watch;

use super::{Client, Road, Step, Transport};
use crate::wire::MESSAGE_OCTETS_MAX;

/// Datagrams taken before other tasks of this worker get their turn.
const BURST: usize = 64;
/// A socket that fails is tried again after this.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);

/// A UDP socket that knows to which of our addresses a datagram came.
pub(super) struct Socket {
    socket: tokio::net::UdpSocket,
    /// Bound to `0.0.0.0` or `::`: replies have to name their source (RFC 2181 §4.1).
    is_wildcard: bool,
}

/// Where a datagram came from, and to which of our addresses where that is not the socket's own.
#[derive(Clone, Copy)]
struct Path {
    client: SocketAddr,
    ours: Option<ancillary::Ours>,
}

impl Socket {
    pub(super) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let is_wildcard = address.ip().is_unspecified();
        if is_wildcard {
            ancillary::ask_for_destination(&socket, address)?;
        }
        Ok(Self {
            socket: tokio::net::UdpSocket::from_std(socket)?,
            is_wildcard,
        })
    }

    fn receive(&self, datagram: &mut [u8]) -> io::Result<(usize, Path)> {
        if self.is_wildcard {
            return self.socket.try_io(Interest::READABLE, || {
                ancillary::receive(&self.socket, datagram)
            });
        }
        self.socket
            .try_recv_from(datagram)
            .map(|(len, client)| (len, Path { client, ours: None }))
    }

    async fn send(&self, datagram: &[u8], path: Path) {
        // A client that has gone, or a network that is down, is no matter of ours.
        let _ = match path.ours {
            None => self.socket.send_to(datagram, path.client).await,
            Some(ours) => {
                let send = || ancillary::send(&self.socket, datagram, path.client, ours);
                self.socket.async_io(Interest::WRITABLE, send).await
            }
        };
    }
}

/// Serves one socket until `stopped`.
pub(super) async fn serve<R: Road>(
    socket: Socket,
    road: Arc<R>,
    mut stopped: watch::Receiver<bool>,
) {
    let socket = Arc::new(socket);
    let mut worker = Worker {
        road,
        datagram: vec![0; MESSAGE_OCTETS_MAX],
        out: Vec::with_capacity(MESSAGE_OCTETS_MAX),
        waiting: tokio::task::JoinSet::new(),
    };
    loop {
        tokio::select! {
            biased;
            () = super::told_to_stop(&mut stopped) => break,
            Some(_) = worker.waiting.join_next() => {}
            ready = socket.socket.readable() => {
                if ready.is_err() || worker.drain(&socket).await.is_err() {
                    tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                }
            }
        }
    }
    while worker.waiting.join_next().await.is_some() {}
}

struct Worker<R: Road> {
    road: Arc<R>,
    datagram: Vec<u8>,
    out: Vec<u8>,
    /// Queries that wait; the road bounds how many.
    waiting: tokio::task::JoinSet<()>,
}

impl<R: Road> Worker<R> {
    /// Answers what lies in the socket, a burst at most.
    async fn drain(&mut self, socket: &Arc<Socket>) -> io::Result<()> {
        let now = Instant::now();
        for _ in 0..BURST {
            let (len, path) = match socket.receive(&mut self.datagram) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let client = Client {
                address: path.client,
                transport: Transport::Udp,
            };
            match self
                .road
                .answer_now(&self.datagram[..len], &client, now, &mut self.out)
            {
                Step::Reply => socket.send(&self.out, path).await,
                Step::Silence => {}
                Step::Later(pending) => {
                    let (road, socket) = (self.road.clone(), socket.clone());
                    self.waiting.spawn(async move {
                        let mut out = Vec::new();
                        road.answer_later(pending, &mut out).await;
                        if !out.is_empty() {
                            socket.send(&out, path).await;
                        }
                    });
                }
            }
        }
        Ok(())
    }
}

/// The address a datagram was sent to, asked from and told to the kernel (ip(7), IP_PKTINFO; RFC 3542 §6).
mod ancillary {
    use std::io::{self, IoSlice, IoSliceMut};
    use std::net::SocketAddr;
    use std::os::fd::AsRawFd;

    use nix::libc::{in_pktinfo, in6_pktinfo};
    use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage};
    use nix::sys::socket::{recvmsg, sendmsg, setsockopt, sockopt};

    use super::Path;

    #[derive(Clone, Copy)]
    pub(super) enum Ours {
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
            MsgFlags::MSG_DONTWAIT,
        )?;
        let client = received
            .address
            .as_ref()
            .and_then(to_std)
            .ok_or(io::ErrorKind::InvalidData)?;
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

    pub(super) fn send(
        socket: &impl AsRawFd,
        datagram: &[u8],
        client: SocketAddr,
        ours: Ours,
    ) -> io::Result<usize> {
        let parts = [IoSlice::new(datagram)];
        let control = match &ours {
            Ours::V4(info) => ControlMessage::Ipv4PacketInfo(info),
            Ours::V6(info) => ControlMessage::Ipv6PacketInfo(info),
        };
        let client = SockaddrStorage::from(client);
        Ok(sendmsg(
            socket.as_raw_fd(),
            &parts,
            &[control],
            MsgFlags::MSG_DONTWAIT,
            Some(&client),
        )?)
    }

    fn to_std(address: &SockaddrStorage) -> Option<SocketAddr> {
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
