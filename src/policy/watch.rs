//! The file on disk as a stream of parsed policies.
//!
//! A path comes in; [`Watch::next`] gives one [`Sight`] for each thing worth telling: a new policy,
//! a bad one, a file that is gone. The same content is never told twice, and nothing is repaired or
//! put in force here. A [`Poke`] asks for a look now and is always answered.
//!
//! # When a content is believed
//!
//! A file can be read while it is being written, and half a policy must not become the law. So what
//! is read counts at once only after word that a write of this very file is over (it was closed after
//! writing, moved into place, a symbolic link now leads to it, or the operator poked), and only if it
//! parses and no event says that it changed during the reading. Any other news (a write that was not closed, a poll that
//! finds other octets) counts when two reads at least `settle` apart found the same octets and no
//! event came for as long. What does not parse is read again after 100, 300 and 900 ms before it is
//! called rejected, and so is a file that is missing or unreadable. An event begins the look anew;
//! after one second of events, reads alone decide, so nobody can put off a judgement by writing on.
//! What remains: two writers in place at the same moment can show us a mixture. Whoever writes
//! to a new file and renames it is safe from all of this.
//!
//! Events are hints that something changed. A hash of the content, every `poll_every`, is the
//! proof that nothing did: file systems without events, watches that died, and limits of the kernel
//! cost time and never a change.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use notify::{Event, RecommendedWatcher, Watcher};
use tokio::sync::{Notify, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::sleep_until;

use super::{Accepted, Diagnostics, Select};

mod eye;
mod pace;

pub use eye::open_file;
use eye::{Document, Eye, Found, Look, Way};
use pace::{Hint, Pace, Step};

/// So many events can wait. More than that are news of the same change, or of none.
const EVENTS_MAX: usize = 1024;

/// What to watch, and how patiently.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The policy file; a relative path is taken from the directory we are in at `open`.
    pub file: PathBuf,
    /// Which policy of a list response is meant.
    pub select: Select,
    /// How often the content is hashed, whatever events say.
    pub poll_every: Duration,
    /// How long a content must stand where no event says that its write is complete.
    pub settle: Duration,
}

/// One thing worth telling.
#[derive(Debug)]
pub enum Sight {
    /// A policy other than the one before.
    Applied {
        /// The policy.
        accepted: Accepted,
        /// The digest of the file.
        sha256: [u8; 32],
        /// The length of the file.
        octets: usize,
        /// When the first event or poll saw the change.
        noticed: Instant,
    },
    /// A content that is no policy; told once, whatever the number of polls.
    Rejected {
        /// Why.
        diagnostics: Diagnostics,
        /// The digest of the file.
        sha256: [u8; 32],
    },
    /// The file holds what was applied last: the answer to a poke, or the end of another state.
    Unchanged,
    /// There is no file.
    Missing,
    /// There is a file, but it cannot be read.
    Unreadable(io::Error),
    /// The watch itself became better or worse.
    Health(Health),
}

/// How well the file can be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// How changes come to our notice.
    pub method: Method,
    /// The file was replaced where we cannot see it, under a mount of this single file. What we read is the old one, for ever.
    pub blind: bool,
}

/// How changes come to our notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// By an event, at once; and by polling.
    Inotify,
    /// By polling only, for want of events in at least one directory on the way.
    Poll,
}

/// The digest under which a content is known: SHA-256.
pub fn digest(content: &[u8]) -> [u8; 32] {
    eye::digest(content)
}

/// Asks a [`Watch`] to look again now, and to report even if nothing changed.
#[derive(Clone, Debug, Default)]
pub struct Poke {
    notify: Arc<Notify>,
    count: Arc<AtomicU64>,
}

impl Poke {
    /// Asks. Returns the number of this poke, for [`Watch::answered`]; pokes that come before the look share its answer.
    pub fn poke(&self) -> u64 {
        let number = self.count.fetch_add(1, Ordering::AcqRel) + 1;
        self.notify.notify_one();
        number
    }
}

/// The watch on one file.
pub struct Watch {
    eye: Arc<Mutex<Eye>>,
    events: mpsc::Receiver<Event>,
    /// There were more events than could wait.
    lost: Arc<AtomicBool>,
    poke: Poke,
    /// The last poke that a look has begun after, and the last that a sight has answered.
    heard: u64,
    answered: u64,
    pace: Pace,
    way: Way,
    health: Health,
    /// The digest of the policy that was applied last.
    applied: Option<[u8; 32]>,
    /// What was read last, unless it was applied.
    candidate: Option<Document>,
    untold: VecDeque<Sight>,
}

impl Watch {
    /// Watches by events where there are any, and by polling.
    pub fn open(settings: Settings) -> (Self, Poke) {
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let lost = Arc::new(AtomicBool::new(false));
        let watcher = listen(sender, Arc::clone(&lost))
            .inspect_err(eye::warn_of_polling)
            .ok();
        Self::new(settings, watcher, events, lost)
    }

    /// Watches by polling only, as `open` does where the kernel has no events left for us.
    pub fn polling(settings: Settings) -> (Self, Poke) {
        let (_, events) = mpsc::channel(1);
        Self::new(settings, None, events, Arc::default())
    }

    fn new(
        settings: Settings,
        watcher: Option<RecommendedWatcher>,
        events: mpsc::Receiver<Event>,
        lost: Arc<AtomicBool>,
    ) -> (Self, Poke) {
        let file = std::path::absolute(&settings.file).unwrap_or(settings.file);
        let method = if watcher.is_some() {
            Method::Inotify
        } else {
            Method::Poll
        };
        let poke = Poke::default();
        let watch = Self {
            eye: Arc::new(Mutex::new(Eye::new(file, settings.select, watcher))),
            events,
            lost,
            poke: poke.clone(),
            heard: 0,
            answered: 0,
            pace: Pace::new(settings.settle, settings.poll_every, Instant::now()),
            way: Way::default(),
            health: Health {
                method,
                blind: false,
            },
            applied: None,
            candidate: None,
            untold: VecDeque::new(),
        };
        (watch, poke)
    }

    /// The first read, at start: one look, believed as it is. It blocks until the file is parsed.
    pub fn load(&mut self) -> Sight {
        let look = lock(&self.eye).look(&[]);
        self.way = look.way;
        self.health = look.health;
        self.pace.rest(look.span);
        self.pace.tell(look.found.key());
        self.sight(look.found, look.span.began)
    }

    /// How well the file can be watched, as of the last look.
    pub fn health(&self) -> Health {
        self.health
    }

    /// The last poke that the sights so far have answered.
    pub fn answered(&self) -> u64 {
        self.answered
    }

    /// The next thing worth telling. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Sight {
        loop {
            if let Some(sight) = self.untold.pop_front() {
                return sight;
            }
            tokio::select! {
                Some(event) = self.events.recv() => self.hear(&event),
                () = self.poke.notify.notified() => self.hear_poke(),
                () = sleep_until(self.pace.due().into()) => self.look().await,
            }
        }
    }

    /// One look, off the async threads, and what follows from it.
    async fn look(&mut self) {
        self.hear_all();
        if Instant::now() < self.pace.due() {
            return;
        }
        self.pace.look();
        let eye = Arc::clone(&self.eye);
        let known = self.known();
        let look = spawn_blocking(move || lock(&eye).look(&known))
            .await
            .expect("a look neither panics nor is cancelled while somebody awaits it");
        self.judge(look);
    }

    /// The contents whose verdict we have.
    fn known(&self) -> Vec<[u8; 32]> {
        let candidate = self.candidate.as_ref().map(|it| it.sum);
        self.applied.into_iter().chain(candidate).collect()
    }

    /// Takes what a look found.
    fn judge(&mut self, look: Look) {
        self.way = look.way;
        // What was heard during the look may contradict it.
        self.hear_all();
        let good = self.is_good(&look.found);
        let noticed = self.pace.noticed().unwrap_or(look.span.began);
        if self.pace.saw(look.found.key(), good, look.span) == Step::Tell {
            self.answered = self.heard;
            let sight = self.sight(look.found, noticed);
            self.untold.push_back(sight);
        } else if let Found::New(document) = look.found {
            self.candidate = Some(document);
        }
        if self.health != look.health {
            self.health = look.health;
            self.untold.push_back(Sight::Health(look.health));
        }
    }

    fn is_good(&self, found: &Found) -> bool {
        match found {
            Found::Known(sum) if self.applied == Some(*sum) => true,
            Found::Known(_) => self.candidate.as_ref().is_some_and(|it| it.parsed.is_ok()),
            Found::New(document) => document.parsed.is_ok(),
            Found::Missing | Found::Unreadable(_) => false,
        }
    }

    /// Puts what was found into words.
    fn sight(&mut self, found: Found, noticed: Instant) -> Sight {
        match found {
            Found::Known(sum) if self.applied == Some(sum) => Sight::Unchanged,
            Found::Known(_) => {
                let document = self.candidate.take();
                self.verdict(
                    document.expect("what is known and not applied is the candidate"),
                    noticed,
                )
            }
            Found::New(document) => self.verdict(document, noticed),
            Found::Missing => Sight::Missing,
            Found::Unreadable(error) => Sight::Unreadable(error),
        }
    }

    fn verdict(&mut self, document: Document, noticed: Instant) -> Sight {
        let Document {
            sum,
            octets,
            parsed,
        } = document;
        match parsed {
            Ok(accepted) => {
                self.applied = Some(sum);
                self.candidate = None;
                Sight::Applied {
                    accepted,
                    sha256: sum,
                    octets,
                    noticed,
                }
            }
            Err(diagnostics) => {
                let sight = Sight::Rejected {
                    diagnostics: diagnostics.clone(),
                    sha256: sum,
                };
                // Kept, so that the polls to come need not parse it again.
                self.candidate = Some(Document {
                    sum,
                    octets,
                    parsed: Err(diagnostics),
                });
                sight
            }
        }
    }

    fn hear_poke(&mut self) {
        self.heard = self.poke.count.load(Ordering::Acquire);
        self.pace.poke(Instant::now());
    }

    fn hear(&mut self, event: &Event) {
        self.pace.hear(eye::hint(event, &self.way), Instant::now());
    }

    fn hear_all(&mut self) {
        for _ in 0..EVENTS_MAX {
            let Ok(event) = self.events.try_recv() else {
                break;
            };
            self.hear(&event);
        }
        if self.lost.swap(false, Ordering::Relaxed) {
            self.pace.hear(Hint::Partial, Instant::now());
        }
    }
}

/// The kernel's events, from a thread of their own into a channel that may overflow and then says so.
fn listen(
    sender: mpsc::Sender<Event>,
    lost: Arc<AtomicBool>,
) -> notify::Result<RecommendedWatcher> {
    let handler = move |event: notify::Result<Event>| {
        // An error is a watch that failed, and means that events may be lost.
        let full = match event {
            Ok(event) if !eye::matters(&event) => return,
            Ok(event) => sender.try_send(event).is_err(),
            Err(_) => true,
        };
        if full {
            lost.store(true, Ordering::Relaxed);
        }
    };
    RecommendedWatcher::new(handler, notify::Config::default())
}

/// A look that panicked left nothing half-done that the next one would not do again.
fn lock(eye: &Mutex<Eye>) -> MutexGuard<'_, Eye> {
    eye.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use notify::EventKind;
    use notify::event::{AccessKind, AccessMode};

    use super::*;

    /// A watch that has loaded an empty file; its events come from the sender.
    fn watch() -> (tempfile::TempDir, Watch, mpsc::Sender<Event>) {
        let place = tempfile::tempdir().expect("a directory");
        let settings = Settings {
            file: place
                .path()
                .canonicalize()
                .expect("it exists")
                .join("policy.json"),
            select: Select::Only,
            poll_every: Duration::from_secs(3600),
            settle: Duration::ZERO,
        };
        fs::write(&settings.file, "").expect("written");
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let (mut watch, _) = Watch::new(settings, None, events, Arc::default());
        assert!(matches!(watch.load(), Sight::Rejected { .. }));
        (place, watch, sender)
    }

    /// A look as `look` does it, with something happening before it is judged.
    fn look(watch: &mut Watch, meanwhile: impl FnOnce(&mut Watch)) {
        watch.pace.poke(Instant::now());
        watch.pace.look();
        let look = lock(&watch.eye).look(&watch.known());
        meanwhile(watch);
        watch.judge(look);
    }

    #[test]
    fn a_look_is_void_after_an_event_that_came_meanwhile() {
        let (place, mut watch, sender) = watch();
        let closed = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let file = place
            .path()
            .canonicalize()
            .expect("it exists")
            .join("policy.json");
        look(&mut watch, |_| {
            sender
                .try_send(Event::new(closed).add_path(file))
                .expect("room");
        });
        assert!(watch.untold.is_empty());
        look(&mut watch, |_| ());
        assert_eq!(watch.untold.len(), 1);
    }

    #[test]
    fn a_look_is_void_after_events_that_were_lost_meanwhile() {
        let (_place, mut watch, _sender) = watch();
        look(&mut watch, |watch| {
            watch.lost.store(true, Ordering::Relaxed);
        });
        assert!(watch.untold.is_empty());
    }

    #[test]
    fn what_was_parsed_once_is_not_parsed_again() {
        let (place, mut watch, _sender) = watch();
        let found = |watch: &Watch| lock(&watch.eye).look(&watch.known()).found;
        assert!(
            matches!(found(&watch), Found::Known(_)),
            "what was rejected"
        );
        fs::write(place.path().join("policy.json"), "{").expect("written");
        look(&mut watch, |_| ());
        assert!(watch.untold.is_empty(), "not believed yet");
        assert!(matches!(found(&watch), Found::Known(_)), "what is in doubt");
    }
}
