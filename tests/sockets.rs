//! What only sockets can show: a daemon of the library on loopback, with an upstream that
//! answers as a test says, and clients that misbehave.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use namegate::config::Config;
use namegate::daemon::Daemon;
use namegate::wire::{Message, Query, Rcode, Section, Type};
use tempfile::TempDir;

use crate::support::sockets::{bound_twice, receive, send};
use crate::support::{self, sockets};

/// Nothing here takes as long.
const PATIENCE: Duration = Duration::from_secs(5);
const NAME: &str = "github.com";

/// An upstream that gives `over_udp` and `over_tcp` the query and sends what they return.
fn upstream(
    over_udp: impl Fn(&[u8]) -> Vec<u8> + Send + 'static,
    over_tcp: impl Fn(&[u8]) -> Vec<u8> + Send + 'static,
) -> SocketAddr {
    let (udp, tcp) = bound_twice();
    let address = udp.local_addr().expect("bound");
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((len, client)) = udp.recv_from(&mut query) {
            udp.send_to(&over_udp(&query[..len]), client)
                .expect("loopback takes it");
        }
    });
    thread::spawn(move || {
        for stream in tcp.incoming() {
            let mut stream = stream.expect("a connection");
            let query = receive(&mut stream).expect("a query");
            send(&mut stream, &over_tcp(&query));
        }
    });
    address
}

/// A reply with as many addresses, and the query's OPT where `with_opt`.
fn reply(query: &[u8], rcode: u8, addresses: u16, with_opt: bool) -> Vec<u8> {
    let heard = Query::read(query).expect("our own query");
    let (question, opt) = query.split_at(12 + heard.question().len());
    let mut reply = question.to_vec();
    reply[2..12].copy_from_slice(&[0x81, 0x80 | rcode, 0, 1, 0, 0, 0, 0, 0, with_opt.into()]);
    reply[6..8].copy_from_slice(&addresses.to_be_bytes());
    for address in 0..addresses {
        reply.extend(b"\xC0\x0C\0\x01\0\x01\0\0\0\x3C\0\x04\x5D\xB8");
        reply.extend(address.to_be_bytes());
    }
    if with_opt {
        reply.extend(opt);
    }
    reply
}

/// A daemon that allows one name, with the directory of its policy.
async fn daemon(upstream: SocketAddr, change: impl FnOnce(&mut Config)) -> (Daemon, TempDir) {
    sockets::daemon(upstream, &[NAME], change).await
}

fn query() -> Vec<u8> {
    support::query(NAME, Type::A, false)
}

fn ask(server: SocketAddr) -> (Rcode, usize) {
    let mut stream = TcpStream::connect(server).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    send(&mut stream, &query());
    let reply = receive(&mut stream).expect("a reply");
    let message = Message::read(&reply).expect("a whole message");
    (message.rcode(), message.records(Section::Answer).count())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datagram_longer_than_we_take_is_asked_for_over_tcp() {
    let long = |query: &[u8]| reply(query, 0, 1000, true);
    let (daemon, _dir) = daemon(upstream(long, long), |_| {}).await;
    assert_eq!(ask(daemon.addresses()[0]), (Rcode::NOERROR, 1000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_sends_our_opt_back_with_its_formerr_is_asked_without() {
    let answer = |query: &[u8]| match Query::read(query).expect("our own query").edns() {
        Some(_) => reply(query, 1, 0, true),
        None => reply(query, 0, 1, false),
    };
    let (daemon, _dir) = daemon(upstream(answer, answer), |_| {}).await;
    assert_eq!(ask(daemon.addresses()[0]), (Rcode::NOERROR, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_makes_room_at_once() {
    let long = |query: &[u8]| reply(query, 0, 4000, false);
    let (daemon, _dir) = daemon(upstream(long, long), |config| {
        config.listen.tcp_max_clients = 1;
    })
    .await;
    let server = daemon.addresses()[0];
    assert_eq!(ask(server), (Rcode::NOERROR, 4000));
    let mut deaf = TcpStream::connect(server).expect("it listens");
    deaf.set_write_timeout(Some(Duration::from_millis(300)))
        .expect("a time");
    // 64 KiB come back for each of these, until nobody takes any more of them.
    let framed = [&[0, 28][..], &query()].concat();
    while deaf.write_all(&framed.repeat(500)).is_ok() {}
    assert_eq!(ask(server), (Rcode::NOERROR, 4000));
    let mut told = || deaf.write(&[0]).expect_err("nobody reads").kind();
    let has_left =
        (0..20).any(|_| matches!(told(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe));
    assert!(
        has_left,
        "it holds what it was sent for as long as one may be idle"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_asked_all_it_will_is_not_sent_away_before_its_last_answer() {
    let slow = |query: &[u8]| {
        thread::sleep(Duration::from_millis(150));
        reply(query, 0, 0, true)
    };
    let (daemon, _dir) = daemon(upstream(slow, slow), |config| {
        config.listen.tcp_max_clients = 1;
    })
    .await;
    let server = daemon.addresses()[0];
    let mut first = TcpStream::connect(server).expect("it listens");
    for kind in [Type::A, Type::AAAA] {
        send(&mut first, &support::query(NAME, kind, false));
    }
    first.shutdown(Shutdown::Write).expect("still open");
    assert!(receive(&mut first).is_some());
    let mut second = TcpStream::connect(server).expect("it listens");
    assert_eq!(
        receive(&mut second),
        None,
        "there is one place, and it is taken"
    );
    assert!(receive(&mut first).is_some());
}

/// The serial of a denial's SOA: the generation of the policy that said no.
fn generation(message: &Message<'_>) -> u32 {
    let soa = message
        .records(Section::Authority)
        .next()
        .expect("a denial has an SOA");
    let data = soa.spelled().expect("our own record");
    let serial = data[data.len() - 20..].first_chunk().expect("five numbers");
    u32::from_be_bytes(*serial)
}

/// Asks one thing after the other until told to stop. Each is answered, by the policy of one generation, and
/// never by an older one than before: the even ones deny. Returns how many there were.
fn ask_without_end(server: SocketAddr, stop: &std::sync::atomic::AtomicBool) -> usize {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.connect(server).expect("connected");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time");
    let (mut asked, mut newest) = (0, 0);
    let mut datagram = [0; 512];
    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
        socket.send(&query()).expect("sent");
        let len = socket.recv(&mut datagram).expect("no query is lost");
        let message = Message::read(&datagram[..len]).expect("a whole message");
        if message.rcode() == Rcode::NXDOMAIN {
            let generation = generation(&message);
            assert!(
                generation.is_multiple_of(2),
                "generation {generation} allows the name, and denied it"
            );
            assert!(
                generation >= newest,
                "generation {generation} after {newest}"
            );
            newest = generation;
        } else {
            assert_eq!(
                (message.rcode(), message.records(Section::Answer).count()),
                (Rcode::NOERROR, 1)
            );
        }
        asked += 1;
    }
    asked
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_under_load_loses_nothing() {
    let answer = |query: &[u8]| reply(query, 0, 1, false);
    let (daemon, dir) = daemon(upstream(answer, answer), |_| {}).await;
    let server = daemon.addresses()[0];
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let stop = stop.clone();
            thread::spawn(move || ask_without_end(server, &stop))
        })
        .collect();
    for generation in 2..=40 {
        let allowed: &[&str] = if generation % 2 == 0 {
            &["other.example"]
        } else {
            &[NAME]
        };
        let fresh = dir.path().join("fresh");
        fs::write(&fresh, support::document(allowed)).expect("written");
        fs::rename(&fresh, dir.path().join("policy.json")).expect("renamed");
        while daemon.road().live().generation < generation {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for client in clients {
        let asked = client
            .join()
            .unwrap_or_else(|_| panic!("a client was answered wrongly, or not at all"));
        assert!(asked > 40, "only {asked} queries");
    }
}
