//! Asks the configured resolvers, until one has answered or the time is up.
//!
//! A name, a type and two bits come in; a reply that fits them goes out, or a
//! [`Failure`]. Nothing else of a client's message is known here, so nothing
//! else can leave. How octets reach a server is the [`Carrier`]'s matter: the
//! real one has sockets, that of the tests a ledger.

mod ask;
mod carrier;
mod chance;
mod message;
mod ports;
mod server;
mod system;

pub use ask::{Failure, Reply, Upstreams, UpstreamsBuilder, takes};
pub use carrier::{Carrier, Exchange, Lost, Over, Sockets};
pub use chance::unguessable;
pub use message::{Fit, fit};
pub use server::{Figures, Outcome, RTT_BOUNDS_US};
pub use system::{NoSystemResolver, system_resolvers, system_search};
