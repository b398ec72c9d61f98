//! Starts the threads: senders before sources, so that events are taken at once.

use std::net::TcpListener;
use std::num::NonZero;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender as Events, bounded, unbounded};
use signal_hook::consts::SIGHUP;
use signal_hook::iterator::Signals;

use super::open::Opened;
use super::running::Agent;
use super::settings_watch::SettingsWatcher;
use super::spooling::{self, OpenSpool};
use super::status_page::Status;
use super::supervise::{Event, Requests};
use super::trailing;
use crate::buffer::chunk::Extent;
use crate::buffer::queue::{Consumer, Producer, queue};
use crate::buffer::spool::{self, Spool};
use crate::config::error::CommandError;
use crate::config::options::RunOptions;
use crate::config::provenance::Provenance;
use crate::delivery::machine::Delivery;
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
use crate::sys::thread::Worker;
use crate::sys::{random, thread};
use crate::telemetry::resumes::Resumes;
use crate::telemetry::snapshot::Forwarding;
use crate::telemetry::watchdog::Watchdog;
use crate::telemetry::{Report, ReportedSource};
use crate::trail;

/// What the threads are started with.
struct Start<'a> {
    options: &'a RunOptions,
    report: Arc<Report>,
    watchdog: Watchdog,
    /// The way into the queue.
    producer: Producer,
    shutdown: ShutdownSignal,
    abort: ShutdownSignal,
    /// The rules for what leaves the host.
    rules: LiveRules,
    /// Tells the main thread which thread has ended.
    tell: Events<Event>,
    /// Every source has one for as long as it runs.
    alive: Events<()>,
    /// Lets sources begin, one each.
    let_in: Receiver<()>,
}

/// Starts what was opened. Sources take nothing before [`Agent::supervise`]: if another thread can't be started, no event
/// was taken that would be lost.
///
/// # Errors
/// No more threads or descriptors are available.
pub(super) fn start(
    opened: Opened,
    options: &RunOptions,
    provenance: &Provenance,
) -> Result<Agent, CommandError> {
    let (sources, listening) = (opened.sources, opened.listening);
    let unwraps = listening.http.unwraps;
    let (tell, events) = unbounded();
    let (alive, others) = bounded(0);
    let (begin, let_in) = unbounded();
    let (producer, consumer) = queue(spooling::memory(options));
    let (resumes, trail) = (&sources.resumes, opened.trail.as_ref());
    let report = report_on(options, resumes, &opened.rules, trail);
    let start = Start {
        options,
        report: Arc::new(report),
        watchdog: opened.watchdog,
        producer,
        shutdown: opened.shutdown,
        abort: opened.abort,
        rules: opened.rules,
        tell,
        alive,
        let_in,
    };
    start.report.forwards(opened.destination.forwarding, "");
    let status_file = start.status_file(opened.status_file)?;
    let stats = start.producer.stats();
    let running_spool = start.spool(opened.spool)?;
    let spool = running_spool.as_ref().map(spool::Running::spool);
    let checkpoints = sources.checkpoints;
    let checkpoints = checkpoints.start(stats.clone(), start.watchdog.clone())?;
    let numbering = opened.trail.as_ref().map(trailing::numbering);
    let (lines, rejects) = start.senders(consumer, opened.destination.targets, spool)?;
    start.status_page(opened.status_page, listening.status_tokens)?;
    start.sources(sources.sources.into_iter().zip(sources.resumes), spool)?;
    start.feed(spool.cloned())?;
    let (ask, asked) = unbounded();
    if !options.dry_run {
        let (report, rules) = (Arc::clone(&start.report), start.rules.clone());
        let settings = (opened.contents, options, provenance);
        SettingsWatcher::new(settings, report, &lines, rules, asked)
            .numbering(numbering)
            .unwraps(unwraps)
            .spawn()?;
    }
    let ask_files = watched::watch(listening.files)?;
    let running = options.sources.len() + usize::from(spool.is_some());
    // Its first record is sent even before the sources begin.
    let trail = start.trail(opened.trail, others)?;
    forward(opened.signals, &start.tell, [ask, ask_files])?;
    Ok(Agent {
        report: start.report,
        notify: opened.notify,
        watchdog: start.watchdog,
        stats,
        status_file,
        checkpoints,
        spool: running_spool,
        rejects,
        shutdown: start.shutdown,
        abort: start.abort,
        producer: Some(start.producer),
        lines,
        events,
        sources: running + usize::from(trail.is_some()),
        begin,
        trail,
    })
}

fn report_on(
    options: &RunOptions,
    resumes: &[Resumes],
    rules: &LiveRules,
    trail: Option<&trail::running::Opened>,
) -> Report {
    let sources = options.sources.iter().zip(resumes);
    let sources = sources.map(|(spec, resumes)| ReportedSource {
        name: spec.to_string(),
        resumes: resumes.clone(),
    });
    let of_trail = trail.map(|trail| ReportedSource {
        name: "trail".into(),
        resumes: trail.store.is_some().into(),
    });
    let mut report = Report::new(options.report_interval, sources.chain(of_trail).collect());
    if trail.is_some() {
        report = report.with_trail();
    }
    report.filters(&rules.excluding());
    report
}

/// The settings of delivery with this many senders.
fn delivery_settings(options: &RunOptions, connections: usize) -> Settings {
    // At most half the buffer, so that sources find room during a request, and at most a second's worth.
    let max_bytes = (options.buffer_bytes.div_ceil(2))
        .min(NonZero::new(options.max_rate).map_or(usize::MAX, NonZero::get));
    // Otherwise files, which read ahead by the amount that suited the settings at the start, could not fill a body.
    let ahead = spooling::ahead(options).bytes / (options.connections + 1);
    Settings {
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
        rate: options.max_rate,
    }
}

impl Start<'_> {
    fn status_file(&self, place: Option<Place>) -> Result<Option<status::Writer>, CommandError> {
        let dir = &self.options.spool.dir.state.state_dir;
        let follow =
            |place: Place| place.follow(dir, Arc::clone(&self.report), self.watchdog.clone());
        Ok(place.map(follow).transpose()?)
    }

    fn status_page(
        &self,
        listener: Option<TcpListener>,
        tokens: Option<Arc<Watched<Tokens>>>,
    ) -> Result<(), CommandError> {
        let Some(listener) = listener else {
            return Ok(());
        };
        let status = Status {
            listener,
            report: Arc::clone(&self.report),
            stats: self.producer.stats(),
            unhealthy_after: self.options.unhealthy_after,
            started: Instant::now(),
            tokens,
        };
        let stop = self.shutdown.clone();
        thread::spawn("status", move || status.run(&stop))?;
        Ok(())
    }

    /// Starts what writes rejected events to a file.
    fn rejects(&self) -> Result<(Option<Rejects>, Option<Receiver<()>>), CommandError> {
        let options = self.options;
        let path = options.reject_file.clone().filter(|_| !options.dry_run);
        let report = Arc::clone(&self.report);
        let start = |path| Rejects::start(path, options.reject_bytes, report);
        Ok(path.map(start).transpose()?.unzip())
    }

    /// Starts the senders. Returns the way to each, and a receiver that tells when all rejected events are in their file.
    fn senders(
        &self,
        consumer: Consumer,
        targets: Option<Targets>,
        spool: Option<&Spool>,
    ) -> Result<(Vec<Line>, Option<Receiver<()>>), CommandError> {
        let options = self.options;
        let connections = match options.dry_run {
            // There is only one standard output.
            true => 1,
            false => options.connections,
        };
        let settings = delivery_settings(options, connections);
        let (min, max) = (options.backoff_min, options.backoff_max);
        let backoff = Backoff::new(min, max, random::seed());
        let (rejects, rejects_ended) = self.rejects()?;
        let lines: Vec<_> = (0..connections).map(|_| Line::default()).collect();
        let senders = Arc::new(Senders {
            consumer,
            delivery: Mutex::new(Delivery::new(settings, backoff)),
            report: Arc::clone(&self.report),
            watchdog: self.watchdog.clone(),
            shutdown: self.shutdown.clone(),
            abort: self.abort.clone(),
            rejects,
            lines: lines.clone(),
            running: AtomicUsize::new(connections),
        });
        let each = Targets::each(targets, connections);
        let is_awaited = matches!(self.report.forwarding(), Some(Forwarding::Awaited(_)));
        for (place, targets) in each.into_iter().enumerate() {
            let senders = Arc::clone(&senders);
            let sender = Sender {
                senders,
                place,
                targets,
                is_awaited,
                spool: spool.map(|spool| spool.rereader()),
            };
            let tell = self.teller(Event::SendersEnded);
            thread::spawn("sender", move || {
                if sender.run() {
                    tell();
                }
            })?;
        }
        Ok((lines, rejects_ended))
    }

    fn sources(
        &self,
        sources: impl Iterator<Item = (Box<dyn Source>, Resumes)>,
        spool: Option<&Spool>,
    ) -> Result<(), CommandError> {
        let options = self.options;
        let max_event = options.max_event_bytes.min(options.buffer_bytes);
        for (place, (spec, (source, resumes))) in options.sources.iter().zip(sources).enumerate() {
            let when_full = options.when_full.unwrap_or(if source.is_lasting() {
                WhenFull::Wait
            } else {
                WhenFull::Drop
            });
            let producer = if source.is_lasting() && when_full == WhenFull::Wait {
                self.producer.while_below(spooling::ahead(options))
            } else {
                self.producer.clone()
            };
            let producer = match spec {
                // Files are not read while forwarding is disabled.
                Spec::File(_) => producer.resuming(resumes),
                _ => producer,
            };
            let report = Arc::clone(&self.report);
            // Clients of `http:` wait for an answer.
            let is_kept = source.is_lasting() || matches!(spec, Spec::Http(_) | Spec::Https(_));
            report.source_reads(place, !is_kept);
            let spool = spool.filter(|_| !source.is_lasting());
            let spool = spool.map(|spool| spool.appender(place));
            let rules = self.rules.clone();
            let mut output =
                SourceOutput::new(place, producer, spool, report, when_full, max_event, rules);
            output.batch_age = options.batch_age;
            let shutdown = self.shutdown.clone();
            let name = format!("src-{}", spec.kind());
            let report = Arc::clone(&self.report);
            self.spawn_source(&name, move || {
                source.run(output, &shutdown);
                report.source_reads(place, false);
            })?;
        }
        Ok(())
    }

    /// Starts the trail, if there is one. It counts as one more source, which ends after all others.
    fn trail(
        &self,
        opened: Option<trail::running::Opened>,
        others: Receiver<()>,
    ) -> Result<Option<Worker>, CommandError> {
        let Some(opened) = opened else {
            return Ok(None);
        };
        let parts = trail::running::Parts {
            // What is kept is sent by the next start.
            producer: (self.producer).resuming(opened.store.is_some().into()),
            report: Arc::clone(&self.report),
            source: self.report.balance().sources() - 1,
            rules: self.rules.clone(),
            watchdog: self.watchdog.clone(),
            others,
        };
        let stopped = self.teller(Event::SourceEnded);
        Ok(Some(trail::running::start(opened, parts, stopped)?))
    }

    fn spool(&self, opened: Option<OpenSpool>) -> Result<Option<spool::Running>, CommandError> {
        let Some(OpenSpool { settings, files }) = opened else {
            return Ok(None);
        };
        let (report, watchdog) = (Arc::clone(&self.report), self.watchdog.clone());
        let stats = self.producer.stats();
        let spool = Spool::start(&settings, files, stats, report, watchdog)?;
        Ok(Some(spool))
    }

    /// Starts reading the spool, if there is one. It counts as one more source.
    fn feed(&self, spool: Option<Spool>) -> Result<(), CommandError> {
        let Some(spool) = spool else {
            return Ok(());
        };
        let producer = self.producer.while_below(spooling::ahead(self.options));
        let producer = producer.resuming(spool.resumes()).taking_large();
        let stop = self.shutdown.clone();
        let last_events = self.options.batch_events;
        self.spawn_source("spool-read", move || {
            spool.feed(producer, stop, last_events);
        })
    }

    fn spawn_source(
        &self,
        name: &str,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<(), CommandError> {
        let (tell, alive) = (self.teller(Event::SourceEnded), self.alive.clone());
        let let_in = self.let_in.clone();
        thread::spawn(name, move || {
            // An error: the start has failed.
            if let_in.recv().is_ok() {
                run();
            }
            drop(alive);
            tell();
        })?;
        Ok(())
    }

    /// Tells the main thread of this event, if that has not ended.
    fn teller(&self, event: Event) -> impl FnOnce() + Send + use<> {
        let tell = self.tell.clone();
        move || _ = tell.send(event)
    }
}

/// Tells the main thread of SIGTERM and SIGINT, and the threads that re-read files of SIGHUP.
fn forward(
    mut signals: Signals,
    tell: &Events<Event>,
    ask: [Events<()>; 2],
) -> Result<(), CommandError> {
    let tell = tell.clone();
    thread::spawn("signals", move || {
        let mut requests = Requests::default();
        for signal in signals.forever() {
            if signal == SIGHUP {
                // A dry run does not follow its settings, and listeners may have no files.
                for ask in &ask {
                    let _ = ask.send(());
                }
            } else if requests.is_next(signal, Instant::now()) && tell.send(Event::Signal).is_err()
            {
                return;
            }
        }
    })?;
    Ok(())
}
