//! The commands. stdout is data, stderr is talk; a command returns its exit code.

mod args;
mod ask;
mod blocked;
mod cache;
mod check;
mod client;
mod demo;
mod doctor;
mod exec;
mod explain;
mod generate;
mod policy;
mod querylog;
mod reload;
mod run;
mod status;
mod suggest;
mod tail;

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Parser;

use self::args::{Cli, Command};
use crate::config::{self, Config, Flags};
use crate::daemon::{Grants, StartError, compile, select_of};
use crate::matcher::Rules;
use crate::policy::{Accepted, Diagnostics, Policy, Select, printable};

/// Exit codes (SPEC 9), those of sysexits(3) where they fit.
mod exit {
    pub(super) const OK: u8 = 0;
    pub(super) const FOUND: u8 = 1;
    pub(super) const USAGE: u8 = 2;
    pub(super) const BAD_POLICY: u8 = 65;
    pub(super) const MISSING: u8 = 66;
    pub(super) const UNAVAILABLE: u8 = 69;
    pub(super) const SYSTEM: u8 = 71;
    pub(super) const FORBIDDEN: u8 = 77;
    pub(super) const BAD_CONFIG: u8 = 78;
}

/// Parses the command line and carries it out.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() {
                exit::USAGE
            } else {
                exit::OK
            });
        }
    };
    let code = match &cli.command {
        Command::Run(args) => run::run(args),
        Command::Demo(args) => demo::demo(args),
        Command::Exec(args) => exec::exec(args, cli.color),
        Command::Child(args) => exec::child(args),
        Command::Lay(args) => exec::lay(args),
        Command::Check(args) => check::check(args, cli.color),
        Command::Explain(args) => explain::explain(args, cli.color),
        Command::Status(args) => status::status(args),
        Command::Blocked(args) => blocked::blocked(args),
        Command::Tail(args) => tail::tail(args),
        Command::Suggest(args) => suggest::suggest(args, cli.color),
        Command::Doctor(args) => doctor::doctor(args, cli.color),
        Command::Policy { command } => policy::run(command, cli.color),
        Command::Reload(args) => reload::reload(args),
        Command::Cache { command } => cache::run(command),
        Command::Gen { command } => generate::run(command),
    };
    ExitCode::from(code)
}

/// The configuration, or the exit code after the faults were told.
fn configuration(flags: &Flags) -> Result<Config, u8> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let names: Vec<String> = names.collect();
    for note in config::unknown_variables(names.iter().map(String::as_str)) {
        talk(&format!("note: {note}"));
    }
    config::load(flags, &|name| std::env::var(name).ok()).map_err(|error| {
        talk(&error.to_string());
        error.kind.exit_code()
    })
}

/// The octets of the policy file, or the exit code after it was told why there are none.
fn read_policy(config: &Config) -> Result<Vec<u8>, u8> {
    let file = &config.policy.file;
    std::fs::read(file).map_err(|error| {
        let file = file.clone();
        fail(&StartError::PolicyMissing { file, error })
    })
}

/// The policy in the octets of its file, or the exit code after its faults were told.
fn accept(config: &Config, source: &[u8], color: clap::ColorChoice) -> Result<Accepted, u8> {
    let file = config.policy.file.display().to_string();
    accept_as(&file, source, &select_of(config), color)
}

/// The same of octets that are said to stand in `file`.
fn accept_as(
    file: &str,
    source: &[u8],
    select: &Select,
    color: clap::ColorChoice,
) -> Result<Accepted, u8> {
    crate::policy::read(file, source, select).map_err(|diagnostics| {
        talk_of(&diagnostics, color);
        exit::BAD_POLICY
    })
}

/// The policy compiled with its list in force, also under `allow_all`: what would be left when that is switched off.
fn rules_of_list(policy: &Policy, config: &Config) -> Result<Rules, StartError> {
    let grants = Grants::of(config).map_err(StartError::Patterns)?;
    let listed = Policy {
        allow_all: false,
        ..policy.clone()
    };
    Ok(compile(&listed, config, &grants))
}

/// Says what is wrong with what was typed, and returns the exit code for it.
fn usage(message: &str) -> u8 {
    talk(&format!("error: {message}"));
    exit::USAGE
}

/// Writes data to stdout. A reader that has gone ends the program quietly, as it does any filter.
fn say(text: &str) {
    let mut stdout = io::stdout().lock();
    if stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .is_err()
    {
        std::process::exit(exit::OK.into());
    }
}

/// Says why nothing can be done, and returns the exit code for it.
fn fail(error: &StartError) -> u8 {
    talk(&format!("namegate: {error}"));
    error.exit_code()
}

/// Draws what is wrong with a policy on stderr.
fn talk_of(diagnostics: &Diagnostics, color: clap::ColorChoice) {
    let drawn = diagnostics.render(colored(color, &io::stderr()));
    talk(drawn.trim_end());
}

/// Milliseconds since 1970, as policies and logs count time.
fn milliseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// A word as a shell takes it.
fn quoted(text: &str) -> String {
    let text = printable(text);
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "_./:=@%+,-".contains(it);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// `1 name`, `2 names`.
fn counted(count: impl TryInto<u64>, one: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    match (count, one.strip_suffix('y')) {
        (1, _) => format!("1 {one}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) => format!("{count} {one}s"),
    }
}

/// A length of time to the second.
fn in_words(time: Duration) -> String {
    humantime::format_duration(Duration::from_secs(time.as_secs())).to_string()
}

/// A path for people.
fn shown(path: &Path) -> String {
    printable(&path.display().to_string())
}

/// Writes a line to stderr.
fn talk(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Does this stream take colours? `NO_COLOR` (no-color.org) and `--color` decide before the terminal does.
fn colored(choice: clap::ColorChoice, stream: &impl IsTerminal) -> bool {
    match choice {
        clap::ColorChoice::Always => true,
        clap::ColorChoice::Never => false,
        clap::ColorChoice::Auto => {
            std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty()) && stream.is_terminal()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_change_is_quoted() {
        assert_eq!(quoted("/var/log/q.jsonl"), "/var/log/q.jsonl");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("*.x'$(y)"), r"'*.x'\''$(y)'");
        assert_eq!(quoted(""), "''");
    }
}
