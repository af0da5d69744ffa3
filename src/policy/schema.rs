//! The NetworkPolicy document (SPEC 2): its shape, checked to the last field.
//!
//! Octets come in; a valid [`Policy`] goes out, or every fault of the document
//! at once. A fault never ends the walk: the field is left at its default, the
//! finding stands, and because there is a finding no policy leaves this file.
//!
//! Of a list response the chosen policy is checked to the last field, and the
//! list's own shape; its other policies are only asked for their id and name.

use std::borrow::Cow;

use ipnet::IpNet;

use super::diagnose::{Cursor, Findings, Severity, shown};
use super::json::{self, Kind, Raw};
use super::{Diagnostic, Diagnostics, Pattern, Patterns};

/// The largest document that is read: a million names fit twice.
pub const OCTETS_MAX: usize = 64 << 20;
/// Policies of a list that an error names as choices.
const CHOICES_MAX: usize = 20;
/// A field name longer than this is no slip of another.
const FIELD_OCTETS_MAX: usize = 64;
/// How alike two field names are for one to be a slip of the other; 1 is equal.
const ALIKE_MIN: f64 = 0.85;

/// One network policy, valid throughout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "named for the schema's fields")]
pub struct Policy {
    pub id: String,
    pub name: String,
    pub description: Option<String>,
    pub allow_all: bool,
    pub allow_devbox_to_devbox: bool,
    pub allow_agent_gateway: bool,
    pub allow_mcp_gateway: bool,
    pub allow_runloop_mirrors: bool,
    /// In the order of the document.
    pub allowed_hostnames: Patterns,
    pub update_time_ms: i64,
}

/// Which policy of a list response is meant. A file that holds one policy must hold the one that is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Select {
    /// The only one.
    Only,
    /// The one with this id.
    Id(String),
    /// The one with this name.
    Name(String),
}

/// A policy and where its patterns stand.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The policy.
    pub policy: Policy,
    /// The line, from 1, of each of `allowed_hostnames`.
    pub lines: Vec<u32>,
}

/// Reads a document, all of it.
///
/// # Errors
/// Every finding of severity error, in the order of the document. `file` is the name they are shown under.
pub fn read(file: &str, source: &[u8], select: &Select) -> Result<Accepted, Diagnostics> {
    let source = decode(file, source)?;
    let mut reader = Reader::new(source);
    let accepted = reader.document(select);
    match accepted {
        Some(accepted) if !reader.findings.has_errors() => Ok(accepted),
        _ => Err(reader.findings.place(file, source)),
    }
}

/// The JSON pointer (RFC 6901) of `allowed_hostnames` in the source of an accepted policy; none if it was not accepted.
pub fn hostnames_path(source: &[u8], select: &Select) -> Option<String> {
    let places = places(str::from_utf8(source).ok()?, select)?;
    Some(format!("{}/allowed_hostnames", places.egress_path))
}

/// The values that remarks about an accepted policy point to.
pub(super) struct Places<'a> {
    pub(super) allow_all: &'a Raw,
    pub(super) allowed_hostnames: &'a Raw,
    /// The JSON pointer of `egress`.
    pub(super) egress_path: String,
}

/// Finds the values again in the source of an accepted policy.
pub(super) fn places<'a>(source: &'a str, select: &Select) -> Option<Places<'a>> {
    let mut reader = Reader::new(source);
    let policy = reader.chosen(select)?;
    let egress = reader.object(&policy, VIEW)?.take("egress")?;
    let mut fields = reader.object(&egress, EGRESS)?;
    Some(Places {
        allow_all: fields.take("allow_all")?.raw,
        allowed_hostnames: fields.take("allowed_hostnames")?.raw,
        egress_path: egress.path,
    })
}

/// Takes UTF-8 of at most [`OCTETS_MAX`] and nothing else.
fn decode<'a>(file: &str, source: &'a [u8]) -> Result<&'a str, Diagnostics> {
    let refuse = |code, message: &str, help| {
        Diagnostics::of_file(file, code, Severity::Error, message, Some(help))
    };
    if source.len() > OCTETS_MAX {
        let help = "a policy has at most 64 MiB";
        return Err(refuse("NP006", "the file is too large", help));
    }
    let help = "write the file as UTF-8 without a byte order mark";
    if matches!(
        source,
        [0xFE, 0xFF, ..] | [0xFF, 0xFE, ..] | [0, _, ..] | [_, 0, ..]
    ) {
        return Err(refuse("NP007", "the file is UTF-16", help));
    }
    if source.starts_with(b"\xEF\xBB\xBF") {
        return Err(refuse(
            "NP007",
            "the file begins with a byte order mark",
            help,
        ));
    }
    let source = str::from_utf8(source).map_err(|error| {
        let message = format!("the file is not UTF-8 behind octet {}", error.valid_up_to());
        refuse("NP007", &message, help)
    })?;
    if source.trim_ascii().is_empty() {
        let help =
            "a policy that denies every name is a whole document with an empty `allowed_hostnames`";
        return Err(refuse("NP001", "the file is empty", help));
    }
    Ok(source)
}

/// A field that an object may have.
struct Field {
    name: &'static str,
    is_required: bool,
}

const fn must(name: &'static str) -> Field {
    Field {
        name,
        is_required: true,
    }
}

const fn may(name: &'static str) -> Field {
    Field {
        name,
        is_required: false,
    }
}

const VIEW: &[Field] = &[
    must("id"),
    must("name"),
    may("description"),
    must("egress"),
    must("create_time_ms"),
    must("update_time_ms"),
];
const EGRESS: &[Field] = &[
    must("allow_all"),
    must("allow_devbox_to_devbox"),
    must("allowed_hostnames"),
    must("allow_agent_gateway"),
    must("allow_mcp_gateway"),
    // The published schema does not have these two; the API sends them.
    may("allow_runloop_mirrors"),
    may("allowed_cidrs"),
];
const LIST: &[Field] = &[
    must("network_policies"),
    must("has_more"),
    may("total_count"),
];
const CIDR: &[Field] = &[must("cidr"), may("ports")];
const PORTS: &[Field] = &[must("port"), may("end_port"), may("protocol")];

/// A value and its JSON pointer.
struct Spot<'a> {
    raw: &'a Raw,
    path: String,
}

impl<'a> Spot<'a> {
    fn below(&self, name: impl std::fmt::Display, raw: &'a Raw) -> Self {
        let path = format!("{}/{name}", self.path);
        Self { raw, path }
    }
}

/// The fields of an object that it should have.
struct Object<'a>(Vec<(&'static str, Spot<'a>)>);

impl<'a> Object<'a> {
    fn take(&mut self, name: &str) -> Option<Spot<'a>> {
        let at = self.0.iter().position(|(it, _)| *it == name)?;
        Some(self.0.swap_remove(at).1)
    }
}

struct Reader<'a> {
    source: &'a str,
    findings: Findings,
}

impl<'a> Reader<'a> {
    fn new(source: &'a str) -> Self {
        let findings = Findings::new();
        Self { source, findings }
    }

    fn document(&mut self, select: &Select) -> Option<Accepted> {
        let policy = self.chosen(select)?;
        self.policy(&policy)
    }

    /// The one policy that is meant, unread.
    fn chosen(&mut self, select: &Select) -> Option<Spot<'a>> {
        let raw = json::parse(self.source)
            .map_err(|error| self.syntax(&error))
            .ok()?;
        let root = Spot {
            raw,
            path: String::new(),
        };
        if !self.is(&root, Kind::Object) {
            return None;
        }
        if has(&root, "network_policies") {
            return self.list(&root, select);
        }
        if is_flat(&root) {
            self.refuse_flat(&root);
            return None;
        }
        self.only(root, select)
    }

    fn syntax(&mut self, error: &serde_json::Error) {
        let at = offset(self.source, error.line(), error.column());
        let text = error.to_string();
        let message = text.split(" at line ").next().unwrap_or(&text);
        let help = match self.source[at..].chars().next() {
            _ if error.is_eof() => "the file ends too early; was it written whole?",
            Some('/' | '#') => "JSON has no comments",
            Some('\'') => "strings stand in double quotes",
            Some('"') => "is there a comma missing before this?",
            Some(']' | '}') => "is there a comma too many before this?",
            _ => "",
        };
        let help = (!help.is_empty()).then(|| help.to_owned());
        let width = self.source[at..].chars().next().map_or(0, char::len_utf8);
        let finding = Diagnostic::error("NP001", at..at + width, format!("not JSON: {message}"));
        self.findings.add(finding.label("here").help(help));
    }

    /// A flat body has every field optional: read as a policy, a slip in it would deny or allow without a word.
    fn refuse_flat(&mut self, root: &Spot<'a>) {
        let message = "this is the body of a create or update request, not a policy";
        let help = "move the `allow...` fields into an `egress` object and add the other fields of a policy, or save the API's answer";
        let label = "`egress` is missing";
        let finding = self.opening("NP002", root, message);
        self.findings
            .add(finding.label(label).help(help.to_owned()));
    }

    /// A file with one policy: is it the one that is meant?
    fn only(&mut self, root: Spot<'a>, select: &Select) -> Option<Spot<'a>> {
        let (field, wanted) = match select {
            Select::Only => return Some(root),
            Select::Id(id) => ("id", id),
            Select::Name(name) => ("name", name),
        };
        let Some(found) = member(root.raw, field) else {
            return Some(root);
        };
        if text_of(found).is_some_and(|it| it != wanted.as_str()) {
            let message = format!(
                "this is not the policy with the {field} `{}`",
                shown(wanted)
            );
            let span = json::span(self.source, found);
            let finding = Diagnostic::error("NP002", span, message).path(format!("/{field}"));
            self.findings.add(finding.label("another one"));
        }
        Some(root)
    }

    /// Checks a list response's own shape and chooses from it.
    fn list(&mut self, root: &Spot<'a>, select: &Select) -> Option<Spot<'a>> {
        let mut fields = self.object(root, LIST)?;
        let is_cut = self.boolean(fields.take("has_more"));
        if let Some(count) = fields.take("total_count")
            && Kind::of(count.raw) != Kind::Null
        {
            self.integer(Some(count));
        }
        let policies = fields.take("network_policies")?;
        if !self.is(&policies, Kind::Array) {
            return None;
        }
        let mut choice = Choice::default();
        json::each_element(policies.raw, |raw| {
            let spot = policies.below(choice.count, raw);
            if self.is(&spot, Kind::Object) {
                choice.consider(spot, select);
            }
            choice.count += 1;
        });
        if choice.matching == 1 {
            return choice.chosen;
        }
        self.refuse_choice(&policies, &choice, select, is_cut);
        None
    }

    fn refuse_choice(
        &mut self,
        list: &Spot<'a>,
        choice: &Choice<'_>,
        select: &Select,
        is_cut: bool,
    ) {
        let message = match (select, choice.matching) {
            (Select::Only, 0) => "the list holds no policy".to_owned(),
            (Select::Only, count) => format!("the list holds {count} policies; which is meant?"),
            (Select::Id(id), 0) => format!("no policy of the list has the id `{}`", shown(id)),
            (Select::Name(name), 0) => {
                format!("no policy of the list has the name `{}`", shown(name))
            }
            (Select::Id(id), _) => format!("several policies have the id `{}`", shown(id)),
            (Select::Name(name), _) => format!("several policies have the name `{}`", shown(name)),
        };
        let mut help = "choose by `--policy-id` or `--policy-name`".to_owned();
        if !choice.names.is_empty() {
            help = format!("{help} from {}", choice.names.join(", "));
        }
        if choice.count > choice.names.len() && !choice.names.is_empty() {
            help = format!("{help} and {} more", choice.count - choice.names.len());
        }
        if is_cut {
            help += "; has_more is true, so the list is not all of them";
        }
        let finding = self.opening("NP002", list, message);
        self.findings
            .add(finding.label("none is chosen").help(help));
    }

    fn policy(&mut self, spot: &Spot<'a>) -> Option<Accepted> {
        let mut fields = self.object(spot, VIEW)?;
        let id = self.string(fields.take("id"));
        let name = self.string(fields.take("name"));
        let description = self.nullable_string(fields.take("description"));
        self.integer(fields.take("create_time_ms"));
        let update_time_ms = self.integer(fields.take("update_time_ms"));
        let accepted = self.egress(&fields.take("egress")?)?;
        Some(Accepted {
            policy: Policy {
                id,
                name,
                description,
                update_time_ms,
                ..accepted.policy
            },
            ..accepted
        })
    }

    fn egress(&mut self, spot: &Spot<'a>) -> Option<Accepted> {
        let mut fields = self.object(spot, EGRESS)?;
        self.each(fields.take("allowed_cidrs"), Self::cidr);
        let (allowed_hostnames, lines) = self.patterns(fields.take("allowed_hostnames"));
        let policy = Policy {
            allow_all: self.boolean(fields.take("allow_all")),
            allow_devbox_to_devbox: self.boolean(fields.take("allow_devbox_to_devbox")),
            allow_agent_gateway: self.boolean(fields.take("allow_agent_gateway")),
            allow_mcp_gateway: self.boolean(fields.take("allow_mcp_gateway")),
            allow_runloop_mirrors: self.boolean(fields.take("allow_runloop_mirrors")),
            allowed_hostnames,
            ..Policy::default()
        };
        Some(Accepted { policy, lines })
    }

    fn patterns(&mut self, list: Option<Spot<'a>>) -> (Patterns, Vec<u32>) {
        let (mut patterns, mut lines) = (Patterns::default(), Vec::new());
        let Some(list) = list.filter(|it| self.is(it, Kind::Array)) else {
            return (patterns, lines);
        };
        let mut cursor = Cursor::new(self.source);
        let mut index = 0;
        json::each_element(list.raw, |raw| {
            if let Some(pattern) = self.pattern(&list, index, raw) {
                patterns.push(&pattern);
                lines.push(cursor.place_of(json::span(self.source, raw).start).0);
            }
            index += 1;
        });
        (patterns, lines)
    }

    /// One entry. Its pointer is written only for a finding: there are a million entries.
    fn pattern(&mut self, list: &Spot<'a>, index: usize, raw: &'a Raw) -> Option<Pattern> {
        if Kind::of(raw) != Kind::String {
            self.wrong_type(&list.below(index, raw), Kind::String);
            return None;
        }
        let Some(text) = json::text(raw) else {
            self.half_a_character(&list.below(index, raw));
            return None;
        };
        let flaw = match Pattern::parse(&text) {
            Ok(pattern) => return Some(pattern),
            Err(flaw) => flaw,
        };
        let span = json::span(self.source, raw);
        let finding = Diagnostic::error(flaw.code, span, flaw.message).label(flaw.label);
        let path = list.below(index, raw).path;
        self.findings.add(finding.help(flaw.help).path(path));
        None
    }

    /// One of `allowed_cidrs`. They have no effect on names.
    fn cidr(&mut self, spot: &Spot<'a>) {
        let Some(mut fields) = self.object(spot, CIDR) else {
            return;
        };
        if let Some(cidr) = fields.take("cidr").filter(|it| self.is(it, Kind::String))
            && text_of(cidr.raw).is_none_or(|it| it.parse::<IpNet>().is_err())
        {
            self.wrong_value(
                &cidr,
                "not an address range",
                "an address and a length, as in 10.0.0.0/8",
            );
        }
        self.each(fields.take("ports"), Self::ports);
    }

    fn ports(&mut self, spot: &Spot<'a>) {
        let Some(mut fields) = self.object(spot, PORTS) else {
            return;
        };
        let first = self.port(fields.take("port"));
        let end_spot = fields.take("end_port");
        if let (Some(first), Some(spot)) = (first, &end_spot)
            && json::integer(spot.raw).is_some_and(|it| it < i64::from(first))
        {
            self.wrong_value(spot, "the range of ports is empty", "at least `port`");
        }
        self.port(end_spot);
        if let Some(protocol) = fields
            .take("protocol")
            .filter(|it| self.is(it, Kind::String))
            && !matches!(text_of(protocol.raw).as_deref(), Some("TCP" | "UDP"))
        {
            self.wrong_value(&protocol, "not a protocol", "\"TCP\" or \"UDP\"");
        }
    }

    fn port(&mut self, spot: Option<Spot<'a>>) -> Option<u16> {
        let spot = spot.filter(|it| self.is(it, Kind::Number))?;
        let port = json::integer(spot.raw).and_then(|it| u16::try_from(it).ok());
        if port.is_none_or(|it| it == 0) {
            self.wrong_value(&spot, "not a port", "a whole number from 1 to 65535");
        }
        port
    }

    fn each(&mut self, list: Option<Spot<'a>>, check: fn(&mut Self, &Spot<'a>)) {
        let Some(list) = list.filter(|it| self.is(it, Kind::Array)) else {
            return;
        };
        let mut index = 0;
        json::each_element(list.raw, |raw| {
            check(self, &list.below(index, raw));
            index += 1;
        });
    }

    /// Takes an object apart: unknown, doubled and missing fields are found here.
    fn object(&mut self, spot: &Spot<'a>, fields: &'static [Field]) -> Option<Object<'a>> {
        if !self.is(spot, Kind::Object) {
            return None;
        }
        let mut found: Vec<(&'static str, Spot<'a>)> = Vec::new();
        json::each_entry(spot.raw, |key, value| {
            let name = json::text(key).unwrap_or(Cow::Borrowed(key.get()));
            let Some(field) = fields.iter().find(|it| it.name == name) else {
                return self.unknown_field(spot, key, &name, fields);
            };
            if found.iter().any(|(it, _)| *it == field.name) {
                return self.doubled_field(spot, key, field.name);
            }
            found.push((field.name, spot.below(field.name, value)));
        });
        for field in fields.iter().filter(|it| it.is_required) {
            if !found.iter().any(|(name, _)| *name == field.name) {
                self.missing_field(spot, field.name);
            }
        }
        Some(Object(found))
    }

    fn missing_field(&mut self, object: &Spot<'a>, name: &str) {
        let finding = self.opening("NP002", object, format!("missing field `{name}`"));
        let label = format!("`{name}` is required here");
        self.findings.add(finding.label(label));
    }

    fn unknown_field(&mut self, object: &Spot<'a>, key: &Raw, name: &str, fields: &[Field]) {
        let span = json::span(self.source, key);
        let message = format!("unknown field `{}`", shown(name));
        let path = format!(
            "{}/{}",
            object.path,
            shown(name).replace('~', "~0").replace('/', "~1")
        );
        let finding = Diagnostic::error("NP003", span, message).label("not a field of this object");
        self.findings
            .add(finding.help(known_field(name, fields)).path(path));
    }

    fn doubled_field(&mut self, object: &Spot<'a>, key: &Raw, name: &str) {
        let span = json::span(self.source, key);
        let finding = Diagnostic::error("NP005", span, format!("duplicate key `{name}`"));
        let finding = finding.label("stands here a second time");
        let help = "keep one of them; programs differ in which they take".to_owned();
        self.findings
            .add(finding.help(help).path(format!("{}/{name}", object.path)));
    }

    /// Is the value of this kind? If not, that is a finding.
    fn is(&mut self, spot: &Spot<'a>, expected: Kind) -> bool {
        let is = Kind::of(spot.raw) == expected;
        if !is {
            self.wrong_type(spot, expected);
        }
        is
    }

    fn wrong_type(&mut self, spot: &Spot<'a>, expected: Kind) {
        let found = Kind::of(spot.raw);
        let help = match (expected, found) {
            (Kind::Boolean, _) => Some("write true or false, without quotes"),
            (Kind::Number, Kind::String) => Some("write the number without quotes"),
            (Kind::Array, Kind::String) => Some("write a list, also of one: [\"...\"]"),
            _ => None,
        };
        let message = format!(
            "wrong type: {} instead of {}",
            found.word(),
            expected.word()
        );
        let span = json::span(self.source, spot.raw);
        let finding = Diagnostic::error("NP004", span, message).path(spot.path.as_str());
        let label = format!("expected {}", expected.word());
        self.findings
            .add(finding.label(label).help(help.map(str::to_owned)));
    }

    fn wrong_value(&mut self, spot: &Spot<'a>, message: &str, expected: &str) {
        let span = json::span(self.source, spot.raw);
        let finding = Diagnostic::error("NP004", span, message).path(spot.path.as_str());
        self.findings
            .add(finding.label(format!("expected {expected}")));
    }

    fn half_a_character(&mut self, spot: &Spot<'a>) {
        let message = "not JSON: half of a surrogate pair is no character";
        let finding = Diagnostic::error("NP001", json::span(self.source, spot.raw), message);
        self.findings
            .add(finding.label("in this string").path(spot.path.as_str()));
    }

    fn string(&mut self, spot: Option<Spot<'a>>) -> String {
        let Some(spot) = spot.filter(|it| self.is(it, Kind::String)) else {
            return String::new();
        };
        json::text(spot.raw)
            .map(Cow::into_owned)
            .unwrap_or_else(|| {
                self.half_a_character(&spot);
                String::new()
            })
    }

    /// `"nullable": true` says nothing in the schema's dialect, and the API sends null.
    fn nullable_string(&mut self, spot: Option<Spot<'a>>) -> Option<String> {
        let spot = spot.filter(|it| Kind::of(it.raw) != Kind::Null)?;
        Some(self.string(Some(spot)))
    }

    fn boolean(&mut self, spot: Option<Spot<'a>>) -> bool {
        spot.is_some_and(|it| self.is(&it, Kind::Boolean) && it.raw.get() == "true")
    }

    fn integer(&mut self, spot: Option<Spot<'a>>) -> i64 {
        let Some(spot) = spot.filter(|it| self.is(it, Kind::Number)) else {
            return 0;
        };
        json::integer(spot.raw).unwrap_or_else(|| {
            self.wrong_value(
                &spot,
                "not a whole number of 64 bits",
                "milliseconds since 1970",
            );
            0
        })
    }

    /// A finding about a whole object or list stands at its bracket.
    fn opening(
        &self,
        code: &'static str,
        spot: &Spot<'a>,
        message: impl Into<String>,
    ) -> Diagnostic {
        let start = json::span(self.source, spot.raw).start;
        Diagnostic::error(code, start..start + 1, message).path(spot.path.as_str())
    }
}

/// Which policies of a list are meant.
#[derive(Default)]
struct Choice<'a> {
    count: usize,
    matching: usize,
    chosen: Option<Spot<'a>>,
    /// The first few, for people.
    names: Vec<String>,
}

impl<'a> Choice<'a> {
    fn consider(&mut self, spot: Spot<'a>, select: &Select) {
        let id = member(spot.raw, "id").and_then(text_of).unwrap_or_default();
        let name = member(spot.raw, "name")
            .and_then(text_of)
            .unwrap_or_default();
        if self.names.len() < CHOICES_MAX {
            self.names
                .push(format!("{} (`{}`)", shown(&id), shown(&name)));
        }
        let is_meant = match select {
            Select::Only => true,
            Select::Id(wanted) => *wanted == id,
            Select::Name(wanted) => *wanted == name,
        };
        if is_meant {
            self.matching += 1;
            self.chosen.get_or_insert(spot);
        }
    }
}

/// Has no `egress`, but what should be in it.
fn is_flat(root: &Spot<'_>) -> bool {
    !has(root, "egress") && EGRESS.iter().any(|it| has(root, it.name))
}

fn has(object: &Spot<'_>, name: &str) -> bool {
    member(object.raw, name).is_some()
}

/// The first value of that name.
fn member<'a>(object: &'a Raw, name: &str) -> Option<&'a Raw> {
    let mut found = None;
    json::each_entry(object, |key, value| {
        if found.is_none() && json::text(key).is_some_and(|it| it == name) {
            found = Some(value);
        }
    });
    found
}

fn text_of(raw: &Raw) -> Option<Cow<'_, str>> {
    (Kind::of(raw) == Kind::String).then(|| json::text(raw))?
}

/// What to say about a name that is none of `fields`.
fn known_field(name: &str, fields: &[Field]) -> String {
    let elsewhere = |list: &[Field]| list.iter().any(|it| it.name == name);
    if elsewhere(EGRESS) {
        return format!("`{name}` belongs into `egress`");
    }
    if elsewhere(VIEW) {
        return format!("`{name}` belongs beside `egress`");
    }
    let likeness = |it: &&Field| strsim::jaro_winkler(name, it.name);
    let nearest = fields
        .iter()
        .filter(|it| name.len() <= FIELD_OCTETS_MAX && likeness(it) >= ALIKE_MIN)
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    if let Some(field) = nearest {
        return format!("did you mean `{}`?", field.name);
    }
    let names: Vec<&str> = fields.iter().map(|it| it.name).collect();
    format!("the fields here are {}", names.join(", "))
}

/// The offset of a place as the JSON parser tells it: line from 1, column in octets from 1, 0 for the line break before.
fn offset(source: &str, line: usize, column: usize) -> usize {
    let start: usize = source
        .split_inclusive('\n')
        .take(line - 1)
        .map(str::len)
        .sum();
    let last = source.trim_ascii_end().len().saturating_sub(1);
    let at = (start + column.saturating_sub(1)).min(last);
    (0..=at)
        .rev()
        .find(|it| source.is_char_boundary(*it))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = r#"{
  "id": "npol_1",
  "name": "ci",
  "egress": {
    "allow_all": false,
    "allow_devbox_to_devbox": false,
    "allowed_hostnames": ["github.com",
      "*.npmjs.org"],
    "allow_agent_gateway": true,
    "allow_mcp_gateway": false
  },
  "create_time_ms": 1,
  "update_time_ms": 2
}"#;

    fn list(policies: &str) -> String {
        format!(r#"{{"network_policies": [{policies}], "has_more": false}}"#)
    }

    /// Each finding as `code line:column path`.
    fn findings(source: &str, select: &Select) -> Vec<String> {
        let Err(diagnostics) = read("policy.json", source.as_bytes(), select) else {
            return Vec::new();
        };
        assert!(diagnostics.has_errors());
        let line = |it: &Diagnostic| format!("{} {}:{} {}", it.code, it.line, it.column, it.path);
        diagnostics.findings.iter().map(line).collect()
    }

    /// The valid document with one text replaced.
    #[track_caller]
    fn changed(old: &str, new: &str, expected: &[&str]) {
        assert!(VALID.contains(old), "{old}");
        let source = VALID.replacen(old, new, 1);
        assert_eq!(findings(&source, &Select::Only), expected, "{old} -> {new}");
    }

    #[track_caller]
    fn refuse_octets(source: &[u8], code: &str, message: &str) {
        let diagnostics = read("policy.json", source, &Select::Only).expect_err(message);
        let finding = &diagnostics.findings[0];
        assert_eq!((finding.code, finding.message.as_str()), (code, message));
    }

    #[track_caller]
    fn help(source: &str, select: &Select, expected: &str) {
        let diagnostics = read("policy.json", source.as_bytes(), select).expect_err(expected);
        let help = diagnostics.findings[0].help.as_deref().unwrap_or_default();
        assert!(help.contains(expected), "{help}");
    }

    #[test]
    fn a_valid_document_is_taken_whole() {
        let accepted = read("policy.json", VALID.as_bytes(), &Select::Only).expect("valid");
        let texts: Vec<String> = accepted
            .policy
            .allowed_hostnames
            .iter()
            .map(|it| it.text().to_owned())
            .collect();
        assert_eq!(texts, ["github.com", "*.npmjs.org"]);
        assert_eq!(accepted.lines, [7, 8]);
        let expected = Policy {
            id: "npol_1".into(),
            name: "ci".into(),
            allow_agent_gateway: true,
            update_time_ms: 2,
            allowed_hostnames: accepted.policy.allowed_hostnames.clone(),
            ..Policy::default()
        };
        assert_eq!(accepted.policy, expected);
    }

    #[test]
    fn escapes_and_whole_floats_are_read() {
        let source = VALID
            .replace("github.com", "git\\u0068ub.com")
            .replace("_ms\": 2", "_ms\": 2e3");
        let accepted = read("policy.json", source.as_bytes(), &Select::Only).expect("valid");
        assert_eq!(
            accepted
                .policy
                .allowed_hostnames
                .get(0)
                .expect("one")
                .text(),
            "github.com"
        );
        assert_eq!(accepted.policy.update_time_ms, 2000);
    }

    #[test]
    fn the_three_widenings_are_taken() {
        changed("\"name\"", "\"description\": null, \"name\"", &[]);
        changed(
            "\"allow_all\"",
            "\"allow_runloop_mirrors\": true, \"allow_all\"",
            &[],
        );
        let cidrs = r#""allowed_cidrs": [{"cidr": "10.0.0.0/8"}, {"cidr": "10.1.2.3/32", "ports": [{"port": 443},
            {"port": 1, "end_port": 2, "protocol": "TCP"}]}], "allow_all""#;
        changed("\"allow_all\"", cidrs, &[]);
    }

    #[test]
    fn octets_that_are_no_text_are_refused() {
        refuse_octets(b"", "NP001", "the file is empty");
        refuse_octets(b" \n", "NP001", "the file is empty");
        refuse_octets(
            b"\xEF\xBB\xBF{}",
            "NP007",
            "the file begins with a byte order mark",
        );
        refuse_octets(b"\xFF\xFE{\0}\0", "NP007", "the file is UTF-16");
        refuse_octets(b"{\0}\0", "NP007", "the file is UTF-16");
        refuse_octets(b"\0{\0}", "NP007", "the file is UTF-16");
        refuse_octets(
            b"{\"\xE9\"",
            "NP007",
            "the file is not UTF-8 behind octet 2",
        );
        refuse_octets(
            &vec![b' '; OCTETS_MAX + 1],
            "NP006",
            "the file is too large",
        );
    }

    #[test]
    fn broken_syntax_is_found_where_it_breaks() {
        changed("\"ci\",", "\"ci\"", &["NP001 4:3 "]);
        changed("\"*.npmjs.org\"]", "\"*.npmjs.org\",]", &["NP001 8:21 "]);
        changed("\"id\"", "// the id\n\"id\"", &["NP001 2:3 "]);
        changed("false", "False", &["NP001 5:18 "]);
        changed("\n}", "", &["NP001 13:21 "]);
        changed("\n}", "\n} x", &["NP001 14:3 "]);
        changed("\"ci\"", "\"é\u{1}\"", &["NP001 3:12 "]);
        changed("\"ci\"", "\"\\ud800\"", &["NP001 3:11 /name"]);
        changed(
            "\"github.com\"",
            "\"\\ud800\"",
            &["NP001 7:27 /egress/allowed_hostnames/0"],
        );
        help("{\"a\": 1,}", &Select::Only, "a comma too many");
        help("{'a': 1}", &Select::Only, "double quotes");
        help("{\"a\": 1", &Select::Only, "ends too early");
        assert_eq!(findings("\"é", &Select::Only), ["NP001 1:2 "]);
        assert_eq!(findings("{\n", &Select::Only), ["NP001 1:1 "]);
    }

    #[test]
    fn every_required_field_is_required() {
        changed("\"id\": \"npol_1\",", "", &["NP002 1:1 "]);
        changed("\"name\": \"ci\",", "", &["NP002 1:1 "]);
        changed("\"create_time_ms\": 1,", "", &["NP002 1:1 "]);
        changed(",\n  \"update_time_ms\": 2", "", &["NP002 1:1 "]);
        changed("\"allow_all\": false,", "", &["NP002 4:13 /egress"]);
        changed(
            "\"allow_agent_gateway\": true,",
            "",
            &["NP002 4:13 /egress"],
        );
        assert_eq!(findings("{}", &Select::Only), ["NP002 1:1 "; 5]);
    }

    #[test]
    fn unknown_fields_are_refused_at_every_level() {
        changed("\"id\"", "\"x\": 1, \"id\"", &["NP003 2:3 /x"]);
        changed(
            "\"allow_all\"",
            "\"a/~\": {}, \"allow_all\"",
            &["NP003 5:5 /egress/a~1~0"],
        );
        let cidrs = r#""allowed_cidrs": [{"cidr": "10.0.0.0/8", "x": 1, "ports": [{"port": 1, "y": 2}]}], "allow_all""#;
        let expected = [
            "NP003 5:46 /egress/allowed_cidrs/0/x",
            "NP003 5:76 /egress/allowed_cidrs/0/ports/0/y",
        ];
        changed("\"allow_all\"", cidrs, &expected);
    }

    #[test]
    fn a_slip_in_a_field_gets_a_suggestion() {
        help(
            &VALID.replace("\"id\"", "\"naem\": 1, \"id\""),
            &Select::Only,
            "did you mean `name`?",
        );
        help(
            &VALID.replace("\"id\"", "\"allow_all\": true, \"id\""),
            &Select::Only,
            "belongs into `egress`",
        );
        help(
            &VALID.replace("\"allow_all\"", "\"name\": \"x\", \"allow_all\""),
            &Select::Only,
            "belongs beside `egress`",
        );
        help(
            &VALID.replace("\"id\"", "\"zzz\": 1, \"id\""),
            &Select::Only,
            "the fields here are id, name,",
        );
    }

    #[test]
    fn every_type_is_checked() {
        changed("\"npol_1\"", "1", &["NP004 2:9 /id"]);
        changed("\"ci\"", "null", &["NP004 3:11 /name"]);
        changed(
            "\"name\"",
            "\"description\": 1, \"name\"",
            &["NP004 3:18 /description"],
        );
        changed("false", "\"false\"", &["NP004 5:18 /egress/allow_all"]);
        changed("_ms\": 1", "_ms\": 1.5", &["NP004 12:21 /create_time_ms"]);
        changed("_ms\": 1", "_ms\": \"1\"", &["NP004 12:21 /create_time_ms"]);
        changed(
            "_ms\": 2",
            "_ms\": 9223372036854775808",
            &["NP004 13:21 /update_time_ms"],
        );
        changed(
            "\"github.com\"",
            "3",
            &["NP004 7:27 /egress/allowed_hostnames/0"],
        );
        changed(
            "[\"github.com\",\n      \"*.npmjs.org\"]",
            "\"github.com\"",
            &["NP004 7:26 /egress/allowed_hostnames"],
        );
        assert_eq!(findings("[]", &Select::Only), ["NP004 1:1 "]);
        assert_eq!(findings("null", &Select::Only), ["NP004 1:1 "]);
    }

    #[test]
    fn address_ranges_are_validated() {
        for (cidrs, expected) in [
            ("{}", "NP004 5:22 /egress/allowed_cidrs"),
            ("[1]", "NP004 5:23 /egress/allowed_cidrs/0"),
            ("[{}]", "NP002 5:23 /egress/allowed_cidrs/0"),
            (
                r#"[{"cidr": "10.0.0.0"}]"#,
                "NP004 5:32 /egress/allowed_cidrs/0/cidr",
            ),
            (
                r#"[{"cidr": "10.0.0.0/33"}]"#,
                "NP004 5:32 /egress/allowed_cidrs/0/cidr",
            ),
            (
                r#"[{"cidr": "0.0.0.0/0", "ports": [{}]}]"#,
                "NP002 5:55 /egress/allowed_cidrs/0/ports/0",
            ),
            (
                r#"[{"cidr": "0.0.0.0/0", "ports": [{"port": 0}]}]"#,
                "NP004 5:64 /egress/allowed_cidrs/0/ports/0/port",
            ),
            (
                r#"[{"cidr": "0.0.0.0/0", "ports": [{"port": 65536}]}]"#,
                "NP004 5:64 /egress/allowed_cidrs/0/ports/0/port",
            ),
            (
                r#"[{"cidr": "0.0.0.0/0", "ports": [{"port": 2, "end_port": 1}]}]"#,
                "NP004 5:79 /egress/allowed_cidrs/0/ports/0/end_port",
            ),
            (
                r#"[{"cidr": "0.0.0.0/0", "ports": [{"port": 2, "protocol": "tcp"}]}]"#,
                "NP004 5:79 /egress/allowed_cidrs/0/ports/0/protocol",
            ),
        ] {
            changed(
                "\"allow_all\"",
                &format!("\"allowed_cidrs\": {cidrs}, \"allow_all\""),
                &[expected],
            );
        }
    }

    #[test]
    fn duplicate_keys_are_refused_at_every_level() {
        changed(
            "\"name\"",
            "\"id\": \"npol_2\", \"name\"",
            &["NP005 3:3 /id"],
        );
        changed(
            "\"allow_all\"",
            "\"allow_all\": true, \"allow_all\"",
            &["NP005 5:24 /egress/allow_all"],
        );
        // An escape is no disguise.
        changed(
            "\"name\"",
            "\"\\u0069d\": \"npol_2\", \"name\"",
            &["NP005 3:3 /id"],
        );
    }

    #[test]
    fn all_findings_come_at_once_and_in_order() {
        let source = r#"{
  "naem": "ci",
  "id": 5,
  "egress": {
    "allow_all": "no",
    "allow_all": false,
    "allowed_hostnames": ["github.com", "https://x.org", 3,
      "*"],
    "allow_devbox_to_devbox": null,
    "extra": {},
    "allow_mcp_gateway": false
  },
  "create_time_ms": 1.5
}"#;
        let expected = [
            "NP002 1:1 ",
            "NP002 1:1 ",
            "NP003 2:3 /naem",
            "NP004 3:9 /id",
            "NP002 4:13 /egress",
            "NP004 5:18 /egress/allow_all",
            "NP005 6:5 /egress/allow_all",
            "NP012 7:41 /egress/allowed_hostnames/1",
            "NP004 7:58 /egress/allowed_hostnames/2",
            "NP015 8:7 /egress/allowed_hostnames/3",
            "NP004 9:31 /egress/allow_devbox_to_devbox",
            "NP003 10:5 /egress/extra",
            "NP004 13:21 /create_time_ms",
        ];
        assert_eq!(findings(source, &Select::Only), expected);
    }

    #[test]
    fn names_are_checked_also_when_everything_is_allowed() {
        let source = VALID
            .replacen("false", "true", 1)
            .replace("github.com", "*");
        assert_eq!(
            findings(&source, &Select::Only),
            ["NP015 7:27 /egress/allowed_hostnames/0"]
        );
    }

    #[test]
    fn a_flat_body_is_refused_with_a_hint() {
        let flat = r#"{"name": "ci", "allow_all": false, "allowed_hostnames": ["github.com"]}"#;
        assert_eq!(findings(flat, &Select::Only), ["NP002 1:1 "]);
        help(flat, &Select::Only, "into an `egress` object");
    }

    #[test]
    fn a_list_of_one_selects_itself() {
        let accepted = read("policy.json", list(VALID).as_bytes(), &Select::Only).expect("valid");
        assert_eq!(accepted.policy.name, "ci");
        let with_count = list(VALID).replace("\"has_more\"", "\"total_count\": null, \"has_more\"");
        assert!(read("policy.json", with_count.as_bytes(), &Select::Only).is_ok());
    }

    #[test]
    fn a_list_of_many_needs_a_choice() {
        let other = VALID
            .replace("npol_1", "npol_2")
            .replace("\"ci\"", "\"dev\"");
        let both = list(&format!("{VALID},{other}"));
        for (select, id) in [
            (Select::Id("npol_2".into()), "npol_2"),
            (Select::Name("ci".into()), "npol_1"),
        ] {
            let accepted = read("policy.json", both.as_bytes(), &select).expect(id);
            assert_eq!(accepted.policy.id, id);
        }
        help(&both, &Select::Only, "from npol_1 (`ci`), npol_2 (`dev`)");
        help(
            &both,
            &Select::Id("npol_3".into()),
            "from npol_1 (`ci`), npol_2 (`dev`)",
        );
        help(
            &both.replace("more\": false", "more\": true"),
            &Select::Only,
            "not all of them",
        );
        help(
            &list(&format!("{VALID},{VALID}")),
            &Select::Name("ci".into()),
            "--policy-id",
        );
        assert_eq!(
            findings(&list(""), &Select::Only),
            ["NP002 1:22 /network_policies"]
        );
        refuse_octets(list("").as_bytes(), "NP002", "the list holds no policy");
    }

    #[test]
    fn the_chosen_policy_is_checked_and_the_lists_own_shape() {
        let bad = VALID.replace("\"id\": \"npol_1\",", "\"id\": \"npol_2\", \"x\": 1,");
        let both = list(&format!("{VALID},{bad}"));
        assert!(findings(&both, &Select::Id("npol_1".into())).is_empty());
        assert_eq!(
            findings(&both, &Select::Id("npol_2".into())),
            ["NP003 15:19 /network_policies/1/x"]
        );
        let odd = r#"{"network_policies": [1], "has_more": 0, "total_count": "1", "x": 1}"#;
        let expected = [
            "NP002 1:22 /network_policies",
            "NP004 1:23 /network_policies/0",
            "NP004 1:39 /has_more",
            "NP004 1:57 /total_count",
            "NP003 1:62 /x",
        ];
        assert_eq!(findings(odd, &Select::Only), expected);
        assert_eq!(
            findings(r#"{"network_policies": {}}"#, &Select::Only),
            ["NP002 1:1 ", "NP004 1:22 /network_policies"]
        );
    }

    #[test]
    fn a_single_policy_must_be_the_one_that_is_meant() {
        assert!(findings(VALID, &Select::Id("npol_1".into())).is_empty());
        assert!(findings(VALID, &Select::Name("ci".into())).is_empty());
        assert_eq!(
            findings(VALID, &Select::Id("npol_2".into())),
            ["NP002 2:9 /id"]
        );
        assert_eq!(
            findings(VALID, &Select::Name("dev".into())),
            ["NP002 3:11 /name"]
        );
    }
}
