//! What the running resolver says of itself at `metrics.listen`: one GET of /status.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use super::super::client;

/// A page on this machine comes sooner than this.
const PATIENCE: Duration = Duration::from_secs(1);

/// The resolver as its status page shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Daemon {
    /// It says this.
    Runs(Status),
    /// No page of ours is there.
    Silent(SocketAddr),
    /// The configuration has no pages.
    Off,
}

/// The parts of the page that are needed here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    pub version: String,
    pub generation: u64,
    /// Of the policy file's content, in hexadecimal.
    pub sha256: String,
    /// When an audit ends, as the page has it; none: the policy is enforced.
    pub audit_ends: Option<String>,
    /// The last policy file was taken.
    pub took_last: bool,
    pub listen: Vec<SocketAddr>,
    /// As `udp://192.0.2.1:53`.
    pub upstreams: Vec<String>,
    /// By events, and whether they tell of changes; none: the file is polled.
    pub inotify: Option<bool>,
}

impl Daemon {
    pub(super) fn status(&self) -> Option<&Status> {
        match self {
            Self::Runs(status) => Some(status),
            Self::Silent(_) | Self::Off => None,
        }
    }
}

/// Asks for the page.
pub(super) fn gather(pages: Option<SocketAddr>) -> Daemon {
    let Some(address) = pages else {
        return Daemon::Off;
    };
    let page = client::status_at(address, PATIENCE).ok();
    page.as_ref()
        .and_then(read)
        .map_or(Daemon::Silent(address), Daemon::Runs)
}

/// What the page says; none when it is not of namegate.
fn read(page: &Value) -> Option<Status> {
    let policy = &page["policy"];
    let listen = texts(&page["listen"]).filter_map(|it| it.parse().ok());
    let upstreams = page["upstreams"].as_array().into_iter().flatten();
    Some(Status {
        version: page["version"].as_str()?.to_owned(),
        generation: policy["generation"].as_u64().unwrap_or(0),
        sha256: policy["sha256"].as_str().unwrap_or_default().to_owned(),
        audit_ends: page["audit_ends"].as_str().map(str::to_owned),
        took_last: page["reloads"]["last_successful"].as_bool()?,
        listen: listen.collect(),
        upstreams: upstreams
            .filter_map(|it| it["name"].as_str().map(str::to_owned))
            .collect(),
        inotify: page["watch"]["inotify"].as_bool(),
    })
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_read_and_others_are_not() {
        let page = r#"{"version": "0.1.0", "policy": {"generation": 7, "sha256": "ab"}, "listen": ["127.0.0.1:53"], "audit_ends": "2026-01-31T18:00:00.000Z",
            "reloads": {"last_successful": true}, "upstreams": [{"name": "udp://192.0.2.1:53", "up": true}],
            "watch": {"inotify": null, "poll": true}}"#;
        let status = Status {
            version: "0.1.0".to_owned(),
            generation: 7,
            sha256: "ab".to_owned(),
            audit_ends: Some("2026-01-31T18:00:00.000Z".to_owned()),
            took_last: true,
            listen: vec!["127.0.0.1:53".parse().expect("an address")],
            upstreams: vec!["udp://192.0.2.1:53".to_owned()],
            inotify: None,
        };
        let read = |page: &str| read(&serde_json::from_str(page).expect("JSON"));
        assert_eq!(read(page), Some(status));
        assert_eq!(read("{\"version\": \"9\"}"), None);
    }
}
