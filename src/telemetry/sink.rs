//! Where the query log goes: a file, standard output, or a socket of this machine.
//!
//! Octets come in, and how many of them were taken goes out. A socket is never
//! waited for: what a slow collector has no room for is not taken, and one that
//! is gone is looked for again once a second.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::libc::O_NONBLOCK;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

use super::stream::Stream;
use crate::config::Sink;

/// The log names clients and what they asked for: the owner's and the group's.
const FILE_MODE: u32 = 0o640;
/// A collector that is gone is looked for this often.
const RETRY: Duration = Duration::from_secs(1);

/// An open sink.
pub(super) enum Out {
    Stream(Stream),
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
            Sink::Stdout => Self::Stream(Stream::of(&io::stdout())?),
            // A named pipe that nobody reads is an error, and nothing to wait for.
            Sink::File(path) => Self::Stream(Stream::new(
                OpenOptions::new()
                    .append(true)
                    .create(true)
                    .mode(FILE_MODE)
                    .custom_flags(O_NONBLOCK)
                    .open(path)?,
            )?),
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
            Self::Stream(_) => Ok(false),
            Self::Collector(collector) => collector.prepare(Instant::now()),
        }
    }

    /// Writes what is taken soon. Returns how much that was.
    pub(super) fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stream(stream) => stream.write(octets),
            Self::Collector(collector) => collector.write(octets),
        }
    }
}

/// Does a file end within a line? Whoever wrote it was cut off there, by a full disk or by its own end.
pub(super) fn is_torn(sink: &Sink) -> bool {
    match sink {
        Sink::File(path) => path.is_file() && last_octet(path).is_ok_and(|it| it != b'\n'),
        Sink::Stdout | Sink::Unix(_) => false,
    }
}

fn last_octet(path: &Path) -> io::Result<u8> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last[0])
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
    fn a_file_that_ends_within_a_line_is_torn() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        let sink = Sink::File(path.clone());
        assert!(!is_torn(&sink), "there is none");
        for (text, expected) in [("", false), ("{}\n", false), ("{}\n{\"ha", true)] {
            std::fs::write(&path, text).expect("written");
            assert_eq!(is_torn(&sink), expected, "{text}");
        }
    }

    #[test]
    fn a_pipe_that_nobody_reads_is_not_waited_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        let opened = Out::open(&Sink::File(path.clone()));
        let error = opened.err().expect("nobody reads");
        assert_eq!(error.raw_os_error(), Some(nix::errno::Errno::ENXIO as i32));
        assert!(!is_torn(&Sink::File(path)));
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
