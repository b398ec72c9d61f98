//! Whether an event costs the same whatever there is of it: with 1 to 16 sources, of 10,000 to 10 million events, and
//! when it is dropped.

use std::io;

use crate::clients;
use crate::process::Process;
use crate::programs::{Input, Program, Way};
use crate::results::{Results, middle, sorted};
use crate::setup::Setup;
use crate::sink::Sink;

/// Events that each stream repeats.
const EVENTS: u64 = 100_000;
/// How much the dearest may cost of what the cheapest does; what a busy machine adds is in there.
const CONSTANT: f64 = 1.2;
const AWAY: &str = "http://127.0.0.1:1/services/collector/raw";

/// Measures and prints.
pub(crate) fn run(results: &mut Results) -> io::Result<()> {
    let start = file(0)?;
    let mut files = Vec::new();
    for (events, runs) in [(10_000, 9), (100_000, 5), (1_000_000, 1)] {
        let mut costs = Vec::new();
        for _ in 0..runs {
            costs.push((file(events)? - start) / events as f64 * 1e6);
        }
        files.push(told(
            results,
            &format!("file of {events} events, less the start"),
            &costs,
        ));
    }
    ratio(
        results,
        "CPU an event, 10,000 to 1 million in a file",
        &files,
    );

    let setup = Setup::new("growth", EVENTS)?;
    let mut streams = Vec::new();
    for times in [1, 10, 100] {
        let cost = streamed(&setup, 1, times)?;
        let name = format!("stream of {} events", EVENTS * u64::from(times));
        streams.push(told(results, &name, &[cost]));
    }
    ratio(
        results,
        "CPU an event, 100,000 to 10 million in a stream",
        &streams,
    );

    let mut sources = Vec::new();
    for count in [1, 4, 16] {
        let costs = [(); 3].map(|()| streamed(&setup, count, 16 / count as u32));
        let costs = costs.into_iter().collect::<io::Result<Vec<_>>>()?;
        sources.push(told(results, &format!("{count} sources"), &costs));
    }
    ratio(results, "CPU an event, 1 to 16 sources", &sources);

    let dropped = [(); 3].map(|()| dropped(&setup));
    let dropped = dropped.into_iter().collect::<io::Result<Vec<_>>>()?;
    let cost = told(results, "webhook away, buffer full, dropped", &dropped);
    results.figure(
        "CPU of a dropped event, of a delivered one",
        &[cost / sources[0]],
        "×",
        Some(1.0),
    );
    Ok(())
}

/// Tells CPU seconds a million events, and returns the median.
fn told(results: &mut Results, name: &str, costs: &[f64]) -> f64 {
    results.figure(name, costs, "CPU s a million", None);
    middle(&sorted(costs.iter().copied()))
}

fn ratio(results: &mut Results, name: &str, costs: &[f64]) {
    let costs = sorted(costs.iter().copied());
    let ratio = costs[costs.len() - 1] / costs[0];
    results.figure(name, &[ratio], "× the least", Some(CONSTANT));
}

/// CPU seconds for a file of so many events.
fn file(events: u64) -> io::Result<f64> {
    let setup = Setup::new("growth-file", events)?;
    let sink = Sink::start_counting(events)?;
    let way = Way::new(Input::File(setup.file()), sink.url());
    let Some(mut command) = Program::Agent.command(&setup, &way)? else {
        return Ok(f64::NAN);
    };
    let usage = Process::start(&mut command)?.wait()?;
    complete(&setup, sink.counted(1))?;
    Ok(usage.cpu)
}

/// CPU seconds a million events, each of which comes so many times over each of so many sources.
fn streamed(setup: &Setup, sources: usize, times: u32) -> io::Result<f64> {
    let sink = Sink::start_counting(EVENTS)?;
    let total = sources as u64 * u64::from(times);
    let cpu = feed(
        setup,
        sources,
        times,
        |sockets| Way::new(Input::Unix(sockets), sink.url()).with("--when-full=wait"),
        |process| sink.wait_for(setup.bytes * total, process),
    )?;
    complete(setup, sink.counted(total as u32))?;
    Ok(cpu)
}

/// CPU seconds a million events, of which all but a few are dropped.
fn dropped(setup: &Setup) -> io::Result<f64> {
    feed(
        setup,
        1,
        16,
        |sockets| Way::new(Input::Unix(sockets), AWAY.to_owned()).with("--shutdown-timeout=0"),
        |_| (),
    )
}

fn feed(
    setup: &Setup,
    sources: usize,
    times: u32,
    way: impl Fn(Vec<std::path::PathBuf>) -> Way,
    wait: impl Fn(&Process),
) -> io::Result<f64> {
    let sockets: Vec<_> = (0..sources).map(|number| setup.socket(number)).collect();
    for socket in &sockets {
        let _ = std::fs::remove_file(socket);
    }
    let Some(mut command) = Program::Agent.command(setup, &way(sockets.clone()))? else {
        return Ok(f64::NAN);
    };
    let process = Process::start(&mut command)?;
    clients::in_parallel(sockets.iter(), |socket| {
        let mut stream = clients::connect(socket, &process)?;
        (0..times).try_for_each(|_| clients::stream(setup, &mut stream))
    })?;
    wait(&process);
    process.terminate();
    let events = EVENTS * sources as u64 * u64::from(times);
    Ok(process.wait()?.cpu / events as f64 * 1e6)
}

fn complete(setup: &Setup, all: bool) -> io::Result<()> {
    if all {
        return Ok(());
    }
    let log = setup.logged();
    Err(io::Error::other(format!(
        "events are missing or doubled:\n{log}"
    )))
}
