//! The log: standard error, a line an occurrence, level by `S3_AUDIT_WEBHOOK_LOG`. To systemd's journal, which has
//! the time anyway, each line tells its priority, so that `journalctl -p warning` finds what went wrong.

use std::env;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::str::FromStr;
use std::time::SystemTime;

use env_logger::{Builder, Target};
use log::{Level, LevelFilter};

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// A line of text.
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("expected text or json".into()),
        }
    }
}

/// Names the levels, and may name modules: env_logger's syntax.
pub const VARIABLE: &str = "S3_AUDIT_WEBHOOK_LOG";

/// Starts the log.
///
/// # Errors
/// The variable's value is no level.
pub fn start() -> Result<(), String> {
    let filters = env::var(VARIABLE).unwrap_or_else(|_| "info".into());
    if !filters.split(',').all(is_filter) {
        return Err(format!(
            "'{filters}' is no log level; expected error, warn, info or off"
        ));
    }
    let mut builder = Builder::new();
    builder.parse_filters(&filters);
    let is_journal = is_journal();
    builder.target(Target::Stderr).format(move |out, record| {
        // Libraries write headers and addresses at low levels; only this program's lines are known
        // to hold no secret.
        if !record.target().starts_with(env!("CARGO_CRATE_NAME")) {
            return Ok(());
        }
        match is_journal {
            true => write!(out, "<{}>", priority(record.level())),
            false => write!(
                out,
                "{} ",
                humantime::format_rfc3339_seconds(SystemTime::now())
            ),
        }?;
        writeln!(out, "{:5} {}", record.level(), record.args())
    });
    builder.try_init().map_err(|error| error.to_string())
}

/// Whether standard error goes to the journal, as systemd.exec(5) tells of `JOURNAL_STREAM`.
fn is_journal() -> bool {
    let Ok(journal) = env::var("JOURNAL_STREAM") else {
        return false;
    };
    let stream = io::stderr().as_fd().try_clone_to_owned().map(File::from);
    let found = stream.and_then(|stream| stream.metadata());
    found.is_ok_and(|found| journal == format!("{}:{}", found.dev(), found.ino()))
}

/// As syslog(3) numbers them.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// env_logger takes a word that is no level for a module's name, and then logs nothing else.
fn is_filter(part: &str) -> bool {
    let (module, level) = part
        .split_once('=')
        .unwrap_or((env!("CARGO_CRATE_NAME"), part));
    module.starts_with(env!("CARGO_CRATE_NAME")) && level.trim().parse::<LevelFilter>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_levels_of_this_program_are_filters() {
        for filter in [
            "info",
            "WARN",
            "s3_audit_webhook=debug",
            "s3_audit_webhook::delivery::sender=off",
        ] {
            assert!(is_filter(filter), "{filter}");
        }
        for filter in ["", "verbose", "ureq=trace", "info=ureq"] {
            assert!(!is_filter(filter), "{filter}");
        }
    }
}
