//! Throughput with a distant webhook: one that answers after 50 and after 200 ms, over 1, 4 and 8 connections; and what
//! several connections cost.

use std::io;
use std::time::Duration;

use crate::arrivals::Arrivals;
use crate::process::{Process, Usage};
use crate::programs::{Input, Program, Way};
use crate::results::{Results, middle, sorted};
use crate::setup::Setup;
use crate::sink::Sink;

/// Some 200 bodies of 1 MiB.
const EVENTS: u64 = 200_000;
const ANSWERS: [u64; 2] = [50, 200];
const CONNECTIONS: [u32; 3] = [1, 4, 8];
/// The least speed-up by 8 connections at 200 ms, compared with one.
const LEAST: f64 = 7.0;
/// How much more CPU 4 connections may take than one.
const DEARER: f64 = 1.15;

/// Measures and prints; returns whether every event arrived once.
pub(crate) fn run(rounds: u64, results: &mut Results) -> io::Result<bool> {
    let setup = Setup::new("connections", EVENTS)?;
    let sink = Sink::start(setup.bytes)?;
    let mut complete = true;
    let peers = [Program::SyslogNg, Program::FluentBit, Program::Vector];
    for answer in ANSWERS {
        sink.answer_after(Duration::from_millis(answer));
        let mut rates = Vec::new();
        for (connections, gzip) in CONNECTIONS
            .map(|it| (it, false))
            .into_iter()
            .chain([(1, true)])
        {
            let way = way(&setup, &sink, connections, gzip);
            let Some((rate, _, all)) = carry(Program::Agent, &setup, &sink, &way)? else {
                continue;
            };
            let kind = if gzip { ", gzip" } else { "" };
            let name = format!("{answer} ms, {connections} connections{kind}");
            results.figure(&name, &[rate], "events/s", None);
            rates.push(rate);
            complete &= all;
        }
        if let [one, _, eight, gzip] = rates[..] {
            let limit = (answer == 200).then_some(1.0 / LEAST);
            let name = format!("{answer} ms, 1 connection / 8");
            results.figure(&name, &[one / eight], "times", limit);
            let name = format!("{answer} ms, gzip / none");
            results.figure(&name, &[gzip / one], "times", None);
        }
        for peer in peers.into_iter().filter(|peer| peer.is_installed()) {
            let way = way(&setup, &sink, 1, false);
            if let Some((rate, ..)) = carry(peer, &setup, &sink, &way)? {
                let name = format!("{answer} ms, {}", peer.name());
                results.figure(&name, &[rate], "events/s", None);
            }
        }
    }
    sink.answer_after(Duration::ZERO);
    let mut ratios = Vec::new();
    for _ in 0..rounds {
        let mut cpu = |connections| -> io::Result<f64> {
            let way = way(&setup, &sink, connections, false);
            let ended = carry(Program::Agent, &setup, &sink, &way)?;
            complete &= ended.as_ref().is_none_or(|(_, _, all)| *all);
            Ok(ended.map_or(f64::NAN, |(_, usage, _)| usage.cpu))
        };
        ratios.push(cpu(4)? / cpu(1)?);
    }
    let ratio = middle(&sorted(ratios.iter().copied()));
    println!("CPU of 4 connections against 1: {ratio:.3}");
    results.figure("CPU, 4 connections / 1", &ratios, "times", Some(DEARER));
    Ok(complete)
}

fn way(setup: &Setup, sink: &Sink, connections: u32, gzip: bool) -> Way {
    let mut way = Way::new(Input::File(setup.file()), sink.url());
    way.gzip = gzip;
    way.with(&format!("--connections={connections}"))
}

/// Carries all events; returns how many per second, what that cost, and whether all arrived once.
fn carry(
    program: Program,
    setup: &Setup,
    sink: &Sink,
    way: &Way,
) -> io::Result<Option<(f64, Usage, bool)>> {
    let Some(mut command) = program.command(setup, way)? else {
        return Ok(None);
    };
    let process = Process::measure(&mut command)?;
    sink.wait_for(if way.gzip { u64::MAX } else { setup.bytes }, &process);
    process.signal(libc::SIGTERM);
    let started = process.started;
    let usage = process.usage()?;
    if !usage.success {
        return Err(io::Error::other(setup.logged()));
    }
    Ok(Some(sink.empty(|arrived| {
        let last = arrived.iter().map(|it| it.at).max();
        let took = last.map_or(Duration::MAX, |last| last - started);
        let all = Arrivals::check(arrived, way.gzip, true, setup.events);
        if !all.complete(program.keeps_bytes()) {
            println!("{}: {all}", program.name());
        }
        let rate = setup.events as f64 / took.as_secs_f64();
        (rate, usage, all.complete(program.keeps_bytes()))
    })))
}
