//! `suggest`: observed lookups, turned into a proposal for the policy.
//!
//! Reads logs, or asks the running resolver, and the policy, lets the room `learn` propose, and shows that. With
//! `--write` the policy grows by what is added, once the difference was shown.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str;

use serde_json::{Value, json};

use super::args::{SuggestArgs, SuggestFormat};
use super::client::Client;
use super::policy::{Original, create, document, unified};
use super::querylog::{Findings, read_log};
use super::{
    accept, accept_as, configuration, exit, fail, printable, quoted, rules_of_list, say, shown,
    talk, usage,
};
use crate::config::{Config, Flags, SearchSuffix};
use crate::daemon::{StartError, select_of};
use crate::learn::{self, Class, Current, Detail, Observations, Proposal};
use crate::policy::{Accepted, Hostnames, Pattern, Policy, Select, Splice, spliced};

/// The name of a policy that did not exist.
const NEW_NAME: &str = "suggested";

pub(super) fn suggest(args: &SuggestArgs, color: clap::ColorChoice) -> u8 {
    let read = || {
        let load = || configuration(&flags(args));
        let (mut observations, findings, config) = if args.log.is_empty() {
            let config = load()?;
            (remembered(&config)?, Findings::default(), config)
        } else {
            let (observations, findings) = read_logs(&args.log)?;
            (observations, findings, load()?)
        };
        if let Some(since) = args.since {
            observations.keep_last(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        }
        conclude(config, &observations, &findings, args, color)
    };
    read().unwrap_or_else(|code| code)
}

/// Holds observations against the policy and does with the proposal what was asked for.
fn conclude(
    config: Config,
    observations: &Observations,
    findings: &Findings,
    args: &SuggestArgs,
    color: clap::ColorChoice,
) -> Result<u8, u8> {
    let subject = Subject::open(config, args, color)?;
    let proposal = subject.propose(observations, args)?;
    if let Some(name) = proposal.not_accepted.first() {
        let message = format!("--accept {name}: the proposal has no such name under REVIEW");
        return Err(usage(&message));
    }
    let change = subject.change(&proposal, color)?;
    subject.show(&proposal, findings, args, &change.text);
    match &args.write {
        Some(path) => subject.write(path, &change),
        None => Ok(exit::OK),
    }
}

/// What is to be written is also what is judged by, unless another policy is named.
fn flags(args: &SuggestArgs) -> Flags {
    let flags = args.files.flags();
    let policy = flags.policy.clone().or_else(|| args.write.clone());
    Flags {
        policy,
        socket: args.socket.clone(),
        ..flags
    }
}

/// Asks the running resolver.
fn remembered(config: &Config) -> Result<Observations, u8> {
    let page = Client::of(config)?.get("/v1/trail")?;
    let all = learn::read_trail(page.as_bytes()).map_err(|why| {
        talk(&format!("namegate: the resolver's answer is {why}"));
        exit::SYSTEM
    })?;
    let mut observations = Observations::default();
    all.iter().for_each(|it| observations.add(it));
    Ok(observations)
}

/// The policy that the proposal is for.
struct Subject {
    config: Config,
    /// None: there is no such file.
    original: Option<Original>,
    policy: Policy,
}

/// What is to be done to the policy's text.
struct Change {
    /// How many patterns come.
    added: usize,
    splices: Vec<Splice>,
    /// The whole of it afterwards.
    text: String,
}

impl Subject {
    /// Reads it. A file that was named has to be there, unless it is to be written.
    fn open(config: Config, args: &SuggestArgs, color: clap::ColorChoice) -> Result<Self, u8> {
        let file = &config.policy.file;
        let original = match Original::read(file) {
            Ok(original) => original,
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && args.files.policy.is_none() =>
            {
                let file = shown(file);
                talk(&format!(
                    "note: no policy at {file}; the proposal is for a new one"
                ));
                return Ok(Self {
                    config,
                    original: None,
                    policy: Policy::default(),
                });
            }
            Err(error) => {
                let file = file.clone();
                return Err(fail(&StartError::PolicyMissing { file, error }));
            }
        };
        let Accepted { policy, .. } = accept(&config, &original.content, color)?;
        Ok(Self {
            config,
            original: Some(original),
            policy,
        })
    }

    fn file(&self) -> &Path {
        &self.config.policy.file
    }

    /// The text that was read; none where there was no file.
    fn source(&self) -> Option<&str> {
        let original = self.original.as_ref()?;
        let source = str::from_utf8(&original.content);
        Some(source.expect("an accepted policy is UTF-8"))
    }

    fn propose(&self, observations: &Observations, args: &SuggestArgs) -> Result<Proposal, u8> {
        let rules = rules_of_list(&self.policy, &self.config).map_err(|error| fail(&error))?;
        let proposal = learn::suggest(
            observations,
            &Current {
                rules: &rules,
                listed: &self.policy.allowed_hostnames,
                search: &self.search(args),
                accept: &args.accept,
            },
        );
        Ok(proposal)
    }

    /// The endings that somebody named. Those of this machine's own resolv.conf say nothing of the boxes.
    fn search(&self, args: &SuggestArgs) -> Vec<String> {
        let typed = args.search.iter().map(|it| suffix(it));
        let configured = self.config.blocked.search_suffixes.iter();
        let configured = configured.filter_map(|it| match it {
            SearchSuffix::System => None,
            SearchSuffix::Name(name) => Some(name.to_string()),
        });
        typed.chain(configured).collect()
    }

    /// What is added, in the document's own hand. What we print is what we would take.
    fn change(&self, proposal: &Proposal, color: clap::ColorChoice) -> Result<Change, u8> {
        let added = proposal.additions();
        let Some(source) = self.source() else {
            let text = fresh(&added, proposal);
            self.grown(&text, &Select::Only, &added, color)?;
            return Ok(Change {
                added: added.len(),
                splices: Vec::new(),
                text,
            });
        };
        let select = select_of(&self.config);
        let list = Hostnames::find(source, &select).ok_or(exit::BAD_POLICY)?;
        let splices = list.add(&added);
        let text = spliced(source, &splices);
        self.grown(&text, &select, &added, color)?;
        Ok(Change {
            added: added.len(),
            splices,
            text,
        })
    }

    /// Checks that a text is the policy with what is added, and nothing else.
    fn grown(
        &self,
        text: &str,
        select: &Select,
        added: &[Pattern],
        color: clap::ColorChoice,
    ) -> Result<(), u8> {
        let file = self.file().display().to_string();
        let Accepted { policy, .. } = accept_as(&file, text.as_bytes(), select, color)?;
        let old = self.policy.allowed_hostnames.iter();
        assert!(
            policy
                .allowed_hostnames
                .iter()
                .eq(old.chain(added.iter().cloned())),
            "a list grows by what is added and nothing else"
        );
        Ok(())
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
        match self.original {
            Some(_) => format!("policy {}", printable(&self.policy.name)),
            None => "a new policy".to_owned(),
        }
    }

    fn members(&self, findings: &Findings) -> [(&'static str, Value); 2] {
        let policy = match self.original {
            Some(_) => json!({"id": self.policy.id, "name": self.policy.name}),
            None => Value::Null,
        };
        [("policy", policy), ("findings", findings.json())]
    }

    /// Commands to go on with.
    fn next(&self, proposal: &Proposal, args: &SuggestArgs) -> Vec<String> {
        let command = format!("namegate suggest{}", typed(args));
        let policy = args.files.policy.as_ref();
        let policy = policy.map_or(String::new(), |it| {
            format!(" --policy {}", quoted(&shown(it)))
        });
        let mut next = Vec::new();
        if proposal.of(Class::Add).next().is_some() {
            let file = quoted(&shown(self.file()));
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
    fn write(&self, path: &Path, change: &Change) -> Result<u8, u8> {
        if change.added == 0 {
            talk(&format!("nothing to add: {} stays as it is", shown(path)));
            return Ok(exit::OK);
        }
        let is_ours = self.is_ours(path);
        if !is_ours && path.exists() {
            let (path, file) = (shown(path), shown(self.file()));
            return Err(usage(&format!(
                "--write {path}: it is there already, and is not the policy {file}"
            )));
        }
        let written = match &self.original {
            Some(original) if is_ours => {
                let source = self.source().unwrap_or_default();
                talk(unified(&shown(path), source, &change.splices).trim_end());
                original.replace(change.text.as_bytes())
            }
            Some(_) | None => {
                for line in change.text.lines() {
                    talk(&format!("+{}", printable(line)));
                }
                create(path, change.text.as_bytes())
            }
        };
        written.map_err(|refusal| {
            talk(&format!(
                "namegate: {} is not written: {refusal}",
                shown(path)
            ));
            refusal.exit_code()
        })?;
        talk(&format!("written: {}", shown(path)));
        Ok(exit::OK)
    }

    /// Is this the file that was read?
    fn is_ours(&self, path: &Path) -> bool {
        let whole = |path: &Path| fs::canonicalize(path).ok();
        whole(path).is_some_and(|it| Some(it) == whole(self.file()))
    }
}

/// What was typed that the next command needs again, but for the policy.
fn typed(args: &SuggestArgs) -> String {
    let logs = args.log.iter().map(|it| ("log", shown(it)));
    let search = args.search.iter().map(|it| ("search", it.clone()));
    let since = args.since.map(humantime::format_duration);
    let since = since.map(|it| ("since", it.to_string()));
    let files = &args.files;
    let choice = [
        args.socket.as_ref().map(|it| ("socket", shown(it))),
        files.config.as_ref().map(|it| ("config", shown(it))),
        files.policy_id.clone().map(|it| ("policy-id", it)),
        files.policy_name.clone().map(|it| ("policy-name", it)),
    ];
    let all = logs
        .chain(search)
        .chain(since)
        .chain(choice.into_iter().flatten());
    all.map(|(flag, value)| format!(" --{flag} {}", quoted(&value)))
        .collect()
}

/// A document where there was none. Its times are the log's, so that it depends on nothing else.
fn fresh(added: &[Pattern], proposal: &Proposal) -> String {
    let allowed: Vec<String> = added.iter().map(Pattern::to_string).collect();
    let last_ms = proposal.span_ms.map_or(0, |(_, last)| last);
    document(NEW_NAME, &allowed, last_ms)
}

/// An ending as it is compared.
fn suffix(text: &str) -> String {
    text.trim_matches('.').to_ascii_lowercase()
}

/// Puts together what the logs say.
fn read_logs(logs: &[PathBuf]) -> Result<(Observations, Findings), u8> {
    let (mut observations, mut findings) = (Observations::default(), Findings::default());
    for log in logs {
        read_log(log, &mut findings, |it| observations.add(&it))?;
    }
    findings.talk();
    Ok((observations, findings))
}
