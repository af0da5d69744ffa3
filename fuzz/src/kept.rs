//! What upstream said, kept and read back.
//!
//! A finding comes in with the question that it answers and the time that it may
//! be kept; what the cache gives until then is the same, by nobody else's
//! question, and never with a TTL that is over. The clock is an argument.

use std::time::{Duration, Instant};

use namegate::answer::cache::{Cache, Footprint, Found, Kind, Lease};
use namegate::answer::guard::Finding;
use namegate::wire::{Age, Asked, Type};

/// Room for any one answer.
const CACHE_OCTETS: u64 = 1 << 20;
/// As long as an answer may be used when upstream fails.
const STALE: Duration = Duration::from_secs(60);

/// An answer as the road keeps it.
#[derive(Clone)]
struct Kept(Finding);

impl Footprint for Kept {
    fn footprint(&self) -> usize {
        self.0.footprint()
    }
}

thread_local! {
    /// One for all inputs, empty between them.
    static CACHE: (Cache<Kept>, Instant) = (Cache::new(CACHE_OCTETS), Instant::now());
}

/// Keeps the finding for `ttl_s` seconds, and looks for it at every time that matters. `same` is told of each answer
/// that is given, and of its age in seconds.
pub fn keep(
    asked: &Asked,
    finding: &Finding,
    kind: Kind,
    ttl_s: u32,
    same: impl Fn(&Finding, u32),
) {
    let fresh = Duration::from_secs(ttl_s.into());
    let lease = Lease {
        kind,
        fresh,
        stale: STALE,
    };
    CACHE.with(|(cache, now)| {
        cache.keep(asked, Kept(finding.clone()), lease, *now);
        others(asked).iter().for_each(|it| nothing(cache, it, *now));
        let last = ttl_s.saturating_sub(1);
        for age_s in [0, last / 2, last].into_iter().filter(|_| ttl_s > 0) {
            let then = *now + Duration::from_secs(age_s.into());
            fresh_at(cache, asked, then, |it| same(it, age_s));
        }
        if ttl_s > 0 {
            let is_stale = |found: Found<'_, Kept>| matches!(found, Found::Stale(_));
            assert!(
                cache.find(asked, *now + fresh, is_stale),
                "it is past its time"
            );
        }
        nothing(cache, asked, *now + fresh + STALE);
        assert!(cache.octets() <= CACHE_OCTETS);
        assert_eq!(cache.clear(), usize::from(ttl_s > 0), "one was kept");
        nothing(cache, asked, *now);
    });
}

fn fresh_at(cache: &Cache<Kept>, asked: &Asked, then: Instant, same: impl Fn(&Finding)) {
    cache.find(asked, then, |found| {
        let Found::Fresh { entry, .. } = found else {
            panic!("{found:?} of what was kept", found = kind_of(&found));
        };
        let finding = &entry.value().0;
        let age = Age::Seconds(entry.age_s(then));
        let ttls = [true, false].map(|it| finding.records(it).and_then(|it| it.0.ttl_s(age)));
        assert!(ttls.iter().flatten().all(|it| *it > 0), "a TTL is over");
        same(finding);
    });
}

fn nothing(cache: &Cache<Kept>, asked: &Asked, then: Instant) {
    cache.find(asked, then, |found| {
        assert!(
            matches!(found, Found::Nothing),
            "{} for {asked:?}",
            kind_of(&found)
        );
    });
}

fn kind_of(found: &Found<'_, Kept>) -> &'static str {
    match found {
        Found::Fresh { .. } => "an answer",
        Found::Stale(_) => "a stale answer",
        Found::Nothing => "nothing",
    }
}

/// Questions that differ in one thing.
fn others(asked: &Asked) -> Vec<Asked> {
    let mut others = vec![
        Asked {
            kind: Type(asked.kind.0 ^ 1),
            ..*asked
        },
        Asked {
            dnssec_ok: !asked.dnssec_ok,
            ..*asked
        },
        Asked {
            checking_disabled: !asked.checking_disabled,
            ..*asked
        },
    ];
    let near = [asked.name.child(b"x"), asked.name.parent()];
    others.extend(
        near.into_iter()
            .flatten()
            .map(|name| Asked { name, ..*asked }),
    );
    others
}
