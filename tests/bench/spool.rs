//! What a spool costs: the same work without one and with each `--spool-sync`, in turns; how long clients wait; how
//! much `always` makes of the disk's speed; memory in an outage; and how soon a start delivers from a large backlog.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::clients::{self, CONNECTIONS, Client};
use crate::process::Process;
use crate::programs::{Input, Program, Way};
use crate::results::{Results, middle, quantile, sorted};
use crate::setup::{Setup, number};
use crate::sink::{Sink, free_address};

/// How many events a body has, in works with several.
const BATCH: u64 = 100;
/// How many bytes of a stream are a record of the spool.
const PIECE: u64 = 64 << 10;
/// How many clients there are for the throughput of `always`.
const CLIENTS: usize = 64;
/// Requests per second while answer times are measured.
const RATE: u64 = 5_000;
const GIB: u64 = 1 << 30;

#[derive(Clone, Copy, PartialEq)]
enum Load {
    Unix,
    Batches,
    Single,
}

impl Load {
    const ALL: [(Self, &'static str, f64); 3] = [
        (Self::Unix, "unix", 1.6),
        (Self::Batches, "http, 100 events a POST", 1.6),
        (Self::Single, "http, one event a POST", 1.3),
    ];
}

/// Measures and prints.
///
/// # Errors
/// Not every event arrived.
pub(crate) fn run(rounds: u64, results: &mut Results) -> io::Result<()> {
    let setup = Setup::new("spool", number("BENCH_EVENTS", 300_000))?;
    // One for all: each uses as much memory as there are events.
    let sink = Sink::start(setup.bytes)?;
    for (load, name, limit) in Load::ALL {
        let mut cpu = [const { Vec::new() }; 4];
        for _ in 0..rounds {
            for (place, sync) in [None, Some("never"), Some("second"), Some("always")]
                .into_iter()
                .enumerate()
            {
                cpu[place].push(carry(&setup, &sink, Program::Agent, load, sync)?);
            }
        }
        let [without, with @ ..] = &cpu;
        results.figure(
            &format!("{name}: CPU a million without a spool"),
            without,
            "s",
            None,
        );
        for (sync, with) in ["never", "second", "always"].into_iter().zip(with) {
            let ratio = sorted(
                with.iter()
                    .zip(without)
                    .map(|(with, without)| with / without),
            );
            let limit = (sync != "always").then_some(limit);
            let name = format!("{name}: × CPU with --spool-sync={sync}");
            results.figure(&name, &[middle(&ratio)], "×", limit);
        }
        let floor = only_written(&setup, load)? / middle(&sorted(without.iter().copied()));
        let name =
            format!("{name}: × CPU if the same bytes were only written to a file, and removed");
        results.figure(&name, &[1.0 + floor], "×", None);
    }
    peer(&setup, &sink, rounds, results)?;
    answers(results)?;
    always(results)?;
    memory(results)?;
    start(results)
}

/// CPU seconds per million events of what any spool must have done: the same bytes are written to a file in pieces as
/// large as the agent's, and the file is removed.
fn only_written(setup: &Setup, load: Load) -> io::Result<f64> {
    let (events, pieces) = match load {
        Load::Unix => (setup.events, setup.bytes / PIECE),
        Load::Batches => (setup.events, setup.events / BATCH),
        Load::Single => (setup.events.min(100_000), setup.events.min(100_000)),
    };
    let bytes = setup.bytes / setup.events * events;
    let piece = vec![b'x'; (bytes / pieces) as usize];
    let path = setup.directory.join("only-written");
    let began = cpu_of_this_thread()?;
    let mut file = File::create(&path)?;
    for _ in 0..pieces {
        file.write_all(&piece)?;
    }
    drop(file);
    fs::remove_file(&path)?;
    Ok((cpu_of_this_thread()? - began) / events as f64 * 1e6)
}

/// In seconds.
fn cpu_of_this_thread() -> io::Result<f64> {
    let mut usage = std::mem::MaybeUninit::uninit();
    // SAFETY: getrusage(2) fills the struct that it is given, or fails.
    let usage = unsafe {
        if libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        usage.assume_init()
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Ok(seconds(usage.ru_utime) + seconds(usage.ru_stime))
}

/// The same for syslog-ng's disk buffer.
fn peer(setup: &Setup, sink: &Sink, rounds: u64, results: &mut Results) -> io::Result<()> {
    let program = Program::SyslogNg;
    if !program.is_installed() {
        return Ok(());
    }
    let mut cpu = [const { Vec::new() }; 2];
    for _ in 0..rounds {
        for (place, sync) in [None, Some("never")].into_iter().enumerate() {
            cpu[place].push(carry(setup, sink, program, Load::Unix, sync)?);
        }
    }
    let [without, with] = &cpu;
    let name = "unix: CPU a million of syslog-ng";
    results.figure(name, without, "s", None);
    results.figure(&format!("{name} with its disk buffer"), with, "s", None);
    Ok(())
}

fn way(input: Input, sink: &Sink, sync: Option<&'static str>) -> Way {
    let mut way = Way::new(input, sink.url());
    way.spool = sync;
    way
}

/// Carries all events; returns CPU seconds per million.
fn carry(
    setup: &Setup,
    sink: &Sink,
    program: Program,
    load: Load,
    sync: Option<&'static str>,
) -> io::Result<f64> {
    let (socket, address) = (setup.socket(0), free_address()?);
    let _ = fs::remove_file(&socket);
    let input = match load {
        Load::Unix => Input::Unix(vec![socket.clone()]),
        Load::Batches | Load::Single => Input::Http(address),
    };
    let mut way = way(input, sink, sync);
    if load == Load::Unix {
        way = way.with("--when-full=wait");
    }
    let requests = match load {
        Load::Unix => Vec::new(),
        Load::Single => clients::requests(setup.events.min(100_000)),
        Load::Batches => clients::batches(setup.events, BATCH),
    };
    let Some(mut command) = program.command(setup, &way)? else {
        return Ok(f64::NAN);
    };
    let process = Process::measure(&mut command)?;
    let mut events = setup.events;
    match load {
        Load::Unix => clients::stream(setup, clients::connect(&socket, &process)?)?,
        Load::Batches => flood_patiently(address, &requests, &process)?,
        Load::Single => {
            clients::flood(address, &requests, None, &process)?;
            events = requests.len() as u64;
        }
    }
    let wanted = if load == Load::Single {
        u64::MAX
    } else {
        setup.bytes
    };
    sink.wait_for(wanted, &process);
    process.signal(libc::SIGTERM);
    let usage = process.usage()?;
    let arrived = sink.take_lines();
    if arrived != events {
        let what = format!("{arrived} of {events} arrived:\n{}", setup.logged());
        return Err(io::Error::other(what));
    }
    let _ = fs::remove_dir_all(setup.directory.join("state"));
    Ok(usage.cpu / events as f64 * 1e6)
}

/// Like [`clients::flood`], but what is refused for lack of room is sent again.
fn flood_patiently(address: SocketAddr, requests: &[Vec<u8>], process: &Process) -> io::Result<()> {
    let parts = requests.chunks(requests.len().div_ceil(CONNECTIONS));
    let posted = clients::in_parallel(parts, |part| {
        let mut client = Client::connect(address, process)?;
        for request in part {
            while !client.post(request)? {
                // As a client that backs off.
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    });
    posted.map(drop)
}

/// How long clients wait for their answer at a steady rate.
fn answers(results: &mut Results) -> io::Result<()> {
    for sync in [None, Some("second")] {
        let setup = Setup::new("spool-answers", 0)?;
        let (sink, address) = (Sink::start(0)?, free_address()?);
        let Some(mut command) =
            Program::Agent.command(&setup, &way(Input::Http(address), &sink, sync))?
        else {
            return Ok(());
        };
        let process = Process::measure(&mut command)?;
        let waits = clients::in_parallel(0..CONNECTIONS as u64, |first| {
            let mut client = Client::connect(address, &process)?;
            let (start, mut waits) = (Instant::now(), Vec::new());
            for number in (first..5 * RATE).step_by(CONNECTIONS) {
                let due = start + Duration::from_secs(1).mul_f64(number as f64 / RATE as f64);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                let sent = Instant::now();
                client.post(&clients::request(number))?;
                waits.push(sent.elapsed().as_secs_f64() * 1e3);
            }
            Ok(waits)
        })?;
        process.signal(libc::SIGTERM);
        process.usage()?;
        let waits = sorted(waits.into_iter().flatten());
        let limit = sync.map(|_| 2.0);
        let name = format!(
            "answer at {RATE}/s, p99, spool-sync={}",
            sync.unwrap_or("no spool")
        );
        results.figure(&name, &[quantile(&waits, 0.99)], "ms", limit);
    }
    Ok(())
}

/// The throughput of `always` with one event per POST, compared with what the disk allows if nothing else took time.
fn always(results: &mut Results) -> io::Result<()> {
    let setup = Setup::new("spool-always", 0)?;
    let (sink, address) = (Sink::start(0)?, free_address()?);
    let way = way(Input::Http(address), &sink, Some("always"));
    let Some(mut command) = Program::Agent.command(&setup, &way)? else {
        return Ok(());
    };
    let before = syncs(&setup.directory)?;
    let process = Process::measure(&mut command)?;
    let requests = clients::requests(40_000);
    let parts = requests.chunks(requests.len().div_ceil(CLIENTS));
    let start = Instant::now();
    clients::in_parallel(parts, |part| {
        let mut client = Client::connect(address, &process)?;
        part.iter()
            .try_for_each(|request| client.post(request).map(drop))
    })?;
    let rate = requests.len() as f64 / start.elapsed().as_secs_f64();
    process.signal(libc::SIGTERM);
    process.usage()?;
    let after = syncs(&setup.directory)?;
    // The agent makes at most one such call in 2 ms.
    let allowed = ((before + after) / 2.0).min(500.0) * CLIENTS as f64;
    results.figure("fdatasync of 64 KiB", &[(before + after) / 2.0], "/s", None);
    results.figure("always, 64 clients, one event a POST", &[rate], "/s", None);
    results.figure(
        "share of what fdatasync allows (at least 0.7)",
        &[rate / allowed],
        "×",
        None,
    );
    Ok(())
}

/// How often per second what 64 clients send can be synced to disk.
fn syncs(directory: &Path) -> io::Result<f64> {
    let path = directory.join("syncs");
    let mut file = File::create(&path)?;
    let (block, start) = ([b'x'; CLIENTS << 10], Instant::now());
    let mut count = 0.0;
    while start.elapsed() < Duration::from_secs(2) {
        file.write_all(&block)?;
        file.sync_data()?;
        count += 1.0;
    }
    fs::remove_file(path)?;
    Ok(count / start.elapsed().as_secs_f64())
}

/// The peak memory while the webhook is unavailable and a GiB comes in.
fn memory(results: &mut Results) -> io::Result<()> {
    let setup = Setup::new("spool-memory", GIB / 1024)?;
    let sink = Sink::start(0)?;
    sink.go_away();
    let socket = setup.socket(0);
    let input = Input::Unix(vec![socket.clone()]);
    let way = way(input, &sink, Some("second")).with("--buffer-bytes=1GiB");
    let Some(mut command) = Program::Agent.command(&setup, &way)? else {
        return Ok(());
    };
    let process = Process::measure(&mut command)?;
    clients::stream(&setup, clients::connect(&socket, &process)?)?;
    let peak = process.memory("VmHWM").unwrap_or(f64::NAN);
    process.signal(libc::SIGTERM);
    process.usage()?;
    let name = "memory in an outage with a spool, 1 GiB came in, --buffer-bytes=1GiB";
    results.figure(name, &[peak], "MiB", Some(24.0));
    Ok(())
}

/// From the agent's start to the first delivery, with a short backlog and with one of 10 GiB.
fn start(results: &mut Results) -> io::Result<()> {
    let name = |backlog: &str| format!("start to first delivery, {backlog} in the spool");
    let small = first_deliveries("spool-start", 1)?;
    results.figure(&name("20 MB"), &small, "ms", None);
    let large = first_deliveries("spool-backlog", 10 * GIB / (20 << 20))?;
    let limit = middle(&sorted(small.into_iter())) + 100.0;
    results.figure(&name("10 GiB"), &large, "ms", Some(limit));
    Ok(())
}

/// Sends 20 MiB this many times while the webhook is unavailable; then starts the agent three times, and kills it when
/// the webhook has received something: milliseconds until then.
fn first_deliveries(name: &str, times: u64) -> io::Result<Vec<f64>> {
    let setup = Setup::new(name, 20 << 10)?;
    let sink = Sink::start(setup.bytes)?;
    let way = way(Input::Unix(vec![setup.socket(0)]), &sink, Some("never"));
    let mut command = Program::Agent
        .command(&setup, &way.with("--when-full=wait"))?
        .ok_or_else(|| io::Error::other("the agent has no command"))?;
    sink.go_away();
    let process = Process::measure(&mut command)?;
    let mut client = clients::connect(&setup.socket(0), &process)?;
    for _ in 0..times {
        clients::stream(&setup, &mut client)?;
    }
    drop(client);
    process.signal(libc::SIGTERM);
    process.usage()?;
    sink.come_back();
    // What is delivered before the kill must be there for the next start.
    let position = setup.directory.join("state/spool/position");
    let from = fs::read(&position)?;
    let mut elapsed = Vec::new();
    for _ in 0..3 {
        let began = Instant::now();
        let process = Process::measure(&mut command)?;
        sink.wait_for(1, &process);
        elapsed.push(began.elapsed().as_secs_f64() * 1e3);
        drop(process);
        if sink.empty(<[_]>::is_empty) {
            return Err(io::Error::other(format!(
                "nothing arrived: {}",
                setup.logged()
            )));
        }
        fs::write(&position, &from)?;
    }
    Ok(elapsed)
}
