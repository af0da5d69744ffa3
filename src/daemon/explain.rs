//! An opinion about a name, for people and for programs, and what the running resolver knows besides.
//!
//! `namegate explain` prints this of a policy file, and the admin socket answers
//! with it of the policy in force: the same lines, and the same fields.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use super::audit::in_words;
use super::fetch::Known;
use super::judge::{Judge, Opinion};
use super::live::Live;
use super::road::Road;
use super::said::Said;
use crate::answer::Reason;
use crate::answer::cache::{Entry, Glimpse, Kind};
use crate::answer::guard::PRIVATE_REMOVED;
use crate::matcher::{Grant, Kinship, Near, Rule};
use crate::policy::printable;
use crate::telemetry::{Sighting, Telemetry, rfc3339, time_of_day};
use crate::wire::{
    Age, Asked, Ede, Head, MESSAGE_OCTETS_MAX, Name, Query, Room, Type, UDP_OCTETS, reply,
};

/// Remarks of `check` about a pattern that allows more than it seems to.
const CAUTIONS: [&str; 2] = ["NP031", "NP034"];

/// What the running resolver knows of a name.
pub(super) struct Present {
    pub(super) live: Arc<Live>,
    pub(super) now: SystemTime,
    pub(super) seen: Option<Sighting>,
    /// Without and with DO.
    pub(super) cached: [Option<Glimpse>; 2],
    /// What is left of an audit.
    pub(super) audit_left: Option<Duration>,
    /// What upstream said just now; none: it was not asked.
    pub(super) upstream: Option<Consulted>,
}

/// What upstream was asked and said.
pub(super) struct Consulted {
    /// None: too many queries wait already.
    said: Option<Said>,
    ttl_s: Option<u32>,
    took: Duration,
}

impl Present {
    /// Looks at the trail and into the cache; neither counts as a query. It blocks for as long as the trail takes.
    pub(super) fn of(
        name: &Name,
        kind: Type,
        live: Arc<Live>,
        road: &Road,
        telemetry: &Telemetry,
    ) -> Self {
        let now = Instant::now();
        let glimpse = |dnssec_ok| {
            let asked = asked(name, kind, dnssec_ok);
            road.cache().peek(&asked, now)
        };
        Self {
            live,
            now: SystemTime::now(),
            seen: telemetry.sighting(name),
            cached: [glimpse(false), glimpse(true)],
            audit_left: road.audit().left(),
            upstream: None,
        }
    }
}

fn asked(name: &Name, kind: Type, dnssec_ok: bool) -> Asked {
    Asked {
        name: *name,
        kind,
        dnssec_ok,
        checking_disabled: false,
    }
}

/// Asks upstream for what the policy allows, whatever is cached, and reads the answer as the guard lets a client see it.
pub(super) async fn consult(road: &Road, live: &Live, opinion: &Opinion) -> Option<Consulted> {
    let rule = opinion
        .rule
        .filter(|_| opinion.allowed && opinion.kind != Type::ANY)?;
    let began = Instant::now();
    let asked = asked(&opinion.name, opinion.kind, false);
    let Some(entry) = road.fetch(&asked).await else {
        return Some(Consulted {
            said: None,
            ttl_s: None,
            took: began.elapsed(),
        });
    };
    let took = began.elapsed();
    let sees_private = road.sees_private(live, &opinion.name, Some(rule));
    let (said, ttl_s) = read(&entry, opinion, sees_private);
    Some(Consulted { said, ttl_s, took })
}

/// What a client would read.
fn read(
    entry: &Entry<Known>,
    opinion: &Opinion,
    sees_private: bool,
) -> (Option<Said>, Option<u32>) {
    let finding = &entry.value().finding;
    let sections = finding.records(sees_private).map(|(sections, _)| sections);
    let octets = super::said::query(&opinion.name, opinion.kind);
    let query = Query::read(&octets).expect("our own query is well-formed");
    let ede = match (sections, finding.ede.as_deref()) {
        (None, _) => Some(Ede {
            code: Ede::BLOCKED,
            text: PRIVATE_REMOVED.as_bytes(),
        }),
        (Some(_), Some((code, text))) => Some(Ede { code: *code, text }),
        (Some(_), None) => None,
    };
    let mut out = Vec::new();
    let written = reply(&query, Head::plain(finding.rcode), &mut out);
    let written = match sections {
        Some(sections) => written.sections(sections, Age::Seconds(0)),
        None => written,
    };
    written.finish(ede, Room::plain(UDP_OCTETS, MESSAGE_OCTETS_MAX));
    let ttl_s = sections.and_then(|it| it.ttl_s(Age::Seconds(0)));
    (Said::read(&out, opinion.kind).ok(), ttl_s)
}

impl Judge {
    /// For people.
    pub fn text(&self, opinion: &Opinion) -> String {
        self.text_with(opinion, None)
    }

    /// For programs.
    pub fn json(&self, opinion: &Opinion) -> Value {
        self.json_with(opinion, None)
    }

    pub(super) fn text_with(&self, opinion: &Opinion, present: Option<&Present>) -> String {
        let word = if opinion.allowed {
            "ALLOWED"
        } else {
            "BLOCKED"
        };
        let mut text = format!("{word}  {}\n", opinion.name);
        for (what, said) in self.lines(opinion, present) {
            text += &format!("  {what:<8} {said}\n");
        }
        text
    }

    fn lines(&self, opinion: &Opinion, present: Option<&Present>) -> Vec<(&'static str, String)> {
        let mut lines = vec![
            ("policy", self.policy_text(present)),
            ("reason", opinion.reason.word().to_owned()),
            ("rule", self.rule_text(opinion)),
        ];
        let cautions = self.cautions(opinion.rule);
        lines.extend(cautions.map(|it| ("caution", it.to_owned())));
        for near in &opinion.nearest {
            let (kinship, at) = (kinship_text(near, &opinion.name), self.at(near.rule));
            lines.push(("nearest", format!("{:<20} {kinship}{at}", near.pattern)));
        }
        lines.extend(opinion.answer.clone().map(|it| ("answer", it)));
        if let Some(present) = present {
            lines.extend(present.audit_left.map(|it| ("mode", audit_text(it))));
            lines.push(("seen", seen_text(present)));
            lines.push(("cache", cache_text(&present.cached)));
            let said = present.upstream.as_ref().map(consulted_text);
            lines.extend(said.map(|it| ("upstream", it)));
        }
        if !opinion.allowed {
            lines.push(("to allow", self.remedy(opinion)));
        }
        lines
    }

    fn policy_text(&self, present: Option<&Present>) -> String {
        let file = self.config.policy.file.display();
        let named = format!("{} ({})", printable(&self.name), printable(&self.id));
        let Some(present) = present else {
            return format!("{named} from {file}");
        };
        if present.live.generation == 0 {
            return format!("there is no valid one yet in {file}: every name is denied");
        }
        let ago = ago(present.now, present.live.since);
        let elsewhere = match self.document {
            Some(_) => "",
            None => ", which holds something else by now (`namegate reload` tells why)",
        };
        let generation = present.live.generation;
        format!("{named} gen {generation}, loaded {ago} ago from {file}{elsewhere}")
    }

    /// What `check` would have said about the pattern that allows a name.
    fn cautions(&self, rule: Option<Rule>) -> impl Iterator<Item = &str> {
        let listed = rule.filter(|rule| rule.grant == Grant::Listed);
        let path = listed.map(|rule| format!("/allowed_hostnames/{}", rule.index));
        let remarks = self.document.iter().flat_map(|it| &it.remarks.findings);
        remarks
            .filter(move |it| {
                let path = path.as_ref();
                CAUTIONS.contains(&it.code) && path.is_some_and(|path| it.path.ends_with(path))
            })
            .map(|it| it.label.as_str())
    }

    fn remedy(&self, opinion: &Opinion) -> String {
        if opinion.reason == Reason::Qtype {
            return format!(
                "add \"{}\" to guard.types of the configuration",
                opinion.kind
            );
        }
        if let Some(why) = &opinion.unlistable {
            return format!("not possible: {why}");
        }
        if opinion.reason == Reason::BadLabel {
            return "not possible: no pattern matches such a name".to_owned();
        }
        if opinion.reason == Reason::SearchSuffix {
            return "nothing: the name in front of the ending is the one that is meant".to_owned();
        }
        let last = self.document.as_ref().and_then(|it| it.last_line());
        let at = last.map_or(String::new(), |line| format!(" (line {line})"));
        format!("add \"{}\" to egress.allowed_hostnames{at}", opinion.name)
    }

    pub(super) fn json_with(&self, opinion: &Opinion, present: Option<&Present>) -> Value {
        let near = |near: &Near| json!({"pattern": near.pattern, "kind": near.kinship.word(), "line": self.line(near.rule)});
        let live = present.map(|it| &it.live).filter(|it| it.generation > 0);
        json!({
            "v": 1,
            "name": opinion.name.to_string(),
            "type": opinion.kind.to_string(),
            "verdict": if opinion.allowed { "allowed" } else { "blocked" },
            "reason": opinion.reason.word(),
            "policy": {
                "id": self.id,
                "name": self.name,
                "sha256": self.sha256,
                "generation": live.map(|it| it.generation),
                "loaded_at": live.map(|it| rfc3339(it.since)),
            },
            "matched": opinion.rule.and_then(|rule| self.rules.pattern(rule)),
            "line": opinion.rule.and_then(|rule| self.line(rule)),
            "nearest": opinion.nearest.iter().map(near).collect::<Vec<_>>(),
            "fix": self.fix(opinion),
            "live": present.is_some(),
            "mode": present.map(|it| if it.audit_left.is_some() { "audit" } else { "enforce" }),
            "seen": present.and_then(|it| it.seen.as_ref()).map(Sighting::json),
            "cache": present.map(|it| cache_json(&it.cached)),
            "upstream": present.and_then(|it| it.upstream.as_ref()).map(consulted_json),
        })
    }

    /// What would allow it, as an operation on the file (RFC 6902).
    fn fix(&self, opinion: &Opinion) -> Option<Value> {
        if !opinion.reason.is_unlisted() || opinion.unlistable.is_some() {
            return None;
        }
        let path = format!("{}/-", self.document.as_ref()?.hostnames);
        Some(json!({"op": "add", "path": path, "value": opinion.name.to_string()}))
    }
}

/// How a pattern is near to a name, to stand behind the pattern.
pub fn kinship_text(near: &Near, name: &Name) -> String {
    let base = near.pattern.trim_start_matches("*.");
    match near.kinship {
        Kinship::ApexOfWildcard => format!("covers names below {base}, not {base} itself"),
        Kinship::BelowExact => format!("is that name alone; *.{base} would cover this one"),
        Kinship::Typo => "is one character away".to_owned(),
        Kinship::OtherEnding => "is the same but for its ending".to_owned(),
        Kinship::Above => format!("lies below {name}, and does not cover it"),
    }
}

/// Whole seconds since then, as `3m 12s`.
fn ago(now: SystemTime, then: SystemTime) -> String {
    let passed = now.duration_since(then).unwrap_or_default();
    humantime::format_duration(Duration::from_secs(passed.as_secs())).to_string()
}

fn audit_text(left: Duration) -> String {
    let left = in_words(left);
    format!("audit for another {left}: what is blocked here is answered all the same")
}

fn seen_text(present: &Present) -> String {
    let Some(seen) = &present.seen else {
        return "nobody has asked for it lately".to_owned();
    };
    let queries = if seen.count == 1 { "query" } else { "queries" };
    let kinds: Vec<String> = seen.kinds.iter().map(ToString::to_string).collect();
    format!(
        "{} {queries} ({}) since {}, {} blocked, the last {} ago from {}",
        seen.count,
        kinds.join(" "),
        time_of_day(present.now, seen.first),
        seen.blocked,
        ago(present.now, seen.last),
        seen.client
    )
}

fn cache_text(cached: &[Option<Glimpse>; 2]) -> String {
    let [plain, with_do] = cached.map(|it| it.map(|it| glimpse_text(&it)));
    match (plain, with_do) {
        (None, None) => "nothing".to_owned(),
        (Some(text), None) => text,
        (None, Some(text)) => format!("{text} (with DO)"),
        (Some(text), Some(with_do)) => format!("{text}; {with_do} (with DO)"),
    }
}

fn glimpse_text(it: &Glimpse) -> String {
    let what = kind_word(it.kind);
    let state = match it.left_s {
        Some(left_s) => format!("good for {left_s} s"),
        None => "past its time, for when upstream fails".to_owned(),
    };
    let used = match it.hits {
        u8::MAX => "255 times or more".to_owned(),
        hits => format!("{hits} times"),
    };
    format!("{what}, {} s old, {state}, used {used}", it.age_s)
}

fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Positive => "records",
        Kind::Negative => "that there is none",
        Kind::Failure => "that nobody could say",
    }
}

fn cache_json(cached: &[Option<Glimpse>; 2]) -> Value {
    let entry = |(it, dnssec_ok): (Glimpse, bool)| {
        let kind = match it.kind {
            Kind::Positive => "positive",
            Kind::Negative => "negative",
            Kind::Failure => "failure",
        };
        json!({ "dnssec_ok": dnssec_ok, "kind": kind, "age_s": it.age_s, "left_s": it.left_s, "hits": it.hits })
    };
    let both = cached.iter().zip([false, true]);
    both.filter_map(|(it, dnssec_ok)| Some(entry(((*it)?, dnssec_ok))))
        .collect()
}

fn consulted_text(consulted: &Consulted) -> String {
    let Some(said) = &consulted.said else {
        return "not asked: too many queries wait for it".to_owned();
    };
    let ttl = consulted
        .ttl_s
        .map_or(String::new(), |it| format!(", TTL {it} s"));
    let took_ms = consulted.took.as_secs_f64() * 1e3;
    let because = match &said.ede {
        Some((_, text)) if !text.is_empty() => format!(" ({})", printable(text)),
        _ => String::new(),
    };
    format!("{}{because}{ttl}, in {took_ms:.1} ms", said.summary())
}

fn consulted_json(consulted: &Consulted) -> Value {
    let said = consulted.said.as_ref();
    let ede = said.and_then(|it| it.ede.as_ref());
    json!({
        "rcode": said.map(|it| it.rcode.to_string()),
        "data": said.map(|it| &it.data),
        "ede": ede.map(|(code, text)| json!({ "code": code, "text": text })),
        "ttl": consulted.ttl_s,
        "took_us": u64::try_from(consulted.took.as_micros()).unwrap_or(u64::MAX),
    })
}
