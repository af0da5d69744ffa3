//! One entry of `allowed_hostnames` (SPEC 2).
//!
//! A text comes in; a [`Pattern`] goes out, or the [`Flaw`] that says why not
//! and what to write instead. What is a pattern is said once, in a few lines,
//! by `is_pattern`; the rest of this file only explains a refusal. Nothing is
//! repaired: a suggestion is shown, never taken.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;

use super::diagnose::shown;
use crate::wire::Name;

/// Octets of a name in presentation form without the final dot (RFC 1035 §2.3.4).
const NAME_OCTETS_MAX: usize = 253;
/// Octets of one label (RFC 1035 §2.3.4).
const LABEL_OCTETS_MAX: usize = 63;
/// A text longer than this is not searched for a suggestion: nobody typed it.
const REPAIR_OCTETS_MAX: usize = 2048;

/// A hostname pattern: exactly one name, or every name below one.
///
/// Invariant: lower-case ASCII, no final dot, `*` only as a whole first label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
}

/// Patterns in the order of their list, kept as one text: a million of them take little more than their letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns {
    text: String,
    /// Where each ends in `text`.
    ends: Vec<u32>,
}

impl Patterns {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The one at `index`.
    pub fn get(&self, index: usize) -> Option<Pattern> {
        let end = *self.ends.get(index)? as usize;
        let start = index
            .checked_sub(1)
            .map_or(0, |before| self.ends[before] as usize);
        Some(Pattern {
            text: self.text[start..end].into(),
        })
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Pattern> + '_ {
        (0..self.len()).map_while(|index| self.get(index))
    }

    /// Adds one at the end.
    pub(super) fn push(&mut self, pattern: &Pattern) {
        self.text.push_str(&pattern.text);
        let end = u32::try_from(self.text.len()).expect("a policy is at most 64 MiB");
        self.ends.push(end);
    }
}

/// Why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The diagnostic's code, `NP012`.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
    /// A few words to stand under the text.
    pub label: &'static str,
    /// What to write instead.
    pub help: Option<String>,
}

impl Flaw {
    /// What is wrong, and what to write instead.
    pub fn advice(&self) -> String {
        match &self.help {
            Some(help) => format!("{}; {help}", self.message),
            None => self.message.clone(),
        }
    }
}

impl Pattern {
    /// Takes a pattern as written in a policy or a configuration.
    ///
    /// # Errors
    /// For everything that SPEC 2 refuses.
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let name = text.strip_suffix('.').unwrap_or(text);
        if !is_pattern(name) {
            return Err(flaw(text));
        }
        Ok(Self::new(name))
    }

    fn new(name: &str) -> Self {
        Self {
            text: name.to_ascii_lowercase().into(),
        }
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
        self.base().parse().expect("`parse` takes valid names only")
    }

    /// The text of the name, without the `*.`.
    pub(super) fn base(&self) -> &str {
        self.text.strip_prefix("*.").unwrap_or(&self.text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The whole grammar. `name` has lost its one final dot.
fn is_pattern(name: &str) -> bool {
    let (base, labels_min) = match name.strip_prefix("*.") {
        Some(base) => (base, 1),
        None => (name, 2),
    };
    name.len() <= NAME_OCTETS_MAX
        && base.split('.').count() >= labels_min
        && base.split('.').all(is_label)
        && !ends_in_number(base)
}

fn is_label(label: &str) -> bool {
    (1..=LABEL_OCTETS_MAX).contains(&label.len()) && label.bytes().all(is_plain)
}

fn is_plain(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_'
}

/// A name whose last label is a number is an IPv4 address to the programs that
/// get it, in whatever spelling: `127.1`, `0x7f.1`, `2130706433`, `0177.0.0.1`.
fn ends_in_number(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or(name);
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    match hex {
        Some(digits) => digits.bytes().all(|it| it.is_ascii_hexdigit()),
        None => !last.is_empty() && last.bytes().all(|it| it.is_ascii_digit()),
    }
}

/// Why `text` is not a pattern: the first of the reasons, the most telling first.
fn flaw(text: &str) -> Flaw {
    if text.is_empty() {
        return Flaw::new("NP010", "an empty string is not a hostname", "empty")
            .help("remove the entry; an empty list denies every name");
    }
    if text == "*" {
        return Flaw::new("NP015", "`*` alone is not a pattern", "would be every name")
            .help("to allow every name write \"allow_all\": true");
    }
    if is_address(host_of(text)) {
        return Flaw::new(
            "NP013",
            "an IP address is not a hostname",
            "addresses are never looked up",
        )
        .help("list the name of the service; addresses go into `egress.allowed_cidrs`");
    }
    let flaw = not_a_url(text)
        .or_else(|| no_white_space(text))
        .or_else(|| ascii_only(text))
        .or_else(|| star_first(text))
        .unwrap_or_else(|| bad_label(text));
    match flaw.help {
        Some(_) => flaw,
        None => flaw.suggest(text),
    }
}

fn not_a_url(text: &str) -> Option<Flaw> {
    let (what, label) = if text.contains("://") {
        ("looks like a URL", "a policy lists hostnames, not URLs")
    } else if text.contains(['/', '?', '#', '\\']) {
        ("has a path", "a policy lists hostnames, without a path")
    } else if text.contains('@') {
        (
            "has a user part",
            "a policy lists hostnames, without a user",
        )
    } else if text.contains(':') {
        ("has a port", "a name is allowed on every port")
    } else {
        return None;
    };
    Some(Flaw::new("NP012", format!("not a hostname: {what}"), label))
}

fn no_white_space(text: &str) -> Option<Flaw> {
    let flaw = Flaw::new("NP011", "a hostname has no white space", "white space");
    text.contains(char::is_whitespace).then_some(flaw)
}

fn ascii_only(text: &str) -> Option<Flaw> {
    if text.is_ascii() {
        return None;
    }
    let message = "an international name is written in its `xn--` form";
    let flaw = Flaw::new("NP016", message, "not ASCII").suggest(text);
    let without_form = "this text has no `xn--` form";
    Some(match flaw.help {
        Some(_) => flaw,
        None => flaw.help(without_form),
    })
}

fn star_first(text: &str) -> Option<Flaw> {
    let base = text.strip_prefix("*.").unwrap_or(text);
    if base.is_empty() {
        let flaw = Flaw::new("NP014", "nothing stands after `*.`", "a name is missing");
        return Some(flaw.help("write a name after it, as in `*.example.com`"));
    }
    if !base.contains('*') {
        return None;
    }
    let message = "`*` stands only as the whole first label, once";
    let flaw = Flaw::new("NP014", message, "not a wildcard");
    let whole_labels = text.split('.').take_while(|label| label.contains('*'));
    if whole_labels.clone().count() > 0 && whole_labels.flat_map(str::chars).all(|it| it == '*') {
        return Some(flaw);
    }
    // The repaired pattern is wider than what was written, so it is no mere "did you mean".
    let wider = repaired(text).map(|it| {
        let base = it.base();
        format!("`{it}` allows every name below `{base}`; or list the names one by one")
    });
    Some(Flaw {
        help: wider.or_else(|| Some("list the names one by one".to_owned())),
        ..flaw
    })
}

/// The last resort, and so it always finds something.
fn bad_label(text: &str) -> Flaw {
    let name = text.strip_suffix('.').unwrap_or(text);
    let base = name.strip_prefix("*.").unwrap_or(name);
    let strange = base
        .chars()
        .find(|it| *it != '.' && !(it.is_ascii() && is_plain(*it as u8)));
    if let Some(strange) = strange {
        let message = format!(
            "`{}` cannot stand in a hostname",
            shown(&strange.to_string())
        );
        return Flaw::new("NP011", message, "letters, digits, `-`, `_` and dots only");
    }
    if base.split('.').any(str::is_empty) {
        return Flaw::new("NP011", "a label is empty", "nothing between two dots");
    }
    if let Some(long) = base.split('.').find(|it| it.len() > LABEL_OCTETS_MAX) {
        let message = format!("a label has {} octets", long.len());
        return Flaw::new("NP011", message, "a label has at most 63 octets");
    }
    if name.len() > NAME_OCTETS_MAX {
        let message = format!("the name has {} octets", name.len());
        return Flaw::new("NP011", message, "a name has at most 253 octets");
    }
    let flaw = Flaw::new(
        "NP011",
        "a single label is not a hostname",
        "a dot is missing",
    );
    if base.eq_ignore_ascii_case("localhost") {
        return flaw.help("remove the entry: `localhost` is always answered locally");
    }
    flaw.help("write the whole name, as in `name.example.com`")
}

impl Flaw {
    fn new(code: &'static str, message: impl Into<String>, label: &'static str) -> Self {
        Self {
            code,
            message: message.into(),
            label,
            help: None,
        }
    }

    fn help(self, help: &str) -> Self {
        Self {
            help: Some(help.to_owned()),
            ..self
        }
    }

    fn suggest(self, text: &str) -> Self {
        let help = repaired(text).map(|it| format!("did you mean `{it}`?"));
        Self { help, ..self }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Flaw {}

/// The pattern that was probably meant.
fn repaired(text: &str) -> Option<Pattern> {
    let host = ascii(host_of(text))?;
    let is_bare_ending = host.starts_with('.');
    let labels: Vec<&str> = host.split('.').filter(|it| !it.is_empty()).collect();
    let after_star = labels
        .iter()
        .rposition(|it| it.contains('*'))
        .map(|at| at + 1);
    let base = &labels[after_star.unwrap_or(0)..];
    // A wildcard over a whole top-level domain is never the answer to a slip.
    if base.len() < 2 {
        return None;
    }
    let star = if is_bare_ending || after_star.is_some() {
        "*."
    } else {
        ""
    };
    let name = format!("{star}{}", base.join("."));
    is_pattern(&name).then(|| Pattern::new(&name))
}

/// What is left of a text without scheme, user part, path, port, brackets and white space.
fn host_of(text: &str) -> &str {
    let text = text.trim();
    let text = match text.strip_prefix('[') {
        Some(inner) => return inner.split(']').next().unwrap_or(inner),
        None => text.split_once("://").map_or(text, |(_, rest)| rest),
    };
    let text = text.split(['/', '?', '#', '\\']).next().unwrap_or(text);
    let text = text.rsplit('@').next().unwrap_or(text);
    if let Some(inner) = text.strip_prefix('[') {
        return inner.split(']').next().unwrap_or(inner);
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') && port.bytes().all(|it| it.is_ascii_digit()) => {
            host
        }
        _ => text,
    }
}

fn is_address(host: &str) -> bool {
    let zoneless = host.split('%').next().unwrap_or(host);
    zoneless.parse::<Ipv6Addr>().is_ok() || ascii(host).is_some_and(|it| ends_in_number(&it))
}

/// The ASCII form of a name; fullwidth digits and the like become what they stand for.
fn ascii(host: &str) -> Option<Cow<'_, str>> {
    if host.len() > REPAIR_OCTETS_MAX {
        return None;
    }
    if host.is_ascii() {
        return Some(host.into());
    }
    idna::domain_to_ascii(host).ok().map(Cow::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn accept(text: &str, expected: &str) {
        assert_eq!(Pattern::parse(text).expect(text).text(), expected, "{text}");
    }

    #[track_caller]
    fn refuse(text: &str, code: &str, help: &str) {
        let flaw = Pattern::parse(text).expect_err(text);
        assert_eq!(
            (flaw.code, flaw.help.as_deref()),
            (code, Some(help)),
            "{text}: {flaw}"
        );
    }

    #[track_caller]
    fn refuse_and_suggest(text: &str, code: &str, suggestion: &str) {
        refuse(text, code, &format!("did you mean `{suggestion}`?"));
    }

    #[track_caller]
    fn refuse_without_help(text: &str, code: &str) {
        let flaw = Pattern::parse(text).expect_err(text);
        assert_eq!((flaw.code, flaw.help), (code, None), "{text}");
    }

    #[test]
    fn names_and_wildcards_are_patterns() {
        accept("github.com", "github.com");
        accept("*.npmjs.org", "*.npmjs.org");
        accept("*.com", "*.com");
        accept("_dmarc.-x-.9.example", "_dmarc.-x-.9.example");
        accept("xn--bcher-kva.example", "xn--bcher-kva.example");
        accept("10.in-addr.arpa", "10.in-addr.arpa");
    }

    #[test]
    fn case_and_one_final_dot_are_normalised() {
        accept("GitHub.COM.", "github.com");
        accept("*.Example.com.", "*.example.com");
        refuse_and_suggest("github.com..", "NP011", "github.com");
    }

    #[test]
    fn a_wildcard_names_what_it_stands_on() {
        let pattern = Pattern::parse("*.NPMJS.org").expect("a wildcard");
        assert!(pattern.is_wildcard());
        assert_eq!(pattern.name(), "npmjs.org".parse().expect("a name"));
        assert!(!Pattern::parse("npmjs.org").expect("a name").is_wildcard());
    }

    #[test]
    fn an_empty_string_is_refused() {
        refuse(
            "",
            "NP010",
            "remove the entry; an empty list denies every name",
        );
    }

    #[test]
    fn urls_paths_ports_and_users_are_refused() {
        refuse_and_suggest("https://registry.npmjs.org/", "NP012", "registry.npmjs.org");
        refuse_and_suggest(
            "https://*.githubcopilot.com/*",
            "NP012",
            "*.githubcopilot.com",
        );
        refuse_and_suggest("github.com/foo", "NP012", "github.com");
        refuse_and_suggest("github.com?x=1", "NP012", "github.com");
        refuse_and_suggest("github.com:443", "NP012", "github.com");
        refuse_and_suggest("github.com:", "NP012", "github.com");
        refuse_and_suggest("git@github.com", "NP012", "github.com");
        refuse_and_suggest(
            "https://me:secret@GitHub.com:443/x?y#z",
            "NP012",
            "github.com",
        );
        refuse_and_suggest(
            "[www.github.com](http://www.github.com)",
            "NP012",
            "www.github.com",
        );
        refuse_without_help("https://", "NP012");
    }

    #[test]
    fn addresses_are_refused_in_every_spelling() {
        let help = "list the name of the service; addresses go into `egress.allowed_cidrs`";
        for text in [
            "10.0.0.1",
            "10.0.0.1.",
            "127.1",
            "0x7f.1",
            "0X7F.0.0.0x1",
            "0x7f000001",
            "2130706433",
            "0177.0.0.1",
            "256.256.256.256",
            "1.2.3.4.5",
            "１２７.０.０.１",
            "127。0。0。1",
            "[::1]",
            "[::1]:443",
            "::1",
            "fe80::1%eth0",
            "2001:db8::1",
            "::ffff:127.0.0.1",
            "10.0.0.0/8",
            "2001:db8::/32",
            "10.0.0.1:443",
            " 10.0.0.1",
            "http://127.0.0.1:8080/",
            "http://[::1]:8080/",
            "*.127.0.0.1",
            "example.123",
        ] {
            refuse(text, "NP013", help);
        }
    }

    #[test]
    fn white_space_is_refused() {
        refuse_and_suggest(" github.com", "NP011", "github.com");
        refuse_and_suggest("github.com\n", "NP011", "github.com");
        refuse_and_suggest("github.com\u{a0}", "NP011", "github.com");
        refuse_without_help("github.com gitlab.com", "NP011");
        refuse_without_help(" ", "NP011");
    }

    #[test]
    fn a_star_is_the_whole_first_label() {
        refuse(
            "*",
            "NP015",
            "to allow every name write \"allow_all\": true",
        );
        refuse(
            "*.",
            "NP014",
            "write a name after it, as in `*.example.com`",
        );
        refuse_and_suggest("**.example.com", "NP014", "*.example.com");
        refuse_and_suggest("*.*.example.com", "NP014", "*.example.com");
        let wider =
            "`*.example.com` allows every name below `example.com`; or list the names one by one";
        refuse("a*.example.com", "NP014", wider);
        refuse("*a.example.com", "NP014", wider);
        refuse("x.*.example.com", "NP014", wider);
        refuse("api-*.com", "NP014", "list the names one by one");
        refuse("example.*", "NP014", "list the names one by one");
        refuse_without_help("*.*", "NP014");
    }

    #[test]
    fn labels_and_names_are_bounded() {
        let label = "x".repeat(63);
        accept(&format!("{label}.com"), &format!("{label}.com"));
        refuse_without_help(&format!("{label}x.com"), "NP011");
        let longest = format!("{label}.{label}.{label}.{}", "x".repeat(61));
        accept(&longest, &longest);
        refuse_without_help(&format!("{longest}x"), "NP011");
        refuse_without_help(&format!("*.{longest}"), "NP011");
        accept(
            &format!("*.{}", &longest[2..]),
            &format!("*.{}", &longest[2..]),
        );
    }

    #[test]
    fn strange_characters_are_refused() {
        refuse_without_help("exa$mple.com", "NP011");
        refuse_without_help("*.exa$mple.com", "NP011");
        refuse_without_help("exa\u{0}mple.com", "NP011");
        refuse_without_help("\"github.com\"", "NP011");
    }

    #[test]
    fn empty_labels_are_refused() {
        refuse_and_suggest("a..example.com", "NP011", "a.example.com");
        refuse_and_suggest(".example.com", "NP011", "*.example.com");
        refuse_and_suggest("*..example.com", "NP011", "*.example.com");
        refuse_without_help(".", "NP011");
    }

    #[test]
    fn a_single_label_is_refused() {
        refuse(
            "localhost",
            "NP011",
            "remove the entry: `localhost` is always answered locally",
        );
        refuse(
            "intranet.",
            "NP011",
            "write the whole name, as in `name.example.com`",
        );
    }

    #[test]
    fn international_names_are_shown_in_their_ascii_form() {
        refuse_and_suggest("bücher.example", "NP016", "xn--bcher-kva.example");
        refuse_and_suggest("*.bücher.example", "NP016", "*.xn--bcher-kva.example");
        refuse_and_suggest("github\u{200b}.com", "NP016", "github.com");
        refuse("a\u{202e}.example", "NP016", "this text has no `xn--` form");
    }
}
