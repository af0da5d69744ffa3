//! A directory for the files of one `exec`: the policy, and what the command is to see in place of the
//! machine's resolver settings. It is gone when `exec` is; nothing outside it is written.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::covers::{NOTHING, NSSWITCH, RESOLV_CONF};

/// Where the command's namespaces announce themselves.
pub(super) const DOOR: &str = "door";
/// A killed `exec` leaves its directory behind, and process ids come again.
const NAMES_TRIED: u32 = 100;
/// Whoever runs the command reads them; only we write them, whatever the umask.
const READABLE: u32 = 0o644;

/// The directory.
pub(super) struct Room(PathBuf);

impl Room {
    /// Makes it, for its owner alone.
    pub(super) fn open() -> io::Result<Self> {
        let room = Self(new_directory()?);
        fs::create_dir(room.0.join(NOTHING))?;
        Ok(room)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.0
    }

    pub(super) fn policy(&self) -> PathBuf {
        self.0.join("policy.json")
    }

    pub(super) fn door(&self) -> PathBuf {
        self.0.join(DOOR)
    }

    /// Writes what the command sees: settings that name one resolver.
    pub(super) fn point_at(&self, resolver: IpAddr) -> io::Result<()> {
        self.write(RESOLV_CONF.file, &resolv_conf(resolver))?;
        match fs::read_to_string(NSSWITCH.target) {
            Ok(text) => self.write(NSSWITCH.file, &nsswitch(&text)),
            // Where there is none, nobody is sent past resolv.conf.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let file = self.0.join(name);
        fs::write(&file, text)?;
        fs::set_permissions(&file, Permissions::from_mode(READABLE))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn new_directory() -> io::Result<PathBuf> {
    let parent = std::env::temp_dir();
    let mut result = Err(io::ErrorKind::AlreadyExists.into());
    // The command's namespaces look for it from another directory.
    let parent = parent.canonicalize()?;
    for n in 0..NAMES_TRIED {
        let dir = parent.join(format!("namegate-exec-{}-{n}", std::process::id()));
        result = DirBuilder::new().mode(0o700).create(&dir).map(|()| dir);
        let is_taken = |error: &io::Error| error.kind() == io::ErrorKind::AlreadyExists;
        if !result.as_ref().is_err_and(is_taken) {
            break;
        }
    }
    result
}

/// One server, no search list: with two servers glibc moves on to the second, and musl asks both at once.
fn resolv_conf(resolver: IpAddr) -> String {
    format!(
        "# Written by namegate exec: this command asks one resolver, which judges by a policy.\n\
         nameserver {resolver}\noptions edns0 ndots:1 timeout:1 attempts:2\n"
    )
}

/// The machine's own, but for host names: those come from /etc/hosts and from resolv.conf, by no other road
/// (`resolve` asks systemd-resolved, `mdns` the neighbours).
fn nsswitch(machines: &str) -> String {
    let is_hosts = |line: &&str| {
        let database = line.split_once(':').map(|(database, _)| database.trim());
        database == Some("hosts")
    };
    let mut text: String = machines
        .lines()
        .filter(|line| !is_hosts(line))
        .flat_map(|line| [line, "\n"])
        .collect();
    text += "hosts: files dns\n";
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_resolver_and_no_search_list() {
        let text = resolv_conf(IpAddr::from([127, 0, 0, 153]));
        let lines: Vec<&str> = text.lines().filter(|it| !it.starts_with('#')).collect();
        let options = "options edns0 ndots:1 timeout:1 attempts:2";
        assert_eq!(lines, ["nameserver 127.0.0.153", options]);
    }

    #[test]
    fn host_names_take_no_other_road_and_users_keep_theirs() {
        let machines = "# hosts: x\npasswd: files sss\n hosts : files resolve [!UNAVAIL=return] dns\nhosts: mdns\n";
        assert_eq!(
            nsswitch(machines),
            "# hosts: x\npasswd: files sss\nhosts: files dns\n"
        );
        assert_eq!(nsswitch(""), "hosts: files dns\n");
    }

    #[test]
    fn it_is_the_owners_alone_and_is_gone_afterwards() {
        let room = Room::open().expect("a directory");
        let dir = room.dir().to_owned();
        let mode = fs::metadata(&dir).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        drop(room);
        assert!(!dir.exists());
    }
}
