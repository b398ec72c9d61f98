//! `run`: the agent. Opens everything, starts the threads, reports, and shuts down in order.

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
use crate::dry_run::DryRun;
use crate::endpoint::Endpoint;
use crate::ledger::Reason;
use crate::quantity::Size;
use crate::queue::{Inlet, queue};
use crate::report::Report;
use crate::sender::{Limits, Sender, Target};
use crate::source::{self, Intake, OpenError, Source, WhenFull};
use crate::stop::Stop;
use crate::token::Token;
use crate::webhook::{Timeouts, Webhook};
use crate::{logger, tls};

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
    check_limits(given)?;
    let stop = Stop::new()?;
    let cut_off = Stop::new()?;
    let destination = open_destination(given, &cut_off)?;
    let sources = open_sources(given)?;
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

    let report = Arc::new(Report::new(options.report_interval));
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
    let running = sources.len();
    for (spec, source) in options.sources.iter().zip(sources) {
        let intake = Intake::new(
            spec.to_string(),
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
    /// Kept to end waiting; dropped so that the queue can end.
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
                    if let Some(inlet) = self.inlet.take() {
                        inlet.close();
                    }
                }
                Ok(Event::Signal) => {
                    warn!("ending at once: told twice");
                    break;
                }
            }
        }
        let given_up = deadline.is_none() && self.cut_off.is_given();
        // Only if a thread is stuck or was not waited for is anything left here.
        let left = self.report.balance().in_buffer();
        self.report.dropped(Reason::Shutdown, left as usize);
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

/// Where bodies go, and how the start line names it.
struct Destination {
    target: Box<dyn Target>,
    cut: Box<dyn FnOnce() + Send>,
    name: String,
    warnings: Vec<String>,
}

fn open_destination(given: &Given, cut_off: &Stop) -> Result<Destination, StartError> {
    let options = &given.options;
    if options.dry_run {
        return Ok(Destination {
            target: Box::new(DryRun {
                cut_off: cut_off.clone(),
            }),
            cut: Box::new(|| ()),
            name: "dry run: printed to standard output".into(),
            warnings: Vec::new(),
        });
    }
    let endpoint = endpoint(given)?;
    let token = token(given)?;
    let mut warnings = Vec::new();
    let tls = match &options.ca_file {
        _ if options.insecure => {
            warnings.push(format!(
                "{}: the webhook's certificate is not verified; anyone on the way can read the token \
                 and the events",
                given.name("insecure")
            ));
            tls::unverified()
        }
        Some(path) => tls::with_ca_file(path)
            .map_err(|what| given.wrong("ca_file", format!("{} {what}", path.display())))?,
        None if endpoint.uri().scheme_str() == Some("https") => {
            tls::with_host_roots().map_err(|what| given.wrong("endpoint", what))?
        }
        None => tls::unverified(),
    };
    if endpoint.is_plain_and_remote() {
        warnings.push(format!(
            "{}: http:// carries the token and the events in the clear; use https://",
            given.name("endpoint")
        ));
    }
    let name = format!("webhook {endpoint}");
    let timeouts = Timeouts {
        connect: options.connect_timeout,
        request: options.request_timeout,
    };
    let webhook = Webhook::new(endpoint, token, tls, timeouts)
        .map_err(|what| given.wrong("auth_token", what))?;
    let cut = Box::new(webhook.cutter());
    Ok(Destination {
        target: Box::new(webhook),
        cut,
        name,
        warnings,
    })
}

fn endpoint(given: &Given) -> Result<Endpoint, UsageError> {
    match &given.options.endpoint {
        Some(text) => Endpoint::parse(text).map_err(|what| given.wrong("endpoint", what)),
        None => Err(UsageError(
            "no webhook is set: give --endpoint URL and --auth-token TOKEN (or --auth-token-file FILE), \
             or S3_AUDIT_WEBHOOK_ENDPOINT and S3_AUDIT_WEBHOOK_AUTH_TOKEN in the environment; \
             --dry-run needs none"
                .into(),
        )),
    }
}

/// The token, from where it was given: a flag wins over the environment.
fn token(given: &Given) -> Result<Token, UsageError> {
    let options = &given.options;
    let (id, text) = match (&options.auth_token, &options.auth_token_file) {
        (Some(_), Some(_)) if given.is_flag("auth_token") == given.is_flag("auth_token_file") => {
            return Err(UsageError(format!(
                "{} and {}: give one of them",
                given.name("auth_token"),
                given.name("auth_token_file")
            )));
        }
        (Some(text), file) if file.is_none() || given.is_flag("auth_token") => {
            ("auth_token", text.clone())
        }
        (_, Some(path)) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                given.wrong(
                    "auth_token_file",
                    format!("{} can't be read: {error}", path.display()),
                )
            })?;
            ("auth_token_file", text)
        }
        (_, None) => {
            return Err(UsageError(
                "no token is set: give --auth-token TOKEN or --auth-token-file FILE, or \
                 S3_AUDIT_WEBHOOK_AUTH_TOKEN in the environment"
                    .into(),
            ));
        }
    };
    Token::parse(&text).map_err(|what| given.wrong(id, what))
}

fn open_sources(given: &Given) -> Result<Vec<Box<dyn Source>>, StartError> {
    let specs = &given.options.sources;
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
            source::open(spec).map_err(|error| match error {
                OpenError::Wrong(what) => given.wrong("sources", format!("{spec}: {what}")).into(),
                OpenError::InUse(what) => {
                    StartError::Failed(format!("{}: {spec}: {what}", given.name("sources")))
                }
            })
        })
        .collect()
}

/// Limits that can't work, alone or together.
fn check_limits(given: &Given) -> Result<(), UsageError> {
    let options = &given.options;
    for (id, value) in [
        ("max_event_bytes", options.max_event_bytes),
        ("buffer_events", options.buffer_events),
        ("buffer_bytes", options.buffer_bytes),
        ("batch_events", options.batch_events),
        ("batch_bytes", options.batch_bytes),
    ] {
        if value == 0 {
            return Err(given.wrong(id, "is 0; expected 1 or more"));
        }
    }
    if options.max_event_bytes > 1 << 30 {
        return Err(given.wrong("max_event_bytes", "is over 1GiB; expected that or less"));
    }
    for (id, value) in [
        ("connect_timeout", options.connect_timeout),
        ("request_timeout", options.request_timeout),
        ("backoff_min", options.backoff_min),
        ("report_interval", options.report_interval),
    ] {
        if value < Duration::from_millis(1) {
            return Err(given.wrong(id, "is 0; expected 1ms or more"));
        }
    }
    if options.backoff_max < options.backoff_min {
        return Err(given.wrong(
            "backoff_max",
            format!(
                "is less than {}; expected that or more",
                given.name("backoff_min")
            ),
        ));
    }
    Ok(())
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
