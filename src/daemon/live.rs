//! What one generation of the policy comes to: rules to judge by, and words to refuse with.

use std::fmt;
use std::time::SystemTime;

use crate::answer::Reason;
use crate::answer::blocked::Blocked;
use crate::answer::upstream::system_search;
use crate::config::{Ancestors, Config, SearchSuffix};
use crate::matcher::{Grant, Rule, Rules, SearchSuffixes, Shape, Why};
use crate::policy::{Pattern, Policy};

/// The patterns that the operator's configuration names, read once.
#[derive(Clone, Debug)]
pub struct Grants {
    agent_gateway: Vec<Pattern>,
    mcp_gateway: Vec<Pattern>,
    devbox_to_devbox: Vec<Pattern>,
    mirrors: Vec<Pattern>,
    /// Patterns that may answer with private addresses.
    pub(super) private_allowed_for: Vec<Pattern>,
}

/// A pattern in the configuration that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPattern {
    /// `services.agent_gateway`
    pub key: &'static str,
    /// As written.
    pub text: String,
    /// What is wrong with it, and the remedy where there is one.
    pub message: String,
}

impl fmt::Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}: {}", self.key, self.text, self.message)
    }
}

impl Grants {
    /// Reads the patterns of a configuration.
    ///
    /// # Errors
    /// All those that are not patterns.
    pub fn of(config: &Config) -> Result<Self, Vec<BadPattern>> {
        let mut bad = Vec::new();
        let mut patterns = |key, texts: &[String]| {
            let mut read = Vec::new();
            for text in texts {
                match Pattern::parse(text) {
                    Ok(pattern) => read.push(pattern),
                    Err(flaw) => bad.push(BadPattern {
                        key,
                        text: text.clone(),
                        message: flaw.advice(),
                    }),
                }
            }
            read
        };
        let services = &config.services;
        let grants = Self {
            agent_gateway: patterns("services.agent_gateway", &services.agent_gateway),
            mcp_gateway: patterns("services.mcp_gateway", &services.mcp_gateway),
            devbox_to_devbox: patterns("services.devbox_to_devbox", &services.devbox_to_devbox),
            mirrors: patterns("services.mirrors", &services.mirrors),
            private_allowed_for: patterns(
                "guard.private_allowed_for",
                &config.guard.private_allowed_for,
            ),
        };
        if bad.is_empty() { Ok(grants) } else { Err(bad) }
    }
}

/// Compiles a policy, with what its flags and the configuration grant.
pub fn compile(policy: &Policy, config: &Config, grants: &Grants) -> Rules {
    let mut rules = Rules::builder();
    // With `allow_all` the policy's own list is void (SPEC 2), so no name is said to be allowed by it.
    rules = if policy.allow_all {
        rules.allow_all()
    } else {
        rules.grant(Grant::Listed, policy.allowed_hostnames.iter())
    };
    let flags = [
        (
            policy.allow_agent_gateway,
            Grant::AgentGateway,
            &grants.agent_gateway,
        ),
        (
            policy.allow_mcp_gateway,
            Grant::McpGateway,
            &grants.mcp_gateway,
        ),
        (
            policy.allow_devbox_to_devbox,
            Grant::DevboxToDevbox,
            &grants.devbox_to_devbox,
        ),
        (
            policy.allow_runloop_mirrors,
            Grant::Mirrors,
            &grants.mirrors,
        ),
    ];
    for (_, grant, patterns) in flags.into_iter().filter(|(on, _, _)| *on) {
        rules = rules.grant(grant, patterns);
    }
    for (index, forward) in config
        .forward
        .iter()
        .enumerate()
        .filter(|(_, forward)| forward.exempt)
    {
        rules = rules.grant_zone(Grant::Forward, index, &forward.zone);
    }
    rules.build()
}

/// A policy in force.
pub struct Live {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Rises by one with each policy that went live; 1 is the first. 0: there is none yet, and nothing is allowed.
    pub generation: u32,
    /// Of the file it came from.
    pub sha256: [u8; 32],
    /// When it went live.
    pub since: SystemTime,
    /// What is allowed.
    pub rules: std::sync::Arc<Rules>,
    /// How the rest is refused.
    pub(super) blocked: Blocked,
    /// What of the rest nobody meant.
    pub(super) search: SearchSuffixes,
}

impl Live {
    /// Puts a policy in force.
    pub fn new(
        policy: &Policy,
        config: &Config,
        grants: &Grants,
        generation: u32,
        sha256: [u8; 32],
    ) -> Self {
        let nodata = config.blocked.ancestors == Ancestors::Nodata;
        let Policy { id, name, .. } = policy;
        Self {
            id: id.clone(),
            name: name.clone(),
            generation,
            sha256,
            since: SystemTime::now(),
            rules: compile(policy, config, grants).into(),
            blocked: Blocked::new(
                config.blocked.ttl_s,
                nodata,
                name,
                generation,
                &config.blocked.contact,
            ),
            search: search_suffixes(config),
        }
    }
}

/// The endings of search lists; the machine's own are read now.
pub fn search_suffixes(config: &Config) -> SearchSuffixes {
    let of = |suffix: &SearchSuffix| match suffix {
        SearchSuffix::System => system_search(),
        SearchSuffix::Name(name) => vec![*name],
    };
    let named = config.blocked.search_suffixes.iter().flat_map(of);
    SearchSuffixes::new(&named.collect::<Vec<_>>())
}

/// The word for why a name is denied.
pub fn reason_denied(why: Why) -> Reason {
    match why {
        Why::NotListed => Reason::NotListed,
        Why::DenyAll => Reason::DenyAll,
        Why::BadLabel => Reason::BadLabel,
        Why::SearchSuffix => Reason::SearchSuffix,
    }
}

/// The word for why a rule allows a name.
pub fn reason(rule: Rule) -> Reason {
    match (rule.grant, rule.shape) {
        (Grant::AgentGateway, _) => Reason::GatewayAgent,
        (Grant::McpGateway, _) => Reason::GatewayMcp,
        (Grant::DevboxToDevbox, _) => Reason::Devbox,
        (Grant::Mirrors, _) => Reason::Mirrors,
        (Grant::Forward, _) => Reason::ForwardExempt,
        (Grant::Listed, Shape::Exact) => Reason::Exact,
        (Grant::Listed, Shape::Wildcard) => Reason::Wildcard,
        (Grant::Listed, Shape::Everything) => Reason::AllowAll,
    }
}
