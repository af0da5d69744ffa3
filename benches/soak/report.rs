//! What came of it, in words and tables.

use std::fmt;
use std::time::Duration;

use super::client::Tally;
use super::judge::Kind;
use super::log::Logged;
use super::policies::{LARGE, LARGEST};
use super::program::Sample;
use super::question::Sort;

/// Fewer queries than this are no time in which anything can be seen to grow.
const QUERIES_TO_GROW: u64 = 1_000_000;
/// What the last quarter may hold more than the second: a twentieth, and so much.
const RESIDENT_SLACK_KIB: u64 = 8 << 10;
/// A thread more that asks upstream has 16 ports, and as many that are given up and not yet closed; threads for what
/// waits come and go.
const DESCRIPTORS_SLACK: u64 = 32;
const THREADS_SLACK: u64 = 8;
/// Rows of the table over time.
const ROWS: usize = 20;

/// One replacement.
pub struct Change {
    pub(super) version: u32,
    /// From the rename to the first reply by it.
    pub(super) took: Duration,
    /// What the program held just before it, with the policy before.
    pub(super) before: Sample,
}

/// Everything that was found.
pub struct Report {
    pub(super) sizes: Vec<usize>,
    pub(super) replacements: u32,
    /// As many queries were asked as were to be.
    pub(super) is_whole: bool,
    pub(super) tally: Tally,
    pub(super) changes: Vec<Change>,
    pub(super) samples: Vec<(Duration, u32, Sample)>,
    pub(super) logged: Logged,
    pub(super) log_dropped: u64,
    /// Replies, as the metrics have it, and records of the log.
    pub(super) counted: u64,
    pub(super) to_be_logged: u64,
    pub(super) probes: u64,
    pub(super) cache_hits: u64,
    pub(super) upstream_answered: u64,
    pub(super) times_away: usize,
    pub(super) errors: Vec<String>,
    pub(super) ended_well: bool,
    pub(super) took: Duration,
}

/// Medians of each quarter, for policies of one size. The first is the warm-up; the last is set beside the second.
struct Growth {
    size: usize,
    samples: [usize; 4],
    resident_kib: [u64; 4],
    descriptors: [u64; 4],
    threads: [u64; 4],
}

impl Growth {
    fn is_flat(&self) -> bool {
        let within = |it: [u64; 4], slack: u64| it[3] <= it[1] + slack;
        let a_twentieth = self.resident_kib[1] / 20;
        within(self.resident_kib, a_twentieth + RESIDENT_SLACK_KIB)
            && within(self.descriptors, DESCRIPTORS_SLACK)
            && within(self.threads, THREADS_SLACK)
    }
}

impl Report {
    /// Nothing was lost, wrong or grown.
    pub fn is_good(&self) -> bool {
        self.faults().is_empty()
    }

    fn answered(&self) -> u64 {
        self.tally.answered.iter().sum()
    }

    fn size(&self, version: u32) -> usize {
        (version as usize)
            .checked_sub(1)
            .map_or(0, |it| self.sizes[it])
    }

    /// In a sentence each.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut fault = |is_fault: bool, text: String| faults.extend(is_fault.then_some(text));
        let Tally { lost, wrong, .. } = self.tally;
        fault(lost > 0, format!("{lost} queries were lost"));
        fault(wrong > 0, format!("{wrong} replies were wrong"));
        fault(
            self.logged.wrong > 0,
            format!("{} faults in the query log", self.logged.wrong),
        );
        let done = self.changes.len();
        fault(
            done < self.replacements as usize,
            format!(
                "only {done} of {} replacements were made",
                self.replacements
            ),
        );
        fault(
            !self.is_whole,
            "there was no time for all queries".to_owned(),
        );
        let (logged, wanted) = (self.logged(), self.to_be_logged);
        fault(
            logged != wanted,
            format!("{logged} records logged or counted as dropped, not {wanted}"),
        );
        let others = self.counted.checked_sub(self.answered());
        let is_counted = others.is_some_and(|it| it <= self.probes);
        fault(
            !is_counted,
            format!("the metrics count {} replies", self.counted),
        );
        fault(!self.ended_well, "the program did not end well".to_owned());
        fault(
            !self.errors.is_empty(),
            "its own log has warnings".to_owned(),
        );
        let growths = self.growths();
        let grown = growths.iter().filter(|it| !it.is_flat());
        faults.extend(grown.map(|it| format!("it has grown, with policies of {} names", it.size)));
        faults.extend(
            self.void()
                .map(|it| format!("no {it:?} question was asked and answered")),
        );
        faults
    }

    /// Records of the log, and those that were dropped, but for the last, that of the end.
    fn logged(&self) -> u64 {
        let events = self.logged.events.iter().filter(|it| it.0 != "stop");
        let events: u64 = events.map(|it| it.1).sum();
        self.logged.queries.iter().sum::<u64>() + events + self.log_dropped
    }

    /// Sorts of which there was nothing.
    fn void(&self) -> impl Iterator<Item = Sort> {
        let counts = Sort::ALL.iter().zip(self.tally.counts);
        counts
            .filter(|(_, row)| row.iter().sum::<u64>() == 0)
            .map(|it| *it.0)
    }

    fn growths(&self) -> Vec<Growth> {
        if self.answered() < QUERIES_TO_GROW {
            return Vec::new();
        }
        let mut sizes = self.sizes.clone();
        sizes.sort_unstable();
        sizes.dedup();
        sizes.into_iter().filter_map(|it| self.growth(it)).collect()
    }

    /// Of one size; none where there are too few samples.
    fn growth(&self, size: usize) -> Option<Growth> {
        let quarter = self.changes.len().div_ceil(4).max(1);
        let sorted = |part: &[Change], value: fn(&Sample) -> u64| {
            let is_of_size = |it: &&Change| self.size(it.version - 1) == size;
            let of_size = part.iter().filter(is_of_size);
            let mut values: Vec<u64> = of_size.map(|it| value(&it.before)).collect();
            values.sort_unstable();
            values
        };
        let quarters: Vec<&[Change]> = self.changes.chunks(quarter).collect();
        let quarters: [&[Change]; 4] = quarters.try_into().ok()?;
        let medians = |value: fn(&Sample) -> u64| quarters.map(|it| median(&sorted(it, value)));
        let samples = quarters.map(|it| sorted(it, |_| 0).len());
        let enough = if size >= LARGE { 2 } else { 3 };
        let is_enough = samples[1] >= enough && samples[3] >= enough;
        is_enough.then(|| Growth {
            size,
            samples,
            resident_kib: medians(|it| it.resident_kib),
            descriptors: medians(|it| it.descriptors),
            threads: medians(|it| it.threads),
        })
    }
}

fn median(sorted: &[u64]) -> u64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.queries(f)?;
        self.replaced(f)?;
        self.log(f)?;
        self.over_time(f)?;
        self.grown(f)?;
        let faults = self.faults();
        for fault in self
            .tally
            .faults
            .iter()
            .chain(&self.logged.faults)
            .chain(self.errors.iter().take(10))
        {
            writeln!(f, "- {fault}")?;
        }
        match faults.is_empty() {
            true => writeln!(f, "\nlost 0, wrong 0, grown 0: good"),
            false => writeln!(f, "\nBAD: {}", faults.join("; ")),
        }
    }
}

impl Report {
    fn queries(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally {
            asked,
            answered,
            lost,
            wrong,
            open,
            connections,
            slowest,
            ..
        } = &self.tally;
        let (all, seconds) = (self.answered(), self.took.as_secs_f64());
        writeln!(f, "{} processors, {}", processors(), kernel())?;
        writeln!(
            f,
            "{all} queries answered in {seconds:.0} s, {:.0} a second",
            all as f64 / seconds
        )?;
        writeln!(
            f,
            "UDP {} asked, {} answered; TCP {} asked, {} answered, {connections} connections",
            asked[0], answered[0], asked[1], answered[1]
        )?;
        writeln!(
            f,
            "lost {lost}, wrong {wrong}, slowest {:.0} ms",
            slowest.as_secs_f64() * 1e3
        )?;
        writeln!(
            f,
            "one version alone could have judged it: {:.2} %",
            100.0 * (1.0 - *open as f64 / all as f64)
        )?;
        writeln!(
            f,
            "upstream answered {}, was away {} times; cache hits {}",
            self.upstream_answered, self.times_away, self.cache_hits
        )?;
        write!(f, "\n{:<10}", "sort")?;
        Kind::ALL
            .iter()
            .try_for_each(|kind| write!(f, "{:>11}", format!("{kind:?}")))?;
        for (sort, row) in Sort::ALL.iter().zip(&self.tally.counts) {
            write!(f, "\n{:<10}", format!("{sort:?}"))?;
            row.iter().try_for_each(|count| write!(f, "{count:>11}"))?;
        }
        writeln!(f)
    }

    fn replaced(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{} replacements; from the rename to the first reply by the new policy:",
            self.changes.len()
        )?;
        writeln!(
            f,
            "{:>9} {:>13} {:>11} {:>11}",
            "names", "replacements", "median ms", "worst ms"
        )?;
        let mut sizes = self.sizes.clone();
        sizes.sort_unstable();
        sizes.dedup();
        for size in sizes {
            let of_size = self
                .changes
                .iter()
                .filter(|it| self.size(it.version) == size);
            let mut took: Vec<u64> = of_size
                .map(|it| u64::try_from(it.took.as_micros()).unwrap_or(u64::MAX))
                .collect();
            took.sort_unstable();
            let ms = |us: u64| us as f64 / 1e3;
            let worst = took.last().copied().unwrap_or(0);
            writeln!(
                f,
                "{size:>9} {:>13} {:>11.1} {:>11.1}",
                took.len(),
                ms(median(&took)),
                ms(worst)
            )?;
        }
        Ok(())
    }

    fn log(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Logged {
            files,
            octets,
            queries,
            judged,
            nameless,
            events,
            ..
        } = &self.logged;
        writeln!(
            f,
            "\nquery log: {files} files, {} MB; {} records over UDP, {} over TCP, {} dropped and counted",
            octets / 1_000_000,
            queries[0],
            queries[1],
            self.log_dropped
        )?;
        writeln!(
            f,
            "{} queries answered, {} by the metrics; {judged} verdicts held against their generation, {nameless} of them of a policy that was replaced twice by then; other records {events:?}",
            self.answered(),
            self.counted
        )
    }

    fn over_time(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{:>7} {:>9} {:>9} {:>12} {:>12} {:>8}",
            "second", "version", "names", "resident MiB", "descriptors", "threads"
        )?;
        let step = self.samples.len().div_ceil(ROWS).max(1);
        for (at, version, sample) in self.samples.iter().step_by(step) {
            let Sample {
                resident_kib,
                descriptors,
                threads,
                ..
            } = sample;
            writeln!(
                f,
                "{:>7} {version:>9} {:>9} {:>12} {descriptors:>12} {threads:>8}",
                at.as_secs(),
                self.size(*version),
                resident_kib >> 10
            )?;
        }
        let last = self.samples.last().map_or(0, |it| it.2.highest_kib);
        let small = self
            .changes
            .iter()
            .filter(|it| self.size(it.version - 1) < LARGEST);
        let small = small.map(|it| it.before.resident_kib).max().unwrap_or(0);
        writeln!(
            f,
            "peak {} MiB, with a policy below {LARGEST} names in force {} MiB",
            last >> 10,
            small >> 10
        )
    }

    fn grown(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.answered() < QUERIES_TO_GROW {
            return writeln!(f, "too short to see whether anything grows");
        }
        writeln!(
            f,
            "\nmedians before each replacement, by quarters; from the second to the last may grow 5 % and {} MiB, {DESCRIPTORS_SLACK} descriptors, {THREADS_SLACK} threads:",
            RESIDENT_SLACK_KIB >> 10
        )?;
        writeln!(
            f,
            "{:>9} {:>16} {:>24} {:>18} {:>14}",
            "names", "samples", "resident MiB", "descriptors", "threads"
        )?;
        for it in self.growths() {
            let row = |it: [u64; 4]| it.map(|it| it.to_string()).join(" ");
            let mib = it
                .resident_kib
                .map(|it| format!("{:.1}", it as f64 / 1024.0));
            writeln!(
                f,
                "{:>9} {:>16} {:>24} {:>18} {:>14}",
                it.size,
                row(it.samples.map(|it| it as u64)),
                mib.join(" "),
                row(it.descriptors),
                row(it.threads)
            )?;
        }
        Ok(())
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(0, Into::into)
}

fn kernel() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("Linux {}", release.trim_end())
}
