//! Whom namegate asks: is there anybody, do they answer, and is it not namegate itself.

use std::net::SocketAddr;

use super::Facts as All;
use super::finding::Finding;
use super::probe::Heard;
use super::status::Daemon;
use crate::config::Config;
use crate::daemon::{StartError, upstream_names};
use crate::front::Transport;
use crate::wire::Rcode;

/// The servers, or why there are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Facts {
    Servers(Vec<(SocketAddr, Transport)>),
    /// One of them is namegate's own address, in words.
    Loop(String),
    /// Nobody is left to ask, in words.
    Nobody(String),
}

impl Facts {
    pub(super) fn servers(&self) -> &[(SocketAddr, Transport)] {
        match self {
            Self::Servers(servers) => servers,
            Self::Loop(_) | Self::Nobody(_) => &[],
        }
    }
}

/// Those that the running resolver asks; without one, those that it would ask.
pub(super) fn gather(config: &Config, daemon: &Daemon, own: &[SocketAddr]) -> Facts {
    let named = match daemon.status() {
        Some(status) => Ok(status.upstreams.clone()),
        None => upstream_names(config, own),
    };
    match named {
        Ok(names) => Facts::Servers(names.iter().filter_map(|it| server(it)).collect()),
        Err(StartError::NoUpstream(none)) if none.naming_us.is_empty() => {
            Facts::Nobody(none.to_string())
        }
        Err(StartError::NoUpstream(none)) => Facts::Loop(none.to_string()),
        Err(StartError::Loop(address)) => Facts::Loop(format!(
            "the upstream {address} is namegate itself: questions would go round for ever"
        )),
        Err(error) => Facts::Nobody(error.to_string()),
    }
}

/// `udp://192.0.2.1:53`
fn server(name: &str) -> Option<(SocketAddr, Transport)> {
    let (over, address) = name.split_once("://")?;
    let over = match over {
        "tcp" => Transport::Tcp,
        _ => Transport::Udp,
    };
    Some((address.parse().ok()?, over))
}

pub(super) fn judge(facts: &All) -> Vec<Finding> {
    if facts.is_elsewhere() {
        return Vec::new();
    }
    let set = "upstream.servers = [\"udp://ADDRESS\"]          (the resolver that is to be asked)";
    match &facts.upstream {
        Facts::Loop(why) => vec![Finding::fail("upstream.loop", why).fix(set)],
        Facts::Nobody(why) => vec![Finding::fail("upstream.none", why).fix(set)],
        Facts::Servers(servers) => {
            let all_silent = servers
                .iter()
                .all(|it| facts.heard_over(*it) == Heard::Silent);
            let each = servers.iter();
            each.map(|server| of_server(facts, *server, all_silent))
                .collect()
        }
    }
}

fn of_server(facts: &All, server: (SocketAddr, Transport), all_silent: bool) -> Finding {
    let address = server.0;
    match facts.heard_over(server) {
        Heard::Namegate(_) => Finding::warn(
            "upstream.namegate",
            format!("the upstream {address} is a namegate, too: if it leads back to this one, questions go round until they time out"),
        )
        .fix("upstream.servers = [\"udp://ADDRESS\"]          (a resolver that does not ask namegate)"),
        Heard::Other(Rcode::NOERROR | Rcode::NXDOMAIN) => {
            Finding::ok("upstream.answers", format!("the upstream {address} answers"))
        }
        Heard::Other(rcode) => Finding::warn(
            "upstream.refuses",
            format!("the upstream {address} answers {rcode} to a name that it should not know"),
        ),
        Heard::Silent if all_silent => Finding::fail(
            "upstream.silent",
            format!("the upstream {address} does not answer, nor does any other: no allowed name resolves"),
        ),
        Heard::Silent => Finding::warn(
            "upstream.silent",
            format!("the upstream {address} does not answer"),
        ),
        Heard::Skipped => Finding::info(
            "upstream.skipped",
            format!("the upstream {address} was not asked: --no-network"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::tests::{NAMEGATE, at, check, healthy, other};

    /// The findings, when the one upstream says this.
    #[track_caller]
    fn said(heard: Heard, expected: &str) {
        let mut facts = healthy();
        facts.servers.push(other("192.0.2.53:53"));
        facts.servers[1].heard = heard;
        check(judge, &facts, &[expected]);
    }

    #[test]
    fn an_upstream_is_told_by_its_answer() {
        said(Heard::Other(Rcode::NXDOMAIN), "ok upstream.answers");
        said(Heard::Other(Rcode::REFUSED), "warn upstream.refuses");
        said(Heard::Silent, "fail upstream.silent");
        said(Heard::Skipped, "info upstream.skipped");
        said(Heard::Namegate(NAMEGATE), "warn upstream.namegate");
    }

    #[test]
    fn one_of_two_that_is_silent_is_a_warning() {
        let mut facts = healthy();
        let second = (at("192.0.2.54:53"), Transport::Tcp);
        facts.upstream = Facts::Servers(vec![(at("192.0.2.53:53"), Transport::Udp), second]);
        facts.servers.push(other("192.0.2.53:53"));
        check(
            judge,
            &facts,
            &["ok upstream.answers", "warn upstream.silent"],
        );
    }

    #[test]
    fn nobody_to_ask_and_a_loop_fail() {
        let mut facts = healthy();
        facts.upstream = Facts::Loop("round".to_owned());
        check(judge, &facts, &["fail upstream.loop"]);
        facts.upstream = Facts::Nobody("none".to_owned());
        check(judge, &facts, &["fail upstream.none"]);
    }

    #[test]
    fn a_configuration_that_names_our_own_address_is_a_loop() {
        let conf = "[upstream]\nservers = ['udp://127.0.0.9']\n";
        let config = crate::config::read("config.toml", conf).expect("a configuration");
        let found = gather(&config, &Daemon::Off, &[at("127.0.0.9:53")]);
        assert!(matches!(found, Facts::Loop(_)), "{found:?}");
        let found = gather(&config, &Daemon::Off, &[at("127.0.0.2:53")]);
        assert_eq!(found.servers(), [(at("127.0.0.9:53"), Transport::Udp)]);
    }

    #[test]
    fn a_running_resolver_tells_whom_it_asks() {
        let facts = healthy();
        let found = gather(&facts.config, &facts.daemon, &[]);
        assert_eq!(found, facts.upstream);
    }
}
