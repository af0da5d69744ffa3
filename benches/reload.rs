//! From an edit of the policy file to the first query judged by it, on real sockets.
//!
//! The daemon serves on loopback; a client asks for a denied name again and again.
//! The serial of the denial's SOA is the policy's generation, so the first reply
//! with the next one ends the wait. It begins when the edit is complete: the file
//! renamed into place, or written in place and closed. `cargo bench --bench reload`.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::print_stdout,
    clippy::cast_precision_loss
)]

mod support;

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use namegate::config::{Config, Queries};
use namegate::daemon::Daemon;
use namegate::wire::{Message, Section};

use support::{document, median, pattern};

/// Names in the policy, and how often it is edited each way.
const SIZES: [(usize, usize); 3] = [(10, 60), (10_000, 60), (100_000, 25)];
/// A change that is not live by then never will be.
const PATIENCE: Duration = Duration::from_secs(10);
/// The watch is quiet again before the next edit.
const PAUSE: Duration = Duration::from_millis(50);
const QUESTION: &[u8] = b"\x4E\x47\x01\0\0\x01\0\0\0\0\0\0\x04evil\x07invalid\x03org\0\0\x01\0\x01";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    println!("names     edit       edits   median ms   worst ms   queries   unanswered");
    for (size, edits) in SIZES {
        let room = tempfile::tempdir().expect("a directory");
        let file = room.path().join("policy.json");
        fs::write(&file, text(size, 0)).expect("a policy file");
        let daemon = runtime
            .block_on(Daemon::start(&config(room.path())))
            .expect("it starts");
        let client = Client::new(daemon.addresses()[0]);
        edit(&client, size, edits, "rename", &|text| {
            let fresh = room.path().join("policy.json.new");
            fs::write(&fresh, text)
                .and_then(|()| fs::rename(fresh, &file))
                .expect("an edit");
        });
        edit(&client, size, edits, "in place", &|text| {
            fs::write(&file, text).expect("an edit");
        });
        runtime.block_on(daemon.stop());
    }
}

fn config(room: &Path) -> Config {
    let mut config = Config::default();
    config.listen.addresses = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
    config.policy.file = room.join("policy.json");
    config.zones.dir = room.join("zones");
    config.upstream.servers = Vec::new();
    config.log.queries = Queries::None;
    config.metrics.listen = None;
    config.admin.socket = None;
    config
}

fn text(size: usize, edit: usize) -> String {
    let allowed: Vec<String> = (edit..edit + size).map(pattern).collect();
    document(&format!("edit {edit}"), &allowed)
}

fn edit(client: &Client, size: usize, edits: usize, how: &str, write: &dyn Fn(&str)) {
    let mut took = Vec::new();
    let (mut queries, mut unanswered) = (0, 0);
    for edit in 1..=edits {
        std::thread::sleep(PAUSE);
        // The last text of one way of editing is not the first of the next.
        let text = text(size, edit * how.len());
        let before = client.generation().expect("an answer");
        write(&text);
        let began = Instant::now();
        loop {
            queries += 1;
            match client.generation() {
                Some(generation) if generation > before => break,
                Some(_) => {}
                None => unanswered += 1,
            }
            assert!(began.elapsed() < PATIENCE, "{how}: nothing came of an edit");
        }
        took.push(began.elapsed());
    }
    let worst = took.iter().max().expect("there are edits").as_secs_f64() * 1e3;
    let median = median(&mut took).as_secs_f64() * 1e3;
    println!(
        "{size:<9} {how:<10} {edits:>5} {median:>11.2} {worst:>10.2} {queries:>9} {unanswered:>12}"
    );
}

/// Asks one question, for ever the same.
struct Client(UdpSocket);

impl Client {
    fn new(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind((server.ip(), 0)).expect("a socket");
        socket.connect(server).expect("loopback");
        socket
            .set_read_timeout(Some(Duration::from_secs(1)))
            .expect("a time-out");
        Self(socket)
    }

    /// The generation of the policy that judged the question; none when there is no reply.
    fn generation(&self) -> Option<u32> {
        let mut reply = [0; 512];
        self.0.send(QUESTION).expect("loopback takes it");
        let len = self.0.recv(&mut reply).ok()?;
        let message = Message::read(&reply[..len]).expect("a reply");
        let soa = message
            .records(Section::Authority)
            .next()
            .expect("a denial has its SOA");
        let serial = soa
            .data()
            .len()
            .checked_sub(20)
            .expect("an SOA has five numbers");
        let octets = soa.data()[serial..].first_chunk().expect("twenty octets");
        Some(u32::from_be_bytes(*octets))
    }
}
