//! A policy takes the place of another while queries are on their way.
//!
//! In every schedule: a query that came after the swap is judged by the new policy, also where an answer from before
//! lies in the cache or comes in from a flight that was judged by the old one; one policy decides about a query and
//! stands beside its count; and for whoever asks again the number of the policy never falls.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Instant;

use serde_json::{Value, json};

use super::live::{Grants, Live};
use super::road::Road;
use crate::answer::Reason;
use crate::answer::upstream::Upstreams;
use crate::answer::zone::Zones;
use crate::config::Config;
use crate::explore::linger;
use crate::front::{Client, Road as _, Step, Transport};
use crate::policy::{Select, read};
use crate::telemetry::Telemetry;
use crate::wire::{Message, Rcode, Section};

/// The corridor, and what it is made of.
pub(super) struct World {
    pub(super) road: Arc<Road>,
    pub(super) upstreams: Upstreams,
    pub(super) telemetry: Arc<Telemetry>,
    config: Config,
    grants: Grants,
}

/// What a client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) rcode: Rcode,
    /// The last octet of the address.
    pub(super) address: Option<u8>,
}

impl World {
    /// The corridor with a first policy.
    pub(super) fn new(config: Config, allowed: &[&str]) -> Self {
        let grants = Grants::of(&config).expect("the patterns of the defaults are good");
        let (upstreams, telemetry) = (Upstreams::default(), Arc::<Telemetry>::default());
        upstreams.say(1);
        let live = live(&config, &grants, allowed, 1);
        let zones = Zones::parse(&[]).expect("there are none");
        let road = Road::new(
            &config,
            &grants,
            live,
            zones,
            upstreams.clone(),
            telemetry.clone(),
        );
        Self {
            road: Arc::new(road),
            upstreams,
            telemetry,
            config,
            grants,
        }
    }

    pub(super) fn go_live(&self, allowed: &[&str], generation: u32) {
        let live = live(&self.config, &self.grants, allowed, generation);
        self.road.go_live(live);
    }

    /// Asks for the address of a name, from a port that nobody else has.
    pub(super) async fn ask(&self, name: &str, port: u16) -> Told {
        let client = Client {
            address: client(port),
            transport: Transport::Udp,
        };
        let mut reply = Vec::new();
        match self
            .road
            .answer_now(&query(name), &client, Instant::now(), &mut reply)
        {
            Step::Reply => {}
            Step::Silence => panic!("every question is answered"),
            Step::Later(pending) => {
                let ready = self.road.answer_later(pending).await;
                self.road.finish(ready, &mut reply);
            }
        }
        told(&reply)
    }
}

fn live(config: &Config, grants: &Grants, allowed: &[&str], generation: u32) -> Live {
    let text = document(allowed).to_string();
    let accepted = read("policy.json", text.as_bytes(), &Select::Only).expect("a policy");
    Live::new(&accepted.policy, config, grants, generation, [0; 32])
}

/// A policy that allows these names.
pub(super) fn document(allowed: &[&str]) -> Value {
    json!({
        "id": "npol_1", "name": "scene", "create_time_ms": 0, "update_time_ms": 0,
        "egress": {
            "allow_all": false,
            "allow_devbox_to_devbox": false,
            "allowed_hostnames": allowed,
            "allow_agent_gateway": false,
            "allow_mcp_gateway": false,
        },
    })
}

fn client(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn query(name: &str) -> Vec<u8> {
    let name: crate::wire::Name = name.parse().expect("a name");
    [
        &[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0],
        name.octets(),
        &[0, 1, 0, 1],
    ]
    .concat()
}

fn told(reply: &[u8]) -> Told {
    let message = Message::read(reply).expect("a whole message");
    let address = message.records(Section::Answer).next();
    Told {
        rcode: message.rcode(),
        address: address.and_then(|it| it.data().last().copied()),
    }
}

/// Three clients ask twice each for a name that is revoked meanwhile and allowed again.
pub fn a_name_is_revoked_and_allowed_again() {
    let world = Arc::new(World::new(Config::default(), &["a.example", "b.example"]));
    // The number of the policy that was put in force last, told after it was.
    let in_force = Arc::new(AtomicU64::new(1));
    let clients: Vec<_> = (1..4)
        .map(|port| tokio::spawn(ask_twice(world.clone(), in_force.clone(), port)))
        .collect();
    for (generation, allowed) in [(2, &["b.example"][..]), (3, &["*.example"])] {
        linger();
        world.go_live(allowed, generation);
        in_force.store(generation.into(), SeqCst);
    }
    for client in clients {
        shuttle::future::block_on(client).expect("it ends");
    }
    let last = shuttle::future::block_on(world.ask("a.example", 9));
    assert_eq!((last.rcode, last.address), (Rcode::NOERROR, Some(1)));
    assert_eq!(
        world.road.inflight(),
        0,
        "whoever waited has given back his place"
    );
}

async fn ask_twice(world: Arc<World>, in_force: Arc<AtomicU64>, port: u16) {
    for round in 0..2 {
        let at_least = in_force.load(SeqCst);
        let told = world.ask("a.example", port).await;
        let mine = world
            .telemetry
            .counted()
            .into_iter()
            .filter(|it| it.client == client(port));
        let mine: Vec<_> = mine.collect();
        assert_eq!(mine.len(), round + 1, "each query is counted once");
        let counted = mine[round];
        assert!(
            counted.generation >= at_least,
            "judged by a policy that was replaced before it came"
        );
        assert!(
            mine.is_sorted_by_key(|it| it.generation),
            "the number of the policy fell"
        );
        let expected = match counted.generation {
            1 => (Rcode::NOERROR, Reason::Exact, Some(1)),
            2 => (Rcode::NXDOMAIN, Reason::NotListed, None),
            _ => (Rcode::NOERROR, Reason::Wildcard, Some(1)),
        };
        assert_eq!((told.rcode, counted.outcome.reason, told.address), expected);
        assert_eq!(counted.outcome.rcode, Some(told.rcode));
    }
}
