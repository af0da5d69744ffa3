//! The client beside the greedy one: he asks for what needs no upstream, one thing after the other, and writes down what he sees.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::house::{KNOWN, TRUTH, framed, query};

/// From where he asks.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
/// As long a stub waits until it asks again, and how often it does.
const PATIENCE: Duration = Duration::from_secs(2);
const TRIES: usize = 3;
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(2);
/// Every so many questions one goes over TCP, on a connection of its own.
const BY_TCP: u16 = 16;

/// What he has seen.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) asked: usize,
    /// Questions that were asked once more because no reply came.
    pub(crate) again: usize,
    pub(crate) over_tcp: usize,
    /// How each that was not answered right was answered, or not.
    pub(crate) wrong: Vec<String>,
    /// Until a question had its answer, from the first try on; in order when he has left.
    pub(crate) took: Vec<Duration>,
}

/// The client while he asks.
pub(crate) struct Other {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

/// One thing that he asks for, and how its answer has to be: the code, and the data of the one record, if there is one.
struct Question {
    name: String,
    rcode: u8,
    data: Option<[u8; 4]>,
}

impl Other {
    pub(crate) fn arrive(server: SocketAddr) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let told = stop.clone();
        let thread = thread::spawn(move || {
            let mut seen = Seen::default();
            for nth in 0..u16::MAX {
                if told.load(Relaxed) {
                    break;
                }
                seen.ask(server, nth);
                thread::sleep(PAUSE);
            }
            seen.took.sort_unstable();
            seen
        });
        Self { stop, thread }
    }

    pub(crate) fn leave(self) -> Seen {
        self.stop.store(true, Relaxed);
        self.thread.join().expect("he never panics")
    }
}

impl Seen {
    fn ask(&mut self, server: SocketAddr, nth: u16) {
        let question = question(nth);
        let by_tcp = nth % BY_TCP == BY_TCP - 1;
        let began = Instant::now();
        self.asked += 1;
        self.over_tcp += usize::from(by_tcp);
        for tried in 0..TRIES {
            self.again += usize::from(tried > 0);
            let reply = match by_tcp {
                true => over_tcp(server, &framed(nth, &question.name)),
                false => over_udp(server, &query(nth, &question.name)),
            };
            let fault = match reply {
                Ok(reply) => question.fault(nth, &reply),
                Err(_) if tried + 1 < TRIES => continue,
                Err(error) => Some(format!("no reply: {error}")),
            };
            let over = if by_tcp { "TCP" } else { "UDP" };
            self.wrong
                .extend(fault.map(|it| format!("{} over {over}: {it}", question.name)));
            break;
        }
        self.took.push(began.elapsed());
    }

    /// The time within which so many of a thousand had their answer.
    pub(crate) fn within(&self, of_a_thousand: usize) -> Duration {
        let last = self.took.len().saturating_sub(1);
        self.took
            .get(last * of_a_thousand / 1000)
            .copied()
            .unwrap_or_default()
    }
}

/// A name that is blocked and that nobody has asked for, one that is kept, and a special one.
fn question(nth: u16) -> Question {
    let (name, rcode, data) = match nth % 3 {
        0 => (format!("n{nth}.evil.test.example"), 3, None),
        1 => (KNOWN.to_owned(), 0, Some(TRUTH)),
        _ => ("localhost".to_owned(), 0, Some([127, 0, 0, 1])),
    };
    Question { name, rcode, data }
}

impl Question {
    fn fault(&self, id: u16, reply: &[u8]) -> Option<String> {
        let is_right = reply.len() > 12
            && reply[..2] == id.to_be_bytes()
            && reply[3] & 0x0F == self.rcode
            && usize::from(reply[7]) == self.data.iter().len()
            && self.data.is_none_or(|data| reply.ends_with(&data));
        (!is_right).then(|| format!("{reply:02x?}"))
    }
}

fn over_udp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind((ADDRESS, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(query)?;
    let mut reply = [0; 1500];
    let len = socket.recv(&mut reply)?;
    Ok(reply[..len].to_vec())
}

fn over_tcp(server: SocketAddr, framed: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(framed)?;
    let mut len = [0; 2];
    stream.read_exact(&mut len)?;
    let mut reply = vec![0; u16::from_be_bytes(len).into()];
    stream.read_exact(&mut reply)?;
    Ok(reply)
}
