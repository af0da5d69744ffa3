//! What can be typed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ColorChoice, Parser, Subcommand, ValueEnum};

use crate::config::Flags;
use crate::policy::Pattern;

/// A DNS resolver for devboxes that answers only the names a network policy allows
///
/// namegate is a box's only nameserver. Names that the policy's allowed_hostnames match resolve;
/// every other name is NXDOMAIN, and nothing about it leaves the machine. When the policy file
/// changes, the next query is judged by the new policy.
#[derive(Debug, Parser)]
#[command(
    name = "namegate",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(
    after_help = "Try it offline, without root:  namegate demo\nExit codes: 0 ok, 1 blocked or findings, 2 usage, 65 bad policy, 66 file missing, 69 no upstream,\n            71 port taken, 77 no permission, 78 bad configuration"
)]
pub(super) struct Cli {
    /// Colours in what people read
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        display_order = 900
    )]
    pub color: ColorChoice,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the resolver
    #[command(after_help = RUN_HELP)]
    Run(RunArgs),
    /// Try it offline: no root, no files, no network
    ///
    /// Starts the real resolver with a policy and an internet of its own on loopback, asks it some
    /// questions, edits the policy, shows how soon that counts, and goes on serving until Ctrl-C.
    Demo(DemoArgs),
    /// Validate the configuration and the policy
    ///
    /// Every finding is shown at its line, errors and warnings alike, and the zone files are read. Exit codes:
    /// 0 nothing is wrong, 1 warnings with --strict, 65 the policy is refused, 66 there is none, 78 the
    /// configuration or a zone file is refused.
    #[command(alias = "validate")]
    Check(CheckArgs),
    /// Would this name resolve, and why
    ///
    /// Judges names as the resolver would, without sending anything. Exit codes: 0 all are allowed, 1 one
    /// is blocked, 65 the policy is refused, 66 there is none, 78 the configuration is refused.
    #[command(alias = "why")]
    Explain(ExplainArgs),
    /// Turn observed lookups into a proposal for the policy
    ///
    /// Reads query logs, holds what was asked against the policy, and says what to add, what to look at, and what
    /// to keep blocked. Nothing is written without --write, and nothing is added that is not a host of a known tool
    /// or accepted by name. Exit codes: 0 done, 1 the file changed meanwhile or is another one, 2 usage, 65 the
    /// policy is refused, 66 a file is missing, 71 it cannot be written, 78 the configuration is refused.
    #[command(after_help = SUGGEST_HELP)]
    Suggest(SuggestArgs),
    /// Work with policy documents
    Policy {
        #[command(subcommand)]
        command: PolicyCommand,
    },
}

const RUN_HELP: &str = "\
Every key of the configuration file has a variable, NAMEGATE_SECTION_KEY: NAMEGATE_POLICY_FILE,
NAMEGATE_LISTEN_ADDRESSES. A flag wins over the variable, the variable over the file.

A policy that changes counts from the next query on. SIGHUP looks at policy and zones at once and
opens the query log anew; SIGTERM and SIGINT answer what is on its way and stop, a second one does
not wait.

  namegate run --policy policy.json --listen 127.0.0.1:1053 --upstream udp://10.0.0.2
  dig @127.0.0.1 -p 1053 github.com";

const SUGGEST_HELP: &str = "\
A log that shows all that is needed has log.queries = \"all\", or \"blocked\" while the policy is in force.

  namegate suggest --log query.jsonl --policy policy.json
  namegate suggest --log query.jsonl --accept api.example.com --write policy.json";

#[derive(Debug, Args)]
pub(super) struct Files {
    /// Configuration file [default: /etc/namegate/config.toml, which may be missing]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Policy file, a NetworkPolicy as JSON [default: /etc/namegate/policy.json]
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Which policy, when the file is the API's list response
    #[arg(long, value_name = "ID")]
    pub policy_id: Option<String>,
    /// The same, by name
    #[arg(long, value_name = "NAME")]
    pub policy_name: Option<String>,
}

impl Files {
    pub(super) fn flags(&self) -> Flags {
        Flags {
            config: self.config.clone(),
            policy: self.policy.clone(),
            policy_id: self.policy_id.clone(),
            policy_name: self.policy_name.clone(),
            ..Flags::default()
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub files: Files,
    /// Address to listen on, UDP and TCP; may be repeated [default: 127.0.0.1:53 and [::1]:53]
    #[arg(long, value_name = "ADDR")]
    pub listen: Vec<String>,
    /// Resolver to ask: system, udp://ADDR or tcp://ADDR; may be repeated [default: system]
    #[arg(long, value_name = "URL")]
    pub upstream: Vec<String>,
    /// Directory of zone files that are answered here [default: /etc/namegate/zones]
    #[arg(long, value_name = "DIR")]
    pub zones: Option<PathBuf>,
    /// Address of /metrics, /livez, /readyz and /status, or off [default: 127.0.0.1:9953]
    #[arg(long, value_name = "ADDR|off")]
    pub metrics: Option<String>,
    /// Which queries are logged: all, blocked or none [default: blocked]
    #[arg(long, value_name = "WHICH")]
    pub log_queries: Option<String>,
}

impl RunArgs {
    pub(super) fn flags(&self) -> Flags {
        Flags {
            listen: self.listen.clone(),
            upstream: self.upstream.clone(),
            zones: self.zones.clone(),
            metrics: self.metrics.clone(),
            log_queries: self.log_queries.clone(),
            ..self.files.flags()
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Exit after the questions: 0 when every answer was right, 1 otherwise
    #[arg(long)]
    pub once: bool,
    /// Address to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:1053")]
    pub listen: SocketAddr,
}

/// What findings and verdicts are written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum CheckFormat {
    /// For people
    Text,
    /// For programs
    Json,
    /// Workflow commands that mark lines
    Github,
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    pub files: Files,
    /// Warnings count as failures
    #[arg(long)]
    pub strict: bool,
    /// What the findings are written as
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    pub format: CheckFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Text,
    /// For programs, one object a line
    Json,
}

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// Names to judge
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// Type that would be asked for
    #[arg(long = "type", value_name = "TYPE", default_value = "A")]
    pub kind: String,
    #[command(flatten)]
    pub files: Files,
    /// What the verdicts are written as
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    pub format: Format,
}

/// What a proposal is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum SuggestFormat {
    /// For people
    Text,
    /// For programs, one object
    Json,
    /// The whole policy with what is added
    Policy,
}

#[derive(Debug, Args)]
pub(super) struct SuggestArgs {
    /// Query log to read, JSON Lines; - is standard input; may be repeated
    #[arg(long, value_name = "FILE", required = true)]
    pub log: Vec<PathBuf>,
    #[command(flatten)]
    pub files: Files,
    /// Only names that were asked for in the last part of the log: 2h, 30m
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub since: Option<Duration>,
    /// Ending of the boxes' search list; may be repeated
    #[arg(long, value_name = "SUFFIX")]
    pub search: Vec<String>,
    /// Names under REVIEW that are to be added all the same
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = pattern)]
    pub accept: Vec<Pattern>,
    /// Show every name, hidden ones too
    #[arg(long)]
    pub all: bool,
    /// What the proposal is written as
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    pub format: SuggestFormat,
    /// Show the difference and put the whole policy into FILE, which is also the policy to begin with
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Print a complete policy document
    ///
    ///   namegate policy new --name ci --allow github.com '*.npmjs.org' > policy.json
    #[command(verbatim_doc_comment)]
    New(NewArgs),
}

#[derive(Debug, Args)]
pub(super) struct NewArgs {
    /// The policy's name
    #[arg(long)]
    pub name: String,
    /// Hostnames to allow: github.com is that name, '*.npmjs.org' every name below npmjs.org
    #[arg(long, value_name = "LIST", num_args = 1.., value_delimiter = ',')]
    pub allow: Vec<String>,
}

fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).map_err(|flaw| flaw.to_string())
}
