//! Why a command failed, and its exit code.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use crate::config::shared_options;
use crate::sys::shortage;
use crate::text::escape;

/// Wrong usage: names the option as the user wrote it, what is wrong with it, and what would be right.
#[derive(Debug)]
pub struct UsageError(pub String);

/// Why a command failed.
#[derive(Debug)]
pub enum CommandError {
    /// Its options can't work.
    Usage(UsageError),
    /// The host or the webhook failed.
    Failed(String),
}

impl From<UsageError> for CommandError {
    fn from(error: UsageError) -> Self {
        CommandError::Usage(error)
    }
}

impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        CommandError::Failed(match shortage::fix(&error) {
            Some(fix) => format!("{error}; fix: {fix}"),
            None => error.to_string(),
        })
    }
}

impl CommandError {
    /// Prints the error on standard error. Returns the exit code: 2 for wrong usage, otherwise 1.
    pub fn report(&self) -> ExitCode {
        let (text, code) = match self {
            CommandError::Usage(UsageError(text)) => (text, 2),
            CommandError::Failed(text) => (text, 1),
        };
        report(text);
        ExitCode::from(code)
    }
}

/// Prints an error, which may name files and quote values from anybody: a log gets it in one line, and a person at a
/// terminal gets what to do about it in a separate line.
pub fn report(text: &str) {
    let mut stderr = io::stderr();
    let text = escape::shown(text.trim_end(), usize::MAX);
    let text = match stderr.is_terminal() {
        true => for_people(&text, shared_options::is_wanted()),
        false => text,
    };
    let _ = writeln!(stderr, "s3-audit-webhook: {text}");
}

fn for_people(text: &str, has_colors: bool) -> String {
    let bold = |word: &str| match has_colors {
        true => format!("\x1b[1m{word}\x1b[0m"),
        false => word.to_owned(),
    };
    let mut text = text.to_owned();
    for word in ["fix:", "hint:"] {
        text = text.replace(&format!("; {word} "), &format!("\n  {} ", bold(word)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_has_a_line_of_its_own() {
        let text = "--endpoint: 'hec' has no scheme; fix: use a URL such as https://splunk:8088/";
        let what = "--endpoint: 'hec' has no scheme\n  fix: use a URL such as https://splunk:8088/";
        assert_eq!(for_people(text, false), what);
        assert_eq!(
            for_people(text, true),
            what.replace("fix:", "\x1b[1mfix:\x1b[0m")
        );
        assert_eq!(for_people("no room", true), "no room");
    }
}
