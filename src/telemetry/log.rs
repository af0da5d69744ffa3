//! The daemon's own log, on standard error: text for a person, a line for a
//! collector, or JSON.
//!
//! Every record is one line, whatever stands in its fields. The names and
//! addresses of clients have no place here above debug. Nobody who has
//! something to say waits for a reader that is stuck: what he does not take is
//! lost, and how much that was is the first thing that he reads afterwards.

use std::fmt::{self, Write as _};
use std::fs;
use std::io::{self, IsTerminal};
use std::os::unix::fs::MetadataExt;
use std::sync::Mutex;
use std::time::SystemTime;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;

use super::reloads::rfc3339;
use super::stream::Stream;
use crate::config::{Log, LogFormat};

/// They call normal what is worth a line of ours only when it goes wrong.
const QUIET: [&str; 3] = ["hickory_proto", "hickory_resolver", "hickory_server"];

/// Installs the log for the whole program. The first call counts.
pub fn install(log: &Log) {
    // The configuration was checked; a level it does not know can only come from a caller of the library.
    let level = log.level.parse().unwrap_or(LevelFilter::INFO);
    let quiet = QUIET.map(|target| (target, level.min(LevelFilter::WARN)));
    let look = Look::of(log.format);
    // Standard error that is closed has nobody to tell.
    let Ok(stream) = Stream::of(&io::stderr()) else {
        return;
    };
    let lines = tracing_subscriber::fmt::layer()
        .event_format(look)
        .with_ansi(look == Look::Terminal && wants_colour())
        .with_writer(Mutex::new(Lines::new(stream, look)))
        .with_filter(Targets::new().with_default(level).with_targets(quiet));
    drop(tracing_subscriber::registry().with(lines).try_init());
}

/// Lines on their way to a reader.
struct Lines {
    stream: Stream,
    look: Look,
    /// Lines that were not taken, or not to their end.
    lost: u64,
    /// What was taken last ended within a line.
    is_torn: bool,
}

impl Lines {
    fn new(stream: Stream, look: Look) -> Self {
        Self {
            stream,
            look,
            lost: 0,
            is_torn: false,
        }
    }

    /// Ends a line that was cut off, and says what is missing.
    fn make_good(&mut self) -> io::Result<()> {
        if self.lost == 0 {
            return Ok(());
        }
        let mut text = String::from(if self.is_torn { "\n" } else { "" });
        let note = Fields {
            message: "lines of this log are lost: nobody has read it".to_owned(),
            others: Map::from_iter([("lines".to_owned(), self.lost.into())]),
        };
        let mut out = Writer::new(&mut text);
        let written = self.look.line(&mut out, Level::WARN, note);
        written.expect("a String takes everything");
        self.put(text.as_bytes())?;
        self.lost = 0;
        Ok(())
    }

    fn put(&mut self, mut octets: &[u8]) -> io::Result<()> {
        while !octets.is_empty() {
            match self.stream.write(octets) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    self.is_torn = octets[taken - 1] != b'\n';
                    octets = &octets[taken..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A record is written with one call, and is taken or lost.
impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.make_good().and_then(|()| self.put(line)).is_err() {
            self.lost += 1;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// <https://no-color.org>
fn wants_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty())
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Terminal,
    Logfmt,
    Journal,
    Json,
}

impl Look {
    fn of(format: LogFormat) -> Self {
        match format {
            LogFormat::Json => Self::Json,
            LogFormat::Auto if is_journal() => Self::Journal,
            LogFormat::Auto | LogFormat::Text if io::stderr().is_terminal() => Self::Terminal,
            LogFormat::Auto | LogFormat::Text => Self::Logfmt,
        }
    }
}

/// Is standard error the stream that systemd connected to its journal? (systemd.exec, `JOURNAL_STREAM`)
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    fs::metadata("/dev/stderr").is_ok_and(|it| stream == format!("{}:{}", it.dev(), it.ino()))
}

impl<S, N> FormatEvent<S, N> for Look
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.line(&mut out, *event.metadata().level(), fields)
    }
}

impl Look {
    fn line(self, out: &mut Writer<'_>, level: Level, fields: Fields) -> fmt::Result {
        let now = rfc3339(SystemTime::now());
        match self {
            Self::Json => return writeln!(out, "{}", fields.json(level, &now)),
            Self::Journal => write!(out, "<{}>{}", priority(level), Plain(&fields.message))?,
            Self::Logfmt => write!(
                out,
                "time={now} level={} msg={:?}",
                word(level),
                fields.message
            )?,
            Self::Terminal => {
                let (start, end) = colour(level, out.has_ansi_escapes());
                write!(
                    out,
                    "{now} {start}{level:5}{end} {}",
                    Plain(&fields.message)
                )?;
            }
        }
        fields.pairs(out)?;
        writeln!(out)
    }
}

/// What an event carries.
#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => drop(self.others.insert(name.to_owned(), value)),
        }
    }

    fn json(mut self, level: Level, now: &str) -> Value {
        self.others.insert("time".to_owned(), now.into());
        self.others.insert("level".to_owned(), word(level).into());
        self.others.insert("msg".to_owned(), self.message.into());
        Value::Object(self.others)
    }

    fn pairs(&self, out: &mut Writer<'_>) -> fmt::Result {
        for (name, value) in &self.others {
            match value.as_str() {
                Some(text) if text.is_empty() || !text.chars().all(is_bare) => {
                    write!(out, " {name}={text:?}")?;
                }
                Some(text) => write!(out, " {name}={text}")?,
                None => write!(out, " {name}={value}")?,
            }
        }
        Ok(())
    }
}

/// May it stand in a value without quotes?
fn is_bare(c: char) -> bool {
    c.is_ascii_graphic() && !matches!(c, '"' | '=' | '\\')
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

/// A text whose control characters can do nothing.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c.is_control() {
                true => write!(f, "{}", c.escape_default())?,
                false => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// The priorities of syslog (RFC 5424 §6.2.1), as sd-daemon reads them.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// The escape sequences around a coloured word.
fn colour(level: Level, is_on: bool) -> (&'static str, &'static str) {
    if !is_on {
        return ("", "");
    }
    let start = match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG | Level::TRACE => "\x1b[2m",
    };
    (start, "\x1b[0m")
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write as _};
    use std::os::fd::OwnedFd;
    use std::sync::Arc;

    use super::*;

    /// What one event looks like, its time cut out.
    fn line(look: Look) -> String {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let layer = tracing_subscriber::fmt::layer()
            .event_format(look)
            .with_ansi(false)
            .with_writer(move || Kept(Arc::clone(&sink)));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::warn!(count = 3_u64, file = "a b", bare = "x", "odd\nmessage");
        });
        let text = lines.lock().expect("one thread").clone();
        let text = String::from_utf8(text).expect("text");
        match text.find("20") {
            Some(time) => format!("{}T{}", &text[..time], &text[time + 24..]),
            None => text,
        }
    }

    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("one thread").extend_from_slice(octets);
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_stuck_reader_has_missed_is_the_first_thing_he_reads() {
        const LINE: &[u8] = b"time=now level=info msg=\"a line of some length\"\n";
        let (mut reader, pipe) = io::pipe().expect("a pipe");
        let stream = Stream::new(OwnedFd::from(pipe).into()).expect("open");
        let mut lines = Lines::new(stream, Look::Logfmt);
        let (mut said, mut octets) = (0, Vec::new());
        while lines.lost < 100 {
            lines.write_all(LINE).expect("nobody is told");
            said += 1;
        }
        let mut taken = vec![0; (said - 100) * LINE.len()];
        reader.read_exact(&mut taken).expect("what was taken");
        lines.write_all(LINE).expect("nobody is told");
        drop(lines);
        reader.read_to_end(&mut octets).expect("the rest");
        let text = String::from_utf8(octets).expect("text");
        let missed =
            "level=warn msg=\"lines of this log are lost: nobody has read it\" lines=100\n";
        let (before, after) = text.split_once(missed).expect("it is said");
        assert!(
            before.lines().count() <= 2,
            "a torn line and the time: {before}"
        );
        assert_eq!(after.as_bytes(), LINE);
    }

    #[test]
    fn every_look_is_one_line() {
        assert_eq!(
            line(Look::Logfmt),
            "time=T level=warn msg=\"odd\\nmessage\" bare=x count=3 file=\"a b\"\n"
        );
        assert_eq!(
            line(Look::Terminal),
            "T WARN  odd\\nmessage bare=x count=3 file=\"a b\"\n"
        );
        assert_eq!(
            line(Look::Journal),
            "<4>odd\\nmessage bare=x count=3 file=\"a b\"\n"
        );
        assert_eq!(
            line(Look::Json),
            "{\"bare\":\"x\",\"count\":3,\"file\":\"a b\",\"level\":\"warn\",\"msg\":\"odd\\nmessage\",\"time\":\"T\"}\n"
        );
    }
}
