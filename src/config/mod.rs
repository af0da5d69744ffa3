//! What the operator says, flags and one file, with every default spelled out.
//!
//! [`Config`] is what everything else reads: the whole of it, checked, in units
//! that need no further parsing. A policy is not part of it. [`load`] makes one
//! of flags, environment and file, or returns an [`Error`] that names every
//! fault at its place; nothing is repaired and nothing is guessed.

mod keys;

mod value;

mod fault;

mod file;

mod flags;

mod draft;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ipnet::IpNet;

use crate::wire::{Name, Type, UDP_OCTETS};

use draft::Draft;
pub use fault::{Error, Fault, Kind};
pub use flags::{Flags, unknown_variables};

/// Where the file is when no flag names one; it may be missing.
pub const DEFAULT_PATH: &str = "/etc/namegate/config.toml";

/// The whole file, every key at its default, with comments.
pub const EXAMPLE: &str = include_str!("../../deploy/config.example.toml");

/// The configuration of a run: flags over `NAMEGATE_` variables over the file over the defaults.
///
/// # Errors
/// When the named file cannot be read, or with every fault of what was said.
pub fn load(flags: &Flags, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, Error> {
    let mut draft = Draft::default();
    if let Some(source) = file::open(flags.config.as_deref(), Path::new(DEFAULT_PATH))? {
        draft.take_file(&source)?;
    }
    draft.take_variables(env);
    draft.take_flags(flags);
    draft.finish()
}

/// The configuration that a file's text alone stands for; `name` is what its faults call it.
///
/// # Errors
/// With every fault of the text.
pub fn read(name: &str, text: &str) -> Result<Config, Error> {
    let mut draft = Draft::default();
    draft.take_file(&fault::Source::file(name.to_owned(), text.to_owned()))?;
    draft.finish()
}

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
    pub admin: Admin,
    pub sandbox: Sandbox,
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
    /// Queries a second from one client; 0 is no limit.
    pub rate_per_client: u32,
    /// What `version.bind` CH TXT is told; empty: REFUSED.
    pub version: String,
    /// What `id.server` CH TXT and NSID are told; empty: REFUSED, and nothing.
    pub identity: String,
    /// Do clients get a server cookie for theirs?
    pub cookies: bool,
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
    /// Is the policy obeyed, or only asked?
    pub mode: Mode,
    /// When an audit ends, at most [`AUDIT_MAX`] from now; none: there is none.
    pub audit_until: Option<SystemTime>,
    /// What `run` does when there is no file at start.
    pub on_missing: AtStart,
    /// What `run` does when the file is not a policy at start.
    pub on_invalid_at_start: AtStart,
    /// How often the content is compared.
    pub poll_every: Duration,
    /// Quiet time after an event that may be half a write.
    pub settle: Duration,
}

/// What becomes of a name that the policy does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is denied.
    Enforce,
    /// It resolves, and that is told, until `audit_until`.
    Audit,
}

impl Mode {
    /// The word for it, in files and on pages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Audit => "audit",
        }
    }
}

/// An audit is for finding out what is needed; what goes on for longer is no policy.
pub const AUDIT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

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
    /// The endings that search lists put behind names, beside those of Kubernetes.
    pub search_suffixes: Vec<SearchSuffix>,
    /// Do the names below `namegate.internal` tell those in the box of the policy?
    pub explain_zone: bool,
    /// Where the names that were blocked lately are written, for those in the box; none: nowhere.
    pub file: Option<PathBuf>,
}

/// One entry of the endings of search lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there are a handful of them")]
pub enum SearchSuffix {
    /// Those of this machine's resolv.conf.
    System,
    /// This one.
    Name(Name),
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
    /// It is taken out, but for the exemptions of SPEC 7.
    Remove,
    /// It is taken out unless the policy allows everything.
    PassForAllowAll,
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
    /// How much of a client's address the query log holds.
    pub client_ip: ClientIp,
}

/// How much of a client's address is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientIp {
    /// All of it, and the port.
    Full,
    /// The network: 24 bits of IPv4, 56 of IPv6.
    Prefix,
    /// Nothing.
    None,
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
    /// `unix:PATH`, a stream socket that somebody listens on.
    Unix(PathBuf),
}

/// `[metrics]`
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    /// Where /metrics, /livez, /readyz and /status are; none: nowhere.
    pub listen: Option<SocketAddr>,
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// Where the operator's commands reach the daemon; none: nowhere.
    pub socket: Option<PathBuf>,
    /// The socket's permissions: who may write may do what there is to do.
    pub mode: u32,
    /// Its group, by name or number; empty: the process's own.
    pub group: String,
}

/// `[sandbox]`: what `run` may do once it has its ports.
#[derive(Clone, Debug, PartialEq)]
pub struct Sandbox {
    /// Does the kernel keep it from writing elsewhere, executing and connecting elsewhere?
    pub landlock: Landlock,
    /// Whom it becomes when root has started it; none: it stays who it is.
    pub user: Option<User>,
}

/// How much is made of Landlock, the kernel's way for a process to give up rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landlock {
    /// As much as this kernel has of it, and be it nothing.
    BestEffort,
    /// The start fails on a kernel that has none.
    Require,
    /// Nothing.
    Off,
}

/// A user and a group by their numbers: names would take the C library's plug-ins to look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words say it")]
pub struct User {
    pub uid: u32,
    pub gid: u32,
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}

/// Where the admin socket is unless somebody says otherwise: a directory that is not there is no fault.
pub const ADMIN_SOCKET: &str = "/run/namegate/admin.sock";

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
                cookies: true,
            },
            policy: Policy {
                file: PathBuf::from("/etc/namegate/policy.json"),
                id: String::new(),
                name: String::new(),
                mode: Mode::Enforce,
                audit_until: None,
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
                search_suffixes: vec![SearchSuffix::System],
                explain_zone: true,
                file: Some(PathBuf::from("/run/namegate/blocked")),
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
                client_ip: ClientIp::Full,
            },
            metrics: Metrics {
                listen: Some(at("127.0.0.1:9953")),
            },
            admin: Admin {
                socket: Some(PathBuf::from(ADMIN_SOCKET)),
                mode: 0o600,
                group: String::new(),
            },
            sandbox: Sandbox {
                landlock: Landlock::BestEffort,
                user: None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(config: &Path) -> Flags {
        Flags {
            config: Some(config.to_owned()),
            ..Flags::default()
        }
    }

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("config.toml");
        std::fs::write(&path, text).expect("a file");
        (dir, path)
    }

    #[test]
    fn a_flag_goes_before_a_variable_before_the_file_even_at_the_default() {
        let (_dir, path) = file("[log]\nqueries = 'all'\n[policy]\nid = 'x'");
        let mut flags = flags(&path);
        let none = |_: &str| None;
        let all = load(&flags, &none).expect("the file");
        assert_eq!(
            (all.log.queries, all.policy.id.as_str()),
            (Queries::All, "x")
        );

        let env = |name: &str| match name {
            "NAMEGATE_LOG_QUERIES" => Some("none".to_owned()),
            "NAMEGATE_POLICY_ID" => Some(String::new()),
            _ => None,
        };
        let none = load(&flags, &env).expect("the variables");
        assert_eq!(
            (none.log.queries, none.policy.id.as_str()),
            (Queries::None, "")
        );

        flags.log_queries = Some("blocked".to_owned());
        let blocked = load(&flags, &env).expect("the flag");
        assert_eq!(blocked.log, Config::default().log);
    }

    #[test]
    fn every_flag_sets_its_key() {
        let text = |text: &str| Some(text.to_owned());
        let (_dir, path) = file("");
        let mut flags = Flags {
            config: Some(path),
            policy: Some("p.json".into()),
            policy_id: text("npl_1"),
            policy_name: None,
            listen: vec!["127.0.0.2".to_owned(), "[::1]:5353".to_owned()],
            upstream: vec!["system".to_owned(), "tcp://192.0.2.1".to_owned()],
            zones: Some("z".into()),
            metrics: text("off"),
            log_queries: text("none"),
            socket: Some("a.sock".into()),
            mode: text("audit"),
            audit_for: text("2h"),
        };
        let config = load(&flags, &|_| None).expect("good flags");
        assert_eq!(config.policy.file, PathBuf::from("p.json"));
        assert_eq!(config.policy.id, "npl_1");
        assert_eq!(config.listen.addresses.len(), 2);
        assert_eq!(config.upstream.servers.len(), 2);
        assert_eq!(config.zones.dir, PathBuf::from("z"));
        assert_eq!(config.metrics.listen, None);
        assert_eq!(config.log.queries, Queries::None);
        assert_eq!(config.admin.socket, Some(PathBuf::from("a.sock")));
        assert_eq!(config.policy.mode, Mode::Audit);
        let left = config
            .policy
            .audit_until
            .expect("an end")
            .duration_since(SystemTime::now());
        let left = left.expect("it is to come").as_secs();
        assert!((7100..=7200).contains(&left), "{left} s");
        (flags.policy_id, flags.policy_name) = (None, text("ci"));
        assert_eq!(
            load(&flags, &|_| None).expect("good flags").policy.name,
            "ci"
        );
    }

    #[test]
    fn a_bad_flag_and_a_bad_variable_are_told_by_name() {
        let (_dir, path) = file("");
        let mut flags = flags(&path);
        flags.listen = vec!["::1".to_owned(), "here".to_owned()];
        let env = |name: &str| (name == "NAMEGATE_CACHE_MAX_TTL").then(|| "5 parsecs".to_owned());
        let error = load(&flags, &env).expect_err("two faults").to_string();
        assert!(
            error.contains("--> NAMEGATE_CACHE_MAX_TTL\n |\n | 5 parsecs\n | ^^^^^^^^^\n"),
            "{error}"
        );
        assert!(
            error.contains("--> --listen\n |\n | here\n | ^^^^\n"),
            "{error}"
        );
    }

    #[test]
    fn a_bad_item_of_a_variable_is_underlined_alone() {
        let (_dir, path) = file("");
        let env = |name: &str| (name == "NAMEGATE_UPSTREAM").then(|| "system, nope".to_owned());
        let error = load(&flags(&path), &env)
            .expect_err("one fault")
            .to_string();
        assert!(
            error.contains(" | system, nope\n |         ^^^^\n"),
            "{error}"
        );
    }

    #[test]
    fn what_is_not_a_text_file_is_bad() {
        let (dir, path) = file("");
        std::fs::write(&path, b"[log]\n\xFF").expect("a file");
        for (path, reason) in [
            (path.as_path(), "not UTF-8 at octet 6"),
            (dir.path(), "directory"),
        ] {
            let error = load(&flags(path), &|_| None).expect_err(reason);
            assert_eq!(error.kind.exit_code(), 78);
            assert!(error.to_string().contains(reason), "{error}");
        }
        std::fs::write(&path, " ".repeat((1 << 20) + 1)).expect("a file");
        let error = load(&flags(&path), &|_| None).expect_err("too large");
        assert!(error.to_string().contains("larger than 1 MiB"), "{error}");
    }

    #[test]
    fn nothing_said_is_the_defaults() {
        assert_eq!(
            read("c.toml", "").expect("an empty file"),
            Config::default()
        );
    }

    #[test]
    fn a_variable_that_says_nothing_is_noted() {
        let names = [
            "NAMEGATE_LISTEN",
            "NAMEGATE_CACHE_MAXTTL",
            "NAMEGATE_QQQQQQ",
            "HOME",
        ];
        let expected = [
            "NAMEGATE_CACHE_MAXTTL is not a setting; did you mean NAMEGATE_CACHE_MAX_TTL?",
            "NAMEGATE_QQQQQQ is not a setting",
        ];
        assert_eq!(unknown_variables(names), expected);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(cut in 0..EXAMPLE.len(), put in ".{0,6}", drop in 0..40_usize) {
            let rest: String = EXAMPLE[cut..].chars().skip(drop).collect();
            if let Err(error) = read("c.toml", &format!("{}{put}{rest}", &EXAMPLE[..cut])) {
                assert!(!error.to_string().is_empty());
            }
        }
    }
}
