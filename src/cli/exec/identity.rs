//! Who runs the command: the caller, also behind sudo.

use std::ffi::CString;
use std::path::PathBuf;

use nix::unistd::{Gid, Uid, User, geteuid, getgrouplist};

use super::super::exit;

/// Somebody else than we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    pub(super) groups: Vec<Gid>,
    /// Name and home directory, where the machine knows them.
    pub(super) known_as: Option<(String, PathBuf)>,
}

/// Why the command cannot be run as it should be.
pub(super) struct Fault {
    pub(super) code: u8,
    pub(super) message: String,
}

fn fault<T>(code: u8, message: String) -> Result<T, Fault> {
    Err(Fault { code, message })
}

/// The identity that the command takes on; none: the one that we have.
///
/// # Errors
/// When there is no such user, or we may not become him.
pub(super) fn wanted(
    user: Option<&str>,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Option<Identity>, Fault> {
    let wanted = match user {
        Some(user) => Some(named(user)?),
        None if geteuid().is_root() => behind_sudo(env)?,
        None => None,
    };
    match wanted {
        Some(it) if it.uid == geteuid() => Ok(None),
        Some(it) if !geteuid().is_root() => fault(
            exit::FORBIDDEN,
            format!(
                "only root runs a command as another user (--user, uid {})",
                it.uid
            ),
        ),
        wanted => Ok(wanted),
    }
}

/// The user of `--user`, a name or a number.
fn named(text: &str) -> Result<Identity, Fault> {
    let by_number = |number: u32| User::from_uid(Uid::from_raw(number));
    let user = User::from_name(text).and_then(|found| match (found, text.parse()) {
        (None, Ok(number)) => by_number(number),
        (found, _) => Ok(found),
    });
    match user {
        Ok(Some(user)) => Ok(of(&user, user.gid)),
        Ok(None) => fault(exit::USAGE, format!("--user: there is no user {text:?}")),
        Err(error) => fault(
            exit::SYSTEM,
            format!("--user: {text:?} cannot be looked up: {error}"),
        ),
    }
}

/// Whoever typed `sudo`. Half an identity is none: then nothing is run.
fn behind_sudo(env: impl Fn(&str) -> Option<String>) -> Result<Option<Identity>, Fault> {
    let id = |name: &str| -> Result<Option<u32>, Fault> {
        let Some(text) = env(name) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(id) => Ok(Some(id)),
            Err(_) => fault(
                exit::USAGE,
                format!("{name} is not a number: {text:?}; say --user"),
            ),
        }
    };
    let (uid, gid) = match (id("SUDO_UID")?, id("SUDO_GID")?) {
        (Some(uid), Some(gid)) => (Uid::from_raw(uid), Gid::from_raw(gid)),
        (None, None) => return Ok(None),
        _ => {
            return fault(
                exit::USAGE,
                "SUDO_UID and SUDO_GID go together; say --user".to_owned(),
            );
        }
    };
    let unknown = Identity {
        uid,
        gid,
        groups: vec![gid],
        known_as: None,
    };
    let user = User::from_uid(uid).ok().flatten();
    Ok(Some(user.map_or(unknown, |user| of(&user, gid))))
}

fn of(user: &User, gid: Gid) -> Identity {
    let groups = CString::new(user.name.as_str())
        .ok()
        .and_then(|name| getgrouplist(&name, gid).ok());
    Identity {
        uid: user.uid,
        gid,
        groups: groups.unwrap_or_else(|| vec![gid]),
        known_as: Some((user.name.clone(), user.dir.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(uid: &'static str) -> impl Fn(&str) -> Option<String> {
        move |name| match name {
            "SUDO_UID" => Some(uid.to_owned()),
            "SUDO_GID" => Some("54321".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn sudo_says_whose_command_it_is() {
        let identity = behind_sudo(env("54320")).ok().flatten().expect("somebody");
        assert_eq!(
            (identity.uid.as_raw(), identity.gid.as_raw()),
            (54320, 54321)
        );
        assert_eq!(identity.groups, [Gid::from_raw(54321)]);
    }

    #[test]
    fn without_sudo_it_is_ours() {
        assert_eq!(behind_sudo(|_| None).ok().flatten(), None);
    }

    #[test]
    fn half_an_identity_is_refused() {
        let no_group = |name: &str| (name == "SUDO_UID").then(|| "54320".to_owned());
        assert!(behind_sudo(no_group).is_err_and(|fault| fault.code == exit::USAGE));
        assert!(behind_sudo(env("root")).is_err_and(|fault| fault.code == exit::USAGE));
    }

    #[test]
    fn a_user_who_is_not_there_is_refused() {
        assert!(named("no-such-user").is_err_and(|fault| fault.code == exit::USAGE));
        assert!(named("0").is_ok_and(|it| it.uid.is_root()));
    }
}
