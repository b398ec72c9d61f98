//! The main thread's loop while the others work, and the shutdown.

use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::bounds::{LAST_LINE, LAST_WRITES_AT_ONCE, STOP_MARGIN};
use super::memory::Memory;
use super::supervise::{Action, Event, Supervisor};
use super::systemd::Notify;
use crate::buffer::queue::{Producer, QueueStats};
use crate::buffer::spool;
use crate::delivery::sender::Line;
use crate::state::status;
use crate::sys::shutdown::ShutdownSignal;
use crate::sys::thread::{Worker, spawn};
use crate::sys::{code, exit, glibc};
use crate::telemetry::message::{BufferedEvents, Message};
use crate::telemetry::watchdog::Watchdog;
use crate::telemetry::{Report, log};
use crate::text::quantity::HumanDuration;

/// What the main thread has while the others work.
pub(super) struct Agent {
    pub(super) report: Arc<Report>,
    /// Notifies systemd, if this is a service.
    pub(super) notify: Option<Notify>,
    pub(super) watchdog: Watchdog,
    pub(super) stats: QueueStats,
    /// Writes the file for `show`.
    pub(super) status_file: Option<status::Writer>,
    /// Writes the files' checkpoints.
    pub(super) checkpoints: Option<Worker>,
    pub(super) spool: Option<spool::Running>,
    pub(super) trail: Option<Worker>,
    /// Disconnected when all rejected events are in their file.
    pub(super) rejects: Option<Receiver<()>>,
    pub(super) shutdown: ShutdownSignal,
    pub(super) abort: ShutdownSignal,
    /// Dropped so that the queue can close.
    pub(super) producer: Option<Producer>,
    /// The ways to the senders.
    pub(super) lines: Vec<Line>,
    pub(super) events: Receiver<Event>,
    /// The number of sources that run.
    pub(super) sources: usize,
    /// Lets one source begin with each message.
    pub(super) begin: Sender<()>,
}

impl Agent {
    /// Lets sources begin, logs the summaries and waits for the end; then makes sure that it comes in time.
    pub(super) fn supervise(mut self, interval: Duration, timeout: Duration) -> ExitCode {
        for _ in 0..self.sources {
            // None waits any more if there are none.
            let _ = self.begin.send(());
        }
        if let Some(Err(error)) = self.notify.as_ref().map(Notify::ready) {
            let error = error.to_string();
            Message::NotifyFailed { error }.log();
        }
        let mut supervisor = Supervisor::new(self.sources, interval, timeout, Instant::now());
        let mut memory = Memory::new(self.stats.bound().bytes, Instant::now());
        let mut is_starting = true;
        loop {
            let now = Instant::now();
            for action in supervisor.tick(now) {
                self.perform(action, timeout);
            }
            if supervisor.is_over() {
                break;
            }
            if now >= memory.due() {
                let (buffered, peak) = (self.stats.buffered().bytes, self.stats.take_peak());
                if memory.look(buffered, peak, now) || is_starting {
                    glibc::trim();
                }
                if std::mem::take(&mut is_starting) {
                    code::forget();
                }
            }
            let wake = supervisor.wake().min(memory.due());
            let wake = self.give_sign(now).map_or(wake, |sign| sign.min(wake));
            let event = match self.events.recv_deadline(wake) {
                Ok(event) => event,
                Err(RecvTimeoutError::Timeout) => continue,
                // The thread that forwards signals is gone.
                Err(RecvTimeoutError::Disconnected) => break,
            };
            for action in supervisor.on(event, Instant::now()) {
                self.perform(action, timeout);
            }
        }
        self.finish(&supervisor)
    }

    fn perform(&mut self, action: Action, timeout: Duration) {
        match action {
            Action::Report => self.report.tick(),
            Action::Drain => {
                Message::ShuttingDown {
                    buffered: BufferedEvents(self.report.balance().buffered()),
                    timeout: HumanDuration(timeout),
                }
                .log();
                if let Some(notify) = &self.notify {
                    notify.stopping(timeout.saturating_add(STOP_MARGIN));
                }
                self.shutdown.trigger();
                self.lines.iter().for_each(Line::wake);
                self.producer = None;
            }
            Action::CloseQueue => self.producer = None,
            Action::Abort => {
                self.shutdown.trigger();
                self.producer = None;
                // Whoever waits for room ends now, and so do requests in flight, except for one that is not connected.
                self.stats.close();
                self.abort.trigger();
                self.lines.iter().for_each(Line::abort);
            }
            Action::StopAtOnce => Message::StoppingAtOnce {}.log(),
        }
    }

    /// Reports the agent's status to systemd, if that is due, and returns when it is due again.
    ///
    /// It uses what all threads share, so that a sign of life proves something: whoever keeps the report or the
    /// queue locked forever blocks this thread too.
    fn give_sign(&mut self, now: Instant) -> Option<Instant> {
        let notify = self.notify.as_mut()?;
        if now >= notify.due() {
            self.stats.buffered();
            let is_stuck = self.watchdog.is_request_stuck(now);
            notify.sign(&self.report.snapshot(), is_stuck, now);
        }
        Some(notify.due())
    }

    /// Has everything written for the last time. What is not final now never will be.
    fn finish(self, supervisor: &Supervisor) -> ExitCode {
        let end = supervisor.end_by(Instant::now());
        // Where all sources have ended by themselves, each was read to its end, or is down.
        let is_down = || {
            self.report
                .snapshot()
                .sources
                .iter()
                .any(|source| !source.is_up)
        };
        let has_failed = self.abort.is_triggered() || is_down();
        let is_success = supervisor.was_signalled() || !has_failed;
        end_at_signal(self.events, is_success);
        // Each of these gets half of the remaining time, the last one all of it; the log has a time of its own.
        let left = || end.saturating_duration_since(Instant::now());
        if let Some(spool) = self.spool {
            self.report.left(spool.finish(left() / 2));
        }
        // A sender that does not end keeps the file's thread alive, too.
        if let Some(rejects) = self.rejects
            && rejects.recv_timeout(left() / 2) == Err(RecvTimeoutError::Timeout)
        {
            let now = self.report.snapshot();
            let written = now.rejects.saved + now.rejects.unsaved;
            let waiting = now.balance.rejected.saturating_sub(written);
            let error = "the file was not written in time";
            self.report.rejects_unsaved(waiting as usize, error);
        }
        if let Some(checkpoints) = self.checkpoints {
            checkpoints.finish(left() / 2);
        }
        if let Some(trail) = self.trail {
            trail.finish(left() / 2);
        }
        // Here and not by a sender: one may be stuck.
        let last = self.report.stopped(self.stats.resuming().events());
        if let Some(status_file) = self.status_file {
            status_file.finish(last, left());
        }
        let is_logged = log::flush(left().max(LAST_LINE));
        if !is_logged || supervisor.has_threads() {
            exit::at_once(is_success);
        }
        exit::code(is_success)
    }
}

/// A signal does not wait for last writes that hang.
fn end_at_signal(events: Receiver<Event>, is_success: bool) {
    // Without this thread, the end is bounded all the same.
    let _ = spawn("end", move || {
        if events.iter().any(|event| event == Event::Signal) {
            thread::sleep(LAST_WRITES_AT_ONCE);
            exit::at_once(is_success);
        }
    });
}
