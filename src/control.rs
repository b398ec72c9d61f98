//! `enable` and `disable`: edit the settings file that the agents follow.

use std::process::ExitCode;

use crate::cli::{DisableOptions, EnableOptions};
use crate::failure::Failure;
use crate::given::Origins;

/// Sets the webhook.
///
/// # Errors
/// The settings can't be, or the file can't be written; then it is as it was.
pub fn enable(options: &EnableOptions, origins: &Origins) -> Result<ExitCode, Failure> {
    todo!("{options:?} {origins:?}")
}

/// Stops forwarding.
///
/// # Errors
/// The file can't be written; then it is as it was.
pub fn disable(options: &DisableOptions) -> Result<ExitCode, Failure> {
    todo!("{options:?}")
}
