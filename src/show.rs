//! `show`: what is set, where each value comes from, and how the agents are doing.

use std::process::ExitCode;

use crate::cli::ShowOptions;
use crate::failure::Failure;
use crate::given::Origins;

/// Prints it.
///
/// # Errors
/// The settings are wrong; what can be told is told before.
pub fn show(options: &ShowOptions, origins: &Origins) -> Result<ExitCode, Failure> {
    todo!("{options:?} {origins:?}")
}
