//! What `exec` decides before anything is started: who runs the command, by which policy, with which settings.
//!
//! What was typed comes in; a [`Plan`] goes out, with its room and its files made, or an exit code after the reason
//! was told. The command is not run here, and no socket is opened.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, fchown};
use std::path::Path;
use std::time::SystemTime;

use super::super::args::ExecArgs;
use super::super::policy::document;
use super::super::{accept, configuration, exit, printable, read_policy, talk};
use super::identity::{self, Identity};
use super::room::Room;
use crate::config::{AUDIT_MAX, Config, Mode, Queries, SearchSuffix, Sink};
use crate::policy::{Pattern, Policy};
use crate::telemetry;
use crate::wire::Name;

/// The name of the policy that flags make.
const NAME: &str = "exec";
/// What was asked for is the owner's to read, and the group's.
const FILE_MODE: u32 = 0o640;

/// All that is decided before anything is started.
pub(super) struct Plan<'a> {
    pub(super) args: &'a ExecArgs,
    pub(super) room: Room,
    pub(super) config: Config,
    /// Who runs the command, if it is not us.
    pub(super) identity: Option<Identity>,
    /// What the command is held to.
    pub(super) policy: Policy,
}

impl<'a> Plan<'a> {
    /// Tells what stands in the way and returns the exit code for it.
    pub(super) fn of(args: &'a ExecArgs, color: clap::ColorChoice) -> Result<Self, u8> {
        let lossy = |text: OsString| text.to_string_lossy().into_owned();
        let env = |name: &str| std::env::var_os(name).map(lossy);
        let identity = identity::wanted(args.user.as_deref(), env).map_err(|fault| {
            talk(&format!("namegate: {}", fault.message));
            fault.code
        })?;
        let mut config = configuration(&args.flags())?;
        settle(&mut config, args);
        telemetry::install(&config.log);
        let source = match &args.policy {
            Some(_) => read_policy(&config)?,
            None => document(NAME, &allowed(args)?, 0).into_bytes(),
        };
        let accepted = accept(&config, &source, color)?;
        let room = Room::open().map_err(|error| no_room(&error))?;
        let mut plan = Self {
            policy: accepted.policy,
            args,
            room,
            config,
            identity,
        };
        plan.judge_by(&source).map_err(|error| no_room(&error))?;
        plan.make_files().map(|()| plan)
    }

    /// Gives the resolver a policy of its own, which the command cannot edit.
    fn judge_by(&mut self, source: &[u8]) -> io::Result<()> {
        self.config.policy.file = self.room.policy();
        fs::write(self.room.policy(), source)
    }

    /// Makes the files that are to be written, so that they are the caller's, also behind sudo.
    fn make_files(&self) -> Result<(), u8> {
        let files = [&self.args.log, &self.args.report_file];
        for file in files.into_iter().flatten() {
            self.make_file(file).map_err(|error| {
                talk(&format!(
                    "namegate: cannot write {}: {error}",
                    file.display()
                ));
                exit::SYSTEM
            })?;
        }
        Ok(())
    }

    fn make_file(&self, path: &Path) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.append(true).mode(FILE_MODE);
        match options.clone().create_new(true).open(path) {
            Ok(file) => match &self.identity {
                Some(it) => fchown(&file, Some(it.uid.as_raw()), Some(it.gid.as_raw())),
                None => Ok(()),
            },
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                options.open(path).map(drop)
            }
            Err(error) => Err(error),
        }
    }
}

/// What the configuration says for the machine's resolver, and not for this one.
fn settle(config: &mut Config, args: &ExecArgs) {
    config.listen = Config::default().listen;
    if args.policy.is_none() {
        config.policy.id.clear();
        config.policy.name.clear();
    }
    // Whether this is an audit is said here and now.
    (config.policy.mode, config.policy.audit_until) = match args.audit {
        true => (Mode::Audit, Some(SystemTime::now() + AUDIT_MAX)),
        false => (Mode::Enforce, None),
    };
    config.metrics.listen = None;
    config.admin.socket = None;
    config.blocked.file = None;
    let searched = searched_by_default().map(SearchSuffix::Name);
    config.blocked.search_suffixes.extend(searched);
    config.log.level = "warn".to_owned();
    config.log.queries = Queries::None;
    if let Some(file) = &args.log {
        config.log.queries = Queries::All;
        config.log.sink = Sink::File(file.clone());
    }
}

/// What C libraries search where resolv.conf has no search list: the domain of this host's name (resolv.conf(5)).
fn searched_by_default() -> Option<Name> {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    host.trim().split_once('.')?.1.parse().ok()
}

/// The patterns of `--allow` and `--bundle`; nothing between two commas is none. Says what is no pattern.
fn allowed(args: &ExecArgs) -> Result<Vec<String>, u8> {
    let texts = args.allow.iter().map(|it| it.trim());
    let mut allowed = args.bundles.patterns();
    let mut flaws = 0;
    for text in texts.filter(|it| !it.is_empty()) {
        match Pattern::parse(text) {
            Ok(pattern) => allowed.push(pattern.to_string()),
            Err(flaw) => {
                let (text, advice) = (printable(text), flaw.advice());
                talk(&format!("namegate: --allow {text}: {advice}"));
                flaws += 1;
            }
        }
    }
    if flaws > 0 {
        Err(exit::BAD_POLICY)
    } else {
        Ok(allowed)
    }
}

fn no_room(error: &io::Error) -> u8 {
    let dir = std::env::temp_dir();
    talk(&format!(
        "namegate: no room for the command's files in {}: {error}",
        dir.display()
    ));
    exit::SYSTEM
}
