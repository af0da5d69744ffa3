//! From those who answer to the one who writes: finished queries and events.
//!
//! [`Queue::put`] stands on the road of every query and neither waits nor
//! allocates: each thread has a batch of its own, whose lock only the writer
//! takes beside it, for as long as it takes to lay an empty batch in its place.
//! What finds no room is the caller's to count. [`Queue::drain`] hands out what
//! waits, in the order in which it happened.

use std::net::SocketAddr;
use std::num::NonZeroU8;
use std::sync::atomic::{
    AtomicU8, AtomicU64,
    Ordering::{AcqRel, Relaxed, Release},
};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant, SystemTime};

use super::metrics::{SHARDS, home_shard};
use super::{Done, Transport};
use crate::answer::{Outcome, Ruling};
use crate::matcher::Rule;
use crate::wire::{Name, Type};

/// Entries of one thread that wait: what it answers in a linger of the writer, 5 ms, at 400,000 queries a second.
/// The memory is the system's until it is written to.
const ENTRIES_MAX: usize = 2048;
/// What nobody waits for leaves this room to what somebody does: so many at once of what was blocked, and of the rest.
const ALLOWANCE_MAX: u32 = 768;
/// And so many a second of each: a box that starts its work finds room for all of it, and a flood costs next to nothing.
const ALLOWANCE_A_SECOND: u32 = 5000;
/// Octets of their names; a usual one has 20.
const NAME_OCTETS_MAX: usize = ENTRIES_MAX * 64;
/// A dozing writer looks this often for what nobody waits for.
const DOZE: Duration = Duration::from_millis(200);

/// What is known of one query.
pub(super) struct Record {
    pub(super) at: SystemTime,
    pub(super) name: Option<Name>,
    pub(super) kind: Type,
    pub(super) transport: Transport,
    pub(super) client: SocketAddr,
    pub(super) outcome: Outcome,
    pub(super) rule: Option<Rule>,
    pub(super) generation: u64,
    pub(super) took: Duration,
    pub(super) ttl_s: Option<u32>,
}

/// What the queue hands out.
#[expect(
    clippy::large_enum_variant,
    reason = "it is handed on, and stored nowhere"
)]
pub(super) enum Item {
    Query(Record),
    Other(Event),
}

/// What the queue holds beside queries.
pub(super) enum Event {
    /// One line of JSON, without its end.
    Line(String),
    /// The log's file is to be opened anew.
    Reopen,
}

/// What an entry is worth to those who read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worth {
    /// Somebody waits for it: it wakes a dozing writer.
    Wanted,
    /// It can wait for the writer's next look.
    Idle,
}

/// How the writer rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Not at all.
    Awake,
    /// Until something is wanted, a batch is half full, or [`DOZE`] is over.
    Doze,
    /// Until there is anything at all.
    Sleep,
}

/// The near end and the far end; shared.
pub(super) struct Queue {
    shards: Box<[Shard]>,
    /// The writer's [`Rest`].
    rest: AtomicU8,
    writer: OnceLock<Thread>,
    /// Finished queries that found no room.
    lost: AtomicU64,
}

/// A batch on lines of memory of its own.
#[repr(align(128))]
struct Shard(Mutex<Batch>);

/// What one thread has put since the writer looked last.
struct Batch {
    entries: Vec<Entry>,
    /// The wire forms of the entries' names.
    names: Vec<u8>,
    is_wanted: bool,
    allowance: Allowance,
    /// Finished queries that found no room.
    lost: u64,
}

/// What may still be put for which nobody waits.
#[derive(Clone, Copy)]
struct Allowance {
    blocked: u32,
    rest: u32,
}

enum Entry {
    Query(Slim),
    Other(Instant, Event),
}

/// A finished query, its name elsewhere.
struct Slim {
    began: Instant,
    took: Duration,
    client: SocketAddr,
    outcome: Outcome,
    rule: Option<Rule>,
    generation: u64,
    ttl_s: Option<u32>,
    /// Where the name begins.
    name_at: u32,
    name_octets: Option<NonZeroU8>,
    kind: Type,
    transport: Transport,
}

/// What the writer needs for [`Queue::drain`], kept from one time to the next.
pub(super) struct Tray {
    /// Empty; it takes the place of the next full one.
    spare: Batch,
    all: Batch,
    /// Until when allowances were made.
    allowed_at: Instant,
}

impl Default for Queue {
    fn default() -> Self {
        let shard = |_| Shard(Mutex::new(Batch::with_room()));
        Self {
            shards: (0..SHARDS).map(shard).collect(),
            rest: AtomicU8::new(Rest::Awake as u8),
            writer: OnceLock::new(),
            lost: AtomicU64::new(0),
        }
    }
}

impl Queue {
    /// Puts a finished query. False: there was no room, which is counted.
    #[inline]
    pub(super) fn put(&self, done: &Done<'_>, worth: Worth) -> bool {
        let home = home_shard();
        // The writer holds one lock at a time: beside it there is another, and one more where that one's thread puts.
        for slot in [home, home ^ 1, home ^ 2] {
            if let Ok(mut batch) = self.shards[slot].0.try_lock() {
                let has_put = batch.put(done, worth);
                let wakes = self.wakes(&batch);
                drop(batch);
                if wakes {
                    self.wake();
                }
                return has_put;
            }
        }
        self.lost.fetch_add(1, Relaxed);
        false
    }

    /// Finished queries that found no room.
    pub(super) fn lost(&self) -> u64 {
        let waiting: u64 = (0..SHARDS).map(|slot| self.shard(slot).lost).sum();
        self.lost.load(Relaxed) + waiting
    }

    /// Puts an event, for which somebody always waits. False: there was no room; there is some for a reopening always.
    pub(super) fn put_event(&self, event: Event) -> bool {
        let mut batch = self.shard(home_shard());
        let has_room = match event {
            Event::Line(_) => batch.has_room(0),
            Event::Reopen => true,
        };
        if has_room {
            batch.entries.push(Entry::Other(Instant::now(), event));
            batch.is_wanted = true;
        }
        drop(batch);
        self.nudge();
        has_room
    }

    /// Says whom to wake.
    pub(super) fn written_by(&self, writer: Thread) {
        drop(self.writer.set(writer));
    }

    /// Has the writer look now.
    pub(super) fn nudge(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    /// Rests until there is something to do. To be called by the writer alone.
    pub(super) fn rest(&self, how: Rest) {
        // Whoever puts something looks at this with the lock of his batch in hand, and so do we at his
        // batch: either we see what he put, or he sees that we rest.
        self.rest.store(how as u8, Release);
        if !(0..SHARDS).any(|slot| how.ends_for(&self.shard(slot))) {
            match how {
                Rest::Awake => {}
                Rest::Doze => thread::park_timeout(DOZE),
                Rest::Sleep => thread::park(),
            }
        }
        self.rest.store(Rest::Awake as u8, Release);
    }

    /// Hands out what waits. Returns whether there was anything.
    pub(super) fn drain(&self, tray: &mut Tray, mut take: impl FnMut(Item)) -> bool {
        let more = tray.allowance(Instant::now());
        for slot in 0..SHARDS {
            let mut batch = self.shard(slot);
            batch.allowance.grow(more);
            self.lost
                .fetch_add(std::mem::take(&mut batch.lost), Relaxed);
            if !batch.entries.is_empty() {
                tray.spare.allowance = batch.allowance;
                std::mem::swap(&mut *batch, &mut tray.spare);
                drop(batch);
                tray.gather();
            }
        }
        tray.hand_out(&mut take)
    }

    /// Hands out what waits, and leaves room for nothing more.
    pub(super) fn close(&self, tray: &mut Tray, mut take: impl FnMut(Item)) {
        for slot in 0..SHARDS {
            let last = std::mem::replace(&mut *self.shard(slot), Batch::closed());
            self.lost.fetch_add(last.lost, Relaxed);
            tray.spare = last;
            tray.gather();
        }
        tray.hand_out(&mut take);
    }

    #[inline]
    fn wakes(&self, batch: &Batch) -> bool {
        let rest = self.rest.load(Relaxed);
        rest == Rest::Sleep as u8 || rest == Rest::Doze as u8 && Rest::Doze.ends_for(batch)
    }

    #[cold]
    fn wake(&self) {
        if self.rest.swap(Rest::Awake as u8, AcqRel) != Rest::Awake as u8 {
            self.nudge();
        }
    }

    fn shard(&self, slot: usize) -> MutexGuard<'_, Batch> {
        let batch = self.shards[slot].0.lock();
        batch.expect("nobody panics with a batch in hand")
    }
}

impl Rest {
    fn ends_for(self, batch: &Batch) -> bool {
        match self {
            Self::Awake => true,
            Self::Doze => batch.is_wanted || batch.entries.len() >= ALLOWANCE_MAX as usize / 2,
            Self::Sleep => !batch.entries.is_empty(),
        }
    }
}

impl Batch {
    fn with_room() -> Self {
        Self {
            entries: Vec::with_capacity(ENTRIES_MAX),
            names: Vec::with_capacity(NAME_OCTETS_MAX),
            is_wanted: false,
            allowance: Allowance::FULL,
            lost: 0,
        }
    }

    /// Nothing finds room in it.
    fn closed() -> Self {
        Self {
            entries: Vec::new(),
            names: Vec::new(),
            is_wanted: false,
            allowance: Allowance::FULL,
            lost: 0,
        }
    }

    #[inline]
    fn has_room(&self, name_octets: usize) -> bool {
        self.entries.len() < ENTRIES_MAX.min(self.entries.capacity())
            && self.names.len() + name_octets <= self.names.capacity()
    }

    #[inline]
    fn put(&mut self, done: &Done<'_>, worth: Worth) -> bool {
        let name = done.name.map_or(&[][..], Name::octets);
        let is_allowed = worth == Worth::Wanted || self.allowance.take(done.outcome.ruling());
        if !is_allowed || !self.has_room(name.len()) {
            self.lost += 1;
            return false;
        }
        self.entries.push(Entry::Query(Slim {
            began: done.began,
            took: done.took,
            client: done.client,
            outcome: done.outcome,
            rule: done.rule,
            generation: done.generation,
            ttl_s: done.ttl_s,
            name_at: u32::try_from(self.names.len()).expect("the names are bounded"),
            name_octets: u8::try_from(name.len()).ok().and_then(NonZeroU8::new),
            kind: done.kind,
            transport: done.transport,
        }));
        self.names.extend_from_slice(name);
        self.is_wanted |= worth == Worth::Wanted;
        true
    }
}

impl Allowance {
    const FULL: Self = Self {
        blocked: ALLOWANCE_MAX,
        rest: ALLOWANCE_MAX,
    };

    /// Uses a part of it; false: there is none left.
    #[inline]
    fn take(&mut self, ruling: Ruling) -> bool {
        let left = match ruling {
            Ruling::Blocked | Ruling::WouldBlock => &mut self.blocked,
            Ruling::Allowed | Ruling::Error | Ruling::Refused => &mut self.rest,
        };
        let is_allowed = *left > 0;
        *left = left.saturating_sub(1);
        is_allowed
    }

    fn grow(&mut self, more: u32) {
        self.blocked = self.blocked.saturating_add(more).min(ALLOWANCE_MAX);
        self.rest = self.rest.saturating_add(more).min(ALLOWANCE_MAX);
    }
}

impl Entry {
    fn at(&self) -> Instant {
        match self {
            Self::Query(slim) => slim.began + slim.took,
            Self::Other(at, _) => *at,
        }
    }
}

impl Default for Tray {
    fn default() -> Self {
        Self {
            spare: Batch::with_room(),
            all: Batch::closed(),
            allowed_at: Instant::now(),
        }
    }
}

impl Tray {
    /// What may be put more of each since the last time.
    fn allowance(&mut self, now: Instant) -> u32 {
        let past = now.saturating_duration_since(self.allowed_at);
        let more = past.as_millis() * u128::from(ALLOWANCE_A_SECOND) / 1000;
        // Less than one is left to grow.
        if more > 0 {
            self.allowed_at = now;
        }
        u32::try_from(more).unwrap_or(ALLOWANCE_MAX)
    }

    /// Puts what is in `spare` with the rest, and leaves it empty.
    fn gather(&mut self) {
        let Self { spare, all, .. } = self;
        let base = u32::try_from(all.names.len()).expect("all batches are bounded");
        all.names.append(&mut spare.names);
        let moved = spare.entries.drain(..).map(|mut entry| {
            if let Entry::Query(slim) = &mut entry {
                slim.name_at += base;
            }
            entry
        });
        all.entries.extend(moved);
        spare.is_wanted = false;
    }

    /// Hands out everything. Returns whether there was anything.
    fn hand_out(&mut self, take: &mut impl FnMut(Item)) -> bool {
        let Batch { entries, names, .. } = &mut self.all;
        // Each thread's entries are in order already, and stay so where moments are the same.
        entries.sort_by_key(Entry::at);
        let has_any = !entries.is_empty();
        let now = (Instant::now(), SystemTime::now());
        for entry in entries.drain(..) {
            take(match entry {
                Entry::Query(slim) => Item::Query(slim.record(names, now)),
                Entry::Other(_, event) => Item::Other(event),
            });
        }
        names.clear();
        has_any
    }
}

impl Slim {
    /// The query in full; `now` is the same moment on both clocks.
    fn record(&self, names: &[u8], (now, wall): (Instant, SystemTime)) -> Record {
        let name = self.name_octets.and_then(|octets| {
            let at = self.name_at as usize;
            Name::of_octets(&names[at..][..usize::from(octets.get())])
        });
        let ago = now.saturating_duration_since(self.began + self.took);
        Record {
            at: wall.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH),
            name,
            kind: self.kind,
            transport: self.transport,
            client: self.client,
            outcome: self.outcome,
            rule: self.rule,
            generation: self.generation,
            took: self.took,
            ttl_s: self.ttl_s,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::{Desk, Reason};
    use crate::wire::Rcode;

    fn done(name: &Name) -> Done<'_> {
        Done {
            name: Some(name),
            kind: Type::A,
            transport: Transport::Udp,
            client: "127.0.0.1:53".parse().expect("an address"),
            outcome: Outcome {
                desk: Desk::Blocked,
                reason: Reason::NotListed,
                rcode: Some(Rcode::NXDOMAIN),
                ede: None,
            },
            rule: None,
            generation: 1,
            began: Instant::now(),
            took: Duration::ZERO,
            ttl_s: None,
        }
    }

    fn name(text: &str) -> Name {
        text.parse().expect(text)
    }

    /// What waits, by name or line.
    fn drained(queue: &Queue) -> Vec<String> {
        let mut all = Vec::new();
        queue.drain(&mut Tray::default(), |item| all.push(text(item)));
        all
    }

    fn text(item: Item) -> String {
        match item {
            Item::Query(record) => record.name.expect("a name").to_string(),
            Item::Other(Event::Line(line)) => line,
            Item::Other(Event::Reopen) => "reopen".to_owned(),
        }
    }

    #[test]
    fn what_several_threads_put_comes_out_in_the_order_in_which_it_happened() {
        let queue = Queue::default();
        let names: Vec<String> = (0..50).map(|i| format!("n{i}.example")).collect();
        for text in &names {
            let put = || queue.put(&done(&name(text)), Worth::Idle);
            thread::scope(|scope| assert!(scope.spawn(put).join().expect("it ended")));
        }
        assert!(queue.put_event(Event::Line("{}".to_owned())));
        let mut expected = names;
        expected.push("{}".to_owned());
        assert_eq!(drained(&queue), expected);
        assert!(drained(&queue).is_empty());
    }

    #[test]
    fn what_nobody_waits_for_leaves_room_for_what_somebody_does() {
        let queue = Queue::default();
        let name = name("a.example");
        let blocked = done(&name);
        let mut granted = blocked;
        (granted.outcome.desk, granted.outcome.reason) = (Desk::Cache, Reason::Exact);
        let put = |done, worth| (0..).take_while(|_| queue.put(done, worth)).count();
        let allowed = ALLOWANCE_MAX as usize;
        assert_eq!(put(&granted, Worth::Idle), allowed);
        assert_eq!(
            put(&blocked, Worth::Idle),
            allowed,
            "it has room of its own"
        );
        assert_eq!(put(&blocked, Worth::Wanted), ENTRIES_MAX - 2 * allowed);
        assert_eq!(queue.lost(), 3, "one of each, the one that found no room");
        assert!(!queue.put_event(Event::Line(String::new())));
        assert!(queue.put_event(Event::Reopen));
        assert_eq!(drained(&queue).len(), ENTRIES_MAX + 1);
        assert_eq!(queue.lost(), 3);
        assert_eq!(
            put(&blocked, Worth::Wanted),
            ENTRIES_MAX,
            "there is room again"
        );
    }

    #[test]
    fn an_allowance_grows_with_time_and_not_beyond_its_bound() {
        let mut tray = Tray::default();
        let begin = tray.allowed_at;
        let after = |ms| begin + Duration::from_millis(ms);
        assert_eq!(tray.allowance(after(0)), 0);
        assert_eq!(tray.allowance(after(1)), ALLOWANCE_A_SECOND / 1000);
        assert_eq!(tray.allowance(after(101)), ALLOWANCE_A_SECOND / 10);
        let mut allowance = Allowance {
            blocked: 0,
            rest: 5,
        };
        assert!(!allowance.take(Ruling::Blocked) && allowance.take(Ruling::Allowed));
        allowance.grow(1);
        assert!(allowance.take(Ruling::Blocked) && !allowance.take(Ruling::WouldBlock));
        allowance.grow(u32::MAX);
        assert_eq!(allowance.blocked, ALLOWANCE_MAX);
    }

    #[test]
    fn long_names_fill_it_sooner() {
        let queue = Queue::default();
        let label = "x".repeat(63);
        let long = name(&format!("{label}.{label}.{label}"));
        let put = || queue.put(&done(&long), Worth::Wanted);
        let count = (0..).take_while(|_| put()).count();
        assert_eq!(count, NAME_OCTETS_MAX / long.octets().len());
    }

    #[test]
    fn a_closed_queue_has_given_out_everything_and_takes_nothing() {
        let queue = Queue::default();
        let name = name("a.example");
        assert!(queue.put(&done(&name), Worth::Idle));
        let mut last = Vec::new();
        queue.close(&mut Tray::default(), |item| last.push(text(item)));
        assert_eq!(last, ["a.example"]);
        assert!(!queue.put(&done(&name), Worth::Wanted));
        assert!(!queue.put_event(Event::Line(String::new())));
    }

    #[test]
    fn what_found_no_room_is_counted_after_a_close_too() {
        let queue = Queue::default();
        let name = name("a.example");
        let put = |worth| (0..).take_while(|_| queue.put(&done(&name), worth)).count();
        assert_eq!(put(Worth::Idle), ALLOWANCE_MAX as usize);
        assert_eq!(queue.lost(), 1);
        queue.close(&mut Tray::default(), drop);
        assert_eq!(queue.lost(), 1);
        assert_eq!(put(Worth::Wanted), 0);
        assert_eq!(queue.lost(), 2);
    }

    #[test]
    fn an_entry_is_small_enough_for_its_batch() {
        assert!(size_of::<Entry>() * ENTRIES_MAX + NAME_OCTETS_MAX <= 512 << 10);
    }
}
