//! `policy wait`: returns when the running daemon serves a policy file of this content.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::status::status;
use super::super::{configuration, exit, printable, say, talk, usage};
use super::args::WaitArgs;
use crate::config::Flags;

/// Hexadecimal digits of a SHA-256, and how many of them name one well enough.
const DIGITS: std::ops::RangeInclusive<usize> = 8..=64;
/// A reload takes some tens of milliseconds.
const PAUSE: Duration = Duration::from_millis(50);
/// A page comes within this, or the daemon is not well.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn wait(args: &WaitArgs) -> Result<u8, u8> {
    let wanted = args.sha256.to_ascii_lowercase();
    if !DIGITS.contains(&wanted.len()) || !wanted.bytes().all(|it| it.is_ascii_hexdigit()) {
        return Err(usage("--sha256 takes 8 to 64 hexadecimal digits"));
    }
    let config = configuration(&Flags {
        config: args.config.clone(),
        metrics: args.metrics.clone(),
        ..Flags::default()
    })?;
    let Some(address) = config.metrics.listen else {
        talk("namegate: metrics.listen is off, so there is no status page to ask");
        return Err(exit::BAD_CONFIG);
    };
    Ok(until_served(&wanted, address, args.timeout))
}

fn until_served(wanted: &str, address: SocketAddr, timeout: Duration) -> u8 {
    let began = Instant::now();
    loop {
        let left = timeout.saturating_sub(began.elapsed());
        let seen = status(address, PATIENCE.min(left.max(PAUSE)));
        if let Ok(status) = &seen
            && sha256(status).starts_with(wanted)
        {
            say(&format!("{}\n", served(status)));
            return exit::OK;
        }
        let left = timeout.saturating_sub(began.elapsed());
        if left.is_zero() {
            talk(&over(address, timeout, &seen));
            return exit::FOUND;
        }
        std::thread::sleep(PAUSE.min(left));
    }
}

fn sha256(status: &Value) -> &str {
    status["policy"]["sha256"].as_str().unwrap_or_default()
}

/// `policy ci (npl_1) gen 3 sha256 9f2c…`
fn served(status: &Value) -> String {
    let policy = &status["policy"];
    let word = |key: &str| printable(policy[key].as_str().unwrap_or("?"));
    match policy["generation"].as_u64() {
        None => "no policy yet".to_owned(),
        Some(generation) => format!(
            "policy {} ({}) gen {generation} sha256 {}",
            word("name"),
            word("id"),
            word("sha256")
        ),
    }
}

/// What is there when the time is over.
fn over(address: SocketAddr, timeout: Duration, seen: &io::Result<Value>) -> String {
    let timeout = humantime::format_duration(timeout);
    let status = match seen {
        Ok(status) => status,
        Err(error) => return format!("not within {timeout}: no status from {address}: {error}"),
    };
    let mut text = format!("not within {timeout}; it serves {}", served(status));
    let refused = &status["reloads"]["last_rejected"];
    if let Some(errors) = refused["errors"].as_array() {
        text += "\nthe file was refused:";
        for error in errors {
            let message = printable(error["message"].as_str().unwrap_or_default());
            let code = printable(error["code"].as_str().unwrap_or_default());
            text += &format!("\n  line {}: {code} {message}", error["line"]);
        }
    }
    text
}
