//! Whether one more event costs the same however many there are: after 10,000 and after a million of them, from 1 and
//! from 16 sources, and when it is dropped.
//!
//! Runs of different sizes take turns, since a machine's speed changes over that time. The floor runs beside them: if
//! its costs grow, the agent can't avoid that.

use std::fs::{self, File};
use std::io::{self, Write};

use crate::clients;
use crate::process::Process;
use crate::programs::{Input, Program, Way};
use crate::results::{Results, middle, sorted};
use crate::setup::Setup;
use crate::sink::Sink;

/// The events that streams and the larger files repeat.
const EVENTS: u64 = 10_000;
/// How often they repeat them, and how many runs there are of that.
const SIZES: [(u32, usize); 4] = [(1, 9), (10, 9), (100, 9), (1000, 3)];
/// How often all sources together repeat them.
const TOGETHER: u32 = 160;
const SOURCES: [usize; 3] = [1, 4, 16];
/// How many turns each number of sources takes.
const ROUNDS: usize = 9;
/// How much more expensive the later events may be.
const CONSTANT: f64 = 1.2;
const AWAY: &str = "http://127.0.0.1:1/services/collector/raw";

/// Measures and prints.
pub(crate) fn run(results: &mut Results) -> io::Result<()> {
    let growth = Growth {
        setup: Setup::new("growth", EVENTS)?,
        sink: Sink::start_counting(EVENTS)?,
    };
    growth.sizes("file", Growth::file, results)?;
    growth.sizes(
        "stream",
        |it, program, times| it.streams(program, 1, times),
        results,
    )?;
    growth.sources(results)
}

struct Growth {
    setup: Setup,
    sink: Sink,
}

impl Growth {
    /// What each further event costs, without the start and without memory touched for the first time.
    fn sizes(
        &self,
        kind: &str,
        cost: impl Fn(&Self, Program, u32) -> io::Result<f64>,
        results: &mut Results,
    ) -> io::Result<()> {
        let mut costs = SIZES.map(|_| Pairs::default());
        for run in 0..SIZES[0].1 {
            for (pairs, (times, _)) in costs.iter_mut().zip(SIZES).filter(|it| run < it.1.1) {
                pairs.push(|program| cost(self, program, times))?;
            }
        }
        let costs = costs.map(Pairs::middle);
        let events = SIZES.map(|(times, _)| EVENTS * u64::from(times));
        told(
            results,
            &format!("{kind} of {EVENTS} events, start included"),
            costs[0],
            EVENTS,
        );
        let mut agent = Vec::new();
        for (size, cost) in events.windows(2).zip(costs.windows(2)) {
            let further = [0, 1].map(|which| cost[1][which] - cost[0][which]);
            let name = format!("{kind} of {} events, those behind {}", size[1], size[0]);
            told(results, &name, further, size[1] - size[0]);
            agent.push(further[0] / (size[1] - size[0]) as f64);
        }
        grown(
            results,
            &format!("CPU an event, {kind}, from 10,000 to 10 million"),
            &agent,
        );
        Ok(())
    }

    /// The same number of events from one source or from several; and dropped events.
    fn sources(&self, results: &mut Results) -> io::Result<()> {
        let mut costs = SOURCES.map(|_| Pairs::default());
        let mut dropped = Vec::new();
        for _ in 0..ROUNDS {
            for (pairs, count) in costs.iter_mut().zip(SOURCES) {
                pairs.push(|program| self.streams(program, count, TOGETHER / count as u32))?;
            }
            dropped.push(self.dropped()?);
        }
        let costs = costs.map(Pairs::middle);
        let events = EVENTS * u64::from(TOGETHER);
        for (cost, count) in costs.into_iter().zip(SOURCES) {
            told(results, &format!("{count} sources"), cost, events);
        }
        grown(
            results,
            "CPU an event, from 1 to 16 sources",
            &costs.map(|[agent, _]| agent),
        );
        let of_delivered = middle(&sorted(dropped.into_iter())) / costs[0][0];
        let name = "CPU of a dropped event, of a delivered one";
        results.figure(name, &[of_delivered], "×", Some(1.0));
        Ok(())
    }

    /// CPU seconds for a file that contains the events `times` times.
    fn file(&self, program: Program, times: u32) -> io::Result<f64> {
        let path = self.setup.directory.join(times.to_string());
        if !path.exists() {
            let events = fs::read(self.setup.file())?;
            let mut file = File::create(&path)?;
            (0..times)
                .try_for_each(|_| file.write_all(&events))
                .map_err(|error| {
                    let path = path.display();
                    io::Error::other(format!(
                        "{path}: {error}; it takes 12 GB, or BENCH_ONLY without growth"
                    ))
                })?;
            // Otherwise the disk would be busy with it during the measurement.
            file.sync_all()?;
        }
        // Whether the system still holds all of it in memory is not the question here.
        io::copy(&mut File::open(&path)?, &mut io::sink())?;
        let way = Way::new(Input::File(path), self.sink.url());
        let usage = self.start(program, &way)?.usage()?;
        self.complete(program, times)?;
        Ok(usage.cpu)
    }

    /// CPU seconds for this many streams, each of which has the events `times` times.
    fn streams(&self, program: Program, sources: usize, times: u32) -> io::Result<f64> {
        let total = sources as u32 * times;
        // Fits a processor's caches. Several streams are faster than the webhook and fill the buffer, one is not.
        let way = Way::new(self.sockets(sources)?, self.sink.url())
            .with("--when-full=wait")
            .with("--buffer-bytes=16MiB");
        let cpu = self.feed(program, &way, times, |process| {
            self.sink
                .wait_for(self.setup.bytes * u64::from(total), process);
        })?;
        self.complete(program, total)?;
        Ok(cpu)
    }

    /// CPU seconds for one stream, of which all but a few events are dropped.
    fn dropped(&self) -> io::Result<f64> {
        let way = Way::new(self.sockets(1)?, AWAY.to_owned()).with("--shutdown-timeout=0");
        self.feed(Program::Agent, &way, TOGETHER, |_| ())
    }

    fn sockets(&self, count: usize) -> io::Result<Input> {
        let sockets: Vec<_> = (0..count).map(|number| self.setup.socket(number)).collect();
        for socket in sockets.iter().filter(|it| it.exists()) {
            fs::remove_file(socket)?;
        }
        Ok(Input::Unix(sockets))
    }

    fn start(&self, program: Program, way: &Way) -> io::Result<Process> {
        let command = program.command(&self.setup, way)?;
        Process::measure(&mut command.expect("these two can do every work"))
    }

    fn feed(
        &self,
        program: Program,
        way: &Way,
        times: u32,
        wait: impl Fn(&Process),
    ) -> io::Result<f64> {
        let process = self.start(program, way)?;
        let Input::Unix(sockets) = &way.input else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        clients::in_parallel(sockets.iter(), |socket| {
            let mut stream = clients::connect(socket, &process)?;
            (0..times).try_for_each(|_| clients::stream(&self.setup, &mut stream))
        })?;
        wait(&process);
        process.signal(libc::SIGTERM);
        Ok(process.usage()?.cpu)
    }

    /// The floor cuts events anywhere, so they can't be counted.
    fn complete(&self, program: Program, times: u32) -> io::Result<()> {
        if self.sink.counted(times) || program == Program::Floor {
            return Ok(());
        }
        let log = self.setup.logged();
        Err(io::Error::other(format!(
            "events are missing or doubled:\n{log}"
        )))
    }
}

/// CPU seconds of runs of the agent and of the floor.
#[derive(Default)]
struct Pairs {
    runs: [Vec<f64>; 2],
}

impl Pairs {
    fn push(&mut self, run: impl Fn(Program) -> io::Result<f64>) -> io::Result<()> {
        for (runs, program) in self.runs.iter_mut().zip([Program::Agent, Program::Floor]) {
            runs.push(run(program)?);
        }
        Ok(())
    }

    fn middle(self) -> [f64; 2] {
        self.runs.map(|runs| middle(&sorted(runs.into_iter())))
    }
}

/// Prints CPU seconds per million events.
fn told(results: &mut Results, name: &str, [agent, floor]: [f64; 2], events: u64) {
    let million = events as f64 / 1e6;
    results.figure(name, &[agent / million], "CPU s a million", None);
    let name = format!("{name}, floor");
    results.figure(&name, &[floor / million], "CPU s a million", None);
}

/// Prints how much more expensive any is than an earlier one.
fn grown(results: &mut Results, name: &str, costs: &[f64]) {
    let mut least = f64::INFINITY;
    let mut most: f64 = 0.0;
    for cost in costs {
        most = most.max(cost / least);
        least = least.min(*cost);
    }
    results.figure(name, &[most], "× a cheaper one before it", Some(CONSTANT));
}
