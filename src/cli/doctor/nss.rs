//! What glibc asks besides DNS: the `hosts` line of nsswitch.conf, and nscd.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::Facts as All;
use super::finding::Finding;

const PATH: &str = "/etc/nsswitch.conf";
const NSCD: [&str; 2] = ["/run/nscd/socket", "/var/run/nscd/socket"];
/// By either of these nss-resolve reaches systemd-resolved.
const RESOLVED: [&str; 2] = [
    "/run/systemd/resolve/io.systemd.Resolve",
    "/run/systemd/resolve/stub-resolv.conf",
];

/// What stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub switch: Switch,
    /// Something takes connections at nscd's socket.
    pub nscd_runs: bool,
    /// systemd-resolved is there to be asked.
    pub resolved_runs: bool,
}

/// nsswitch.conf, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    /// musl has none, and glibc has a default.
    Missing,
    Unreadable(String),
    Text(String),
}

pub(super) fn gather() -> Facts {
    Facts {
        switch: match fs::read_to_string(PATH) {
            Ok(text) => Switch::Text(text),
            Err(error) if error.kind() == ErrorKind::NotFound => Switch::Missing,
            Err(error) => Switch::Unreadable(error.to_string()),
        },
        nscd_runs: NSCD.iter().any(|it| UnixStream::connect(it).is_ok()),
        resolved_runs: RESOLVED.iter().any(|it| Path::new(it).exists()),
    }
}

pub(super) fn judge(facts: &All) -> Vec<Finding> {
    let mut found = match &facts.nss.switch {
        Switch::Missing => vec![Finding::ok(
            "nsswitch.dns_only",
            format!("there is no {PATH}: programs ask DNS"),
        )],
        Switch::Unreadable(error) => vec![Finding::info(
            "nsswitch.unreadable",
            format!("{PATH} cannot be read by this user: {error}"),
        )],
        Switch::Text(text) => of_hosts(&hosts(text), &facts.nss),
    };
    found.push(of_nscd(facts.nss.nscd_runs));
    found
}

/// The words behind `hosts:`; glibc's default where there is no such line.
fn hosts(text: &str) -> String {
    let uncommented = text.lines().map(|it| it.split('#').next().unwrap_or(""));
    let line = uncommented
        .filter_map(|it| it.trim().strip_prefix("hosts:"))
        .next_back();
    line.unwrap_or("dns files").trim().to_owned()
}

fn of_hosts(hosts: &str, facts: &Facts) -> Vec<Finding> {
    let asked = asked(hosts);
    if !asked.contains(&"dns") {
        return vec![
            Finding::fail(
                "nsswitch.no_dns",
                format!("{PATH} has \"hosts: {hosts}\", without dns: glibc does not ask the nameserver of resolv.conf"),
            )
            .fix(format!("hosts: files dns          (in {PATH})")),
        ];
    }
    let beside = asked.iter().filter(|it| !matches!(**it, "files" | "dns"));
    let mut found: Vec<Finding> = beside
        .map(|it| of_service(it, hosts, facts.resolved_runs))
        .collect();
    if found.is_empty() {
        let text = format!("{PATH} has \"hosts: {hosts}\": glibc asks DNS and nobody else");
        found.push(Finding::ok("nsswitch.dns_only", text));
    }
    found
}

/// The services that get to see a name: those before dns, and those behind it unless "not found" ends the search there.
fn asked(hosts: &str) -> Vec<&str> {
    let spaced: Vec<&str> = hosts.split_inclusive(']').flat_map(words).collect();
    let mut asked = Vec::new();
    for (i, word) in spaced.iter().enumerate() {
        if word.starts_with('[') {
            continue;
        }
        asked.push(*word);
        let ends = spaced.get(i + 1).is_some_and(|it| ends_at_not_found(it));
        if *word == "dns" && ends {
            break;
        }
    }
    asked
}

/// `a b [X=y]` as its words, what is in brackets being one.
fn words(part: &str) -> impl Iterator<Item = &str> {
    let (services, action) = part.split_at(part.find('[').unwrap_or(part.len()));
    services
        .split_whitespace()
        .chain(Some(action).filter(|it| !it.is_empty()))
}

/// Does an action such as `[NOTFOUND=return]` or `[!UNAVAIL=return]` end the search when a name is not found?
fn ends_at_not_found(action: &str) -> bool {
    let inside = action.trim_matches(['[', ']']).to_ascii_lowercase();
    action.starts_with('[')
        && inside
            .split_whitespace()
            .any(|it| match it.split_once('=') {
                Some((status, "return")) => {
                    status == "notfound" || status.starts_with('!') && status != "!notfound"
                }
                _ => false,
            })
}

fn of_service(service: &str, hosts: &str, resolved_runs: bool) -> Finding {
    let without = format!("hosts: files dns          (in {PATH})");
    let here = format!("{PATH} has \"{service}\" beside dns (hosts: {hosts})");
    match service {
        "resolve" if resolved_runs => Finding::fail(
            "nsswitch.resolve",
            format!("{here}: glibc asks systemd-resolved, past resolv.conf"),
        ),
        "resolve" => Finding::warn(
            "nsswitch.resolve",
            format!("{here}: systemd-resolved is not here now; once it runs, glibc asks it, past resolv.conf"),
        ),
        "myhostname" => {
            return Finding::info(
                "nsswitch.myhostname",
                format!("{here}: it answers for this machine's own name alone"),
            );
        }
        mdns if mdns.starts_with("mdns") => Finding::warn(
            "nsswitch.mdns",
            format!("{here}: names are asked for on the local network"),
        ),
        "nis" | "nisplus" => Finding::warn(
            "nsswitch.nis",
            format!("{here}: a NIS server is asked, past the policy"),
        ),
        _ => Finding::warn(
            "nsswitch.other",
            format!("{here}: it may know names that the policy does not see"),
        ),
    }
    .fix(without)
}

fn of_nscd(runs: bool) -> Finding {
    if !runs {
        return Finding::ok("nscd.absent", "nscd does not keep answers");
    }
    Finding::warn(
        "nscd.running",
        "nscd runs: glibc programs ask it first, and it keeps answers over changes of the policy",
    )
    .fix("enable-cache hosts no          (in /etc/nscd.conf, then restart it)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::tests::{check, healthy};

    #[track_caller]
    fn switch(line: &str, resolved_runs: bool, expected: &str) {
        let mut facts = healthy();
        facts.nss.switch = Switch::Text(format!("passwd: files\n{line}\n"));
        facts.nss.resolved_runs = resolved_runs;
        check(judge, &facts, &[expected, "ok nscd.absent"]);
    }

    #[test]
    fn dns_and_files_are_well() {
        switch("hosts: files dns", true, "ok nsswitch.dns_only");
        switch("hosts:\tdns   # resolve", true, "ok nsswitch.dns_only");
        switch("# hosts: resolve", true, "ok nsswitch.dns_only");
        switch("", true, "ok nsswitch.dns_only");
    }

    #[test]
    fn resolve_is_a_way_past_resolv_conf() {
        let line = "hosts: files resolve [!UNAVAIL=return] dns";
        switch(line, true, "fail nsswitch.resolve");
        switch(line, false, "warn nsswitch.resolve");
        switch(
            "hosts: files[X=return]resolve dns",
            true,
            "fail nsswitch.resolve",
        );
    }

    #[test]
    fn what_stands_behind_dns_is_asked_for_blocked_names() {
        switch("hosts: files dns resolve", true, "fail nsswitch.resolve");
        let ends = "hosts: files dns [NOTFOUND=return] resolve";
        switch(ends, true, "ok nsswitch.dns_only");
        let goes_on = "hosts: files dns [!NOTFOUND=return] resolve";
        switch(goes_on, true, "fail nsswitch.resolve");
        let ends = "hosts: files dns [ !UNAVAIL=return ] resolve";
        switch(ends, true, "ok nsswitch.dns_only");
    }

    #[test]
    fn other_services_are_told_apart() {
        for (service, expected) in [
            ("mdns4_minimal", "warn nsswitch.mdns"),
            ("nis", "warn nsswitch.nis"),
            ("myhostname", "info nsswitch.myhostname"),
            ("wins", "warn nsswitch.other"),
        ] {
            switch(&format!("hosts: files {service} dns"), false, expected);
        }
        switch("hosts: files resolve", true, "fail nsswitch.no_dns");
    }

    #[test]
    fn a_file_that_is_missing_or_unreadable_is_no_fault() {
        let mut facts = healthy();
        facts.nss.switch = Switch::Missing;
        check(judge, &facts, &["ok nsswitch.dns_only", "ok nscd.absent"]);
        facts.nss.switch = Switch::Unreadable("no".to_owned());
        facts.nss.nscd_runs = true;
        check(
            judge,
            &facts,
            &["info nsswitch.unreadable", "warn nscd.running"],
        );
    }
}
