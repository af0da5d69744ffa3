//! The most that a resolver takes of the machine while something goes on.

use std::thread;
use std::time::Duration;

use super::house::House;

/// What was taken at most while something went on.
pub(crate) struct Peak {
    pub(crate) octets: usize,
    pub(crate) descriptors: usize,
}

impl Peak {
    /// Does the work, and looks now and then.
    pub(crate) fn during<T: Send>(house: &House, work: impl FnOnce() -> T + Send) -> (T, Self) {
        let mut peak = Self {
            octets: 0,
            descriptors: 0,
        };
        let done = thread::scope(|scope| {
            let working = scope.spawn(work);
            while !working.is_finished() {
                peak.octets = peak.octets.max(house.octets());
                peak.descriptors = peak.descriptors.max(house.descriptors());
                thread::sleep(Duration::from_millis(20));
            }
            working.join().expect("a flood does not panic")
        });
        (done, peak)
    }
}
