//! Hostnames put at the end of a policy's list, in the hand in which the document is written.
//!
//! The text of an accepted policy and patterns come in; the text with them goes
//! out. Not a character of the rest changes: order, white space, line ends.

use super::json::{self, Raw};
use super::schema::places;
use super::{Pattern, Select};

/// The document with `patterns` at the end of `allowed_hostnames`; none if it is no policy that `select` could choose.
pub fn append(source: &str, select: &Select, patterns: &[Pattern]) -> Option<String> {
    let list = places(source, select)?.allowed_hostnames;
    let span = json::span(source, list);
    let quoted: Vec<String> = patterns.iter().map(|it| format!("\"{it}\"")).collect();
    if quoted.is_empty() {
        return Some(source.to_owned());
    }
    let mut elements = Vec::new();
    json::each_element(list, |raw: &Raw| elements.push(json::span(source, raw)));
    let (at, rest, added) = match elements.as_slice() {
        [] => (span.start, span.end, first_of(source, span.start, &quoted)),
        [.., last] => {
            let before = elements.len().checked_sub(2).map(|at| elements[at].end);
            let gap = match before {
                Some(end) => source[end..last.start].to_owned(),
                None => gap_of_one(&source[span.start + 1..last.start]),
            };
            let added: String = quoted.iter().map(|it| format!("{gap}{it}")).collect();
            (last.end, last.end, added)
        }
    };
    Some([&source[..at], &added, &source[rest..]].concat())
}

/// What parts two entries, where there is only one and this stands before it.
fn gap_of_one(lead: &str) -> String {
    if lead.contains('\n') {
        format!(",{lead}")
    } else {
        ", ".to_owned()
    }
}

/// A list that was empty and opens at `at`: one entry a line, unless the document is all one line.
fn first_of(source: &str, at: usize, quoted: &[String]) -> String {
    if !source.trim_end().contains('\n') {
        return format!("[{}]", quoted.join(", "));
    }
    let line = source[..at].rsplit('\n').next().unwrap_or_default();
    let indent = &line[..line.len() - line.trim_start().len()];
    let inner = format!("\n{indent}  ");
    let entries = quoted.join(&format!(",{inner}"));
    format!("[{inner}{entries}\n{indent}]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::read;

    fn document(list: &str) -> String {
        format!(
            "{{\"id\": \"i\", \"name\": \"n\",\n  \"egress\": {{\"allow_all\": false, \"allow_devbox_to_devbox\": false,\n    \
             \"allowed_hostnames\": {list},\n    \"allow_agent_gateway\": false, \"allow_mcp_gateway\": false}},\n \
             \"update_time_ms\": 1,   \"create_time_ms\": 1}}\n"
        )
    }

    /// Each list with `b.example` and `*.c.example` added is `expected`, and nothing else has changed.
    #[track_caller]
    fn check(list: &str, expected: &str) {
        let added = ["b.example", "*.c.example"].map(|it| Pattern::parse(it).expect(it));
        let source = document(list);
        let text = append(&source, &Select::Only, &added).expect("a policy");
        assert_eq!(text, document(expected));
        let accepted = read("policy.json", text.as_bytes(), &Select::Only).expect("a policy still");
        let names: Vec<Pattern> = accepted.policy.allowed_hostnames.iter().collect();
        assert!(names.ends_with(&added), "{text}");
    }

    #[test]
    fn the_hand_of_the_list_is_kept() {
        check(r#"["a.com"]"#, r#"["a.com", "b.example", "*.c.example"]"#);
        check(
            r#"["x.com","a.com" ]"#,
            r#"["x.com","a.com","b.example","*.c.example" ]"#,
        );
        check(
            "[\n\t\"a.com\"\n\t]",
            "[\n\t\"a.com\",\n\t\"b.example\",\n\t\"*.c.example\"\n\t]",
        );
        check(
            "[\r\n \"x.com\"\r\n , \"a.com\"]",
            "[\r\n \"x.com\"\r\n , \"a.com\"\r\n , \"b.example\"\r\n , \"*.c.example\"]",
        );
    }

    #[test]
    fn an_empty_list_gets_one_entry_a_line() {
        check(
            "[ ]",
            "[\n      \"b.example\",\n      \"*.c.example\"\n    ]",
        );
    }

    #[test]
    fn the_policy_that_was_chosen_is_the_one_that_changes() {
        let one = document("[\"a.com\"]");
        let other = document("[\"a.com\"]").replace("\"i\"", "\"j\"");
        let list = format!("{{\"network_policies\": [{one}, {other}], \"has_more\": false}}");
        let added = [Pattern::parse("b.example").expect("a pattern")];
        let text = append(&list, &Select::Id("j".to_owned()), &added).expect("a list");
        let expected = other.replace("\"a.com\"", "\"a.com\", \"b.example\"");
        assert_eq!(text, list.replace(&other, &expected));
    }
}
