//! The zone files of a directory, served whole or not at all, again when they change.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::road::Road;
use crate::answer::zone::{ZoneError, ZoneText, Zones};
use crate::config::Config;
use crate::policy::watch::open_file;

/// A zone file is read up to this, in octets: one that is larger is no file for a box.
const ZONE_OCTETS_MAX: u64 = 16 << 20;
/// The ending of a zone file; what stands before it is the zone's name, for files without `$ORIGIN`.
const ENDING: &str = ".zone";

/// A directory of zone files and what they said last.
pub(super) struct ZoneFiles {
    dir: PathBuf,
    poll_every: Duration,
    texts: Vec<(String, String)>,
    again: Arc<Notify>,
}

impl ZoneFiles {
    /// Reads the files for the first time. A directory that is not there holds none.
    ///
    /// # Errors
    /// Every fault of every file.
    pub(super) fn open(config: &Config) -> Result<(Self, Zones), Vec<ZoneError>> {
        let dir = config.zones.dir.clone();
        let texts = read(&dir).map_err(|error| vec![error])?;
        let zones = parse(&texts)?;
        let files = Self {
            dir,
            poll_every: config.policy.poll_every,
            texts,
            again: Arc::new(Notify::new()),
        };
        Ok((files, zones))
    }

    /// Told when it is time to look again at once.
    pub(super) fn poke(&self) -> Arc<Notify> {
        self.again.clone()
    }

    /// Looks at the files now and then, and has the changed ones served; faulty ones change nothing.
    pub(super) async fn follow(mut self, road: Arc<Road>) {
        let (mut refused, mut unreadable) = (Vec::new(), None);
        loop {
            let _ = tokio::time::timeout(self.poll_every, self.again.notified()).await;
            let texts = match tokio::task::block_in_place(|| read(&self.dir)) {
                Ok(texts) => texts,
                Err(error) => {
                    let told = unreadable.replace(error.to_string());
                    if told != unreadable {
                        tracing::error!(
                            "the zone files cannot be read; the old ones stay: {error}"
                        );
                    }
                    continue;
                }
            };
            unreadable = None;
            if texts == self.texts || texts == refused {
                continue;
            }
            match parse(&texts) {
                Ok(zones) => {
                    tracing::info!(
                        zones = zones.apexes().count(),
                        "the zone files have changed and are served"
                    );
                    road.serve_zones(zones);
                    self.texts = texts;
                    refused.clear();
                }
                Err(errors) => {
                    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
                    tracing::error!(
                        "the zone files are refused; the old ones stay\n  {}",
                        errors.join("\n  ")
                    );
                    refused = texts;
                }
            }
        }
    }
}

/// Every zone file's name and text, sorted by name.
fn read(dir: &Path) -> Result<Vec<(String, String)>, ZoneError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| unreadable(dir, &error))?,
    };
    let mut texts = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| unreadable(dir, &error))?;
        let file = entry.file_name().to_string_lossy().into_owned();
        if file.ends_with(ENDING) && !file.starts_with('.') {
            let path = entry.path();
            let text = read_text(&path).map_err(|error| unreadable(&path, &error))?;
            texts.push((file, text));
        }
    }
    texts.sort();
    Ok(texts)
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let open = open_file(path)?;
    open.take(ZONE_OCTETS_MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn parse(texts: &[(String, String)]) -> Result<Zones, Vec<ZoneError>> {
    let texts: Vec<ZoneText> = texts
        .iter()
        .map(|(file, text)| ZoneText {
            file: file.clone(),
            origin_hint: file.strip_suffix(ENDING).and_then(|name| name.parse().ok()),
            text: text.clone(),
        })
        .collect();
    Zones::parse(&texts)
}

fn unreadable(path: &Path, error: &io::Error) -> ZoneError {
    ZoneError {
        file: path.display().to_string(),
        line: None,
        message: format!("cannot be read: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_named_and_not_waited_for() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("a.zone"), "text").expect("written");
        assert_eq!(read(dir.path()).expect("read").len(), 1);
        let pipe = dir.path().join("b.zone");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        let error = read(dir.path()).expect_err("a pipe is no zone");
        assert!(error.to_string().contains("b.zone"), "{error}");
    }
}
