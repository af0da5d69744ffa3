//! The state for a browser: one page of plain HTML, made here.
//!
//! It has no script, loads nothing and changes nothing; whatever a client or a
//! policy may have put into a name is escaped, and the page says so to the
//! browser (Content-Security-Policy). It is made at most once a second, however
//! often it is asked for.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY};
use serde_json::Value;
use tokio::task::spawn_blocking;

use super::super::{Refused, time_of_day};
use super::{Page, State, page};

/// Names on the page.
const NAMES_MAX: usize = 25;
/// A page is good for this long.
const EVERY: Duration = Duration::from_secs(1);
/// Nothing is loaded or run; the one style stands in the page.
const LAW: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const STYLE: &str = include_str!("home.css");

/// The page that was made last.
#[derive(Clone, Default)]
pub(super) struct Home(Arc<Mutex<Option<(Instant, Bytes)>>>);

impl Home {
    pub(super) async fn page(&self, state: &Arc<dyn State>) -> Page {
        let (home, state) = (self.clone(), Arc::clone(state));
        let made = spawn_blocking(move || home.text(&*state));
        let text = made.await.expect("a page is made without a panic");
        let mut page = page(StatusCode::OK, "text/html; charset=utf-8", text);
        let headers = page.headers_mut();
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(LAW));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        page
    }

    fn text(&self, state: &dyn State) -> Bytes {
        let mut last = self.0.lock().expect("a page is made without a panic");
        if let Some((at, text)) = &*last
            && at.elapsed() < EVERY
        {
            return text.clone();
        }
        let refused = state.refused(NAMES_MAX);
        let text: Bytes = html(&state.status(), &refused, SystemTime::now()).into();
        *last = Some((Instant::now(), text.clone()));
        text
    }
}

fn html(status: &Value, refused: &[Refused], now: SystemTime) -> String {
    let version = escaped(word(&status["version"]));
    let at = humantime::format_rfc3339_seconds(now);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>namegate</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <h1>namegate <span class=\"soft\">{version}</span></h1>\n\
         <p class=\"soft\">As of {at}. Read-only; reload the page for what is new.</p>\n\
         {}<h2>Blocked lately</h2>\n{}</body>\n</html>\n",
        facts(status),
        names(refused, now)
    )
}

/// The rows of the state.
fn facts(status: &Value) -> String {
    let rows = [
        ("Policy", policy(&status["policy"])),
        ("Mode", mode(status)),
        ("Last file", last_file(&status["reloads"])),
        ("Watched by", watch(&status["watch"])),
        ("Listens on", list(&status["listen"])),
        ("Upstreams", upstreams(&status["upstreams"])),
        ("Queries", queries(&status["queries"])),
    ];
    let mut text = "<dl>\n".to_owned();
    for (what, said) in rows {
        let _ = writeln!(text, "<dt>{what}</dt><dd>{said}</dd>");
    }
    text + "</dl>\n"
}

fn policy(policy: &Value) -> String {
    if policy.is_null() {
        return "<span class=\"bad\">none that is valid yet: every name is denied</span>"
            .to_owned();
    }
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let (exact, wildcard) = (
        &policy["patterns"]["exact"],
        &policy["patterns"]["wildcard"],
    );
    let allowed = match policy["allow_all"].as_bool() {
        Some(true) => "<span class=\"bad\">allow_all: every name resolves</span>".to_owned(),
        _ => format!("{} exact, {} wildcard", number(exact), number(wildcard)),
    };
    let sha256 = word(&policy["sha256"]);
    format!(
        "<strong>{}</strong> ({}), generation {}, {allowed}<br><span class=\"soft\">in force since {}, sha256 <code>{}</code></span>",
        escaped(word(&policy["name"])),
        escaped(word(&policy["id"])),
        number(&policy["generation"]),
        escaped(word(&policy["loaded_at"])),
        escaped(sha256.get(..12).unwrap_or(sha256)),
    )
}

fn mode(status: &Value) -> String {
    match status["audit_ends"].as_str() {
        Some(ends) => format!(
            "<span class=\"bad\">audit until {}: nothing is enforced</span>",
            escaped(ends)
        ),
        None => escaped(word(&status["mode"])),
    }
}

fn last_file(reloads: &Value) -> String {
    let refused = &reloads["last_rejected"];
    let Some(error) = refused["errors"].get(0) else {
        return "<span class=\"good\">in force</span>".to_owned();
    };
    let more = refused["errors_total"]
        .as_u64()
        .unwrap_or(1)
        .saturating_sub(1);
    let more = if more > 0 {
        format!(", and {more} more")
    } else {
        String::new()
    };
    format!(
        "<span class=\"bad\">refused</span> at {}: line {}: {} {}{more}",
        escaped(word(&refused["at"])),
        error["line"].as_u64().unwrap_or(0),
        escaped(word(&error["code"])),
        escaped(word(&error["message"])),
    )
}

fn watch(watch: &Value) -> String {
    let ways = ["inotify", "poll"].into_iter().filter_map(|way| {
        Some(match watch[way].as_bool()? {
            true => way.to_owned(),
            false => format!("{way} <span class=\"bad\">(blind)</span>"),
        })
    });
    ways.collect::<Vec<_>>().join(", ")
}

fn list(values: &Value) -> String {
    let texts = values.as_array().into_iter().flatten().map(word);
    texts.map(escaped).collect::<Vec<_>>().join(", ")
}

fn upstreams(upstreams: &Value) -> String {
    let one = |it: &Value| {
        let name = escaped(word(&it["name"]));
        match (it["up"].as_bool(), it["p50_ms"].as_f64()) {
            (Some(false), _) => format!("{name} <span class=\"bad\">does not answer</span>"),
            (_, Some(p50_ms)) => format!("{name}, half within {p50_ms:.0} ms"),
            _ => name,
        }
    };
    let all: Vec<String> = upstreams
        .as_array()
        .into_iter()
        .flatten()
        .map(one)
        .collect();
    all.join("<br>")
}

fn queries(queries: &Value) -> String {
    let count =
        |(word, said): (&str, &str)| format!("{} {said}", queries[word].as_u64().unwrap_or(0));
    [
        ("allowed", "allowed"),
        ("blocked", "blocked"),
        ("would_block", "would be blocked"),
        ("error", "errors"),
        ("refused", "refused"),
    ]
    .map(count)
    .join(", ")
}

/// The table of names.
fn names(refused: &[Refused], now: SystemTime) -> String {
    if refused.is_empty() {
        return "<p>Nothing.</p>\n".to_owned();
    }
    let mut text =
        "<table>\n<thead><tr><th>Last</th><th>Name</th><th>Types</th><th>Times</th><th>Reason</th>\
                    <th>Nearest pattern</th></tr></thead>\n<tbody>\n"
            .to_owned();
    for Refused { seen, nearest } in refused {
        let kinds: Vec<String> = seen.kinds.iter().map(ToString::to_string).collect();
        let _ = writeln!(
            text,
            "<tr><td class=\"at\">{}</td><td class=\"name\">{}</td><td class=\"kinds\">{}</td>\
             <td class=\"count\">{}</td><td>{}</td><td class=\"near\">{}</td></tr>",
            time_of_day(now, seen.last),
            escaped(&seen.name.to_string()),
            kinds.join(" "),
            seen.blocked + seen.would_block,
            seen.reason,
            escaped(nearest.as_deref().unwrap_or_default()),
        );
    }
    text + "</tbody>\n</table>\n"
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A text that is text in HTML, in an attribute too, whoever wrote it; what turns or hides text is replaced.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => {
                safe.push(char::REPLACEMENT_CHARACTER);
            }
            _ if c.is_control() => safe.push(char::REPLACEMENT_CHARACTER),
            _ => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_becomes_markup() {
        assert_eq!(
            escaped("<b a=\"x\" c='y'>&\u{202e}\n"),
            "&lt;b a=&quot;x&quot; c=&#39;y&#39;&gt;&amp;\u{fffd}\u{fffd}"
        );
    }

    #[test]
    fn without_a_policy_it_says_so() {
        let text = html(&Value::Null, &[], SystemTime::UNIX_EPOCH);
        assert!(text.contains("none that is valid yet"), "{text}");
        assert!(text.contains("<p>Nothing.</p>"), "{text}");
    }
}
