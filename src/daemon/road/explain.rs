//! What those in the box are told of the policy when they ask for the names below `namegate.internal`.
//!
//! [`answer::why`](crate::answer::why) has the words; here is found out what
//! they are about: the verdict on a name, and what was refused to a client.
//! Both read more than a query may take on the thread that answers it, so they
//! are looked up elsewhere, a few at a time.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

use tokio::runtime::Handle;

use super::{Asker, Errand, Pending, Road, Visit};
use crate::answer::why::{self, Decision, Policy, REFUSALS_MAX, Refused, Texts, Topic};
use crate::answer::{Desk, Reason};
use crate::daemon::live::{Live, reason, reason_denied};
use crate::daemon::places::{Place, Places};
use crate::daemon::reload::hex;
use crate::front::Step;
use crate::matcher::{Allowance, Near, Rule, Verdict};
use crate::policy::Pattern;
use crate::telemetry::Refusal;
use crate::wire::{Name, Rcode, Type};

/// Looks at once, eight of them one client's, each with a thread that waits half a second at worst: a person asks for one at a time.
const LOOKS_MAX: usize = 10;

/// Where things are looked up for people.
pub(super) struct Looks {
    runtime: Handle,
    pub(super) places: Arc<Places>,
    /// For the patterns nearest to names.
    allowance: Mutex<Allowance>,
}

impl Looks {
    /// To be called inside the runtime whose threads are to wait.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            runtime: Handle::current(),
            places: Places::new(LOOKS_MAX),
            allowance: Mutex::new(Allowance::new(now)),
        }
    }
}

impl Road {
    /// Answers a question for a name of ours, whose zone begins at octet `apex_at` of it.
    pub(super) fn explain(
        &self,
        visit: &Visit<'_>,
        (topic, apex_at): (Topic, usize),
        out: &mut Vec<u8>,
    ) -> Step<Pending> {
        let rcode = match (topic, visit.query.kind()) {
            (Topic::Nothing, _) => Rcode::NXDOMAIN,
            (_, Type::TXT) => return self.wait(visit, Errand::Look, out),
            (_, Type::ANY) => {
                self.write_any(visit, None, out);
                return self.explained(visit, Rcode::NOERROR);
            }
            (Topic::Policy | Topic::Usage | Topic::Name(_) | Topic::Last, _) => Rcode::NOERROR,
        };
        let (blocked, room) = (&visit.live.blocked, self.room(visit));
        blocked.nothing(&visit.query, rcode, apex_at, room, out);
        visit.ttl_s.set(Some(blocked.ttl_s()));
        self.explained(visit, rcode)
    }

    /// Looks up what was asked for; none: the program ends.
    pub(super) async fn look(
        self: &Arc<Self>,
        asker: &Asker,
        place: Option<Place>,
    ) -> Option<Texts> {
        let (topic, _) = why::topic(asker.visit().query.name())?;
        let (road, live) = (self.clone(), asker.live.clone());
        let client = asker.client.address.ip().to_canonical();
        let looked = self.looks.runtime.spawn_blocking(move || {
            let texts = road.texts(&live, client, &topic);
            // The thread is taken until now, whether or not somebody still waits.
            drop(place);
            texts
        });
        looked.await.ok()
    }

    /// Gives what was looked up.
    pub(super) fn tell_texts(
        &self,
        visit: &Visit<'_>,
        texts: Option<&Texts>,
        out: &mut Vec<u8>,
    ) -> Step<Pending> {
        let Some(texts) = texts else {
            self.write_plain(visit, Rcode::SERVFAIL, None, out);
            return self.explained(visit, Rcode::SERVFAIL);
        };
        let room = self.room(visit);
        let rcode = texts.write(&visit.query, room, out);
        visit.ttl_s.set(Some(texts.ttl_s()));
        self.explained(visit, rcode)
    }

    fn explained(&self, visit: &Visit<'_>, rcode: Rcode) -> Step<Pending> {
        self.replied(visit, None, Desk::Zone, Reason::Local, rcode, None)
    }

    fn texts(&self, live: &Live, client: IpAddr, topic: &Topic) -> Texts {
        let sha256 = hex(&live.sha256);
        let policy = Policy {
            name: &live.name,
            generation: live.generation,
            sha256: &sha256,
            allows_all: live.rules.allows_all(),
            is_audited: self.audit.is_on(),
            contact: &self.manners.contact,
        };
        match topic {
            Topic::Policy => policy.texts(),
            Topic::Usage => policy.usage(),
            Topic::Name(name) => self.decided(live, &policy, name),
            Topic::Last => self.refused(&policy, client),
            Topic::Nothing => Texts::default(),
        }
    }

    fn decided(&self, live: &Live, policy: &Policy<'_>, name: &Name) -> Texts {
        let (reason, rule) = self.judge(live, name);
        let pattern = rule.and_then(|rule| live.rules.pattern(rule));
        let host = name.ancestor_at(name.host_at());
        let is_host_allowed = matches!(live.rules.judge(&host), Verdict::Allow(_));
        let is_near = reason == Reason::NotListed && !is_host_allowed;
        let nearest = is_near.then(|| self.nearest(live, &host)).flatten();
        policy.decision(&Decision {
            reason,
            pattern: pattern.as_deref(),
            nearest: nearest.as_ref(),
            host: &host,
            is_host_allowed,
            is_listable: Pattern::parse(&host.to_string()).is_ok(),
        })
    }

    /// What is decided about a name, by the desks that a query for it comes to, in their order.
    fn judge(&self, live: &Live, name: &Name) -> (Reason, Option<Rule>) {
        if why::topic(name).is_some() || self.zones.load().covers(name) {
            return (Reason::Local, None);
        }
        if self.fetcher.special_use(name).is_some() {
            return (Reason::SpecialUse, None);
        }
        match live.rules.judge(name) {
            Verdict::Allow(rule) => (reason(rule), Some(rule)),
            Verdict::Deny(denial) => {
                let denial = live.search.recognise(name, denial);
                (reason_denied(denial.why), None)
            }
        }
    }

    fn nearest(&self, live: &Live, name: &Name) -> Option<Near> {
        let steps = u64::try_from(live.rules.steps()).ok()?;
        let allowance = self.looks.allowance.lock();
        let mut allowance = allowance.expect("nobody panics with it in hand");
        allowance.spend(steps, Instant::now())?;
        drop(allowance);
        live.rules.nearest(name).into_iter().next()
    }

    fn refused(&self, policy: &Policy<'_>, client: IpAddr) -> Texts {
        let refusals = self.telemetry.refused_to(client, REFUSALS_MAX);
        let refused = |it: &Refusal| Refused {
            name: it.name,
            reason: it.reason,
            count: it.count,
            last: it.last,
        };
        let refused: Vec<Refused> = refusals.iter().map(refused).collect();
        policy.refusals(client, &refused, SystemTime::now())
    }
}
