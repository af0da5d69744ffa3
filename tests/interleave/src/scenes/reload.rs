//! A reload is asked for while the policy file is written and others ask, too.
//!
//! In every schedule: whoever wrote the file and asked is told of a look that began after that: the policy in force is
//! his or a later one, or a later file was refused; nobody waits for ever, though there are no events and no polls; the
//! number of the policy rises by one with each that went live; and what is in force in the end is what was written last.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, NEVER};

use tokio::time::timeout;

use super::live::Grants;
use super::reload::{First, Reloads};
use super::road::Road;
use super::swap::document;
use super::waiting::Waiting;
use crate::answer::upstream::Upstreams;
use crate::answer::zone::Zones;
use crate::config::Config;
use crate::explore::{SOON, below};
use crate::telemetry::Telemetry;

/// The policy file and whoever follows it.
struct Office {
    file: PathBuf,
    written: AtomicUsize,
    road: Arc<Road>,
    waiting: Waiting,
    telemetry: Arc<Telemetry>,
}

impl Office {
    /// The office, and the task that follows the file.
    fn open() -> (Arc<Self>, tokio::task::JoinHandle<()>) {
        let thread = format!("{:?}", std::thread::real().id());
        let file = std::env::temp_dir().join(format!(
            "namegate-interleave-{}-{thread}.json",
            std::process::id()
        ));
        let mut config = Config::default();
        (config.policy.poll_every, config.policy.settle) = (NEVER, Duration::ZERO);
        config.policy.file = file.clone();
        fs::write(&file, document(&["v0.example"]).to_string()).expect("written");
        let grants = Grants::of(&config).expect("the patterns of the defaults are good");
        let telemetry = Arc::<Telemetry>::default();
        let first = First::read(&config).expect("a policy");
        let (reloads, live, waiting) =
            Reloads::open(first, &config, grants.clone(), telemetry.clone());
        let zones = Zones::parse(&[]).expect("there are none");
        let road = Road::new(
            &config,
            &grants,
            live,
            zones,
            Upstreams::default(),
            telemetry.clone(),
        );
        let road = Arc::new(road);
        let follows = tokio::spawn(reloads.follow(road.clone()));
        let office = Self {
            file,
            written: AtomicUsize::new(0),
            road,
            waiting,
            telemetry,
        };
        (Arc::new(office), follows)
    }

    /// Writes the next version, a policy or none, in one step. Returns its number.
    fn write(&self, is_good: bool) -> usize {
        let number = self.written.fetch_add(1, SeqCst) + 1;
        let good = document(&[&format!("v{number}.example")]).to_string();
        fs::write(&self.file, if is_good { &good } else { "{" }).expect("written");
        number
    }

    /// The version in force.
    fn in_force(&self) -> usize {
        let live = self.road.live();
        let newest = (0..20).find(|number| {
            let name = format!("v{number}.example").parse().expect("a name");
            matches!(live.rules.judge(&name), crate::matcher::Verdict::Allow(_))
        });
        newest.expect("one of them")
    }
}

/// Writes a good version, asks, and looks what is in force.
async fn write_and_ask(office: Arc<Office>) {
    let mine = office.write(true);
    let judged = office.waiting.ask().await;
    match judged {
        Ok(judged) => assert!(
            office.in_force() >= mine,
            "{judged}: {} is in force, {mine} was written",
            office.in_force()
        ),
        Err(judged) => {
            assert_eq!(judged["result"], "rejected");
            assert!(
                office.written.load(SeqCst) > mine,
                "what was refused came later"
            );
        }
    }
}

/// Writes what is no policy, asks, and hears so unless somebody wrote a good one since.
async fn spoil_and_ask(office: Arc<Office>) {
    let mine = office.write(false);
    match office.waiting.ask().await {
        Ok(judged) => assert!(
            office.in_force() > mine,
            "{judged}: the spoilt file was taken"
        ),
        Err(judged) => assert_eq!(judged["result"], "rejected"),
    }
}

/// Asks and goes.
async fn ask_in_haste(office: Arc<Office>) {
    drop(timeout(SOON, office.waiting.ask()).await);
}

fn play(spoilt: bool) {
    let (office, follows) = Office::open();
    let mut tasks = vec![
        tokio::spawn(write_and_ask(office.clone())),
        tokio::spawn(write_and_ask(office.clone())),
        tokio::spawn(ask_in_haste(office.clone())),
    ];
    if spoilt {
        tasks.push(tokio::spawn(spoil_and_ask(office.clone())));
    }
    if below(2) == 0 {
        office.waiting.poke();
    }
    for task in tasks {
        shuttle::future::block_on(task).expect("it ends");
    }
    let last = office.write(true);
    let judged = shuttle::future::block_on(office.waiting.ask());
    assert!(judged.is_ok());
    assert_eq!(office.in_force(), last);
    let generations = office.telemetry.generations();
    assert!(
        generations.iter().copied().eq(1..=generations.len() as u64),
        "{generations:?}"
    );
    drop(fs::remove_file(&office.file));
    follows.abort();
    drop(shuttle::future::block_on(follows));
}

/// Good versions.
pub fn each_is_told_of_a_look_after_his_poke() {
    play(false);
}

/// Good versions, and one that is refused.
pub fn a_file_that_is_refused_is_told_of_as_well() {
    play(true);
}
