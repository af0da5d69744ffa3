//! Every code of a diagnostic has its page, and `docs/codes.md` is those pages.
//!
//! `BLESS=1` writes the page anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use namegate::policy::{CODES, Code};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/codes.md");
const ROOMS: [&str; 3] = ["src/policy", "src/cli", "src/daemon"];
/// The table itself is no use of a code.
const TABLE: &str = "src/policy/codes.rs";

#[test]
fn the_page_of_codes_is_the_table() {
    let expected = Code::page();
    if std::env::var_os("BLESS").is_some() {
        fs::write(PAGE, expected).expect("docs is writable");
        return;
    }
    let page = fs::read_to_string(PAGE).unwrap_or_default();
    assert_eq!(page, expected, "run with BLESS=1 to write it anew");
}

#[test]
fn the_codes_in_use_are_those_with_a_page() {
    let mut used = BTreeSet::new();
    for room in ROOMS {
        codes_below(Path::new(room), &mut used);
    }
    let told: BTreeSet<String> = CODES.iter().map(|it| it.code.to_owned()).collect();
    assert_eq!(used, told);
}

/// The codes that stand in quotes in the sources below a folder.
fn codes_below(folder: &Path, used: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a room").flatten() {
        let path = entry.path();
        if path.is_dir() {
            codes_below(&path, used);
        } else if path != Path::new(TABLE) {
            let text = fs::read_to_string(&path).expect("a source");
            used.extend(codes(&text));
        }
    }
}

fn codes(text: &str) -> impl Iterator<Item = String> + '_ {
    let quoted = text.split('"').filter(|it| it.len() == 5);
    let codes = quoted.filter(|it| it.starts_with("NP") && it[2..].parse::<u16>().is_ok());
    codes.map(str::to_owned)
}
