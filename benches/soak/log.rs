//! The query log: turned over while it is written, read to the last line, and each verdict held against the policy
//! by which it says it was given.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde::Deserialize;

use super::policies::{Policies, Verdict};
use super::program::Program;

/// A log that is not opened anew by then never will be.
const PATIENCE: Duration = Duration::from_secs(60);
const NAME: &str = "queries.jsonl";
const FAULTS_TOLD: usize = 10;

/// What stands in all files of the log.
#[derive(Default)]
pub(super) struct Logged {
    pub(super) files: u64,
    pub(super) octets: u64,
    /// Records of queries, over UDP and over TCP.
    pub(super) queries: [u64; 2],
    /// Those whose verdict was held against a policy.
    pub(super) judged: u64,
    /// Those of them that name no pattern: their policy was replaced twice before they were written.
    pub(super) nameless: u64,
    /// Other records, by event.
    pub(super) events: BTreeMap<String, u64>,
    pub(super) wrong: u64,
    pub(super) faults: Vec<String>,
}

/// The part of a record that is looked at.
#[derive(Deserialize)]
struct Line<'l> {
    event: &'l str,
    #[serde(borrow)]
    name: Option<Cow<'l, str>>,
    reason: Option<&'l str>,
    #[serde(borrow)]
    matched: Option<Cow<'l, str>>,
    proto: Option<&'l str>,
    policy_id: Option<&'l str>,
    policy_gen: Option<u32>,
}

impl Logged {
    /// Gives the file another name, has a new one begun, and reads the old one when that is there.
    pub(super) fn turn_over(&mut self, program: &Program, policies: &Policies) {
        let (file, old) = (program.file(NAME), program.file("queries.old"));
        if fs::rename(&file, &old).is_err() {
            return self.fault("the log is not there".to_owned());
        }
        program.signal(Signal::SIGHUP);
        let began = Instant::now();
        while !file.exists() {
            if began.elapsed() > PATIENCE {
                return self.fault("the log was not opened anew".to_owned());
            }
            sleep(Duration::from_millis(5));
        }
        self.read(&old, policies);
    }

    /// Reads the last one, when the program has ended.
    pub(super) fn finish(&mut self, program: &Program, policies: &Policies) {
        self.read(&program.file(NAME), policies);
    }

    /// Reads a file to its end, and removes it.
    fn read(&mut self, file: &Path, policies: &Policies) {
        let mut reader = BufReader::with_capacity(1 << 20, File::open(file).expect("the log"));
        self.files += 1;
        let mut line = String::new();
        while reader.read_line(&mut line).expect("the log is UTF-8") > 0 {
            self.octets += line.len() as u64;
            if let Err(why) = self.take(&line, policies) {
                self.fault(format!("{why}: {}", line.trim_end()));
            }
            line.clear();
        }
        fs::remove_file(file).expect("it is ours");
    }

    fn take(&mut self, text: &str, policies: &Policies) -> Result<(), String> {
        let line: Line<'_> = serde_json::from_str(text).map_err(|why| why.to_string())?;
        if line.event != "dns.query" {
            *self.events.entry(line.event.to_owned()).or_default() += 1;
            return Ok(());
        }
        self.queries[usize::from(line.proto == Some("tcp"))] += 1;
        let reason = line.reason.unwrap_or_default();
        let is_allowed = match reason {
            "not_listed" => false,
            "exact" | "wildcard" | "any" | "qtype" | "private_address" => true,
            "upstream_timeout" | "upstream_servfail" | "upstream_unreachable" => true,
            "special_use" | "local" | "malformed" | "not_served" => return Ok(()),
            other => return Err(format!("nothing is to end with {other}")),
        };
        self.judged += 1;
        let version = line.policy_gen.and_then(|it| policies.version(it));
        let (version, name) = version
            .zip(line.name)
            .ok_or("no such generation, or no name")?;
        let mut expected = match version.judge(&name) {
            Verdict::Denied(_) => None,
            Verdict::Exact => Some(name.to_string()),
            Verdict::Below(base) => Some(format!("*.{base}")),
        };
        let is_right = expected.is_some() == is_allowed;
        if line.policy_id.is_none() {
            self.nameless += 1;
            expected = None;
        }
        match is_right && expected.as_deref() == line.matched.as_deref() {
            true => Ok(()),
            false => Err(format!("by that policy it matches {expected:?}")),
        }
    }

    fn fault(&mut self, fault: String) {
        self.wrong += 1;
        if self.faults.len() < FAULTS_TOLD {
            self.faults.push(fault);
        }
    }
}
