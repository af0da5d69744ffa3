//! `run`: how it starts, why it does not, and what signals do.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use namegate::wire::{Message, Query, Rcode, Section, Type};
use serde_json::Value;

use super::{Room, hold, skip};
use crate::support::{document, query};

/// What has not come by then never will; a machine under load is slow.
const PATIENCE: Duration = Duration::from_secs(10);
const POLICY: &str = "policy.json";

/// Waits until it is so.
#[track_caller]
pub(super) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "not in time: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A resolver that says 192.0.2.7 to everything, after a while.
pub(super) struct Upstream {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Upstream {
    pub(super) fn open(delay: Duration) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("bound");
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        thread::spawn(move || {
            let mut datagram = [0; 4096];
            while let Ok((length, client)) = socket.recv_from(&mut datagram) {
                counter.fetch_add(1, SeqCst);
                let (socket, reply) = (socket.try_clone(), reply_to(&datagram[..length]));
                thread::spawn(move || {
                    thread::sleep(delay);
                    drop(socket.map(|it| it.send_to(&reply, client)));
                });
            }
        });
        Self { address, asked }
    }

    /// How many queries came to it.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }

    pub(super) fn url(&self) -> String {
        format!("udp://{}", self.address)
    }
}

fn reply_to(octets: &[u8]) -> Vec<u8> {
    let query = Query::read(octets).unwrap_or_else(|_| panic!("not a query"));
    let question = query.question();
    let header = [octets[0], octets[1], 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
    let answer = [0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7];
    [&header[..], question, &answer].concat()
}

/// A program that serves, and what it has said so far.
pub(super) struct Running {
    child: Child,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
}

impl Running {
    /// `run` with the room's policy on ports of the kernel's choice, once it answers.
    pub(super) fn start(room: &Room, upstream: &Upstream, args: &[&str]) -> Self {
        Self::start_with(room, upstream, args, |_| ())
    }

    pub(super) fn start_with(
        room: &Room,
        upstream: &Upstream,
        args: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        let url = upstream.url();
        let mut all = vec!["run", "--listen", "127.0.0.1:0", "--upstream", &url];
        all.extend(["--metrics", "127.0.0.1:0", "--zones", "zones"]);
        if !args.contains(&"--policy") {
            all.extend(["--policy", POLICY]);
        }
        all.extend(args);
        let mut command = room.namegate(&all);
        prepare(&mut command);
        Self::of(command)
    }

    pub(super) fn of(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::attend(command.spawn().expect("the program starts"))
    }

    /// A program that was started, once it answers; its stderr is piped, and its stdout may be.
    pub(super) fn attend(mut child: Child) -> Self {
        let running = Self {
            stdout: child.stdout.take().map(gather).unwrap_or_default(),
            stderr: gather(child.stderr.take().expect("piped")),
            child,
        };
        running.says("answers");
        running
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn talk(&self) -> String {
        self.stderr.lock().expect("nobody panics").clone()
    }

    fn data(&self) -> String {
        self.stdout.lock().expect("nobody panics").clone()
    }

    /// Waits for words on stderr.
    #[track_caller]
    pub(super) fn says(&self, words: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.talk().contains(words) {
            assert!(Instant::now() < until, "no {words:?} in:\n{}", self.talk());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The address behind a word of the first line.
    pub(super) fn address(&self, word: &str) -> SocketAddr {
        let talk = self.talk();
        let (_, rest) = talk
            .split_once(&format!("{word}="))
            .expect("an address is told");
        let end = rest.find([' ', '\n']).unwrap_or(rest.len());
        rest[..end].trim_matches('"').parse().expect("an address")
    }

    /// A, as this resolver has it.
    pub(super) fn ask(&self, name: &str) -> String {
        self.send(name).answer()
    }

    fn send(&self, name: &str) -> Asked {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        socket.connect(self.address("listen")).expect("loopback");
        socket.send(&query(name, Type::A, true)).expect("loopback");
        Asked(socket)
    }

    /// The status code of a page, and the page.
    pub(super) fn page(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address("metrics")).expect("the pages' port");
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("loopback");
        let mut page = String::new();
        stream.read_to_string(&mut page).expect("a page");
        (page[9..12].parse().expect("a status code"), page)
    }

    /// The query log on stdout.
    pub(super) fn records(&self) -> Vec<Value> {
        let data = self.data();
        let lines = data.lines();
        lines
            .map(|line| serde_json::from_str(line).expect(line))
            .collect()
    }

    pub(super) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        let sent = Command::new("sh")
            .args(["-c", &kill])
            .status()
            .expect("a shell");
        assert!(sent.success());
    }

    /// Waits for its end.
    pub(super) fn exit_code(&mut self) -> i32 {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status.code().expect("it ends by itself");
            }
            assert!(Instant::now() < until, "it does not end:\n{}", self.talk());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn gather(stream: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let gathered = Arc::new(Mutex::new(String::new()));
    let all = gathered.clone();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            *all.lock().expect("nobody panics") += &format!("{line}\n");
        }
    });
    gathered
}

/// A query on its way.
struct Asked(UdpSocket);

impl Asked {
    /// The first address, or the code.
    fn answer(&self) -> String {
        let mut datagram = [0; 4096];
        let length = self.0.recv(&mut datagram).expect("a reply");
        let message = Message::read(&datagram[..length]).expect("well-formed");
        let mut records = message.records(Section::Answer);
        match (message.rcode(), records.next().map(|it| it.data().to_vec())) {
            (Rcode::NOERROR, Some(data)) => {
                data.iter().map(u8::to_string).collect::<Vec<_>>().join(".")
            }
            (Rcode::NOERROR, None) => "NODATA".to_owned(),
            (rcode, _) => rcode.to_string(),
        }
    }
}

#[test]
fn a_policy_that_is_missing_or_refused_ends_it() {
    let room = Room::new();
    let upstream = "--upstream udp://127.0.0.9 --listen 127.0.0.1:0 --metrics off";
    room.write("refused.json", &document(&["10.0.0.1"]));
    fs::create_dir(room.path("zones")).expect("a directory");
    room.write("zones/corp.zone", "@ NS ns\n");
    hold(
        "run_refused",
        &[
            room.tell(&format!("run --policy nope.json {upstream}")),
            room.tell(&format!("run --policy refused.json {upstream}")),
            room.tell(&format!(
                "run --policy policy.json --zones zones {upstream}"
            )),
            room.tell(&format!(
                "run --policy policy.json {upstream} --log-queries some"
            )),
        ]
        .join("\n"),
    );
}

#[test]
fn a_missing_policy_is_waited_for_when_the_configuration_says_so() {
    let room = Room::new();
    room.write(
        "config.toml",
        "[policy]\non_missing = \"deny_all\"\npoll_every = \"100ms\"\n",
    );
    let upstream = Upstream::open(Duration::ZERO);
    let args = ["--config", "config.toml", "--policy", "later.json"];
    let running = Running::start(&room, &upstream, &args);

    assert_eq!(running.ask("github.com"), "NXDOMAIN");
    let (status, page) = running.page("/readyz");
    assert_eq!(status, 503, "{page}");
    assert!(page.contains("a valid policy"), "{page}");

    room.write("later.json", &document(&["github.com"]));
    eventually("/readyz is 200", || running.page("/readyz").0 == 200);
    assert_eq!(running.ask("github.com"), "192.0.2.7");
}

#[test]
fn a_port_that_is_taken_ends_it_with_the_owner_and_three_remedies() {
    let room = Room::new();
    // One whose number nobody has over TCP, where it is tried first: a connection of somebody else's has no owner to be seen.
    let over_udp = || {
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let is_free = TcpListener::bind(udp.local_addr().expect("bound")).is_ok();
        is_free.then_some(udp)
    };
    let udp = std::iter::repeat_with(over_udp).take(20).flatten().next();
    let udp = udp.expect("a port that is free over TCP");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let pages = TcpListener::bind("127.0.0.1:0").expect("a port");
    let start = "run --policy policy.json --upstream udp://127.0.0.9";
    let at = |address: std::io::Result<SocketAddr>| address.expect("bound").to_string();
    let on_udp = room.tell(&format!(
        "{start} --metrics off --listen {}",
        at(udp.local_addr())
    ));
    let on_tcp = room.tell(&format!(
        "{start} --metrics off --listen {}",
        at(tcp.local_addr())
    ));
    let on_pages = room.tell(&format!(
        "{start} --listen 127.0.0.1:0 --metrics {}",
        at(pages.local_addr())
    ));
    hold("run_taken", &[on_udp, on_tcp, on_pages].join("\n"));
}

#[test]
fn the_owner_of_a_port_is_named_with_its_id() {
    let room = Room::new();
    // Over both transports, so that no connection of somebody else's is what stands in the way.
    let both = || {
        let over_tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = over_tcp.local_addr().expect("bound");
        Some((address, over_tcp, UdpSocket::bind(address).ok()?))
    };
    let held = std::iter::repeat_with(both).take(20).flatten().next();
    let (address, _over_tcp, _over_udp) = held.expect("a port that is free over both");
    let address = address.to_string();
    let args = [
        "run",
        "--policy",
        POLICY,
        "--upstream",
        "udp://127.0.0.9",
        "--metrics",
        "off",
    ];
    let output = room
        .namegate(&args)
        .args(["--listen", &address])
        .output()
        .expect("it starts");
    let us = format!(
        "it is held by {} (pid {})",
        super::program(),
        std::process::id()
    );
    let talk = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(talk.contains(&us), "{talk}");
}

/// The program as somebody who is not root; none where that cannot be had.
pub(super) fn as_nobody(room: &Room, args: &[&str]) -> Option<Command> {
    if !nix::unistd::geteuid().is_root() {
        return Some(room.namegate(args));
    }
    let nobody = [
        "--reuid",
        "65534",
        "--clear-groups",
        env!("CARGO_BIN_EXE_namegate"),
    ];
    let mut version = room.command("setpriv", &nobody);
    let runs = version
        .arg("--version")
        .output()
        .is_ok_and(|it| it.status.success());
    runs.then(|| {
        let mut command = room.command("setpriv", &nobody);
        command.args(args);
        command
    })
}

#[test]
fn a_port_that_only_root_may_have_ends_it_with_77() {
    let lowest = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    if lowest.is_ok_and(|it| it.trim().parse().is_ok_and(|port: u16| port <= 53)) {
        return skip("port 53 is anybody's here");
    }
    let room = Room::new();
    let args =
        "run --policy policy.json --upstream udp://127.0.0.9 --metrics off --listen 127.99.0.1:53";
    let words: Vec<&str> = args.split(' ').collect();
    match as_nobody(&room, &words) {
        Some(mut command) => hold("run_privileged", &room.told(args, &mut command)),
        None => skip("setpriv is not here, or nobody may not run the program"),
    }
}

#[test]
fn a_policy_that_may_not_be_read_ends_it_with_77() {
    let room = Room::new();
    fs::set_permissions(room.path(POLICY), fs::Permissions::from_mode(0o000)).expect("our file");
    match as_nobody(&room, &["check", "--policy", POLICY]) {
        Some(mut command) => hold(
            "check_forbidden",
            &room.told("check --policy policy.json", &mut command),
        ),
        None => skip("setpriv is not here, or nobody may not run the program"),
    }
}

#[test]
fn an_upstream_that_is_ourselves_ends_it() {
    let room = Room::new();
    let start = "run --policy policy.json --metrics off --listen 127.0.0.1:1153";
    let by_flag = room.tell(&format!("{start} --upstream udp://127.0.0.1:1153"));
    hold("run_loop", &by_flag);
}

/// What `run` says with another resolv.conf, in a mount namespace of its own.
fn with_resolv_conf(room: &Room, text: &str) -> Option<String> {
    room.write("resolv.conf", text);
    // The other places where resolvers may be named lie below /run.
    let mounts =
        "mount --bind resolv.conf /etc/resolv.conf && mount -t tmpfs none /run && exec \"$@\"";
    let run = |args: &str| {
        let mut command = room.command("unshare", &["-m", "sh", "-c", mounts, "sh"]);
        command
            .arg(env!("CARGO_BIN_EXE_namegate"))
            .args(args.split(' '));
        room.told(args, &mut command)
    };
    let is_possible = nix::unistd::geteuid().is_root() && run("--version").ends_with("exit 0\n");
    is_possible.then(|| run("run --policy policy.json --metrics off --listen 127.99.0.2:53"))
}

#[test]
fn a_resolv_conf_that_names_us_or_nobody_ends_it() {
    let room = Room::new();
    let naming_us = with_resolv_conf(&room, "nameserver 127.99.0.2\n");
    let naming_nobody = with_resolv_conf(&room, "options edns0\n");
    match naming_us.zip(naming_nobody) {
        Some((us, nobody)) => hold("run_resolv_conf", &[us, nobody].join("\n")),
        None => skip("no mount namespace can be had (root alone may make one)"),
    }
}

#[test]
fn variables_say_what_flags_say() {
    let room = Room::new();
    let upstream = Upstream::open(Duration::ZERO);
    let mut command = room.namegate(&["run"]);
    command
        .env("NAMEGATE_POLICY_FILE", POLICY)
        .env("NAMEGATE_LISTEN", "127.0.0.1:0")
        .env("NAMEGATE_UPSTREAM", upstream.url())
        .env("NAMEGATE_METRICS", "off")
        .env("NAMEGATE_LOG_QUERIES", "none");
    let running = Running::of(command);
    assert_eq!(running.ask("github.com"), "192.0.2.7");
    assert_eq!(running.ask("evil.example"), "NXDOMAIN");
    assert_eq!(running.data(), "", "no query log");
    assert!(!running.talk().contains("metrics="), "{}", running.talk());
}

#[test]
fn all_queries_are_logged_on_stdout_as_json_lines() {
    let room = Room::new();
    let upstream = Upstream::open(Duration::ZERO);
    let mut running = Running::start(&room, &upstream, &["--log-queries", "all"]);
    running.ask("github.com");
    running.ask("evil.example");
    running.signal("TERM");
    assert_eq!(running.exit_code(), 0);
    eventually("the last line is read", || {
        running.data().contains("\"stop\"")
    });

    let records = running.records();
    let events: Vec<&str> = records
        .iter()
        .filter_map(|it| it["event"].as_str())
        .collect();
    assert_eq!(
        events,
        ["start", "policy.reload", "dns.query", "dns.query", "stop"]
    );
    let query = |record: &Value| {
        (
            record["name"].clone(),
            record["verdict"].clone(),
            record["v"].clone(),
        )
    };
    assert_eq!(
        query(&records[2]),
        ("github.com".into(), "allowed".into(), 1.into())
    );
    assert_eq!(
        query(&records[3]),
        ("evil.example".into(), "blocked".into(), 1.into())
    );
}

#[test]
fn a_hangup_reads_policy_and_zones_and_opens_the_log_anew() {
    let room = Room::new();
    fs::create_dir(room.path("zones")).expect("a directory");
    // Nothing is looked at by itself within this test, but for what the kernel tells of the policy.
    let log = room.path("queries.jsonl");
    let config = format!(
        "[policy]\npoll_every = \"1h\"\n[log]\nqueries = \"all\"\nsink = \"file:{}\"\n",
        log.display()
    );
    room.write("config.toml", &config);
    let upstream = Upstream::open(Duration::ZERO);
    let running = Running::start(&room, &upstream, &["--config", "config.toml"]);
    let logged = |name: &str| fs::read_to_string(&log).is_ok_and(|it| it.contains(name));
    assert_eq!(running.ask("a.corp.example"), "NXDOMAIN");
    eventually("the first query is logged", || logged("a.corp.example"));

    let zone = "$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 192.0.2.1\na A 192.0.2.2\n";
    room.write("zones/corp.example.zone", zone);
    fs::rename(&log, room.path("queries.old")).expect("the log");
    running.signal("HUP");
    running.says("the policy is unchanged");
    eventually("the zone is served", || {
        running.ask("a.corp.example") == "192.0.2.2"
    });
    eventually("the log is there again", || log.exists());
    assert_eq!(running.ask("github.com"), "192.0.2.7");
    eventually("a query is logged in the new file", || logged("github.com"));

    room.write(POLICY, &document(&["pypi.org"]));
    running.signal("HUP");
    eventually("the new policy counts", || {
        running.ask("github.com") == "NXDOMAIN"
    });
}

#[test]
fn a_bad_policy_changes_nothing_and_is_told_once() {
    let room = Room::new();
    let upstream = Upstream::open(Duration::ZERO);
    let running = Running::start(&room, &upstream, &[]);
    room.write(POLICY, &document(&["10.0.0.1"]));
    running.signal("HUP");
    running.says("the policy file is refused");
    assert_eq!(running.ask("github.com"), "192.0.2.7");
    assert_eq!(
        running.talk().matches("NP013").count(),
        1,
        "{}",
        running.talk()
    );
}

/// SPEC 10.4: whatever is wrong with it.
#[test]
fn a_bad_policy_opens_nothing() {
    let room = Room::new();
    let upstream = Upstream::open(Duration::ZERO);
    let running = Running::start(&room, &upstream, &[]);
    let open = document(&["evil.example"]);
    let bad = [
        open.replacen("\"evil.example\"", "\"evil.example\", \"*\"", 1),
        open.replacen("\"allow_all\":false", "\"allow_all\":\"true\"", 1),
        open.replacen("\"id\"", "\"ids\"", 1),
        open.replacen("\"name\"", "\"more\":1,\"name\"", 1),
        format!("[{open}]"),
        open[..open.len() / 2].to_owned(),
        String::new(),
    ];
    for (refused, document) in (1..).zip(&bad) {
        room.write(POLICY, document);
        running.signal("HUP");
        let told = || running.talk().matches("the policy file is refused").count();
        eventually("it is refused", || told() == refused);
        assert_eq!(running.ask("evil.example"), "NXDOMAIN", "{document}");
        assert_eq!(running.ask("github.com"), "192.0.2.7", "{document}");
    }
    assert_eq!(upstream.asked(), 1, "for what was allowed");
}

#[test]
fn a_query_on_its_way_is_answered_before_the_end() {
    let room = Room::new();
    let upstream = Upstream::open(Duration::from_millis(300));
    let mut running = Running::start(&room, &upstream, &[]);
    let asked = running.send("github.com");
    eventually("the upstream is asked", || upstream.asked.load(SeqCst) > 0);
    let told = Instant::now();
    running.signal("TERM");
    assert_eq!(asked.answer(), "192.0.2.7");
    assert_eq!(running.exit_code(), 0);
    assert!(
        told.elapsed() < Duration::from_secs(3),
        "it drains for 2 s at most"
    );
}

#[test]
fn a_second_interrupt_does_not_wait() {
    let room = Room::new();
    let upstream = Upstream::open(Duration::from_secs(30));
    let mut running = Running::start(&room, &upstream, &[]);
    let _asked = running.send("github.com");
    eventually("the upstream is asked", || upstream.asked.load(SeqCst) > 0);
    running.signal("INT");
    running.says("stopping");
    let told = Instant::now();
    running.signal("INT");
    assert_eq!(running.exit_code(), 0);
    assert!(
        told.elapsed() < Duration::from_secs(1),
        "it was asked twice: {:?}",
        told.elapsed()
    );
}
