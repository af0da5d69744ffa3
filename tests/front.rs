//! The fronts on real sockets: framing, order, silence, crowds, and whom a reply comes from.
//!
//! The road behind them is played: it sends every message back as a response,
//! those whose id is odd after a while. What messages mean is the stories' matter.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use namegate::config::{Config, Listen};
use namegate::front::{Client, Front, Road, Step, bind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// How long a slow answer takes.
const WHILE: Duration = Duration::from_millis(150);
/// Nothing in these tests takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends messages back.
struct Echo;

fn response(octets: &[u8]) -> Vec<u8> {
    let mut reply = octets.to_vec();
    reply[2] |= 0x80;
    reply
}

impl Road for Echo {
    type Pending = Vec<u8>;
    type Ready = Vec<u8>;

    fn answer_now(
        self: &Arc<Self>,
        octets: &[u8],
        _: &Client,
        _: Instant,
        out: &mut Vec<u8>,
    ) -> Step<Vec<u8>> {
        if octets.len() < 12 {
            return Step::Silence;
        }
        if octets[1] & 1 == 1 {
            return Step::Later(response(octets));
        }
        *out = response(octets);
        Step::Reply
    }

    async fn answer_later(self: &Arc<Self>, pending: Vec<u8>) -> Vec<u8> {
        tokio::time::sleep(WHILE).await;
        pending
    }

    fn finish(self: &Arc<Self>, ready: Vec<u8>, out: &mut Vec<u8>) {
        *out = ready;
    }
}

/// Fronts at an address, and where that is. They serve until dropped.
fn serve(at: &str, change: impl FnOnce(&mut Listen)) -> (Front, SocketAddr) {
    serve_road(&Arc::new(Echo), at, change)
}

/// The same before another road.
fn serve_road<R: Road>(
    road: &Arc<R>,
    at: &str,
    change: impl FnOnce(&mut Listen),
) -> (Front, SocketAddr) {
    let mut listen = Config::default().listen;
    listen.addresses = vec![at.parse().expect("an address")];
    change(&mut listen);
    let bound = bind(&listen.addresses, 1).unwrap_or_else(|_| panic!("{at} is free"));
    let address = bound.addresses()[0];
    let front = Front::serve(bound, &listen, road).expect("sockets that can be watched");
    (front, address)
}

fn message(id: u16) -> Vec<u8> {
    [
        &id.to_be_bytes()[..],
        &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0],
        b"\x01a\0\0\x01\0\x01",
    ]
    .concat()
}

fn framed(ids: impl Iterator<Item = u16>) -> Vec<u8> {
    let framed = |id| [&[0, 19][..], &message(id)].concat();
    ids.flat_map(framed).collect()
}

/// The ids of the next replies, in the order they come in.
async fn replies(stream: &mut TcpStream, count: usize) -> Vec<u16> {
    let mut ids = Vec::new();
    while ids.len() < count {
        let len = timeout(PATIENCE, stream.read_u16())
            .await
            .expect("in time")
            .expect("a reply");
        let mut reply = vec![0; len.into()];
        stream.read_exact(&mut reply).await.expect("the rest of it");
        let id = u16::from_be_bytes([reply[0], reply[1]]);
        assert_eq!(reply, response(&message(id)));
        ids.push(id);
    }
    ids
}

/// How long the other side leaves a connection open.
async fn until_closed(stream: &mut TcpStream) -> Duration {
    let began = Instant::now();
    let read = timeout(PATIENCE, stream.read_u8())
        .await
        .expect("it is closed in time");
    let error = read.expect_err("nothing more comes");
    assert!(matches!(
        error.kind(),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
    ));
    began.elapsed()
}

/// RFC 7766 §6.2.1.1 and §7: a hundred at once, and none waits for the slow one before it.
#[tokio::test(flavor = "multi_thread")]
async fn pipelined_queries_are_answered_as_they_finish() {
    let (_front, address) = serve("127.0.0.1:0", |_| {});
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let slow_first = std::iter::once(1).chain((1..=100).map(|it| it * 2));
    stream
        .write_all(&framed(slow_first))
        .await
        .expect("written");
    let ids = replies(&mut stream, 101).await;
    assert!(ids[..100].iter().all(|id| id % 2 == 0), "{ids:?}");
    assert_eq!(ids[100], 1);
}

/// Answers nothing but after a while, and counts what it has begun to look for and what it has found.
#[derive(Default)]
struct Slow {
    begun: AtomicUsize,
    ended: AtomicUsize,
    /// The most that were being looked for at one time.
    most: AtomicUsize,
}

impl Road for Slow {
    type Pending = Vec<u8>;
    type Ready = Vec<u8>;

    fn answer_now(
        self: &Arc<Self>,
        octets: &[u8],
        _: &Client,
        _: Instant,
        _: &mut Vec<u8>,
    ) -> Step<Vec<u8>> {
        Step::Later(response(octets))
    }

    async fn answer_later(self: &Arc<Self>, pending: Vec<u8>) -> Vec<u8> {
        let begun = self.begun.fetch_add(1, Relaxed) + 1;
        let waiting = begun.saturating_sub(self.ended.load(Relaxed));
        self.most.fetch_max(waiting, Relaxed);
        tokio::time::sleep(WHILE).await;
        self.ended.fetch_add(1, Relaxed);
        pending
    }

    fn finish(self: &Arc<Self>, ready: Vec<u8>, out: &mut Vec<u8>) {
        *out = ready;
    }
}

/// What a client asks for is looked for to its end, also when he hangs up: who comes after him finds it, and it is not begun anew.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_is_found_out_also_when_the_client_has_gone() {
    let road = Arc::<Slow>::default();
    let (front, address) = serve_road(&road, "127.0.0.1:0", |_| {});
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream
        .write_all(&framed([1, 2, 3].into_iter()))
        .await
        .expect("written");
    let until = async |count: &AtomicUsize| {
        while count.load(Relaxed) < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let begun = timeout(PATIENCE, until(&road.begun)).await;
    assert!(begun.is_ok(), "they are looked for");
    stream.set_zero_linger().expect("a socket option");
    drop(stream);
    let ended = timeout(PATIENCE, until(&road.ended)).await;
    assert!(ended.is_ok(), "only {:?} of 3 are found", road.ended);
    drop(front);
}

/// RFC 7766 §6.2.1.1: at most 64 questions of a connection wait; the others are answered after them.
#[tokio::test]
async fn a_connection_has_a_bounded_number_of_questions_wait() {
    let road = Arc::<Slow>::default();
    let (_front, address) = serve_road(&road, "127.0.0.1:0", |_| {});
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let all = framed(1..=200);
    stream.write_all(&all).await.expect("written");
    assert_eq!(replies(&mut stream, 200).await.len(), 200);
    let most = road.most.load(Relaxed);
    assert!((1..=64).contains(&most), "{most} at one time");
}

/// RFC 1035 §4.2.2: a stream has no packets; a message may come octet by octet.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_pieces_is_one_message() {
    let (_front, address) = serve("127.0.0.1:0", |_| {});
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("a socket option");
    for octet in framed([2, 4].into_iter()) {
        stream.write_all(&[octet]).await.expect("written");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(replies(&mut stream, 2).await, [2, 4]);
}

/// RFC 7766 §6.2.4: who has said all he wants to say still hears the answers, all of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_its_half_gets_every_answer() {
    let (_front, address) = serve("127.0.0.1:0", |_| {});
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let slow = (0..100).map(|it| it * 2 + 1);
    stream
        .write_all(&framed(slow.clone()))
        .await
        .expect("written");
    stream.shutdown().await.expect("its half is closed");
    let mut ids = replies(&mut stream, 100).await;
    ids.sort_unstable();
    assert_eq!(ids, slow.collect::<Vec<_>>());
    until_closed(&mut stream).await;
}

/// RFC 7766 §6.2.3: silence is ended; a slow answer is not silence.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed_and_a_waiting_one_is_not() {
    let idle = Duration::from_millis(60);
    let (_front, address) = serve("127.0.0.1:0", |listen| listen.tcp_idle = idle);
    let mut mute = TcpStream::connect(address).await.expect("a connection");
    assert!(until_closed(&mut mute).await < PATIENCE / 2);

    let mut waiting = TcpStream::connect(address).await.expect("a connection");
    waiting
        .write_all(&framed([1].into_iter()))
        .await
        .expect("written");
    assert_eq!(replies(&mut waiting, 1).await, [1]);
    assert!(until_closed(&mut waiting).await < PATIENCE / 2);
}

/// RFC 7766 §6.2.3: octets that drip in without ever making a message keep no connection open.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_never_ends_keeps_nothing_open() {
    let idle = Duration::from_millis(100);
    let (_front, address) = serve("127.0.0.1:0", |listen| listen.tcp_idle = idle);
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let began = Instant::now();
    while began.elapsed() < PATIENCE && stream.write_all(&[0xFF]).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(began.elapsed() < PATIENCE / 2);
}

/// RFC 7766 §6.2.2, SPEC 8: at the cap the connection idle for longest makes room; the others stay.
#[tokio::test(flavor = "multi_thread")]
async fn at_the_cap_the_connection_idle_longest_leaves() {
    let (front, address) = serve("127.0.0.1:0", |listen| listen.tcp_max_clients = 2);
    let mut open = Vec::new();
    for id in [2, 4, 6] {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream
            .write_all(&framed([id].into_iter()))
            .await
            .expect("written");
        assert_eq!(replies(&mut stream, 1).await, [id]);
        tokio::time::sleep(Duration::from_millis(20)).await;
        open.push(stream);
    }
    until_closed(&mut open[0]).await;
    for stream in &mut open[1..] {
        stream
            .write_all(&framed([8].into_iter()))
            .await
            .expect("written");
        assert_eq!(replies(stream, 1).await, [8]);
    }
    assert_eq!(front.connections().load(Relaxed), 2);
}

/// RFC 2181 §4.1: a reply comes from where the query went, also when that is one of many addresses.
#[tokio::test(flavor = "multi_thread")]
async fn udp_replies_come_from_the_address_that_was_asked() {
    let (_front, address) = serve("0.0.0.0:0", |_| {});
    for asked in ["127.0.0.1", "127.0.0.2", "127.8.9.10"] {
        let asked = SocketAddr::new(asked.parse().expect("an address"), address.port());
        let client = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        for id in [2, 3] {
            client.send_to(&message(id), asked).await.expect("sent");
            let mut reply = [0; 64];
            let (len, from) = timeout(PATIENCE, client.recv_from(&mut reply))
                .await
                .expect("in time")
                .expect("a reply");
            assert_eq!((&reply[..len], from), (&response(&message(id))[..], asked));
        }
    }
}

/// What is on its way when a front is told to stop is answered; then nobody is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_what_is_on_its_way() {
    let (front, address) = serve("127.0.0.1:0", |_| {});
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream
        .write_all(&framed([2, 1].into_iter()))
        .await
        .expect("written");
    assert_eq!(replies(&mut stream, 1).await, [2]);
    let client = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    client.connect(address).await.expect("an address");
    client.send(&message(3)).await.expect("sent");
    tokio::time::sleep(WHILE / 3).await;
    front.stop(PATIENCE).await;
    assert_eq!(replies(&mut stream, 1).await, [1]);
    let mut reply = [0; 64];
    let len = timeout(PATIENCE, client.recv(&mut reply))
        .await
        .expect("in time")
        .expect("a reply");
    assert_eq!(&reply[..len], response(&message(3)));
    assert!(TcpStream::connect(address).await.is_err());
}
