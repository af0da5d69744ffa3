//! The policy file: what kind of file it is, who may write it, and whether the running resolver serves what it says.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Facts as All;
use super::finding::Finding;
use super::status::Daemon;
use crate::config::Config;
use crate::daemon::{select_of, sha256_of};
use crate::policy;

/// The permission that lets anybody write, and the bit that lets only owners rename.
const OTHERS_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;
/// File systems whose changes come from elsewhere, without an event here.
const REMOTE: [&str; 12] = [
    "nfs",
    "nfs4",
    "fuse",
    "fuseblk",
    "9p",
    "virtiofs",
    "cifs",
    "smb3",
    "ceph",
    "glusterfs",
    "afs",
    "vboxsf",
];

/// The file as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub content: Content,
    /// Where its path leads, links followed.
    pub real: Option<PathBuf>,
    /// Names that lead to the file itself; 0: it was replaced where this cannot be seen.
    pub links: u64,
    pub mount: Option<Mount>,
    /// What anybody on this machine may write: the file, or a directory above it.
    pub open_to_all: Vec<PathBuf>,
    pub modified: Option<SystemTime>,
}

/// What can be read of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Missing,
    Unreadable(String),
    /// A policy; the digest of its octets.
    Good(String),
    /// No policy: how many errors, in words.
    Refused {
        sha256: String,
        summary: String,
    },
}

/// The mount that a file lies on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mount {
    pub point: PathBuf,
    pub kind: String,
}

impl Facts {
    pub(super) fn sha256(&self) -> Option<&str> {
        match &self.content {
            Content::Good(sha256) | Content::Refused { sha256, .. } => Some(sha256),
            Content::Missing | Content::Unreadable(_) => None,
        }
    }
}

/// Looks at the file and at the way to it.
pub(super) fn gather(config: &Config) -> Facts {
    let file = &config.policy.file;
    let real = fs::canonicalize(file).ok();
    let meta = fs::metadata(file).ok();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.clone());
    let paths: Vec<&Path> = real
        .iter()
        .chain([&absolute])
        .map(PathBuf::as_path)
        .collect();
    Facts {
        content: content(config),
        mount: real.as_deref().and_then(|it| mount_of(&mounts, it)),
        links: meta.as_ref().map_or(1, MetadataExt::nlink),
        open_to_all: open_to_all(&paths),
        modified: meta.and_then(|it| it.modified().ok()),
        real,
    }
}

fn content(config: &Config) -> Content {
    let file = &config.policy.file;
    let source = match fs::read(file) {
        Ok(source) => source,
        Err(error) if error.kind() == ErrorKind::NotFound => return Content::Missing,
        Err(error) => return Content::Unreadable(error.to_string()),
    };
    let sha256 = sha256_of(&source);
    match policy::read(&file.display().to_string(), &source, &select_of(config)) {
        Ok(_) => Content::Good(sha256),
        Err(diagnostics) => Content::Refused {
            sha256,
            summary: diagnostics.summary(),
        },
    }
}

/// The files and directories of these paths that anybody may write, so that anybody may put another policy there.
fn open_to_all(paths: &[&Path]) -> Vec<PathBuf> {
    let mut open: Vec<PathBuf> = Vec::new();
    for path in paths.iter().flat_map(|it| it.ancestors()) {
        let mode = fs::metadata(path).map_or(0, |it| it.permissions().mode());
        let is_open = mode & OTHERS_WRITE != 0 && mode & STICKY == 0;
        if is_open && !open.iter().any(|it| it == path) {
            open.push(path.to_owned());
        }
    }
    open
}

/// The mount that holds `path`, from the lines of /proc/self/mountinfo; the last of equals lies on top.
fn mount_of(mountinfo: &str, path: &Path) -> Option<Mount> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        Some(Mount {
            point: unescaped(before.split(' ').nth(4)?).into(),
            kind: after.split(' ').next()?.to_owned(),
        })
    });
    let holding = mounts.filter(|it| path.starts_with(&it.point));
    holding.max_by_key(|it| it.point.components().count())
}

/// Blanks and backslashes stand there as three octal digits.
fn unescaped(text: &str) -> String {
    let octal = [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ];
    octal
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

pub(super) fn judge(facts: &All) -> Vec<Finding> {
    if facts.is_elsewhere() {
        let text = "namegate runs on another machine: its policy is not visible from here";
        return vec![Finding::info("policy.elsewhere", text)];
    }
    let file = facts.config.policy.file.display().to_string();
    let mut found = vec![of_content(facts, &file)];
    if facts.policy.content == Content::Missing {
        return found;
    }
    found.extend(of_writers(&facts.policy, &file));
    found.extend(of_kind(facts, &file));
    found
}

fn of_content(facts: &All, file: &str) -> Finding {
    match &facts.policy.content {
        Content::Missing => Finding::fail(
            "policy.missing",
            format!(
                "there is no policy at {file}{}",
                still_serving(&facts.daemon)
            ),
        )
        .fix(format!(
            "namegate policy new --name NAME --allow LIST > {file}"
        )),
        Content::Unreadable(error) => Finding::info(
            "policy.unreadable",
            format!(
                "{file} cannot be read by this user: {error}; what it says is not visible without root"
            ),
        ),
        Content::Refused { summary, .. } => Finding::fail(
            "policy.refused",
            format!(
                "the policy is refused, {summary}{}",
                still_serving(&facts.daemon)
            ),
        )
        .fix(format!("namegate check --policy {file}")),
        Content::Good(sha256) => of_served(&facts.daemon, sha256, file),
    }
}

fn still_serving(daemon: &Daemon) -> String {
    match daemon.status() {
        Some(status) => format!(": generation {} stays in force", status.generation),
        None => String::new(),
    }
}

fn of_served(daemon: &Daemon, sha256: &str, file: &str) -> Finding {
    match daemon {
        Daemon::Runs(status) if status.sha256 == sha256 => Finding::ok(
            "policy.served",
            format!(
                "the running resolver serves what {file} says: generation {}, sha256 {}",
                status.generation,
                short(sha256)
            ),
        ),
        Daemon::Runs(status) => {
            let (live, refused) = (short(&status.sha256), !status.took_last);
            let why = if refused {
                ", and it refused the last one it read"
            } else {
                ""
            };
            Finding::fail(
                "policy.differs",
                format!(
                    "the running resolver serves another content (sha256 {live}) than {file} (sha256 {}){why}",
                    short(sha256)
                ),
            )
            .fix(format!("namegate check --policy {file}; see that the resolver was started with this file"))
        }
        Daemon::Silent(address) => Finding::info(
            "policy.unknown",
            format!("which content is served is not visible: no status page at {address}"),
        ),
        Daemon::Off => Finding::info(
            "policy.unknown",
            "which content is served is not visible: metrics.listen is off",
        ),
    }
}

fn short(sha256: &str) -> &str {
    sha256.get(..8).unwrap_or("none")
}

fn of_writers(policy: &Facts, file: &str) -> Vec<Finding> {
    let is_file =
        |it: &&PathBuf| policy.real.as_ref() == Some(*it) || it.display().to_string() == file;
    let (files, directories): (Vec<_>, Vec<_>) = policy.open_to_all.iter().partition(is_file);
    let of_file = files.first().map(|it| {
        let text = format!("anybody on this machine may write {}", it.display());
        Finding::fail("policy.writable", text).fix(format!("chmod o-w {}", it.display()))
    });
    let of_directory = directories.first().map(|it| {
        let text = format!(
            "anybody on this machine may put another file in place of {file}: {} is writable for all",
            it.display()
        );
        Finding::fail("policy.directory_writable", text).fix(format!("chmod o-w {}", it.display()))
    });
    of_file.into_iter().chain(of_directory).collect()
}

fn of_kind(facts: &All, file: &str) -> Vec<Finding> {
    let policy = &facts.policy;
    let mut found = Vec::new();
    let is_own_mount = |it: &Mount| Some(&it.point) == policy.real.as_ref();
    let fix = "mount the directory, not the file";
    if policy.links == 0 {
        let text = format!(
            "{file} is a single-file bind mount and was replaced outside: what is read here is the old one, for ever (links=0)"
        );
        found.push(Finding::fail("policy.replaced", text).fix(fix));
    } else if policy.mount.as_ref().is_some_and(is_own_mount) {
        let text = format!(
            "{file} is a single-file bind mount: replaced outside, it will never be seen here"
        );
        found.push(Finding::warn("policy.bind_mount", text).fix(fix));
    }
    let kind = policy.mount.as_ref().map_or("", |it| it.kind.as_str());
    if REMOTE.contains(&kind.split('.').next().unwrap_or_default()) {
        let every = facts.config.policy.poll_every;
        let text = format!(
            "{file} lies on {kind}, where changes may come without an event: they are seen within {every:?}"
        );
        found.push(Finding::info("policy.remote", text));
    }
    let absolute = std::path::absolute(file).ok();
    if let Some(real) = policy
        .real
        .as_ref()
        .filter(|it| Some(*it) != absolute.as_ref())
    {
        let text = format!(
            "{file} leads over a symbolic link to {}; every hop is watched",
            real.display()
        );
        found.push(Finding::info("policy.link", text));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::tests::{check, healthy};

    #[track_caller]
    fn with(change: impl FnOnce(&mut Facts), expected: &[&str]) {
        let mut facts = healthy();
        change(&mut facts.policy);
        check(judge, &facts, expected);
    }

    const SERVED: &str = "ok policy.served";

    #[test]
    fn a_file_that_is_served_is_well() {
        with(|_| {}, &[SERVED]);
    }

    #[test]
    fn what_is_not_served_is_told() {
        with(
            |it| it.content = Content::Good("other".to_owned()),
            &["fail policy.differs"],
        );
        with(|it| it.content = Content::Missing, &["fail policy.missing"]);
        with(
            |it| it.content = Content::Unreadable("no".to_owned()),
            &["info policy.unreadable"],
        );
        let refused = Content::Refused {
            sha256: "x".to_owned(),
            summary: "2 errors".to_owned(),
        };
        with(|it| it.content = refused, &["fail policy.refused"]);
        for daemon in [Daemon::Off, Daemon::Silent(([127, 0, 0, 1], 1).into())] {
            let mut facts = healthy();
            facts.daemon = daemon;
            check(judge, &facts, &["info policy.unknown"]);
        }
    }

    #[test]
    fn a_policy_that_anybody_writes_is_nobodys() {
        let file = || PathBuf::from("/etc/namegate/policy.json");
        with(
            |it| it.open_to_all = vec![file()],
            &[SERVED, "fail policy.writable"],
        );
        let both = vec![file(), PathBuf::from("/etc/namegate")];
        let expected = [
            SERVED,
            "fail policy.writable",
            "fail policy.directory_writable",
        ];
        with(|it| it.open_to_all = both, &expected);
    }

    #[test]
    fn a_mount_of_the_file_alone_goes_blind() {
        let mount = || {
            Some(Mount {
                point: "/etc/namegate/policy.json".into(),
                kind: "ext4".to_owned(),
            })
        };
        with(|it| it.mount = mount(), &[SERVED, "warn policy.bind_mount"]);
        let replaced = |it: &mut Facts| (it.mount, it.links) = (mount(), 0);
        with(replaced, &[SERVED, "fail policy.replaced"]);
    }

    #[test]
    fn file_systems_without_events_and_links_are_told() {
        let kind = |kind: &str| {
            Some(Mount {
                point: "/".into(),
                kind: kind.to_owned(),
            })
        };
        for remote in ["nfs4", "fuse.sshfs", "9p"] {
            with(
                |it| it.mount = kind(remote),
                &[SERVED, "info policy.remote"],
            );
        }
        let far = |it: &mut Facts| it.real = Some("/etc/namegate/..data/policy.json".into());
        with(far, &[SERVED, "info policy.link"]);
    }

    #[test]
    fn the_deepest_and_last_mount_counts() {
        let mountinfo = "1 0 8:1 / / rw - ext4 /dev/a rw\n\
                         2 1 8:1 /x /a\\040b/p.json rw shared:1 - ext4 /dev/a rw\n\
                         3 1 0:5 / /a\\040b/p.json rw - tmpfs none rw\n\
                         4 1 0:6 / /a\\040b/p.json.d rw - nfs4 host:/x rw\n";
        let at = |path: &str| mount_of(mountinfo, Path::new(path)).expect("a root");
        assert_eq!(at("/etc/x").kind, "ext4");
        assert_eq!(at("/a b/p.json").kind, "tmpfs");
        assert_eq!(at("/a b/p.json.d/f").kind, "nfs4");
    }

    #[test]
    fn what_anybody_may_write_is_found_on_the_way() {
        let dir = tempfile::tempdir().expect("a directory");
        let (inner, file) = (dir.path().join("d"), dir.path().join("d/p.json"));
        fs::create_dir(&inner).expect("a directory");
        fs::write(&file, "x").expect("a file");
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
        };
        assert_eq!(open_to_all(&[&file]), Vec::<PathBuf>::new());
        mode(&file, 0o666);
        mode(&inner, 0o777);
        assert_eq!(open_to_all(&[&file, &file]), [file.clone(), inner.clone()]);
        // Where only owners may rename, a directory like /tmp is well.
        mode(&inner, 0o1777);
        assert_eq!(open_to_all(&[&file]), [file]);
    }
}
