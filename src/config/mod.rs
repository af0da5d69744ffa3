//! What the operator says, flags and one file, with every default spelled out.
//!
//! [`Config`] is what everything else reads: the whole of it, checked, in units
//! that need no further parsing. A policy is not part of it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::wire::{Name, Type, UDP_OCTETS};

/// The effective configuration.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "one field a table of the file")]
pub struct Config {
    pub listen: Listen,
    pub policy: Policy,
    pub blocked: Blocked,
    pub services: Services,
    pub zones: Zones,
    pub forward: Vec<Forward>,
    pub upstream: Upstream,
    pub cache: Cache,
    pub guard: Guard,
    pub log: Log,
    pub metrics: Metrics,
}

/// `[listen]`
#[derive(Clone, Debug, PartialEq)]
pub struct Listen {
    /// UDP and TCP are served on each.
    pub addresses: Vec<SocketAddr>,
    /// Who may ask; others get REFUSED.
    pub clients: Vec<IpNet>,
    /// The largest UDP reply, in octets (512 to 4096).
    pub udp_payload: u16,
    /// How long a TCP connection may be silent.
    pub tcp_idle: Duration,
    /// TCP connections at once.
    pub tcp_max_clients: usize,
    /// Queries waiting for upstream at once.
    pub max_inflight: usize,
    /// Queries a second from one address; 0 is no limit.
    pub rate_per_client: u32,
    /// What `version.bind` CH TXT is told; empty: REFUSED.
    pub version: String,
    /// What `id.server` CH TXT is told; empty: REFUSED.
    pub identity: String,
}

/// `[policy]`
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The policy document.
    pub file: PathBuf,
    /// Which policy of a list response, by id; empty: not by id.
    pub id: String,
    /// Which policy of a list response, by name; empty: not by name.
    pub name: String,
    /// What `run` does when there is no file at start.
    pub on_missing: AtStart,
    /// What `run` does when the file is not a policy at start.
    pub on_invalid_at_start: AtStart,
    /// How often the content is compared.
    pub poll_every: Duration,
    /// Quiet time after an event that may be half a write.
    pub settle: Duration,
}

/// What to do without a policy at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtStart {
    /// End with the error.
    Exit,
    /// Answer NXDOMAIN to everything, not ready, until the file is good.
    DenyAll,
}

/// `[blocked]`
#[derive(Clone, Debug, PartialEq)]
pub struct Blocked {
    /// TTL and MINIMUM of the SOA in a denial, seconds (1 to 60).
    pub ttl_s: u32,
    /// The answer for a denied name above an allowed one.
    pub ancestors: Ancestors,
    /// Are DS and DNSKEY of ancestors of allowed names forwarded?
    pub dnssec_ancestors: bool,
    /// Whom to ask; shown in the extended error. Empty: nobody.
    pub contact: String,
}

/// How a denied name that is an ancestor of an allowed one is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ancestors {
    /// Like every other denied name.
    Nxdomain,
    /// NOERROR and nothing, for an RFC 8020 cache in between.
    Nodata,
}

/// `[services]`: the patterns that a policy's flags switch on, as written.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "named for the flags")]
pub struct Services {
    pub agent_gateway: Vec<String>,
    pub mcp_gateway: Vec<String>,
    pub devbox_to_devbox: Vec<String>,
    pub mirrors: Vec<String>,
}

/// `[zones]`
#[derive(Clone, Debug, PartialEq)]
pub struct Zones {
    /// Where the zone files are; a directory that is not there holds none.
    pub dir: PathBuf,
}

/// One `[[forward]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// It and every name below goes to these servers.
    pub zone: Name,
    /// Whom to ask.
    pub servers: Vec<Server>,
    /// Are the names allowed whatever the policy says?
    pub exempt: bool,
}

/// `[upstream]`
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// Whom to ask.
    pub servers: Vec<Server>,
    /// Of one try; a whole question ends within 4 s.
    pub timeout: Duration,
    /// Is the case of our upstream queries random (0x20)?
    pub case_randomization: bool,
}

/// One entry of a list of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// The machine's own resolvers, less ourselves.
    System,
    /// `udp://`: UDP, with TCP for what is truncated.
    Udp(SocketAddr),
    /// `tcp://`
    Tcp(SocketAddr),
}

/// `[cache]`
#[derive(Clone, Debug, PartialEq)]
pub struct Cache {
    /// Octets; 0 keeps nothing.
    pub bytes: u64,
    /// The longest a positive answer is kept and passed on, seconds.
    pub max_ttl_s: u32,
    /// The longest a negative answer is kept, seconds.
    pub max_negative_ttl_s: u32,
    /// How long past its end an answer may stand in for a failing upstream; 0: never.
    pub serve_stale: Duration,
    /// Are popular names asked again before they expire?
    pub prefetch: bool,
}

/// `[guard]`
#[derive(Clone, Debug, PartialEq)]
pub struct Guard {
    /// Private addresses in answers to policy names.
    pub private_answers: PrivateAnswers,
    /// Patterns, as written, that may answer with them.
    pub private_allowed_for: Vec<String>,
    /// The types that are forwarded.
    pub types: Types,
}

/// What happens to a private address in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrivateAnswers {
    /// It is taken out, but for `allow_all` policies and the exemptions of SPEC 7.
    Remove,
    /// It is passed on.
    Pass,
}

/// Which types are forwarded for policy names.
#[derive(Clone, Debug, PartialEq)]
pub enum Types {
    /// Every type that a record can have.
    All,
    /// These.
    Listed(Vec<Type>),
}

/// `[log]`
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// How the daemon's own log looks.
    pub format: LogFormat,
    /// Which queries are logged.
    pub queries: Queries,
    /// Where to.
    pub sink: Sink,
}

/// The form of the daemon's own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for a person; under systemd without a time, with a priority.
    Auto,
    /// Text.
    Text,
    /// JSON Lines.
    Json,
}

/// Which queries the query log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words say it")]
pub enum Queries {
    All,
    Blocked,
    None,
}

/// Where the query log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// Standard output.
    Stdout,
    /// `file:PATH`, appended to.
    File(PathBuf),
}

/// `[metrics]`
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    /// Where /metrics, /livez, /readyz and /status are; none: nowhere.
    pub listen: Option<SocketAddr>,
}

/// The types that are forwarded by default (SPEC 7).
const FORWARDED_TYPES: [u16; 18] = [
    1, 28, 257, 5, 48, 43, 65, 15, 35, 2, 12, 6, 33, 44, 64, 52, 16, 256,
];

impl Default for Config {
    fn default() -> Self {
        let net = |text: &str| text.parse().expect("a constant range");
        let at = |text: &str| text.parse().expect("a constant address");
        let owned = |texts: &[&str]| texts.iter().map(|it| (*it).to_owned()).collect();
        Self {
            listen: Listen {
                addresses: vec![at("127.0.0.1:53"), at("[::1]:53")],
                clients: vec![net("127.0.0.0/8"), net("::1/128")],
                udp_payload: UDP_OCTETS,
                tcp_idle: Duration::from_secs(10),
                tcp_max_clients: 256,
                max_inflight: 2048,
                rate_per_client: 0,
                version: String::new(),
                identity: String::new(),
            },
            policy: Policy {
                file: PathBuf::from("/etc/namegate/policy.json"),
                id: String::new(),
                name: String::new(),
                on_missing: AtStart::Exit,
                on_invalid_at_start: AtStart::Exit,
                poll_every: Duration::from_secs(2),
                settle: Duration::from_millis(150),
            },
            blocked: Blocked {
                ttl_s: 5,
                ancestors: Ancestors::Nxdomain,
                dnssec_ancestors: false,
                contact: String::new(),
            },
            services: Services {
                agent_gateway: owned(&["gateway.runloop.ai"]),
                mcp_gateway: owned(&["mcp-gateway.runloop.ai"]),
                devbox_to_devbox: owned(&["*.tunnel.runloop.ai"]),
                mirrors: Vec::new(),
            },
            zones: Zones {
                dir: PathBuf::from("/etc/namegate/zones"),
            },
            forward: Vec::new(),
            upstream: Upstream {
                servers: vec![Server::System],
                timeout: Duration::from_secs(2),
                case_randomization: true,
            },
            cache: Cache {
                bytes: 16 << 20,
                max_ttl_s: 300,
                max_negative_ttl_s: 30,
                serve_stale: Duration::from_secs(3600),
                prefetch: true,
            },
            guard: Guard {
                private_answers: PrivateAnswers::Remove,
                private_allowed_for: Vec::new(),
                types: Types::Listed(FORWARDED_TYPES.map(Type).to_vec()),
            },
            log: Log {
                level: "info".to_owned(),
                format: LogFormat::Auto,
                queries: Queries::Blocked,
                sink: Sink::Stdout,
            },
            metrics: Metrics {
                listen: Some(at("127.0.0.1:9953")),
            },
        }
    }
}
