//! What the command sees in place of the machine's own files: laid over them in its mount namespace, and held there.
//!
//! A file that is renamed over another takes with it, in every namespace, what was mounted on the other one: a
//! DHCP client, a VPN or systemd-resolved that writes resolv.conf would lay the machine's own bare again under a
//! running command. So [`are_in_place`] looks, from outside, and [`lay`] can be done again.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::{FsFlags, statvfs};

/// A file of the room and what it stands over.
pub(super) struct Cover {
    /// Its name in the room.
    pub(super) file: &'static str,
    /// The path that the command uses; symlinks are followed.
    pub(super) target: &'static str,
    /// May there be nothing to stand over?
    is_optional: bool,
}

/// The empty directory of the room.
pub(super) const NOTHING: &str = "nothing";

pub(super) const RESOLV_CONF: Cover = Cover {
    file: "resolv.conf",
    target: "/etc/resolv.conf",
    is_optional: false,
};

pub(super) const NSSWITCH: Cover = Cover {
    file: "nsswitch.conf",
    target: "/etc/nsswitch.conf",
    is_optional: true,
};

/// glibc asks nscd before it reads either file, and nscd asks by the machine's own.
const NSCD: Cover = Cover {
    file: NOTHING,
    target: "/var/run/nscd",
    is_optional: true,
};

const COVERS: [Cover; 3] = [RESOLV_CONF, NSSWITCH, NSCD];

/// Lays the files of the room `dir` over the machine's, in this process's mount namespace, where they do not lie yet.
///
/// # Errors
/// With a sentence for the first that cannot be laid.
pub(super) fn lay(dir: &Path) -> Result<(), String> {
    let root = File::open("/").map_err(|error| format!("cannot open /: {error}"))?;
    for cover in &COVERS {
        match is_in_place(&root, dir, cover) {
            Ok(true) => {}
            Ok(false) => lay_one(&dir.join(cover.file), cover.target)
                .map_err(|error| format!("cannot stand over {}: {error}", cover.target))?,
            Err(error) => return Err(format!("cannot stand over {}: {error}", cover.target)),
        }
    }
    Ok(())
}

/// Puts the room out of the sight of the command: it could be the owner of what is in there, the policy too.
///
/// # Errors
/// With a sentence.
pub(super) fn hide(dir: &Path) -> Result<(), String> {
    const NONE: Option<&str> = None;
    mount(Some(&dir.join(NOTHING)), dir, NONE, MsFlags::MS_BIND, NONE)
        .map_err(|error| format!("cannot stand over {}: {error}", dir.display()))
}

/// Undoes [`hide`].
///
/// # Errors
/// With a sentence.
pub(super) fn show(dir: &Path) -> Result<(), String> {
    umount2(dir, MntFlags::MNT_DETACH)
        .map_err(|error| format!("cannot see {}: {error}", dir.display()))
}

/// Lies all of it in place, for a process that has this root?
pub(super) fn are_in_place(root: &File, dir: &Path) -> bool {
    let is_true = |cover| is_in_place(root, dir, cover).is_ok_and(|it| it);
    COVERS.iter().all(is_true)
}

/// A cover that has nothing to stand over, and need not, is in place.
fn is_in_place(root: &File, dir: &Path, cover: &Cover) -> io::Result<bool> {
    // As the process itself would walk: its mounts, its symlinks.
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT);
    let seen = match openat2(root, cover.target, how) {
        Ok(seen) => File::from(seen).metadata()?,
        Err(Errno::ENOENT) if cover.is_optional => return Ok(true),
        Err(error) => return Err(error.into()),
    };
    let ours = dir.join(cover.file).metadata()?;
    Ok((seen.dev(), seen.ino()) == (ours.dev(), ours.ino()))
}

fn lay_one(source: &Path, target: &str) -> nix::Result<()> {
    const NONE: Option<&str> = None;
    mount(Some(source), target, NONE, MsFlags::MS_BIND, NONE)?;
    // Read-only, so that a program which writes its own is told. In a user namespace the flags of the file
    // system below are locked: they have to be said again.
    let flags = locked(statvfs(target)?.flags());
    let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | flags;
    mount(NONE, target, NONE, read_only, NONE)
}

fn locked(flags: FsFlags) -> MsFlags {
    let pairs = [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
    ];
    let set = pairs
        .into_iter()
        .filter(|(there, _)| flags.contains(*there));
    set.map(|(_, flag)| flag).collect()
}
