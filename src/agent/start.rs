//! Starts the threads: senders before sources, so that events are taken at once.

use std::net::TcpListener;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, Sender as Events, bounded, unbounded};
use signal_hook::consts::SIGHUP;
use signal_hook::iterator::Signals;

use super::open::Opened;
use super::running::Agent;
use super::settings_watch::{Contents, SettingsWatcher};
use super::spooling::{self, OpenSpool};
use super::status_page::Status;
use super::supervise::Event;
use super::systemd::Notify;
use super::trailing;
use crate::buffer::chunk::Extent;
use crate::buffer::queue::{Consumer, Producer, QueueStats, queue};
use crate::buffer::spool::{self, Spool};
use crate::config::error::CommandError;
use crate::config::options::RunOptions;
use crate::config::provenance::Provenance;
use crate::delivery::machine::Delivery;
use crate::delivery::pace::Pace;
use crate::delivery::sender::{Line, Sender, Senders};
use crate::delivery::step::Settings;
use crate::delivery::target::Targets;
use crate::rules::LiveRules;
use crate::source::http::tokens::Tokens;
use crate::source::watched::{self, Watched};
use crate::source::{Source, SourceOutput, Spec, WhenFull};
use crate::state::reject_file::Rejects;
use crate::state::status::{self, Place};
use crate::sys::backoff::Backoff;
use crate::sys::shutdown::ShutdownSignal;
use crate::sys::thread;
use crate::telemetry::message::Message;
use crate::telemetry::snapshot::Forwarding;
use crate::telemetry::watchdog::Watchdog;
use crate::telemetry::{Report, ReportedSource};
use crate::trail;

/// What all threads share.
struct Shared {
    report: Arc<Report>,
    shutdown: ShutdownSignal,
    abort: ShutdownSignal,
    /// The rules for what leaves the host.
    rules: LiveRules,
    /// Tells the main thread which thread has ended.
    tell: Events<Event>,
    told: Receiver<Event>,
    /// Every source has one for as long as it runs.
    alive: Events<()>,
}

/// Starts what was opened.
///
/// # Errors
/// No more threads or descriptors are available.
pub(super) fn start(
    opened: Opened,
    options: &RunOptions,
    provenance: &Provenance,
) -> Result<Agent, CommandError> {
    let sources = opened.sources;
    let (tell, told) = unbounded();
    let (alive, others) = bounded(0);
    let shared = Shared {
        report: Arc::new(report_on(options, &sources.resumes, &opened.rules)),
        alive,
        shutdown: opened.shutdown,
        abort: opened.abort,
        rules: opened.rules,
        tell,
        told,
    };
    shared.report.forwards(opened.destination.forwarding, "");
    let watchdog = opened.watchdog;
    let status_file = start_status_file(&shared, options, opened.status_file, &watchdog)?;
    let (producer, consumer) = queue(spooling::memory(options));
    let stats = producer.stats();
    let running_spool = start_spool(&shared, opened.spool, stats.clone(), &watchdog)?;
    let spool = (running_spool.as_ref()).map(|running| running.spool().clone());
    let checkpoints = sources.checkpoints.start(stats.clone(), watchdog.clone())?;
    let targets = opened.destination.targets;
    let numbering = opened.trail.as_ref().map(trailing::numbering);
    let (lines, rejects) = start_senders(&shared, options, consumer, targets, watchdog.clone())?;
    let tokens = opened.listening.status_tokens;
    start_status_page(&shared, options, opened.status_page, tokens, stats.clone())?;
    let trail = start_trail(&shared, opened.trail, &producer, &watchdog, others)?;
    let running =
        sources.sources.len() + usize::from(spool.is_some()) + usize::from(trail.is_some());
    let opened_sources = sources.sources.into_iter().zip(sources.resumes);
    start_sources(&shared, options, opened_sources, &producer, spool.as_ref())?;
    if let Some(spool) = spool {
        start_feed(&shared, options, &producer, spool, watchdog.clone())?;
    }
    let (ask, asked) = unbounded();
    if !options.dry_run {
        let watcher = watcher(opened.contents, provenance, &shared, &lines, asked);
        watcher.numbering(numbering).spawn()?;
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
        spool: running_spool,
        trail,
        rejects,
        shutdown: shared.shutdown,
        abort: shared.abort,
        producer: Some(producer),
        lines,
        told: shared.told,
        sources: running,
    })
}

fn watcher(
    contents: Contents,
    provenance: &Provenance,
    shared: &Shared,
    lines: &[Line],
    asked: Receiver<()>,
) -> SettingsWatcher {
    let (report, rules) = (Arc::clone(&shared.report), shared.rules.clone());
    SettingsWatcher::new(contents, provenance, report, lines, rules, asked)
}

fn start_status_file(
    shared: &Shared,
    options: &RunOptions,
    place: Option<Place>,
    watchdog: &Watchdog,
) -> Result<Option<status::Writer>, CommandError> {
    let dir = &options.spool.dir.state.state_dir;
    let follow = |place: Place| place.follow(dir, Arc::clone(&shared.report), watchdog.clone());
    Ok(place.map(follow).transpose()?)
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
    let trail = options.trail.trail.then(|| ReportedSource {
        name: "trail".into(),
        // What the spool keeps is sent by the next start.
        resumes: true,
    });
    let mut report = Report::new(options.report_interval, sources.chain(trail).collect());
    if options.trail.trail {
        report = report.with_trail();
    }
    report.filters(&rules.excluding());
    report
}

fn start_status_page(
    shared: &Shared,
    options: &RunOptions,
    listener: Option<TcpListener>,
    tokens: Option<Arc<Watched<Tokens>>>,
    stats: QueueStats,
) -> Result<(), CommandError> {
    let Some(listener) = listener else {
        return Ok(());
    };
    let status = Status {
        listener,
        report: Arc::clone(&shared.report),
        stats,
        unhealthy_after: options.unhealthy_after,
        tokens,
    };
    let stop = shared.shutdown.clone();
    thread::spawn("status", move || status.run(&stop))?;
    Ok(())
}

/// Starts what writes rejected events to a file.
fn start_rejects(
    shared: &Shared,
    options: &RunOptions,
) -> Result<(Option<Rejects>, Option<Receiver<()>>), CommandError> {
    let path = options.reject_file.as_ref().filter(|_| !options.dry_run);
    let start = |path: &PathBuf| {
        Rejects::start(
            path.clone(),
            options.reject_bytes,
            Arc::clone(&shared.report),
        )
    };
    Ok(path.map(start).transpose()?.unzip())
}

/// Starts the senders. Returns the way to each, and a receiver that tells when all rejected events are in their file.
fn start_senders(
    shared: &Shared,
    options: &RunOptions,
    consumer: Consumer,
    targets: Option<Targets>,
    watchdog: Watchdog,
) -> Result<(Vec<Line>, Option<Receiver<()>>), CommandError> {
    let connections = match options.dry_run {
        // There is only one standard output.
        true => 1,
        false => options.connections,
    };
    // At most half the buffer, so that sources find room during a request, and at most a second's worth.
    let max_bytes = (options.buffer_bytes.div_ceil(2))
        .min(NonZero::new(options.max_rate).map_or(usize::MAX, NonZero::get));
    // Otherwise files, which read ahead by the amount that suited the settings at the start, could not fill a body.
    let ahead = spooling::ahead(options).bytes / (options.connections + 1);
    let settings = Settings {
        body: Extent {
            events: options
                .batch_events
                .min(options.buffer_events().div_ceil(2)),
            bytes: options.batch_bytes.min(max_bytes),
        },
        raw_bytes: (options.batch_raw_bytes().min(max_bytes)).min(ahead.max(options.batch_bytes)),
        age: options.batch_age,
        reject_after: options.reject_after,
        connections,
    };
    let backoff = Backoff::new(
        options.backoff_min,
        options.backoff_max,
        crate::sys::random::seed(),
    );
    let (rejects, rejects_ended) = start_rejects(shared, options)?;
    let lines = (0..connections).map(|_| Line::new());
    let lines = lines.collect::<Result<Vec<_>, _>>()?;
    let senders = Arc::new(Senders {
        consumer,
        pace: Mutex::new(Pace::new(options.max_rate)),
        delivery: Mutex::new(Delivery::new(settings, backoff)),
        report: Arc::clone(&shared.report),
        watchdog,
        shutdown: shared.shutdown.clone(),
        abort: shared.abort.clone(),
        rejects,
        lines: lines.clone(),
        running: AtomicUsize::new(connections),
    });
    let others = (1..connections).map(|_| targets.as_ref().map(Targets::another));
    let mut each: Vec<_> = others.collect();
    each.push(targets);
    let is_awaited = matches!(shared.report.forwarding(), Some(Forwarding::Awaited(_)));
    for (place, targets) in each.into_iter().enumerate() {
        let senders = Arc::clone(&senders);
        let sender = Sender {
            senders,
            place,
            targets,
            is_awaited,
        };
        let tell = shared.tell.clone();
        thread::spawn("sender", move || {
            if sender.run() {
                // The main thread may have ended: then it does not matter.
                let _ = tell.send(Event::SendersEnded);
            }
        })?;
    }
    Ok((lines, rejects_ended))
}

fn start_sources(
    shared: &Shared,
    options: &RunOptions,
    sources: impl Iterator<Item = (Box<dyn Source>, bool)>,
    producer: &Producer,
    spool: Option<&Spool>,
) -> Result<(), CommandError> {
    let max_event = options.max_event_bytes.min(options.buffer_bytes);
    for (place, (spec, (source, resumes))) in options.sources.iter().zip(sources).enumerate() {
        let when_full = options.when_full.unwrap_or(if source.is_lasting() {
            WhenFull::Wait
        } else {
            WhenFull::Drop
        });
        let producer = if source.is_lasting() && when_full == WhenFull::Wait {
            producer.while_below(spooling::ahead(options))
        } else {
            producer.clone()
        };
        let producer = match resumes {
            true => producer.resuming(),
            // Files are not read while forwarding is disabled.
            false if matches!(spec, Spec::File(_)) => producer.waiting(),
            false => producer,
        };
        let report = Arc::clone(&shared.report);
        let spool = spool.filter(|_| !source.is_lasting());
        let spool = spool.map(|spool| spool.appender(place));
        let rules = shared.rules.clone();
        let mut output =
            SourceOutput::new(place, producer, spool, report, when_full, max_event, rules);
        output.batch_age = options.batch_age;
        let shutdown = shared.shutdown.clone();
        let name = format!("src-{}", spec.kind());
        let alive = shared.alive.clone();
        spawn(&name, &shared.tell, Event::SourceEnded, move || {
            source.run(output, &shutdown);
            drop(alive);
        })?;
    }
    Ok(())
}

/// Starts the trail, if there is one. It counts as one more source, which ends after all others.
fn start_trail(
    shared: &Shared,
    opened: Option<trail::running::Opened>,
    producer: &Producer,
    watchdog: &Watchdog,
    others: Receiver<()>,
) -> Result<Option<trail::running::Running>, CommandError> {
    let Some(opened) = opened else {
        return Ok(None);
    };
    let parts = trail::running::Parts {
        producer: producer.resuming(),
        report: Arc::clone(&shared.report),
        source: shared.report.balance().sources() - 1,
        rules: shared.rules.clone(),
        watchdog: watchdog.clone(),
        others,
    };
    let tell = shared.tell.clone();
    let stopped = move || {
        // The main thread may have ended: then it does not matter.
        let _ = tell.send(Event::SourceEnded);
    };
    Ok(Some(trail::running::start(opened, parts, stopped)?))
}

fn start_spool(
    shared: &Shared,
    opened: Option<OpenSpool>,
    stats: QueueStats,
    watchdog: &Watchdog,
) -> Result<Option<spool::Running>, CommandError> {
    let Some(OpenSpool { settings, files }) = opened else {
        return Ok(None);
    };
    let (report, watchdog) = (Arc::clone(&shared.report), watchdog.clone());
    let spool = Spool::start(&settings, files, stats, report, watchdog)?;
    Ok(Some(spool))
}

/// Starts reading the spool. It counts as one more source.
fn start_feed(
    shared: &Shared,
    options: &RunOptions,
    producer: &Producer,
    spool: Spool,
    watchdog: Watchdog,
) -> Result<(), CommandError> {
    let producer = producer.while_below(spooling::ahead(options));
    let producer = producer.resuming().taking_large();
    let stop = shared.shutdown.clone();
    let last_events = options.batch_events;
    let alive = shared.alive.clone();
    spawn("spool-read", &shared.tell, Event::SourceEnded, move || {
        spool.feed(producer, watchdog, stop, last_events);
        drop(alive);
    })
}

fn spawn(
    name: &str,
    tell: &Events<Event>,
    event: Event,
    body: impl FnOnce() + Send + 'static,
) -> Result<(), CommandError> {
    let tell = tell.clone();
    thread::spawn(name, move || {
        body();
        // The main thread may have ended: then it does not matter.
        let _ = tell.send(event);
    })?;
    Ok(())
}

/// Tells the main thread of SIGTERM and SIGINT, and the threads that re-read files of SIGHUP.
fn forward(
    mut signals: Signals,
    tell: &Events<Event>,
    ask: [Events<()>; 2],
) -> Result<(), CommandError> {
    let tell = tell.clone();
    thread::spawn("signals", move || {
        for signal in signals.forever() {
            if signal == SIGHUP {
                // A dry run does not follow its settings, and listeners may have no files.
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
