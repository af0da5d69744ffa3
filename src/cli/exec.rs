//! `exec`: one command under a policy, and nothing of the machine touched.
//!
//! The resolver runs in this process on a loopback address of its own. The command runs in a mount namespace where
//! resolv.conf and nsswitch.conf name that address and no other, as whoever called. When it has ended, the names that
//! were refused are told to the caller. It never runs where these files are not in force.

mod advice;
mod covers;
mod epilogue;
mod identity;
mod inside;
mod keeper;
mod plan;
mod process;
mod record;
mod room;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use self::advice::Advisor;
use self::epilogue::Told;
use self::plan::Plan;
use self::process::{Ears, End, Process};
use self::record::Record;
use super::args::{ChildArgs, ExecArgs, LayArgs, ReportFormat};
use super::run::on_runtime;
use super::{exit, fail, milliseconds, quoted, talk};
use crate::config::Config;
use crate::daemon::{Daemon, StartError};

/// Of 127.0.0: beside those that others like to have (1, 11, 53), and one for each `exec` that runs at a time.
const HOSTS: std::ops::RangeInclusive<u8> = 153..=169;
/// resolv.conf(5) has no word for another one.
const DNS_PORT: u16 = 53;

pub(super) fn child(args: &ChildArgs) -> u8 {
    inside::child(args)
}

pub(super) fn lay(args: &LayArgs) -> u8 {
    inside::lay(args)
}

pub(super) fn exec(args: &ExecArgs, color: clap::ColorChoice) -> u8 {
    match Plan::of(args, color) {
        Ok(mut plan) => on_runtime(carry_out(&mut plan)),
        Err(code) => code,
    }
}

async fn carry_out(plan: &mut Plan<'_>) -> Result<u8, StartError> {
    let args = plan.args;
    // Before there is anything to lose by a signal.
    let ears = Ears::open().map_err(StartError::Io)?;
    let daemon = match start(&mut plan.config).await {
        Err(error) if is_not_bound(&error) => return Ok(cannot_listen(&error)),
        started => started?,
    };
    let resolver = daemon.addresses()[0].ip();
    plan.room.point_at(resolver).map_err(StartError::Io)?;
    let record = Record::open(&daemon);
    let advisor = Arc::new(Advisor::open(&plan.policy, &plan.config)?);
    let process = Process::start(ears, &plan.room, plan.identity.as_ref(), &args.command);
    let process = process.map_err(StartError::Io)?;
    let end = if args.fail_fast {
        process
            .attend(record.first_refusal(Arc::clone(&advisor)))
            .await
    } else {
        process.attend(std::future::pending()).await
    };
    let end = end.map_err(StartError::Io)?;
    let code = code_of(end);
    if !matches!(end, End::NotRun(_)) {
        tell(args, &told(args, end, code, &record, &advisor));
    }
    daemon.stop().await;
    Ok(code)
}

/// A command that was stopped has not done what it was to do, whatever it says.
fn code_of(end: End) -> u8 {
    match end {
        End::Stopped(exit::OK, _) => exit::FOUND,
        End::NotRun(code) | End::Ended(code) | End::Stopped(code, _) => code,
    }
}

/// The resolver, on the first of its addresses that nobody else has.
async fn start(config: &mut Config) -> Result<Daemon, StartError> {
    let mut addresses = HOSTS.map(|host| SocketAddr::from(([127, 0, 0, host], DNS_PORT)));
    let mut address = addresses.next().expect("there are some");
    loop {
        config.listen.addresses = vec![address];
        match (Daemon::start(config).await, addresses.next()) {
            (Err(StartError::NotBound { error, .. }), Some(next))
                if error.error.kind() == io::ErrorKind::AddrInUse =>
            {
                address = next;
            }
            (result, _) => return result,
        }
    }
}

fn is_not_bound(error: &StartError) -> bool {
    matches!(error, StartError::NotBound { .. })
}

/// Says what would help, and returns the exit code.
fn cannot_listen(error: &StartError) -> u8 {
    let StartError::NotBound {
        error: bound,
        owner,
    } = error
    else {
        return fail(error);
    };
    let kind = bound.error.kind();
    let mut help = String::new();
    if kind == io::ErrorKind::PermissionDenied {
        help += NO_PERMISSION;
    }
    if kind == io::ErrorKind::AddrInUse {
        let by = owner
            .as_ref()
            .map_or(String::new(), |it| format!(", this one by {it}"));
        let (first, last) = (HOSTS.start(), HOSTS.end());
        help = format!("\n  127.0.0.{first} to 127.0.0.{last} are all taken{by}");
    }
    talk(&format!("namegate: {bound}{help}"));
    error.exit_code()
}

/// There is no other port: no C library can be told one.
const NO_PERMISSION: &str = "
  a program asks its resolver on port 53, and this user may not listen there. Any of these helps:
    sudo namegate exec ...                                   the command still runs as you
    sudo sysctl net.ipv4.ip_unprivileged_port_start=53       for everybody on this machine, until it restarts
    sudo setcap cap_net_bind_service=+ep PATH-OF-NAMEGATE    for this program";

fn told(args: &ExecArgs, end: End, code: u8, record: &Record<'_>, advisor: &Advisor) -> Told {
    let stopped = match end {
        End::Stopped(_, why) => Some(why),
        End::NotRun(_) | End::Ended(_) => None,
    };
    let program = args.command.first().map(PathBuf::from);
    let name = program.as_deref().and_then(Path::file_name);
    let (refusals, seen) = record.refusals();
    let (refusals, hidden, companions) = advisor.sort(seen, refusals);
    let may_stop = matches!(end, End::Ended(1..)) && !args.fail_fast && !args.audit;
    let first_ms = advice::first_ms(&refusals).filter(|_| may_stop);
    let now_ms = milliseconds(SystemTime::now());
    Told {
        program: name.unwrap_or_default().to_string_lossy().into_owned(),
        code,
        is_audit: args.audit,
        stopped,
        refusals,
        hidden,
        companions,
        went_on_s: first_ms.map_or(0, |it| now_ms.saturating_sub(it) / 1000),
        choice: choice(args),
        policy: args.policy.as_ref().map(|it| it.display().to_string()),
    }
}

/// What was said of which policy in the file is meant.
fn choice(args: &ExecArgs) -> String {
    let flags = [("id", &args.policy_id), ("name", &args.policy_name)];
    let flags = flags
        .iter()
        .filter_map(|(flag, it)| Some((flag, it.as_deref()?)));
    flags
        .map(|(flag, it)| format!(" --policy-{flag} {}", quoted(it)))
        .collect()
}

/// The text to standard error and the report to its file; without one the report takes the text's place.
fn tell(args: &ExecArgs, told: &Told) {
    let report = args.report.map(|format| match format {
        ReportFormat::Md => told.markdown(),
        ReportFormat::Json => format!("{}\n", told.json()),
    });
    match (report, &args.report_file) {
        (Some(report), None) => return talk(report.trim_end()),
        (Some(report), Some(file)) => {
            let file = OpenOptions::new().append(true).open(file);
            if let Err(error) = file.and_then(|mut file| file.write_all(report.as_bytes())) {
                talk(&format!("namegate: the report is lost: {error}"));
            }
        }
        (None, _) => {}
    }
    if let Some(text) = told.text().filter(|_| !args.quiet) {
        talk(text.trim_end());
    }
}
