//! What the flags of `run` and the environment say.
//!
//! [`Flags`] holds what was typed, as it was typed; which key each flag stands
//! for is a table. The environment's names come from the table of keys.

use std::path::PathBuf;

use super::keys::{KEYS, Key, PREFIX};
use super::value::{Said, What, nearest};

/// The flags of `run` that stand for settings; `None` and empty: not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--config FILE`.
    pub config: Option<PathBuf>,
    /// `--policy FILE`.
    pub policy: Option<PathBuf>,
    /// `--policy-id ID`.
    pub policy_id: Option<String>,
    /// `--policy-name NAME`.
    pub policy_name: Option<String>,
    /// `--listen ADDR`, as often as wanted.
    pub listen: Vec<String>,
    /// `--upstream URL`, as often as wanted.
    pub upstream: Vec<String>,
    /// `--zones DIR`.
    pub zones: Option<PathBuf>,
    /// `--metrics ADDR`, or `off`.
    pub metrics: Option<String>,
    /// `--log-queries all`, `blocked` or `none`.
    pub log_queries: Option<String>,
    /// `--socket PATH`, of the commands that ask a running daemon.
    pub socket: Option<PathBuf>,
    /// `--mode enforce`, or `audit`.
    pub mode: Option<String>,
    /// `--audit-for TIME`: from now. No key says this: each restart would begin anew.
    pub audit_for: Option<String>,
}

impl Flags {
    /// The flags that were given, each behind the key that it stands for.
    pub(super) fn said(&self) -> impl Iterator<Item = (&'static str, Said)> {
        [
            ("policy.file", path("--policy", self.policy.as_ref())),
            ("policy.id", word("--policy-id", self.policy_id.as_ref())),
            (
                "policy.name",
                word("--policy-name", self.policy_name.as_ref()),
            ),
            ("policy.mode", word("--mode", self.mode.as_ref())),
            ("listen.addresses", words("--listen", &self.listen)),
            ("upstream.servers", words("--upstream", &self.upstream)),
            ("zones.dir", path("--zones", self.zones.as_ref())),
            ("metrics.listen", word("--metrics", self.metrics.as_ref())),
            (
                "log.queries",
                word("--log-queries", self.log_queries.as_ref()),
            ),
            ("admin.socket", path("--socket", self.socket.as_ref())),
        ]
        .into_iter()
        .filter_map(|(key, said)| Some((key, said?)))
    }
}

fn word(flag: &str, text: Option<&String>) -> Option<Said> {
    text.map(|text| Said::word(flag, text))
}

fn path(flag: &str, path: Option<&PathBuf>) -> Option<Said> {
    let path = path?;
    let mut said = Said::word(flag, &path.to_string_lossy());
    if path.to_str().is_none() {
        said.what = What::Other("a path that is not UTF-8");
    }
    Some(said)
}

/// One list of all that a flag was given, however often.
fn words(flag: &str, texts: &[String]) -> Option<Said> {
    let mut all = Said::word(flag, &texts.join(","));
    all.what = What::List(texts.iter().map(|text| Said::word(flag, text)).collect());
    (!texts.is_empty()).then_some(all)
}

/// A note for each `NAMEGATE_` variable that says nothing to us.
pub fn unknown_variables<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let known: Vec<String> = KEYS.iter().flat_map(Key::variables).collect();
    // Without the prefix, which is the same in all and would make strangers look alike.
    let known: Vec<&str> = known
        .iter()
        .filter_map(|it| it.strip_prefix(PREFIX))
        .collect();
    let note = |said: &str| match nearest(said, known.iter().copied()) {
        Some(near) => format!("{PREFIX}{said} is not a setting; did you mean {PREFIX}{near}?"),
        None => format!("{PREFIX}{said} is not a setting"),
    };
    let names = names
        .into_iter()
        .filter_map(|name| name.strip_prefix(PREFIX));
    names
        .filter(|said| !known.contains(said))
        .map(note)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;
    use crate::config::Draft;

    #[test]
    fn a_path_that_is_not_text_is_refused_and_not_guessed() {
        let flags = Flags {
            zones: Some(OsStr::from_bytes(b"z\xFF").into()),
            ..Flags::default()
        };
        let mut draft = Draft::default();
        draft.take_flags(&flags);
        let error = draft.finish().expect_err("not UTF-8").to_string();
        assert!(
            error.contains("zones.dir: a path that is not UTF-8 is not a path"),
            "{error}"
        );
    }
}
