//! What has to be had while there is one thread: sockets that only root may bind, and then no more rights than serving takes.
//!
//! The kernel keeps users, capabilities and Landlock for each thread, so all of
//! this is done before there is a runtime, and the order is its point: ports
//! first, rights after, files last, by whoever it is by then.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use ipnet::IpNet;
use nix::sys::resource::{Resource, getrlimit};
use serde_json::Value;

use super::live::Grants;
use super::sandbox::{Rights, give_up};
use super::start_error::StartError;
use super::upstreams;
use crate::answer::upstream::Upstreams;
use crate::config::Config;
use crate::front::{Bound, Keeper, adopt, bind};

/// What a daemon stands on: it listens, and answers nobody yet.
pub struct Ground {
    pub(super) grants: Grants,
    pub(super) bound: Bound,
    pub(super) upstreams: Upstreams,
    pub(super) pages: Option<TcpListener>,
    pub(super) standing: Standing,
}

impl Ground {
    /// Binds what the configuration says; where sockets were `handed` over, they are listened on instead.
    ///
    /// # Errors
    /// For the first address that cannot be had, and what is wrong with the patterns and upstreams.
    pub fn take(config: &Config, handed: Vec<OwnedFd>) -> Result<Self, StartError> {
        let grants = Grants::of(config).map_err(StartError::Patterns)?;
        let bound = listen(config, handed)?;
        let upstreams = upstreams(config, bound.addresses())?;
        let pages = config.metrics.listen.map(listen_for_pages).transpose()?;
        let standing = Standing {
            keeper: bound.keeper(),
            rights: Rights::default(),
        };
        Ok(Self {
            grants,
            bound,
            upstreams,
            pages,
            standing,
        })
    }

    /// Gives up what serving does not need, as the configuration says: for the threads to come, and for ever.
    ///
    /// # Errors
    /// When that is not possible as it is asked for.
    pub fn confined(mut self, config: &Config) -> Result<Self, StartError> {
        self.standing.rights = give_up(config).map_err(StartError::Confined)?;
        Ok(self)
    }
}

fn listen(config: &Config, handed: Vec<OwnedFd>) -> Result<Bound, StartError> {
    if handed.is_empty() {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        return bind(&config.listen.addresses, workers).map_err(StartError::not_bound);
    }
    let bound = adopt(handed).map_err(StartError::HandedOver)?;
    tracing::info!("listens on the sockets that were handed over, and not on listen.addresses");
    if let Some(address) = closed_door(bound.addresses(), &config.listen.clients) {
        tracing::warn!(
            "{address} is reachable from outside, but nobody outside may ask: set listen.clients"
        );
    }
    Ok(bound)
}

/// An address beyond this machine, while only the machine itself is let in. Of our own addresses the configuration has told.
fn closed_door<'a>(addresses: &'a [SocketAddr], clients: &[IpNet]) -> Option<&'a SocketAddr> {
    let is_inside = |it: &IpNet| it.addr().is_loopback();
    let mut open = addresses
        .iter()
        .filter(|it| !it.ip().to_canonical().is_loopback());
    open.next().filter(|_| clients.iter().all(is_inside))
}

fn listen_for_pages(address: SocketAddr) -> Result<TcpListener, StartError> {
    let no_pages = |error| StartError::no_pages(address, error);
    let pages = TcpListener::bind(address).map_err(no_pages)?;
    pages.set_nonblocking(true).map_err(no_pages)?;
    Ok(pages)
}

/// What the process is and may, for those who ask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    keeper: Keeper,
    pub(super) rights: Rights,
}

impl Standing {
    /// Adds it to the status page.
    pub(super) fn tell(&self, status: &mut Value) {
        status["listen_from"] = match self.keeper {
            Keeper::Us => "addresses",
            Keeper::Giver => "socket_activation",
        }
        .into();
        status["sandbox"] = self.rights.status();
        let limit = getrlimit(Resource::RLIMIT_NOFILE);
        status["descriptor_limit"] = limit.ok().map(|(soft, _)| soft).into();
    }
}
