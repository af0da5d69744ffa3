//! Connections: framed messages in, framed messages out as they are ready (RFC 7766).

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::unread::Unread;
use super::{Client, Road, Step, Transport};
use crate::wire::MESSAGE_OCTETS_MAX;

/// A new connection says something within this (RFC 7766 §6.2.3).
const FIRST_MESSAGE: Duration = Duration::from_secs(5);
/// Queries of one connection that wait at once; further ones are not read until some are answered.
const WAITING_MAX: usize = 64;
/// Read at a time, in octets: room for a hundred pipelined queries.
const READ_OCTETS: usize = 4096;
/// Replies are written out when they fill this, in octets: what a client that does not read can make us hold.
const UNSENT_OCTETS_MAX: usize = 64 << 10;
/// An accept that fails for want of descriptors is tried again after this.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(50);
/// Connections that have been sent away and are not yet gone; while there are so many, no more are taken.
const LEAVING_MAX: usize = 32;
/// One address beyond this machine holds at most this part of all connections.
const SHARE_OF_ONE_ADDRESS: usize = 4;

/// What connections may cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub idle: Duration,
    pub clients_max: usize,
}

/// The open connections.
pub(super) struct Clients {
    limits: Limits,
    born: Instant,
    next_id: AtomicU64,
    open: Mutex<HashMap<u64, Arc<Seat>>>,
    /// Those that have their seats, and those that are leaving.
    count: Arc<AtomicUsize>,
    one_has_gone: Notify,
}

/// One connection's place among the others.
struct Seat {
    address: IpAddr,
    /// Milliseconds after the first connection could be made at which this one was last of use.
    used_at_ms: AtomicU64,
    is_busy: AtomicBool,
    leave: Notify,
}

/// A place taken; given back when dropped.
struct Taken {
    clients: Arc<Clients>,
    seat: Arc<Seat>,
    id: u64,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut open = self
            .clients
            .open
            .lock()
            .expect("no holder of this lock panics");
        open.remove(&self.id);
        self.clients.count.fetch_sub(1, Relaxed);
        self.clients.one_has_gone.notify_one();
    }
}

impl Clients {
    pub(super) fn new(limits: Limits, count: Arc<AtomicUsize>) -> Self {
        Self {
            limits,
            born: Instant::now(),
            next_id: AtomicU64::new(0),
            open: Mutex::default(),
            count,
            one_has_gone: Notify::new(),
        }
    }

    /// Waits until few are leaving: a crowd comes faster than it goes.
    async fn few_are_leaving(&self) {
        while self.count.load(Relaxed) >= self.limits.clients_max + LEAVING_MAX {
            self.one_has_gone.notified().await;
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A place for a new connection. At a cap another leaves, or if there is none that could, the new one does.
    fn sit(self: &Arc<Self>, address: IpAddr) -> Option<Taken> {
        let mut open = self.open.lock().expect("no holder of this lock panics");
        let is_neighbour = |seat: &Seat| seat.address == address;
        let of_address = || open.values().filter(|seat| is_neighbour(seat)).count();
        // On loopback all clients share one address.
        let share = (self.limits.clients_max / SHARE_OF_ONE_ADDRESS).max(1);
        if !address.is_loopback() && of_address() >= share {
            make_room(&mut open, is_neighbour)?;
        } else if open.len() >= self.limits.clients_max {
            make_room(&mut open, |_| true)?;
        }
        let id = self.next_id.fetch_add(1, Relaxed);
        let seat = Arc::new(Seat {
            address,
            used_at_ms: AtomicU64::new(self.now_ms()),
            is_busy: AtomicBool::new(false),
            leave: Notify::new(),
        });
        open.insert(id, seat.clone());
        self.count.fetch_add(1, Relaxed);
        Some(Taken {
            clients: self.clone(),
            seat,
            id,
        })
    }
}

/// Sends away one of those that `may_leave`: whoever is without a word for longest, but for three quarters of them that
/// wait for answers and came first. So nobody shuts the door on others with questions that take long. None: all have to stay.
fn make_room(open: &mut HashMap<u64, Arc<Seat>>, may_leave: impl Fn(&Seat) -> bool) -> Option<()> {
    let mut all: Vec<_> = open.iter().filter(|(_, seat)| may_leave(seat)).collect();
    all.sort_unstable_by_key(|(id, _)| **id);
    let mut staying = (all.len() * 3).div_ceil(4);
    let mut stays = |seat: &Seat| {
        let stays = seat.is_busy.load(Relaxed) && staying > 0;
        staying -= usize::from(stays);
        stays
    };
    let leaving = all.into_iter().filter(|(_, seat)| !stays(seat));
    let oldest = leaving.min_by_key(|(_, seat)| seat.used_at_ms.load(Relaxed));
    let id = *oldest?.0;
    open.remove(&id)?.leave.notify_one();
    Some(())
}

/// Accepts connections until `stopped`. No error of one ends it.
pub(super) async fn serve<R: Road>(
    listener: TcpListener,
    clients: Arc<Clients>,
    road: Arc<R>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = super::told_to_stop(&mut stopped) => return,
            accepted = accept(&listener, &clients) => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let Some(taken) = clients.sit(address.ip()) else {
                    continue;
                };
                let connection = Connection::new(stream, address, taken, road.clone());
                tokio::spawn(connection.serve(stopped.clone()));
            }
            // The client has gone again before we came to it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => tokio::time::sleep(PAUSE_AFTER_ERROR).await,
        }
    }
}

async fn accept(listener: &TcpListener, clients: &Clients) -> io::Result<(TcpStream, SocketAddr)> {
    clients.few_are_leaving().await;
    listener.accept().await
}

struct Connection<R: Road> {
    stream: TcpStream,
    client: Client,
    taken: Taken,
    road: Arc<R>,
    unread: Unread,
    /// Framed replies not yet written.
    unsent: Vec<u8>,
    reply: Vec<u8>,
    waiting: JoinSet<R::Ready>,
    deadline: Instant,
}

/// A query that has waited, unless its task ended in a panic.
type Finished<R> = Result<<R as Road>::Ready, tokio::task::JoinError>;

/// Whether a connection goes on.
#[derive(PartialEq, Eq)]
enum Next {
    Read,
    Finish,
    Close,
}

/// What a client has asked for is found out to its end, also when he has gone: else he could have upstream asked the
/// same thing anew as often as he goes, and no place would be taken while it is.
impl<R: Road> Drop for Connection<R> {
    fn drop(&mut self) {
        self.waiting.detach_all();
    }
}

impl<R: Road> Connection<R> {
    fn new(stream: TcpStream, address: SocketAddr, taken: Taken, road: Arc<R>) -> Self {
        let _ = stream.set_nodelay(true);
        let first = FIRST_MESSAGE.min(taken.clients.limits.idle);
        Self {
            stream,
            client: Client {
                address,
                transport: Transport::Tcp,
            },
            taken,
            road,
            unread: Unread::default(),
            unsent: Vec::new(),
            reply: Vec::new(),
            waiting: JoinSet::new(),
            deadline: Instant::now() + first,
        }
    }

    /// Reads, answers and writes until the client has gone, falls silent, or has to make room.
    async fn serve(mut self, mut stopped: watch::Receiver<bool>) {
        loop {
            let next = self.step(&mut stopped).await;
            if next == Next::Close
                || self.take_messages().await.is_err()
                || self.write().await.is_err()
            {
                return;
            }
            if next == Next::Finish {
                break;
            }
        }
        // RFC 7766 §6.2.4: a client that has closed its half still gets its answers.
        while let Some(done) = self.next_finished().await {
            self.frame_finished(done);
            if self.write().await.is_err() {
                return;
            }
        }
    }

    /// None: there are no more, or it has to make room.
    async fn next_finished(&mut self) -> Option<Finished<R>> {
        tokio::select! {
            biased;
            () = self.taken.seat.leave.notified() => None,
            done = self.waiting.join_next() => done,
        }
    }

    /// Waits for the next thing that happens.
    async fn step(&mut self, stopped: &mut watch::Receiver<bool>) -> Next {
        let seat = self.taken.seat.clone();
        let is_idle = self.waiting.is_empty();
        seat.is_busy.store(!is_idle, Relaxed);
        let may_read = self.waiting.len() < WAITING_MAX;
        let room = self.unread.room(READ_OCTETS);
        tokio::select! {
            biased;
            () = super::told_to_stop(stopped) => Next::Finish,
            () = seat.leave.notified() => Next::Close,
            Some(done) = self.waiting.join_next() => {
                self.frame_finished(done);
                self.touch();
                Next::Read
            }
            read = self.stream.read_buf(room), if may_read => match read {
                Ok(0) => Next::Finish,
                Ok(_) => Next::Read,
                Err(_) => Next::Close,
            },
            () = sleep_until(self.deadline), if is_idle => Next::Close,
        }
    }

    /// Only whole messages count as a sign of life: octets that drip in do not.
    fn touch(&mut self) {
        let clients = &self.taken.clients;
        self.taken.seat.used_at_ms.store(clients.now_ms(), Relaxed);
        self.deadline = Instant::now() + clients.limits.idle;
    }

    /// Takes every whole message out of what was read.
    async fn take_messages(&mut self) -> io::Result<()> {
        while self.waiting.len() < WAITING_MAX && self.answer_next() {
            self.touch();
            if self.unsent.len() >= UNSENT_OCTETS_MAX {
                self.write().await?;
            }
        }
        Ok(())
    }

    /// Takes one; false: there is no whole one.
    fn answer_next(&mut self) -> bool {
        let Some(message) = self.unread.take() else {
            return false;
        };
        let now = Instant::now().into_std();
        match self
            .road
            .answer_now(message, &self.client, now, &mut self.reply)
        {
            Step::Reply => push_framed(&mut self.unsent, &self.reply),
            Step::Silence => {}
            Step::Later(pending) => {
                let road = self.road.clone();
                self.waiting
                    .spawn(async move { road.answer_later(pending).await });
            }
        }
        true
    }

    /// Writes the replies of a query that has waited, and of others that have by now, as far as there is room.
    fn frame_finished(&mut self, done: Finished<R>) {
        let mut next = Some(done);
        while let Some(done) = next {
            if let Ok(ready) = done {
                self.road.finish(ready, &mut self.reply);
                push_framed(&mut self.unsent, &self.reply);
            }
            let has_room = self.unsent.len() < UNSENT_OCTETS_MAX;
            next = has_room.then(|| self.waiting.try_join_next()).flatten();
        }
    }

    /// Writes what is ready, in one go. A client that does not read for as long as one may be idle is given up,
    /// and at once when it has to make room.
    async fn write(&mut self) -> io::Result<()> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let patience = self.taken.clients.limits.idle;
        // Whoever lets us wait is not busy, whatever we have to tell him yet.
        self.taken.seat.is_busy.store(false, Relaxed);
        tokio::select! {
            biased;
            () = self.taken.seat.leave.notified() => return Err(io::ErrorKind::TimedOut.into()),
            written = timeout(patience, self.stream.write_all(&self.unsent)) => written??,
        }
        self.taken
            .seat
            .is_busy
            .store(!self.waiting.is_empty(), Relaxed);
        self.unsent.clear();
        Ok(())
    }
}

fn push_framed(unsent: &mut Vec<u8>, reply: &[u8]) {
    debug_assert!(reply.len() <= MESSAGE_OCTETS_MAX);
    let len = u16::try_from(reply.len()).expect("the road keeps a reply within a message");
    unsent.extend_from_slice(&len.to_be_bytes());
    unsent.extend_from_slice(reply);
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        idle: Duration::from_secs(10),
        clients_max: 8,
    };

    fn sit_down(clients: &Arc<Clients>, address: [u8; 4], count: usize) -> Vec<Option<Taken>> {
        (0..count).map(|_| clients.sit(address.into())).collect()
    }

    fn has_to_leave(taken: &Taken) -> bool {
        !taken
            .clients
            .open
            .lock()
            .expect("no panic")
            .contains_key(&taken.id)
    }

    #[tokio::test]
    async fn an_address_at_its_share_gives_up_its_own_oldest() {
        let clients = Arc::new(Clients::new(LIMITS, Arc::default()));
        let others = sit_down(&clients, [127, 0, 0, 1], 3);
        let seated = sit_down(&clients, [192, 0, 2, 1], 2);
        let third = clients.sit([192, 0, 2, 1].into());
        assert!(
            third.is_some(),
            "its share is a quarter, and one of them is idle"
        );
        let left =
            |all: &[Option<Taken>]| all.iter().flatten().filter(|it| has_to_leave(it)).count();
        assert_eq!((left(&others), left(&seated)), (0, 1));
    }

    /// Told to leave is not gone: until it is, it has its descriptor.
    #[tokio::test]
    async fn nobody_comes_in_while_many_are_leaving() {
        let clients = Arc::new(Clients::new(LIMITS, Arc::default()));
        let mut all = sit_down(&clients, [127, 0, 0, 1], 8 + LEAVING_MAX);
        assert!(all.iter().all(Option::is_some), "the idle make room");
        let mut waits = std::pin::pin!(clients.few_are_leaving());
        let moment = Duration::from_millis(10);
        assert!(timeout(moment, waits.as_mut()).await.is_err());
        all.pop();
        let let_in = timeout(Duration::from_secs(10), waits).await;
        assert!(let_in.is_ok(), "one has gone");
    }

    #[tokio::test]
    async fn most_of_the_busy_stay() {
        let clients = Arc::new(Clients::new(LIMITS, Arc::default()));
        let seated = sit_down(&clients, [127, 0, 0, 1], 8);
        let seat = |nth: usize| seated[nth].as_ref().expect("there is room for eight");
        (0..8).for_each(|nth| seat(nth).seat.is_busy.store(true, Relaxed));
        seat(5).seat.is_busy.store(false, Relaxed);
        let ninth = clients.sit([127, 0, 0, 1].into()).expect("one is idle");
        assert!(has_to_leave(seat(5)));
        // All are busy: six stay whatever comes, the rest make room one after the other.
        ninth.seat.is_busy.store(true, Relaxed);
        let tenth = clients.sit([127, 0, 0, 1].into()).expect("one leaves");
        let left = |nth: &usize| has_to_leave(seat(*nth));
        assert_eq!((0..8).filter(left).collect::<Vec<_>>(), [5, 7]);
        tenth.seat.is_busy.store(true, Relaxed);
        let eleventh = clients.sit([127, 0, 0, 1].into());
        assert!(eleventh.is_some() && has_to_leave(&ninth));
    }

    /// Who has just come in is idle until he has said something: he does not go before those who have long been waiting.
    #[tokio::test(start_paused = true)]
    async fn a_newcomer_among_the_busy_has_time_to_speak() {
        let clients = Arc::new(Clients::new(LIMITS, Arc::default()));
        let seated = sit_down(&clients, [127, 0, 0, 1], 8);
        let busy = seated.iter().flatten();
        busy.for_each(|it| it.seat.is_busy.store(true, Relaxed));
        tokio::time::advance(Duration::from_secs(1)).await;
        let newcomer = clients.sit([127, 0, 0, 1].into()).expect("one leaves");
        tokio::time::advance(Duration::from_secs(1)).await;
        let next = clients.sit([127, 0, 0, 1].into());
        assert!(next.is_some() && !has_to_leave(&newcomer));
    }

    #[tokio::test]
    async fn where_there_are_few_places_the_busy_stay() {
        let limits = Limits {
            clients_max: 2,
            ..LIMITS
        };
        let clients = Arc::new(Clients::new(limits, Arc::default()));
        let seated = sit_down(&clients, [127, 0, 0, 1], 2);
        let busy = seated.iter().flatten();
        busy.for_each(|it| it.seat.is_busy.store(true, Relaxed));
        assert!(clients.sit([127, 0, 0, 1].into()).is_none());
    }
}
