//! What is sent next, and what becomes of each event: a state machine without clock, I/O or threads.
//!
//! The sender asks [`Delivery::next`] what to do, does it, and says what came of it. Events are in one of four places:
//!
//! - *fresh*: collected from the queue, not tried yet, until there is a body's worth of them or they are old enough;
//! - *retry*: tried, and to be tried again, in the order in which they are;
//! - *suspects*: single events that keep failing while others pass;
//! - *in flight*: the body of the request under way.
//!
//! A definite refusal of the content halves the body at once until the culprit is alone. What fails and nobody can tell why
//! is tried once more. Then the webhook is taken for down, and asked with one event per backoff: mostly the oldest, and
//! now and then another one. As soon as one passes, bodies grow again; what fails then is divided, one half tried after the
//! other, so that while one event is to blame every other request passes. An event that fails alone while others pass is
//! rejected when that can be no chance ([`Chance`]).

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::attempt::{Attempt, Flight, Suspect};
use super::batch::Batch;
use super::body::Body;
use super::body_size::BodySize;
use super::chance::Chance;
use super::outcome::Overhead;
use super::step::{Settings, Step, Terms};
use crate::buffer::acks::{Seq, overlap};
use crate::buffer::chunk::Extent;
use crate::buffer::run::Run;
use crate::sys::backoff::Backoff;

/// So many requests fail in a row until the webhook is taken for down: a body twice.
const DOWN: u32 = 2;
/// The same while requests pass in between, so that there are reasons to look for in what fails: a body and parts of it.
pub(super) const DOWN_IN_BETWEEN: u32 = 4;
/// Of so many probes in a row one is not the oldest event.
const ROTATION: usize = 3;
/// With fewer events than this in hand, newer ones are looked for before a webhook that is down is probed again.
const PROBES: usize = 8;
/// While it drains and the webhook is up, the agent does not wait longer than this after a failure.
const HURRY: Duration = Duration::from_millis(100);

/// The state machine of one sender.
#[derive(Debug)]
pub struct Delivery {
    pub(super) settings: Settings,
    terms: Terms,
    pub(super) fresh: Batch,
    /// When the oldest fresh event was collected.
    fresh_since: Option<Instant>,
    pub(super) retry: VecDeque<Attempt>,
    pub(super) suspects: VecDeque<Suspect>,
    in_flight: Option<Flight>,
    pub(super) size: BodySize,
    pub(super) chance: Chance,
    pub(super) backoff: Backoff,
    wait_until: Option<Instant>,
    /// Requests that have failed in a row.
    pub(super) failed_in_a_row: u32,
    /// Requests that have passed.
    pub(super) passes: u64,
    /// Probes of a webhook that is down.
    probes: usize,
    /// It failed for what was sent, maybe: another event may fare better.
    pub(super) is_content_suspicious: bool,
    /// When the first of the failures was that are not dealt with yet, in requests that had passed.
    pub(super) trouble: Option<u64>,
    /// The queue was looked at since the last wait.
    has_looked: bool,
    /// The last event to become final was rejected.
    pub(super) last_was_rejected: bool,
    /// Of the last body that was divided.
    family: u64,
    /// No more events come.
    pub(super) has_ended: bool,
    pub(super) stopping: bool,
}

impl Delivery {
    /// Nothing to send yet. `backoff` is a failed request's.
    pub fn new(settings: Settings, terms: Terms, backoff: Backoff) -> Self {
        Delivery {
            size: BodySize::new(settings.body.bytes, terms.timeout),
            settings,
            terms,
            fresh: Batch::default(),
            fresh_since: None,
            retry: VecDeque::new(),
            suspects: VecDeque::new(),
            in_flight: None,
            chance: Chance::default(),
            backoff,
            wait_until: None,
            failed_in_a_row: 0,
            passes: 0,
            probes: 0,
            is_content_suspicious: false,
            trouble: None,
            has_looked: true,
            last_was_rejected: false,
            family: 0,
            has_ended: false,
            stopping: false,
        }
    }

    /// Events were taken from the queue.
    pub fn collected(&mut self, run: Run, now: Instant) {
        self.fresh_since.get_or_insert(now);
        self.fresh.push(run);
    }

    /// No more events will come.
    pub fn ended(&mut self) {
        self.has_ended = true;
    }

    /// The agent stops: what is due later is tried now.
    pub fn stop(&mut self) {
        self.stopping = true;
        self.wait_until = None;
    }

    /// Requests go to another target from now on: nothing is known of it.
    pub fn retarget(&mut self, terms: Terms) {
        self.terms = terms;
        self.size = BodySize::new(self.settings.body.bytes, terms.timeout);
        self.chance = Chance::default();
        self.backoff.reset();
        self.wait_until = None;
        self.failed_in_a_row = 0;
        self.last_was_rejected = false;
        let suspects = std::mem::take(&mut self.suspects);
        self.retry
            .extend(suspects.into_iter().map(|suspect| suspect.attempt));
        self.join_retries();
    }

    /// All events that are not final.
    pub fn buffered(&self) -> Extent {
        let retries = self.retry.iter().map(|attempt| attempt.batch.extent());
        let suspects = self
            .suspects
            .iter()
            .map(|suspect| suspect.attempt.batch.extent());
        let in_flight = self
            .in_flight
            .iter()
            .map(|flight| flight.attempt.batch.extent());
        retries
            .chain(suspects)
            .chain(in_flight)
            .fold(self.fresh.extent(), |sum, extent| sum.plus(extent))
    }

    /// All events that are not final, to be given up.
    pub fn take_all(&mut self) -> Batch {
        self.fresh_since = None;
        let mut all = std::mem::take(&mut self.fresh);
        let suspects = std::mem::take(&mut self.suspects);
        let flights = self
            .in_flight
            .take()
            .into_iter()
            .map(|flight| flight.attempt);
        let retries = std::mem::take(&mut self.retry).into_iter();
        retries
            .chain(suspects.into_iter().map(|suspect| suspect.attempt))
            .chain(flights)
            .for_each(|attempt| all.merge(attempt.batch));
        all
    }

    /// The body to be posted, behind [`Step::Send`].
    pub fn body(&self) -> Option<Body<'_>> {
        self.in_flight
            .as_ref()
            .map(|flight| flight.attempt.batch.body())
    }

    /// Whether nothing passes.
    pub(super) fn is_down(&self) -> bool {
        let enough = match self.others_pass() {
            true => DOWN_IN_BETWEEN,
            false => DOWN,
        };
        self.failed_in_a_row >= enough
    }

    /// Whether requests have passed since the first failure that is not dealt with yet.
    pub(super) fn others_pass(&self) -> bool {
        self.trouble.is_some_and(|since| self.passes > since)
    }

    /// What to do now.
    pub fn next(&mut self, now: Instant) -> Step {
        if let Some(until) = self.wait_until {
            if now < until {
                return Step::Wait(until);
            }
            self.wait_until = None;
            self.has_looked = false;
        }
        let limit = self.limit();
        if self.has_room(limit) && !std::mem::replace(&mut self.has_looked, true) {
            return Step::Collect {
                wanted: limit,
                until: Some(now),
            };
        }
        let flight = match self.is_down() {
            true => self.take_probe(),
            false => self
                .take_due_suspect(now)
                .or_else(|| self.take_retry(limit)),
        };
        if let Some(flight) = flight {
            return self.send(flight);
        }
        if self.is_ready(limit, now) {
            let batch = self.take_fresh(limit);
            return self.send(Attempt::from(batch).into());
        }
        if self.has_ended {
            return match self.next_suspect() {
                Some(due) => Step::Wait(due),
                None => Step::Finished,
            };
        }
        let until = self
            .fresh_since
            .and_then(|since| since.checked_add(self.settings.age));
        let wanted = match self.fresh.is_empty() {
            true => Extent {
                events: 1,
                bytes: 1,
            },
            false => limit.minus(self.size_of(&self.fresh)),
        };
        let due = self.next_suspect();
        Step::Collect {
            wanted,
            until: until.into_iter().chain(due).min(),
        }
    }

    fn send(&mut self, flight: Flight) -> Step {
        self.in_flight = Some(flight);
        Step::Send
    }

    pub(super) fn land(&mut self) -> Option<Flight> {
        self.in_flight.take()
    }

    /// Events and bytes of the next body at most.
    fn limit(&self) -> Extent {
        Extent {
            events: self.settings.body.events.min(self.terms.max_events),
            bytes: self.size.limit(),
        }
    }

    /// What these come to in a body.
    pub(super) fn size_of(&self, batch: &Batch) -> Extent {
        let Overhead {
            per_event,
            per_body,
        } = self.terms.overhead;
        let extent = batch.extent();
        Extent {
            events: extent.events,
            bytes: extent.bytes + extent.events * per_event + per_body,
        }
    }

    /// Whether the fresh events fill a body, or must not wait for more.
    fn is_ready(&self, limit: Extent, now: Instant) -> bool {
        let room = limit.minus(self.size_of(&self.fresh));
        let is_full = room.events == 0 || room.bytes == 0;
        let is_old = self
            .fresh_since
            .is_some_and(|since| now.saturating_duration_since(since) >= self.settings.age);
        !self.fresh.is_empty() && (is_full || is_old || self.has_ended)
    }

    /// The next of the attempts, or as much of it as a body has room for.
    fn take_retry(&mut self, limit: Extent) -> Option<Flight> {
        let mut attempt = self.retry.pop_front()?;
        let first = attempt.batch.take(limit, self.terms.overhead);
        let rest = std::mem::replace(&mut attempt.batch, first);
        if !rest.is_empty() {
            self.retry.push_front(attempt.of(rest));
        }
        Some(attempt.into())
    }

    fn take_fresh(&mut self, limit: Extent) -> Batch {
        let batch = self.fresh.take(limit, self.terms.overhead);
        if self.fresh.is_empty() {
            self.fresh_since = None;
        }
        batch
    }

    /// Whether newer events should share the next request, or its fate.
    fn has_room(&self, limit: Extent) -> bool {
        let retries = self
            .retry
            .iter()
            .map(|attempt| attempt.batch.extent().events);
        let waiting = self.fresh.extent().events + retries.sum::<usize>();
        let is_few = match self.is_down() {
            true => waiting < PROBES,
            false => self.retry.is_empty() && waiting < limit.events,
        };
        is_few && !self.has_ended
    }

    /// One event for a webhook that is down: mostly the oldest, so that the order is kept, and now and then another one,
    /// since the oldest may be what it fails at.
    fn take_probe(&mut self) -> Option<Flight> {
        if !self.fresh.is_empty() {
            let batch = self.take_fresh(Extent::MAX);
            self.retry.push_back(Attempt::from(batch));
            self.join_retries();
        }
        let waiting = self
            .retry
            .front()
            .map_or(0, |attempt| attempt.batch.extent().events);
        self.probes += 1;
        let is_other = self.is_content_suspicious && self.probes % ROTATION == ROTATION - 1;
        let other = (1 + self.probes / ROTATION).checked_rem(waiting + self.suspects.len())?;
        let place = match is_other || waiting == 0 {
            true => other,
            false => 0,
        };
        if place >= waiting {
            let suspect = self.suspects.remove(place - waiting)?;
            return Some(suspect.into());
        }
        let attempt = self.retry.front_mut()?;
        let one = attempt.batch.take_one(place);
        let one = attempt.of(one);
        if attempt.batch.is_empty() {
            self.retry.pop_front();
        }
        Some(one.into())
    }

    /// Has these tried again together with newer events.
    pub(super) fn refresh(&mut self, batch: Batch, now: Instant) {
        self.fresh_since.get_or_insert(now);
        self.fresh.merge(batch);
    }

    /// Makes one of all attempts: in an outage it is no use to know which of them failed how often.
    pub(super) fn join_retries(&mut self) {
        let mut all = Attempt::default();
        for attempt in std::mem::take(&mut self.retry) {
            all.batch.merge(attempt.batch);
            all.doubt = all.doubt.or(attempt.doubt);
        }
        if !all.batch.is_empty() {
            self.retry.push_back(all);
        }
    }

    /// Has both halves tried: at once, or behind the other half of what this was a half of, if that is next.
    pub(super) fn split(&mut self, attempt: Attempt, at_once: bool) {
        self.family += 1;
        let history = attempt.of(Batch::default());
        let (first, second) = attempt.batch.split();
        let is_sibling = |next: &Attempt| next.family == attempt.family && next.family > 0;
        let place = match self.retry.front() {
            Some(next) if !at_once && self.others_pass() && is_sibling(next) => 1,
            _ => 0,
        };
        for half in [second, first] {
            self.retry.insert(place, history.half(half, self.family));
        }
    }

    /// Whether nothing that failed waits to be tried again.
    pub(super) fn is_calm(&self) -> bool {
        !self.is_down() && self.retry.iter().all(|attempt| attempt.failures == 0)
    }

    /// Waits this long before the next request; not long if the agent stops and the webhook is up.
    pub(super) fn wait(&mut self, delay: Duration, now: Instant) -> Duration {
        let delay = match self.stopping && self.failed_in_a_row < DOWN_IN_BETWEEN {
            true => delay.min(HURRY),
            false => delay,
        };
        self.wait_until = now.checked_add(delay);
        delay
    }

    /// Whether an event in this range of numbers is not final.
    pub(super) fn is_open(&self, range: &Range<Seq>) -> bool {
        let retries = self.retry.iter().map(|attempt| &attempt.batch);
        let suspects = self.suspects.iter().map(|suspect| &suspect.attempt.batch);
        let in_flight = self.in_flight.iter().map(|flight| &flight.attempt.batch);
        let mut open = retries
            .chain(suspects)
            .chain(in_flight)
            .chain([&self.fresh])
            .flat_map(Batch::seqs);
        open.any(|seqs| overlap(&seqs, range))
    }
}
