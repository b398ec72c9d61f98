//! `run`: the agent. Opens everything, starts the threads, reports, and shuts down in order.

pub mod destination;
pub mod settings_watch;
pub mod status_page;
pub mod systemd;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender as Events, unbounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use self::settings_watch::Watch;
use self::status_page::Status;
use self::systemd::Notify;
use crate::buffer::chunk::Extent;
use crate::buffer::queue::{Producer, QueueStats, queue};
use crate::config::failure::Failure;
use crate::config::given::{Origin, Origins, UsageError};
use crate::config::limits;
use crate::config::options::RunOptions;
use crate::delivery::body_size::BodySize;
use crate::delivery::sender::{Abort, Limits, Sender};
use crate::source::{self, OpenError, Source, SourceOutput, WhenFull};
use crate::state;
use crate::state::checkpoint::{self, CheckpointWriter};
use crate::sys::backoff::Backoff;
use crate::sys::latest_value::LatestValue;
use crate::sys::shutdown::ShutdownSignal;
use crate::telemetry::hang::Waits;
use crate::telemetry::message::{BufferedEvents, Message};
use crate::telemetry::pulse::Pulse;
use crate::telemetry::snapshot::Forwarding;
use crate::telemetry::{Report, ReportedSource, log};
use crate::text::quantity::{HumanDuration, Size};
use crate::webhook::dry_run::DryRun;

use self::destination::Destination;
use crate::text::token::Token;
use crate::webhook::encode::Compressed;
use crate::webhook::template;

/// How long the end waits for threads that have been told to end.
const GRACE: Duration = Duration::from_millis(500);
/// How many batches a file is read ahead. More of it would only take room from sources that can't wait, and the
/// processor's caches from all.
const READ_AHEAD: usize = 4;
/// What it means if the state directory hangs now.
const AT_START: &str = "the start waits for it";

/// Runs the agent until its sources end or it is told to.
///
/// # Errors
/// It could not start; no thread was started.
pub fn run(options: &RunOptions, origins: &Origins) -> Result<ExitCode, Failure> {
    limits::check(options, origins)?;
    let notify = Notify::open(options.report_interval)
        .map_err(|error| UsageError(format!("NOTIFY_SOCKET: {error}")))?;
    if notify.is_some() && origins.origin("sources") == Origin::Default && source::stdin::is_null()
    {
        // It would end at once, and look like one that has done its work.
        return Err(UsageError(
            "no source is set, and this service's standard input is /dev/null: say where events come from, \
             such as S3_AUDIT_WEBHOOK_SOURCE=unix:/var/run/ceph/rgw-ops.sock in its environment"
                .into(),
        )
        .into());
    }
    let stop = ShutdownSignal::new()?;
    let cut_off = ShutdownSignal::new()?;
    let contents = settings_watch::contents(options);
    let destination = open_destination(options, origins, &cut_off)?;
    log::start(options.log_format)
        .map_err(|what| UsageError(format!("S3_AUDIT_WEBHOOK_LOG: {what}")))?;
    let waits = Waits::watch(&options.state.state_dir)?;
    let OpenSources {
        sources,
        resumes,
        checkpoints: mut keeper,
    } = open_sources(options, origins, &waits)?;
    let status = status_page::open(options, origins)?;
    let (state, no_state) = waits.during(AT_START, || state::open(options, origins))?;
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;

    let buffer = Extent {
        events: options.buffer_events,
        bytes: options.buffer_bytes,
    };
    let names: Vec<_> = options.sources.iter().map(ToString::to_string).collect();
    Message::Started {
        sources: names.join(", "),
        buffer_events: buffer.events,
        buffer_bytes: Size(buffer.bytes),
        forwarding: destination.forwarding.to_string(),
    }
    .log();
    for warning in origins.warnings().iter().chain(&destination.warnings) {
        warning.log();
    }
    for notice in std::mem::take(&mut keeper.notices) {
        notice.log();
    }
    if let Some(why) = no_state {
        why.log();
    }

    let reported = names.into_iter().zip(resumes);
    let reported = reported.map(|(name, resumes)| ReportedSource { name, resumes });
    let report = Arc::new(Report::new(options.report_interval, reported.collect()));
    report.forwards(destination.forwarding, "");
    let state = state.map(|state| state.follow(Arc::clone(&report), waits.clone()));
    let state = state.transpose()?;
    let (producer, consumer) = queue(buffer);
    let checkpoints = keeper.start(producer.stats(), waits)?;
    let changes = LatestValue::new()?;
    let cutter: Arc<Mutex<Abort>> = Arc::new(Mutex::new(Box::new(|| ())));
    let (tell, told) = unbounded();
    let pulse = Pulse::default();
    let sender = Sender {
        consumer,
        target: destination.target,
        changes: changes.clone(),
        cutter: Arc::clone(&cutter),
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
        pulse: pulse.clone(),
        stop: stop.clone(),
        cut_off: cut_off.clone(),
        fruitless: false,
        body_size: BodySize::default(),
    };
    spawn("sender", &tell, Event::SenderEnded, move || sender.run())?;
    if let Some(listener) = status {
        let status = Status {
            listener,
            report: Arc::clone(&report),
            stats: producer.stats(),
            unhealthy_after: options.unhealthy_after,
        };
        let stop = stop.clone();
        thread::Builder::new()
            .name("status".into())
            .spawn(move || status.run(&stop))?;
    }
    let running = sources.len();
    let max_event = options.max_event_bytes.min(buffer.bytes);
    let ahead = Extent {
        events: options.batch_events.saturating_mul(READ_AHEAD),
        bytes: options.batch_bytes.saturating_mul(READ_AHEAD),
    };
    for (place, (spec, source)) in options.sources.iter().zip(sources).enumerate() {
        let when_full = options.when_full.unwrap_or(if source.is_lasting() {
            WhenFull::Wait
        } else {
            WhenFull::Drop
        });
        let producer = if source.is_lasting() && when_full == WhenFull::Wait {
            producer.while_below(ahead)
        } else {
            producer.clone()
        };
        let output = SourceOutput::new(place, producer, Arc::clone(&report), when_full, max_event);
        let stop = stop.clone();
        let name = format!("src-{}", spec.kind());
        spawn(&name, &tell, Event::SourceEnded, move || {
            source.run(output, &stop)
        })?;
    }
    let (ask, asked) = unbounded();
    if !options.dry_run {
        let watch = Watch::new(contents, origins, Arc::clone(&report), changes, asked);
        thread::Builder::new()
            .name("settings".into())
            .spawn(|| watch.run())?;
    }
    forward(signals, &tell, ask)?;

    if let Some(Err(error)) = notify.as_ref().map(Notify::ready) {
        let error = error.to_string();
        Message::NotifyFailed { error }.log();
    }
    let agent = Agent {
        stats: producer.stats(),
        report,
        notify,
        pulse,
        state,
        checkpoints,
        stop,
        cut_off,
        producer: Some(producer),
        cutter,
        told,
    };
    Ok(agent.watch(running, options.report_interval, options.shutdown_timeout))
}

fn open_destination(
    options: &RunOptions,
    origins: &Origins,
    cut_off: &ShutdownSignal,
) -> Result<Destination, UsageError> {
    if options.dry_run {
        let encoder = template::encoder(&options.webhook, Compressed::No, origins)?;
        return Ok(Destination {
            target: Some(Box::new(DryRun {
                encoder,
                cut_off: cut_off.clone(),
            })),
            forwarding: Forwarding::On("dry run: printed to standard output".into()),
            warnings: Vec::new(),
        });
    }
    destination::choose(options, origins)
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
    /// Tells systemd, if this is a service.
    notify: Option<Notify>,
    pulse: Pulse,
    stats: QueueStats,
    /// Writes the file for `show`.
    state: Option<state::Writer>,
    /// Keeps the files' checkpoints.
    checkpoints: Option<checkpoint::Running>,
    stop: ShutdownSignal,
    cut_off: ShutdownSignal,
    /// Dropped so that the queue can end.
    producer: Option<Producer>,
    /// Ends the request in flight.
    cutter: Arc<Mutex<Abort>>,
    told: Receiver<Event>,
}

impl Agent {
    /// Writes the summaries and waits for the end; then sees to it that it comes in time.
    fn watch(mut self, mut sources: usize, interval: Duration, patience: Duration) -> ExitCode {
        let mut next_report = Instant::now() + interval;
        let mut deadline = None;
        loop {
            let now = Instant::now();
            if now >= next_report {
                self.report.tick();
                next_report = now + interval;
            }
            if deadline.is_some_and(|deadline| now >= deadline) {
                if self.cut_off.is_triggered() {
                    break;
                }
                // What is in flight ends now, and what is left is counted by the sender.
                self.cut_off.trigger();
                self.cut();
                deadline = Some(now + GRACE);
            }
            let next_sign = self.give_sign(now).unwrap_or(next_report);
            let next = next_report.min(next_sign);
            let wake = deadline.map_or(next, |deadline| next.min(deadline));
            match self.told.recv_deadline(wake) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Event::SenderEnded) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(Event::SourceEnded) => {
                    sources -= 1;
                    if sources == 0 {
                        self.producer = None;
                    }
                }
                Ok(Event::Signal) if deadline.is_none() => {
                    Message::ShuttingDown {
                        buffered: BufferedEvents(self.report.balance().buffered()),
                        timeout: HumanDuration(patience),
                    }
                    .log();
                    if let Some(notify) = &self.notify {
                        notify.stopping(patience.saturating_add(4 * GRACE));
                    }
                    deadline = Some(Instant::now() + patience);
                    self.stop.trigger();
                    self.producer = None;
                }
                Ok(Event::Signal) => {
                    Message::StoppingAtOnce {}.log();
                    break;
                }
            }
        }
        let given_up = deadline.is_none() && self.cut_off.is_triggered();
        // What has not ended now never will.
        if let Some(checkpoints) = self.checkpoints {
            checkpoints.finish(GRACE);
        }
        let last = self.report.stopped();
        if let Some(state) = self.state {
            state.finish(last, GRACE);
        }
        log::flush(GRACE);
        if given_up {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }
}

impl Agent {
    /// Tells systemd how the agent is, if that is due, and when it will be again.
    ///
    /// What all threads share is used for that, so that a sign of life is one: whoever holds the report or the
    /// queue for ever keeps this thread too.
    fn give_sign(&mut self, now: Instant) -> Option<Instant> {
        let notify = self.notify.as_mut()?;
        if now >= notify.due() {
            self.stats.held();
            notify.sign(&self.report, self.pulse.is_stuck(now), now);
        }
        Some(notify.due())
    }

    fn cut(&self) {
        let mut cutter = self.cutter.lock().unwrap_or_else(PoisonError::into_inner);
        let cut = std::mem::replace(&mut *cutter, Box::new(|| ()));
        drop(cutter);
        cut();
    }
}

fn spawn(
    name: &str,
    tell: &Events<Event>,
    event: Event,
    body: impl FnOnce() + Send + 'static,
) -> Result<(), Failure> {
    let tell = tell.clone();
    thread::Builder::new().name(name.into()).spawn(move || {
        body();
        // The main thread may be gone: then nobody needs to know.
        let _ = tell.send(event);
    })?;
    Ok(())
}

fn forward(mut signals: Signals, tell: &Events<Event>, ask: Events<()>) -> Result<(), Failure> {
    let tell = tell.clone();
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for signal in signals.forever() {
                if signal == SIGHUP {
                    // A dry run has nobody to ask.
                    let _ = ask.send(());
                } else if tell.send(Event::Signal).is_err() {
                    return;
                }
            }
        })?;
    Ok(())
}

/// What is read.
struct OpenSources {
    sources: Vec<Box<dyn Source>>,
    /// Of each whether the next start reads again what was not delivered.
    resumes: Vec<bool>,
    checkpoints: CheckpointWriter,
}

/// Opens the sources, and the checkpoints of those that have one.
fn open_sources(
    options: &RunOptions,
    origins: &Origins,
    waits: &Waits,
) -> Result<OpenSources, Failure> {
    let token = options
        .listen_token_file
        .as_deref()
        .map(Token::from_file)
        .transpose();
    let http = source::http::Settings {
        token: token.map_err(|what| origins.wrong("listen_token_file", what))?,
        connections: options.listen_connections,
        max_body: options.max_body_bytes,
        timeout: options.listen_timeout,
    };
    let specs = &options.sources;
    for (place, spec) in specs.iter().enumerate() {
        if specs[..place].contains(spec) {
            return Err(origins
                .wrong("sources", format!("{spec}: given twice"))
                .into());
        }
    }
    let (mut keeper, memories) = waits.during(AT_START, || checkpoint::open(options, origins))?;
    let resumes = memories.iter().map(Option::is_some).collect();
    let sources = specs.iter().zip(memories).map(|(spec, memory)| {
        source::open(spec, &http, options.file_start, memory).map_err(|error| match error {
            OpenError::Wrong(what) => origins.wrong("sources", format!("{spec}: {what}")).into(),
            OpenError::InUse(what) => {
                Failure::Failed(format!("{}: {spec}: {what}", origins.name("sources")))
            }
        })
    });
    let sources = sources.collect::<Result<_, Failure>>()?;
    waits.during(AT_START, || keeper.write_first(origins))?;
    Ok(OpenSources {
        sources,
        resumes,
        checkpoints: keeper,
    })
}
