//! `demo`: the real resolver, offline, showing what it does.
//!
//! The internet of the demo is a second namegate on loopback that serves the
//! zones in `zones/demo` and nothing else. What is asked goes over real sockets.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::args::DemoArgs;
use super::ask::ask;
use super::run::{End, on_runtime};
use super::{exit, say, talk};
use crate::config::{AtStart, Config, Queries, Server};
use crate::daemon::{Daemon, Said, StartError, reason};
use crate::matcher::{Kinship, Near, Rules, Verdict};
use crate::policy::Pattern;
use crate::wire::{Name, Rcode, Type};

/// The zones of the demo's internet.
const ZONES: [(&str, &str); 7] = [
    (
        "githib.com.zone",
        include_str!("../../zones/demo/githib.com.zone"),
    ),
    (
        "github.com.zone",
        include_str!("../../zones/demo/github.com.zone"),
    ),
    (
        "npmjs.org.zone",
        include_str!("../../zones/demo/npmjs.org.zone"),
    ),
    (
        "pypi.org.zone",
        include_str!("../../zones/demo/pypi.org.zone"),
    ),
    (
        "pythonhosted.org.zone",
        include_str!("../../zones/demo/pythonhosted.org.zone"),
    ),
    (
        "openai.com.zone",
        include_str!("../../zones/demo/openai.com.zone"),
    ),
    (
        "evil.example.zone",
        include_str!("../../zones/demo/evil.example.zone"),
    ),
];
const ALLOWED: [&str; 5] = [
    "github.com",
    "*.npmjs.org",
    "pypi.org",
    "files.pythonhosted.org",
    "api.openai.com",
];
/// What the demo adds to its policy while it runs.
const ADDED: &str = "evil.example";
/// What is asked, and how the summary of the answer begins.
const QUESTIONS: [(Type, &str, &str); 8] = [
    (Type::A, "github.com", "192.0.2.10"),
    (Type::AAAA, "registry.npmjs.org", "2001:db8::20"),
    (Type::A, "a.b.npmjs.org", "192.0.2.21"),
    (Type::A, "npmjs.org", "NXDOMAIN  EDE 15"),
    (Type::A, "githib.com", "NXDOMAIN  EDE 15"),
    (Type::A, "evil.example", "NXDOMAIN  EDE 15"),
    (Type::TXT, "evil.example", "NXDOMAIN  EDE 15"),
    (Type::A, "rebind.npmjs.org", "NODATA    EDE 15"),
];
/// A change that is not live by then never will be.
const RELOAD_PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn demo(args: &DemoArgs) -> u8 {
    let room = match Room::open() {
        Ok(room) => room,
        Err(error) => {
            talk(&format!(
                "namegate: no room for the demo's files in {}: {error}",
                std::env::temp_dir().display()
            ));
            return exit::SYSTEM;
        }
    };
    on_runtime(show(args, &room))
}

/// A directory for the demo's policy and zones, gone when the demo is.
struct Room(PathBuf);

impl Room {
    fn open() -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let dir = std::env::temp_dir().join(format!("namegate-demo-{}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&dir)?;
        let room = Self(dir);
        fs::create_dir(room.zones())?;
        fs::create_dir(room.no_zones())?;
        for (file, text) in ZONES {
            fs::write(room.zones().join(file), text)?;
        }
        room.write_policy(&ALLOWED)?;
        Ok(room)
    }

    fn zones(&self) -> PathBuf {
        self.0.join("zones")
    }

    fn no_zones(&self) -> PathBuf {
        self.0.join("no-zones")
    }

    fn policy(&self) -> PathBuf {
        self.0.join("policy.json")
    }

    /// Writes the policy as programs should: beside it, then renamed.
    fn write_policy(&self, allowed: &[&str]) -> io::Result<()> {
        let document = serde_json::json!({
            "id": "npl_demo",
            "name": "demo",
            "description": "What `namegate demo` allows",
            "egress": {
                "allow_all": false,
                "allow_devbox_to_devbox": false,
                "allowed_hostnames": allowed,
                "allow_agent_gateway": false,
                "allow_mcp_gateway": false,
            },
            "create_time_ms": 0,
            "update_time_ms": 0,
        });
        let fresh = self.0.join("policy.json.new");
        fs::write(&fresh, format!("{document:#}\n"))?;
        fs::rename(fresh, self.policy())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn show(args: &DemoArgs, room: &Room) -> Result<u8, StartError> {
    // From here on Ctrl-C leaves no files behind.
    let mut end = End::listen().map_err(StartError::Io)?;
    let internet = Daemon::start(&internet_config(room)).await?;
    let daemon = start(args, room, internet.addresses()[0]).await?;
    let us = daemon.addresses()[0];
    introduce(&daemon, us);
    let mut all_right = true;
    for (kind, name, expected) in QUESTIONS {
        all_right &= question(&daemon, us, kind, name, expected).await;
    }
    all_right &= reload(&daemon, room, us).await.map_err(StartError::Io)?;
    if args.once {
        say(if all_right {
            "\nall answers are right\n"
        } else {
            "\nNOT all answers are right\n"
        });
    } else {
        suggest(us, daemon.pages(), &room.policy());
        end.asked().await;
    }
    daemon.stop().await;
    internet.stop().await;
    Ok(if all_right { exit::OK } else { exit::FOUND })
}

fn internet_config(room: &Room) -> Config {
    let mut config = Config::default();
    config.listen.addresses = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
    config.policy.file = room.0.join("internet-has-no-policy.json");
    config.policy.on_missing = AtStart::DenyAll;
    config.blocked.file = None;
    config.admin.socket = None;
    config.zones.dir = room.zones();
    config.upstream.servers = Vec::new();
    config.log.queries = Queries::None;
    config.metrics.listen = None;
    config
}

/// Starts the resolver that is shown, on other ports where the wanted ones are taken.
async fn start(args: &DemoArgs, room: &Room, internet: SocketAddr) -> Result<Daemon, StartError> {
    let mut config = Config::default();
    config.listen.addresses = vec![args.listen];
    config.policy.file = room.policy();
    config.blocked.file = None;
    config.admin.socket = None;
    config.zones.dir = room.no_zones();
    config.upstream.servers = vec![Server::Udp(internet)];
    config.log.queries = Queries::None;
    loop {
        match Daemon::start(&config).await {
            Err(StartError::NotBound { error, .. }) if config.listen.addresses[0].port() != 0 => {
                talk(&format!("{error}; another port will do"));
                config.listen.addresses[0].set_port(0);
            }
            Err(StartError::Pages { address, error, .. }) if address.port() != 0 => {
                talk(&format!(
                    "cannot serve metrics on {address}: {error}; another port will do"
                ));
                config.metrics.listen = Some(SocketAddr::new(address.ip(), 0));
            }
            result => return result,
        }
    }
}

fn introduce(daemon: &Daemon, us: SocketAddr) {
    let live = daemon.road().live();
    let metrics = daemon.pages().map_or(String::new(), |it| {
        format!("     metrics http://{it}/metrics")
    });
    say(&format!(
        "namegate {}  demo  (offline: no query leaves this host)\n\
         policy   {} ({})  gen {}  {} names: {}\n\
         listen   {us} udp+tcp{metrics}\n\n  {:<6}{:<25}{:<27}why\n",
        env!("CARGO_PKG_VERSION"),
        live.name,
        live.id,
        live.generation,
        ALLOWED.len(),
        ALLOWED.join(" "),
        "query",
        "",
        "answer",
    ));
}

async fn question(daemon: &Daemon, us: SocketAddr, kind: Type, name: &str, expected: &str) -> bool {
    let asked: Name = name.parse().expect("the demo's names are names");
    let (summary, why) = match ask(us, &asked, kind).await {
        Ok(said) => (
            said.summary(),
            why(&daemon.road().live().rules, &asked, &said),
        ),
        Err(error) => (format!("no answer: {error}"), String::new()),
    };
    say(&format!(
        "  {:<6}{name:<25}{summary:<27}{why}\n",
        kind.to_string()
    ));
    summary.starts_with(expected)
}

/// Why an answer is as it is, by the rules that judged it.
fn why(rules: &Rules, name: &Name, said: &Said) -> String {
    match rules.judge(name) {
        Verdict::Allow(rule) => match &said.ede {
            Some((_, text)) => text.clone(),
            None => format!(
                "{:<12}{}",
                reason(rule).word(),
                rules.pattern(rule).unwrap_or_default()
            ),
        },
        Verdict::Deny(_) => match rules.nearest(name).first() {
            Some(Near {
                pattern,
                kinship: Kinship::ApexOfWildcard,
                ..
            }) => {
                format!("not listed  ({pattern} does not cover {name} itself)")
            }
            Some(near) => format!("not listed  (close to {})", near.pattern),
            None => "not listed".to_owned(),
        },
    }
}

/// Edits the policy file and waits until it counts. True: it does.
async fn reload(daemon: &Daemon, room: &Room, us: SocketAddr) -> io::Result<bool> {
    let added: Name = ADDED.parse().expect("the demo's names are names");
    let widened = [&ALLOWED[..], &[ADDED]].concat();
    debug_assert!(Pattern::parse(ADDED).is_ok());
    room.write_policy(&widened)?;
    let written = Instant::now();
    while written.elapsed() < RELOAD_PATIENCE {
        if ask(us, &added, Type::A).await?.rcode == Rcode::NOERROR {
            let live_after = written.elapsed();
            let generation = daemon.road().live().generation;
            say(&format!(
                "\npolicy file changed: + {ADDED}     live after {} ms (gen {generation})\n",
                live_after.as_millis()
            ));
            return Ok(question(daemon, us, Type::A, ADDED, "192.0.2.66").await);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    say("\npolicy file changed, and nothing came of it\n");
    Ok(false)
}

fn suggest(us: SocketAddr, pages: Option<SocketAddr>, policy: &Path) {
    let dig = format!("dig @{} -p {}", us.ip(), us.port());
    say(&format!(
        "\ntry:  {dig} github.com\n      {dig} githib.com TXT\n"
    ));
    if let Some(pages) = pages {
        say(&format!(
            "      curl -s http://{pages}/metrics | grep namegate_responses\n"
        ));
    }
    say(&format!(
        "edit: {}   (the next query is judged by it)\nserving; Ctrl-C stops\n",
        policy.display()
    ));
}
