//! A daemon on loopback with an upstream that answers every question and writes down what it was sent.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use namegate::daemon::Daemon;
use namegate::front::{Client, Transport};
use namegate::wire::{Query, Type};
use tempfile::TempDir;

use super::table;
use crate::support;

/// Nothing here takes as long.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// What may be asked: a name, and names of every length and number of labels.
const ALLOWED: [&str; 3] = ["github.com", "*.npmjs.org", "*.a.b"];
/// The healthy question.
const ALIVE: &str = "alive.npmjs.org";
/// Below this name an answer has so many addresses that no datagram holds them.
const BIG: &[u8] = b"\x03big\x05npmjs\x03org\0";
const BIG_ADDRESSES: u16 = 200;

/// The daemon, and what its upstream was sent.
pub(super) struct House {
    daemon: Daemon,
    _dir: TempDir,
    ledger: Arc<Mutex<Vec<Vec<u8>>>>,
    next_id: AtomicU16,
}

impl House {
    pub(super) async fn open() -> Self {
        let ledger = Arc::new(Mutex::new(Vec::new()));
        let (daemon, dir) =
            support::sockets::daemon(upstream(ledger.clone()), &ALLOWED, |_| ()).await;
        Self {
            daemon,
            _dir: dir,
            ledger,
            next_id: AtomicU16::new(0x8000),
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.daemon.addresses()[0]
    }

    /// The healthy question, with an id that no other has.
    pub(super) fn healthy(&self) -> Vec<u8> {
        let mut query = support::query(ALIVE, Type::A, false);
        query[..2].copy_from_slice(&self.next_id.fetch_add(1, Relaxed).to_be_bytes());
        query
    }

    /// What upstream was sent, ids and letter case apart; the healthy questions are left out, and so is what was sent
    /// once more because this machine was slow.
    pub(super) fn take_ledger(&self) -> Vec<Vec<u8>> {
        let mut sent = std::mem::take(&mut *self.ledger.lock().expect("no panic under this lock"));
        let healthy = sent_for(&self.healthy());
        sent.retain(|it| *it != healthy);
        sent.dedup();
        sent
    }

    /// The names upstream was asked for that nobody may ask for.
    pub(super) fn strangers(&self) -> Vec<String> {
        let sent = self.take_ledger();
        let names = sent
            .iter()
            .map(|it| String::from_utf8_lossy(&it[10..]).into_owned());
        names
            .filter(|name| !name.contains("github") && !name.contains("npmjs"))
            .collect()
    }
}

/// What a well-formed query costs upstream: name, type, DO and CD, and nothing else of it (SPEC 6).
pub(super) fn sent_for(query: &[u8]) -> Vec<u8> {
    let asked = Query::read(query)
        .expect("what goes upstream is well-formed")
        .asked();
    let checking = u8::from(asked.checking_disabled) << 4;
    let header = [0x01, 0x20 | checking, 0, 1, 0, 0, 0, 0, 0, 1];
    let opt = [
        0,
        0,
        41,
        4,
        208,
        0,
        0,
        u8::from(asked.dnssec_ok) << 7,
        0,
        0,
        0,
    ];
    [
        &header[..],
        asked.name.octets(),
        &asked.kind.0.to_be_bytes(),
        &[0, 1],
        &opt,
    ]
    .concat()
}

/// The same of a datagram that came: without its id, in lower case.
fn sent(datagram: &[u8]) -> Vec<u8> {
    let name_end = table::question_end(datagram) - 4;
    let name = datagram[12..name_end].to_ascii_lowercase();
    [&datagram[2..12], &name, &datagram[name_end..]].concat()
}

/// A resolver on loopback. What it says is of use once, so that every question comes to it.
fn upstream(ledger: Arc<Mutex<Vec<Vec<u8>>>>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("bound");
    thread::spawn(move || {
        let mut datagram = [0; 1024];
        while let Ok((len, client)) = socket.recv_from(&mut datagram) {
            let query = &datagram[..len];
            ledger
                .lock()
                .expect("no panic under this lock")
                .push(sent(query));
            socket
                .send_to(&answer(query), client)
                .expect("loopback takes it");
        }
    });
    address
}

/// Addresses where they were asked for, else nothing.
fn answer(query: &[u8]) -> Vec<u8> {
    let end = table::question_end(query);
    let (name, kind) = (&query[12..end - 4], &query[end - 4..end - 2]);
    let count = match kind {
        [0, 1] if name.to_ascii_lowercase().ends_with(BIG) => BIG_ADDRESSES,
        [0, 1] => 1,
        _ => 0,
    };
    let mut reply = query[..end].to_vec();
    reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
    reply[6..8].copy_from_slice(&count.to_be_bytes());
    for address in 0..count {
        reply.extend(b"\xC0\x0C\0\x01\0\x01\0\0\0\0\0\x04\x5D\xB8");
        reply.extend(address.to_be_bytes());
    }
    reply
}

/// Whoever asks here.
pub(super) fn client(transport: Transport) -> Client {
    Client {
        address: SocketAddr::from(([127, 0, 0, 1], 40_000)),
        transport,
    }
}

/// A client over UDP.
pub(super) struct Udp(UdpSocket);

impl Udp {
    pub(super) fn new(house: &House) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.connect(house.address()).expect("connected");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time");
        Self(socket)
    }

    pub(super) fn send(&self, octets: &[u8]) {
        self.0.send(octets).expect("loopback takes it");
    }

    pub(super) fn receive(&self) -> Option<Vec<u8>> {
        let mut datagram = [0; 65_535];
        let len = self.0.recv(&mut datagram).ok()?;
        Some(datagram[..len].to_vec())
    }

    /// Is the healthy question answered? And what came before its answer.
    pub(super) fn is_alive(&self, house: &House) -> (bool, Vec<Vec<u8>>) {
        let query = house.healthy();
        self.send(&query);
        let mut strays = Vec::new();
        while let Some(reply) = self.receive() {
            if reply[..2] == query[..2] {
                return (is_healthy(&query, &reply), strays);
            }
            strays.push(reply);
        }
        (false, strays)
    }

    /// What comes that nobody waits for.
    pub(super) fn drain(&self) -> Vec<Vec<u8>> {
        self.0.set_nonblocking(true).expect("a socket option");
        std::iter::from_fn(|| self.receive()).collect()
    }
}

/// Is this the answer to the healthy question?
pub(super) fn is_healthy(query: &[u8], reply: &[u8]) -> bool {
    let head = [&query[..2], &[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]].concat();
    reply.starts_with(&[&head, &query[12..]].concat()) && reply.ends_with(&[0, 4, 0x5D, 0xB8, 0, 0])
}
