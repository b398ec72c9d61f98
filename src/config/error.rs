//! Why a command failed, and its exit code.

use std::io::Write as _;
use std::process::ExitCode;

use crate::text::escape;

/// Wrong usage: names the option as the user wrote it, what is wrong with it, and what would be right.
#[derive(Debug)]
pub struct UsageError(pub String);

/// Why a command failed.
#[derive(Debug)]
pub enum CommandError {
    /// Its options can't work.
    Usage(UsageError),
    /// The host or the webhook failed it.
    Failed(String),
}

impl From<UsageError> for CommandError {
    fn from(error: UsageError) -> Self {
        CommandError::Usage(error)
    }
}

impl From<std::io::Error> for CommandError {
    fn from(error: std::io::Error) -> Self {
        CommandError::Failed(error.to_string())
    }
}

impl CommandError {
    /// Prints the error on standard error. The exit code: 2 for wrong usage, else 1.
    pub fn report(&self) -> ExitCode {
        let (text, code) = match self {
            CommandError::Usage(UsageError(text)) => (text, 2),
            CommandError::Failed(text) => (text, 1),
        };
        // It may name files and quote values as whoever made them liked.
        let text = escape::shown(text, usize::MAX);
        let _ = writeln!(std::io::stderr(), "s3-audit-webhook: {text}");
        ExitCode::from(code)
    }
}
