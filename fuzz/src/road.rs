//! The whole road: a client's message, and what it is told.
//!
//! The input is how the client comes, the length of its message, the message, and
//! what upstream says to whatever it is asked. The policy and the zone are always
//! the same. Whatever is said, the reply has the manners of every reply, upstream
//! hears of nothing that the policy does not allow, and what was answered once is
//! answered again as it was. The clock is virtual.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op;
use namegate::answer::upstream::{Carrier, Exchange, Fit, Over, Upstreams, fit};
use namegate::answer::zone::{ZoneText, Zones};
use namegate::config::{Config, Queries};
use namegate::daemon::{Grants, Live, Road};
use namegate::front::{Client, Road as _, Step, Transport};
use namegate::telemetry::Telemetry;
use namegate::wire::{
    CLASS_IN, MESSAGE_OCTETS_MAX, Message, Name, Query, Section, Type, udp_limit,
};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, advance};

use super::accepted;

/// Nothing is kept for as long.
const LONG: Duration = Duration::from_secs(3600);
const PAYLOAD: u16 = 1232;
const ALLOWED: &str = r#"["github.com", "*.npmjs.org", "*.example"]"#;
const ZONE: &str = "@ 60 IN SOA ns hostmaster 1 2 3 4 5\n@ 60 IN NS ns\nns 60 IN A 10.0.0.1\n*.apps 60 IN CNAME ns\n";
/// Names that are asked for without the policy: the zone's, and those in which we tell of ourselves.
const OURS: [&str; 2] = ["corp.internal", "namegate.internal"];

/// An upstream that always says the same, and notes what it was asked.
#[derive(Default)]
struct Parrot {
    reply: Mutex<Vec<u8>>,
    asked: Mutex<Vec<Name>>,
}

impl Carrier for Parrot {
    fn exchange<'a>(&'a self, _: SocketAddr, _: Over, query: &'a [u8]) -> Exchange<'a> {
        let name = *Query::read(query)
            .expect("what we send is a question")
            .name();
        self.asked.lock().expect("no panic under it").push(name);
        let mut reply = self.reply.lock().expect("no panic under it").clone();
        if reply.len() >= 2 {
            reply[..2].copy_from_slice(&query[..2]);
        }
        Box::pin(async move {
            match fit(query, &reply) {
                Fit::Whole | Fit::OtherCase => Ok((reply, 0)),
                Fit::No => std::future::pending().await,
            }
        })
    }
}

struct House {
    runtime: Runtime,
    road: Arc<Road>,
    parrot: Arc<Parrot>,
}

thread_local! {
    /// One for all inputs; between them, what it knew grows old.
    static HOUSE: House = House::new();
}

impl House {
    fn new() -> Self {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let parrot = Arc::new(Parrot::default());
        let road = runtime.block_on(async { Arc::new(build(parrot.clone())) });
        Self {
            runtime,
            road,
            parrot,
        }
    }
}

fn build(carrier: Arc<dyn Carrier>) -> Road {
    let mut config = Config::default();
    config.log.queries = Queries::None;
    config.cache.serve_stale = Duration::ZERO;
    config.cache.prefetch = false;
    config.cache.bytes = 1 << 20;
    config.listen.identity = "box-7".into();
    let policy = accepted(ALLOWED).policy;
    let grants = Grants::of(&config).expect("the defaults are patterns");
    let live = Live::new(&policy, &config, &grants, 1, [0; 32]);
    let zone = ZoneText {
        file: "corp.internal.zone".to_owned(),
        origin_hint: OURS[0].parse().ok(),
        text: ZONE.to_owned(),
    };
    let zones = Zones::parse(&[zone]).expect("a zone");
    let server = SocketAddr::from(([192, 0, 2, 53], 53));
    let upstreams = Upstreams::builder(carrier, Duration::from_secs(2), false)
        .zone(Name::ROOT, &[(server, Over::Udp)])
        .build();
    let telemetry = Arc::new(Telemetry::open(&config.log).expect("there is no file to open"));
    Road::new(&config, &grants, live, zones, upstreams, telemetry)
}

/// A message goes down the road twice.
pub fn road(input: &[u8]) {
    let Some(([how, len @ ..], rest)) = input.split_first_chunk::<3>() else {
        return;
    };
    let len = usize::from(u16::from_be_bytes(*len));
    let Some((message, upstream)) = rest.split_at_checked(len) else {
        return;
    };
    let address = if how & 2 == 0 {
        [127, 0, 0, 1]
    } else {
        [192, 0, 2, 7]
    };
    let client = Client {
        address: SocketAddr::from((address, 40_000)),
        transport: if how & 1 == 0 {
            Transport::Udp
        } else {
            Transport::Tcp
        },
    };
    HOUSE.with(|house| {
        *house.parrot.reply.lock().expect("no panic under it") = upstream.to_vec();
        house.runtime.block_on(house.twice(message, &client));
    });
}

impl House {
    async fn twice(&self, message: &[u8], client: &Client) {
        let first = self.ask(message, client).await;
        let asked = self.asked();
        manners(message, client, first.as_deref());
        reticence(message, client, &asked);
        let second = self.ask(message, client).await;
        let is_known = self.asked().is_empty();
        if is_known && stays(message) {
            assert_eq!(first, second, "it is another answer");
        }
        advance(LONG).await;
    }

    async fn ask(&self, message: &[u8], client: &Client) -> Option<Vec<u8>> {
        let now = Instant::now().into_std();
        let mut reply = Vec::new();
        match self.road.answer_now(message, client, now, &mut reply) {
            Step::Reply => {}
            Step::Silence => return None,
            Step::Later(pending) => {
                let ready = self.road.answer_later(pending).await;
                self.road.finish(ready, &mut reply);
            }
        }
        Some(reply)
    }

    /// What upstream has heard since.
    fn asked(&self) -> Vec<Name> {
        std::mem::take(&mut self.parrot.asked.lock().expect("no panic under it"))
    }
}

/// What every reply keeps to; and nothing is silent but what has no reply.
fn manners(message: &[u8], client: &Client, reply: Option<&[u8]>) {
    let query = Query::read(message);
    let Some(reply) = reply else {
        let is_stranger = !client.address.ip().is_loopback();
        let has_none = message.len() < 12 || message[2] & 0x80 != 0;
        assert!(query.is_err() && (has_none || is_stranger), "silence");
        return;
    };
    let edns = match &query {
        Ok(query) => query.edns().copied(),
        Err(bad) => bad.edns().copied(),
    };
    let limit = match client.transport {
        Transport::Udp => udp_limit(edns.as_ref(), PAYLOAD),
        Transport::Tcp => MESSAGE_OCTETS_MAX,
    };
    assert!(reply.len() <= limit, "{} octets", reply.len());
    assert_eq!(reply[..2], message[..2]);
    assert_eq!(reply[2] & !0x06, 0x80 | message[2] & 0x79);
    assert_eq!(reply[3] & 0xD0, 0x80 | message[3] & 0x10);
    if let Ok(query) = &query {
        assert_eq!(reply[12..][..query.question().len()], *query.question());
    }
    if query.as_ref().is_ok_and(|it| it.class() != CLASS_IN) {
        return;
    }
    match Message::read(reply) {
        Ok(read) => readable(&read, reply, edns.is_some()),
        Err(why) => assert!(
            query.is_err(),
            "{why:?}: only a refusal repeats such things"
        ),
    }
}

/// By us, and by others unless upstream's data went through as it came.
fn readable(read: &Message<'_>, reply: &[u8], has_opt: bool) {
    assert_eq!(read.has_opt(), has_opt);
    let sections = [Section::Answer, Section::Authority, Section::Additional];
    let mut records = sections.into_iter().flat_map(|it| read.records(it));
    let passed = records.any(|it| it.kind != Type::A && it.kind != Type::AAAA);
    let theirs = op::Message::from_vec(reply);
    assert!(theirs.is_ok_and(|it| it.edns.is_some() == has_opt) || passed);
}

/// Upstream hears first of the name that was asked for, and only if the policy has it.
fn reticence(message: &[u8], client: &Client, asked: &[Name]) {
    let Some(first) = asked.first() else { return };
    let query = Query::read(message).expect("nothing else leads upstream");
    assert!(
        client.address.ip().is_loopback(),
        "a stranger asks upstream"
    );
    let is_ours = |it: &str| query.name().is_at_or_below(&it.parse().expect("a name"));
    assert!(is_allowed(first), "upstream hears of {first:?}");
    assert!(first == query.name() || OURS.iter().any(|it| is_ours(it)));
}

/// The policy above in other words.
fn is_allowed(name: &Name) -> bool {
    let text = name.to_string();
    let is_plain = name
        .labels()
        .flatten()
        .all(|it| it.is_ascii_alphanumeric() || b"-_".contains(it));
    is_plain && (text == "github.com" || text.ends_with(".npmjs.org") || text.ends_with(".example"))
}

/// Has this the same answer while nothing changes? A cookie has its time, and what we tell of ourselves tells of the last query.
fn stays(message: &[u8]) -> bool {
    let (edns, name) = match Query::read(message) {
        Ok(query) => (query.edns().copied(), Some(*query.name())),
        Err(bad) => (bad.edns().copied(), None),
    };
    let ours: Name = OURS[1].parse().expect("a name");
    edns.is_none_or(|it| it.wants.cookie.is_none())
        && name.is_none_or(|it| !it.is_at_or_below(&ours))
}
