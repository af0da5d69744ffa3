//! `/etc/resolv.conf`: whom programs ask, in which order, and with which suffixes.

use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::Facts;
use super::finding::Finding;

pub(super) const PATH: &str = "/etc/resolv.conf";
/// glibc takes so many and ignores the rest (resolv.h, MAXNS).
const NAMESERVERS_MAX: usize = 3;
/// namegate answers within 4 s; whoever waits less gives up on answers that are on their way.
const TIMEOUT_S: u32 = 5;
/// Who writes the file, by the words they leave in it or the place that it links to.
const KEEPERS: [(&str, &str); 4] = [
    ("systemd/resolve", "systemd-resolved"),
    ("systemd-resolved", "systemd-resolved"),
    ("NetworkManager", "NetworkManager"),
    ("resolvconf", "resolvconf"),
];

/// The file as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum File {
    Missing,
    /// A link that leads nowhere.
    Dangling(PathBuf),
    Unreadable(String),
    Text {
        text: String,
        /// Where it leads, if it is a link.
        link: Option<PathBuf>,
    },
}

/// Reads the file.
pub(super) fn gather(path: &Path) -> File {
    let link = fs::read_link(path).ok();
    match (fs::read(path), link) {
        (Ok(text), link) => File::Text {
            text: String::from_utf8_lossy(&text).into_owned(),
            link,
        },
        (Err(error), Some(link)) if error.kind() == ErrorKind::NotFound => File::Dangling(link),
        (Err(error), None) if error.kind() == ErrorKind::NotFound => File::Missing,
        (Err(error), _) => File::Unreadable(error.to_string()),
    }
}

/// What the C library takes out of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ResolvConf {
    pub nameservers: Vec<IpAddr>,
    /// What stands after `nameserver` and is no address that can be asked from here.
    pub unread: Vec<String>,
    pub search: Vec<String>,
    options: Vec<String>,
}

impl ResolvConf {
    pub(super) fn of(file: &File) -> Self {
        match file {
            File::Text { text, .. } => Self::read(text),
            File::Missing | File::Dangling(_) | File::Unreadable(_) => Self::default(),
        }
    }

    fn read(text: &str) -> Self {
        let mut conf = Self::default();
        let is_said = |line: &&str| !line.starts_with(['#', ';']);
        for line in text.lines().filter(is_said) {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => conf.add(words.next().unwrap_or_default()),
                // The last of these two counts.
                Some("search") => conf.search = words.map(str::to_owned).collect(),
                Some("domain") => conf.search = words.take(1).map(str::to_owned).collect(),
                Some("options") => conf.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        conf
    }

    fn add(&mut self, word: &str) {
        match word.parse() {
            Ok(address) => self.nameservers.push(address),
            Err(_) => self.unread.push(word.to_owned()),
        }
    }

    /// `options NAME:N`.
    fn number(&self, name: &str) -> Option<u32> {
        let mut values = self.options.iter().filter_map(|it| it.strip_prefix(name));
        values.next_back()?.strip_prefix(':')?.parse().ok()
    }

    /// The one that programs ask first. The C libraries ask this machine when the file names none.
    pub(super) fn first(&self) -> IpAddr {
        let default = IpAddr::from([127, 0, 0, 1]);
        self.nameservers.first().copied().unwrap_or(default)
    }

    /// Those asked when the first one fails, or at the same time.
    pub(super) fn others(&self) -> impl Iterator<Item = IpAddr> {
        let rest = self.nameservers.iter().copied().skip(1);
        rest.filter(|it| *it != self.first())
    }
}

/// The line that programs should find.
pub(super) fn line(facts: &Facts) -> String {
    let at_53 = facts.namegate_at_53();
    format!(
        "nameserver {}",
        at_53.unwrap_or(IpAddr::from([127, 0, 0, 1]))
    )
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let conf = ResolvConf::of(&facts.resolv);
    let mut found = Vec::new();
    found.extend(of_file(facts, &conf));
    found.extend(of_count(facts, &conf));
    found.extend(of_unread(&conf));
    found.extend(of_search(&conf));
    found.extend(of_options(&conf));
    found.extend(of_keeper(&facts.resolv));
    found
}

fn of_file(facts: &Facts, conf: &ResolvConf) -> Option<Finding> {
    let write = format!("echo '{}' > {PATH}", line(facts));
    let default = format!("programs ask {} by default", conf.first());
    match &facts.resolv {
        File::Missing => Some(
            Finding::warn(
                "resolv_conf.missing",
                format!("there is no {PATH}: {default}"),
            )
            .fix(write),
        ),
        File::Dangling(link) => Some(
            Finding::warn(
                "resolv_conf.dangling",
                format!(
                    "{PATH} is a link to {}, which is not there: {default}",
                    link.display()
                ),
            )
            .fix(format!("rm {PATH}; {write}")),
        ),
        File::Unreadable(error) => Some(Finding::warn(
            "resolv_conf.unreadable",
            format!("{PATH} cannot be read by this user: {error}"),
        )),
        File::Text { .. } => None,
    }
}

fn of_count(facts: &Facts, conf: &ResolvConf) -> Option<Finding> {
    if !matches!(facts.resolv, File::Text { .. }) {
        return None;
    }
    let only = |facts| format!("in {PATH} keep one: {}", line(facts));
    let used = conf.nameservers.iter().take(NAMESERVERS_MAX);
    let astray: Vec<String> = used
        .filter(|it| !facts.is_namegate(**it))
        .map(ToString::to_string)
        .collect();
    Some(match conf.nameservers.as_slice() {
        [] => Finding::warn(
            "resolv_conf.none",
            format!(
                "{PATH} names no nameserver: programs ask {} by default",
                conf.first()
            ),
        )
        .fix(format!("echo '{}' >> {PATH}", line(facts))),
        [one] => Finding::ok(
            "resolv_conf.one",
            format!("{PATH} has exactly one nameserver, {one}"),
        ),
        several if astray.is_empty() => Finding::ok(
            "resolv_conf.one",
            format!(
                "{PATH} has {} nameservers, all of them namegate",
                several.len()
            ),
        ),
        several => Finding::fail(
            "resolv_conf.many",
            format!(
                "{PATH} has {} nameservers, and {} is not namegate: glibc goes on to the next, musl asks all at once",
                several.len(),
                astray.join(", ")
            ),
        )
        .fix(only(facts)),
    })
}

fn of_unread(conf: &ResolvConf) -> Option<Finding> {
    let first = conf.unread.first()?;
    Some(Finding::warn(
        "resolv_conf.unread",
        format!("{PATH} has a nameserver that cannot be judged from here: {first}"),
    ))
}

fn of_search(conf: &ResolvConf) -> Option<Finding> {
    let ndots = conf.number("ndots").unwrap_or(1);
    let list = conf.search.join(" ");
    if conf.search.iter().any(|it| it == ".") {
        return Some(
            Finding::warn(
                "resolv_conf.search_dot",
                format!("{PATH} has \"search {list}\": with the dot, musl resolves nothing"),
            )
            .fix(format!("take the search line out of {PATH}")),
        );
    }
    if conf.search.is_empty() {
        return None;
    }
    let each = conf.search.len();
    Some(match ndots {
        0 | 1 => Finding::info(
            "resolv_conf.search",
            format!("{PATH} has \"search {list}\": a name that does not resolve is tried with {each} more"),
        ),
        _ => Finding::info(
            "resolv_conf.ndots",
            format!(
                "{PATH} has \"search {list}\" and ndots:{ndots}: a name with fewer than {ndots} dots is first tried with \
                 {each} suffixes, which are denied"
            ),
        )
        .fix("options ndots:1, and no search line"),
    })
}

fn of_options(conf: &ResolvConf) -> Option<Finding> {
    let timeout_s = conf.number("timeout").filter(|it| *it < TIMEOUT_S)?;
    Some(
        Finding::info(
            "resolv_conf.timeout",
            format!("{PATH} has timeout:{timeout_s}, and an answer may take 4 s when upstream is slow: some are given up on"),
        )
        .fix("no timeout option: it is 5 s then"),
    )
}

fn of_keeper(file: &File) -> Option<Finding> {
    let File::Text { text, link } = file else {
        return None;
    };
    let link = link.as_deref().map(|it| it.display().to_string());
    let comments = text.lines().filter(|it| it.starts_with('#'));
    let traces: Vec<&str> = comments.chain(link.as_deref()).collect();
    let (_, keeper) = KEEPERS
        .iter()
        .find(|(trace, _)| traces.iter().any(|it| it.contains(trace)))?;
    Some(
        Finding::info(
            "resolv_conf.managed",
            format!("{PATH} looks as if {keeper} writes it: it may be written anew at any time"),
        )
        .fix(unmanage(keeper)),
    )
}

fn unmanage(keeper: &str) -> &'static str {
    match keeper {
        "NetworkManager" => {
            "[main] dns=none, rc-manager=unmanaged in /etc/NetworkManager/conf.d/namegate.conf"
        }
        "resolvconf" => "name_servers=127.0.0.1 in /etc/resolvconf.conf",
        _ => "rm /etc/resolv.conf, and write a file in its place",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::tests::{at, check, healthy, other, text};

    #[track_caller]
    fn resolv(conf: &str, expected: &[&str]) {
        let mut facts = healthy();
        facts.resolv = text(conf);
        check(judge, &facts, expected);
    }

    #[test]
    fn one_nameserver_is_well() {
        resolv("nameserver 127.0.0.1\n", &["ok resolv_conf.one"]);
    }

    #[test]
    fn a_second_nameserver_is_a_way_around() {
        let mut facts = healthy();
        facts.resolv = text("nameserver 127.0.0.1\nnameserver 192.0.2.1\n");
        facts.servers.push(other("192.0.2.1:53"));
        check(judge, &facts, &["fail resolv_conf.many"]);
        assert!(judge(&facts)[0].text.contains("192.0.2.1 is not namegate"));
        let fix = judge(&facts)[0].fix.clone();
        assert!(fix.is_some_and(|it| it.ends_with(": nameserver 127.0.0.1")));
    }

    #[test]
    fn two_that_are_both_namegate_are_one() {
        let mut facts = healthy();
        facts.resolv = text("nameserver 127.0.0.1\nnameserver ::1\n");
        let mut second = facts.servers[0].clone();
        second.address = at("[::1]:53");
        facts.servers.push(second);
        check(judge, &facts, &["ok resolv_conf.one"]);
    }

    #[test]
    fn no_nameserver_is_this_machine_by_default() {
        resolv("# nothing\n", &["warn resolv_conf.none"]);
        let conf = ResolvConf::read("");
        assert_eq!(conf.first(), IpAddr::from([127, 0, 0, 1]));
        for (file, id) in [
            (File::Missing, "warn resolv_conf.missing"),
            (File::Dangling("/run/x".into()), "warn resolv_conf.dangling"),
            (
                File::Unreadable("no".to_owned()),
                "warn resolv_conf.unreadable",
            ),
        ] {
            let mut facts = healthy();
            facts.resolv = file;
            check(judge, &facts, &[id]);
        }
    }

    #[test]
    fn search_lists_are_told_by_what_they_cost() {
        let one = "nameserver 127.0.0.1\n";
        let ok = "ok resolv_conf.one";
        let with = |more: &str| format!("{one}{more}\n");
        resolv(&with("search ."), &[ok, "warn resolv_conf.search_dot"]);
        resolv(&with("search a.example"), &[ok, "info resolv_conf.search"]);
        resolv(
            &with("search a.example b.example\noptions ndots:5"),
            &[ok, "info resolv_conf.ndots"],
        );
        resolv(&with("options ndots:5"), &[ok]);
        resolv(
            &with("options timeout:1 attempts:2"),
            &[ok, "info resolv_conf.timeout"],
        );
        resolv(
            &with("nameserver fe80::1%eth0"),
            &[ok, "warn resolv_conf.unread"],
        );
    }

    #[test]
    fn the_last_search_or_domain_counts_and_comments_do_not() {
        let conf = ResolvConf::read(
            "; nameserver 192.0.2.1\nsearch a b\ndomain c d\noptions rotate ndots:2\noptions ndots:3\n",
        );
        assert_eq!(conf.search, ["c"]);
        assert_eq!(conf.number("ndots"), Some(3));
        assert!(conf.nameservers.is_empty());
    }

    #[test]
    fn who_writes_the_file_is_told() {
        resolv(
            "# Generated by NetworkManager\nnameserver 127.0.0.1\n",
            &["ok resolv_conf.one", "info resolv_conf.managed"],
        );
        let mut facts = healthy();
        facts.resolv = File::Text {
            text: "nameserver 127.0.0.1".to_owned(),
            link: Some("../run/systemd/resolve/stub-resolv.conf".into()),
        };
        check(
            judge,
            &facts,
            &["ok resolv_conf.one", "info resolv_conf.managed"],
        );
    }

    #[test]
    fn a_link_that_leads_nowhere_is_told_from_no_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("resolv.conf");
        assert_eq!(gather(&path), File::Missing);
        std::os::unix::fs::symlink("nowhere", &path).expect("a link");
        assert_eq!(gather(&path), File::Dangling("nowhere".into()));
        fs::write(dir.path().join("nowhere"), "x").expect("a file");
        let there = File::Text {
            text: "x".to_owned(),
            link: Some("nowhere".into()),
        };
        assert_eq!(gather(&path), there);
    }
}
