//! What `exec` tells when the command has ended: the names that it was refused, and what would allow them.
//!
//! For whoever typed `exec`, who may widen the policy; nothing of it is seen by the command. A [`Told`] comes in,
//! text, Markdown or JSON goes out.

use std::fmt::Write;

use serde_json::{Value, json};

use super::super::{printable, quoted};
use super::process::Why;
use crate::answer::{Reason, Ruling};
use crate::learn::{Class, Item};
use crate::policy::Pattern;
use crate::wire::{Name, Type};

/// More than these nobody reads; JSON has them all.
const SHOWN_MAX: usize = 20;

/// Going on for longer than this after a refusal is worth a word: pip's retries take 8 s, npm's 70.
const LONG_S: u64 = 5;

/// A name that was refused, or would have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) name: Name,
    /// The types asked for.
    pub(super) kinds: Vec<Type>,
    /// How often.
    pub(super) count: u64,
    /// Was it refused, or in an audit would it have been?
    pub(super) ruling: Ruling,
    pub(super) reason: Reason,
    /// What it is to the policy.
    pub(super) note: Option<String>,
    /// The last service name that counted for it (`_http._tcp.NAME`).
    pub(super) asked_as: Option<Name>,
    /// What `suggest` thinks of it; none: the policy has the name.
    pub(super) item: Option<Item>,
}

impl Refusal {
    pub(super) fn class(&self) -> Option<Class> {
        self.item.as_ref().map(|it| it.class)
    }

    /// The word for the class, where there is something to do.
    fn title(&self) -> &'static str {
        match self.class() {
            None | Some(Class::Hidden) => "",
            Some(class) => class.title(),
        }
    }

    /// What there is to know about it.
    fn why(&self) -> String {
        let kind = self.item.as_ref().map(|it| it.evidence.kind);
        let judged = self.item.as_ref().map(|it| it.why.clone());
        // The note says these better, and the judgement those.
        let judged = judged.filter(|_| !matches!(kind, Some("single_label" | "unlistable")));
        let note = self.note.clone();
        let note = note.filter(|_| !matches!(kind, Some("typo" | "other_ending")));
        let asked_as = self.asked_as.map(|it| format!("asked for as {it}"));
        let parts: Vec<String> = [judged, note, asked_as].into_iter().flatten().collect();
        parts.join("; ")
    }

    /// The pattern that would allow it: none where the policy cannot, or should not. For one of a family of names
    /// that change from run to run it is a wildcard.
    fn pattern(&self) -> Option<&str> {
        let item = self.item.as_ref()?;
        let is_listable =
            item.is_offered() && self.reason.is_unlisted() && Pattern::parse(&item.name).is_ok();
        is_listable.then_some(item.name.as_str())
    }

    fn kinds(&self) -> String {
        let kinds: Vec<String> = self.kinds.iter().map(ToString::to_string).collect();
        kinds.join(" ")
    }
}

/// A name that goes with a refused one, and was not asked for yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Companion {
    pub(super) name: String,
    pub(super) why: String,
}

/// Lookups that are refused on most machines, and missed by nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hidden {
    /// Endings of a search list.
    pub(super) search_suffix: u64,
    /// Which name an address has.
    pub(super) reverse: u64,
}

impl Hidden {
    /// One line for each kind that there is.
    fn lines(self) -> impl Iterator<Item = String> {
        let kinds = [
            (self.search_suffix, "search-suffix"),
            (self.reverse, "reverse"),
        ];
        kinds.into_iter().filter_map(|(count, kind)| match count {
            0 => None,
            1 => Some(format!("1 {kind} lookup is not listed")),
            many => Some(format!("{many} {kind} lookups are not listed")),
        })
    }
}

/// All there is to tell.
pub(super) struct Told {
    /// The command, without its arguments: those may hold secrets.
    pub(super) program: String,
    /// What we end with.
    pub(super) code: u8,
    /// Did every name resolve?
    pub(super) is_audit: bool,
    /// Why we stopped it, if we did.
    pub(super) stopped: Option<Why>,
    pub(super) refusals: Vec<Refusal>,
    pub(super) hidden: Hidden,
    pub(super) companions: Vec<Companion>,
    /// How long a command that failed went on after the first refusal, where it was not to be stopped there.
    pub(super) went_on_s: u64,
    /// The policy's file; none: `--allow` is the policy.
    pub(super) policy: Option<String>,
    /// What chooses the policy in that file, behind a command: ` --policy-id npl_1`.
    pub(super) choice: String,
}

impl Told {
    /// For a terminal; none when there is nothing to tell.
    pub(super) fn text(&self) -> Option<String> {
        if self.refusals.is_empty() {
            return None;
        }
        let mut text = format!(
            "namegate: {} while this ran ({})\n",
            self.what_happened(),
            self.ending()
        );
        text += &columns(&self.rows());
        for line in self.left_out() {
            let _ = writeln!(text, "  {line}");
        }
        if let Some(remedy) = self.remedy() {
            let _ = writeln!(text, "allow with:  {remedy}");
        }
        Some(text)
    }

    /// For the summary of a workflow's step.
    pub(super) fn markdown(&self) -> String {
        let program = printable(&self.program).replace('`', "'");
        let mut text = format!(
            "### namegate: {} while `{program}` ran ({})\n",
            self.what_happened(),
            self.ending()
        );
        if !self.refusals.is_empty() {
            text += "\n| name | types | lookups | | |\n|---|---|---|---|---|\n";
        }
        for [name, kinds, count, title, why] in self.rows() {
            let count = count.trim_start_matches('x');
            let _ = writeln!(text, "| `{name}` | {kinds} | {count} | {title} | {why} |");
        }
        for line in self.left_out() {
            let _ = write!(text, "\n{line}\n");
        }
        if let Some(remedy) = self.remedy() {
            let _ = write!(text, "\nAllow with: `{remedy}`\n");
        }
        text
    }

    /// For programs, one object.
    pub(super) fn json(&self) -> Value {
        let refusal = |it: &Refusal| {
            json!({
                "name": it.name.to_string(),
                "types": it.kinds.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "count": it.count,
                "verdict": it.ruling.word(),
                "reason": it.reason.word(),
                "class": it.class().map(Class::word),
                "note": Some(it.why()).filter(|it| !it.is_empty()),
            })
        };
        let companion = |it: &Companion| json!({ "name": it.name, "note": it.why });
        json!({
            "v": 1,
            "mode": if self.is_audit { "audit" } else { "enforce" },
            "exit_code": self.code,
            "stopped": self.stopped.map(stopped_word),
            "policy": self.policy,
            "blocked": self.refusals.iter().map(refusal).collect::<Vec<_>>(),
            "hidden": { "search_suffix": self.hidden.search_suffix, "reverse": self.hidden.reverse },
            "companions": self.companions.iter().map(companion).collect::<Vec<_>>(),
            "allow": self.patterns(self.refusals.iter()),
        })
    }

    fn shown(&self) -> impl Iterator<Item = &Refusal> {
        self.refusals.iter().take(SHOWN_MAX)
    }

    /// `2 names were blocked`
    fn what_happened(&self) -> String {
        let (count, be) = match self.refusals.len() {
            0 => ("no name".to_owned(), "was"),
            1 => ("1 name".to_owned(), "was"),
            many => (format!("{many} names"), "were"),
        };
        if self.is_audit {
            format!("{count} would have been blocked")
        } else {
            format!("{count} {be} blocked")
        }
    }

    /// `exit 1`
    fn ending(&self) -> String {
        let why = match self.stopped {
            None => "",
            Some(Why::Blocked) => "stopped at the first, ",
            Some(Why::Bare) => "stopped, ",
        };
        format!("{why}exit {}", self.code)
    }

    /// What is not shown, in a line for each kind, and what would have been quicker.
    fn left_out(&self) -> impl Iterator<Item = String> {
        let more = self.refusals.len().saturating_sub(SHOWN_MAX);
        let more = (more > 0).then(|| format!("and {more} more; --report json has them all"));
        let long = (self.went_on_s >= LONG_S).then(|| {
            format!(
                "it went on for {} s after the first; --fail-fast stops it there",
                self.went_on_s
            )
        });
        more.into_iter().chain(self.hidden.lines()).chain(long)
    }

    /// Name, types, lookups, class and why.
    fn rows(&self) -> Vec<[String; 5]> {
        let refused = self.shown().map(|it| {
            let (name, count) = (it.name.to_string(), format!("x{}", it.count));
            [name, it.kinds(), count, it.title().to_owned(), it.why()]
        });
        let companion = |it: &Companion| {
            let title = Class::Add.title().to_owned();
            let none = String::new();
            [it.name.clone(), none.clone(), none, title, it.why.clone()]
        };
        refused
            .chain(self.companions.iter().map(companion))
            .collect()
    }

    /// What allows these, and what goes with them.
    fn patterns<'a>(&'a self, refusals: impl Iterator<Item = &'a Refusal>) -> Vec<&'a str> {
        let companions = self.companions.iter().map(|it| it.name.as_str());
        let mut patterns: Vec<&str> = Vec::new();
        for pattern in refusals.filter_map(Refusal::pattern).chain(companions) {
            if !patterns.contains(&pattern) {
                patterns.push(pattern);
            }
        }
        patterns
    }

    /// What allows the names that are shown.
    fn remedy(&self) -> Option<String> {
        let patterns = self.patterns(self.shown());
        if patterns.is_empty() {
            return None;
        }
        Some(match &self.policy {
            None => format!("--allow {}", quoted(&patterns.join(","))),
            Some(file) => {
                let names: Vec<String> = patterns.into_iter().map(quoted).collect();
                let (file, choice, names) = (quoted(file), &self.choice, names.join(" "));
                format!("namegate policy add --policy {file}{choice} {names}")
            }
        })
    }
}

/// All rows as lines; of the last column none is padded.
fn columns(rows: &[[String; 5]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3].map(width);
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths.into_iter().chain([0])) {
            // A column that nothing stands in is none.
            if width > 0 || !cell.is_empty() {
                let _ = write!(line, "  {cell:<width$}");
            }
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn stopped_word(why: Why) -> &'static str {
    match why {
        Why::Blocked => "blocked",
        Why::Bare => "unprotected",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str, count: u64, reason: Reason, note: Option<&str>) -> Refusal {
        Refusal {
            name: name.parse().expect("a name"),
            kinds: vec![Type::A, Type::AAAA],
            count,
            ruling: reason.ruling(),
            reason,
            note: note.map(str::to_owned),
            asked_as: None,
            item: None,
        }
    }

    /// One that is not listed, and is thought to be of this class.
    fn of_class(name: &str, count: u64, class: Class, why: &str) -> Refusal {
        Refusal {
            item: Some(Item::new(name, class, why)),
            ..refusal(name, count, Reason::NotListed, None)
        }
    }

    fn told(refusals: Vec<Refusal>) -> Told {
        Told {
            program: "npm".to_owned(),
            code: 1,
            is_audit: false,
            stopped: None,
            refusals,
            hidden: Hidden::default(),
            companions: Vec::new(),
            went_on_s: 0,
            policy: None,
            choice: String::new(),
        }
    }

    fn six() -> Hidden {
        Hidden {
            search_suffix: 6,
            reverse: 1,
        }
    }

    fn two() -> Told {
        told(vec![
            of_class("objects.example", 6, Class::Add, "downloads"),
            of_class("o1.example", 12, Class::Review, "unknown"),
        ])
    }

    #[test]
    fn the_names_and_the_one_flag() {
        let expected = "namegate: 2 names were blocked while this ran (exit 1)\n  \
             objects.example  A AAAA  x6   ADD     downloads\n  \
             o1.example       A AAAA  x12  REVIEW  unknown\n\
             allow with:  --allow objects.example,o1.example\n";
        assert_eq!(two().text().as_deref(), Some(expected));
    }

    #[test]
    fn what_should_stay_blocked_is_told_and_not_proposed() {
        let told = told(vec![
            of_class("pypi.example", 1, Class::Add, "the index"),
            of_class("t.example", 2, Class::KeepBlocked, "telemetry"),
            of_class("x.k.example", 1, Class::Danger, "a tunnel"),
        ]);
        let expected = "namegate: 3 names were blocked while this ran (exit 1)\n  \
             pypi.example  A AAAA  x1  ADD           the index\n  \
             t.example     A AAAA  x2  KEEP BLOCKED  telemetry\n  \
             x.k.example   A AAAA  x1  DANGER        a tunnel\n\
             allow with:  --allow pypi.example\n";
        assert_eq!(told.text().as_deref(), Some(expected));
        assert_eq!(told.json()["allow"], json!(["pypi.example"]));
        assert_eq!(told.json()["blocked"][1]["class"], "keep_blocked");
    }

    #[test]
    fn a_family_is_one_pattern_and_a_companion_comes_along() {
        let of_family = |name: &str| Refusal {
            item: Some(Item::new("*.run.example", Class::Review, "they change")),
            ..refusal(name, 1, Reason::NotListed, None)
        };
        let told = Told {
            companions: vec![Companion {
                name: "files.example".to_owned(),
                why: "the files".to_owned(),
            }],
            ..told(vec![
                of_family("a1.run.example"),
                of_family("b2.run.example"),
            ])
        };
        let text = told.text().expect("two names");
        assert!(
            text.contains("\n  files.example               ADD     the files\n"),
            "{text}"
        );
        let remedy = "allow with:  --allow '*.run.example,files.example'\n";
        assert!(text.ends_with(remedy), "{text}");
        assert_eq!(told.json()["companions"][0]["name"], "files.example");
    }

    #[test]
    fn a_slip_is_told_once_and_a_service_with_its_name() {
        let mut slip = refusal(
            "githib.com",
            1,
            Reason::NotListed,
            Some("is one character away"),
        );
        slip.asked_as = Some("_http._tcp.githib.com".parse().expect("a name"));
        let mut item = Item::new("githib.com", Class::Review, "typo of github.com?");
        item.evidence.kind = "typo";
        slip.item = Some(item);
        assert_eq!(
            slip.why(),
            "typo of github.com?; asked for as _http._tcp.githib.com"
        );
    }

    #[test]
    fn nothing_blocked_is_nothing_told() {
        let told = Told {
            hidden: six(),
            ..told(Vec::new())
        };
        assert_eq!(told.text(), None);
    }

    #[test]
    fn what_no_policy_can_allow_is_not_proposed() {
        let told = told(vec![
            refusal("registry", 1, Reason::NotListed, None),
            refusal("rebind.example", 1, Reason::PrivateAddress, None),
            refusal("a\\032b.example", 1, Reason::BadLabel, None),
        ]);
        let text = told.text().expect("three names");
        assert!(!text.contains("allow with"), "{text}");
        assert_eq!(told.json()["allow"], json!([]));
    }

    #[test]
    fn a_search_list_is_one_line() {
        let told = Told {
            hidden: six(),
            ..two()
        };
        let text = told.text().expect("two names");
        assert!(
            text.contains("\n  6 search-suffix lookups are not listed\n  1 reverse lookup is not listed\nallow with:"),
            "{text}"
        );
    }

    #[test]
    fn a_command_that_went_on_for_long_is_told_how_to_stop_it() {
        let after = |went_on_s| Told { went_on_s, ..two() };
        let text = after(70).text().expect("two names");
        let hint = "  it went on for 70 s after the first; --fail-fast stops it there\nallow with:";
        assert!(text.contains(hint), "{text}");
        assert!(!after(1).markdown().contains("fail-fast"));
    }

    #[test]
    fn a_policy_file_is_where_the_names_go() {
        let told = Told {
            policy: Some("ci.json".to_owned()),
            ..two()
        };
        let text = told.text().expect("two names");
        let remedy =
            "allow with:  namegate policy add --policy ci.json objects.example o1.example\n";
        assert!(text.ends_with(remedy), "{text}");
        let told = Told {
            choice: " --policy-id npl_1".to_owned(),
            ..told
        };
        let text = told.text().expect("two names");
        assert!(
            text.contains(" --policy ci.json --policy-id npl_1 obj"),
            "{text}"
        );
    }

    #[test]
    fn audit_and_fail_fast_say_what_they_did() {
        let mut audit = Told {
            is_audit: true,
            code: 0,
            ..two()
        };
        audit.refusals[0].ruling = Ruling::WouldBlock;
        let text = audit.text().expect("two names");
        assert!(
            text.starts_with("namegate: 2 names would have been blocked while this ran (exit 0)\n"),
            "{text}"
        );
        assert_eq!(audit.json()["blocked"][0]["verdict"], "would_block");
        let stopped = Told {
            stopped: Some(Why::Blocked),
            code: 143,
            ..two()
        };
        let text = stopped.text().expect("two names");
        assert!(text.contains("(stopped at the first, exit 143)"), "{text}");
        assert_eq!(stopped.json()["stopped"], "blocked");
    }

    #[test]
    fn json_is_what_its_schema_says() {
        let schema = include_str!("../../../docs/exec.schema.json");
        let schema = serde_json::from_str(schema).expect("JSON");
        let schema = jsonschema::validator_for(&schema).expect("a schema");
        let audit = Told {
            is_audit: true,
            policy: Some("ci.json".to_owned()),
            hidden: six(),
            companions: vec![Companion {
                name: "files.example".to_owned(),
                why: "the files".to_owned(),
            }],
            ..two()
        };
        let stopped = Told {
            stopped: Some(Why::Bare),
            ..two()
        };
        for told in [two(), audit, stopped, told(Vec::new())] {
            let report = told.json();
            assert!(schema.is_valid(&report), "{report:#}");
        }
        assert!(
            !schema.is_valid(&json!({ "v": 1 })),
            "it asks for something"
        );
    }

    #[test]
    fn there_is_an_end_to_the_list_but_not_in_json() {
        let many = (0..25).map(|n| of_class(&format!("n{n}.example"), 1, Class::Add, ""));
        let told = told(many.collect());
        let text = told.text().expect("many names");
        assert_eq!(text.lines().count(), 1 + 20 + 1 + 1, "{text}");
        assert!(
            text.contains("  and 5 more; --report json has them all\n"),
            "{text}"
        );
        let all = told.json()["blocked"].as_array().map(Vec::len);
        assert_eq!(all, Some(25));
    }

    #[test]
    fn a_summary_in_markdown() {
        let expected = "### namegate: 2 names were blocked while `npm` ran (exit 1)\n\n\
             | name | types | lookups | | |\n|---|---|---|---|---|\n\
             | `objects.example` | A AAAA | 6 | ADD | downloads |\n| `o1.example` | A AAAA | 12 | REVIEW | unknown |\n\n\
             Allow with: `--allow objects.example,o1.example`\n";
        assert_eq!(two().markdown(), expected);
        let none = "### namegate: no name was blocked while `npm` ran (exit 1)\n";
        assert_eq!(told(Vec::new()).markdown(), none);
    }
}
