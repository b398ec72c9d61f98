//! The log: standard error, a line an occurrence, level by `S3_AUDIT_WEBHOOK_LOG`.

use std::env;
use std::io::Write;
use std::time::SystemTime;

use env_logger::{Builder, Target};
use log::LevelFilter;

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
    builder.target(Target::Stderr).format(|out, record| {
        // Libraries write headers and addresses at low levels; only this program's lines are known
        // to hold no secret.
        if !record.target().starts_with(env!("CARGO_CRATE_NAME")) {
            return Ok(());
        }
        writeln!(
            out,
            "{} {:5} {}",
            humantime::format_rfc3339_seconds(SystemTime::now()),
            record.level(),
            record.args()
        )
    });
    builder.try_init().map_err(|error| error.to_string())
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
            "s3_audit_webhook::sender=off",
        ] {
            assert!(is_filter(filter), "{filter}");
        }
        for filter in ["", "verbose", "ureq=trace", "info=ureq"] {
            assert!(!is_filter(filter), "{filter}");
        }
    }
}
