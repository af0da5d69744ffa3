//! Asks one server one or two questions that tell what it is. Bounded in time, on its own thread, never through the
//! machine's resolver.
//!
//! Every SOA of namegate's has the MNAME `namegate.internal.`. So a name below `invalid.` tells it in every mode, for
//! namegate answers that itself. A name that no policy lists tells more: its denial has the policy's generation as
//! serial and, for whoever sent an OPT, the reason as an extended error; a policy that allows everything sends it on.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::daemon::query;
use crate::front::Transport;
use crate::wire::{Ede, MESSAGE_OCTETS_MAX, Message, Name, Rcode, Section, Type};

/// Both questions together. A resolver that takes longer for a name that is nowhere counts as silent.
const PATIENCE: Duration = Duration::from_millis(2500);
/// A datagram is sent again after this long.
const RESEND: Duration = Duration::from_millis(900);
/// AA, in the third octet of a header (RFC 1035 §4.1.1).
const AUTHORITATIVE: u8 = 0x04;
/// The numbers behind the two names of an SOA (RFC 1035 §3.3.13).
const SOA_NUMBERS_OCTETS: usize = 20;

/// What became of the questions to one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is namegate that decides there.
    Namegate(Namegate),
    /// A server that is none.
    Other(Rcode),
    /// No answer in time, or no server.
    Silent,
    /// It was not asked, because that would have left the machine.
    Skipped,
}

/// What an answer of namegate's says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Namegate {
    /// Of the policy; none where no denial came back.
    pub generation: Option<u32>,
    /// The answer came from it, not out of a cache or by way of a forwarder.
    pub is_direct: bool,
    /// The reason came along.
    pub explains: bool,
}

impl Heard {
    /// Would it resolve names for whoever asks?
    pub(super) fn resolves(self) -> bool {
        match self {
            Self::Other(rcode) => {
                matches!(rcode, Rcode::NOERROR | Rcode::NXDOMAIN | Rcode::SERVFAIL)
            }
            Self::Namegate(_) | Self::Silent | Self::Skipped => false,
        }
    }

    pub(super) fn is_namegate(self) -> bool {
        matches!(self, Self::Namegate(_))
    }
}

/// Asks a server what it is.
pub(super) fn ask(server: SocketAddr, over: Transport) -> Heard {
    let deadline = Instant::now() + PATIENCE;
    let about = |ending: &str| {
        let name = unlisted(ending);
        let reply = exchange(server, over, &query(&name, Type::A), deadline).ok()?;
        read(&reply, &name)
    };
    let Some(special) = about("invalid") else {
        return Heard::Silent;
    };
    sum_up(special, about("namegate-doctor"))
}

/// What the answers for a special name and for an unlisted one tell together.
fn sum_up(special: Heard, unlisted: Option<Heard>) -> Heard {
    match (special, unlisted) {
        (_, Some(denied @ Heard::Namegate(_))) => denied,
        // The serial of a special name's SOA is no generation.
        (Heard::Namegate(namegate), _) => Heard::Namegate(Namegate {
            generation: None,
            ..namegate
        }),
        (special, unlisted) => unlisted.unwrap_or(special),
    }
}

/// A name that nobody has asked for before: no cache in between knows it.
fn unlisted(ending: &str) -> Name {
    let random = RandomState::new().build_hasher().finish();
    let name = format!("{random:016x}.{ending}");
    name.parse().expect("letters and digits")
}

/// What a reply to a question for `asked` tells; none when it is no such reply.
fn read(reply: &[u8], asked: &Name) -> Option<Heard> {
    let message = Message::read(reply).ok()?;
    if message.question().is_some_and(|(name, _)| name != asked) {
        return None;
    }
    let soa = message
        .records(Section::Authority)
        .filter(|it| it.kind == Type::SOA)
        .find_map(|it| it.spelled().ok());
    let ours = soa.as_deref().and_then(serial_if_ours);
    Some(ours.map_or(Heard::Other(message.rcode()), |serial| {
        Heard::Namegate(Namegate {
            generation: Some(serial),
            is_direct: reply[2] & AUTHORITATIVE != 0,
            explains: message.ede().is_some_and(|ede| ede.code == Ede::BLOCKED),
        })
    }))
}

/// The serial of an SOA whose MNAME is ours.
fn serial_if_ours(soa: &[u8]) -> Option<u32> {
    let ours: Name = "namegate.internal".parse().expect("a constant name");
    let mname = soa.get(..ours.octets().len())?;
    let numbers = soa.last_chunk::<SOA_NUMBERS_OCTETS>()?;
    mname
        .eq_ignore_ascii_case(ours.octets())
        .then(|| numbers.first_chunk().map(|it| u32::from_be_bytes(*it)))?
}

fn exchange(
    server: SocketAddr,
    over: Transport,
    query: &[u8],
    deadline: Instant,
) -> io::Result<Vec<u8>> {
    match over {
        Transport::Udp => over_udp(server, query, deadline),
        Transport::Tcp => over_tcp(server, query, deadline),
    }
}

fn over_udp(server: SocketAddr, query: &[u8], deadline: Instant) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    let mut reply = vec![0; MESSAGE_OCTETS_MAX];
    loop {
        socket.send(query)?;
        socket.set_read_timeout(Some(remaining(deadline)?.min(RESEND)))?;
        match socket.recv(&mut reply) {
            Ok(len) if reply[..len].starts_with(&query[..2]) => {
                reply.truncate(len);
                return Ok(reply);
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
}

fn over_tcp(server: SocketAddr, query: &[u8], deadline: Instant) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, remaining(deadline)?)?;
    stream.set_read_timeout(Some(remaining(deadline)?))?;
    let length = u16::try_from(query.len()).expect("a question is short");
    stream.write_all(&[&length.to_be_bytes(), query].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut reply = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut reply)?;
    Ok(reply)
}

/// The time that is left, which a socket does not take when it is none.
fn remaining(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    match left.is_zero() {
        true => Err(ErrorKind::TimedOut.into()),
        false => Ok(left),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::blocked::{Blocked, Room};
    use crate::matcher::{Rules, Verdict};
    use crate::wire::{Query, UDP_OCTETS};

    const ROOM: Room = Room {
        payload: UDP_OCTETS,
        limit: 512,
    };

    /// What namegate says to a question for a name that no policy lists.
    fn denial(name: &Name) -> Vec<u8> {
        let octets = query(name, Type::A);
        let asked = Query::read(&octets).expect("a question");
        let Verdict::Deny(denial) = Rules::builder().build().judge(name) else {
            unreachable!("no rule, no allowance")
        };
        let mut reply = Vec::new();
        Blocked::new(5, false, "ci", 42, "").deny(&asked, denial, ROOM, &mut reply);
        reply
    }

    #[test]
    fn a_denial_of_ours_is_known_by_its_soa() {
        let name = unlisted("namegate-doctor");
        let mut reply = denial(&name);
        let namegate = Namegate {
            generation: Some(42),
            is_direct: true,
            explains: true,
        };
        assert_eq!(read(&reply, &name), Some(Heard::Namegate(namegate)));
        assert_eq!(
            read(&reply, &unlisted("elsewhere")),
            None,
            "another question"
        );
        // A forwarder in between takes AA away, and with the OPT the reason.
        reply[2] &= !AUTHORITATIVE;
        let opt_at = reply.len() - crate_opt_octets(&reply);
        reply.truncate(opt_at);
        reply[11] = 0;
        let relayed = Namegate {
            is_direct: false,
            explains: false,
            ..namegate
        };
        assert_eq!(read(&reply, &name), Some(Heard::Namegate(relayed)));
    }

    /// The length of the OPT at the end: it begins with the root's name and type 41.
    fn crate_opt_octets(reply: &[u8]) -> usize {
        let opt = [0, 0, 41];
        let from = reply.windows(3).rposition(|it| it == opt);
        reply.len() - from.expect("an OPT")
    }

    #[test]
    fn another_server_is_known_by_what_it_lacks() {
        let name = unlisted("namegate-doctor");
        let mut reply = query(&name, Type::A);
        (reply[2], reply[3]) = (0x81, 0x83);
        let heard = read(&reply, &name).expect("a reply");
        assert_eq!(heard, Heard::Other(Rcode::NXDOMAIN));
        assert!(heard.resolves());
        assert!(!Heard::Other(Rcode::REFUSED).resolves());
    }

    #[test]
    fn two_answers_tell_together() {
        let namegate = |generation| {
            Heard::Namegate(Namegate {
                generation,
                is_direct: true,
                explains: false,
            })
        };
        let other = Heard::Other(Rcode::NXDOMAIN);
        let check = |special, unlisted, expected| {
            assert_eq!(
                sum_up(special, unlisted),
                expected,
                "{special:?} {unlisted:?}"
            );
        };
        check(
            namegate(Some(1)),
            Some(namegate(Some(42))),
            namegate(Some(42)),
        );
        // It allows everything, or its upstream is silent.
        check(namegate(Some(1)), Some(other), namegate(None));
        check(namegate(Some(1)), None, namegate(None));
        // The operator has taken `invalid.` for his own.
        check(other, Some(namegate(Some(42))), namegate(Some(42)));
        let failing = Heard::Other(Rcode::SERVFAIL);
        check(other, Some(failing), failing);
        check(other, None, other);
    }

    #[test]
    fn nobody_at_a_port_is_silent_at_once() {
        let nobody = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = nobody.local_addr().expect("bound");
        drop(nobody);
        let began = Instant::now();
        assert_eq!(ask(address, Transport::Udp), Heard::Silent);
        assert_eq!(ask(address, Transport::Tcp), Heard::Silent);
        assert!(began.elapsed() < PATIENCE);
    }
}
