//! What upstream told us, for as long as it said.
//!
//! The cache holds answers, never verdicts: it is asked after the policy, and
//! knows nothing of it. The clock is an argument. It is bounded in octets of
//! memory, all that an answer takes counted, and an entry whose time has come is
//! found out when somebody asks for it. Who asks for what he asked for lately
//! touches nothing that another thread writes.

mod near;

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use quick_cache::sync::{Cache as Map, DefaultLifecycle};
use quick_cache::{Equivalent, Lifecycle, OptionsBuilder, Weighter};

use crate::wire::{Asked, Type, block_octets};
use near::{LANES, Lane, home_lane};

/// What an entry takes in the map's own tables: a slot of 40 octets in a list, and up to 12 in a table of a power of two.
const SLOT_OCTETS: usize = 52;
/// The least that an entry takes; the map's tables have room for as many from the start, and grow no more. Most of that room
/// is no memory before it is used.
const ENTRY_OCTETS_MIN: u64 = 256;
/// The counters in front of what an `Arc` holds.
const ARC_OCTETS: usize = 16;
/// The map remembers the hashes of answers that it dropped, one for so many octets that it may hold; each takes a slot.
const OCTETS_A_GHOST: u64 = 2048;
/// Blocks of many sizes that come and go leave holes: of the octets, one part in so many.
const HOLES: u64 = 16;
/// Parts of the map, each with a lock for those who write and a share of the octets; none is smaller than this.
const SHARD_OCTETS_MIN: u64 = 1 << 20;
const SHARDS_MAX: u64 = 64;
/// An answer larger than this is not put near a thread: what lies there is not weighed.
const NEAR_OCTETS_MAX: u64 = 1024;
/// A name asked this often since it came is worth fetching again before it goes.
const POPULAR_HITS: u8 = 3;
/// The part of its life, from the end, in which a popular entry is fetched again.
const LAST_PART: u32 = 10;

/// What a value costs, in octets.
pub trait Footprint {
    /// Octets of memory that it holds beside itself.
    fn footprint(&self) -> usize;
}

/// Which kind of answer an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Records.
    Positive,
    /// That there are none.
    Negative,
    /// That nobody could say.
    Failure,
}

/// How long an answer may be used.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    /// What it is.
    pub kind: Kind,
    /// As what upstream said.
    pub fresh: Duration,
    /// Beyond that, when upstream fails.
    pub stale: Duration,
}

/// An answer, its question and its time: one block of memory, and one for the name.
#[derive(Debug)]
pub struct Entry<V> {
    value: V,
    stored: Instant,
    /// From `stored` on: a week and a week more at most.
    fresh_ms: u32,
    gone_ms: u32,
    name: Box<[u8]>,
    question: Type,
    dnssec_ok: bool,
    checking_disabled: bool,
    kind: Kind,
    /// Is this past its time, kept in use because upstream failed?
    overdue: bool,
    /// Not counted beyond 255.
    hits: AtomicU8,
    refreshing: AtomicBool,
}

impl<V> Entry<V> {
    fn new(asked: &Asked, value: V, lease: Lease, now: Instant) -> Self {
        Self {
            value,
            stored: now,
            fresh_ms: milliseconds(lease.fresh),
            gone_ms: milliseconds(lease.fresh.saturating_add(lease.stale)),
            name: asked.name.octets().into(),
            question: asked.kind,
            dnssec_ok: asked.dnssec_ok,
            checking_disabled: asked.checking_disabled,
            kind: lease.kind,
            overdue: false,
            hits: AtomicU8::new(0),
            refreshing: AtomicBool::new(false),
        }
    }

    /// What was said.
    pub fn value(&self) -> &V {
        &self.value
    }

    /// Whole seconds since it was said.
    pub fn age_s(&self, now: Instant) -> u32 {
        u32::try_from(self.age(now).as_secs()).unwrap_or(u32::MAX)
    }

    /// Is it past its time, and used all the same (RFC 8767)?
    pub fn is_overdue(&self) -> bool {
        self.overdue
    }

    /// May it be used as what upstream says?
    pub fn is_fresh(&self, now: Instant) -> bool {
        self.age(now) < self.life()
    }

    /// Is there nothing newer to be expected in its place?
    fn stands(&self, now: Instant) -> bool {
        self.is_fresh(now) && !self.refreshing.load(Relaxed)
    }

    fn is_gone(&self, now: Instant) -> bool {
        self.age(now) >= Duration::from_millis(self.gone_ms.into())
    }

    fn life(&self) -> Duration {
        Duration::from_millis(self.fresh_ms.into())
    }

    fn left(&self, now: Instant) -> Duration {
        self.life().saturating_sub(self.age(now))
    }

    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.stored)
    }

    /// Should the one who asks this have it fetched again? Says yes once.
    fn is_due(&self, now: Instant) -> bool {
        let hits = self.hits.load(Relaxed);
        // Two who use it at once may count as one; what everybody asks for is soon not written to any more.
        if hits < u8::MAX {
            self.hits.store(hits + 1, Relaxed);
        }
        hits >= POPULAR_HITS
            && self.kind == Kind::Positive
            && self.left(now) * LAST_PART <= self.life()
            && !self.refreshing.load(Relaxed)
            && !self.refreshing.swap(true, Relaxed)
    }

    fn answers(&self, asked: &Asked) -> bool {
        self.question == asked.kind
            && self.dnssec_ok == asked.dnssec_ok
            && self.checking_disabled == asked.checking_disabled
            && *self.name == *asked.name.octets()
    }
}

impl<V: Footprint> Entry<V> {
    /// Octets of memory, its slot in the map included.
    fn weight(&self) -> u64 {
        let own = block_octets(ARC_OCTETS + size_of::<Self>()) + block_octets(self.name.len());
        (SLOT_OCTETS + own + self.value.footprint()) as u64
    }
}

fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

/// An entry as the map finds it, by its question.
struct Key<V>(Arc<Entry<V>>);

/// As [`Asked`] hashes, field by field: the one finds the other.
impl<V> Hash for Key<V> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0.name);
        self.0.question.hash(state);
        self.0.dnssec_ok.hash(state);
        self.0.checking_disabled.hash(state);
    }
}

impl<V> PartialEq for Key<V> {
    fn eq(&self, other: &Self) -> bool {
        let of = |it: &Self| (it.0.question, it.0.dnssec_ok, it.0.checking_disabled);
        of(self) == of(other) && self.0.name == other.0.name
    }
}

impl<V> Eq for Key<V> {}

impl<V> Equivalent<Key<V>> for Asked {
    fn equivalent(&self, key: &Key<V>) -> bool {
        key.0.answers(self)
    }
}

/// What a look into the cache finds.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a, V> {
    /// An answer to give. With `due`, the asker should have it fetched again.
    Fresh {
        /// The answer.
        entry: &'a Arc<Entry<V>>,
        /// It is popular and about to go.
        due: bool,
    },
    /// An answer past its time, to give only when upstream fails.
    Stale(&'a Arc<Entry<V>>),
    /// None.
    Nothing,
}

/// What there is to say of an entry without using it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glimpse {
    /// What kind of answer it is.
    pub kind: Kind,
    /// Seconds since it was said.
    pub age_s: u32,
    /// Seconds that it is good for; none: its time is over, and it stands in when upstream fails.
    pub left_s: Option<u64>,
    /// How often it was used; 255: so often, or more.
    pub hits: u8,
}

/// Figures of the cache since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words say it")]
pub struct Figures {
    pub entries_positive: u64,
    pub entries_negative: u64,
    pub entries_failure: u64,
    pub hits_positive: u64,
    pub hits_negative: u64,
    pub misses: u64,
    pub stored: u64,
}

#[derive(Clone)]
struct ByOctets;

impl<V: Footprint> Weighter<Key<V>, Arc<Entry<V>>> for ByOctets {
    fn weight(&self, _: &Key<V>, entry: &Arc<Entry<V>>) -> u64 {
        entry.weight()
    }
}

/// How many entries the map holds, by [`Kind`].
#[derive(Clone, Debug, Default)]
struct Census(Arc<[AtomicU64; 3]>);

impl Census {
    fn of(&self, kind: Kind) -> &AtomicU64 {
        &self.0[kind as usize]
    }
}

/// Counts those who leave, and has them freed when the map's lock is no longer held.
impl<V> Lifecycle<Key<V>, Arc<Entry<V>>> for Census {
    type RequestState = [Option<(Key<V>, Arc<Entry<V>>)>; 2];

    fn on_evict(&self, state: &mut Self::RequestState, key: Key<V>, entry: Arc<Entry<V>>) {
        self.of(entry.kind).fetch_sub(1, Relaxed);
        DefaultLifecycle::default().on_evict(state, key, entry);
    }
}

type Answers<V> = Map<Key<V>, Arc<Entry<V>>, ByOctets, RandomState, Census>;

/// Answers by question, bounded in octets.
pub struct Cache<V: Footprint> {
    octets: u64,
    answers: Option<Answers<V>>,
    /// Held alone by whoever puts an answer back that he had in hand: till he is done it stands, or does not.
    order: RwLock<()>,
    /// Of the lanes; the map has one of its own.
    hasher: RandomState,
    lanes: Box<[Lane<V>]>,
    census: Census,
    stored: AtomicU64,
}

impl<V: Footprint + Clone> Cache<V> {
    /// A cache of at most `octets`; with 0 it keeps nothing.
    pub fn new(octets: u64) -> Self {
        let census = Census::default();
        Self {
            octets,
            answers: (octets > 0).then(|| map(octets, &census)),
            order: RwLock::new(()),
            hasher: RandomState::default(),
            lanes: (0..LANES).map(|_| Lane::default()).collect(),
            census,
            stored: AtomicU64::new(0),
        }
    }

    /// Looks for what is known about a question, counts it, and hands it on; `then` does not ask again. Nothing allocates
    /// but the first answer that a thread finds.
    #[inline]
    pub fn find<R>(&self, asked: &Asked, now: Instant, then: impl FnOnce(Found<'_, V>) -> R) -> R {
        let lane = &self.lanes[home_lane()];
        let Some(answers) = &self.answers else {
            return then(classify(None, lane, now));
        };
        let Some(mut near) = lane.near() else {
            return then(classify(answers.get(asked).as_ref(), lane, now));
        };
        let looks_up = near.looks_up();
        let place = near.place(self.hasher.hash_one(asked), self.octets);
        let is_it = |entry: &Arc<Entry<V>>| entry.stands(now) && entry.answers(asked);
        if looks_up || !place.as_ref().is_some_and(is_it) {
            match answers.get(asked) {
                Some(entry) if entry.is_fresh(now) && entry.weight() <= NEAR_OCTETS_MAX => {
                    *place = Some(entry);
                }
                elsewhere => return then(classify(elsewhere.as_ref(), lane, now)),
            }
        }
        then(classify(place.as_ref(), lane, now))
    }

    /// What is known about a question, be it past its time; this is not counted.
    pub fn standing(&self, asked: &Asked, now: Instant) -> Option<Arc<Entry<V>>> {
        let entry = self.answers.as_ref()?.peek(asked)?;
        (!entry.is_gone(now)).then_some(entry)
    }

    /// What is known about a question, for people: it counts as no use.
    pub fn peek(&self, asked: &Asked, now: Instant) -> Option<Glimpse> {
        let entry = self.standing(asked, now)?;
        let is_good = entry.is_fresh(now) && !entry.overdue;
        Some(Glimpse {
            kind: entry.kind,
            age_s: entry.age_s(now),
            left_s: is_good.then(|| entry.left(now).as_secs()),
            hits: entry.hits.load(Relaxed),
        })
    }

    /// Lets every answer go, also those that threads have near. Returns how many there were.
    pub fn clear(&self) -> usize {
        let Some(answers) = &self.answers else {
            return 0;
        };
        let together = self.order.read().expect("nobody panics with it");
        let gone = answers.drain().map(|(_, entry)| {
            self.census.of(entry.kind).fetch_sub(1, Relaxed);
        });
        let gone = gone.count();
        drop(together);
        self.lanes.iter().for_each(Lane::forget);
        gone
    }

    /// Keeps an answer, and returns it with its time. One without time is not kept.
    pub fn keep(&self, asked: &Asked, value: V, lease: Lease, now: Instant) -> Arc<Entry<V>> {
        let entry = Arc::new(Entry::new(asked, value, lease, now));
        if !lease.fresh.is_zero() {
            let _together = self.order.read().expect("nobody panics with it");
            self.insert(&entry);
        }
        entry
    }

    /// Keeps an overdue answer in use for a while, as upstream failed; it stays until its end and no longer. One that was
    /// let go of meanwhile, or that a newer one has taken the place of, is not put back.
    pub fn hold(&self, overdue: &Entry<V>, pause: Duration, now: Instant) -> Arc<Entry<V>> {
        let until_ms = milliseconds(overdue.age(now) + pause);
        let entry = Arc::new(Entry {
            value: overdue.value.clone(),
            name: overdue.name.clone(),
            fresh_ms: until_ms.min(overdue.gone_ms),
            overdue: true,
            hits: AtomicU8::new(0),
            // A newer one is to be expected as soon as upstream answers: threads look for it.
            refreshing: AtomicBool::new(true),
            ..*overdue
        });
        let _alone = self.order.write().expect("nobody panics with it");
        if self.stands_as(overdue, &entry) {
            self.insert(&entry);
        }
        entry
    }

    /// Is it this very answer that is kept for a question?
    fn stands_as(&self, overdue: &Entry<V>, question: &Arc<Entry<V>>) -> bool {
        let kept = self.answers.as_ref();
        let kept = kept.and_then(|answers| answers.peek(&Key(question.clone())));
        kept.is_some_and(|kept| std::ptr::eq(&*kept, overdue))
    }

    fn insert(&self, entry: &Arc<Entry<V>>) {
        let Some(answers) = &self.answers else { return };
        self.stored.fetch_add(1, Relaxed);
        self.census.of(entry.kind).fetch_add(1, Relaxed);
        answers.insert(Key(entry.clone()), entry.clone());
    }

    /// Figures since start.
    pub fn figures(&self) -> Figures {
        let held = |kind| self.census.of(kind).load(Relaxed);
        let hits = |kind| self.lanes.iter().map(|it| it.hits(kind)).sum::<u64>();
        Figures {
            entries_positive: held(Kind::Positive),
            entries_negative: held(Kind::Negative),
            entries_failure: held(Kind::Failure),
            hits_positive: hits(Kind::Positive),
            hits_negative: hits(Kind::Negative) + hits(Kind::Failure),
            misses: self.lanes.iter().map(Lane::misses).sum(),
            stored: self.stored.load(Relaxed),
        }
    }

    /// Octets in use, by our own reckoning.
    pub fn octets(&self) -> u64 {
        self.answers.as_ref().map_or(0, Map::weight)
    }
}

/// What an entry is to whoever asked for it; counted here and nowhere else.
fn classify<'a, V>(entry: Option<&'a Arc<Entry<V>>>, lane: &Lane<V>, now: Instant) -> Found<'a, V> {
    let Some(entry) = entry.filter(|entry| !entry.is_gone(now)) else {
        lane.count_miss();
        return Found::Nothing;
    };
    if !entry.is_fresh(now) {
        lane.count_miss();
        return Found::Stale(entry);
    }
    lane.count_hit(entry.kind);
    let due = entry.is_due(now);
    Found::Fresh { entry, due }
}

/// The map under a cache of `octets`, less what the map remembers beside its entries, and the holes.
fn map<V: Footprint>(octets: u64, census: &Census) -> Answers<V> {
    let small = |it: u64| usize::try_from(it).unwrap_or(usize::MAX);
    let ghosts = octets / OCTETS_A_GHOST;
    let weight = octets - octets / HOLES - ghosts * SLOT_OCTETS as u64;
    let options = OptionsBuilder::new()
        // All that it makes of the number of entries is that it has half as many ghosts.
        .estimated_items_capacity(small(ghosts * 2).max(1))
        .ghost_allocation(0.5)
        .shards(small((octets / SHARD_OCTETS_MIN).clamp(1, SHARDS_MAX)))
        .weight_capacity(weight)
        .build()
        .expect("both capacities are given");
    let map = Map::with_options(options, ByOctets, RandomState::default(), census.clone());
    map.reserve(small(weight / ENTRY_OCTETS_MIN));
    map
}

#[cfg(test)]
#[expect(clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    impl Footprint for u32 {
        fn footprint(&self) -> usize {
            100
        }
    }

    fn asked(name: &str) -> Asked {
        Asked {
            name: name.parse().expect(name),
            kind: Type::A,
            dnssec_ok: false,
            checking_disabled: false,
        }
    }

    fn lease(fresh_s: u64, stale_s: u64) -> Lease {
        Lease {
            kind: Kind::Positive,
            fresh: Duration::from_secs(fresh_s),
            stale: Duration::from_secs(stale_s),
        }
    }

    /// What is found: an answer's number, and what is to be said of it.
    #[derive(Debug, PartialEq, Eq)]
    enum Seen {
        Fresh(u32),
        Due(u32),
        Overdue(u32),
        Stale(u32),
        Nothing,
    }
    use Seen::{Due, Fresh, Nothing, Overdue, Stale};

    fn seen(cache: &Cache<u32>, asked: &Asked, now: Instant) -> Seen {
        cache.find(asked, now, |found| match found {
            Found::Fresh { entry, due: true } => Due(*entry.value()),
            Found::Fresh { entry, .. } if entry.is_overdue() => Overdue(*entry.value()),
            Found::Fresh { entry, .. } => Fresh(*entry.value()),
            Found::Stale(entry) => Stale(*entry.value()),
            Found::Nothing => Nothing,
        })
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_answer_lives_as_long_as_it_said() {
        let (cache, now) = (Cache::new(1 << 20), Instant::now());
        let github = asked("github.com");
        cache.keep(&github, 7, lease(60, 3600), now);
        let seen = |after| seen(&cache, &github, now + after);
        assert_eq!(seen(Duration::from_millis(59_999)), Fresh(7));
        assert_eq!(seen(seconds(60)), Stale(7));
        assert_eq!(seen(Duration::from_millis(3_659_999)), Stale(7));
        assert_eq!(seen(seconds(3660)), Nothing);
    }

    #[test]
    fn each_part_of_the_question_counts() {
        let (cache, now) = (Cache::new(1 << 20), Instant::now());
        let github = asked("github.com");
        cache.keep(&github, 7, lease(60, 0), now);
        for other in [
            Asked {
                kind: Type::AAAA,
                ..github
            },
            Asked {
                dnssec_ok: true,
                ..github
            },
            Asked {
                checking_disabled: true,
                ..github
            },
            asked("api.github.com"),
        ] {
            assert_eq!(seen(&cache, &other, now), Nothing, "{other:?}");
        }
    }

    #[test]
    fn no_time_is_not_kept_and_no_room_keeps_nothing() {
        let now = Instant::now();
        let cache = Cache::new(1 << 20);
        cache.keep(&asked("a.example"), 1, lease(0, 3600), now);
        assert_eq!(seen(&cache, &asked("a.example"), now), Nothing);
        let none = Cache::new(0);
        none.keep(&asked("a.example"), 1, lease(60, 0), now);
        assert_eq!(seen(&none, &asked("a.example"), now), Nothing);
    }

    #[test]
    fn a_popular_answer_is_fetched_again_once_before_it_goes() {
        let (cache, now) = (Cache::new(1 << 20), Instant::now());
        let github = asked("github.com");
        cache.keep(&github, 7, lease(100, 0), now);
        let seen = |at_s| seen(&cache, &github, now + seconds(at_s));
        assert_eq!(
            [1, 2, 3, 4].map(seen),
            [7; 4].map(Fresh),
            "not yet in its last tenth"
        );
        assert_eq!(seen(91), Due(7));
        assert_eq!(seen(92), Fresh(7), "somebody is on it");
        cache.keep(&github, 8, lease(100, 0), now + seconds(93));
        assert_eq!(seen(94), Fresh(8), "and what he brings is seen at once");
    }

    #[test]
    fn an_answer_that_another_takes_the_place_of_is_not_given_for_long() {
        let (cache, now) = (Cache::new(1 << 20), Instant::now());
        let github = asked("github.com");
        cache.keep(&github, 7, lease(60, 0), now);
        assert_eq!(seen(&cache, &github, now), Fresh(7));
        cache.keep(&github, 8, lease(60, 0), now);
        let others = (0..64).filter(|_| seen(&cache, &github, now) == Fresh(8));
        assert!(others.count() > 0);
        assert_eq!(seen(&cache, &github, now), Fresh(8));
    }

    #[test]
    fn an_overdue_answer_is_held_but_not_beyond_its_end() {
        let (cache, now) = (Cache::new(1 << 20), Instant::now());
        let github = asked("github.com");
        let entry = cache.keep(&github, 7, lease(60, 100), now);
        let late = now + seconds(158);
        assert_eq!(seen(&cache, &github, late), Stale(7));
        cache.hold(&entry, seconds(5), late);
        assert_eq!(seen(&cache, &github, late), Overdue(7));
        assert_eq!(seen(&cache, &github, now + seconds(160)), Nothing);
    }

    /// What is found past its time.
    fn stale(cache: &Cache<u32>, asked: &Asked, now: Instant) -> Arc<Entry<u32>> {
        cache.find(asked, now, |found| match found {
            Found::Stale(entry) => entry.clone(),
            Found::Fresh { .. } | Found::Nothing => panic!("{found:?}"),
        })
    }

    #[test]
    fn what_was_let_go_of_is_not_put_back() {
        let (cache, then) = (Cache::new(1 << 20), Instant::now());
        let (github, now) = (asked("github.com"), then + seconds(61));
        cache.keep(&github, 7, lease(60, 3600), then);
        let in_hand = stale(&cache, &github, now);
        assert_eq!(cache.clear(), 1);
        assert!(cache.hold(&in_hand, seconds(5), now).is_overdue());
        assert_eq!(seen(&cache, &github, now), Nothing);
    }

    #[test]
    fn what_upstream_says_at_last_is_not_displaced_by_what_it_said_before() {
        let (cache, then) = (Cache::new(1 << 20), Instant::now());
        let (github, now) = (asked("github.com"), then + seconds(61));
        cache.keep(&github, 7, lease(60, 3600), then);
        let in_hand = stale(&cache, &github, now);
        cache.keep(&github, 8, lease(60, 3600), now);
        cache.hold(&in_hand, seconds(5), now);
        assert_eq!(seen(&cache, &github, now), Fresh(8));
    }

    #[test]
    fn what_is_peeked_at_is_not_counted() {
        let (cache, now) = (Cache::new(1 << 20), Instant::now());
        let github = asked("github.com");
        cache.keep(&github, 7, lease(60, 10), now);
        let left_s = |at_s| Some(cache.peek(&github, now + seconds(at_s))?.left_s);
        let stands = |at_s| cache.standing(&github, now + seconds(at_s)).is_some();
        assert_eq!(
            [0, 59, 60, 69].map(left_s),
            [Some(60), Some(1), None, None].map(Some)
        );
        assert_eq!(left_s(70), None);
        assert_eq!([69, 70].map(stands), [true, false]);
        assert_eq!(cache.peek(&github, now).map(|it| it.hits), Some(0));
        let figures = cache.figures();
        assert_eq!((figures.hits_positive, figures.misses), (0, 0));
    }

    #[test]
    fn what_is_cleared_is_gone_from_everywhere() {
        let (cache, now) = (Cache::new(1 << 20), Instant::now());
        let github = asked("github.com");
        cache.keep(&github, 7, lease(60, 10), now);
        assert_eq!(seen(&cache, &github, now), Fresh(7));
        assert_eq!(cache.clear(), 1);
        assert_eq!(seen(&cache, &github, now), Nothing);
        assert_eq!(cache.figures().entries_positive, 0);
        assert_eq!(cache.octets(), 0);
    }

    #[test]
    fn uses_are_counted_up_to_a_point() {
        let (cache, now) = (Cache::new(1 << 20), Instant::now());
        let github = asked("github.com");
        cache.keep(&github, 7, lease(60, 10), now);
        let hits = || cache.peek(&github, now).map(|it| it.hits);
        for uses in 1..=300_u32 {
            seen(&cache, &github, now);
            assert_eq!(hits(), Some(u8::try_from(uses).unwrap_or(u8::MAX)));
        }
    }

    #[test]
    fn every_look_of_every_thread_is_counted() {
        let (cache, now) = (Cache::new(1 << 20), Instant::now());
        let (there, not_there) = (asked("github.com"), asked("example.com"));
        cache.keep(&there, 7, lease(60, 0), now);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        assert_eq!(seen(&cache, &there, now), Fresh(7));
                        assert_eq!(seen(&cache, &not_there, now), Nothing);
                    }
                });
            }
        });
        let figures = cache.figures();
        assert_eq!((figures.hits_positive, figures.misses), (4000, 4000));
    }

    #[test]
    fn it_stays_within_its_octets_and_what_came_last_is_there() {
        for octets in [100_000, 4 << 20] {
            let (cache, now) = (Cache::new(octets), Instant::now());
            for i in 0..40_000 {
                let name = asked(&format!("n{i}.example"));
                cache.keep(&name, i, lease(60, 0), now);
                assert_eq!(seen(&cache, &name, now), Fresh(i));
            }
            assert!((octets / 2..=octets).contains(&cache.octets()));
            let figures = cache.figures();
            assert!(figures.entries_positive * 250 <= octets, "{figures:?}");
            assert_eq!(figures.stored, 40_000);
        }
    }

    #[test]
    fn a_slot_takes_what_it_is_said_to() {
        let octets = 4 << 20;
        let (cache, now) = (Cache::new(octets), Instant::now());
        for i in 0..40_000 {
            cache.keep(&asked(&format!("n{i}.example")), i, lease(60, 0), now);
        }
        let answers = cache.answers.as_ref().expect("it has room");
        let slots = answers.len() as u64 + octets / OCTETS_A_GHOST;
        assert!(answers.memory_used().total() as u64 <= slots * SLOT_OCTETS as u64);
    }

    #[test]
    fn entries_are_counted_for_as_long_as_they_are_held() {
        let (cache, now) = (Cache::new(100_000), Instant::now());
        let negative = Lease {
            kind: Kind::Negative,
            ..lease(60, 0)
        };
        for i in 0..10_000 {
            // Some come again, as the other kind.
            let name = asked(&format!("n{}.example", i % 700));
            let lease = [lease(60, 0), negative][(i as usize / 7) % 2];
            cache.keep(&name, i, lease, now);
        }
        let figures = cache.figures();
        let held = cache.answers.as_ref().map_or(0, Map::len) as u64;
        assert_eq!(figures.entries_positive + figures.entries_negative, held);
        assert!(figures.entries_positive > 0 && figures.entries_negative > 0);
    }

    #[test]
    fn names_that_are_asked_for_outlast_a_crowd_that_is_not() {
        let (cache, now) = (Cache::new(1 << 20), Instant::now());
        let crowd = |from: u32| {
            for i in from..from + 40_000 {
                cache.keep(&asked(&format!("n{i}.example")), 2, lease(60, 0), now);
            }
        };
        crowd(0);
        let wanted: Vec<Asked> = (0..500).map(|i| asked(&format!("w{i}.example"))).collect();
        for name in &wanted {
            cache.keep(name, 1, lease(3600, 0), now);
            seen(&cache, name, now);
        }
        crowd(40_000);
        let left = wanted.iter().filter(|it| seen(&cache, it, now) == Fresh(1));
        assert!(left.count() >= 490);
    }

    #[test]
    fn an_answer_larger_than_the_cache_is_not_kept_and_harms_nobody() {
        let (cache, now) = (Cache::new(300), Instant::now());
        cache.keep(&asked("a.example"), 1, lease(60, 0), now);
        cache.keep(
            &asked("a-name-that-is-longer-than-others.example"),
            1,
            lease(60, 0),
            now,
        );
        assert!(cache.octets() <= 300);
    }
}
