//! A hostile upstream on real sockets: what the kernel, not the corridor, has to tell apart.
//!
//! One daemon asks one upstream, which misbehaves as the first label of a question says. The stories
//! of `tests/script` play the rest in virtual time; duplicates, order, sources, ports and broken connections are here.

use std::io::Write;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use namegate::daemon::Daemon;
use namegate::wire::{Message, Rcode, Section, Type};
use socket2::SockRef;
use tempfile::TempDir;

use crate::support::sockets::{bound_twice, framed, receive};
use crate::support::{self, sockets};

/// Nobody waits longer for a reply; glibc gives up then.
const PATIENCE: Duration = Duration::from_secs(5);
/// Everything is answered by then, and some for a busy machine.
const DEADLINE: Duration = Duration::from_millis(4500);
/// Where lies lead.
const LIE: [u8; 4] = [203, 0, 113, 66];
/// And the truth.
const TRUTH: [u8; 4] = [203, 0, 113, 7];

/// A reply with one address, or with TC alone.
fn reply(query: &[u8], address: [u8; 4]) -> Vec<u8> {
    let mut reply = question(query).to_vec();
    reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    reply.extend(b"\xC0\x0C\0\x01\0\x01\0\0\0\0\0\x04");
    reply.extend(address);
    reply
}

fn truncated(query: &[u8]) -> Vec<u8> {
    let mut reply = question(query).to_vec();
    reply[2..12].copy_from_slice(&[0x83, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
    reply
}

/// A query up to the end of its question: behind it there is our OPT.
fn question(query: &[u8]) -> &[u8] {
    &query[..query.len() - 11]
}

/// The first label of the name that is asked for.
fn manner(query: &[u8]) -> String {
    let end = 13 + usize::from(query[12]);
    String::from_utf8_lossy(&query[13..end]).to_ascii_lowercase()
}

/// An upstream; over TCP it is the same as over UDP.
fn upstream() -> SocketAddr {
    let (udp, tcp) = bound_twice();
    let address = udp.local_addr().expect("bound");
    thread::spawn(move || serve_udp(&udp));
    thread::spawn(move || {
        for stream in tcp.incoming() {
            let stream = stream.expect("a connection");
            thread::spawn(move || serve_tcp(stream));
        }
    });
    address
}

fn serve_udp(socket: &UdpSocket) {
    let (other_port, other_host) = (bound("127.0.0.1:0"), bound("127.0.0.2:0"));
    let other_host_same_port = bound(&format!(
        "127.0.0.3:{}",
        socket.local_addr().expect("bound").port()
    ));
    // One of two questions waits here for the other, whichever comes first.
    let mut held = None::<(Vec<u8>, SocketAddr)>;
    let mut datagram = [0; 1024];
    while let Ok((len, client)) = socket.recv_from(&mut datagram) {
        let query = &datagram[..len];
        let send = |from: &UdpSocket, octets: &[u8]| {
            from.send_to(octets, client).expect("loopback takes it");
        };
        match manner(query).as_str() {
            "twice" => (0..5).for_each(|_| send(socket, &reply(query, TRUTH))),
            "port" => {
                send(&other_port, &reply(query, LIE));
                sleep(Duration::from_millis(50));
                send(socket, &reply(query, TRUTH));
            }
            "source" => {
                send(&other_host, &reply(query, LIE));
                send(&other_host_same_port, &reply(query, LIE));
                sleep(Duration::from_millis(50));
                send(socket, &reply(query, TRUTH));
            }
            "elsewhere" => send(&other_port, &reply(query, LIE)),
            "flood" => {
                for guess in (0..=300_u16)
                    .map(u16::to_be_bytes)
                    .filter(|it| *it != query[..2])
                {
                    send(socket, &[&guess[..], &reply(query, LIE)[2..]].concat());
                }
                send(socket, &reply(query, TRUTH));
            }
            "order1" | "order2" => match held.take() {
                Some((other, its_client)) if manner(&other) != manner(query) => {
                    send(socket, &reply(query, TRUTH));
                    let late = socket.send_to(&reply(&other, TRUTH), its_client);
                    late.expect("loopback takes it");
                }
                _ => held = Some((query.to_vec(), client)),
            },
            "oversized" => send(socket, &[reply(query, LIE), vec![0xAA; 60_000]].concat()),
            "empty" => {
                send(socket, &[]);
                send(socket, &query[..1]);
                send(socket, &query[..11]);
                send(socket, &reply(query, TRUTH));
            }
            "drip" | "half" | "reset" | "mute" | "closed" | "long" | "none" => {
                send(socket, &truncated(query));
            }
            _ => send(socket, &reply(query, TRUTH)),
        }
    }
}

fn bound(at: &str) -> UdpSocket {
    UdpSocket::bind(at).unwrap_or_else(|error| panic!("{at}: {error}"))
}

fn serve_tcp(mut stream: TcpStream) {
    let Some(query) = receive(&mut stream) else {
        return;
    };
    let answer = reply(&query, TRUTH);
    let framed = framed(&answer);
    // Whoever asks may have gone meanwhile.
    let _ = stream.set_nodelay(true);
    match manner(&query).as_str() {
        "drip" => {
            for octet in framed {
                sleep(Duration::from_millis(3));
                let _ = stream.write_all(&[octet]);
            }
        }
        "half" => drop(stream.write_all(&framed[..framed.len() / 2])),
        "closed" => {}
        "none" => drop(stream.write_all(&[0, 0])),
        "long" => drop(stream.write_all(&[&[0xFF, 0xFF][..], &answer].concat())),
        "reset" => drop(SockRef::from(&stream).set_linger(Some(Duration::ZERO))),
        "mute" => sleep(PATIENCE),
        _ => drop(stream.write_all(&framed)),
    }
}

/// A daemon in front of an upstream, with the directory of its policy.
async fn daemon(upstream: SocketAddr) -> (Daemon, TempDir) {
    sockets::daemon(upstream, &["*.npmjs.org"], |_| ()).await
}

/// What a client is told, and how long it waited.
struct Told {
    rcode: Rcode,
    addresses: Vec<Vec<u8>>,
    took: Duration,
    /// A second reply came behind the first.
    again: bool,
}

fn ask(server: SocketAddr, label: &str) -> Told {
    let socket = bound("127.0.0.1:0");
    socket.connect(server).expect("connected");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time");
    let began = Instant::now();
    socket
        .send(&support::query(
            &format!("{label}.npmjs.org"),
            Type::A,
            false,
        ))
        .expect("sent");
    let mut datagram = [0; 1500];
    let len = socket
        .recv(&mut datagram)
        .unwrap_or_else(|error| panic!("{label}: no reply: {error}"));
    let took = began.elapsed();
    let message = Message::read(&datagram[..len]).expect("a whole message");
    let addresses = message
        .records(Section::Answer)
        .map(|it| it.spelled().expect("an address"))
        .collect();
    let rcode = message.rcode();
    socket
        .set_read_timeout(Some(Duration::from_millis(20)))
        .expect("a time");
    Told {
        rcode,
        addresses,
        took,
        again: socket.recv(&mut [0; 1500]).is_ok(),
    }
}

/// The truth, in time and once; and the next healthy question has it too.
#[track_caller]
fn is_told_the_truth(server: SocketAddr, label: &str, within: Duration) {
    for (label, within) in [(label, within), ("healthy", DEADLINE / 4)] {
        let told = ask(server, label);
        assert_eq!(
            (told.rcode, told.addresses),
            (Rcode::NOERROR, vec![TRUTH.to_vec()]),
            "{label}"
        );
        assert!(told.took < within, "{label} took {:?}", told.took);
        assert!(!told.again, "{label} has two replies");
    }
}

/// SERVFAIL in time, once, and no lie; and the next healthy question has its answer.
#[track_caller]
fn is_told_of_failure(server: SocketAddr, label: &str, within: Duration) {
    let told = ask(server, label);
    assert_eq!(
        (told.rcode, told.addresses.len()),
        (Rcode::SERVFAIL, 0),
        "{label}"
    );
    assert!(told.took < within, "{label} took {:?}", told.took);
    assert!(!told.again, "{label} has two replies");
    is_told_the_truth(server, "healthy", DEADLINE / 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_that_come_twice_or_of_no_length_do_no_harm() {
    let (daemon, _dir) = daemon(upstream()).await;
    let server = daemon.addresses()[0];
    is_told_the_truth(server, "twice", DEADLINE / 4);
    is_told_the_truth(server, "empty", DEADLINE / 4);
}

/// RFC 5452 §9.2: what comes from another port or address is nobody's.
#[tokio::test(flavor = "multi_thread")]
async fn replies_from_elsewhere_are_not_heard() {
    let (daemon, _dir) = daemon(upstream()).await;
    let server = daemon.addresses()[0];
    is_told_the_truth(server, "port", DEADLINE / 4);
    is_told_the_truth(server, "source", DEADLINE / 4);
    is_told_of_failure(server, "elsewhere", DEADLINE);
}

/// RFC 5452 §9.1: three hundred guesses of the id, and then the right answer.
#[tokio::test(flavor = "multi_thread")]
async fn guesses_of_the_id_are_not_believed() {
    let (daemon, _dir) = daemon(upstream()).await;
    is_told_the_truth(daemon.addresses()[0], "flood", DEADLINE / 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_in_another_order_find_their_questions() {
    let (daemon, _dir) = daemon(upstream()).await;
    let server = daemon.addresses()[0];
    let first = thread::spawn(move || ask(server, "order1"));
    let second = ask(server, "order2");
    let first = first.join().expect("a reply");
    for told in [&first, &second] {
        assert_eq!(
            (told.rcode, &told.addresses),
            (Rcode::NOERROR, &vec![TRUTH.to_vec()])
        );
    }
    assert!(first.took < DEADLINE / 4, "{:?}", first.took);
    is_told_the_truth(server, "healthy", DEADLINE / 4);
}

/// A datagram of the greatest length there is: more than we take, so it is asked for over TCP.
#[tokio::test(flavor = "multi_thread")]
async fn a_datagram_of_sixty_thousand_octets_is_not_believed() {
    let (daemon, _dir) = daemon(upstream()).await;
    is_told_the_truth(daemon.addresses()[0], "oversized", DEADLINE / 4);
}

/// RFC 1035 §4.2.2: a stream has no packets; an answer may come octet by octet.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_drips_in_is_an_answer() {
    let (daemon, _dir) = daemon(upstream()).await;
    is_told_the_truth(daemon.addresses()[0], "drip", DEADLINE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_is_known_at_once() {
    let (daemon, _dir) = daemon(upstream()).await;
    for label in ["half", "closed", "none", "long", "reset"] {
        is_told_of_failure(daemon.addresses()[0], label, DEADLINE / 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_says_nothing_is_given_up_in_time() {
    let (daemon, _dir) = daemon(upstream()).await;
    is_told_of_failure(daemon.addresses()[0], "mute", DEADLINE);
}

/// A port that is closed is known at once (ICMP), and that it is open again with the next question.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_closes_and_opens_again_is_followed() {
    let socket = bound("127.0.0.1:0");
    let address = socket.local_addr().expect("bound");
    let (daemon, _dir) = daemon(address).await;
    let server = daemon.addresses()[0];
    let mut open = Some(socket);
    for round in 0..3 {
        drop(open.take());
        let told = ask(server, &format!("down{round}"));
        assert_eq!(told.rcode, Rcode::SERVFAIL);
        assert!(
            told.took < DEADLINE / 4,
            "a closed port took {:?}",
            told.took
        );
        let socket = bound(&address.to_string());
        let once = socket.try_clone().expect("a socket");
        open = Some(socket);
        let answering = thread::spawn(move || {
            let mut query = [0; 512];
            let (len, client) = once.recv_from(&mut query).expect("a query");
            once.send_to(&reply(&query[..len], TRUTH), client)
                .expect("loopback takes it");
        });
        let told = ask(server, &format!("up{round}"));
        assert_eq!(
            (told.rcode, told.addresses),
            (Rcode::NOERROR, vec![TRUTH.to_vec()])
        );
        answering.join().expect("it was asked");
    }
}
