//! The thread of the trail: a loop around [`Trail`].

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, select};

use super::store::Store;
use super::{Numbers, Saved, Trail, View, Was};
use crate::buffer::queue::{Producer, QueueStats};
use crate::rules::LiveRules;
use crate::sys::thread::Worker;
use crate::telemetry::Report;
use crate::telemetry::gaps::Gaps;
use crate::telemetry::message::Message;
use crate::telemetry::snapshot::TrailState;
use crate::telemetry::watchdog::Watchdog;

/// How often losses are recorded and the trail is saved.
const LOOK: Duration = Duration::from_secs(1);
/// What it means if the directory hangs.
const IF_IT_HANGS: &str = "the trail waits";

/// What a trail starts with.
#[derive(Debug)]
pub struct Opened {
    /// What was saved, and how the last start ended.
    pub saved: (Saved, Was),
    /// Where it is saved; `None` if there is no state directory.
    pub store: Option<Store>,
    /// See [`Trail::start`].
    pub host: String,
    /// See [`Trail::start`].
    pub settings: String,
    /// The time between two checkpoints.
    pub interval: Duration,
}

/// What the thread works with.
pub struct Parts {
    /// The way into the queue.
    pub producer: Producer,
    /// Counts events and losses.
    pub report: Arc<Report>,
    /// The trail's index among the sources that the report knows.
    pub source: usize,
    /// The rules in effect.
    pub rules: LiveRules,
    /// Notices when the directory hangs.
    pub watchdog: Watchdog,
    /// Disconnected when all other sources have ended.
    pub others: Receiver<()>,
}

/// Starts the thread. It calls `stopped` when all other sources have ended and its last record is queued. It is told to
/// end when nothing becomes final any more, and then saves the trail for the last time.
///
/// # Errors
/// No more threads can be started.
pub fn start(
    opened: Opened,
    parts: Parts,
    stopped: impl FnOnce() + Send + 'static,
) -> io::Result<Worker> {
    Worker::start("trail", move |end| run(opened, parts, end, stopped))
}

fn run(opened: Opened, parts: Parts, end: &Receiver<()>, stopped: impl FnOnce()) {
    let (others, report) = (parts.others, parts.report);
    let mut thread = Thread {
        stats: parts.producer.stats(),
        queue: Some(Counted {
            producer: parts.producer,
            report: Arc::clone(&report),
            source: parts.source,
        }),
        writer: Writer {
            store: opened.store,
            watchdog: parts.watchdog,
            is_failing: false,
            last: None,
        },
        report,
        rules: parts.rules,
        began: Instant::now(),
    };
    let (saved, host, settings) = (opened.saved, opened.host, opened.settings);
    let mut trail = Trail::start(saved, host, opened.interval, &settings, &thread.view());
    let look = LOOK.min(opened.interval);
    loop {
        thread.step(&mut trail, Trail::tick);
        select! {
            recv(others) -> _ => break,
            recv(end) -> _ => break,
            default(look) => {}
        }
    }
    thread.step(&mut trail, Trail::stop);
    thread.queue = None;
    stopped();
    let _ = end.recv();
    let mut view = thread.view();
    let resuming = thread.stats.resuming();
    view.balance = thread.report.last_balance(resuming.events());
    let losses = thread.report.take_gaps();
    trail.end(losses, &thread.stats.unfinished(), &resuming, &view);
    thread.writer.write(trail.saved());
}

struct Thread {
    /// Dropped when the last record is queued, so that the queue can close.
    queue: Option<Counted>,
    writer: Writer,
    report: Arc<Report>,
    stats: QueueStats,
    rules: LiveRules,
    began: Instant,
}

impl Thread {
    fn view(&self) -> View {
        View {
            time: SystemTime::now(),
            elapsed: self.began.elapsed(),
            balance: self.report.balance(),
            numbers: self.stats.numbers(),
            is_forwarding: self.report.is_forwarding(),
            rules: self.rules.describe(),
        }
    }

    fn step(
        &mut self,
        trail: &mut Trail,
        step: impl FnOnce(&mut Trail, Gaps, &mut Counted, &View),
    ) {
        // In this order: an event that is seen as final is among the losses if it was lost.
        let view = self.view();
        let Some(queue) = &mut self.queue else { return };
        let losses = self.report.take_gaps();
        step(trail, losses, queue, &view);
        // A record is saved before it is queued, so that its number is never given to another one.
        self.writer.write(trail.saved());
        trail.queue(queue, &view);
        self.report.trail(TrailState {
            stream: trail.saved().stream.clone(),
            last: trail.saved().next - 1,
            pending: trail.saved().outbox.len() as u64,
        });
    }
}

/// Writes the file, and logs it if it can't.
struct Writer {
    store: Option<Store>,
    watchdog: Watchdog,
    is_failing: bool,
    last: Option<Saved>,
}

impl Writer {
    fn write(&mut self, saved: &Saved) {
        let Some(store) = &self.store else { return };
        if self.last.as_ref() == Some(saved) {
            return;
        }
        let path = store.path().display().to_string();
        match self.watchdog.dir(IF_IT_HANGS, || store.save(saved)) {
            Ok(()) => {
                self.last = Some(saved.clone());
                if std::mem::take(&mut self.is_failing) {
                    Message::TrailRestored { path }.log();
                }
            }
            Err(error) if !std::mem::replace(&mut self.is_failing, true) => {
                let error = error.to_string();
                Message::TrailFailed { path, error }.log();
            }
            Err(_) => {}
        }
    }
}

/// The queue; every record is counted as received.
struct Counted {
    producer: Producer,
    report: Arc<Report>,
    source: usize,
}

impl Numbers for Counted {
    fn push(&mut self, line: &str) -> Option<u64> {
        let count = || self.report.received(self.source, 1);
        self.producer.push(line.as_bytes(), count)
    }

    fn skip(&mut self, events: u64) -> Option<Range<u64>> {
        self.producer.skip(events)
    }
}
