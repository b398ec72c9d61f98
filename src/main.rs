//! The program. All of it is in the library, which is compiled to be small; what is compiled here grows.

use std::env;
use std::process::ExitCode;

use s3_audit_webhook::cli;
use s3_audit_webhook::sys::glibc;

fn main() -> ExitCode {
    glibc::give_memory_back();
    glibc::keep_to_files_and_dns();
    cli::execute(env::args_os().collect())
}
