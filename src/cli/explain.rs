//! `explain`: would this name resolve, and why. It asks the function that the server asks.

use serde_json::{Value, json};

use super::args::{ExplainArgs, Format};
use super::ask::{Said, query};
use super::{accept, configuration, exit, fail, printable, read_policy, say, usage};
use crate::answer::Reason;
use crate::answer::special::{Hit, Special};
use crate::answer::why;
use crate::config::{Ancestors, Config, Types};
use crate::daemon::{
    Grants, StartError, compile, local_zones, reason, reason_denied, search_suffixes, select_of,
};
use crate::matcher::{Denial, Grant, Kinship, Near, Rule, Rules, SearchSuffixes, Verdict, Why};
use crate::policy::{self, Accepted, Code, Diagnostics, Pattern};
use crate::wire::{MESSAGE_OCTETS_MAX, Name, Query, Type, UDP_OCTETS};

/// Remarks of `check` about a pattern that allows more than it seems to.
const CAUTIONS: [&str; 2] = ["NP031", "NP034"];

pub(super) fn explain(args: &ExplainArgs, color: clap::ColorChoice) -> u8 {
    match explained(args, color) {
        Ok(all_allowed) => {
            if all_allowed {
                exit::OK
            } else {
                exit::FOUND
            }
        }
        Err(code) => code,
    }
}

fn explained(args: &ExplainArgs, color: clap::ColorChoice) -> Result<bool, u8> {
    let (codes, typed): (Vec<&String>, _) = args.names.iter().partition(|it| is_code(it));
    explain_codes(&codes, args.format)?;
    if typed.is_empty() {
        return Ok(true);
    }
    let kind = kind_of(&args.kind)?;
    let names = typed.iter().map(|name| name_of(name));
    let names: Vec<Name> = names.collect::<Result<_, _>>()?;
    let config = configuration(&args.files.flags())?;
    let judge = Judge::open(config, color)?;
    let mut all_allowed = true;
    for (i, (name, typed)) in names.iter().zip(typed).enumerate() {
        let opinion = judge.opinion(name, typed, kind);
        all_allowed &= opinion.allowed;
        let gap = if i + codes.len() > 0 { "\n" } else { "" };
        match args.format {
            Format::Text => say(&format!("{gap}{}", judge.text(&opinion))),
            Format::Json => say(&format!("{}\n", judge.json(&opinion))),
        }
    }
    Ok(all_allowed)
}

/// `NP012` is no name that a policy could list, so it is the code of a diagnostic.
fn is_code(text: &str) -> bool {
    let digits = text.get(..2).filter(|it| it.eq_ignore_ascii_case("NP"));
    digits.is_some() && text.len() == 5 && text[2..].bytes().all(|it| it.is_ascii_digit())
}

/// Tells what codes mean; a policy is not read for that.
fn explain_codes(names: &[&String], format: Format) -> Result<(), u8> {
    for (i, name) in names.iter().enumerate() {
        let unknown = || usage(&format!("there is no code {name}; docs/codes.md has all"));
        let code = Code::find(name).ok_or_else(unknown)?;
        let gap = if i > 0 { "\n" } else { "" };
        match format {
            Format::Text => say(&format!("{gap}{}", code.text())),
            Format::Json => say(&format!("{}\n", code_json(code))),
        }
    }
    Ok(())
}

fn code_json(code: &Code) -> Value {
    json!({
        "v": 1,
        "code": code.code,
        "severity": code.severity.word(),
        "title": code.title,
        "meaning": code.meaning,
        "example": code.example,
        "remedy": code.remedy,
    })
}

/// ANY has an answer; the other types that no record has are refused or malformed, whatever the name.
fn kind_of(text: &str) -> Result<Type, u8> {
    match text.parse::<Type>() {
        Ok(kind) if kind == Type::ANY || !kind.is_meta() => Ok(kind),
        _ => Err(usage(&format!("{text:?} is not a type of records"))),
    }
}

fn name_of(text: &str) -> Result<Name, u8> {
    text.parse()
        .map_err(|error| usage(&format!("{text:?} is not a name: {error}")))
}

/// What the server would judge by, read and compiled as the server does it.
pub(super) struct Judge {
    config: Config,
    pub(super) accepted: Accepted,
    /// What is worth a thought about the policy's patterns.
    remarks: Diagnostics,
    pub(super) rules: Rules,
    special: Special,
    /// The endings of search lists.
    search: SearchSuffixes,
    /// The names of the local zones.
    zones: Vec<Name>,
}

/// What is thought of a name.
pub(super) struct Opinion {
    name: Name,
    kind: Type,
    pub(super) allowed: bool,
    pub(super) reason: Reason,
    /// The answer, where it is known without asking.
    answer: Option<String>,
    pub(super) rule: Option<Rule>,
    nearest: Vec<Near>,
    /// Why no policy can list this name, and what is meant perhaps.
    unlistable: Option<String>,
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
    /// Reads the policy; tells what is wrong with it and returns the exit code when it cannot.
    pub(super) fn open(config: Config, color: clap::ColorChoice) -> Result<Self, u8> {
        let file = config.policy.file.display().to_string();
        let source = read_policy(&config)?;
        let select = select_of(&config);
        let accepted = accept(&config, &source, color)?;
        let grants = Grants::of(&config).map_err(|bad| fail(&StartError::Patterns(bad)))?;
        Ok(Self {
            zones: local_zones(&config).map_err(|error| fail(&error))?,
            remarks: policy::lint(&file, &source, &accepted, &select),
            rules: compile(&accepted.policy, &config, &grants),
            special: Special::new(),
            search: search_suffixes(&config),
            config,
            accepted,
        })
    }

    /// What [`Self::judge`] says of a name, and what is near to it where it is blocked.
    fn opinion(&self, name: &Name, typed: &str, kind: Type) -> Opinion {
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
    pub(super) fn judge(&self, name: &Name, kind: Type) -> Opinion {
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
        let forward = &self.config.forward;
        let is_forwarded = forward.iter().any(|it| name.is_at_or_below(&it.zone));
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
        (rule.grant == Grant::Listed)
            .then(|| self.accepted.lines.get(rule.index as usize).copied())?
    }

    fn at(&self, rule: Rule) -> String {
        let line = self.line(rule);
        line.map_or(String::new(), |line| format!("   (line {line})"))
    }

    fn text(&self, opinion: &Opinion) -> String {
        let Opinion { name, .. } = opinion;
        let policy = &self.accepted.policy;
        let word = if opinion.allowed {
            "ALLOWED"
        } else {
            "BLOCKED"
        };
        let mut text = format!("{word}  {name}\n");
        let mut line = |what: &str, said: &str| text += &format!("  {what:<8} {said}\n");
        line(
            "policy",
            &format!(
                "{} ({}) from {}",
                printable(&policy.name),
                printable(&policy.id),
                self.config.policy.file.display()
            ),
        );
        line("reason", opinion.reason.word());
        line("rule", &self.rule_text(opinion));
        for label in self.cautions(opinion.rule) {
            line("caution", label);
        }
        for near in &opinion.nearest {
            let (kinship, at) = (kinship_text(near, name), self.at(near.rule));
            line("nearest", &format!("{:<20} {kinship}{at}", near.pattern));
        }
        if let Some(answer) = &opinion.answer {
            line("answer", answer);
        }
        if !opinion.allowed {
            line("to allow", &self.remedy(opinion));
        }
        text
    }

    pub(super) fn rule_text(&self, opinion: &Opinion) -> String {
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

    /// What `check` would have said about the pattern that allows a name.
    fn cautions(&self, rule: Option<Rule>) -> impl Iterator<Item = &str> {
        let listed = rule.filter(|rule| rule.grant == Grant::Listed);
        let path = listed.map(|rule| format!("/allowed_hostnames/{}", rule.index));
        let about = move |it: &&policy::Diagnostic| {
            let path = path.as_ref();
            CAUTIONS.contains(&it.code) && path.is_some_and(|path| it.path.ends_with(path))
        };
        self.remarks
            .findings
            .iter()
            .filter(about)
            .map(|it| it.label.as_str())
    }

    fn remedy(&self, opinion: &Opinion) -> String {
        if opinion.reason == Reason::Qtype {
            return format!(
                "add \"{}\" to guard.types of the configuration",
                opinion.kind
            );
        }
        if let Some(why) = &opinion.unlistable {
            return format!("not possible: {why}");
        }
        if opinion.reason == Reason::BadLabel {
            return "not possible: no pattern matches such a name".to_owned();
        }
        if opinion.reason == Reason::SearchSuffix {
            return "nothing: the name in front of the ending is the one that is meant".to_owned();
        }
        let last = self.accepted.lines.last();
        let at = last.map_or(String::new(), |line| format!(" (line {line})"));
        format!("add \"{}\" to egress.allowed_hostnames{at}", opinion.name)
    }

    fn json(&self, opinion: &Opinion) -> Value {
        let policy = &self.accepted.policy;
        let near = |near: &Near| json!({"pattern": near.pattern, "kind": near.kinship.word(), "line": self.line(near.rule)});
        let is_unlisted = matches!(opinion.reason, Reason::NotListed | Reason::DenyAll);
        let fix = (is_unlisted && opinion.unlistable.is_none()).then(|| {
            json!({"op": "add", "path": "/egress/allowed_hostnames/-", "value": opinion.name.to_string()})
        });
        json!({
            "v": 1,
            "name": opinion.name.to_string(),
            "type": opinion.kind.to_string(),
            "verdict": if opinion.allowed { "allowed" } else { "blocked" },
            "reason": opinion.reason.word(),
            "policy": {"id": policy.id, "name": policy.name},
            "matched": opinion.rule.and_then(|rule| self.rules.pattern(rule)),
            "line": opinion.rule.and_then(|rule| self.line(rule)),
            "nearest": opinion.nearest.iter().map(near).collect::<Vec<_>>(),
            "fix": fix,
        })
    }
}

/// What is answered from the list of special-use names.
fn special_answer(hit: &Hit<'_>, name: &Name, kind: Type) -> Option<String> {
    let octets = query(name, kind);
    let query = Query::read(&octets).ok()?;
    let mut reply = Vec::new();
    hit.write(&query, UDP_OCTETS, MESSAGE_OCTETS_MAX, &mut reply);
    Some(Said::read(&reply, kind).ok()?.summary())
}

/// Why a policy would refuse what was typed as a pattern, if it would.
fn unlistable(typed: &str) -> Option<String> {
    let flaw = Pattern::parse(typed).err()?;
    let help = flaw.help.map_or(String::new(), |help| format!("; {help}"));
    Some(format!("{}{help}", flaw.message))
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

/// How a pattern is near to a name, to stand behind the pattern.
pub(super) fn kinship_text(near: &Near, name: &Name) -> String {
    let base = near.pattern.trim_start_matches("*.");
    match near.kinship {
        Kinship::ApexOfWildcard => format!("covers names below {base}, not {base} itself"),
        Kinship::BelowExact => format!("is that name alone; *.{base} would cover this one"),
        Kinship::Typo => "is one character away".to_owned(),
        Kinship::OtherEnding => "is the same but for its ending".to_owned(),
        Kinship::Above => format!("lies below {name}, and does not cover it"),
    }
}
