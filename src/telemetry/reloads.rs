//! Which policy is live, and how the last reload ended.
//!
//! The daemon says so at each reload; the scrape, the status page and the query
//! log's writer read it. No query comes here: the lock is never on its road.

use std::sync::atomic::{Ordering::Acquire, fence};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::metrics::{Durations, Page};
use crate::matcher::{Rule, Rules};

/// A policy that has just gone live.
pub struct Live {
    /// The policy's id.
    pub id: String,
    /// The policy's name.
    pub name: String,
    /// Of the document, in hexadecimal.
    pub sha256: String,
    /// Its number, from 1.
    pub generation: u64,
    /// What it was compiled to.
    pub rules: Arc<Rules>,
    /// When it went live.
    pub at: SystemTime,
    /// How long that took from the change being seen; none at start.
    pub propagation: Option<Duration>,
}

/// A fault of a refused document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// `NP012`.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
}

/// How changes of the policy file are noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// The kernel says so.
    Inotify,
    /// The content is compared now and then.
    Poll,
}

impl Watch {
    const ALL: [Self; 2] = [Self::Inotify, Self::Poll];

    fn word(self) -> &'static str {
        match self {
            Self::Inotify => "inotify",
            Self::Poll => "poll",
        }
    }
}

/// Findings that are kept of one refused document: a million wrong names tell no more than the first few.
const FINDINGS_MAX: usize = 20;

#[derive(Default)]
pub(super) struct Reloads {
    past: Mutex<Past>,
    propagation: Durations,
}

#[derive(Default)]
struct Past {
    live: Option<Arc<Generation>>,
    /// Queries that began before a reload end after it.
    before: Option<Arc<Generation>>,
    applied: u64,
    unchanged: u64,
    rejected: u64,
    last_success: Option<SystemTime>,
    /// The document that was refused last, for as long as no good one came after it.
    refused: Option<Refused>,
    watch: [Option<bool>; 2],
}

/// One generation, as logs and pages name it.
pub(super) struct Generation {
    pub(super) live: Live,
    exact: u64,
    wildcard: u64,
}

#[derive(Clone)]
struct Refused {
    at: SystemTime,
    findings: Vec<Finding>,
    findings_total: usize,
}

impl Reloads {
    pub(super) fn applied(&self, live: Live) -> Arc<Generation> {
        if let Some(took) = live.propagation {
            self.propagation.record(took);
        }
        let (exact, wildcard) = live.rules.counts();
        let generation = Arc::new(Generation {
            exact: exact as u64,
            wildcard: wildcard as u64,
            live,
        });
        let mut past = self.past();
        past.before = past.live.replace(Arc::clone(&generation));
        past.applied += 1;
        past.succeeded(generation.live.at);
        generation
    }

    pub(super) fn unchanged(&self, at: SystemTime) {
        let mut past = self.past();
        past.unchanged += 1;
        past.succeeded(at);
    }

    /// Returns the `errors` of the record.
    pub(super) fn rejected(
        &self,
        at: SystemTime,
        findings: impl ExactSizeIterator<Item = Finding>,
    ) -> Value {
        let findings_total = findings.len();
        let refused = Refused {
            at,
            findings: findings.take(FINDINGS_MAX).collect(),
            findings_total,
        };
        let errors = refused.errors();
        let mut past = self.past();
        past.rejected += 1;
        past.refused = Some(refused);
        errors
    }

    pub(super) fn watch(&self, method: Watch, healthy: bool) {
        self.past().watch[method as usize] = Some(healthy);
    }

    /// Is there a generation before the live one?
    pub(super) fn remembers_before(&self) -> bool {
        self.past().before.is_some()
    }

    /// The generation before the live one, when nobody judges by it any more.
    pub(super) fn spent(&self) -> Option<u64> {
        let past = self.past();
        let before = past.before.as_ref()?;
        let is_ours_alone = Arc::strong_count(&before.live.rules) == 1;
        // What its last holder did before he let go is to be seen by whoever goes on from here.
        fence(Acquire);
        is_ours_alone.then_some(before.live.generation)
    }

    /// Lets a generation go that is not the live one. Its rules are freed by whoever calls this.
    pub(super) fn forget(&self, generation: u64) {
        let gone = self
            .past()
            .before
            .take_if(|it| it.live.generation == generation);
        drop(gone);
    }

    /// A generation by its number, where it is the live one or the one before.
    pub(super) fn generation(&self, number: u64) -> Option<Arc<Generation>> {
        let past = self.past();
        [&past.live, &past.before]
            .into_iter()
            .flatten()
            .find(|it| it.live.generation == number)
            .map(Arc::clone)
    }

    /// The number of the live generation; 0 before the first.
    pub(super) fn number(&self) -> u64 {
        self.past().number()
    }

    /// The live generation.
    pub(super) fn live(&self) -> Option<Arc<Generation>> {
        self.past().live.clone()
    }

    pub(super) fn show(&self, page: &mut Page) {
        let past = self.past();
        if let Some(generation) = &past.live {
            generation.show(page);
        }
        for (result, count) in [
            ("applied", past.applied),
            ("unchanged", past.unchanged),
            ("rejected", past.rejected),
        ] {
            page.count("namegate_policy_reloads_total", &[result], count);
        }
        let good = u64::from(past.is_good());
        page.count("namegate_policy_last_reload_successful", &[], good);
        page.value(
            "namegate_policy_last_reload_success_timestamp_seconds",
            &[],
            past.last_success.map_or(0.0, unix_s),
        );
        for method in Watch::ALL {
            if let Some(healthy) = past.watch[method as usize] {
                let labels = [method.word()];
                page.count("namegate_policy_watch_healthy", &labels, u64::from(healthy));
            }
        }
        page.timings(
            "namegate_policy_propagation_seconds",
            &[],
            &self.propagation.timings(),
        );
    }

    /// `policy`, `reloads` and `watch` of the status page.
    pub(super) fn status(&self) -> Value {
        let past = self.past();
        let watch = |method: Watch| past.watch[method as usize];
        json!({
            "policy": past.live.as_ref().map(|it| it.status()),
            "reloads": {
                "applied": past.applied,
                "unchanged": past.unchanged,
                "rejected": past.rejected,
                "last_successful": past.is_good(),
                "last_rejected": past.refused.as_ref().map(Refused::status),
            },
            "watch": { "inotify": watch(Watch::Inotify), "poll": watch(Watch::Poll) },
        })
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past
            .lock()
            .expect("nobody panics with the lock in hand")
    }
}

impl Past {
    fn succeeded(&mut self, at: SystemTime) {
        self.last_success = Some(at);
        self.refused = None;
    }

    fn is_good(&self) -> bool {
        self.last_success.is_some() && self.refused.is_none()
    }

    fn number(&self) -> u64 {
        self.live.as_ref().map_or(0, |it| it.live.generation)
    }
}

impl Generation {
    /// The text of the pattern behind a rule; none for `allow_all`.
    pub(super) fn pattern(&self, rule: Rule) -> Option<String> {
        self.live.rules.pattern(rule)
    }

    /// How many patterns it has.
    pub(super) fn patterns(&self) -> u64 {
        self.exact + self.wildcard
    }

    /// The words that name it on the status page and in the log.
    pub(super) fn status(&self) -> Value {
        json!({
            "id": self.live.id,
            "name": self.live.name,
            "generation": self.live.generation,
            "sha256": self.live.sha256,
            "patterns": { "exact": self.exact, "wildcard": self.wildcard },
            "allow_all": self.live.rules.allows_all(),
            "loaded_at": rfc3339(self.live.at),
        })
    }

    fn show(&self, page: &mut Page) {
        let sha256_8 = self.live.sha256.get(..8).unwrap_or(&self.live.sha256);
        let labels = [self.live.id.as_str(), &self.live.name, sha256_8];
        page.count("namegate_policy_info", &labels, 1);
        page.count("namegate_policy_generation", &[], self.live.generation);
        page.count("namegate_policy_patterns", &["exact"], self.exact);
        page.count("namegate_policy_patterns", &["wildcard"], self.wildcard);
        let allows_all = u64::from(self.live.rules.allows_all());
        page.count("namegate_policy_allow_all", &[], allows_all);
    }
}

impl Refused {
    fn errors(&self) -> Value {
        let error = |it: &Finding| json!({ "code": it.code, "line": it.line, "col": it.column, "message": it.message });
        self.findings.iter().map(error).collect()
    }

    fn status(&self) -> Value {
        json!({ "at": rfc3339(self.at), "errors": self.errors(), "errors_total": self.findings_total })
    }
}

/// UTC, to the millisecond.
pub fn rfc3339(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

fn unix_s(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0.0, |it| it.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(generation: u64) -> Live {
        Live {
            id: "npl_1".to_owned(),
            name: "ci".to_owned(),
            sha256: "ab".repeat(32),
            generation,
            rules: Arc::new(Rules::builder().build()),
            at: SystemTime::UNIX_EPOCH,
            propagation: None,
        }
    }

    fn finding() -> Finding {
        Finding {
            code: "NP012".to_owned(),
            message: "no".to_owned(),
            line: 9,
            column: 7,
        }
    }

    #[test]
    fn the_live_generation_and_the_one_before_are_known() {
        let reloads = Reloads::default();
        assert_eq!(reloads.number(), 0);
        for generation in 1..=3 {
            reloads.applied(live(generation));
        }
        assert_eq!(reloads.number(), 3);
        let is_known = |number| reloads.generation(number).is_some();
        assert_eq!([1, 2, 3].map(is_known), [false, true, true]);
        reloads.forget(3);
        assert_eq!([2, 3].map(is_known), [true, true]);
        reloads.forget(2);
        assert_eq!([2, 3].map(is_known), [false, true]);
    }

    #[test]
    fn a_generation_is_spent_when_nobody_judges_by_it() {
        let reloads = Reloads::default();
        let first = live(1);
        let judging = Arc::clone(&first.rules);
        reloads.applied(first);
        assert_eq!(reloads.spent(), None, "it is the live one");
        reloads.applied(live(2));
        assert_eq!(reloads.spent(), None, "a query is judged by it");
        drop(judging);
        assert_eq!(reloads.spent(), Some(1));
    }

    #[test]
    fn a_refusal_stands_until_a_good_file_comes() {
        let reloads = Reloads::default();
        reloads.applied(live(1));
        let errors = reloads.rejected(SystemTime::now(), vec![finding(); 50].into_iter());
        assert_eq!(errors.as_array().map(Vec::len), Some(FINDINGS_MAX));
        let status = reloads.status();
        assert_eq!(status["reloads"]["last_successful"], false);
        assert_eq!(status["reloads"]["last_rejected"]["errors_total"], 50);
        assert_eq!(status["policy"]["generation"], 1);
        reloads.unchanged(SystemTime::now());
        assert_eq!(reloads.status()["reloads"]["last_successful"], true);
        assert!(reloads.status()["reloads"]["last_rejected"].is_null());
    }
}
