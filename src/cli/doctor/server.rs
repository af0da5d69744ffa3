//! Who answers: the first nameserver, and the addresses that namegate should listen on; who holds the port.

use std::net::{IpAddr, SocketAddr};

use super::finding::Finding;
use super::probe::{Heard, Namegate};
use super::resolv::{PATH, ResolvConf, line};
use super::{DNS_PORT, Facts};
use crate::front::Transport;
use crate::wire::Rcode;

/// The stub of systemd-resolved.
pub(super) const RESOLVED_STUB: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 53));

/// One server that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub address: SocketAddr,
    pub over: Transport,
    pub heard: Heard,
    pub holder: Holder,
}

/// Whose socket it is, in this network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// Nobody's here.
    Nobody,
    /// Somebody's: the system does not tell this user whose.
    Unseen,
    /// `NAME (pid N)`.
    Program(String),
}

impl Holder {
    /// `, held by dnsmasq (pid 7)`.
    fn words(&self) -> String {
        match self {
            Self::Nobody => String::new(),
            Self::Unseen => "; who holds the port is not visible without root".to_owned(),
            Self::Program(program) => format!("; the port is held by {program}"),
        }
    }
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let first = SocketAddr::new(ResolvConf::of(&facts.resolv).first(), DNS_PORT);
    let mut found = of_first(facts, first);
    if facts.is_elsewhere() {
        return found;
    }
    let listen = facts.listen().into_iter().filter(|it| *it != first);
    found.extend(listen.filter_map(|address| of_listen(facts, address)));
    found
}

fn of_first(facts: &Facts, address: SocketAddr) -> Vec<Finding> {
    let ip = address.ip();
    let holder = facts.holder(address);
    match facts.heard(address) {
        Heard::Namegate(namegate) => of_namegate(facts, ip, namegate, &holder),
        Heard::Other(Rcode::REFUSED) if facts.runs_at(address) => vec![
            Finding::fail(
                "nameserver.refuses",
                format!("port 53 on {ip} is namegate, and refuses to serve this machine"),
            )
            .fix("listen.clients = [...]          (with the address that this machine asks from)"),
        ],
        Heard::Other(_) if is_our_stub(facts, ip) => vec![
            Finding::warn(
                "nameserver.stub",
                format!(
                    "{ip} is systemd-resolved, which asks namegate: it keeps answers of its own, and blocked names come back \
                     without the reason"
                ),
            )
            .fix(format!("{}          (in {PATH}, as a file)", line(facts))),
        ],
        Heard::Other(_) => vec![
            Finding::fail(
                "nameserver.other",
                format!(
                    "port 53 on {ip}, the first nameserver, answers and is not namegate{}",
                    holder.words()
                ),
            )
            .fix(remedy(facts, address)),
        ],
        Heard::Silent => vec![
            Finding::fail(
                "nameserver.silent",
                format!(
                    "port 53 on {ip}, the first nameserver, does not answer{}",
                    holder.words()
                ),
            )
            .fix(remedy(facts, address)),
        ],
        Heard::Skipped => vec![Finding::info(
            "nameserver.skipped",
            format!("{ip}, the first nameserver, was not asked: --no-network"),
        )],
    }
}

fn of_namegate(facts: &Facts, ip: IpAddr, namegate: Namegate, holder: &Holder) -> Vec<Finding> {
    let version = facts.daemon.status().map(|it| format!(" {}", it.version));
    let audit_ends = facts.daemon.status().and_then(|it| it.audit_ends.as_ref());
    let generation = match namegate.generation {
        Some(generation) => format!("generation {generation}"),
        None if audit_ends.is_some() => "it denies nothing".to_owned(),
        None => "it denies nothing: the policy allows every name".to_owned(),
    };
    let by = match holder {
        Holder::Program(program) => format!(", held by {program}"),
        Holder::Nobody | Holder::Unseen => String::new(),
    };
    let version = version.unwrap_or_default();
    let ok = format!("port 53 on {ip} answers and is namegate{version} ({generation}){by}");
    let mut found = vec![Finding::ok("nameserver.namegate", ok)];
    if let Some(ends) = audit_ends {
        let audit =
            format!("audit mode until {ends}: every name resolves, and the policy is only asked");
        let fix = "policy.mode = \"enforce\"          (and a restart; or wait)";
        found.push(Finding::warn("nameserver.audit", audit).fix(fix));
    }
    if namegate.generation.is_none() {
        return found;
    }
    if !namegate.is_direct {
        found.push(Finding::info(
            "nameserver.between",
            format!("what answers at {ip} passes questions on to namegate: it may keep a no longer than namegate means it"),
        ));
    }
    found.push(match namegate.explains {
        true => Finding::ok("nameserver.ede", "a blocked name comes back with the reason (EDE 15)"),
        false => Finding::warn(
            "nameserver.ede",
            "a blocked name comes back without the reason: what stands in between drops the extended error",
        )
        .fix(format!("{}          (in {PATH})", line(facts))),
    });
    found
}

/// Does systemd-resolved ask namegate and nobody else?
fn is_our_stub(facts: &Facts, ip: IpAddr) -> bool {
    let mut behind = facts
        .hidden
        .iter()
        .filter(|it| it.file == super::resolver::RESOLVED_FILE)
        .peekable();
    ip == RESOLVED_STUB && behind.peek().is_some() && behind.all(|it| facts.is_namegate(it.address))
}

/// What to do about a first nameserver that is not namegate.
fn remedy(facts: &Facts, address: SocketAddr) -> String {
    if facts.namegate_at_53().is_some() {
        return format!("{}          (the only one in {PATH})", line(facts));
    }
    if facts.daemon.status().is_some() {
        return "have namegate listen on port 53: --listen 127.0.0.1:53".to_owned();
    }
    let is_ours = facts.listen().contains(&address);
    match facts.holder(address) {
        Holder::Nobody if is_ours => "start it: namegate run".to_owned(),
        Holder::Nobody => format!("start namegate, then {} in {PATH}", line(facts)),
        Holder::Unseen | Holder::Program(_) => format!(
            "stop that program and start namegate, or give namegate another address: --listen 127.0.0.153:53, \
             and nameserver 127.0.0.153 in {PATH}"
        ),
    }
}

/// An address that namegate should listen on, beside the first nameserver.
fn of_listen(facts: &Facts, address: SocketAddr) -> Option<Finding> {
    let holder = facts.holder(address);
    match (facts.heard(address), &holder) {
        (Heard::Namegate(_), _) => Some(Finding::ok(
            "listen.namegate",
            format!("namegate answers at {address}"),
        )),
        (Heard::Other(Rcode::REFUSED), _) if facts.runs_at(address) => Some(Finding::info(
            "listen.refuses",
            format!("namegate at {address} does not serve this machine (listen.clients)"),
        )),
        (Heard::Other(_), _) | (Heard::Silent, Holder::Unseen | Holder::Program(_)) => Some(
            Finding::fail(
                "listen.taken",
                format!(
                    "{address}, where namegate should listen, is taken{}",
                    holder.words()
                ),
            )
            .fix(
                "stop that program, or listen elsewhere: --listen 127.0.0.153:53 (another address)",
            ),
        ),
        (Heard::Silent, Holder::Nobody) if address.is_ipv6() && !facts.limits.has_ipv6 => None,
        (Heard::Silent, Holder::Nobody) => Some(
            Finding::warn(
                "listen.nobody",
                format!("nothing listens on {address}, where namegate should"),
            )
            .fix("start it: namegate run"),
        ),
        (Heard::Skipped, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::resolver::{Hidden, RESOLVED_FILE};
    use crate::cli::doctor::status::Daemon;
    use crate::cli::doctor::tests::{NAMEGATE, at, check, elsewhere, healthy, other, text};

    const HEALTHY: [&str; 2] = ["ok nameserver.namegate", "ok nameserver.ede"];

    #[test]
    fn namegate_at_the_first_nameserver_is_well() {
        let facts = healthy();
        check(judge, &facts, &HEALTHY);
        let ok = &judge(&facts)[0].text;
        assert_eq!(
            ok,
            "port 53 on 127.0.0.1 answers and is namegate 0.1.0 (generation 42), held by namegate (pid 7)"
        );
    }

    #[test]
    fn a_reason_that_is_lost_on_the_way_is_told() {
        let mut facts = healthy();
        facts.servers[0].heard = Heard::Namegate(Namegate {
            is_direct: false,
            explains: false,
            ..NAMEGATE
        });
        let relayed = [
            "ok nameserver.namegate",
            "info nameserver.between",
            "warn nameserver.ede",
        ];
        check(judge, &facts, &relayed);
        facts.servers[0].heard = Heard::Namegate(Namegate {
            generation: None,
            ..NAMEGATE
        });
        check(judge, &facts, &["ok nameserver.namegate"]);
        assert!(judge(&facts)[0].text.contains("allows every name"));
        let Daemon::Runs(status) = &mut facts.daemon else {
            unreachable!("it is healthy")
        };
        status.audit_ends = Some("2026-01-31T18:00:00.000Z".to_owned());
        let audit = ["ok nameserver.namegate", "warn nameserver.audit"];
        check(judge, &facts, &audit);
        assert!(judge(&facts)[1].text.contains("until 2026-01-31T18"));
    }

    /// The findings, with nothing of namegate about and a first nameserver like this.
    #[track_caller]
    fn without_namegate(heard: Heard, holder: Holder, expected: &str, words: &str, fix: &str) {
        let mut facts = healthy();
        facts.daemon = Daemon::Silent(at("127.0.0.1:9953"));
        facts.config.listen.addresses = vec![at("127.0.0.1:53")];
        (facts.servers[0].heard, facts.servers[0].holder) = (heard, holder);
        check(judge, &facts, &[expected]);
        let found = &judge(&facts)[0];
        assert!(found.text.contains(words), "{}", found.text);
        let said = found.fix.clone().unwrap_or_default();
        assert!(said.contains(fix), "{said}");
    }

    #[test]
    fn a_first_nameserver_that_is_not_namegate_fails() {
        let other = Heard::Other(Rcode::NXDOMAIN);
        let dnsmasq = Holder::Program("dnsmasq (pid 9)".to_owned());
        let away = "stop that program";
        without_namegate(
            other,
            dnsmasq,
            "fail nameserver.other",
            "held by dnsmasq (pid 9)",
            away,
        );
        let words = "not visible without root";
        without_namegate(other, Holder::Unseen, "fail nameserver.other", words, away);
        let words = "does not answer";
        let start = "namegate run";
        without_namegate(
            Heard::Silent,
            Holder::Nobody,
            "fail nameserver.silent",
            words,
            start,
        );
        without_namegate(
            Heard::Skipped,
            Holder::Nobody,
            "info nameserver.skipped",
            "",
            "",
        );
    }

    #[test]
    fn the_remedy_names_the_address_where_namegate_is() {
        let mut facts = healthy();
        facts.resolv = text("nameserver 192.0.2.1");
        facts.servers.push(other("192.0.2.1:53"));
        check(
            judge,
            &facts,
            &["fail nameserver.other", "ok listen.namegate"],
        );
        let fix = judge(&facts)[0].fix.clone().unwrap_or_default();
        assert!(fix.starts_with("nameserver 127.0.0.1  "), "{fix}");
    }

    #[test]
    fn a_stub_that_asks_namegate_alone_is_a_warning() {
        let mut facts = healthy();
        facts.resolv = text("nameserver 127.0.0.53");
        facts.servers.push(other("127.0.0.53:53"));
        check(
            judge,
            &facts,
            &["fail nameserver.other", "ok listen.namegate"],
        );
        let address = IpAddr::from([127, 0, 0, 1]);
        facts.hidden = vec![Hidden {
            file: RESOLVED_FILE,
            address,
        }];
        check(
            judge,
            &facts,
            &["warn nameserver.stub", "ok listen.namegate"],
        );
    }

    #[test]
    fn a_namegate_that_does_not_serve_us_is_no_stranger() {
        let mut facts = healthy();
        facts.servers[0].heard = Heard::Other(Rcode::REFUSED);
        check(judge, &facts, &["fail nameserver.refuses"]);
        facts.resolv = text("nameserver 192.0.2.1");
        facts.servers.push(other("192.0.2.1:53"));
        check(
            judge,
            &facts,
            &["fail nameserver.other", "info listen.refuses"],
        );
    }

    #[test]
    fn a_namegate_on_another_machine_is_not_missed_here() {
        let facts = elsewhere();
        check(judge, &facts, &HEALTHY);
        let (nothing, here): (&[&str], _) = (&[], &["info policy.elsewhere"]);
        check(crate::cli::doctor::upstream::judge, &facts, nothing);
        check(crate::cli::doctor::policy::judge, &facts, here);
        let limits = crate::cli::doctor::limits::judge(&facts);
        assert!(limits.iter().all(|it| it.id.starts_with("clock.")));
    }

    #[test]
    fn an_address_of_ours_is_ours_or_taken_or_free() {
        let six = at("[::1]:53");
        let mut facts = healthy();
        facts.daemon = Daemon::Off;
        facts.config.listen.addresses = vec![at("127.0.0.1:53"), six];
        let first = HEALTHY;
        check(judge, &facts, &[first[0], first[1], "warn listen.nobody"]);
        facts.limits.has_ipv6 = false;
        check(judge, &facts, &first);
        facts.servers.push(other("[::1]:53"));
        check(judge, &facts, &[first[0], first[1], "fail listen.taken"]);
        facts.servers[1].heard = Heard::Silent;
        facts.servers[1].holder = Holder::Unseen;
        check(judge, &facts, &[first[0], first[1], "fail listen.taken"]);
    }
}
