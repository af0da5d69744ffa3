//! `check`: every finding about the configuration and the policy, before they serve.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::args::{CheckArgs, CheckFormat};
use super::{configuration, exit, say, talk};
use crate::config::{Ancestors, Config};
use crate::daemon::{Grants, StartError, select_of};
use crate::policy::{self, Accepted, Diagnostics, Severity};

/// The permission that lets anybody write.
const OTHERS_WRITE: u32 = 0o002;

pub(super) fn check(args: &CheckArgs, color: clap::ColorChoice) -> u8 {
    let config = match configuration(&args.files.flags()) {
        Ok(config) => config,
        Err(code) => return code,
    };
    if let Err(bad) = Grants::of(&config) {
        let error = StartError::Patterns(bad);
        talk(&format!("namegate: {error}"));
        return error.exit_code();
    }
    let source = match fs::read(&config.policy.file) {
        Ok(source) => source,
        Err(error) => return missing(&config, error),
    };
    let file = config.policy.file.display().to_string();
    let select = select_of(&config);
    let (accepted, diagnostics) = match policy::read(&file, &source, &select) {
        Ok(accepted) => {
            let lints = policy::lint(&file, &source, &accepted, &select);
            (Some(accepted), lints)
        }
        Err(diagnostics) => (None, diagnostics),
    };
    report(args, color, &config, accepted.as_ref(), &diagnostics)
}

fn missing(config: &Config, error: io::Error) -> u8 {
    let error = StartError::PolicyMissing {
        file: config.policy.file.clone(),
        error,
    };
    talk(&format!("namegate: {error}"));
    exit::NO_FILE
}

fn report(
    args: &CheckArgs,
    color: clap::ColorChoice,
    config: &Config,
    accepted: Option<&Accepted>,
    diagnostics: &Diagnostics,
) -> u8 {
    let loose = loose_file(config);
    match args.format {
        CheckFormat::Text => {
            say(&diagnostics.render(super::colored(color, &io::stdout())));
            loose
                .iter()
                .for_each(|finding| say(&format!("{}\n", finding.render(false).trim_end())));
            say(&summary(config, accepted, diagnostics));
        }
        CheckFormat::Json => {
            let mut findings = diagnostics.json();
            if let (Some(loose), Some(all)) = (&loose, findings.as_array_mut()) {
                all.extend(loose.json().as_array().cloned().unwrap_or_default());
            }
            let file = config.policy.file.display().to_string();
            let report =
                json!({"v": 1, "file": file, "valid": accepted.is_some(), "findings": findings});
            say(&format!("{report}\n"));
        }
        CheckFormat::Github => {
            say(&diagnostics.github());
            loose.iter().for_each(|finding| say(&finding.github()));
        }
    }
    let warned = loose.is_some() || diagnostics.count(Severity::Warning) > 0;
    match accepted {
        None => exit::BAD_POLICY,
        Some(_) if args.strict && warned => exit::FOUND,
        Some(_) => exit::OK,
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
        return format!("{}: refused\n", diagnostics.summary());
    };
    let names = policy.allowed_hostnames.len();
    let wildcards = policy
        .allowed_hostnames
        .iter()
        .filter(|it| it.is_wildcard())
        .count();
    let what = match policy.allow_all {
        true => "allow_all: every name resolves".to_owned(),
        false => format!(
            "{names} names ({} exact, {wildcards} wildcard)",
            names - wildcards
        ),
    };
    let mut text = format!(
        "{}: policy {} ({}): {what}\n",
        diagnostics.summary(),
        policy.name,
        policy.id
    );
    if !policy.allow_all && names > 0 && config.blocked.ancestors == Ancestors::Nxdomain {
        text += "note: names above allowed ones are NXDOMAIN too. Between boxes and namegate a caching resolver that\n      \
                 minimises queries (RFC 9156) may take that for all names below; there, set blocked.ancestors = \"nodata\".\n";
    }
    text
}
