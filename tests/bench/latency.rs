//! From the write of an event into a socket to its arrival at the webhook, at 1,000 events a second; the floor is a
//! reader at the socket's other end.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::clients;
use crate::events;
use crate::process::Process;
use crate::programs::{Input, Program, Way};
use crate::results::{Results, quantile, sorted};
use crate::setup::Setup;
use crate::sink::Sink;

const EVENTS: u64 = 10_000;
const INTERVAL: Duration = Duration::from_millis(1);

/// Measures and prints.
pub(crate) fn run(results: &mut Results) -> io::Result<()> {
    let [floor, agent] = [floor()?, agent()?];
    let at = |waits: &[f64], share| [quantile(waits, share)];
    let limit = quantile(&floor, 0.99) + 3.0;
    results.figure("write to reader, p50", &at(&floor, 0.5), "ms", None);
    results.figure("write to reader, p99", &at(&floor, 0.99), "ms", None);
    results.figure("write to webhook, p50", &at(&agent, 0.5), "ms", None);
    results.figure(
        "write to webhook, p99",
        &at(&agent, 0.99),
        "ms",
        Some(limit),
    );
    Ok(())
}

/// Each event's time in milliseconds, in order of size, with nothing between.
fn floor() -> io::Result<Vec<f64>> {
    let (writer, reader) = UnixStream::pair()?;
    let arrived = thread::spawn(move || -> io::Result<Vec<Instant>> {
        BufReader::new(reader)
            .split(b'\n')
            .map(|line| line.map(|_| Instant::now()))
            .collect()
    });
    let written = write(writer)?;
    let arrived = arrived.join().expect("the reader panicked")?;
    Ok(times(&written, &arrived))
}

/// The same through the agent, which is told to wait for no others.
fn agent() -> io::Result<Vec<f64>> {
    let setup = Setup::new("latency", 0)?;
    let socket = setup.socket(0);
    let sink = Sink::start(0)?;
    let way = Way::new(Input::Unix(vec![socket.clone()]), sink.url()).with("--batch-age=0");
    let Some(mut command) = Program::Agent.command(&setup, &way)? else {
        return Ok(Vec::new());
    };
    let process = Process::start(&mut command)?;
    let written = write(clients::connect(&socket, &process)?)?;
    process.terminate();
    process.wait()?;
    let arrived: Vec<Instant> = sink.empty(|arrived| {
        let each = |arrival: &crate::sink::Arrival| {
            let lines = arrival.body.iter().filter(|byte| **byte == b'\n').count();
            vec![arrival.at; lines]
        };
        arrived.iter().flat_map(each).collect()
    });
    if arrived.len() != written.len() {
        return Err(io::Error::other(setup.logged()));
    }
    Ok(times(&written, &arrived))
}

/// Writes the events, and returns when each was begun.
fn write(mut to: UnixStream) -> io::Result<Vec<Instant>> {
    let mut event = Vec::new();
    let start = Instant::now();
    (0..EVENTS)
        .map(|number| {
            event.clear();
            events::append(number, &mut event);
            let due = start + INTERVAL * number as u32;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let now = Instant::now();
            to.write_all(&event).map(|()| now)
        })
        .collect()
}

fn times(written: &[Instant], arrived: &[Instant]) -> Vec<f64> {
    let pairs = written.iter().zip(arrived);
    sorted(pairs.map(|(written, arrived)| (*arrived - *written).as_secs_f64() * 1e3))
}
