//! `run`: the resolver, until a signal says otherwise.

use std::future::Future;
use std::io;
use std::time::Duration;

use nix::libc::SIGXFSZ;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::getppid;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::args::RunArgs;
use super::{configuration, exit, fail, talk};
use crate::config::Config;
use crate::daemon::{Daemon, Ground, Phase, StartError, handed_over, keep_memory_together};
use crate::telemetry;

/// Each query on its way to an upstream has a socket; fewer descriptors than this are worth a word.
pub(super) const DESCRIPTORS_WANTED: u64 = 4096;
/// One reads the policy, and one takes the place of a worker that compiles it.
const SPARE_THREADS: usize = 2;
/// Longer than it takes to start them.
const SPARE_BUSY: Duration = Duration::from_millis(20);
/// They stay though they have nothing to do.
const KEEP_ALIVE: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn run(args: &RunArgs) -> u8 {
    if args.audit_for.is_some() && is_supervised() {
        talk(BEGINS_ANEW);
        return exit::BAD_CONFIG;
    }
    let config = match configuration(&args.flags()) {
        Ok(config) => config,
        Err(code) => return code,
    };
    telemetry::install(&config.log);
    raise_descriptor_limit();
    // While there is one thread: those to come have no more rights than it.
    match ground(&config) {
        Ok(ground) => on_runtime(serve(&config, ground)),
        Err(error) => fail(&error),
    }
}

fn ground(config: &Config) -> Result<Ground, StartError> {
    Ground::take(config, handed_over()?)?.confined(config)
}

/// What starts us again after each end would begin the audit again, too, and it would have none.
const BEGINS_ANEW: &str = "\
error: --audit-for counts from this start, and what has started this would start it again
  = help: say when the audit ends: policy.audit_until = \"2026-01-31T18:00:00Z\" in the configuration file,
          or NAMEGATE_POLICY_AUDIT_UNTIL";

/// Has a service manager or a container's runtime started us? Those wait for word, or are process 1, or are outside
/// of what can be seen.
fn is_supervised() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some() || getppid().as_raw() <= 1
}

/// Runs a command that serves, on as many threads as there are processors.
pub(super) fn on_runtime(serve: impl Future<Output = Result<u8, StartError>>) -> u8 {
    keep_memory_together();
    let runtime: io::Result<Runtime> = Builder::new_multi_thread()
        .enable_all()
        .thread_keep_alive(KEEP_ALIVE)
        .build();
    let served = match runtime {
        Ok(runtime) => {
            start_spare_threads(&runtime);
            runtime.block_on(serve)
        }
        Err(error) => Err(StartError::Io(error)),
    };
    served.unwrap_or_else(|error| fail(&error))
}

/// The threads that read and compile a policy are there before it is needed: a system that gives no more of them, because
/// somebody else has taken them all, is not to keep us at the policy of yesterday.
fn start_spare_threads(runtime: &Runtime) {
    for _ in 0..SPARE_THREADS {
        // Each is busy until the last is there, or one would do for all.
        drop(runtime.spawn_blocking(|| std::thread::sleep(SPARE_BUSY)));
    }
}

async fn serve(config: &Config, ground: Ground) -> Result<u8, StartError> {
    let mut hangup = signal(SignalKind::hangup()).map_err(StartError::Io)?;
    let mut end = End::listen().map_err(StartError::Io)?;
    // Whoever listens for it is not ended by it: a log that has become too large is like one on a full disk.
    let _too_large = signal(SignalKind::from_raw(SIGXFSZ)).map_err(StartError::Io)?;
    let mut daemon = Daemon::start_on(ground, config).await?;
    tell_of_start(&daemon);
    daemon.tell_supervisor(Phase::Ready);
    daemon.announce_audit();
    loop {
        tokio::select! {
            () = end.asked() => break,
            Some(()) = hangup.recv() => daemon.reload(),
        }
    }
    tracing::info!("stopping");
    daemon.tell_supervisor(Phase::Stopping);
    tokio::select! {
        () = daemon.stop() => Ok(exit::OK),
        // Asked twice, it does not wait for those on their way.
        () = end.asked() => Ok(exit::OK),
    }
}

fn tell_of_start(daemon: &Daemon) {
    let live = daemon.road().live();
    let (exact, wildcard) = live.rules.counts();
    let listen: Vec<String> = daemon.addresses().iter().map(ToString::to_string).collect();
    tracing::info!(
        policy = %live.name,
        generation = live.generation,
        exact,
        wildcard,
        listen = listen.join(" "),
        landlock = daemon.landlock(),
        metrics = daemon.pages().map(tracing::field::display),
        admin = daemon.admin().map(|it| tracing::field::display(it.display())),
        "namegate {} answers",
        env!("CARGO_PKG_VERSION")
    );
}

/// SIGTERM and SIGINT, none of which is lost once they are listened for.
pub(super) struct End {
    term: Signal,
    interrupt: Signal,
}

impl End {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next of them.
    pub(super) async fn asked(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Takes the descriptors that the system would give if asked.
fn raise_descriptor_limit() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_err() {
        tracing::debug!(soft, hard, "the descriptor limit could not be raised");
    }
    if hard < DESCRIPTORS_WANTED {
        tracing::warn!(limit = hard, "few descriptors: queries may fail under load");
    }
}
