//! The sender thread: a loop around [`Delivery`], which decides. It takes events from the queue, posts bodies, and counts
//! what became of them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::batch::Batch;
use super::body::Body;
use super::machine::Delivery;
use super::outcome::{Outcome, Overhead};
use super::pace::Pace;
use super::step::{Effect, Settings, Step, Terms};
use crate::buffer::chunk::Extent;
use crate::buffer::queue::{Consumer, Taken};
use crate::sys::backoff::Backoff;
use crate::sys::latest_value::LatestValue;
use crate::sys::shutdown::ShutdownSignal;
use crate::telemetry::Report;
use crate::telemetry::counters::{Reason, RequestResult};
use crate::telemetry::watchdog::Watchdog;

/// Where bodies go.
pub trait Target: Send {
    /// Sends one body and waits for what becomes of it, within the target's own timeouts.
    fn post(&mut self, body: &Body<'_>) -> Outcome;

    /// How long that takes at the very most; longer only if something is broken.
    fn time_limit(&self) -> Duration;

    /// How long a request may take until it counts as failed.
    fn request_timeout(&self) -> Duration;

    /// How many events a body takes at most.
    fn max_events(&self) -> usize;

    /// What encoding adds to a body.
    fn overhead(&self) -> Overhead;

    /// What the operator should know of though all is delivered; each thing once.
    fn advice(&mut self) -> Option<&'static str> {
        None
    }

    /// Something that ends the post in flight, and all later ones, from another thread.
    fn cut(&self) -> Abort;
}

/// Ends a post from another thread.
pub type Abort = Box<dyn FnOnce() + Send>;

/// The sender thread's state.
pub struct Sender {
    /// Where events come from.
    pub consumer: Consumer,
    /// Where they go; nowhere while forwarding is disabled.
    pub target: Option<Box<dyn Target>>,
    /// Where they are to go from the next request on.
    pub changes: LatestValue<Option<Box<dyn Target>>>,
    /// Ends the request in flight: always that of the target in use.
    pub aborter: Arc<Mutex<Abort>>,
    /// What delivery goes by.
    pub settings: Settings,
    /// How fast to send at most.
    pub pace: Pace,
    /// How long to wait after a failure.
    pub backoff: Backoff,
    /// Counts and logs.
    pub report: Arc<Report>,
    /// Notices if a request is stuck.
    pub watchdog: Watchdog,
    /// The agent stops: a wait is cut short once, to try again at once.
    pub shutdown: ShutdownSignal,
    /// The agent must end: what is not final is left.
    pub abort: ShutdownSignal,
}

impl Sender {
    /// Runs until the sources have ended and all is final, or until it is aborted.
    pub fn run(mut self) {
        let terms = self.install();
        let mut delivery = Delivery::new(self.settings.clone(), terms, self.backoff.clone());
        let mut is_stopping = false;
        while !self.abort.is_triggered() {
            if let Some(target) = self.changes.take() {
                self.target = target;
                delivery.retarget(self.install());
            }
            if self.shutdown.is_triggered() && !std::mem::replace(&mut is_stopping, true) {
                delivery.stop();
            }
            if self.target.is_none() {
                let all = delivery.take_all();
                self.report
                    .dropped(Reason::Disabled, None, all.extent().events);
                self.finish(all);
            }
            match delivery.next(Instant::now()) {
                Step::Collect { wanted, until } => match self.consumer.take(wanted, until) {
                    Taken::Events(run) => delivery.collected(run, Instant::now()),
                    Taken::Nothing => {}
                    Taken::Ended => delivery.ended(),
                },
                Step::Send => self.send(&mut delivery),
                Step::Wait(until) => {
                    // A stop is answered by one more attempt, and then waited through.
                    let awaited = if is_stopping {
                        &self.abort
                    } else {
                        &self.shutdown
                    };
                    let delay = until.saturating_duration_since(Instant::now());
                    self.changes.wait(awaited, delay);
                }
                Step::Finished => break,
            }
        }
        self.drop_rest(&mut delivery);
    }

    /// Posts the body that is due.
    fn send(&mut self, delivery: &mut Delivery) {
        let (Some(target), Some(body)) = (&mut self.target, delivery.body()) else {
            return;
        };
        if let Some(delay) = self.pace.wait(Instant::now())
            && self.abort.wait(delay)
        {
            return;
        }
        let began = Instant::now();
        self.pace.sent(body.extent().bytes, began);
        let outcome = self
            .watchdog
            .request(target.time_limit(), || target.post(&body));
        if let Some(text) = target.advice() {
            self.report.advice(text);
        }
        self.report.request_finished(match &outcome {
            Outcome::Delivered => RequestResult::Delivered,
            Outcome::Rejected(_) | Outcome::TooLarge(_) => RequestResult::Rejected,
            Outcome::Partial(partial) if partial.failure.is_none() => RequestResult::Rejected,
            Outcome::Partial(_) | Outcome::Failed(_) => RequestResult::Retried,
        });
        let now = Instant::now();
        for effect in delivery.on(outcome, now - began, now) {
            self.apply(effect);
        }
    }

    fn apply(&self, effect: Effect) {
        match effect {
            Effect::Delivered(batch) => {
                self.report.delivered(batch.extent().events);
                self.report.delivery_restored();
                self.finish(batch);
            }
            Effect::Rejected(batch, message) => {
                self.report.rejected(batch.extent().events, &message);
                self.finish(batch);
            }
            Effect::Failed(error, delay) => {
                self.report
                    .delivery_failed(&error.message, error.fix, delay);
            }
            Effect::Divided => self.report.delivery_restored(),
            Effect::Redelivered(events, message) => self.report.redelivered(events, &message),
            Effect::BodySizeLearned(bytes) => self.report.body_size_learned(bytes),
            Effect::SetAside(message) => self.report.event_set_aside(&message),
        }
    }

    /// Begins with a target as if there had been none before.
    fn install(&mut self) -> Terms {
        self.report.another_webhook();
        let abort = self.target.as_ref().map(|target| target.cut());
        let mut aborter = self.aborter.lock().unwrap_or_else(PoisonError::into_inner);
        *aborter = abort.unwrap_or_else(|| Box::new(|| ()));
        let target = self.target.as_ref();
        Terms {
            max_events: target.map_or(usize::MAX, |target| target.max_events()),
            overhead: target.map_or(Overhead::default(), |target| target.overhead()),
            timeout: target.map_or(Duration::MAX, |target| target.request_timeout()),
        }
    }

    /// These are final.
    fn finish(&self, batch: Batch) {
        self.consumer.finish(batch.extent(), batch.seqs());
        batch
            .into_buffers()
            .for_each(|buffer| self.consumer.recycle(buffer));
    }

    fn drop_rest(&self, delivery: &mut Delivery) {
        let mut left = delivery.buffered().events;
        while let Taken::Events(run) = self.consumer.take(Extent::MAX, Some(Instant::now())) {
            left += run.extent().events;
        }
        let resuming = self.consumer.resuming().min(left);
        self.report.left(resuming);
        self.report.dropped(Reason::Shutdown, None, left - resuming);
    }
}
