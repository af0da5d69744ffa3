//! Asks the running daemon what it serves: one GET of `/status`, over a connection of its own.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Octets of a page that are read; a status is a few thousand.
const PAGE_OCTETS_MAX: u64 = 1 << 20;

/// The status of the daemon whose pages are at `address`.
///
/// # Errors
/// When nothing answers there in time, or something that is no daemon of ours.
pub(super) fn status(address: SocketAddr, patience: Duration) -> io::Result<Value> {
    let address = reachable(address);
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let request = format!("GET /status HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut page = Vec::new();
    stream.take(PAGE_OCTETS_MAX).read_to_end(&mut page)?;
    read(&page).ok_or_else(|| {
        let message = "what answers is not a status page of namegate";
        io::Error::new(io::ErrorKind::InvalidData, message)
    })
}

/// A daemon that listens everywhere is reached by loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(_) | IpAddr::V6(_) => address.ip(),
    };
    SocketAddr::new(ip, address.port())
}

/// The document of a page that was answered with 200.
fn read(page: &[u8]) -> Option<Value> {
    let end = page.windows(4).position(|it| it == b"\r\n\r\n")?;
    let (head, body) = (&page[..end], &page[end + 4..]);
    if !head.starts_with(b"HTTP/1.1 200 ") {
        return None;
    }
    let status: Value = serde_json::from_slice(body).ok()?;
    status.get("policy").is_some().then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_status_page_is_read() {
        let page = |head: &str, body: &str| read(format!("{head}\r\n\r\n{body}").as_bytes());
        assert!(page("HTTP/1.1 200 OK\r\nA: b", "{\"policy\":null}").is_some());
        assert!(page("HTTP/1.1 403 Forbidden", "{\"policy\":null}").is_none());
        assert!(page("HTTP/1.1 200 OK", "{\"else\":1}").is_none());
        assert!(page("HTTP/1.1 200 OK", "<html>").is_none());
        assert!(read(b"SSH-2.0").is_none());
    }

    #[test]
    fn everywhere_is_reached_by_loopback() {
        for (listen, dial) in [
            ("0.0.0.0:9953", "127.0.0.1:9953"),
            ("[::]:9953", "[::1]:9953"),
            ("10.0.0.7:80", "10.0.0.7:80"),
        ] {
            let listen: SocketAddr = listen.parse().expect(listen);
            assert_eq!(reachable(listen).to_string(), dial);
        }
    }
}
