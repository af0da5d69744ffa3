//! A story as written: verbs at the left margin, each with what stands indented below it.
//!
//! A file's text comes in; [`Step`]s go out, comments gone, places kept, so
//! that a `get` can be written anew without a change to the rest of the file.

/// A word at the left margin, and what is said with it.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The word.
    pub(crate) verb: String,
    /// The rest of its line.
    pub(crate) head: String,
    /// The indented lines below it.
    pub(crate) body: Vec<String>,
    /// The lines it takes in the file, from 0.
    pub(crate) lines: std::ops::Range<usize>,
}

impl Step {
    /// All of it but the verb, one line after the other.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &str> {
        let head = Some(self.head.as_str()).filter(|head| !head.is_empty());
        head.into_iter().chain(self.body.iter().map(String::as_str))
    }
}

/// Reads a story.
pub(crate) fn read(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut is_open = false;
    for (at, line) in text.lines().enumerate() {
        let said = without_comment(line).trim_end();
        if line.trim().is_empty() {
            is_open = false;
        } else if said.is_empty() {
            continue;
        } else if line.starts_with(' ') {
            let step = steps.last_mut().filter(|_| is_open);
            let step = step.unwrap_or_else(|| panic!("line {}: nothing stands above it", at + 1));
            step.body.push(said.trim().to_owned());
            step.lines.end = at + 1;
        } else {
            let (verb, head) = said.split_once(' ').unwrap_or((said, ""));
            let (verb, head) = (verb.to_owned(), head.trim().to_owned());
            steps.push(Step {
                verb,
                head,
                body: Vec::new(),
                lines: at..at + 1,
            });
            is_open = true;
        }
    }
    steps
}

/// A comment begins with a `#` at the margin or behind white space, outside quotes.
fn without_comment(line: &str) -> &str {
    let (mut quoted, mut before) = (false, ' ');
    for (at, c) in line.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '#' if !quoted && before.is_whitespace() => return &line[..at],
            _ => {}
        }
        before = c;
    }
    line
}

/// The words of a line; white space inside quotes does not part them, and the quotes stay.
pub(crate) fn words(line: &str) -> Vec<&str> {
    let mut quoted = false;
    let parts = line.split(move |c: char| {
        quoted ^= c == '"';
        c.is_whitespace() && !quoted
    });
    parts.filter(|word| !word.is_empty()).collect()
}

#[test]
fn a_story_is_its_verbs_and_their_blocks() {
    let steps = read(
        "# RFC\nask  a A  # why\nget  X \"a # b\"\n     one\n     # none\n     two\n\npass 1s\n",
    );
    let seen: Vec<_> = steps
        .iter()
        .map(|it| {
            (
                it.verb.as_str(),
                it.rows().collect::<Vec<_>>(),
                it.lines.clone(),
            )
        })
        .collect();
    assert_eq!(seen[0], ("ask", vec!["a A"], 1..2));
    assert_eq!(seen[1], ("get", vec!["X \"a # b\"", "one", "two"], 2..6));
    assert_eq!(seen[2], ("pass", vec!["1s"], 7..8));
    assert_eq!(words("ede=15 \"a b\"  c"), ["ede=15", "\"a b\"", "c"]);
}
