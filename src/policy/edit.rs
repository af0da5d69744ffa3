//! Surgery on a policy's text: entries of `allowed_hostnames` come and go, every other octet stays.
//!
//! The source of an accepted policy comes in; [`Splice`]s go out, which say what to write where. They
//! keep to the list's own hand: its indentation, its line ends, one line or many. What was added last
//! and is removed again leaves the octets that were there before. Files are not touched here, and
//! whether the outcome is a policy is for [`read`](super::read) to say.

use std::ops::Range;

use super::schema::places;
use super::{Pattern, Select, json};

/// What stands between a list's entries when nothing else tells.
const COMMA: &str = ", ";
/// One step of indentation when the document has none.
const STEP: &str = "  ";

/// A place in a text, and what is to stand there instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splice {
    /// In octets.
    pub span: Range<usize>,
    /// What replaces it.
    pub text: String,
}

impl Splice {
    fn insert(at: usize, text: String) -> Self {
        Self { span: at..at, text }
    }

    fn delete(span: Range<usize>) -> Self {
        let text = String::new();
        Self { span, text }
    }
}

/// The text with all splices made. They are in order and do not overlap.
pub fn spliced(source: &str, splices: &[Splice]) -> String {
    let mut text = String::with_capacity(source.len());
    let mut at = 0;
    for splice in splices {
        text += &source[at..splice.span.start];
        text += &splice.text;
        at = splice.span.end;
    }
    text + &source[at..]
}

/// The list of hostnames in a policy's text, or in that of the chosen policy of a list response.
pub struct Hostnames<'a> {
    source: &'a str,
    /// Between the brackets.
    inner: Range<usize>,
    /// Of each entry, its quotes included.
    entries: Vec<Range<usize>>,
}

impl<'a> Hostnames<'a> {
    /// Finds the list in the source of an accepted policy; none if it was not accepted.
    pub fn find(source: &'a str, select: &Select) -> Option<Self> {
        let list = places(source, select)?.allowed_hostnames;
        if json::Kind::of(list) != json::Kind::Array {
            return None;
        }
        let span = json::span(source, list);
        let mut entries = Vec::new();
        json::each_element(list, |entry| entries.push(json::span(source, entry)));
        Some(Self {
            source,
            inner: span.start + 1..span.end - 1,
            entries,
        })
    }

    /// Puts patterns behind the last entry.
    pub fn add(&self, patterns: &[Pattern]) -> Vec<Splice> {
        if patterns.is_empty() {
            return Vec::new();
        }
        let quoted: Vec<String> = patterns.iter().map(|it| format!("\"{it}\"")).collect();
        let between = self.between();
        let added = quoted.join(&between);
        vec![match self.entries.last() {
            Some(last) => Splice::insert(last.end, between + &added),
            None => Splice::insert(self.inner.start, self.before_first() + &added),
        }]
    }

    /// Takes out the entries at these places, counted from 0.
    pub fn remove(&self, doomed: &[usize]) -> Vec<Splice> {
        let mut splices = Vec::new();
        let mut next = 0;
        while next < self.entries.len() {
            let first = next;
            while next < self.entries.len() && doomed.contains(&next) {
                next += 1;
            }
            if next > first {
                splices.push(Splice::delete(self.with_comma(first..next)));
            }
            next += 1;
        }
        splices
    }

    /// A run of entries, and the comma that is one too many without them.
    fn with_comma(&self, run: Range<usize>) -> Range<usize> {
        let last = self.entries[run.end - 1].end;
        match (run.start, self.entries.get(run.end)) {
            (0, None) => self.inner.start..last,
            (0, Some(next)) => self.entries[0].start..next.start,
            (first, _) => self.entries[first - 1].end..last,
        }
    }

    /// What stands between entries here: as between the last two, or as before the only one.
    fn between(&self) -> String {
        if let [.., first, second] = self.entries.as_slice() {
            return self.source[first.end..second.start].to_owned();
        }
        let before = match self.entries.first() {
            Some(only) => self.source[self.inner.start..only.start].to_owned(),
            None => self.before_first(),
        };
        match before.contains('\n') {
            true => format!(",{before}"),
            false => self.comma().to_owned(),
        }
    }

    /// A document without a space behind the colon is likely to have none behind commas.
    fn comma(&self) -> &'static str {
        match self.source[..self.inner.start - 1].ends_with(':') {
            true => ",",
            false => COMMA,
        }
    }

    /// What is to stand before the first entry of an empty list: on lines of its own if its brackets are.
    fn before_first(&self) -> String {
        let inner = &self.source[self.inner.clone()];
        let Some((_, closing)) = inner.rsplit_once('\n') else {
            return inner.to_owned();
        };
        let end = if inner.contains("\r\n") { "\r\n" } else { "\n" };
        format!("{end}{closing}{}", self.step())
    }

    /// One step of indentation: that of the first line that has any.
    fn step(&self) -> &'a str {
        let indentation = |line: &'a str| &line[..line.len() - line.trim_start().len()];
        let lines = self.source.lines().filter(|it| !it.trim().is_empty());
        let mut steps = lines.map(indentation).filter(|it| !it.is_empty());
        steps.next().unwrap_or(STEP)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Accepted, read};
    use super::*;

    /// A policy's document around a list, with oddities on both sides that must survive.
    fn document(list: &str) -> String {
        format!(
            "{{\r\n\t\"id\" : \"n\\u0070l\", \"name\":\"\\ud83d\\ude00 [\\\"]\",\n  \"description\": null,\n  \"egress\": {{\n    \
             \"allow_all\": false, \"allow_devbox_to_devbox\":false,\n    \"allowed_hostnames\": {list},\n    \
             \"allow_agent_gateway\": false,\n    \"allow_mcp_gateway\": false }},\n  \"create_time_ms\": 1e3,\n  \"update_time_ms\": 1.0\n}}"
        )
    }

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        let parse = |text: &&str| Pattern::parse(text).expect(text);
        texts.iter().map(parse).collect()
    }

    fn accepted(source: &str) -> Accepted {
        read("policy.json", source.as_bytes(), &Select::Only).expect(source)
    }

    fn listed(source: &str) -> Vec<String> {
        let policy = accepted(source).policy;
        policy
            .allowed_hostnames
            .iter()
            .map(|it| it.to_string())
            .collect()
    }

    fn added(source: &str, texts: &[&str]) -> String {
        let list = Hostnames::find(source, &Select::Only).expect("a list");
        spliced(source, &list.add(&patterns(texts)))
    }

    fn removed(source: &str, doomed: &[usize]) -> String {
        let list = Hostnames::find(source, &Select::Only).expect("a list");
        spliced(source, &list.remove(doomed))
    }

    #[track_caller]
    fn check_added(list: &str, texts: &[&str], expected: &str) {
        let source = document(list);
        assert_eq!(added(&source, texts), document(expected));
    }

    #[track_caller]
    fn check_removed(list: &str, doomed: &[usize], expected: &str) {
        assert_eq!(removed(&document(list), doomed), document(expected));
    }

    #[test]
    fn a_list_of_lines_gets_a_line() {
        check_added(
            "[\n      \"a.com\",\n      \"b.com\"\n    ]",
            &["c.com", "*.d.com"],
            "[\n      \"a.com\",\n      \"b.com\",\n      \"c.com\",\n      \"*.d.com\"\n    ]",
        );
        check_added(
            "[\r\n\t\t\"a.com\"\r\n\t]",
            &["c.com"],
            "[\r\n\t\t\"a.com\",\r\n\t\t\"c.com\"\r\n\t]",
        );
    }

    #[test]
    fn a_list_on_one_line_stays_on_it() {
        check_added("[\"a.com\"]", &["c.com"], "[\"a.com\", \"c.com\"]");
        check_added("[ \"a.com\" ]", &["c.com"], "[ \"a.com\", \"c.com\" ]");
        check_added(
            "[\"a.com\",\"b.com\"]",
            &["c.com"],
            "[\"a.com\",\"b.com\",\"c.com\"]",
        );
    }

    #[test]
    fn an_empty_list_is_filled_as_its_brackets_stand() {
        check_added("[]", &["a.com", "b.com"], "[\"a.com\", \"b.com\"]");
        check_added("[ ]", &["a.com"], "[ \"a.com\" ]");
        check_added(
            "[\n    ]",
            &["a.com", "b.com"],
            "[\n    \t\"a.com\",\n    \t\"b.com\"\n    ]",
        );
    }

    #[test]
    fn a_document_without_spaces_gets_none() {
        let source = document("[]").replace(": [", ":[");
        assert!(added(&source, &["a.com", "b.com"]).contains(":[\"a.com\",\"b.com\"]"));
    }

    #[test]
    fn an_entry_goes_with_its_comma() {
        let list = "[\n  \"a.com\",\n  \"b.com\",\n  \"c.com\"\n]";
        check_removed(list, &[0], "[\n  \"b.com\",\n  \"c.com\"\n]");
        check_removed(list, &[1], "[\n  \"a.com\",\n  \"c.com\"\n]");
        check_removed(list, &[2], "[\n  \"a.com\",\n  \"b.com\"\n]");
        check_removed(list, &[0, 2], "[\n  \"b.com\"\n]");
        check_removed(list, &[0, 1], "[\n  \"c.com\"\n]");
        check_removed(list, &[0, 1, 2], "[\n]");
        check_removed("[\"a.com\"]", &[0], "[]");
        check_removed("[\"a.com\"]", &[], "[\"a.com\"]");
    }

    #[test]
    fn the_chosen_policy_of_a_list_response_is_edited() {
        let (first, second) = (document("[\"a.com\"]"), document("[\"b.com\"]"));
        let second = second.replace("n\\u0070l", "other");
        let source =
            format!("{{\"network_policies\" : [{first}, {second}], \"has_more\": false}}\n");
        let select = Select::Id("other".to_owned());
        let list = Hostnames::find(&source, &select).expect("a list");
        let expected = source.replace("[\"b.com\"]", "[\"b.com\", \"c.com\"]");
        assert_eq!(spliced(&source, &list.add(&patterns(&["c.com"]))), expected);
    }

    #[test]
    fn what_is_no_policy_has_no_list() {
        for source in ["{ // comments\n}", &document("\"a.com\"")] {
            assert!(Hostnames::find(source, &Select::Only).is_none());
        }
    }

    /// An entry as JSON may spell it: an escaped letter, upper case, a final dot.
    fn entry() -> impl Strategy<Value = String> {
        let name = "(\\*\\.)?[a-z][a-z0-9]{0,6}\\.(com|org|io)";
        (name, 0..4_u8).prop_map(|(name, spelling)| match spelling {
            0 => format!("\"{}\"", name.replace('o', "\\u006f")),
            1 => format!("\"{}.\"", name.to_uppercase()),
            _ => format!("\"{name}\""),
        })
    }

    fn space() -> impl Strategy<Value = String> {
        "[ \t]{0,3}(\r?\n[ \t]{0,4})?"
    }

    /// A list in any layout.
    fn list() -> impl Strategy<Value = String> {
        let entries = prop::collection::vec((space(), entry(), space()), 0..6);
        (entries, space()).prop_map(|(entries, empty)| {
            let entries: Vec<String> = entries
                .iter()
                .map(|(before, entry, after)| format!("{before}{entry}{after}"))
                .collect();
            match entries.is_empty() {
                true => format!("[{empty}]"),
                false => format!("[{}]", entries.join(",")),
            }
        })
    }

    proptest! {
        #[test]
        fn what_is_added_is_listed_last(list in list()) {
            let source = document(&list);
            let edited = added(&source, &["new.example.net", "*.new.example.net"]);
            let mut expected = listed(&source);
            expected.extend(["new.example.net", "*.new.example.net"].map(str::to_owned));
            prop_assert_eq!(listed(&edited), expected);
        }

        #[test]
        fn added_and_removed_again_leaves_the_octets(list in list()) {
            let source = document(&list);
            let count = listed(&source).len();
            let edited = added(&source, &["new.example.net", "*.new.example.net"]);
            prop_assert_eq!(removed(&edited, &[count, count + 1]), source);
        }

        #[test]
        fn what_is_removed_is_gone_and_nothing_else(list in list(), doomed in prop::collection::vec(0..6_usize, 0..6)) {
            let source = document(&list);
            let before = listed(&source);
            let kept = before.iter().enumerate().filter(|(at, _)| !doomed.contains(at));
            let expected: Vec<String> = kept.map(|(_, it)| it.clone()).collect();
            let edited = removed(&source, &doomed);
            prop_assert_eq!(listed(&edited), expected);
            // Outside the list's brackets every octet is as it was.
            let (open, close) = (source.find(&list).expect("the list"), source.len());
            prop_assert_eq!(&edited[..=open], &source[..=open]);
            let tail = close - open - list.len() + 1;
            prop_assert_eq!(&edited[edited.len() - tail..], &source[close - tail..]);
        }
    }
}
