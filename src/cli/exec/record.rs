//! What the resolver refused while the command ran, or with `--audit` would have refused, and what there is to know
//! about it.

use std::future::Future;

use tokio::sync::broadcast::error::RecvError;

use super::epilogue::{Hidden, Refusal};
use crate::answer::{Reason, Ruling};
use crate::daemon::{Daemon, kinship_text};
use crate::matcher::{Rules, Verdict};
use crate::policy::Pattern;
use crate::telemetry::Sighting;
use crate::wire::Name;

/// The resolver's memory of one run.
pub(super) struct Record<'a> {
    daemon: &'a Daemon,
}

impl<'a> Record<'a> {
    pub(super) fn open(daemon: &'a Daemon) -> Self {
        Self { daemon }
    }

    /// Ends with the first name that is refused, from now on, and matters.
    pub(super) fn first_refusal(&self) -> impl Future<Output = ()> + use<> {
        let telemetry = self.daemon.telemetry().clone();
        let mut decisions = telemetry.watch_decisions();
        async move {
            loop {
                let is_refused = match decisions.recv().await {
                    Ok(decision) => is_refusal(&decision.name, decision.outcome.reason),
                    // Too many at once to look at each; the trail has them.
                    Err(RecvError::Lagged(_)) => {
                        let refused = telemetry.sightings(|it| is_refusal(&it.name, it.reason));
                        !refused.is_empty()
                    }
                    Err(RecvError::Closed) => return std::future::pending().await,
                };
                if is_refused {
                    return;
                }
            }
        }
    }

    /// The names that were refused, in the order of first sight; and how many lookups are not worth a line.
    pub(super) fn refusals(&self) -> (Vec<Refusal>, Hidden) {
        let live = self.daemon.road().live();
        let mut hidden = Hidden::default();
        let mut refusals = Vec::new();
        let mut seen = self.daemon.telemetry().sightings(|_| true);
        seen.sort_by_key(|it| it.first);
        for sighting in seen {
            let Some(count) = refused(&sighting) else {
                continue;
            };
            match noise(&sighting.name, sighting.reason) {
                Some(Noise::SearchSuffix) => hidden.search_suffix += count,
                Some(Noise::Reverse) => hidden.reverse += count,
                None => refusals.push(refusal(&sighting, count, &live.rules)),
            }
        }
        (refusals, hidden)
    }
}

/// How often it was refused, or would have been.
fn refused(sighting: &Sighting) -> Option<u64> {
    match sighting.ruling {
        Ruling::Blocked | Ruling::WouldBlock => Some(sighting.blocked + sighting.would_block),
        Ruling::Allowed | Ruling::Error | Ruling::Refused => None,
    }
}

/// What is refused on most machines, and missed by nobody.
enum Noise {
    SearchSuffix,
    /// Which name an address has.
    Reverse,
}

fn noise(name: &Name, reason: Reason) -> Option<Noise> {
    let mut labels = name.labels().collect::<Vec<_>>().into_iter().rev();
    let is_reverse =
        labels.next() == Some(b"arpa") && matches!(labels.next(), Some(b"in-addr" | b"ip6"));
    if reason == Reason::SearchSuffix {
        return Some(Noise::SearchSuffix);
    }
    is_reverse.then_some(Noise::Reverse)
}

/// Is this a no that the command may fail by? A type that is not served is not: the name is there.
fn is_refusal(name: &Name, reason: Reason) -> bool {
    reason.ruling() == Ruling::Blocked && reason != Reason::Qtype && noise(name, reason).is_none()
}

fn refusal(sighting: &Sighting, count: u64, rules: &Rules) -> Refusal {
    let asked_as = sighting.asked_as.map(|it| format!("asked for as {it}"));
    let notes: Vec<String> = note(&sighting.name, sighting.reason, rules)
        .into_iter()
        .chain(asked_as)
        .collect();
    Refusal {
        name: sighting.name,
        kinds: sighting.kinds.clone(),
        count,
        ruling: sighting.ruling,
        reason: sighting.reason,
        note: (!notes.is_empty()).then(|| notes.join("; ")),
    }
}

/// What there is to know about a name that is refused.
fn note(name: &Name, reason: Reason, rules: &Rules) -> Option<String> {
    let guarded = [
        (Reason::PrivateAddress, "its addresses are private"),
        (Reason::Qtype, "this type is not served"),
    ];
    if let Some((_, note)) = guarded.iter().find(|(it, _)| *it == reason) {
        return Some(match rules.judge(name) {
            Verdict::Allow(_) => format!("allowed, but {note}"),
            Verdict::Deny(_) => (*note).to_owned(),
        });
    }
    if Pattern::parse(&name.to_string()).is_err() {
        return Some("no policy can allow it".to_owned());
    }
    let near = rules.nearest(name).into_iter().next()?;
    Some(format!("{} {}", near.pattern, kinship_text(&near, name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matcher::Grant;

    fn rules(patterns: &[&str]) -> Rules {
        let patterns = patterns.iter().map(|it| Pattern::parse(it).expect(it));
        let patterns: Vec<Pattern> = patterns.collect();
        Rules::builder().grant(Grant::Listed, &patterns).build()
    }

    #[track_caller]
    fn check(name: &str, reason: Reason, expected: Option<&str>) {
        let rules = rules(&["github.com", "*.npmjs.org"]);
        let name = name.parse().expect(name);
        assert_eq!(note(&name, reason, &rules).as_deref(), expected);
    }

    #[test]
    fn a_note_names_the_nearest_pattern() {
        let apex = "*.npmjs.org covers names below npmjs.org, not npmjs.org itself";
        check("npmjs.org", Reason::NotListed, Some(apex));
        let below = "github.com is that name alone; *.github.com would cover this one";
        check("api.github.com", Reason::NotListed, Some(below));
        check("elsewhere.example", Reason::NotListed, None);
    }

    #[test]
    fn a_note_says_what_no_policy_can_do() {
        check(
            "registry",
            Reason::NotListed,
            Some("no policy can allow it"),
        );
        check(
            "a\\032b.example",
            Reason::BadLabel,
            Some("no policy can allow it"),
        );
        let private = "allowed, but its addresses are private";
        check("github.com", Reason::PrivateAddress, Some(private));
        let private = "its addresses are private";
        check("evil.example", Reason::PrivateAddress, Some(private));
    }

    #[test]
    fn noise_and_types_stop_no_command() {
        for (name, reason, expected) in [
            ("evil.example", Reason::NotListed, true),
            ("evil.example", Reason::DenyAll, true),
            ("rebind.example", Reason::PrivateAddress, true),
            ("github.com", Reason::Qtype, false),
            ("github.com", Reason::Exact, false),
            ("github.com", Reason::UpstreamTimeout, false),
            ("a.com.cluster.local", Reason::SearchSuffix, false),
            ("1.2.0.192.in-addr.arpa", Reason::NotListed, false),
            ("in-addr.arpa.example", Reason::NotListed, true),
        ] {
            let name: Name = name.parse().expect(name);
            assert_eq!(is_refusal(&name, reason), expected, "{name} {reason}");
        }
    }
}
