//! How many instructions the agent takes per event, counted by valgrind's callgrind: the same on a busy machine and on
//! a quiet one. `make instructions` reports them beside those of `instructions.txt`; another compiler counts
//! differently, so it is not a gate.
//!
//! Start and end are left out: the figure is the difference between a long and a short run, divided by the number of
//! events that the long one has more.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io;
use std::path::PathBuf;

use crate::arrivals::Arrivals;
use crate::clients::{self, Client};
use crate::process::Process;
use crate::programs::{Input, Program, Way};
use crate::setup::Setup;
use crate::sink::{Sink, free_address};

/// How many events the short run has.
const SHORT: u64 = 10_000;

/// A change by more than this part of the recorded figure is worth a look.
const TOLERANCE: f64 = 0.05;

/// Full soon, so that the amount of fresh memory does not depend on which thread is ahead.
const SMALL_BUFFER: &str = "--buffer-bytes=4MiB";

/// What is counted.
struct Row {
    name: &'static str,
    options: &'static [&'static str],
    gzip: bool,
    feed: Feed,
    /// How many events the long run has: just enough that two counts differ by less than 1 %.
    events: u64,
}

const ROWS: [Row; 4] = [
    Row {
        name: "file",
        options: &[SMALL_BUFFER],
        gzip: false,
        feed: Feed::Stdin,
        events: 110_000,
    },
    Row {
        name: "unix",
        options: &[SMALL_BUFFER, "--when-full=wait"],
        gzip: false,
        feed: Feed::Unix,
        events: 110_000,
    },
    Row {
        name: "gzip",
        options: &[SMALL_BUFFER],
        gzip: true,
        feed: Feed::Stdin,
        events: 40_000,
    },
    Row {
        name: "http",
        options: &[],
        gzip: false,
        feed: Feed::Http,
        events: 40_000,
    },
];

/// How events come to the agent.
#[derive(Clone, Copy)]
enum Feed {
    /// Its stdin is the file of events.
    Stdin,
    /// Over one connection, as a stream.
    Unix,
    /// Over one connection, one event per request.
    Http,
}

/// Counts, and records the figures or prints them beside the recorded ones.
pub(crate) fn run(record: bool) -> io::Result<()> {
    let counted = count()?;
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/bench/instructions.txt");
    let toolchain = env::var("TOOLCHAIN").unwrap_or_else(|_| "unknown".to_owned());
    if record {
        let mut text = format!(
            "# Instructions an event; `make instructions-record` writes this file.\n# {toolchain}\n"
        );
        for (name, count) in &counted {
            text += &format!("{name} {count}\n");
        }
        print!("{text}");
        return fs::write(path, text);
    }
    let recorded = fs::read_to_string(path)?;
    compare(&counted, &recorded);
    if !recorded.contains(&toolchain) {
        println!("The record is of another toolchain than this one: {toolchain}");
    }
    Ok(())
}

/// Prints each figure beside the recorded one.
fn compare(counted: &[(&str, u64)], recorded: &str) {
    let recorded: BTreeMap<&str, f64> = recorded
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, count)| Some((name, count.parse().ok()?)))
        .collect();
    println!("instructions an event    now  recorded  change");
    for (name, now) in counted {
        let before = recorded.get(name).copied().unwrap_or(f64::NAN);
        let change = *now as f64 / before - 1.0;
        let verdict = if change.abs() <= TOLERANCE {
            "as recorded"
        } else if change < 0.0 {
            "better"
        } else if change > 0.0 {
            "worse"
        } else {
            "not recorded"
        };
        println!(
            "{name:<20} {now:>7}  {before:>8}  {:+5.1} %  {verdict}",
            change * 100.0
        );
    }
}

/// Instructions per event, for each row.
fn count() -> io::Result<Vec<(&'static str, u64)>> {
    ROWS.iter()
        .map(|row| {
            let more = row.collected(row.events)? - row.collected(SHORT)?;
            Ok((row.name, more / (row.events - SHORT)))
        })
        .collect()
}

impl Row {
    /// The instructions of one run with this many events, all threads together.
    fn collected(&self, events: u64) -> io::Result<u64> {
        let mut setup = Setup::new("instructions", events)?;
        let counts = setup.directory.join("counts");
        let mut under = vec!["valgrind".into(), "--tool=callgrind".into()];
        under.push("--callgrind-out-file=/dev/null".into());
        under.push(format!("--log-file={}", counts.display()).into());
        setup.agent.splice(0..0, under);
        let sink = Sink::start(setup.bytes)?;

        let usage = self.feed(&setup, sink.url())?.usage()?;

        let arrivals = sink.empty(|arrived| Arrivals::check(arrived, self.gzip, true, events));
        let counts = fs::read_to_string(counts)?;
        let mut collected = counts
            .lines()
            .filter_map(|line| line.split_once("Collected : "));
        collected
            .find_map(|(_, count)| count.trim().parse().ok())
            .filter(|_| usage.success && arrivals.complete(true))
            .ok_or_else(|| {
                let log = setup.logged();
                io::Error::other(format!("{}: {arrivals}\n{counts}\n{log}", self.name))
            })
    }

    /// Starts the agent, gives it all events, and tells it to end.
    fn feed(&self, setup: &Setup, url: String) -> io::Result<Process> {
        let (socket, address) = (setup.socket(0), free_address()?);
        let input = match self.feed {
            Feed::Stdin => Input::File(setup.file()),
            Feed::Unix => Input::Unix(vec![socket.clone()]),
            Feed::Http => Input::Http(address),
        };
        // No request leaves before the body is full, so that requests do not depend on the clock.
        let mut way = Way::new(input, url)
            .with("--batch-age=1h")
            .with("--shutdown-timeout=1m");
        way.gzip = self.gzip;
        for option in self.options {
            way = way.with(option);
        }
        let mut command = Program::Agent
            .command(setup, &way)?
            .ok_or(io::ErrorKind::Unsupported)?;
        // With `rep movsb` every byte counts as an instruction, so glibc must copy in other ways.
        command.env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-ERMS,-FSRM");
        let agent = Process::measure(&mut command)?;
        match self.feed {
            Feed::Stdin => return Ok(agent),
            Feed::Unix => clients::stream(setup, clients::connect(&socket, &agent)?)?,
            Feed::Http => {
                let mut client = Client::connect(address, &agent)?;
                for request in clients::requests(setup.events) {
                    client.post(&request)?;
                }
            }
        }
        agent.signal(libc::SIGTERM);
        Ok(agent)
    }
}
