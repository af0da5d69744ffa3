//! The one who writes: a thread of its own that takes what the queue holds to
//! the trail, to those who watch, and to the query log.
//!
//! Finished queries and events come in through the [`Queue`]; nobody who
//! answers ever waits for what is done here. Requests to the writer are flags,
//! seen at its next turn.

use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};
use std::{io, thread};

use tokio::sync::broadcast;

use super::blocked::{Edition, Heading, Post, blocked_text};
use super::querylog::QueryLog;
use super::queue::{Event, Item, Queue, Record, Rest, Tray};
use super::reloads::Reloads;
use super::trail::{Decision, Refusal, Sighting, Trail};
use crate::answer::Ruling;
use crate::wire::Name;

/// The writer rests at least this long after each turn: under load the next batch is then
/// a large one, and those who answer find nobody to wake.
const LINGER: Duration = Duration::from_millis(5);
/// How long the end of the program waits for a slow sink.
const CLOSE_WAIT: Duration = Duration::from_secs(1);
/// How long a look waits for the writer, which a slow sink may hold up.
const CATCH_UP_WAIT: Duration = Duration::from_millis(500);
/// Decisions that wait for one who watches: what comes in during a few turns under load.
const WATCHED_MAX: usize = 4096;

/// What those who ask, those who look and the writer share.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) queue: Queue,
    trail: Mutex<Trail>,
    watchers: OnceLock<broadcast::Sender<Arc<Decision>>>,
    /// Does anybody watch?
    is_watched: AtomicBool,
    closing: AtomicBool,
    turns: Turns,
    /// What was asked to be posted, until the writer takes it.
    post: Mutex<Option<Post>>,
}

/// Which turns of the writer were asked for, and which are done.
#[derive(Default)]
struct Turns {
    asked: AtomicU64,
    done: Mutex<u64>,
    is_done: Condvar,
}

/// The near end of the writer.
pub(super) struct Handle {
    pub(super) ledger: Arc<Ledger>,
    /// Hangs up when the writer has ended.
    ended: Mutex<Receiver<()>>,
}

impl Handle {
    /// Starts the writer.
    pub(super) fn start(log: Option<QueryLog>, reloads: Arc<Reloads>) -> io::Result<Self> {
        let ledger = Arc::<Ledger>::default();
        let (alive, ended) = sync_channel(1);
        let writer = Writer {
            tray: Tray::default(),
            desk: Desk {
                ledger: Arc::clone(&ledger),
                log,
                reloads,
                post: None,
            },
            _alive: alive,
        };
        let thread = thread::Builder::new().name("writer".to_owned());
        let thread = thread.spawn(move || writer.run())?;
        ledger.queue.written_by(thread.thread().clone());
        Ok(Self {
            ledger,
            ended: Mutex::new(ended),
        })
    }

    /// Writes what came in so far and ends; gives up on a sink that takes too long.
    pub(super) fn close(&self) {
        self.ledger.closing.store(true, Release);
        self.ledger.queue.nudge();
        let ended = self.ended.lock().expect("nobody panics with it in hand");
        if ended.recv_timeout(CLOSE_WAIT) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the query log's sink is stuck; its last records are lost");
        }
    }
}

impl Drop for Handle {
    /// Whoever logs no more does not wait for the writer: it ends when it has written what is there.
    fn drop(&mut self) {
        self.ledger.closing.store(true, Release);
        self.ledger.queue.nudge();
    }
}

impl Ledger {
    /// Waits until what came in so far is in the trail, for as long as [`CATCH_UP_WAIT`].
    pub(super) fn catch_up(&self) {
        let ticket = self.turns.asked.fetch_add(1, AcqRel) + 1;
        self.queue.nudge();
        let done = self.turns.done.lock().expect("nobody panics with it");
        let waits = |done: &mut u64| *done < ticket;
        let waited = self
            .turns
            .is_done
            .wait_timeout_while(done, CATCH_UP_WAIT, waits);
        drop(waited.expect("nobody panics with it"));
    }

    pub(super) fn sightings(&self, wanted: impl Fn(&Sighting) -> bool) -> Vec<Sighting> {
        self.catch_up();
        let trail = self.trail.lock().expect("nobody panics with the trail");
        trail.sightings(wanted)
    }

    pub(super) fn sighting(&self, name: &Name) -> Option<Sighting> {
        self.catch_up();
        let trail = self.trail.lock().expect("nobody panics with the trail");
        trail.sighting(name)
    }

    pub(super) fn refused_to(&self, client: IpAddr, most: usize) -> Vec<Refusal> {
        self.catch_up();
        let trail = self.trail.lock().expect("nobody panics with the trail");
        trail.refused_to(client, most)
    }

    pub(super) fn watch(&self) -> broadcast::Receiver<Arc<Decision>> {
        let watchers = self
            .watchers
            .get_or_init(|| broadcast::channel(WATCHED_MAX).0);
        let receiver = watchers.subscribe();
        self.is_watched.store(true, Release);
        receiver
    }

    pub(super) fn post_blocked(&self, file: &Path, contact: &str) {
        *self.post.lock().expect("nobody panics with it") = Some(Post::new(file, contact));
        self.queue.nudge();
    }

    /// Does anybody watch?
    #[inline]
    pub(super) fn is_watched(&self) -> bool {
        self.is_watched.load(Relaxed)
    }

    /// Finds out whether somebody still watches; who begins to meanwhile is not overlooked.
    fn count_watchers(&self) {
        let Some(watchers) = self.watchers.get() else {
            return;
        };
        if watchers.receiver_count() == 0 {
            self.is_watched.store(false, Release);
            let came = watchers.receiver_count() > 0;
            self.is_watched.fetch_or(came, AcqRel);
        }
    }

    /// Is there a request that no turn has seen?
    fn is_asked(&self) -> bool {
        let done = *self.turns.done.lock().expect("nobody panics with it");
        let has_post = self.post.lock().expect("nobody panics with it").is_some();
        self.turns.asked.load(Acquire) > done || has_post || self.closing.load(Acquire)
    }

    fn turn_is_done(&self, ticket: u64) {
        *self.turns.done.lock().expect("nobody panics with it") = ticket;
        self.turns.is_done.notify_all();
    }
}

/// The far end, on a thread of its own.
struct Writer {
    tray: Tray,
    desk: Desk,
    _alive: SyncSender<()>,
}

/// Where everything goes that the queue hands out.
struct Desk {
    ledger: Arc<Ledger>,
    log: Option<QueryLog>,
    reloads: Arc<Reloads>,
    post: Option<Post>,
}

impl Writer {
    fn run(mut self) {
        let ledger = Arc::clone(&self.desk.ledger);
        while !ledger.closing.load(Acquire) {
            let has_done = self.turn();
            thread::park_timeout(LINGER);
            if !ledger.is_asked() {
                ledger.queue.rest(self.desk.rest(has_done));
            }
        }
        let Self { tray, desk, .. } = &mut self;
        ledger.queue.close(tray, |item| desk.take(item));
        desk.flush();
        desk.post(Instant::now());
        ledger.turn_is_done(u64::MAX);
    }

    /// Takes what waits to where it belongs. Returns whether there was anything.
    fn turn(&mut self) -> bool {
        let Self { tray, desk, .. } = self;
        let ledger = Arc::clone(&desk.ledger);
        let ticket = ledger.turns.asked.load(Acquire);
        ledger.count_watchers();
        // Asked before the queue is emptied: what the last query judged by it has put is in there.
        let spent = desk.reloads.spent();
        let has_done = ledger.queue.drain(tray, |item| desk.take(item));
        desk.flush();
        if let Some(generation) = spent {
            desk.reloads.forget(generation);
        }
        desk.post(Instant::now());
        ledger.turn_is_done(ticket);
        has_done
    }
}

impl Desk {
    fn take(&mut self, item: Item) {
        match item {
            Item::Query(record) => self.take_query(&record),
            Item::Other(Event::Line(line)) => {
                if let Some(log) = &mut self.log {
                    log.event(&line);
                }
            }
            Item::Other(Event::Reopen) => {
                if let Some(log) = &mut self.log {
                    log.reopen();
                }
            }
        }
    }

    fn take_query(&mut self, record: &Record) {
        let trail = self.ledger.trail.lock();
        trail.expect("nobody panics with the trail").note(record);
        if self.ledger.is_watched() {
            self.show(record);
        }
        if let Some(log) = &mut self.log {
            log.query(record, &self.reloads);
        }
    }

    /// Tells those who watch.
    fn show(&self, record: &Record) {
        let (Some(name), Some(watchers)) = (record.name, self.ledger.watchers.get()) else {
            return;
        };
        let generation = self.reloads.generation(record.generation);
        let decision = Decision {
            at: record.at,
            name,
            kind: record.kind,
            transport: record.transport,
            client: record.client,
            outcome: record.outcome,
            matched: generation
                .zip(record.rule)
                .and_then(|(it, rule)| it.pattern(rule)),
            generation: record.generation,
            took: record.took,
            ttl_s: record.ttl_s,
        };
        // Nobody watches any more: none is wronged.
        let _ = watchers.send(Arc::new(decision));
    }

    fn flush(&mut self) {
        if let Some(log) = &mut self.log {
            log.flush();
        }
    }

    /// Writes what was blocked lately to where the box can read it, when that is due.
    fn post(&mut self, now: Instant) {
        let asked = self.ledger.post.lock().expect("nobody panics").take();
        if asked.is_some() {
            self.post = asked;
        }
        let edition = self.edition();
        let Some(post) = self.post.as_mut().filter(|it| it.is_due(edition, now)) else {
            return;
        };
        let live = self.reloads.live();
        let heading = Heading {
            policy: live.as_ref().map_or("", |it| it.live.name.as_str()),
            generation: edition.generation,
            contact: &post.contact,
            at: SystemTime::now(),
        };
        let trail = self.ledger.trail.lock().expect("nobody panics");
        let blocked = trail.sightings(|it| it.ruling == Ruling::Blocked);
        drop(trail);
        let text = blocked_text(&heading, &blocked);
        post.write(edition, &text, now);
    }

    fn edition(&self) -> Edition {
        let trail = self.ledger.trail.lock().expect("nobody panics");
        Edition {
            blocked: trail.blocked(),
            generation: self.reloads.number(),
        }
    }

    /// How to rest after a turn.
    fn rest(&self, has_done: bool) -> Rest {
        let edition = self.edition();
        let has_more = self.reloads.remembers_before()
            || self.post.as_ref().is_some_and(|it| it.is_stale(edition));
        if has_done || has_more {
            Rest::Doze
        } else {
            Rest::Sleep
        }
    }
}
