//! The one sender: takes what the queue has, up to a batch, posts it, and decides by the verdict.
//!
//! Nothing leaves its hands but as delivered or dropped. While the webhook is away it holds the
//! one batch it could not deliver, and the queue holds the rest, until that is full.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::buffer::chunk::Extent;
use crate::buffer::queue::{Consumer, Taken};
use crate::delivery::batch::Batch;
use crate::delivery::body::Body;
use crate::delivery::body_size::BodySize;
use crate::delivery::outcome::{Cause, DeliveryError, EventOutcome, Outcome, Overhead};
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

    /// How long a post takes at the very most; longer only if something is broken.
    fn time_limit(&self) -> Duration;

    /// The timeout of one request: what takes longer has failed.
    fn request_timeout(&self) -> Duration;

    /// How many events a body may have.
    fn max_events(&self) -> usize;

    /// What the encoding adds to the events' bytes.
    fn overhead(&self) -> Overhead;

    /// Something that ends the post in flight, and all later ones, from another thread.
    fn cut(&self) -> Abort;
}

/// Ends a post from another thread.
pub type Abort = Box<dyn FnOnce() + Send>;

/// When a batch is full or old enough.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Events and bytes of a body at most; a single larger event goes alone.
    pub body: Extent,
    /// How long the oldest event waits for others.
    pub age: Duration,
}

/// The sender thread's state.
pub struct Sender {
    /// Where events come from.
    pub consumer: Consumer,
    /// Where they go; nowhere while forwarding is disabled.
    pub target: Option<Box<dyn Target>>,
    /// Where they are to go from the next request on.
    pub changes: LatestValue<Option<Box<dyn Target>>>,
    /// Ends the request in flight: always that of the target in use.
    pub cutter: Arc<Mutex<Abort>>,
    /// When a batch is full or old enough.
    pub limits: Limits,
    /// How long to wait after a failure.
    pub backoff: Backoff,
    /// Counts and tells.
    pub report: Arc<Report>,
    /// Shows whether a request is stuck.
    pub watchdog: Watchdog,
    /// The agent is to end: a wait is cut short once, to try again at once.
    pub stop: ShutdownSignal,
    /// The agent must end: what is left is dropped.
    pub cut_off: ShutdownSignal,
    /// The last event to end was refused.
    pub fruitless: bool,
    /// How large bodies may be.
    pub body_size: BodySize,
}

impl Sender {
    /// Runs until the sources have ended and all is sent, or until it is cut off.
    pub fn run(mut self) {
        self.install();
        let mut batch = Batch::default();
        while !self.cut_off.is_triggered() && self.collect(&mut batch) {
            self.deliver(&mut batch);
        }
        self.drop_rest(batch);
    }

    /// Takes events until the batch is full or old enough. False if there are no more.
    fn collect(&self, batch: &mut Batch) -> bool {
        loop {
            let held = batch.extent();
            let room = self.limit().minus(held);
            if room.events == 0 || room.bytes == 0 {
                return true;
            }
            let deadline = batch.deadline(self.limits.age);
            let wanted = if held.events == 0 {
                Extent {
                    events: 1,
                    bytes: 1,
                }
            } else {
                room
            };
            match self.consumer.take(wanted, deadline) {
                Taken::Chunk(chunk) => batch.push(chunk, Instant::now()),
                Taken::Nothing => return true,
                Taken::Ended => return held.events > 0,
            }
        }
    }

    /// Sends the oldest events, as many as a body holds, until they have ended or the agent must end.
    ///
    /// A refused body is halved until the culprit stands alone: `suspects` is how many of the
    /// oldest events surely hold one. That takes some log2(n) requests more, not n.
    fn deliver(&mut self, batch: &mut Batch) {
        let mut suspects = None;
        while !self.cut_off.is_triggered() {
            if let Some(target) = self.changes.take() {
                self.target = target;
                self.install();
                suspects = None;
            }
            let limit = self.limit();
            let Some(target) = &mut self.target else {
                return self.discard(batch);
            };
            let extent = batch.cut(Extent {
                events: suspects.map_or(limit.events, |events: usize| (events / 2).max(1)),
                bytes: self.body_size.limit(limit.bytes),
            });
            // Looked at before the attempt: a stop that comes during it is answered by one more.
            let stopping = self.stop.is_triggered();
            let time_limit = target.time_limit();
            let post = || target.post(&batch.body(extent));
            let verdict = self.watchdog.request(time_limit, post);
            match &verdict {
                Outcome::Failed(trouble) if trouble.cause == Cause::Disconnected => {
                    self.body_size.broke(extent)
                }
                Outcome::Failed(_) => self.body_size.failed(),
                _ => self.body_size.passed(limit.bytes),
            }
            match verdict {
                Outcome::Delivered => {
                    self.backoff.reset();
                    self.fruitless = false;
                    self.finished(RequestResult::Delivered);
                    self.report.delivered(extent.events);
                    self.finish(batch, extent);
                    suspects = suspects.map(|events| events - extent.events);
                    if suspects.is_none_or(|events| events == 0) {
                        return;
                    }
                }
                Outcome::Rejected(_) | Outcome::TooLarge(_) if extent.events > 1 => {
                    self.finished(RequestResult::Rejected);
                    suspects = Some(extent.events);
                }
                Outcome::Rejected(trouble) | Outcome::TooLarge(trouble) => {
                    self.finished(RequestResult::Rejected);
                    self.report.rejected(1, &trouble.message);
                    self.finish(batch, extent);
                    // A webhook that refuses one event after the other is not asked in a hurry.
                    if std::mem::replace(&mut self.fruitless, true) {
                        let delay = self.backoff.next_delay();
                        self.wait(delay, stopping);
                    }
                    return;
                }
                Outcome::Partial(parts) => {
                    suspects = None;
                    let count = |what| parts.events.iter().filter(|event| **event == what).count();
                    let delivered = count(EventOutcome::Delivered);
                    let message = parts.rejection.map_or(String::new(), |error| error.message);
                    self.report.delivered(delivered);
                    self.report
                        .rejected(count(EventOutcome::Rejected), &message);
                    let again = parts
                        .events
                        .iter()
                        .map(|event| *event == EventOutcome::Retry);
                    let ended = batch.keep(extent, &again.collect::<Vec<_>>());
                    self.consumer.release(ended);
                    let Some(trouble) = parts.failure else {
                        self.finished(RequestResult::Rejected);
                        // As with a single event that is refused.
                        let is_fruitless = delivered == 0;
                        if !is_fruitless {
                            self.backoff.reset();
                        }
                        if std::mem::replace(&mut self.fruitless, is_fruitless) && is_fruitless {
                            let delay = self.backoff.next_delay();
                            self.wait(delay, stopping);
                        }
                        return;
                    };
                    self.fruitless = false;
                    self.back_off(&trouble, stopping);
                }
                Outcome::Failed(trouble) => self.back_off(&trouble, stopping),
            }
        }
    }

    /// Events and bytes of a body at most, with the target in use.
    fn limit(&self) -> Extent {
        let max = self.target.as_ref().map(|target| target.max_events());
        Extent {
            events: self.limits.body.events.min(max.unwrap_or(usize::MAX)),
            ..self.limits.body
        }
    }

    /// Tells of a request that came to nothing, and waits.
    fn back_off(&mut self, trouble: &DeliveryError, stopping: bool) {
        let delay = self.backoff.next_delay();
        let delay = trouble
            .retry_after
            .map_or(delay, |asked| self.backoff.clamp(asked));
        self.report.request_finished(RequestResult::Retried);
        self.report
            .delivery_failed(&trouble.message, trouble.fix, delay);
        self.wait(delay, stopping);
    }

    /// The webhook has answered to a request's content.
    fn finished(&self, result: RequestResult) {
        self.report.request_finished(result);
        self.report.delivery_restored();
    }

    /// Begins with a target as if there had been none before.
    fn install(&mut self) {
        self.backoff.reset();
        self.body_size = BodySize::default();
        self.fruitless = false;
        self.report.another_webhook();
        let mut cutter = self.cutter.lock().unwrap_or_else(PoisonError::into_inner);
        *cutter = self
            .target
            .as_ref()
            .map_or_else(|| Box::new(|| ()) as Abort, |target| target.cut());
    }

    /// There is no webhook: whoever wrote these events must not wait for one.
    fn discard(&self, batch: &mut Batch) {
        let extent = batch.cut(Extent::MAX);
        self.report.dropped(Reason::Disabled, None, extent.events);
        self.finish(batch, extent);
    }

    fn finish(&self, batch: &mut Batch, extent: Extent) {
        let ended = batch.finish(extent, |buffer| self.consumer.recycle(buffer));
        self.consumer.release(ended);
    }

    /// Waits before the next attempt. It is made at once when the agent is to end, but not the further
    /// ones, and when there is another webhook.
    fn wait(&self, delay: Duration, stopping: bool) {
        let awaited = if stopping { &self.cut_off } else { &self.stop };
        self.changes.wait(awaited, delay);
    }

    fn drop_rest(&self, batch: Batch) {
        self.report
            .dropped(Reason::Shutdown, None, batch.extent().events);
        while let Taken::Chunk(chunk) = self.consumer.take(Extent::MAX, Some(Instant::now())) {
            self.report.dropped(Reason::Shutdown, None, chunk.events);
        }
    }
}
