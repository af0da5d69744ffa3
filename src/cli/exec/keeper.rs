//! Holds the covers in place while the command runs, from outside its namespaces.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::super::talk;
use super::covers;

/// How long the machine's own settings can lie bare before that is seen.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A file may be missing for a moment, between its removal and its return.
const PATIENCE: Duration = Duration::from_secs(1);

/// A hold on the command's namespaces, good for as long as anything runs in them.
pub(super) struct Keeper {
    dir: PathBuf,
    root: File,
    mounts: File,
    /// Its user namespace, where that is not ours.
    users: Option<File>,
    bare_since: Option<Instant>,
}

impl Keeper {
    /// For the process `pid`, which has made its namespaces and waits.
    pub(super) fn open(pid: Pid, dir: &Path) -> io::Result<Self> {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let users = proc.join("ns/user");
        let is_ours = fs::metadata(&users)?.ino() == fs::metadata("/proc/self/ns/user")?.ino();
        Ok(Self {
            dir: dir.to_owned(),
            root: File::open(proc.join("root"))?,
            mounts: File::open(proc.join("ns/mnt"))?,
            users: (!is_ours).then(|| File::open(users)).transpose()?,
            bare_since: None,
        })
    }

    /// Looks, and puts back what has been laid bare. False: that cannot be done.
    pub(super) fn holds(&mut self) -> bool {
        if covers::are_in_place(&self.root, &self.dir) {
            self.bare_since = None;
            return true;
        }
        let since = *self.bare_since.get_or_insert_with(Instant::now);
        let is_back =
            self.lay_again().is_ok_and(|done| done) && covers::are_in_place(&self.root, &self.dir);
        if is_back {
            talk(
                "namegate: the machine's resolver settings were replaced; the command's own are in place again",
            );
            self.bare_since = None;
        }
        is_back || since.elapsed() < PATIENCE
    }

    /// Only a process of a single thread may join namespaces, so another one does it.
    fn lay_again(&self) -> io::Result<bool> {
        let mut command = Command::new("/proc/self/exe");
        command.arg("__lay").arg("--dir").arg(&self.dir);
        command
            .stdin(self.mounts.try_clone()?)
            .stderr(Stdio::null());
        match &self.users {
            Some(users) => command.arg("--joins-users").stdout(users.try_clone()?),
            None => command.stdout(Stdio::null()),
        };
        Ok(command.status()?.success())
    }
}
