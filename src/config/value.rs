//! A value as it was said, and the readers that make it what it means.
//!
//! TOML has types, a variable or a flag is one [`What::Word`]; a reader takes
//! either, checks the bounds of its key, and says what to write instead.
//! A reader touches nothing but its value.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;

use super::fault::{Fault, Place, Source};
use super::{SearchSuffix, Server, Sink, Types, User};
use crate::wire::{Name, Type};

/// What a reader returns: the meaning, or everything that is wrong.
pub(super) type Read<T> = Result<T, Vec<Fault>>;

/// The port of DNS (RFC 1035 §4.2).
const DNS_PORT: u16 = 53;
/// Where metrics are when only an address is given.
const METRICS_PORT: u16 = 9953;
/// What fits in one character-string of a TXT record (RFC 1035 §3.3).
const TXT_OCTETS_MAX: usize = 255;
/// An extended error's text is at most 160 octets (SPEC 5); the sentence needs the rest.
const CONTACT_OCTETS_MAX: usize = 64;
/// The units of a size; the longer ones first, because all end in the last.
const UNITS: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// One value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) what: What,
    pub(super) place: Place,
}

/// What was said.
#[derive(Clone, Debug)]
pub(super) enum What {
    Text(String),
    Number(i64),
    Switch(bool),
    List(Vec<Said>),
    Table(Vec<Entry>),
    /// A variable's or a flag's value: text, number, switch, or a list with commas.
    Word(String),
    /// What no key takes, by its name.
    Other(&'static str),
}

/// One key of a table and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) value: Said,
}

impl Said {
    /// The value of a variable or a flag.
    pub(super) fn word(name: &str, text: &str) -> Self {
        Self {
            place: Place::whole(&Source::word(name, text)),
            what: What::Word(text.to_owned()),
        }
    }

    /// Refuses the value.
    pub(super) fn refuse<T>(&self, message: &str, help: &str) -> Read<T> {
        let message = format!("{} {message}", self.shown());
        Err(vec![self.place.fault(message, help)])
    }

    /// The value in a sentence.
    fn shown(&self) -> String {
        match &self.what {
            What::Text(text) | What::Word(text) => format!("{text:?}"),
            What::Number(number) => number.to_string(),
            What::Switch(on) => on.to_string(),
            What::List(_) => "a list".to_owned(),
            What::Table(_) => "a table".to_owned(),
            What::Other(name) => (*name).to_owned(),
        }
    }

    fn as_text(&self) -> Option<&str> {
        match &self.what {
            What::Text(text) | What::Word(text) => Some(text),
            What::Number(_) | What::Switch(_) | What::List(_) | What::Table(_) | What::Other(_) => {
                None
            }
        }
    }

    /// The items of a list, or of a word with commas; an empty word holds none.
    fn items(&self) -> Option<Vec<Self>> {
        match &self.what {
            What::List(items) => Some(items.clone()),
            What::Word(word) if word.trim().is_empty() => Some(Vec::new()),
            What::Word(word) => Some(self.split(word)),
            What::Text(_) | What::Number(_) | What::Switch(_) | What::Table(_) | What::Other(_) => {
                None
            }
        }
    }

    fn split(&self, word: &str) -> Vec<Self> {
        let mut behind = 0;
        let item = |part: &str| {
            let text = part.trim();
            let start = behind + part.len() - part.trim_start().len();
            behind += part.len() + 1;
            Self {
                what: What::Word(text.to_owned()),
                place: Place {
                    source: self.place.source.clone(),
                    span: start..start + text.len(),
                },
            }
        };
        word.split(',').map(item).collect()
    }
}

/// `true` or `false`.
pub(super) fn switch(said: &Said) -> Read<bool> {
    match &said.what {
        What::Switch(on) => Ok(*on),
        What::Word(word) if word == "true" => Ok(true),
        What::Word(word) if word == "false" => Ok(false),
        What::Text(_)
        | What::Number(_)
        | What::List(_)
        | What::Table(_)
        | What::Word(_)
        | What::Other(_) => said.refuse("is neither true nor false", "write true or false"),
    }
}

/// A whole number within bounds.
pub(super) fn whole<T: TryFrom<i64>>(said: &Said, min: i64, max: i64) -> Read<T> {
    let number = match &said.what {
        What::Number(number) => Some(*number),
        What::Word(word) => word.parse().ok(),
        What::Text(_) | What::Switch(_) | What::List(_) | What::Table(_) | What::Other(_) => None,
    };
    let help = format!("write a whole number from {min} to {max}");
    let Some(number) = number else {
        return said.refuse("is not a whole number", &help);
    };
    match T::try_from(number) {
        Ok(fits) if (min..=max).contains(&number) => Ok(fits),
        _ => said.refuse("is out of bounds", &help),
    }
}

/// A time within bounds.
pub(super) fn duration(said: &Said, min: Duration, max: Duration) -> Read<Duration> {
    let read = said.as_text().map(humantime::parse_duration);
    let Some(Ok(time)) = read else {
        return said.refuse("is not a duration", "write a duration such as \"5s\"");
    };
    if (min..=max).contains(&time) {
        return Ok(time);
    }
    let [min, max] = [min, max].map(humantime::format_duration);
    let help = format!("write a duration from \"{min}\" to \"{max}\"");
    said.refuse("is out of bounds", &help)
}

/// A point in time; empty: none.
pub(super) fn moment(said: &Said) -> Read<Option<SystemTime>> {
    const HELP: &str = "write the time in UTC and in quotes, such as \"2026-01-31T18:00:00Z\"";
    match said.as_text() {
        Some("") => Ok(None),
        Some(text) if humantime::parse_duration(text).is_ok() => said.refuse(
            "is how long, and each restart would begin anew",
            "write when it ends, in UTC, such as \"2026-01-31T18:00:00Z\"",
        ),
        Some(text) => match humantime::parse_rfc3339(text) {
            Ok(at) => Ok(Some(at)),
            Err(_) => said.refuse("is not a time", HELP),
        },
        None => said.refuse("is not a time", HELP),
    }
}

/// A time of whole seconds within bounds, because a TTL counts seconds.
pub(super) fn seconds(said: &Said, min_s: u64, max_s: u64) -> Read<u32> {
    let [min, max] = [min_s, max_s].map(Duration::from_secs);
    let time = duration(said, min, max)?;
    match u32::try_from(time.as_secs()) {
        Ok(whole) if time.subsec_nanos() == 0 => Ok(whole),
        _ => said.refuse("is not whole seconds", "write a duration such as \"5s\""),
    }
}

/// A number of octets.
pub(super) fn size(said: &Said, max: u64) -> Read<u64> {
    let octets = match &said.what {
        What::Number(number) => u64::try_from(*number).ok(),
        What::Text(text) | What::Word(text) => octets(text),
        What::Switch(_) | What::List(_) | What::Table(_) | What::Other(_) => None,
    };
    match octets {
        Some(octets) if octets <= max => Ok(octets),
        Some(_) => said.refuse("is too much", &format!("write at most {max} (octets)")),
        None => said.refuse(
            "is not a size",
            "write a size such as \"16MiB\" or 16777216",
        ),
    }
}

fn octets(text: &str) -> Option<u64> {
    let unit = UNITS
        .iter()
        .find_map(|(unit, octets)| Some((text.strip_suffix(unit)?, *octets)));
    let (number, unit) = unit.unwrap_or((text, 1));
    number.trim().parse::<u64>().ok()?.checked_mul(unit)
}

/// One word of a few.
pub(super) fn one_of<T: Copy>(said: &Said, words: &[(&str, T)]) -> Read<T> {
    let text = said.as_text();
    let found = words.iter().find(|(word, _)| Some(*word) == text);
    if let Some((_, meaning)) = found {
        return Ok(*meaning);
    }
    let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let help = match text.and_then(|text| nearest(text, words.iter().copied())) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("write one of \"{}\"", words.join("\", \"")),
    };
    said.refuse("is not known here", &help)
}

/// A level of the daemon's own log.
pub(super) fn level(said: &Said) -> Read<String> {
    one_of(said, &LEVELS.map(|level| (level, level))).map(str::to_owned)
}

/// Text without control characters; it may be empty.
pub(super) fn text(said: &Said) -> Read<String> {
    match said.as_text() {
        Some(text) if !text.contains(char::is_control) => Ok(text.to_owned()),
        _ => said.refuse("is not a line of text", "write text such as \"ci-default\""),
    }
}

/// Printable ASCII that fits in a TXT record; it may be empty.
pub(super) fn txt(said: &Said) -> Read<String> {
    ascii(said, TXT_OCTETS_MAX)
}

/// Printable ASCII that fits in an extended error; it may be empty.
pub(super) fn contact(said: &Said) -> Read<String> {
    ascii(said, CONTACT_OCTETS_MAX)
}

fn ascii(said: &Said, max: usize) -> Read<String> {
    let printable = |text: &str| text.bytes().all(|octet| (b' '..=b'~').contains(&octet));
    match said.as_text() {
        Some(text) if printable(text) && text.len() <= max => Ok(text.to_owned()),
        _ => {
            let help = format!("write at most {max} printable ASCII characters");
            said.refuse("cannot stand in a reply", &help)
        }
    }
}

/// The path of a file or a directory.
pub(super) fn path(said: &Said) -> Read<PathBuf> {
    match said.as_text() {
        Some(text) if !text.is_empty() && !text.contains('\0') => Ok(PathBuf::from(text)),
        _ => said.refuse(
            "is not a path",
            "write a path such as \"/etc/namegate/policy.json\"",
        ),
    }
}

/// A file's path, or nothing for no file.
pub(super) fn path_or_none(said: &Said) -> Read<Option<PathBuf>> {
    match said.as_text() {
        Some("") => Ok(None),
        _ => path(said).map(Some),
    }
}

/// Endings of search lists.
pub(super) fn search_suffixes(said: &Said) -> Read<Vec<SearchSuffix>> {
    list(said, |item| match item.as_text() {
        Some("system") => Ok(SearchSuffix::System),
        _ => name(item).map(SearchSuffix::Name),
    })
}

/// A list, each item read by `read`.
pub(super) fn list<T>(said: &Said, read: impl Fn(&Said) -> Read<T>) -> Read<Vec<T>> {
    let Some(items) = said.items() else {
        return said.refuse("is not a list", "write a list, in brackets: [\"…\", \"…\"]");
    };
    let mut good = Vec::with_capacity(items.len());
    let mut faults = Vec::new();
    for item in &items {
        match read(item) {
            Ok(value) => good.push(value),
            Err(found) => faults.extend(found),
        }
    }
    if faults.is_empty() {
        Ok(good)
    } else {
        Err(faults)
    }
}

/// A list of at least one; `help` says what an empty one would mean.
fn some<T>(said: &Said, help: &str, read: impl Fn(&Said) -> Read<T>) -> Read<Vec<T>> {
    let values = list(said, read)?;
    if values.is_empty() {
        return said.refuse("is empty", help);
    }
    Ok(values)
}

/// Where to listen: at least one address, none twice.
pub(super) fn addresses(said: &Said) -> Read<Vec<SocketAddr>> {
    let help = "write at least one address, such as \"127.0.0.1:53\"";
    let found = some(said, help, |item| endpoint(item, DNS_PORT))?;
    let items = said.items().unwrap_or_default();
    // Port 0 is a new port each time.
    let again = |at: usize| found[at].port() != 0 && found[..at].contains(&found[at]);
    match (0..found.len()).find(|at| again(*at)) {
        Some(at) => items[at].refuse("stands here twice", "take one of the two out"),
        None => Ok(found),
    }
}

/// `127.0.0.1:53`, or an address alone, which is at `port`.
fn endpoint(said: &Said, port: u16) -> Read<SocketAddr> {
    match said.as_text().and_then(|text| socket(text, port)) {
        Some(address) => Ok(address),
        None => said.refuse(
            "is not an address",
            "write an IP address and a port, such as \"127.0.0.1:53\" or \"[::1]:53\"",
        ),
    }
}

fn socket(text: &str, port: u16) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let address = bare.unwrap_or(text).parse::<IpAddr>();
    address
        .map(|it| SocketAddr::new(it, port))
        .or_else(|_| text.parse())
        .ok()
}

/// Where the metrics are; nothing and `off` are nowhere.
pub(super) fn metrics(said: &Said) -> Read<Option<SocketAddr>> {
    match said.as_text() {
        Some("" | "off") => Ok(None),
        _ => endpoint(said, METRICS_PORT).map(Some),
    }
}

/// The permissions of a file, in octal digits as chmod(1) takes them.
pub(super) fn mode(said: &Said) -> Read<u32> {
    let digits = said.as_text();
    let is_number =
        |it: &&str| (3..=4).contains(&it.len()) && it.bytes().all(|it| it.is_ascii_digit());
    let digits = digits.filter(is_number);
    let mode = digits.and_then(|it| u32::from_str_radix(it, 8).ok());
    match mode {
        Some(mode) if mode <= 0o777 => Ok(mode),
        _ => said.refuse(
            "is no mode of a file",
            "write octal digits such as \"0660\"",
        ),
    }
}

/// `64123`, or `64123:64124` for another group; nothing: nobody else.
pub(super) fn user(said: &Said) -> Read<Option<User>> {
    let number = match said.what {
        What::Number(number) => number.to_string(),
        What::Text(_)
        | What::Word(_)
        | What::Switch(_)
        | What::List(_)
        | What::Table(_)
        | What::Other(_) => String::new(),
    };
    let text = said.as_text().unwrap_or(&number);
    if said.as_text() == Some("") {
        return Ok(None);
    }
    let (uid, gid) = text.split_once(':').unwrap_or((text, text));
    match (id(uid), id(gid)) {
        (Some(0), _) | (_, Some(0)) => said.refuse("is root's", "name a user and a group with fewer rights"),
        (Some(uid), Some(gid)) => Ok(Some(User { uid, gid })),
        _ => said.refuse(
            "is not the number of a user",
            "write numbers, \"65532\" or \"65532:65532\" for the group too; `id -u NAME` and `id -g NAME` tell those of a name",
        ),
    }
}

/// A number that can be somebody's: the highest means "nobody else" to the kernel.
fn id(digits: &str) -> Option<u32> {
    let is_number = digits.bytes().all(|it| it.is_ascii_digit());
    let id = digits.parse().ok().filter(|id| *id != u32::MAX);
    id.filter(|_| is_number)
}

/// Who may ask: ranges, at least one.
pub(super) fn clients(said: &Said) -> Read<Vec<IpNet>> {
    let help = "with no range, nobody could ask; write one such as \"10.0.0.0/8\"";
    some(said, help, range)
}

/// `10.0.0.0/8`, or an address, which is a range of one. Host bits are dropped.
fn range(said: &Said) -> Read<IpNet> {
    let read = |text: &str| match text.parse::<IpAddr>() {
        Ok(address) => Some(IpNet::from(address)),
        Err(_) => text.parse::<IpNet>().ok(),
    };
    match said.as_text().and_then(read) {
        Some(range) => Ok(range.trunc()),
        None => said.refuse(
            "is not an address range",
            "write a range such as \"10.0.0.0/8\"",
        ),
    }
}

/// Whom to ask: at least one server.
pub(super) fn servers(said: &Said) -> Read<Vec<Server>> {
    let help = "with no server, no name could resolve; write \"system\" or \"udp://192.0.2.1\"";
    some(said, help, server)
}

/// `system`, `udp://` or `tcp://` with an address, or an address, which is asked over UDP.
fn server(said: &Said) -> Read<Server> {
    const HELP: &str = "write \"system\", \"udp://192.0.2.1\" or \"tcp://[2001:db8::1]:53\"";
    let Some(text) = said.as_text() else {
        return said.refuse("is not a server", HELP);
    };
    if text == "system" {
        return Ok(Server::System);
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("udp", text));
    let make = match scheme {
        "udp" => Server::Udp,
        "tcp" => Server::Tcp,
        "tls" | "https" | "h3" | "quic" => return said.refuse("is not yet supported", HELP),
        _ => return said.refuse("has a scheme that is not known", HELP),
    };
    match socket(rest, DNS_PORT) {
        Some(address) if is_one_host(address) => Ok(make(address)),
        Some(_) => said.refuse("is not the address of one server", HELP),
        None if is_host_name(rest) => said.refuse(
            "names a host, and there is nobody yet to ask for its address",
            "write the server's IP address",
        ),
        None => said.refuse("is not a server", HELP),
    }
}

fn is_one_host(address: SocketAddr) -> bool {
    let ip = address.ip();
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast()
}

/// A name, with or without a port, that is not a botched address.
fn is_host_name(text: &str) -> bool {
    let host = text.rsplit_once(':').map_or(text, |(host, _)| host);
    let name = host.parse::<Name>().is_ok_and(|name| name.is_plain());
    name && host.contains(|c: char| c.is_ascii_alphabetic())
}

/// An absolute name, with or without its final dot.
pub(super) fn name(said: &Said) -> Read<Name> {
    let help = "write a name such as \"cluster.local\"";
    let Some(text) = said.as_text() else {
        return said.refuse("is not a name", help);
    };
    text.parse()
        .or_else(|reason| said.refuse(&format!("is not a name: {reason}"), help))
}

/// Patterns, as written. Only their outline is looked at; the policy's own reader has the last word.
pub(super) fn patterns(said: &Said) -> Read<Vec<String>> {
    list(said, |item| match item.as_text() {
        Some(text) if is_pattern_like(text) => Ok(text.to_owned()),
        _ => item.refuse(
            "is not a hostname pattern",
            "write \"github.com\", or \"*.npmjs.org\" for every name below",
        ),
    })
}

fn is_pattern_like(text: &str) -> bool {
    let name = text.strip_prefix("*.").unwrap_or(text);
    name.parse::<Name>()
        .is_ok_and(|name| !name.is_root() && name.is_plain())
}

/// Record types, or `["all"]`.
pub(super) fn types(said: &Said) -> Read<Types> {
    if let Some([all]) = said.items().as_deref()
        && all
            .as_text()
            .is_some_and(|text| text.eq_ignore_ascii_case("all"))
    {
        return Ok(Types::All);
    }
    let help = "with no type, nothing would be forwarded; write types, or [\"all\"]";
    some(said, help, record_type).map(Types::Listed)
}

fn record_type(said: &Said) -> Read<Type> {
    match said.as_text().and_then(|text| text.parse().ok()) {
        Some(kind) if Type::is_meta(kind) => said.refuse(
            "is not a type that a record has",
            "take it out; such questions are answered here and never forwarded",
        ),
        Some(kind) => Ok(kind),
        None => said.refuse(
            "is not a record type",
            "write types such as \"AAAA\" or \"TYPE65280\", or [\"all\"] alone",
        ),
    }
}

/// Where the query log goes.
pub(super) fn sink(said: &Said) -> Read<Sink> {
    const HELP: &str =
        "write \"stdout\", \"file:/var/log/namegate/query.jsonl\" or \"unix:/run/collector.sock\"";
    let text = said.as_text().unwrap_or_default();
    match text.split_once(':') {
        None if text == "stdout" => Ok(Sink::Stdout),
        Some(("file", path)) if !path.is_empty() => Ok(Sink::File(PathBuf::from(path))),
        Some(("unix", path)) if !path.is_empty() => Ok(Sink::Unix(PathBuf::from(path))),
        Some(("dnstap", _)) => said.refuse("is not yet supported", HELP),
        _ => said.refuse("is not a place for the query log", HELP),
    }
}

/// The word that was probably meant: at most a third of it is wrong.
pub(super) fn nearest<'a>(said: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |word: &str| word.to_ascii_lowercase().replace('-', "_");
    let said = plain(said);
    let near = |word: &&str| strsim::damerau_levenshtein(&said, &plain(word));
    let best = words.into_iter().min_by_key(near)?;
    (near(&best) <= (best.len() / 3).max(1)).then_some(best)
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Server, read};

    fn one(path: &str, value: &str) -> Result<Config, crate::config::Error> {
        let (section, name) = path.split_once('.').expect("a path has a section");
        read("c.toml", &format!("[{section}]\n{name} = {value}\n"))
    }

    /// The value is refused: what is wrong with it, and what to write instead.
    #[track_caller]
    fn refused(path: &str, value: &str, wrong: &str, remedy: &str) {
        let error = one(path, value).expect_err(value);
        let [fault] = &error.faults[..] else {
            unreachable!("one fault, not\n{error}");
        };
        assert!(fault.message().starts_with(path), "{}", fault.message());
        assert!(fault.message().contains(wrong), "{}", fault.message());
        assert!(
            fault.help().is_some_and(|it| it.contains(remedy)),
            "{:?}",
            fault.help()
        );
        assert_eq!(fault.line_and_column().expect("a place").0, 2);
    }

    #[test]
    fn numbers_have_a_type_and_bounds() {
        refused(
            "listen.udp_payload",
            "511",
            "511 is out of bounds",
            "from 512 to 4096",
        );
        refused(
            "listen.udp_payload",
            "4097",
            "out of bounds",
            "from 512 to 4096",
        );
        refused(
            "listen.udp_payload",
            "'1232'",
            "\"1232\" is not a whole number",
            "write a whole",
        );
        refused(
            "listen.udp_payload",
            "1.5",
            "a fraction is not",
            "write a whole",
        );
        refused("listen.tcp_max_clients", "0", "out of bounds", "from 1 to");
        refused("listen.max_inflight", "0", "out of bounds", "from 1 to");
        refused(
            "listen.rate_per_client",
            "-1",
            "-1 is out of bounds",
            "from 0 to",
        );
        refused(
            "listen.rate_per_client",
            "1e3",
            "a fraction",
            "whole number",
        );
        refused(
            "listen.rate_per_client",
            "99999999999999999999",
            "beyond 64 bits",
            "whole number",
        );
    }

    #[test]
    fn durations_have_a_unit_and_bounds() {
        let duration = "a duration such as \"5s\"";
        refused("policy.settle", "150", "150 is not a duration", duration);
        refused(
            "policy.settle",
            "'soon'",
            "\"soon\" is not a duration",
            duration,
        );
        refused(
            "policy.settle",
            "'1001ms'",
            "out of bounds",
            "from \"0s\" to \"1s\"",
        );
        refused(
            "policy.poll_every",
            "'99ms'",
            "out of bounds",
            "from \"100ms\" to \"1h\"",
        );
        refused(
            "upstream.timeout",
            "'9ms'",
            "out of bounds",
            "from \"10ms\" to \"4s\"",
        );
        refused(
            "upstream.timeout",
            "'5s'",
            "out of bounds",
            "from \"10ms\" to \"4s\"",
        );
        refused(
            "listen.tcp_idle",
            "'0s'",
            "out of bounds",
            "from \"100ms\" to \"1h\"",
        );
        refused(
            "blocked.ttl",
            "'0s'",
            "out of bounds",
            "from \"1s\" to \"1m\"",
        );
        refused(
            "blocked.ttl",
            "'61s'",
            "out of bounds",
            "from \"1s\" to \"1m\"",
        );
        refused("blocked.ttl", "'1500ms'", "is not whole seconds", duration);
        refused(
            "cache.max_ttl",
            "'8d'",
            "out of bounds",
            "from \"1s\" to \"7days\"",
        );
        refused(
            "cache.max_negative_ttl",
            "'2d'",
            "out of bounds",
            "to \"1day\"",
        );
        refused("cache.serve_stale", "'8d'", "out of bounds", "to \"7days\"");
    }

    #[test]
    fn times_are_in_utc_and_absolute() {
        let key = "policy.audit_until";
        refused(
            key,
            "'2h'",
            "each restart would begin anew",
            "write when it ends",
        );
        refused(
            key,
            "2026-01-31T18:00:00Z",
            "a date is not a time",
            "in quotes",
        );
        refused(
            key,
            "'2026-01-31T18:00:00+02:00'",
            "is not a time",
            "in UTC",
        );
        refused(key, "'tomorrow'", "is not a time", "in UTC");
    }

    #[test]
    fn sizes_have_binary_units_and_an_end() {
        refused(
            "cache.bytes",
            "'16MB'",
            "\"16MB\" is not a size",
            "\"16MiB\" or 16777216",
        );
        refused("cache.bytes", "-1", "is not a size", "16MiB");
        refused("cache.bytes", "'99999999999GiB'", "is not a size", "16MiB");
        refused(
            "cache.bytes",
            "'17GiB'",
            "is too much",
            "at most 17179869184",
        );
        assert_eq!(
            one("cache.bytes", "'64 KiB'").expect("a size").cache.bytes,
            65_536
        );
        assert_eq!(one("cache.bytes", "'12B'").expect("a size").cache.bytes, 12);
    }

    #[test]
    fn words_are_of_a_few() {
        refused(
            "policy.on_missing",
            "'deny-al'",
            "not known",
            "did you mean \"deny_all\"?",
        );
        refused(
            "log.queries",
            "'some'",
            "not known",
            "one of \"all\", \"blocked\", \"none\"",
        );
        refused("log.level", "'warning'", "not known", "\"warn\"");
        refused(
            "log.format",
            "true",
            "true is not known",
            "\"auto\", \"text\", \"json\"",
        );
        refused(
            "cache.prefetch",
            "'yes'",
            "neither true nor false",
            "write true or false",
        );
    }

    #[test]
    fn text_that_leaves_us_is_short_printable_ascii() {
        refused(
            "blocked.contact",
            "'équipe'",
            "cannot stand in a reply",
            "at most 64",
        );
        refused(
            "blocked.contact",
            &format!("'{}'", "x".repeat(65)),
            "cannot",
            "at most 64",
        );
        refused(
            "listen.version",
            r#""a\nb""#,
            "cannot stand in a reply",
            "at most 255",
        );
        refused(
            "policy.name",
            r#""a\u0007""#,
            "not a line of text",
            "write text",
        );
        refused("policy.file", "''", "is not a path", "write a path");
    }

    #[test]
    fn addresses_are_addresses_once_each() {
        refused(
            "listen.addresses",
            "['localhost:53']",
            "not an address",
            "\"[::1]:53\"",
        );
        refused(
            "listen.addresses",
            "'127.0.0.1:53'",
            "is not a list",
            "in brackets",
        );
        refused("listen.addresses", "[]", "a list is empty", "at least one");
        refused(
            "listen.addresses",
            "['::1', '[::1]:53']",
            "\"[::1]:53\" stands here twice",
            "out",
        );
        refused(
            "metrics.listen",
            "'on'",
            "is not an address",
            "\"127.0.0.1:53\"",
        );
        assert!(one("listen.addresses", "['127.0.0.1:0', '127.0.0.1:0']").is_ok());
        assert!(one("listen.addresses", "['[::1]']").is_ok());
    }

    #[test]
    fn modes_are_octal_digits() {
        for bad in ["'0o660'", "'rw-'", "'1777'", "'+60'", "'66'", "660"] {
            refused("admin.mode", bad, "is no mode of a file", "\"0660\"");
        }
        assert_eq!(
            one("admin.mode", "'640'").expect("a mode").admin.mode,
            0o640
        );
    }

    #[test]
    fn users_are_numbers_of_somebody_else_than_root() {
        let user = |value| one("sandbox.user", value).expect(value).sandbox.user;
        let shown = |value| user(value).map(|it| it.to_string());
        assert_eq!(shown("'64123'").as_deref(), Some("64123:64123"));
        assert_eq!(shown("64123").as_deref(), Some("64123:64123"));
        assert_eq!(shown("'64123:7'").as_deref(), Some("64123:7"));
        assert_eq!(user("''"), None);
        for bad in [
            "'nobody'",
            "'+5'",
            "'5:'",
            "':5'",
            "'5:6:7'",
            "'4294967295'",
            "-1",
            "true",
        ] {
            refused(
                "sandbox.user",
                bad,
                "is not the number of a user",
                "id -u NAME",
            );
        }
        for root in ["0", "'0'", "'0:5'", "'5:0'", "'00'"] {
            refused("sandbox.user", root, "is root's", "fewer rights");
        }
    }

    #[test]
    fn ranges_are_ranges() {
        refused(
            "listen.clients",
            "['10.0.0.0/33']",
            "not an address range",
            "\"10.0.0.0/8\"",
        );
        refused(
            "listen.clients",
            "['all']",
            "not an address range",
            "\"10.0.0.0/8\"",
        );
        refused(
            "listen.clients",
            "[]",
            "a list is empty",
            "nobody could ask",
        );
    }

    #[test]
    fn servers_are_addresses_behind_a_known_scheme() {
        let remedy = "udp://192.0.2.1";
        refused(
            "upstream.servers",
            "['tls://192.0.2.1']",
            "not yet supported",
            remedy,
        );
        refused(
            "upstream.servers",
            "['https://192.0.2.1/q']",
            "not yet supported",
            remedy,
        );
        refused(
            "upstream.servers",
            "['ftp://192.0.2.1']",
            "scheme that is not known",
            remedy,
        );
        refused(
            "upstream.servers",
            "['dns.example']",
            "names a host",
            "IP address",
        );
        refused(
            "upstream.servers",
            "['udp://dns.example:53']",
            "nobody yet to ask",
            "IP address",
        );
        refused(
            "upstream.servers",
            "['udp://192.0.2']",
            "is not a server",
            remedy,
        );
        refused(
            "upstream.servers",
            "['udp://0.0.0.0']",
            "not the address of one server",
            remedy,
        );
        refused(
            "upstream.servers",
            "['192.0.2.1:0']",
            "not the address of one server",
            remedy,
        );
        refused(
            "upstream.servers",
            "['224.0.0.251']",
            "not the address of one server",
            remedy,
        );
        refused("upstream.servers", "[53]", "53 is not a server", remedy);
        refused(
            "upstream.servers",
            "[]",
            "a list is empty",
            "no name could resolve",
        );
        let config = one(
            "upstream.servers",
            "['tcp://[2001:db8::1]', '192.0.2.1:5300', 'system']",
        );
        let at = |text: &str| text.parse().expect("an address");
        let expected = [
            Server::Tcp(at("[2001:db8::1]:53")),
            Server::Udp(at("192.0.2.1:5300")),
            Server::System,
        ];
        assert_eq!(config.expect("good servers").upstream.servers, expected);
    }

    #[test]
    fn patterns_look_like_names() {
        for bad in ["https://x.example", "*", "a b", "a..b", "", "*.*.x", "."] {
            let list = format!("['{bad}']");
            refused(
                "services.mirrors",
                &list,
                "not a hostname pattern",
                "\"*.npmjs.org\"",
            );
        }
    }

    #[test]
    fn types_are_those_of_records() {
        refused(
            "guard.types",
            "['ANY']",
            "not a type that a record has",
            "take it out",
        );
        refused(
            "guard.types",
            "['TYPE41']",
            "not a type that a record has",
            "take it out",
        );
        refused(
            "guard.types",
            "['AAA']",
            "\"AAA\" is not a record type",
            "TYPE65280",
        );
        refused(
            "guard.types",
            "['A', 'all']",
            "\"all\" is not a record type",
            "alone",
        );
        refused("guard.types", "[]", "a list is empty", "[\"all\"]");
        assert_eq!(
            one("guard.types", "['All']").expect("all").guard.types,
            super::Types::All
        );
    }

    #[test]
    fn the_query_log_goes_to_a_file_a_socket_or_standard_output() {
        let sink = |said| one("log.sink", said).expect(said).log.sink;
        assert_eq!(sink("'unix:/run/q'"), super::Sink::Unix("/run/q".into()));
        refused("log.sink", "'unix:'", "is not a place", "\"unix:");
        refused(
            "log.sink",
            "'dnstap:unix:/q'",
            "not yet supported",
            "\"stdout\", \"file:",
        );
        refused(
            "log.sink",
            "'file:'",
            "is not a place",
            "\"stdout\", \"file:",
        );
        refused(
            "log.sink",
            "'stderr'",
            "is not a place",
            "\"stdout\", \"file:",
        );
    }

    #[test]
    fn every_bad_item_of_a_list_is_told() {
        let error = one("listen.clients", "['x', '::1', 'y']").expect_err("two bad ranges");
        let places: Vec<_> = error.faults.iter().map(|it| it.line_and_column()).collect();
        assert_eq!(places, [Some((2, 12)), Some((2, 24))]);
    }
}
