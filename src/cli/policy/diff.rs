//! `policy diff`: what changes from one policy to another, in patterns and in names, and for whom.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};

use super::super::args::Format;
use super::super::{configuration, counted, exit, printable, say, talk};
use super::args::DiffArgs;
use super::recorded::Recorded;
use super::{judge_by, show};
use crate::daemon::Judge;
use crate::matcher::{Grant, Rules};
use crate::policy::{Accepted, Pattern};

/// Patterns that are named where a wildcard is replaced by some of its names.
const PARTS_MAX: usize = 3;

pub(super) fn diff(args: &DiffArgs, color: clap::ColorChoice) -> Result<u8, u8> {
    let config = configuration(&args.beside.flags())?;
    let open = |file: &std::path::PathBuf| -> Result<Side, u8> {
        let judge = judge_by(file, &config, color)?;
        Ok(Side::of(file.display().to_string(), judge))
    };
    let (old, new) = (open(&args.old)?, open(&args.new)?);
    let log = args.log.as_deref().map(|it| Recorded::read(it, None));
    let replay = log.transpose()?.map(|it| Replay::of(it, &old, &new));
    if replay
        .as_ref()
        .is_some_and(|it| it.log.holds_blocked_only())
    {
        talk(
            "warning: the log holds blocked queries only, so it cannot show all that would break; log.queries = \"all\" records every query",
        );
    }
    let difference = Difference::between(&old, &new);
    say(&match args.format {
        Format::Text => text(&old, &new, &difference, replay.as_ref()),
        Format::Json => format!("{}\n", json(&old, &new, &difference, replay.as_ref())),
    });
    Ok(if difference.is_none() {
        exit::OK
    } else {
        exit::FOUND
    })
}

/// One of the two policies.
struct Side {
    file: String,
    judge: Judge,
    accepted: Arc<Accepted>,
    /// Every pattern in force, from its last label to its first, sorted: those below a name stand together.
    reversed: Vec<String>,
}

impl Side {
    fn of(file: String, (judge, accepted): (Judge, Arc<Accepted>)) -> Self {
        let texts = judge.rules.patterns();
        let texts = texts.filter_map(|(rule, _)| judge.rules.pattern(rule));
        let mut reversed: Vec<String> = texts.map(|it| reversed(&it)).collect();
        reversed.sort();
        Self {
            file,
            judge,
            accepted,
            reversed,
        }
    }

    fn rules(&self) -> &Rules {
        &self.judge.rules
    }

    fn patterns(&self) -> impl Iterator<Item = Pattern> + '_ {
        self.accepted.policy.allowed_hostnames.iter()
    }

    /// What a pattern of the other side comes to here.
    fn fate(&self, pattern: &Pattern) -> Fate {
        let covered = self.rules().covering(pattern).map(|rule| {
            let by = self.rules().pattern(rule);
            by.unwrap_or_else(|| "allow_all".to_owned())
        });
        let parts = match (&covered, pattern.is_wildcard()) {
            (None, true) => self.below(&pattern.text()[2..]),
            _ => Vec::new(),
        };
        Fate {
            pattern: pattern.text().to_owned(),
            covered,
            parts,
        }
    }

    /// The patterns in force below a name.
    fn below(&self, base: &str) -> Vec<String> {
        let prefix = reversed(base) + ".";
        let first = self.reversed.partition_point(|it| *it < prefix);
        let below = self.reversed[first..].iter();
        let below = below.take_while(|it| it.starts_with(&prefix));
        below.map(|it| reversed(it)).collect()
    }
}

/// The labels in the opposite order.
fn reversed(name: &str) -> String {
    name.rsplit('.').collect::<Vec<_>>().join(".")
}

/// A pattern of one side, and what of it the other side allows.
struct Fate {
    pattern: String,
    /// What allows the whole of it there.
    covered: Option<String>,
    /// The patterns there that are part of it.
    parts: Vec<String>,
}

impl Fate {
    /// `loses every name below npmjs.org but registry.npmjs.org`
    fn told(&self, verb: &str, still: &str) -> String {
        if let Some(by) = &self.covered {
            return format!("no change in names: {by} {still} it");
        }
        let what = match self.pattern.strip_prefix("*.") {
            None => return format!("{verb} this name"),
            Some(base) => format!("{verb} every name below {base}"),
        };
        let shown = self.parts.iter().take(PARTS_MAX);
        let shown: Vec<&str> = shown.map(String::as_str).collect();
        match (shown.is_empty(), self.parts.len() - shown.len()) {
            (true, _) => what,
            (false, 0) => format!("{what} but {}", shown.join(", ")),
            (false, rest) => format!("{what} but {} and {rest} more", shown.join(", ")),
        }
    }

    fn json(&self) -> Value {
        json!({ "pattern": self.pattern, "covered_by": self.covered, "but": self.parts })
    }
}

/// A flag that is not the same.
struct Flag {
    name: &'static str,
    on: bool,
    /// The patterns of the configuration that come or go with it.
    fates: Vec<Fate>,
}

/// What is not the same, beside names, times and order.
struct Difference {
    flags: Vec<Flag>,
    removed: Vec<Fate>,
    added: Vec<Fate>,
}

impl Difference {
    fn between(old: &Side, new: &Side) -> Self {
        Self {
            flags: flags(old, new),
            removed: missing(old, new),
            added: missing(new, old),
        }
    }

    fn is_none(&self) -> bool {
        self.flags.is_empty() && self.removed.is_empty() && self.added.is_empty()
    }

    /// The patterns that are not covered on the other side, of the list and of the services that a flag switches `on` or off.
    fn uncovered(&self, listed: &[Fate], on: bool) -> Vec<String> {
        let services = self.flags.iter().filter(|it| it.on == on);
        let services = services.flat_map(|it| &it.fates);
        let all = listed.iter().chain(services);
        let all = all.filter(|it| it.covered.is_none());
        all.map(|it| it.pattern.clone()).collect()
    }
}

/// The patterns of one list that the other does not have, and what becomes of them there.
fn missing(here: &Side, there: &Side) -> Vec<Fate> {
    let others: HashSet<String> = there.patterns().map(|it| it.to_string()).collect();
    let mut seen = HashSet::new();
    let only = here.patterns().filter(|it| !others.contains(it.text()));
    let only = only.filter(|it| seen.insert(it.to_string()));
    only.map(|it| there.fate(&it)).collect()
}

fn flags(old: &Side, new: &Side) -> Vec<Flag> {
    let [before, after] = [old, new].map(|it| show::flags(&it.accepted.policy));
    let both = before.into_iter().zip(after);
    let changed = both.filter(|((_, was), (_, is))| was != is);
    changed
        .map(|(_, (name, on))| {
            let (here, there) = if on { (new, old) } else { (old, new) };
            let fates = granted_by(name, here.rules());
            let fates = fates.iter().map(|it| there.fate(it)).collect();
            Flag { name, on, fates }
        })
        .collect()
}

/// The patterns that a flag switches on.
fn granted_by(flag: &str, rules: &Rules) -> Vec<Pattern> {
    let grant = match flag {
        "allow_agent_gateway" => Grant::AgentGateway,
        "allow_mcp_gateway" => Grant::McpGateway,
        "allow_devbox_to_devbox" => Grant::DevboxToDevbox,
        "allow_runloop_mirrors" => Grant::Mirrors,
        _ => return Vec::new(),
    };
    let granted = rules.patterns().filter(|(rule, _)| rule.grant == grant);
    let texts = granted.filter_map(|(rule, _)| rules.pattern(rule));
    texts.filter_map(|it| Pattern::parse(&it).ok()).collect()
}

/// A query log, judged by both.
struct Replay {
    log: Recorded,
    /// Names and the queries for them that the old one allows and the new one blocks, most first.
    breaks: Vec<(String, u64)>,
    /// The reverse.
    passes: Vec<(String, u64)>,
}

impl Replay {
    fn of(log: Recorded, old: &Side, new: &Side) -> Self {
        let (mut breaks, mut passes) = (BTreeMap::new(), BTreeMap::new());
        for ((name, kind), queries) in &log.questions {
            let [before, after] = [old, new].map(|it| it.judge.judge(name, *kind).allowed);
            let changed = match (before, after) {
                (true, false) => &mut breaks,
                (false, true) => &mut passes,
                (true, true) | (false, false) => continue,
            };
            *changed.entry(name.to_string()).or_default() += queries;
        }
        let [breaks, passes] = [breaks, passes].map(most_first);
        Self {
            log,
            breaks,
            passes,
        }
    }

    fn text(&self) -> String {
        let mut text = format!("log: {}\n", self.log.summary());
        for (what, names) in [("would break", &self.breaks), ("would pass", &self.passes)] {
            if names.is_empty() {
                let _ = writeln!(text, "  {what:<12} nothing");
            }
            for (name, queries) in names {
                let queries = counted(*queries, "query");
                let _ = writeln!(text, "  {what:<12} {name}   {queries}");
            }
        }
        text
    }

    fn json(&self) -> Value {
        let names = |all: &[(String, u64)]| -> Vec<Value> {
            let all = all.iter();
            all.map(|(name, queries)| json!({ "name": name, "queries": queries }))
                .collect()
        };
        let mut json = self.log.json();
        json["breaks"] = names(&self.breaks).into();
        json["passes"] = names(&self.passes).into();
        json
    }
}

fn most_first(names: BTreeMap<String, u64>) -> Vec<(String, u64)> {
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort_by_key(|(_, queries)| std::cmp::Reverse(*queries));
    names
}

fn text(old: &Side, new: &Side, difference: &Difference, replay: Option<&Replay>) -> String {
    let mut text = String::new();
    for (sign, side) in [("---", old), ("+++", new)] {
        let policy = &side.accepted.policy;
        let count = counted(policy.allowed_hostnames.len(), "pattern");
        let named = format!("{}  {} ({})", side.file, policy.name, policy.id);
        let _ = writeln!(text, "{sign} {}, {count}", printable(&named));
    }
    for flag in &difference.flags {
        let what = match (flag.name, flag.on) {
            ("allow_all", true) => "  gains every name",
            ("allow_all", false) => "  loses every name that no pattern allows",
            _ => "",
        };
        let _ = writeln!(text, "! {} {} -> {}{what}", flag.name, !flag.on, flag.on);
        fates(&mut text, if flag.on { "  +" } else { "  -" }, &flag.fates);
    }
    fates(&mut text, "-", &difference.removed);
    fates(&mut text, "+", &difference.added);
    if difference.is_none() {
        text += "the same patterns and flags\n";
    }
    text + &replay.map_or(String::new(), Replay::text)
}

fn fates(text: &mut String, sign: &str, all: &[Fate]) {
    let (verb, still) = match sign.ends_with('-') {
        true => ("loses", "still allows"),
        false => ("gains", "already allowed"),
    };
    for fate in all {
        let _ = writeln!(
            text,
            "{sign} {:<28}  {}",
            fate.pattern,
            fate.told(verb, still)
        );
    }
}

fn json(old: &Side, new: &Side, difference: &Difference, replay: Option<&Replay>) -> Value {
    let side = |it: &Side| {
        let policy = &it.accepted.policy;
        let patterns = policy.allowed_hostnames.len();
        json!({ "file": it.file, "id": policy.id, "name": policy.name, "patterns": patterns })
    };
    let flag = |it: &Flag| {
        let patterns: Vec<Value> = it.fates.iter().map(Fate::json).collect();
        json!({ "flag": it.name, "a": !it.on, "b": it.on, "patterns": patterns })
    };
    let fates = |all: &[Fate]| all.iter().map(Fate::json).collect::<Vec<_>>();
    json!({
        "v": 1,
        "same": difference.is_none(),
        "a": side(old),
        "b": side(new),
        "flags": difference.flags.iter().map(flag).collect::<Vec<_>>(),
        "removed": fates(&difference.removed),
        "added": fates(&difference.added),
        "lost": difference.uncovered(&difference.removed, false),
        "gained": difference.uncovered(&difference.added, true),
        "log": replay.map(Replay::json),
    })
}
