//! `doctor`: is this machine really using namegate, and what goes around it.
//!
//! First everything is looked at and asked, in a few seconds and without changing a thing ([`Facts::gather`]); then
//! each group of [`CHECKS`] judges what was found, which needs no machine. It runs as any user: what that user cannot
//! see, it says, and does not guess.

mod resolv;

mod nss;

mod server;

mod resolver;

mod upstream;

mod policy;

mod limits;

mod bypass;

mod probe;

mod status;

mod finding;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::thread;
use std::time::Duration;

use self::finding::{Finding, Level};
use self::probe::Heard;
use self::resolv::ResolvConf;
use self::resolver::Hidden;
use self::server::{Holder, Server};
use self::status::Daemon;
use super::args::{DoctorArgs, Format};
use super::{colored, configuration, exit, say};
use crate::config::Config;
use crate::daemon::reachable;
use crate::front::{Transport, listeners_on, owner_of};

/// Every group of checks, in the order in which they are told: from what a program does first to what it might do.
const CHECKS: [fn(&Facts) -> Vec<Finding>; 8] = [
    server::judge,
    resolv::judge,
    nss::judge,
    resolver::judge,
    upstream::judge,
    policy::judge,
    limits::judge,
    bypass::judge,
];
const DNS_PORT: u16 = 53;
/// A file that has just changed is served within this many looks, `SETTLE` apart.
const LOOKS_MAX: usize = 4;
const SETTLE: Duration = Duration::from_secs(1);

pub(super) fn doctor(args: &DoctorArgs, color: clap::ColorChoice) -> u8 {
    let config = match configuration(&args.files.flags()) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let facts = Facts::gather(config, args.no_network);
    let found: Vec<Finding> = CHECKS.iter().flat_map(|judge| judge(&facts)).collect();
    match args.format {
        Format::Text => say(&finding::text(&found, colored(color, &io::stdout()))),
        Format::Json => say(&format!("{}\n", finding::json(&found))),
    }
    let failed = found.iter().any(|it| it.level == Level::Fail);
    if failed { exit::FOUND } else { exit::OK }
}

/// Everything that the checks judge by.
#[derive(Clone, Debug, PartialEq)]
struct Facts {
    config: Config,
    daemon: Daemon,
    resolv: resolv::File,
    nss: nss::Facts,
    hidden: Vec<Hidden>,
    upstream: upstream::Facts,
    servers: Vec<Server>,
    policy: policy::Facts,
    limits: limits::Facts,
    bypass: bypass::Facts,
}

impl Facts {
    /// Looks at the machine. With `no_network`, nothing is sent but to this machine's loopback.
    fn gather(config: Config, no_network: bool) -> Self {
        let mut facts = Self::local(config);
        let asked = facts.to_ask();
        let file = Settling::of(&facts);
        // What waits, waits side by side.
        let (servers, bypass, settled) = thread::scope(|scope| {
            let bypass = scope.spawn(|| match no_network {
                true => bypass::Facts::Skipped,
                false => bypass::gather(),
            });
            let settled = scope.spawn(|| file.settle());
            let servers = at_once(&asked, |(address, over)| {
                server(*address, *over, no_network)
            });
            let done = "a thread that only looks does not panic";
            (
                servers,
                bypass.join().expect(done),
                settled.join().expect(done),
            )
        });
        (facts.servers, facts.bypass) = (servers, bypass);
        (facts.policy, facts.daemon) = settled;
        facts
    }

    /// What can be seen without asking another server.
    fn local(config: Config) -> Self {
        let daemon = status::gather(config.metrics.listen);
        let own = listen(&config, &daemon);
        Self {
            resolv: resolv::gather(Path::new(resolv::PATH)),
            nss: nss::gather(),
            hidden: resolver::gather(),
            upstream: upstream::gather(&config, &daemon, &own),
            servers: Vec::new(),
            policy: policy::gather(&config),
            limits: limits::gather(),
            bypass: bypass::Facts::Skipped,
            daemon,
            config,
        }
    }

    /// Every server worth a question, once.
    fn to_ask(&self) -> Vec<(SocketAddr, Transport)> {
        let conf = ResolvConf::of(&self.resolv);
        let named = conf.nameservers.iter().copied().chain([conf.first()]);
        let hidden = self.hidden.iter().map(|it| it.address);
        let at_53 = named.chain(resolver::STUBS).chain(hidden);
        let at_53 = at_53.map(|ip| SocketAddr::new(ip, DNS_PORT));
        let bound = listeners_on(DNS_PORT, Transport::Udp);
        let over_udp = at_53
            .chain(bound.into_iter().map(reachable))
            .chain(self.listen());
        let mut all = Vec::new();
        let over_udp = over_udp.map(|it| (it, Transport::Udp));
        for server in over_udp.chain(self.upstream.servers().iter().copied()) {
            if !all.contains(&server) {
                all.push(server);
            }
        }
        all
    }

    /// Where namegate listens, or should.
    fn listen(&self) -> Vec<SocketAddr> {
        listen(&self.config, &self.daemon)
    }

    /// Does the running resolver say that it listens there?
    fn runs_at(&self, address: SocketAddr) -> bool {
        self.daemon.status().is_some() && self.listen().contains(&address)
    }

    /// What a server said over UDP.
    fn heard(&self, address: SocketAddr) -> Heard {
        self.heard_over((address, Transport::Udp))
    }

    fn heard_over(&self, (address, over): (SocketAddr, Transport)) -> Heard {
        let mut servers = self.servers.iter();
        let server = servers.find(|it| it.address == address && it.over == over);
        server.map_or(Heard::Silent, |it| it.heard)
    }

    fn holder(&self, address: SocketAddr) -> Holder {
        let server = self.servers.iter().find(|it| it.address == address);
        server.map_or(Holder::Nobody, |it| it.holder.clone())
    }

    fn is_namegate(&self, ip: IpAddr) -> bool {
        self.heard(SocketAddr::new(ip, DNS_PORT)).is_namegate()
    }

    fn is_upstream(&self, ip: IpAddr) -> bool {
        self.upstream.servers().iter().any(|(it, _)| it.ip() == ip)
    }

    /// Is the namegate that programs here ask on another machine, and none on this one?
    fn is_elsewhere(&self) -> bool {
        let first = ResolvConf::of(&self.resolv).first();
        let is_local = self.holder(SocketAddr::new(first, DNS_PORT)) != Holder::Nobody;
        let runs_here = self.listen().iter().any(|it| self.heard(*it).is_namegate());
        self.is_namegate(first) && !is_local && !runs_here && self.daemon.status().is_none()
    }

    /// An address of ours that can stand in resolv.conf, which has no way to say a port.
    fn namegate_at_53(&self) -> Option<IpAddr> {
        let ours = self.listen().into_iter().map(|it| it.ip());
        ours.into_iter().find(|ip| self.is_namegate(*ip))
    }
}

/// The addresses that a running resolver has, or those of the configuration; ports of the kernel's choice cannot be known.
fn listen(config: &Config, daemon: &Daemon) -> Vec<SocketAddr> {
    let addresses = match daemon.status() {
        Some(status) => &status.listen,
        None => &config.listen.addresses,
    };
    let known = addresses.iter().filter(|it| it.port() != 0);
    known.copied().map(reachable).collect()
}

/// Asks one server, and who holds its address.
fn server(address: SocketAddr, over: Transport, no_network: bool) -> Server {
    let heard = match no_network && !address.ip().is_loopback() {
        true => Heard::Skipped,
        false => probe::ask(address, over),
    };
    Server {
        address,
        over,
        heard,
        holder: holder(address),
    }
}

fn holder(address: SocketAddr) -> Holder {
    let takes = |it: &SocketAddr| it.ip() == address.ip() || it.ip().is_unspecified();
    let transports = [Transport::Udp, Transport::Tcp];
    let bound = |it: &Transport| listeners_on(address.port(), *it).iter().any(takes);
    let Some(over) = transports.into_iter().find(bound) else {
        return Holder::Nobody;
    };
    owner_of(address, over).map_or(Holder::Unseen, Holder::Program)
}

/// Does `work` for each, all at the same time; the results are in the order of the items.
fn at_once<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let work = &work;
    thread::scope(|scope| {
        let each: Vec<_> = items
            .iter()
            .map(|it| scope.spawn(move || work(it)))
            .collect();
        let ends = each.into_iter().map(thread::ScopedJoinHandle::join);
        ends.map(|it| it.expect("a thread that only looks does not panic"))
            .collect()
    })
}

/// The policy file and the running resolver, which may be about to take it.
struct Settling {
    config: Config,
    policy: policy::Facts,
    daemon: Daemon,
}

impl Settling {
    fn of(facts: &Facts) -> Self {
        Self {
            config: facts.config.clone(),
            policy: facts.policy.clone(),
            daemon: facts.daemon.clone(),
        }
    }

    /// Looks again while the two disagree, for as long as a change may take.
    fn settle(mut self) -> (policy::Facts, Daemon) {
        for _ in 1..LOOKS_MAX {
            let served = self.daemon.status().map(|it| it.sha256.as_str());
            let agree = served.is_none() || self.policy.sha256().is_none();
            if agree || served == self.policy.sha256() {
                break;
            }
            thread::sleep(SETTLE);
            self.policy = policy::gather(&self.config);
            self.daemon = status::gather(self.config.metrics.listen);
        }
        (self.policy, self.daemon)
    }
}

#[cfg(test)]
mod tests {
    use super::limits::Usage;
    use super::probe::Namegate;
    use super::*;
    use crate::wire::Rcode;

    /// How namegate is heard when nothing is wrong.
    pub(super) const NAMEGATE: Namegate = Namegate {
        generation: Some(42),
        is_direct: true,
        explains: true,
    };

    pub(super) fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    pub(super) fn text(text: &str) -> resolv::File {
        resolv::File::Text {
            text: text.to_owned(),
            link: None,
        }
    }

    /// A server that is not namegate, and answers.
    pub(super) fn other(address: &str) -> Server {
        Server {
            address: at(address),
            over: Transport::Udp,
            heard: Heard::Other(Rcode::NXDOMAIN),
            holder: Holder::Nobody,
        }
    }

    /// A machine that uses namegate and nothing else.
    pub(super) fn healthy() -> Facts {
        Facts {
            config: Config::default(),
            daemon: Daemon::Runs(status::Status {
                audit_ends: None,
                version: "0.1.0".to_owned(),
                generation: 42,
                sha256: "9f2c1e00aa".to_owned(),
                took_last: true,
                listen: vec![at("127.0.0.1:53")],
                upstreams: vec!["udp://192.0.2.53:53".to_owned()],
                inotify: Some(true),
            }),
            resolv: text("nameserver 127.0.0.1\n"),
            nss: nss::Facts {
                switch: nss::Switch::Text("hosts: files dns\n".to_owned()),
                nscd_runs: false,
                resolved_runs: false,
            },
            hidden: Vec::new(),
            upstream: upstream::Facts::Servers(vec![(at("192.0.2.53:53"), Transport::Udp)]),
            servers: vec![Server {
                address: at("127.0.0.1:53"),
                over: Transport::Udp,
                heard: Heard::Namegate(NAMEGATE),
                holder: Holder::Program("namegate (pid 7)".to_owned()),
            }],
            policy: healthy_policy(),
            limits: limits::Facts {
                instances: Usage {
                    used: 3,
                    limit: Some(128),
                },
                watches: Usage {
                    used: 10,
                    limit: Some(8192),
                },
                inotify_error: None,
                descriptors: Some(1 << 20),
                landlock: Some(true),
                has_ipv6: true,
                now: std::time::SystemTime::now(),
            },
            bypass: bypass::Facts::Open(Vec::new()),
        }
    }

    /// A machine whose only nameserver is a namegate on another.
    pub(super) fn elsewhere() -> Facts {
        let mut facts = healthy();
        facts.daemon = Daemon::Silent(at("127.0.0.1:9953"));
        facts.resolv = text("nameserver 192.0.2.1\n");
        facts.servers[0].address = at("192.0.2.1:53");
        facts.servers[0].holder = Holder::Nobody;
        facts.policy.content = policy::Content::Missing;
        facts
    }

    fn healthy_policy() -> policy::Facts {
        policy::Facts {
            content: policy::Content::Good("9f2c1e00aa".to_owned()),
            real: Some("/etc/namegate/policy.json".into()),
            links: 1,
            mount: None,
            open_to_all: Vec::new(),
            modified: None,
        }
    }

    /// Holds the levels and ids of what a group finds against `expected`.
    #[track_caller]
    pub(super) fn check(judge: fn(&Facts) -> Vec<Finding>, facts: &Facts, expected: &[&str]) {
        let found = judge(facts);
        let found: Vec<String> = found
            .iter()
            .map(|it| format!("{} {}", it.level.word(), it.id))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn every_server_is_asked_once() {
        let facts = healthy();
        let asked = facts.to_ask();
        let count = |address: &str| asked.iter().filter(|(it, _)| *it == at(address)).count();
        for address in [
            "127.0.0.1:53",
            "127.0.0.11:53",
            "127.0.0.53:53",
            "127.0.0.54:53",
            "192.0.2.53:53",
        ] {
            assert_eq!(count(address), 1, "{address}");
        }
    }

    #[test]
    fn without_network_no_other_machine_is_asked() {
        let far = server(at("192.0.2.53:53"), Transport::Udp, true);
        assert_eq!(far.heard, Heard::Skipped);
        let port = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = port.local_addr().expect("bound");
        assert_eq!(holder(address), owned_by_us());
        drop(port);
        assert_eq!(server(address, Transport::Udp, true).heard, Heard::Silent);
        assert_eq!(holder(address), Holder::Nobody);
    }

    fn owned_by_us() -> Holder {
        let name = std::fs::read_to_string("/proc/self/comm").expect("/proc");
        Holder::Program(format!("{} (pid {})", name.trim(), std::process::id()))
    }

    #[test]
    fn the_addresses_of_a_running_resolver_go_before_the_configured_ones() {
        let mut facts = healthy();
        assert_eq!(facts.listen(), [at("127.0.0.1:53")]);
        facts.daemon = Daemon::Off;
        facts.config.listen.addresses = vec![at("0.0.0.0:53"), at("127.0.0.1:0")];
        assert_eq!(facts.listen(), [at("127.0.0.1:53")]);
    }
}
