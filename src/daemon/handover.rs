//! The sockets that a service manager hands over, as systemd.socket(5) and sd_listen_fds(3) have it.
//!
//! Nothing comes in but the environment; descriptors of our own go out, and the
//! variables that told of them are gone. What they are is not looked at here.

use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use super::StartError;

/// What was handed over, if it was handed to us; the first call alone gets it. To be called before there are further threads.
///
/// # Errors
/// When the variables say what cannot be.
#[expect(
    unsafe_code,
    reason = "a number in the environment is all that is told of a descriptor"
)]
pub fn handed_over() -> Result<Vec<OwnedFd>, StartError> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::AcqRel) {
        return Ok(Vec::new());
    }
    // SAFETY: there is one thread, so nobody reads the environment; the descriptors are there, or it is an error, were opened
    // by nobody in this program, and are given away once.
    let handed: std::io::Result<Vec<OwnedFd>> = unsafe {
        sd_notify::listen_fds_with_names_and_unset_env()
            .map(|all| all.map(|(fd, _)| OwnedFd::from_raw_fd(fd)).collect())
    };
    handed.map_err(StartError::NotHandedOver)
}
