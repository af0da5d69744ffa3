//! Where the query log goes: a file, standard output, or a socket of this machine.
//!
//! Octets come in, and how many of them were taken goes out. A socket is never
//! waited for: what a slow collector has no room for is not taken, and one that
//! is gone is looked for again once a second.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

use crate::config::Sink;

/// The log names clients and what they asked for: the owner's and the group's.
const FILE_MODE: u32 = 0o640;
/// A collector that is gone is looked for this often.
const RETRY: Duration = Duration::from_secs(1);

/// An open sink.
pub(super) enum Out {
    File(File),
    Collector(Collector),
}

/// Whoever listens on a stream socket.
pub(super) struct Collector {
    path: PathBuf,
    stream: Option<UnixStream>,
    tried: Option<Instant>,
}

impl Out {
    /// Opens a sink. A collector need not be there yet.
    pub(super) fn open(sink: &Sink) -> io::Result<Self> {
        Ok(match sink {
            Sink::Stdout => Self::File(io::stdout().as_fd().try_clone_to_owned()?.into()),
            Sink::File(path) => Self::File(
                OpenOptions::new()
                    .append(true)
                    .create(true)
                    .mode(FILE_MODE)
                    .open(path)?,
            ),
            Sink::Unix(path) => Self::Collector(Collector {
                path: path.clone(),
                stream: None,
                tried: None,
            }),
        })
    }

    /// Is to be called before anything is written. Returns whether the reader is a new one, who knows of no line before.
    pub(super) fn prepare(&mut self) -> io::Result<bool> {
        match self {
            Self::File(_) => Ok(false),
            Self::Collector(collector) => collector.prepare(Instant::now()),
        }
    }

    /// Writes what is taken at once. Returns how much that was.
    pub(super) fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(octets),
            Self::Collector(collector) => collector.write(octets),
        }
    }
}

impl Collector {
    fn prepare(&mut self, now: Instant) -> io::Result<bool> {
        if self.stream.is_some() {
            return Ok(false);
        }
        let is_early = |tried: Instant| now.saturating_duration_since(tried) < RETRY;
        if self.tried.is_some_and(is_early) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        self.tried = Some(now);
        self.stream = Some(connected(&self.path)?);
        Ok(true)
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let Some(stream) = &mut self.stream else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let written = stream.write(octets);
        if let Err(error) = &written
            && !is_passing(error)
        {
            self.stream = None;
        }
        written
    }
}

/// Is the reader still there?
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// A connection that nothing waits for: neither to be made nor to be written to.
fn connected(path: &Path) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn collector(path: &Path) -> Collector {
        Collector {
            path: path.to_owned(),
            stream: None,
            tried: None,
        }
    }

    #[test]
    fn a_collector_that_is_gone_is_looked_for_once_a_second() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("socket");
        let (mut collector, start) = (collector(&path), Instant::now());
        let not_there = collector.prepare(start).expect_err("nobody listens");
        assert_eq!(not_there.kind(), io::ErrorKind::NotFound);
        let listener = UnixListener::bind(&path).expect("bound");
        let early = collector.prepare(start + RETRY / 2).expect_err("too early");
        assert_eq!(early.kind(), io::ErrorKind::NotConnected);
        assert!(collector.prepare(start + RETRY).expect("it listens"));
        assert!(!collector.prepare(start + RETRY).expect("it is the same"));
        drop(listener.accept().expect("accepted"));
        assert!(collector.write(b"{}\n").is_err());
        assert!(collector.prepare(start + RETRY * 2).expect("it is back"));
    }

    #[test]
    fn a_collector_that_does_not_read_is_not_waited_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).expect("bound");
        let mut collector = collector(&path);
        collector.prepare(Instant::now()).expect("it listens");
        let block = [b'x'; 64 << 10];
        let mut taken = 0;
        let full = loop {
            match collector.write(&block) {
                Ok(octets) => taken += octets,
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        assert!(
            !collector
                .prepare(Instant::now())
                .expect("it is still there")
        );
        let (mut reader, _) = listener.accept().expect("accepted");
        let mut octets = vec![0; taken];
        reader.read_exact(&mut octets).expect("what was taken");
        assert!(collector.write(&block).is_ok());
    }
}
