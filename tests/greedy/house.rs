//! A resolver in a process of its own, with an upstream that answers some names and is silent about others.
//!
//! What it takes of the machine can be read at any time. It is stopped when dropped.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

/// Below this name upstream says nothing.
pub(crate) const SILENT: &str = "silent.example";
/// A name with an answer that is kept.
pub(crate) const KNOWN: &str = "known.example";
/// What it says.
pub(crate) const TRUTH: [u8; 4] = [203, 0, 113, 7];
/// Strangers come from 127.1.0.0/16.
const CONFIG: &str = "
    listen.clients = ['127.0.0.0/16']
    listen.tcp_idle = '2s'
    log.queries = 'none'
    metrics.listen = 'off'
    admin.socket = ''
    blocked.file = ''
";

/// The resolver, and what its upstream has heard.
pub(crate) struct House {
    child: Child,
    server: SocketAddr,
    heard: Arc<AtomicUsize>,
    _room: tempfile::TempDir,
}

impl House {
    /// Starts `program`. When this returns it answers.
    pub(crate) fn open(program: &str) -> Self {
        let room = tempfile::tempdir().expect("a directory");
        let heard = Arc::<AtomicUsize>::default();
        let upstream = upstream(heard.clone());
        let file = |name: &str, text: &str| {
            let path = room.path().join(name);
            fs::write(&path, text).expect("written");
            path
        };
        let servers = format!("{CONFIG}\nupstream.servers = ['udp://{upstream}']\n");
        let mut child = Command::new(program)
            .args(["run", "--listen", "127.0.0.1:0", "--zones", "zones"])
            .arg("--config")
            .arg(file("config.toml", &servers))
            .arg("--policy")
            .arg(file("policy.json", &policy()))
            .current_dir(room.path())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let server = address(&mut child);
        Self {
            child,
            server,
            heard,
            _room: room,
        }
    }

    pub(crate) fn server(&self) -> SocketAddr {
        self.server
    }

    /// How many queries upstream has heard.
    pub(crate) fn heard(&self) -> usize {
        self.heard.load(Relaxed)
    }

    /// The memory it has.
    pub(crate) fn octets(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        kib.and_then(|kib| kib.parse::<usize>().ok())
            .expect("it has memory")
            * 1024
    }

    /// The descriptors it has.
    pub(crate) fn descriptors(&self) -> usize {
        let all = fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        all.expect("it runs").count()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn policy() -> String {
    format!(
        r#"{{"id":"npl_1","name":"greedy","egress":{{"allow_all":false,"allow_devbox_to_devbox":false,
        "allowed_hostnames":["{KNOWN}","*.{SILENT}"],"allow_agent_gateway":false,"allow_mcp_gateway":false}},
        "create_time_ms":1,"update_time_ms":1}}"#
    )
}

/// Where it listens, as it says itself; what else it has to say is read and forgotten.
fn address(child: &mut Child) -> SocketAddr {
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let line = lines
        .by_ref()
        .map_while(Result::ok)
        .find(|line| line.contains("listen="))
        .expect("it says where");
    thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    let (_, rest) = line.split_once("listen=").expect("it is there");
    let end = rest.find(' ').unwrap_or(rest.len());
    rest[..end].trim_matches('"').parse().expect("an address")
}

/// A resolver on loopback that has one address for every name but those about which it says nothing.
fn upstream(heard: Arc<AtomicUsize>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("bound");
    thread::spawn(move || {
        let mut datagram = [0; 1024];
        while let Ok((len, client)) = socket.recv_from(&mut datagram) {
            heard.fetch_add(1, Relaxed);
            let name = datagram[..len].to_ascii_lowercase();
            if !name.windows(6).any(|it| it == b"silent") {
                // Whoever asked may have gone.
                let _ = socket.send_to(&reply(&datagram[..len]), client);
            }
        }
    });
    address
}

/// The query with its answer in place of its OPT, which has 11 octets.
fn reply(query: &[u8]) -> Vec<u8> {
    let mut reply = query[..query.len() - 11].to_vec();
    reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    reply.extend(b"\xC0\x0C\0\x01\0\x01\0\0\x01\x2C\0\x04");
    reply.extend(TRUTH);
    reply
}

/// A query for A with RD and without an OPT.
pub(crate) fn query(id: u16, name: &str) -> Vec<u8> {
    let mut octets = id.to_be_bytes().to_vec();
    octets.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        octets.push(u8::try_from(label.len()).expect("a label"));
        octets.extend(label.bytes());
    }
    octets.extend([0, 0, 1, 0, 1]);
    octets
}

/// The same as it goes over TCP.
pub(crate) fn framed(id: u16, name: &str) -> Vec<u8> {
    let query = query(id, name);
    let len = u16::try_from(query.len()).expect("short").to_be_bytes();
    [&len[..], &query].concat()
}
