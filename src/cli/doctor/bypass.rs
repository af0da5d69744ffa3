//! Ways around any resolver: public ones that can be reached by address. A connection is opened and closed again;
//! nothing is sent.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use super::Facts as All;
use super::finding::Finding;
use super::probe::Heard;

/// Who is not reached sooner is far away, or not at all.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Resolvers that everybody knows by address, two families each.
const PUBLIC: [&str; 6] = [
    "1.1.1.1",
    "8.8.8.8",
    "9.9.9.9",
    "2606:4700:4700::1111",
    "2001:4860:4860::8888",
    "2620:fe::fe",
];
/// DNS over HTTPS, over TCP, over TLS.
const PORTS: [u16; 3] = [443, 53, 853];
/// The page that says what closes it.
const PAGE: &str = "deploy/resolv.conf/README.md, What this does not stop";

/// What took a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Facts {
    Skipped,
    Open(Vec<SocketAddr>),
}

/// Knocks at all of them at once.
pub(super) fn gather() -> Facts {
    let public = PUBLIC.iter().flat_map(|ip| {
        let ip: IpAddr = ip.parse().expect("a constant address");
        PORTS.map(|port| SocketAddr::new(ip, port))
    });
    let public: Vec<SocketAddr> = public.collect();
    let open = super::at_once(&public, |address| {
        TcpStream::connect_timeout(address, PATIENCE).is_ok()
    });
    let open = public.into_iter().zip(open).filter(|(_, is_open)| *is_open);
    Facts::Open(open.map(|(address, _)| address).collect())
}

pub(super) fn judge(facts: &All) -> Vec<Finding> {
    let mut found = match &facts.bypass {
        Facts::Skipped => vec![Finding::info(
            "bypass.skipped",
            "whether public resolvers can be reached was not tried: --no-network",
        )],
        Facts::Open(open) if open.is_empty() => vec![Finding::ok(
            "bypass.closed",
            format!(
                "no connection to a public resolver ({}) on 443, 53 or 853",
                PUBLIC.join(", ")
            ),
        )],
        Facts::Open(open) => of_open(open),
    };
    found.extend(of_upstreams(facts));
    found
}

fn of_open(open: &[SocketAddr]) -> Vec<Finding> {
    let (https, plain): (Vec<&SocketAddr>, Vec<&SocketAddr>) =
        open.iter().partition(|it| it.port() == PORTS[0]);
    let told = |id, some: Vec<&SocketAddr>, what: &str| {
        let list: Vec<String> = some.iter().map(ToString::to_string).collect();
        let (one, many) = ("takes a connection", "take connections");
        let verb = if list.len() == 1 { one } else { many };
        (!list.is_empty()).then(|| {
            let text = format!(
                "{} {verb}: {what}; DNS filtering alone does not stop it",
                list.join(", ")
            );
            Finding::info(id, text).fix(format!("a packet filter outside the box ({PAGE})"))
        })
    };
    let of_https = told("bypass.doh", https, "DNS over HTTPS is possible");
    let of_plain = told("bypass.dns", plain, "asking another resolver is possible");
    of_https.into_iter().chain(of_plain).collect()
}

/// What namegate reaches from here, any program reaches.
fn of_upstreams(facts: &All) -> Option<Finding> {
    let servers = facts.upstream.servers().iter();
    let open = servers.filter(|it| matches!(facts.heard_over(**it), Heard::Other(_)));
    let open: Vec<String> = open.map(|(address, _)| address.to_string()).collect();
    (!open.is_empty()).then(|| {
        let text = format!(
            "the upstream {} answers anybody here: a program can ask it, past the policy",
            open.join(", ")
        );
        Finding::info("bypass.upstream", text).fix(format!(
            "a packet filter that lets namegate alone reach it ({PAGE})"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::tests::{at, check, healthy, other};

    #[test]
    fn what_can_be_reached_is_told_by_what_it_is_good_for() {
        let mut facts = healthy();
        check(judge, &facts, &["ok bypass.closed"]);
        facts.bypass = Facts::Skipped;
        check(judge, &facts, &["info bypass.skipped"]);
        facts.bypass = Facts::Open(vec![at("1.1.1.1:443")]);
        check(judge, &facts, &["info bypass.doh"]);
        assert!(
            judge(&facts)[0]
                .text
                .starts_with("1.1.1.1:443 takes a connection:")
        );
        let all = ["1.1.1.1:443", "1.1.1.1:53", "9.9.9.9:853"];
        facts.bypass = Facts::Open(all.map(at).to_vec());
        check(judge, &facts, &["info bypass.doh", "info bypass.dns"]);
        let text = &judge(&facts)[1].text;
        assert!(
            text.starts_with("1.1.1.1:53, 9.9.9.9:853 take connections:"),
            "{text}"
        );
    }

    #[test]
    fn an_upstream_that_answers_us_answers_all() {
        let mut facts = healthy();
        facts.servers.push(other("192.0.2.53:53"));
        check(judge, &facts, &["ok bypass.closed", "info bypass.upstream"]);
    }
}
