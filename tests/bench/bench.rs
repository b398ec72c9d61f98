//! What the agent costs: CPU seconds per million events compared with the floor's (`floor.rs`), peak memory, and
//! whether every event arrived once. The webhook (`sink.rs`) is in this process, so that a child's CPU time is the
//! forwarder's alone.
//!
//! `BENCH_EVENTS` and `BENCH_ROUNDS` change the amount of work, `BENCH_ONLY` names the parts to run, separated by
//! commas (cpu, extras, connections, footprint, latency, rates, growth, outage, spool), `AGENT` the binary, and
//! `BENCH_BEFORE` another one that takes turns with it in `rates`. Growth takes 12 GB of the temporary directory.
//! Figures are for comparing; only lost, doubled or changed events make it fail.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod arrivals;
mod clients;
mod connections;
mod events;
mod extras;
mod floor;
mod footprint;
mod growth;
mod instructions;
mod latency;
mod outage;
mod packed;
mod peers;
mod plot;
// The stories' process and webhook can do more than is asked of them here.
#[allow(dead_code)]
#[path = "../support/process.rs"]
mod process;
mod programs;
mod rates;
mod report;
mod results;
mod setup;
mod sink;
mod spool;
#[allow(dead_code, unused_imports)]
#[path = "../support/webhook/mod.rs"]
mod webhook;
mod work;

use std::env;
use std::io;
use std::process::ExitCode;

use programs::Program;
use results::Results;
use setup::{Setup, number};

fn main() -> ExitCode {
    // Cargo adds `--bench` itself.
    let arguments: Vec<String> = env::args().skip(1).filter(|it| it != "--bench").collect();
    let result = match arguments.split_first() {
        None => bench(),
        Some((mode, rest)) => match mode.as_str() {
            "floor" => floor::run(rest).map(|()| true),
            "report" => report::run().map(|()| true),
            "instructions" => instructions::run(false).map(|()| true),
            "instructions-record" => instructions::run(true).map(|()| true),
            other => Err(io::Error::other(format!("{other}: no such benchmark"))),
        },
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures, prints, and writes the file of results; returns whether every event arrived once.
fn bench() -> io::Result<bool> {
    let only = env::var("BENCH_ONLY").unwrap_or_default();
    let wanted = |name: &str| only.is_empty() || only.split(',').any(|one| one == name);
    let rounds = number("BENCH_ROUNDS", 5).max(1);
    let setup = Setup::new("all", number("BENCH_EVENTS", 300_000).max(1))?;
    let mut results = Results::new(setup.events, rounds);
    if cfg!(debug_assertions) {
        println!("built without optimisation: floors cost more than they should");
    }
    for program in Program::ALL.into_iter().filter(|it| !it.is_installed()) {
        println!("{}: not installed, left out", program.name());
    }
    let mut complete = true;
    if wanted("cpu") {
        work::sink_rate(&setup, &mut results)?;
        complete &= work::run(&setup, rounds, &mut results)?;
    }
    if wanted("extras") {
        extras::run(&setup, rounds, &mut results)?;
    }
    if wanted("connections") {
        complete &= connections::run(rounds, &mut results)?;
    }
    if wanted("footprint") {
        footprint::run(&mut results)?;
    }
    if wanted("latency") {
        latency::run(&mut results)?;
    }
    if wanted("rates") {
        rates::run(rounds, &mut results)?;
    }
    if wanted("growth") {
        growth::run(&mut results)?;
    }
    if wanted("outage") {
        complete &= outage::run(&mut results)?;
    }
    if wanted("spool") {
        spool::run(rounds, &mut results)?;
    }
    results.write()?;
    Ok(complete)
}
