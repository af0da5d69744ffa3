//! `policy unused`: patterns that no recorded lookup needed.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::super::args::Format;
use super::super::explain::open;
use super::super::{configuration, counted, exit, in_words, say, talk, usage};
use super::args::UnusedArgs;
use super::recorded::Recorded;
use crate::answer::Reason;
use crate::config::{Config, Sink};
use crate::daemon::Judge;
use crate::matcher::{Grant, Rules};
use crate::policy::Accepted;
use crate::wire::Name;

pub(super) fn unused(args: &UnusedArgs, color: clap::ColorChoice) -> Result<u8, u8> {
    let config = configuration(&args.files.flags())?;
    let log = log_of(args, &config)?;
    let (judge, accepted) = open(config, color)?;
    let since = args.since.and_then(|it| SystemTime::now().checked_sub(it));
    let recorded = Recorded::read(&log, since)?;
    warn(&accepted, &recorded, since);
    let usage = Usage::of(&judge, &accepted, &recorded);
    say(&match args.format {
        Format::Text => usage.text(&recorded),
        Format::Json => format!("{}\n", usage.json(&recorded)),
    });
    let all_needed = usage.patterns.iter().all(|it| it.granted > 0);
    Ok(if all_needed { exit::OK } else { exit::FOUND })
}

/// The log that is named, or that the daemon writes.
fn log_of(args: &UnusedArgs, config: &Config) -> Result<PathBuf, u8> {
    match (&args.log, &config.log.sink) {
        (Some(file), _) => Ok(file.clone()),
        (None, Sink::File(file)) => Ok(file.clone()),
        (None, Sink::Stdout | Sink::Unix(_)) => Err(usage(
            "log.sink names no file; name the query log with --log (- reads standard input)",
        )),
    }
}

/// Says what the log cannot tell.
fn warn(accepted: &Accepted, recorded: &Recorded, since: Option<SystemTime>) {
    if recorded.holds_blocked_only() {
        talk(
            "warning: the log holds blocked queries only, so every pattern seems unused; log.queries = \"all\" records every query",
        );
    }
    if accepted.policy.allow_all {
        talk("warning: allow_all is true, so the list has no effect; it is judged as if it had");
    }
    let begins = recorded.begins();
    match since.zip(begins) {
        Some((since, begins)) if begins > since => {
            let late = in_words(begins.duration_since(since).unwrap_or_default());
            talk(&format!(
                "note: the log begins {late} after the time asked for"
            ));
        }
        _ => {}
    }
    if begins.is_none() {
        talk("warning: no query was recorded in that time");
    }
}

/// A pattern of the list, and the lookups for it.
struct Used {
    pattern: String,
    line: u32,
    /// Queries that it matches.
    matched: u64,
    /// Those of them for which it was the most specific.
    granted: u64,
}

impl Used {
    fn json(&self) -> Value {
        json!({
            "pattern": self.pattern, "line": self.line, "matched": self.matched, "granted": self.granted,
        })
    }
}

/// The whole list, in order; a pattern that stands twice is one.
#[derive(Default)]
struct Usage {
    patterns: Vec<Used>,
    /// Where each stands in `patterns`.
    places: HashMap<String, usize>,
}

impl Usage {
    fn of(judge: &Judge, accepted: &Accepted, recorded: &Recorded) -> Self {
        let patterns = || accepted.policy.allowed_hostnames.iter();
        let rules = Rules::builder().grant(Grant::Listed, patterns()).build();
        let mut usage = Self::default();
        for (pattern, line) in patterns().zip(&accepted.lines) {
            usage.list(pattern.text(), *line);
        }
        for ((name, kind), queries) in &recorded.questions {
            // What is answered here needs no pattern.
            let reason = judge.judge(name, *kind).reason;
            if !matches!(reason, Reason::Local | Reason::SpecialUse) {
                usage.count(&rules, name, *queries);
            }
        }
        usage
    }

    fn list(&mut self, pattern: &str, line: u32) {
        if self.places.contains_key(pattern) {
            return;
        }
        self.places.insert(pattern.to_owned(), self.patterns.len());
        self.patterns.push(Used {
            pattern: pattern.to_owned(),
            line,
            matched: 0,
            granted: 0,
        });
    }

    /// Counts the lookups of a name for every pattern that matches, the most specific first.
    fn count(&mut self, rules: &Rules, name: &Name, queries: u64) {
        let rules_of_name = rules.matching(name).into_iter();
        let texts = rules_of_name.filter_map(|rule| rules.pattern(rule));
        for (rank, text) in texts.enumerate() {
            let used = &mut self.patterns[self.places[&text]];
            used.matched += queries;
            if rank == 0 {
                used.granted += queries;
            }
        }
    }

    fn text(&self, recorded: &Recorded) -> String {
        let mut text = String::new();
        for it in self.patterns.iter().filter(|it| it.granted == 0) {
            let why = match it.matched {
                0 => "no lookup".to_owned(),
                matched => format!(
                    "{}, all of them for names with a more specific pattern",
                    counted(matched, "lookup")
                ),
            };
            let _ = writeln!(text, "{:<28}  line {:<5} {why}", it.pattern, it.line);
        }
        let unused = self.patterns.iter().filter(|it| it.granted == 0).count();
        let all = counted(self.patterns.len(), "pattern");
        let _ = writeln!(text, "{unused} of {all} not needed");
        let _ = writeln!(text, "log: {}", recorded.summary());
        text
    }

    fn json(&self, recorded: &Recorded) -> Value {
        let (used, unused): (Vec<&Used>, Vec<&Used>) =
            self.patterns.iter().partition(|it| it.granted > 0);
        let json = |all: Vec<&Used>| all.into_iter().map(Used::json).collect::<Vec<_>>();
        json!({ "v": 1, "unused": json(unused), "used": json(used), "log": recorded.json() })
    }
}
