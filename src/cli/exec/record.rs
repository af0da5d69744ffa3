//! What the resolver refused while the command ran, or with `--audit` would have refused, and what there is to know
//! about it.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;

use super::advice::{Advisor, of_decision, of_sighting};
use super::epilogue::Refusal;
use crate::answer::{Reason, Ruling};
use crate::daemon::{Daemon, kinship_text};
use crate::learn::Observation;
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
    pub(super) fn first_refusal(&self, advisor: Arc<Advisor>) -> impl Future<Output = ()> + use<> {
        let telemetry = self.daemon.telemetry().clone();
        let mut decisions = telemetry.watch_decisions();
        async move {
            loop {
                let refused: Vec<Observation> = match decisions.recv().await {
                    Ok(decision) if !is_blocked(decision.outcome.reason) => continue,
                    Ok(decision) => vec![of_decision(&decision)],
                    // Too many at once to look at each; the trail has them.
                    Err(RecvError::Lagged(_)) => {
                        let refused = telemetry.sightings(|it| is_blocked(it.reason));
                        refused.iter().map(of_sighting).collect()
                    }
                    Err(RecvError::Closed) => return std::future::pending().await,
                };
                if advisor.matters(refused) {
                    return;
                }
            }
        }
    }

    /// The names that were refused, in the order of first sight, and all that was asked for.
    pub(super) fn refusals(&self) -> (Vec<Refusal>, Vec<Observation>) {
        let live = self.daemon.road().live();
        let mut refusals = Vec::new();
        let mut observations = Vec::new();
        let mut seen = self.daemon.telemetry().sightings(|_| true);
        seen.sort_by_key(|it| it.first);
        for sighting in seen {
            observations.push(of_sighting(&sighting));
            if let Some(count) = refused(&sighting) {
                refusals.push(refusal(&sighting, count, &live.rules));
            }
        }
        (refusals, observations)
    }
}

/// How often it was refused, or would have been.
fn refused(sighting: &Sighting) -> Option<u64> {
    match sighting.ruling {
        Ruling::Blocked | Ruling::WouldBlock => Some(sighting.blocked + sighting.would_block),
        Ruling::Allowed | Ruling::Error | Ruling::Refused => None,
    }
}

fn is_blocked(reason: Reason) -> bool {
    reason.ruling() == Ruling::Blocked
}

fn refusal(sighting: &Sighting, count: u64, rules: &Rules) -> Refusal {
    Refusal {
        name: sighting.name,
        kinds: sighting.kinds.clone(),
        count,
        ruling: sighting.ruling,
        reason: sighting.reason,
        note: note(&sighting.name, sighting.reason, rules),
        asked_as: sighting.asked_as,
        item: None,
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
}
