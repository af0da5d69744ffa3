//! `explain`: would this name resolve, and why. It asks the function that the server asks.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::args::{ExplainArgs, Format};
use super::{configuration, exit, say, talk};
use crate::answer::Reason;
use crate::answer::special::Special;
use crate::config::{Config, Types};
use crate::daemon::{Grants, StartError, compile, reason, select_of};
use crate::matcher::{Grant, Kinship, Near, Rule, Rules, Verdict, Why};
use crate::policy::{self, Accepted};
use crate::wire::{Name, Type};

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
    let kind: Type = args
        .kind
        .parse()
        .map_err(|()| usage(&format!("{:?} is not a record type", args.kind)))?;
    let names: Vec<Name> = args
        .names
        .iter()
        .map(|name| name_of(name))
        .collect::<Result<_, _>>()?;
    let config = configuration(&args.files.flags())?;
    let judge = Judge::open(config, color)?;
    let mut all_allowed = true;
    for (i, name) in names.iter().enumerate() {
        let opinion = judge.opinion(name, kind);
        all_allowed &= opinion.allowed;
        match args.format {
            Format::Text => say(&format!(
                "{}{}",
                if i > 0 { "\n" } else { "" },
                judge.text(&opinion)
            )),
            Format::Json => say(&format!("{}\n", judge.json(&opinion))),
        }
    }
    Ok(all_allowed)
}

fn usage(message: &str) -> u8 {
    talk(&format!("error: {message}"));
    exit::USAGE
}

fn name_of(text: &str) -> Result<Name, u8> {
    text.parse()
        .map_err(|error| usage(&format!("{text:?} is not a name: {error}")))
}

/// A policy compiled as the server compiles it.
pub(super) struct Judge {
    config: Config,
    accepted: Accepted,
    rules: Rules,
    special: Special,
}

/// What is thought of a name.
pub(super) struct Opinion {
    pub name: Name,
    pub allowed: bool,
    pub reason: Reason,
    pub matched: Option<String>,
    pub line: Option<u32>,
    pub nearest: Vec<Near>,
    kind: Type,
}

impl Judge {
    /// Reads the policy; tells what is wrong with it and returns the exit code when it cannot.
    pub(super) fn open(config: Config, color: clap::ColorChoice) -> Result<Self, u8> {
        let file = config.policy.file.display().to_string();
        let source = std::fs::read(&config.policy.file).map_err(|error| {
            let missing = StartError::PolicyMissing {
                file: config.policy.file.clone(),
                error,
            };
            talk(&format!("namegate: {missing}"));
            exit::NO_FILE
        })?;
        let accepted =
            policy::read(&file, &source, &select_of(&config)).map_err(|diagnostics| {
                talk(
                    diagnostics
                        .render(super::colored(color, &std::io::stderr()))
                        .trim_end(),
                );
                exit::BAD_POLICY
            })?;
        let grants = Grants::of(&config).map_err(|bad| {
            let error = StartError::Patterns(bad);
            talk(&format!("namegate: {error}"));
            error.exit_code()
        })?;
        let rules = compile(&accepted.policy, &config, &grants);
        Ok(Self {
            config,
            accepted,
            rules,
            special: Special::new(),
        })
    }

    /// Judges a name on the road that a query takes: special names, then the policy, then the type.
    pub(super) fn opinion(&self, name: &Name, kind: Type) -> Opinion {
        let forwarded = self
            .config
            .forward
            .iter()
            .any(|forward| name.is_at_or_below(&forward.zone));
        let mut opinion = Opinion {
            name: *name,
            allowed: true,
            reason: Reason::SpecialUse,
            matched: None,
            line: None,
            nearest: Vec::new(),
            kind,
        };
        if !forwarded && self.special.find(name).is_some() {
            return opinion;
        }
        match self.rules.judge(name) {
            Verdict::Allow(rule) => {
                opinion.reason = reason(rule);
                opinion.matched = self.rules.pattern(rule);
                opinion.line = self.line(rule);
                if !self.is_served(kind) {
                    (opinion.allowed, opinion.reason) = (false, Reason::Qtype);
                }
            }
            Verdict::Deny(denial) => {
                opinion.allowed = false;
                opinion.reason = match denial.why {
                    Why::NotListed => Reason::NotListed,
                    Why::DenyAll => Reason::DenyAll,
                    Why::BadLabel => Reason::BadLabel,
                };
                opinion.nearest = self.rules.nearest(name);
            }
        }
        opinion
    }

    fn is_served(&self, kind: Type) -> bool {
        match &self.config.guard.types {
            Types::All => true,
            Types::Listed(types) => kind == Type::ANY || types.contains(&kind),
        }
    }

    /// The line of a pattern of the policy; those of the configuration have none here.
    fn line(&self, rule: Rule) -> Option<u32> {
        (rule.grant == Grant::Listed)
            .then(|| self.accepted.lines.get(rule.index as usize).copied())?
    }

    fn text(&self, opinion: &Opinion) -> String {
        let policy = &self.accepted.policy;
        let word = if opinion.allowed {
            "ALLOWED"
        } else {
            "BLOCKED"
        };
        let mut text = format!("{word}  {}\n", opinion.name);
        let _ = writeln!(
            text,
            "  policy   {} ({}) from {}",
            policy.name,
            policy.id,
            self.config.policy.file.display()
        );
        let _ = writeln!(text, "  rule     {}", self.rule_text(opinion));
        for near in &opinion.nearest {
            let at = self
                .line(near.rule)
                .map_or(String::new(), |line| format!("   (line {line})"));
            let _ = writeln!(
                text,
                "  nearest  {:<20} {}{at}",
                near.pattern,
                kinship_text(near, &opinion.name)
            );
        }
        if opinion.allowed {
            return text;
        }
        let _ = if opinion.reason == Reason::Qtype {
            writeln!(text, "  answer   NODATA, EDE 15 \"type not served\"")
        } else {
            writeln!(
                text,
                "  answer   NXDOMAIN, EDE 15 \"Blocked\", negative TTL {} s",
                self.config.blocked.ttl_s
            )
        };
        let _ = writeln!(text, "  to allow {}", self.remedy(opinion));
        text
    }

    fn rule_text(&self, opinion: &Opinion) -> String {
        let at = opinion
            .line
            .map_or(String::new(), |line| format!("   (line {line})"));
        let (exact, wildcard) = self.rules.counts();
        match (opinion.reason, &opinion.matched) {
            (Reason::SpecialUse, _) => {
                "a special-use name: answered here, never forwarded".to_owned()
            }
            (Reason::Qtype, _) => format!(
                "the name is allowed; type {} is not forwarded (guard.types)",
                opinion.kind
            ),
            (Reason::Wildcard, Some(pattern)) => format!("{pattern}{at}   wildcard, any depth"),
            (Reason::Exact, Some(pattern)) => format!("{pattern}{at}   exact"),
            (Reason::AllowAll, _) => "allow_all is true".to_owned(),
            (other, Some(pattern)) => format!("{pattern}   {other}, by the configuration"),
            (Reason::DenyAll, None) => "the policy allows nothing".to_owned(),
            (Reason::BadLabel, None) => "a label holds an octet outside A-Z a-z 0-9 - _".to_owned(),
            (_, None) if exact + wildcard == 1 => "the 1 pattern does not match".to_owned(),
            (_, None) => format!("none of {} patterns matches", exact + wildcard),
        }
    }

    fn remedy(&self, opinion: &Opinion) -> String {
        if opinion.reason == Reason::Qtype {
            return format!(
                "add \"{}\" to guard.types of the configuration",
                opinion.kind
            );
        }
        if opinion.reason == Reason::BadLabel {
            return "nothing: no pattern matches such a name".to_owned();
        }
        let last = self.accepted.lines.last();
        let at = last.map_or(String::new(), |line| format!(" (line {line})"));
        format!("add \"{}\" to egress.allowed_hostnames{at}", opinion.name)
    }

    fn json(&self, opinion: &Opinion) -> Value {
        let policy = &self.accepted.policy;
        let nearest: Vec<Value> = opinion
            .nearest
            .iter()
            .map(|near| json!({"pattern": near.pattern, "kind": near.kinship.word(), "line": self.line(near.rule)}))
            .collect();
        let can_be_listed = matches!(opinion.reason, Reason::NotListed | Reason::DenyAll);
        let fix = can_be_listed.then(|| {
            json!({"op": "add", "path": "/egress/allowed_hostnames/-", "value": opinion.name.to_string()})
        });
        json!({
            "v": 1,
            "name": opinion.name.to_string(),
            "type": opinion.kind.to_string(),
            "verdict": if opinion.allowed { "allowed" } else { "blocked" },
            "reason": opinion.reason.word(),
            "policy": {"id": policy.id, "name": policy.name},
            "matched": opinion.matched,
            "line": opinion.line,
            "nearest": nearest,
            "fix": fix,
        })
    }
}

fn kinship_text(near: &Near, name: &Name) -> String {
    let base = near.pattern.trim_start_matches("*.");
    match near.kinship {
        Kinship::ApexOfWildcard => format!("covers names below {base}, not {base} itself"),
        Kinship::BelowExact => format!("is that name alone; *.{base} would cover this one"),
        Kinship::Typo => "is one character away".to_owned(),
        Kinship::OtherEnding => "is the same but for its ending".to_owned(),
        Kinship::Above => format!("lies below {name}, and does not cover it"),
    }
}
