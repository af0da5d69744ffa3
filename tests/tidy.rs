//! The house is as its papers say: the map in `docs/ARCHITECTURE.md`, and the habits of `docs/STYLE.md`.
//!
//! Each row of the map's table is one room. The first test reads the table,
//! walks `src`, and names every line where a room reaches for a room or a
//! foreign crate without its row saying so, and every line where a pure room
//! touches a socket, a file or the clock. The others hold the smaller habits.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

struct Room {
    pure: bool,
    may_name: Vec<String>,
    keeps: Vec<String>,
}

type Rooms = BTreeMap<String, Room>;

/// What only io rooms touch. `std::net` addresses are values; `tokio::time::Instant` is a clock.
const IMPURE: [&str; 8] = [
    "tokio::",
    "std::fs",
    "std::env",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "::now()",
    "std::thread",
];

#[test]
fn the_map_is_true() {
    let rooms = rooms(&read("docs/ARCHITECTURE.md"));
    let strays: Vec<String> = sources("src")
        .iter()
        .flat_map(|(file, text)| strays(&rooms, file, text))
        .collect();
    assert!(strays.is_empty(), "\n{}\n", strays.join("\n"));
}

#[test]
fn the_map_has_every_room_and_no_other() {
    let rooms = rooms(&read("docs/ARCHITECTURE.md"));
    assert!(rooms.len() >= 10, "the table was not read");
    for room in rooms.keys() {
        let (file, folder) = (format!("src/{room}.rs"), format!("src/{room}/mod.rs"));
        assert!(
            Path::new(&file).exists() || Path::new(&folder).exists(),
            "the map has `{room}`, src has not"
        );
    }
    for (file, _) in sources("src")
        .iter()
        .filter(|(file, _)| file.matches('/').count() > 1)
    {
        assert!(
            deepest(&rooms, inside(file)).is_some(),
            "{file} lies in no room of the map"
        );
    }
}

/// Faults that the first test has to find: a check that cannot fail checks nothing.
#[test]
fn seeded_faults_are_found() {
    let rooms = rooms(
        "| `wire` | words | pure | - | `hickory_proto` |\n\
         | `answer` | desks | pure | `wire` | - |\n\
         | `answer/cache` | memory | pure | `wire` | `quick_cache` |\n\
         | `front` | sockets | io | `wire` | - |\n",
    );
    let found = |file: &str, line: &str| !strays(&rooms, file, line).is_empty();
    assert!(
        found("src/front/udp.rs", "use crate::answer::cache::Cache;"),
        "a sibling"
    );
    assert!(
        found("src/wire/name.rs", "let x = crate::front::bind();"),
        "upwards"
    );
    assert!(
        found("src/front/mod.rs", "use quick_cache::sync::Cache;"),
        "a guest in another room"
    );
    assert!(
        found("src/answer/mod.rs", "let now = Instant::now();"),
        "the clock in a pure room"
    );
    assert!(
        found("src/answer/cache/key.rs", "std::fs::read(file)"),
        "a file in a pure room"
    );
    assert!(!found("src/front/mod.rs", "use crate::wire::Name;"));
    assert!(!found("src/front/mod.rs", "let now = Instant::now();"));
    assert!(!found(
        "src/answer/mod.rs",
        "use self::cache::Cache; // crate::front::bind"
    ));
    assert!(!found(
        "src/answer/mod.rs",
        "mod tests {\n    use crate::front::bind;"
    ));
    assert!(
        !found("src/answer/cache.rs", "use hickory_proto::rr::Name;"),
        "with wire comes what wire keeps"
    );
}

#[test]
fn every_source_file_says_what_it_is_for() {
    for (file, text) in sources("src")
        .iter()
        .chain(&sources("tests"))
        .chain(&sources("benches"))
    {
        assert!(text.starts_with("//!"), "{file} does not open with //!");
    }
}

#[test]
fn nothing_is_left_undone() {
    // Put together here, so that this file does not find itself.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("#[", "ignore"),
        concat!("dbg", "!("),
        concat!("todo", "!("),
    ];
    for (file, text) in sources("src")
        .iter()
        .chain(&sources("tests"))
        .chain(&sources("benches"))
    {
        for word in words {
            assert!(!text.contains(word), "{file} holds {word}");
        }
    }
}

#[test]
fn the_current_version_heads_the_changelog() {
    let changelog = read("docs/CHANGELOG.md");
    let newest = changelog.lines().find(|line| line.starts_with("## "));
    let current = concat!("## ", env!("CARGO_PKG_VERSION"));
    assert!(
        newest.is_some_and(|line| line.starts_with(current)),
        "docs/CHANGELOG.md begins with {newest:?}"
    );
}

#[test]
fn every_dependency_comes_from_the_registry_and_says_why() {
    assert!(
        !read("Cargo.lock").contains("git+"),
        "Cargo.lock has a git source"
    );
    let manifest = read("Cargo.toml");
    let dependencies = manifest
        .split("[dependencies]")
        .nth(1)
        .and_then(|it| it.split("\n[lints").next());
    let mut said_above = false;
    for line in dependencies.expect("the manifest has both tables").lines() {
        if line.contains(" = ") {
            assert!(
                said_above || line.contains(" # "),
                "no reason beside {line}"
            );
        }
        said_above = line.starts_with('#');
    }
}

/// Crates beside this one build it with locks of their own, which nobody else looks at.
#[test]
fn locks_beside_ours_know_every_dependency() {
    let manifest = read("Cargo.toml");
    let (_, rest) = manifest
        .split_once("\n[dependencies]\n")
        .expect("there are some");
    let section = rest.split("\n[").next().unwrap_or_default();
    let names = section.lines().filter_map(|line| line.split_once(" = "));
    let names: Vec<&str> = names
        .map(|(name, _)| name)
        .filter(|it| !it.starts_with('#'))
        .collect();
    assert!(names.len() >= 20, "only {names:?}");
    for lock in ["fuzz/Cargo.lock", "tests/interleave/Cargo.lock"] {
        let text = read(lock);
        let (_, ours) = text
            .split_once("name = \"namegate\"\n")
            .expect("it is built there");
        let ours = ours.split("[[package]]").next().unwrap_or_default();
        for name in &names {
            let is_known =
                ours.contains(&format!("\n \"{name}\"")) || ours.contains(&format!("\n \"{name} "));
            assert!(
                is_known,
                "{lock} does not know {name}: run cargo update --offline --workspace there"
            );
        }
    }
}

#[test]
fn rows_of_conformance_and_proof_name_live_tests() {
    let text = read("docs/CONFORMANCE.md") + &read("docs/PROOF.md");
    let tests: String = sources("tests")
        .iter()
        .chain(&sources("src"))
        .map(|(_, text)| text.as_str())
        .collect();
    let scripts = [
        "tests/dig.sh",
        "tests/clients.sh",
        "tests/exec.sh",
        "tests/machine.sh",
    ]
    .map(|file| fs::read_to_string(file).unwrap_or_default())
    .concat();
    let mut rows = 0;
    for row in text
        .lines()
        .filter(|line| line.starts_with("| ") && !line.contains("---"))
        .filter(|it| it.contains('`'))
    {
        let last = row
            .trim_end_matches(['|', ' '])
            .rsplit('|')
            .next()
            .unwrap_or_default();
        let named: Vec<&str> = last.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "no test in the last cell of {row}");
        for name in named {
            let is_story = Path::new("tests/script").join(name).is_file();
            let is_file = Path::new(name).is_file() || Path::new("tests").join(name).is_file();
            let is_test = tests.contains(&format!("fn {name}(")) || scripts.contains(name);
            assert!(
                is_story || is_file || is_test,
                "`{name}` is no story and no test: {row}"
            );
        }
        rows += 1;
    }
    assert!(rows >= 30, "only {rows} rows");
}

#[test]
fn every_promise_stands_in_the_threat_model() {
    let text = read("docs/CONFORMANCE.md");
    let (_, model) = text
        .split_once("## The threat model")
        .expect("the threat model has its heading");
    for promise in 1..=10 {
        let row = format!("| {promise}. ");
        assert!(
            model.lines().any(|line| line.starts_with(&row)),
            "promise {promise} has no row"
        );
    }
}

#[test]
fn every_unsafe_is_counted() {
    let page = read("docs/SECURITY.md");
    let mut told: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `src/")?.split('`').next())
        .collect();
    told.sort_unstable();
    let sources = sources("src");
    let mut found: Vec<&str> = sources
        .iter()
        .flat_map(|(file, text)| vec![inside(file); unsafes(text)])
        .collect();
    found.sort_unstable();
    assert_eq!(told, found, "docs/SECURITY.md has a row for each `unsafe`");
}

/// How often the word stands in code; `unsafe_code` and `unsafe-inline` are others.
fn unsafes(text: &str) -> usize {
    let code = text.lines().filter_map(|line| line.split("//").next());
    let words =
        code.flat_map(|code| code.split(|c: char| !c.is_alphanumeric() && !"_-".contains(c)));
    words.filter(|word| *word == "unsafe").count()
}

/// A product file speaks of the product alone.
#[test]
fn no_file_speaks_of_the_workshop() {
    let words = [
        concat!("/work", "/"),
        concat!("../", "shared"),
        concat!("crates", ".io/"),
        concat!("index.crates", ".io-"),
    ];
    let text_files = ["src", "tests", "docs", "deploy", "zones", "benches", "fuzz"];
    for (file, text) in text_files
        .iter()
        .flat_map(|dir| files(Path::new(dir), &|_| true))
    {
        for word in words {
            assert!(!text.contains(word), "{file} holds {word}");
        }
    }
}

fn read(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn inside(file: &str) -> &str {
    file.trim_start_matches("src/")
}

/// The lines of a file that disagree with the map.
fn strays(rooms: &Rooms, file: &str, text: &str) -> Vec<String> {
    // lib.rs and main.rs only declare and start.
    let Some(here) = deepest(rooms, inside(file)) else {
        return Vec::new();
    };
    let mut strays = Vec::new();
    for (n, line) in text
        .lines()
        .enumerate()
        .take_while(|(_, line)| *line != "mod tests {")
    {
        let code = line.split("//").next().unwrap_or_default();
        for named in paths(code).iter().filter_map(|path| room_of(rooms, path)) {
            if !may_name(rooms, here, named) {
                strays.push(format!("{file}:{}: `{here}` names `{named}`", n + 1));
            }
        }
        if let Some(touched) = IMPURE
            .iter()
            .find(|it| rooms[here].pure && code.contains(**it))
        {
            strays.push(format!(
                "{file}:{}: `{here}` is pure, but touches `{touched}`",
                n + 1
            ));
        }
    }
    strays
}

/// A room may name itself, the rooms inside it, and those its row lists.
fn may_name(rooms: &Rooms, here: &str, named: &str) -> bool {
    let inside = named
        .strip_prefix(here)
        .is_some_and(|rest| rest.starts_with('/'));
    named == here || inside || rooms[here].may_name.iter().any(|it| it == named)
}

fn room_of<'a>(rooms: &'a Rooms, path: &str) -> Option<&'a str> {
    match path.strip_prefix("crate/") {
        Some(inside) => deepest(rooms, inside),
        None => rooms
            .iter()
            .find(|(_, room)| room.keeps.iter().any(|it| it == path))
            .map(|(name, _)| name.as_str()),
    }
}

/// The innermost room that a path such as `answer/cache/key` lies in.
fn deepest<'a>(rooms: &'a Rooms, path: &str) -> Option<&'a str> {
    let path = path.trim_end_matches(".rs");
    let holds = |room: &&String| {
        path.strip_prefix(room.as_str())
            .is_some_and(|it| it.is_empty() || it.starts_with('/'))
    };
    rooms
        .keys()
        .filter(holds)
        .max_by_key(|room| room.len())
        .map(String::as_str)
}

/// The paths on a line of code: `crate::a::b` as `crate/a/b`, a foreign `c::d` as `c`.
fn paths(code: &str) -> Vec<String> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':')
        .filter(|word| word.contains("::"))
        .map(|word| match word.starts_with("crate::") {
            true => word.trim_end_matches("::").replace("::", "/"),
            false => word.split("::").next().unwrap_or_default().to_owned(),
        })
        .collect()
}

/// The rows of the table: | `room` | for | kind | `may` `name` | `keeps` |
fn rooms(map: &str) -> Rooms {
    let ticked = |cell: &str| {
        cell.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    };
    map.lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let room = Room {
                pure: cells[3] == "pure",
                may_name: ticked(cells[4]),
                keeps: ticked(cells[5]),
            };
            (cells[1].trim_matches('`').to_owned(), room)
        })
        .collect()
}

fn sources(dir: &str) -> Vec<(String, String)> {
    files(Path::new(dir), &|path| {
        path.extension().is_some_and(|ext| ext == "rs")
    })
}

/// The text files below a folder that are wanted; a folder that is not there holds none.
fn files(dir: &Path, wanted: &dyn Fn(&Path) -> bool) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            found.extend(files(&path, wanted));
        } else if wanted(&path)
            && let Ok(text) = fs::read_to_string(&path)
        {
            found.push((path.display().to_string(), text));
        }
    }
    found
}
