//! A stream that somebody else reads, or does not: standard output, standard error, a named pipe, a file.
//!
//! Octets come in, and how many of them were taken goes out. A reader that is
//! slow is waited for; one that takes nothing for a while is not waited for any
//! more until there is room again, for whoever writes has more to do than that.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::time::Duration;

use nix::libc::O_NONBLOCK;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// A reader that takes nothing for so long is stuck. Shorter than what a look at the trail waits for the writer.
const PATIENCE: Duration = Duration::from_millis(200);
/// Where there is any room, there is room for so many octets: PIPE_BUF, pipe(7).
const PIECE_OCTETS: usize = 4096;

/// An open stream.
pub(super) struct Stream {
    file: File,
    /// A file has no reader who could keep us.
    is_file: bool,
    is_stuck: bool,
}

impl Stream {
    /// Takes over what is open.
    pub(super) fn new(file: File) -> io::Result<Self> {
        let kind = file.metadata()?.file_type();
        Ok(Self {
            file: if kind.is_fifo() { alone(file) } else { file },
            is_file: kind.is_file(),
            is_stuck: false,
        })
    }

    /// Standard output or standard error.
    pub(super) fn of(standard: &impl AsFd) -> io::Result<Self> {
        Self::new(standard.as_fd().try_clone_to_owned()?.into())
    }

    /// Writes what is taken soon. Returns how much that was.
    ///
    /// # Errors
    /// `WouldBlock`: the reader is stuck.
    pub(super) fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if self.is_file {
            return self.file.write(octets);
        }
        self.wait_for_room()?;
        self.file.write(&octets[..octets.len().min(PIECE_OCTETS)])
    }

    fn wait_for_room(&mut self) -> io::Result<()> {
        let patience = if self.is_stuck {
            Duration::ZERO
        } else {
            PATIENCE
        };
        let patience = PollTimeout::try_from(patience).expect("it is a part of a second");
        let mut room = [PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)];
        // A reader that has gone counts as room: the write says so.
        self.is_stuck = poll(&mut room, patience)? == 0;
        match self.is_stuck {
            true => Err(io::ErrorKind::WouldBlock.into()),
            false => Ok(()),
        }
    }
}

/// The pipe opened anew: whatever others make of its room meanwhile, a write to it never waits. Of another user's pipe
/// that is not allowed; it is written to as it is.
fn alone(pipe: File) -> File {
    let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(O_NONBLOCK);
    options.open(path).unwrap_or(pipe)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    use super::*;

    /// Writes until no more is taken. Returns how much was, and how long the last try took.
    fn fill(stream: &mut Stream) -> (usize, Duration) {
        let mut taken = 0;
        loop {
            let began = Instant::now();
            match stream.write(&[b'x'; 64 << 10]) {
                Ok(octets) => taken += octets,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    return (taken, began.elapsed());
                }
            }
        }
    }

    #[test]
    fn a_reader_that_is_stuck_is_waited_for_once_and_then_no_more_until_he_reads() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let mut stream = Stream::new(OwnedFd::from(writer).into()).expect("open");
        let (taken, waited) = fill(&mut stream);
        assert!(waited >= PATIENCE);
        assert!(stream.is_stuck);
        let began = Instant::now();
        for _ in 0..100 {
            assert!(stream.write(b"x").is_err());
        }
        assert!(began.elapsed() < 100 * PATIENCE);
        let mut octets = vec![0; taken];
        reader.read_exact(&mut octets).expect("what was taken");
        assert_eq!(stream.write(b"x").expect("there is room"), 1);
        assert!(!stream.is_stuck);
    }

    /// As the journal is one.
    #[test]
    fn a_socket_whose_reader_is_stuck_is_not_waited_for_either() {
        let (_reader, writer) = UnixStream::pair().expect("a socket");
        let mut stream = Stream::new(OwnedFd::from(writer).into()).expect("open");
        assert!(fill(&mut stream).0 > 0);
        assert!(stream.write(b"x").is_err());
    }

    #[test]
    fn a_reader_that_is_slow_gets_all_there_is() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let mut stream = Stream::new(OwnedFd::from(writer).into()).expect("open");
        let (taken, _) = fill(&mut stream);
        let reading = std::thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).expect("read");
            all.len()
        });
        let mut more = 0;
        while more < 1 << 20 {
            match stream.write(&[b'x'; 64 << 10]) {
                Ok(octets) => more += octets,
                // The reader's thread has not begun.
                Err(_) => std::thread::yield_now(),
            }
        }
        drop(stream);
        assert_eq!(reading.join().expect("the reader ended"), taken + more);
    }

    #[test]
    fn a_reader_that_has_gone_is_an_error() {
        let (reader, writer) = io::pipe().expect("a pipe");
        let mut stream = Stream::new(OwnedFd::from(writer).into()).expect("open");
        drop(reader);
        let gone = stream.write(b"x").expect_err("nobody reads");
        assert_eq!(gone.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_file_takes_everything_at_once() {
        let mut stream = Stream::new(tempfile::tempfile().expect("a file")).expect("open");
        let long = vec![b'x'; 10 * PIECE_OCTETS];
        assert_eq!(stream.write(&long).expect("written"), long.len());
    }
}
