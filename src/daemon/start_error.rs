//! Why a start fails: a sentence with its remedy, and an exit code.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::live::BadPattern;
use super::sandbox::Unconfined;
use crate::answer::upstream::NoSystemResolver;
use crate::answer::zone::ZoneError;
use crate::config::{Config, Sink};
use crate::front::{NotBound, Transport, Unfit, owner_of};
use crate::policy::Diagnostics;

/// What stands in the way of serving.
#[derive(Debug)]
pub enum StartError {
    /// There is no policy file.
    PolicyMissing {
        /// Where it should be.
        file: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The policy file is not a policy.
    PolicyInvalid(Box<Diagnostics>),
    /// The configuration names patterns that are none.
    Patterns(Vec<BadPattern>),
    /// An address cannot be had.
    NotBound {
        /// Which, and what the kernel said.
        error: NotBound,
        /// The program that has it, where it can be seen.
        owner: Option<String>,
    },
    /// The variables that tell of sockets that were handed over say what cannot be.
    NotHandedOver(io::Error),
    /// What was handed over is not what can be served.
    HandedOver(Unfit),
    /// Rights cannot be given up as the configuration asks.
    Confined(Unconfined),
    /// The machine names no resolver but us.
    NoUpstream(NoSystemResolver),
    /// An upstream is one of our own addresses.
    Loop(SocketAddr),
    /// The zone files cannot be served.
    Zones(Vec<ZoneError>),
    /// The query log cannot be written.
    Log {
        /// Where to.
        sink: Sink,
        /// What the system said.
        error: io::Error,
    },
    /// The pages cannot be served.
    Pages {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
        /// The program that has the port, where it can be seen.
        owner: Option<String>,
    },
    /// The admin socket cannot be served.
    Admin {
        /// Where.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
        /// The program that serves it, where it can be seen.
        owner: Option<String>,
    },
    /// The system refuses something else.
    Io(io::Error),
}

impl StartError {
    pub(super) fn not_bound(error: NotBound) -> Self {
        let owner = owner(&error.error, error.address, error.transport);
        Self::NotBound { error, owner }
    }

    pub(super) fn no_pages(address: SocketAddr, error: io::Error) -> Self {
        let owner = owner(&error, address, Transport::Tcp);
        Self::Pages {
            address,
            error,
            owner,
        }
    }

    pub(super) fn log(config: &Config, error: io::Error) -> Self {
        Self::Log {
            sink: config.log.sink.clone(),
            error,
        }
    }

    /// The exit code (SPEC 9): those of sysexits where they fit.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::PolicyInvalid(_) => 65,
            Self::NoUpstream(error) if error.naming_us.is_empty() => 69,
            Self::PolicyMissing { error, .. } => unless_forbidden(error, 66),
            Self::NotBound {
                error: NotBound { error, .. },
                ..
            }
            | Self::Pages { error, .. }
            | Self::Admin { error, .. } => unless_forbidden(error, 71),
            Self::Confined(error) => error.exit_code(),
            Self::NoUpstream(_)
            | Self::NotHandedOver(_)
            | Self::HandedOver(_)
            | Self::Loop(_)
            | Self::Patterns(_)
            | Self::Zones(_)
            | Self::Log { .. } => 78,
            Self::Io(_) => 71,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PolicyMissing { file, error } if is_forbidden(error) => write!(
                f,
                "cannot read the policy {}: {error}\n  help: let this user read the file, and enter its directory",
                file.display()
            ),
            Self::PolicyMissing { file, error } => write!(
                f,
                "no policy at {}: {error}\n  help: name it with --policy, write one with `namegate policy new`, \
                 or have `run` wait for it: policy.on_missing = \"deny_all\"",
                file.display()
            ),
            Self::PolicyInvalid(diagnostics) => write!(
                f,
                "the policy is refused, {}\n\n{}",
                diagnostics.summary(),
                diagnostics.render(false).trim_end()
            ),
            Self::Patterns(bad) => {
                f.write_str("the configuration names patterns that are none")?;
                bad.iter().try_for_each(|it| write!(f, "\n  {it}"))
            }
            Self::NotBound { error, owner } => not_bound(f, error, owner.as_deref()),
            Self::NotHandedOver(error) => write!(
                f,
                "no sockets where LISTEN_FDS says that they are: {error}\n  help: unset LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES, \
                 or have a socket unit hand them over"
            ),
            Self::HandedOver(error) => write!(f, "{error}"),
            Self::Confined(error) => write!(f, "{error}"),
            Self::NoUpstream(error) => write!(f, "no upstream: {error}"),
            Self::Loop(address) => write!(
                f,
                "the upstream {address} is namegate itself: queries would go round for ever\n  \
                 help: set upstream.servers to the resolver that is to be asked"
            ),
            Self::Zones(errors) => {
                f.write_str("the zone files cannot be served")?;
                errors.iter().try_for_each(|it| write!(f, "\n  {it}"))
            }
            Self::Log {
                sink: Sink::Stdout,
                error,
            } => write!(f, "cannot start the query log: {error}"),
            Self::Log {
                sink: Sink::File(file) | Sink::Unix(file),
                error,
            } => {
                write!(
                    f,
                    "cannot write the query log {}: {error}\n  help: set log.sink",
                    file.display()
                )
            }
            Self::Pages {
                address,
                error,
                owner,
            } => {
                write!(f, "cannot serve metrics on {address}: {error}")?;
                held_by(f, error, owner.as_deref())?;
                f.write_str("\n  help: --metrics with another address, or --metrics off")
            }
            Self::Admin { path, error, owner } => {
                write!(
                    f,
                    "cannot serve the admin socket {}: {error}",
                    path.display()
                )?;
                held_by(f, error, owner.as_deref())?;
                f.write_str(
                    "\n  help: name another path in admin.socket or NAMEGATE_ADMIN_SOCKET, or \"\" for none",
                )
            }
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for StartError {}

fn is_forbidden(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

fn unless_forbidden(error: &io::Error, code: u8) -> u8 {
    if is_forbidden(error) { 77 } else { code }
}

/// Who holds an address, if that is what is wrong with it.
fn owner(error: &io::Error, address: SocketAddr, transport: Transport) -> Option<String> {
    let is_taken = error.kind() == io::ErrorKind::AddrInUse;
    is_taken.then(|| owner_of(address, transport)).flatten()
}

fn held_by(f: &mut fmt::Formatter<'_>, error: &io::Error, owner: Option<&str>) -> fmt::Result {
    if error.kind() != io::ErrorKind::AddrInUse {
        return Ok(());
    }
    match owner {
        Some(owner) => write!(f, "\n  it is held by {owner}"),
        None => f.write_str("\n  by whom cannot be seen without being root"),
    }
}

fn not_bound(f: &mut fmt::Formatter<'_>, error: &NotBound, owner: Option<&str>) -> fmt::Result {
    write!(f, "{error}")?;
    held_by(f, &error.error, owner)?;
    if error.error.kind() == io::ErrorKind::AddrInUse {
        f.write_str(
            "\n  help: stop that program, or listen elsewhere: --listen 127.0.0.153:53 \
             (another loopback address) or --listen 127.0.0.1:1053 (another port)",
        )?;
    }
    if is_forbidden(&error.error) {
        f.write_str(
            "\n  help: ports below 1024 need CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities), root, \
             or sysctl net.ipv4.ip_unprivileged_port_start=53; or --listen 127.0.0.1:1053",
        )?;
    }
    Ok(())
}
