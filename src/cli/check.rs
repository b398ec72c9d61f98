//! `check`: whether an agent would start with these settings and the files that they name; those that it would wait for
//! are warnings. It opens no source and starts nothing.

use std::process::ExitCode;

use crate::agent;
use crate::cli::terminal::{note, show};
use crate::cli::{doubts, service};
use crate::config::error::CommandError;
use crate::config::opt::Opt;
use crate::config::options::RunOptions;
use crate::config::provenance::Provenance;

/// Checks the settings.
///
/// # Errors
/// What would keep an agent from starting, or what the service can't read.
pub fn check(options: &RunOptions, provenance: &Provenance) -> Result<ExitCode, CommandError> {
    let (forwarding, warnings) = agent::check(options, provenance)?;
    service::check_files(&options.webhook)?;
    for warning in warnings.into_iter().chain(doubts::doubts(&options.webhook)) {
        note(&format!("warning: {warning}"));
    }
    let place = |option| format!(" (from {})", provenance.location(option));
    for source in &options.sources {
        show("source", &format!("{source}{}", place(Opt::Source)));
    }
    show("webhook", &forwarding.to_string());
    show(
        "valid",
        "nothing was started; `s3-audit-webhook test` tries the webhook",
    );
    Ok(ExitCode::SUCCESS)
}
