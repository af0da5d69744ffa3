//! The commands that work with policy documents, one file each.
//!
//! What was typed comes in; text or JSON goes to stdout, talk to stderr, and the exit code is
//! returned. They judge by the function that the server judges by. Only `add` and `rm` write a file.

mod amend;
mod args;
mod cases;
mod diff;
mod new;
mod recorded;
mod replace;
mod show;
mod unified;
mod unused;
mod wait;

pub(super) use args::PolicyCommand;
pub(super) use new::document;
pub(super) use replace::{Original, create};
pub(super) use unified::unified;

use std::path::Path;
use std::sync::Arc;

use super::explain::open;
use crate::config::Config;
use crate::daemon::Judge;
use crate::policy::Accepted;

/// Carries out one of them.
pub(super) fn run(command: &PolicyCommand, color: clap::ColorChoice) -> u8 {
    let done = match command {
        PolicyCommand::New(args) => new::new(args, color),
        PolicyCommand::Show(args) => show::show(args, color),
        PolicyCommand::Diff(args) => diff::diff(args, color),
        PolicyCommand::Test(args) => cases::test(args, color),
        PolicyCommand::Unused(args) => unused::unused(args, color),
        PolicyCommand::Add(args) => amend::add(args, color),
        PolicyCommand::Rm(args) => amend::remove(args, color),
        PolicyCommand::Wait(args) => wait::wait(args),
    };
    done.unwrap_or_else(|code| code)
}

/// The judge by the policy of this file, whatever the configuration names, and what stands in the file.
fn judge_by(
    file: &Path,
    config: &Config,
    color: clap::ColorChoice,
) -> Result<(Judge, Arc<Accepted>), u8> {
    let mut config = config.clone();
    config.policy.file = file.to_owned();
    open(config, color)
}
