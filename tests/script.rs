//! The stories: what a client sees, told in `tests/script/*.dns` and run on the real corridor.
//!
//! Each file is a test of its own. `tests/script/README.md` says how they are
//! written. A story that fails prints what was expected beside what was got.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::stage;

const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/script");

macro_rules! stories {
    ($($story:ident,)*) => {
        const STORIES: &[&str] = &[$(stringify!($story)),*];
        $(
            #[test]
            fn $story() {
                stage::run(&Path::new(DIR).join(concat!(stringify!($story), ".dns")));
            }
        )*
    };
}

stories! {
    blocked_is_nxdomain,
}

#[test]
fn every_story_is_told() {
    let files = fs::read_dir(DIR).expect("the stories").map(|entry| entry.expect("a file").path());
    let names = files.filter(|path| path.extension().is_some_and(|it| it == "dns"));
    let names: BTreeSet<String> = names.map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned()).collect();
    let told: BTreeSet<String> = STORIES.iter().map(|story| (*story).to_owned()).collect();
    assert_eq!(names, told, "the list in tests/script.rs and the files differ");
}
