//! What upstream told us, for as long as it said.
//!
//! The cache holds answers, never verdicts: it is asked after the policy, and
//! knows nothing of it. The clock is an argument. It is bounded in octets, and
//! an entry whose time has come is found out when somebody asks for it.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use quick_cache::sync::{Cache as Map, DefaultLifecycle};
use quick_cache::{Equivalent, OptionsBuilder, Weighter};

use crate::wire::{Asked, Type};

/// What an entry costs beside its records and its name: the map's slot and our own fields, in octets.
const ENTRY_OCTETS: usize = 320;
/// What an entry is guessed to cost in all; sizes the map's tables at start.
const ENTRY_OCTETS_GUESSED: u64 = 1024;
/// A name asked this often since it came is worth fetching again before it goes.
const POPULAR_HITS: u32 = 3;
/// The part of its life, from the end, in which a popular entry is fetched again.
const LAST_PART: u32 = 10;

/// [`Asked`] as it lies in the map: no longer than its name.
#[derive(Clone, PartialEq, Eq)]
struct Key {
    name: Box<[u8]>,
    kind: Type,
    dnssec_ok: bool,
    checking_disabled: bool,
}

impl From<&Asked> for Key {
    fn from(asked: &Asked) -> Self {
        Self {
            name: asked.name.octets().into(),
            kind: asked.kind,
            dnssec_ok: asked.dnssec_ok,
            checking_disabled: asked.checking_disabled,
        }
    }
}

/// As [`Asked`] hashes, field by field: the one finds the other.
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.name);
        self.kind.hash(state);
        self.dnssec_ok.hash(state);
        self.checking_disabled.hash(state);
    }
}

impl Equivalent<Key> for Asked {
    fn equivalent(&self, key: &Key) -> bool {
        self.kind == key.kind
            && self.dnssec_ok == key.dnssec_ok
            && self.checking_disabled == key.checking_disabled
            && self.name.octets() == &*key.name
    }
}

/// What a value costs, in octets.
pub trait Footprint {
    /// Octets of memory.
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

/// An answer and its time.
#[derive(Debug)]
pub struct Entry<V> {
    value: Arc<V>,
    stored: Instant,
    expires: Instant,
    gone: Instant,
    kind: Kind,
    /// Is this past its time, kept in use because upstream failed?
    overdue: bool,
    hits: AtomicU32,
    refreshing: AtomicBool,
    counted: Counted,
}

impl<V> Entry<V> {
    fn new(value: Arc<V>, lease: Lease, now: Instant, counted: Counted) -> Self {
        let expires = now + lease.fresh;
        Self {
            value,
            stored: now,
            expires,
            gone: expires + lease.stale,
            kind: lease.kind,
            overdue: false,
            hits: AtomicU32::new(0),
            refreshing: AtomicBool::new(false),
            counted,
        }
    }

    /// What was said.
    pub fn value(&self) -> &V {
        &self.value
    }

    /// Whole seconds since it was said.
    pub fn age_s(&self, now: Instant) -> u32 {
        u32::try_from(now.saturating_duration_since(self.stored).as_secs()).unwrap_or(u32::MAX)
    }

    /// Is it past its time, and used all the same (RFC 8767)?
    pub fn is_overdue(&self) -> bool {
        self.overdue
    }

    /// Should the one who asks this have it fetched again? Says yes once.
    fn is_due(&self, now: Instant) -> bool {
        let hits = self.hits.fetch_add(1, Relaxed);
        let left = self.expires.saturating_duration_since(now);
        hits >= POPULAR_HITS
            && self.kind == Kind::Positive
            && !self.overdue
            && left * LAST_PART <= self.expires - self.stored
            && !self.refreshing.swap(true, Relaxed)
    }
}

/// What a look into the cache finds.
#[derive(Clone, Debug)]
pub enum Found<V> {
    /// An answer to give. With `due`, the asker should have it fetched again.
    Fresh {
        /// The answer.
        entry: Arc<Entry<V>>,
        /// It is popular and about to go.
        due: bool,
    },
    /// An answer past its time, to give only when upstream fails.
    Stale(Arc<Entry<V>>),
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
    /// How often it was used.
    pub hits: u32,
}

/// How many entries are alive, by [`Kind`].
#[derive(Debug, Default)]
struct Census([AtomicU64; 3]);

/// One entry's part in the census.
#[derive(Debug)]
struct Counted {
    census: Arc<Census>,
    kind: Kind,
}

impl Counted {
    fn new(census: &Arc<Census>, kind: Kind) -> Self {
        census.0[kind as usize].fetch_add(1, Relaxed);
        Self {
            census: census.clone(),
            kind,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.census.0[self.kind as usize].fetch_sub(1, Relaxed);
    }
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

impl<V: Footprint> Weighter<Key, Arc<Entry<V>>> for ByOctets {
    fn weight(&self, key: &Key, entry: &Arc<Entry<V>>) -> u64 {
        (ENTRY_OCTETS + key.name.len() + entry.value.footprint()) as u64
    }
}

type Answers<V> = Map<
    Key,
    Arc<Entry<V>>,
    ByOctets,
    foldhash::fast::RandomState,
    DefaultLifecycle<Key, Arc<Entry<V>>>,
>;

/// Answers by question, bounded in octets.
pub struct Cache<V: Footprint> {
    answers: Option<Answers<V>>,
    census: Arc<Census>,
    hits: [AtomicU64; 3],
    misses: AtomicU64,
    stored: AtomicU64,
}

impl<V: Footprint> Cache<V> {
    /// A cache of at most `octets`; with 0 it keeps nothing.
    pub fn new(octets: u64) -> Self {
        let entries = usize::try_from(octets / ENTRY_OCTETS_GUESSED)
            .unwrap_or(usize::MAX)
            .max(1);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(entries)
            .weight_capacity(octets)
            .build()
            .expect("both capacities are given");
        let map = || {
            Map::with_options(
                options,
                ByOctets,
                foldhash::fast::RandomState::default(),
                DefaultLifecycle::default(),
            )
        };
        Self {
            answers: (octets > 0).then(map),
            census: Arc::default(),
            hits: Default::default(),
            misses: AtomicU64::new(0),
            stored: AtomicU64::new(0),
        }
    }

    /// What is known about a question. Nothing allocates.
    #[inline]
    pub fn find(&self, asked: &Asked, now: Instant) -> Found<V> {
        let found = self.answers.as_ref().and_then(|answers| answers.get(asked));
        let Some(entry) = found.filter(|entry| now < entry.gone) else {
            self.misses.fetch_add(1, Relaxed);
            return Found::Nothing;
        };
        if now >= entry.expires {
            self.misses.fetch_add(1, Relaxed);
            return Found::Stale(entry);
        }
        self.hits[entry.kind as usize].fetch_add(1, Relaxed);
        let due = entry.is_due(now);
        Found::Fresh { entry, due }
    }

    /// What is known about a question, for people: it counts as no use.
    pub fn peek(&self, asked: &Asked, now: Instant) -> Option<Glimpse> {
        let entry = self.answers.as_ref()?.peek(asked)?;
        let left = entry.expires.checked_duration_since(now);
        let left = left.filter(|it| !it.is_zero() && !entry.overdue);
        (now < entry.gone).then(|| Glimpse {
            kind: entry.kind,
            age_s: entry.age_s(now),
            left_s: left.map(|it| it.as_secs()),
            hits: entry.hits.load(Relaxed),
        })
    }

    /// Lets every answer go. Returns how many there were.
    pub fn clear(&self) -> usize {
        let Some(answers) = &self.answers else {
            return 0;
        };
        let entries = answers.len();
        answers.clear();
        entries
    }

    /// Keeps an answer, and returns it with its time. One without time is not kept.
    pub fn keep(&self, asked: &Asked, value: V, lease: Lease, now: Instant) -> Arc<Entry<V>> {
        let counted = Counted::new(&self.census, lease.kind);
        let entry = Arc::new(Entry::new(Arc::new(value), lease, now, counted));
        if !lease.fresh.is_zero() {
            self.insert(asked, entry.clone());
        }
        entry
    }

    /// Keeps an overdue answer in use for a while, as upstream failed; it stays until its end and no longer.
    pub fn hold(
        &self,
        asked: &Asked,
        overdue: &Entry<V>,
        pause: Duration,
        now: Instant,
    ) -> Arc<Entry<V>> {
        let entry = Arc::new(Entry {
            value: overdue.value.clone(),
            stored: overdue.stored,
            expires: (now + pause).min(overdue.gone),
            gone: overdue.gone,
            kind: overdue.kind,
            overdue: true,
            hits: AtomicU32::new(0),
            refreshing: AtomicBool::new(false),
            counted: Counted::new(&overdue.counted.census, overdue.kind),
        });
        self.insert(asked, entry.clone());
        entry
    }

    fn insert(&self, asked: &Asked, entry: Arc<Entry<V>>) {
        let Some(answers) = &self.answers else { return };
        self.stored.fetch_add(1, Relaxed);
        answers.insert(Key::from(asked), entry);
    }

    /// Figures since start.
    pub fn figures(&self) -> Figures {
        let of = |counter: &AtomicU64| counter.load(Relaxed);
        Figures {
            entries_positive: of(&self.census.0[0]),
            entries_negative: of(&self.census.0[1]),
            entries_failure: of(&self.census.0[2]),
            hits_positive: of(&self.hits[0]),
            hits_negative: of(&self.hits[1]) + of(&self.hits[2]),
            misses: of(&self.misses),
            stored: of(&self.stored),
        }
    }

    /// Octets in use, by our own reckoning.
    pub fn octets(&self) -> u64 {
        self.answers.as_ref().map_or(0, Map::weight)
    }
}

#[cfg(test)]
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

    fn fresh(found: Found<u32>) -> Option<u32> {
        match found {
            Found::Fresh { entry, .. } => Some(*entry.value()),
            Found::Stale(_) | Found::Nothing => None,
        }
    }

    #[test]
    fn an_answer_lives_as_long_as_it_said() {
        let (cache, now) = (Cache::new(1 << 20), Instant::now());
        let github = asked("github.com");
        cache.keep(&github, 7_u32, lease(60, 3600), now);
        assert_eq!(
            fresh(cache.find(&github, now + Duration::from_millis(59_999))),
            Some(7)
        );
        assert!(matches!(
            cache.find(&github, now + Duration::from_secs(60)),
            Found::Stale(_)
        ));
        assert!(matches!(
            cache.find(&github, now + Duration::from_secs(3660)),
            Found::Nothing
        ));
    }

    #[test]
    fn each_part_of_the_question_counts() {
        let (cache, now) = (Cache::new(1 << 20), Instant::now());
        let github = asked("github.com");
        cache.keep(&github, 7_u32, lease(60, 0), now);
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
            assert_eq!(fresh(cache.find(&other, now)), None, "{other:?}");
        }
    }

    #[test]
    fn no_time_is_not_kept_and_no_room_keeps_nothing() {
        let now = Instant::now();
        let cache = Cache::new(1 << 20);
        cache.keep(&asked("a.example"), 1_u32, lease(0, 3600), now);
        assert_eq!(fresh(cache.find(&asked("a.example"), now)), None);
        let none = Cache::new(0);
        none.keep(&asked("a.example"), 1_u32, lease(60, 0), now);
        assert_eq!(fresh(none.find(&asked("a.example"), now)), None);
    }

    #[test]
    fn a_popular_answer_is_fetched_again_once_before_it_goes() {
        let (cache, now) = (Cache::new(1 << 20), Instant::now());
        let github = asked("github.com");
        cache.keep(&github, 7_u32, lease(100, 0), now);
        let due = |at_s| {
            matches!(
                cache.find(&github, now + Duration::from_secs(at_s)),
                Found::Fresh { due: true, .. }
            )
        };
        assert!(
            !due(1) && !due(2) && !due(3) && !due(4),
            "not yet in its last tenth"
        );
        assert!(due(91));
        assert!(!due(92), "somebody is on it");
    }

    #[test]
    fn an_overdue_answer_is_held_but_not_beyond_its_end() {
        let (cache, now) = (Cache::new(1 << 20), Instant::now());
        let github = asked("github.com");
        let entry = cache.keep(&github, 7_u32, lease(60, 100), now);
        let late = now + Duration::from_secs(158);
        cache.hold(&github, &entry, Duration::from_secs(5), late);
        assert!(
            matches!(cache.find(&github, late), Found::Fresh { entry, .. } if entry.is_overdue())
        );
        assert!(matches!(
            cache.find(&github, now + Duration::from_secs(160)),
            Found::Nothing
        ));
    }

    #[test]
    fn it_stays_within_its_octets() {
        let (cache, now) = (Cache::new(100_000), Instant::now());
        for i in 0..10_000 {
            cache.keep(&asked(&format!("n{i}.example")), i, lease(60, 0), now);
        }
        assert!(cache.octets() <= 100_000);
        let figures = cache.figures();
        assert!(figures.entries_positive * 400 <= 100_000, "{figures:?}");
        assert_eq!(figures.stored, 10_000);
    }
}
