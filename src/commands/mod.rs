//! What an administrator does besides running the agent: `enable`, `disable`, `show` and `test`.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::cli::Command;
use crate::run;
use crate::settings::given::Given;

pub mod agents;
pub mod control;
pub mod probe;
pub mod show;
pub mod steps;
pub mod terminal;
pub mod token_input;

/// Does what the arguments say, and says by the exit code how that went.
pub fn execute(args: Vec<OsString>) -> ExitCode {
    match Given::read(args) {
        Ok(Given { command, origins }) => match command {
            Command::Run(options) => run::run(&options, &origins),
            Command::Enable(options) => control::enable(*options, &origins),
            Command::Disable(options) => control::disable(&options),
            Command::Show(options) => show::show(&options, &origins),
            Command::Test(options) => probe::test(&options, &origins),
        }
        .unwrap_or_else(|error| error.tell()),
        Err(error) => {
            // A closed standard output changes nothing about what was asked.
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        }
    }
}
