//! What a check says: a level, a sentence, a remedy, and an id that stays the same; and how that is written out.

use clap::builder::styling::{AnsiColor, Style};
use serde_json::{Value, json};

use crate::cli::printable;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing; also what could not be seen.
    Info,
    /// Works today, and has a way around it or a way to break.
    Warn,
    /// Names go past the policy, or nothing resolves.
    Fail,
}

impl Level {
    const ALL: [Self; 4] = [Self::Ok, Self::Info, Self::Warn, Self::Fail];

    /// The word in JSON.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }

    /// The word at the head of a line; failures are to be seen from afar.
    fn head(self) -> &'static str {
        match self {
            Self::Fail => "FAIL",
            Self::Ok | Self::Info | Self::Warn => self.word(),
        }
    }

    fn style(self) -> Style {
        let color = match self {
            Self::Ok => AnsiColor::Green,
            Self::Info => AnsiColor::Cyan,
            Self::Warn => AnsiColor::Yellow,
            Self::Fail => AnsiColor::Red,
        };
        color.on_default()
    }
}

/// One thing found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub level: Level,
    /// Stable; `docs/doctor.schema.json` lists them all.
    pub id: &'static str,
    pub text: String,
    /// The line or command that mends it. Nothing here carries it out.
    pub fix: Option<String>,
}

impl Finding {
    pub(super) fn ok(id: &'static str, text: impl Into<String>) -> Self {
        Self::new(Level::Ok, id, text.into())
    }

    pub(super) fn info(id: &'static str, text: impl Into<String>) -> Self {
        Self::new(Level::Info, id, text.into())
    }

    pub(super) fn warn(id: &'static str, text: impl Into<String>) -> Self {
        Self::new(Level::Warn, id, text.into())
    }

    pub(super) fn fail(id: &'static str, text: impl Into<String>) -> Self {
        Self::new(Level::Fail, id, text.into())
    }

    fn new(level: Level, id: &'static str, text: String) -> Self {
        Self {
            level,
            id,
            text,
            fix: None,
        }
    }

    /// With a remedy.
    pub(super) fn fix(self, fix: impl Into<String>) -> Self {
        Self {
            fix: Some(fix.into()),
            ..self
        }
    }
}

/// One line a finding, its remedy on the next.
pub(super) fn text(findings: &[Finding], colored: bool) -> String {
    let mut text = String::new();
    for finding in findings {
        let style = match colored {
            true => finding.level.style(),
            false => Style::new(),
        };
        let head = finding.level.head();
        text += &format!("{style}{head:<4}{style:#}  {}\n", printable(&finding.text));
        if let Some(fix) = &finding.fix {
            text += &format!("      fix: {}\n", printable(fix));
        }
    }
    text
}

/// One object, as `docs/doctor.schema.json` has it.
pub(super) fn json(findings: &[Finding]) -> Value {
    let count = |level: Level| findings.iter().filter(|it| it.level == level).count();
    let counts = Level::ALL.map(|level| (level.word().to_owned(), Value::from(count(level))));
    let found = findings
        .iter()
        .map(|it| json!({"id": it.id, "level": it.level.word(), "text": it.text, "fix": it.fix}));
    json!({
        "v": 1,
        "version": env!("CARGO_PKG_VERSION"),
        "healthy": count(Level::Fail) == 0,
        "counts": Value::Object(counts.into_iter().collect()),
        "findings": found.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Vec<Finding> {
        vec![
            Finding::ok("nscd.absent", "no nscd"),
            Finding::warn("resolver.docker", "127.0.0.11 answers"),
            Finding::fail("resolv_conf.many", "2 nameservers\x1b[2J").fix("nameserver 127.0.0.1"),
        ]
    }

    #[test]
    fn a_line_for_each_and_its_remedy_below_it() {
        let expected = "ok    no nscd\n\
                        warn  127.0.0.11 answers\n\
                        FAIL  2 nameservers\u{FFFD}[2J\n      fix: nameserver 127.0.0.1\n";
        assert_eq!(text(&found(), false), expected);
        assert!(text(&found(), true).contains("\x1b[31mFAIL\x1b[0m"));
    }

    #[test]
    fn an_object_for_programs() {
        let report = json(&found());
        assert_eq!(report["healthy"], false);
        assert_eq!(
            report["counts"],
            json!({"ok": 1, "info": 0, "warn": 1, "fail": 1})
        );
        let fix = json!({"id": "resolv_conf.many", "level": "fail", "text": "2 nameservers\x1b[2J", "fix": "nameserver 127.0.0.1"});
        assert_eq!(report["findings"][2], fix);
        assert!(report["findings"][0]["fix"].is_null());
    }
}
