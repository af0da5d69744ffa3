//! The watch on the policy file, on real files with real events.
//!
//! Where events are tested, polls are so far apart that they cannot help. No time is asserted but
//! that of liveness.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};
use std::{iter, thread};

use namegate::policy::Select;
use namegate::policy::watch::{Health, Method, Poke, Settings, Sight, Watch};
use tempfile::TempDir;
use tokio::time::timeout;

/// Longer than any healthy look takes, shorter than `NEVER`.
const LIVELY: Duration = Duration::from_secs(10);
const NEVER: Duration = Duration::from_secs(3600);
const OFTEN: Duration = Duration::from_millis(50);
/// Between the halves of a write.
const PAUSE: Duration = Duration::from_millis(80);

/// A watched file in a directory of its own.
struct Bench {
    place: TempDir,
    watch: Watch,
    poke: Poke,
}

impl Bench {
    /// Watches `policy.json`, by events alone, after `prepare` made what should be there.
    fn new(prepare: impl FnOnce(&Path)) -> Self {
        Self::with(prepare, "policy.json", NEVER, Watch::open)
    }

    /// Watches `policy.json`, by polls alone.
    fn polling(prepare: impl FnOnce(&Path)) -> Self {
        Self::with(prepare, "policy.json", OFTEN, Watch::polling)
    }

    fn with(
        prepare: impl FnOnce(&Path),
        file: &str,
        poll_every: Duration,
        open: fn(Settings) -> (Watch, Poke),
    ) -> Self {
        let place = tempfile::tempdir().expect("a directory");
        prepare(place.path());
        let (watch, poke) = open(Settings {
            file: place.path().join(file),
            select: Select::Only,
            poll_every,
            settle: Duration::from_millis(150),
        });
        Self { place, watch, poke }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    async fn next(&mut self) -> Sight {
        timeout(LIVELY, self.watch.next())
            .await
            .expect("something to tell, in time")
    }

    /// The next thing told is the policy of this name.
    async fn sees(&mut self, name: &str) {
        let sight = self.next().await;
        assert_eq!(applied(&sight), Some(name), "{sight:?}");
    }

    #[track_caller]
    fn loads(&mut self, name: &str) {
        let sight = self.watch.load();
        assert_eq!(applied(&sight), Some(name), "{sight:?}");
    }
}

fn applied(sight: &Sight) -> Option<&str> {
    match sight {
        Sight::Applied { accepted, .. } => Some(&accepted.policy.name),
        Sight::Rejected { .. }
        | Sight::Unchanged
        | Sight::Missing
        | Sight::Unreadable(_)
        | Sight::Health(_) => None,
    }
}

fn rejected(sight: &Sight) -> bool {
    matches!(sight, Sight::Rejected { diagnostics, .. } if !diagnostics.findings.is_empty())
}

/// A whole policy.
fn document(name: &str) -> String {
    document_of(name, &["github.com"])
}

fn document_of(name: &str, hosts: &[&str]) -> String {
    format!(
        r#"{{"id":"npl_1","name":"{name}","egress":{{"allow_all":false,"allow_devbox_to_devbox":false,"allowed_hostnames":{hosts:?},"allow_agent_gateway":false,"allow_mcp_gateway":false}},"create_time_ms":1,"update_time_ms":1}}"#
    )
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("written");
}

/// As a careful writer saves.
fn save(path: &Path, text: &str) {
    let fresh = path.with_extension("tmp");
    write(&fresh, text);
    fs::rename(fresh, path).expect("renamed");
}

/// Puts a symbolic link in place of another, in one go.
fn relink(target: &str, link: &Path) {
    let fresh = link.with_extension("tmp");
    symlink(target, &fresh).expect("linked");
    fs::rename(fresh, link).expect("renamed");
}

fn one(place: &Path) {
    write(&place.join("policy.json"), &document("one"));
}

#[tokio::test]
async fn a_save_by_rename_is_seen_each_time() {
    let mut bench = Bench::new(one);
    bench.loads("one");
    assert_eq!(
        bench.watch.health(),
        Health {
            method: Method::Inotify,
            blind: false
        }
    );
    for name in ["two", "three", "four"] {
        save(&bench.path("policy.json"), &document(name));
        bench.sees(name).await;
    }
}

#[tokio::test]
async fn a_write_in_place_is_seen_each_time() {
    let mut bench = Bench::new(one);
    bench.loads("one");
    for name in ["two", "three", "four"] {
        write(&bench.path("policy.json"), &document(name));
        bench.sees(name).await;
    }
}

#[tokio::test]
async fn a_write_that_is_never_closed_is_seen() {
    let mut bench = Bench::new(one);
    bench.loads("one");
    let mut file = OpenOptions::new()
        .write(true)
        .open(bench.path("policy.json"))
        .expect("opened");
    file.write_all(document("two").as_bytes()).expect("written");
    bench.sees("two").await;
}

/// Writes the two halves of a document with a pause between them, the file open all the while or not.
fn write_in_halves(path: PathBuf, text: String, close_between: bool) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let (first, second) = text.as_bytes().split_at(text.len() / 2);
        let mut file = fs::File::create(&path).expect("truncated");
        file.write_all(first).expect("written");
        if close_between {
            file = OpenOptions::new()
                .append(true)
                .open(&path)
                .expect("opened again");
        }
        thread::sleep(PAUSE);
        file.write_all(second).expect("written");
    })
}

async fn halves_are_not_told(mut bench: Bench, close_between: bool) {
    bench.loads("one");
    for name in ["two", "three", "four"] {
        let writer = write_in_halves(bench.path("policy.json"), document(name), close_between);
        bench.sees(name).await;
        writer.join().expect("written");
    }
}

#[tokio::test]
async fn half_a_document_is_neither_applied_nor_rejected() {
    halves_are_not_told(Bench::new(one), false).await;
}

#[tokio::test]
async fn half_a_document_is_neither_applied_nor_rejected_though_it_was_closed() {
    halves_are_not_told(Bench::new(one), true).await;
}

#[tokio::test]
async fn half_a_document_is_neither_applied_nor_rejected_by_polls() {
    halves_are_not_told(Bench::polling(one), false).await;
}

/// Overwrites one host, pauses, and overwrites the other: between the two, the document is good and nobody's.
async fn mixtures_are_not_told(mut bench: Bench) {
    let path = bench.path("policy.json");
    let texts = [
        document_of("t", &["aa.com", "bb.com"]),
        document_of("t", &["cc.com", "dd.com"]),
    ];
    write(&path, &texts[0]);
    bench.loads("t");
    let at = |host| u64::try_from(texts[1].find(host).expect("it is there")).expect("it is small");
    let (first, second) = (at("cc.com"), at("dd.com"));
    let writer = thread::spawn(move || {
        let mut file = OpenOptions::new().write(true).open(path).expect("opened");
        for (position, host) in [(first, "cc.com"), (second, "dd.com")] {
            file.seek(SeekFrom::Start(position)).expect("sought");
            file.write_all(host.as_bytes()).expect("written");
            thread::sleep(PAUSE);
        }
    });
    let sight = bench.next().await;
    let Sight::Applied {
        accepted, octets, ..
    } = sight
    else {
        unreachable!("{sight:?}");
    };
    let hosts: Vec<_> = accepted
        .policy
        .allowed_hostnames
        .iter()
        .map(|it| it.text().to_owned())
        .collect();
    assert_eq!(hosts, ["cc.com", "dd.com"]);
    assert_eq!(octets, texts[1].len());
    writer.join().expect("written");
}

#[tokio::test]
async fn a_mixture_of_two_documents_is_not_applied() {
    mixtures_are_not_told(Bench::new(one)).await;
}

#[tokio::test]
async fn a_mixture_of_two_documents_is_not_applied_by_polls() {
    mixtures_are_not_told(Bench::polling(one)).await;
}

#[tokio::test]
async fn a_file_that_is_deleted_and_made_again_is_seen() {
    let mut bench = Bench::new(one);
    bench.loads("one");
    for name in ["two", "three"] {
        fs::remove_file(bench.path("policy.json")).expect("removed");
        write(&bench.path("policy.json"), &document(name));
        bench.sees(name).await;
    }
}

#[tokio::test]
async fn a_file_that_stays_away_is_missing_once_and_its_return_is_told() {
    let mut bench = Bench::new(one);
    bench.loads("one");
    fs::remove_file(bench.path("policy.json")).expect("removed");
    assert!(matches!(bench.next().await, Sight::Missing));
    save(&bench.path("policy.json"), &document("one"));
    let sight = bench.next().await;
    assert!(
        matches!(sight, Sight::Unchanged),
        "the same policy is no news: {sight:?}"
    );
}

#[tokio::test]
async fn a_file_that_was_missing_at_the_start_is_seen_when_it_comes() {
    let mut bench = Bench::with(|_| (), "far/away/policy.json", NEVER, Watch::open);
    assert!(matches!(bench.watch.load(), Sight::Missing));
    fs::create_dir_all(bench.path("far/away")).expect("made");
    save(&bench.path("far/away/policy.json"), &document("one"));
    bench.sees("one").await;
}

#[tokio::test]
async fn what_cannot_be_read_is_told_once() {
    let mut bench = Bench::with(one, "policy.json", OFTEN, Watch::open);
    bench.loads("one");
    fs::remove_file(bench.path("policy.json")).expect("removed");
    fs::create_dir(bench.path("policy.json")).expect("made");
    assert!(matches!(bench.next().await, Sight::Unreadable(_)));
    tokio::time::sleep(5 * OFTEN).await;
    fs::remove_dir(bench.path("policy.json")).expect("removed");
    save(&bench.path("policy.json"), &document("two"));
    bench.sees("two").await;
}

#[test]
fn a_pipe_is_not_waited_for() {
    let mut bench = Bench::new(|place| {
        let made = Command::new("mkfifo")
            .arg(place.join("policy.json"))
            .status();
        assert!(made.expect("mkfifo runs").success());
    });
    let (sender, receiver) = std::sync::mpsc::channel();
    thread::spawn(move || drop(sender.send(bench.watch.load())));
    let sight = receiver.recv_timeout(LIVELY).expect("an answer");
    assert!(matches!(sight, Sight::Unreadable(_)), "{sight:?}");
}

/// A Kubernetes volume: each publication is a directory of its own, and one link says which counts.
fn publish(place: &Path, version: &str, name: &str) {
    fs::create_dir(place.join(version)).expect("made");
    write(&place.join(version).join("policy.json"), &document(name));
    let fresh = place.join("..data_tmp");
    symlink(version, &fresh).expect("linked");
    fs::rename(fresh, place.join("..data")).expect("renamed");
}

#[tokio::test]
async fn a_swap_of_a_kubernetes_volume_is_seen_each_time() {
    let mut bench = Bench::new(|place| {
        publish(place, "..2026_a", "one");
        symlink("..data/policy.json", place.join("policy.json")).expect("linked");
    });
    bench.loads("one");
    publish(bench.place.path(), "..2026_b", "two");
    fs::remove_dir_all(bench.path("..2026_a")).expect("removed");
    bench.sees("two").await;
    publish(bench.place.path(), "..2026_c", "three");
    bench.sees("three").await;
    fs::remove_dir_all(bench.path("..2026_b")).expect("removed");
    write(&bench.path("..2026_c/policy.json"), &document("four"));
    bench.sees("four").await;
}

#[tokio::test]
async fn a_directory_that_is_replaced_is_watched_again() {
    let prepare = |place: &Path| {
        fs::create_dir(place.join("etc")).expect("made");
        write(&place.join("etc/policy.json"), &document("one"));
    };
    let mut bench = Bench::with(prepare, "etc/policy.json", NEVER, Watch::open);
    bench.loads("one");
    let file = bench.path("etc/policy.json");
    fs::rename(bench.path("etc"), bench.path("old")).expect("renamed");
    fs::create_dir(bench.path("etc")).expect("made");
    write(&file, &document("two"));
    bench.sees("two").await;
    save(&file, &document("three"));
    bench.sees("three").await;
    fs::remove_dir_all(bench.path("old")).expect("removed");
    save(&file, &document("four"));
    bench.sees("four").await;
    save(&file, &document("five"));
    bench.sees("five").await;
}

#[tokio::test]
async fn a_directory_that_is_moved_away_and_back_is_still_watched() {
    let mut bench = Bench::new(|place| {
        fs::create_dir(place.join("etc")).expect("made");
        write(&place.join("etc/policy.json"), &document("one"));
        symlink("etc/policy.json", place.join("policy.json")).expect("linked");
    });
    bench.loads("one");
    fs::rename(bench.path("etc"), bench.path("old")).expect("renamed");
    fs::rename(bench.path("old"), bench.path("etc")).expect("renamed");
    tokio::time::sleep(PAUSE).await;
    bench.poke.poke();
    assert!(matches!(bench.next().await, Sight::Unchanged));
    save(&bench.path("etc/policy.json"), &document("two"));
    bench.sees("two").await;
}

#[tokio::test]
async fn a_directory_that_stays_away_is_watched_when_it_returns() {
    let prepare = |place: &Path| {
        fs::create_dir_all(place.join("etc/inner")).expect("made");
        write(&place.join("etc/inner/policy.json"), &document("one"));
    };
    let mut bench = Bench::with(prepare, "etc/inner/policy.json", NEVER, Watch::open);
    bench.loads("one");
    fs::remove_dir_all(bench.path("etc")).expect("removed");
    assert!(matches!(bench.next().await, Sight::Missing));
    fs::create_dir_all(bench.path("etc/inner")).expect("made");
    write(&bench.path("etc/inner/policy.json"), &document("two"));
    bench.sees("two").await;
    save(&bench.path("etc/inner/policy.json"), &document("three"));
    bench.sees("three").await;
}

#[tokio::test]
async fn a_link_that_is_led_elsewhere_is_followed() {
    let mut bench = Bench::new(|place| {
        for name in ["one", "two", "three"] {
            fs::create_dir(place.join(name)).expect("made");
            write(&place.join(name).join("p"), &document(name));
        }
        symlink("one/p", place.join("policy.json")).expect("linked");
    });
    bench.loads("one");
    relink("two/p", &bench.path("policy.json"));
    bench.sees("two").await;
    write(&bench.path("two/p"), &document("more"));
    bench.sees("more").await;
    fs::remove_file(bench.path("policy.json")).expect("removed");
    symlink("three/p", bench.path("policy.json")).expect("linked");
    bench.sees("three").await;
    save(&bench.path("three/p"), &document("most"));
    bench.sees("most").await;
}

#[tokio::test]
async fn the_same_content_is_no_news() {
    for mut bench in [Bench::new(one), Bench::polling(one)] {
        bench.loads("one");
        save(&bench.path("policy.json"), &document("one"));
        let quiet = timeout(5 * OFTEN, bench.watch.next()).await;
        assert!(quiet.is_err(), "{quiet:?}");
        save(&bench.path("policy.json"), &document("two"));
        bench.sees("two").await;
    }
}

#[tokio::test]
async fn a_bad_document_is_rejected_once_and_a_good_one_after_it_is_seen() {
    let mut bench = Bench::with(one, "policy.json", OFTEN, Watch::open);
    bench.loads("one");
    save(&bench.path("policy.json"), r#"{"id": 7}"#);
    let sight = bench.next().await;
    assert!(rejected(&sight), "{sight:?}");
    let quiet = timeout(10 * OFTEN, bench.watch.next()).await;
    assert!(quiet.is_err(), "told again: {quiet:?}");
    save(&bench.path("policy.json"), &document("two"));
    bench.sees("two").await;
}

#[tokio::test]
async fn the_old_policy_after_a_bad_document_is_unchanged() {
    let mut bench = Bench::new(one);
    bench.loads("one");
    save(&bench.path("policy.json"), "{");
    assert!(rejected(&bench.next().await));
    save(&bench.path("policy.json"), &document("one"));
    let sight = bench.next().await;
    assert!(matches!(sight, Sight::Unchanged), "{sight:?}");
}

#[tokio::test]
async fn a_bad_document_at_the_start_is_rejected() {
    let mut bench = Bench::new(|place| write(&place.join("policy.json"), "{"));
    assert!(rejected(&bench.watch.load()));
    save(&bench.path("policy.json"), &document("one"));
    bench.sees("one").await;
}

#[tokio::test]
async fn an_empty_file_is_rejected() {
    let mut bench = Bench::new(one);
    bench.loads("one");
    write(&bench.path("policy.json"), "");
    let sight = bench.next().await;
    assert!(rejected(&sight), "{sight:?}");
}

#[tokio::test]
async fn changes_with_one_and_the_same_time_and_length_are_all_seen() {
    for mut bench in [Bench::new(one), Bench::polling(one)] {
        bench.loads("one");
        for name in ["two", "six", "ten"] {
            let file = fs::File::create(bench.path("fresh")).expect("made");
            (&file)
                .write_all(document(name).as_bytes())
                .expect("written");
            file.set_modified(SystemTime::UNIX_EPOCH).expect("dated");
            fs::rename(bench.path("fresh"), bench.path("policy.json")).expect("renamed");
            bench.sees(name).await;
        }
    }
}

#[tokio::test]
async fn a_change_right_after_another_is_not_lost() {
    let mut bench = Bench::new(one);
    bench.loads("one");
    let path = bench.path("policy.json");
    for name in iter::repeat_n("two", 50).chain(["three"]) {
        write(&path, &document(name));
    }
    let sight = bench.next().await;
    if applied(&sight) != Some("three") {
        assert_eq!(applied(&sight), Some("two"));
        bench.sees("three").await;
    }
}

#[tokio::test]
async fn a_poke_is_always_answered() {
    let mut bench = Bench::new(one);
    bench.loads("one");
    bench.poke.poke();
    assert!(matches!(bench.next().await, Sight::Unchanged));

    save(&bench.path("policy.json"), "{");
    assert!(rejected(&bench.next().await));
    bench.poke.clone().poke();
    let sight = bench.next().await;
    assert!(rejected(&sight), "{sight:?}");

    fs::remove_file(bench.path("policy.json")).expect("removed");
    assert!(matches!(bench.next().await, Sight::Missing));
    bench.poke.poke();
    assert!(matches!(bench.next().await, Sight::Missing));
}

/// Who waits for his own poke is not told of a look that another's poke, or an event, has begun before it.
#[tokio::test]
async fn a_sight_tells_which_pokes_it_answers() {
    let mut bench = Bench::new(one);
    bench.loads("one");
    assert_eq!(bench.watch.answered(), 0);
    let first = bench.poke.poke();
    assert!(matches!(bench.next().await, Sight::Unchanged));
    assert_eq!(bench.watch.answered(), first);
    save(&bench.path("policy.json"), &document("two"));
    bench.sees("two").await;
    assert_eq!(bench.watch.answered(), first, "nobody asked for this");
    let (second, third) = (bench.poke.poke(), bench.poke.poke());
    assert!(matches!(bench.next().await, Sight::Unchanged));
    assert!(first < second && second < third);
    assert_eq!(bench.watch.answered(), third, "they share the answer");
}

#[tokio::test]
async fn a_poke_finds_what_no_event_told() {
    let mut bench = Bench::with(one, "policy.json", NEVER, Watch::polling);
    bench.loads("one");
    assert_eq!(bench.watch.health().method, Method::Poll);
    save(&bench.path("policy.json"), &document("two"));
    bench.poke.poke();
    bench.sees("two").await;
}

#[tokio::test]
async fn polls_alone_see_all() {
    let mut bench = Bench::polling(one);
    bench.loads("one");
    save(&bench.path("policy.json"), &document("two"));
    bench.sees("two").await;
    write(&bench.path("policy.json"), &document("three"));
    bench.sees("three").await;
    fs::remove_file(bench.path("policy.json")).expect("removed");
    assert!(matches!(bench.next().await, Sight::Missing));
    save(&bench.path("policy.json"), "");
    assert!(rejected(&bench.next().await));
    save(&bench.path("policy.json"), &document("four"));
    bench.sees("four").await;
}

#[tokio::test]
async fn a_future_that_is_dropped_loses_nothing() {
    let mut bench = Bench::with(one, "policy.json", OFTEN, Watch::open);
    bench.loads("one");
    save(&bench.path("policy.json"), &document("two"));
    for _ in 0..1000 {
        if let Ok(sight) = timeout(Duration::from_millis(1), bench.watch.next()).await {
            assert_eq!(applied(&sight), Some("two"), "{sight:?}");
            return;
        }
    }
    unreachable!("a thousand tries, and nothing told");
}

/// A process in a mount namespace of its own, where `policy.json` is a mount of the file `outside`.
fn mount_one_file(place: &Path) -> Option<std::process::Child> {
    let script = "mount --bind outside policy.json && echo mounted && read end";
    let mut child = Command::new("unshare")
        .args(["-m", "sh", "-c", script])
        .current_dir(place)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut line = String::new();
    let _ = BufReader::new(child.stdout.take()?).read_line(&mut line);
    if line == "mounted\n" {
        return Some(child);
    }
    let _ = child.wait();
    None
}

#[tokio::test]
#[expect(
    clippy::print_stderr,
    reason = "a test that cannot run here must not pass in silence"
)]
async fn a_file_replaced_under_its_mount_makes_the_watch_blind() {
    let place = tempfile::tempdir().expect("a directory");
    for name in ["outside", "policy.json"] {
        write(&place.path().join(name), &document("one"));
    }
    let Some(mut child) = mount_one_file(place.path()) else {
        eprintln!("SKIP: no mount namespace to be had here (root and unshare are needed)");
        return;
    };
    let inside = PathBuf::from(format!(
        "/proc/{}/root{}/policy.json",
        child.id(),
        place.path().display()
    ));
    let prepare = |_: &Path| ();
    let mut bench = Bench::with(prepare, &inside.display().to_string(), OFTEN, Watch::open);
    bench.loads("one");
    assert!(!bench.watch.health().blind);
    save(&place.path().join("outside"), &document("two"));
    let sight = bench.next().await;
    assert!(
        matches!(sight, Sight::Health(Health { blind: true, .. })),
        "{sight:?}"
    );
    assert!(bench.watch.health().blind);
    drop(child.stdin.take());
    child.wait().expect("it ends with its input");
}
