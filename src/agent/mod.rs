//! `run`: the agent. Opens everything, starts the threads, supervises them, and stops in order.

mod bounds;
mod checkpoints;
pub mod destination;
mod listening;
mod memory;
mod open;
pub mod proxy_choice;
mod request_template;
mod running;
mod settings_changes;
mod settings_files;
mod settings_watch;
mod spooling;
mod start;
pub mod status_page;
mod supervise;
pub mod systemd;
mod trailing;

pub use open::{check, is_awaited};

use std::process::ExitCode;
use std::time::Duration;

use crate::config::error::CommandError;
use crate::config::options::RunOptions;
use crate::config::provenance::Provenance;
use crate::telemetry::log;
use crate::telemetry::message::Message;

/// How long a failed start waits for the log.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Runs the agent until its sources end or a signal ends it.
///
/// # Errors
/// It could not start.
pub fn run(options: &RunOptions, provenance: &Provenance) -> Result<ExitCode, CommandError> {
    let opened = open::open(options, provenance)?;
    let first_lines = opened.first_lines(options, provenance);
    match start::start(opened, options, provenance) {
        Ok(agent) => {
            first_lines.iter().for_each(Message::log);
            Ok(agent.supervise(options.report_interval, options.shutdown_timeout))
        }
        Err(failure) => {
            log::flush(LAST_LINES);
            Err(failure)
        }
    }
}
