//! What stands behind the question mark of a request, each parameter known and said once.

use std::fmt::Display;
use std::str::FromStr;

/// The parameters of a request that nobody has taken yet.
#[derive(Debug)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Reads `a=b&c=d`; a parameter without a value is `1`.
    ///
    /// # Errors
    /// When one is not as it should be written: a sentence for a person.
    pub fn read(query: Option<&str>) -> Result<Self, String> {
        let pairs = query.unwrap_or_default().split('&');
        let pairs = pairs.filter(|it| !it.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, "1"));
            Ok((decoded(key)?, decoded(value)?))
        });
        pairs.collect::<Result<_, _>>().map(Self)
    }

    /// The value of a parameter.
    pub fn text(&mut self, key: &str) -> Option<String> {
        let at = self.0.iter().position(|(it, _)| it == key)?;
        Some(self.0.remove(at).1)
    }

    /// The value of a parameter, read.
    ///
    /// # Errors
    /// When it is none of these: a sentence for a person.
    pub fn value<T: FromStr<Err: Display>>(&mut self, key: &str) -> Result<Option<T>, String> {
        let read = |text: String| {
            let value = text.parse();
            value.map_err(|error| format!("{key}={text}: {error}"))
        };
        self.text(key).map(read).transpose()
    }

    /// Is a parameter set, by `1` or `0`?
    ///
    /// # Errors
    /// When it is said otherwise: a sentence for a person.
    pub fn switch(&mut self, key: &str) -> Result<bool, String> {
        match self.text(key).as_deref() {
            None | Some("0") => Ok(false),
            Some("1") => Ok(true),
            Some(other) => Err(format!("{key}={other}: write 1 or 0")),
        }
    }

    /// All must have been taken: a slip in one is not to pass for its absence.
    ///
    /// # Errors
    /// When one is left: a sentence for a person.
    pub fn done(self) -> Result<(), String> {
        match self.0.first() {
            None => Ok(()),
            Some((key, _)) => Err(format!("{key}: no such parameter here, or it stands twice")),
        }
    }
}

/// The text behind `%41` and `+`.
fn decoded(text: &str) -> Result<String, String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'+' => b' ',
            b'%' => hex(rest.next(), rest.next()).ok_or("% begins two hexadecimal digits")?,
            other => other,
        });
    }
    String::from_utf8(octets).map_err(|_| "a parameter is not UTF-8".to_owned())
}

fn hex(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let digit = |it: Option<u8>| char::from(it?).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_once_and_none_is_overlooked() {
        let mut params = Params::read(Some("name=a%2Eb+c&n=7&on&off=0")).expect("well-formed");
        assert_eq!(params.text("name").as_deref(), Some("a.b c"));
        assert_eq!(params.value("n"), Ok(Some(7_u8)));
        assert_eq!(params.switch("on"), Ok(true));
        assert_eq!(params.switch("off"), Ok(false));
        assert_eq!(params.switch("absent"), Ok(false));
        assert!(params.done().is_ok());
    }

    #[test]
    fn slips_are_told() {
        let read = |text| Params::read(Some(text));
        for bad in ["a=%", "a=%4", "a=%4g", "a=%ff"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(read("n=x").expect("read").value::<u8>("n").is_err());
        assert!(read("on=yes").expect("read").switch("on").is_err());
        let mut twice = read("a=1&a=0").expect("read");
        assert_eq!(twice.switch("a"), Ok(true));
        assert!(twice.done().is_err());
    }
}
