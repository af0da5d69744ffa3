//! Stands in for `std` where sources of the resolver are run under shuttle.
//!
//! Locks, atomics, condition variables, channels and threads are shuttle's: each of their
//! operations is a place where another thread may go on. The clock is virtual: it moves
//! when somebody sleeps, and by what he sleeps. A time-out may come at any moment, however
//! much others have done till then; waits of an hour and more never end by themselves, so
//! that whoever relies on them is found out. All else is `std`'s.

pub use std::thread_local as real_thread_local;
pub use std::*;

pub mod hash {
    //! Hashes, with the same keys each time, so that a schedule can be played again.

    pub use std::hash::*;

    pub type RandomState = BuildHasherDefault<DefaultHasher>;
}

pub mod sync {
    //! What threads share.

    pub use shuttle::sync::{Arc, Barrier, Mutex, MutexGuard, RwLock, Weak, atomic};
    pub use std::sync::{LockResult, OnceLock, PoisonError, TryLockError};

    pub use self::condvar::Condvar;

    pub mod mpsc {
        //! Channels; whoever waits on one for a time may run out of it.

        use std::time::Duration;

        pub use shuttle::sync::mpsc::{RecvError, RecvTimeoutError, SyncSender, TryRecvError};

        /// A channel that holds so many.
        pub fn sync_channel<T>(bound: usize) -> (SyncSender<T>, Receiver<T>) {
            let (sender, receiver) = shuttle::sync::mpsc::sync_channel(bound);
            (sender, Receiver(receiver))
        }

        /// Its far end.
        pub struct Receiver<T>(shuttle::sync::mpsc::Receiver<T>);

        impl<T> Receiver<T> {
            /// Waits.
            pub fn recv(&self) -> Result<T, RecvError> {
                self.0.recv()
            }

            /// Waits, and never in vain: what is not told at all is a deadlock, which shuttle tells.
            pub fn recv_timeout(&self, limit: Duration) -> Result<T, RecvTimeoutError> {
                self.0.recv_timeout(limit)
            }
        }
    }

    mod condvar {
        use std::sync::LockResult;
        use std::time::Duration;

        use shuttle::sync::MutexGuard;

        /// Waits without an end, so that a notice that does not come is a deadlock, which shuttle tells.
        #[derive(Default)]
        pub struct Condvar(shuttle::sync::Condvar);

        impl Condvar {
            pub fn notify_all(&self) {
                self.0.notify_all();
            }

            pub fn wait_timeout_while<'a, T>(
                &self,
                guard: MutexGuard<'a, T>,
                _limit: Duration,
                condition: impl FnMut(&mut T) -> bool,
            ) -> LockResult<MutexGuard<'a, T>> {
                self.0.wait_while(guard, condition)
            }
        }
    }
}

pub mod thread {
    //! Threads of shuttle.

    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    use std::time::Duration;

    pub use shuttle::thread::*;

    /// A thread that was begun.
    pub struct JoinHandle<T> {
        thread: shuttle::thread::JoinHandle<T>,
        is_over: Arc<AtomicBool>,
    }

    impl<T> JoinHandle<T> {
        pub fn join(self) -> Result<T> {
            self.thread.join()
        }

        pub fn thread(&self) -> &Thread {
            self.thread.thread()
        }

        pub fn is_finished(&self) -> bool {
            yield_now();
            self.is_over.load(SeqCst)
        }
    }

    /// Begins threads that have names.
    #[derive(Default)]
    pub struct Builder(shuttle::thread::Builder);

    impl Builder {
        pub fn new() -> Self {
            Self::default()
        }

        pub fn name(self, name: String) -> Self {
            Self(self.0.name(name))
        }

        pub fn spawn<F, T>(self, work: F) -> io::Result<JoinHandle<T>>
        where
            F: FnOnce() -> T + Send + 'static,
            T: Send + 'static,
        {
            let is_over = Arc::<AtomicBool>::default();
            let tells = is_over.clone();
            let thread = self.0.spawn(move || {
                let done = work();
                tells.store(true, SeqCst);
                done
            })?;
            Ok(JoinHandle { thread, is_over })
        }
    }

    /// Begins a thread.
    pub fn spawn<F, T>(work: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Builder::new().spawn(work).expect("shuttle has threads")
    }

    /// Waits to be woken; a short wait is over after a while all the same.
    pub fn park_timeout(limit: Duration) {
        if limit >= crate::time::NEVER {
            return park();
        }
        while !crate::time::ends() {
            yield_now();
        }
        crate::time::pass(limit);
        // Whoever has woken us meanwhile has done so now.
        current().unpark();
        park();
    }

    /// The machine's thread: it plays one schedule at a time.
    pub fn real() -> std::thread::Thread {
        std::thread::current()
    }

    /// Lets time pass.
    pub fn sleep(time: Duration) {
        crate::time::pass(time);
        shuttle::thread::yield_now();
    }
}

pub mod time {
    //! A clock that moves when somebody sleeps.

    use std::cell::Cell;
    use std::ops::{Add, AddAssign, Sub};

    use shuttle::rand::Rng;

    pub use std::time::{Duration, SystemTime, UNIX_EPOCH};

    /// Whoever waits for as long is woken by somebody, or never.
    pub const NEVER: Duration = Duration::from_secs(3600);

    thread_local! {
        /// All threads of one schedule are one thread of the machine.
        static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    /// Sets the clock back, for a new schedule.
    pub fn begin() {
        NOW.set(NEVER);
    }

    /// Lets time pass.
    pub fn pass(time: Duration) {
        NOW.set(NOW.get() + time);
    }

    /// Lets time pass until then, where it is still to come.
    pub fn pass_until(then: Instant) {
        NOW.set(NOW.get().max(then.0));
    }

    /// Is a wait over before anything else happens?
    pub fn ends() -> bool {
        shuttle::rand::thread_rng().gen_bool(0.5)
    }

    /// A moment of the virtual clock.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct Instant(Duration);

    impl Instant {
        pub fn now() -> Self {
            Self(NOW.get())
        }

        pub fn elapsed(&self) -> Duration {
            Self::now().saturating_duration_since(*self)
        }

        pub fn saturating_duration_since(&self, earlier: Self) -> Duration {
            self.0.saturating_sub(earlier.0)
        }

        pub fn duration_since(&self, earlier: Self) -> Duration {
            self.saturating_duration_since(earlier)
        }

        pub fn checked_duration_since(&self, earlier: Self) -> Option<Duration> {
            self.0.checked_sub(earlier.0)
        }

        pub fn checked_add(&self, time: Duration) -> Option<Self> {
            self.0.checked_add(time).map(Self)
        }
    }

    impl Add<Duration> for Instant {
        type Output = Self;

        fn add(self, time: Duration) -> Self {
            Self(self.0 + time)
        }
    }

    impl AddAssign<Duration> for Instant {
        fn add_assign(&mut self, time: Duration) {
            self.0 += time;
        }
    }

    impl Sub<Duration> for Instant {
        type Output = Self;

        fn sub(self, time: Duration) -> Self {
            Self(self.0 - time)
        }
    }

    impl Sub for Instant {
        type Output = Duration;

        fn sub(self, earlier: Self) -> Duration {
            self.saturating_duration_since(earlier)
        }
    }
}
