//! What can be typed.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ColorChoice, Parser, Subcommand, ValueEnum};

use super::generate::GenCommand;
use super::policy::PolicyCommand;
use crate::config::Flags;
use crate::learn::{self, Bundle};
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
    after_help = "Try it offline, without root:  namegate demo\nExit codes: 0 ok, 1 blocked or findings, 2 usage, 65 bad policy, 66 file missing, 69 no upstream,\n            or no resolver to ask, 71 port taken, 77 no permission, 78 bad configuration"
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
    /// Run one command under a policy; the machine's settings stay as they are
    ///
    /// The command gets a resolver of its own for as long as it runs, and sees a resolv.conf and an
    /// nsswitch.conf that name no other; everybody else on the machine keeps theirs. When it has ended, the
    /// names that were blocked are told on standard error, with the flag that would allow them. Its exit
    /// code is passed on.
    #[command(after_help = EXEC_HELP, override_usage = EXEC_USAGE)]
    Exec(ExecArgs),
    /// Validate the configuration and the policy
    ///
    /// Every finding is shown at its line, errors and warnings alike, and the zone files are read. Exit codes:
    /// 0 nothing is wrong, 1 warnings with --strict, 65 the policy is refused, 66 there is none, 78 the
    /// configuration or a zone file is refused.
    #[command(alias = "validate")]
    Check(CheckArgs),
    /// Would this name resolve, and why
    ///
    /// Asks the running resolver, and tells what it knows of the name besides: who has asked for it, and what
    /// the cache holds. With --policy, or where no resolver answers, the file is judged as the resolver would.
    /// Nothing is sent to an upstream without --resolve. The code of a diagnostic (NP012) in place of a name is
    /// told what it means, with an example and the remedy. Exit codes: 0 all are allowed, 1 one is blocked, 65
    /// the policy is refused, 66 there is none, 69 no resolver to ask, 78 the configuration is refused.
    #[command(alias = "why")]
    Explain(ExplainArgs),
    /// The running resolver on one screen
    ///
    /// Policy, watch, upstreams, counts, and why the last policy file was refused if it was. Exit codes: 0 it
    /// runs, 69 no resolver answers, 77 its socket is not for this user.
    Status(StatusArgs),
    /// The names that were blocked lately
    ///
    /// The text of /run/namegate/blocked (blocked.file), newest first. Exit codes: 0, 69 no resolver answers, 77
    /// its socket is not for this user.
    Blocked(BlockedArgs),
    /// Follow decisions as they are made
    ///
    /// One a line until Ctrl-C; whoever reads too slowly is told how many went by. Exit codes: 69 no resolver
    /// answers or it has ended, 77 its socket is not for this user.
    #[command(after_help = "\
Examples:
  namegate tail --blocked
  namegate tail --name '*.npmjs.org' --format json")]
    Tail(TailArgs),
    /// Is this machine really using it, and what goes around it
    ///
    /// Looks at resolv.conf, nsswitch.conf, port 53, other resolvers, the policy file and the system's limits, asks
    /// the servers it finds for a name that no policy lists, and says what is wrong and what mends it. It changes
    /// nothing, runs as any user, and says what that user cannot see. Exit codes: 0 nothing fails, 1 something does,
    /// 78 the configuration is refused.
    Doctor(DoctorArgs),
    /// Turn observed lookups into a proposal for the policy
    ///
    /// Reads query logs, or asks the running resolver what it remembers (ten thousand names, also of an audit), holds
    /// what was asked against the policy, and says what to add, what to look at, and what to keep blocked. Nothing is
    /// written without --write, and nothing is added that is not a host of a known tool or accepted by name. Exit
    /// codes: 0 done, 2 usage, 65 the policy is refused, 66 a file is missing, 69 no resolver answers, 71 the policy
    /// changed meanwhile or cannot be written, 77 no permission, 78 the configuration is refused.
    #[command(after_help = SUGGEST_HELP)]
    Suggest(SuggestArgs),
    /// Work with policy documents
    Policy {
        #[command(subcommand)]
        command: PolicyCommand,
    },
    /// Have the running resolver read its policy now, and wait for the result
    ///
    /// Zones are looked at, and the query log is opened anew, too. Exit codes: 0 the file is in force, 65 it is
    /// refused (the findings are shown, the policy before it stays), 66 it is gone or unreadable, 69 no
    /// resolver answers, 77 its socket is not for this user.
    Reload(ReloadArgs),
    /// What upstream has said, as the running resolver remembers it
    Cache {
        #[command(subcommand)]
        command: CacheCommand,
    },
    /// How `exec` starts a command in a namespace of its own
    #[command(name = "__child", hide = true)]
    Child(ChildArgs),
    /// How `exec` holds that namespace's files in place
    #[command(name = "__lay", hide = true)]
    Lay(LayArgs),
    /// Print shell completions and man pages
    #[command(hide = true)]
    Gen {
        #[command(subcommand)]
        command: GenCommand,
    },
}

const RUN_HELP: &str = "\
Every key of the configuration file has a variable, NAMEGATE_SECTION_KEY: NAMEGATE_POLICY_FILE,
NAMEGATE_LISTEN_ADDRESSES. A flag wins over the variable, the variable over the file.

A policy that changes counts from the next query on. SIGHUP looks at policy and zones at once and
opens the query log anew; SIGTERM and SIGINT answer what is on its way and stop, a second one does
not wait.

An audit finds out what a policy lacks: every name resolves, and those that would be blocked are
told, as would_block. --audit-for is for a start by hand; where something starts it again, say when
the audit ends: policy.audit_until.

  namegate run --policy policy.json --listen 127.0.0.1:1053 --upstream udp://10.0.0.2
  dig @127.0.0.1 -p 1053 github.com";

const SUGGEST_HELP: &str = "\
A log that shows all that is needed has log.queries = \"all\", or \"blocked\" while the policy is in force.

  namegate suggest --log query.jsonl --policy policy.json
  namegate suggest --log query.jsonl --accept api.example.com --write policy.json";

const EXEC_USAGE: &str = "\
namegate exec --allow <LIST>|--bundle <LIST> [OPTIONS] -- <COMMAND> [ARGS]...
       namegate exec --policy <FILE> [OPTIONS] -- <COMMAND> [ARGS]...";

const EXEC_HELP: &str = "\
It takes root: with sudo, the command still runs as you (in a root shell that sudo has opened, say
--user root). Or no root, where the kernel has user namespaces and lets you listen on port 53
(sysctl net.ipv4.ip_unprivileged_port_start=53, or setcap cap_net_bind_service=+ep on this
program); then sudo, su and their kin do not work inside.

It filters names. It does not stop a program that connects to an IP address, or that asks another
resolver: by its address, over HTTPS (DNS over HTTPS), or systemd-resolved over its bus; nor a name
in /etc/hosts; nor, as root, a program that undoes its mounts. Where that matters, a packet filter
outside the box closes it: deploy/resolv.conf/README.md, under What this does not stop. What the
command leaves running when it ends has no resolver any more.

Exit codes: the command's own, or 128 and the number of the signal that ended it; 126 and 127 as of
a shell; 1 when --fail-fast stopped it and it said 0. Before it runs: 2 usage, 65 bad policy,
66 file missing, 69 no upstream, 71 no free address or no place for its files, 77 no permission,
78 bad configuration.

  sudo namegate exec --allow 'github.com,*.npmjs.org' --fail-fast -- npm ci
  sudo namegate exec --bundle python -- pip install six
  sudo namegate exec --policy ci.json --audit --report json --report-file seen.json -- make test";

#[derive(Debug, Args)]
pub(super) struct ExecArgs {
    /// Hostnames to allow, with commas between: github.com is that name, '*.npmjs.org' every name below
    /// npmjs.org; may be repeated
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        required_unless_present_any = ["policy", "bundle"],
        conflicts_with = "policy"
    )]
    pub allow: Vec<String>,
    #[command(flatten)]
    pub bundles: Bundles,
    /// Policy file, a NetworkPolicy as JSON, as it is at the start: the command may be able to edit it
    #[arg(long, value_name = "FILE", conflicts_with = "bundle")]
    pub policy: Option<PathBuf>,
    /// Which policy, when the file is the API's list response
    #[arg(long, value_name = "ID", requires = "policy")]
    pub policy_id: Option<String>,
    /// The same, by name
    #[arg(long, value_name = "NAME", requires = "policy")]
    pub policy_name: Option<String>,
    /// Configuration file [default: /etc/namegate/config.toml, which may be missing]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Resolver to ask: system, udp://ADDR or tcp://ADDR; may be repeated [default: system]
    #[arg(long, value_name = "URL")]
    pub upstream: Vec<String>,
    /// Let every name resolve, for 7 days at most, and tell which would have been blocked
    #[arg(long)]
    pub audit: bool,
    /// Stop the command, and all it has started, at the first name that is blocked and may be why it
    /// fails: not at telemetry, search lists, reverse lookups and single labels
    #[arg(long, conflicts_with = "audit")]
    pub fail_fast: bool,
    /// Who runs the command, by name or number [default: who called sudo, else who we are]
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Tell what was blocked as Markdown or JSON, also when it is nothing; on standard error
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub report: Option<ReportFormat>,
    /// Append the report to this file ("$GITHUB_STEP_SUMMARY"), and keep the text on standard error
    #[arg(long, value_name = "FILE", requires = "report")]
    pub report_file: Option<PathBuf>,
    /// Append a record of every query to this file, as JSON Lines
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Nothing on standard error about what was blocked
    #[arg(short, long)]
    pub quiet: bool,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Hosts of known tools, in place of their names.
#[derive(Debug, Default, Args)]
pub(super) struct Bundles {
    /// Hosts of known tools, with commas between: npm,python,git; `--bundle help` names them all
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        value_parser = bundle(),
        hide_possible_values = true
    )]
    pub bundle: Vec<&'static Bundle>,
}

impl Bundles {
    /// Every pattern once, as they stand in the list.
    pub(super) fn patterns(&self) -> Vec<String> {
        let mut patterns: Vec<String> = Vec::new();
        for pattern in self.bundle.iter().flat_map(|it| &it.patterns) {
            if !patterns.contains(pattern) {
                patterns.push(pattern.clone());
            }
        }
        patterns
    }
}

fn bundle() -> impl TypedValueParser<Value = &'static Bundle> {
    let value = |it: &'static Bundle| PossibleValue::new(it.name).help(it.title);
    let values = PossibleValuesParser::new(learn::bundles().iter().map(value));
    values.map(|name| {
        let mut bundles = learn::bundles().iter();
        bundles
            .find(|it| it.name == name)
            .expect("it is one of them")
    })
}

impl ExecArgs {
    pub(super) fn flags(&self) -> Flags {
        Flags {
            config: self.config.clone(),
            policy: self.policy.clone(),
            policy_id: self.policy_id.clone(),
            policy_name: self.policy_name.clone(),
            upstream: self.upstream.clone(),
            ..Flags::default()
        }
    }
}

/// What a report is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ReportFormat {
    /// For the summary of a workflow's step
    Md,
    /// For programs, one object
    Json,
}

#[derive(Debug, Args)]
pub(super) struct ChildArgs {
    #[arg(long)]
    pub dir: PathBuf,
    #[arg(long)]
    pub uid: Option<u32>,
    #[arg(long)]
    pub gid: Option<u32>,
    #[arg(long, value_delimiter = ',')]
    pub groups: Vec<u32>,
    #[arg(required = true, last = true)]
    pub command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(super) struct LayArgs {
    #[arg(long)]
    pub dir: PathBuf,
    #[arg(long)]
    pub joins_users: bool,
}

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
    /// Address of /metrics, /livez, /readyz, /status and the page for a browser, or off [default: 127.0.0.1:9953]
    #[arg(long, value_name = "ADDR|off")]
    pub metrics: Option<String>,
    /// Which queries are logged: all, blocked or none [default: blocked]
    #[arg(long, value_name = "WHICH")]
    pub log_queries: Option<String>,
    /// What becomes of names that the policy does not allow: enforce, or audit, which lets them resolve
    /// and tells [default: enforce]
    #[arg(long, value_name = "MODE")]
    pub mode: Option<String>,
    /// With --mode audit: for how long, 1m to 7d, counted from this start; then it enforces by itself
    #[arg(long, value_name = "TIME", requires = "mode")]
    pub audit_for: Option<String>,
}

impl RunArgs {
    pub(super) fn flags(&self) -> Flags {
        Flags {
            listen: self.listen.clone(),
            upstream: self.upstream.clone(),
            zones: self.zones.clone(),
            metrics: self.metrics.clone(),
            log_queries: self.log_queries.clone(),
            mode: self.mode.clone(),
            audit_for: self.audit_for.clone(),
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
    /// Names to judge, or codes of diagnostics
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// Type that would be asked for
    #[arg(long = "type", value_name = "TYPE", default_value = "A")]
    pub kind: String,
    /// Have the running resolver ask upstream for an allowed name, and tell the answer
    #[arg(long, conflicts_with_all = ["policy", "policy_id", "policy_name"])]
    pub resolve: bool,
    #[command(flatten)]
    pub files: Files,
    /// The resolver's admin socket [default: admin.socket]
    #[arg(long, value_name = "PATH", conflicts_with_all = ["policy", "policy_id", "policy_name"])]
    pub socket: Option<PathBuf>,
    /// What the verdicts are written as
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    pub format: Format,
}

impl ExplainArgs {
    pub(super) fn flags(&self) -> Flags {
        Flags {
            socket: self.socket.clone(),
            ..self.files.flags()
        }
    }

    /// Is it a file that is to be judged by?
    pub(super) fn names_file(&self) -> bool {
        let files = &self.files;
        files.policy.is_some() || files.policy_id.is_some() || files.policy_name.is_some()
    }
}

/// Which running resolver is asked.
#[derive(Debug, Args)]
pub(super) struct Link {
    /// Configuration file [default: /etc/namegate/config.toml, which may be missing]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The resolver's admin socket [default: admin.socket]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

impl Link {
    pub(super) fn flags(&self) -> Flags {
        Flags {
            config: self.config.clone(),
            socket: self.socket.clone(),
            ..Flags::default()
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Again every two seconds, until Ctrl-C
    #[arg(long)]
    pub watch: bool,
    #[command(flatten)]
    pub link: Link,
    /// What it is written as
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    pub format: Format,
}

#[derive(Debug, Args)]
pub(super) struct BlockedArgs {
    /// Every name, and each that a search list made in a line of its own
    #[arg(long)]
    pub all: bool,
    /// Leave out what is older, such as 10m
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub since: Option<Duration>,
    #[command(flatten)]
    pub link: Link,
    /// What they are written as
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    pub format: Format,
}

#[derive(Debug, Args)]
pub(super) struct TailArgs {
    /// Only what is blocked, without what a search list made
    #[arg(long)]
    pub blocked: bool,
    /// With --blocked: what a search list made, too
    #[arg(long, requires = "blocked")]
    pub all: bool,
    /// Only this name, or with '*.npmjs.org' every name below npmjs.org
    #[arg(long, value_name = "PATTERN")]
    pub name: Option<String>,
    /// Only what this address or range asks for
    #[arg(long, value_name = "ADDR")]
    pub client: Option<String>,
    #[command(flatten)]
    pub link: Link,
    /// What they are written as; JSON has the fields of the query log
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    pub format: Format,
}

#[derive(Debug, Args)]
pub(super) struct ReloadArgs {
    #[command(flatten)]
    pub link: Link,
    /// What the result is written as
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    pub format: Format,
}

#[derive(Debug, Subcommand)]
pub(super) enum CacheCommand {
    /// Forget it: the next query for each name goes upstream
    Flush(Link),
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
    /// Query log to read, JSON Lines; - is standard input; may be repeated [default: what the running resolver remembers]
    #[arg(long, value_name = "FILE")]
    pub log: Vec<PathBuf>,
    #[command(flatten)]
    pub files: Files,
    /// The resolver's admin socket, without --log [default: admin.socket]
    #[arg(long, value_name = "PATH", conflicts_with = "log")]
    pub socket: Option<PathBuf>,
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

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    pub files: Files,
    /// Send nothing to another machine: upstreams are not asked, public resolvers not tried
    #[arg(long)]
    pub no_network: bool,
    /// What the findings are written as
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    pub format: Format,
}

fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).map_err(|flaw| flaw.to_string())
}
