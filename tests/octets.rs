//! Malformed and edge messages on the real fronts, over UDP and TCP, each with the answer it should have.
//!
//! The messages and their answers stand in `tests/octets/*.table`; here they are sent to a daemon on loopback
//! whose upstream keeps a ledger. Whatever comes back is held to the manners of every reply, and behind each
//! message a healthy question is asked: it has to be answered.

mod house;
mod stream;
mod table;

use std::collections::BTreeSet;
use std::time::Duration;

use namegate::front::Transport;
use namegate::wire::Rcode;

use self::house::{House, Udp};
use self::table::{Case, Expected};
use crate::support::client::{self, Ask};

/// A table holds less than it seems to when fewer than this many messages come of it all (issue 5).
const CASES_MIN: usize = 500;
/// A reply too many has come by then.
const AFTERWARDS: Duration = Duration::from_millis(300);

const TABLES: [&str; 6] = [
    include_str!("octets/header.table"),
    include_str!("octets/counts.table"),
    include_str!("octets/edns.table"),
    include_str!("octets/names.table"),
    include_str!("octets/kinds.table"),
    include_str!("octets/records.table"),
];
const STREAMS: &str = include_str!("octets/streams.table");

fn cases() -> Vec<Case> {
    TABLES.into_iter().flat_map(table::read).collect()
}

#[test]
#[expect(clippy::print_stdout, reason = "how much is covered is worth a line")]
fn the_tables_hold_what_they_promise() {
    let (messages, streams) = (cases(), stream::read(STREAMS));
    let distinct: BTreeSet<&[u8]> = messages
        .iter()
        .map(|it| it.octets.get(2..).unwrap_or(&it.octets))
        .collect();
    println!(
        "{} messages, {} of them distinct, {} streams",
        messages.len(),
        distinct.len(),
        streams.len()
    );
    assert!(
        distinct.len() >= CASES_MIN,
        "only {} messages",
        distinct.len()
    );
    assert!(streams.len() >= 100, "only {} streams", streams.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_has_its_answer_over_udp() {
    let house = House::open().await;
    let client = Udp::new(&house);
    let mut faults = Vec::new();
    for case in cases()
        .iter()
        .filter(|it| it.expected.is_over(Transport::Udp))
    {
        client.send(&case.octets);
        let mut replies = Vec::new();
        if case.expected.rcode.is_some() {
            replies.extend(client.receive());
        }
        let (alive, stray) = client.is_alive(&house);
        replies.extend(stray);
        faults.extend(verdict(case, Transport::Udp, &replies, alive, &house));
    }
    std::thread::sleep(AFTERWARDS);
    faults.extend(
        client
            .drain()
            .into_iter()
            .map(|it| format!("a second reply: {it:02x?}")),
    );
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_has_its_answer_over_tcp() {
    let house = House::open().await;
    let mut faults = Vec::new();
    for case in cases()
        .iter()
        .filter(|it| it.expected.is_over(Transport::Tcp))
    {
        let (replies, alive) = stream::ask_and_live(&house, &case.octets);
        faults.extend(verdict(case, Transport::Tcp, &replies, alive, &house));
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stream_is_taken_as_it_should_be() {
    let house = House::open().await;
    let client = Udp::new(&house);
    let mut faults = Vec::new();
    for stream in stream::read(STREAMS) {
        let mut found = stream.play(&house);
        if !client.is_alive(&house).0 {
            found.push("nobody answers any more".to_owned());
        }
        found.extend(
            house
                .strangers()
                .into_iter()
                .map(|it| format!("{it} went upstream")),
        );
        faults.extend(
            found
                .into_iter()
                .map(|it| format!("{}: {it}", stream.place)),
        );
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// All that is wrong with what came of a case.
fn verdict(
    case: &Case,
    transport: Transport,
    replies: &[Vec<u8>],
    alive: bool,
    house: &House,
) -> Vec<String> {
    let mut faults = Vec::new();
    let mut fault = |is_so: bool, text: String| faults.extend(is_so.then_some(text));
    fault(
        !alive,
        "the healthy question behind it has no answer".to_owned(),
    );
    let wanted = usize::from(case.expected.rcode.is_some());
    fault(
        replies.len() != wanted,
        format!("{} replies where {wanted} should be", replies.len()),
    );
    let sent = house.take_ledger();
    let expected = case.expected.sent.then(|| house::sent_for(&case.octets));
    fault(
        sent != Vec::from_iter(expected.clone()),
        format!("upstream was sent {sent:02x?} where {expected:02x?} should be"),
    );
    if let Some(reply) = replies.first() {
        let ask = Ask {
            octets: case.octets.clone(),
            client: house::client(transport),
        };
        faults.extend(client::faults(&ask, reply, 1232));
        faults.extend(case.expected.faults(&case.octets, reply, transport));
    }
    faults
        .into_iter()
        .map(|it| format!("{} {transport:?}: {it}", case.place))
        .collect()
}

impl Expected {
    /// How a reply differs from this, its octets read by hand.
    fn faults(&self, asked: &[u8], reply: &[u8], transport: Transport) -> Vec<String> {
        if reply.len() < 12 {
            return vec!["it has no header".to_owned()];
        }
        let word = |at: usize| u16::from_be_bytes([reply[at], reply[at + 1]]);
        let opt = table::opt_at_end(reply);
        let code = Rcode(opt.map_or(0, |at| u16::from(reply[at + 5]) << 4) | word(2) & 0x000F);
        let mut faults = Vec::new();
        let mut differs = |what: &str, expected: String, got: String| {
            faults.extend(
                (expected != got).then(|| format!("{what}: {expected} expected, got {got}")),
            );
        };
        differs(
            "code",
            self.rcode.map_or("silence".to_owned(), |it| it.to_string()),
            code.to_string(),
        );
        differs(
            "QDCOUNT",
            u16::from(self.question).to_string(),
            word(4).to_string(),
        );
        differs("answers", self.answers.to_string(), word(6).to_string());
        differs(
            "ARCOUNT",
            u16::from(self.opt).to_string(),
            word(10).to_string(),
        );
        differs("OPT", self.opt.to_string(), opt.is_some().to_string());
        differs(
            "TC",
            (self.truncated && transport == Transport::Udp).to_string(),
            (word(2) & 0x0200 != 0).to_string(),
        );
        if self.question {
            let end = table::question_end(asked);
            differs(
                "question",
                format!("{:02x?}", asked.get(12..end)),
                format!("{:02x?}", reply.get(12..end)),
            );
        }
        faults
    }
}
