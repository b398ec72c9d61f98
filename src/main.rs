//! The program. Its code is in the library.

use std::env;
use std::process::ExitCode;

use s3_audit_webhook::cli;
use s3_audit_webhook::sys::{exit, glibc};

fn main() -> ExitCode {
    exit::without_a_dump();
    exit::not_by_chance();
    glibc::return_freed_memory();
    glibc::resolve_by_files_and_dns();
    cli::execute(env::args_os().collect())
}
