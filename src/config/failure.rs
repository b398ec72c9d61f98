//! Why a command did not do what it was asked for, and the exit code.

use std::io::Write as _;
use std::process::ExitCode;

use crate::config::given::UsageError;

/// Why a command came to nothing.
#[derive(Debug)]
pub enum Failure {
    /// It was asked for something that can't be.
    Usage(UsageError),
    /// The host would not have it now.
    Failed(String),
}

impl From<UsageError> for Failure {
    fn from(error: UsageError) -> Self {
        Failure::Usage(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::Failed(error.to_string())
    }
}

impl Failure {
    /// Tells what went wrong on standard error, and the exit code.
    pub fn tell(&self) -> ExitCode {
        let (text, code) = match self {
            Failure::Usage(UsageError(text)) => (text, 2),
            Failure::Failed(text) => (text, 1),
        };
        let _ = writeln!(std::io::stderr(), "s3-audit-webhook: {text}");
        ExitCode::from(code)
    }
}
