//! How large the agent is, what it uses and does while nothing happens, and how soon it delivers after its start.

use std::fs;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::clients::{self, PATIENCE};
use crate::events;
use crate::process::Process;
use crate::programs::{Input, Program, Way};
use crate::results::Results;
use crate::setup::{Setup, number};
use crate::sink::Sink;

const MIB: f64 = (1 << 20) as f64;
/// More than the buffer has room for.
const TOO_MANY: u64 = 80_000;

/// Measures and prints.
pub(crate) fn run(results: &mut Results) -> io::Result<()> {
    size(results)?;
    start(results)?;
    idle(results)?;
    full(results)
}

/// The size of the binary.
fn size(results: &mut Results) -> io::Result<()> {
    let setup = Setup::new("size", 0)?;
    let bytes = fs::metadata(&setup.agent[0])?.len() as f64;
    results.figure("binary", &[bytes / MIB], "MiB", Some(6.0));
    Ok(())
}

/// The time from the start of the process to the arrival of the single event that its stdin has.
fn start(results: &mut Results) -> io::Result<()> {
    let setup = Setup::new("start", 1)?;
    let sink = Sink::start(0)?;
    let mut times = Vec::new();
    for _ in 0..21 {
        let way = Way::new(Input::File(setup.file()), sink.url()).with("--batch-age=0");
        let Some(mut command) = Program::Agent.command(&setup, &way)? else {
            return Ok(());
        };
        let process = Process::measure(&mut command)?;
        let started = process.started;
        process.usage()?;
        let arrived = sink.empty(|arrived| arrived.first().map(|first| first.at));
        let arrived = arrived.ok_or_else(|| io::Error::other(setup.logged()))?;
        times.push((arrived - started).as_secs_f64() * 1e3);
    }
    results.figure("start to first delivered event", &times, "ms", Some(15.0));
    Ok(())
}

/// All programs that are installed, side by side, with a socket that nobody writes to. `BENCH_IDLE` changes how long to
/// watch them, in seconds.
fn idle(results: &mut Results) -> io::Result<()> {
    let sink = Sink::start(0)?;
    let mut running = Vec::new();
    for program in Program::ALL
        .into_iter()
        .skip(1)
        .filter(|it| it.is_installed())
    {
        let setup = Setup::new(&format!("idle-{}", program.name()), 0)?;
        let way = Way::new(Input::Unix(vec![setup.socket(0)]), sink.url());
        if let Some(mut command) = program.command(&setup, &way)? {
            running.push((program, Process::measure(&mut command)?, setup));
        }
    }
    // Whatever they do at their start is over by then.
    thread::sleep(Duration::from_secs(3));
    let before = running
        .iter()
        .map(|(_, process, _)| process.activity())
        .collect::<io::Result<Vec<_>>>()?;
    let seconds = number("BENCH_IDLE", 30) as f64;
    thread::sleep(Duration::from_secs_f64(seconds));
    for ((program, process, _), (cpu, waits)) in running.iter().zip(before) {
        let (cpu_now, waits_now) = process.activity()?;
        let percent = (cpu_now - cpu) / seconds * 100.0;
        let wakes = (waits_now - waits) as f64 / seconds;
        let memory = process.memory("VmRSS").unwrap_or(f64::NAN);
        results.add(
            "idle",
            json!({ "program": program.name(), "memory": memory, "cpu_percent": percent, "wakes": wakes }),
        );
        if *program == Program::Agent {
            results.figure("idle memory", &[memory], "MiB", Some(4.0));
            results.figure("idle CPU", &[percent], "%", Some(0.05));
            results.figure("idle wake-ups, all threads", &[wakes], "a second", None);
        } else {
            let name = program.name();
            println!(
                "{name} idle: {memory:.1} MiB, {percent:.3} % CPU, {wakes:.1} wake-ups a second"
            );
        }
    }
    Ok(())
}

/// The peak memory with the buffer full of events that came one at a time, each in a read of its own: the smallest
/// pieces that the agent may have to store. And how much of it remains, within a minute after everything was delivered.
fn full(results: &mut Results) -> io::Result<()> {
    let setup = Setup::new("full", 0)?;
    let (socket, sink) = (setup.socket(0), Sink::start(0)?);
    sink.go_away();
    // More events than will come, so that the bytes fill the buffer.
    let way = Way::new(Input::Unix(vec![socket.clone()]), sink.url())
        .with("--buffer-events=1000000")
        .with("--backoff-max=1s");
    let Some(mut command) = Program::Agent.command(&setup, &way)? else {
        return Ok(());
    };
    let process = Process::measure(&mut command)?;
    process.settled()?;
    let idle = process.memory("VmRSS").unwrap_or(f64::NAN);
    let mut feed = OneByOne(clients::connect(&socket, &process)?);
    events::write(0..TOO_MANY, &mut feed)?;
    let peak = process.memory("VmHWM").unwrap_or(f64::NAN);
    sink.come_back();
    sink.wait_until_quiet();
    let drained = Instant::now();
    let kept = || process.memory("VmRSS").map_or(f64::NAN, |now| now - idle);
    while kept() > 8.0 && drained.elapsed() < Duration::from_secs(60) {
        thread::sleep(Duration::from_secs(1));
    }
    let kept = kept();
    process.signal(libc::SIGTERM);
    process.usage()?;
    let name = "memory above idle, within a minute after that was delivered";
    results.figure(name, &[kept], "MiB", Some(8.0));
    results.figure(
        "memory with a full buffer of 64 MiB, an event a read",
        &[peak],
        "MiB",
        Some(72.0),
    );
    Ok(())
}

/// Waits after each write until the bytes were read.
struct OneByOne(UnixStream);

impl Write for OneByOne {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.write(bytes)?;
        let start = Instant::now();
        while self.unread()? > 0 {
            if start.elapsed() > PATIENCE {
                return Err(io::Error::other("the agent does not read"));
            }
            thread::yield_now();
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl OneByOne {
    /// How many of the written bytes are still in the kernel.
    fn unread(&self) -> io::Result<i32> {
        let mut unread = 0;
        // SAFETY: the descriptor is open, and the request writes an int.
        match unsafe { libc::ioctl(self.0.as_raw_fd(), libc::TIOCOUTQ, &raw mut unread) } {
            0 => Ok(unread),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
