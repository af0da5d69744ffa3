//! What several tests need: a corridor without sockets, and messages to send down it;
//! and the stage on which the stories of `tests/script` are played.

pub(crate) mod stage;

mod story;

pub(crate) mod client;

pub(crate) mod sockets;

mod upstream;

pub(crate) mod text;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use namegate::answer::upstream::{Carrier, Exchange, Over, Upstreams};
use namegate::answer::zone::Zones;
use namegate::config::Config;
use namegate::daemon::{Grants, Live, Road};
use namegate::policy::{self, Select};
use namegate::telemetry::Telemetry;
use namegate::wire::{Name, Type};

/// A complete policy document that allows these names.
pub(crate) fn document(allowed: &[&str]) -> String {
    let list: Vec<String> = allowed.iter().map(|name| format!("{name:?}")).collect();
    format!(
        r#"{{"id":"npl_1","name":"test","egress":{{"allow_all":false,"allow_devbox_to_devbox":false,
        "allowed_hostnames":[{}],"allow_agent_gateway":false,"allow_mcp_gateway":false}},
        "create_time_ms":1,"update_time_ms":1}}"#,
        list.join(",")
    )
}

/// A policy that allows these names, in force as the first.
pub(crate) fn live(config: &Config, allowed: &[&str]) -> Live {
    live_of(config, &document(allowed))
}

/// A policy document, in force as the first.
pub(crate) fn live_of(config: &Config, document: &str) -> Live {
    let accepted = policy::read("policy.json", document.as_bytes(), &Select::Only)
        .unwrap_or_else(|diagnostics| panic!("{}", diagnostics.render(false)));
    let grants = Grants::of(config).expect("the configuration's patterns are patterns");
    Live::new(&accepted.policy, config, &grants, 1, [0; 32])
}

/// A corridor whose upstream is `carrier`, with one server.
pub(crate) fn road(config: &Config, allowed: &[&str], carrier: Arc<dyn Carrier>) -> Arc<Road> {
    let telemetry = Arc::new(Telemetry::open(&config.log).expect("a query log"));
    road_told(config, live(config, allowed), carrier, telemetry)
}

/// The same with any policy, and with a telemetry that the test can ask.
pub(crate) fn road_told(
    config: &Config,
    live: Live,
    carrier: Arc<dyn Carrier>,
    telemetry: Arc<Telemetry>,
) -> Arc<Road> {
    let server: SocketAddr = "192.0.2.53:53".parse().expect("an address");
    let upstreams = Upstreams::builder(carrier, Duration::from_secs(2), false)
        .zone(Name::ROOT, &[(server, Over::Udp)])
        .build();
    let zones = Zones::parse(&[]).unwrap_or_else(|_| panic!("no zones are no fault"));
    let grants = Grants::of(config).expect("the configuration's patterns are patterns");
    Arc::new(Road::new(
        config, &grants, live, zones, upstreams, telemetry,
    ))
}

/// A query with RD, and an OPT of 1232 octets if wanted.
pub(crate) fn query(name: &str, kind: Type, edns: bool) -> Vec<u8> {
    let name: Name = name.parse().expect(name);
    let header = [0xBE, 0xEF, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns)];
    let mut octets = [&header[..], name.octets(), &kind.0.to_be_bytes(), &[0, 1]].concat();
    if edns {
        octets.extend([0, 0, 41, 0x04, 0xD0, 0, 0, 0, 0, 0, 0]);
    }
    octets
}

/// A message that ends with an OPT without options, with these.
pub(crate) fn with_options(mut octets: Vec<u8>, options: &[u8]) -> Vec<u8> {
    octets.truncate(octets.len() - 2);
    octets.extend(u16::try_from(options.len()).expect("short").to_be_bytes());
    octets.extend(options);
    octets
}

/// Answers every question with one address, at once.
pub(crate) struct OneAddress;

impl Carrier for OneAddress {
    fn exchange<'a>(&'a self, _: SocketAddr, _: Over, query: &'a [u8]) -> Exchange<'a> {
        let mut reply = query[..query.len() - 11].to_vec();
        reply[2] |= 0x80;
        (reply[7], reply[11]) = (1, 0);
        reply.extend(b"\xC0\x0C\0\x01\0\x01\0\0\x01\x2C\0\x04\xC0\0\x02\x01");
        Box::pin(async { Ok((reply, 0)) })
    }
}
