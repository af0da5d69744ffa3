//! A socket is served and stopped while queries come and wait.
//!
//! In every schedule: each query that was taken is answered, once, whether it waited or not, also when the stop comes
//! while it waits; what came before the stop is taken where nobody was told to stop yet; and whoever serves the socket
//! ends.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Release};
use std::thread;
use std::time::Instant;

use super::kernel::{Kernel, Wire};
use super::udp::Desk;
use super::{Client, Road, Step};
use crate::explore::{below, linger};

/// Says back what it hears, odd numbers after a while.
struct Echo;

impl Road for Echo {
    type Pending = u8;
    type Ready = u8;

    fn answer_now(
        self: &Arc<Self>,
        octets: &[u8],
        _: &Client,
        _: Instant,
        out: &mut Vec<u8>,
    ) -> Step<u8> {
        if octets[0] % 2 == 1 {
            return Step::Later(octets[0]);
        }
        out.clear();
        out.extend_from_slice(octets);
        Step::Reply
    }

    async fn answer_later(self: &Arc<Self>, pending: u8) -> u8 {
        for _ in 0..below(3) {
            tokio::task::yield_now().await;
        }
        pending
    }

    fn finish(self: &Arc<Self>, ready: u8, out: &mut Vec<u8>) {
        out.clear();
        out.push(ready);
    }
}

std::real_thread_local! {
    /// Nothing is sent over it: its descriptor is all that is asked for.
    static SOCKET: Arc<UdpSocket> = Arc::new(UdpSocket::bind("127.0.0.1:0").expect("a port"));
}

/// Serves what the kernel has, on a thread of its own.
fn serve(kernel: &Arc<Kernel>) -> (thread::JoinHandle<()>, impl Fn()) {
    let stopped = Arc::<AtomicBool>::default();
    let desk = Desk::<Echo, Wire>::open(Arc::new(Echo), SOCKET.with(Arc::clone), stopped.clone());
    let serving = thread::spawn(move || desk.serve(&tokio::runtime::Runtime));
    let kernel = kernel.clone();
    let stop = move || {
        stopped.store(true, Release);
        kernel.shut();
    };
    (serving, stop)
}

fn sorted(mut datagrams: Vec<u8>) -> Vec<u8> {
    datagrams.sort_unstable();
    datagrams
}

/// Two bring queries while a third stops.
pub fn whoever_was_taken_is_answered() {
    let kernel = Kernel::new();
    let (serving, stop) = serve(&kernel);
    let bringing = [10, 20].map(|first| {
        let kernel = kernel.clone();
        thread::spawn(move || (first..first + 4).for_each(|datagram| kernel.bring(datagram)))
    });
    linger();
    stop();
    serving.join().expect("it ends");
    let (taken, sent) = kernel.taken_and_sent();
    assert_eq!(sorted(taken), sorted(sent));
    for thread in bringing {
        thread.join().expect("it ends");
    }
}

/// Nobody stops before all is answered.
pub fn all_that_comes_is_answered() {
    let kernel = Kernel::new();
    let (serving, stop) = serve(&kernel);
    (10..16).for_each(|datagram| kernel.bring(datagram));
    while kernel.taken_and_sent().1.len() < 6 {
        thread::yield_now();
    }
    stop();
    serving.join().expect("it ends");
    assert_eq!(sorted(kernel.taken_and_sent().1), [10, 11, 12, 13, 14, 15]);
}
