//! Starts the threads: senders before sources, so that what comes in is taken at once.

use std::net::TcpListener;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::thread;

use crossbeam_channel::{Receiver, Sender as Events, unbounded};
use signal_hook::consts::SIGHUP;
use signal_hook::iterator::Signals;

use super::file_gate::FileGate;
use super::open::Opened;
use super::running::Agent;
use super::settings_watch::SettingsWatcher;
use super::status_page::Status;
use super::supervise::Event;
use super::systemd::Notify;
use crate::buffer::chunk::Extent;
use crate::buffer::queue::{Consumer, Producer, QueueStats, queue};
use crate::config::error::CommandError;
use crate::config::options::RunOptions;
use crate::config::provenance::Provenance;
use crate::delivery::machine::Delivery;
use crate::delivery::sender::{Line, Sender, Senders, Target};
use crate::delivery::step::Settings;
use crate::rules::LiveRules;
use crate::source::http::tokens::Tokens;
use crate::source::watched::{self, Watched};
use crate::source::{Source, SourceOutput, WhenFull};
use crate::sys::backoff::Backoff;
use crate::sys::shutdown::ShutdownSignal;
use crate::telemetry::message::Message;
use crate::telemetry::snapshot::Forwarding;
use crate::telemetry::watchdog::Watchdog;
use crate::telemetry::{Report, ReportedSource};

/// How many batches a file is read ahead, with one sender: one is in flight, one complete. More would only take room from
/// sources that can't wait, and the processor's caches from all.
const READ_AHEAD: usize = 4;

/// What all threads share.
struct Shared {
    report: Arc<Report>,
    shutdown: ShutdownSignal,
    abort: ShutdownSignal,
    /// Tells the main thread what has ended.
    tell: Events<Event>,
    told: Receiver<Event>,
}

/// Starts what was opened.
///
/// # Errors
/// No more threads or descriptors.
pub(super) fn start(
    opened: Opened,
    options: &RunOptions,
    provenance: &Provenance,
) -> Result<Agent, CommandError> {
    let sources = opened.sources;
    let (tell, told) = unbounded();
    let shared = Shared {
        report: Arc::new(report_on(options, &sources.resumes, &opened.rules)),
        shutdown: opened.shutdown,
        abort: opened.abort,
        tell,
        told,
    };
    shared.report.forwards(opened.destination.forwarding, "");
    let watchdog = opened.watchdog;
    let status_file = opened.status_file.map(|place| {
        let report = Arc::clone(&shared.report);
        place.follow(&options.state.state_dir, report, watchdog.clone())
    });
    let status_file = status_file.transpose()?;
    let (producer, consumer) = queue(Extent {
        events: options.buffer_events,
        bytes: options.buffer_bytes,
    });
    let stats = producer.stats();
    let gate = FileGate::new(sources.checkpoints.progresses(), stats.clone());
    let checkpoints = sources.checkpoints.start(stats.clone(), watchdog.clone())?;
    let target = opened.destination.target;
    let lines = start_senders(&shared, options, consumer, target, watchdog.clone())?;
    if let Some(listener) = opened.status_page {
        let tokens = opened.listening.status_tokens;
        start_status_page(&shared, options, listener, tokens, stats.clone())?;
    }
    let running = sources.sources.len();
    let opened_sources = sources.sources.into_iter().zip(sources.resumes);
    start_sources(&shared, options, opened_sources, &producer, &opened.rules)?;
    let (ask, asked) = unbounded();
    if !options.dry_run {
        let report = Arc::clone(&shared.report);
        let rules = opened.rules;
        let watcher = SettingsWatcher::new(
            opened.contents,
            provenance,
            report,
            &lines,
            rules,
            gate,
            asked,
        );
        watcher.spawn()?;
    }
    let ask_files = watched::watch(opened.listening.files)?;
    forward(opened.signals, &shared.tell, [ask, ask_files])?;
    notify_ready(opened.notify.as_ref());
    Ok(Agent {
        report: shared.report,
        notify: opened.notify,
        watchdog,
        stats,
        status_file,
        checkpoints,
        shutdown: shared.shutdown,
        abort: shared.abort,
        producer: Some(producer),
        lines,
        told: shared.told,
        sources: running,
    })
}

/// Tells systemd that the agent has started.
fn notify_ready(notify: Option<&Notify>) {
    if let Some(Err(error)) = notify.map(Notify::ready) {
        let error = error.to_string();
        Message::NotifyFailed { error }.log();
    }
}

fn report_on(options: &RunOptions, resumes: &[bool], rules: &LiveRules) -> Report {
    let sources = options.sources.iter().zip(resumes);
    let sources = sources.map(|(spec, resumes)| ReportedSource {
        name: spec.to_string(),
        resumes: *resumes,
    });
    let report = Report::new(options.report_interval, sources.collect());
    report.filters(&rules.excluding());
    report
}

fn start_status_page(
    shared: &Shared,
    options: &RunOptions,
    listener: TcpListener,
    tokens: Option<Arc<Watched<Tokens>>>,
    stats: QueueStats,
) -> Result<(), CommandError> {
    let status = Status {
        listener,
        report: Arc::clone(&shared.report),
        stats,
        unhealthy_after: options.unhealthy_after,
        tokens,
    };
    let stop = shared.shutdown.clone();
    let thread = thread::Builder::new().name("status".into());
    thread.spawn(move || status.run(&stop))?;
    Ok(())
}

/// Starts the senders. Gives the way to each.
fn start_senders(
    shared: &Shared,
    options: &RunOptions,
    consumer: Consumer,
    target: Option<Box<dyn Target>>,
    watchdog: Watchdog,
) -> Result<Vec<Line>, CommandError> {
    let connections = match options.dry_run {
        // There is one standard output.
        true => 1,
        false => options.connections,
    };
    let settings = Settings {
        // At most half the buffer, so that sources find room while a request is under way.
        body: Extent {
            events: options.batch_events.min(options.buffer_events.div_ceil(2)),
            bytes: options.batch_bytes.min(options.buffer_bytes.div_ceil(2)),
        },
        age: options.batch_age,
        reject_after: options.reject_after,
        connections,
    };
    let backoff = Backoff::new(
        options.backoff_min,
        options.backoff_max,
        crate::sys::random::seed(),
    );
    let lines = (0..connections).map(|_| Line::new());
    let lines = lines.collect::<Result<Vec<_>, _>>()?;
    let senders = Arc::new(Senders {
        consumer,
        delivery: Mutex::new(Delivery::new(settings, backoff)),
        report: Arc::clone(&shared.report),
        watchdog,
        shutdown: shared.shutdown.clone(),
        abort: shared.abort.clone(),
        lines: lines.clone(),
        running: AtomicUsize::new(connections),
    });
    let others = (1..connections).map(|_| target.as_ref().map(|target| target.another()));
    let mut targets: Vec<_> = others.collect();
    targets.push(target);
    let is_awaited = matches!(shared.report.forwarding(), Some(Forwarding::Awaited(_)));
    for (place, target) in targets.into_iter().enumerate() {
        let senders = Arc::clone(&senders);
        let sender = Sender {
            senders,
            place,
            target,
            is_awaited,
        };
        let tell = shared.tell.clone();
        let thread = thread::Builder::new().name("sender".into());
        thread.spawn(move || {
            if sender.run() {
                // The main thread may be gone: then nobody needs to know.
                let _ = tell.send(Event::SendersEnded);
            }
        })?;
    }
    Ok(lines)
}

fn start_sources(
    shared: &Shared,
    options: &RunOptions,
    sources: impl Iterator<Item = (Box<dyn Source>, bool)>,
    producer: &Producer,
    rules: &LiveRules,
) -> Result<(), CommandError> {
    let max_event = options.max_event_bytes.min(options.buffer_bytes);
    let batches = READ_AHEAD + 2 * (options.connections - 1);
    let ahead = Extent {
        events: options.batch_events.saturating_mul(batches),
        bytes: options.batch_bytes.saturating_mul(batches),
    };
    for (place, (spec, (source, resumes))) in options.sources.iter().zip(sources).enumerate() {
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
        let producer = match resumes {
            true => producer.resuming(),
            false => producer,
        };
        let report = Arc::clone(&shared.report);
        let output =
            SourceOutput::new(place, producer, report, when_full, max_event, rules.clone());
        let shutdown = shared.shutdown.clone();
        let name = format!("src-{}", spec.kind());
        spawn(&name, &shared.tell, Event::SourceEnded, move || {
            source.run(output, &shutdown);
        })?;
    }
    Ok(())
}

fn spawn(
    name: &str,
    tell: &Events<Event>,
    event: Event,
    body: impl FnOnce() + Send + 'static,
) -> Result<(), CommandError> {
    let tell = tell.clone();
    thread::Builder::new().name(name.into()).spawn(move || {
        body();
        // The main thread may be gone: then nobody needs to know.
        let _ = tell.send(event);
    })?;
    Ok(())
}

/// Tells the main thread of SIGTERM and SIGINT, and the threads that read files again of SIGHUP.
fn forward(
    mut signals: Signals,
    tell: &Events<Event>,
    ask: [Events<()>; 2],
) -> Result<(), CommandError> {
    let tell = tell.clone();
    let thread = thread::Builder::new().name("signals".into());
    thread.spawn(move || {
        for signal in signals.forever() {
            if signal == SIGHUP {
                // A dry run has no settings to look at, and there may be no files of listeners.
                for ask in &ask {
                    let _ = ask.send(());
                }
            } else if tell.send(Event::Signal).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}
