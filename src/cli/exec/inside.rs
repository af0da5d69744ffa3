//! The hidden commands on the other side: they are started by `exec`, run on a single thread, and put a process
//! into its own mount namespace with its own resolver settings.
//!
//! `__child` makes the namespace, lays the room's files over the machine's, waits to be let go, gives up what the
//! caller has not, makes sure of what it sees, and becomes the command. `__lay` joins such a namespace and lays them
//! again. Neither returns to anything but an exit code, and nothing of either is seen outside the namespace.

use std::convert::Infallible;
use std::fs;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{Gid, Uid, getegid, geteuid, setgroups, setresgid, setresuid};

use super::super::args::{ChildArgs, LayArgs};
use super::super::{exit, talk};
use super::covers::{self, NSSWITCH, RESOLV_CONF};
use super::identity::Fault;
use super::room::DOOR;

/// As of shells and env(1).
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

pub(super) fn child(args: &ChildArgs) -> u8 {
    let Err(fault) = become_command(args);
    talk(&format!("namegate: {}", fault.message));
    fault.code
}

fn become_command(args: &ChildArgs) -> Result<Infallible, Fault> {
    let expected = Expected::read(&args.dir)?;
    own_mounts()?;
    covers::lay(&args.dir).map_err(system)?;
    let door = UnixStream::connect(args.dir.join(DOOR)).map_err(|error| gone(&error))?;
    covers::hide(&args.dir).map_err(system)?;
    wait_for_leave(door)?;
    become_caller(args)?;
    expected.hold()?;
    let [program, arguments @ ..] = args.command.as_slice() else {
        return Err(system("no command".to_owned()));
    };
    let error = Command::new(program).args(arguments).exec();
    Err(Fault {
        code: if error.kind() == io::ErrorKind::NotFound {
            NOT_FOUND
        } else {
            CANNOT_RUN
        },
        message: format!("cannot run {}: {error}", program.display()),
    })
}

fn system(message: String) -> Fault {
    Fault {
        code: exit::SYSTEM,
        message,
    }
}

/// A mount namespace from which nothing spreads: as it is for those who may, else with a user namespace around it.
fn own_mounts() -> Result<(), Fault> {
    match unshare(CloneFlags::CLONE_NEWNS) {
        Ok(()) => {}
        Err(Errno::EPERM) => own_users().map_err(|error| no_namespace(&error))?,
        Err(error) => return Err(no_namespace(&error.into())),
    }
    const NONE: Option<&str> = None;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(NONE, "/", NONE, private, NONE).map_err(|error| no_namespace(&error.into()))
}

/// In there we are who we are, and nobody else is anybody (user_namespaces(7)).
fn own_users() -> io::Result<()> {
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}

fn no_namespace(error: &io::Error) -> Fault {
    Fault {
        code: exit::FORBIDDEN,
        message: format!(
            "no mount namespace for the command: {error}\n  \
             help: run it with sudo; or have the kernel allow user namespaces (sysctl user.max_user_namespaces,\n  \
             kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns); a container needs \
             CAP_SYS_ADMIN"
        ),
    }
}

/// All is in place, and was announced at the door; waits until it is watched.
fn wait_for_leave(mut door: UnixStream) -> Result<(), Fault> {
    let mut leave = [0];
    door.read_exact(&mut leave).map_err(|error| gone(&error))
}

fn gone(error: &io::Error) -> Fault {
    system(format!("namegate exec is gone: {error}"))
}

fn become_caller(args: &ChildArgs) -> Result<(), Fault> {
    let (Some(uid), Some(gid)) = (args.uid, args.gid) else {
        return Ok(());
    };
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let groups: Vec<Gid> = args.groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&groups)
        .and_then(|()| setresgid(gid, gid, gid))
        .and_then(|()| setresuid(uid, uid, uid))
        .map_err(|error| Fault {
            code: exit::FORBIDDEN,
            message: format!("cannot become uid {uid}: {error}"),
        })
}

/// What the command is to read.
struct Expected {
    resolv_conf: String,
    /// None: the machine has none.
    nsswitch: Option<String>,
}

impl Expected {
    fn read(dir: &Path) -> Result<Self, Fault> {
        let read = |file: &str| fs::read_to_string(dir.join(file));
        let resolv_conf = read(RESOLV_CONF.file)
            .map_err(|error| system(format!("cannot read {}: {error}", RESOLV_CONF.file)))?;
        Ok(Self {
            resolv_conf,
            nsswitch: read(NSSWITCH.file).ok(),
        })
    }

    /// Reads them as the command will, and holds them against what they should be: otherwise it does not run.
    fn hold(&self) -> Result<(), Fault> {
        let files = [
            (RESOLV_CONF.target, Some(&self.resolv_conf)),
            (NSSWITCH.target, self.nsswitch.as_ref()),
        ];
        for (file, expected) in files {
            let seen = fs::read_to_string(file).ok();
            if seen.as_ref() != expected {
                return Err(system(format!(
                    "{file} is not the command's own; it would ask past the policy, so it is not run"
                )));
            }
        }
        Ok(())
    }
}

/// Lays the covers anew in the namespaces that standard input, and standard output where it is one, are.
pub(super) fn lay(args: &LayArgs) -> u8 {
    let again = || {
        join(args.joins_users)?;
        covers::show(&args.dir)?;
        covers::lay(&args.dir)?;
        covers::hide(&args.dir)
    };
    match again() {
        Ok(()) => exit::OK,
        Err(message) => {
            talk(&format!("namegate: {message}"));
            exit::SYSTEM
        }
    }
}

fn join(joins_users: bool) -> Result<(), String> {
    let users = || setns(io::stdout(), CloneFlags::CLONE_NEWUSER);
    let mounts = || setns(io::stdin(), CloneFlags::CLONE_NEWNS);
    let joined = if joins_users { users() } else { Ok(()) };
    joined
        .and_then(|()| mounts())
        .map_err(|error| format!("cannot join the command's namespace: {error}"))
}
