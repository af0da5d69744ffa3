//! The names that were blocked lately as plain text, for people and programs in the box.
//!
//! [`blocked_text`] is the text, for the file and for whoever prints the same;
//! a [`Post`] keeps the file. The text says that this is on purpose and whom to
//! ask; it never says how a policy is made wider.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::trail::Sighting;
use crate::answer::{Reason, Ruling};

/// Names in the text: more than these nobody reads.
const LINES_MAX: usize = 100;
/// Columns that names are set in; longer ones stand out.
const NAME_COLUMNS_MAX: usize = 60;
/// The file is written at most this often.
const EVERY: Duration = Duration::from_secs(1);
/// Everyone in the box may read it, and nobody but us write.
const FILE_MODE: u32 = 0o644;

/// What stands above the names.
#[derive(Clone, Copy, Debug)]
pub struct Heading<'a> {
    /// The policy's name.
    pub policy: &'a str,
    /// Its number; 0: there is none yet.
    pub generation: u64,
    /// Whom to ask; empty: nobody was named.
    pub contact: &'a str,
    /// When this is said.
    pub at: SystemTime,
}

/// The blocked names among `sightings`, in their order, one a line; those that a search list made in one line at the end.
pub fn blocked_text(heading: &Heading<'_>, sightings: &[Sighting]) -> String {
    let is_noise = |it: &Sighting| it.reason == Reason::SearchSuffix;
    told(heading, sightings, LINES_MAX, is_noise)
}

/// Every blocked name among `sightings`, one a line.
pub(super) fn blocked_text_whole(heading: &Heading<'_>, sightings: &[Sighting]) -> String {
    told(heading, sightings, usize::MAX, |_| false)
}

fn told(
    heading: &Heading<'_>,
    sightings: &[Sighting],
    lines_max: usize,
    is_noise: impl Fn(&Sighting) -> bool,
) -> String {
    let blocked = || sightings.iter().filter(|it| it.ruling == Ruling::Blocked);
    let named: Vec<&Sighting> = blocked().filter(|it| !is_noise(it)).collect();
    let noise: Vec<&Sighting> = blocked().filter(|it| is_noise(it)).collect();
    let mut text = head(heading);
    if named.is_empty() {
        text += "(nothing was blocked lately)\n";
    }
    let names: Vec<String> = named.iter().take(lines_max).map(|it| asked(it)).collect();
    let kinds: Vec<String> = named.iter().take(lines_max).map(|it| kinds(it)).collect();
    let width = |texts: &[String]| texts.iter().map(String::len).max().unwrap_or(0);
    let clocks: Vec<String> = named
        .iter()
        .take(lines_max)
        .map(|it| time_of_day(heading.at, it.last))
        .collect();
    let columns = [
        width(&clocks),
        width(&names).min(NAME_COLUMNS_MAX),
        width(&kinds),
    ];
    for (i, seen) in named.iter().take(lines_max).enumerate() {
        text += &line(seen, [&clocks[i], &names[i], &kinds[i]], columns);
    }
    if named.len() > lines_max {
        let more = named.len() - lines_max;
        text += &format!("(and {more} names that were asked for before these)\n");
    }
    if let Some(last) = noise.first() {
        text += &noise_line(heading.at, last, &noise);
    }
    text
}

fn head(heading: &Heading<'_>) -> String {
    let plain = |text: &str| text.replace(char::is_control, "?");
    let policy = match heading.generation {
        0 => "the network policy, of which there is no valid one yet,".to_owned(),
        generation => format!(
            "the network policy '{}' (generation {generation})",
            plain(heading.policy)
        ),
    };
    let ask = match heading.contact {
        "" => "whoever keeps that policy".to_owned(),
        contact => plain(contact),
    };
    let at = humantime::format_rfc3339_seconds(heading.at);
    format!(
        "# Names that {policy} blocked lately, newest first, as of {at}.\n\
         # This is deliberate, and no fault of the network. Retrying will not help, nor will another resolver, a proxy or\n\
         # a VPN. If one of these names is needed, ask {ask} to allow it.\n\n"
    )
}

fn line(seen: &Sighting, cells: [&str; 3], columns: [usize; 3]) -> String {
    let ([at, name, kinds], [wide, wider, narrow]) = (cells, columns);
    let (count, reason) = (format!("x{}", seen.blocked), seen.reason);
    format!("{at:<wide$}  {name:<wider$}  {kinds:<narrow$}  {count:<5}  {reason}\n")
}

/// The name as it was asked for, and the one it counts for.
fn asked(seen: &Sighting) -> String {
    match &seen.asked_as {
        Some(owner) => format!("{owner} -> {}", seen.name),
        None => seen.name.to_string(),
    }
}

fn kinds(seen: &Sighting) -> String {
    let kinds: Vec<String> = seen.kinds.iter().map(ToString::to_string).collect();
    kinds.join(" ")
}

fn noise_line(now: SystemTime, last: &Sighting, noise: &[&Sighting]) -> String {
    let lookups: u64 = noise.iter().map(|it| it.blocked).sum();
    let things = if lookups == 1 { "lookup" } else { "lookups" };
    format!(
        "{}  {}  ({lookups} {things} with a search list's ending behind the name, as this one: {})\n",
        time_of_day(now, last.last),
        last.name,
        Reason::SearchSuffix
    )
}

/// The time of day, UTC; before today, the day too.
pub fn time_of_day(now: SystemTime, at: SystemTime) -> String {
    let text = |at| humantime::format_rfc3339_seconds(at).to_string();
    let (now, at) = (text(now), text(at));
    let time = &at[11..19];
    match now[..10] == at[..10] {
        true => time.to_owned(),
        false => format!("{} {time}", &at[..10]),
    }
}

/// What the file is to say is known elsewhere; here is when it was said last.
pub(super) struct Post {
    file: PathBuf,
    pub(super) contact: String,
    written: Option<Written>,
    has_failed: bool,
}

/// A state of the file.
struct Written {
    at: Instant,
    of: Edition,
}

/// What the text depends on: the same edition, the same text but for its date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edition {
    /// Lookups that were blocked so far.
    pub(super) blocked: u64,
    /// The policy.
    pub(super) generation: u64,
}

impl Post {
    pub(super) fn new(file: &Path, contact: &str) -> Self {
        Self {
            file: file.to_owned(),
            contact: contact.to_owned(),
            written: None,
            has_failed: false,
        }
    }

    /// Does the file say something else?
    pub(super) fn is_stale(&self, edition: Edition) -> bool {
        self.written.as_ref().is_none_or(|it| it.of != edition)
    }

    /// Does it, and is it time to write?
    pub(super) fn is_due(&self, edition: Edition, now: Instant) -> bool {
        let is_early = |it: &Written| now.saturating_duration_since(it.at) < EVERY;
        self.is_stale(edition) && !self.written.as_ref().is_some_and(is_early)
    }

    /// Puts the text in the place of the old one.
    pub(super) fn write(&mut self, edition: Edition, text: &str, now: Instant) {
        let of = edition;
        self.written = Some(Written { at: now, of });
        let result = replace(&self.file, text);
        if let (Err(error), false) = (&result, self.has_failed) {
            let file = self.file.display();
            // That is how it is where nothing makes a directory for us.
            if error.kind() == io::ErrorKind::NotFound {
                tracing::info!(%file, "blocked names are not written: there is no such directory");
            } else {
                tracing::warn!(%file, %error, "blocked names cannot be written");
            }
        }
        self.has_failed = result.is_err();
    }
}

/// Writes beside the file and renames, so that nobody reads half of it.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let mut fresh = file.as_os_str().to_owned();
    fresh.push(".new");
    // What lies there is of a run that was cut short, or a trap: it is not written through.
    drop(fs::remove_file(&fresh));
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&fresh)?;
    out.set_permissions(Permissions::from_mode(FILE_MODE))?;
    out.write_all(text.as_bytes())?;
    fs::rename(&fresh, file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Name, Type};

    /// 2026-11-22 14:05:32 UTC
    const NOW_S: u64 = 1_795_356_332;

    fn at(before_s: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(NOW_S - before_s)
    }

    fn seen(name: &str, reason: Reason, blocked: u64, before_s: u64) -> Sighting {
        let name: Name = name.parse().expect(name);
        Sighting {
            name,
            asked_as: None,
            ruling: reason.ruling(),
            reason,
            kinds: vec![Type::A, Type::AAAA],
            count: blocked,
            blocked,
            would_block: 0,
            first: at(before_s),
            last: at(before_s),
            generation: 42,
            client: [127, 0, 0, 1].into(),
        }
    }

    fn heading(contact: &str) -> Heading<'_> {
        Heading {
            policy: "ci-default",
            generation: 42,
            contact,
            at: at(0),
        }
    }

    #[test]
    fn the_text_tells_what_was_blocked_and_whom_to_ask() {
        let srv = Sighting {
            asked_as: Some("_http._tcp.deb.debian.org".parse().expect("a name")),
            kinds: vec![Type::SRV],
            ..seen("deb.debian.org", Reason::NotListed, 4, 30)
        };
        let noise = |name, before_s| seen(name, Reason::SearchSuffix, 3, before_s);
        let sightings = [
            seen("registry.npmjs.org", Reason::NotListed, 24, 1),
            seen("github.com", Reason::Exact, 7, 2),
            srv,
            noise("api.github.com.svc.cluster.local", 112),
            noise("api.github.com.cluster.local", 113),
            seen("a\\000b.example", Reason::BadLabel, 1, 86_400),
        ];
        assert_eq!(
            blocked_text(&heading("#platform-net"), &sightings),
            "# Names that the network policy 'ci-default' (generation 42) blocked lately, newest first, as of 2026-11-22T14:05:32Z.\n\
             # This is deliberate, and no fault of the network. Retrying will not help, nor will another resolver, a proxy or\n\
             # a VPN. If one of these names is needed, ask #platform-net to allow it.\n\
             \n\
             14:05:31             registry.npmjs.org                           A AAAA  x24    not_listed\n\
             14:05:02             _http._tcp.deb.debian.org -> deb.debian.org  SRV     x4     not_listed\n\
             2026-11-21 14:05:32  a\\000b.example                               A AAAA  x1     bad_label\n\
             14:03:40  api.github.com.svc.cluster.local  (6 lookups with a search list's ending behind the name, as this one: search_suffix)\n"
        );
    }

    #[test]
    fn it_is_bounded_and_says_what_it_leaves_out() {
        let many: Vec<Sighting> = (0..LINES_MAX as u64 + 2)
            .map(|i| seen(&format!("n{i}.example"), Reason::NotListed, 1, i))
            .collect();
        let text = blocked_text(&heading(""), &many);
        assert!(text.contains("ask whoever keeps that policy to allow it."));
        assert!(text.ends_with("(and 2 names that were asked for before these)\n"));
        assert!(text.contains("n99.example") && !text.contains("n100.example"));
    }

    #[test]
    fn nothing_in_it_widens_a_policy_or_breaks_a_terminal() {
        let heading = Heading {
            policy: "ci\u{1b}[31m\n",
            generation: 0,
            ..heading("a\tb")
        };
        let evil = [seen("a\\027\\010.example", Reason::NotListed, 1, 0)];
        for text in [
            blocked_text(&heading, &evil),
            blocked_text(&heading, &[]),
            blocked_text(
                &Heading {
                    generation: 1,
                    ..heading
                },
                &evil,
            ),
        ] {
            let is_plain = |c: char| c == '\n' || !c.is_control();
            assert!(text.chars().all(is_plain), "{text:?}");
            for word in ["namegate ", "--allow", "policy add", "allowed_hostnames"] {
                assert!(!text.contains(word), "{text}");
            }
        }
    }

    #[test]
    fn the_file_is_written_when_it_would_say_something_else_and_once_a_second() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("blocked");
        let (mut post, start) = (Post::new(&file, ""), Instant::now());
        let edition = |blocked| Edition {
            blocked,
            generation: 1,
        };
        assert!(post.is_due(edition(0), start));
        post.write(edition(0), "none\n", start);
        assert!(!post.is_due(edition(0), start + EVERY));
        assert!(!post.is_due(edition(1), start + EVERY / 2));
        assert!(post.is_stale(edition(1)));
        assert!(post.is_due(edition(1), start + EVERY));
        post.write(edition(1), "one\n", start + EVERY);
        assert_eq!(fs::read_to_string(&file).expect("the file"), "one\n");
        let mode = fs::metadata(&file).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, FILE_MODE);
        let files = fs::read_dir(dir.path()).expect("the directory");
        assert_eq!(files.count(), 1, "nothing is left beside it");
    }

    #[test]
    fn what_lies_where_it_writes_is_not_written_through() {
        let dir = tempfile::tempdir().expect("a directory");
        let (file, other) = (dir.path().join("blocked"), dir.path().join("other"));
        fs::write(&other, "precious").expect("written");
        std::os::unix::fs::symlink(&other, dir.path().join("blocked.new")).expect("linked");
        replace(&file, "text\n").expect("replaced");
        assert_eq!(fs::read_to_string(&file).expect("the file"), "text\n");
        assert_eq!(fs::read_to_string(&other).expect("the other"), "precious");
    }
}
