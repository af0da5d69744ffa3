//! What the pages show of the whole.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;

use super::ground::Standing;
use super::road::Road;
use super::waiting::Waiting;
use crate::answer::upstream::{self, RTT_BOUNDS_US};
use crate::config::Config;
use crate::telemetry::{
    AuditFigures, CacheFigures, Refused, Snapshot, Telemetry, Timings, UpstreamFigures, http,
};

/// The daemon as its pages see it.
pub(super) struct State {
    pub(super) road: Arc<Road>,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) config: Arc<Config>,
    pub(super) waiting: Waiting,
    pub(super) zones_poke: Arc<Notify>,
    /// To explain takes memory and time with a large policy: one at a time.
    pub(super) desk: tokio::sync::Mutex<()>,
    addresses: Vec<String>,
    standing: Standing,
    probed: Mutex<Result<Duration, String>>,
}

impl State {
    pub(super) fn new(
        config: &Config,
        road: Arc<Road>,
        telemetry: Arc<Telemetry>,
        addresses: &[SocketAddr],
        standing: Standing,
        waiting: Waiting,
        zones_poke: Arc<Notify>,
    ) -> Self {
        let addresses = addresses.iter().map(ToString::to_string).collect();
        let probed = Mutex::new(Err("no query to ourselves has been answered yet".to_owned()));
        Self {
            road,
            telemetry,
            config: Arc::new(config.clone()),
            waiting,
            zones_poke,
            desk: tokio::sync::Mutex::default(),
            addresses,
            standing,
            probed,
        }
    }

    /// How the last query to ourselves went.
    pub(super) fn probed(&self, result: Result<Duration, String>) {
        match &result {
            Ok(took) => self.telemetry.selftest(*took),
            Err(why) => tracing::warn!("{why}"),
        }
        *self.probed.lock().expect("no holder of this lock panics") = result;
    }

    /// The next query from there is our own, and nobody's figure.
    pub(super) fn expect_probe_from(&self, address: SocketAddr) {
        self.road.expect_probe_from(address);
    }
}

impl http::State for State {
    fn live(&self) -> Result<Duration, String> {
        self.probed
            .lock()
            .expect("no holder of this lock panics")
            .clone()
    }

    fn missing(&self) -> Vec<String> {
        match self.road.live().generation {
            0 => vec!["a valid policy".to_owned()],
            _ => Vec::new(),
        }
    }

    fn missing_upstreams(&self) -> Vec<String> {
        let figures = self.road.upstreams().figures();
        figures
            .into_iter()
            .filter(|it| !it.up)
            .map(|it| format!("upstream {} does not answer", it.name))
            .collect()
    }

    fn status(&self) -> Value {
        let mut status = self.telemetry.status();
        status["listen"] = json!(self.addresses);
        self.standing.tell(&mut status);
        status["cache"]["octets"] = self.road.cache().octets().into();
        status
    }

    fn refused(&self, most: usize) -> Vec<Refused> {
        self.telemetry.refused(most)
    }

    fn metrics(&self) -> String {
        self.telemetry.metrics()
    }
}

/// The other rooms' figures, in telemetry's words, to be read at each scrape.
pub(super) fn figures(
    road: &Arc<Road>,
    connections: Arc<AtomicUsize>,
) -> Box<dyn Fn() -> Snapshot + Send + Sync> {
    // The road holds the telemetry that holds this.
    let road = Arc::downgrade(road);
    Box::new(move || {
        let Some(road) = road.upgrade() else {
            return Snapshot::default();
        };
        let cache = road.cache().figures();
        let alive = cache.entries_positive + cache.entries_negative + cache.entries_failure;
        Snapshot {
            upstreams: road
                .upstreams()
                .figures()
                .iter()
                .map(upstream_figures)
                .collect(),
            cache: CacheFigures {
                entries: [
                    cache.entries_positive,
                    cache.entries_negative + cache.entries_failure,
                ],
                hits: [cache.hits_positive, cache.hits_negative],
                misses: cache.misses,
                evictions: cache.stored.saturating_sub(alive),
            },
            inflight: road.inflight() as u64,
            tcp_connections: connections.load(Relaxed) as u64,
            audit: audit_figures(&road),
        }
    })
}

fn audit_figures(road: &Road) -> Option<AuditFigures> {
    let (ends, left) = road.audit().until().zip(road.audit().left())?;
    Some(AuditFigures { ends, left })
}

fn upstream_figures(figures: &upstream::Figures) -> UpstreamFigures {
    let bounds_s = RTT_BOUNDS_US.iter().map(|bound| f64::from(*bound) / 1e6);
    #[expect(clippy::cast_precision_loss, reason = "a sum for a graph")]
    let sum_s = figures.rtt_sum_us as f64 / 1e6;
    UpstreamFigures {
        name: figures.name.clone(),
        outcomes: figures.outcomes,
        seconds: Timings {
            buckets: bounds_s.zip(figures.rtts).collect(),
            count: figures.rtts.iter().sum(),
            sum_s,
        },
        up: figures.up,
    }
}
