//! The reasons for not starting that the first look at the policy file knows.

use std::io;
use std::path::PathBuf;

use crate::policy::Diagnostics;

/// What stands in the way of serving.
#[derive(Debug)]
pub enum StartError {
    /// There is no policy file.
    PolicyMissing {
        /// Where it should be.
        file: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The policy file is not a policy.
    PolicyInvalid(Box<Diagnostics>),
}
