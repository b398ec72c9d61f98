//! The program: reads its arguments, runs, and says by its exit code how that went.

use std::env;
use std::process::ExitCode;

use s3_audit_webhook::cli::Given;
use s3_audit_webhook::{glibc, run};

fn main() -> ExitCode {
    glibc::give_memory_back();
    glibc::keep_to_files_and_dns();
    match Given::read(env::args_os()) {
        Ok(given) => run::run(&given).unwrap_or_else(|error| error.tell()),
        Err(error) => {
            // A closed standard output changes nothing about what was asked.
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        }
    }
}
