//! From the policy file to the policy in force, again and again.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::live::{Grants, Live};
use super::road::Road;
use super::start_error::StartError;
use crate::config::{AtStart, Config};
use crate::policy::watch::{Method, Poke, Settings, Sight, Watch};
use crate::policy::{Accepted, Diagnostics, Policy, Select};
use crate::telemetry::{self, Telemetry};

/// Which policy of a list response the configuration means; an id is more exact than a name.
pub fn select_of(config: &Config) -> Select {
    match (config.policy.id.as_str(), config.policy.name.as_str()) {
        ("", "") => Select::Only,
        ("", name) => Select::Name(name.to_owned()),
        (id, _) => Select::Id(id.to_owned()),
    }
}

/// The policy file, and what becomes of each change to it.
pub(super) struct Reloads {
    watch: Watch,
    config: Config,
    grants: Grants,
    telemetry: Arc<Telemetry>,
    generation: u32,
}

impl Reloads {
    /// Reads the policy for the first time.
    ///
    /// # Errors
    /// When there is none, or it is none, and the configuration does not say to wait for it.
    pub(super) fn open(
        config: &Config,
        grants: Grants,
        telemetry: Arc<Telemetry>,
    ) -> Result<(Self, Live, Poke), StartError> {
        let settings = Settings {
            file: config.policy.file.clone(),
            select: select_of(config),
            poll_every: config.policy.poll_every,
            settle: config.policy.settle,
        };
        let (mut watch, poke) = Watch::open(settings);
        let first = watch.load();
        let mut reloads = Self {
            watch,
            config: config.clone(),
            grants,
            telemetry,
            generation: 0,
        };
        let live = reloads.first(first)?;
        reloads.tell_health();
        Ok((reloads, live, poke))
    }

    fn first(&mut self, sight: Sight) -> Result<Live, StartError> {
        let at_start = &self.config.policy;
        match sight {
            Sight::Applied {
                accepted, sha256, ..
            } => Ok(self.put_in_force(&accepted, sha256, None)),
            Sight::Rejected { diagnostics, .. }
                if at_start.on_invalid_at_start == AtStart::Exit =>
            {
                Err(StartError::PolicyInvalid(Box::new(diagnostics)))
            }
            Sight::Missing if at_start.on_missing == AtStart::Exit => {
                let error = std::io::ErrorKind::NotFound.into();
                Err(StartError::PolicyMissing {
                    file: at_start.file.clone(),
                    error,
                })
            }
            Sight::Unreadable(error) if at_start.on_missing == AtStart::Exit => {
                Err(StartError::PolicyMissing {
                    file: at_start.file.clone(),
                    error,
                })
            }
            Sight::Rejected { diagnostics, .. } => {
                self.reject(&diagnostics);
                Ok(self.deny_all())
            }
            Sight::Missing | Sight::Unreadable(_) | Sight::Unchanged | Sight::Health(_) => {
                Ok(self.deny_all())
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
            match sight {
                Sight::Applied {
                    accepted,
                    sha256,
                    noticed,
                    ..
                } => {
                    let _ = sd_notify::notify(&[sd_notify::NotifyState::Reloading]);
                    self.apply(&road, &accepted, sha256, noticed);
                    tell_supervisor(&road);
                }
                Sight::Rejected { diagnostics, .. } => self.reject(&diagnostics),
                Sight::Unchanged => {
                    tracing::info!("the policy is unchanged");
                    self.telemetry.policy_unchanged();
                }
                Sight::Health(health) if health.blind => tracing::warn!(
                    "the policy file was replaced under a mount of this one file: changes cannot be seen; mount its directory"
                ),
                Sight::Health(_) => {}
                Sight::Missing => {
                    tracing::warn!("the policy file is gone; the last good policy stays in force");
                }
                Sight::Unreadable(error) => {
                    tracing::warn!(%error, "the policy file cannot be read; the last good policy stays in force");
                }
            }
        }
    }

    /// Compiles, and swaps one pointer. The runtime's other threads go on answering meanwhile.
    fn apply(&mut self, road: &Arc<Road>, accepted: &Accepted, sha256: [u8; 32], noticed: Instant) {
        let before = road.live();
        let live =
            tokio::task::block_in_place(|| self.put_in_force(accepted, sha256, Some(noticed)));
        let (exact, wildcard) = live.rules.counts();
        tracing::info!(
            policy = %live.name,
            generation = live.generation,
            exact,
            wildcard,
            live_after_ms = noticed.elapsed().as_millis(),
            "a new policy is in force"
        );
        road.go_live(live);
        // The last holder frees the old rules, and that is to be none of those who answer.
        tokio::task::block_in_place(|| drop(before));
    }

    fn put_in_force(
        &mut self,
        accepted: &Accepted,
        sha256: [u8; 32],
        noticed: Option<Instant>,
    ) -> Live {
        self.generation += 1;
        let live = Live::new(
            &accepted.policy,
            &self.config,
            &self.grants,
            self.generation,
            sha256,
        );
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
    let live = road.live();
    let (exact, wildcard) = live.rules.counts();
    let status = match live.rules.allows_all() {
        true => format!("policy {} gen {}, allow_all", live.name, live.generation),
        false => format!(
            "policy {} gen {}, {} names",
            live.name,
            live.generation,
            exact + wildcard
        ),
    };
    let ready = [
        sd_notify::NotifyState::Ready,
        sd_notify::NotifyState::Status(&status),
    ];
    let _ = sd_notify::notify(&ready);
}

/// Octets as hexadecimal digits.
pub(super) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
