//! What the server would say to a name, and why: the road of a query without its octets.
//!
//! A [`Judge`] is made of the policy in a file, or of the one in force; it asks
//! the functions that the server asks, sends nothing and counts nothing. What it
//! finds is an [`Opinion`], a value.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::live::{Grants, Live, compile, reason, reason_denied, search_suffixes};
use super::local_zones;
use super::reload::{hex, select_of, sha256_of};
use super::said::{Said, query};
use super::start_error::StartError;
use crate::answer::Reason;
use crate::answer::special::{Hit, Special};
use crate::answer::upstream;
use crate::answer::why;
use crate::config::{Ancestors, Config, Types};
use crate::matcher::{Denial, Grant, Near, Rule, Rules, SearchSuffixes, Verdict, Why};
use crate::policy::watch::{digest, open_file};
use crate::policy::{self, Accepted, Diagnostics, Pattern};
use crate::wire::{MESSAGE_OCTETS_MAX, Name, Query, Room, Type, UDP_OCTETS};

/// What judges: rules, and what stands in front of them on the road.
pub struct Judge {
    /// What is allowed.
    pub rules: Arc<Rules>,
    pub(super) config: Arc<Config>,
    pub(super) id: String,
    pub(super) name: String,
    /// Of the policy's file, in hexadecimal.
    pub(super) sha256: String,
    special: Special,
    /// The endings of search lists.
    search: SearchSuffixes,
    /// The names of the local zones.
    zones: Vec<Name>,
    /// The file, if it holds what is judged by.
    pub(super) document: Option<Document>,
}

/// A policy's file: where its patterns stand, and what is worth a thought about them.
pub(super) struct Document {
    accepted: Arc<Accepted>,
    pub(super) remarks: Diagnostics,
    /// The JSON pointer of `allowed_hostnames`.
    pub(super) hostnames: String,
}

impl Document {
    fn new(config: &Config, source: &[u8], accepted: Arc<Accepted>) -> Self {
        let (file, select) = (config.policy.file.display().to_string(), select_of(config));
        let path = policy::hostnames_path(source, &select);
        Self {
            remarks: policy::lint(&file, source, &accepted, &select),
            hostnames: path.expect("the policy was accepted, so it has the list"),
            accepted,
        }
    }

    /// The line of the list's last entry.
    pub(super) fn last_line(&self) -> Option<u32> {
        self.accepted.lines.last().copied()
    }
}

/// What is thought of a name.
pub struct Opinion {
    pub(super) name: Name,
    pub(super) kind: Type,
    /// Would it be answered with what it is?
    pub allowed: bool,
    /// Why so.
    pub reason: Reason,
    /// The answer, where it is known without asking.
    pub(super) answer: Option<String>,
    /// What grants it.
    pub rule: Option<Rule>,
    pub(super) nearest: Vec<Near>,
    /// Why no policy can list this name, and what is meant perhaps.
    pub(super) unlistable: Option<String>,
}

impl Opinion {
    /// The opinion of a name that a local zone has: the first desk that a query comes to.
    fn of(name: &Name, kind: Type) -> Self {
        Self {
            name: *name,
            kind,
            allowed: true,
            reason: Reason::Local,
            answer: None,
            rule: None,
            nearest: Vec::new(),
            unlistable: None,
        }
    }
}

impl Judge {
    /// Judges by the policy in a file's octets.
    ///
    /// # Errors
    /// When the configuration names patterns that are none, or zones that cannot be served.
    pub fn of_file(
        config: Config,
        source: &[u8],
        accepted: Arc<Accepted>,
    ) -> Result<Self, StartError> {
        let grants = Grants::of(&config).map_err(StartError::Patterns)?;
        let policy = &accepted.policy;
        Ok(Self {
            zones: local_zones(&config)?,
            id: policy.id.clone(),
            name: policy.name.clone(),
            sha256: sha256_of(source),
            rules: Arc::new(compile(policy, &config, &grants)),
            special: Special::new(),
            search: search_suffixes(&config),
            document: Some(Document::new(&config, source, accepted)),
            config: Arc::new(config),
        })
    }

    /// Judges by the policy in force. The file is read for its lines, which count if it still holds that policy.
    pub(super) fn of_live(config: &Arc<Config>, live: &Live, zones: Vec<Name>) -> Self {
        Self {
            zones,
            id: live.id.clone(),
            name: live.name.clone(),
            sha256: hex(&live.sha256),
            rules: live.rules.clone(),
            special: Special::new(),
            search: live.search.clone(),
            document: document_of(config, live),
            config: config.clone(),
        }
    }

    /// What [`Self::judge`] says of a name, and what is near to it where it is blocked.
    pub fn opinion(&self, name: &Name, typed: &str, kind: Type) -> Opinion {
        let opinion = self.judge(name, kind);
        if opinion.allowed || opinion.rule.is_some() {
            return opinion;
        }
        Opinion {
            nearest: self.rules.nearest(name),
            unlistable: unlistable(typed),
            ..opinion
        }
    }

    /// Judges a name on the road that a query takes: the resolver's own zone, local zones, special names, the policy, then the type.
    pub fn judge(&self, name: &Name, kind: Type) -> Opinion {
        let opinion = Opinion::of(name, kind);
        if self.config.blocked.explain_zone && why::topic(name).is_some() {
            let answer = Some("what the resolver tells of its policy, as TXT".to_owned());
            return Opinion { answer, ..opinion };
        }
        let zones = self.zones.iter().filter(|zone| name.is_at_or_below(zone));
        if let Some(zone) = zones.max_by_key(|zone| zone.labels().count()) {
            let answer = Some(format!("what the zone {zone} says"));
            return Opinion { answer, ..opinion };
        }
        let mut forwards = self.config.forward.iter();
        let is_forwarded = forwards.any(|it| upstream::takes(&it.zone, name));
        if let Some(hit) = self.special.find(name).filter(|_| !is_forwarded) {
            return Opinion {
                reason: Reason::SpecialUse,
                answer: special_answer(&hit, name, kind),
                ..opinion
            };
        }
        match self.rules.judge(name) {
            Verdict::Allow(rule) => self.of_allowed(rule, opinion),
            Verdict::Deny(denial) if self.opens_for_dnssec(kind, denial) => Opinion {
                reason: Reason::DnssecAncestor,
                ..opinion
            },
            Verdict::Deny(denial) => self.of_denied(denial, name, kind),
        }
    }

    fn of_allowed(&self, rule: Rule, opinion: Opinion) -> Opinion {
        let is_served = match &self.config.guard.types {
            Types::All => true,
            Types::Listed(types) => opinion.kind == Type::ANY || types.contains(&opinion.kind),
        };
        if is_served {
            let reason = match opinion.kind {
                Type::ANY => Reason::Any,
                _ => reason(rule),
            };
            let rule = Some(rule);
            return Opinion {
                reason,
                rule,
                ..opinion
            };
        }
        Opinion {
            allowed: false,
            reason: Reason::Qtype,
            rule: Some(rule),
            answer: Some("NODATA, EDE 15 \"type not served\"".to_owned()),
            ..opinion
        }
    }

    fn of_denied(&self, denial: Denial, name: &Name, kind: Type) -> Opinion {
        let denial = self.search.recognise(name, denial);
        let blocked = &self.config.blocked;
        let own = blocked.explain_zone.then(why::apex);
        let served = self.zones.iter().chain(&own);
        let denial = served.fold(denial, |it, apex| it.beside(name, apex));
        let exists = denial.is_ancestor && blocked.ancestors == Ancestors::Nodata;
        let rcode = if exists { "NODATA" } else { "NXDOMAIN" };
        Opinion {
            allowed: false,
            reason: reason_denied(denial.why),
            answer: Some(format!(
                "{rcode}, EDE 15 \"Blocked\", negative TTL {} s",
                blocked.ttl_s
            )),
            ..Opinion::of(name, kind)
        }
    }

    /// Validating clients may ask for the keys above what is allowed (`blocked.dnssec_ancestors`).
    fn opens_for_dnssec(&self, kind: Type, denial: Denial) -> bool {
        self.config.blocked.dnssec_ancestors
            && denial.is_ancestor
            && denial.why == Why::NotListed
            && matches!(kind, Type::DS | Type::DNSKEY)
    }

    /// The line of a pattern of the policy; those of the configuration have none here.
    pub(super) fn line(&self, rule: Rule) -> Option<u32> {
        let lines = &self.document.as_ref()?.accepted.lines;
        let line = || lines.get(rule.index as usize).copied();
        (rule.grant == Grant::Listed).then(line)?
    }

    pub(super) fn at(&self, rule: Rule) -> String {
        let line = self.line(rule);
        line.map_or(String::new(), |line| format!("   (line {line})"))
    }

    /// What decides, in words.
    pub fn rule_text(&self, opinion: &Opinion) -> String {
        let rule = opinion.rule;
        let pattern = rule.and_then(|rule| self.rules.pattern(rule));
        let at = rule.map_or(String::new(), |rule| self.at(rule));
        match (opinion.reason, pattern) {
            (Reason::Local, _) => {
                "a local zone: answered here, whatever the policy says".to_owned()
            }
            (Reason::SpecialUse, _) => {
                "a special-use name: answered here, never forwarded".to_owned()
            }
            (Reason::DnssecAncestor, _) => {
                "above an allowed name: its keys may be asked for (blocked.dnssec_ancestors)"
                    .to_owned()
            }
            (Reason::Qtype, _) => format!(
                "the name is allowed; type {} is not forwarded (guard.types)",
                opinion.kind
            ),
            (Reason::Any, Some(pattern)) => {
                format!("{pattern}{at}   answered here, never forwarded (RFC 8482)")
            }
            (Reason::Wildcard, Some(pattern)) => format!("{pattern}{at}   wildcard, any depth"),
            (Reason::Exact, Some(pattern)) => format!("{pattern}{at}   exact"),
            (Reason::AllowAll, _) => "allow_all is true".to_owned(),
            (_, Some(pattern)) => {
                let grant = rule.map_or("", |rule| grant_text(rule.grant));
                format!("{pattern}   {grant}")
            }
            (Reason::DenyAll, None) => "the policy allows nothing".to_owned(),
            (Reason::SearchSuffix, None) => {
                "none matches; a search list put an ending behind a name".to_owned()
            }
            (Reason::BadLabel, None) => "a label holds an octet outside A-Z a-z 0-9 - _".to_owned(),
            (_, None) => match self.patterns() {
                1 => "the 1 pattern does not match".to_owned(),
                patterns => format!("none of {patterns} patterns matches"),
            },
        }
    }

    fn patterns(&self) -> usize {
        let (exact, wildcard) = self.rules.counts();
        exact + wildcard
    }
}

/// The policy file, if it holds the policy in force.
fn document_of(config: &Config, live: &Live) -> Option<Document> {
    let source = source_of(&config.policy.file).ok()?;
    if digest(&source) != live.sha256 {
        return None;
    }
    let file = config.policy.file.display().to_string();
    let accepted = policy::read(&file, &source, &select_of(config)).ok()?;
    Some(Document::new(config, &source, Arc::new(accepted)))
}

/// A regular file of a policy's size: whoever asks waits for it.
fn source_of(file: &Path) -> io::Result<Vec<u8>> {
    let mut source = Vec::new();
    let limit = policy::OCTETS_MAX as u64 + 1;
    open_file(file)?.take(limit).read_to_end(&mut source)?;
    Ok(source)
}

/// What is answered from the list of special-use names.
fn special_answer(hit: &Hit<'_>, name: &Name, kind: Type) -> Option<String> {
    let octets = query(name, kind);
    let query = Query::read(&octets).ok()?;
    let mut reply = Vec::new();
    let room = Room::plain(UDP_OCTETS, MESSAGE_OCTETS_MAX);
    hit.write(&query, room, &mut reply);
    Some(Said::read(&reply, kind).ok()?.summary())
}

/// Why a policy would refuse what was typed as a pattern, if it would.
fn unlistable(typed: &str) -> Option<String> {
    Some(Pattern::parse(typed).err()?.advice())
}

/// What of policy and configuration grants a name that the list does not have.
fn grant_text(grant: Grant) -> &'static str {
    match grant {
        Grant::Listed => "listed",
        Grant::AgentGateway => "allow_agent_gateway is true, [services] names it",
        Grant::McpGateway => "allow_mcp_gateway is true, [services] names it",
        Grant::DevboxToDevbox => "allow_devbox_to_devbox is true, [services] names it",
        Grant::Mirrors => "allow_runloop_mirrors is true, [services] names it",
        Grant::Forward => "forwarded, and exempt from the policy",
    }
}
