//! What the process is: sockets that are handed to it, the user it becomes, what the kernel keeps it from, its descriptors.
//!
//! What only root can try is skipped, aloud, where the tests are not root's, and
//! so is what a kernel without Landlock cannot show.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use namegate::wire::Type;
use serde_json::Value;
use socket2::{Domain, Socket};

use super::run::{Running, Upstream, as_nobody, eventually};
use super::{Room, said, skip};
use crate::support::{document, query};

/// What has not come by then never will.
const PATIENCE: Duration = Duration::from_secs(10);
/// Nobody's number, on any machine.
const STRANGER: u32 = 64123;
/// Gives standard input and output to the program as the descriptors 3 and 4, as systemd would.
const HAND_OVER: &str = "exec 3<&0 4<&1 </dev/null >/dev/null; \
    export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=dns:dns; exec \"$@\"";

/// Two sockets that are somebody else's, on one port.
struct Pair {
    udp: UdpSocket,
    tcp: TcpListener,
}

impl Pair {
    fn on(host: impl Into<std::net::IpAddr>) -> Self {
        let host = host.into();
        let both = || {
            let tcp = TcpListener::bind((host, 0)).ok()?;
            let udp = UdpSocket::bind(tcp.local_addr().ok()?).ok()?;
            Some(Self { udp, tcp })
        };
        let found = std::iter::repeat_with(both).take(20).flatten().next();
        found.expect("a port that is free over both")
    }

    fn port(&self) -> u16 {
        self.tcp.local_addr().expect("bound").port()
    }

    /// `run` on these, once it answers.
    fn serve(&self, room: &Room, upstream: &Upstream) -> Running {
        let (udp, tcp) = (self.udp.try_clone(), self.tcp.try_clone());
        let (udp, tcp) = (udp.expect("a copy").into(), tcp.expect("a copy").into());
        let mut command = handed(room, &upstream.url(), udp, tcp);
        Running::attend(command.spawn().expect("a shell"))
    }
}

/// `run` with two descriptors that are handed over, beside a listen address that it is not to have.
fn handed(room: &Room, upstream: &str, one: OwnedFd, other: OwnedFd) -> Command {
    let run = "run --listen 127.0.0.1:1 --metrics 127.0.0.1:0 --policy policy.json --upstream";
    let mut command = room.command("sh", &["-c", HAND_OVER, "sh"]);
    command.arg(env!("CARGO_BIN_EXE_namegate"));
    command.args(run.split(' ')).arg(upstream);
    command.stdin(one).stdout(other).stderr(Stdio::piped());
    command
}

/// What a start that is to fail says, and its exit code; one that does not fail is ended.
fn in_time(command: &mut Command) -> String {
    command.stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let until = Instant::now() + PATIENCE;
    while child.try_wait().expect("our child").is_none() && Instant::now() < until {
        thread::sleep(Duration::from_millis(10));
    }
    drop(child.kill());
    said(&child.wait_with_output().expect("our child"))
}

/// The first address in the answer, over UDP from a client that takes no reply but from where it asked.
fn ask(from: SocketAddr, server: SocketAddr) -> Option<[u8; 4]> {
    let socket = UdpSocket::bind(from).expect("a port");
    let patience = Some(PATIENCE);
    socket.set_read_timeout(patience).expect("a time-out");
    socket.connect(server).expect("loopback");
    let sent = socket.send(&query("github.com", Type::A, true));
    sent.expect("loopback");
    let mut reply = [0; 512];
    let length = socket.recv(&mut reply).expect("a reply");
    reply[..length]
        .windows(4)
        .find(|it| *it == [192, 0, 2, 7])?;
    Some([192, 0, 2, 7])
}

fn ask_at(server: impl Into<SocketAddr>) -> Option<[u8; 4]> {
    let server = server.into();
    let from: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    ask(from, server)
}

/// The code of the reply over TCP.
fn code_over_tcp(port: u16) -> u8 {
    use std::io::Read;
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
    let patience = Some(PATIENCE);
    stream.set_read_timeout(patience).expect("a time-out");
    let query = query("evil.example", Type::A, true);
    let length = u16::try_from(query.len()).expect("short").to_be_bytes();
    stream
        .write_all(&[&length[..], &query].concat())
        .expect("loopback");
    let mut head = [0; 6];
    stream.read_exact(&mut head).expect("a reply");
    head[5] & 0x0F
}

fn status(running: &Running) -> Value {
    let (code, page) = running.page("/status");
    assert_eq!(code, 200, "{page}");
    let (_, body) = page.split_once("\r\n\r\n").expect("a page has a head");
    let start = body.find('{').expect("a document");
    let end = body.rfind('}').expect("a document");
    serde_json::from_str(&body[start..=end]).expect("JSON")
}

#[test]
fn sockets_that_are_handed_over_are_served_and_outlive_us() {
    let room = Room::new();
    let upstream = Upstream::open(Duration::ZERO);
    let pair = Pair::on(Ipv4Addr::LOCALHOST);
    // The second has what the first leaves: sockets that still work, and what came meanwhile.
    for _ in 0..2 {
        let mut running = pair.serve(&room, &upstream);
        assert_eq!(running.address("listen").port(), pair.port());
        running.says("not on listen.addresses");
        assert!(ask_at((Ipv4Addr::LOCALHOST, pair.port())).is_some());
        assert_eq!(code_over_tcp(pair.port()), 3);
        let status = status(&running);
        assert_eq!(status["listen"][0], format!("127.0.0.1:{}", pair.port()));
        assert_eq!(status["listen_from"], "socket_activation");
        running.signal("TERM");
        assert_eq!(running.exit_code(), 0);
    }
    let early = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let patience = Some(PATIENCE);
    early.set_read_timeout(patience).expect("a time-out");
    let to = (Ipv4Addr::LOCALHOST, pair.port());
    let sent = early.send_to(&query("evil.example", Type::A, true), to);
    sent.expect("loopback");
    let _running = pair.serve(&room, &upstream);
    let mut reply = [0; 512];
    early.recv(&mut reply).expect("it waited in the socket");
}

#[test]
fn a_wildcard_that_is_handed_over_answers_from_where_it_was_asked() {
    let room = Room::new();
    let upstream = Upstream::open(Duration::ZERO);
    let pair = Pair::on(Ipv4Addr::UNSPECIFIED);
    let running = pair.serve(&room, &upstream);
    running.says("nobody outside may ask");
    for host in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 9, 8, 7)] {
        assert!(ask_at((host, pair.port())).is_some(), "{host}");
    }
}

#[test]
fn one_socket_for_both_families_serves_both() {
    if UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return skip("there is no IPv6 here");
    }
    let room = Room::new();
    let upstream = Upstream::open(Duration::ZERO);
    let pair = Pair::on(Ipv6Addr::UNSPECIFIED);
    let _running = pair.serve(&room, &upstream);
    assert!(ask_at((Ipv6Addr::LOCALHOST, pair.port())).is_some());
    assert!(ask_at((Ipv4Addr::new(127, 9, 8, 7), pair.port())).is_some());
}

#[test]
fn what_cannot_be_served_is_refused_with_its_number() {
    let room = Room::new();
    let pair = Pair::on(Ipv4Addr::LOCALHOST);
    let tcp = || OwnedFd::from(pair.tcp.try_clone().expect("a copy"));
    let refused = |one: OwnedFd, parts: &[&str]| {
        let told = in_time(&mut handed(&room, "udp://127.0.0.9", one, tcp()));
        for part in parts.iter().chain(&["--- exit 78"]) {
            assert!(told.contains(part), "no {part:?} in:\n{told}");
        }
    };
    let unix = UnixListener::bind(room.path("socket")).expect("bound");
    let mute = Socket::new(Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let at: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
    mute.bind(&at.into()).expect("a port");
    let loose = Socket::new(Domain::IPV4, socket2::Type::DGRAM, None).expect("a socket");
    let file = fs::File::open(room.path("policy.json")).expect("a file");
    refused(
        unix.into(),
        &["descriptor 3", "without an address", "ListenDatagram="],
    );
    refused(mute.into(), &["descriptor 3", "does not listen"]);
    refused(loose.into(), &["descriptor 3", "is not bound"]);
    refused(file.into(), &["descriptor 3", "is no socket"]);
    let half = format!("ListenDatagram=127.0.0.1:{}", pair.port());
    refused(tcp(), &["for one transport", &half]);
}

#[test]
fn sockets_for_somebody_else_are_let_alone() {
    let room = Room::new();
    let upstream = Upstream::open(Duration::ZERO);
    let running = Running::start_with(&room, &upstream, &[], |command| {
        command.env("LISTEN_PID", "1").env("LISTEN_FDS", "2");
    });
    assert_eq!(status(&running)["listen_from"], "addresses");
    let mut command = room.namegate(&["run", "--policy", "policy.json"]);
    let told = in_time(command.env("LISTEN_PID", "many"));
    assert!(
        told.contains("LISTEN_FDS") && told.contains("--- exit 78"),
        "{told}"
    );
}

/// A room in which a stranger may read, and write below `logs`, and a resolver that becomes him.
fn as_stranger(room: &Room, upstream: &Upstream) -> Option<Running> {
    if !nix::unistd::geteuid().is_root() {
        skip("only root can become somebody else");
        return None;
    }
    let logs = room.path("logs");
    fs::create_dir(&logs).expect("made");
    chown(&logs, Some(STRANGER), Some(STRANGER)).expect("root's to give");
    let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755));
    open(&room.path(".")).expect("ours");
    let log = format!("file:{}", logs.join("log").display());
    Some(Running::start_with(
        room,
        upstream,
        &["--log-queries", "all"],
        |command| {
            command
                .env("NAMEGATE_SANDBOX_USER", format!("{STRANGER}:64124"))
                .env("NAMEGATE_LOG_SINK", log)
                .env("NAMEGATE_BLOCKED_FILE", logs.join("blocked"))
                .env("NAMEGATE_ADMIN_SOCKET", logs.join("admin.sock"));
        },
    ))
}

/// The values of a field of /proc/PID/task/*/status, one of each.
fn of_each_thread(running: &Running, field: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", running.id())).expect("/proc");
    let texts = tasks
        .flatten()
        .map(|it| fs::read_to_string(it.path().join("status")));
    let of = |text: String| {
        let line = text
            .lines()
            .find_map(|it| it.strip_prefix(field).map(str::to_owned));
        line.expect("a field of the kernel's")
    };
    let mut values: Vec<String> = texts.flatten().map(of).collect();
    assert!(values.len() > 3, "it has threads");
    values.sort();
    values.dedup();
    values
}

#[test]
fn started_by_root_it_becomes_the_user_in_every_thread_and_for_good() {
    let room = Room::new();
    let upstream = Upstream::open(Duration::ZERO);
    let Some(running) = as_stranger(&room, &upstream) else {
        return;
    };
    assert_eq!(running.ask("github.com"), "192.0.2.7");
    let ids = |field| {
        let [all] = &of_each_thread(&running, field)[..] else {
            unreachable!("the threads differ in {field}");
        };
        let ids: Vec<String> = all.split_whitespace().map(str::to_owned).collect();
        ids.join(" ")
    };
    assert_eq!(ids("Uid:"), "64123 64123 64123 64123");
    assert_eq!(ids("Gid:"), "64124 64124 64124 64124");
    assert_eq!(ids("Groups:"), "");
    for set in ["CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(ids(set), "0000000000000000", "{set}");
    }
    assert_eq!(ids("NoNewPrivs:"), "1");
    assert_eq!(status(&running)["sandbox"]["user"], "64123:64124");
    running.says("from here on this is user 64123:64124");
}

#[test]
fn the_user_that_it_became_goes_on_with_everything() {
    let room = Room::new();
    let upstream = Upstream::open(Duration::ZERO);
    let Some(mut running) = as_stranger(&room, &upstream) else {
        return;
    };
    let (log, socket) = (room.path("logs/log"), room.path("logs/admin.sock"));
    let told = room.tell("status --socket logs/admin.sock");
    assert!(told.contains("process   user 64123:64124"), "{told}");

    running.ask("evil.example");
    eventually("the box is told", || {
        fs::read_to_string(room.path("logs/blocked")).is_ok_and(|it| it.contains("evil.example"))
    });
    fs::rename(&log, room.path("logs/old")).expect("root may");
    running.signal("HUP");
    eventually("the log is there again", || log.exists());
    for made in [&log, &socket, &room.path("logs/blocked")] {
        let made = fs::metadata(made).expect("it is there");
        assert_eq!((made.uid(), made.gid()), (STRANGER, 64124));
    }
    room.write("policy.json", &document(&["pypi.org"]));
    eventually("the new policy counts", || {
        running.ask("github.com") == "NXDOMAIN"
    });
    running.signal("TERM");
    assert_eq!(running.exit_code(), 0);
    assert!(!socket.exists());
}

#[test]
fn what_the_user_may_not_is_told_at_the_start() {
    let room = Room::new();
    let run =
        "run --policy policy.json --listen 127.0.0.1:0 --metrics off --upstream udp://127.0.0.9";
    let words: Vec<&str> = run.split(' ').collect();
    let told = |variables: &[(&str, &str)], command: Option<Command>| {
        Some(in_time(command?.envs(variables.iter().copied())))
    };
    let holds = |told: Option<String>, parts: &[&str]| match told {
        Some(told) => {
            let is_told = |part: &&str| told.contains(*part);
            assert!(parts.iter().all(is_told), "{parts:?}:\n{told}");
        }
        None => skip("it takes root, or setpriv to be somebody else"),
    };
    let user = ("NAMEGATE_SANDBOX_USER", "64123");
    holds(
        told(&[user], as_nobody(&room, &words)),
        &["only root may", "take sandbox.user out", "--- exit 78"],
    );
    let name = ("NAMEGATE_SANDBOX_USER", "nobody");
    holds(
        told(&[name], Some(room.namegate(&words))),
        &[
            "sandbox.user: \"nobody\" is not the number",
            "id -u",
            "--- exit 78",
        ],
    );
    if !nix::unistd::geteuid().is_root() {
        return skip("only root can become somebody else");
    }
    let as_root = || Some(room.namegate(&words));
    let mode = |mode| fs::set_permissions(room.path("."), fs::Permissions::from_mode(mode));
    mode(0o700).expect("ours");
    holds(
        told(&[user], as_root()),
        &[
            "cannot read the policy",
            "let this user read",
            "--- exit 77",
        ],
    );
    mode(0o755).expect("ours");
    let log = format!("file:{}", room.path("log").display());
    holds(
        told(&[user, ("NAMEGATE_LOG_SINK", &log)], as_root()),
        &[
            "cannot write the query log",
            "Permission denied",
            "--- exit 78",
        ],
    );
    let socket = room.path("admin.sock");
    let socket = socket.to_str().expect("UTF-8");
    holds(
        told(&[user, ("NAMEGATE_ADMIN_SOCKET", socket)], as_root()),
        &[
            "cannot serve the admin socket",
            "Permission denied",
            "--- exit 77",
        ],
    );
}

/// A resolver whose log is a link that then leads elsewhere: what becomes of the log there.
fn log_that_is_led_away(landlock: &str) -> (Room, Running) {
    let room = Room::new();
    let upstream = Upstream::open(Duration::ZERO);
    for directory in ["logs", "elsewhere"] {
        fs::create_dir(room.path(directory)).expect("made");
    }
    let log = room.path("logs/log");
    let running = Running::start_with(&room, &upstream, &[], |command| {
        command
            .env("NAMEGATE_SANDBOX_LANDLOCK", landlock)
            .env("NAMEGATE_LOG_SINK", format!("file:{}", log.display()));
    });
    fs::remove_file(&log).expect("it was made");
    symlink("../elsewhere/log", &log).expect("linked");
    running.signal("HUP");
    (room, running)
}

fn has_landlock(running: &Running) -> bool {
    let has = status(running)["sandbox"]["landlock_abi"].is_number();
    if !has {
        skip("this kernel has no Landlock");
    }
    has
}

#[test]
fn the_kernel_keeps_it_from_writing_elsewhere() {
    // What it would do, were it not kept.
    let (room, _running) = log_that_is_led_away("off");
    eventually("the log is made elsewhere", || {
        room.path("elsewhere/log").exists()
    });
    let (room, running) = log_that_is_led_away("best_effort");
    if has_landlock(&running) {
        running.says("cannot be opened anew");
        assert!(
            running.talk().contains("Permission denied"),
            "{}",
            running.talk()
        );
        assert!(!room.path("elsewhere/log").exists());
        assert_eq!(running.ask("evil.example"), "NXDOMAIN");
    }
}

#[test]
fn what_it_has_to_do_it_does_behind_landlock() {
    let room = Room::new();
    let upstream = Upstream::open(Duration::ZERO);
    // As Kubernetes mounts it: two links, of which the first is replaced.
    for (directory, names) in [("..one", "github.com"), ("..two", "pypi.org")] {
        fs::create_dir(room.path(directory)).expect("made");
        room.write(&format!("{directory}/policy.json"), &document(&[names]));
    }
    for directory in ["mount", "logs", "run"] {
        fs::create_dir(room.path(directory)).expect("made");
    }
    symlink("../..one", room.path("mount/..data")).expect("linked");
    symlink("..data/policy.json", room.path("mount/policy.json")).expect("linked");
    let log = room.path("logs/log");
    let args = ["--policy", "mount/policy.json", "--log-queries", "all"];
    let mut running = Running::start_with(&room, &upstream, &args, |command| {
        command
            .env("NAMEGATE_POLICY_POLL_EVERY", "1h")
            .env("NAMEGATE_LOG_SINK", format!("file:{}", log.display()))
            .env("NAMEGATE_BLOCKED_FILE", room.path("run/blocked"))
            .env("NAMEGATE_ADMIN_SOCKET", room.path("run/admin.sock"));
    });
    if !has_landlock(&running) {
        return;
    }
    assert_eq!(running.ask("github.com"), "192.0.2.7");

    symlink("../..two", room.path("mount/..fresh")).expect("linked");
    fs::rename(room.path("mount/..fresh"), room.path("mount/..data")).expect("swapped");
    eventually("the other directory counts", || {
        running.ask("github.com") == "NXDOMAIN"
    });
    room.write("..two/policy.json", &document(&["github.com"]));
    eventually("it is watched, too", || {
        running.ask("github.com") == "192.0.2.7"
    });
    fs::rename(&log, room.path("logs/old")).expect("renamed");
    running.signal("HUP");
    eventually("the log is there again", || log.exists());
    running.ask("evil.example");
    eventually("the box is told", || {
        fs::read_to_string(room.path("run/blocked")).is_ok_and(|it| it.contains("evil.example"))
    });
    running.signal("TERM");
    assert_eq!(running.exit_code(), 0);
    assert!(!room.path("run/admin.sock").exists());
}

/// The program where a system call always fails.
fn failing(room: &Room, call_and_error: &str, args: &[&str]) -> Option<Command> {
    let inject = format!("inject={call_and_error}");
    let program = env!("CARGO_BIN_EXE_namegate");
    // The program itself is our child, and strace its own: who ends the one ends the other.
    let filter = ["-D", "-f", "-qq", "-o", "/dev/null", "-e", &inject, program];
    let mut version = room.command("strace", &filter);
    let works = version.arg("--version").output();
    let Ok(true) = works.map(|it| it.status.success()) else {
        skip("strace is not here, or may not make a system call fail");
        return None;
    };
    let mut command = room.command("strace", &filter);
    command.args(args);
    Some(command)
}

#[test]
fn without_landlock_it_serves_unless_that_is_required() {
    let room = Room::new();
    let upstream = Upstream::open(Duration::ZERO);
    let url = upstream.url();
    let run = "run --policy policy.json --listen 127.0.0.1:0 --metrics 127.0.0.1:0 --upstream";
    let args: Vec<&str> = run.split(' ').chain([&*url]).collect();
    let absent = (
        "landlock_create_ruleset:error=ENOSYS",
        "has no Landlock",
        78,
    );
    let broken = (
        "landlock_restrict_self:error=EPERM",
        "cannot be confined",
        71,
    );
    for (failure, why, code) in [absent, broken] {
        let Some(mut command) = failing(&room, failure, &args) else {
            return;
        };
        let told = in_time(command.env("NAMEGATE_SANDBOX_LANDLOCK", "require"));
        for part in [why, "best_effort", &format!("--- exit {code}")] {
            assert!(told.contains(part), "no {part:?} in:\n{told}");
        }
        let command = failing(&room, failure, &args);
        let running = Running::of(command.expect("it was there"));
        assert_eq!(running.ask("github.com"), "192.0.2.7");
        assert_eq!(status(&running)["sandbox"]["landlock"], "unavailable");
        running.says("landlock=unavailable");
    }
}

#[test]
fn descriptors_are_raised_to_what_there_are_and_few_are_told() {
    let room = Room::new();
    let upstream = Upstream::open(Duration::ZERO);
    let url = upstream.url();
    let limited = |limits: &str| {
        let shell = format!("{limits}; exec \"$@\"");
        let mut command = room.command("sh", &["-c", &shell, "sh"]);
        command.arg(env!("CARGO_BIN_EXE_namegate"));
        command
            .args("run --policy policy.json --listen 127.0.0.1:0 --metrics 127.0.0.1:0".split(' '));
        command.args(["--upstream", &url]);
        Running::of(command)
    };
    let raised = limited("ulimit -Sn 100; ulimit -Hn 4200");
    assert_eq!(status(&raised)["descriptor_limit"], 4200);
    assert!(!raised.talk().contains("few descriptors"));
    let few = limited("ulimit -n 512");
    assert_eq!(status(&few)["descriptor_limit"], 512);
    few.says("few descriptors");
}
