//! What is thought of the names that the command was refused, by the same judgement as `suggest`.
//!
//! What the resolver saw comes in; for a name its class and why, and which names of a flood are worth to stop for,
//! go out. Nothing is added here: whoever typed `exec` decides.

use super::super::{milliseconds, rules_of_list};
use super::epilogue::{Companion, Hidden, Refusal};
use crate::answer::Reason;
use crate::config::Config;
use crate::daemon::StartError;
use crate::learn::{Class, Current, Item, Observation, Observations, Proposal, suggest};
use crate::matcher::Rules;
use crate::policy::Policy;
use crate::telemetry::{Decision, Sighting};

/// The policy that the command is held to, and what `suggest` knows.
pub(super) struct Advisor {
    rules: Rules,
    policy: Policy,
}

impl Advisor {
    pub(super) fn open(policy: &Policy, config: &Config) -> Result<Self, StartError> {
        Ok(Self {
            rules: rules_of_list(policy, config)?,
            policy: policy.clone(),
        })
    }

    /// What `suggest` proposes for these.
    fn propose(&self, seen: impl IntoIterator<Item = Observation>) -> Proposal {
        let mut observations = Observations::default();
        for it in seen {
            observations.add(&it);
        }
        let current = Current {
            rules: &self.rules,
            listed: &self.policy.allowed_hostnames,
            search: &[],
            accept: &[],
        };
        suggest(&observations, &current)
    }

    /// Is one of these refusals a reason to stop? Not what no work needs, nor what looking names up brings with it,
    /// nor a type that is not served: the name is there.
    pub(super) fn matters(&self, refused: impl IntoIterator<Item = Observation>) -> bool {
        let (guarded, denied): (Vec<_>, Vec<_>) = refused
            .into_iter()
            .partition(|it| it.reason.is_some_and(is_guarded));
        let is_private = |it: &Observation| it.reason == Some(Reason::PrivateAddress);
        if guarded.iter().any(is_private) {
            return true;
        }
        let proposal = self.propose(denied);
        let mut asked = proposal.items.iter().filter(|it| it.count > 0);
        asked.any(|it| match it.class {
            Class::Add | Class::Review | Class::Danger => true,
            Class::KeepBlocked | Class::Hidden | Class::Unused => false,
        })
    }

    /// Says of each refusal what it is, and takes out what looking names up brings with it. What may matter stands
    /// first, each in the order it had; `seen` is all that was asked for.
    pub(super) fn sort(
        &self,
        seen: impl IntoIterator<Item = Observation>,
        refusals: Vec<Refusal>,
    ) -> (Vec<Refusal>, Hidden, Vec<Companion>) {
        let proposal = self.propose(seen);
        let mut hidden = Hidden::default();
        let mut sorted = Vec::new();
        for mut refusal in refusals {
            if !is_guarded(refusal.reason) {
                refusal.item = proposal.about(&refusal.name.to_string()).cloned();
            }
            match refusal.item.as_ref().map(|it| it.evidence.kind) {
                Some("search_suffix") => hidden.search_suffix += refusal.count,
                Some("reverse_lookup") => hidden.reverse += refusal.count,
                _ => sorted.push(refusal),
            }
        }
        sorted.sort_by_key(|it| it.class().is_some_and(is_quiet));
        let companions = companions(&proposal, &sorted);
        (sorted, hidden, companions)
    }
}

/// The name is the policy's; it is what the answer holds, or the type, that is not.
pub(super) fn is_guarded(reason: Reason) -> bool {
    matches!(reason, Reason::PrivateAddress | Reason::Qtype)
}

/// Nothing to do about these.
fn is_quiet(class: Class) -> bool {
    matches!(class, Class::KeepBlocked | Class::Hidden)
}

/// When the first was asked for that may matter.
pub(super) fn first_ms(refusals: &[Refusal]) -> Option<u64> {
    let items = refusals.iter().filter_map(|it| it.item.as_ref());
    let items = items.filter(|it| !is_quiet(it.class));
    items.filter_map(|it| it.first_ms).min()
}

/// What those who were refused are never used without, and was not asked for yet.
fn companions(proposal: &Proposal, refusals: &[Refusal]) -> Vec<Companion> {
    let is_refused = |name: &str| refusals.iter().any(|it| it.name.to_string() == name);
    let items = proposal.of(Class::Add).filter(|it| {
        let of = it.evidence.near.as_deref();
        it.evidence.kind == "companion" && of.is_some_and(is_refused)
    });
    let companion = |it: &Item| Companion {
        name: it.name.clone(),
        why: it.why.clone(),
    };
    items.map(companion).collect()
}

/// A name that was seen.
pub(super) fn of_sighting(sighting: &Sighting) -> Observation {
    Observation {
        name: sighting.name,
        types: sighting.kinds.clone(),
        count: sighting.count,
        first_ms: Some(milliseconds(sighting.first)),
        last_ms: Some(milliseconds(sighting.last)),
        reason: Some(sighting.reason),
        client: Some(sighting.client),
    }
}

/// A decision as it comes.
pub(super) fn of_decision(decision: &Decision) -> Observation {
    let at_ms = Some(milliseconds(decision.at));
    Observation {
        name: decision.name,
        types: vec![decision.kind],
        count: 1,
        first_ms: at_ms,
        last_ms: at_ms,
        reason: Some(decision.outcome.reason),
        client: Some(decision.client.ip()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Ruling;
    use crate::cli::policy::document;
    use crate::policy::{self, Select};
    use crate::wire::Type;

    fn advisor() -> Advisor {
        let allowed = ["github.com", "*.npmjs.org"].map(str::to_owned);
        let document = document("test", &allowed, 0);
        let read = policy::read("policy.json", document.as_bytes(), &Select::Only);
        let policy = read.expect("a policy").policy;
        let advisor = Advisor::open(&policy, &Config::default());
        advisor.expect("patterns")
    }

    fn asked(name: &str, reason: Reason) -> Observation {
        Observation {
            name: name.parse().expect(name),
            types: vec![Type::A],
            count: 2,
            first_ms: Some(1),
            last_ms: Some(1),
            reason: Some(reason),
            client: None,
        }
    }

    #[test]
    fn noise_and_types_stop_no_command() {
        let advisor = advisor();
        for (name, reason, expected) in [
            ("evil.com", Reason::NotListed, true),
            ("evil.com", Reason::DenyAll, true),
            ("pypi.org", Reason::NotListed, true),
            ("x.oast.fun", Reason::NotListed, true),
            ("rebind.npmjs.org", Reason::PrivateAddress, true),
            ("github.com", Reason::Qtype, false),
            ("o1.ingest.sentry.io", Reason::NotListed, false),
            ("registry", Reason::NotListed, false),
            ("a.com.corp.net", Reason::SearchSuffix, false),
            ("1.2.0.192.in-addr.arpa", Reason::NotListed, false),
            ("in-addr.arpa.evil.com", Reason::NotListed, true),
        ] {
            let one = [asked(name, reason)];
            assert_eq!(advisor.matters(one), expected, "{name} {reason}");
        }
        let noise = asked("o1.ingest.sentry.io", Reason::NotListed);
        let many = [noise, asked("evil.com", Reason::NotListed)];
        assert!(advisor.matters(many), "one of many is enough");
    }

    /// What is told of these, all refused for that reason: names with their classes, hidden lookups, companions.
    fn sorted(names: &[(&str, Reason)]) -> (Vec<String>, Hidden, Vec<String>) {
        let seen = names.iter().map(|(name, reason)| asked(name, *reason));
        let refusal = |it: &Observation| Refusal {
            name: it.name,
            kinds: it.types.clone(),
            count: it.count,
            ruling: Ruling::Blocked,
            reason: it.reason.expect("there is one"),
            note: None,
            asked_as: None,
            item: None,
        };
        let refusals = seen.clone().map(|it| refusal(&it)).collect();
        let (refusals, hidden, companions) = advisor().sort(seen, refusals);
        let class = |it: &Refusal| it.class().map_or("-", Class::word);
        let told = |it: &Refusal| format!("{} {}", it.name, class(it));
        let companions = companions.into_iter().map(|it| it.name).collect();
        (refusals.iter().map(told).collect(), hidden, companions)
    }

    #[test]
    fn names_are_told_as_suggest_would_and_what_is_quiet_stands_last() {
        let (told, hidden, companions) = sorted(&[
            ("o1.ingest.sentry.io", Reason::NotListed),
            ("registry", Reason::NotListed),
            ("github.com.corp.net", Reason::SearchSuffix),
            ("pypi.org", Reason::NotListed),
            ("7.2.0.192.in-addr.arpa", Reason::NotListed),
            ("rebind.npmjs.org", Reason::PrivateAddress),
            ("evil.com", Reason::NotListed),
        ]);
        let expected = [
            "pypi.org add",
            "rebind.npmjs.org -",
            "evil.com review",
            "o1.ingest.sentry.io keep_blocked",
            "registry hidden",
        ];
        assert_eq!(told, expected);
        assert_eq!((hidden.search_suffix, hidden.reverse), (2, 2));
        assert_eq!(companions, ["files.pythonhosted.org"]);
    }

    #[test]
    fn what_was_asked_for_is_no_companion() {
        let both = ["pypi.org", "files.pythonhosted.org"].map(|it| (it, Reason::NotListed));
        assert_eq!(sorted(&both).2, [""; 0]);
    }
}
