//! Asks the running daemon: over its admin socket, and for its status over its pages' address too.
//!
//! One request a connection, in HTTP/1.0: what comes back ends where the
//! connection does. Whoever asks says what he wants and gets the page, or an
//! exit code after the person was told why there is none and what to do.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use serde_json::Value;

use super::args::Link;
use super::{configuration, exit, printable, talk};
use crate::config::Config;
use crate::daemon::reachable;

/// Octets of a page that are read; ten thousand names are some three millions.
const PAGE_OCTETS_MAX: u64 = 32 << 20;
/// Octets of the head of a reply.
const HEAD_OCTETS_MAX: u64 = 16 << 10;
/// A large policy takes seconds to be read; a stream says something every ten.
const PATIENCE: Duration = Duration::from_secs(35);

/// The admin socket of a daemon.
pub(super) struct Client {
    socket: PathBuf,
}

/// What came back.
pub(super) struct Reply {
    /// 200, 422.
    pub status: u16,
    /// What stands behind the head.
    pub body: String,
}

impl Client {
    /// The socket that flags and configuration name; the exit code where there is none.
    pub(super) fn of(config: &Config) -> Result<Self, u8> {
        let Some(socket) = config.admin.socket.clone() else {
            talk("namegate: admin.socket is off, so there is no way to ask the resolver");
            return Err(exit::BAD_CONFIG);
        };
        Ok(Self { socket })
    }

    /// The same, with what was typed.
    pub(super) fn by(link: &Link) -> Result<Self, u8> {
        Self::of(&configuration(&link.flags())?)
    }

    /// A page, if there is a daemon; `path` begins with a slash and may have parameters.
    pub(super) fn ask(&self, method: &str, path: &str) -> io::Result<Reply> {
        let stream = open(&self.socket, PATIENCE)?;
        exchange(stream, &format!("{method} {path} HTTP/1.0\r\n\r\n"))
    }

    /// The text of a page that was answered with 200, or the exit code after it was told what is wrong.
    pub(super) fn get(&self, path: &str) -> Result<String, u8> {
        let reply = self.ask("GET", path).map_err(|error| self.fail(&error))?;
        self.good(reply)
    }

    /// The document of such a page.
    pub(super) fn document(&self, path: &str) -> Result<Value, u8> {
        let text = self.get(path)?;
        serde_json::from_str(&text).map_err(|error| self.fail(&error.into()))
    }

    /// The lines of a page that does not end.
    pub(super) fn lines(&self, path: &str) -> Result<impl BufRead + use<>, u8> {
        let open = || {
            let stream = open(&self.socket, PATIENCE)?;
            begin(stream, &format!("GET {path} HTTP/1.0\r\n\r\n"))
        };
        let (status, mut page) = open().map_err(|error| self.fail(&error))?;
        if status == 200 {
            return Ok(page);
        }
        let mut body = String::new();
        let read = page
            .by_ref()
            .take(HEAD_OCTETS_MAX)
            .read_to_string(&mut body);
        read.map_err(|error| self.fail(&error))?;
        self.good(Reply { status, body }).map(|_| page)
    }

    fn good(&self, reply: Reply) -> Result<String, u8> {
        match reply.status {
            200 => Ok(reply.body),
            400 => {
                talk(&format!("error: {}", printable(reply.body.trim_end())));
                Err(exit::USAGE)
            }
            status => {
                let why = printable(reply.body.trim_end());
                talk(&format!("namegate: the resolver answers {status}: {why}"));
                Err(exit::UNAVAILABLE)
            }
        }
    }

    /// Tells why the daemon could not be asked and what to do, and returns the exit code for it.
    pub(super) fn fail(&self, error: &io::Error) -> u8 {
        let socket = self.socket.display();
        if is_absent(error) {
            talk(&format!(
                "namegate: no resolver answers at {socket}: {error}\n  help: start it, or name its socket: --socket PATH, \
                 or admin.socket of its configuration"
            ));
            return exit::UNAVAILABLE;
        }
        if error.kind() == io::ErrorKind::PermissionDenied {
            talk(&format!(
                "namegate: {socket} is not for this user: {error}\n  help: ask as root or as the user that it runs as, or let a \
                 group in: admin.group and admin.mode = \"0660\""
            ));
            return exit::FORBIDDEN;
        }
        talk(&format!(
            "namegate: what answers at {socket} makes no sense: {error}"
        ));
        exit::UNAVAILABLE
    }

    /// Where it is.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }
}

/// Is nobody there?
pub(super) fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    matches!(error.kind(), NotFound | ConnectionRefused)
}

/// A word of a page, made harmless; `otherwise` where there is none.
pub(super) fn word(value: &Value, otherwise: &str) -> String {
    printable(value.as_str().unwrap_or(otherwise))
}

/// A number of a page; 0 where there is none.
pub(super) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// A text as a parameter's value.
pub(super) fn encoded(text: &str) -> String {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~*".contains(&octet);
    let octets = text.bytes().map(|octet| match plain(octet) {
        true => char::from(octet).to_string(),
        false => format!("%{octet:02X}"),
    });
    octets.collect()
}

/// The status of the daemon at this socket.
///
/// # Errors
/// When nothing answers there in time, or something that is no daemon of ours.
pub(super) fn status(client: &Client, patience: Duration) -> io::Result<Value> {
    let stream = open(&client.socket, patience)?;
    status_in(&exchange(stream, "GET /status HTTP/1.0\r\n\r\n")?)
}

/// The status of the daemon whose pages are at `address`.
///
/// # Errors
/// When nothing answers there in time, or something that is no daemon of ours.
pub(super) fn status_at(address: SocketAddr, patience: Duration) -> io::Result<Value> {
    let address = reachable(address);
    let stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let request = format!("GET /status HTTP/1.0\r\nHost: {address}\r\n\r\n");
    status_in(&exchange(stream, &request)?)
}

/// Connects in bounded time, also where many wait to be let in.
fn open(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    let limit = i64::try_from(patience.as_millis()).unwrap_or(i64::MAX);
    setsockopt(&fd, sockopt::SendTimeout, &TimeVal::milliseconds(limit))?;
    connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    let stream = UnixStream::from(fd);
    stream.set_read_timeout(Some(patience))?;
    Ok(stream)
}

/// Sends a request and reads the head of the reply.
fn begin<S: Read + Write>(mut stream: S, request: &str) -> io::Result<(u16, BufReader<S>)> {
    stream.write_all(request.as_bytes())?;
    let mut page = BufReader::new(stream);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut line = page.by_ref().take(HEAD_OCTETS_MAX - head.len() as u64);
        if line.read_until(b'\n', &mut head)? == 0 {
            return Err(nonsense());
        }
    }
    Ok((status_of(&head).ok_or_else(nonsense)?, page))
}

fn exchange(stream: impl Read + Write, request: &str) -> io::Result<Reply> {
    let (status, page) = begin(stream, request)?;
    let mut body = String::new();
    page.take(PAGE_OCTETS_MAX).read_to_string(&mut body)?;
    Ok(Reply { status, body })
}

/// The code in `HTTP/1.0 200 OK`.
fn status_of(head: &[u8]) -> Option<u16> {
    let digits = head.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    str::from_utf8(digits).ok()?.parse().ok()
}

/// The document of a status page.
fn status_in(reply: &Reply) -> io::Result<Value> {
    let status: Value = serde_json::from_str(&reply.body).map_err(|_| nonsense())?;
    match reply.status == 200 && status.get("policy").is_some() {
        true => Ok(status),
        false => Err(nonsense()),
    }
}

fn nonsense() -> io::Error {
    let message = "what answers is not a page of namegate";
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_status_page_is_a_status() {
        let page = |status, body: &str| {
            let body = body.to_owned();
            status_in(&Reply { status, body })
        };
        assert!(page(200, "{\"policy\":null}").is_ok());
        assert!(page(403, "{\"policy\":null}").is_err());
        assert!(page(200, "{\"else\":1}").is_err());
        assert!(page(200, "<html>").is_err());
        assert_eq!(status_of(b"HTTP/1.0 422 Unprocessable\r\n\r\n"), Some(422));
        assert_eq!(status_of(b"SSH-2.0"), None);
    }

    #[test]
    fn a_value_is_none_but_itself() {
        assert_eq!(encoded("*.a-b_c.example"), "*.a-b_c.example");
        assert_eq!(encoded("a&b=c d/ü%"), "a%26b%3Dc%20d%2F%C3%BC%25");
    }
}
