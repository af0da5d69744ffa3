//! tokio's word that a socket can be read. There is one socket a schedule, and a scene says when.

/// What is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Interest;

impl Interest {
    pub const READABLE: Self = Self;
}

pub mod unix {
    //! Sockets that are not tokio's own.

    use std::cell::Cell;
    use std::future::poll_fn;
    use std::io;
    use std::os::fd::{AsRawFd, RawFd};
    use std::task::{Poll, Waker};

    use super::Interest;
    use crate::step;

    thread_local! {
        /// How often there was something to read, and how much of that was seen.
        static TOLD: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
        static WAKER: Cell<Option<Waker>> = const { Cell::new(None) };
    }

    /// There is something to read.
    pub fn tell_readable() {
        let (told, seen) = TOLD.get();
        TOLD.set((told + 1, seen));
        if let Some(waker) = WAKER.take() {
            waker.wake();
        }
    }

    /// A socket that is watched.
    pub struct AsyncFd<T>(T);

    /// The word that it can be read.
    pub struct Ready(u64);

    impl<T: AsRawFd> AsyncFd<T> {
        /// Watches; what there is already is told at once.
        ///
        /// # Safety
        /// Nothing is done with the descriptor.
        pub unsafe fn register_with_interest(socket: T, _: Interest) -> io::Result<Self> {
            tell_readable();
            Ok(Self(socket))
        }

        pub async fn readable(&self) -> io::Result<Ready> {
            step();
            poll_fn(|context| {
                let (told, seen) = TOLD.get();
                if told > seen {
                    return Poll::Ready(Ok(Ready(told)));
                }
                WAKER.set(Some(context.waker().clone()));
                Poll::Pending
            })
            .await
        }
    }

    impl<T: AsRawFd> AsRawFd for AsyncFd<T> {
        fn as_raw_fd(&self) -> RawFd {
            self.0.as_raw_fd()
        }
    }

    impl Ready {
        /// All that was told of till then was read.
        pub fn clear_ready(&mut self) {
            step();
            let (told, _) = TOLD.get();
            TOLD.set((told, self.0));
        }
    }
}
