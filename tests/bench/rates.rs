//! What an event costs at rates that hosts really see, with one event per write; in turns with another version of the
//! agent if `BENCH_BEFORE` names its binary, and for POSTs in turns with a program that only answers them (`floor.rs`).

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::clients::{self, CONNECTIONS, Client};
use crate::events;
use crate::process::Process;
use crate::programs::{Input, Program, Way};
use crate::results::Results;
use crate::setup::Setup;
use crate::sink::{Sink, free_address};

/// How long each rate is kept up.
const TIME: Duration = Duration::from_secs(4);
/// What is due is written together after at least this time: finer sleeps would measure the timer.
const TICK: Duration = Duration::from_micros(500);

/// How events come in.
#[derive(Clone, Copy, PartialEq)]
enum Load {
    /// Over one connection of `unix-listen:`.
    Stream,
    /// One event per POST, over this many connections.
    Posts(usize),
    /// Appended to a file.
    Appended,
}

/// What comes in, how many events per second, and how many microseconds of CPU each may take.
const ROWS: [(Load, u64, f64); 11] = [
    (Load::Stream, 1_000, 11.0),
    (Load::Stream, 5_000, 6.0),
    (Load::Stream, 20_000, 3.0),
    (Load::Posts(8), 1_000, 12.0),
    (Load::Posts(8), 5_000, 11.0),
    (Load::Posts(8), 20_000, 10.0),
    (Load::Posts(60), 3_000, 30.0),
    (Load::Posts(200), 3_000, 30.0),
    (Load::Posts(1_000), 3_000, 30.0),
    (Load::Appended, 1_000, 4.0),
    (Load::Appended, 5_000, 2.0),
];

/// Measures and prints.
pub(crate) fn run(rounds: u64, results: &mut Results) -> io::Result<()> {
    let before = env::var_os("BENCH_BEFORE");
    for (load, rate, limit) in ROWS {
        let (mut now, mut earlier, mut floor) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let mut setup = Setup::new("rates", 0)?;
            now.push(carry(&setup, Program::Agent, load, rate)?);
            if let Load::Posts(_) = load {
                floor.push(carry(&setup, Program::Floor, load, rate)?);
            }
            if let Some(before) = &before {
                setup.agent = vec![before.clone()];
                earlier.push(carry(&setup, Program::Agent, load, rate)?);
            }
        }
        let name = match load {
            Load::Stream => format!("unix, an event a write, {rate}/s: CPU an event"),
            Load::Posts(connections) => {
                format!("http, an event a POST, {rate}/s over {connections}: CPU an event")
            }
            Load::Appended => format!("file, an event a write, {rate}/s: CPU an event"),
        };
        results.figure(&name, &now, "us", Some(limit));
        for (what, figures) in [("before", earlier), ("floor", floor)] {
            if !figures.is_empty() {
                results.figure(&format!("{name}, {what}"), &figures, "us", None);
            }
        }
    }
    Ok(())
}

/// Carries events at this rate, and returns how many microseconds of CPU each took.
fn carry(setup: &Setup, program: Program, load: Load, rate: u64) -> io::Result<f64> {
    let (sink, address, events) = (Sink::start(0)?, free_address()?, rate * TIME.as_secs());
    let (socket, path) = (setup.socket(0), setup.directory.join("audit.log"));
    let _ = fs::remove_dir_all(setup.directory.join("state"));
    let _ = fs::remove_file(&socket);
    let mut file = OpenOptions::new().append(true).create(true).open(&path)?;
    file.set_len(0)?;
    let input = match load {
        Load::Stream => Input::Unix(vec![socket.clone()]),
        Load::Posts(_) => Input::Http(address),
        Load::Appended => Input::Appended(path),
    };
    let Some(mut command) = program.command(setup, &Way::new(input, sink.url()))? else {
        return Ok(f64::NAN);
    };
    let process = Process::measure(&mut command)?;
    let start = match load {
        Load::Stream => {
            let mut stream = clients::connect(&socket, &process)?;
            let start = process.settled()?;
            write(&mut stream, rate, 0..events)?;
            start
        }
        Load::Appended => {
            let start = process.settled()?;
            write(&mut file, rate, 0..events)?;
            start
        }
        Load::Posts(connections) => post(address, connections, rate, &process)?,
    };
    // The last batch waits until it is due.
    thread::sleep(Duration::from_millis(1_500));
    process.signal(libc::SIGTERM);
    let usage = process.usage()?;
    let arrived = sink.take_lines();
    if arrived != events && program == Program::Agent {
        let what = format!("{arrived} of {events} arrived:\n{}", setup.logged());
        return Err(io::Error::other(what));
    }
    Ok((usage.cpu - start) / events as f64 * 1e6)
}

/// Writes each event when it is due.
fn write(to: &mut impl Write, rate: u64, numbers: std::ops::Range<u64>) -> io::Result<()> {
    let mut event = Vec::new();
    at_rate(rate, numbers, |number| {
        event.clear();
        events::append(number, &mut event);
        to.write_all(&event)
    })
}

/// Posts each event when it is due, over the connections in turn; returns the process's CPU seconds before that.
fn post(address: SocketAddr, connections: usize, rate: u64, process: &Process) -> io::Result<f64> {
    let threads = CONNECTIONS as u64;
    let clients = |_| {
        let each = connections / CONNECTIONS;
        (0..each.max(1))
            .map(|_| Client::connect(address, process))
            .collect::<io::Result<Vec<_>>>()
    };
    let clients: Vec<Vec<Client>> = (0..threads).map(clients).collect::<io::Result<_>>()?;
    let start = process.settled()?;
    let events = rate * TIME.as_secs();
    clients::in_parallel(clients.into_iter().enumerate(), |(place, mut clients)| {
        let own = events / threads;
        let first = place as u64 * own;
        let mut turn = 0;
        at_rate(rate / threads, first..first + own, |number| {
            turn = (turn + 1) % clients.len();
            let request = clients::request(number);
            // A connection may be closed after its answer, as any server may do.
            while !clients[turn].post(&request).unwrap_or_default() {
                clients[turn] = Client::connect(address, process)?;
            }
            Ok(())
        })
    })?;
    Ok(start)
}

fn at_rate(
    rate: u64,
    numbers: std::ops::Range<u64>,
    mut send: impl FnMut(u64) -> io::Result<()>,
) -> io::Result<()> {
    let (start, first) = (Instant::now(), numbers.start);
    for number in numbers {
        let due = Duration::from_secs_f64((number - first) as f64 / rate as f64);
        let ahead = due.saturating_sub(start.elapsed());
        if !ahead.is_zero() {
            thread::sleep(ahead.max(TICK));
        }
        send(number)?;
    }
    Ok(())
}
