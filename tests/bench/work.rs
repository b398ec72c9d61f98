//! The works of the table: CPU seconds a million events of every program that can do them, against a floor's.

use std::fs;
use std::io;

use serde_json::json;

use crate::arrivals::Arrivals;
use crate::clients;
use crate::process::Process;
use crate::programs::{Input, Program, Way};
use crate::results::{Results, middle, sorted, verdict};
use crate::setup::Setup;
use crate::sink::{Sink, free_address};

/// One way to carry all events to the webhook.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Work {
    File,
    Unix,
    Http,
    Gzip,
    Https,
}

impl Work {
    const ALL: [Self; 5] = [Self::File, Self::Unix, Self::Http, Self::Gzip, Self::Https];

    fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Unix => "unix",
            Self::Http => "http",
            Self::Gzip => "gzip",
            Self::Https => "https",
        }
    }

    /// How many times its floor's CPU time the agent may take.
    fn limit(self) -> f64 {
        match self {
            Self::File | Self::Unix => 3.5,
            Self::Http => 1.4,
            Self::Gzip => 1.3,
            Self::Https => 2.5,
        }
    }

    fn floor(self) -> &'static str {
        match self {
            Self::File => "read the file, post its bytes in 1 MiB bodies",
            Self::Unix => "read the stream, post its bytes in 1 MiB bodies",
            Self::Http => "read requests and answer them, no more",
            Self::Gzip => "read, compress and post pieces of 1 MiB",
            Self::Https => "read the file, post its bytes over TLS",
        }
    }
}

/// What all of them share.
struct Bench<'a> {
    setup: &'a Setup,
    plain: Sink,
    tls: Sink,
    /// One event each, for the work that has them.
    requests: Vec<Vec<u8>>,
}

/// One run of a program.
struct Sample {
    /// CPU seconds a million events.
    cpu: f64,
    /// The most memory in MiB.
    peak: f64,
    arrivals: Arrivals,
}

/// Measures and prints, and returns whether every event of every run arrived once.
pub(crate) fn run(setup: &Setup, rounds: u64, results: &mut Results) -> io::Result<bool> {
    let bench = Bench {
        setup,
        plain: Sink::start(setup.bytes)?,
        tls: Sink::start_tls(setup.bytes)?,
        requests: clients::requests(setup.events.min(100_000)),
    };
    let mut samples = Vec::new();
    for round in 1..=rounds {
        for work in Work::ALL {
            for program in Program::ALL.into_iter().filter(|it| it.is_installed()) {
                let Some(sample) = bench.run(work, program)? else {
                    continue;
                };
                println!(
                    "round {round}: {:<5} {:<10} {:6.3} CPU s a million, {:5.1} MiB, {}",
                    work.name(),
                    program.name(),
                    sample.cpu,
                    sample.peak,
                    sample.arrivals
                );
                samples.push((work, program, sample));
            }
        }
    }
    println!("\nwork  program     CPU s a million: min, median, max     × floor   MiB");
    let mut complete = true;
    for work in Work::ALL {
        for program in Program::ALL {
            let of = |program| -> Vec<&Sample> {
                let these = samples.iter().filter(|it| (it.0, it.1) == (work, program));
                these.map(|it| &it.2).collect()
            };
            let (own, floors) = (of(program), of(Program::Floor));
            if own.is_empty() {
                if !program.is_installed() {
                    println!("{:<5} {:<10}  not installed", work.name(), program.name());
                }
                continue;
            }
            let cpu = sorted(own.iter().map(|sample| sample.cpu));
            // Round by round, since a machine's speed changes from one round to the next.
            let pairs = own.iter().zip(&floors);
            let ratio = middle(&sorted(pairs.map(|(own, floor)| own.cpu / floor.cpu)));
            let peak = own.iter().map(|sample| sample.peak).fold(0.0, f64::max);
            // The floor of `http` posts nothing.
            let arrived = (work, program) == (Work::Http, Program::Floor)
                || own
                    .iter()
                    .all(|it| it.arrivals.complete(program.keeps_bytes()));
            let limit = (program == Program::Agent).then(|| work.limit());
            println!(
                "{:<5} {:<10} {:10.3} {:10.3} {:10.3} {ratio:13.2} {peak:7.1} {}{}",
                work.name(),
                program.name(),
                cpu[0],
                middle(&cpu),
                cpu[cpu.len() - 1],
                if arrived {
                    "all once"
                } else {
                    "NOT all once, see above"
                },
                verdict(ratio, limit)
            );
            results.add(
                "cpu",
                json!({
                    "work": work.name(), "program": program.name(), "cpu": cpu, "median": middle(&cpu), "ratio": ratio,
                    "limit": limit, "peak": peak, "arrived": arrived, "floor": work.floor(),
                }),
            );
            complete &= arrived;
        }
    }
    Ok(complete)
}

/// The sink's speed: a floor's bodies, one after the other, from start to end.
pub(crate) fn sink_rate(setup: &Setup, results: &mut Results) -> io::Result<()> {
    let sink = Sink::start(setup.bytes)?;
    let mut rates = Vec::new();
    for _ in 0..3 {
        let way = Way::new(Input::File(setup.file()), sink.url());
        let Some(mut command) = Program::Floor.command(setup, &way)? else {
            return Ok(());
        };
        Process::start(&mut command)?.wait()?;
        rates.push(sink.empty(|arrived| {
            let [first, .., last] = arrived else {
                return f64::NAN;
            };
            let bytes: usize = arrived[1..].iter().map(|it| it.body.len()).sum();
            bytes as f64 / (last.at - first.at).as_secs_f64() / 1e9
        }));
    }
    results.figure("sink takes, file floor before it", &rates, "GB/s", None);
    Ok(())
}

impl Bench<'_> {
    fn run(&self, work: Work, program: Program) -> io::Result<Option<Sample>> {
        let setup = self.setup;
        let sink = if work == Work::Https {
            &self.tls
        } else {
            &self.plain
        };
        let socket = setup.socket(0);
        let _ = fs::remove_file(&socket);
        let address = free_address()?;
        let input = match work {
            Work::Unix => Input::Unix(vec![socket.clone()]),
            Work::Http => Input::Http(address),
            Work::File | Work::Gzip | Work::Https => Input::File(setup.file()),
        };
        let mut way = Way::new(input, sink.url());
        way.gzip = work == Work::Gzip;
        if work == Work::Unix {
            // A writer that never pauses is faster than any webhook.
            way = way.with("--when-full=wait");
        }
        if let Some(certificate) = &sink.certificate {
            let ca = setup.directory.join("ca.pem");
            fs::write(&ca, certificate)?;
            way.ca = Some(ca);
        }
        let Some(mut command) = program.command(setup, &way)? else {
            return Ok(None);
        };

        let process = Process::start(&mut command)?;
        let (mut events, mut bytes) = (setup.events, setup.bytes);
        match work {
            Work::Unix => clients::stream(setup, clients::connect(&socket, &process)?)?,
            Work::Http => {
                clients::flood(address, &self.requests, &process)?;
                events = self.requests.len() as u64;
                bytes = u64::MAX;
            }
            Work::Gzip => bytes = u64::MAX,
            Work::File | Work::Https => (),
        }
        if (work, program) != (Work::Http, Program::Floor) {
            sink.wait_for(bytes, &process);
        }
        process.terminate();
        let usage = process.wait()?;
        if !usage.success {
            let (work, program, log) = (work.name(), program.name(), setup.logged());
            return Err(io::Error::other(format!(
                "{work}: {program} failed:\n{log}"
            )));
        }
        let whole_lines = program != Program::Floor;
        let arrivals =
            sink.empty(|arrived| Arrivals::check(arrived, way.gzip, whole_lines, events));
        Ok(Some(Sample {
            cpu: usage.cpu / events as f64 * 1e6,
            peak: usage.peak,
            arrivals,
        }))
    }
}
