//! `test`: posts one marked event and tells, step by step, what became of it.

use std::process::ExitCode;

use crate::cli::TestOptions;
use crate::failure::Failure;
use crate::given::Origins;

/// Posts it.
///
/// # Errors
/// The settings are wrong.
pub fn test(options: &TestOptions, origins: &Origins) -> Result<ExitCode, Failure> {
    todo!("{options:?} {origins:?}")
}
