//! The program under test: its folder, its configuration, its process, and what is to be seen of it from outside.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// So long it may take to start, and to end.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(5);
/// NXDOMAIN by the policy, whatever it is.
const PROBE: &[u8] = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x05probe\x04evil\x07example\0\0\x01\0\x01";

pub(super) struct Program {
    child: Child,
    place: TempDir,
    pub(super) dns: SocketAddr,
    metrics: SocketAddr,
    /// Questions until the first answer, which are nobody's.
    pub(super) probes: u64,
}

/// What it holds of the machine.
#[derive(Clone, Copy, Default)]
pub(super) struct Sample {
    pub(super) resident_kib: u64,
    pub(super) highest_kib: u64,
    pub(super) descriptors: u64,
    pub(super) threads: u64,
}

impl Program {
    /// Starts it with its first policy.
    pub(super) fn start(
        program: &Path,
        policy: &str,
        upstream: SocketAddr,
        dns: SocketAddr,
    ) -> Self {
        let place = tempfile::tempdir().expect("a folder");
        let metrics = SocketAddr::new(dns.ip(), dns.port() + 1);
        fs::write(place.path().join("policy.json"), policy).expect("a policy");
        let config = place.path().join("config.toml");
        fs::write(&config, configuration(place.path(), dns, metrics, upstream))
            .expect("a configuration");
        let said = File::create(place.path().join("said")).expect("a file");
        let child = Command::new(program)
            .args(["run", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .env_remove("NAMEGATE_BIN")
            .spawn();
        let mut program = Self {
            child: child.expect("the program starts"),
            place,
            dns,
            metrics,
            probes: 0,
        };
        program.wait_until_ready();
        program
    }

    fn wait_until_ready(&mut self) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.connect(self.dns).expect("loopback");
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .expect("a time-out");
        let began = Instant::now();
        loop {
            self.probes += 1;
            let answered = socket.send(PROBE).and_then(|_| socket.recv(&mut [0; 512]));
            if answered.is_ok() {
                return;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "it does not answer:\n{}",
                self.said()
            );
            sleep(PAUSE);
        }
    }

    /// A file of its folder.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Its own log.
    pub(super) fn said(&self) -> String {
        fs::read_to_string(self.file("said")).unwrap_or_default()
    }

    pub(super) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id");
        // It may have ended, which its clients notice.
        let _ = kill(Pid::from_raw(id), signal);
    }

    /// None: it is gone.
    pub(super) fn sample(&self) -> Option<Sample> {
        let proc = PathBuf::from(format!("/proc/{}", self.child.id()));
        let status = fs::read_to_string(proc.join("status")).ok()?;
        let number = |field: &str| {
            let line = status.lines().find_map(|it| it.strip_prefix(field));
            line.and_then(|it| it.split_whitespace().next()?.parse().ok())
        };
        Some(Sample {
            resident_kib: number("VmRSS:")?,
            highest_kib: number("VmHWM:")?,
            threads: number("Threads:")?,
            descriptors: fs::read_dir(proc.join("fd")).ok()?.count() as u64,
        })
    }

    /// The page of its metrics.
    pub(super) fn metrics(&self) -> Metrics {
        let mut page = String::new();
        if let Ok(mut stream) = TcpStream::connect(self.metrics) {
            let asked = write!(
                stream,
                "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            );
            let _ = asked.and_then(|()| stream.read_to_string(&mut page));
        }
        Metrics(page)
    }

    /// Asks it to end. Returns whether it did, and well.
    pub(super) fn stop(&mut self) -> bool {
        self.signal(Signal::SIGTERM);
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            match self.child.try_wait() {
                Ok(Some(status)) => return status.success(),
                Ok(None) => sleep(PAUSE),
                Err(_) => return false,
            }
        }
        false
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended already, unless something went wrong here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The text of `/metrics`.
pub(super) struct Metrics(String);

impl Metrics {
    /// The sum over all labels.
    pub(super) fn sum(&self, name: &str) -> u64 {
        let lines = self.0.lines().filter_map(|it| it.strip_prefix(name));
        let values = lines.filter(|it| it.starts_with(['{', ' ']));
        let values = values.filter_map(|it| it.rsplit(' ').next()?.parse::<u64>().ok());
        values.sum()
    }
}

fn configuration(
    place: &Path,
    dns: SocketAddr,
    metrics: SocketAddr,
    upstream: SocketAddr,
) -> String {
    let place = place.display();
    format!(
        "[listen]\naddresses = [\"{dns}\"]\n\
         [policy]\nfile = \"{place}/policy.json\"\n\
         [blocked]\nfile = \"\"\n\
         [zones]\ndir = \"{place}/zones\"\n\
         [upstream]\nservers = [\"udp://{upstream}\"]\n\
         [log]\nqueries = \"all\"\nsink = \"file:{place}/queries.jsonl\"\n\
         [metrics]\nlisten = \"{metrics}\"\n\
         [admin]\nsocket = \"{place}/admin.sock\"\n"
    )
}
