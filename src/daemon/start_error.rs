//! Why a start fails: a sentence with its remedy, and an exit code.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::live::BadPattern;
use crate::answer::upstream::NoSystemResolver;
use crate::answer::zone::ZoneError;
use crate::config::{Config, Sink};
use crate::front::{NotBound, owner_of};
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
    },
    /// The system refuses something else.
    Io(io::Error),
}

impl StartError {
    pub(super) fn not_bound(error: NotBound) -> Self {
        let owner = (error.error.kind() == io::ErrorKind::AddrInUse)
            .then(|| owner_of(error.address, error.transport))
            .flatten();
        Self::NotBound { error, owner }
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
            Self::PolicyMissing { .. } => 66,
            Self::NoUpstream(error) if error.naming_us.is_empty() => 69,
            Self::NotBound {
                error: NotBound { error, .. },
                ..
            }
            | Self::Pages { error, .. } => {
                if error.kind() == io::ErrorKind::PermissionDenied {
                    77
                } else {
                    71
                }
            }
            Self::NoUpstream(_)
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
            Self::PolicyMissing { file, error } => write!(
                f,
                "no policy at {}: {error}\n  help: write one with `namegate policy new --name NAME --allow LIST > {0}`, \
                 or set policy.on_missing = \"deny_all\" to wait for it",
                file.display()
            ),
            Self::PolicyInvalid(diagnostics) => f.write_str(diagnostics.render(false).trim_end()),
            Self::Patterns(bad) => {
                f.write_str("the configuration names patterns that are none")?;
                bad.iter().try_for_each(|it| write!(f, "\n  {it}"))
            }
            Self::NotBound { error, owner } => not_bound(f, error, owner.as_deref()),
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
                sink: Sink::File(file),
                error,
            } => {
                write!(
                    f,
                    "cannot write the query log {}: {error}\n  help: set log.sink",
                    file.display()
                )
            }
            Self::Pages { address, error } => write!(
                f,
                "cannot serve metrics on {address}: {error}\n  help: set metrics.listen, or --metrics off"
            ),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for StartError {}

fn not_bound(f: &mut fmt::Formatter<'_>, error: &NotBound, owner: Option<&str>) -> fmt::Result {
    write!(f, "{error}")?;
    if error.error.kind() == io::ErrorKind::AddrInUse {
        match owner {
            Some(owner) => write!(f, "\n  it is held by {owner}")?,
            None => f.write_str("\n  by whom cannot be seen without being root")?,
        }
        f.write_str(
            "\n  help: stop that program, or listen elsewhere: --listen 127.0.0.153:53 \
             (another loopback address) or --listen 127.0.0.1:1053 (another port)",
        )?;
    }
    if error.error.kind() == io::ErrorKind::PermissionDenied {
        f.write_str(
            "\n  help: ports below 1024 need CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities), root, \
             or sysctl net.ipv4.ip_unprivileged_port_start=53; or --listen 127.0.0.1:1053",
        )?;
    }
    Ok(())
}
