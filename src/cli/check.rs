//! `check`: every finding about the configuration and the policy, before they serve.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::args::{CheckArgs, CheckFormat};
use super::{configuration, exit, fail, printable, say};
use crate::config::{Ancestors, Config, Mode};
use crate::daemon::{Grants, StartError, local_zones, select_of};
use crate::policy::{self, Accepted, Diagnostics, Pattern, Policy, Severity};

/// The permission that lets anybody write.
const OTHERS_WRITE: u32 = 0o002;

pub(super) fn check(args: &CheckArgs, color: clap::ColorChoice) -> u8 {
    let config = match configuration(&args.files.flags()) {
        Ok(config) => config,
        Err(code) => return code,
    };
    // What else the configuration names is looked at, too, and the policy all the same.
    let patterns = Grants::of(&config).map_err(StartError::Patterns);
    let faults = [patterns.err(), local_zones(&config).err()];
    let refused = faults.iter().flatten().fold(None, |_, it| Some(fail(it)));
    let code = check_policy(args, color, &config).unwrap_or_else(|error| fail(&error));
    refused.unwrap_or(code)
}

fn check_policy(
    args: &CheckArgs,
    color: clap::ColorChoice,
    config: &Config,
) -> Result<u8, StartError> {
    let missing = |error| StartError::PolicyMissing {
        file: config.policy.file.clone(),
        error,
    };
    let source = fs::read(&config.policy.file).map_err(missing)?;
    let file = config.policy.file.display().to_string();
    let select = select_of(config);
    let (accepted, mut diagnostics) = match policy::read(&file, &source, &select) {
        Ok(accepted) => {
            let lints = policy::lint(&file, &source, &accepted, &select);
            (Some(accepted), lints)
        }
        Err(diagnostics) => (None, diagnostics),
    };
    if let Some(loose) = loose_file(config) {
        diagnostics.add(loose);
    }
    report(args, color, config, accepted.as_ref(), &diagnostics);
    let warned = diagnostics.count(Severity::Warning) > 0;
    Ok(match accepted {
        None => exit::BAD_POLICY,
        Some(_) if args.strict && warned => exit::FOUND,
        Some(_) => exit::OK,
    })
}

fn report(
    args: &CheckArgs,
    color: clap::ColorChoice,
    config: &Config,
    accepted: Option<&Accepted>,
    diagnostics: &Diagnostics,
) {
    match args.format {
        CheckFormat::Text => {
            say(&diagnostics.render(super::colored(color, &io::stdout())));
            say(&summary(config, accepted, diagnostics));
        }
        CheckFormat::Json => {
            let report = json!({
                "v": 1,
                "file": config.policy.file.display().to_string(),
                "valid": accepted.is_some(),
                "findings": diagnostics.json(),
            });
            say(&format!("{report}\n"));
        }
        CheckFormat::Github => say(&diagnostics.github()),
    }
}

/// A file that anybody may write is nobody's policy.
fn loose_file(config: &Config) -> Option<Diagnostics> {
    let file = &config.policy.file;
    let mode = fs::metadata(file).ok()?.permissions().mode();
    (mode & OTHERS_WRITE != 0).then(|| {
        let help = format!("chmod o-w {}", file.display());
        Diagnostics::of_file(
            &file.display().to_string(),
            "NP040",
            Severity::Warning,
            "anybody on this machine may write this file",
            Some(&help),
        )
    })
}

fn summary(config: &Config, accepted: Option<&Accepted>, diagnostics: &Diagnostics) -> String {
    let Some(Accepted { policy, .. }) = accepted else {
        return format!("{}; the policy is refused\n", diagnostics.summary());
    };
    let mut text = format!(
        "{}; policy {} ({}), {}\n",
        diagnostics.summary(),
        printable(&policy.name),
        printable(&policy.id),
        allowed(policy),
    );
    if let Some(until) = config
        .policy
        .audit_until
        .filter(|_| config.policy.mode == Mode::Audit)
    {
        let until = humantime::format_rfc3339_seconds(until);
        text += &format!(
            "note: until {until} this is an audit: names that the policy does not allow resolve, too\n"
        );
    }
    let has_ancestors = !policy.allow_all && !policy.allowed_hostnames.is_empty();
    if has_ancestors && config.blocked.ancestors == Ancestors::Nxdomain {
        text += "note: names above allowed ones are NXDOMAIN too. Between boxes and namegate a caching resolver that\n      \
                 minimises queries (RFC 9156) may take that for all names below; there, set blocked.ancestors = \"nodata\".\n";
    }
    text
}

/// What the policy allows, in a few words.
fn allowed(policy: &Policy) -> String {
    let patterns = &policy.allowed_hostnames;
    let wildcards = patterns.iter().filter(Pattern::is_wildcard).count();
    match (policy.allow_all, patterns.len()) {
        (true, _) => "allow_all: every name resolves".to_owned(),
        (false, 0) => "no names".to_owned(),
        (false, 1) => format!(
            "1 name ({})",
            patterns
                .iter()
                .map(|it| it.text().to_owned())
                .collect::<String>()
        ),
        (false, names) => format!(
            "{names} names ({} exact, {wildcards} wildcard)",
            names - wildcards
        ),
    }
}
