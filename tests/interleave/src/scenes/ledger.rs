//! Finished queries on their way to the writer, and the end of the writer.
//!
//! In every schedule: what found room is written, once; what found none is counted, once; whoever looks sees all that was put before; what somebody waits for wakes a writer who sleeps; and a close ends
//! him, with all written that was put before. The rules of a policy that was replaced are known until the last query
//! that was judged by them is written, and then let go of.

use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use super::querylog::{QueryLog, Written};
use super::queue::{Event, Queue, Rest, Tray, Worth};
use super::reloads::{Live, Reloads};
use super::writer::Handle;
use super::{Done, Transport};
use crate::answer::{Desk, Outcome, Reason};
use crate::explore::{below, linger};
use crate::matcher::Rules;
use crate::wire::{Name, Type};

/// The writer at work.
struct Office {
    handle: Handle,
    reloads: Arc<Reloads>,
    written: Arc<Written>,
}

impl Office {
    fn open() -> Arc<Self> {
        let written = Arc::<Written>::default();
        let log = QueryLog(written.clone());
        let reloads = Arc::<Reloads>::default();
        let handle = Handle::start(Some(log), reloads.clone());
        Arc::new(Self {
            handle: handle.expect("a thread"),
            reloads,
            written,
        })
    }

    fn put(&self, port: u16, worth: Worth) -> bool {
        put(&self.handle.ledger.queue, port, worth)
    }

    fn written(&self) -> Vec<String> {
        self.written.lines()
    }

    fn lost(&self) -> u64 {
        self.handle.ledger.queue.lost()
    }
}

/// Puts a finished query, told from others by its port.
fn put(queue: &Queue, port: u16, worth: Worth) -> bool {
    let name: Name = "a.example".parse().expect("a name");
    let done = Done {
        name: Some(&name),
        kind: Type::A,
        transport: Transport::Udp,
        client: ([127, 0, 0, 1], port).into(),
        outcome: Outcome {
            desk: Desk::Blocked,
            reason: Reason::NotListed,
            rcode: None,
            ede: None,
        },
        rule: None,
        generation: 1,
        began: Instant::now(),
        took: Duration::ZERO,
        ttl_s: None,
    };
    queue.put(&done, worth)
}

fn some_worth() -> Worth {
    match below(2) {
        0 => Worth::Idle,
        _ => Worth::Wanted,
    }
}

/// Puts three, and says which found room.
fn put_three(office: &Arc<Office>, first: u16) -> JoinHandle<Vec<String>> {
    let office = office.clone();
    thread::spawn(move || {
        let ports = first..first + 3;
        let taken = ports.filter(|port| office.put(*port, some_worth()));
        taken.map(|port| port.to_string()).collect()
    })
}

/// Threads put while the writer is closed.
pub fn a_close_loses_nothing() {
    let office = Office::open();
    let threads: Vec<_> = [10, 20, 30].map(|first| put_three(&office, first)).into();
    let before = office.put(1, some_worth());
    linger();
    office.handle.close();
    let at_close = office.written();
    assert_eq!(
        at_close.contains(&"1".to_owned()),
        before,
        "what was put before a close is written by then"
    );
    let mut taken: Vec<String> = before.then(|| "1".to_owned()).into_iter().collect();
    for thread in threads {
        taken.extend(thread.join().expect("it ends"));
    }
    let mut written = office.written();
    written.sort();
    taken.sort();
    assert_eq!(written, taken, "what found room is written, once");
    assert_eq!(
        taken.len() as u64 + office.lost(),
        10,
        "what found no room is counted, once"
    );
    assert_eq!(
        office.written(),
        at_close,
        "nothing is written after the close"
    );
}

/// Two look while others put: each sees what he put himself.
pub fn whoever_looks_sees_what_was_put() {
    let office = Office::open();
    let threads = [10, 20].map(|port| {
        let office = office.clone();
        thread::spawn(move || {
            for port in [port, port + 1] {
                let is_in = office.put(port, Worth::Idle);
                office.handle.ledger.catch_up();
                assert_eq!(office.written().contains(&port.to_string()), is_in);
            }
        })
    });
    for thread in threads {
        thread.join().expect("it ends");
    }
    office.handle.close();
}

/// What somebody waits for comes out without a nudge, however deep the writer sleeps.
pub fn what_is_wanted_wakes_the_writer() {
    let office = Office::open();
    let (theirs, others) = (office.clone(), office.clone());
    let putting = thread::spawn(move || theirs.put(10, Worth::Wanted));
    let telling = thread::spawn(move || {
        let event = Event::Line("event".to_owned());
        others.handle.ledger.queue.put_event(event)
    });
    let has_room = [putting, telling].map(|thread| thread.join().expect("it ends"));
    let expected = has_room.into_iter().filter(|it| *it).count();
    office.written.wait_for(expected);
    office.handle.close();
    assert_eq!(office.written().len(), expected);
}

/// The last one to go does not wait, and all is written all the same.
pub fn a_handle_that_is_dropped_ends_the_writer() {
    let office = Office::open();
    let is_in = office.put(10, some_worth());
    let written = office.written.clone();
    linger();
    drop(office);
    written.wait_for_end();
    assert_eq!(written.lines().len(), usize::from(is_in));
}

/// A policy that goes live.
fn live(generation: u64) -> Live {
    Live {
        id: String::new(),
        name: String::new(),
        sha256: String::new(),
        generation,
        rules: Arc::new(Rules::builder().build()),
        at: SystemTime::UNIX_EPOCH,
        propagation: None,
    }
}

/// Queries that were judged by a policy end when another is in force; the writer frees its rules, and not before them.
pub fn a_policy_is_known_until_its_last_query_is_written() {
    let office = Office::open();
    let first = live(1);
    let rules = Arc::new(Mutex::new(Some(first.rules.clone())));
    office.reloads.applied(first);
    let judging = [10, 20].map(|port| {
        let (office, rules) = (office.clone(), rules.clone());
        thread::spawn(move || {
            // Judged by the rules that were in force when it came, and it holds on to them.
            let held = rules.lock().expect("nobody panics with it").clone();
            held.is_some() && office.put(port, some_worth())
        })
    });
    office.reloads.applied(live(2));
    let old = rules.lock().expect("nobody panics with it").take();
    let weak = Arc::downgrade(&old.expect("it was there"));
    let put = judging.map(|thread| thread.join().expect("it ends"));
    while weak.upgrade().is_some() {
        thread::yield_now();
    }
    office.handle.close();
    let written = office.written();
    assert_eq!(written.len(), put.iter().filter(|it| **it).count());
    assert!(written.iter().all(|it| !it.ends_with('?')), "{written:?}");
}

/// The writer falls asleep just when somebody puts something: he is woken, in each way in which the two can meet.
pub fn a_writer_who_falls_asleep_is_woken() {
    let queue = Arc::new(Queue::default());
    let theirs = queue.clone();
    queue.written_by(thread::current());
    let putting = thread::spawn(move || put(&theirs, 10, Worth::Idle));
    // Where he is not woken, all wait for each other, which shuttle tells.
    queue.rest(Rest::Sleep);
    assert!(putting.join().expect("it ends"));
    let mut taken = 0;
    queue.drain(&mut Tray::default(), |_| taken += 1);
    assert_eq!(taken, 1);
}
