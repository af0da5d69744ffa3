//! Runs a story on the real corridor, in virtual time, and holds each reply and the ledger against it.
//!
//! A path comes in; every difference goes out, expected and got side by side.
//! With `BLESS=1` in the environment `get` blocks are written anew; `sent` never is.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use namegate::answer::upstream::{Over, Upstreams};
use namegate::answer::zone::{ZoneText, Zones};
use namegate::config::{self, Config, Queries, SearchSuffix, Server};
use namegate::daemon::{Audit, Grants, Live, Road};
use namegate::front::{Road as _, Step as Trod};
use namegate::policy::{Select, read};
use namegate::telemetry::Telemetry;
use namegate::wire::Name;
use serde_json::{Value, json};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, sleep, timeout};

use super::client::{self, Ask};
use super::story::{self, Step, words};
use super::upstream::{Sent, Upstream};

/// The one server of a story that names none.
const SERVER: &str = "192.0.2.1:53";
/// Nobody waits for a reply longer than this; a reply that has not come is none.
const PATIENCE: Duration = Duration::from_secs(30);
/// Tasks of tasks of tasks have done what they can at one moment after this many turns.
const TURNS: usize = 64;

/// Runs the story in a file.
pub(crate) fn run(path: &Path) {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build();
    let mut stage = Stage::new(path, &text);
    runtime.expect("a runtime").block_on(stage.play());
    let Stage {
        blessed, faults, ..
    } = stage;
    if std::env::var_os("BLESS").is_some() && !blessed.is_empty() {
        fs::write(path, bless(&text, &blessed)).expect("the story is writable");
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n\n"));
}

/// The text with some blocks written anew.
fn bless(text: &str, blessed: &[(Step, Vec<String>)]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (step, rows) in blessed.iter().rev() {
        let indented = rows
            .iter()
            .enumerate()
            .map(|(at, row)| format!("{:6}{row}", if at == 0 { "get" } else { "" }));
        lines.splice(step.lines.clone(), indented.collect::<Vec<_>>());
    }
    lines.join("\n") + "\n"
}

/// A query on its way, and when it set out.
struct Asked {
    ask: Ask,
    words: String,
    began: Instant,
    reply: JoinHandle<(Option<Vec<u8>>, Instant)>,
}

/// A story while it runs.
struct Stage {
    file: String,
    steps: Vec<Step>,
    config: String,
    zones: Vec<ZoneText>,
    policy: Value,
    generation: u32,
    audit: Option<Duration>,
    upstream: Arc<Upstream>,
    /// There from the first `ask` on.
    scene: Option<Scene>,
    asked: VecDeque<Asked>,
    /// When the first of the queries on their way set out; the ledger's clock.
    mark: Instant,
    asks: u16,
    faults: Vec<String>,
    blessed: Vec<(Step, Vec<String>)>,
}

/// Tells where in a story a panic came from: a slip in its writing, or a fault of ours.
struct Place {
    file: String,
    line: usize,
}

impl Drop for Place {
    #[expect(clippy::print_stderr, reason = "it is the test's own talk")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in {}:{}", self.file, self.line);
        }
    }
}

struct Scene {
    config: Config,
    grants: Grants,
    road: Arc<Road>,
}

impl Stage {
    fn new(path: &Path, text: &str) -> Self {
        Self {
            file: path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            steps: story::read(text),
            config: String::new(),
            zones: Vec::new(),
            policy: policy(""),
            generation: 1,
            audit: None,
            upstream: Upstream::new(),
            scene: None,
            asked: VecDeque::new(),
            mark: Instant::now(),
            asks: 0,
            faults: Vec::new(),
            blessed: Vec::new(),
        }
    }

    async fn play(&mut self) {
        self.mark = Instant::now();
        for step in std::mem::take(&mut self.steps) {
            let _place = Place {
                file: self.file.clone(),
                line: step.lines.start + 1,
            };
            match step.verb.as_str() {
                "policy" => self.policy(&step),
                "config" => self.config(&step),
                "audit" => self.audit(&step.head),
                "zone" => self.zone(&step),
                "upstream" => step.rows().for_each(|row| self.upstream.say(row)),
                "ask" => self.ask(&step),
                "get" => self.get(&step).await,
                "sent" => self.sent(&step),
                "pass" => self.pass(&step.head).await,
                other => panic!("no verb is {other:?}"),
            }
        }
        assert!(self.asked.is_empty(), "{}: an ask without a get", self.file);
        self.nothing_unclaimed("the end");
    }

    fn policy(&mut self, step: &Step) {
        self.policy = policy(&step.rows().collect::<Vec<_>>().join("\n"));
        if let Some(scene) = &self.scene {
            self.generation += 1;
            scene.road.go_live(live(
                &self.policy,
                &scene.config,
                &scene.grants,
                self.generation,
            ));
        }
    }

    fn config(&mut self, step: &Step) {
        assert!(
            self.scene.is_none(),
            "the configuration is read once, at start"
        );
        self.config
            .extend(step.rows().map(|row| format!("{row}\n")));
    }

    fn audit(&mut self, time: &str) {
        assert!(self.scene.is_none(), "an audit begins with the start");
        let time = humantime::parse_duration(time);
        self.audit = Some(time.unwrap_or_else(|_| panic!("no time")));
    }

    /// `zone ORIGIN`, and below it the records; again for the same origin to change them.
    fn zone(&mut self, step: &Step) {
        let file = format!("{}zone", step.head);
        self.zones.retain(|zone| zone.file != file);
        self.zones.push(ZoneText {
            file,
            origin_hint: step.head.parse().ok(),
            text: step.body.join("\n") + "\n",
        });
        if let Some(scene) = &self.scene {
            scene.road.serve_zones(zones(&self.zones));
        }
    }

    fn ask(&mut self, step: &Step) {
        if self.asked.is_empty() {
            self.nothing_unclaimed(&step.head);
            self.mark = Instant::now();
        }
        let scene = self.scene.get_or_insert_with(|| {
            let audit = self.audit.map_or_else(Audit::none, audit);
            scene(
                &self.config,
                &self.zones,
                &self.policy,
                &self.upstream,
                audit,
            )
        });
        self.asks += 1;
        let ask = client::ask(step.rows(), self.asks);
        let (sent, began, mut out) = (self.upstream.sent(), Instant::now(), Vec::new());
        let trod = scene
            .road
            .answer_now(&ask.octets, &ask.client, began.into_std(), &mut out);
        let later = match trod {
            Trod::Reply => None,
            Trod::Silence => {
                out.clear();
                None
            }
            Trod::Later(pending) => Some(pending),
        };
        if later.is_none() && self.upstream.sent() > sent {
            self.faults.push(format!(
                "{}: {}: answered at once, and yet asked upstream",
                self.file, step.head
            ));
        }
        let road = scene.road.clone();
        let reply = tokio::spawn(async move {
            if let Some(pending) = later {
                let ready = road.answer_later(pending).await;
                road.finish(ready, &mut out);
            }
            ((!out.is_empty()).then_some(out), Instant::now())
        });
        self.asked.push_back(Asked {
            ask,
            words: step.head.clone(),
            began,
            reply,
        });
    }

    async fn get(&mut self, step: &Step) {
        let asked = self.asked.pop_front().expect("a get needs an ask");
        let (reply, at) = match timeout(PATIENCE, asked.reply).await {
            Ok(reply) => reply.expect("the corridor never panics"),
            Err(_) => (None, Instant::now()),
        };
        settle().await;
        let expected: Vec<String> = step.rows().map(squeezed).collect();
        let got = client::show(reply.as_deref(), at - asked.began, &step.head);
        if expected != got.iter().map(|row| squeezed(row)).collect::<Vec<_>>() {
            self.blessed.push((step.clone(), got.clone()));
            self.differs(step, &asked.words, &expected, &got);
        }
        let Some(reply) = reply else { return };
        let payload = self
            .scene
            .as_ref()
            .map_or(0, |scene| scene.config.listen.udp_payload);
        let mut faults = client::faults(&asked.ask, &reply, payload);
        if client::is_denial(&reply) && at != asked.began {
            faults.push("a denial took time".to_owned());
        }
        let place = format!("{}:{}: {}", self.file, step.lines.start + 1, asked.words);
        self.faults
            .extend(faults.into_iter().map(|fault| format!("{place}: {fault}")));
    }

    fn sent(&mut self, step: &Step) {
        let expected: Vec<String> = step
            .rows()
            .filter(|row| *row != "nothing")
            .map(squeezed)
            .collect();
        let ledger = self.upstream.take_ledger();
        let is_random = self
            .scene
            .as_ref()
            .is_some_and(|scene| scene.config.upstream.case_randomization);
        let timed = |at: usize| expected.get(at).is_some_and(|row| row.contains(" +"));
        let shown = |(at, sent): (usize, &Sent)| {
            let name = if is_random {
                sent.name.to_ascii_lowercase()
            } else {
                sent.name.clone()
            };
            let time = format!(" +{}", humantime::format_duration(sent.at - self.mark));
            format!(
                "{name} {}{}",
                sent.rest,
                if timed(at) { time.as_str() } else { "" }
            )
        };
        let got: Vec<String> = ledger.iter().enumerate().map(shown).collect();
        if expected != got {
            self.differs(step, "the ledger", &expected, &got);
        }
    }

    async fn pass(&mut self, time: &str) {
        sleep(humantime::parse_duration(time).unwrap_or_else(|_| panic!("no time: {time}"))).await;
        settle().await;
    }

    /// What went upstream has to be in the story, or nothing did.
    fn nothing_unclaimed(&mut self, before: &str) {
        let unclaimed: Vec<String> = self
            .upstream
            .take_ledger()
            .iter()
            .map(|it| format!("{} {}", it.name, it.rest))
            .collect();
        if !unclaimed.is_empty() {
            self.faults.push(format!(
                "{}: before {before:?}: no `sent` tells of {}",
                self.file,
                unclaimed.join(", ")
            ));
        }
    }

    fn differs(&mut self, step: &Step, what: &str, expected: &[String], got: &[String]) {
        let width = expected
            .iter()
            .map(String::len)
            .max()
            .unwrap_or(0)
            .clamp(20, 100);
        let mut rows = vec![
            format!("{}:{}: {what}", self.file, step.lines.start + 1),
            format!("    {:width$} | got", "expected"),
        ];
        for at in 0..expected.len().max(got.len()) {
            let side = |rows: &[String]| rows.get(at).cloned().unwrap_or_default();
            let (left, right) = (side(expected), side(got));
            let mark = if left == squeezed(&right) { ' ' } else { '>' };
            rows.push(format!("  {mark} {left:width$} | {right}"));
        }
        self.faults.push(rows.join("\n"));
    }
}

/// Lets every task go as far as it can without time going by.
async fn settle() {
    for _ in 0..TURNS {
        yield_now().await;
    }
}

fn squeezed(row: &str) -> String {
    words(row).join(" ")
}

/// The document of a `policy`: what is not said is closed. `name` and `id` may be said too.
fn policy(said: &str) -> Value {
    let mut egress = json!({
        "allow_all": false,
        "allow_devbox_to_devbox": false,
        "allowed_hostnames": [],
        "allow_agent_gateway": false,
        "allow_mcp_gateway": false,
    });
    let said: toml::Table = said
        .parse()
        .unwrap_or_else(|error| panic!("policy: {error}"));
    let mut document =
        json!({ "id": "npol_1", "name": "story", "create_time_ms": 0, "update_time_ms": 0 });
    for (key, value) in said {
        let value = serde_json::to_value(value).expect("TOML that is JSON");
        let place = if key == "name" || key == "id" {
            &mut document
        } else {
            &mut egress
        };
        place[key] = value;
    }
    document["egress"] = egress;
    document
}

fn live(policy: &Value, config: &Config, grants: &Grants, generation: u32) -> Live {
    let accepted = read("policy.json", policy.to_string().as_bytes(), &Select::Only)
        .unwrap_or_else(|bad| panic!("{bad:?}"));
    Live::new(&accepted.policy, config, grants, generation, [0; 32])
}

fn zones(texts: &[ZoneText]) -> Zones {
    Zones::parse(texts).unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// An audit from now on, in a story's time.
fn audit(time: Duration) -> Audit {
    let ends = Instant::now() + time;
    let left = move || ends.saturating_duration_since(Instant::now());
    Audit::lasting(SystemTime::UNIX_EPOCH, left)
}

/// The corridor as a story's first lines have it.
fn scene(
    config: &str,
    texts: &[ZoneText],
    policy: &Value,
    upstream: &Arc<Upstream>,
    audit: Audit,
) -> Scene {
    let mut config = config::read("config.toml", config).unwrap_or_else(|error| panic!("{error}"));
    if config.upstream.servers == [Server::System] {
        config.upstream.servers = vec![Server::Udp(SERVER.parse().expect("a constant address"))];
    }
    // A story has no machine.
    config
        .blocked
        .search_suffixes
        .retain(|it| *it != SearchSuffix::System);
    config.log.queries = Queries::None;
    let grants = Grants::of(&config).unwrap_or_else(|bad| panic!("{bad:?}"));
    let telemetry = Arc::new(Telemetry::open(&config.log).expect("it logs nothing"));
    let live = live(policy, &config, &grants, 1);
    let road = Road::new(
        &config,
        &grants,
        live,
        zones(texts),
        upstreams(&config, upstream),
        telemetry,
    );
    Scene {
        road: Arc::new(road.audited(audit)),
        config,
        grants,
    }
}

fn upstreams(config: &Config, upstream: &Arc<Upstream>) -> Upstreams {
    let servers = |servers: &[Server]| -> Vec<_> {
        let address = |server: &Server| match server {
            Server::Udp(address) => (*address, Over::Udp),
            Server::Tcp(address) => (*address, Over::Tcp),
            Server::System => panic!("a story has no machine"),
        };
        servers.iter().map(address).collect()
    };
    let settings = &config.upstream;
    let mut builder = Upstreams::builder(
        upstream.clone(),
        settings.timeout,
        settings.case_randomization,
    )
    .zone(Name::ROOT, &servers(&settings.servers));
    for forward in &config.forward {
        builder = builder.zone(forward.zone, &servers(&forward.servers));
    }
    builder.build()
}
