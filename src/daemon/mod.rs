//! The corridor: wires the rooms, carries each query through them, reloads, stops.

mod announced;
mod audit;
mod buckets;
mod cookies;
mod explain;
mod fetch;
mod flight;
mod ground;
mod handover;
mod judge;
mod live;
mod memory;
mod operator;
mod places;
mod probe;
mod rate;
mod reload;
mod road;
mod said;
mod sandbox;
mod socket;
mod start_error;
mod state;
mod waiting;
mod zones;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use self::ground::Standing;
use self::reload::{First, Reloads};
use self::socket::SocketFile;
use self::state::State;
use self::waiting::Waiting;
use self::zones::ZoneFiles;
pub use audit::Audit;
pub use explain::kinship_text;
pub use fetch::Known;
pub use ground::Ground;
pub use handover::handed_over;
pub use judge::{Judge, Opinion};
pub use live::{BadPattern, Grants, Live, compile, reason, reason_denied, search_suffixes};
pub use memory::keep_memory_together;
pub use probe::reachable;
pub use reload::{select_of, sha256_of};
pub use road::{Pending, Ready, Road};
pub use said::{Said, query};
pub use sandbox::Unconfined;
pub use start_error::StartError;

use crate::answer::upstream::{Over, Sockets, Upstreams, system_resolvers};
use crate::config::{Config, Server};
use crate::front::Front;
use crate::telemetry::{Telemetry, http};
use crate::wire::Name;

/// What is on its way is answered for at most this long after a stop.
const DRAIN: Duration = Duration::from_secs(2);

/// A running resolver.
pub struct Daemon {
    road: Arc<Road>,
    front: Front,
    telemetry: Arc<Telemetry>,
    addresses: Vec<SocketAddr>,
    standing: Standing,
    pages: Option<SocketAddr>,
    admin: Option<SocketFile>,
    waiting: Waiting,
    zones_poke: Arc<Notify>,
    tasks: JoinSet<()>,
}

impl Daemon {
    /// Binds, reads, compiles, and serves; to be called inside a runtime of several threads. When this returns, queries are answered.
    ///
    /// # Errors
    /// Whatever of it cannot be done, with its remedy and exit code.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        Self::start_on(Ground::take(config, Vec::new())?, config).await
    }

    /// The same on what was taken before there were threads. What is opened here is opened with the rights that are left,
    /// so that what a start can do a reload can, too.
    ///
    /// # Errors
    /// Whatever of it cannot be done, with its remedy and exit code.
    pub async fn start_on(ground: Ground, config: &Config) -> Result<Self, StartError> {
        let Ground {
            grants,
            bound,
            upstreams,
            pages,
            standing,
        } = ground;
        let addresses = bound.addresses().to_vec();
        let pages = pages.map(TcpListener::from_std).transpose();
        let pages = pages.map_err(StartError::Io)?;
        let admin = socket::open(&config.admin)?;
        let (zone_files, zones) = ZoneFiles::open(config).map_err(StartError::Zones)?;
        let first = First::read(config)?;
        // The query log says "start": it is opened when little is left that could fail.
        let telemetry =
            Arc::new(Telemetry::open(&config.log).map_err(|error| StartError::log(config, error))?);
        if let Some(file) = &config.blocked.file {
            telemetry.post_blocked(file, &config.blocked.contact);
        }
        let (reloads, live, waiting) =
            Reloads::open(first, config, grants.clone(), telemetry.clone());
        let road = Road::new(config, &grants, live, zones, upstreams, telemetry.clone());
        let road = Arc::new(road.audited(Audit::of(&config.policy)));
        let front = Front::serve(bound, &config.listen, &road).map_err(StartError::Io)?;
        let mut daemon = Self {
            pages: pages.as_ref().and_then(|it| it.local_addr().ok()),
            zones_poke: zone_files.poke(),
            tasks: JoinSet::new(),
            road,
            front,
            telemetry,
            addresses,
            standing,
            admin: None,
            waiting,
        };
        daemon.attend(config, reloads, zone_files, Listeners { pages, admin });
        Ok(daemon)
    }

    /// Starts what goes on beside the queries.
    fn attend(
        &mut self,
        config: &Config,
        reloads: Reloads,
        zone_files: ZoneFiles,
        listeners: Listeners,
    ) {
        let state = Arc::new(State::new(
            config,
            self.road.clone(),
            self.telemetry.clone(),
            &self.addresses,
            self.standing,
            self.waiting.clone(),
            self.zones_poke.clone(),
        ));
        self.telemetry
            .figures_from(state::figures(&self.road, self.front.connections()));
        self.record_audit();
        let road = self.road.clone();
        self.tasks.spawn(async move { road.renew_cookies().await });
        self.tasks.spawn(reloads.follow(self.road.clone()));
        self.tasks.spawn(zone_files.follow(self.road.clone()));
        self.tasks
            .spawn(probe::ask_ourselves(self.addresses.clone(), state.clone()));
        if let Some(listener) = listeners.pages {
            self.tasks.spawn(http::serve(listener, state.clone()));
        }
        if let Some((listener, file)) = listeners.admin {
            self.tasks.spawn(http::admin::serve(listener, state));
            self.admin = Some(file);
        }
    }

    /// Has the query log say when an audit begins and when it ends.
    fn record_audit(&mut self) {
        let (road, telemetry) = (self.road.clone(), self.telemetry.clone());
        if road.audit().is_on() {
            telemetry.mode_changed(road.audit().until());
            self.tasks.spawn(async move {
                road.audit().over().await;
                telemetry.mode_changed(None);
            });
        }
    }

    /// Has the log and the supervisor be told of an audit for as long as it goes on, and of its end.
    pub fn announce_audit(&mut self) {
        self.tasks.spawn(audit::announce(self.road.clone()));
    }

    /// Where it listens, with the ports that the kernel chose where it was to choose.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How far Landlock keeps it: `full`, `partial`, `unavailable` or `off`.
    pub fn landlock(&self) -> &'static str {
        self.standing.rights.landlock()
    }

    /// Where /metrics and the other pages are.
    pub fn pages(&self) -> Option<SocketAddr> {
        self.pages
    }

    /// Where the admin socket is.
    pub fn admin(&self) -> Option<&Path> {
        self.admin.as_ref().map(SocketFile::path)
    }

    /// The corridor, for what is served.
    pub fn road(&self) -> &Arc<Road> {
        &self.road
    }

    /// What was counted and what is remembered.
    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }

    /// Looks at the policy and the zones again now, and opens the logs anew, as SIGHUP asks for.
    pub fn reload(&self) {
        self.waiting.poke();
        self.zones_poke.notify_one();
        self.telemetry.reopen();
    }

    /// Tells systemd, where it waits for word, how far we are.
    pub fn tell_supervisor(&self, phase: Phase) {
        match phase {
            Phase::Ready => reload::tell_supervisor(&self.road),
            Phase::Stopping => drop(sd_notify::notify(&[sd_notify::NotifyState::Stopping])),
        }
    }

    /// Takes no more queries, answers those on their way for at most 2 s, and ends.
    pub async fn stop(self) {
        let Self {
            front,
            mut tasks,
            telemetry,
            admin,
            ..
        } = self;
        front.stop(DRAIN).await;
        tasks.shutdown().await;
        drop(admin);
        telemetry.close();
    }
}

/// What else is listened at.
struct Listeners {
    pages: Option<TcpListener>,
    admin: Option<(UnixListener, SocketFile)>,
}

/// How far the daemon is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It serves.
    Ready,
    /// It is about to end.
    Stopping,
}

/// The names of the local zones, the files being read once: for those who ask what would be served.
///
/// # Errors
/// Every fault of every zone file.
pub fn local_zones(config: &Config) -> Result<Vec<Name>, StartError> {
    let (_, zones) = ZoneFiles::open(config).map_err(StartError::Zones)?;
    Ok(zones.apexes().copied().collect())
}

/// Whom would be asked, as `udp://192.0.2.1:53`, by a resolver that listens on its `own` addresses: for those who ask
/// what would be served.
///
/// # Errors
/// When nobody is left to ask, or it would be the resolver itself.
pub fn upstream_names(config: &Config, own: &[SocketAddr]) -> Result<Vec<String>, StartError> {
    let figures = upstreams(config, own)?.figures();
    Ok(figures.into_iter().map(|it| it.name).collect())
}

/// The resolvers of the configuration.
fn upstreams(config: &Config, own: &[SocketAddr]) -> Result<Upstreams, StartError> {
    let resolved = |servers: &[Server]| -> Result<Vec<(SocketAddr, Over)>, StartError> {
        let mut all = Vec::new();
        for server in servers {
            match server {
                Server::Udp(address) => all.push((*address, Over::Udp)),
                Server::Tcp(address) => all.push((*address, Over::Tcp)),
                Server::System => {
                    let system = system_resolvers(own).map_err(StartError::NoUpstream)?;
                    all.extend(system.into_iter().map(|address| (address, Over::Udp)));
                }
            }
        }
        Ok(all)
    };
    let settings = &config.upstream;
    let carrier = Arc::new(Sockets::default());
    let mut builder = Upstreams::builder(carrier, settings.timeout, settings.case_randomization)
        .zone(Name::ROOT, &resolved(&settings.servers)?);
    for forward in &config.forward {
        builder = builder.zone(forward.zone, &resolved(&forward.servers)?);
    }
    let upstreams = builder.build();
    match upstreams.loop_onto(own) {
        Some(address) => Err(StartError::Loop(address)),
        None => Ok(upstreams),
    }
}
