//! From the write of an event into a socket, or a file, to its arrival at the webhook, at 1,000 events a second; the
//! floor is a reader at the other end of the socket.

use std::fs::File;
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
    let [floor, agent, file] = [floor()?, agent(false)?, agent(true)?];
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
    let name = |share| format!("write to a file to webhook, {share}");
    results.figure(&name("p50"), &at(&file, 0.5), "ms", Some(2.0));
    results.figure(&name("p99"), &at(&file, 0.99), "ms", Some(5.0));
    Ok(())
}

/// Each event's time in milliseconds, sorted, with nothing in between.
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

/// The same through the agent, which is set not to wait for further events.
fn agent(is_file: bool) -> io::Result<Vec<f64>> {
    let setup = Setup::new("latency", 0)?;
    let socket = setup.socket(0);
    let path = setup.directory.join("audit.log");
    let file = File::create(&path)?;
    let sink = Sink::start(0)?;
    let input = match is_file {
        true => Input::Appended(path),
        false => Input::Unix(vec![socket.clone()]),
    };
    let way = Way::new(input, sink.url()).with("--batch-age=0");
    let Some(mut command) = Program::Agent.command(&setup, &way)? else {
        return Ok(Vec::new());
    };
    let process = Process::measure(&mut command)?;
    let written = match is_file {
        true => {
            process.settled()?;
            let written = write(file)?;
            // So that the last event was read: the agent does not read on when it ends.
            thread::sleep(Duration::from_secs(1));
            written
        }
        false => write(clients::connect(&socket, &process)?)?,
    };
    process.signal(libc::SIGTERM);
    process.usage()?;
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

/// Writes the events, and returns when the write of each began.
fn write(mut to: impl Write) -> io::Result<Vec<Instant>> {
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
