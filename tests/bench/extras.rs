//! The extra cost of an event with options that look into it, or number it: with each and without, in turns.

use std::io;

use crate::process::Process;
use crate::programs::{Input, Program, Way};
use crate::results::Results;
use crate::setup::Setup;
use crate::sink::Sink;

/// How many microseconds an option may take per event, each of which contains a signature.
const EXTRAS: [(&str, &[&str], Option<f64>); 4] = [
    ("--redact s3", &["--redact=s3"], Some(0.5)),
    (
        "three rules that match nothing",
        &[
            "--exclude=api.name=NoSuchCall",
            "--exclude=api.statusCode>=600",
            "--exclude=requestPath=/health*",
        ],
        Some(0.3),
    ),
    ("--format hec", &["--format=hec"], None),
    ("--format hec --trail", &["--format=hec", "--trail"], None),
];

/// Measures and prints.
///
/// # Errors
/// Not every event was delivered.
pub(crate) fn run(setup: &Setup, rounds: u64, results: &mut Results) -> io::Result<()> {
    let sink = Sink::start(2 * setup.bytes)?;
    let mut extra = [const { Vec::new() }; EXTRAS.len()];
    for _ in 0..rounds {
        let plain = carry(setup, &sink, &[])?;
        for (extra, (_, options, _)) in extra.iter_mut().zip(EXTRAS) {
            extra.push(carry(setup, &sink, options)? - plain);
        }
    }
    for (extra, (name, _, limit)) in extra.iter().zip(EXTRAS) {
        results.figure(&format!("CPU an event of {name}"), extra, "us", limit);
    }
    Ok(())
}

/// Carries all events; returns CPU microseconds per event.
fn carry(setup: &Setup, sink: &Sink, options: &[&str]) -> io::Result<f64> {
    let url = match options.contains(&"--format=hec") {
        true => sink.url().replace("/raw", "/event"),
        false => sink.url(),
    };
    let mut way = Way::new(Input::File(setup.file()), url);
    for option in options {
        way = way.with(option);
    }
    let Some(mut command) = Program::Agent.command(setup, &way)? else {
        return Ok(f64::NAN);
    };
    let usage = Process::measure(&mut command)?.usage()?;
    sink.empty(|_| ());
    let log = setup.logged();
    if !usage.success || !log.contains("dropped 0") {
        return Err(io::Error::other(format!("{options:?}:\n{log}")));
    }
    Ok(usage.cpu / setup.events as f64 * 1e6)
}
