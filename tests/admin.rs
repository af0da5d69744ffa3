//! The operator's door: the admin socket's pages over a socket in a folder of the test's, and the page for a browser.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use namegate::answer::{Desk, Outcome, Reason};
use namegate::config::{Config, Log, Queries};
use namegate::telemetry::http::admin::{self, Admin, Explained, Question};
use namegate::telemetry::http::{self, State};
use namegate::telemetry::{Done, Refused, Telemetry, Transport};
use namegate::wire::{Name, Rcode, Type};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// What has not come by then never will; a machine under load is slow.
const PATIENCE: Duration = Duration::from_secs(20);

/// A daemon of which only the telemetry is real.
struct Office(Arc<Telemetry>);

impl State for Office {
    fn live(&self) -> Result<Duration, String> {
        Ok(Duration::ZERO)
    }

    fn missing(&self) -> Vec<String> {
        Vec::new()
    }

    fn missing_upstreams(&self) -> Vec<String> {
        Vec::new()
    }

    fn status(&self) -> Value {
        let mut status = self.0.status();
        status["policy"] =
            json!({ "name": "<script>alert(1)</script>", "id": "\"'&\u{202e}", "generation": 3 });
        status
    }

    fn refused(&self, most: usize) -> Vec<Refused> {
        let mut refused = self.0.refused(most);
        for it in &mut refused {
            it.nearest = Some("<img src=x onerror=alert(1)>".to_owned());
        }
        refused
    }

    fn metrics(&self) -> String {
        String::new()
    }
}

impl Admin for Office {
    fn telemetry(&self) -> Arc<Telemetry> {
        self.0.clone()
    }

    fn contact(&self) -> &'static str {
        "#platform-net"
    }

    async fn explain(&self, question: Question) -> Result<Explained, String> {
        let text = format!("{question:?}");
        let json = json!({ "resolve": question.resolve });
        match question.name.as_str() {
            "bad" => Err("that is no name".to_owned()),
            _ => Ok(Explained { text, json }),
        }
    }

    async fn reload(&self) -> Result<Value, Value> {
        Err(json!({ "result": "rejected" }))
    }

    fn flush_cache(&self) -> usize {
        7
    }
}

/// The socket of an office that is open for as long as the test runs.
struct Open {
    dir: TempDir,
    telemetry: Arc<Telemetry>,
}

impl Open {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(dir.path().join("s")).expect("bound");
        let telemetry = Arc::new(quiet());
        let office = Arc::new(Office(telemetry.clone()));
        drop(tokio::spawn(admin::serve(listener, office)));
        Self { dir, telemetry }
    }

    async fn connect(&self, request: &str) -> UnixStream {
        let socket = UnixStream::connect(self.dir.path().join("s")).await;
        let mut socket = socket.expect("connected");
        let request = format!("{request} HTTP/1.1\r\nHost: namegate\r\n\r\n");
        socket.write_all(request.as_bytes()).await.expect("sent");
        socket
    }

    /// The status and the body of a page.
    async fn ask(&self, request: &str) -> (u16, String) {
        let mut page = String::new();
        let mut socket = self.connect(request).await;
        let read = tokio::time::timeout(PATIENCE, socket.read_to_string(&mut page));
        read.await.expect("in time").expect("a page");
        let (head, body) = page.split_once("\r\n\r\n").expect("a head");
        (head[9..12].parse().expect("a code"), body.to_owned())
    }
}

/// A telemetry that logs nothing.
fn quiet() -> Telemetry {
    let log = Log {
        queries: Queries::None,
        ..Config::default().log
    };
    Telemetry::open(&log).expect("no file is opened")
}

fn name(text: &str) -> Name {
    text.parse().expect(text)
}

fn block(telemetry: &Telemetry, name: &Name, reason: Reason) {
    telemetry.done(&Done {
        name: Some(name),
        kind: Type::A,
        transport: Transport::Udp,
        client: "10.0.3.7:41822".parse().expect("an address"),
        outcome: Outcome {
            desk: Desk::Blocked,
            reason,
            rcode: Some(Rcode::NXDOMAIN),
            ede: Some(15),
        },
        rule: None,
        generation: 1,
        began: Instant::now(),
        took: Duration::ZERO,
        ttl_s: Some(5),
    });
}

/// Holds a document against one part of the published schema.
#[track_caller]
pub(crate) fn hold_to_schema(part: &str, document: &Value) {
    let schema = include_str!("../docs/admin.schema.json");
    let schema: Value = serde_json::from_str(schema).expect("the schema is JSON");
    let part = json!({ "$ref": format!("#/$defs/{part}"), "$defs": schema["$defs"] });
    let part = jsonschema::validator_for(&part).expect("the schema is a schema");
    let faults: Vec<String> = part
        .iter_errors(document)
        .map(|it| it.to_string())
        .collect();
    assert!(faults.is_empty(), "{document:#}\n{faults:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn blocked_names_are_told_as_in_the_box_and_as_json() {
    let open = Open::new();
    block(&open.telemetry, &name("evil.example"), Reason::NotListed);
    let noise = name("github.com.corp.example");
    block(&open.telemetry, &noise, Reason::SearchSuffix);
    let (status, text) = open.ask("GET /v1/blocked?format=text").await;
    assert_eq!(status, 200);
    assert!(text.contains("ask #platform-net to allow it"), "{text}");
    assert!(text.contains("evil.example"), "{text}");
    assert!(
        text.contains("(1 lookup with a search list's ending"),
        "{text}"
    );
    let (_, all) = open.ask("GET /v1/blocked?format=text&all=1").await;
    assert!(
        all.contains("github.com.corp.example") && !all.contains("(1 lookup"),
        "{all}"
    );

    let (_, body) = open.ask("GET /v1/blocked").await;
    let blocked: Value = serde_json::from_str(&body).expect("JSON");
    hold_to_schema("blocked", &blocked);
    assert_eq!(blocked["names"][0]["name"], "evil.example");
    assert_eq!(blocked["search_suffix"]["lookups"], 1);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let (_, body) = open.ask("GET /v1/blocked?since=1ms").await;
    let none: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(none["names"], json!([]));

    let (_, body) = open.ask("GET /v1/trail").await;
    let trail: Value = serde_json::from_str(&body).expect("JSON");
    hold_to_schema("trail", &trail);
    assert_eq!(trail["names"].as_array().map(Vec::len), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_wrongly_is_told_so() {
    let open = Open::new();
    for (request, expected) in [
        ("GET /v1/explain", 400),
        ("GET /v1/explain?name=bad", 400),
        ("GET /v1/explain?name=a.example&resolve=yes", 400),
        ("GET /v1/explain?name=a.example&typ=A", 400),
        ("GET /v1/explain?name=%zz", 400),
        ("GET /v1/blocked?since=soon", 400),
        ("GET /v1/events?client=somebody", 400),
        ("GET /v1/nothing", 404),
        ("GET /metrics", 404),
        ("GET /v1/reload", 405),
        ("HEAD /v1/reload", 405),
        ("POST /v1/blocked", 405),
        ("DELETE /status", 405),
        ("POST /v1/reload?now=1", 400),
        ("POST /v1/reload", 422),
    ] {
        let (status, body) = open.ask(request).await;
        assert_eq!(status, expected, "{request}: {body}");
    }
    let (status, body) = open
        .ask("GET /v1/explain?name=a%2Fb&type=MX&resolve=1&format=text")
        .await;
    let question = r#"Question { name: "a/b", kind: "MX", resolve: true }"#;
    assert_eq!((status, body.as_str()), (200, question));
    let (status, body) = open.ask("POST /v1/cache/flush").await;
    hold_to_schema("flush", &serde_json::from_str(&body).expect("JSON"));
    assert_eq!(status, 200);
    assert_eq!(open.ask("GET /livez").await.0, 200);
    assert_eq!(open.ask("GET /readyz").await, (200, "[]\n".to_owned()));
    assert_eq!(open.ask("GET /status").await.0, 200);
}

/// The head of a stream, from which on nothing is missed.
async fn begun(socket: UnixStream) -> (String, BufReader<UnixStream>) {
    let mut lines = BufReader::new(socket);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let read = lines.read_line(&mut head).await.expect("a head");
        assert_ne!(read, 0, "it ends within its head: {head}");
    }
    (head, lines)
}

/// The lines of JSON that a stream sends, without the lengths of its chunks and what shows that it lives.
async fn event(lines: &mut BufReader<UnixStream>) -> io::Result<Value> {
    loop {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, lines.read_line(&mut line)).await;
        if read.expect("in time")? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.starts_with('{') {
            return Ok(serde_json::from_str(&line).expect("JSON"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_come_as_they_are_made_and_only_those_that_are_wanted() {
    let open = Open::new();
    let socket = open
        .connect("GET /v1/events?blocked=1&name=*.example")
        .await;
    let (head, mut lines) = begun(socket).await;
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    for (asked, reason) in [
        ("example", Reason::NotListed),
        ("a.example", Reason::Exact),
        ("b.example", Reason::SearchSuffix),
        ("c.example", Reason::NotListed),
    ] {
        block(&open.telemetry, &name(asked), reason);
    }
    let seen = event(&mut lines).await.expect("an event");
    assert_eq!(seen["name"], "c.example");
    let schema = include_str!("../docs/querylog.schema.json");
    let schema = serde_json::from_str(schema).expect("JSON");
    let schema = jsonschema::validator_for(&schema).expect("a schema");
    assert!(schema.is_valid(&seen), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_too_slowly_is_told_how_many_he_has_lost() {
    let open = Open::new();
    let (_, lines) = begun(open.connect("GET /v1/events").await).await;
    let evil = name("evil.example");
    const ASKED: u64 = 60_000;
    for _ in 0..ASKED / 100 {
        for _ in 0..100 {
            block(&open.telemetry, &evil, Reason::NotListed);
        }
        open.telemetry.catch_up();
    }
    let counted = count(lines, ASKED);
    let counted = tokio::time::timeout(PATIENCE, counted).await;
    let (shown, lost) = counted.expect("every decision is shown or told to be lost");
    assert!(shown > 0 && lost > 0, "{shown} shown, {lost} lost");
    assert_eq!(shown + lost, ASKED);
}

/// Reads until so many were shown or lost.
async fn count(mut lines: BufReader<UnixStream>, all: u64) -> (u64, u64) {
    let (mut shown, mut lost) = (0, 0);
    while shown + lost < all {
        let event = event(&mut lines).await.expect("an event");
        match event["event"].as_str() {
            Some("lost") => {
                hold_to_schema("lost", &event);
                lost += event["count"].as_u64().expect("a count");
            }
            _ => shown += 1,
        }
    }
    (shown, lost)
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_watch_are_few_and_make_room_when_they_go() {
    let open = Open::new();
    let mut watching = Vec::new();
    for _ in 0..8 {
        let mut socket = open.connect("GET /v1/events").await;
        let mut first = [0; 12];
        socket.read_exact(&mut first).await.expect("a head");
        assert_eq!(&first, b"HTTP/1.1 200");
        watching.push(socket);
    }
    assert_eq!(open.ask("GET /v1/events").await.0, 503);
    assert_eq!(open.ask("GET /status").await.0, 200, "others are served");
    drop(watching);
    let until = Instant::now() + PATIENCE;
    loop {
        let mut socket = open.connect("GET /v1/events").await;
        let mut first = [0; 12];
        socket.read_exact(&mut first).await.expect("a head");
        if &first == b"HTTP/1.1 200" {
            return;
        }
        assert!(Instant::now() < until, "nobody made room");
    }
}

/// The page for a browser, as it comes.
async fn home(telemetry: Arc<Telemetry>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let pages = tokio::spawn(http::serve(listener, Arc::new(Office(telemetry))));
    let mut socket = TcpStream::connect(address).await.expect("connected");
    let request = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    socket.write_all(request).await.expect("sent");
    let mut page = String::new();
    socket.read_to_string(&mut page).await.expect("a page");
    pages.abort();
    page
}

/// Every tag of a page, in order; what stands between is text.
fn tags(page: &str) -> Vec<&str> {
    let opened = page.split('<').skip(1);
    opened
        .map(|it| it.split('>').next().unwrap_or(it))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_runs_nothing_loads_nothing_and_writes_nothing() {
    let telemetry = Arc::new(quiet());
    let evil = name("\\060script\\062.example");
    block(&telemetry, &evil, Reason::BadLabel);
    let page = home(telemetry).await;
    let (head, body) = page.split_once("\r\n\r\n").expect("a head");
    for law in [
        "content-security-policy: default-src 'none'; style-src 'unsafe-inline'",
        "x-content-type-options: nosniff",
        "content-type: text/html; charset=utf-8",
        "cache-control: no-store",
    ] {
        assert!(head.contains(law), "no {law:?} in\n{head}");
    }
    let known = [
        "!doctype", "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "span",
        "dl", "dt", "dd", "strong", "code", "br", "table", "thead", "tbody", "tr", "th", "td",
    ];
    for tag in tags(body) {
        let word = tag.trim_start_matches('/').split([' ', '\n']).next();
        assert!(word.is_some_and(|it| known.contains(&it)), "<{tag}>");
        for attribute in [" on", " href", " src", " action", " style", "url("] {
            assert!(!tag.contains(attribute), "<{tag}>");
        }
    }
    for shown in [
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "&quot;&#39;&amp;\u{fffd}",
        "\\060script\\062.example",
        "&lt;img src=x onerror=alert(1)&gt;",
        "bad_label",
    ] {
        assert!(body.contains(shown), "no {shown:?} in\n{body}");
    }
    assert!(body.contains("prefers-color-scheme: dark"));
}

#[test]
fn nothing_on_the_page_is_fetched() {
    let style = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src/telemetry/http/home.css"),
    );
    let style = style.expect("the style");
    assert!(!style.contains("url(") && !style.contains("@import"));
}
