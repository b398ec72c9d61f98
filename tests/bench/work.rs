//! The works that are measured: the floor, and the agent on each kind of source.

use std::env;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Setup;
use crate::arrivals::Arrivals;
use crate::process::{Process, Usage};
use crate::sink::Sink;

/// One way to carry all events to the sink.
pub(crate) struct Work {
    /// Its name in the tables.
    pub(crate) name: &'static str,
    /// How many times its floor's CPU time it may take.
    pub(crate) target: Option<f64>,
    /// The place of its floor among the works.
    pub(crate) floor: usize,
    /// Whether bodies are compressed.
    gzip: bool,
    run: fn(&Setup, &Sink) -> io::Result<Usage>,
    /// Whether a body may end within an event.
    cuts_events: bool,
}

/// All of them, in the order of a round.
pub(crate) const WORKS: [Work; 5] = [
    Work {
        name: "floor",
        target: None,
        floor: 0,
        gzip: false,
        run: floor,
        cuts_events: true,
    },
    Work {
        name: "file",
        target: Some(6.0),
        floor: 0,
        gzip: false,
        run: file,
        cuts_events: false,
    },
    Work {
        name: "unix",
        target: None,
        floor: 0,
        gzip: false,
        run: unix,
        cuts_events: false,
    },
    Work {
        name: "gzfloor",
        target: None,
        floor: 3,
        gzip: true,
        run: gzip_floor,
        cuts_events: true,
    },
    Work {
        name: "gzip",
        target: Some(1.3),
        floor: 3,
        gzip: true,
        run: gzip,
        cuts_events: false,
    },
];

/// One run of a work.
pub(crate) struct Sample {
    /// CPU seconds a million events.
    pub(crate) cpu: f64,
    /// Wall clock seconds, from the start of the process to its end.
    pub(crate) wall: f64,
    /// Peak memory in MiB.
    pub(crate) peak: f64,
    /// What arrived.
    pub(crate) arrivals: Arrivals,
}

impl Work {
    /// Carries all events once.
    pub(crate) fn run(&self, setup: &Setup, sink: &Sink) -> io::Result<Sample> {
        let usage = (self.run)(setup, sink)?;
        if !usage.success {
            let log = fs::read_to_string(setup.log())?;
            return Err(io::Error::other(format!("{} failed:\n{log}", self.name)));
        }
        let arrivals = sink.empty(|bodies| {
            if self.cuts_events {
                Arrivals::of_stream(bodies, self.gzip, setup.events)
            } else {
                Arrivals::of_bodies(bodies, self.gzip, setup.events)
            }
        });
        Ok(Sample {
            cpu: usage.cpu / setup.events as f64 * 1e6,
            wall: usage.wall,
            peak: usage.peak,
            arrivals,
        })
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cpu,
            wall,
            peak,
            arrivals,
        } = self;
        write!(
            f,
            "{cpu:6.3} CPU s/M, {wall:6.3} s, {peak:5.1} MiB, {arrivals}"
        )
    }
}

fn floor(setup: &Setup, sink: &Sink) -> io::Result<Usage> {
    run_floor("floor", setup, sink)
}

fn gzip_floor(setup: &Setup, sink: &Sink) -> io::Result<Usage> {
    run_floor("gzfloor", setup, sink)
}

fn run_floor(name: &str, setup: &Setup, sink: &Sink) -> io::Result<Usage> {
    let mut command = Command::new(env::current_exe()?);
    command
        .args([name, &sink.address.to_string()])
        .stdin(File::open(setup.file())?)
        .stderr(File::create(setup.log())?);
    Process::start(&mut command)?.wait()
}

/// The agent reads the file as its stdin, and ends with it.
fn file(setup: &Setup, sink: &Sink) -> io::Result<Usage> {
    let mut command = agent(setup, &sink.url())?;
    command.stdin(File::open(setup.file())?);
    Process::start(&mut command)?.wait()
}

/// The same, compressed.
fn gzip(setup: &Setup, sink: &Sink) -> io::Result<Usage> {
    let mut command = agent(setup, &sink.url())?;
    command
        .args(["--compress", "gzip:1"])
        .stdin(File::open(setup.file())?);
    Process::start(&mut command)?.wait()
}

/// The agent listens on a socket, into which this process writes. It waits where it would drop,
/// since a writer that never pauses is faster than any webhook.
fn unix(setup: &Setup, sink: &Sink) -> io::Result<Usage> {
    let mut command = agent(setup, &sink.url())?;
    command.arg(listen(setup)).args(["--when-full", "wait"]);
    let agent = Process::start(&mut command)?;
    stream(setup, connect(setup, &agent)?)?;
    sink.wait_for(setup.bytes);
    agent.terminate();
    agent.wait()
}

/// Writes all events in pieces, as a program does; `io::copy` would hand over the file's pages.
pub(crate) fn stream(setup: &Setup, mut to: impl Write) -> io::Result<()> {
    let mut file = File::open(setup.file())?;
    let mut piece = vec![0; 64 * 1024];
    loop {
        let length = file.read(&mut piece)?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&piece[..length])?;
    }
}

/// The agent's command line as far as all runs share it. It gets no environment, since that is full
/// of settings: its own, and a proxy's.
pub(crate) fn agent(setup: &Setup, url: &str) -> io::Result<Command> {
    let mut command = Command::new(&setup.agent[0]);
    command
        .args(&setup.agent[1..])
        .args(["run", "--endpoint", url, "--auth-token", "Splunk bench"])
        .env_clear()
        .env("S3_AUDIT_WEBHOOK_STATE_DIR", &setup.directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(setup.log())?);
    Ok(command)
}

/// The option that makes the agent listen on the socket.
pub(crate) fn listen(setup: &Setup) -> String {
    format!("--source=unix-listen:{}", setup.socket().display())
}

/// Connects to the agent as soon as it listens.
pub(crate) fn connect(setup: &Setup, agent: &Process) -> io::Result<UnixStream> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let start = Instant::now();
    loop {
        match UnixStream::connect(setup.socket()) {
            Ok(stream) => {
                // An agent that stops reading is an error, not a benchmark that hangs.
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(_) if start.elapsed() < PATIENCE && agent.memory("VmRSS").is_some() => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(_) => {
                let log = fs::read_to_string(setup.log())?;
                return Err(io::Error::other(format!(
                    "the agent does not listen:\n{log}"
                )));
            }
        }
    }
}
