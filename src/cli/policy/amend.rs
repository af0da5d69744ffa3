//! `policy add` and `policy rm`: names come and go, the rest of the file stays to the octet.

use std::collections::HashSet;

use super::super::{accept, configuration, exit, fail, say, shown, talk, talk_of, usage};
use super::args::AmendArgs;
use super::replace::Original;
use super::unified::unified;
use crate::config::Config;
use crate::daemon::{StartError, select_of};
use crate::matcher::{Grant, Rules};
use crate::policy::{self, Accepted, Diagnostic, Hostnames, Pattern, Severity, Splice, spliced};

pub(super) fn add(args: &AmendArgs, color: clap::ColorChoice) -> Result<u8, u8> {
    let patterns = patterns(args)?;
    let file = Open::new(args, color)?;
    let mut fresh: Vec<Pattern> = Vec::new();
    for pattern in patterns {
        match file.already(&pattern, &fresh) {
            Some(why) => talk(&format!("{pattern} {why}; nothing to add")),
            None => fresh.push(pattern),
        }
    }
    let splices = file.hostnames()?.add(&fresh);
    file.amend(args, &splices, color)?;
    Ok(exit::OK)
}

pub(super) fn remove(args: &AmendArgs, color: clap::ColorChoice) -> Result<u8, u8> {
    let patterns = patterns(args)?;
    let file = Open::new(args, color)?;
    let listed: Vec<Pattern> = file.accepted.policy.allowed_hostnames.iter().collect();
    let (mut doomed, mut code) = (Vec::new(), exit::OK);
    let rest = listed.iter().filter(|it| !patterns.contains(it));
    let rest = Rules::builder().grant(Grant::Listed, rest).build();
    for pattern in &patterns {
        let places = listed.iter().enumerate().filter(|(_, it)| *it == pattern);
        let before = doomed.len();
        doomed.extend(places.map(|(at, _)| at));
        let still = rest.covering(pattern).and_then(|it| rest.pattern(it));
        match (doomed.len() > before, still) {
            (true, Some(by)) => talk(&format!("warning: {pattern} is still allowed, by {by}")),
            (true, None) => {}
            (false, Some(by)) => {
                talk(&format!("{pattern} is not in the list; {by} allows it"));
                code = exit::FOUND;
            }
            (false, None) => talk(&format!("{pattern} is not in the list; nothing to remove")),
        }
    }
    let splices = file.hostnames()?.remove(&doomed);
    file.amend(args, &splices, color)?;
    Ok(code)
}

/// What was typed, as patterns, each once.
fn patterns(args: &AmendArgs) -> Result<Vec<Pattern>, u8> {
    let mut patterns: Vec<Pattern> = Vec::new();
    for text in args.names.iter().chain(&args.bundles.patterns()) {
        let pattern =
            Pattern::parse(text).map_err(|flaw| usage(&format!("{text:?}: {}", flaw.advice())))?;
        if !patterns.contains(&pattern) {
            patterns.push(pattern);
        }
    }
    Ok(patterns)
}

/// A policy file that is about to be changed.
struct Open {
    config: Config,
    original: Original,
    accepted: Accepted,
    /// The list, compiled by itself: what a flag grants today may be gone tomorrow.
    listed: Rules,
}

impl Open {
    fn new(args: &AmendArgs, color: clap::ColorChoice) -> Result<Self, u8> {
        let config = configuration(&args.files.flags())?;
        let original = Original::read(&config.policy.file).map_err(|error| {
            let file = config.policy.file.clone();
            fail(&StartError::PolicyMissing { file, error })
        })?;
        let accepted = accept(&config, &original.content, color)?;
        let patterns = accepted.policy.allowed_hostnames.iter();
        Ok(Self {
            listed: Rules::builder().grant(Grant::Listed, patterns).build(),
            accepted,
            config,
            original,
        })
    }

    fn file(&self) -> String {
        shown(&self.config.policy.file)
    }

    fn source(&self) -> &str {
        str::from_utf8(&self.original.content).expect("an accepted policy is UTF-8")
    }

    fn hostnames(&self) -> Result<Hostnames<'_>, u8> {
        let found = Hostnames::find(self.source(), &select_of(&self.config));
        found.ok_or(exit::BAD_POLICY)
    }

    /// Why a pattern need not be added.
    fn already(&self, pattern: &Pattern, fresh: &[Pattern]) -> Option<String> {
        let fresh = Rules::builder().grant(Grant::Listed, fresh).build();
        if let Some(by) = fresh.covering(pattern).and_then(|it| fresh.pattern(it)) {
            return Some(format!("is allowed by {by}"));
        }
        let rule = self.listed.covering(pattern)?;
        let by = self.listed.pattern(rule)?;
        let line = self.accepted.lines.get(rule.index as usize);
        let at = line.map_or(String::new(), |line| format!(" (line {line})"));
        Some(match by == pattern.text() {
            true => format!("is in the list already{at}"),
            false => format!("is allowed already, by {by}{at}"),
        })
    }

    /// Shows, checks and writes the change, if there is any.
    fn amend(
        &self,
        args: &AmendArgs,
        splices: &[Splice],
        color: clap::ColorChoice,
    ) -> Result<(), u8> {
        if splices.is_empty() {
            return Ok(());
        }
        let text = spliced(self.source(), splices);
        let accepted = accept(&self.config, text.as_bytes(), color)?;
        say(&unified(&self.file(), self.source(), splices));
        self.warn(&text, &accepted, color);
        if args.dry_run {
            talk("dry run: nothing is written");
            return Ok(());
        }
        self.original.replace(text.as_bytes()).map_err(|refusal| {
            talk(&format!(
                "namegate: {} is not changed: {refusal}",
                self.file()
            ));
            refusal.exit_code()
        })
    }

    /// Says what `check` would say of the new text and not of the old one.
    fn warn(&self, text: &str, accepted: &Accepted, color: clap::ColorChoice) {
        let known = self.remarks(self.source(), &self.accepted).findings;
        let known = known.iter().map(|it| about(it, self.source()));
        let known: HashSet<_> = known.collect();
        let mut fresh = self.remarks(text, accepted);
        fresh.keep(|it| {
            let matters = it.severity > Severity::Info || it.code == EMPTY;
            matters && !known.contains(&about(it, text))
        });
        if !fresh.is_empty() {
            talk_of(&fresh, color);
        }
    }

    fn remarks(&self, source: &str, accepted: &Accepted) -> policy::Diagnostics {
        let file = self.config.policy.file.display().to_string();
        let select = select_of(&self.config);
        policy::lint(&file, source.as_bytes(), accepted, &select)
    }
}

/// The remark that the list is empty: nothing is wrong with it, and nobody should be surprised.
const EMPTY: &str = "NP032";

/// What a finding is about, wherever in the file it stands.
fn about(finding: &Diagnostic, source: &str) -> (&'static str, String) {
    let words = source.get(finding.span.clone()).unwrap_or_default();
    (finding.code, words.to_owned())
}
