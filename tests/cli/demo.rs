//! `demo`, the first thing that anybody tries.

use std::net::TcpListener;
use std::time::Duration;

use super::{Room, hold, numberless, said};

/// The ports that the demo would like.
const WANTED: [&str; 2] = ["127.0.0.1:1053", "127.0.0.1:9953"];

/// Holds a port; if somebody else does, that will do.
fn take(address: &str) -> Option<TcpListener> {
    for _ in 0..50 {
        if let Ok(listener) = TcpListener::bind(address) {
            return Some(listener);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}

/// One test, for the demos would take each other's ports.
#[test]
fn the_demo_shows_the_right_answers_and_other_ports_will_do() {
    let room = Room::new();
    let mut output = room
        .namegate(&["demo", "--once"])
        .output()
        .expect("the program starts");
    // Whether the ports are free is not for us to say; what it shows is the same.
    output.stderr.clear();
    let shown = numberless(&room.steady(&said(&output)), "127.0.0.1:", 1);
    hold("demo", &shown);

    let _held = WANTED.map(take);
    let output = room
        .namegate(&["demo", "--once"])
        .output()
        .expect("the program starts");
    let (shown, talk) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{shown}{talk}");
    for address in WANTED {
        assert!(!shown.contains(address), "{shown}");
        assert!(talk.contains(address), "{talk}");
    }
    assert_eq!(
        talk.matches("; another port will do\n").count(),
        2,
        "{talk}"
    );

    let left: Vec<_> = std::fs::read_dir(room.0.path())
        .expect("our directory")
        .flatten()
        .collect();
    assert_eq!(left.len(), 1, "only our policy is left: {left:?}");
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}
