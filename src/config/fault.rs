//! What is wrong with the configuration, where it stands, and what to write instead.
//!
//! A place in a file, a variable or a flag and two sentences come in; a
//! [`Fault`] goes out, and prints as a compiler prints: the line and an
//! underline. Nothing is read or decided here.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Why there is no [`Config`](super::Config).
#[derive(Clone, Debug)]
pub struct Error {
    /// What sort of trouble it is.
    pub kind: Kind,
    /// Everything that was found, in the order in which it was read.
    pub faults: Vec<Fault>,
}

/// The sorts of trouble that a caller tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The file that was named is not there.
    Missing,
    /// The file may not be read.
    NoPermission,
    /// What the operator says cannot be followed.
    Bad,
}

impl Kind {
    /// The exit code for it, as in sysexits(3).
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Missing => 66,
            Self::NoPermission => 77,
            Self::Bad => 78,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.faults.iter().enumerate() {
            let gap = if i > 0 { "\n\n" } else { "" };
            write!(f, "{gap}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Fault {
    message: String,
    help: Option<String>,
    place: Option<Place>,
}

impl Fault {
    /// A fault of a whole file, at no place in it.
    pub(super) fn of_file(message: String, help: &str) -> Self {
        Self {
            message,
            help: Some(help.to_owned()),
            place: None,
        }
    }

    /// The same, with the key that it is about in front.
    pub(super) fn about(mut self, key: &str) -> Self {
        self.message = format!("{}: {}", key.escape_debug(), self.message);
        self
    }

    /// One sentence that says what is wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to write instead.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// The line and the column, from 1, in characters; none outside a file.
    pub fn line_and_column(&self) -> Option<(usize, usize)> {
        let place = self.place.as_ref()?;
        place.source.in_file.then(|| place.line_and_column())
    }

    /// Where this stands in the text that it was read from.
    pub(super) fn order(&self) -> usize {
        self.place.as_ref().map_or(0, |place| place.span.start)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        if let Some(place) = &self.place {
            write!(f, "{place}")?;
        }
        match &self.help {
            Some(help) => write!(f, "\n  = help: {help}"),
            None => Ok(()),
        }
    }
}

/// A text that settings are read from.
#[derive(Debug)]
pub(super) struct Source {
    name: String,
    text: String,
    in_file: bool,
}

impl Source {
    /// A file; `name` is what the operator calls it.
    pub(super) fn file(name: String, text: String) -> Arc<Self> {
        Arc::new(Self {
            name,
            text,
            in_file: true,
        })
    }

    /// The value of a variable or a flag.
    pub(super) fn word(name: &str, text: &str) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            text: text.to_owned(),
            in_file: false,
        })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

/// Some octets of a source.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) source: Arc<Source>,
    pub(super) span: Range<usize>,
}

impl Place {
    /// All of a source.
    pub(super) fn whole(source: &Arc<Source>) -> Self {
        Self {
            source: Arc::clone(source),
            span: 0..source.text.len(),
        }
    }

    pub(super) fn fault(&self, message: String, help: impl Into<String>) -> Fault {
        Fault {
            message,
            help: Some(help.into()),
            place: Some(self.clone()),
        }
    }

    /// The part before the place on its first line, the place on that line, and what follows there.
    fn line(&self) -> [String; 3] {
        let octets = self.source.text.as_bytes();
        let start = self.span.start.min(octets.len());
        let first = octets[..start].iter().rposition(|it| *it == b'\n');
        let first = first.map_or(0, |at| at + 1);
        let length = octets[first..].iter().position(|it| *it == b'\n');
        let last = length.map_or(octets.len(), |length| first + length);
        let end = self.span.end.clamp(start, last.max(start));
        [first..start, start..end, end..last.max(end)].map(|range| printable(&octets[range]))
    }

    fn line_and_column(&self) -> (usize, usize) {
        let before = self.source.text.as_bytes();
        let before = &before[..self.span.start.min(before.len())];
        let line = before.iter().filter(|it| **it == b'\n').count() + 1;
        (line, self.line()[0].chars().count() + 1)
    }
}

/// ` --> file:line:column`, the line, and the place underlined.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.line_and_column();
        let name = &self.source.name;
        let (number, title) = match self.source.in_file {
            true => (line.to_string(), format!("{name}:{line}:{column}")),
            false => (String::new(), name.clone()),
        };
        let margin = " ".repeat(number.len());
        let [before, here, after] = self.line();
        let indent = " ".repeat(before.chars().count());
        let underline = "^".repeat(here.chars().count().max(1));
        write!(f, "\n{margin}--> {title}\n{margin} |")?;
        write!(f, "\n{number} | {before}{here}{after}")?;
        write!(f, "\n{margin} | {indent}{underline}")
    }
}

/// One line's text, one column a character, unable to steer a terminal.
fn printable(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(octets);
    text.chars()
        .map(|c| match c {
            '\t' | '\r' => ' ',
            c if c.is_control() => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, span: Range<usize>) -> String {
        let source = Source::file("c.toml".to_owned(), text.to_owned());
        let place = Place { source, span };
        place.fault("no".to_owned(), "yes").to_string()
    }

    #[test]
    fn a_place_is_underlined_on_its_line() {
        let expected = "error: no\n --> c.toml:2:5\n  |\n2 | b = 22\n  |     ^^\n  = help: yes";
        assert_eq!(shown("a = 1\nb = 22\n", 10..12), expected);
    }

    #[test]
    fn a_column_counts_characters_and_a_tab_is_one() {
        assert!(shown("\té = 1", 6..7).contains("c.toml:1:6\n  |\n1 |  é = 1\n  |      ^"));
    }

    #[test]
    fn a_place_over_lines_is_underlined_on_the_first() {
        assert!(shown("a = [\n 1]\n", 4..9).contains("1 | a = [\n  |     ^\n"));
    }

    #[test]
    fn a_place_past_the_end_still_prints() {
        assert!(shown("a =", 3..3).contains("c.toml:1:4"));
        assert!(shown("", 5..9).contains("c.toml:1:1"));
    }

    #[test]
    fn a_variable_has_a_name_and_no_line() {
        let fault = Place::whole(&Source::word("NAMEGATE_X", "\u{1b}[2J")).fault("no".into(), "y");
        assert_eq!(fault.line_and_column(), None);
        assert!(
            fault
                .to_string()
                .contains("--> NAMEGATE_X\n |\n | \u{fffd}[2J\n")
        );
    }
}
