//! The admin socket's file: made, kept from others, and taken away at the end.
//!
//! Its permissions are the access control, so it is never there with more than
//! it is to have, not for a moment and whatever the umask. What a process that
//! has died left behind is replaced; a socket that somebody serves is not.

use std::fs::{self, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, lchown};
use std::os::unix::net;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, getsockopt, listen, socket,
};
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat};
use nix::unistd::Group;
use tokio::net::UnixListener;

use super::start_error::StartError;
use crate::config::{ADMIN_SOCKET, Admin};

/// Connections that wait to be taken.
const BACKLOG: i32 = 64;
/// What the owner alone may do, and what all may.
const OWNERS: u32 = 0o700;
const ALL: u32 = 0o777;

/// The file of a socket that is ours; dropped, it is gone.
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode: what stands under its name later may be another's.
    identity: (u64, u64),
}

/// Listens where the configuration says. At the default place it is left out where nothing makes a directory for it.
///
/// # Errors
/// When somebody serves it already, or it cannot be made.
pub(super) fn open(admin: &Admin) -> Result<Option<(UnixListener, SocketFile)>, StartError> {
    let Some(path) = &admin.socket else {
        return Ok(None);
    };
    match open_at(path, admin) {
        Ok(opened) => Ok(Some(opened)),
        Err(Trouble::Io(error)) if path == Path::new(ADMIN_SOCKET) && is_no_place(&error) => {
            tracing::info!(socket = %path.display(), %error, "there is no admin socket");
            Ok(None)
        }
        Err(trouble) => Err(trouble.at(path)),
    }
}

/// Why there is no socket.
enum Trouble {
    Io(io::Error),
    Served(Option<String>),
    Other(&'static str),
    /// It is there, and cannot have the group or the mode it is to have.
    Rights(io::Error),
    NoGroup(String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Errno> for Trouble {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

impl Trouble {
    fn at(self, path: &Path) -> StartError {
        let (error, owner) = match self {
            Self::Io(error) | Self::Rights(error) => (error, None),
            Self::Served(owner) => (Errno::EADDRINUSE.into(), owner),
            Self::Other(what) => (io::Error::new(io::ErrorKind::AlreadyExists, what), None),
            Self::NoGroup(group) => {
                let message = format!("there is no group {group:?} (admin.group)");
                (io::Error::new(io::ErrorKind::NotFound, message), None)
            }
        };
        let path = path.to_owned();
        StartError::Admin { path, error, owner }
    }
}

/// No directory, or one that is for somebody else.
fn is_no_place(error: &io::Error) -> bool {
    use io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem};
    matches!(
        error.kind(),
        NotFound | PermissionDenied | ReadOnlyFilesystem
    )
}

fn open_at(path: &Path, admin: &Admin) -> Result<(UnixListener, SocketFile), Trouble> {
    let group = group_of(&admin.group)?;
    let address = UnixAddr::new(path)?;
    make_way(path, &address)?;
    let socket = new_socket()?;
    // The kernel gives the file what the socket has, less the umask; the rest comes when it has its group.
    fchmod(&socket, Mode::from_bits_truncate(admin.mode & OWNERS))?;
    bind(socket.as_raw_fd(), &address)?;
    let made = fs::symlink_metadata(path)?;
    let file = SocketFile {
        path: path.to_owned(),
        identity: (made.dev(), made.ino()),
    };
    give_rights(path, &made, group, admin.mode).map_err(Trouble::Rights)?;
    listen(&socket, Backlog::new(BACKLOG)?)?;
    let listener = UnixListener::from_std(net::UnixListener::from(socket))?;
    Ok((listener, file))
}

/// Gives the file its group and then its mode, where it has not got them yet.
fn give_rights(path: &Path, made: &Metadata, group: Option<u32>, mode: u32) -> io::Result<()> {
    if group.is_some_and(|it| it != made.gid()) {
        lchown(path, None, group)?;
    }
    if mode != made.mode() & ALL {
        let mode = Mode::from_bits_truncate(mode);
        fchmodat(AT_FDCWD, path, mode, FchmodatFlags::NoFollowSymlink)?;
    }
    Ok(())
}

fn new_socket() -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Unix, SockType::Stream, flags, None)
}

/// The number of a group; none: the process's own.
fn group_of(group: &str) -> Result<Option<u32>, Trouble> {
    if group.is_empty() {
        return Ok(None);
    }
    if let Ok(number) = group.parse() {
        return Ok(Some(number));
    }
    let found = Group::from_name(group)?;
    let found = found.ok_or_else(|| Trouble::NoGroup(group.to_owned()))?;
    Ok(Some(found.gid.as_raw()))
}

/// Removes what nobody serves any more.
fn make_way(path: &Path, address: &UnixAddr) -> Result<(), Trouble> {
    let there = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        there => there?,
    };
    if !there.file_type().is_socket() {
        return Err(Trouble::Other("what stands there is no socket"));
    }
    let caller = new_socket()?;
    match connect(caller.as_raw_fd(), address) {
        Err(Errno::ECONNREFUSED) => Ok(fs::remove_file(path)?),
        Err(Errno::ENOENT) => Ok(()),
        // So many wait that there is no place for us: somebody is there.
        Ok(()) | Err(Errno::EAGAIN) => Err(Trouble::Served(owner_of(&caller))),
        Err(errno) => Err(errno.into()),
    }
}

/// The program at the other end, as `NAME (pid N)`.
fn owner_of(caller: &impl AsFd) -> Option<String> {
    let pid = getsockopt(caller, PeerCredentials).ok()?.pid();
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    (pid > 0).then(|| format!("{} (pid {pid})", name.trim()))
}

impl SocketFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let there = fs::symlink_metadata(&self.path);
        if there.is_ok_and(|it| (it.dev(), it.ino()) == self.identity) {
            drop(fs::remove_file(&self.path));
        }
    }
}

#[cfg(test)]
#[expect(clippy::panic, reason = "tests")]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn admin(path: &Path, mode: u32) -> Admin {
        Admin {
            socket: Some(path.to_owned()),
            mode,
            group: String::new(),
        }
    }

    fn opened(path: &Path, mode: u32) -> (UnixListener, SocketFile) {
        match open(&admin(path, mode)) {
            Ok(Some(opened)) => opened,
            Ok(None) => panic!("left out"),
            Err(error) => panic!("{error}"),
        }
    }

    #[tokio::test]
    async fn it_has_its_mode_and_is_gone_at_the_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("admin.sock");
        for mode in [0o600, 0o660, 0o666] {
            let (_listener, file) = opened(&path, mode);
            let made = fs::metadata(&path).expect("it is there").permissions();
            assert_eq!(made.mode() & 0o777, mode);
            assert!(UnixStream::connect(&path).is_ok());
            drop(file);
            assert!(!path.exists());
        }
    }

    /// Somebody who looks all the time while it is made, again and again.
    #[tokio::test]
    async fn nobody_ever_sees_it_wider_than_its_mode() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("admin.sock");
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let watched = path.clone();
        let watcher = std::thread::spawn(move || {
            let (mut seen, mut looks) = (0, 0_u64);
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                seen |= fs::metadata(&watched).map_or(0, |it| it.permissions().mode() & 0o777);
                looks += 1;
            }
            (seen, looks)
        });
        let group = nix::unistd::getgid().to_string();
        for _ in 0..2000 {
            let admin = Admin {
                group: group.clone(),
                ..admin(&path, 0o640)
            };
            let opened = open(&admin).unwrap_or_else(|error| panic!("{error}"));
            drop(opened);
        }
        drop(stop);
        let (seen, looks) = watcher.join().expect("it only looks");
        assert!(looks > 100);
        assert_eq!(seen, 0o640, "{seen:o}");
    }

    #[tokio::test]
    async fn what_a_dead_process_left_is_replaced_and_what_is_served_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("admin.sock");
        drop(net::UnixListener::bind(&path).expect("bound"));
        let (_listener, _file) = opened(&path, 0o600);
        let error = open(&admin(&path, 0o600)).err().expect("it is served");
        let us = format!("(pid {})", std::process::id());
        assert!(error.to_string().contains(&us), "{error}");
        assert_eq!(error.exit_code(), 71);
    }

    #[tokio::test]
    async fn another_s_file_is_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("admin.sock");
        fs::write(&path, "precious").expect("written");
        assert!(open(&admin(&path, 0o600)).is_err());
        fs::remove_file(&path).expect("removed");
        let (_listener, file) = opened(&path, 0o600);
        fs::remove_file(&path).expect("removed");
        fs::write(&path, "precious").expect("written");
        drop(file);
        assert_eq!(fs::read_to_string(&path).expect("kept"), "precious");
    }

    #[tokio::test]
    async fn a_place_that_was_asked_for_must_be_there() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("nowhere/admin.sock");
        assert!(open(&admin(&path, 0o600)).is_err());
        let off = Admin {
            socket: None,
            ..admin(&path, 0o600)
        };
        assert!(open(&off).is_ok_and(|it| it.is_none()));
    }
}
