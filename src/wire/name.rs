//! A domain name as policy and cache see it: wire labels, lower-cased, absolute.
//!
//! A dot, a NUL or a backslash inside a label is an octet like any other
//! (RFC 2181 §11). The letter case that a client sent stays with its
//! [`Query`](super::Query); a `Name` never holds it.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use super::malformed::Malformed;

/// Octets of a name on the wire, the root's included (RFC 1035 §2.3.4).
const NAME_OCTETS_MAX: usize = 255;
/// Octets of one label (RFC 1035 §2.3.4).
const LABEL_OCTETS_MAX: usize = 63;
/// 127 labels of one octet and the root fill a name; more pointers than that go in circles (RFC 9267 §2).
const JUMPS_MAX: usize = 126;

/// An absolute name in wire form, ASCII letters lower-cased (RFC 4343 §3).
///
/// Invariant: `octets[..len]` is a run of labels, each behind its length octet
/// (1 to 63), ended by the root's zero octet; `len` is 1 to 255. What lies
/// behind `len` is zero.
#[derive(Clone, Copy)]
pub struct Name {
    octets: [u8; NAME_OCTETS_MAX],
    len: u8,
}

impl Name {
    /// `.`
    pub const ROOT: Self = Self {
        octets: [0; NAME_OCTETS_MAX],
        len: 1,
    };

    /// The name with this wire form, as [`Name::octets`] gives it; none where the octets are not one whole name.
    pub fn of_octets(octets: &[u8]) -> Option<Self> {
        let (name, behind) = Self::read_plain(octets, 0).ok()?;
        (behind == octets.len()).then_some(name)
    }

    /// The wire form, the root's zero octet included.
    #[inline]
    pub fn octets(&self) -> &[u8] {
        &self.octets[..usize::from(self.len)]
    }

    /// Is this `.`?
    pub fn is_root(&self) -> bool {
        self.len == 1
    }

    /// The labels from the left, the root not among them.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        self.starts().map(|at| self.label_at(at))
    }

    /// The offset of each label's length octet, from the left.
    #[inline]
    pub fn starts(&self) -> impl Iterator<Item = usize> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            let here = at;
            let len = self.octets[here];
            at += usize::from(len) + 1;
            (len != 0).then_some(here)
        })
    }

    /// The label whose length octet lies at `at`.
    #[inline]
    pub fn label_at(&self, at: usize) -> &[u8] {
        &self.octets[at + 1..][..usize::from(self.octets[at])]
    }

    /// The name that begins at a label's offset, as given by [`Name::starts`].
    #[must_use]
    pub fn ancestor_at(&self, at: usize) -> Self {
        let mut name = Self::ROOT;
        let rest = &self.octets()[at..];
        name.octets[..rest.len()].copy_from_slice(rest);
        name.len = u8::try_from(rest.len()).expect("a part of a name is no longer than the name");
        name
    }

    /// The offset at which the name begins that this one counts for: labels in front that begin with an underscore
    /// (RFC 8552) say what is asked about a name, and not which name it is. 0 where every label does.
    pub fn host_at(&self) -> usize {
        let is_host = |at: &usize| !self.label_at(*at).starts_with(b"_");
        self.starts().find(is_host).unwrap_or(0)
    }

    /// The name without its first label; none for the root.
    pub fn parent(&self) -> Option<Self> {
        (!self.is_root()).then(|| self.ancestor_at(usize::from(self.octets[0]) + 1))
    }

    /// Is this `above` itself or a name below it, label for label?
    pub fn is_at_or_below(&self, above: &Self) -> bool {
        self.depth_below(above).is_some()
    }

    /// The offset in this name at which `above` begins; 0 when they are equal.
    pub fn depth_below(&self, above: &Self) -> Option<usize> {
        let at = self.octets().len().checked_sub(above.octets().len())?;
        let on_a_label = at + 1 == self.octets().len() || self.starts().any(|start| start == at);
        (on_a_label && self.octets()[at..] == *above.octets()).then_some(at)
    }

    /// `label` and a dot put before this name; none when the result is too long.
    pub fn child(&self, label: &[u8]) -> Option<Self> {
        let mut builder = Builder::default();
        builder.push_label(label).ok()?;
        self.labels()
            .try_for_each(|label| builder.push_label(label))
            .ok()?;
        Some(builder.finish())
    }

    /// Does every label hold letters, digits, hyphens and underscores alone?
    /// Policies grant no other names (SPEC 3).
    #[inline]
    pub fn is_plain(&self) -> bool {
        // A length octet is at most 63 and so could be mistaken for a character; labels are walked for that reason.
        self.labels()
            .all(|label| label.iter().all(|octet| PLAIN[usize::from(*octet)]))
    }

    /// Reads the name at `at` of a message, following pointers. Returns it and the offset behind it.
    ///
    /// # Errors
    /// As [`walk`].
    pub(super) fn read(message: &[u8], at: usize) -> Result<(Self, usize), Malformed> {
        let mut name = Self::ROOT;
        let (len, behind) = walk(message, at, |at, label| {
            name.octets[at..at + label.len()].copy_from_slice(label);
        })?;
        // Length octets are below 'A', so folding every octet folds the letters alone.
        name.octets[..len].make_ascii_lowercase();
        name.len = u8::try_from(len + 1).expect("at most 254 octets were walked");
        Ok((name, behind))
    }

    /// Is this the name at `at` of a message?
    pub(super) fn is_at(&self, message: &[u8], at: usize) -> bool {
        let mut is_alike = true;
        let walked = walk(message, at, |at, label| {
            let ours = self.octets.get(at..at + label.len());
            is_alike = is_alike && ours.is_some_and(|ours| ours.eq_ignore_ascii_case(label));
        });
        is_alike && walked.is_ok_and(|(len, _)| len + 1 == usize::from(self.len))
    }

    /// The offset behind the name at `at` of a message.
    ///
    /// # Errors
    /// As [`walk`].
    pub(super) fn end(message: &[u8], at: usize) -> Result<usize, Malformed> {
        walk(message, at, |_, _| {}).map(|(_, behind)| behind)
    }

    /// Reads the name of a question, where a pointer has nothing to point to.
    ///
    /// # Errors
    /// As [`Name::read`], and for any pointer.
    #[inline]
    pub(super) fn read_plain(message: &[u8], at: usize) -> Result<(Self, usize), Malformed> {
        let window = message.get(at..).ok_or(Malformed::Truncated)?;
        let mut len = 0;
        loop {
            match *window.get(len).ok_or(Malformed::Truncated)? {
                0 => break,
                head @ 1..=63 => len += usize::from(head) + 1,
                0xC0.. => return Err(Malformed::BadPointer),
                64..=191 => return Err(Malformed::BadLabelType),
            }
            if len >= NAME_OCTETS_MAX {
                return Err(Malformed::NameTooLong);
            }
        }
        let mut name = Self::ROOT;
        name.octets[..len].copy_from_slice(&window[..len]);
        name.octets[..len].make_ascii_lowercase();
        name.len = u8::try_from(len + 1).expect("at most 254 octets were walked");
        Ok((name, at + len + 1))
    }
}

/// Walks the name at `at` of a message, following pointers: each label, its length octet included, goes to `label` with the
/// octets before it. Returns the octets of all labels and the offset behind the name.
///
/// # Errors
/// When the name is cut off, longer than 255 octets, has a label type other
/// than 00 and 11, or a pointer that does not lead strictly backwards (RFC 9267 §2).
#[inline]
fn walk(
    message: &[u8],
    at: usize,
    mut label: impl FnMut(usize, &[u8]),
) -> Result<(usize, usize), Malformed> {
    let mut len = 0;
    let mut here = at;
    let mut lowest = at;
    let mut behind = None;
    let mut jumps = 0;
    loop {
        let head = *message.get(here).ok_or(Malformed::Truncated)?;
        match head {
            0 => return Ok((len, behind.unwrap_or(here + 1))),
            1..=63 => {
                let end = here + 1 + usize::from(head);
                let octets = message.get(here..end).ok_or(Malformed::Truncated)?;
                // The last octet is the root's.
                if len + octets.len() >= NAME_OCTETS_MAX {
                    return Err(Malformed::NameTooLong);
                }
                label(len, octets);
                len += octets.len();
                here = end;
            }
            0xC0.. => {
                let low = *message.get(here + 1).ok_or(Malformed::Truncated)?;
                behind.get_or_insert(here + 2);
                here = usize::from(u16::from_be_bytes([head & 0x3F, low]));
                jumps += 1;
                if here >= lowest || jumps > JUMPS_MAX {
                    return Err(Malformed::BadPointer);
                }
                lowest = here;
            }
            64..=191 => return Err(Malformed::BadLabelType),
        }
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.octets() == other.octets()
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.octets());
    }
}

/// Presentation form without the final dot, `.` for the root; every octet that
/// is not a letter, digit, hyphen or underscore as `\DDD`, so that a name can
/// never break out of a log line or a terminal.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for (i, label) in self.labels().enumerate() {
            if i > 0 {
                f.write_str(".")?;
            }
            for octet in label {
                match PLAIN[usize::from(*octet)] || *octet == b'*' {
                    true => write!(f, "{}", char::from(*octet))?,
                    false => write!(f, "\\{octet:03}")?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Why a text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// Nothing stands between two dots, or there is nothing at all.
    EmptyLabel,
    /// A label has more than 63 octets.
    LabelTooLong,
    /// The name has more than 255 octets on the wire.
    NameTooLong,
    /// A backslash is not followed by a character or three digits up to 255.
    BadEscape,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EmptyLabel => "a label is empty",
            Self::LabelTooLong => "a label is longer than 63 octets",
            Self::NameTooLong => "the name is longer than 253 characters",
            Self::BadEscape => "a backslash needs a character or three digits up to 255 behind it",
        })
    }
}

impl std::error::Error for NameError {}

/// Presentation form (RFC 1035 §5.1), `\DDD` in decimal; taken as absolute with or without the final dot.
impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text == "." {
            return Ok(Self::ROOT);
        }
        let mut builder = Builder::default();
        let mut octets = text.bytes();
        while let Some(octet) = octets.next() {
            match octet {
                b'.' => builder.end_label()?,
                b'\\' => builder.push(unescape(&mut octets)?)?,
                _ => builder.push(octet)?,
            }
        }
        // An unescaped final dot has ended the last label.
        if builder.in_label() || !text.ends_with('.') {
            builder.end_label()?;
        }
        Ok(builder.finish())
    }
}

/// What stands behind a backslash.
fn unescape(octets: &mut std::str::Bytes<'_>) -> Result<u8, NameError> {
    let first = octets.next().ok_or(NameError::BadEscape)?;
    if !first.is_ascii_digit() {
        return Ok(first);
    }
    let mut value = u32::from(first - b'0');
    for _ in 0..2 {
        let digit = octets
            .next()
            .filter(u8::is_ascii_digit)
            .ok_or(NameError::BadEscape)?;
        value = value * 10 + u32::from(digit - b'0');
    }
    u8::try_from(value).map_err(|_| NameError::BadEscape)
}

/// A name put together octet by octet.
struct Builder {
    name: Name,
    /// Octets written, the open label's length octet among them.
    len: usize,
    /// Where the open label's length octet stands.
    label_at: usize,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            name: Name::ROOT,
            len: 1,
            label_at: 0,
        }
    }
}

impl Builder {
    fn in_label(&self) -> bool {
        self.len > self.label_at + 1
    }

    fn push(&mut self, octet: u8) -> Result<(), NameError> {
        if self.len - self.label_at > LABEL_OCTETS_MAX {
            return Err(NameError::LabelTooLong);
        }
        // The last octet is the root's.
        let room = self.name.octets[..NAME_OCTETS_MAX - 1].get_mut(self.len);
        *room.ok_or(NameError::NameTooLong)? = octet.to_ascii_lowercase();
        self.len += 1;
        Ok(())
    }

    fn end_label(&mut self) -> Result<(), NameError> {
        if !self.in_label() {
            return Err(NameError::EmptyLabel);
        }
        let len = self.len - self.label_at - 1;
        self.name.octets[self.label_at] =
            u8::try_from(len).expect("`push` keeps a label within 63 octets");
        self.label_at = self.len;
        self.len += 1;
        Ok(())
    }

    fn push_label(&mut self, label: &[u8]) -> Result<(), NameError> {
        label.iter().try_for_each(|octet| self.push(*octet))?;
        self.end_label()
    }

    /// The name; every label has been ended.
    fn finish(mut self) -> Name {
        self.name.len = u8::try_from(self.len).expect("`push` keeps a name within 255 octets");
        self.name
    }
}

/// The octets `[A-Za-z0-9_-]`.
const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut octet = 0_u8;
    while octet < 128 {
        table[octet as usize] = octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
        octet += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect(text)
    }

    #[test]
    fn case_folds_for_ascii_letters_alone() {
        assert_eq!(name("GitHub.COM."), name("github.com"));
        assert_eq!(name("\\195\\137.example").octets()[..3], [2, 0xC3, 0x89]);
    }

    #[test]
    fn a_dot_in_a_label_is_no_separator() {
        let odd = name("git\\.hub.com");
        assert_eq!(odd.labels().next(), Some(&b"git.hub"[..]));
        assert_eq!(odd.to_string(), "git\\046hub.com");
        assert_eq!(name(&odd.to_string()), odd);
        assert!(!odd.is_plain());
    }

    #[test]
    fn octets_are_a_name_when_they_are_whole() {
        let whole = name("github.com");
        assert_eq!(Name::of_octets(whole.octets()), Some(whole));
        assert_eq!(Name::of_octets(&[0]), Some(Name::ROOT));
        for broken in [&b""[..], b"\x03com", b"\x03com\x00\x00", b"\xC0\x00"] {
            assert_eq!(Name::of_octets(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn ancestors_are_whole_labels() {
        assert_eq!(name("a.b.c").parent(), Some(name("b.c")));
        assert_eq!(name("a.b.c").depth_below(&name("c")), Some(4));
        assert_eq!(name("a.b.c").depth_below(&Name::ROOT), Some(6));
        assert!(!name("notgithub.com").is_at_or_below(&name("github.com")));
        // The octets of "3com" end in those of "com" read as a label: only a label's start counts.
        assert!(!name("x\\003com").is_at_or_below(&name("com")));
    }

    #[test]
    fn lengths_are_bounded() {
        let label = "x".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "x".repeat(61));
        assert_eq!(name(&longest).octets().len(), 255);
        assert_eq!(
            format!("{longest}x").parse::<Name>(),
            Err(NameError::NameTooLong)
        );
        assert_eq!(
            format!("{label}x.com").parse::<Name>(),
            Err(NameError::LabelTooLong)
        );
        for empty in ["", "..", "a..b", ".a"] {
            assert_eq!(
                empty.parse::<Name>(),
                Err(NameError::EmptyLabel),
                "{empty:?}"
            );
        }
        assert_eq!("a\\25".parse::<Name>(), Err(NameError::BadEscape));
        assert_eq!("a\\256".parse::<Name>(), Err(NameError::BadEscape));
    }

    #[test]
    fn pointers_lead_backwards() {
        let message = *b"\x03com\x00\x01a\xC0\x00\xC0\x05";
        let (read, behind) = Name::read(&message, 5).expect("one pointer");
        assert_eq!((read, behind), (name("a.com"), 9));
        let (read, behind) = Name::read(&message, 9).expect("a pointer to a pointer");
        assert_eq!((read, behind), (name("a.com"), 11));
        assert_eq!(Name::read(b"\xC0\x00", 0), Err(Malformed::BadPointer));
        assert_eq!(
            Name::read(b"\x01a\xC0\x00", 2).map(|it| it.1),
            Err(Malformed::BadPointer)
        );
        assert_eq!(Name::read_plain(&message, 5), Err(Malformed::BadPointer));
        assert_eq!(Name::read(b"\x40a", 0), Err(Malformed::BadLabelType));
        assert_eq!(Name::read(b"\x03co", 0), Err(Malformed::Truncated));
    }

    #[test]
    fn both_readers_end_at_the_same_length() {
        let mut octets =
            b"\x3Fxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx".repeat(3);
        octets.extend_from_slice(
            b"\x3Dxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\x00",
        );
        assert_eq!(octets.len(), 255);
        assert!(Name::read(&octets, 0).is_ok() && Name::read_plain(&octets, 0).is_ok());
        octets.splice(192..193, [0x3E, b'x']);
        assert_eq!(Name::read(&octets, 0), Err(Malformed::NameTooLong));
        assert_eq!(Name::read_plain(&octets, 0), Err(Malformed::NameTooLong));
    }
}
