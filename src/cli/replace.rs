//! A file replaced as a whole, or not at all; and what would change, for the eye.
//!
//! The new text comes in with the text that it was made from. A reader never
//! sees half of it, and what somebody else wrote meanwhile is not lost.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use super::printable;

/// Of a file that was not there: everybody may read it, as a policy is no secret to those in the box.
const MODE_NEW: u32 = 0o644;
/// Lines that are shown around a change.
const CONTEXT: usize = 3;

/// Why a file was not replaced.
#[derive(Debug)]
pub(super) enum Kept {
    /// It does not hold any more what the new text was made from.
    Changed,
    /// It cannot be done.
    Io(io::Error),
}

impl From<io::Error> for Kept {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Puts `text` in the place of `old`, or makes the file where `old` is none. Owner and permissions stay.
///
/// The new file is whole and on the disk before it has the name. A symlink stays one: what it leads to is replaced.
pub(super) fn replace(path: &Path, old: Option<&[u8]>, text: &str) -> Result<(), Kept> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let fresh = beside(&path);
    let written = write(&path, &fresh, text).and_then(|()| {
        if content(&path)?.as_deref() != old {
            return Err(Kept::Changed);
        }
        fs::rename(&fresh, &path)?;
        // The name is on the disk when the directory is.
        File::open(directory(&path))?.sync_all()?;
        Ok(())
    });
    if written.is_err() {
        drop(fs::remove_file(&fresh));
    }
    written
}

/// What a file holds; none if there is no such file.
pub(super) fn content(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(octets) => Ok(Some(octets)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(path: &Path, fresh: &Path, text: &str) -> Result<(), Kept> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(fresh)?;
    file.write_all(text.as_bytes())?;
    let (mode, owner) = match fs::metadata(path) {
        Ok(old) => (old.permissions().mode(), Some((old.uid(), old.gid()))),
        Err(_) => (MODE_NEW, None),
    };
    if let Some((user, group)) = owner {
        // Only root may give a file away; who is not owns it already, or comes to own it.
        drop(fchown(&file, Some(user), Some(group)));
    }
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()?;
    Ok(())
}

fn directory(path: &Path) -> &Path {
    let parent = path.parent().unwrap_or(Path::new("/"));
    if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    }
}

/// A name in the same directory that nobody else has.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.namegate-{}", std::process::id()))
}

/// What changes from one text to the other: one hunk in the unified form, as only one place ever changes.
pub(super) fn diff(name: &str, old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let before = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let rest = old.len().min(new.len()) - before;
    let behind = old.iter().rev().zip(new.iter().rev()).take(rest);
    let behind = behind.take_while(|(a, b)| a == b).count();
    let from = before.saturating_sub(CONTEXT);
    let (old_end, new_end) = (old.len() - behind, new.len() - behind);
    let after = behind.min(CONTEXT);
    let name = printable(name);
    let mut text = format!(
        "--- {name}\n+++ {name}\n@@ -{},{} +{},{} @@\n",
        from + 1,
        old_end + after - from,
        from + 1,
        new_end + after - from,
    );
    let mut lines = |mark: char, lines: &[&str]| {
        for line in lines {
            text += &format!("{mark}{}\n", printable(line));
        }
    };
    lines(' ', &old[from..before]);
    lines('-', &old[before..old_end]);
    lines('+', &new[before..new_end]);
    lines(' ', &old[old_end..old_end + after]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_with_its_mode_and_through_its_symlink() {
        let dir = tempfile::tempdir().expect("a directory");
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "old").expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("set");
        std::os::unix::fs::symlink("file", &link).expect("a link");
        replace(&link, Some(b"old"), "new").expect("replaced");
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&file).expect("text"), "new");
        let mode = fs::metadata(&file).expect("there").permissions().mode();
        assert_eq!(mode & 0o7777, 0o640);
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 2);
    }

    #[test]
    fn what_somebody_else_wrote_is_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("file");
        fs::write(&file, "theirs").expect("written");
        let kept = replace(&file, Some(b"old"), "new");
        assert!(matches!(kept, Err(Kept::Changed)));
        let kept = replace(&file, None, "new");
        assert!(matches!(kept, Err(Kept::Changed)));
        assert_eq!(fs::read_to_string(&file).expect("text"), "theirs");
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 1);
    }

    #[test]
    fn what_cannot_be_written_is_told_and_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let kept = replace(&dir.path().join("no/file"), None, "new");
        assert!(matches!(kept, Err(Kept::Io(_))));
        replace(&dir.path().join("file"), None, "new").expect("made");
    }

    #[test]
    fn a_change_is_shown_with_what_stands_around_it() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let new = old.replace("5\n", "5,\nx\n");
        assert_eq!(
            diff("f", old, &new),
            "--- f\n+++ f\n@@ -2,7 +2,8 @@\n 2\n 3\n 4\n-5\n+5,\n+x\n 6\n 7\n 8\n"
        );
        assert_eq!(diff("f", "", "a\n"), "--- f\n+++ f\n@@ -1,0 +1,1 @@\n+a\n");
    }
}
