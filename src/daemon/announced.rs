//! Which of all queries is the one that we ask ourselves.
//!
//! The probe announces it before it is sent, and the road asks of each query that
//! has ended whether it is that one. Nothing is asked or sent here.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

use crate::telemetry::{Done, Transport};

/// `localhost. A`, answered from what is compiled in; the two octets of the id go in front.
pub(super) const QUESTION: &[u8] = b"\x01\0\0\x01\0\0\0\0\0\0\x09localhost\0\0\x01\0\x01";

/// The query that we are about to ask ourselves: it is nobody's figure, and all others are.
#[derive(Default)]
pub(super) struct Announced(AtomicU16);

impl Announced {
    /// The next query over UDP from this port of ours is our own.
    pub(super) fn announce(&self, address: SocketAddr) {
        self.0.store(address.port(), Relaxed);
    }

    /// Is it that one? It is told by its port, which a connection may have too, and whoever asks from another address
    /// of this machine: so it has to be the question as well, and comes once.
    #[inline]
    pub(super) fn is(&self, done: &Done<'_>) -> bool {
        let port = done.client.port();
        port != 0
            && self.0.load(Relaxed) == port
            && done.transport == Transport::Udp
            && done.client.ip().is_loopback()
            && done
                .name
                .is_some_and(|it| QUESTION[10..].starts_with(it.octets()))
            && self.0.swap(0, Relaxed) == port
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::answer::{Desk, Outcome, Reason};
    use crate::wire::{Name, Type};

    fn done<'n>(name: &'n Name, client: &str, transport: Transport) -> Done<'n> {
        Done {
            name: Some(name),
            kind: Type::A,
            transport,
            client: client.parse().expect("an address"),
            outcome: Outcome {
                desk: Desk::Special,
                reason: Reason::SpecialUse,
                rcode: None,
                ede: None,
            },
            rule: None,
            generation: 1,
            began: Instant::now(),
            took: Duration::ZERO,
            ttl_s: None,
        }
    }

    /// A client chooses his port; he is not to go uncounted by it.
    #[test]
    fn of_all_that_come_from_the_port_of_the_probe_one_is_the_probe() {
        let [ours, other] = ["localhost", "evil.example"].map(|it| it.parse().expect("a name"));
        let announced = Announced::default();
        let is = |name: &Name, client: &str, transport: Transport| {
            announced.is(&done(name, client, transport))
        };
        assert!(
            !is(&ours, "127.0.0.1:0", Transport::Udp),
            "none is announced"
        );
        announced.announce("127.0.0.1:40000".parse().expect("an address"));
        assert!(!is(&ours, "127.0.0.1:40000", Transport::Tcp));
        assert!(!is(&other, "127.0.0.1:40000", Transport::Udp));
        assert!(!is(&ours, "127.0.0.1:40001", Transport::Udp));
        assert!(is(&ours, "127.0.0.1:40000", Transport::Udp));
        assert!(!is(&ours, "127.0.0.1:40000", Transport::Udp), "it has come");
    }
}
