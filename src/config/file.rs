//! The configuration file: TOML to values, each with its place.
//!
//! A path or a text comes in; tables and keys go out as they were written, or
//! every fault of the writing. What a key means is not known here.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::fault::{Error, Fault, Kind, Place, Source};
use super::value::{Entry, Said, What};

/// Fifty keys need a few thousand octets; a device or a log is stopped here.
const OCTETS_MAX: u64 = 1 << 20;

/// Reads the file that was named, or the one at the usual place if it is there.
pub(super) fn open(named: Option<&Path>, usual: &Path) -> Result<Option<Arc<Source>>, Error> {
    let path = named.unwrap_or(usual);
    let name = path.display().to_string();
    match octets(path) {
        Ok(octets) => source(name, octets).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound && named.is_none() => Ok(None),
        Err(error) => Err(unreadable(&name, &error)),
    }
}

fn octets(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    File::open(path)?
        .take(OCTETS_MAX + 1)
        .read_to_end(&mut octets)?;
    Ok(octets)
}

fn unreadable(name: &str, error: &std::io::Error) -> Error {
    let (kind, help) = if error.kind() == ErrorKind::NotFound {
        (
            Kind::Missing,
            "name a file that is there, or leave --config out",
        )
    } else if error.kind() == ErrorKind::PermissionDenied {
        (Kind::NoPermission, "let this user read the file")
    } else {
        (Kind::Bad, "name a file that can be read")
    };
    let faults = vec![Fault::of_file(format!("{name}: {error}"), help)];
    Error { kind, faults }
}

fn source(name: String, octets: Vec<u8>) -> Result<Arc<Source>, Error> {
    let bad = |message: String, help: &str| Error {
        kind: Kind::Bad,
        faults: vec![Fault::of_file(message, help)],
    };
    if octets.len() as u64 > OCTETS_MAX {
        return Err(bad(
            format!("{name}: larger than 1 MiB"),
            "is this the right file?",
        ));
    }
    match String::from_utf8(octets) {
        Ok(text) => Ok(Source::file(name, text)),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            Err(bad(
                format!("{name}: not UTF-8 at octet {at}"),
                "save the file as UTF-8",
            ))
        }
    }
}

/// The tables of a file.
///
/// # Errors
/// With every place that is not TOML.
pub(super) fn parse(source: &Arc<Source>) -> Result<Vec<Entry>, Error> {
    let (root, errors) = DeTable::parse_recoverable(source.text());
    if errors.is_empty() {
        return Ok(entries(root.into_inner(), source));
    }
    let fault = |error: &toml::de::Error| {
        let span = error.span().unwrap_or_default();
        let message = error.message().replace('\n', ", ");
        place(source, span).fault(message, "see https://toml.io for how TOML is written")
    };
    let mut faults: Vec<Fault> = errors.iter().map(fault).collect();
    faults.sort_by_key(Fault::order);
    Err(Error {
        kind: Kind::Bad,
        faults,
    })
}

fn place(source: &Arc<Source>, span: std::ops::Range<usize>) -> Place {
    Place {
        source: Arc::clone(source),
        span,
    }
}

fn entries(table: DeTable<'_>, source: &Arc<Source>) -> Vec<Entry> {
    let entry = |(key, value): (Spanned<_>, _)| Entry {
        place: place(source, key.span()),
        name: std::borrow::Cow::into_owned(key.into_inner()),
        value: said(value, source),
    };
    table.into_iter().map(entry).collect()
}

fn said(value: Spanned<DeValue<'_>>, source: &Arc<Source>) -> Said {
    let place = place(source, value.span());
    let what = match value.into_inner() {
        DeValue::String(text) => What::Text(text.into_owned()),
        DeValue::Integer(digits) => number(&digits),
        DeValue::Boolean(on) => What::Switch(on),
        DeValue::Array(items) => What::List(items.into_iter().map(|it| said(it, source)).collect()),
        DeValue::Table(table) => What::Table(entries(table, source)),
        DeValue::Float(_) => What::Other("a fraction"),
        DeValue::Datetime(_) => What::Other("a date"),
    };
    Said { what, place }
}

fn number(digits: &DeInteger<'_>) -> What {
    match i64::from_str_radix(digits.as_str(), digits.radix()) {
        Ok(number) => What::Number(number),
        Err(_) => What::Other("a number beyond 64 bits"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_file_may_be_missing_and_a_named_one_may_not() {
        let nowhere = Path::new("no/such.toml");
        assert!(open(None, nowhere).expect("not asked for").is_none());
        let error = open(Some(nowhere), nowhere).expect_err("asked for");
        assert_eq!((error.kind, error.kind.exit_code()), (Kind::Missing, 66));
        assert!(
            error.to_string().starts_with("error: no/such.toml: "),
            "{error}"
        );
    }

    #[test]
    fn the_usual_file_is_read_when_it_is_there() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("config.toml");
        std::fs::write(&path, "[log]").expect("a file");
        let source = open(None, &path).expect("readable").expect("there");
        assert_eq!(source.text(), "[log]");
    }
}
