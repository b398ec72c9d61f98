//! The program: reads its arguments, does what they say, and says by its exit code how that went.

use std::env;
use std::process::ExitCode;

use s3_audit_webhook::cli::Command;
use s3_audit_webhook::settings::given::Given;
use s3_audit_webhook::{commands::control, commands::probe, commands::show, glibc, run};

fn main() -> ExitCode {
    glibc::give_memory_back();
    glibc::keep_to_files_and_dns();
    match Given::read(env::args_os()) {
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
