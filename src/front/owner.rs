//! Who holds a port that we want: for those who tell a person, never for a decision.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::Transport;

/// The state of a listening TCP socket in /proc/net/tcp.
const LISTENING: &str = "0A";

/// The program that listens where `address` is, as `NAME (pid N)`; none when it cannot be seen.
pub fn owner_of(address: SocketAddr, transport: Transport) -> Option<String> {
    let inodes: Vec<String> = sockets(transport)
        .filter(|(bound, _)| takes(*bound, address))
        .map(|(_, inode)| inode)
        .collect();
    holders()
        .find(|(_, inode)| inodes.contains(inode))
        .map(|(pid, _)| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            format!("{} (pid {pid})", name.trim())
        })
}

/// Where in this network namespace somebody listens on `port`, whoever it is.
pub fn listeners_on(port: u16, transport: Transport) -> Vec<SocketAddr> {
    let bound = sockets(transport).map(|(bound, _)| bound);
    bound.filter(|it| it.port() == port).collect()
}

/// The listening sockets of the kernel's tables: the address, and the inode.
fn sockets(transport: Transport) -> impl Iterator<Item = (SocketAddr, String)> {
    let table = match transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
    };
    let tables = [table.to_owned(), format!("{table}6")];
    let texts = tables.map(|it| fs::read_to_string(format!("/proc/net/{it}")).unwrap_or_default());
    let lines = texts.into_iter().flat_map(|text| {
        let lines = text.lines().skip(1);
        lines.map(str::to_owned).collect::<Vec<_>>()
    });
    lines.filter_map(move |line| socket(&line, transport))
}

/// What a line of the kernel's table says, if it is about a socket that listens.
fn socket(line: &str, transport: Transport) -> Option<(SocketAddr, String)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (ip, port) = fields.get(1)?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let is_listening = transport == Transport::Udp || *fields.get(3)? == LISTENING;
    let bound = SocketAddr::new(parse_ip(ip)?, port);
    is_listening.then(|| Some((bound, (*fields.get(9)?).to_owned())))?
}

/// Does a socket bound there stand in the way of `address`?
fn takes(bound: SocketAddr, address: SocketAddr) -> bool {
    let same_host = bound.ip() == address.ip();
    let any_host = bound.ip().is_unspecified() || address.ip().is_unspecified();
    (same_host || any_host) && bound.port() == address.port()
}

/// The kernel prints addresses as words of the machine's own byte order.
fn parse_ip(hex: &str) -> Option<IpAddr> {
    let words: Option<Vec<u32>> = (0..hex.len() / 8)
        .map(|i| u32::from_str_radix(hex.get(i * 8..i * 8 + 8)?, 16).ok())
        .collect();
    let octets: Vec<u8> = words?.iter().flat_map(|word| word.to_ne_bytes()).collect();
    match *octets.as_slice() {
        [a, b, c, d] => Some(Ipv4Addr::new(a, b, c, d).into()),
        _ => Some(Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?).into()),
    }
}

/// Every process's sockets: its id, and an inode.
fn holders() -> impl Iterator<Item = (String, String)> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    // `self` stands there too.
    let processes = processes.filter(|it| it.file_name().to_string_lossy().parse::<u32>().is_ok());
    processes.flat_map(|process| {
        let pid = process.file_name().to_string_lossy().into_owned();
        sockets_of(&process.path().join("fd"))
            .into_iter()
            .map(move |inode| (pid.clone(), inode))
    })
}

fn sockets_of(fds: &Path) -> Vec<String> {
    let links = fs::read_dir(fds).into_iter().flatten().flatten();
    links
        .filter_map(|fd| {
            let link = fs::read_link(fd.path()).ok()?;
            Some(
                link.to_str()?
                    .strip_prefix("socket:[")?
                    .strip_suffix(']')?
                    .to_owned(),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_found_as_the_owner_of_our_own_port() {
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        let tcp = std::net::TcpListener::bind("[::1]:0").expect("a port");
        let us = format!("(pid {})", std::process::id());
        let of = |address, transport| owner_of(address, transport).unwrap_or_default();
        assert!(of(udp.local_addr().expect("bound"), Transport::Udp).ends_with(&us));
        assert!(of(tcp.local_addr().expect("bound"), Transport::Tcp).ends_with(&us));
        let (udp, tcp) = (
            udp.local_addr().expect("bound"),
            tcp.local_addr().expect("bound"),
        );
        assert_eq!(listeners_on(udp.port(), Transport::Udp), [udp]);
        assert_eq!(listeners_on(tcp.port(), Transport::Tcp), [tcp]);
        assert_eq!(
            owner_of("127.0.0.1:1".parse().expect("an address"), Transport::Tcp),
            None
        );
    }
}
