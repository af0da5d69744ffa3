//! A daemon of the library on loopback, and the ports and streams of those who play its clients and its upstream.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

use namegate::config::{Config, Queries, Server};
use namegate::daemon::Daemon;
use tempfile::TempDir;

use super::document;

/// A daemon with one upstream that allows these names, with the directory of its policy; it writes nothing elsewhere.
pub(crate) async fn daemon(
    upstream: SocketAddr,
    allowed: &[&str],
    change: impl FnOnce(&mut Config),
) -> (Daemon, TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut config = Config::default();
    config.blocked.file = None;
    config.admin.socket = None;
    config.listen.addresses = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
    config.policy.file = dir.path().join("policy.json");
    config.zones.dir = dir.path().join("zones");
    config.upstream.servers = vec![Server::Udp(upstream)];
    config.metrics.listen = None;
    config.log.queries = Queries::None;
    change(&mut config);
    fs::write(&config.policy.file, document(allowed)).expect("written");
    let daemon = Daemon::start(&config)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    (daemon, dir)
}

/// A port that is free over both transports.
pub(crate) fn bound_twice() -> (UdpSocket, TcpListener) {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().expect("bound")) {
            return (udp, tcp);
        }
    }
}

/// A message with its length in front (RFC 1035 §4.2.2).
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let len = u16::try_from(message.len()).expect("a message");
    [&len.to_be_bytes()[..], message].concat()
}

/// Sends a message.
pub(crate) fn send(stream: &mut TcpStream, message: &[u8]) {
    stream.write_all(&framed(message)).expect("it is read");
}

/// The next message; none: the stream ends before it does.
pub(crate) fn receive(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut len = [0; 2];
    stream.read_exact(&mut len).ok()?;
    let mut message = vec![0; u16::from_be_bytes(len).into()];
    stream.read_exact(&mut message).ok()?;
    Some(message)
}
