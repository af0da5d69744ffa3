//! A change of a text as a unified diff, for people: lines that are too long are clipped around the change.

use std::fmt::Write as _;
use std::ops::Range;

use crate::policy::{Splice, spliced};

/// Unchanged lines that are shown around a change.
const CONTEXT: usize = 3;
/// Characters of a line that are shown whole; a document can be one line.
const LINE_CHARS_MAX: usize = 200;
/// Characters that are shown on each side of a change within a longer line.
const AROUND: usize = 40;

/// Lines that are replaced by others.
struct Change {
    /// Of the old text, from 0.
    old: Range<usize>,
    new: Vec<String>,
}

/// The splices in `source` as hunks under the name of the file.
pub(in crate::cli) fn unified(file: &str, source: &str, splices: &[Splice]) -> String {
    let lines: Vec<&str> = source.split_inclusive('\n').collect();
    let changes = changes(source, &lines, splices);
    let mut text = format!("--- {file}\n+++ {file}\n");
    // How many lines more the new text has so far.
    let mut shift = 0_usize;
    let mut removed = 0_usize;
    let mut rest = changes.as_slice();
    while !rest.is_empty() {
        let (hunk, others) = rest.split_at(together(rest));
        text += &told(&lines, hunk, shift, removed);
        shift += hunk.iter().map(|it| it.new.len()).sum::<usize>();
        removed += hunk.iter().map(|it| it.old.len()).sum::<usize>();
        rest = others;
    }
    text
}

/// How many of the first changes share their context.
fn together(changes: &[Change]) -> usize {
    let apart = |pair: &[Change]| pair[1].old.start > pair[0].old.end + 2 * CONTEXT;
    let apart_at = changes.windows(2).position(apart);
    apart_at.map_or(changes.len(), |at| at + 1)
}

fn changes(source: &str, lines: &[&str], splices: &[Splice]) -> Vec<Change> {
    let mut starts = vec![0];
    starts.extend(lines.iter().scan(0, |end, line| {
        *end += line.len();
        Some(*end)
    }));
    let blocks = blocks(&starts, splices);
    let change = |(block, splices): (Range<usize>, Vec<Splice>)| {
        let from = starts[block.start];
        let moved = splices.into_iter().map(|it| Splice {
            span: it.span.start - from..it.span.end - from,
            ..it
        });
        let moved: Vec<Splice> = moved.collect();
        let old = &source[from..starts[block.end]];
        aligned(lines, block, &spliced(old, &moved))
    };
    blocks.into_iter().flat_map(change).collect()
}

/// The lines that splices touch, those together that share a line. `starts` has each line's first octet, and the end.
fn blocks(starts: &[usize], splices: &[Splice]) -> Vec<(Range<usize>, Vec<Splice>)> {
    let count = starts.len() - 1;
    let line_of = |at: usize| starts.partition_point(|start| *start <= at).clamp(1, count) - 1;
    let mut blocks: Vec<(Range<usize>, Vec<Splice>)> = Vec::new();
    for splice in splices {
        let touched = line_of(splice.span.start)..line_of(splice.span.end) + 1;
        match blocks.last_mut() {
            Some((block, all)) if touched.start < block.end => {
                block.end = block.end.max(touched.end);
                all.push(splice.clone());
            }
            _ => blocks.push((touched, vec![splice.clone()])),
        }
    }
    blocks
}

/// What is not the same in a block of lines and in its new text. Lines that are in both stay, in the order in
/// which they are found: entries of a list come and go, and do not change places.
fn aligned(lines: &[&str], block: Range<usize>, new: &str) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut at = block.start;
    let mut fresh: Vec<String> = Vec::new();
    for line in new.split_inclusive('\n') {
        let Some(skipped) = lines[at..block.end].iter().position(|it| *it == line) else {
            fresh.push(line.to_owned());
            continue;
        };
        changes.push(Change {
            old: at..at + skipped,
            new: std::mem::take(&mut fresh),
        });
        at += skipped + 1;
    }
    let old = at..block.end;
    changes.push(Change { old, new: fresh });
    changes.retain(|it| !it.old.is_empty() || !it.new.is_empty());
    changes
}

fn told(lines: &[&str], hunk: &[Change], shift: usize, removed: usize) -> String {
    let first = hunk[0].old.start.saturating_sub(CONTEXT);
    let end = (hunk[hunk.len() - 1].old.end + CONTEXT).min(lines.len());
    let gone: usize = hunk.iter().map(|it| it.old.len()).sum();
    let come: usize = hunk.iter().map(|it| it.new.len()).sum();
    let (old_len, new_len) = (end - first, end - first + come - gone);
    let (old_at, new_at) = (first + 1, first + 1 + shift - removed);
    let mut text = format!("@@ -{old_at},{old_len} +{new_at},{new_len} @@\n");
    let mut at = first;
    for change in hunk {
        let old: Vec<&str> = lines[change.old.clone()].to_vec();
        let new: Vec<&str> = change.new.iter().map(String::as_str).collect();
        put(&mut text, ' ', &lines[at..change.old.start], &[]);
        put(&mut text, '-', &old, &new);
        put(&mut text, '+', &new, &old);
        at = change.old.end;
    }
    put(&mut text, ' ', &lines[at..end], &[]);
    text
}

/// Writes lines behind a sign, each clipped to where it differs from its counterpart.
fn put(text: &mut String, sign: char, lines: &[&str], others: &[&str]) {
    for (at, line) in lines.iter().enumerate() {
        let line = line.trim_end_matches(['\n', '\r']);
        let other = others.get(at).copied().unwrap_or_default();
        let _ = writeln!(text, "{sign}{}", clipped(line, other));
    }
}

/// A long line from a little before to a little behind what is not in the other one.
fn clipped(line: &str, other: &str) -> String {
    let chars: Vec<char> = line.chars().map(visible).collect();
    if chars.len() <= LINE_CHARS_MAX {
        return chars.into_iter().collect();
    }
    let other: Vec<char> = other
        .trim_end_matches(['\n', '\r'])
        .chars()
        .map(visible)
        .collect();
    let same = |(a, b): &(&char, &char)| a == b;
    let before = chars.iter().zip(&other).take_while(same).count();
    let tails = chars[before..]
        .iter()
        .rev()
        .zip(other[before..].iter().rev());
    let after = tails.take_while(same).count();
    let from = before.saturating_sub(AROUND);
    let to = (chars.len() - after + AROUND).min(chars.len());
    let to = to.min(from + LINE_CHARS_MAX);
    let dots = |is_cut| if is_cut { "..." } else { "" };
    let shown: String = chars[from..to].iter().collect();
    format!("{}{shown}{}", dots(from > 0), dots(to < chars.len()))
}

/// Nothing in a document steers a terminal; its tabs stay.
fn visible(c: char) -> char {
    match c {
        '\t' => c,
        _ if c.is_control() => char::REPLACEMENT_CHARACTER,
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text without some words, each time they stand there.
    fn without(source: &str, words: &str) -> Vec<Splice> {
        let found = source.match_indices(words);
        found
            .map(|(at, _)| Splice {
                span: at..at + words.len(),
                text: String::new(),
            })
            .collect()
    }

    #[test]
    fn changes_that_are_near_share_a_hunk_and_others_do_not() {
        let source = "a\nX\nb\nc\nd\nX\ne\nf\ng\nh\ni\nj\nk\nX\nl\n";
        let expected = "--- f\n+++ f\n@@ -1,9 +1,7 @@\n a\n-X\n b\n c\n d\n-X\n e\n f\n g\n\
                        @@ -11,5 +9,4 @@\n i\n j\n k\n-X\n l\n";
        assert_eq!(unified("f", source, &without(source, "X\n")), expected);
    }

    #[test]
    fn what_stands_between_two_that_go_stays() {
        let source = "[\n \"a\",\n \"b\",\n \"c\"\n]";
        let splice = |words: &str| {
            let at = source.find(words).expect("there");
            let span = at..at + words.len();
            let text = String::new();
            Splice { span, text }
        };
        let splices = [splice("\"a\",\n "), splice(",\n \"c\"")];
        let expected =
            "--- f\n+++ f\n@@ -1,5 +1,3 @@\n [\n- \"a\",\n- \"b\",\n- \"c\"\n+ \"b\"\n ]\n";
        assert_eq!(unified("f", source, &splices), expected);
        let source_of_four = source.replace("\n]", ",\n \"d\"\n]");
        let told = unified("f", &source_of_four, &splices);
        assert!(
            told.ends_with(" [\n- \"a\",\n  \"b\",\n- \"c\",\n  \"d\"\n ]\n"),
            "{told}"
        );
    }

    #[test]
    fn a_line_that_is_continued_is_replaced() {
        let source = "[\n  \"a\"\n]";
        let splice = Splice {
            span: 7..7,
            text: ",\n  \"b\"".to_owned(),
        };
        let expected = "--- f\n+++ f\n@@ -1,3 +1,4 @@\n [\n-  \"a\"\n+  \"a\",\n+  \"b\"\n ]\n";
        assert_eq!(unified("f", source, &[splice]), expected);
    }

    #[test]
    fn a_long_line_is_clipped_around_the_change() {
        let source = format!("{}Y{}", "x".repeat(10_000), "z".repeat(10_000));
        let told = unified("f", &source, &without(&source, "Y"));
        let (left, right) = ("x".repeat(AROUND), "z".repeat(AROUND));
        let expected =
            format!("--- f\n+++ f\n@@ -1,1 +1,1 @@\n-...{left}Y{right}...\n+...{left}{right}...\n");
        assert_eq!(told, expected);
    }

    #[test]
    fn what_stands_in_a_document_steers_no_terminal() {
        let source = "\"\u{9b}\u{7f}\"\nX\n";
        assert!(!unified("f", source, &without(source, "X\n")).contains(['\u{9b}', '\u{7f}']));
    }
}
