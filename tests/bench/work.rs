//! The works of the table: CPU seconds per million events of every program that can do them, compared with a floor's.

use std::fs;
use std::io;

use serde_json::json;

use crate::arrivals::Arrivals;
use crate::clients;
use crate::process::Process;
use crate::programs::{Identity, Input, Program, Way};
use crate::results::{Results, middle, sorted, verdict};
use crate::setup::Setup;
use crate::sink::{Sink, free_address};

/// One way to carry all events to the webhook.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Work {
    File,
    Unix,
    Http,
    /// With TLS at the source.
    HttpsIn,
    Fluent,
    Gzip,
    /// With TLS at the webhook.
    Https,
}

/// What the agent may take.
#[derive(Clone, Copy)]
enum Limit {
    /// This many times its floor's CPU time.
    Floors(f64),
    /// This many CPU seconds per million events.
    Cpu(f64),
}

impl Work {
    const ALL: [Self; 7] = [
        Self::File,
        Self::Unix,
        Self::Http,
        Self::HttpsIn,
        Self::Fluent,
        Self::Gzip,
        Self::Https,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Unix => "unix",
            Self::Http => "http",
            Self::HttpsIn => "https-in",
            Self::Fluent => "fluent",
            Self::Gzip => "gzip",
            Self::Https => "https",
        }
    }

    fn limit(self) -> Limit {
        match self {
            Self::File => Limit::Floors(1.8),
            Self::Unix | Self::HttpsIn => Limit::Floors(2.0),
            Self::Http => Limit::Floors(1.3),
            Self::Fluent => Limit::Cpu(2.0),
            Self::Gzip => Limit::Floors(1.25),
            Self::Https => Limit::Floors(1.5),
        }
    }

    /// The work whose floor is used for this one.
    fn floor_work(self) -> Self {
        match self {
            Self::HttpsIn => Self::Http,
            other => other,
        }
    }

    fn floor(self) -> &'static str {
        match self {
            Self::File => "read the file, post its bytes in 1 MiB bodies",
            Self::Unix => "read the stream, post its bytes in 1 MiB bodies",
            Self::Http | Self::HttpsIn => "read requests and answer them, no more, without TLS",
            Self::Fluent => "none",
            Self::Gzip => "read, compress and post pieces of 1 MiB",
            Self::Https => "read the file, post its bytes over TLS",
        }
    }

    /// Whether events arrive byte for byte as they were sent.
    fn keeps_bytes(self) -> bool {
        self != Self::Fluent
    }
}

/// What all works share.
struct Bench<'a> {
    setup: &'a Setup,
    plain: Sink,
    tls: Sink,
    /// Requests with one event each, for the works that need them.
    requests: Vec<Vec<u8>>,
    /// The same events packed.
    messages: Vec<Vec<u8>>,
    /// The certificate of sources, and its file.
    certificate: String,
    identity: Identity,
}

/// One run of a program.
struct Sample {
    /// CPU seconds per million events.
    cpu: f64,
    /// The peak memory in MiB.
    peak: f64,
    arrivals: Arrivals,
}

/// Measures and prints, and returns whether every event of every run arrived once.
pub(crate) fn run(setup: &Setup, rounds: u64, results: &mut Results) -> io::Result<bool> {
    let pushed = setup.events.min(100_000);
    let (certificate, identity) = identity(setup)?;
    let bench = Bench {
        setup,
        plain: Sink::start(setup.bytes)?,
        tls: Sink::start_tls(setup.bytes)?,
        requests: clients::requests(pushed),
        messages: clients::packed_forward(pushed)?,
        certificate,
        identity,
    };
    let mut samples = Vec::new();
    for round in 1..=rounds {
        for work in Work::ALL {
            for program in Program::ALL.into_iter().filter(|it| it.is_installed()) {
                let Some(sample) = bench.run(work, program)? else {
                    continue;
                };
                println!(
                    "round {round}: {:<8} {:<10} {:6.3} CPU s a million, {:5.1} MiB, {}",
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
    println!("\nwork     program     CPU s a million: min, median, max     × floor   MiB");
    let mut complete = true;
    for work in Work::ALL {
        for program in Program::ALL {
            let of = |work, program| -> Vec<&Sample> {
                let these = samples.iter().filter(|it| (it.0, it.1) == (work, program));
                these.map(|it| &it.2).collect()
            };
            let own = of(work, program);
            let floors = of(work.floor_work(), Program::Floor);
            if own.is_empty() {
                if !program.is_installed() {
                    println!("{:<8} {:<10}  not installed", work.name(), program.name());
                }
                continue;
            }
            let cpu = sorted(own.iter().map(|sample| sample.cpu));
            // Compared round by round, since a machine's speed changes from one round to the next.
            let pairs = own.iter().zip(&floors);
            let ratio = middle(&sorted(pairs.map(|(own, floor)| own.cpu / floor.cpu)));
            let peak = own.iter().map(|sample| sample.peak).fold(0.0, f64::max);
            // The floor of `http` posts nothing.
            let arrived = (work, program) == (Work::Http, Program::Floor)
                || own.iter().all(|it| {
                    it.arrivals
                        .complete(program.keeps_bytes() && work.keeps_bytes())
                });
            let (figure, limit) = match work.limit() {
                Limit::Floors(limit) => (ratio, limit),
                Limit::Cpu(limit) => (middle(&cpu), limit),
            };
            let limit = (program == Program::Agent).then_some(limit);
            println!(
                "{:<8} {:<10} {:10.3} {:10.3} {:10.3} {ratio:13.2} {peak:7.1} {}{}",
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
                verdict(figure, limit)
            );
            results.add(
                "cpu",
                json!({
                    "work": work.name(), "program": program.name(), "cpu": cpu, "median": middle(&cpu), "ratio": ratio,
                    "figure": figure, "limit": limit, "peak": peak, "arrived": arrived, "floor": work.floor(),
                }),
            );
            complete &= arrived;
        }
    }
    Ok(complete)
}

/// A certificate for sources, also in files.
fn identity(setup: &Setup) -> io::Result<(String, Identity)> {
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]);
    let own = own.map_err(io::Error::other)?;
    let identity = Identity {
        certificate: setup.directory.join("source.pem"),
        key: setup.directory.join("source.key"),
    };
    fs::write(&identity.certificate, own.cert.pem())?;
    fs::write(&identity.key, own.signing_key.serialize_pem())?;
    Ok((own.cert.pem(), identity))
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
        Process::measure(&mut command)?.usage()?;
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
            Work::HttpsIn => Input::Https(address, self.identity.clone()),
            Work::Fluent => Input::Fluent(address),
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

        let process = Process::measure(&mut command)?;
        let (mut events, mut bytes) = (setup.events, setup.bytes);
        match work {
            Work::Unix => clients::stream(setup, clients::connect(&socket, &process)?)?,
            Work::Http | Work::HttpsIn => {
                let certificate = (work == Work::HttpsIn).then_some(&*self.certificate);
                clients::flood(address, &self.requests, certificate, &process)?;
                (events, bytes) = (self.requests.len() as u64, u64::MAX);
            }
            Work::Fluent => {
                clients::forward(address, &self.messages, &process)?;
                (events, bytes) = (self.requests.len() as u64, u64::MAX);
            }
            Work::Gzip => bytes = u64::MAX,
            Work::File | Work::Https => (),
        }
        if (work, program) != (Work::Http, Program::Floor) {
            sink.wait_for(bytes, &process);
        }
        process.signal(libc::SIGTERM);
        let usage = process.usage()?;
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
