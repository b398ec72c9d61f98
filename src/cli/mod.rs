//! All commands but `run`, and the dispatch of all.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;

use crate::agent;
use crate::config::error;
use crate::config::invocation::Invocation;
use crate::config::options::Command;

pub mod agent_text;
pub mod check;
pub mod doubts;
pub mod enable;
pub mod service;
pub mod show;
pub mod spool;
pub mod steps;
pub mod terminal;
pub mod test;
pub mod token_input;
pub mod verify;

/// Runs the command. Returns the exit code: 0 success, 1 failure, 2 wrong usage.
pub fn execute(args: Vec<OsString>) -> ExitCode {
    match Invocation::read(args) {
        Ok(Invocation {
            command,
            provenance,
        }) => match command {
            Command::Run(options) => agent::run(&options, &provenance),
            Command::Enable(options) => enable::enable(*options, &provenance),
            Command::Disable(options) => enable::disable(&options),
            Command::Show(options) => show::show(&options, &provenance),
            Command::Check(options) => check::check(&options, &provenance),
            Command::Test(options) => test::test(&options, &provenance),
            Command::Spool(options) => spool::spool(&options),
            Command::Verify(options) => verify::verify(&options),
        }
        .unwrap_or_else(|error| error.report()),
        Err(error) => {
            match error.kind() {
                // Our own messages, not clap's: an I/O error may pass by itself.
                ErrorKind::ValueValidation | ErrorKind::Io => {
                    error::report(error.to_string().trim_start_matches("error: "));
                }
                // --help and --version are printed this way too; it doesn't matter if the output is closed.
                _ => drop(error.print()),
            }
            match error.kind() {
                ErrorKind::Io => ExitCode::FAILURE,
                _ => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)),
            }
        }
    }
}
