//! The webhook is unavailable for 30 seconds while 20,000 events a second come over eight connections: how long clients
//! wait, what is refused or lost, how much memory is used, and how soon everything is delivered.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::clients::{self, CONNECTIONS, Client};
use crate::events;
use crate::process::Process;
use crate::programs::{Input, Program, Way};
use crate::results::{Results, quantile, sorted};
use crate::setup::{Setup, number};
use crate::sink::{Sink, free_address};

/// Events per second, all connections together.
const RATE: u64 = 20_000;
/// How long the webhook is available before and after.
const AROUND: Duration = Duration::from_secs(5);

/// One event, as its client saw it.
struct Sent {
    number: u64,
    /// When it was due, after the start; it may have had to wait for the previous one.
    due: Duration,
    /// The time from then until it was taken or refused.
    wait: Duration,
    /// It was not refused.
    taken: bool,
}

/// How events come in.
#[derive(Clone, Copy, PartialEq)]
enum Load {
    Http,
    Unix,
}

/// Measures and prints. `BENCH_OUTAGE` changes the length of the outage, in seconds.
pub(crate) fn run(results: &mut Results) -> io::Result<bool> {
    let mut complete = true;
    let peers = [Program::SyslogNg, Program::FluentBit, Program::Vector];
    let peers = peers.into_iter().filter(|peer| peer.is_installed());
    let ours = [(Program::Agent, Load::Http), (Program::Agent, Load::Unix)];
    for (program, load) in ours.into_iter().chain(peers.map(|peer| match peer {
        Program::SyslogNg => (peer, Load::Unix),
        _ => (peer, Load::Http),
    })) {
        complete &= measure(program, load, results)?;
    }
    Ok(complete)
}

/// Measures an outage of one program; returns whether the agent lost or doubled no event for which an HTTP client got a
/// 200.
fn measure(program: Program, load: Load, results: &mut Results) -> io::Result<bool> {
    let away = Duration::from_secs(number("BENCH_OUTAGE", 30));
    let setup = Setup::new("outage", 0)?;
    let (socket, address) = (setup.socket(0), free_address()?);
    let total = (AROUND * 2 + away).as_secs() * RATE;
    let sink = Sink::start(total * 1100)?;
    let input = match load {
        Load::Http => Input::Http(address),
        Load::Unix => Input::Unix(vec![socket.clone()]),
    };
    // As often as syslog-ng is set to.
    let way = Way::new(input, sink.url()).with("--backoff-max=1s");
    let Some(mut command) = program.command(&setup, &way)? else {
        return Ok(true);
    };
    let process = Process::measure(&mut command)?;
    let (process, sink) = (&process, &sink);
    // Once connected, all start together.
    let start = Instant::now() + Duration::from_millis(500);
    let mut sent = Vec::new();
    let mut steady = None;
    let end = AROUND * 2 + away;
    let each = thread::scope(|scope| {
        let clients = scope.spawn(|| {
            clients::in_parallel(0..CONNECTIONS as u64, |first| match load {
                Load::Http => post(address, process, first, start, end),
                Load::Unix => write(&socket, process, first, start, end),
            })
        });
        thread::sleep((start + AROUND).saturating_duration_since(Instant::now()));
        steady = process.memory("VmHWM");
        sink.go_away();
        thread::sleep((start + AROUND + away).saturating_duration_since(Instant::now()));
        sink.come_back();
        clients.join().expect("a client panicked")
    })?;
    each.into_iter().for_each(|one| sent.extend(one));
    sink.wait_until_quiet();
    let peak = process.memory("VmHWM").unwrap_or(f64::NAN);
    process.signal(libc::SIGTERM);

    let back = AROUND + away;
    let in_outage = |sent: &&Sent| sent.due >= AROUND && sent.due < back;
    let waits = |these: &mut dyn Iterator<Item = &Sent>| {
        sorted(these.map(|sent| sent.wait.as_secs_f64() * 1e3))
    };
    let outage = waits(&mut sent.iter().filter(in_outage));
    let by_second: Vec<f64> = (0..end.as_secs())
        .map(|second| {
            let these = sent.iter().filter(|sent| sent.due.as_secs() == second);
            quantile(&waits(&mut these.into_iter()), 0.99)
        })
        .collect();
    sent.sort_by_key(|sent| sent.number);
    let (mut arrived, mut drained) = (vec![0_u32; sent.len()], Duration::ZERO);
    sink.empty(|arrivals| {
        for arrival in arrivals {
            for line in arrival.body.split(|byte| *byte == b'\n') {
                let number = events::number_of(line).unwrap_or(u64::MAX) as usize;
                let Some(count) = arrived.get_mut(number) else {
                    continue;
                };
                *count += 1;
                if sent[number].due < back {
                    drained = drained.max(arrival.at.saturating_duration_since(start + back));
                }
            }
        }
    });
    let refused = sent.iter().filter(|sent| !sent.taken).count();
    let taken = || sent.iter().zip(&arrived).filter(|(sent, _)| sent.taken);
    let lost = taken().filter(|(_, count)| **count == 0).count();
    let doubled = arrived.iter().filter(|count| **count > 1).count();
    let load_name = if load == Load::Http { "http" } else { "unix" };
    let (p50, p99) = (quantile(&outage, 0.5), quantile(&outage, 0.99));
    let worst = quantile(&outage, 1.0);
    println!(
        "outage {:<10} {load_name}: clients waited p50 {p50:.3} ms, p99 {p99:.3} ms, max {worst:.1} ms; of {} events \
         {refused} refused, {lost} lost, {doubled} doubled; {:.1} MiB before, at most {peak:.1}; all delivered after {:.1} s",
        program.name(),
        sent.len(),
        steady.unwrap_or(f64::NAN),
        drained.as_secs_f64(),
    );
    if program == Program::Agent {
        let limit = Some(12.0);
        let name = format!("memory in steady flow, {load_name}, {RATE} events/s");
        results.figure(&name, &[steady.unwrap_or(f64::NAN)], "MiB", limit);
        let name = format!("memory in the outage, {load_name}, 64 MiB buffer full");
        results.figure(&name, &[peak], "MiB", Some(72.0));
    }
    results.add(
        "outage",
        json!({
            "program": program.name(), "input": load_name, "events": sent.len(), "seconds": away.as_secs(),
            "p50": p50, "p99": p99, "max": worst, "refused": refused, "lost": lost, "doubled": doubled,
            "steady": steady, "peak": peak, "drained": drained.as_secs_f64(), "p99_by_second": by_second,
        }),
    );
    Ok(program != Program::Agent || load != Load::Http || lost + doubled == 0)
}

/// Posts an event each time one is due.
fn post(
    address: SocketAddr,
    process: &Process,
    first: u64,
    start: Instant,
    end: Duration,
) -> io::Result<Vec<Sent>> {
    let mut client = Client::connect(address, process)?;
    each_due(first, start, end, |number| {
        client.post(&clients::request(number))
    })
}

/// Writes an event each time one is due.
fn write(
    socket: &Path,
    process: &Process,
    first: u64,
    start: Instant,
    end: Duration,
) -> io::Result<Vec<Sent>> {
    let mut stream = clients::connect(socket, process)?;
    let mut event = Vec::new();
    each_due(first, start, end, |number| {
        event.clear();
        events::append(number, &mut event);
        stream.write_all(&event).map(|()| true)
    })
}

/// Sends one client's share of the events, each when it is due.
fn each_due(
    first: u64,
    start: Instant,
    end: Duration,
    mut send: impl FnMut(u64) -> io::Result<bool>,
) -> io::Result<Vec<Sent>> {
    let mut sent = Vec::new();
    for number in (first..).step_by(CONNECTIONS) {
        let due = Duration::from_secs(1).mul_f64(number as f64 / RATE as f64);
        if due >= end {
            break;
        }
        thread::sleep((start + due).saturating_duration_since(Instant::now()));
        let taken = send(number)?;
        let wait = start.elapsed().saturating_sub(due);
        sent.push(Sent {
            number,
            due,
            wait,
            taken,
        });
    }
    Ok(sent)
}
