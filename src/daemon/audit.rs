//! Audit mode: for a while the policy is asked and not obeyed. The end comes by itself.
//!
//! The configuration's end comes in; whether an audit goes on, and for how long, goes out. Nothing prolongs it: not a
//! restart, for the end is a point in time; not a clock that is set back, for the machine's own counts beside it, in
//! its sleep too; and what is over stays over. In doubt the policy is enforced.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};
use tokio::time::{sleep, timeout};

use super::reload::tell_mode;
use super::road::Road;
use crate::config::{self, Mode};

/// How often the log says that an audit goes on.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// A timer does not run while the machine sleeps: whoever waits for the end looks this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Whether an audit goes on.
pub struct Audit {
    /// When it ends, or has ended; none: there was none.
    until: Option<SystemTime>,
    /// How long that is; zero: it is over.
    left: Box<dyn Fn() -> Duration + Send + Sync>,
    is_over: AtomicBool,
}

impl Audit {
    /// There is none: the policy is enforced.
    pub fn none() -> Self {
        Self {
            until: None,
            left: Box::new(|| Duration::ZERO),
            is_over: AtomicBool::new(true),
        }
    }

    /// What the configuration says, by the machine's clocks.
    pub fn of(policy: &config::Policy) -> Self {
        let until = policy.audit_until.filter(|_| policy.mode == Mode::Audit);
        let Some(until) = until else {
            return Self::none();
        };
        let left = move || until.duration_since(SystemTime::now()).unwrap_or_default();
        let (at_first, began) = (left(), awake_and_asleep());
        Self::lasting(until, move || {
            let gone = awake_and_asleep()
                .zip(began)
                .and_then(|(now, began)| now.checked_sub(began));
            gone.map_or(Duration::ZERO, |gone| at_first.saturating_sub(gone))
                .min(left())
        })
    }

    /// One that ends `until` then, which is as far away as `left` says when asked.
    pub fn lasting(until: SystemTime, left: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        let audit = Self {
            until: Some(until),
            left: Box::new(left),
            is_over: AtomicBool::new(false),
        };
        audit.is_on();
        audit
    }

    /// Does it go on? Where none does, this costs a load.
    #[inline]
    pub fn is_on(&self) -> bool {
        !self.is_over.load(Relaxed) && self.look().is_some()
    }

    /// What becomes of names that the policy does not allow.
    pub fn mode(&self) -> Mode {
        if self.is_on() {
            Mode::Audit
        } else {
            Mode::Enforce
        }
    }

    /// How long it goes on; none: it does not.
    pub fn left(&self) -> Option<Duration> {
        if self.is_over.load(Relaxed) {
            return None;
        }
        self.look()
    }

    /// When it ends, or has ended; none: there was none.
    pub fn until(&self) -> Option<SystemTime> {
        self.until
    }

    /// Looks at the clock; what is over stays over.
    #[cold]
    fn look(&self) -> Option<Duration> {
        let left = (self.left)();
        self.is_over.fetch_or(left.is_zero(), Relaxed);
        (!left.is_zero()).then_some(left)
    }

    /// Has told what is left now, after each minute, and at the end that it is nothing.
    async fn tell_each_minute(&self, tell: impl Fn(Option<Duration>)) {
        while let Some(left) = self.left() {
            tell(Some(left));
            let _ = timeout(TELL_EVERY, self.over()).await;
        }
        tell(None);
    }

    /// Waits for the end.
    pub(super) async fn over(&self) {
        while let Some(left) = self.left() {
            sleep(left.min(LOOK_EVERY)).await;
        }
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit")
            .field("until", &self.until)
            .field("left", &self.left())
            .finish_non_exhaustive()
    }
}

/// Since the machine was started.
fn awake_and_asleep() -> Option<Duration> {
    clock_gettime(ClockId::CLOCK_BOOTTIME)
        .ok()
        .map(Duration::from)
}

/// Says in the log and to the supervisor that an audit goes on, again and again, and that it is over.
pub(super) async fn announce(road: Arc<Road>) {
    let audit = road.audit();
    let Some(until) = audit.until() else {
        return;
    };
    let until = humantime::format_rfc3339_seconds(until);
    let tell = |left: Option<Duration>| {
        match left.map(in_words) {
            Some(left) => tracing::warn!(
                %until,
                %left,
                "audit mode: names that the policy does not allow resolve, and are counted"
            ),
            None => tracing::warn!(%until, "audit mode is over: the policy is enforced"),
        }
        tell_mode(&road);
    };
    audit.tell_each_minute(tell).await;
}

/// To the second, upwards: what goes on is never 0s.
pub(super) fn in_words(time: Duration) -> String {
    let whole_s = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    humantime::format_duration(Duration::from_secs(whole_s)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const SECOND: Duration = Duration::from_secs(1);

    fn policy(mode: Mode, until: Option<SystemTime>) -> config::Policy {
        config::Policy {
            mode,
            audit_until: until,
            ..Config::default().policy
        }
    }

    /// An audit in the runtime's time.
    fn audit(time: Duration) -> Audit {
        let ends = tokio::time::Instant::now() + time;
        Audit::lasting(SystemTime::UNIX_EPOCH, move || {
            ends.saturating_duration_since(tokio::time::Instant::now())
        })
    }

    #[test]
    fn only_an_audit_that_has_an_end_to_come_goes_on() {
        let now = SystemTime::now();
        for (mode, until, expected) in [
            (Mode::Enforce, None, Mode::Enforce),
            (Mode::Enforce, Some(now + 60 * SECOND), Mode::Enforce),
            (Mode::Audit, None, Mode::Enforce),
            (Mode::Audit, Some(now - SECOND), Mode::Enforce),
            (Mode::Audit, Some(now + 60 * SECOND), Mode::Audit),
        ] {
            let audit = Audit::of(&policy(mode, until));
            assert_eq!(audit.mode(), expected, "{mode:?} {until:?}");
            assert_eq!(audit.left().is_some(), expected == Mode::Audit);
            assert!(audit.left().is_none_or(|left| left <= 60 * SECOND));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_by_itself() {
        let audit = audit(60 * SECOND);
        sleep(59 * SECOND).await;
        assert_eq!(audit.left(), Some(SECOND));
        assert!(audit.is_on());
        audit.over().await;
        assert!(!audit.is_on());
        assert_eq!((audit.left(), audit.mode()), (None, Mode::Enforce));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_the_end_wakes_at_it() {
        let (audit, began) = (audit(60 * SECOND), tokio::time::Instant::now());
        audit.over().await;
        assert_eq!(began.elapsed(), 60 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn each_minute_is_told_and_the_end() {
        let told = std::sync::Mutex::new(Vec::new());
        let tell = |left| told.lock().expect("nobody panics").push(left);
        audit(150 * SECOND).tell_each_minute(tell).await;
        let expected = [Some(150), Some(90), Some(30), None];
        let told = told.into_inner().expect("nobody panics");
        assert_eq!(told, expected.map(|left| left.map(Duration::from_secs)));
    }

    #[test]
    fn what_is_over_stays_over_whatever_the_clock_says() {
        let left = Arc::new(std::sync::Mutex::new(SECOND));
        let clock = left.clone();
        let audit = Audit::lasting(SystemTime::now(), move || {
            *clock.lock().expect("nobody panics")
        });
        assert!(audit.is_on());
        *left.lock().expect("nobody panics") = Duration::ZERO;
        assert!(!audit.is_on());
        *left.lock().expect("nobody panics") = 60 * SECOND;
        assert!(!audit.is_on() && audit.left().is_none());
    }

    #[test]
    fn the_machines_clock_runs() {
        let began = awake_and_asleep().expect("Linux has it");
        std::thread::sleep(Duration::from_millis(2));
        assert!(awake_and_asleep() > Some(began));
    }

    #[test]
    fn time_that_is_left_is_told_in_whole_seconds() {
        assert_eq!(in_words(Duration::from_millis(7_199_001)), "2h");
        assert_eq!(in_words(Duration::from_millis(1)), "1s");
    }
}
