//! The machine's own resolvers, less ourselves.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use hickory_resolver::system_conf::parse_resolv_conf;

use crate::wire::Name;

/// Where they stand, in the order of trial: the second and third say what the
/// first hides when it names a stub on this machine.
const RESOLV_CONFS: [&str; 3] = [
    "/etc/resolv.conf",
    "/run/systemd/resolve/resolv.conf",
    "/run/NetworkManager/no-stub-resolv.conf",
];
const DNS_PORT: u16 = 53;

/// Every file was read and none names a resolver but ourselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSystemResolver {
    /// The files that name us.
    pub naming_us: Vec<PathBuf>,
}

impl fmt::Display for NoSystemResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.naming_us.first() {
            Some(file) => write!(
                f,
                "{} points to namegate itself; set upstream.servers",
                file.display()
            ),
            None => write!(
                f,
                "{} names no resolver; set upstream.servers",
                RESOLV_CONFS[0]
            ),
        }
    }
}

impl std::error::Error for NoSystemResolver {}

/// The resolvers of this machine that are not one of our `own` addresses.
///
/// # Errors
/// When none is left: asking ourselves would go round for ever.
pub fn system_resolvers(own: &[SocketAddr]) -> Result<Vec<SocketAddr>, NoSystemResolver> {
    resolvers_of(&RESOLV_CONFS.map(Path::new), own)
}

/// The endings that this machine's own stub resolver puts behind names (resolv.conf(5)).
pub fn system_search() -> Vec<Name> {
    let text = std::fs::read(RESOLV_CONFS[0]).unwrap_or_default();
    search_of(&String::from_utf8_lossy(&text))
}

fn search_of(text: &str) -> Vec<Name> {
    let names = |line: &str| -> Vec<Name> {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("search" | "domain") => words.filter_map(|it| it.parse().ok()).collect(),
            _ => Vec::new(),
        }
    };
    text.lines().flat_map(names).collect()
}

fn resolvers_of(files: &[&Path], own: &[SocketAddr]) -> Result<Vec<SocketAddr>, NoSystemResolver> {
    let mut naming_us = Vec::new();
    for file in files {
        let Ok(text) = std::fs::read(file) else {
            continue;
        };
        let Ok((config, _)) = parse_resolv_conf(text) else {
            continue;
        };
        let mut named: Vec<SocketAddr> = Vec::new();
        for server in config.name_servers() {
            let address = SocketAddr::new(server.ip, DNS_PORT);
            if !named.contains(&address) {
                named.push(address);
            }
        }
        let others: Vec<SocketAddr> = named
            .iter()
            .copied()
            .filter(|it| !is_ours(*it, own))
            .collect();
        if others.len() < named.len() {
            naming_us.push(file.to_path_buf());
        }
        if !others.is_empty() {
            return Ok(others);
        }
    }
    Err(NoSystemResolver { naming_us })
}

/// Would a query to `address` come back to us? An unspecified address of ours takes every loopback one.
pub(super) fn is_ours(address: SocketAddr, own: &[SocketAddr]) -> bool {
    own.iter().any(|it| {
        let same_host = it.ip() == address.ip()
            || it.ip().is_unspecified()
                && (address.ip().is_loopback() || address.ip().is_unspecified())
            || address.ip().is_unspecified() && it.ip() == loopback_of(address.ip());
        it.port() == address.port() && same_host
    })
}

fn loopback_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endings_of_a_search_list_are_read() {
        let text = "# search no.example\ndomain a.example\nnameserver 192.0.2.1\nsearch b.example. c..example\tC.example .\n";
        let names: Vec<String> = search_of(text).iter().map(Name::to_string).collect();
        assert_eq!(names, ["a.example", "b.example", "c.example", "."]);
        assert!(search_of("").is_empty());
    }

    #[track_caller]
    fn check(texts: &[&str], own: &[&str], expected: Result<&[&str], usize>) {
        let dir = tempfile::tempdir().expect("a directory");
        let files: Vec<PathBuf> = (0..texts.len())
            .map(|i| dir.path().join(i.to_string()))
            .collect();
        for (file, text) in files.iter().zip(texts) {
            std::fs::write(file, text).expect("a file");
        }
        let paths: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
        let own: Vec<SocketAddr> = own.iter().map(|it| it.parse().expect(it)).collect();
        let found = resolvers_of(&paths, &own);
        let found = found
            .map(|it| it.iter().map(ToString::to_string).collect::<Vec<_>>())
            .map_err(|it| it.naming_us.len());
        assert_eq!(
            found,
            expected.map(|it| it.iter().map(|it| (*it).to_owned()).collect())
        );
    }

    #[test]
    fn we_are_not_among_our_upstreams() {
        let us = ["127.0.0.1:53"];
        check(
            &["nameserver 10.0.0.2\nnameserver 10.0.0.3\n"],
            &us,
            Ok(&["10.0.0.2:53", "10.0.0.3:53"]),
        );
        check(
            &["nameserver 127.0.0.1\nnameserver 10.0.0.3\n"],
            &us,
            Ok(&["10.0.0.3:53"]),
        );
        check(
            &["nameserver 127.0.0.1\n", "nameserver 10.0.0.9\n"],
            &us,
            Ok(&["10.0.0.9:53"]),
        );
        check(&["nameserver 127.0.0.1\n"], &us, Err(1));
        check(&["nameserver 127.0.0.1\n"], &["0.0.0.0:53"], Err(1));
        check(&["nameserver 127.0.0.53\n"], &us, Ok(&["127.0.0.53:53"]));
        check(
            &["nameserver 127.0.0.1\n"],
            &["127.0.0.1:1053"],
            Ok(&["127.0.0.1:53"]),
        );
        check(&["# nothing\n"], &us, Err(0));
    }
}
