//! JSON text, walked one level at a time, every part still knowing its place.
//!
//! A [`Raw`] is a slice of the source, so its span is the distance from the
//! source's first octet. Keys come in order and as often as they stand there.
//! No tree is built: a million entries cost nothing until they are looked at.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
pub(super) use serde_json::value::RawValue as Raw;

/// What kind of value it is; JSON's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Boolean,
    Number,
    String,
    Array,
    Object,
}

impl Kind {
    pub(super) fn of(raw: &Raw) -> Self {
        match raw.get().as_bytes()[0] {
            b'n' => Self::Null,
            b't' | b'f' => Self::Boolean,
            b'"' => Self::String,
            b'[' => Self::Array,
            b'{' => Self::Object,
            _ => Self::Number,
        }
    }

    /// With its article, for a sentence.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "a boolean",
            Self::Number => "a number",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}

/// Checks the syntax of the whole text.
pub(super) fn parse(source: &str) -> Result<&Raw, serde_json::Error> {
    serde_json::from_str(source)
}

/// Where `raw` stands in the source that it was parsed from.
pub(super) fn span(source: &str, raw: &Raw) -> Range<usize> {
    let start = raw.get().as_ptr() as usize - source.as_ptr() as usize;
    start..start + raw.get().len()
}

/// The text of a string; none if it holds half of a surrogate pair.
pub(super) fn text(raw: &Raw) -> Option<Cow<'_, str>> {
    let inner = &raw.get()[1..raw.get().len() - 1];
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str::<String>(raw.get())
        .ok()
        .map(Cow::Owned)
}

/// A whole number, also as `1.0` or `1e3`: to a JSON schema those are integers too.
pub(super) fn integer(raw: &Raw) -> Option<i64> {
    /// 2^63, the first that does not fit.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if let Ok(number) = raw.get().parse() {
        return Some(number);
    }
    let number: f64 = raw.get().parse().ok()?;
    let fits = number.fract() == 0.0 && (-LIMIT..LIMIT).contains(&number);
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and in range")]
    fits.then_some(number as i64)
}

/// Visits the keys and values of an object in order.
pub(super) fn each_entry<'a>(object: &'a Raw, visit: impl FnMut(&'a Raw, &'a Raw)) {
    serde_json::Deserializer::from_str(object.get())
        .deserialize_map(Entries(visit, PhantomData))
        .expect("the syntax was checked as a whole, and the caller looked at the kind");
}

/// Visits the elements of an array in order.
pub(super) fn each_element<'a>(array: &'a Raw, visit: impl FnMut(&'a Raw)) {
    serde_json::Deserializer::from_str(array.get())
        .deserialize_seq(Elements(visit, PhantomData))
        .expect("the syntax was checked as a whole, and the caller looked at the kind");
}

struct Entries<'a, F>(F, PhantomData<&'a Raw>);

impl<'a, F: FnMut(&'a Raw, &'a Raw)> Visitor<'a> for Entries<'a, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some((key, value)) = map.next_entry_seed(Borrowed, Borrowed)? {
            (self.0)(key, value);
        }
        Ok(())
    }
}

struct Elements<'a, F>(F, PhantomData<&'a Raw>);

impl<'a, F: FnMut(&'a Raw)> Visitor<'a> for Elements<'a, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'a>>(mut self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element_seed(Borrowed)? {
            (self.0)(element);
        }
        Ok(())
    }
}

/// Takes a part of the text as it stands, a key too.
struct Borrowed;

impl<'a> DeserializeSeed<'a> for Borrowed {
    type Value = &'a Raw;

    fn deserialize<D: serde::Deserializer<'a>>(self, from: D) -> Result<&'a Raw, D::Error> {
        serde::Deserialize::deserialize(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_order_their_number_and_their_place() {
        let source = " {\"a\" : 1, \"b\":[], \"a\":\n{\"x\":null}}";
        let mut seen = Vec::new();
        each_entry(parse(source).expect("JSON"), |key, value| {
            seen.push((&source[span(source, key)], &source[span(source, value)]));
        });
        assert_eq!(
            seen,
            [("\"a\"", "1"), ("\"b\"", "[]"), ("\"a\"", "{\"x\":null}")]
        );
    }

    #[test]
    fn integers_are_whole_and_fit() {
        for (text, expected) in [
            ("0", Some(0)),
            ("-5", Some(-5)),
            ("1.0", Some(1)),
            ("1e3", Some(1000)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("1.5", None),
            ("1e400", None),
        ] {
            assert_eq!(integer(parse(text).expect(text)), expected, "{text}");
        }
    }

    #[test]
    fn strings_are_decoded() {
        assert_eq!(
            text(parse(r#""git\u0068ub""#).expect("JSON")).as_deref(),
            Some("github")
        );
        assert_eq!(text(parse(r#""\ud800""#).expect("JSON")), None);
    }
}
