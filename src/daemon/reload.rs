//! From the policy file to the policy in force, again and again.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use sd_notify::NotifyState;
use serde_json::{Value, json};

use super::audit::in_words;
use super::live::{Grants, Live};
use super::road::Road;
use super::start_error::StartError;
use super::waiting::{Judged, Waiting};
use crate::config::{self, AtStart, Config};
use crate::policy::watch::{Method, Poke, Settings, Sight, Watch, digest};
use crate::policy::{Accepted, Diagnostics, Policy, Select, printable};
use crate::telemetry::{self, Telemetry};

/// Which policy of a list response the configuration means; an id is more exact than a name.
pub fn select_of(config: &Config) -> Select {
    match (config.policy.id.as_str(), config.policy.name.as_str()) {
        ("", "") => Select::Only,
        ("", name) => Select::Name(name.to_owned()),
        (id, _) => Select::Id(id.to_owned()),
    }
}

/// The policy file as it was when we started.
pub(super) struct First {
    watch: Watch,
    poke: Poke,
    sight: Sight,
}

impl First {
    /// Reads the policy for the first time.
    ///
    /// # Errors
    /// When there is none, or it is none, and the configuration does not say to wait for it.
    pub(super) fn read(config: &Config) -> Result<Self, StartError> {
        let (mut watch, poke) = Watch::open(Settings {
            file: config.policy.file.clone(),
            select: select_of(config),
            poll_every: config.policy.poll_every,
            settle: config.policy.settle,
        });
        let sight = bearable(watch.load(), &config.policy)?;
        Ok(Self { watch, poke, sight })
    }
}

/// What was seen, unless the configuration says not to start with it.
fn bearable(sight: Sight, policy: &config::Policy) -> Result<Sight, StartError> {
    let missing = |error: io::Error| StartError::PolicyMissing {
        file: policy.file.clone(),
        error,
    };
    match sight {
        Sight::Rejected { diagnostics, .. } if policy.on_invalid_at_start == AtStart::Exit => {
            Err(StartError::PolicyInvalid(Box::new(diagnostics)))
        }
        Sight::Missing if policy.on_missing == AtStart::Exit => Err(missing(Errno::ENOENT.into())),
        Sight::Unreadable(error) if policy.on_missing == AtStart::Exit => Err(missing(error)),
        sight @ (Sight::Applied { .. }
        | Sight::Rejected { .. }
        | Sight::Missing
        | Sight::Unreadable(_)
        | Sight::Unchanged
        | Sight::Health(_)) => Ok(sight),
    }
}

/// The policy file, and what becomes of each change to it.
pub(super) struct Reloads {
    watch: Watch,
    config: Config,
    grants: Grants,
    telemetry: Arc<Telemetry>,
    generation: u32,
    waiting: Waiting,
}

impl Reloads {
    /// Puts in force what was read first; none or a refused one allows nothing.
    pub(super) fn open(
        first: First,
        config: &Config,
        grants: Grants,
        telemetry: Arc<Telemetry>,
    ) -> (Self, Live, Waiting) {
        let First { watch, poke, sight } = first;
        let waiting = Waiting::new(poke);
        let mut reloads = Self {
            waiting: waiting.clone(),
            watch,
            config: config.clone(),
            grants,
            telemetry,
            generation: 0,
        };
        let live = reloads.first(sight);
        reloads.tell_health();
        (reloads, live, waiting)
    }

    fn first(&mut self, sight: Sight) -> Live {
        match sight {
            Sight::Applied {
                accepted, sha256, ..
            } => self.put_in_force(accepted, sha256, None),
            Sight::Rejected { diagnostics, .. } => {
                self.reject(&diagnostics);
                self.deny_all()
            }
            Sight::Missing | Sight::Unreadable(_) | Sight::Unchanged | Sight::Health(_) => {
                self.deny_all()
            }
        }
    }

    /// What is in force while there is no policy: nothing is allowed, and we are not ready.
    fn deny_all(&self) -> Live {
        tracing::warn!(file = %self.config.policy.file.display(), "no valid policy yet: every name is denied");
        Live::new(&Policy::default(), &self.config, &self.grants, 0, [0; 32])
    }

    /// Follows the file for as long as it is polled.
    pub(super) async fn follow(mut self, road: Arc<Road>) {
        loop {
            let sight = self.watch.next().await;
            self.tell_health();
            let answered = self.watch.answered();
            if let Some(judged) = self.take(&road, sight) {
                self.waiting.tell(answered, &judged);
            }
        }
    }

    /// Does what there is to do about a sight; none: it says nothing of the file's content.
    fn take(&mut self, road: &Arc<Road>, sight: Sight) -> Option<Judged> {
        match sight {
            Sight::Applied {
                accepted,
                sha256,
                noticed,
                ..
            } => {
                tell_of_reload();
                self.apply(road, accepted, sha256, noticed);
                tell_supervisor(road);
                Some(Ok(self.judged("applied", json!({}))))
            }
            Sight::Unchanged => {
                tracing::info!("the policy is unchanged");
                self.telemetry.policy_unchanged();
                tell_mode(road);
                Some(Ok(self.judged("unchanged", json!({}))))
            }
            Sight::Rejected { diagnostics, .. } => {
                self.reject(&diagnostics);
                tell_of_refusal(road, &summary(&diagnostics));
                let more =
                    json!({ "errors": diagnostics.json(), "rendered": diagnostics.render(false) });
                Some(Err(self.judged("rejected", more)))
            }
            Sight::Missing => {
                tracing::warn!("the policy file is gone; the last good policy stays in force");
                tell_of_refusal(road, "the policy file is gone");
                Some(Err(self.judged("missing", json!({}))))
            }
            Sight::Unreadable(error) => {
                tracing::warn!(%error, "the policy file cannot be read; the last good policy stays in force");
                tell_of_refusal(road, "the policy file cannot be read");
                let more = json!({ "message": error.to_string() });
                Some(Err(self.judged("unreadable", more)))
            }
            Sight::Health(health) => {
                if health.blind {
                    tracing::warn!(
                        "the policy file was replaced under a mount of this one file: changes cannot be seen; mount its directory"
                    );
                }
                None
            }
        }
    }

    /// What is said to those who wait: what came of it, and what is in force.
    fn judged(&self, result: &str, more: Value) -> Value {
        let mut judged = json!({
            "v": 1,
            "result": result,
            "file": self.config.policy.file.display().to_string(),
            "policy": self.telemetry.policy(),
        });
        if let (Value::Object(judged), Value::Object(more)) = (&mut judged, more) {
            judged.extend(more);
        }
        judged
    }

    /// Compiles, and swaps one pointer. The runtime's other threads go on answering meanwhile.
    fn apply(&mut self, road: &Arc<Road>, accepted: Accepted, sha256: [u8; 32], noticed: Instant) {
        let before = road.live();
        let live =
            tokio::task::block_in_place(|| self.put_in_force(accepted, sha256, Some(noticed)));
        road.go_live(live);
        let (live, live_after) = (road.live(), noticed.elapsed());
        let (exact, wildcard) = live.rules.counts();
        tracing::info!(
            policy = %live.name,
            generation = live.generation,
            exact,
            wildcard,
            live_after_ms = live_after.as_millis(),
            "a new policy is in force"
        );
        drop(live);
        // The last holder frees the old rules, and that is to be none of those who answer: it is the telemetry, when it
        // has told of every query that was judged by them.
        tokio::task::block_in_place(|| {
            drop(before);
            self.telemetry.catch_up();
        });
    }

    fn put_in_force(
        &mut self,
        accepted: Accepted,
        sha256: [u8; 32],
        noticed: Option<Instant>,
    ) -> Live {
        // Where the patterns stand is for those who explain; beside the rules that come now it would be four octets a name.
        let Accepted { policy, lines } = accepted;
        drop(lines);
        self.generation += 1;
        let live = Live::new(&policy, &self.config, &self.grants, self.generation, sha256);
        self.telemetry.policy_live(telemetry::Live {
            id: live.id.clone(),
            name: live.name.clone(),
            sha256: hex(&sha256),
            generation: live.generation.into(),
            rules: live.rules.clone(),
            at: SystemTime::now(),
            propagation: noticed.map(|noticed| noticed.elapsed()),
        });
        live
    }

    /// The old policy stays; one record says why (SPEC 9).
    fn reject(&self, diagnostics: &Diagnostics) {
        tracing::error!(
            "the policy file is refused; the last good policy stays in force\n{}",
            diagnostics.render(false)
        );
        let findings = diagnostics.findings.iter().map(|it| telemetry::Finding {
            code: it.code.to_owned(),
            message: it.message.clone(),
            line: it.line,
            column: it.column,
        });
        self.telemetry.policy_rejected(findings);
    }

    fn tell_health(&self) {
        let health = self.watch.health();
        let method = match health.method {
            Method::Inotify => telemetry::Watch::Inotify,
            Method::Poll => telemetry::Watch::Poll,
        };
        self.telemetry.watch(method, !health.blind);
    }
}

/// Tells systemd that we are ready, and with which policy.
pub(super) fn tell_supervisor(road: &Road) {
    let status = status(&road.live(), road.audit().left());
    let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// Tells systemd that the file is not what is in force, and why.
fn tell_of_refusal(road: &Road, why: &str) {
    let status = status(&road.live(), road.audit().left());
    let status = format!("{status}; {why}");
    let _ = sd_notify::notify(&[NotifyState::Status(&status)]);
}

/// `the policy file is refused: line 9: NP012 not a hostname`, on one line.
fn summary(diagnostics: &Diagnostics) -> String {
    let first = diagnostics.findings.first();
    let first = first.map_or(String::new(), |it| {
        format!(": line {}: {} {}", it.line, it.code, it.message)
    });
    printable(&format!("the policy file is refused{first}"))
}

/// Tells systemd whether an audit goes on, and for how long.
pub(super) fn tell_mode(road: &Road) {
    let status = status(&road.live(), road.audit().left());
    let _ = sd_notify::notify(&[NotifyState::Status(&status)]);
}

/// Tells systemd that a policy is about to take the place of another. It wants to know when, too (sd_notify(3)).
fn tell_of_reload() {
    let since = NotifyState::monotonic_usec_now();
    let reloading = std::iter::once(NotifyState::Reloading).chain(since);
    let _ = sd_notify::notify(&reloading.collect::<Vec<_>>());
}

/// The policy in force, as `systemctl status` shows it, and what is left of an audit.
fn status(live: &Live, audit_left: Option<Duration>) -> String {
    if live.generation == 0 {
        return "no valid policy yet, every name is denied".to_owned();
    }
    let (exact, wildcard) = live.rules.counts();
    let allowed = match (live.rules.allows_all(), exact + wildcard) {
        (true, _) => "allow_all".to_owned(),
        (false, 1) => "1 name".to_owned(),
        (false, names) => format!("{names} names"),
    };
    let audit = audit_left.map_or(String::new(), |left| {
        format!(", AUDIT MODE for {}: nothing is enforced", in_words(left))
    });
    format!(
        "policy {} gen {}, {allowed}{audit}",
        live.name, live.generation
    )
}

/// The digest by which pages and logs know a policy file, in hexadecimal.
pub fn sha256_of(content: &[u8]) -> String {
    hex(&digest(content))
}

/// Octets as hexadecimal digits.
pub(super) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
