//! Other resolvers that a program in here can ask: those of Docker and systemd-resolved, whatever else holds port 53,
//! and the servers that the machine's network settings keep in files of their own.

use std::fs;
use std::net::IpAddr;

use super::Facts;
use super::finding::Finding;
use super::resolv::{File, ResolvConf};
use super::server::{RESOLVED_STUB, Server};

/// Where systemd-resolved says whom it asks.
pub(super) const RESOLVED_FILE: &str = "/run/systemd/resolve/resolv.conf";
/// Files that name servers behind the one of resolv.conf.
const FILES: [&str; 4] = [
    RESOLVED_FILE,
    "/run/NetworkManager/no-stub-resolv.conf",
    "/run/NetworkManager/resolv.conf",
    "/proc/net/pnp",
];
const DOCKER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 11));
const RESOLVED_PROXY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 54));
/// Where resolvers are that need not hold port 53 in this namespace to answer.
pub(super) const STUBS: [IpAddr; 3] = [DOCKER, RESOLVED_STUB, RESOLVED_PROXY];

/// A server that a file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hidden {
    pub file: &'static str,
    pub address: IpAddr,
}

/// Reads the files that name servers.
pub(super) fn gather() -> Vec<Hidden> {
    let mut hidden = Vec::new();
    for file in FILES {
        let Ok(text) = fs::read_to_string(file) else {
            continue;
        };
        let conf = ResolvConf::of(&File::Text { text, link: None });
        let named = conf.nameservers.into_iter();
        hidden.extend(named.map(|address| Hidden { file, address }));
    }
    hidden
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let conf = ResolvConf::of(&facts.resolv);
    let first = conf.first();
    // The nameservers of resolv.conf and the upstreams are told of elsewhere.
    let is_told =
        |ip: IpAddr| ip == first || conf.others().any(|it| it == ip) || facts.is_upstream(ip);
    let mut seen = Vec::new();
    let mut found = Vec::new();
    for server in &facts.servers {
        let ip = server.address.ip();
        let is_news = server.address.port() == 53 && !is_told(ip) && !seen.contains(&ip);
        if is_news && server.heard.resolves() {
            seen.push(ip);
            found.push(of_server(facts, server));
        }
    }
    if found.is_empty() {
        let text = "no other resolver was found to answer in this network namespace";
        found.push(Finding::ok("resolver.none", text));
    }
    found
}

fn of_server(facts: &Facts, server: &Server) -> Finding {
    let ip = server.address.ip();
    let ask = "a program can ask it directly";
    let filter = "have a packet filter refuse port 53 to all but namegate";
    if ip == DOCKER {
        return Finding::warn(
            "resolver.docker",
            format!("{ip} (Docker's resolver) also answers in this namespace: {ask}"),
        )
        .fix(format!(
            "iptables -I OUTPUT -d {ip} -j REJECT          (in this namespace)"
        ));
    }
    if ip == RESOLVED_STUB || ip == RESOLVED_PROXY {
        return Finding::warn(
            "resolver.resolved",
            format!("{ip} (systemd-resolved) also answers in this namespace: {ask}"),
        )
        .fix("systemctl disable --now systemd-resolved, or DNSStubListener=no in /etc/systemd/resolved.conf");
    }
    match facts.hidden.iter().find(|it| it.address == ip) {
        Some(hidden) => Finding::warn(
            "resolver.hidden",
            format!("{ip} also answers, and {} names it: {ask}", hidden.file),
        )
        .fix(filter),
        None => Finding::warn(
            "resolver.local",
            format!(
                "{ip} also answers in this namespace{}: {ask}",
                holder(server)
            ),
        )
        .fix(format!("stop it, or {filter}")),
    }
}

fn holder(server: &Server) -> String {
    match &server.holder {
        super::server::Holder::Program(program) => format!(" ({program})"),
        super::server::Holder::Nobody | super::server::Holder::Unseen => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::probe::Heard;
    use crate::cli::doctor::tests::{check, healthy, other, text};
    use crate::wire::Rcode;

    #[test]
    fn namegate_alone_is_well() {
        check(judge, &healthy(), &["ok resolver.none"]);
    }

    #[test]
    fn each_resolver_is_told_by_where_it_is() {
        for (address, expected) in [
            ("127.0.0.11:53", "warn resolver.docker"),
            ("127.0.0.53:53", "warn resolver.resolved"),
            ("127.0.0.54:53", "warn resolver.resolved"),
            ("192.0.2.7:53", "warn resolver.hidden"),
            ("127.0.0.9:53", "warn resolver.local"),
        ] {
            let mut facts = healthy();
            facts.hidden = vec![Hidden {
                file: RESOLVED_FILE,
                address: IpAddr::from([192, 0, 2, 7]),
            }];
            facts.servers.push(other(address));
            facts.servers.push(other(address));
            check(judge, &facts, &[expected]);
        }
    }

    #[test]
    fn what_refuses_and_what_is_told_elsewhere_is_not_told_here() {
        let mut facts = healthy();
        facts.servers.push(other("127.0.0.9:53"));
        facts.servers[1].heard = Heard::Other(Rcode::REFUSED);
        check(judge, &facts, &["ok resolver.none"]);
        facts.servers[1] = other("192.0.2.9:53");
        facts.resolv = text("nameserver 127.0.0.1\nnameserver 192.0.2.9");
        check(judge, &facts, &["ok resolver.none"]);
        facts.servers[1] = other("192.0.2.53:53");
        check(judge, &facts, &["ok resolver.none"]);
    }
}
