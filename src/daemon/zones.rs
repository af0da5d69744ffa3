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
        let texts = read(&dir).map_err(|error| vec![unreadable(&dir, &error)])?;
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
        let mut refused = Vec::new();
        loop {
            let _ = tokio::time::timeout(self.poll_every, self.again.notified()).await;
            let Ok(texts) = tokio::task::block_in_place(|| read(&self.dir)) else {
                continue;
            };
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
fn read(dir: &Path) -> io::Result<Vec<(String, String)>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut texts = Vec::new();
    for entry in entries {
        let file = entry?.file_name().to_string_lossy().into_owned();
        if file.ends_with(ENDING) && !file.starts_with('.') {
            let mut text = String::new();
            fs::File::open(dir.join(&file))?
                .take(ZONE_OCTETS_MAX)
                .read_to_string(&mut text)?;
            texts.push((file, text));
        }
    }
    texts.sort();
    Ok(texts)
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

fn unreadable(dir: &Path, error: &io::Error) -> ZoneError {
    ZoneError {
        file: dir.display().to_string(),
        line: None,
        message: format!("cannot be read: {error}"),
    }
}
