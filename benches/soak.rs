//! Time and load: the built program under millions of checked queries while its policy, its upstream and its log change.
//!
//! `cargo bench --bench soak -- [--queries N] [--replacements N] [--names-max N] [--seconds MAX]`; without them ten
//! million queries, a thousand replacements of 10 to 1,000,000 names, half an hour at most. `NAMEGATE_BIN` is the
//! program, unless it is the one built with this. Out comes the report; the exit code is 0 when nothing was
//! lost, wrong or grown. Traffic stays on loopback, files under TMPDIR.

#![allow(missing_docs, unreachable_pub, clippy::print_stdout)]

#[path = "soak/mod.rs"]
mod soak;

use std::process::ExitCode;
use std::time::Duration;

use soak::Settings;

fn main() -> ExitCode {
    let settings = settings(std::env::args().skip(1));
    let report = soak::run(&settings);
    println!("{report}");
    match report.is_good() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// cargo adds a `--bench` of its own.
fn settings(args: impl Iterator<Item = String>) -> Settings {
    let mut settings = Settings::campaign();
    let mut args = args.filter(|it| it != "--bench");
    while let Some(flag) = args.next() {
        let value = args.next().and_then(|it| it.replace('_', "").parse().ok());
        let value: u32 = value.expect("a number behind each flag");
        match flag.as_str() {
            "--queries" => settings.queries = value.into(),
            "--replacements" => settings.replacements = value,
            "--names-max" => settings.names_max = value as usize,
            "--seconds" => settings.seconds_max = Duration::from_secs(value.into()),
            _ => unreachable!("{flag} is none of --queries --replacements --names-max --seconds"),
        }
    }
    settings
}
