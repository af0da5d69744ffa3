//! What can be typed behind `policy`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::super::args::{Bundles, Files, Format};
use crate::config::Flags;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum PolicyCommand {
    /// Print a complete policy document
    ///
    ///   namegate policy new --name ci --allow github.com '*.npmjs.org' > policy.json
    #[command(verbatim_doc_comment)]
    New(NewArgs),
    /// What a policy file says: names, flags, digest
    Show(ShowArgs),
    /// What changes from one policy to another, in patterns and in names
    ///
    /// A pattern that goes but is covered by another one is no loss. With a query log, the recorded names that
    /// would no longer resolve, and those that newly would, are listed with the number of their queries. Exit
    /// codes: 0 the same patterns and flags, 1 others, 65 a policy or the log is refused, 66 a file is missing.
    #[command(after_help = "\
Examples:
  namegate policy diff policy.json next.json --log /var/log/namegate/query.jsonl
  namegate policy diff <(git show HEAD:policy.json) policy.json")]
    Diff(DiffArgs),
    /// Hold a policy against a list of names that it must allow or block
    ///
    /// Each line of CASES is `allow NAME` or `block NAME`; # begins a comment. Names are judged as the resolver
    /// would, the configuration's services, zones and forwards included. Prints TAP version 14. Exit codes: 0 all
    /// cases hold, 1 one does not, 65 the policy or a line of CASES is refused, 66 a file is missing.
    Test(TestArgs),
    /// Patterns that no recorded lookup needed
    ///
    /// Reads a query log that holds every query (log.queries = "all"). A wildcard whose every lookup had a more
    /// specific pattern is listed, too. Exit codes: 0 every pattern was needed, 1 one was not, 65 the policy or
    /// the log is refused, 66 a file is missing.
    Unused(UnusedArgs),
    /// Add names to a policy file
    ///
    /// Everything else in the file stays as it is, to the last octet. The change is shown, checked, and put in place
    /// by a rename. A name that is covered already changes nothing. Exit codes: 0 done, 2 not a pattern, 65 the
    /// policy is refused, 66 there is none, 71 the file cannot be replaced, 77 it must not be.
    Add(AmendArgs),
    /// Remove names from a policy file
    ///
    /// Everything else in the file stays as it is, to the last octet. A name that another pattern still allows is
    /// mentioned. Exit codes: as for `add`, and 1 when a name that does not stand in the list is still allowed.
    Rm(AmendArgs),
    /// Wait until the running resolver serves a policy file of this content
    ///
    /// Asks at its admin socket, or where this user may not, the status page at metrics.listen. Exit codes: 0 it
    /// does, 1 the time is over (what it serves instead is told), 78 there is neither.
    #[command(after_help = "\
Examples:
  namegate policy wait --sha256 \"$(sha256sum policy.json | cut -c1-64)\" --timeout 5s")]
    Wait(WaitArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct NewArgs {
    /// The policy's name
    #[arg(long)]
    pub name: String,
    /// Hostnames to allow: github.com is that name, '*.npmjs.org' every name below npmjs.org
    #[arg(long, value_name = "LIST", num_args = 1.., value_delimiter = ',')]
    pub allow: Vec<String>,
    #[command(flatten)]
    pub bundles: Bundles,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ShowArgs {
    #[command(flatten)]
    pub files: Files,
    /// What it is written as
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    pub format: Format,
}

/// What judges beside the policy files that stand on the command line.
#[derive(Debug, Args)]
pub(in crate::cli) struct Beside {
    /// Configuration file [default: /etc/namegate/config.toml, which may be missing]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Which policy, when a file is the API's list response
    #[arg(long, value_name = "ID")]
    pub policy_id: Option<String>,
    /// The same, by name
    #[arg(long, value_name = "NAME")]
    pub policy_name: Option<String>,
}

impl Beside {
    pub(super) fn flags(&self) -> Flags {
        Flags {
            config: self.config.clone(),
            policy_id: self.policy_id.clone(),
            policy_name: self.policy_name.clone(),
            ..Flags::default()
        }
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct DiffArgs {
    /// The policy as it is
    #[arg(value_name = "A")]
    pub old: PathBuf,
    /// The policy as it would be
    #[arg(value_name = "B")]
    pub new: PathBuf,
    /// Query log to be judged by both; - reads standard input
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    #[command(flatten)]
    pub beside: Beside,
    /// What it is written as
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    pub format: Format,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct TestArgs {
    /// Policy file
    #[arg(value_name = "POLICY")]
    pub policy: PathBuf,
    /// File of cases; - reads standard input
    #[arg(value_name = "CASES")]
    pub cases: PathBuf,
    #[command(flatten)]
    pub beside: Beside,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct UnusedArgs {
    /// Query log; - reads standard input [default: the file that log.sink names]
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Leave out what is older, such as 7d or 12h
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub since: Option<Duration>,
    #[command(flatten)]
    pub files: Files,
    /// What it is written as
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    pub format: Format,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct AmendArgs {
    /// Names as they stand in a policy: github.com, '*.npmjs.org'
    #[arg(required_unless_present = "bundle", value_name = "NAME")]
    pub names: Vec<String>,
    #[command(flatten)]
    pub bundles: Bundles,
    /// Show the change and write nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub files: Files,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct WaitArgs {
    /// SHA-256 of the policy file, in hexadecimal; its first 8 digits will do
    #[arg(long, value_name = "HEX")]
    pub sha256: String,
    /// How long to wait
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    /// Configuration file [default: /etc/namegate/config.toml, which may be missing]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The resolver's admin socket [default: admin.socket]
    #[arg(long, value_name = "PATH", conflicts_with = "metrics")]
    pub socket: Option<PathBuf>,
    /// Where the resolver has its status page [default: metrics.listen]
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<String>,
}
