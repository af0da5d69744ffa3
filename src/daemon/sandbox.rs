//! Giving up rights: another user, no new privileges, and Landlock.
//!
//! The configuration comes in and what is left goes out, or why it cannot be
//! done. It counts for the thread that calls and for those that it starts
//! afterwards, and nothing takes it back.

use std::fmt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, RestrictionStatus,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, make_bitflags,
    path_beneath_rules,
};
use nix::errno::Errno;
use nix::sys::prctl::{get_no_new_privs, set_keepcaps, set_no_new_privs};
use nix::unistd::{Gid, Uid, getegid, geteuid, setgroups, setresgid, setresuid};
use serde_json::{Value, json};

use crate::config::{Config, Landlock, Server, Sink, User};

/// What Landlock could do when these rules were tried; what a later kernel has beyond it is let alone.
const TRIED: ABI = ABI::V6;
/// The port that a resolv.conf means.
const DNS_PORT: u16 = 53;

/// What is done in a directory that something is appended to.
const APPEND: BitFlags<AccessFs> = make_bitflags!(AccessFs::{WriteFile | MakeReg});
/// What is done in a directory where a file is replaced.
const REPLACE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{WriteFile | MakeReg | RemoveFile});
/// What is done in a directory where a socket is made and taken away.
const LISTEN: BitFlags<AccessFs> = make_bitflags!(AccessFs::{MakeSock | RemoveFile});

/// What is left of the rights, as far as it was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rights {
    landlock: Kept,
}

/// What the kernel keeps us from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kept {
    /// It was not asked to.
    #[default]
    Off,
    /// It has no Landlock.
    Unavailable,
    /// An older one, with the number of its interface: some of it.
    Partial(i32),
    /// All of it.
    Full(i32),
}

impl Kept {
    fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Unavailable => "unavailable",
            Self::Partial(_) => "partial",
            Self::Full(_) => "full",
        }
    }

    fn abi(self) -> Option<i32> {
        match self {
            Self::Off | Self::Unavailable => None,
            Self::Partial(abi) | Self::Full(abi) => Some(abi),
        }
    }
}

impl Rights {
    /// How much of Landlock there is, in a word.
    pub(super) fn landlock(self) -> &'static str {
        self.landlock.word()
    }

    /// For the status page.
    pub(super) fn status(self) -> Value {
        json!({
            "landlock": self.landlock(),
            "landlock_abi": self.landlock.abi(),
            "user": us().to_string(),
            "no_new_privileges": get_no_new_privs().unwrap_or(false),
        })
    }
}

fn us() -> User {
    User {
        uid: geteuid().as_raw(),
        gid: getegid().as_raw(),
    }
}

/// Why rights cannot be given up.
#[derive(Debug)]
pub enum Unconfined {
    /// Only root may become somebody else.
    NotRoot(User),
    /// The kernel does not make us this user.
    NotBecome(User, Errno),
    /// It is required, and this kernel has none.
    NoLandlock,
    /// The kernel has it, and does not take the rules.
    Landlock(RulesetError),
    /// The kernel refuses something else.
    System(Errno),
}

impl Unconfined {
    /// 78 for what the configuration asks in vain, 71 for what the kernel refuses.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::NotRoot(_) | Self::NoLandlock => 78,
            Self::NotBecome(..) | Self::Landlock(_) | Self::System(_) => 71,
        }
    }
}

impl fmt::Display for Unconfined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRoot(user) => write!(
                f,
                "cannot become user {user} (sandbox.user): only root may, and this is user {}\n  \
                 help: have root start it, or take sandbox.user out: it stays the user that starts it",
                us()
            ),
            Self::NotBecome(user, errno) => write!(
                f,
                "cannot become user {user} (sandbox.user): {errno}\n  \
                 help: it takes CAP_SETUID and CAP_SETGID, and in a user namespace numbers that are mapped there"
            ),
            Self::NoLandlock => f.write_str(
                "this kernel has no Landlock, or a system-call filter hides it, and sandbox.landlock = \"require\"\n  \
                 help: Linux 5.13 or later with landlock among its `lsm=`, or sandbox.landlock = \"best_effort\"",
            ),
            Self::Landlock(error) => write!(
                f,
                "cannot be confined by Landlock: {error}\n  help: sandbox.landlock = \"best_effort\" does without"
            ),
            Self::System(errno) => write!(f, "cannot give up rights: {errno}"),
        }
    }
}

impl std::error::Error for Unconfined {}

/// Becomes the user of the configuration, and keeps no more than serving takes.
///
/// # Errors
/// When that is not possible as it is asked for; then some of it may be done.
pub(super) fn give_up(config: &Config) -> Result<Rights, Unconfined> {
    if let Some(user) = config.sandbox.user {
        become_user(user)?;
    }
    set_no_new_privs().map_err(Unconfined::System)?;
    let landlock = match config.sandbox.landlock {
        Landlock::Off => Kept::Off,
        Landlock::BestEffort => {
            confine(config).map_or_else(|error| without(&error), |it| kept(&it))
        }
        Landlock::Require => kept(&confine(config).map_err(Unconfined::Landlock)?),
    };
    if landlock == Kept::Unavailable && config.sandbox.landlock == Landlock::Require {
        return Err(Unconfined::NoLandlock);
    }
    Ok(Rights { landlock })
}

/// The kernel has it, and does not take the rules: the best is none.
fn without(error: &RulesetError) -> Kept {
    tracing::warn!(%error, "Landlock is there, but does not confine");
    Kept::Unavailable
}

/// Becomes somebody else for good. Groups go first: without root they could not.
fn become_user(user: User) -> Result<(), Unconfined> {
    if !geteuid().is_root() {
        return Err(Unconfined::NotRoot(user));
    }
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let become_it = || {
        set_keepcaps(false)?;
        setgroups(&[])?;
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)
    };
    become_it().map_err(|errno| Unconfined::NotBecome(user, errno))?;
    // Whoever can go back has kept his capabilities, which the kernel may have been told to leave (capabilities(7), securebits).
    let root = Uid::from_raw(0);
    match setresuid(root, root, root) {
        Err(_) => {
            tracing::info!("the ports are bound: from here on this is user {user}");
            Ok(())
        }
        Ok(()) => Err(Unconfined::NotBecome(user, Errno::EPERM)),
    }
}

/// Reads everything, since where the links on the way to a policy lead tomorrow is not known today; writes beside what it
/// is to write, executes nothing, and makes connections to the ports of its upstreams. UDP is beyond Landlock.
fn confine(config: &Config) -> Result<RestrictionStatus, RulesetError> {
    let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(TRIED))?
        .handle_access(AccessNet::from_all(TRIED))?
        .scope(Scope::Signal)?
        .create()?
        .add_rules(path_beneath_rules(["/"], read))?;
    for (directory, may) in written(config) {
        rules = rules.add_rules(path_beneath_rules([directory], may))?;
    }
    for port in upstream_ports(config) {
        rules = rules.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
    }
    rules.restrict_self()
}

/// The directories in which something is written, and what is done there. One that is not there yet stays shut.
fn written(config: &Config) -> Vec<(PathBuf, BitFlags<AccessFs>)> {
    let mut all = Vec::new();
    if let Sink::File(file) = &config.log.sink {
        all.push((beside(file), APPEND));
        // The log may be a link to where logs are kept.
        all.extend(file.canonicalize().map(|it| (beside(&it), APPEND)));
    }
    all.extend(config.blocked.file.iter().map(|it| (beside(it), REPLACE)));
    all.extend(config.admin.socket.iter().map(|it| (beside(it), LISTEN)));
    all
}

fn beside(file: &Path) -> PathBuf {
    match file.parent() {
        Some(directory) if directory != Path::new("") => directory.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn upstream_ports(config: &Config) -> Vec<u16> {
    let forwards = config.forward.iter().flat_map(|it| &it.servers);
    let servers = config.upstream.servers.iter().chain(forwards);
    let port = |server: &Server| match server {
        Server::System => DNS_PORT,
        Server::Udp(address) | Server::Tcp(address) => address.port(),
    };
    servers.map(port).collect()
}

fn kept(status: &RestrictionStatus) -> Kept {
    let abi = match status.landlock {
        LandlockStatus::Available {
            effective_abi,
            kernel_abi,
        } => kernel_abi.unwrap_or(effective_abi as i32),
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
    };
    match status.ruleset {
        RulesetStatus::FullyEnforced => Kept::Full(abi),
        RulesetStatus::PartiallyEnforced => Kept::Partial(abi),
        RulesetStatus::NotEnforced => Kept::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{ErrorKind, Write as _};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::UnixListener;
    use std::process::Command;
    use std::thread;

    use super::*;

    /// What a thread that was confined comes to, and what the kernel has of Landlock.
    fn confined<T: Send + 'static>(
        config: Config,
        does: impl FnOnce() -> T + Send + 'static,
    ) -> (T, Kept) {
        let thread = thread::spawn(move || {
            let rights = give_up(&config).expect("as much as there is");
            (does(), rights.landlock)
        });
        thread.join().expect("it does not panic")
    }

    fn is_refused<T>(done: std::io::Result<T>) -> bool {
        done.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    }

    /// A configuration that names a file in each directory of its own.
    fn config(room: &Path) -> Config {
        let mut config = Config::default();
        config.log.sink = Sink::File(room.join("logs/log"));
        config.blocked.file = Some(room.join("box/blocked"));
        config.admin.socket = Some(room.join("run/admin.sock"));
        for directory in ["logs", "box", "run", "else"] {
            fs::create_dir(room.join(directory)).expect("made");
            fs::write(room.join(directory).join("old"), "old").expect("written");
        }
        config
    }

    /// What was done, and whether the kernel is to refuse it.
    type Deeds = Vec<(&'static str, bool, bool)>;

    fn files(room: &Path) -> Deeds {
        let create = |name: &str| is_refused(fs::File::create_new(room.join(name)));
        let open = |name: &str| fs::OpenOptions::new().append(true).open(room.join(name));
        let rename = |from: &str, to: &str| fs::rename(room.join(from), room.join(to));
        vec![
            (
                "read elsewhere",
                is_refused(fs::read(room.join("else/old"))),
                false,
            ),
            (
                "list elsewhere",
                is_refused(fs::read_dir(room.join("else"))),
                false,
            ),
            ("write elsewhere", is_refused(open("else/old")), true),
            ("make elsewhere", create("else/new"), true),
            (
                "remove elsewhere",
                is_refused(fs::remove_file(room.join("else/old"))),
                true,
            ),
            (
                "make a directory",
                is_refused(fs::create_dir(room.join("logs/dir"))),
                true,
            ),
            ("make a log", create("logs/log"), false),
            (
                "append to a log",
                is_refused(open("logs/old").and_then(|mut it| it.write_all(b"x"))),
                false,
            ),
            (
                "remove a log",
                is_refused(fs::remove_file(room.join("logs/old"))),
                true,
            ),
            (
                "make beside the blocked names",
                create("box/blocked.new"),
                false,
            ),
            (
                "replace them",
                is_refused(rename("box/blocked.new", "box/old")),
                false,
            ),
            (
                "listen at the admin socket",
                is_refused(UnixListener::bind(room.join("run/admin.sock"))),
                false,
            ),
            (
                "take it away",
                is_refused(fs::remove_file(room.join("run/admin.sock"))),
                false,
            ),
            ("write beside it", is_refused(open("run/old")), true),
            (
                "execute",
                is_refused(Command::new("/bin/true").status()),
                true,
            ),
        ]
    }

    #[track_caller]
    fn holds(deeds: Deeds, kept: Kept) {
        for (deed, was_refused, is_to_be) in deeds {
            assert_eq!(was_refused, is_to_be, "{deed}, {kept:?}");
        }
    }

    #[test]
    fn it_writes_where_it_has_to_reads_everywhere_and_executes_nothing() {
        let room = tempfile::tempdir().expect("a directory");
        let path = room.path().to_owned();
        let (deeds, kept) = confined(config(room.path()), move || files(&path));
        if kept.abi().is_some() {
            holds(deeds, kept);
        }
    }

    #[test]
    fn it_connects_to_the_ports_of_its_upstreams() {
        let listener = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let (upstream, other) = (listener(), listener());
        let at = |it: &TcpListener| it.local_addr().expect("bound");
        let (to, elsewhere) = (at(&upstream), at(&other));
        let mut config = Config::default();
        config.upstream.servers = vec![Server::Udp(to)];
        let (deeds, kept) = confined(config, move || {
            vec![
                ("an upstream", is_refused(TcpStream::connect(to)), false),
                (
                    "another port",
                    is_refused(TcpStream::connect(elsewhere)),
                    true,
                ),
                ("listen", is_refused(TcpListener::bind("127.0.0.1:0")), true),
                (
                    "a port for UDP",
                    is_refused(UdpSocket::bind("127.0.0.1:0")),
                    false,
                ),
            ]
        });
        if matches!(kept, Kept::Full(_)) {
            holds(deeds, kept);
        }
    }

    #[test]
    fn an_upstream_s_port_is_that_of_all_its_kinds() {
        let mut config = Config::default();
        let at = |text: &str| text.parse().expect("an address");
        config.forward = vec![crate::config::Forward {
            zone: crate::wire::Name::ROOT,
            servers: vec![
                Server::Tcp(at("192.0.2.1:5300")),
                Server::Udp(at("192.0.2.1:5301")),
            ],
            exempt: false,
        }];
        assert_eq!(upstream_ports(&config), [53, 5300, 5301]);
    }

    #[test]
    fn a_file_without_a_directory_is_in_this_one() {
        assert_eq!(beside(Path::new("log")), Path::new("."));
        assert_eq!(beside(Path::new("/log")), Path::new("/"));
        assert_eq!(beside(Path::new("a/log")), Path::new("a"));
    }
}
