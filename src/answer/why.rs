//! What the resolver says of its policy to those in the box, as texts: the names below `namegate.internal`.
//!
//! A name comes in and is a [`Topic`] or nothing of ours; what is known about it
//! comes in as values, and goes out as [`Texts`], one TXT record each. They say
//! what was decided, that it is meant so, and whom to ask; never how a policy is
//! made wider. Who asked, and what was decided, is found out elsewhere.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use crate::answer::{Reason, Ruling};
use crate::matcher::{Kinship, Near};
use crate::wire::{HEADER_OCTETS, Head, Name, Query, Rcode, Room, Section, Type, reply};

/// The zone of ours.
const APEX: &[u8] = b"\x08namegate\x08internal\x00";
/// What stands behind a name that is asked about.
const WHY: &[u8] = b"\x03why\x08namegate\x08internal\x00";
const LAST: &[u8] = b"\x04last\x08namegate\x08internal\x00";
/// The next question is to see the next policy, whatever cache stands in between.
const TTL_S: u32 = 0;
/// Octets of one string of a TXT record (RFC 1035 §3.3).
const STRING_OCTETS_MAX: usize = 255;
/// Of an answer's record beside its data: a pointer, type, class, TTL and length.
const RECORD_OCTETS: usize = 12;
/// An OPT without options (RFC 6891 §6.1.2).
const OPT_OCTETS: usize = 11;
/// A policy's name in a text; a longer one is cut.
const POLICY_CHARS_MAX: usize = 64;
/// Names that [`Topic::Last`] tells of.
pub const REFUSALS_MAX: usize = 10;

const DELIBERATE: &str = "This is deliberate, and no fault of the network: retrying, another resolver, a proxy or a VPN will not help.";
const AUDITED: &str = "An audit is on: for as long as it lasts, this name resolves all the same.";
/// What to ask for next.
const ABOUT_NAMES: &str = "Why a name resolves or does not: ask for TXT NAME.why.namegate.internal";
const ABOUT_CLIENTS: &str =
    "What was blocked for this client lately: ask for TXT last.namegate.internal";

/// What a name of ours is about.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "it is looked at, and stored nowhere"
)]
pub enum Topic {
    /// The policy in force.
    Policy,
    /// How to ask why.
    Usage,
    /// What is decided about this name.
    Name(Name),
    /// What was refused to this client lately.
    Last,
    /// There is no such name.
    Nothing,
}

/// The zone's own name.
pub fn apex() -> Name {
    Name::of_octets(APEX).expect("a constant name")
}

/// What `name` is about, and at which of its octets the zone begins; none: it is not ours.
#[inline]
pub fn topic(name: &Name) -> Option<(Topic, usize)> {
    let octets = name.octets();
    if !octets.ends_with(APEX) {
        return None;
    }
    let apex_at = octets.len() - APEX.len();
    // The octets may stand in the midst of a label.
    let is_ours = name.starts().any(|at| at == apex_at);
    is_ours.then(|| (topic_of(name, apex_at), apex_at))
}

fn topic_of(name: &Name, apex_at: usize) -> Topic {
    let octets = name.octets();
    if apex_at == 0 {
        return Topic::Policy;
    }
    if octets == LAST {
        return Topic::Last;
    }
    match name.starts().find(|at| octets[*at..] == *WHY) {
        Some(0) => Topic::Usage,
        Some(at) => {
            let asked = Name::of_octets(&[&octets[..at], &[0]].concat());
            Topic::Name(asked.expect("labels and the root are a name"))
        }
        None => Topic::Nothing,
    }
}

/// The policy in force, and whom to ask about it.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its number; 0: there is none yet.
    pub generation: u32,
    /// Of its file, in hexadecimal.
    pub sha256: &'a str,
    /// Does it allow every name?
    pub allows_all: bool,
    /// Does what it denies resolve all the same, for as long as an audit lasts?
    pub is_audited: bool,
    /// Whom to ask; empty: nobody was named.
    pub contact: &'a str,
}

/// What is decided about a name.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    /// Why so.
    pub reason: Reason,
    /// The pattern that allows it.
    pub pattern: Option<&'a str>,
    /// The nearest of those that do not.
    pub nearest: Option<&'a Near>,
    /// The name, or the one that it counts for: `deb.debian.org`, of `_http._tcp.deb.debian.org`.
    pub host: &'a Name,
    /// Is that one allowed?
    pub is_host_allowed: bool,
    /// Could a policy list it?
    pub is_listable: bool,
}

/// A name that was refused.
#[derive(Clone, Copy, Debug)]
pub struct Refused {
    /// The name.
    pub name: Name,
    /// Why so.
    pub reason: Reason,
    /// How often.
    pub count: u64,
    /// When last.
    pub last: SystemTime,
}

/// Texts, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    first: Vec<String>,
    /// What is left out from the end where there is no room.
    more: Vec<String>,
    last: Vec<String>,
}

impl Policy<'_> {
    /// Says which policy is in force.
    pub fn texts(&self) -> Texts {
        let sha256 = if self.is_none() { "none" } else { self.sha256 };
        let what = if self.is_none() {
            "There is no valid network policy yet: until there is one, no name resolves here."
                .to_owned()
        } else if self.allows_all {
            "This network policy allows every name.".to_owned()
        } else if self.is_audited {
            "An audit is on: names that the network policy does not list resolve, are recorded, and will not resolve when it has ended.".to_owned()
        } else {
            format!(
                "Names that this network policy does not list do not resolve here. {DELIBERATE}"
            )
        };
        Texts {
            first: vec![
                format!("{} mode={} sha256={sha256}", self.facts(), self.mode()),
                what,
                format!("Whom to ask for a name: {}", self.whom()),
            ],
            more: vec![ABOUT_NAMES.to_owned(), ABOUT_CLIENTS.to_owned()],
            last: Vec::new(),
        }
    }

    /// Says how to ask why.
    pub fn usage(&self) -> Texts {
        let example = "for example TXT pypi.org.why.namegate.internal";
        Texts {
            first: vec![format!("{ABOUT_NAMES}, {example}")],
            more: vec![ABOUT_CLIENTS.to_owned()],
            last: Vec::new(),
        }
    }

    /// Says what is decided about a name, and why.
    pub fn decision(&self, decision: &Decision<'_>) -> Texts {
        let Decision { reason, .. } = *decision;
        let ruling = self.ruling(reason);
        let mut facts = format!("verdict={} reason={reason} {}", ruling.word(), self.facts());
        if let Some(pattern) = decision.pattern {
            let _ = write!(facts, " pattern={pattern}");
        }
        let nearest = decision.nearest.map(|near| nearest(near, decision.host));
        Texts {
            first: std::iter::once(facts)
                .chain((ruling == Ruling::WouldBlock).then(|| AUDITED.to_owned()))
                .chain([self.meaning(reason)])
                .collect(),
            more: nearest.into_iter().collect(),
            last: self.advice(decision).into_iter().collect(),
        }
    }

    /// Says what was refused to a client lately; newest first comes in.
    pub fn refusals(&self, client: IpAddr, refused: &[Refused], now: SystemTime) -> Texts {
        let facts = format!("client={client} {}", self.facts());
        if refused.is_empty() {
            let nothing = "No name was blocked for this client lately.".to_owned();
            return Texts {
                first: vec![facts, nothing],
                more: vec![ABOUT_NAMES.to_owned()],
                last: Vec::new(),
            };
        }
        let names = refused.iter().map(|it| it.text(now));
        Texts {
            first: vec![format!(
                "Blocked for this client lately, newest first. {DELIBERATE}"
            )],
            more: names.chain([facts, ABOUT_NAMES.to_owned()]).collect(),
            last: vec![format!(
                "If one is needed, ask {} to allow exactly that name.",
                self.whom()
            )],
        }
    }

    fn mode(&self) -> &'static str {
        if self.is_audited { "audit" } else { "enforce" }
    }

    /// What a decision comes to: an audit lets pass what no list has, and nothing while there is no policy.
    fn ruling(&self, reason: Reason) -> Ruling {
        let is_unlisted = reason.is_unlisted() || reason == Reason::SearchSuffix;
        match self.is_audited && is_unlisted && !self.is_none() {
            true => Ruling::WouldBlock,
            false => reason.ruling(),
        }
    }

    fn is_none(&self) -> bool {
        self.generation == 0
    }

    fn facts(&self) -> String {
        if self.is_none() {
            return "policy=none generation=0".to_owned();
        }
        let name: String = plain(self.name).chars().take(POLICY_CHARS_MAX).collect();
        format!("policy='{name}' generation={}", self.generation)
    }

    fn whom(&self) -> String {
        match self.contact {
            "" => "whoever keeps the network policy".to_owned(),
            contact => plain(contact),
        }
    }

    fn meaning(&self, reason: Reason) -> String {
        let allowed = |by: &str| {
            format!(
                "{by}. If it fails all the same, the list is not the cause: look at upstream, at \
                 private addresses (they are removed from answers), at the network and the server."
            )
        };
        match reason {
            Reason::Exact | Reason::Wildcard | Reason::Any | Reason::DnssecAncestor => {
                allowed("The network policy allows this name")
            }
            Reason::AllowAll => allowed("The network policy allows every name"),
            Reason::GatewayAgent | Reason::GatewayMcp | Reason::Devbox | Reason::Mirrors => {
                allowed("A flag of the network policy allows this name")
            }
            Reason::ForwardExempt => {
                allowed("The operator allows this name, whatever the network policy says")
            }
            Reason::Local | Reason::SpecialUse => {
                "This resolver answers this name itself, whatever the network policy says, and asks nobody for it.".to_owned()
            }
            Reason::DenyAll if self.is_none() => {
                format!("There is no valid network policy yet, and so no name resolves. {DELIBERATE}")
            }
            Reason::DenyAll => format!("The network policy allows no name at all. {DELIBERATE}"),
            Reason::NotListed => format!("The network policy does not list this name. {DELIBERATE}"),
            Reason::BadLabel => {
                format!("A name with other characters than A-Z a-z 0-9 - _ never resolves here. {DELIBERATE}")
            }
            Reason::SearchSuffix => "A search list put an ending behind a name, and nobody needs the whole. \
                The name in front of the ending is asked for, and judged, by itself."
                .to_owned(),
            Reason::PrivateAddress => {
                format!("The name is allowed, its private addresses were removed. {DELIBERATE}")
            }
            Reason::Qtype => {
                format!("The name is allowed, records of this type are not. {DELIBERATE}")
            }
            Reason::UpstreamTimeout
            | Reason::UpstreamServfail
            | Reason::UpstreamUnreachable
            | Reason::Malformed
            | Reason::NotServed
            | Reason::Overload
            | Reason::ClientAcl
            | Reason::Rate => "The network policy plays no part in this.".to_owned(),
        }
    }

    /// What to do, where something is to be done.
    fn advice(&self, decision: &Decision<'_>) -> Option<String> {
        let (host, whom) = (decision.host, self.whom());
        if !decision.reason.is_unlisted() {
            return None;
        }
        Some(if decision.is_host_allowed {
            format!(
                "{host} itself is allowed, and programs go on with that; there is nothing to ask for."
            )
        } else if decision.is_listable {
            format!("If it is needed, ask {whom} to allow exactly this name: {host}")
        } else {
            format!("No network policy can list it. Was another name meant? If not, ask {whom}.")
        })
    }
}

fn nearest(near: &Near, name: &Name) -> String {
    let pattern = &near.pattern;
    let base = pattern.trim_start_matches("*.");
    let kinship = match near.kinship {
        Kinship::ApexOfWildcard => format!("covers names below {base}, not {base} itself"),
        Kinship::BelowExact => "is that name alone, and none below it".to_owned(),
        Kinship::Typo => "is one character away: a slip?".to_owned(),
        Kinship::OtherEnding => "is the same but for its ending".to_owned(),
        Kinship::Above => format!("lies below {name}, and does not cover it"),
    };
    format!("nearest={pattern} {kinship}")
}

impl Refused {
    fn text(&self, now: SystemTime) -> String {
        let age = ago(now.duration_since(self.last).unwrap_or_default());
        let Self {
            name,
            reason,
            count,
            ..
        } = self;
        format!("{name} x{count} {reason} ({age})")
    }
}

/// `5 min ago`
fn ago(age: Duration) -> String {
    match age.as_secs() {
        0..60 => "just now".to_owned(),
        secs @ 60..3600 => format!("{} min ago", secs / 60),
        secs @ 3600..86_400 => format!("{} h ago", secs / 3600),
        secs => format!("{} d ago", secs / 86_400),
    }
}

/// In ASCII that breaks no terminal.
fn plain(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_graphic() || c == ' ';
    text.replace(|c| !is_plain(c), "?")
}

impl Texts {
    /// Writes the answer.
    pub fn write(&self, query: &Query<'_>, room: Room<'_>, out: &mut Vec<u8>) -> Rcode {
        let head = Head::ours(Rcode::NOERROR);
        let mut written = reply(query, head, out);
        for data in self.fitting(query, &room) {
            written = written.record(Section::Answer, 0, Type::TXT, TTL_S, &data);
        }
        written.finish(None, room);
        head.rcode
    }

    /// The data of the records that fit: what may be left out is, where all is too much for a client that has no TCP.
    fn fitting(&self, query: &Query<'_>, room: &Room<'_>) -> Vec<Vec<u8>> {
        let records =
            |texts: &[String]| -> Vec<Vec<u8>> { texts.iter().map(|it| data(it)).collect() };
        let size = |data: &Vec<u8>| RECORD_OCTETS + data.len();
        let (mut all, last) = (records(&self.first), records(&self.last));
        let opt = query
            .edns()
            .map_or(0, |_| OPT_OCTETS + room.options.octets());
        let mut used = HEADER_OCTETS + query.question().len() + opt;
        used += all.iter().chain(&last).map(size).sum::<usize>();
        for data in records(&self.more) {
            used += size(&data);
            if used > room.limit {
                break;
            }
            all.push(data);
        }
        all.extend(last);
        all
    }

    /// The TTL of every record in it, seconds.
    pub fn ttl_s(&self) -> u32 {
        TTL_S
    }
}

/// A text as strings of a TXT record: one, where it is not longer than one may be.
fn data(text: &str) -> Vec<u8> {
    let mut data = Vec::with_capacity(text.len() + 2);
    for string in text.as_bytes().chunks(STRING_OCTETS_MAX) {
        data.push(u8::try_from(string.len()).expect("a chunk has at most 255 octets"));
        data.extend_from_slice(string);
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matcher::{Grant, Rules};
    use crate::policy::Pattern;
    use crate::wire::{MESSAGE_OCTETS_MAX, Message};

    fn name(text: &str) -> Name {
        text.parse().expect(text)
    }

    fn policy() -> Policy<'static> {
        Policy {
            name: "ci",
            generation: 7,
            sha256: "9f2c",
            allows_all: false,
            is_audited: false,
            contact: "#net",
        }
    }

    #[test]
    fn an_audit_is_told_and_what_it_does_not_open_as_well() {
        let audited = Policy {
            is_audited: true,
            ..policy()
        };
        let host = name("pypi.org");
        let told = |policy: &Policy<'_>, reason| {
            lines(&policy.decision(&decision(&host, reason)))[..2].join(" ")
        };
        assert!(lines(&audited.texts())[0].contains("mode=audit"));
        assert!(lines(&policy().texts())[0].contains("mode=enforce"));
        let passed = told(&audited, Reason::NotListed);
        assert!(passed.starts_with("verdict=would_block reason=not_listed "));
        assert!(passed.ends_with(AUDITED));
        for (policy, reason) in [
            (policy(), Reason::NotListed),
            (audited, Reason::BadLabel),
            (
                Policy {
                    generation: 0,
                    ..audited
                },
                Reason::DenyAll,
            ),
        ] {
            let held = told(&policy, reason);
            assert!(
                held.starts_with("verdict=blocked ") && !held.contains(AUDITED),
                "{held}"
            );
        }
    }

    /// The decision of `reason` about a name.
    fn decision(host: &Name, reason: Reason) -> Decision<'_> {
        Decision {
            reason,
            pattern: None,
            nearest: None,
            host,
            is_host_allowed: false,
            is_listable: true,
        }
    }

    fn lines(texts: &Texts) -> Vec<String> {
        let all = [&texts.first, &texts.more, &texts.last];
        all.into_iter().flatten().cloned().collect()
    }

    #[test]
    fn names_of_ours_are_known_by_their_labels() {
        let at = |text: &str| topic(&name(text)).map(|(topic, _)| topic);
        assert_eq!(at("namegate.internal"), Some(Topic::Policy));
        assert_eq!(at("why.namegate.internal"), Some(Topic::Usage));
        assert_eq!(at("last.namegate.internal"), Some(Topic::Last));
        for asked in [
            "pypi.org",
            "_http._tcp.deb.debian.org",
            "why",
            "a\\000b.why.x",
        ] {
            let asked_as = format!("{asked}.why.namegate.internal");
            assert_eq!(at(&asked_as), Some(Topic::Name(name(asked))));
        }
        for nothing in ["x.last", "first", "hostmaster", "xwhy", "pypi.org.how"] {
            let nothing = format!("{nothing}.namegate.internal");
            assert_eq!(at(&nothing), Some(Topic::Nothing), "{nothing}");
        }
        for other in [
            "internal",
            "namegate.internal.example",
            "xnamegate.internal",
            "x\\008namegate\\008internal",
        ] {
            assert_eq!(at(other), None, "{other}");
        }
        let (_, apex_at) = topic(&name("pypi.org.why.namegate.internal")).expect("ours");
        assert_eq!(apex_at, b"\x04pypi\x03org\x03why".len());
    }

    #[test]
    fn a_blocked_name_is_told_why_and_whom_to_ask() {
        let patterns = ["*.npmjs.org"].map(|it| Pattern::parse(it).expect(it));
        let rules = Rules::builder().grant(Grant::Listed, &patterns).build();
        let asked = name("npmjs.org");
        let near = rules.nearest(&asked);
        let decision = Decision {
            nearest: near.first(),
            ..decision(&asked, Reason::NotListed)
        };
        assert_eq!(
            lines(&policy().decision(&decision)),
            [
                "verdict=blocked reason=not_listed policy='ci' generation=7",
                "The network policy does not list this name. This is deliberate, and no fault of the network: \
                 retrying, another resolver, a proxy or a VPN will not help.",
                "nearest=*.npmjs.org covers names below npmjs.org, not npmjs.org itself",
                "If it is needed, ask #net to allow exactly this name: npmjs.org",
            ]
        );
    }

    #[test]
    fn every_reason_is_told_by_its_word() {
        let asked = name("a.example");
        for reason in Reason::ALL {
            let texts = policy().decision(&decision(&asked, reason));
            let facts = format!("verdict={} reason={reason} ", reason.ruling().word());
            assert!(texts.first[0].starts_with(&facts), "{texts:?}");
            assert_eq!(!texts.last.is_empty(), reason.is_unlisted(), "{texts:?}");
            let refused = Refused {
                name: asked,
                reason,
                count: 3,
                last: SystemTime::UNIX_EPOCH,
            };
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(300);
            let refused = policy().refusals([10, 0, 3, 7].into(), &[refused], now);
            let line = format!("a.example x3 {reason} (5 min ago)");
            assert_eq!(refused.more[0], line);
        }
    }

    #[test]
    fn what_no_policy_can_list_is_not_asked_for() {
        let asked = name("registry");
        let decision = Decision {
            is_listable: false,
            ..decision(&asked, Reason::NotListed)
        };
        let texts = policy().decision(&decision);
        let advice = "No network policy can list it. Was another name meant? If not, ask #net.";
        assert_eq!(texts.last, [advice]);
    }

    #[test]
    fn what_is_asked_for_beside_an_allowed_name_is_not_asked_for() {
        let host = name("deb.debian.org");
        let advice = |is_host_allowed| {
            let decision = Decision {
                is_host_allowed,
                ..decision(&host, Reason::NotListed)
            };
            policy().decision(&decision).last
        };
        assert_eq!(
            advice(false),
            ["If it is needed, ask #net to allow exactly this name: deb.debian.org"]
        );
        assert_eq!(
            advice(true),
            [
                "deb.debian.org itself is allowed, and programs go on with that; there is nothing to ask for."
            ]
        );
    }

    #[test]
    fn ages_are_told_as_people_tell_them() {
        for (secs, text) in [
            (59, "just now"),
            (60, "1 min ago"),
            (7199, "1 h ago"),
            (172_800, "2 d ago"),
        ] {
            assert_eq!(ago(Duration::from_secs(secs)), text);
        }
    }

    /// All that can be said, under each kind of policy.
    fn everything() -> Vec<Texts> {
        let evil = Policy {
            name: "ci\u{1b}[31m\u{e4}\n",
            contact: "a\tb",
            ..policy()
        };
        let asked = name("a\\027\\010b.example");
        let mut all = Vec::new();
        for (generation, allows_all) in [(0, false), (1, false), (1, true)] {
            let policy = Policy {
                generation,
                allows_all,
                ..evil
            };
            all.extend([policy.texts(), policy.usage()]);
            for reason in Reason::ALL {
                all.push(policy.decision(&decision(&asked, reason)));
                let last = SystemTime::UNIX_EPOCH;
                let refused = Refused {
                    name: asked,
                    reason,
                    count: 1,
                    last,
                };
                all.push(policy.refusals([127, 0, 0, 1].into(), &[refused], last));
            }
            all.push(policy.refusals([127, 0, 0, 1].into(), &[], SystemTime::UNIX_EPOCH));
        }
        all
    }

    #[test]
    fn nothing_in_it_widens_a_policy_or_breaks_a_terminal() {
        for texts in everything() {
            for text in lines(&texts) {
                let is_plain = |c: char| c.is_ascii_graphic() || c == ' ';
                assert!(text.chars().all(is_plain), "{text:?}");
                for word in ["namegate ", "--allow", "policy add", "allowed_hostnames"] {
                    assert!(!text.contains(word), "{text}");
                }
                // busybox's nslookup shows one string of each record.
                assert!(
                    text.len() <= STRING_OCTETS_MAX,
                    "{} octets: {text}",
                    text.len()
                );
            }
        }
    }

    /// The question for TXT of a name.
    fn question(name: &Name) -> Vec<u8> {
        let header = [0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        [&header[..], name.octets(), b"\0\x10\0\x01"].concat()
    }

    /// How many records a client gets that takes `limit` octets, and whether the answer was cut.
    fn records(texts: &Texts, limit: usize) -> (usize, bool) {
        let octets = question(&name("last.namegate.internal"));
        let query = Query::read(&octets).expect("well-formed");
        let mut out = Vec::new();
        texts.write(&query, Room::plain(1232, limit), &mut out);
        assert!(out.len() <= limit);
        let reply = Message::read(&out).expect("a reply");
        (reply.records(Section::Answer).count(), reply.is_truncated())
    }

    #[test]
    fn what_does_not_fit_is_left_out_from_the_end() {
        let last = SystemTime::UNIX_EPOCH;
        let refused: Vec<Refused> = (0..REFUSALS_MAX)
            .map(|i| Refused {
                name: name(&format!("a-name-as-long-as-they-are-{i}.example")),
                reason: Reason::NotListed,
                count: 1,
                last,
            })
            .collect();
        let texts = policy().refusals([127, 0, 0, 1].into(), &refused, last);
        assert_eq!(records(&texts, MESSAGE_OCTETS_MAX), (14, false));
        assert_eq!(records(&texts, 1232), (14, false));
        assert_eq!(records(&texts, 512), (5, false));
        assert_eq!(records(&texts, 100), (0, true));
    }

    #[test]
    fn a_long_text_is_several_strings() {
        let long = data(&"x".repeat(600));
        let lens = [long[0], long[256], long[512]].map(usize::from);
        assert_eq!((lens, long.len()), ([255, 255, 90], 603));
        assert_eq!(data("a"), b"\x01a");
    }
}
