//! The road of a query: read, judged, answered, counted.
//!
//! [`Road::answer_now`](front::Road::answer_now) is the whole of it, up to its one
//! await; `answer_later` is the rest of the same road. Every transport takes it.
//! Up to the await nothing allocates on the way to a special, blocked or cached answer.

mod explain;

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use ipnet::IpNet;

use self::explain::Looks;
use super::announced::Announced;
use super::audit::Audit;
use super::cookies::Cookies;
use super::fetch::{Fetcher, Known};
use super::live::{Grants, Live, reason, reason_denied};
use super::places::{Place, Places};
use super::rate::Rates;
use crate::answer::blocked::would_deny;
use crate::answer::cache::{Cache, Entry, Found};
use crate::answer::guard::PRIVATE_REMOVED;
use crate::answer::upstream::Upstreams;
use crate::answer::why::{self, Texts};
use crate::answer::zone::{ZoneAnswer, Zones};
use crate::answer::{Desk, Outcome, Reason};
use crate::config::{Config, PrivateAnswers, Types};
use crate::front::{self, Client, Step, Transport};
use crate::matcher::{Denial, Grant, Rule, Rules, Verdict, Why};
use crate::telemetry::{self, Done, Telemetry};
use crate::wire::{
    ANY_HINFO, Age, Asked, CLASS_IN, Ede, Edns, Head, Keepalive, MESSAGE_OCTETS_MAX, Malformed,
    Name, Options, Query, Rcode, Room, Section, Type, Unreadable, Wants, reply, reply_unreadable,
    udp_limit,
};

/// RFC 8767 §4: what a stale answer says of its life.
const STALE_TTL_S: u32 = 30;
/// Who asks without an address: a client of his own.
const OPERATOR: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
/// Of the answer to ANY.
const ANY_TTL_S: u32 = 3600;

/// The corridor, with all its desks.
pub struct Road {
    manners: Manners,
    live: ArcSwap<Live>,
    zones: ArcSwap<Zones>,
    fetcher: Fetcher,
    /// Patterns that may answer with private addresses.
    private_allowed: Rules,
    audit: Audit,
    inflight: Arc<Places>,
    looks: Looks,
    rates: Option<Rates>,
    /// None: those of clients are ignored.
    cookies: Option<Cookies>,
    telemetry: Arc<Telemetry>,
    announced: Announced,
}

/// What the configuration says about the manner of answering.
struct Manners {
    clients: Vec<IpNet>,
    udp_payload: u16,
    /// How long a connection may be silent, as RFC 7828 §3.1 counts.
    tcp_idle_ds: u16,
    dnssec_ancestors: bool,
    private_answers: PrivateAnswers,
    types: Types,
    prefetch: bool,
    /// Our own zone, where those in the box may ask why.
    own_zone: Option<Name>,
    contact: String,
    version: String,
    identity: String,
}

/// Why a name may pass, and what it may see.
#[derive(Clone, Copy)]
struct Pass {
    reason: Reason,
    rule: Option<Rule>,
    sees_private: bool,
    /// In an audit: why it would not have passed.
    audited: Option<Why>,
}

/// A query on its way.
struct Visit<'a> {
    query: Query<'a>,
    client: Client,
    began: Instant,
    live: &'a Arc<Live>,
    /// The smallest TTL of the reply, noted by whoever writes records into it.
    ttl_s: Cell<Option<u32>>,
}

/// A query that waits.
pub struct Pending {
    asker: Asker,
    errand: Errand,
    place: Option<Place>,
}

/// A query that has waited.
pub struct Ready {
    asker: Asker,
    answer: Answer,
}

/// Who asked, what, when, and under which policy.
struct Asker {
    octets: Box<[u8]>,
    client: Client,
    began: Instant,
    live: Arc<Live>,
}

/// What a query waits for.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are the large one, and a box would be an allocation more"
)]
enum Errand {
    Zone(Arc<Zones>),
    /// What is known about the policy, for a name of ours.
    Look,
    Upstream {
        asked: Asked,
        pass: Pass,
        stale: Option<Arc<Entry<Known>>>,
    },
}

/// What it has waited for.
enum Answer {
    /// None: something that cannot be said.
    Zone(Option<ZoneAnswer>),
    /// None: nothing can be said any more.
    Look(Option<Texts>),
    Upstream {
        pass: Pass,
        entry: Arc<Entry<Known>>,
    },
}

impl Asker {
    /// None: something that cannot be said.
    async fn ask(&self, zones: &Zones) -> Option<ZoneAnswer> {
        let query = self.visit().query;
        zones.answer(&query).await
    }

    fn visit(&self) -> Visit<'_> {
        let query = Query::read(&self.octets).expect("it was read before it waited");
        Visit {
            query,
            client: self.client,
            began: self.began,
            live: &self.live,
            ttl_s: Cell::new(None),
        }
    }
}

impl Road {
    /// A road with an empty cache; to be called inside a runtime. `upstreams` are those of the configuration, whatever carries their messages.
    pub fn new(
        config: &Config,
        grants: &Grants,
        live: Live,
        zones: Zones,
        upstreams: Upstreams,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        let private_allowed = Rules::builder()
            .grant(Grant::Listed, &grants.private_allowed_for)
            .build();
        Self {
            manners: Manners {
                clients: config.listen.clients.clone(),
                udp_payload: config.listen.udp_payload,
                tcp_idle_ds: u16::try_from(config.listen.tcp_idle.as_millis() / 100)
                    .unwrap_or(u16::MAX),
                dnssec_ancestors: config.blocked.dnssec_ancestors,
                private_answers: config.guard.private_answers,
                types: config.guard.types.clone(),
                prefetch: config.cache.prefetch,
                own_zone: config.blocked.explain_zone.then(why::apex),
                contact: config.blocked.contact.clone(),
                version: config.listen.version.clone(),
                identity: config.listen.identity.clone(),
            },
            live: ArcSwap::from_pointee(live),
            zones: ArcSwap::from_pointee(zones),
            fetcher: Fetcher::new(config, upstreams),
            private_allowed,
            audit: Audit::none(),
            inflight: Places::new(config.listen.max_inflight),
            looks: Looks::new(Instant::now()),
            rates: Rates::new(config.listen.rate_per_client, Instant::now()),
            cookies: config.listen.cookies.then(Cookies::new),
            telemetry,
            announced: Announced::default(),
        }
    }

    /// The same road, with an audit.
    #[must_use]
    pub fn audited(mut self, audit: Audit) -> Self {
        self.audit = audit;
        self
    }

    /// Whether the policy is enforced, or only asked.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// The next query from this address of ours is our own.
    pub(super) fn expect_probe_from(&self, address: SocketAddr) {
        self.announced.announce(address);
    }

    /// Puts another policy in force: the next query is judged by it.
    pub fn go_live(&self, live: Live) {
        self.live.store(Arc::new(live));
    }

    /// Puts other zones in place of all there are.
    pub fn serve_zones(&self, zones: Zones) {
        self.zones.store(Arc::new(zones));
    }

    /// Keeps the secret of cookies fresh, where there is one, for as long as it is polled.
    pub(super) async fn renew_cookies(&self) {
        if let Some(cookies) = &self.cookies {
            cookies.renew_daily().await;
        }
    }

    /// The policy in force.
    pub fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// Queries that wait.
    pub fn inflight(&self) -> usize {
        self.inflight.taken()
    }

    /// The local zones that are served.
    pub(super) fn zones(&self) -> Arc<Zones> {
        self.zones.load_full()
    }

    /// Asks upstream for somebody who is no client, if there is room for one more; what it says is kept as always.
    pub(super) async fn fetch(&self, asked: &Asked) -> Option<Arc<Entry<Known>>> {
        let _place = self.inflight.take(OPERATOR)?;
        Some(self.fetcher.fetch(asked).await)
    }

    /// The cache, for its figures.
    pub fn cache(&self) -> &Cache<Known> {
        self.fetcher.cache()
    }

    /// The resolvers, for their figures.
    pub fn upstreams(&self) -> &Upstreams {
        self.fetcher.upstreams()
    }
}

impl front::Road for Road {
    type Pending = Pending;
    type Ready = Ready;

    fn answer_now(
        self: &Arc<Self>,
        octets: &[u8],
        client: &Client,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Step<Pending> {
        // One query, one policy: it holds on to the one in force when it came.
        let live = self.live.load();
        let query = match Query::read(octets) {
            Ok(query) => query,
            Err(bad) => return self.refuse(octets, &bad, client, now, &live, out),
        };
        if client.transport == Transport::Tcp
            && let Some(bad) = query.fault_over_tcp()
        {
            return self.refuse(octets, &bad, client, now, &live, out);
        }
        let visit = Visit {
            query,
            client: *client,
            began: now,
            live: &live,
            ttl_s: Cell::new(None),
        };
        if let Some(reason) = self.unwelcome(client, now) {
            return self.turn_away(&visit, reason, out);
        }
        if query.class() != CLASS_IN {
            return self.chaos(&visit, out);
        }
        // What is told of ourselves goes before all that is served or forwarded: it never leaves the machine.
        if self.manners.own_zone.is_some()
            && let Some(topic) = why::topic(query.name())
        {
            return self.explain(&visit, topic, out);
        }
        let zones = self.zones.load();
        if zones.covers(query.name()) {
            return self.wait(&visit, Errand::Zone(zones.clone()), out);
        }
        if let Some(hit) = self.fetcher.special_use(query.name()) {
            let room = self.room(&visit);
            let rcode = hit.write(&query, room, out);
            return self.replied(&visit, None, Desk::Special, Reason::SpecialUse, rcode, None);
        }
        let pass = match live.rules.judge(query.name()) {
            Verdict::Allow(rule) => self.pass(&visit, rule),
            Verdict::Deny(denial) if self.opens_for_dnssec(&query, denial) => Pass {
                reason: Reason::DnssecAncestor,
                rule: None,
                sees_private: false,
                audited: None,
            },
            Verdict::Deny(denial) => match self.pass_in_audit(&visit, denial) {
                Some(pass) => pass,
                None => return self.deny(&visit, denial, &zones, out),
            },
        };
        if let Some(step) = self.answer_by_type(&visit, pass, out) {
            return step;
        }
        let asked = query.asked();
        self.cache().find(&asked, now, |found| {
            let stale = match found {
                Found::Fresh { entry, due } => {
                    if due && self.manners.prefetch {
                        self.refresh(asked, client);
                    }
                    return self.tell(&visit, pass, entry, Desk::Cache, now, out);
                }
                Found::Stale(entry) => Some(entry.clone()),
                Found::Nothing => None,
            };
            self.wait(&visit, Errand::Upstream { asked, pass, stale }, out)
        })
    }

    async fn answer_later(self: &Arc<Self>, pending: Pending) -> Ready {
        let Pending {
            asker,
            errand,
            mut place,
        } = pending;
        let answer = match errand {
            // The lookup of another's crate, which may take any room: it has a place of its own, so that others need less.
            Errand::Zone(zones) => Answer::Zone(Box::pin(asker.ask(&zones)).await),
            Errand::Look => Answer::Look(Box::pin(self.look(&asker, place.take())).await),
            Errand::Upstream { asked, pass, stale } => {
                let entry = self.fetcher.fetch_or_stale(&asked, stale).await;
                Answer::Upstream { pass, entry }
            }
        };
        // It waits for upstream no longer; a client that does not read his replies takes nobody's place.
        drop(place);
        Ready { asker, answer }
    }

    fn finish(self: &Arc<Self>, ready: Ready, out: &mut Vec<u8>) {
        let visit = ready.asker.visit();
        let _ = match ready.answer {
            Answer::Zone(answer) => self.tell_zone(&visit, answer, out),
            Answer::Look(texts) => self.tell_texts(&visit, texts.as_ref(), out),
            Answer::Upstream { pass, entry } => {
                let now = tokio::time::Instant::now().into_std();
                self.tell(&visit, pass, &entry, Desk::Upstream, now, out)
            }
        };
    }
}

/// Who is answered, and what needs no asking.
impl Road {
    /// A message that is not a question that we judge.
    fn refuse(
        &self,
        octets: &[u8],
        bad: &Unreadable,
        client: &Client,
        now: Instant,
        live: &Live,
        out: &mut Vec<u8>,
    ) -> Step<Pending> {
        // A stranger's broken message gets nothing: his address may be somebody else's.
        let is_stranger = self.unwelcome(client, now).is_some();
        let bad = self.cookie_judged(bad, client);
        let answered =
            !is_stranger && reply_unreadable(octets, &bad, self.room_for(bad.edns(), client), out);
        let reason = match bad.why {
            _ if is_stranger => Reason::ClientAcl,
            Malformed::CookieAlone | Malformed::BadCookie => Reason::Local,
            Malformed::OtherOpcode
            | Malformed::OtherClass
            | Malformed::Transfer
            | Malformed::MetaType => Reason::NotServed,
            Malformed::TooShort
            | Malformed::IsResponse
            | Malformed::NoQuestion
            | Malformed::ManyQuestions
            | Malformed::Truncated
            | Malformed::NameTooLong
            | Malformed::BadLabelType
            | Malformed::BadPointer
            | Malformed::TrailingOctets
            | Malformed::StrayRecord
            | Malformed::ManyOpts
            | Malformed::BadOpt
            | Malformed::BadOption
            | Malformed::OtherEdnsVersion
            | Malformed::Signed
            | Malformed::NxnameAsked
            | Malformed::BadData => Reason::Malformed,
        };
        let rcode = bad.why.rcode().filter(|_| answered);
        let outcome = Outcome {
            desk: Desk::Front,
            reason,
            rcode,
            ede: None,
        };
        self.count(&Done {
            name: None,
            kind: Type(0),
            transport: transport(client),
            client: client.address,
            outcome,
            rule: None,
            generation: live.generation.into(),
            began: now,
            took: now.elapsed(),
            ttl_s: None,
        });
        if answered { Step::Reply } else { Step::Silence }
    }

    /// What a cookie without a question is, by those who make cookies (RFC 7873 §5.4).
    fn cookie_judged(&self, bad: &Unreadable, client: &Client) -> Unreadable {
        let mut bad = *bad;
        if bad.why == Malformed::CookieAlone {
            let sent = bad.edns().and_then(|edns| edns.wants.cookie);
            bad.why = match (&self.cookies, sent) {
                (Some(cookies), Some(sent)) if cookies.refuse(&sent, client.address) => {
                    Malformed::BadCookie
                }
                (Some(_), _) => Malformed::CookieAlone,
                (None, _) => Malformed::NoQuestion,
            };
        }
        bad
    }

    /// Is this client not ours to serve, or has it asked too much?
    fn unwelcome(&self, client: &Client, now: Instant) -> Option<Reason> {
        let ip = client.address.ip().to_canonical();
        if !self.manners.clients.iter().any(|net| net.contains(&ip)) {
            return Some(Reason::ClientAcl);
        }
        let over = self
            .rates
            .as_ref()
            .is_some_and(|rates| !rates.take(client.origin(), now));
        over.then_some(Reason::Rate)
    }

    fn turn_away(&self, visit: &Visit<'_>, reason: Reason, out: &mut Vec<u8>) -> Step<Pending> {
        let text: &[u8] = if reason == Reason::Rate {
            b"too many queries"
        } else {
            b"not a client of this resolver"
        };
        let ede = Ede {
            code: Ede::PROHIBITED,
            text,
        };
        self.write_plain(visit, Rcode::REFUSED, Some(ede), out);
        self.replied(
            visit,
            None,
            Desk::Front,
            reason,
            Rcode::REFUSED,
            Some(ede.code),
        )
    }

    /// CHAOS: the two names that operators ask servers for (RFC 4892), where ours are told.
    fn chaos(&self, visit: &Visit<'_>, out: &mut Vec<u8>) -> Step<Pending> {
        let told = match visit.query.name().octets() {
            b"\x07version\x04bind\x00" => &self.manners.version,
            b"\x02id\x06server\x00" => &self.manners.identity,
            _ => "",
        };
        let (reason, rcode) = if told.is_empty() || visit.query.kind() != Type::TXT {
            self.write_plain(visit, Rcode::REFUSED, None, out);
            (Reason::NotServed, Rcode::REFUSED)
        } else {
            let room = self.room(visit);
            let head = Head::ours(Rcode::NOERROR);
            reply(&visit.query, head, out)
                .chaos_text(told)
                .finish(None, room);
            (Reason::Local, Rcode::NOERROR)
        };
        self.replied(visit, None, Desk::Front, reason, rcode, None)
    }

    fn pass(&self, visit: &Visit<'_>, rule: Rule) -> Pass {
        Pass {
            reason: reason(rule),
            rule: Some(rule),
            sees_private: self.sees_private(visit.live, visit.query.name(), Some(rule)),
            audited: None,
        }
    }

    /// In an audit a name that is denied takes the road of one that is listed. What not even `allow_all` lets pass is
    /// denied all the same, and so is everything while there is no policy.
    #[inline]
    fn pass_in_audit(&self, visit: &Visit<'_>, denial: Denial) -> Option<Pass> {
        if !self.audit.is_on() || visit.live.generation == 0 || denial.why == Why::BadLabel {
            return None;
        }
        let Denial { why, .. } = visit.live.search.recognise(visit.query.name(), denial);
        Some(Pass {
            reason: reason_denied(why),
            rule: None,
            sees_private: self.sees_private(visit.live, visit.query.name(), None),
            audited: Some(why),
        })
    }

    /// May the answer for a name hold private addresses? What grants it is none in an audit.
    pub(super) fn sees_private(&self, live: &Live, name: &Name, rule: Option<Rule>) -> bool {
        let by_operator = match self.manners.private_answers {
            PrivateAnswers::Pass => true,
            PrivateAnswers::PassForAllowAll => live.rules.allows_all(),
            PrivateAnswers::Remove => false,
        };
        let is_service = rule.is_some_and(|rule| rule.grant != Grant::Listed);
        by_operator || is_service || self.private_allowed.covers(name)
    }

    /// The keys of names above allowed ones, for clients that validate; the policy fixes these names, so asking says nothing.
    fn opens_for_dnssec(&self, query: &Query<'_>, denial: Denial) -> bool {
        self.manners.dnssec_ancestors
            && denial.is_ancestor
            && denial.why == Why::NotListed
            && matches!(query.kind(), Type::DS | Type::DNSKEY)
    }

    fn deny(
        &self,
        visit: &Visit<'_>,
        denial: Denial,
        zones: &Zones,
        out: &mut Vec<u8>,
    ) -> Step<Pending> {
        let name = visit.query.name();
        let denial = visit.live.search.recognise(name, denial);
        let served = zones.apexes().chain(&self.manners.own_zone);
        let denial = served.fold(denial, |it, apex| it.beside(name, apex));
        let rcode = visit
            .live
            .blocked
            .deny(&visit.query, denial, self.room(visit), out);
        visit.ttl_s.set(Some(visit.live.blocked.ttl_s()));
        self.replied(
            visit,
            None,
            Desk::Blocked,
            reason_denied(denial.why),
            rcode,
            Some(Ede::BLOCKED),
        )
    }

    /// The types of an allowed name that are answered without asking.
    fn answer_by_type(
        &self,
        visit: &Visit<'_>,
        pass: Pass,
        out: &mut Vec<u8>,
    ) -> Option<Step<Pending>> {
        let kind = visit.query.kind();
        if kind == Type::ANY {
            let ede = pass.audited.map(would_deny);
            self.write_any(visit, ede, out);
            return Some(self.replied(
                visit,
                pass.rule,
                Desk::Special,
                pass.audited.map_or(Reason::Any, reason_denied),
                Rcode::NOERROR,
                ede.map(|it| it.code),
            ));
        }
        let is_served = match &self.manners.types {
            Types::All => true,
            Types::Listed(types) => types.contains(&kind),
        };
        (!is_served).then(|| self.nodata(visit, pass, "type not served", Reason::Qtype, out))
    }

    /// RFC 8482 §4.2.
    fn write_any(&self, visit: &Visit<'_>, ede: Option<Ede<'_>>, out: &mut Vec<u8>) {
        let room = self.room(visit);
        let head = Head::ours(Rcode::NOERROR);
        reply(&visit.query, head, out)
            .record(Section::Answer, 0, Type::HINFO, ANY_TTL_S, ANY_HINFO)
            .finish(ede, room);
        visit.ttl_s.set(Some(ANY_TTL_S));
    }

    fn nodata(
        &self,
        visit: &Visit<'_>,
        pass: Pass,
        why: &'static str,
        reason: Reason,
        out: &mut Vec<u8>,
    ) -> Step<Pending> {
        let rcode = visit
            .live
            .blocked
            .nodata(&visit.query, why, self.room(visit), out);
        visit.ttl_s.set(Some(visit.live.blocked.ttl_s()));
        self.replied(
            visit,
            pass.rule,
            Desk::Blocked,
            reason,
            rcode,
            Some(Ede::BLOCKED),
        )
    }

    /// Gives an answer that is known, as this client may see it.
    fn tell(
        &self,
        visit: &Visit<'_>,
        pass: Pass,
        entry: &Entry<Known>,
        desk: Desk,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Step<Pending> {
        let Known { finding, failed } = entry.value();
        let Some((sections, authentic)) = finding.records(pass.sees_private) else {
            let (why, reason) = (PRIVATE_REMOVED, Reason::PrivateAddress);
            return self.nodata(visit, pass, why, reason, out);
        };
        let (age, ede) = match entry.is_overdue() {
            true => (Age::Fixed(STALE_TTL_S), Some(stale_ede(finding.rcode))),
            false => (
                Age::Seconds(entry.age_s(now)),
                finding
                    .ede
                    .as_deref()
                    .map(|(code, text)| Ede { code: *code, text }),
            ),
        };
        // A failure has a reason of its own, which the client needs more.
        let ede = match pass.audited {
            Some(why) if failed.is_none() => Some(would_deny(why)),
            _ => ede,
        };
        let room = self.room(visit);
        let head = Head {
            rcode: finding.rcode,
            authoritative: false,
            authentic,
        };
        reply(&visit.query, head, out)
            .sections(sections, age)
            .finish(ede, room);
        visit.ttl_s.set(sections.ttl_s(age));
        // Of a name that is audited the policy's word counts, also where upstream fails.
        let failed = failed.filter(|_| pass.audited.is_none());
        let reason = failed.unwrap_or(pass.reason);
        self.replied(
            visit,
            pass.rule,
            desk,
            reason,
            finding.rcode,
            ede.map(|it| it.code),
        )
    }

    fn write_plain(
        &self,
        visit: &Visit<'_>,
        rcode: Rcode,
        ede: Option<Ede<'_>>,
        out: &mut Vec<u8>,
    ) {
        let room = self.room(visit);
        reply(&visit.query, Head::plain(rcode), out).finish(ede, room);
    }

    fn room(&self, visit: &Visit<'_>) -> Room<'_> {
        self.room_for(visit.query.edns(), &visit.client)
    }

    /// What a reply to this OPT, or to none, has to keep to.
    fn room_for(&self, edns: Option<&Edns>, client: &Client) -> Room<'_> {
        let payload = self.manners.udp_payload;
        let limit = match client.transport {
            Transport::Udp => udp_limit(edns, payload),
            Transport::Tcp => MESSAGE_OCTETS_MAX,
        };
        Room {
            payload,
            limit,
            options: edns.map_or_else(Options::default, |it| self.options(&it.wants, client)),
        }
    }

    /// What is said to a client's options.
    #[inline]
    fn options(&self, wants: &Wants, client: &Client) -> Options<'_> {
        let identity = &self.manners.identity;
        let by_tcp = client.transport == Transport::Tcp;
        let cookie = match (&wants.cookie, &self.cookies) {
            (Some(sent), Some(cookies)) => Some(cookies.answer(sent, client.address)),
            _ => None,
        };
        Options {
            cookie,
            keepalive: (by_tcp && wants.keepalive == Keepalive::Asked)
                .then_some(self.manners.tcp_idle_ds),
            nsid: (wants.nsid && !identity.is_empty()).then_some(identity),
        }
    }

    /// Every reply to a question is counted and logged here, and nowhere else.
    fn replied(
        &self,
        visit: &Visit<'_>,
        rule: Option<Rule>,
        desk: Desk,
        reason: Reason,
        rcode: Rcode,
        ede: Option<u16>,
    ) -> Step<Pending> {
        self.count(&Done {
            name: Some(visit.query.name()),
            kind: visit.query.kind(),
            transport: transport(&visit.client),
            client: visit.client.address,
            outcome: Outcome {
                desk,
                reason,
                rcode: Some(rcode),
                ede: ede.filter(|_| visit.query.edns().is_some()),
            },
            rule,
            generation: visit.live.generation.into(),
            began: visit.began,
            took: visit.began.elapsed(),
            ttl_s: visit.ttl_s.get(),
        });
        Step::Reply
    }
}

/// What is counted.
impl Road {
    fn count(&self, done: &Done<'_>) {
        if !self.announced.is(done) {
            self.telemetry.done(done);
        }
    }
}

/// What takes waiting.
impl Road {
    /// Sets a query aside, if there is room for one more of this client's.
    fn wait(&self, visit: &Visit<'_>, errand: Errand, out: &mut Vec<u8>) -> Step<Pending> {
        let places = match errand {
            Errand::Look => &self.looks.places,
            Errand::Zone(_) | Errand::Upstream { .. } => &self.inflight,
        };
        let place = places.take(visit.client.origin());
        // A zone answers from memory: it goes on when those who wait for upstream are too many (SPEC 6).
        if place.is_none() && !matches!(errand, Errand::Zone(_)) {
            return self.overload(visit, errand, out);
        }
        let asker = Asker {
            octets: visit.query.octets().into(),
            client: visit.client,
            began: visit.began,
            live: visit.live.clone(),
        };
        Step::Later(Pending {
            asker,
            errand,
            place,
        })
    }

    fn overload(&self, visit: &Visit<'_>, errand: Errand, out: &mut Vec<u8>) -> Step<Pending> {
        if let Errand::Upstream {
            pass,
            stale: Some(entry),
            ..
        } = errand
        {
            let held = self.fetcher.hold(&entry, visit.began);
            return self.tell(visit, pass, &held, Desk::Cache, visit.began, out);
        }
        let ede = Ede {
            code: Ede::OTHER,
            text: b"too many queries in flight",
        };
        self.write_plain(visit, Rcode::SERVFAIL, Some(ede), out);
        self.replied(
            visit,
            None,
            Desk::Front,
            Reason::Overload,
            Rcode::SERVFAIL,
            Some(ede.code),
        )
    }

    fn tell_zone(
        &self,
        visit: &Visit<'_>,
        answer: Option<ZoneAnswer>,
        out: &mut Vec<u8>,
    ) -> Step<Pending> {
        let Some(answer) = answer else {
            self.write_plain(visit, Rcode::SERVFAIL, None, out);
            return self.replied(
                visit,
                None,
                Desk::Zone,
                Reason::Local,
                Rcode::SERVFAIL,
                None,
            );
        };
        let room = self.room(visit);
        let head = Head {
            rcode: answer.rcode,
            authoritative: answer.authoritative,
            authentic: false,
        };
        reply(&visit.query, head, out)
            .sections(&answer.sections, Age::Seconds(0))
            .finish(None, room);
        visit.ttl_s.set(answer.sections.ttl_s(Age::Seconds(0)));
        self.replied(visit, None, Desk::Zone, Reason::Local, answer.rcode, None)
    }

    /// Fetches a popular answer again before it goes, if there is room; nobody waits for it.
    fn refresh(&self, asked: Asked, client: &Client) {
        if let Some(place) = self.inflight.take(client.origin()) {
            self.fetcher.refresh(asked, place);
        }
    }
}

/// RFC 8914 §4.4 and §4.20.
fn stale_ede(rcode: Rcode) -> Ede<'static> {
    let code = if rcode == Rcode::NXDOMAIN {
        Ede::STALE_NXDOMAIN
    } else {
        Ede::STALE_ANSWER
    };
    Ede {
        code,
        text: b"upstream does not answer",
    }
}

fn transport(client: &Client) -> telemetry::Transport {
    match client.transport {
        Transport::Udp => telemetry::Transport::Udp,
        Transport::Tcp => telemetry::Transport::Tcp,
    }
}
