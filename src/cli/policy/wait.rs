//! `policy wait`: returns when the running daemon serves a policy file of this content.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{fmt, io};

use serde_json::Value;

use super::super::client::{self, Client};
use super::super::{configuration, exit, say, talk, usage};
use super::args::WaitArgs;
use crate::config::{Config, Flags};

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
        socket: args.socket.clone(),
        ..Flags::default()
    })?;
    let source = Source::of(args, &config)?;
    Ok(until_served(&wanted, &source, args.timeout))
}

/// Who tells what is served.
enum Source {
    Socket(Client),
    Page(SocketAddr),
}

impl Source {
    /// The admin socket if it can be had, or the status page; what was typed goes first.
    fn of(args: &WaitArgs, config: &Config) -> Result<Self, u8> {
        let answers = |path: &PathBuf| UnixStream::connect(path).is_ok();
        let is_there = config.admin.socket.as_ref().is_some_and(answers);
        if args.socket.is_some() || (args.metrics.is_none() && is_there) {
            return Client::of(config).map(Self::Socket);
        }
        config.metrics.listen.map(Self::Page).ok_or_else(|| {
            talk("namegate: metrics.listen is off and no resolver answers at its admin socket, so there is nobody to ask");
            exit::BAD_CONFIG
        })
    }

    fn status(&self, patience: Duration) -> io::Result<Value> {
        match self {
            Self::Socket(client) => client::status(client, patience),
            Self::Page(address) => client::status_at(*address, patience),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(client) => write!(f, "{}", client.socket().display()),
            Self::Page(address) => write!(f, "{address}"),
        }
    }
}

fn until_served(wanted: &str, source: &Source, timeout: Duration) -> u8 {
    let began = Instant::now();
    loop {
        let left = timeout.saturating_sub(began.elapsed());
        let seen = source.status(PATIENCE.min(left.max(PAUSE)));
        if let Ok(status) = &seen
            && sha256(status).starts_with(wanted)
        {
            say(&format!("{}\n", served(status)));
            return exit::OK;
        }
        let left = timeout.saturating_sub(began.elapsed());
        if left.is_zero() {
            talk(&over(source, timeout, &seen));
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
    let word = |key: &str| client::word(&policy[key], "?");
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
fn over(source: &Source, timeout: Duration, seen: &io::Result<Value>) -> String {
    let timeout = humantime::format_duration(timeout);
    let status = match seen {
        Ok(status) => status,
        Err(error) => return format!("not within {timeout}: no status from {source}: {error}"),
    };
    let mut text = format!("not within {timeout}; it serves {}", served(status));
    let refused = &status["reloads"]["last_rejected"];
    if let Some(errors) = refused["errors"].as_array() {
        text += "\nthe file was refused:";
        for error in errors {
            let message = client::word(&error["message"], "");
            let code = client::word(&error["code"], "");
            text += &format!("\n  line {}: {code} {message}", error["line"]);
        }
    }
    text
}
