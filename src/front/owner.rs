//! Who holds a port that we want: for the error message alone.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::Transport;

/// The state of a listening TCP socket in /proc/net/tcp.
const LISTENING: &str = "0A";

/// The program that listens where `address` is, as `NAME (pid N)`; none when it cannot be seen.
pub fn owner_of(address: SocketAddr, transport: Transport) -> Option<String> {
    let table = match transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
    };
    let inodes: Vec<String> = [table.to_owned(), format!("{table}6")]
        .iter()
        .filter_map(|table| fs::read_to_string(format!("/proc/net/{table}")).ok())
        .flat_map(|text| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|line| inode_if_holding(&line, address, transport))
        .collect();
    holders()
        .find(|(_, inode)| inodes.contains(inode))
        .map(|(pid, _)| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            format!("{} (pid {pid})", name.trim())
        })
}

/// The socket's inode, if a line of the kernel's table is about a socket that takes our address.
fn inode_if_holding(line: &str, address: SocketAddr, transport: Transport) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (ip, port) = fields.get(1)?.split_once(':')?;
    let ip = parse_ip(ip)?;
    let takes = ip == address.ip() || ip.is_unspecified() || address.ip().is_unspecified();
    let is_listening = transport == Transport::Udp || *fields.get(3)? == LISTENING;
    let same_port = u16::from_str_radix(port, 16).ok()? == address.port();
    (takes && is_listening && same_port).then(|| fields.get(9).map(|it| (*it).to_owned()))?
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
        assert_eq!(
            owner_of("127.0.0.1:1".parse().expect("an address"), Transport::Tcp),
            None
        );
    }
}
