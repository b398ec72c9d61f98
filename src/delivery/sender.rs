//! The sender threads: loops around one [`Delivery`], which decides. They take events from the queue, one sender at a
//! time, post bodies, and count what became of them.

use std::sync::atomic::{AtomicUsize, Ordering::AcqRel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crossbeam_channel::{self as channel, Receiver, bounded};

use super::attempt::Flight;
use super::batch::Batch;
use super::machine::Delivery;
use super::outcome::Outcome;
use super::step::{Effect, Query, Step};
use super::target::{Abort, Target, Targets};
use crate::buffer::chunk::Extent;
use crate::buffer::queue::{Consumer, Taken};
use crate::buffer::spool::Rereader;
use crate::state::reject_file::Rejects;
use crate::sys::shutdown::ShutdownSignal;
use crate::telemetry::Report;
use crate::telemetry::counters::Reason;
use crate::telemetry::requests::{Finished, RequestResult};
use crate::telemetry::watchdog::Watchdog;
use crate::text::ranges::Ranges;

/// Another target for a sender, or none while forwarding is disabled; counted from 1, the same for all senders.
pub type Change = (u64, Option<Targets>);

/// What all senders share.
pub struct Senders {
    /// Where events come from.
    pub consumer: Consumer,
    /// Decides. Locked for moments only, never during I/O.
    pub delivery: Mutex<Delivery>,
    /// Counts and logs.
    pub report: Arc<Report>,
    /// Notices if a request hangs.
    pub watchdog: Watchdog,
    /// The agent stops: a wait is cut short once, for one more attempt at once.
    pub shutdown: ShutdownSignal,
    /// The agent must end: what is not final is abandoned.
    pub abort: ShutdownSignal,
    /// Gets what was rejected.
    pub rejects: Option<Rejects>,
    /// One for each sender.
    pub lines: Vec<Line>,
    /// How many senders run.
    pub running: AtomicUsize,
}

/// The way to one sender.
#[derive(Clone)]
pub struct Line {
    change: Arc<Mutex<Option<Change>>>,
    /// Ends the request in flight, which is always one to the target in use.
    aborter: Arc<Mutex<Option<Abort>>>,
    wake: channel::Sender<()>,
    woken: Receiver<()>,
}

impl Default for Line {
    /// A line to a sender that has not started.
    fn default() -> Self {
        let (wake, woken) = bounded(1);
        Line {
            change: Arc::default(),
            aborter: Arc::default(),
            wake,
            woken,
        }
    }
}

/// The senders of these lines post to other targets from the next request on: the ones of this generation. Changes that
/// they have not seen are replaced.
pub fn change(lines: &[Line], generation: u64, targets: Option<Targets>, report: &Report) {
    let names = targets.as_ref().map(|targets| targets.names.clone());
    let each = Targets::each(targets, lines.len());
    // As long as these are locked, no sender reports the end of a request: what is reported later is of the new target.
    let mut changes: Vec<_> = lines.iter().map(Line::changes).collect();
    report.another_webhook(names.unwrap_or_default());
    for (change, targets) in changes.iter_mut().zip(each) {
        **change = Some((generation, targets));
    }
    drop(changes);
    lines.iter().for_each(Line::wake);
}

impl Line {
    fn changes(&self) -> MutexGuard<'_, Option<Change>> {
        self.change.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets it look again at what it waits for: now, or as soon as it would wait.
    pub fn wake(&self) {
        // If there is no room, it will look anyway.
        let _ = self.wake.try_send(());
    }

    /// Ends the request in flight, and all later ones to the same target.
    pub fn abort(&self) {
        let mut aborter = self.aborter.lock().unwrap_or_else(PoisonError::into_inner);
        let abort = aborter.take();
        drop(aborter);
        if let Some(abort) = abort {
            abort();
        }
        self.wake();
    }

    fn wait(&self, until: Option<Instant>) {
        match until {
            Some(until) => drop(self.woken.recv_deadline(until)),
            None => drop(self.woken.recv()),
        }
    }
}

/// A sender thread's own state.
pub struct Sender {
    /// What it shares with the others.
    pub senders: Arc<Senders>,
    /// Its place among them, from 0.
    pub place: usize,
    /// Where its bodies go; nowhere while forwarding is disabled.
    pub targets: Option<Targets>,
    /// The first target is still to come, and events wait for it.
    pub is_awaited: bool,
    /// Has events that need not stay in memory until they are acknowledged.
    pub spool: Option<Rereader>,
}

impl Sender {
    /// Runs until the sources have ended and everything is final, or until it is aborted. True if it was the last.
    pub fn run(mut self) -> bool {
        let senders = Arc::clone(&self.senders);
        let line = &senders.lines[self.place];
        let mut is_stopping = false;
        self.install(1);
        while !senders.abort.is_triggered() {
            self.retarget(line);
            is_stopping |= senders.shutdown.is_triggered();
            let step = self.next(is_stopping);
            if let (Some(spool), Step::Collect { .. } | Step::Wait(_)) = (&mut self.spool, &step) {
                spool.close();
            }
            match step {
                Step::Collect { wanted, until } => {
                    let taken = senders.consumer.take(wanted, until);
                    let mut delivery = senders.lock();
                    match taken {
                        Taken::Events(run) => delivery.collected(Some(run), Instant::now()),
                        Taken::Nothing => delivery.collected(None, Instant::now()),
                        Taken::Ended => delivery.ended(),
                    }
                    senders.wake(&mut delivery);
                }
                Step::Send(flight) => {
                    while self.is_awaited && !senders.abort.is_triggered() {
                        line.wait(None);
                        self.retarget(line);
                    }
                    self.send(flight);
                }
                Step::Ask(query) => self.ask(&query),
                Step::Read(seqs) => self.read(&seqs),
                // A stop ends this once, for one more attempt.
                Step::Wait(until) => line.wait(until),
                Step::Finished => break,
            }
        }
        let is_last = senders.running.fetch_sub(1, AcqRel) == 1;
        if is_last {
            senders.report.left_unanswered(senders.lock().doubtful());
        }
        is_last
    }

    /// Takes over a new target, if there is one.
    fn retarget(&mut self, line: &Line) {
        let latest = line.changes().take();
        if let Some((generation, targets)) = latest {
            (self.targets, self.is_awaited) = (targets, false);
            self.install(generation);
        }
    }

    /// What to do now.
    fn next(&self, is_stopping: bool) -> Step {
        let mut delivery = self.senders.lock();
        let now = Instant::now();
        if is_stopping {
            delivery.stop(now);
        }
        let step = match self.targets {
            None if !self.is_awaited => {
                let waiting = self.senders.consumer.waiting();
                let (dropped, step) = delivery.disabled(&waiting, now);
                let report = &self.senders.report;
                report.dropped(Reason::Disabled, None, dropped.extent().events);
                report.gap(Reason::Disabled.label(), dropped.seqs());
                self.senders.finish(dropped);
                step
            }
            _ => delivery.next(self.place, now),
        };
        self.senders.wake(&mut delivery);
        step
    }

    /// Posts a body.
    fn send(&mut self, mut flight: Box<Flight>) {
        let senders = &self.senders;
        let Some(target) = target(&mut self.targets, flight.endpoint()) else {
            // Forwarding was disabled, or the agent ends, before there was a target.
            return senders.lock().unsent(flight);
        };
        let packed = target.prepare(flight.batch(), flight.max_bytes());
        if let Some(packed) = packed.filter(|packed| packed.bytes > flight.max_bytes()) {
            let mut delivery = senders.lock();
            delivery.oversized(flight, packed, Instant::now());
            return senders.wake(&mut delivery);
        }
        flight.packed(packed);
        let ahead = senders.lock().ahead();
        if let Some((next, max_bytes)) = ahead {
            target.prepare_ahead(next, max_bytes);
        }
        let began = Instant::now();
        let outcome = senders.watchdog.request(target.time_limit(), || {
            target.post(flight.batch(), flight.channel())
        });
        if let Some(text) = target.advice() {
            senders.report.advice(text);
        }
        let (expiries, skew) = (target.expiries(), target.clock_skew());
        let has_moved = target.has_moved();
        if let (Outcome::Accepted(_), Some(spool)) = (&outcome, &self.spool) {
            let known = spool.known(flight.batch().seqs());
            flight.spooled(known);
        }
        let now = Instant::now();
        senders.report.request_finished(Finished {
            result: match &outcome {
                Outcome::Delivered | Outcome::Accepted(_) => RequestResult::Delivered,
                Outcome::Rejected(_) | Outcome::TooLarge(_) => RequestResult::Rejected,
                Outcome::Partial(partial) if partial.failure.is_none() => RequestResult::Rejected,
                Outcome::Partial(_) | Outcome::Failed(_) => RequestResult::Retried,
            },
            cause: match &outcome {
                Outcome::Failed(error) => Some(error.cause),
                Outcome::Partial(partial) => partial.failure.as_ref().map(|error| error.cause),
                _ => None,
            },
            took: now - began,
        });
        let mut delivery = senders.lock();
        let change = senders.lines[self.place].changes();
        if change.is_some() {
            flight.outdated();
        } else {
            if let Some(expiries) = expiries {
                senders.report.certificates(target.endpoint(), expiries);
            }
            if let Some(skew) = skew {
                senders.report.webhook_clock(flight.endpoint(), skew);
            }
        }
        if has_moved {
            delivery.moved(self.place, flight.endpoint());
        }
        let effects = delivery.on(flight, outcome, now - began, now);
        senders.conclude(&mut delivery, effects, &**target);
    }

    /// Asks what is indexed.
    fn ask(&mut self, query: &Query) {
        let senders = &self.senders;
        let Some(target) = target(&mut self.targets, query.endpoint) else {
            return;
        };
        let began = Instant::now();
        let answer = senders.watchdog.request(target.time_limit(), || {
            target.ask(query.channel, &query.ids)
        });
        let has_moved = target.has_moved();
        let now = Instant::now();
        let mut delivery = senders.lock();
        if has_moved {
            // The answer is about what another server has.
            delivery.moved(query.sender, query.endpoint);
        }
        let change = senders.lines[self.place].changes();
        let mut effects = delivery.asked(query, answer, now - began, now);
        if change.is_some() {
            effects.retain(|effect| !effect.is_of_webhook());
        }
        senders.conclude(&mut delivery, effects, &**target);
    }

    /// Reads events again that were posted, and were not acknowledged.
    fn read(&mut self, seqs: &Ranges) {
        let senders = &self.senders;
        let runs = match &mut self.spool {
            Some(spool) => spool.read(seqs, &senders.abort),
            None => Ok(Vec::new()),
        };
        let batch = runs.ok().map(|runs| {
            let mut batch = Batch::default();
            runs.into_iter().for_each(|run| batch.push(run));
            let missing = seqs.without(&batch.seqs().collect());
            senders.consumer.take_back(batch.extent());
            let events = missing.events();
            senders.report.dropped(Reason::Corrupt, None, events);
            let numbers = missing.iter();
            (senders.report).gap(Reason::Corrupt.label(), numbers);
            senders.consumer.finish_released(&missing);
            batch
        });
        let mut delivery = senders.lock();
        delivery.read(batch);
        senders.wake(&mut delivery);
    }

    /// Installs a target as if there had been none before.
    fn install(&self, generation: u64) {
        let targets = self.targets.as_ref();
        let aborter = &self.senders.lines[self.place].aborter;
        let mut aborter = aborter.lock().unwrap_or_else(PoisonError::into_inner);
        *aborter = targets.map(Targets::cut);
        drop(aborter);
        let terms = targets.map(Targets::terms).unwrap_or_default();
        let mut delivery = self.senders.lock();
        let posted = delivery.posted();
        if delivery.retarget(generation, terms) {
            let names = targets.map(|targets| targets.names.clone());
            self.senders
                .report
                .another_webhook(names.unwrap_or_default());
            if targets.is_none() {
                let when = "forwarding was disabled";
                self.senders.report.left_unacknowledged(posted, when);
            }
        }
    }
}

/// The endpoint at this place.
fn target(targets: &mut Option<Targets>, place: usize) -> Option<&mut Box<dyn Target>> {
    targets.as_mut()?.all.get_mut(place)
}

impl Senders {
    fn lock(&self) -> MutexGuard<'_, Delivery> {
        self.delivery.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets all senders that wait look again, if there is a reason.
    fn wake(&self, delivery: &mut Delivery) {
        if delivery.wakes_others() {
            self.lines.iter().for_each(Line::wake);
        }
    }

    /// Does what follows from the end of a request to this target.
    fn conclude(&self, delivery: &mut Delivery, effects: Vec<Effect>, target: &dyn Target) {
        for effect in effects {
            self.apply(effect, target);
        }
        self.report.posted(delivery.posted());
        self.consumer.excuse(delivery.held_back());
        self.wake(delivery);
    }

    fn apply(&self, effect: Effect, target: &dyn Target) {
        match effect {
            Effect::Delivered(batch) => {
                let Extent { events, bytes } = batch.extent();
                self.report.delivered(events, bytes);
                self.finish(batch);
            }
            Effect::Indexed(seqs, bytes) => {
                self.report.delivered(seqs.events(), bytes);
                self.consumer.finish_released(&seqs);
            }
            Effect::Released(batch) => {
                self.consumer.release(batch.extent());
                self.recycle(batch);
            }
            Effect::Rejected(batch, message) => {
                let events = batch.extent().events;
                self.report.rejected(events, &message);
                if let Some(rejects) = &self.rejects {
                    let lines: Vec<_> = batch.lines().collect();
                    rejects.offer(target.endpoint(), &message, events, &lines);
                }
                self.report.gap("rejected", batch.seqs());
                self.finish(batch);
            }
            Effect::Failed(error, delay) => {
                self.report
                    .delivery_failed(&error.message, error.fix, delay);
            }
            Effect::Redelivered(events, message) => self.report.redelivered(events, &message),
            Effect::BodySizeLearned(bytes) => self.report.body_size_learned(bytes),
            Effect::Divided | Effect::Passed => self.report.delivery_restored(),
            Effect::QueryAnswered => self.report.query_answered(),
            Effect::QueryFailed(error) => self.report.query_failed(&error.message),
            Effect::EndpointFailed(place, error) => {
                (self.report).endpoint_failed(place, &error.message, error.fix);
            }
            Effect::EndpointRestored(place) => self.report.endpoint_restored(place),
            Effect::SetAside(message) => self.report.event_set_aside(&message),
        }
    }

    /// These events are final.
    fn finish(&self, batch: Batch) {
        self.consumer.finish(batch.extent(), batch.seqs());
        self.recycle(batch);
    }

    fn recycle(&self, batch: Batch) {
        let buffers = batch.into_buffers();
        buffers.for_each(|buffer| self.consumer.recycle(buffer));
    }
}
