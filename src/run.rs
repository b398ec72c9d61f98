//! `run`: the agent. Opens everything, starts the threads, reports, and shuts down in order.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender as Events, unbounded};
use log::{info, warn};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::backoff::Backoff;
use crate::chunk::Extent;
use crate::cli::{Given, UsageError};
use crate::quantity::Size;
use crate::queue::{Inlet, queue};
use crate::report::Report;
use crate::sender::{Limits, Sender};
use crate::source::{self, Intake, OpenError, Source, WhenFull};
use crate::status::{self, Status};
use crate::stop::Stop;
use crate::token::Token;
use crate::{destination, logger};

/// How long the end waits for threads that have been told to end.
const GRACE: Duration = Duration::from_millis(500);

/// Why the agent did not start.
#[derive(Debug)]
pub enum StartError {
    /// It was asked for something that can't be.
    Usage(UsageError),
    /// The host would not have it now.
    Failed(String),
}

impl From<UsageError> for StartError {
    fn from(error: UsageError) -> Self {
        StartError::Usage(error)
    }
}

impl From<std::io::Error> for StartError {
    fn from(error: std::io::Error) -> Self {
        StartError::Failed(error.to_string())
    }
}

/// Runs the agent until its sources end or it is told to.
///
/// # Errors
/// It could not start; no thread was started.
pub fn run(given: &Given) -> Result<ExitCode, StartError> {
    let options = &given.options;
    given.check_limits()?;
    let stop = Stop::new()?;
    let cut_off = Stop::new()?;
    let destination = destination::open(given, &cut_off)?;
    let sources = open_sources(given)?;
    let status = open_status(given)?;
    logger::start().map_err(|what| UsageError(format!("S3_AUDIT_WEBHOOK_LOG: {what}")))?;
    let signals = Signals::new([SIGTERM, SIGINT])?;

    let buffer = Extent {
        events: options.buffer_events,
        bytes: options.buffer_bytes,
    };
    let names: Vec<_> = options.sources.iter().map(ToString::to_string).collect();
    info!(
        "started: sources {}; buffer {} events/{}; {}",
        names.join(","),
        buffer.events,
        Size(buffer.bytes),
        destination.name
    );
    for warning in &destination.warnings {
        warn!("{warning}");
    }

    let report = Arc::new(Report::new(options.report_interval, names));
    let (inlet, outlet) = queue(buffer);
    let (tell, told) = unbounded();
    let sender = Sender {
        outlet,
        target: destination.target,
        limits: Limits {
            // At most half the buffer, so that sources find room while a request is under way.
            body: Extent {
                events: options.batch_events.min(buffer.events.div_ceil(2)),
                bytes: options.batch_bytes.min(buffer.bytes.div_ceil(2)),
            },
            age: options.batch_age,
        },
        backoff: Backoff::new(options.backoff_min, options.backoff_max),
        report: Arc::clone(&report),
        stop: stop.clone(),
        cut_off: cut_off.clone(),
        fruitless: false,
    };
    spawn("sender", &tell, Event::SenderEnded, move || sender.run())?;
    if let Some(listener) = status {
        let status = Status {
            listener,
            report: Arc::clone(&report),
            gauge: inlet.gauge(),
            unhealthy_after: options.unhealthy_after,
        };
        let stop = stop.clone();
        thread::Builder::new()
            .name("status".into())
            .spawn(move || status.run(&stop))?;
    }
    let running = sources.len();
    for (place, (spec, source)) in options.sources.iter().zip(sources).enumerate() {
        let intake = Intake::new(
            place,
            inlet.clone(),
            Arc::clone(&report),
            options.when_full.unwrap_or(if source.is_lasting() {
                WhenFull::Wait
            } else {
                WhenFull::Drop
            }),
            options.max_event_bytes.min(buffer.bytes),
        );
        let stop = stop.clone();
        let name = format!("src-{}", spec.kind());
        spawn(&name, &tell, Event::SourceEnded, move || {
            source.run(intake, &stop)
        })?;
    }
    forward(signals, &tell)?;

    let agent = Agent {
        report,
        stop,
        cut_off,
        inlet: Some(inlet),
        cut: destination.cut,
        told,
    };
    Ok(agent.watch(running, options.report_interval, options.shutdown_timeout))
}

fn open_status(given: &Given) -> Result<Option<TcpListener>, StartError> {
    let Some(address) = given.options.status_listen else {
        return Ok(None);
    };
    status::listen(address).map(Some).map_err(|error| {
        let what = format!("{address}: can't listen: {error}");
        match error.kind() {
            ErrorKind::AddrInUse => {
                StartError::Failed(format!("{}: {what}", given.name("status_listen")))
            }
            _ => given.wrong("status_listen", what).into(),
        }
    })
}

/// What the threads tell the main one.
enum Event {
    Signal,
    SourceEnded,
    SenderEnded,
}

/// What the main thread holds while the others work.
struct Agent {
    report: Arc<Report>,
    stop: Stop,
    cut_off: Stop,
    /// Dropped so that the queue can end.
    inlet: Option<Inlet>,
    cut: Box<dyn FnOnce() + Send>,
    told: Receiver<Event>,
}

impl Agent {
    /// Writes the summaries and waits for the end; then sees to it that it comes in time.
    fn watch(mut self, mut sources: usize, interval: Duration, patience: Duration) -> ExitCode {
        let mut next_report = Instant::now() + interval;
        let mut deadline = None;
        let mut cut = None;
        loop {
            let now = Instant::now();
            if now >= next_report {
                self.report.tick();
                next_report = now + interval;
            }
            if deadline.is_some_and(|deadline| now >= deadline) {
                if let Some(cut) = cut.take() {
                    // What is in flight ends now, and what is left is counted by the sender.
                    self.cut_off.give();
                    let cut: Box<dyn FnOnce() + Send> = cut;
                    cut();
                    deadline = Some(now + GRACE);
                } else {
                    break;
                }
            }
            let wake = deadline.map_or(next_report, |deadline| next_report.min(deadline));
            match self.told.recv_deadline(wake) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Event::SenderEnded) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(Event::SourceEnded) => {
                    sources -= 1;
                    if sources == 0 {
                        self.inlet = None;
                    }
                }
                Ok(Event::Signal) if deadline.is_none() => {
                    info!(
                        "stopping: sending what is held, for {} at most",
                        crate::quantity::Took(patience)
                    );
                    deadline = Some(Instant::now() + patience);
                    cut = Some(std::mem::replace(&mut self.cut, Box::new(|| ())));
                    self.stop.give();
                    self.inlet = None;
                }
                Ok(Event::Signal) => {
                    warn!("ending at once: told twice");
                    break;
                }
            }
        }
        let given_up = deadline.is_none() && self.cut_off.is_given();
        self.report.stopped();
        if given_up {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }
}

fn spawn(
    name: &str,
    tell: &Events<Event>,
    event: Event,
    body: impl FnOnce() + Send + 'static,
) -> Result<(), StartError> {
    let tell = tell.clone();
    thread::Builder::new().name(name.into()).spawn(move || {
        body();
        // The main thread may be gone: then nobody needs to know.
        let _ = tell.send(event);
    })?;
    Ok(())
}

fn forward(mut signals: Signals, tell: &Events<Event>) -> Result<(), StartError> {
    let tell = tell.clone();
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for _ in signals.forever() {
                if tell.send(Event::Signal).is_err() {
                    return;
                }
            }
        })?;
    Ok(())
}

fn open_sources(given: &Given) -> Result<Vec<Box<dyn Source>>, StartError> {
    let options = &given.options;
    let token = options
        .listen_token_file
        .as_deref()
        .map(Token::from_file)
        .transpose();
    let http = source::http::Settings {
        token: token.map_err(|what| given.wrong("listen_token_file", what))?,
        connections: options.listen_connections,
        max_body: options.max_body_bytes,
        timeout: options.listen_timeout,
    };
    let specs = &options.sources;
    for (place, spec) in specs.iter().enumerate() {
        if specs[..place].contains(spec) {
            return Err(given
                .wrong("sources", format!("{spec}: given twice"))
                .into());
        }
    }
    specs
        .iter()
        .map(|spec| {
            source::open(spec, &http).map_err(|error| match error {
                OpenError::Wrong(what) => given.wrong("sources", format!("{spec}: {what}")).into(),
                OpenError::InUse(what) => {
                    StartError::Failed(format!("{}: {spec}: {what}", given.name("sources")))
                }
            })
        })
        .collect()
}

impl StartError {
    /// Tells what went wrong on standard error, and the exit code.
    pub fn tell(&self) -> ExitCode {
        use std::io::Write as _;
        let (text, code) = match self {
            StartError::Usage(UsageError(text)) => (text, 2),
            StartError::Failed(text) => (text, 1),
        };
        let _ = writeln!(std::io::stderr(), "s3-audit-webhook: {text}");
        ExitCode::from(code)
    }
}
