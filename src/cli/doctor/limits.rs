//! What the system allows a resolver: inotify, descriptors, Landlock, an IPv6 loopback, a clock that is right.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::sys::inotify::{InitFlags, Inotify};
use nix::sys::resource::{Resource, getrlimit};

use super::Facts as All;
use super::finding::Finding;
use super::status::Daemon;
use crate::cli::run::DESCRIPTORS_WANTED;

/// Of a limit, in percent: so full, the next program may find nothing left.
const NEARLY_PERCENT: u64 = 90;
/// A file from further ahead than this was not written by a clock that merely drifts.
const CLOCK_SLACK: Duration = Duration::from_secs(60);

/// The limits as this user meets them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub instances: Usage,
    pub watches: Usage,
    /// What the kernel said when one was asked for.
    pub inotify_error: Option<String>,
    /// The hard limit.
    pub descriptors: Option<u64>,
    /// Whether the kernel lists it; none: the list cannot be read.
    pub landlock: Option<bool>,
    pub has_ipv6: bool,
    pub now: SystemTime,
}

/// How much of a limit is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub used: u64,
    /// None: not told.
    pub limit: Option<u64>,
}

impl Usage {
    fn is_nearly_full(self) -> bool {
        self.limit.is_some_and(|limit| {
            self.used.saturating_mul(100) >= limit.saturating_mul(NEARLY_PERCENT)
        })
    }

    fn words(self) -> String {
        let limit = self.limit.map_or("?".to_owned(), |it| it.to_string());
        format!("{} of {limit}", self.used)
    }
}

pub(super) fn gather() -> Facts {
    // Counted before one more is asked for.
    let (instances, watches) = inotify_in_use();
    Facts {
        instances: Usage {
            used: instances,
            limit: limit(&[
                "user/max_inotify_instances",
                "fs/inotify/max_user_instances",
            ]),
        },
        watches: Usage {
            used: watches,
            limit: limit(&["user/max_inotify_watches", "fs/inotify/max_user_watches"]),
        },
        inotify_error: Inotify::init(InitFlags::IN_CLOEXEC)
            .err()
            .map(|it| it.desc().to_owned()),
        descriptors: getrlimit(Resource::RLIMIT_NOFILE)
            .ok()
            .map(|(_, hard)| hard),
        landlock: fs::read_to_string("/sys/kernel/security/lsm")
            .ok()
            .map(|it| it.split(',').any(|lsm| lsm.trim() == "landlock")),
        has_ipv6: fs::read_to_string("/proc/net/if_inet6")
            .is_ok_and(|it| it.lines().any(|line| line.starts_with(IPV6_LOOPBACK))),
        now: SystemTime::now(),
    }
}

/// `::1` as the kernel prints it.
const IPV6_LOOPBACK: &str = "00000000000000000000000000000001 ";

/// The smaller of two sysctls: that of the user namespace, and that of the machine.
fn limit(names: &[&str]) -> Option<u64> {
    let texts = names
        .iter()
        .filter_map(|it| fs::read_to_string(format!("/proc/sys/{it}")).ok());
    texts.filter_map(|it| it.trim().parse().ok()).min()
}

/// The inotify instances and watches of this user's processes, as far as they can be seen.
fn inotify_in_use() -> (u64, u64) {
    let me = nix::unistd::geteuid().as_raw();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mine = processes.filter(|it| it.metadata().is_ok_and(|meta| meta.uid() == me));
    mine.map(|it| inotify_of(&it.path()))
        .fold((0, 0), |(i, w), (instances, watches)| {
            (i + instances, w + watches)
        })
}

fn inotify_of(process: &Path) -> (u64, u64) {
    let descriptors = fs::read_dir(process.join("fd"))
        .into_iter()
        .flatten()
        .flatten();
    let inotify = descriptors.filter(|it| {
        fs::read_link(it.path()).is_ok_and(|link| link.as_os_str() == "anon_inode:inotify")
    });
    inotify.fold((0, 0), |(instances, watches), descriptor| {
        let info = process.join("fdinfo").join(descriptor.file_name());
        let info = fs::read_to_string(info).unwrap_or_default();
        let lines = info.lines().filter(|it| it.starts_with("inotify wd:"));
        (instances + 1, watches + lines.count() as u64)
    })
}

pub(super) fn judge(facts: &All) -> Vec<Finding> {
    let limits = &facts.limits;
    if facts.is_elsewhere() {
        return vec![of_clock(limits.now, None)];
    }
    let mut found = of_inotify(facts);
    found.extend(of_descriptors(limits.descriptors));
    found.push(of_landlock(limits.landlock));
    found.push(of_ipv6(facts));
    found.push(of_clock(limits.now, facts.policy.modified));
    found
}

fn of_inotify(facts: &All) -> Vec<Finding> {
    let Facts {
        instances,
        watches,
        inotify_error,
        ..
    } = &facts.limits;
    let polls = matches!(&facts.daemon, Daemon::Runs(status) if status.inotify.is_none());
    let raise = "sysctl -w fs.inotify.max_user_instances=512 fs.inotify.max_user_watches=524288";
    let every = facts.config.policy.poll_every;
    let mut found = Vec::new();
    if polls {
        let text = format!(
            "the running resolver has no inotify: it sees a change of the policy within {every:?}, by polling"
        );
        found.push(Finding::warn("inotify.polling", text).fix(raise));
    }
    let (used, limit) = (instances.words(), watches.words());
    found.push(match inotify_error {
        Some(error) => Finding::warn(
            "inotify.exhausted",
            format!("this user gets no inotify instance ({error}; {used} in use): a resolver started now polls"),
        )
        .fix(raise),
        None if instances.is_nearly_full() || watches.is_nearly_full() => Finding::warn(
            "inotify.nearly",
            format!("inotify is nearly used up for this user: {used} instances, {limit} watches"),
        )
        .fix(raise),
        None => Finding::ok(
            "inotify.ok",
            format!("inotify for this user: {used} instances, {limit} watches"),
        ),
    });
    found
}

fn of_descriptors(limit: Option<u64>) -> Option<Finding> {
    let limit = limit?;
    Some(match limit < DESCRIPTORS_WANTED {
        true => Finding::warn(
            "descriptors.few",
            format!("a program started here may open {limit} files: with fewer than {DESCRIPTORS_WANTED}, queries may fail under load"),
        )
        .fix("LimitNOFILE=16384 in the unit, or ulimit -n 16384"),
        false => Finding::ok(
            "descriptors.ok",
            format!("a program started here may open {limit} files"),
        ),
    })
}

fn of_landlock(listed: Option<bool>) -> Finding {
    match listed {
        Some(true) => Finding::info(
            "landlock.active",
            "Landlock is among the kernel's active security modules",
        ),
        Some(false) => Finding::info(
            "landlock.absent",
            "Landlock is not among the kernel's active security modules: a program cannot confine itself",
        ),
        None => Finding::info(
            "landlock.unseen",
            "whether Landlock is active is not visible: /sys/kernel/security/lsm cannot be read",
        ),
    }
}

fn of_ipv6(facts: &All) -> Finding {
    let listens = facts.listen().iter().any(std::net::SocketAddr::is_ipv6);
    match (facts.limits.has_ipv6, listens) {
        (true, _) => Finding::ok("ipv6.loopback", "there is an IPv6 loopback, ::1"),
        (false, true) => Finding::info(
            "ipv6.absent",
            "there is no IPv6 loopback: namegate listens on IPv4 alone",
        ),
        (false, false) => Finding::info("ipv6.absent", "there is no IPv6 loopback"),
    }
}

fn of_clock(now: SystemTime, modified: Option<SystemTime>) -> Finding {
    let said = humantime::format_rfc3339_seconds(now);
    match modified.filter(|it| *it > now + CLOCK_SLACK) {
        Some(modified) => Finding::warn(
            "clock.behind",
            format!(
                "the clock says {said}, and the policy was written at {}: logs and certificates go by the wrong time",
                humantime::format_rfc3339_seconds(modified)
            ),
        )
        .fix("set the clock, or run a time service"),
        None => Finding::info("clock.now", format!("the clock says {said}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::tests::{check, healthy};

    const WELL: [&str; 5] = [
        "ok inotify.ok",
        "ok descriptors.ok",
        "info landlock.active",
        "ok ipv6.loopback",
        "info clock.now",
    ];

    /// With one thing changed, one finding changes.
    #[track_caller]
    fn with(change: impl FnOnce(&mut Facts), at: usize, expected: &str) {
        let mut facts = healthy();
        change(&mut facts.limits);
        let mut all = WELL;
        all[at] = expected;
        check(judge, &facts, &all);
    }

    #[test]
    fn a_usual_machine_is_well() {
        check(judge, &healthy(), &WELL);
    }

    #[test]
    fn inotify_that_is_used_up_or_nearly() {
        let error = |it: &mut Facts| it.inotify_error = Some("too many".to_owned());
        with(error, 0, "warn inotify.exhausted");
        let nearly = |used| move |it: &mut Facts| it.instances.used = used;
        with(nearly(115), 0, "ok inotify.ok");
        with(nearly(116), 0, "warn inotify.nearly");
        let watches = |it: &mut Facts| it.watches.limit = Some(1);
        with(watches, 0, "warn inotify.nearly");
        with(|it| it.watches.limit = None, 0, "ok inotify.ok");
    }

    #[test]
    fn a_resolver_that_polls_is_told() {
        let mut facts = healthy();
        let Daemon::Runs(status) = &mut facts.daemon else {
            unreachable!("it runs")
        };
        status.inotify = None;
        assert_eq!(judge(&facts)[0].id, "inotify.polling");
    }

    #[test]
    fn few_descriptors_no_landlock_no_ipv6() {
        with(|it| it.descriptors = Some(1024), 1, "warn descriptors.few");
        with(|it| it.landlock = Some(false), 2, "info landlock.absent");
        with(|it| it.landlock = None, 2, "info landlock.unseen");
        with(|it| it.has_ipv6 = false, 3, "info ipv6.absent");
    }

    #[test]
    fn a_clock_before_the_policy_is_wrong() {
        let mut facts = healthy();
        facts.policy.modified = Some(facts.limits.now + 2 * CLOCK_SLACK);
        assert_eq!(judge(&facts)[4].id, "clock.behind");
    }

    #[test]
    fn an_instance_and_a_watch_of_ours_are_counted() {
        let inotify = Inotify::init(InitFlags::empty()).expect("an instance");
        let flags = nix::sys::inotify::AddWatchFlags::IN_MODIFY;
        inotify.add_watch("/", flags).expect("a watch");
        let (instances, watches) = inotify_of(Path::new("/proc/self"));
        assert!(instances >= 1 && watches >= 1, "{instances} {watches}");
    }
}
