//! The kernel's side of one socket: datagrams that came, and those that went.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::{Arc, Condvar, Mutex};

use tokio::io::unix::tell_readable;

use super::udp::{Line, Patience};
use crate::explore::below;

std::real_thread_local! {
    /// All threads of one schedule are one thread of the machine.
    static KERNEL: RefCell<Arc<Kernel>> = RefCell::default();
}

/// What came, what went, and whether more may come.
#[derive(Default)]
pub(super) struct Kernel {
    socket: Mutex<Socket>,
    changed: Condvar,
}

#[derive(Default)]
struct Socket {
    came: VecDeque<u8>,
    taken: Vec<u8>,
    sent: Vec<u8>,
    is_shut: bool,
}

impl Kernel {
    /// A new one, which the next line is of.
    pub(super) fn new() -> Arc<Self> {
        let kernel = Arc::<Self>::default();
        KERNEL.set(kernel.clone());
        kernel
    }

    /// A datagram comes.
    pub(super) fn bring(&self, datagram: u8) {
        self.socket
            .lock()
            .expect("nobody panics with it")
            .came
            .push_back(datagram);
        self.changed.notify_all();
        tell_readable();
    }

    /// No more is to be read; whoever sleeps is woken.
    pub(super) fn shut(&self) {
        self.socket.lock().expect("nobody panics with it").is_shut = true;
        self.changed.notify_all();
        tell_readable();
    }

    /// What was read and what was sent, each in its order.
    pub(super) fn taken_and_sent(&self) -> (Vec<u8>, Vec<u8>) {
        let socket = self.socket.lock().expect("nobody panics with it");
        (socket.taken.clone(), socket.sent.clone())
    }
}

/// A line to the kernel.
pub(super) struct Wire {
    kernel: Arc<Kernel>,
    batch: Vec<[u8; 1]>,
}

impl Line for Wire {
    type Back = ();

    fn new() -> Self {
        Self {
            kernel: KERNEL.with_borrow(Arc::clone),
            batch: Vec::new(),
        }
    }

    fn receive(&mut self, _: RawFd, patience: Patience) -> io::Result<usize> {
        let socket = self.kernel.socket.lock().expect("nobody panics with it");
        let has_none = |it: &mut Socket| it.came.is_empty() && !it.is_shut;
        let mut socket = match patience {
            Patience::Sleep => {
                let waited =
                    self.kernel
                        .changed
                        .wait_timeout_while(socket, std::time::NEVER, has_none);
                waited.expect("nobody panics with it")
            }
            Patience::None => socket,
        };
        self.batch.clear();
        let most = 1 + below(2);
        while self.batch.len() < most
            && let Some(datagram) = socket.came.pop_front()
        {
            socket.taken.push(datagram);
            self.batch.push([datagram]);
        }
        match self.batch.len() {
            0 if !socket.is_shut => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }

    fn query(&self, at: usize) -> Option<(&[u8], SocketAddr, ())> {
        Some((self.batch.get(at)?, ([127, 0, 0, 1], 53).into(), ()))
    }

    fn send(_: RawFd, replies: &[Vec<u8>], _: &[()]) {
        let kernel = KERNEL.with_borrow(Arc::clone);
        let mut socket = kernel.socket.lock().expect("nobody panics with it");
        socket.sent.extend(replies.iter().map(|it| it[0]));
    }
}
