//! `check`: whether an agent would start with these settings and the files that they name; so that none is awaited. It
//! opens no source and starts nothing.

use std::process::ExitCode;

use crate::agent;
use crate::cli::terminal::{note, show};
use crate::cli::{doubts, service};
use crate::config::error::CommandError;
use crate::config::opt::Opt;
use crate::config::options::RunOptions;
use crate::config::provenance::Provenance;

/// What scripts know this case by.
const AWAITED: &str =
    "an agent would wait for the files that can't be read; fix: provide them, or name others";

/// Checks the settings.
///
/// # Errors
/// What would keep an agent from starting, what the service can't read, or that it would only wait for a file.
pub fn check(options: &RunOptions, provenance: &Provenance) -> Result<ExitCode, CommandError> {
    let checked = agent::check(options, provenance)?;
    service::check_files(&options.webhook)?;
    let doubts = doubts::doubts(&options.webhook);
    for warning in checked.warnings.into_iter().chain(doubts) {
        note(&format!("warning: {warning}"));
    }
    let place = |option| format!(" (from {})", provenance.location(option));
    for source in &options.sources {
        show("source", &format!("{source}{}", place(Opt::Source)));
    }
    show("webhook", &checked.forwarding.to_string());
    if !checked.is_complete {
        return Err(CommandError::Failed(AWAITED.into()));
    }
    show(
        "valid",
        "nothing was started; `s3-audit-webhook test` tries the webhook",
    );
    Ok(ExitCode::SUCCESS)
}
