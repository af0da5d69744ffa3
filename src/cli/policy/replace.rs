//! A file replaced whole: written beside itself, made durable, and renamed into place.
//!
//! Whoever reads the file sees the old content or the new one, never half of either. Mode and owner stay.
//! A file that was changed by somebody else since it was read is left alone; between the last look at it and
//! the rename there remains a moment that nothing guards.

use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use super::super::exit;

/// Only the writer reads a file that is not finished.
const UNFINISHED_MODE: u32 = 0o600;
/// Of a file that was not there: a policy is no secret to those who live by it.
const NEW_MODE: u32 = 0o644;
/// The bits of a mode that chmod(2) takes.
const MODE_BITS: u32 = 0o7777;

/// A file as it was read.
pub(in crate::cli) struct Original {
    /// Without symbolic links: the rename replaces the file, not a link to it.
    path: PathBuf,
    pub(in crate::cli) content: Vec<u8>,
    metadata: fs::Metadata,
}

/// Why a file is not replaced.
#[derive(Debug)]
pub(in crate::cli) enum Refusal {
    /// It is a device, a pipe or the like.
    NotAFile,
    /// Somebody else changed it.
    Changed,
    /// It is a mount by itself.
    Mount,
    /// What is written would belong to somebody else.
    Owner(io::Error),
    /// The directory takes no file, or the system refuses something else.
    Io(io::Error),
}

impl Original {
    pub(in crate::cli) fn read(path: &Path) -> io::Result<Self> {
        let path = fs::canonicalize(path)?;
        Ok(Self {
            content: fs::read(&path)?,
            metadata: fs::metadata(&path)?,
            path,
        })
    }

    /// Puts another content in its place.
    pub(in crate::cli) fn replace(&self, content: &[u8]) -> Result<(), Refusal> {
        if !self.metadata.is_file() {
            return Err(Refusal::NotAFile);
        }
        let fresh = beside(&self.path);
        let replaced = self
            .write(&fresh, content)
            .and_then(|()| self.is_unchanged())
            .and_then(|()| fs::rename(&fresh, &self.path).map_err(not_renamed))
            .and_then(|()| sync_directory(&self.path).map_err(Refusal::Io));
        if replaced.is_err() {
            drop(fs::remove_file(&fresh));
        }
        replaced
    }

    fn write(&self, fresh: &Path, content: &[u8]) -> Result<(), Refusal> {
        write(fresh, content, |file| self.give(file))
    }

    /// Owner first: a change of owner may take bits from the mode.
    fn give(&self, file: &File) -> Result<(), Refusal> {
        let (uid, gid) = (self.metadata.uid(), self.metadata.gid());
        let ours = file.metadata().map_err(Refusal::Io)?;
        if (ours.uid(), ours.gid()) != (uid, gid) {
            fchown(file, Some(uid), Some(gid)).map_err(Refusal::Owner)?;
        }
        let mode = Permissions::from_mode(self.metadata.mode() & MODE_BITS);
        file.set_permissions(mode).map_err(Refusal::Io)
    }

    fn is_unchanged(&self) -> Result<(), Refusal> {
        let now = fs::metadata(&self.path).map_err(|_| Refusal::Changed)?;
        let is_same = (now.dev(), now.ino()) == (self.metadata.dev(), self.metadata.ino());
        let content = fs::read(&self.path).map_err(|_| Refusal::Changed)?;
        match is_same && content == self.content {
            true => Ok(()),
            false => Err(Refusal::Changed),
        }
    }
}

/// Makes a file that is not there, whole or not at all. One that came to be there meanwhile is left alone.
pub(in crate::cli) fn create(path: &Path, content: &[u8]) -> Result<(), Refusal> {
    let fresh = beside(path);
    let open_to_all = |file: &File| {
        let mode = Permissions::from_mode(NEW_MODE);
        file.set_permissions(mode).map_err(Refusal::Io)
    };
    // A link is refused where there is a file; a rename would replace it.
    let made = write(&fresh, content, open_to_all)
        .and_then(|()| fs::hard_link(&fresh, path).map_err(not_linked));
    drop(fs::remove_file(&fresh));
    made?;
    sync_directory(path).map_err(Refusal::Io)
}

/// In the same directory, so that the rename stays within one file system.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.namegate-{}", std::process::id()))
}

/// Writes a file and makes it durable; `give` says whose it is before it is read.
fn write(
    fresh: &Path,
    content: &[u8],
    give: impl Fn(&File) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(UNFINISHED_MODE);
    let mut file = options.open(fresh).map_err(Refusal::Io)?;
    file.write_all(content).map_err(Refusal::Io)?;
    give(&file)?;
    file.sync_all().map_err(Refusal::Io)
}

fn not_linked(error: io::Error) -> Refusal {
    match error.kind() == io::ErrorKind::AlreadyExists {
        true => Refusal::Changed,
        false => Refusal::Io(error),
    }
}

fn not_renamed(error: io::Error) -> Refusal {
    match error.kind() == io::ErrorKind::ResourceBusy {
        true => Refusal::Mount,
        false => Refusal::Io(error),
    }
}

/// The name is durable once its directory is.
fn sync_directory(file: &Path) -> io::Result<()> {
    let parent = file.parent().unwrap_or(Path::new("/"));
    let is_here = parent.as_os_str().is_empty();
    let directory = if is_here { Path::new(".") } else { parent };
    File::open(directory)?.sync_all()
}

impl Refusal {
    pub(in crate::cli) fn exit_code(&self) -> u8 {
        match self {
            Self::Owner(_) => exit::FORBIDDEN,
            Self::Io(error) if is_forbidden(error) => exit::FORBIDDEN,
            Self::NotAFile | Self::Changed | Self::Mount | Self::Io(_) => exit::SYSTEM,
        }
    }
}

fn is_forbidden(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem)
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAFile => f.write_str("it is not a regular file"),
            Self::Changed => f.write_str("somebody else has changed it meanwhile\n  help: try again"),
            Self::Mount => f.write_str(
                "the file is a mount by itself and cannot be renamed over\n  \
                 help: change it where it is mounted from, and mount its directory instead of the file",
            ),
            Self::Owner(error) => write!(
                f,
                "what is written would not belong to the file's owner: {error}\n  help: do this as its owner"
            ),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with a file in it.
    fn room() -> (tempfile::TempDir, PathBuf) {
        let room = tempfile::tempdir().expect("a directory");
        let file = room.path().join("policy.json");
        fs::write(&file, "old").expect("written");
        (room, file)
    }

    /// The names in a directory, sorted.
    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("a directory").flatten();
        let mut names: Vec<String> = entries
            .map(|it| it.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_mode_stays_and_nothing_else_is_left() {
        let (room, file) = room();
        fs::set_permissions(&file, Permissions::from_mode(0o604)).expect("ours");
        let original = Original::read(&file).expect("read");
        original.replace(b"new").expect("replaced");
        assert_eq!(fs::read(&file).expect("read"), b"new");
        let mode = fs::metadata(&file).expect("there").mode();
        assert_eq!(mode & MODE_BITS, 0o604);
        assert_eq!(names(room.path()), ["policy.json"]);
    }

    #[test]
    fn a_new_file_is_made_and_another_ones_is_left_alone() {
        let (room, file) = room();
        let refused = create(&file, b"new");
        assert!(matches!(refused, Err(Refusal::Changed)));
        assert_eq!(fs::read(&file).expect("read"), b"old");
        let fresh = room.path().join("fresh.json");
        create(&fresh, b"new").expect("made");
        assert_eq!(fs::read(&fresh).expect("read"), b"new");
        let mode = fs::metadata(&fresh).expect("there").mode();
        assert_eq!(mode & MODE_BITS, NEW_MODE);
        let nowhere = create(&room.path().join("no/file"), b"");
        assert!(matches!(nowhere, Err(Refusal::Io(_))));
        assert_eq!(names(room.path()), ["fresh.json", "policy.json"]);
    }

    #[test]
    fn a_link_leads_to_the_new_content() {
        let (room, file) = room();
        let link = room.path().join("link");
        std::os::unix::fs::symlink("policy.json", &link).expect("linked");
        Original::read(&link)
            .expect("read")
            .replace(b"new")
            .expect("replaced");
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        assert_eq!(fs::read(&file).expect("read"), b"new");
    }

    #[test]
    fn what_somebody_else_wrote_is_left_alone() {
        let (room, file) = room();
        let original = Original::read(&file).expect("read");
        fs::write(&file, "another").expect("written");
        let refused = original.replace(b"new");
        assert!(matches!(refused, Err(Refusal::Changed)));
        assert_eq!(fs::read(&file).expect("read"), b"another");
        assert_eq!(names(room.path()), ["policy.json"]);
    }

    #[test]
    fn a_file_of_the_same_content_put_in_its_place_is_a_change() {
        let (room, file) = room();
        let original = Original::read(&file).expect("read");
        let other = room.path().join("other");
        fs::write(&other, "old").expect("written");
        fs::rename(&other, &file).expect("renamed");
        assert!(matches!(original.replace(b"new"), Err(Refusal::Changed)));
    }

    /// What is known of a device beside the path of a file of ours: no test lays hands on a real device.
    #[test]
    fn a_device_is_not_replaced() {
        let (_room, file) = room();
        let device = Original {
            metadata: fs::metadata("/dev/null").expect("there"),
            ..Original::read(&file).expect("read")
        };
        assert!(matches!(device.replace(b"new"), Err(Refusal::NotAFile)));
        assert_eq!(fs::read(&file).expect("read"), b"old");
    }
}
