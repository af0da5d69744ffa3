//! `suggest`: observed lookups, turned into a proposal for the policy.
//!
//! Reads logs and the policy, lets the room `learn` propose, and shows that. With
//! `--write` the policy grows by what is added, once the difference was shown.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::str;

use serde_json::{Value, json};

use super::args::{NewArgs, SuggestArgs, SuggestFormat};
use super::replace::{Kept, content, diff, replace};
use super::{configuration, exit, fail, policy::document, printable, say, talk, talk_of};
use crate::config::{Config, Flags};
use crate::daemon::{Grants, StartError, compile, select_of};
use crate::learn::{
    self, Class, Current, Detail, LINE_OCTETS_MAX, Observations, Proposal, read_line,
};
use crate::policy::{self, Accepted, Pattern, Policy, Select};

/// Bad lines that are told one by one.
const FINDINGS_SHOWN: usize = 5;
/// Bad lines that are kept for programs.
const FINDINGS_MAX: usize = 100;
/// The name of a policy that did not exist.
const NEW_NAME: &str = "suggested";

pub(super) fn suggest(args: &SuggestArgs, color: clap::ColorChoice) -> u8 {
    let read = || {
        let (mut observations, findings) = read_logs(&args.log)?;
        if let Some(since) = args.since {
            observations.keep_last(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        }
        findings.talk();
        conclude(&observations, &findings, args, color)
    };
    read().unwrap_or_else(|code| code)
}

/// Holds observations against the policy and does with the proposal what was asked for.
fn conclude(
    observations: &Observations,
    findings: &Findings,
    args: &SuggestArgs,
    color: clap::ColorChoice,
) -> Result<u8, u8> {
    let config = configuration(&flags(args))?;
    let subject = Subject::open(&config, args, color)?;
    let proposal = subject.propose(observations, &config, args)?;
    if let Some(name) = proposal.not_accepted.first() {
        talk(&format!(
            "error: --accept {name}: the proposal has no such name under REVIEW"
        ));
        return Err(exit::USAGE);
    }
    let grown = subject.grown(&proposal, color)?;
    subject.show(&proposal, findings, args, &grown);
    match &args.write {
        Some(path) => subject.write(path, &proposal, &grown),
        None => Ok(exit::OK),
    }
}

/// What is to be written is also what is judged by, unless another policy is named.
fn flags(args: &SuggestArgs) -> Flags {
    let flags = args.files.flags();
    let policy = flags.policy.clone().or_else(|| args.write.clone());
    Flags { policy, ..flags }
}

/// The policy that the proposal is for.
struct Subject {
    file: PathBuf,
    /// None: there is no such file.
    source: Option<String>,
    select: Select,
    policy: Policy,
}

impl Subject {
    /// Reads it. A file that was named has to be there, unless it is to be written.
    fn open(config: &Config, args: &SuggestArgs, color: clap::ColorChoice) -> Result<Self, u8> {
        let file = config.policy.file.clone();
        let select = select_of(config);
        let missing = |error| {
            let file = file.clone();
            fail(&StartError::PolicyMissing { file, error })
        };
        let octets = match fs::read(&file) {
            Ok(octets) => octets,
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && args.files.policy.is_none() =>
            {
                return Ok(Self::new(file, select));
            }
            Err(error) => return Err(missing(error)),
        };
        let name = file.display().to_string();
        let Accepted { policy, .. } = policy::read(&name, &octets, &select).map_err(|found| {
            talk_of(&found, color);
            exit::BAD_POLICY
        })?;
        let source = String::from_utf8(octets).expect("a policy that was taken is UTF-8");
        let source = Some(source);
        Ok(Self {
            file,
            source,
            select,
            policy,
        })
    }

    /// Where there is none yet.
    fn new(file: PathBuf, select: Select) -> Self {
        talk(&format!(
            "note: no policy at {}; the proposal is for a new one",
            shown(&file)
        ));
        Self {
            file,
            source: None,
            select,
            policy: Policy::default(),
        }
    }

    fn propose(
        &self,
        observations: &Observations,
        config: &Config,
        args: &SuggestArgs,
    ) -> Result<Proposal, u8> {
        let grants = Grants::of(config).map_err(|bad| fail(&StartError::Patterns(bad)))?;
        // Under `allow_all` the list is what would be left when that is switched off.
        let listed = Policy {
            allow_all: false,
            ..self.policy.clone()
        };
        let search: Vec<String> = args.search.iter().map(|it| suffix(it)).collect();
        Ok(learn::suggest(
            observations,
            &Current {
                rules: &compile(&listed, config, &grants),
                listed: &self.policy.allowed_hostnames,
                search: &search,
                accept: &args.accept,
            },
        ))
    }

    /// The document with what is added. What we print is what we would take.
    fn grown(&self, proposal: &Proposal, color: clap::ColorChoice) -> Result<String, u8> {
        let added = proposal.additions();
        let text = match &self.source {
            Some(source) => policy::append(source, &self.select, &added)
                .expect("the policy was found in this source before"),
            None => fresh(&added, proposal),
        };
        let select = match self.source {
            Some(_) => &self.select,
            None => &Select::Only,
        };
        let read = policy::read(&self.file.display().to_string(), text.as_bytes(), select);
        let Accepted { policy, .. } = read.map_err(|found| {
            talk_of(&found, color);
            exit::BAD_POLICY
        })?;
        let old = self.policy.allowed_hostnames.iter();
        let expected = old.chain(added.iter().cloned());
        assert!(
            policy.allowed_hostnames.iter().eq(expected),
            "a list grows by what is added and nothing else"
        );
        Ok(text)
    }

    fn show(&self, proposal: &Proposal, findings: &Findings, args: &SuggestArgs, grown: &str) {
        match args.format {
            SuggestFormat::Policy => say(grown),
            SuggestFormat::Json => say(&learn::json(proposal, &self.members(findings))),
            SuggestFormat::Text => {
                let detail = if args.all { Detail::All } else { Detail::Brief };
                let next = match args.write {
                    Some(_) => Vec::new(),
                    None => self.next(proposal, args),
                };
                say(&learn::text(proposal, &self.title(), &next, detail));
            }
        }
        if self.policy.allow_all {
            talk(
                "note: the policy's allow_all is true, and stays so: set it to false when the list is complete",
            );
        }
    }

    fn title(&self) -> String {
        match self.source {
            Some(_) => format!("policy {}", printable(&self.policy.name)),
            None => "a new policy".to_owned(),
        }
    }

    fn members(&self, findings: &Findings) -> [(&'static str, Value); 2] {
        let policy = match self.source {
            Some(_) => json!({"id": self.policy.id, "name": self.policy.name}),
            None => Value::Null,
        };
        [("policy", policy), ("findings", findings.json())]
    }

    /// Commands to go on with.
    fn next(&self, proposal: &Proposal, args: &SuggestArgs) -> Vec<String> {
        let command = format!("namegate suggest{}", typed(args));
        let policy = args.files.policy.as_ref();
        let policy = policy.map_or(String::new(), |it| format!(" --policy {}", quoted(it)));
        let mut next = Vec::new();
        if proposal.of(Class::Add).next().is_some() {
            let file = quoted(&self.file);
            next.push(format!(
                "{command} --write {file}     (shows the diff first)"
            ));
            next.push(format!("{command}{policy} --format policy > new.json"));
        }
        // Which name it should be is for whoever has looked at them, and for nobody else, to say.
        if proposal.of(Class::Review).next().is_some() {
            next.push(format!(
                "{command}{policy} --accept NAME     (one under REVIEW that you know to be needed)"
            ));
        }
        next
    }

    /// Replaces the file, after the difference was shown; where there is none, it stays as it is.
    fn write(&self, path: &Path, proposal: &Proposal, grown: &str) -> Result<u8, u8> {
        if proposal.of(Class::Add).next().is_none() {
            talk(&format!("nothing to add: {} stays as it is", shown(path)));
            return Ok(exit::OK);
        }
        let old = self.replaced(path)?;
        let before = old.and(self.source.as_deref()).unwrap_or_default();
        talk(diff(&path.display().to_string(), before, grown).trim_end());
        match replace(path, old, grown) {
            Ok(()) => {
                talk(&format!("written: {}", shown(path)));
                Ok(exit::OK)
            }
            Err(Kept::Changed) => Err(changed(path)),
            Err(Kept::Io(error)) => {
                talk(&format!("namegate: {}: {error}", shown(path)));
                Err(exit::SYSTEM)
            }
        }
    }

    /// What the file holds: the policy that was judged by, or nothing yet.
    fn replaced(&self, path: &Path) -> Result<Option<&[u8]>, u8> {
        let found = content(path).map_err(|error| {
            talk(&format!("namegate: {}: {error}", shown(path)));
            exit::SYSTEM
        })?;
        let Some(found) = found else {
            return Ok(None);
        };
        let ours = self.source.as_deref().map(str::as_bytes);
        if ours == Some(found.as_slice()) {
            return Ok(ours);
        }
        if path == self.file {
            return Err(changed(path));
        }
        let (path, file) = (shown(path), shown(&self.file));
        talk(&format!(
            "namegate: {path} is not the policy {file} that was judged by, and is left alone"
        ));
        Err(exit::FOUND)
    }
}

fn changed(path: &Path) -> u8 {
    let path = shown(path);
    talk(&format!(
        "namegate: {path} changed meanwhile, and is left alone; run this again"
    ));
    exit::FOUND
}

/// What was typed that the next command needs again, but for the policy.
fn typed(args: &SuggestArgs) -> String {
    let logs = args.log.iter().map(|it| ("log", quoted(it)));
    let search = args
        .search
        .iter()
        .map(|it| ("search", quoted(Path::new(it))));
    let since = args.since.map(|it| {
        (
            "since",
            quoted(Path::new(&humantime::format_duration(it).to_string())),
        )
    });
    let files = &args.files;
    let text = |it: &String| quoted(Path::new(it));
    let choice = [
        files.config.as_ref().map(|it| ("config", quoted(it))),
        files.policy_id.as_ref().map(|it| ("policy-id", text(it))),
        files
            .policy_name
            .as_ref()
            .map(|it| ("policy-name", text(it))),
    ];
    let all = logs
        .chain(search)
        .chain(since)
        .chain(choice.into_iter().flatten());
    all.map(|(flag, value)| format!(" --{flag} {value}"))
        .collect()
}

/// A document where there was none. Its times are the log's, so that it depends on nothing else.
fn fresh(added: &[Pattern], proposal: &Proposal) -> String {
    let new = NewArgs {
        name: NEW_NAME.to_owned(),
        allow: added.iter().map(Pattern::to_string).collect(),
    };
    let last_ms = proposal.span_ms.map_or(0, |(_, last)| last);
    document(&new, last_ms)
}

/// An ending as it is compared.
fn suffix(text: &str) -> String {
    text.trim_matches('.').to_ascii_lowercase()
}

fn shown(path: &Path) -> String {
    printable(&path.display().to_string())
}

/// As a shell takes it.
fn quoted(path: &Path) -> String {
    let text = shown(path);
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "_./:=@%+,-".contains(it);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Lines that are none of a log's.
#[derive(Default)]
struct Findings {
    found: Vec<Finding>,
    total: usize,
}

struct Finding {
    log: String,
    line: u64,
    message: &'static str,
}

impl Findings {
    fn add(&mut self, log: &Path, line: u64, message: &'static str) {
        self.total += 1;
        if self.found.len() < FINDINGS_MAX {
            let log = shown(log);
            self.found.push(Finding { log, line, message });
        }
    }

    fn talk(&self) {
        for Finding { log, line, message } in self.found.iter().take(FINDINGS_SHOWN) {
            talk(&format!("note: {log}:{line}: {message}"));
        }
        if let more @ 1.. = self.total.saturating_sub(FINDINGS_SHOWN) {
            talk(&format!("note: and {more} more lines that are no records"));
        }
    }

    fn json(&self) -> Value {
        let found = self.found.iter();
        found
            .map(|it| json!({"log": it.log, "line": it.line, "message": it.message}))
            .collect()
    }
}

/// Puts together what the logs say; tells which one cannot be read.
fn read_logs(logs: &[PathBuf]) -> Result<(Observations, Findings), u8> {
    let (mut observations, mut findings) = (Observations::default(), Findings::default());
    for log in logs {
        let read = match log.as_os_str() == "-" {
            true => read_log(log, io::stdin().lock(), &mut observations, &mut findings),
            false => File::open(log).and_then(|file| {
                read_log(log, BufReader::new(file), &mut observations, &mut findings)
            }),
        };
        read.map_err(|error| {
            talk(&format!("namegate: {}: {error}", shown(log)));
            exit::NO_INPUT
        })?;
    }
    Ok((observations, findings))
}

fn read_log(
    log: &Path,
    mut from: impl BufRead,
    observations: &mut Observations,
    findings: &mut Findings,
) -> io::Result<()> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if !take_line(&mut from, &mut line)? {
            break;
        }
        let is_whole = line.last() == Some(&b'\n');
        match read_line(line.trim_ascii_end()) {
            Ok(Some(observation)) => observations.add(&observation),
            Ok(None) => (),
            // Somebody is still writing it.
            Err(_) if !is_whole => findings.add(log, number, "the last line is cut off"),
            Err(message) => findings.add(log, number, message),
        }
    }
    Ok(())
}

/// Takes a line with its end; of one that is longer than any record, only that much. False: there is no more.
fn take_line(from: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    let mut any = false;
    loop {
        let octets = from.fill_buf()?;
        if octets.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = octets.iter().position(|it| *it == b'\n');
        let taken = end.map_or(octets.len(), |at| at + 1);
        let room = (LINE_OCTETS_MAX + 1).saturating_sub(line.len());
        line.extend_from_slice(&octets[..taken.min(room)]);
        from.consume(taken);
        if end.is_some() {
            // A line that was cut here has its end all the same.
            if line.last() != Some(&b'\n') {
                line.push(b'\n');
            }
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_an_end_and_long_ones_do_not_fill_the_memory() {
        let long = "x".repeat(LINE_OCTETS_MAX * 3);
        let text = format!("a\n{long}\nb");
        let mut from = BufReader::with_capacity(7, text.as_bytes());
        let mut take = || {
            let mut line = Vec::new();
            take_line(&mut from, &mut line)
                .expect("read")
                .then_some(line)
        };
        assert_eq!(take().as_deref(), Some(&b"a\n"[..]));
        assert_eq!(take().map(|it| it.len()), Some(LINE_OCTETS_MAX + 2));
        assert_eq!(take().as_deref(), Some(&b"b"[..]));
        assert_eq!(take(), None);
    }

    #[test]
    fn what_a_shell_would_change_is_quoted() {
        assert_eq!(quoted(Path::new("/var/log/q.jsonl")), "/var/log/q.jsonl");
        assert_eq!(quoted(Path::new("a b")), "'a b'");
        assert_eq!(quoted(Path::new("*.x'$(y)")), r"'*.x'\''$(y)'");
    }
}
