//! Findings about a document, each at its place, drawn as a compiler draws them.
//!
//! A room that reads a document collects [`Diagnostic`]s against its source; out
//! go [`Diagnostics`], which stand alone: each finding carries the piece of its
//! line that is drawn, so the source can be dropped. Nothing is printed here,
//! and what stood in the document reaches a terminal with its control
//! characters replaced.

use std::fmt::Write as _;
use std::ops::Range;

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde_json::{Value, json};

/// Findings that are kept; the rest is counted. Someone who has that many mends the program that wrote the file.
const KEPT_MAX: usize = 1000;
/// Findings that are drawn: more would scroll the first out of sight.
const DRAWN_MAX: usize = 100;
/// Characters of the source drawn on each side of a finding when its line is long.
const AROUND: usize = 30;
/// Characters of a finding that are underlined; a value can be as long as the file.
const UNDERLINED_MAX: usize = 80;
/// A line of fewer characters is drawn whole.
const WHOLE_LINE_CHARS: usize = 160;
/// Characters of the document's own words within a sentence of ours.
const SHOWN_MAX: usize = 80;
/// Columns the drawing may take; a clipped line and its label fit.
const DRAWN_COLUMNS: usize = 400;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Probably not meant.
    Warning,
    /// The document is refused.
    Error,
}

impl Severity {
    /// The word for it in texts and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    fn level(self) -> Level<'static> {
        match self {
            Self::Info => Level::INFO,
            Self::Warning => Level::WARNING,
            Self::Error => Level::ERROR,
        }
    }

    /// The word for it in a workflow command.
    fn github(self) -> &'static str {
        match self {
            Self::Info => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// `NP012`.
    pub code: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// One sentence.
    pub message: String,
    /// A few words to stand under the place.
    pub label: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Where it is in the document, as a JSON pointer (RFC 6901); empty for the whole.
    pub path: String,
    /// Where it is in the source, in octets.
    pub span: Range<usize>,
    /// The line, from 1; 0 when the finding is about the file as a whole.
    pub line: u32,
    /// The column, from 1, in characters; 0 when the finding is about the file as a whole.
    pub column: u32,
    excerpt: Excerpt,
}

/// The piece of a line that is drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Excerpt {
    text: String,
    underlined: Range<usize>,
}

impl Diagnostic {
    pub(super) fn new(
        severity: Severity,
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            code,
            severity,
            message: message.into(),
            label: String::new(),
            help: None,
            path: String::new(),
            span,
            line: 0,
            column: 0,
            excerpt: Excerpt::default(),
        }
    }

    pub(super) fn error(
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Error, code, span, message)
    }

    pub(super) fn label(self, label: impl Into<String>) -> Self {
        let label = label.into();
        Self { label, ..self }
    }

    pub(super) fn help(self, help: impl Into<Option<String>>) -> Self {
        let help = help.into();
        Self { help, ..self }
    }

    pub(super) fn path(self, path: impl Into<String>) -> Self {
        let path = path.into();
        Self { path, ..self }
    }

    fn draw(&self, file: &str, renderer: &Renderer) -> String {
        let file = shown(file);
        let group = self.severity.level().primary_title(self.message.as_str());
        let group = group.id(self.code);
        if self.line == 0 {
            let group = group.element(Origin::path(file.as_str()));
            return renderer.render(&[self.with_help(group)]);
        }
        let group = group.element(self.snippet(&file));
        let drawn = renderer.render(&[self.with_help(group)]);
        // The renderer counts columns in the excerpt, which may be a piece of the line.
        let before = &self.excerpt.text[..self.excerpt.underlined.start];
        let within = format!("{file}:{}:{}", self.line, before.chars().count() + 1);
        drawn.replacen(&within, &format!("{file}:{}:{}", self.line, self.column), 1)
    }

    fn snippet<'a>(&'a self, file: &'a str) -> Snippet<'a, Annotation<'a>> {
        let underlined = AnnotationKind::Primary.span(self.excerpt.underlined.clone());
        Snippet::source(self.excerpt.text.as_str())
            .path(file)
            .line_start(self.line as usize)
            .annotation(underlined.label(self.label.as_str()))
    }

    fn with_help<'a>(&'a self, group: Group<'a>) -> Group<'a> {
        match &self.help {
            Some(help) => group.element(Level::HELP.message(help.as_str())),
            None => group,
        }
    }

    /// A workflow command, as continuous integration at GitHub reads it.
    fn github(&self, file: &str) -> String {
        let mut text = self.message.clone();
        if !self.label.is_empty() {
            let _ = write!(text, ": {}", self.label);
        }
        if let Some(help) = &self.help {
            let _ = write!(text, "\n{help}");
        }
        let kind = self.severity.github();
        let file = in_property(file);
        let (line, column, code) = (self.line.max(1), self.column.max(1), self.code);
        let text = in_command(&text);
        format!("::{kind} file={file},line={line},col={column},title={code}::{text}\n")
    }

    fn json(&self) -> Value {
        json!({
            "code": self.code,
            "severity": self.severity.word(),
            "path": self.path,
            "line": (self.line > 0).then_some(self.line),
            "column": (self.column > 0).then_some(self.column),
            "message": self.message,
            "help": self.help,
        })
    }
}

/// All findings about one document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics {
    /// In the order of the document.
    pub findings: Vec<Diagnostic>,
    /// The name the document is shown under.
    pub file: String,
    /// How many there are: info, warnings, errors; more than `findings` holds when there are very many.
    counts: [usize; 3],
}

impl Diagnostics {
    /// One finding about a file as a whole.
    pub fn of_file(
        file: &str,
        code: &'static str,
        severity: Severity,
        message: &str,
        help: Option<&str>,
    ) -> Self {
        let error = Diagnostic::error(code, 0..0, message);
        let finding = Diagnostic { severity, ..error }.help(help.map(str::to_owned));
        let mut counts = [0; 3];
        counts[severity as usize] = 1;
        Self {
            findings: vec![finding],
            file: file.to_owned(),
            counts,
        }
    }

    /// Adds what else was found about the document.
    pub fn add(&mut self, others: Self) {
        self.findings.extend(others.findings);
        for (count, more) in self.counts.iter_mut().zip(others.counts) {
            *count += more;
        }
    }

    /// Keeps the findings for which this holds, of those that are kept at all.
    pub fn keep(&mut self, wanted: impl FnMut(&Diagnostic) -> bool) {
        self.findings.retain(wanted);
        self.counts = [0; 3];
        for finding in &self.findings {
            self.counts[finding.severity as usize] += 1;
        }
    }

    /// How many findings of this severity there are.
    pub fn count(&self, severity: Severity) -> usize {
        self.counts[severity as usize]
    }

    /// Is the document refused?
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// Is there nothing to say?
    pub fn is_empty(&self) -> bool {
        self.counts == [0; 3]
    }

    /// `policy.json: 2 errors, 1 warning`; `policy.json: no findings`.
    pub fn summary(&self) -> String {
        let parts: Vec<String> = [
            (Severity::Error, "error", "errors"),
            (Severity::Warning, "warning", "warnings"),
            (Severity::Info, "remark", "remarks"),
        ]
        .into_iter()
        .filter_map(|(severity, one, many)| match self.count(severity) {
            0 => None,
            1 => Some(format!("1 {one}")),
            count => Some(format!("{count} {many}")),
        })
        .collect();
        let found = if parts.is_empty() {
            "no findings".to_owned()
        } else {
            parts.join(", ")
        };
        format!("{}: {found}", shown(&self.file))
    }

    /// The findings under their lines, for people; `color` for a terminal.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let renderer = renderer.term_width(DRAWN_COLUMNS);
        let mut text = String::new();
        for finding in self.findings.iter().take(DRAWN_MAX) {
            text += &finding.draw(&self.file, &renderer);
            text += "\n\n";
        }
        let rest = self.counts.iter().sum::<usize>().saturating_sub(DRAWN_MAX);
        if rest > 0 {
            let _ = writeln!(text, "... and {rest} more findings\n");
        }
        text
    }

    /// The findings as workflow commands, one a line.
    pub fn github(&self) -> String {
        self.findings
            .iter()
            .map(|it| it.github(&self.file))
            .collect()
    }

    /// The findings as an array of objects.
    pub fn json(&self) -> Value {
        self.findings.iter().map(Diagnostic::json).collect()
    }
}

/// Findings on their way: collected in any order, placed when all are there.
pub(super) struct Findings {
    found: Vec<Diagnostic>,
    counts: [usize; 3],
}

impl Findings {
    pub(super) fn new() -> Self {
        Self {
            found: Vec::new(),
            counts: [0; 3],
        }
    }

    pub(super) fn add(&mut self, finding: Diagnostic) {
        self.counts[finding.severity as usize] += 1;
        if self.found.len() < KEPT_MAX {
            self.found.push(finding);
        }
    }

    pub(super) fn has_errors(&self) -> bool {
        self.counts[Severity::Error as usize] > 0
    }

    /// Sorts the findings into the order of the document and gives each its line, column and excerpt.
    pub(super) fn place(mut self, file: &str, source: &str) -> Diagnostics {
        self.found.sort_by_key(|it| it.span.start);
        let mut cursor = Cursor::new(source);
        for finding in &mut self.found {
            (finding.line, finding.column) = cursor.place_of(finding.span.start);
            finding.excerpt = Excerpt::of(source, finding.span.clone());
        }
        Diagnostics {
            findings: self.found,
            file: file.to_owned(),
            counts: self.counts,
        }
    }
}

/// Counts lines and columns on the way through a source, forwards only, so that
/// many places on one long line cost one walk.
pub(super) struct Cursor<'a> {
    source: &'a [u8],
    at: usize,
    line: u32,
    column: u32,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(source: &'a str) -> Self {
        Self {
            source: source.as_bytes(),
            at: 0,
            line: 1,
            column: 1,
        }
    }

    /// The line and column of an offset that is not before the last one asked for.
    pub(super) fn place_of(&mut self, offset: usize) -> (u32, u32) {
        for octet in &self.source[self.at..offset] {
            match octet {
                b'\n' => (self.line, self.column) = (self.line + 1, 1),
                // Octets within a character of UTF-8 are no columns.
                0x80..=0xBF => {}
                _ => self.column += 1,
            }
        }
        self.at = offset;
        (self.line, self.column)
    }
}

impl Excerpt {
    /// Looks at no more of the source than may be drawn: a line can be as long as the file.
    fn of(source: &str, span: Range<usize>) -> Self {
        let before = last_chars(&source[..span.start], WHOLE_LINE_CHARS);
        let before = before.rsplit('\n').next().unwrap_or_default();
        let rest = first_chars(&source[span.start..], WHOLE_LINE_CHARS);
        let rest = rest.split('\n').next().unwrap_or_default();
        let is_whole = before.chars().count() + rest.chars().count() < WHOLE_LINE_CHARS;
        let around = if is_whole { WHOLE_LINE_CHARS } else { AROUND };

        let left = last_chars(before, around);
        let within = first_chars(&rest[..rest.len().min(span.len())], UNDERLINED_MAX);
        let right = first_chars(&rest[within.len()..], around);
        let is_cut_left = left.len() < before.len();
        let is_cut_right = within.len() + right.len() < rest.len();

        let mut text = String::from(if is_cut_left { "..." } else { "" });
        text.extend(left.chars().map(visible));
        let start = text.len();
        text.extend(within.chars().map(visible));
        let underlined = start..text.len();
        text.extend(right.trim_end().chars().map(visible));
        text += if is_cut_right { "..." } else { "" };
        Self { text, underlined }
    }
}

fn first_chars(text: &str, count: usize) -> &str {
    text.char_indices()
        .nth(count)
        .map_or(text, |(at, _)| &text[..at])
}

fn last_chars(text: &str, count: usize) -> &str {
    let Some(last) = count.checked_sub(1) else {
        return "";
    };
    text.char_indices()
        .rev()
        .nth(last)
        .map_or(text, |(at, _)| &text[at..])
}

/// A text of the document's or the user's, unable to steer a terminal.
pub fn printable(text: &str) -> String {
    let replaced = |c: char| {
        if c.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    text.chars().map(replaced).collect()
}

/// The document's own words within a sentence of ours: clipped, and nothing in them that a terminal obeys.
pub(super) fn shown(text: &str) -> String {
    let clipped = first_chars(text, SHOWN_MAX);
    let dots = if clipped.len() < text.len() {
        "..."
    } else {
        ""
    };
    clipped.chars().map(visible).chain(dots.chars()).collect()
}

/// Control characters, and those that turn or hide text, become U+FFFD.
fn visible(character: char) -> char {
    match character {
        '\t' => ' ',
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' => '\u{fffd}',
        '\u{2060}'..='\u{206f}' | '\u{feff}' => '\u{fffd}',
        _ if character.is_control() => '\u{fffd}',
        _ => character,
    }
}

fn in_command(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn in_property(text: &str) -> String {
    in_command(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "/etc/namegate/policy.json";

    fn found(source: &str, words: &str) -> Diagnostics {
        let start = source.find(words).expect("the words stand in the source");
        let finding = Diagnostic::error("NP012", start..start + words.len(), "not a hostname")
            .label("a policy lists hostnames")
            .help("did you mean `github.com`?".to_owned())
            .path("/egress/allowed_hostnames/0");
        let mut findings = Findings::new();
        findings.add(finding);
        findings.place(FILE, source)
    }

    #[test]
    fn a_finding_is_drawn_under_its_line() {
        let source = "{\n  \"x\": [\n      \"https://github.com/\",\n  ]\n}";
        let expected = "\
error[NP012]: not a hostname
 --> /etc/namegate/policy.json:3:7
  |
3 |       \"https://github.com/\",
  |       ^^^^^^^^^^^^^^^^^^^^^ a policy lists hostnames
  |
  = help: did you mean `github.com`?

";
        assert_eq!(
            found(source, "\"https://github.com/\"").render(false),
            expected
        );
        let colored = found(source, "\"https://github.com/\"").render(true);
        assert!(colored.contains("\u{1b}["), "{colored}");
    }

    #[test]
    fn a_long_line_is_clipped_on_both_sides() {
        let around = "\"name.example\",".repeat(100_000);
        let source = format!("[{around}\"bücher.example\",{around}\"\"]");
        let drawn = found(&source, "\"bücher.example\"").render(false);
        let expected = "\
error[NP012]: not a hostname
 --> /etc/namegate/policy.json:1:1500002
  |
1 | ...\"name.example\",\"name.example\",\"bücher.example\",\"name.example\",\"name.example\"...
  |                                  ^^^^^^^^^^^^^^^^ a policy lists hostnames
  |
  = help: did you mean `github.com`?

";
        assert_eq!(drawn, expected);
    }

    #[test]
    fn a_long_value_is_clipped() {
        let source = format!("[\"{}\", 1]", "x".repeat(1_000_000));
        let drawn = found(&source, &source[1..1_000_003]).render(false);
        assert!(drawn.len() < 600, "{drawn}");
        assert!(drawn.contains("xxx..."), "{drawn}");
    }

    #[test]
    fn lines_and_columns_are_counted_in_characters() {
        let source = "é\n\n  éé\"x\"";
        let finding = &found(source, "\"x\"").findings[0];
        assert_eq!((finding.line, finding.column), (3, 5));
    }

    #[test]
    fn nothing_in_a_document_reaches_the_terminal_unseen() {
        assert_eq!(
            shown("a\u{1b}[31m\u{202e}\u{9b}b"),
            "a\u{fffd}[31m\u{fffd}\u{fffd}b"
        );
        let drawn = found("[\"a\u{9b}\u{202e}\u{7f}\"]", "\"a").render(false);
        assert!(!drawn.contains(['\u{9b}', '\u{202e}', '\u{7f}']), "{drawn}");
    }

    #[test]
    fn a_finding_about_the_file_has_no_line() {
        let drawn =
            Diagnostics::of_file(FILE, "NP006", Severity::Error, "too large", None).render(false);
        assert_eq!(
            drawn,
            "error[NP006]: too large\n--> /etc/namegate/policy.json\n\n"
        );
    }

    #[test]
    fn a_workflow_command_is_one_line() {
        let mut diagnostics = found("[\"a:b\"]", "\"a:b\"");
        diagnostics.file = "a,b:c.json".to_owned();
        diagnostics.findings[0].message = "100% wrong".to_owned();
        assert_eq!(
            diagnostics.github(),
            "::error file=a%2Cb%3Ac.json,line=1,col=2,title=NP012::100%25 wrong: a policy lists hostnames%0Adid you mean `github.com`?\n"
        );
    }

    #[test]
    fn json_tells_the_same() {
        let expected = json!([{
            "code": "NP012",
            "severity": "error",
            "path": "/egress/allowed_hostnames/0",
            "line": 1,
            "column": 2,
            "message": "not a hostname",
            "help": "did you mean `github.com`?",
        }]);
        assert_eq!(found("[\"a:b\"]", "\"a:b\"").json(), expected);
    }

    #[test]
    fn very_many_findings_are_counted() {
        let mut findings = Findings::new();
        for at in 0..5000 {
            findings.add(Diagnostic::error("NP004", at..at + 1, "wrong"));
        }
        findings.add(Diagnostic::new(Severity::Info, "NP032", 0..1, "empty"));
        let diagnostics = findings.place("policy.json", &"x".repeat(5000));
        assert_eq!(diagnostics.summary(), "policy.json: 5000 errors, 1 remark");
        assert_eq!(diagnostics.findings.len(), KEPT_MAX);
        let drawn = diagnostics.render(false);
        assert_eq!(drawn.matches("error[NP004]").count(), DRAWN_MAX);
        assert!(drawn.ends_with("... and 4901 more findings\n\n"), "{drawn}");
    }
}
