//! Getting to know the answer to a question: from upstream, once for all who ask, and kept.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::flight::Flights;
use super::places::Place;
use crate::answer::Reason;
use crate::answer::cache::{Cache, Entry, Footprint, Kind, Lease};
use crate::answer::guard::{Astray, Caps, Finding, Step, Trail};
use crate::answer::special::{Hit, Special};
use crate::answer::upstream::{Failure, Upstreams};
use crate::config::Config;
use crate::wire::{Asked, Ede, Message, Name, Rcode};

/// A question is answered or given up within this: glibc gives up at 5 s.
const QUESTION_TIME: Duration = Duration::from_secs(4);
/// RFC 8767 §5: a client with a stale answer at hand waits no longer than this.
const STALE_PATIENCE: Duration = Duration::from_millis(1800);
/// RFC 9520 §3.2: a failure is remembered for at least 1 s; also the pause before upstream is asked about a stale name again.
const FAILURE_TIME: Duration = Duration::from_secs(5);

/// What is known about a question.
#[derive(Clone)]
pub struct Known {
    pub(super) finding: Finding,
    /// Why nothing is.
    pub(super) failed: Option<Reason>,
}

impl Footprint for Known {
    fn footprint(&self) -> usize {
        self.finding.footprint()
    }
}

/// Asks upstream and keeps what it says.
#[derive(Clone)]
pub(super) struct Fetcher {
    tools: Arc<Tools>,
    flights: Arc<Flights<Arc<Entry<Known>>>>,
    /// Where that is done for which no client waits: the thread of a front sleeps when none does.
    runtime: Handle,
}

/// What a fetch needs; it may outlive the query that began it.
struct Tools {
    cache: Cache<Known>,
    upstreams: Upstreams,
    special: Special,
    caps: Caps,
    serve_stale: Duration,
}

impl Fetcher {
    /// To be called inside the runtime that is to do what no client waits for.
    pub(super) fn new(config: &Config, upstreams: Upstreams) -> Self {
        let caps = Caps {
            positive_s: config.cache.max_ttl_s,
            negative_s: config.cache.max_negative_ttl_s,
        };
        let tools = Tools {
            cache: Cache::new(config.cache.bytes),
            upstreams,
            special: Special::new(),
            caps,
            serve_stale: config.cache.serve_stale,
        };
        Self {
            tools: Arc::new(tools),
            flights: Arc::new(Flights::new()),
            runtime: Handle::current(),
        }
    }

    pub(super) fn cache(&self) -> &Cache<Known> {
        &self.tools.cache
    }

    /// What a name is by special use; the operator may take it for his own by forwarding it (SPEC 4).
    #[inline]
    pub(super) fn special_use(&self, name: &Name) -> Option<Hit<'_>> {
        self.tools.special_use(name)
    }

    pub(super) fn upstreams(&self) -> &Upstreams {
        &self.tools.upstreams
    }

    /// What upstream says now, or what it said before when it takes too long or fails (RFC 8767 §5).
    pub(super) async fn fetch_or_stale(
        &self,
        asked: &Asked,
        stale: Option<Arc<Entry<Known>>>,
    ) -> Arc<Entry<Known>> {
        let Some(stale) = stale else {
            return self.fetch(asked).await;
        };
        // It goes on when the client has been answered with what is stale.
        let (fetcher, its_own) = (self.clone(), *asked);
        let fetched = self
            .runtime
            .spawn(async move { fetcher.fetch(&its_own).await });
        match tokio::time::timeout(STALE_PATIENCE, fetched).await {
            Ok(Ok(entry)) if entry.value().failed.is_none() => entry,
            Ok(_) | Err(_) => self.hold(&stale, now()),
        }
    }

    /// Fetches for nobody who waits; `place` is one of those in flight, and given back after it.
    pub(super) fn refresh(&self, asked: Asked, place: Place) {
        let fetcher = self.clone();
        self.runtime.spawn(async move {
            fetcher.fetch(&asked).await;
            drop(place);
        });
    }

    /// Keeps an overdue answer in use until upstream may be asked again.
    pub(super) fn hold(&self, overdue: &Entry<Known>, now: Instant) -> Arc<Entry<Known>> {
        self.tools.cache.hold(overdue, FAILURE_TIME, now)
    }

    /// Asks upstream, together with everybody who asks the same.
    pub(super) async fn fetch(&self, asked: &Asked) -> Arc<Entry<Known>> {
        let tools = &self.tools;
        let landed = self.flights.join(asked, || tools.fetch(asked)).await;
        landed.unwrap_or_else(|| {
            let nothing = Lease {
                kind: Kind::Failure,
                fresh: Duration::ZERO,
                stale: Duration::ZERO,
            };
            self.tools
                .cache
                .keep(asked, failure(&Failure::NoServer), nothing, now())
        })
    }
}

impl Tools {
    /// Asks, follows, and keeps what was found.
    async fn fetch(&self, asked: &Asked) -> Arc<Entry<Known>> {
        match self.follow(asked).await {
            Ok(trail) => self.keep(asked, trail, now()),
            Err(failed) => self.make_do(asked, &failed, now()),
        }
    }

    fn keep(&self, asked: &Asked, trail: Trail, now: Instant) -> Arc<Entry<Known>> {
        let lease = Lease {
            kind: if trail.is_negative() {
                Kind::Negative
            } else {
                Kind::Positive
            },
            fresh: Duration::from_secs(trail.ttl_s().into()),
            stale: self.serve_stale,
        };
        self.cache.keep(
            asked,
            Known {
                finding: trail.finish(),
                failed: None,
            },
            lease,
            now,
        )
    }

    /// A failure does not take the place of what was known.
    fn make_do(&self, asked: &Asked, failed: &Failure, now: Instant) -> Arc<Entry<Known>> {
        match self.cache.standing(asked, now) {
            Some(entry) if !entry.is_fresh(now) => self.cache.hold(&entry, FAILURE_TIME, now),
            // A refresh that failed leaves what is still good.
            Some(entry) if entry.value().failed.is_none() => entry,
            Some(_) | None => {
                let lease = Lease {
                    kind: Kind::Failure,
                    fresh: FAILURE_TIME,
                    stale: Duration::ZERO,
                };
                self.cache.keep(asked, failure(failed), lease, now)
            }
        }
    }

    /// Follows a question to its end, with as many questions as its chain takes.
    async fn follow(&self, asked: &Asked) -> Result<Trail, Failure> {
        let deadline = tokio::time::Instant::now() + QUESTION_TIME;
        let mut further: Option<Box<Asked>> = None;
        let mut trail = Trail::new(asked.name, asked.kind, asked.dnssec_ok, self.caps);
        loop {
            let question = further.as_deref().unwrap_or(asked);
            let answer = self.upstreams.ask(question, deadline).await?;
            let message =
                Message::read(&answer.octets).expect("upstream gives whole messages only");
            match trail.follow(&message).map_err(astray)? {
                Step::Done => return Ok(trail),
                Step::Ask(next) if self.special_use(&next).is_some() => {
                    return Err(refused("the chain of aliases leads to a special-use name"));
                }
                Step::Ask(name) => further = Some(Box::new(Asked { name, ..*asked })),
            }
        }
    }

    /// A special-use name leaves the machine only where the operator forwards it (SPEC 4).
    #[inline]
    fn special_use(&self, name: &Name) -> Option<Hit<'_>> {
        let hit = self.special.find(name)?;
        (!self.upstreams.forwards(name)).then_some(hit)
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn astray(why: Astray) -> Failure {
    match why {
        Astray::TooLong => refused("the chain of aliases is too long"),
        Astray::Loop => refused("the chain of aliases goes in a circle"),
        Astray::Malformed(_) => refused("the answer holds a broken record"),
    }
}

fn refused(text: &str) -> Failure {
    Failure::Failed {
        rcode: Rcode::SERVFAIL,
        ede: Some((Ede::OTHER, text.as_bytes().into())),
    }
}

/// What is said when upstream cannot be asked.
fn failure(failure: &Failure) -> Known {
    let told = |reason, ede, text: &str| (reason, Finding::failure(ede, text));
    let (reason, finding) = match failure {
        Failure::Timeout => told(
            Reason::UpstreamTimeout,
            Ede::NO_REACHABLE_AUTHORITY,
            "no upstream answered in time",
        ),
        Failure::Unreachable => told(
            Reason::UpstreamUnreachable,
            Ede::NETWORK_ERROR,
            "no upstream could be reached",
        ),
        Failure::NoServer => told(
            Reason::UpstreamUnreachable,
            Ede::NO_REACHABLE_AUTHORITY,
            "no upstream is configured",
        ),
        Failure::Failed {
            ede: Some((code, text)),
            ..
        } => {
            let finding = Finding {
                ede: Some(Box::new((*code, text.clone()))),
                ..Finding::failure(Ede::OTHER, "")
            };
            (Reason::UpstreamServfail, finding)
        }
        Failure::Failed { ede: None, rcode } => told(
            Reason::UpstreamServfail,
            Ede::NO_REACHABLE_AUTHORITY,
            &format!("every upstream failed, the last with {rcode}"),
        ),
    };
    Known {
        finding,
        failed: Some(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There are tens of thousands of them: whoever adds a field sees here what it costs.
    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<Entry<Known>>(), 120);
    }
}
