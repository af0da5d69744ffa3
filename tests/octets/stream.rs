//! Octets on a connection: what is written, in which pieces, and what should come back.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use namegate::front::Transport;

use super::house::{self, House, PATIENCE, is_healthy};
use super::table;
use crate::support::client::{self, Ask};
use crate::support::sockets::{framed, receive};

/// Long enough that two writes come as two.
const BREATH: Duration = Duration::from_millis(2);

/// A connection's story.
pub(super) struct Stream {
    /// Its words.
    pub(super) place: String,
    replies: usize,
    stays_open: bool,
    octets: Vec<u8>,
    /// The messages among the octets that have replies.
    asks: Vec<Vec<u8>>,
    pieces: Pieces,
    end: End,
}

enum Pieces {
    One,
    /// Cut at this octet.
    Two(usize),
    Octets,
}

#[derive(PartialEq)]
enum End {
    Wait,
    /// The client has said all it will.
    Shut,
    /// The client goes without a word.
    Leave,
}

/// Reads the table: a head says `replies=N` and whether the connection is `open` behind them.
pub(super) fn read(table: &str) -> Vec<Stream> {
    let mut streams = Vec::new();
    for block in table::blocks(table) {
        let replies = block
            .answer
            .split_once("replies=")
            .map_or("", |it| it.1)
            .split(' ')
            .next()
            .unwrap_or_default();
        let replies = replies
            .parse()
            .unwrap_or_else(|_| panic!("how many replies? {}", block.answer));
        let stays_open = block.answer.ends_with("open");
        streams.extend(
            block
                .rows
                .iter()
                .map(|row| Stream::new(row, replies, stays_open)),
        );
    }
    streams
}

impl Stream {
    fn new(row: &str, replies: usize, stays_open: bool) -> Self {
        let mut stream = Self {
            place: format!("`{row}`"),
            replies,
            stays_open,
            octets: Vec::new(),
            asks: Vec::new(),
            pieces: Pieces::One,
            end: End::Wait,
        };
        for word in row.split_whitespace() {
            match word.split_once('=').unwrap_or((word, "")) {
                ("shut", _) => stream.end = End::Shut,
                ("leave", _) => stream.end = End::Leave,
                ("drip", _) => stream.pieces = Pieces::Octets,
                ("split", at) => stream.pieces = Pieces::Two(at.parse().expect("an octet's place")),
                _ => stream.say(word),
            }
        }
        stream
    }

    /// Adds a message by its name, as often as it says, or octets.
    fn say(&mut self, word: &str) {
        let (name, times) = word.split_once('*').unwrap_or((word, "1"));
        let row = match name {
            "good" => "q=GitHub.com:1",
            "denied" => "q=evil.example:1 opt",
            "local" => "q=localhost:1",
            "broken" => "q 00",
            "headless" => "qd=0",
            "big" => "q=big.npmjs.org:1",
            "response" => "flags=8100 q",
            _ => return self.octets.extend(client::octets(word)),
        };
        for _ in 0..times.parse().expect("how often") {
            let id = 0x4000 + u16::try_from(self.asks.len()).expect("not as many");
            let message = table::message(id, row);
            self.octets.extend(framed(&message));
            if name != "response" {
                self.asks.push(message);
            }
        }
    }

    /// Plays it. Returns what is wrong.
    pub(super) fn play(&self, house: &House) -> Vec<String> {
        let mut connection = connect(house);
        self.write(&mut connection);
        match self.end {
            End::Leave => return Vec::new(),
            End::Shut => connection
                .shutdown(Shutdown::Write)
                .expect("its half is closed"),
            End::Wait => {}
        }
        let replies: Vec<Vec<u8>> = (0..self.replies)
            .map_while(|_| receive(&mut connection))
            .collect();
        let mut faults = self.faults(&replies);
        if self.stays_open && !lives(&mut connection, house) {
            faults.push("it is not open any more".to_owned());
        }
        if self.end == End::Wait {
            connection
                .shutdown(Shutdown::Write)
                .expect("its half is closed");
        }
        let mut rest = Vec::new();
        let ended = connection.read_to_end(&mut rest);
        faults.extend(
            (!rest.is_empty() || ended.is_err()).then(|| format!("then {rest:02x?} and {ended:?}")),
        );
        faults
    }

    fn write(&self, connection: &mut TcpStream) {
        let pieces: Vec<&[u8]> = match self.pieces {
            Pieces::One => vec![&self.octets],
            Pieces::Two(at) => vec![&self.octets[..at], &self.octets[at..]],
            Pieces::Octets => self.octets.chunks(1).collect(),
        };
        for (at, piece) in pieces.iter().enumerate() {
            if at > 0 {
                sleep(BREATH);
            }
            connection.write_all(piece).expect("it is read");
        }
    }

    /// Each message has its reply, in any order, with the manners of every reply.
    fn faults(&self, replies: &[Vec<u8>]) -> Vec<String> {
        let mut faults = Vec::new();
        if replies.len() != self.replies {
            faults.push(format!("{} replies of {}", replies.len(), self.replies));
        }
        for ask in self.asks.iter().take(self.replies) {
            let mine: Vec<_> = replies
                .iter()
                .filter(|reply| reply[..2] == ask[..2])
                .collect();
            if mine.len() != 1 {
                faults.push(format!("{} replies to one question", mine.len()));
            }
            let ask = Ask {
                octets: ask.clone(),
                client: house::client(Transport::Tcp),
            };
            faults.extend(
                mine.iter()
                    .flat_map(|reply| client::faults(&ask, reply, 1232)),
            );
            faults.extend(
                mine.iter()
                    .filter(|it| it[2] & 2 != 0)
                    .map(|_| "TC over TCP".to_owned()),
            );
        }
        faults
    }
}

fn connect(house: &House) -> TcpStream {
    let connection = TcpStream::connect(house.address()).expect("it listens");
    connection.set_nodelay(true).expect("a socket option");
    connection.set_read_timeout(Some(PATIENCE)).expect("a time");
    connection
}

/// Is a healthy question answered on this connection?
fn lives(connection: &mut TcpStream, house: &House) -> bool {
    let query = house.healthy();
    let sent = connection.write_all(&framed(&query));
    sent.is_ok() && receive(connection).is_some_and(|reply| is_healthy(&query, &reply))
}

/// Sends a message and the healthy question behind it. Returns the replies to the first, and whether the other has its own.
pub(super) fn ask_and_live(house: &House, message: &[u8]) -> (Vec<Vec<u8>>, bool) {
    let mut connection = connect(house);
    let healthy = house.healthy();
    let both = [framed(message), framed(&healthy)].concat();
    connection.write_all(&both).expect("it is read");
    connection
        .shutdown(Shutdown::Write)
        .expect("its half is closed");
    let all: Vec<Vec<u8>> = std::iter::from_fn(|| receive(&mut connection)).collect();
    let (mine, replies): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|reply| reply.starts_with(&healthy[..2]));
    (replies, mine.len() == 1 && is_healthy(&healthy, &mine[0]))
}
