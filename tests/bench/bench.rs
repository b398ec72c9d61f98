//! What the agent costs: CPU seconds a million events against the floor's (`floor.rs`), peak
//! memory, and whether every event arrived once. The webhook (`sink.rs`) is in this process, so
//! that a child's CPU time is the forwarder's alone.
//!
//! `EVENTS` and `ROUNDS` change the amount of work, `AGENT` the binary. Figures are for comparing;
//! only lost, doubled or changed events make it fail.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod arrivals;
mod events;
mod floor;
mod instructions;
mod listener;
mod outage;
mod process;
mod sink;
mod table;
mod work;

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use sink::Sink;
use table::Row;
use work::WORKS;

fn main() -> ExitCode {
    // The floor is a process of its own, as the agent is: this program again. Cargo's own argument
    // is `--bench`.
    let arguments: Vec<String> = env::args().skip(1).collect();
    let result = match arguments.as_slice() {
        [floor, address] if floor == "floor" => floor::run(address, false).map(|()| true),
        [floor, address] if floor == "gzfloor" => floor::run(address, true).map(|()| true),
        [floor, address] if floor == "answer" => listener::floor(address).map(|()| true),
        [mode] if mode == "instructions" => instructions::run(false),
        [mode] if mode == "instructions-record" => instructions::run(true),
        _ => bench(),
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

/// Measures and prints everything, and returns whether every event arrived once.
fn bench() -> io::Result<bool> {
    let setup = Setup::new("all", number("EVENTS", 300_000).max(1))?;
    let rounds = number("ROUNDS", 5).max(1);
    println!(
        "{} events, {:.1} MB, {rounds} rounds of {}",
        setup.events,
        setup.bytes as f64 / 1e6,
        Path::new(&setup.agent[0]).display()
    );
    let mut rows = WORKS.each_ref().map(Row::new);
    let sink = Sink::start(setup.bytes)?;
    for round in 1..=rounds {
        for row in &mut rows {
            let sample = row.work.run(&setup, &sink)?;
            println!("round {round}: {:<7} {sample}", row.work.name);
            row.samples.push(sample);
        }
    }
    println!();
    table::print(&rows);
    println!();
    listener::run(&setup, &sink, rounds)?;
    println!();
    outage::run(&setup)?;

    Ok(rows.iter().all(Row::complete))
}

/// What all runs share.
struct Setup {
    /// The agent's command: its binary, and before it what that runs under.
    agent: Vec<OsString>,
    /// A directory for this run; removed at its end.
    directory: PathBuf,
    /// How many events a run carries.
    events: u64,
    /// The size of the file that holds them.
    bytes: u64,
}

impl Setup {
    /// Writes so many events. The binary is `AGENT`, or else the one that was built along.
    fn new(name: &str, events: u64) -> io::Result<Self> {
        let agent = env::var_os("AGENT").unwrap_or(env!("CARGO_BIN_EXE_s3-audit-webhook").into());
        let id = std::process::id();
        let directory = env::temp_dir().join(format!("s3-audit-webhook-bench-{id}-{name}"));
        fs::create_dir(&directory)?;
        let mut setup = Self {
            agent: vec![agent],
            directory,
            events,
            bytes: 0,
        };
        let mut file = BufWriter::new(File::create(setup.file())?);
        events::write(0..setup.events, &mut file)?;
        file.flush()?;
        setup.bytes = file.get_ref().metadata()?.len();
        Ok(setup)
    }

    /// The file of events.
    fn file(&self) -> PathBuf {
        self.directory.join("events.ndjson")
    }

    /// The socket that an agent listens on.
    fn socket(&self) -> PathBuf {
        self.directory.join("agent.sock")
    }

    /// Where a child's log goes.
    fn log(&self) -> PathBuf {
        self.directory.join("log")
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A number from the environment.
fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |value| {
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name}={value}: not a number"))
    })
}
