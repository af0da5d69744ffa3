//! When to look at the file, and when to believe what was read.
//!
//! A pure state machine. [`Pace::hear`] takes what an event says, [`Pace::due`]
//! tells when the next look is, and [`Pace::saw`] takes what a look found and
//! says whether to tell it. It reads no clock and no file: `now` is an argument.

use std::io;
use std::time::{Duration, Instant};

/// How long events may postpone a judgement. After it, reads alone decide.
const LIMIT: Duration = Duration::from_secs(1);

/// When a content that is no good is read again: a write in place is over by then, or it hangs.
const RETRIES: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(900),
];

/// The least pause between two looks: a burst of events costs one look, not one each.
const REST_MIN: Duration = Duration::from_millis(20);

/// A digest of a content.
pub(super) type Sum = [u8; 32];

/// What a look found, as far as one can be told from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// A content.
    Content(Sum),
    /// No file.
    Missing,
    /// A file that cannot be read.
    Unreadable(io::ErrorKind),
}

/// What an event says about the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    /// A write is complete: closed, or moved into place.
    Whole,
    /// Something was written or taken away, and there may be more to come.
    Partial,
    /// Something else happened near by.
    Elsewhere,
}

/// What to do about a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Step {
    /// Nothing: it is known, or not yet believed.
    Hold,
    /// Tell what was found.
    Tell,
}

/// When a look began and when it ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// Before the file was opened.
    pub(super) began: Instant,
    /// After its last octet was read.
    pub(super) ended: Instant,
}

/// The state machine.
#[derive(Debug)]
pub(super) struct Pace {
    settle: Duration,
    poll_every: Duration,
    /// What was told last.
    told: Option<Key>,
    /// Somebody waits for an answer, whatever it is.
    owed: bool,
    poll_at: Instant,
    /// No look before.
    rest_until: Instant,
    affair: Option<Affair>,
}

/// A change that was noticed and is not yet judged.
#[derive(Debug)]
struct Affair {
    noticed: Instant,
    /// The last thing heard was that a write is complete.
    whole: bool,
    /// Something was heard since the look began.
    disturbed: bool,
    seen: Option<Seen>,
    due: Instant,
}

/// What the last look found, and since when every look found just that.
#[derive(Clone, Copy, Debug)]
struct Seen {
    key: Key,
    since: Instant,
}

impl Pace {
    /// Nothing is known yet; the first poll is due at once.
    pub(super) fn new(settle: Duration, poll_every: Duration, now: Instant) -> Self {
        Self {
            settle,
            poll_every,
            told: None,
            owed: false,
            poll_at: now,
            rest_until: now,
            affair: None,
        }
    }

    /// When to look next.
    pub(super) fn due(&self) -> Instant {
        let wanted = self.affair.as_ref().map_or(self.poll_at, |it| it.due);
        wanted.max(self.rest_until)
    }

    /// When the change that is being looked into was noticed.
    pub(super) fn noticed(&self) -> Option<Instant> {
        self.affair.as_ref().map(|it| it.noticed)
    }

    /// Takes what an event says.
    pub(super) fn hear(&mut self, hint: Hint, now: Instant) {
        match hint {
            Hint::Elsewhere => self.poll_at = self.poll_at.min(now + self.settle),
            Hint::Partial => {
                let due = now + self.settle;
                self.affair(now).hear(false, due, now);
            }
            Hint::Whole => self.affair(now).hear(true, now, now),
        }
    }

    /// Asks for a look now, and for an answer even if there is no news.
    pub(super) fn poke(&mut self, now: Instant) {
        self.owed = true;
        self.hear(Hint::Whole, now);
    }

    /// A look begins: what is heard from here on disturbs it.
    pub(super) fn look(&mut self) {
        if let Some(affair) = &mut self.affair {
            affair.disturbed = false;
        }
    }

    /// Takes what a look found; `good` if it parses.
    pub(super) fn saw(&mut self, key: Key, good: bool, span: Span) -> Step {
        self.rest(span);
        if self.affair.as_ref().is_some_and(|it| it.disturbed) {
            return Step::Hold;
        }
        if self.told == Some(key) {
            self.affair = None;
            return if self.answer() {
                Step::Tell
            } else {
                Step::Hold
            };
        }
        let settle = self.settle;
        if !self.affair(span.began).believes(key, good, settle, span) {
            return Step::Hold;
        }
        self.tell(key);
        Step::Tell
    }

    /// Takes what was found by a look that is told without further ado.
    pub(super) fn tell(&mut self, key: Key) {
        self.told = Some(key);
        self.owed = false;
        self.affair = None;
    }

    /// At most half of a thread's time goes into looking, however large the file.
    pub(super) fn rest(&mut self, span: Span) {
        self.rest_until = span.ended + REST_MIN.max(span.ended - span.began);
        self.poll_at = span.ended + self.poll_every;
    }

    /// Is an answer owed? After this it no longer is.
    fn answer(&mut self) -> bool {
        std::mem::take(&mut self.owed)
    }

    fn affair(&mut self, now: Instant) -> &mut Affair {
        self.affair.get_or_insert(Affair {
            noticed: now,
            whole: false,
            disturbed: false,
            seen: None,
            due: now,
        })
    }
}

impl Affair {
    /// Begins anew, as long as events have a say.
    fn hear(&mut self, whole: bool, due: Instant, now: Instant) {
        let limit = self.noticed + LIMIT;
        if now >= limit {
            self.whole = false;
            self.due = self.due.min(due);
            return;
        }
        self.whole = whole;
        self.disturbed = true;
        self.seen = None;
        self.due = due.min(limit);
    }

    /// Is it time to tell this? If not, `due` is the time of the next look.
    fn believes(&mut self, key: Key, good: bool, settle: Duration, span: Span) -> bool {
        if good && self.whole && self.seen.is_none() {
            return true;
        }
        let same = self.seen.filter(|it| it.key == key);
        let since = same.map_or(span.ended, |it| it.since);
        self.seen = Some(Seen { key, since });
        let stood = span.began.saturating_duration_since(since);
        if same.is_some() && stood >= patience(good, settle) {
            return true;
        }
        let retry = RETRIES.into_iter().find(|it| !good && *it > stood);
        self.due = since + retry.unwrap_or(settle);
        false
    }
}

/// How long a content must have stood without a word that it is complete.
fn patience(good: bool, settle: Duration) -> Duration {
    match good {
        true => settle,
        false => settle.max(RETRIES[RETRIES.len() - 1]),
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Hint, Instant, Key, Pace, Span, Step};

    const OLD: Key = Key::Content([0; 32]);
    const NEW: Key = Key::Content([1; 32]);
    const HALF: Key = Key::Content([2; 32]);

    /// What happens in the world, in milliseconds from the start.
    enum Fact {
        Event(Hint),
        Poke,
        File(Key),
    }
    use Fact::{Event, File, Poke};
    use Hint::{Elsewhere, Partial, Whole};

    /// Plays the facts to a machine that was told OLD at 0, with settle 150 and poll_every 2000,
    /// and says what it told and when.
    fn play(facts: &[(u64, Fact)], until: u64) -> Vec<(u64, Key)> {
        play_slow(facts, until, 0).0
    }

    /// The same where a look lasts `look_ms`; and how many looks there were.
    fn play_slow(facts: &[(u64, Fact)], until: u64, look_ms: u64) -> (Vec<(u64, Key)>, usize) {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pace = Pace::new(
            Duration::from_millis(150),
            Duration::from_millis(2000),
            start,
        );
        pace.rest(Span {
            began: start,
            ended: start,
        });
        pace.tell(OLD);
        let (mut file, mut told, mut looks) = (OLD, Vec::new(), 0);
        let mut facts = facts.iter().peekable();
        let mut looking: Option<(u64, Key)> = None;
        for now in 1..until {
            while let Some((_, fact)) = facts.next_if(|(ms, _)| *ms <= now) {
                match fact {
                    Event(hint) => pace.hear(*hint, at(now)),
                    Poke => pace.poke(at(now)),
                    File(key) => file = *key,
                }
            }
            if looking.is_none() && pace.due() <= at(now) {
                pace.look();
                looks += 1;
                looking = Some((now, file));
            }
            if let Some((began, key)) = looking.filter(|(began, _)| began + look_ms <= now) {
                looking = None;
                let span = Span {
                    began: at(began),
                    ended: at(now),
                };
                if pace.saw(key, key == OLD || key == NEW, span) == Step::Tell {
                    told.push((now, key));
                }
            }
        }
        (told, looks)
    }

    #[test]
    fn a_closed_write_is_believed_at_once() {
        assert_eq!(
            play(&[(500, File(NEW)), (500, Event(Whole))], 5000),
            [(500, NEW)]
        );
    }

    #[test]
    fn a_burst_of_events_costs_one_look() {
        let burst = [
            (500, Event(Partial)),
            (500, Event(Partial)),
            (500, File(NEW)),
            (500, Event(Whole)),
        ];
        assert_eq!(play_slow(&burst, 2000, 0), (vec![(500, NEW)], 1));
    }

    #[test]
    fn a_write_that_is_not_closed_waits_for_quiet_and_two_equal_reads() {
        assert_eq!(
            play(&[(500, File(NEW)), (500, Event(Partial))], 5000),
            [(800, NEW)]
        );
    }

    #[test]
    fn a_difference_that_a_poll_finds_is_read_twice() {
        assert_eq!(play(&[(500, File(NEW))], 5000), [(2150, NEW)]);
    }

    #[test]
    fn what_changes_between_two_reads_is_not_believed() {
        let facts = [(500, File(NEW)), (2100, File(HALF)), (2200, File(NEW))];
        assert_eq!(play(&facts, 5000), [(2400, NEW)]);
    }

    #[test]
    fn half_a_write_in_place_is_never_told() {
        let facts = [
            (500, File(HALF)),
            (500, Event(Partial)),
            (600, File(NEW)),
            (600, Event(Partial)),
            (600, Event(Whole)),
        ];
        assert_eq!(play(&facts, 5000), [(600, NEW)]);
    }

    #[test]
    fn half_a_write_that_was_closed_has_900_ms_to_be_mended() {
        let facts = [
            (500, File(HALF)),
            (500, Event(Whole)),
            (1390, File(NEW)),
            (1390, Event(Whole)),
        ];
        assert_eq!(play(&facts, 5000), [(1390, NEW)]);
    }

    #[test]
    fn half_a_write_that_was_mended_without_an_event_is_found_by_a_retry() {
        let facts = [(500, File(HALF)), (500, Event(Whole)), (700, File(NEW))];
        assert_eq!(play(&facts, 5000), [(950, NEW)]);
    }

    #[test]
    fn what_does_not_parse_is_read_four_times_and_told_once() {
        let facts = [(500, File(HALF)), (500, Event(Whole))];
        assert_eq!(play_slow(&facts, 1500, 0), (vec![(1400, HALF)], 4));
        assert_eq!(play(&facts, 20_000), [(1400, HALF)]);
    }

    #[test]
    fn a_file_that_is_gone_for_a_moment_is_not_missing() {
        let facts = [
            (500, File(Key::Missing)),
            (500, Event(Partial)),
            (1000, File(OLD)),
            (1000, Event(Whole)),
        ];
        assert_eq!(play(&facts, 5000), []);
        assert_eq!(play(&facts[..2], 9000), [(1550, Key::Missing)]);
    }

    #[test]
    fn an_event_during_a_look_voids_it() {
        for hint in [Partial, Whole] {
            let facts = [
                (500, File(NEW)),
                (500, Event(Whole)),
                (505, File(OLD)),
                (505, Event(hint)),
            ];
            let (told, _) = play_slow(&facts, 1500, 10);
            assert_eq!(
                told,
                [],
                "{hint:?}: what was read from 500 on was overwritten at 505"
            );
        }
    }

    #[test]
    fn events_elsewhere_hold_nothing_up_and_bring_the_poll_nearer() {
        let noise = (300..900).map(|ms| (ms, Event(Elsewhere)));
        let first = [(100, File(NEW)), (100, Event(Elsewhere))];
        let facts: Vec<_> = first.into_iter().chain(noise).collect();
        assert_eq!(play(&facts, 5000), [(400, NEW)]);
    }

    #[test]
    fn an_event_elsewhere_does_not_undo_a_closed_write() {
        let facts = [
            (500, File(NEW)),
            (500, Event(Whole)),
            (500, Event(Elsewhere)),
        ];
        assert_eq!(play(&facts, 5000), [(500, NEW)]);
    }

    #[test]
    fn events_cannot_put_off_a_judgement_for_ever() {
        for hint in [Partial, Whole] {
            let flood = (500..5000).map(|ms| (ms, Event(hint)));
            let facts: Vec<_> = [(500, File(NEW))].into_iter().chain(flood).collect();
            let (told, looks) = play_slow(&facts, 5000, 10);
            let (when, key) = told[0];
            assert!(key == NEW && when < 500 + 1500, "{hint:?}: {told:?}");
            assert!(looks < 5000 / 20, "{hint:?}: {looks} looks");
        }
    }

    #[test]
    fn a_flood_about_a_file_in_flux_tells_no_half() {
        let facts: Vec<_> = (500..4000)
            .step_by(50)
            .zip(3..)
            .flat_map(|(ms, octet)| [(ms, File(Key::Content([octet; 32]))), (ms, Event(Partial))])
            .chain([(4000, File(NEW)), (4000, Event(Whole))])
            .collect();
        let told = play(&facts, 6000);
        assert!(matches!(told[..], [(4000..4200, NEW)]), "{told:?}");
    }

    #[test]
    fn a_poke_is_answered_although_nothing_changed() {
        assert_eq!(play(&[(500, Poke)], 5000), [(500, OLD)]);
    }

    #[test]
    fn a_poke_about_what_was_rejected_is_answered_at_once() {
        let facts = [(500, File(HALF)), (500, Event(Whole)), (1600, Poke)];
        assert_eq!(play(&facts, 5000), [(1400, HALF), (1600, HALF)]);
    }

    #[test]
    fn the_old_content_after_a_bad_one_is_news() {
        let facts = [
            (500, File(HALF)),
            (500, Event(Whole)),
            (2000, File(OLD)),
            (2000, Event(Whole)),
        ];
        assert_eq!(play(&facts, 5000), [(1400, HALF), (2000, OLD)]);
    }

    #[test]
    fn looking_takes_at_most_half_of_the_time() {
        let flood: Vec<_> = (1..9000).map(|ms| (ms, Event(Whole))).collect();
        let (_, looks) = play_slow(&flood, 9000, 300);
        assert!(looks <= 15, "{looks} looks of 300 ms in 9 s");
    }
}
