//! The text of a zone file, cut into entries; hickory reads the records in them.
//!
//! A text and the origin its file name suggests come in; records with their
//! lines go out, or every fault with its line. Lines, parentheses, quotes,
//! comments and directives are read here, because hickory 0.26 keeps no line
//! numbers, breaks quoted text in parentheses, takes no `@` in data, reads
//! `\DDD` as octal and opens any file an `$INCLUDE` names. No file is opened here.

use std::fmt::Display;

use hickory_server::proto::rr::{Name as ZoneName, Record, RecordSet};
use hickory_server::proto::serialize::txt::{Parser, parse_ttl};

use super::ZoneError;
use crate::wire::{Name, NameError};

/// For records before which no TTL was given (RFC 1035 §5.1 leaves them without one): an hour.
const TTL_S_DEFAULT: u32 = 3600;

/// A record and the line it begins on.
pub(super) struct Entry {
    pub(super) line: u32,
    pub(super) record: Record,
}

/// Reads a whole text.
///
/// # Errors
/// All faults of the text.
pub(super) fn read(file: &str, text: &str, origin: ZoneName) -> Result<Vec<Entry>, Vec<ZoneError>> {
    let mut reader = Reader {
        origin,
        owner: None,
        ttl_s: TTL_S_DEFAULT,
        default_ttl_s: None,
    };
    let mut entries = Vec::new();
    let mut errors = Vec::new();
    for (line, words) in lines(text) {
        match words.and_then(|words| reader.entry(&words)) {
            Ok(Some(record)) => entries.push(Entry { line, record }),
            Ok(None) => {}
            Err(message) => errors.push(ZoneError {
                file: file.to_owned(),
                line: Some(line),
                message,
            }),
        }
    }
    match errors.is_empty() {
        true => Ok(entries),
        false => Err(errors),
    }
}

/// What earlier entries say about later ones.
struct Reader {
    origin: ZoneName,
    owner: Option<ZoneName>,
    /// Of the last record.
    ttl_s: u32,
    /// Of `$TTL`.
    default_ttl_s: Option<u32>,
}

impl Reader {
    /// Reads one entry: a record, or a directive, which is none.
    fn entry(&mut self, words: &Words) -> Result<Option<Record>, String> {
        if !words.indented && words.list[0].starts_with('$') {
            self.directive(&words.list)?;
            return Ok(None);
        }
        let data = match words.indented {
            true => &words.list[..],
            false => {
                self.owner = Some(self.name(&words.list[0])?);
                &words.list[1..]
            }
        };
        let Some(owner) = self.owner.clone() else {
            return Err(
                "a record without an owner: the first begins with a name, or with `@`".to_owned(),
            );
        };
        let record = self.record(owner, data)?;
        self.ttl_s = record.ttl;
        Ok(Some(record))
    }

    fn directive(&mut self, words: &[String]) -> Result<(), String> {
        match (words[0].to_ascii_uppercase().as_str(), &words[1..]) {
            ("$ORIGIN", [name]) => {
                self.origin = self.name(name)?;
            }
            ("$TTL", [ttl]) => {
                let ttl_s =
                    parse_ttl(ttl).map_err(|error| format!("`{ttl}` is no TTL: {error}"))?;
                self.default_ttl_s = Some(ttl_s);
            }
            ("$ORIGIN" | "$TTL", _) => {
                return Err(format!("{} takes one word behind it", words[0]));
            }
            ("$INCLUDE", _) => {
                return Err("$INCLUDE is refused, for it may read any file: \
                            put the records here, or into a zone file of their own"
                    .to_owned());
            }
            _ => {
                return Err(format!(
                    "{} is not understood; $ORIGIN and $TTL are. Write the records out",
                    words[0]
                ));
            }
        }
        Ok(())
    }

    /// A name at the head of an entry, or of `$ORIGIN`. Hickory refuses some that are in use, `build_agent` among them.
    fn name(&self, word: &str) -> Result<ZoneName, String> {
        if word == "@" {
            return Ok(self.origin.clone());
        }
        let no_name = |error: &dyn Display| format!("`{word}` is no name: {error}");
        if !word.is_ascii() {
            // Its letters go into the form with `xn--`.
            return ZoneName::parse(word, Some(&self.origin)).map_err(|error| no_name(&error));
        }
        let name: Name = word.parse().map_err(|error: NameError| no_name(&error))?;
        let name = ZoneName::from(&name);
        match word.ends_with('.') && !word.ends_with("\\.") {
            true => Ok(name),
            false => name
                .append_domain(&self.origin)
                .map_err(|error| no_name(&error)),
        }
    }

    /// Has hickory read what stands behind the owner.
    fn record(&self, owner: ZoneName, data: &[String]) -> Result<Record, String> {
        let ttl_s = self.default_ttl_s.unwrap_or(self.ttl_s);
        let mut text = format!("$TTL {ttl_s}\n@");
        for word in data {
            text.push(' ');
            match word.as_str() {
                "@" => text += &self.origin.to_string(),
                word => text += word,
            }
        }
        let (_, sets) = Parser::new(text, None, Some(self.origin.clone()))
            .parse()
            .map_err(|error| format!("not a record that can be served: {error}"))?;
        let record = sets
            .values()
            .flat_map(RecordSet::records_without_rrsigs)
            .last();
        let mut record = record.cloned().ok_or("a name, and nothing about it")?;
        record.name = owner;
        Ok(record)
    }
}

/// The words of one entry; at least one.
struct Words {
    /// The entry begins with white space: it has the owner of the one before.
    indented: bool,
    /// Each as written, quotes included.
    list: Vec<String>,
}

/// The entries of a text, each with the line it begins on.
fn lines(text: &str) -> impl Iterator<Item = (u32, Result<Words, String>)> {
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut line = 1;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let here = line;
            let mut cutter = Cutter::new(rest);
            let cut = cutter.cut();
            line += cutter.lines;
            rest = &rest[cutter.at..];
            match cut {
                Ok(words) if words.list.is_empty() => {}
                cut => return Some((here, cut)),
            }
        }
        None
    })
}

/// Cuts one entry off the head of a text.
struct Cutter<'t> {
    text: &'t str,
    at: usize,
    lines: u32,
    in_parentheses: bool,
}

impl<'t> Cutter<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            text,
            at: 0,
            lines: 0,
            in_parentheses: false,
        }
    }

    /// Cuts to the end of the entry; after a fault, to the end of the line it is on.
    fn cut(&mut self) -> Result<Words, String> {
        let cut = self.words();
        if cut.is_err() {
            while self.next().is_some_and(|c| c != '\n') {}
        }
        cut
    }

    fn words(&mut self) -> Result<Words, String> {
        let indented = self.peek().is_some_and(char::is_whitespace);
        let mut list = Vec::new();
        while let Some(c) = self.peek() {
            match c {
                ';' => self.comment(),
                '(' if self.in_parentheses => return Err("a second `(` in a first".to_owned()),
                ')' if !self.in_parentheses => return Err("`)` without a `(`".to_owned()),
                '(' | ')' => {
                    self.in_parentheses = c == '(';
                    self.next();
                }
                '\n' if !self.in_parentheses => {
                    self.next();
                    return Ok(Words { indented, list });
                }
                c if c.is_whitespace() => {
                    self.next();
                }
                _ => list.push(self.word()?),
            }
        }
        match self.in_parentheses {
            true => Err("the `(` of this record has no `)`".to_owned()),
            false => Ok(Words { indented, list }),
        }
    }

    fn comment(&mut self) {
        while self.peek().is_some_and(|c| c != '\n') {
            self.next();
        }
    }

    fn word(&mut self) -> Result<String, String> {
        let from = self.at;
        let mut quoted = false;
        while let Some(c) = self.peek() {
            match c {
                '\n' if quoted => return Err("a quoted text does not end on its line".to_owned()),
                '"' => quoted = !quoted,
                '\\' => self.escape(quoted)?,
                ';' | '(' | ')' if !quoted => break,
                c if c.is_whitespace() && !quoted => break,
                _ => {}
            }
            self.next();
        }
        match quoted {
            true => Err("a quoted text has no end".to_owned()),
            false => Ok(self.text[from..self.at].to_owned()),
        }
    }

    /// Steps onto what a backslash escapes. Hickory gets few of them right, so few are let through.
    fn escape(&mut self, quoted: bool) -> Result<(), String> {
        self.next();
        match self.peek() {
            Some('"' | '\\') if quoted => Ok(()),
            Some('.') if !quoted => Ok(()),
            _ => Err(
                "a backslash stands only before `\"` or `\\` in quoted text, \
                      and before a dot in a name: write the character itself"
                    .to_owned(),
            ),
        }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        self.lines += u32::from(c == '\n');
        Some(c)
    }
}
