//! The command's process: started, told of signals, waited for, stopped.
//!
//! It stays in our process group, so that a terminal's keys reach it as they would without us. What is told to us
//! alone is passed on. Orphans of the command become children of ours until we end, so that a command which is to be
//! stopped is stopped with all it has started.

use std::ffi::OsString;
use std::fs::{self, File};
use std::future::Future;
use std::io::{self, Write};
use std::os::unix::net::UnixStream as Visitor;
use std::pin::pin;
use std::process::Command;
use std::time::Duration;

use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpgrp, getpid, tcgetpgrp};
use tokio::net::UnixListener;
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::super::talk;
use super::identity::Identity;
use super::keeper::{Keeper, LOOK_EVERY};
use super::room::Room;

/// What is passed on when it is told to us.
const PASSED: [Signal; 6] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];
/// Signals that wait to be passed on: more than a person types.
const SIGNALS_MAX: usize = 16;
/// A command that is told to end has this long for it.
const TERM_PATIENCE: Duration = Duration::from_secs(2);
/// Whoever is started while others are killed is killed next.
const KILL_AGAIN: Duration = Duration::from_millis(100);

/// What can be told to us from outside, listened for before there is anything to lose.
pub(super) struct Ears {
    children: unix::Signal,
    signals: mpsc::Receiver<Signal>,
}

impl Ears {
    /// Signals that we were started to ignore (nohup, a shell's background) stay ignored, by the command too.
    pub(super) fn open() -> io::Result<Self> {
        let ignored = ignored_signals();
        let (sender, signals) = mpsc::channel(SIGNALS_MAX);
        for signal in PASSED {
            if ignored & (1 << (signal as u32 - 1)) != 0 {
                continue;
            }
            let mut told = unix::signal(SignalKind::from_raw(signal as i32))?;
            let sender = sender.clone();
            tokio::spawn(async move {
                while told.recv().await.is_some() && sender.send(signal).await.is_ok() {}
            });
        }
        Ok(Self {
            children: unix::signal(SignalKind::child())?,
            signals,
        })
    }
}

/// The mask of ignored signals (proc_pid_status(5)).
fn ignored_signals() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|it| u64::from_str_radix(it.trim(), 16).ok())
        .unwrap_or(0)
}

/// What became of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It was never run; we said why.
    NotRun(u8),
    /// It ended by itself, or by a signal.
    Ended(u8),
    /// We stopped it.
    Stopped(u8, Why),
}

/// Why we stop a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// A name was blocked, and that was to be the end.
    Blocked,
    /// It sees the machine's resolver settings again.
    Bare,
}

/// A running command.
pub(super) struct Process<'a> {
    pid: Pid,
    room: &'a Room,
    ears: Ears,
    door: UnixListener,
    /// None: it has not been run yet.
    keeper: Option<Keeper>,
    stopped: Option<Why>,
    kill_at: Instant,
    code: Option<u8>,
}

impl<'a> Process<'a> {
    /// Starts it as far as its namespaces.
    pub(super) fn start(
        ears: Ears,
        room: &'a Room,
        identity: Option<&Identity>,
        command: &[OsString],
    ) -> io::Result<Self> {
        prctl::set_child_subreaper(true)?;
        let door = UnixListener::bind(room.door())?;
        let child = child(room, identity, command).spawn()?;
        Ok(Self {
            pid: Pid::from_raw(child.id().cast_signed()),
            room,
            ears,
            door,
            keeper: None,
            stopped: None,
            kill_at: Instant::now(),
            code: None,
        })
    }

    /// Attends to it until it has ended. When `alarm` goes off, it is stopped.
    pub(super) async fn attend(mut self, alarm: impl Future<Output = ()>) -> io::Result<End> {
        let mut alarm = pin!(alarm);
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = self.ears.children.recv() => self.reap(),
                Some(signal) = self.ears.signals.recv() => self.pass_on(signal),
                visitor = self.door.accept(), if self.keeper.is_none() => {
                    self.let_go(visitor?.0.into_std()?)?;
                }
                () = &mut alarm, if self.stopped.is_none() => self.stop(Why::Blocked),
                () = sleep_until(self.kill_at), if self.stopped.is_some() => self.kill(),
                _ = look.tick() => self.look(),
            }
            if let Some(end) = self.end() {
                return Ok(end);
            }
        }
    }

    /// What is told, once there is nothing more to wait for.
    fn end(&self) -> Option<End> {
        match (self.code?, self.stopped) {
            (code, None) if self.keeper.is_none() => Some(End::NotRun(code)),
            (code, None) => Some(End::Ended(code)),
            (code, Some(why)) => descendants().is_empty().then_some(End::Stopped(code, why)),
        }
    }

    /// Its namespaces are made: holds them, and lets it become the command.
    fn let_go(&mut self, mut visitor: Visitor) -> io::Result<()> {
        self.keeper = Some(Keeper::open(self.pid, self.room.dir())?);
        visitor.set_nonblocking(false)?;
        visitor.write_all(&[1])
    }

    /// Takes what has ended, orphans included.
    fn reap(&mut self) {
        loop {
            let (pid, code) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
                Ok(_) | Err(_) => return,
            };
            if pid == self.pid {
                // A code has eight bits (wait(2)).
                self.code = Some(code.to_le_bytes()[0]);
            }
        }
    }

    /// Ctrl-C and Ctrl-\ have reached it already where we stand in a terminal's foreground.
    fn pass_on(&self, signal: Signal) {
        let is_key = matches!(signal, Signal::SIGINT | Signal::SIGQUIT);
        if !(is_key && in_foreground()) {
            let _ = kill(self.pid, signal);
        }
    }

    fn look(&mut self) {
        let holds = self.keeper.as_mut().is_none_or(Keeper::holds);
        if !holds && self.stopped.is_none() {
            talk(
                "namegate: the machine's resolver settings cannot be kept from the command; it is stopped",
            );
            self.stop(Why::Bare);
        }
    }

    fn stop(&mut self, why: Why) {
        self.stopped = Some(why);
        self.kill_at = Instant::now() + TERM_PATIENCE;
        signal_all(Signal::SIGTERM);
    }

    fn kill(&mut self) {
        self.kill_at = Instant::now() + KILL_AGAIN;
        signal_all(Signal::SIGKILL);
    }
}

/// We ourselves, as the one who becomes the command.
fn child(room: &Room, identity: Option<&Identity>, command: &[OsString]) -> Command {
    let mut child = Command::new("/proc/self/exe");
    child.arg("__child").arg("--dir").arg(room.dir());
    if let Some(identity) = identity {
        let groups: Vec<String> = identity.groups.iter().map(ToString::to_string).collect();
        child.args(["--uid", &identity.uid.to_string()]);
        child.args(["--gid", &identity.gid.to_string()]);
        child.args(["--groups", &groups.join(",")]);
        if let Some((name, home)) = &identity.known_as {
            child
                .envs([("USER", name), ("LOGNAME", name)])
                .env("HOME", home);
        }
    }
    child.arg("--").args(command);
    child
}

fn in_foreground() -> bool {
    let terminal = File::open("/dev/tty");
    terminal.is_ok_and(|it| tcgetpgrp(it) == Ok(getpgrp()))
}

fn signal_all(signal: Signal) {
    for pid in descendants() {
        let _ = kill(pid, signal);
        // One that stands still hears nothing.
        let _ = kill(pid, Signal::SIGCONT);
    }
}

/// Everything below us that runs.
fn descendants() -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pairs: Vec<(i32, i32)> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: i32| Some((pid, parent(pid)?)))
        .collect();
    let mut found = vec![getpid().as_raw()];
    let mut at = 0;
    while let Some(above) = found.get(at).copied() {
        found.extend(
            pairs
                .iter()
                .filter(|(_, it)| *it == above)
                .map(|(pid, _)| *pid),
        );
        at += 1;
    }
    found.into_iter().skip(1).map(Pid::from_raw).collect()
}

/// The parent of a process that runs (proc_pid_stat(5)); its name may hold anything, brackets too.
fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.next()?.parse().ok()
}
