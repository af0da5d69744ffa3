//! A small client, for commands that ask a resolver and show what it says.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::daemon::{Said, query};
use crate::wire::{Name, Type};

/// A resolver on this machine answers sooner than this.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks `server` over UDP, with an OPT.
pub(super) async fn ask(server: SocketAddr, name: &Name, kind: Type) -> io::Result<Said> {
    let socket = UdpSocket::bind(SocketAddr::new(server.ip(), 0)).await?;
    socket.connect(server).await?;
    socket.send(&query(name, kind)).await?;
    let mut reply = vec![0; 4096];
    let len = timeout(PATIENCE, socket.recv(&mut reply)).await??;
    Said::read(&reply[..len], kind)
}
