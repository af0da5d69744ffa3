//! The table of keys: what may be said, under which names, and how it is read.
//!
//! File, environment, flags and the suggestions for a mistyped key all come
//! from [`KEYS`]. A key's `set` reads one value into the configuration, or
//! leaves it as it was and returns every fault.

use std::time::Duration;

use super::Queries;
use super::value::{Read, Said, What, nearest};
use super::value::{
    addresses, clients, contact, duration, level, list, metrics, mode, moment, name,
};
use super::value::{
    one_of, path, path_or_none, patterns, search_suffixes, seconds, servers, sink, size,
};
use super::value::{switch, text, txt, types, user, whole};
use super::{
    Ancestors, AtStart, ClientIp, Config, Forward, Landlock, LogFormat, Mode, PrivateAnswers,
};

/// One setting.
pub(super) struct Key {
    /// `listen.addresses`.
    pub(super) path: &'static str,
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    /// Reads what was said into the configuration.
    pub(super) set: fn(&mut Config, &Said) -> Read<()>,
}

impl Key {
    /// The variables that say it, the one that wins first.
    pub(super) fn variables(&self) -> impl Iterator<Item = String> {
        let long = format!("{PREFIX}{}_{}", self.section, self.name).to_ascii_uppercase();
        let short = SHORT.iter().find(|(_, path)| *path == self.path);
        std::iter::once(long).chain(short.map(|(name, _)| (*name).to_owned()))
    }
}

/// What the name of every variable of ours begins with.
pub(super) const PREFIX: &str = "NAMEGATE_";

/// Variables with a shorter name beside the regular one.
const SHORT: [(&str, &str); 4] = [
    ("NAMEGATE_LISTEN", "listen.addresses"),
    ("NAMEGATE_UPSTREAM", "upstream.servers"),
    ("NAMEGATE_METRICS", "metrics.listen"),
    ("NAMEGATE_MODE", "policy.mode"),
];

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY_S: u64 = 24 * 3600;
/// A query that waits holds a port, and there are no more of those.
const INFLIGHT_MAX: i64 = 65_535;
/// A connection holds a file descriptor; systems give about as many.
const TCP_CLIENTS_MAX: i64 = 65_535;
/// More than a box ever asks for; a slip of the unit is caught before the memory is gone.
const CACHE_OCTETS_MAX: u64 = 16 << 30;

const AT_START: [(&str, AtStart); 2] = [("exit", AtStart::Exit), ("deny_all", AtStart::DenyAll)];
const MODES: [(&str, Mode); 2] = [("enforce", Mode::Enforce), ("audit", Mode::Audit)];
const ANCESTORS: [(&str, Ancestors); 2] = [
    ("nxdomain", Ancestors::Nxdomain),
    ("nodata", Ancestors::Nodata),
];
const PRIVATE: [(&str, PrivateAnswers); 3] = [
    ("remove", PrivateAnswers::Remove),
    ("pass_for_allow_all", PrivateAnswers::PassForAllowAll),
    ("pass", PrivateAnswers::Pass),
];
const FORMATS: [(&str, LogFormat); 3] = [
    ("auto", LogFormat::Auto),
    ("text", LogFormat::Text),
    ("json", LogFormat::Json),
];
const QUERIES: [(&str, Queries); 3] = [
    ("all", Queries::All),
    ("blocked", Queries::Blocked),
    ("none", Queries::None),
];

const CLIENT_IP: [(&str, ClientIp); 3] = [
    ("full", ClientIp::Full),
    ("prefix", ClientIp::Prefix),
    ("none", ClientIp::None),
];

const LANDLOCK: [(&str, Landlock); 3] = [
    ("best_effort", Landlock::BestEffort),
    ("require", Landlock::Require),
    ("off", Landlock::Off),
];

/// `"section" "name" => field = reader(bounds);`
macro_rules! keys {
    ($($section:literal $name:literal =>
        $($field:ident).+ = $read:ident($($bound:expr),*);)+) => {
        &[$(Key {
            path: concat!($section, ".", $name),
            section: $section,
            name: $name,
            set: |config, said| {
                config.$($field).+ = $read(said $(, $bound)*)?;
                Ok(())
            },
        }),+]
    };
}

/// Every key but those of `[[forward]]`, in the order of the file.
pub(super) const KEYS: &[Key] = keys! {
    "listen" "addresses" => listen.addresses = addresses();
    "listen" "clients" => listen.clients = clients();
    "listen" "udp_payload" => listen.udp_payload = whole(512, 4096);
    "listen" "tcp_idle" => listen.tcp_idle = duration(100 * MILLISECOND, HOUR);
    "listen" "tcp_max_clients" => listen.tcp_max_clients = whole(1, TCP_CLIENTS_MAX);
    "listen" "max_inflight" => listen.max_inflight = whole(1, INFLIGHT_MAX);
    "listen" "rate_per_client" => listen.rate_per_client = whole(0, i64::from(u32::MAX));
    "listen" "version" => listen.version = txt();
    "listen" "identity" => listen.identity = txt();
    "listen" "cookies" => listen.cookies = switch();

    "policy" "file" => policy.file = path();
    "policy" "id" => policy.id = text();
    "policy" "name" => policy.name = text();
    "policy" "mode" => policy.mode = one_of(&MODES);
    "policy" "audit_until" => policy.audit_until = moment();
    "policy" "on_missing" => policy.on_missing = one_of(&AT_START);
    "policy" "on_invalid_at_start" => policy.on_invalid_at_start = one_of(&AT_START);
    "policy" "poll_every" => policy.poll_every = duration(100 * MILLISECOND, HOUR);
    "policy" "settle" => policy.settle = duration(Duration::ZERO, SECOND);

    "blocked" "ttl" => blocked.ttl_s = seconds(1, 60);
    "blocked" "ancestors" => blocked.ancestors = one_of(&ANCESTORS);
    "blocked" "dnssec_ancestors" => blocked.dnssec_ancestors = switch();
    "blocked" "contact" => blocked.contact = contact();
    "blocked" "search_suffixes" => blocked.search_suffixes = search_suffixes();
    "blocked" "explain_zone" => blocked.explain_zone = switch();
    "blocked" "file" => blocked.file = path_or_none();

    "services" "agent_gateway" => services.agent_gateway = patterns();
    "services" "mcp_gateway" => services.mcp_gateway = patterns();
    "services" "devbox_to_devbox" => services.devbox_to_devbox = patterns();
    "services" "mirrors" => services.mirrors = patterns();

    "zones" "dir" => zones.dir = path();

    "upstream" "servers" => upstream.servers = servers();
    "upstream" "timeout" => upstream.timeout = duration(10 * MILLISECOND, 4 * SECOND);
    "upstream" "case_randomization" => upstream.case_randomization = switch();

    "cache" "bytes" => cache.bytes = size(CACHE_OCTETS_MAX);
    "cache" "max_ttl" => cache.max_ttl_s = seconds(1, 7 * DAY_S);
    "cache" "max_negative_ttl" => cache.max_negative_ttl_s = seconds(0, DAY_S);
    "cache" "serve_stale" => cache.serve_stale = duration(Duration::ZERO, 168 * HOUR);
    "cache" "prefetch" => cache.prefetch = switch();

    "guard" "private_answers" => guard.private_answers = one_of(&PRIVATE);
    "guard" "private_allowed_for" => guard.private_allowed_for = patterns();
    "guard" "types" => guard.types = types();

    "log" "level" => log.level = level();
    "log" "format" => log.format = one_of(&FORMATS);
    "log" "queries" => log.queries = one_of(&QUERIES);
    "log" "sink" => log.sink = sink();
    "log" "client_ip" => log.client_ip = one_of(&CLIENT_IP);

    "metrics" "listen" => metrics.listen = metrics();

    "admin" "socket" => admin.socket = path_or_none();
    "admin" "mode" => admin.mode = mode();
    "admin" "group" => admin.group = text();

    "sandbox" "landlock" => sandbox.landlock = one_of(&LANDLOCK);
    "sandbox" "user" => sandbox.user = user();
};

/// The one table that may stand many times.
pub(super) const FORWARD: &str = "forward";
const FORWARD_KEYS: [&str; 3] = ["zone", "servers", "exempt"];

/// The key with this path.
pub(super) fn key(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The tables of the file, in its order.
fn sections() -> Vec<&'static str> {
    let mut all: Vec<_> = KEYS.iter().map(|key| key.section).collect();
    all.dedup();
    all.push(FORWARD);
    all
}

/// Is this a table of the file?
pub(super) fn is_section(name: &str) -> bool {
    sections().contains(&name)
}

/// What to do about a table that there is not.
pub(super) fn section_help(said: &str) -> String {
    if let Some(near) = nearest(said, sections()) {
        return format!("did you mean [{near}]?");
    }
    match KEYS.iter().find(|key| key.name == said) {
        Some(key) => format!("write it below [{}]", key.section),
        None => format!("the tables are [{}]", sections().join("], [")),
    }
}

/// What to do about a key that its table does not have.
pub(super) fn key_help(section: &str, said: &str) -> String {
    let names = KEYS
        .iter()
        .filter(|key| key.section == section)
        .map(|key| key.name);
    let names: Vec<&str> = match section {
        FORWARD => FORWARD_KEYS.to_vec(),
        _ => names.collect(),
    };
    if let Some(near) = nearest(said, names.iter().copied()) {
        return format!("did you mean \"{near}\"?");
    }
    if said == "audit_for" {
        return "each restart would begin it anew; say when it ends: policy.audit_until".to_owned();
    }
    match KEYS.iter().find(|key| key.name == said) {
        Some(key) => format!("\"{said}\" is a key of [{}]", key.section),
        None => format!("the keys of [{section}] are {}", names.join(", ")),
    }
}

/// Every `[[forward]]`, in the order of the file.
pub(super) fn forwards(said: &Said) -> Read<Vec<Forward>> {
    let What::List(entries) = &said.what else {
        return said.refuse(
            "is not how forwards are written",
            "write [[forward]], in two brackets",
        );
    };
    let found = list(said, forward)?;
    let again = |at: usize| found[..at].iter().any(|it| it.zone == found[at].zone);
    match (0..found.len()).find(|at| again(*at)) {
        Some(at) => {
            let message = format!("{} is forwarded twice", found[at].zone);
            let place = &entries[at].place;
            Err(vec![
                place.fault(message, "name all servers in one [[forward]]"),
            ])
        }
        None => Ok(found),
    }
}

fn forward(said: &Said) -> Read<Forward> {
    let What::Table(entries) = &said.what else {
        return said.refuse(
            "is not a table",
            "write [[forward]] with zone and servers below it",
        );
    };
    let (mut zone, mut to, mut exempt) = (None, None, false);
    let mut faults = Vec::new();
    for entry in entries {
        let read = match entry.name.as_str() {
            "zone" => name(&entry.value).map(|it| zone = Some(it)),
            "servers" => servers(&entry.value).map(|it| to = Some(it)),
            "exempt" => switch(&entry.value).map(|it| exempt = it),
            _ => Err(vec![entry.unknown(FORWARD)]),
        };
        if let Err(found) = read {
            let key = format!("{FORWARD}.{}", entry.name);
            faults.extend(found.into_iter().map(|fault| fault.about(&key)));
        }
    }
    match (zone, to) {
        _ if !faults.is_empty() => Err(faults),
        (Some(zone), Some(_)) if zone.is_root() => said.refuse(
            "would take every name",
            "name a zone below the root; whom all else is asked of is upstream.servers",
        ),
        (Some(zone), Some(servers)) => Ok(Forward {
            zone,
            servers,
            exempt,
        }),
        _ => said.refuse("needs both zone and servers", "write both, or take it out"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Draft, EXAMPLE, read};

    /// A value of each key that is not its default: as a file says it, and as a variable does.
    const OTHERS: &[(&str, &str, &str)] = &[
        (
            "listen.addresses",
            r#"["127.0.0.2:5353", "::1"]"#,
            "127.0.0.2:5353, ::1",
        ),
        (
            "listen.clients",
            r#"["10.1.2.3/8", "::1"]"#,
            "10.0.0.0/8,::1/128",
        ),
        ("listen.udp_payload", "4096", "4096"),
        ("listen.tcp_idle", r#""1m 30s""#, "90s"),
        ("listen.tcp_max_clients", "1", "1"),
        ("listen.max_inflight", "0xFF", "255"),
        ("listen.rate_per_client", "100", "100"),
        ("listen.version", r#""namegate 1""#, "namegate 1"),
        ("listen.identity", r#""box-7""#, "box-7"),
        ("listen.cookies", "false", "false"),
        ("policy.file", r#""p.json""#, "p.json"),
        ("policy.id", r#""npl_1""#, "npl_1"),
        ("policy.name", r#""ci""#, "ci"),
        (
            "policy.mode",
            "\"audit\"\naudit_until = \"2001-01-01T00:00:00Z\"",
            "audit",
        ),
        (
            "policy.audit_until",
            r#""2001-01-01T00:00:00Z""#,
            "2001-01-01T00:00:00Z",
        ),
        ("policy.on_missing", r#""deny_all""#, "deny_all"),
        ("policy.on_invalid_at_start", r#""deny_all""#, "deny_all"),
        ("policy.poll_every", r#""100ms""#, "100ms"),
        ("policy.settle", r#""0s""#, "0"),
        ("blocked.ttl", r#""60s""#, "1m"),
        ("blocked.ancestors", r#""nodata""#, "nodata"),
        ("blocked.dnssec_ancestors", "true", "true"),
        ("blocked.contact", r##""#platform-net""##, "#platform-net"),
        (
            "blocked.search_suffixes",
            r#"["corp.example", "system"]"#,
            "corp.example, system",
        ),
        ("blocked.explain_zone", "false", "false"),
        ("blocked.file", r#""""#, ""),
        (
            "services.agent_gateway",
            r#"["a.example", "*.b.example"]"#,
            "a.example,*.b.example",
        ),
        ("services.mcp_gateway", "[]", ""),
        ("services.devbox_to_devbox", "[]", " "),
        ("services.mirrors", r#"["pypi.org"]"#, "pypi.org"),
        ("zones.dir", r#""zones""#, "zones"),
        (
            "upstream.servers",
            r#"["udp://192.0.2.1", "tcp://[::1]:5300"]"#,
            "192.0.2.1,tcp://[::1]:5300",
        ),
        ("upstream.timeout", r#""4s""#, "4000ms"),
        ("upstream.case_randomization", "false", "false"),
        ("cache.bytes", "1048576", "1 MiB"),
        ("cache.max_ttl", r#""7d""#, "7days"),
        ("cache.max_negative_ttl", r#""0s""#, "0"),
        ("cache.serve_stale", r#""0s""#, "0s"),
        ("cache.prefetch", "false", "false"),
        ("guard.private_answers", r#""pass""#, "pass"),
        (
            "guard.private_allowed_for",
            r#"["*.corp.example"]"#,
            "*.corp.example",
        ),
        (
            "guard.types",
            r#"["aaaa", "TYPE65280", "uri"]"#,
            "AAAA,TYPE65280,TYPE256",
        ),
        ("log.level", r#""debug""#, "debug"),
        ("log.format", r#""json""#, "json"),
        ("log.queries", r#""none""#, "none"),
        ("log.sink", r#""file:/q.jsonl""#, "file:/q.jsonl"),
        ("log.client_ip", r#""prefix""#, "prefix"),
        ("metrics.listen", r#""""#, "off"),
        ("admin.socket", r#""/run/a.sock""#, "/run/a.sock"),
        ("admin.mode", r#""0660""#, "660"),
        ("admin.group", r#""operators""#, "operators"),
        ("sandbox.landlock", r#""require""#, "require"),
        ("sandbox.user", r#""64123""#, "64123:64123"),
    ];

    fn from_file(path: &str, value: &str) -> Config {
        let (section, name) = path.split_once('.').expect("a path has a section");
        read("t.toml", &format!("[{section}]\n{name} = {value}\n")).expect(path)
    }

    fn from_variable(name: &str, value: &str) -> Config {
        // An audit cannot do without its end.
        let until = (value == "audit").then(|| "2001-01-01T00:00:00Z".to_owned());
        let env = |asked: &str| match asked {
            "NAMEGATE_POLICY_AUDIT_UNTIL" if until.is_some() => until.clone(),
            _ => (asked == name).then(|| value.to_owned()),
        };
        let mut draft = Draft::default();
        draft.take_variables(&env);
        draft.finish().expect(name)
    }

    #[test]
    fn every_key_is_set_by_the_file_and_by_each_of_its_variables() {
        let listed: Vec<&str> = OTHERS.iter().map(|row| row.0).collect();
        let keys: Vec<&str> = KEYS.iter().map(|key| key.path).collect();
        assert_eq!(listed, keys);
        for (key, (path, in_file, in_variable)) in KEYS.iter().zip(OTHERS) {
            let said = from_file(path, in_file);
            assert_ne!(said, Config::default(), "{path}");
            for name in key.variables() {
                assert_eq!(from_variable(&name, in_variable), said, "{name}");
            }
        }
    }

    #[test]
    fn the_example_is_every_key_at_its_default() {
        assert_eq!(
            read("example", EXAMPLE).expect("the example is valid"),
            Config::default()
        );
        let mut section = "";
        let mut paths = Vec::new();
        for line in EXAMPLE.lines().filter(|line| !line.starts_with('#')) {
            match (line.strip_prefix('['), line.split_once(" = ")) {
                (Some(rest), _) => section = rest.trim_end_matches(']'),
                (None, Some((name, _))) => paths.push(format!("{section}.{name}")),
                (None, None) => assert_eq!(line, ""),
            }
        }
        let keys: Vec<&str> = KEYS.iter().map(|key| key.path).collect();
        assert_eq!(paths, keys);
    }

    #[test]
    fn the_commented_forward_of_the_example_is_valid() {
        let lines = EXAMPLE.lines().skip_while(|line| *line != "# [[forward]]");
        let forward = lines.take_while(|line| !line.is_empty());
        let text: String = forward.map(|line| format!("{}\n", &line[2..])).collect();
        let config = read("example", &text).expect("the forward is valid");
        assert_eq!(config.forward.len(), 1);
        assert!(config.forward[0].exempt);
    }

    #[test]
    fn the_long_variable_goes_before_the_short_one() {
        let env = |name: &str| match name {
            "NAMEGATE_METRICS" => Some("off".to_owned()),
            "NAMEGATE_METRICS_LISTEN" => Some("[::1]".to_owned()),
            _ => None,
        };
        let mut draft = Draft::default();
        draft.take_variables(&env);
        let config = draft.finish().expect("both are valid");
        let at = "[::1]:9953".parse().expect("an address");
        assert_eq!(config.metrics.listen, Some(at));
    }
}
