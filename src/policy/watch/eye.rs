//! The io of the watcher: the way to the file, the watches along it, one look at it.
//!
//! [`Eye::look`] arms the watches, then reads, so that what it misses is an
//! event. [`hint`] says what an event means. Neither decides anything.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use sha2::{Digest, Sha256};

use super::pace::{Hint, Key, Span, Sum};
use super::{Health, Method};
use crate::policy::{Accepted, Diagnostics, Select, read};

/// A document may have 64 MiB (SPEC 2); the one octet more lets `read` see that it has more.
const OCTETS_MAX: u64 = 64 * 1024 * 1024 + 1;

/// As many symbolic links as Linux follows in one path.
const HOPS_MAX: usize = 40;

/// The file, and the watches on the way to it.
pub(super) struct Eye {
    file: PathBuf,
    select: Select,
    watcher: Option<RecommendedWatcher>,
    /// The directories that are watched, and which directory (device, inode) each was.
    armed: BTreeMap<PathBuf, (u64, u64)>,
    /// The fall to polling was told.
    warned: bool,
}

/// What one look found.
pub(super) struct Look {
    pub(super) found: Found,
    pub(super) span: Span,
    pub(super) way: Way,
    pub(super) health: Health,
}

/// What stands at the path.
pub(super) enum Found {
    /// A content whose verdict the caller knows.
    Known(Sum),
    /// A content, parsed.
    New(Document),
    Missing,
    Unreadable(io::Error),
}

/// A content and its verdict.
pub(super) struct Document {
    pub(super) sum: Sum,
    pub(super) octets: usize,
    pub(super) parsed: Result<Accepted, Diagnostics>,
}

/// The way from the root to the real file, or as far as it goes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Way {
    /// The directories that hold `entries`.
    pub(super) directories: BTreeSet<PathBuf>,
    /// Every symbolic link on the way, then the file or the first thing that is missing.
    pub(super) entries: BTreeSet<PathBuf>,
}

impl Eye {
    /// `watcher` is `None` where polling must do.
    pub(super) fn new(file: PathBuf, select: Select, watcher: Option<RecommendedWatcher>) -> Self {
        Self {
            file,
            select,
            watcher,
            armed: BTreeMap::new(),
            warned: false,
        }
    }

    /// Arms the watches and reads the file. A content that is among `known` is not parsed.
    pub(super) fn look(&mut self, known: &[Sum]) -> Look {
        let way = Way::find(&self.file);
        let method = self.arm(&way);
        let began = Instant::now();
        let content = content(&self.file);
        let ended = Instant::now();
        let blind = matches!(content, Ok((_, true)));
        Look {
            found: self.found(content.map(|(octets, _)| octets), known),
            span: Span { began, ended },
            way,
            health: Health { method, blind },
        }
    }

    fn found(&self, content: io::Result<Vec<u8>>, known: &[Sum]) -> Found {
        let source = match content {
            Ok(source) => source,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Missing,
            Err(error) => return Found::Unreadable(error),
        };
        let sum = digest(&source);
        if known.contains(&sum) {
            return Found::Known(sum);
        }
        Found::New(Document {
            sum,
            octets: source.len(),
            parsed: read(&self.file.display().to_string(), &source, &self.select),
        })
    }

    /// Watches the directories of `way`, and no others.
    fn arm(&mut self, way: &Way) -> Method {
        let Some(watcher) = &mut self.watcher else {
            return Method::Poll;
        };
        self.armed.retain(|directory, identity| {
            let stays =
                way.directories.contains(directory) && identify(directory) == Some(*identity);
            if !stays {
                // It fails for a directory that is gone, and that is well.
                let _ = watcher.unwatch(directory);
            }
            stays
        });
        let mut method = Method::Inotify;
        for directory in &way.directories {
            let Some(identity) = identify(directory) else {
                continue;
            };
            // Also where it is armed already: a watch can die without a word, and asking twice is harmless.
            if let Err(error) = watcher.watch(directory, RecursiveMode::NonRecursive) {
                method = Method::Poll;
                if !std::mem::replace(&mut self.warned, true) {
                    warn_of_polling(&error);
                }
                continue;
            }
            self.armed.insert(directory.clone(), identity);
        }
        method
    }
}

/// The operator learns once why a change takes a poll to be seen.
pub(super) fn warn_of_polling(error: &notify::Error) {
    tracing::warn!(%error, "the policy file cannot be watched; it is polled");
}

impl Found {
    /// What this is, as far as one can be told from another.
    pub(super) fn key(&self) -> Key {
        match self {
            Self::Known(sum) => Key::Content(*sum),
            Self::New(document) => Key::Content(document.sum),
            Self::Missing => Key::Missing,
            Self::Unreadable(error) => Key::Unreadable(error.kind()),
        }
    }
}

impl Way {
    /// Walks `file`, an absolute path, one component at a time.
    pub(super) fn find(file: &Path) -> Self {
        let mut way = Self::default();
        let mut hops = 0;
        let mut here = PathBuf::from("/");
        let mut ahead: VecDeque<OsString> = parts(file).collect();
        while let Some(part) = ahead.pop_front() {
            if part == ".." {
                here.pop();
                continue;
            }
            let step = here.join(part);
            let meta = fs::symlink_metadata(&step);
            let target = fs::read_link(&step).ok().filter(|_| hops < HOPS_MAX);
            if let Some(target) = target {
                hops += 1;
                way.add(&here, step);
                for part in parts(&target).rev() {
                    ahead.push_front(part);
                }
            } else if meta.is_ok_and(|it| it.is_dir()) && !ahead.is_empty() {
                here = step;
            } else {
                way.add(&here, step);
                break;
            }
        }
        way
    }

    fn add(&mut self, directory: &Path, entry: PathBuf) {
        self.directories.insert(directory.to_owned());
        self.entries.insert(entry);
    }

    fn holds(&self, path: &Path) -> bool {
        self.entries.contains(path) || self.directories.contains(path)
    }
}

/// What an event says about the content at the end of `way`.
///
/// Names and kinds are not trusted to say that nothing changed, only that a write is complete.
pub(super) fn hint(event: &Event, way: &Way) -> Hint {
    // The kernel lost events, and a half-done write may be among them.
    if event.need_rescan() {
        return Hint::Partial;
    }
    if !event.paths.iter().any(|path| way.holds(path)) {
        return Hint::Elsewhere;
    }
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Hint::Whole,
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Hint::Whole,
        // A symbolic link is made in one go; a file is made empty.
        EventKind::Create(_) if event.paths.iter().any(|path| path.is_symlink()) => Hint::Whole,
        // Mode, owner and times: the content is as it was, but may be readable now.
        EventKind::Modify(ModifyKind::Metadata(_)) => Hint::Elsewhere,
        EventKind::Any
        | EventKind::Access(_)
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => Hint::Partial,
    }
}

/// Is this worth waking for? Opening the file is what we do ourselves, and `Both` repeats `To`.
pub(super) fn matters(event: &Event) -> bool {
    match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        EventKind::Modify(ModifyKind::Name(mode)) => mode != RenameMode::Both,
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}

/// Opens a file for reading. A pipe would hold us for ever, and would say something else the second time.
///
/// # Errors
/// When it cannot be opened, or is no regular file.
pub fn open_file(file: &Path) -> io::Result<File> {
    if !fs::metadata(file)?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    File::open(file)
}

/// The octets, and whether the file was replaced where we cannot see it.
///
/// No link leads to such a file any more, and yet the path does: it is a mount of a single file,
/// and whoever replaced the file by renaming did so outside.
fn content(file: &Path) -> io::Result<(Vec<u8>, bool)> {
    let open = open_file(file)?;
    // A file that was replaced while we read has no link either; but then the path leads elsewhere.
    let blind = open.metadata()?.nlink() == 0 && fs::metadata(file)?.nlink() == 0;
    let mut octets = Vec::new();
    open.take(OCTETS_MAX).read_to_end(&mut octets)?;
    Ok((octets, blind))
}

fn identify(directory: &Path) -> Option<(u64, u64)> {
    let meta = fs::metadata(directory).ok()?;
    Some((meta.dev(), meta.ino()))
}

fn parts(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().map(|part| part.as_os_str().to_owned())
}

/// What tells one content from another.
pub(super) fn digest(content: &[u8]) -> Sum {
    Sha256::digest(content).into()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};

    use notify::event::{AccessKind, AccessMode, CreateKind, DataChange, Flag, MetadataKind};
    use notify::event::{ModifyKind, RemoveKind, RenameMode};
    use notify::{Event, EventKind, RecommendedWatcher, Watcher};

    use super::{Eye, Hint, Select, Way, hint, matters};

    const CLOSED: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));
    const OPENED: EventKind = EventKind::Access(AccessKind::Open(AccessMode::Any));
    const WRITTEN: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    const MADE: EventKind = EventKind::Create(CreateKind::File);
    const GONE: EventKind = EventKind::Remove(RemoveKind::Folder);
    const TOUCHED: EventKind = EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any));

    fn moved(mode: RenameMode) -> EventKind {
        EventKind::Modify(ModifyKind::Name(mode))
    }

    /// A directory whose own path has no symbolic link.
    fn place() -> (tempfile::TempDir, PathBuf) {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().canonicalize().expect("it exists");
        (place, path)
    }

    #[track_caller]
    fn check(base: &Path, file: &str, directories: &[&str], entries: &[&str]) {
        let way = Way::find(&base.join(file));
        let under = |names: &[&str]| names.iter().map(|name| base.join(name)).collect();
        let expected = Way {
            directories: under(directories),
            entries: under(entries),
        };
        assert_eq!(way, expected);
    }

    #[test]
    fn a_plain_file_has_one_directory() {
        let (_place, base) = place();
        fs::write(base.join("policy.json"), "x").expect("written");
        check(&base, "policy.json", &[""], &["policy.json"]);
    }

    #[test]
    fn every_hop_of_a_projected_volume_is_on_the_way() {
        let (_place, base) = place();
        fs::create_dir(base.join("..a")).expect("made");
        fs::write(base.join("..a/policy.json"), "x").expect("written");
        symlink("..a", base.join("..data")).expect("linked");
        symlink("..data/policy.json", base.join("policy.json")).expect("linked");
        let entries = ["policy.json", "..data", "..a/policy.json"];
        check(&base, "policy.json", &["", "..a"], &entries);
    }

    #[test]
    fn two_dots_lead_up_from_where_a_link_leads() {
        let (_place, base) = place();
        fs::create_dir_all(base.join("far/deep")).expect("made");
        symlink("far/deep", base.join("near")).expect("linked");
        check(
            &base,
            "near/../policy.json",
            &["", "far"],
            &["near", "far/policy.json"],
        );
    }

    #[test]
    fn what_is_missing_is_awaited_in_the_nearest_directory() {
        let (_place, base) = place();
        check(&base, "a/b/policy.json", &[""], &["a"]);
    }

    #[test]
    fn a_ring_of_links_has_an_end() {
        let (_place, base) = place();
        symlink("b", base.join("a")).expect("linked");
        symlink("a", base.join("b")).expect("linked");
        check(&base, "a", &[""], &["a", "b"]);
    }

    /// What an event about `name` says, where `policy.json` is a link to `real/file`.
    #[track_caller]
    fn check_hint(kind: EventKind, name: &str, expected: Hint) {
        let (_place, base) = place();
        fs::create_dir(base.join("real")).expect("made");
        symlink("real/file", base.join("policy.json")).expect("linked");
        let event = Event::new(kind).add_path(base.join(name));
        assert_eq!(
            hint(&event, &Way::find(&base.join("policy.json"))),
            expected
        );
    }

    #[test]
    fn a_write_of_the_file_is_complete_when_it_is_closed_or_moved_or_linked() {
        check_hint(CLOSED, "real/file", Hint::Whole);
        check_hint(moved(RenameMode::To), "real/file", Hint::Whole);
        check_hint(moved(RenameMode::To), "policy.json", Hint::Whole);
        check_hint(MADE, "policy.json", Hint::Whole);
    }

    #[test]
    fn more_may_come_after_any_other_change_on_the_way() {
        check_hint(WRITTEN, "real/file", Hint::Partial);
        check_hint(MADE, "real/file", Hint::Partial);
        check_hint(moved(RenameMode::From), "real/file", Hint::Partial);
        check_hint(GONE, "real", Hint::Partial);
    }

    #[test]
    fn a_neighbour_says_nothing_about_the_file_nor_does_its_mode() {
        check_hint(CLOSED, "real/neighbour", Hint::Elsewhere);
        check_hint(moved(RenameMode::To), "neighbour", Hint::Elsewhere);
        check_hint(TOUCHED, "real/file", Hint::Elsewhere);
    }

    #[test]
    fn lost_events_may_have_been_about_the_file() {
        let event = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert_eq!(hint(&event, &Way::default()), Hint::Partial);
    }

    #[test]
    fn our_own_opening_of_the_file_wakes_nobody() {
        assert!(!matters(&Event::new(OPENED)));
        assert!(!matters(&Event::new(moved(RenameMode::Both))));
        for kind in [
            CLOSED,
            WRITTEN,
            MADE,
            GONE,
            TOUCHED,
            moved(RenameMode::To),
            moved(RenameMode::From),
        ] {
            assert!(matters(&Event::new(kind)), "{kind:?}");
        }
    }

    #[test]
    fn a_directory_that_was_moved_away_is_no_longer_listened_to() {
        let (_place, base) = place();
        let (sender, events) = std::sync::mpsc::channel();
        let watcher = RecommendedWatcher::new(sender, notify::Config::default()).expect("events");
        let mut eye = Eye::new(base.join("etc/policy.json"), Select::Only, Some(watcher));
        fs::create_dir(base.join("etc")).expect("made");
        eye.look(&[]);
        fs::rename(base.join("etc"), base.join("old")).expect("renamed");
        fs::create_dir(base.join("etc")).expect("made");
        eye.look(&[]);
        fs::write(base.join("old/policy.json"), "x").expect("written");
        fs::write(base.join("etc/end"), "x").expect("written");
        let events = events.iter().map(|event| event.expect("an event").paths);
        let mut paths = events
            .flatten()
            .take_while(|path| *path != base.join("etc/end"));
        assert!(paths.all(|path| path != base.join("etc/policy.json")));
    }
}
