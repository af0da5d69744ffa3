//! What `exec` tells when the command has ended: the names that it was refused, and what would allow them.
//!
//! For whoever typed `exec`, who may widen the policy; nothing of it is seen by the command. A [`Told`] comes in,
//! text, Markdown or JSON goes out.

use std::fmt::Write;

use serde_json::{Value, json};

use super::super::printable;
use super::process::Why;
use crate::answer::{Reason, Ruling};
use crate::policy::Pattern;
use crate::wire::{Name, Type};

/// More than these nobody reads; JSON has them all.
const SHOWN_MAX: usize = 20;

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
    /// What there is to know about it.
    pub(super) note: Option<String>,
}

impl Refusal {
    /// The pattern that would allow it: none where the policy cannot.
    fn pattern(&self) -> Option<String> {
        let is_unlisted = matches!(self.reason, Reason::NotListed | Reason::DenyAll);
        let name = self.name.to_string();
        (is_unlisted && Pattern::parse(&name).is_ok()).then_some(name)
    }

    fn kinds(&self) -> String {
        let kinds: Vec<String> = self.kinds.iter().map(ToString::to_string).collect();
        kinds.join(" ")
    }
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
    /// The policy's file; none: `--allow` is the policy.
    pub(super) policy: Option<String>,
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
        let rows: Vec<[String; 3]> = self
            .shown()
            .map(|it| [it.name.to_string(), it.kinds(), format!("x{}", it.count)])
            .collect();
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let (first, second, third) = (width(0), width(1), width(2));
        for ([name, kinds, count], refusal) in rows.iter().zip(self.shown()) {
            let note = refusal.note.as_deref().unwrap_or_default();
            let row = format!("  {name:<first$}  {kinds:<second$}  {count:<third$}  {note}");
            let _ = writeln!(text, "{}", row.trim_end());
        }
        for line in self.left_out() {
            let _ = writeln!(text, "  {line}");
        }
        if let Some(remedy) = self.remedy("") {
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
            text += "\n| name | types | lookups | |\n|---|---|---|---|\n";
        }
        for refusal in self.shown() {
            let note = refusal.note.as_deref().unwrap_or_default();
            let (name, kinds, count) = (&refusal.name, refusal.kinds(), refusal.count);
            let _ = writeln!(text, "| `{name}` | {kinds} | {count} | {note} |");
        }
        for line in self.left_out() {
            let _ = write!(text, "\n{line}\n");
        }
        if let Some(remedy) = self.remedy("`") {
            let _ = write!(text, "\nAllow with: {remedy}\n");
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
                "note": it.note,
            })
        };
        json!({
            "v": 1,
            "mode": if self.is_audit { "audit" } else { "enforce" },
            "exit_code": self.code,
            "stopped": self.stopped.map(stopped_word),
            "policy": self.policy,
            "blocked": self.refusals.iter().map(refusal).collect::<Vec<_>>(),
            "hidden": { "search_suffix": self.hidden.search_suffix, "reverse": self.hidden.reverse },
            "allow": self.refusals.iter().filter_map(Refusal::pattern).collect::<Vec<_>>(),
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

    /// What is not shown, in a line for each kind.
    fn left_out(&self) -> impl Iterator<Item = String> {
        let more = self.refusals.len().saturating_sub(SHOWN_MAX);
        let more = (more > 0).then(|| format!("and {more} more; --report json has them all"));
        more.into_iter().chain(self.hidden.lines())
    }

    /// What allows the names that are shown.
    fn remedy(&self, quote: &str) -> Option<String> {
        let patterns: Vec<String> = self.shown().filter_map(Refusal::pattern).collect();
        if patterns.is_empty() {
            return None;
        }
        Some(match &self.policy {
            None => format!("{quote}--allow {}{quote}", patterns.join(",")),
            Some(file) => format!(
                "{quote}\"{}\"{quote} in egress.allowed_hostnames of {}",
                patterns.join("\", \""),
                printable(file)
            ),
        })
    }
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
            policy: None,
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
            refusal("objects.example", 6, Reason::NotListed, Some("downloads")),
            refusal("o1.example", 12, Reason::NotListed, None),
        ])
    }

    #[test]
    fn the_names_and_the_one_flag() {
        let expected = "namegate: 2 names were blocked while this ran (exit 1)\n  \
             objects.example  A AAAA  x6   downloads\n  \
             o1.example       A AAAA  x12\n\
             allow with:  --allow objects.example,o1.example\n";
        assert_eq!(two().text().as_deref(), Some(expected));
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
    fn a_policy_file_is_where_the_names_go() {
        let told = Told {
            policy: Some("ci.json".to_owned()),
            ..two()
        };
        let text = told.text().expect("two names");
        let remedy = "allow with:  \"objects.example\", \"o1.example\" in egress.allowed_hostnames of ci.json\n";
        assert!(text.ends_with(remedy), "{text}");
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
        let many = (0..25).map(|n| refusal(&format!("n{n}.example"), 1, Reason::NotListed, None));
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
             | name | types | lookups | |\n|---|---|---|---|\n\
             | `objects.example` | A AAAA | 6 | downloads |\n| `o1.example` | A AAAA | 12 |  |\n\n\
             Allow with: `--allow objects.example,o1.example`\n";
        assert_eq!(two().markdown(), expected);
        let none = "### namegate: no name was blocked while `npm` ran (exit 1)\n";
        assert_eq!(told(Vec::new()).markdown(), none);
    }
}
