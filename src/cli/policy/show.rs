//! `policy show`: what a policy file says.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::super::args::Format;
use super::super::{accept, configuration, counted, exit, printable, read_policy, say};
use super::args::ShowArgs;
use crate::config::Config;
use crate::daemon::{select_of, sha256_of};
use crate::policy::{self, Accepted, Diagnostics, Pattern, Policy, Severity};

/// Patterns of a kind that are shown to people; programs get all.
const SHOWN_MAX: usize = 40;
/// The first millisecond that has no date of four digits.
const YEAR_10000_MS: i64 = 253_402_300_800_000;

pub(super) fn show(args: &ShowArgs, color: clap::ColorChoice) -> Result<u8, u8> {
    let config = configuration(&args.files.flags())?;
    let source = read_policy(&config)?;
    let accepted = accept(&config, &source, color)?;
    let shown = Shown::of(&config, &source, &accepted);
    say(&match args.format {
        Format::Text => shown.text(),
        Format::Json => format!("{}\n", shown.json()),
    });
    Ok(exit::OK)
}

/// The flags of a policy, in the schema's words.
pub(super) fn flags(policy: &Policy) -> [(&'static str, bool); 5] {
    [
        ("allow_all", policy.allow_all),
        ("allow_devbox_to_devbox", policy.allow_devbox_to_devbox),
        ("allow_agent_gateway", policy.allow_agent_gateway),
        ("allow_mcp_gateway", policy.allow_mcp_gateway),
        ("allow_runloop_mirrors", policy.allow_runloop_mirrors),
    ]
}

/// What is shown of a file.
struct Shown<'a> {
    file: String,
    octets: usize,
    sha256: String,
    policy: &'a Policy,
    exact: Vec<String>,
    wildcard: Vec<String>,
    remarks: Diagnostics,
}

impl<'a> Shown<'a> {
    fn of(config: &Config, source: &[u8], accepted: &'a Accepted) -> Self {
        let file = config.policy.file.display().to_string();
        let patterns = accepted.policy.allowed_hostnames.iter();
        let (wildcard, exact): (Vec<Pattern>, Vec<Pattern>) =
            patterns.partition(Pattern::is_wildcard);
        let texts = |all: Vec<Pattern>| all.iter().map(Pattern::to_string).collect();
        Self {
            remarks: policy::lint(&file, source, accepted, &select_of(config)),
            file,
            octets: source.len(),
            sha256: sha256_of(source),
            policy: &accepted.policy,
            exact: texts(exact),
            wildcard: texts(wildcard),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let policy = self.policy;
        let mut line = |what: &str, said: &str| {
            let _ = writeln!(text, "{what:<12} {}", printable(said));
        };
        line("policy", &format!("{} ({})", policy.name, policy.id));
        if let Some(description) = &policy.description {
            line("description", description);
        }
        line("file", &format!("{}, {} octets", self.file, self.octets));
        line("updated", &date(policy.update_time_ms));
        line("sha256", &self.sha256);
        line("flags", &self.flags_text());
        line("findings", &self.findings_text());
        for (kind, patterns) in [("exact", &self.exact), ("wildcard", &self.wildcard)] {
            line(kind, &patterns.len().to_string());
            for pattern in patterns.iter().take(SHOWN_MAX) {
                line("", pattern);
            }
            if patterns.len() > SHOWN_MAX {
                let rest = patterns.len() - SHOWN_MAX;
                line("", &format!("... and {rest} more (--format json has all)"));
            }
        }
        text
    }

    fn flags_text(&self) -> String {
        let set = flags(self.policy).into_iter().filter(|(_, on)| *on);
        let names: Vec<&str> = set.map(|(name, _)| name).collect();
        match names.as_slice() {
            [] => "none".to_owned(),
            names => names.join(" "),
        }
    }

    fn findings_text(&self) -> String {
        let warnings = self.remarks.count(Severity::Warning);
        let remarks = self.remarks.count(Severity::Info);
        let counts = [counted(warnings, "warning"), counted(remarks, "remark")];
        match warnings + remarks {
            0 => "none".to_owned(),
            _ => format!("{} (`namegate check` shows them)", counts.join(", ")),
        }
    }

    fn json(&self) -> Value {
        let policy = self.policy;
        let flags = flags(policy).into_iter();
        let flags: serde_json::Map<String, Value> = flags
            .map(|(name, on)| (name.to_owned(), on.into()))
            .collect();
        json!({
            "v": 1,
            "file": self.file,
            "octets": self.octets,
            "sha256": self.sha256,
            "id": policy.id,
            "name": policy.name,
            "description": policy.description,
            "update_time_ms": policy.update_time_ms,
            "flags": flags,
            "exact": self.exact,
            "wildcard": self.wildcard,
            "warnings": self.remarks.count(Severity::Warning),
            "remarks": self.remarks.count(Severity::Info),
        })
    }
}

/// A time as a date, or as the number it is where no date of four digits stands for it.
fn date(at_ms: i64) -> String {
    match u64::try_from(at_ms) {
        Ok(ms) if at_ms < YEAR_10000_MS => {
            let at = SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
            humantime::format_rfc3339_seconds(at).to_string()
        }
        _ => format!("{at_ms} ms since 1970"),
    }
}
