//! What systemd is told, as it would hear it.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use super::Room;
use super::run::{Running, Upstream};
use crate::support::document;

/// What the program says, until it says `wanted`; that is in the last line.
#[track_caller]
pub(super) fn hear(socket: &UnixDatagram, wanted: &str) -> String {
    let until = Instant::now() + Duration::from_secs(10);
    let mut heard = Vec::new();
    let mut datagram = [0; 4096];
    while Instant::now() < until {
        let Ok(length) = socket.recv(&mut datagram) else {
            continue;
        };
        let said = String::from_utf8_lossy(&datagram[..length]).into_owned();
        if said.contains(wanted) {
            return said;
        }
        heard.push(said);
    }
    panic!("{wanted:?} was not said, but {heard:?}");
}

/// Where a supervisor of this room listens.
pub(super) fn supervisor(room: &Room) -> UnixDatagram {
    let socket = UnixDatagram::bind(room.path("notify")).expect("a socket");
    socket
        .set_read_timeout(Some(Duration::from_millis(100)))
        .expect("a time-out");
    socket
}

#[test]
fn the_supervisor_is_told_each_step() {
    let room = Room::new();
    let socket = supervisor(&room);
    let upstream = Upstream::open(Duration::ZERO);
    let mut running = Running::start_with(&room, &upstream, &[], |command| {
        command.env("NOTIFY_SOCKET", room.path("notify"));
        command.env("WATCHDOG_USEC", "3000000");
    });

    let ready = hear(&socket, "READY=1\n");
    assert!(
        ready.contains("STATUS=policy test gen 1, 2 names"),
        "{ready}"
    );
    hear(&socket, "WATCHDOG=1");

    room.write("policy.json", &document(&["github.com"]));
    let reloading = hear(&socket, "RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    let ready = hear(&socket, "READY=1\n");
    assert!(
        ready.contains("STATUS=policy test gen 2, 1 name"),
        "{ready}"
    );

    room.write("policy.json", &document(&["10.0.0.1"]));
    let refused = hear(&socket, "the policy file is refused: line ");
    assert!(
        refused.starts_with("STATUS=policy test gen 2, 1 name; ") && refused.contains("NP013"),
        "{refused}"
    );
    room.write("policy.json", &document(&["github.com"]));
    hear(&socket, "STATUS=policy test gen 2, 1 name\n");

    running.signal("TERM");
    hear(&socket, "STOPPING=1");
    assert_eq!(running.exit_code(), 0);
}

#[test]
fn the_supervisor_is_told_that_there_is_no_policy() {
    let room = Room::new();
    let socket = supervisor(&room);
    let upstream = Upstream::open(Duration::ZERO);
    let _running = Running::start_with(&room, &upstream, &["--policy", "none.json"], |command| {
        command.env("NOTIFY_SOCKET", room.path("notify"));
        command.env("NAMEGATE_POLICY_ON_MISSING", "deny_all");
    });
    let ready = hear(&socket, "READY=1\n");
    assert!(
        ready.contains("STATUS=no valid policy yet, every name is denied"),
        "{ready}"
    );
}
