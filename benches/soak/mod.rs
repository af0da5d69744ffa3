//! Time and load, put together: the program as a process, its upstream, its clients, and those who change things.
//!
//! [`Settings`] come in, a [`Report`] goes out. Every reply is matched to its question and judged by a model of its
//! own: lost, wrong and grown are the three things that there are to find. It ends by itself, at the latest at
//! `seconds_max`.

#![allow(unreachable_pub, clippy::cast_precision_loss)]

#[path = "../support/mod.rs"]
mod support;

mod client;
mod judge;
mod log;
mod policies;
mod program;
mod question;
mod report;
mod truth;
mod upstream;

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};
use std::{env, fs, process};

use client::{Crowd, Tally, ask_over_tcp, ask_over_udp};
use judge::Law;
use log::Logged;
use policies::Policies;
use program::{Metrics, Program, Sample};
use report::{Change, Report};
use upstream::Upstream;

const UDP_CLIENTS: usize = 6;
const TCP_CLIENTS: usize = 3;
/// A change that is not obeyed by then never will be.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often is looked whether something is due.
const GLANCE: Duration = Duration::from_millis(1);

/// How much of everything.
pub struct Settings {
    pub queries: u64,
    pub replacements: u32,
    pub names_max: usize,
    pub seconds_max: Duration,
    /// From one absence of upstream to the next.
    pub restart_every: Duration,
    /// From one turn of the log to the next.
    pub rotate_every: Duration,
    pub sample_every: Duration,
}

impl Settings {
    /// The whole of it.
    pub fn campaign() -> Self {
        Self {
            queries: 10_000_000,
            replacements: 1000,
            names_max: policies::LARGEST,
            seconds_max: Duration::from_secs(1800),
            restart_every: Duration::from_secs(20),
            rotate_every: Duration::from_secs(7),
            sample_every: Duration::from_secs(1),
        }
    }
}

/// Runs it to its end.
pub fn run(settings: &Settings) -> Report {
    let binary = env::var_os("NAMEGATE_BIN")
        .map_or_else(|| env!("CARGO_BIN_EXE_namegate").into(), PathBuf::from);
    let policies = Policies::new(settings.replacements, settings.names_max);
    let [dns, upstream_at] = addresses();
    let upstream = Upstream::start(upstream_at);
    let first = policies.version(1).expect("there is one").document();
    policies.write(1);
    let mut program = Program::start(&binary, &first, upstream_at, dns);
    let crowd = Crowd {
        law: Law {
            policies: &policies,
            upstream: &upstream,
        },
        server: dns,
        is_over: AtomicBool::new(false),
        asked: AtomicU64::new(0),
        tally: Mutex::new(Tally::default()),
    };
    let began = Instant::now();
    let mut run = Run {
        settings,
        policies: &policies,
        crowd: &crowd,
        program: &program,
        began,
        is_over: AtomicBool::new(false),
    }
    .go(&upstream);
    let took = began.elapsed();
    let metrics = written_out(&program);
    let ended_well = program.stop();
    run.logged.finish(&program, &policies);
    upstream.end();
    let tally = crowd.tally.lock().expect("no panic").clone();
    Report {
        sizes: (1..=policies.last())
            .filter_map(|it| Some(policies.version(it)?.size))
            .collect(),
        replacements: settings.replacements,
        is_whole: tally.asked.iter().sum::<u64>() >= settings.queries,
        tally,
        changes: run.changes,
        samples: run.samples,
        logged: run.logged,
        log_dropped: metrics.sum("namegate_querylog_dropped_total"),
        counted: metrics.sum("namegate_responses_total"),
        to_be_logged: to_be_logged(&metrics),
        probes: program.probes,
        cache_hits: metrics.sum("namegate_cache_hits_total"),
        upstream_answered: upstream.answered.load(Relaxed),
        times_away: upstream.times_away(),
        errors: errors(&program.said()),
        ended_well,
        took,
    }
}

/// Queries, the start, and each look at the policy that was asked for or found something.
fn to_be_logged(metrics: &Metrics) -> u64 {
    let sums = ["namegate_responses_total", "namegate_policy_reloads_total"];
    1 + sums.map(|it| metrics.sum(it)).iter().sum::<u64>()
}

/// Waits until all that is to be logged is written, or counted as dropped: the end of the program gives a second
/// for that, which is little where many want the processor. Nothing is asked meanwhile.
fn written_out(program: &Program) -> Metrics {
    let began = Instant::now();
    loop {
        let metrics = program.metrics();
        let sums = [
            "namegate_querylog_records_total",
            "namegate_querylog_dropped_total",
        ];
        let done: u64 = sums.map(|it| metrics.sum(it)).iter().sum();
        if done >= to_be_logged(&metrics) || began.elapsed() > PATIENCE {
            return metrics;
        }
        sleep(Duration::from_millis(50));
    }
}

/// What its own log says in alarm, but for what is counted too.
fn errors(said: &str) -> Vec<String> {
    let words = ["level=warn", "level=error", "panicked"];
    let is_counted = |it: &str| it.contains("records are dropped and counted");
    let is_alarm = |it: &&str| words.iter().any(|word| it.contains(word)) && !is_counted(it);
    said.lines().filter(is_alarm).map(str::to_owned).collect()
}

/// Ports that are free for namegate and its pages, and for upstream: below those that the kernel gives away by
/// itself, on an address of this process's own.
fn addresses() -> [SocketAddr; 2] {
    let [.., a, b] = process::id().to_be_bytes();
    let at = |port: u16| SocketAddr::from(([127, 77, a, b], port));
    let is_free =
        |port: u16| UdpSocket::bind(at(port)).is_ok() && TcpListener::bind(at(port)).is_ok();
    let mut ports = (10_000..30_000).step_by(3);
    let port = ports.find(|port| (*port..*port + 3).all(is_free));
    let port = port.expect("three free ports");
    [at(port), at(port + 2)]
}

/// What those who change and look have written down.
struct Kept {
    changes: Vec<Change>,
    samples: Vec<(Duration, u32, Sample)>,
    logged: Logged,
}

/// A run that goes on.
struct Run<'a> {
    settings: &'a Settings,
    policies: &'a Policies,
    crowd: &'a Crowd<'a>,
    program: &'a Program,
    began: Instant,
    /// Nothing is to be changed any more.
    is_over: AtomicBool,
}

impl Run<'_> {
    fn go(self, upstream: &Upstream) -> Kept {
        scope(|threads| {
            let clients: Vec<_> = (0..UDP_CLIENTS + TCP_CLIENTS)
                .map(|who| {
                    threads.spawn(move || match who < UDP_CLIENTS {
                        true => ask_over_udp(self.crowd, who),
                        false => ask_over_tcp(self.crowd, who),
                    })
                })
                .collect();
            let editor = threads.spawn(|| self.replace_policies());
            let others = (
                threads.spawn(|| self.look()),
                threads.spawn(|| self.turn_log()),
            );
            threads.spawn(|| self.disturb(upstream));
            let changes = editor.join().expect("no panic");
            while self.asked() < self.settings.queries && !self.is_late() {
                sleep(GLANCE);
            }
            self.is_over.store(true, Relaxed);
            self.crowd.is_over.store(true, Relaxed);
            clients
                .into_iter()
                .for_each(|it| it.join().expect("no panic"));
            Kept {
                changes,
                samples: others.0.join().expect("no panic"),
                logged: others.1.join().expect("no panic"),
            }
        })
    }

    fn asked(&self) -> u64 {
        self.crowd.asked.load(Relaxed)
    }

    fn is_late(&self) -> bool {
        self.began.elapsed() > self.settings.seconds_max
    }

    /// Waits, unless it is over before.
    fn pause(&self, pause: Duration) {
        let began = Instant::now();
        while began.elapsed() < pause && !self.is_over.load(Relaxed) {
            sleep(GLANCE.max(pause / 100).min(pause));
        }
    }

    /// Puts one policy in the place of the other, evenly over all queries. Each is in force before the next comes.
    fn replace_policies(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        let a_change = self.settings.queries / u64::from(self.settings.replacements + 1);
        let mut in_force_at = 0;
        for version in 2..=self.policies.last() {
            // Half of that belongs to one version alone, however long the change took.
            let due = (u64::from(version - 1) * a_change).max(in_force_at + a_change / 2);
            while self.asked() < due && !self.is_late() {
                sleep(GLANCE);
            }
            if self.is_late() {
                break;
            }
            let before = self.program.sample();
            let Some(took) = self.replace(version) else {
                break;
            };
            in_force_at = self.asked();
            changes.push(Change {
                version,
                took,
                before: before.unwrap_or_default(),
            });
        }
        changes
    }

    /// Returns how long it took from the rename to the first reply by it; none: it was never obeyed.
    fn replace(&self, version: u32) -> Option<Duration> {
        let policy = self.policies.version(version).expect("it is planned");
        let fresh = self.program.file("policy.json.new");
        fs::write(&fresh, policy.document()).expect("there is room");
        // From here on it may be seen.
        self.policies.write(version);
        let began = Instant::now();
        fs::rename(fresh, self.program.file("policy.json")).expect("the same folder");
        while began.elapsed() < PATIENCE {
            if let Some(at) = self.policies.proven_at(version) {
                return Some(at.saturating_duration_since(began));
            }
            sleep(Duration::from_micros(200));
        }
        None
    }

    fn look(&self) -> Vec<(Duration, u32, Sample)> {
        let mut samples = Vec::new();
        while !self.is_over.load(Relaxed) {
            let sample = self.program.sample().unwrap_or_default();
            samples.push((self.began.elapsed(), self.policies.proven(), sample));
            self.pause(self.settings.sample_every);
        }
        samples
    }

    fn turn_log(&self) -> Logged {
        let mut logged = Logged::default();
        loop {
            self.pause(self.settings.rotate_every);
            if self.is_over.load(Relaxed) {
                return logged;
            }
            logged.turn_over(self.program, self.policies);
        }
    }

    /// Upstream is away now and then: mostly closed and for a moment, else silent for a second.
    fn disturb(&self, upstream: &Upstream) {
        for turn in 1_u32.. {
            self.pause(self.settings.restart_every);
            if self.is_over.load(Relaxed) {
                return;
            }
            match turn % 3 {
                0 => upstream.fall_silent(Duration::from_secs(1)),
                odd => upstream.restart(Duration::from_millis(300) * odd),
            }
        }
    }
}

/// FNV-1a, mixed once more so that each bit of it depends on all of them.
fn hash(octets: &[u8]) -> u64 {
    let step = |hash: u64, octet: &u8| (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01B3);
    let hash = octets.iter().fold(0xCBF2_9CE4_8422_2325, step);
    (hash ^ hash >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9) ^ hash >> 32
}
