//! Clients take places at the same time and give them back.
//!
//! In every schedule: no more are taken than there are; one client, on however many threads he comes, leaves some to who
//! comes next; and when all have gone, all are free.

use std::net::IpAddr;
use std::thread;

use super::places::Places;

const PLACES: usize = 4;
const GREEDY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const MODEST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

/// One client takes on three threads whatever he gets, and another comes after him.
pub fn one_leaves_some_to_the_next() {
    let places = Places::new(PLACES);
    let threads = [0; 3].map(|_| {
        let places = places.clone();
        thread::spawn(move || [places.take(GREEDY), places.take(GREEDY)])
    });
    let held = threads.map(|thread| thread.join().expect("it ends"));
    let count = held.iter().flatten().flatten().count();
    assert_eq!(places.taken(), count);
    assert!(count < PLACES, "one client has all places");
    assert!(places.take(MODEST).is_some());
    drop(held);
    assert_eq!(places.taken(), 0);
    let again = [(); PLACES - 1].map(|()| places.take(GREEDY));
    assert!(
        again.iter().all(Option::is_some),
        "what he had is given back to his part as well"
    );
}
