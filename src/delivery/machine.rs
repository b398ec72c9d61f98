//! What is sent next, and what becomes of each event: a state machine without clock, I/O or threads.
//!
//! Each sender asks [`Delivery::next`] what to do, does it, and reports the result. Events are in one of six places:
//!
//! - *fresh*: collected from the queue, not tried yet, until they fill a body or are old enough;
//! - *retry*: tried before, and to be tried again in this order;
//! - *suspects*: single events that keep failing while others pass;
//! - *in flight*: the bodies of the requests under way, one per sender;
//! - *posted*: taken by Splunk and not yet indexed (`Posted`), with `--hec-ack`;
//! - *again*: the same, but to be posted again, and still to be read from the spool.
//!
//! A definite rejection of the content halves the body at once until the event to blame is alone. What fails for no
//! clear reason is tried once more. Then the webhook is taken for down, and probed with one event per backoff: mostly
//! the oldest, and now and then another one. As soon as one passes, bodies grow again; what fails then is divided, and
//! one half is tried after the other, so that while one event is to blame every other request passes. After more
//! failures in a row something far behind is tried. What takes long to fail rests while others are ready. An event that
//! fails alone while others pass is rejected when that can't be chance ([`Chance`]).

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::again::Again;
use super::ahead::Ahead;
use super::attempt::{Airborne, Attempt, Launch, Suspect};
use super::batch::Batch;
use super::body_size::BodySize;
use super::chance::Chance;
use super::compression::Compression;
use super::pace::Pace;
use super::posted::Posted;
use super::route::{Route, Ways};
use super::step::{Settings, Step, Terms};
use crate::buffer::acks::{Seq, overlap};
use crate::buffer::chunk::Extent;
use crate::buffer::run::Run;
use crate::sys::backoff::Backoff;

/// After this many failures in a row the webhook is taken for down: a body twice.
const DOWN: u32 = 2;
/// The same while requests pass in between, so that what fails may itself be to blame: a body and parts of it.
pub(super) const DOWN_IN_BETWEEN: u32 = 10;
/// The wait after several failures in a row while the webhook is up and what is to blame is looked for; at most, while
/// the agent stops.
pub(super) const HURRY: Duration = Duration::from_millis(100);

/// The state machine that all senders share.
#[derive(Debug)]
pub struct Delivery {
    pub(super) settings: Settings,
    pub(super) terms: Terms,
    pub(super) fresh: Batch,
    /// When the oldest fresh event was collected.
    pub(super) fresh_since: Option<Instant>,
    pub(super) retry: VecDeque<Attempt>,
    pub(super) suspects: VecDeque<Suspect>,
    pub(super) in_flight: Vec<Airborne>,
    pub(super) ahead: Ahead,
    /// A sender is waiting at the queue.
    pub(super) is_collecting: bool,
    /// Senders that wait should look again.
    pub(super) wakes: bool,
    /// Bodies that were sent.
    pub(super) launches: u64,
    /// How many there were when the last failure was counted: failures of bodies that were sent before are part of it.
    failed_at: u64,
    /// Which target this is: the first, the second, and so on.
    pub(super) generation: u64,
    pub(super) size: BodySize,
    pub(super) compression: Compression,
    pub(super) chance: Chance,
    pub(super) backoff: Backoff,
    pub(super) route: Route,
    pub(super) posted: Posted,
    pub(super) again: Again,
    /// All senders wait.
    wait_until: Option<Instant>,
    /// The limit of the rate of all senders together.
    pub(super) pace: Pace,
    /// One sender waits, while requests of others pass.
    pauses: Vec<Option<Instant>>,
    /// Requests that have failed in a row.
    pub(super) failed_in_a_row: u32,
    /// Requests with a suspect that have failed since one passed.
    pub(super) suspects_failed: u32,
    /// Requests that have passed.
    pub(super) passes: u64,
    /// Probes of a webhook that is down.
    pub(super) probes: usize,
    /// What was sent may be to blame: another event may pass.
    pub(super) is_content_suspicious: bool,
    /// How many requests had passed at the first failure that is not dealt with yet.
    pub(super) trouble: Option<u64>,
    /// When a request last passed.
    pub(super) passed_at: Option<Instant>,
    /// The kind of failures for which an event was last rejected.
    pub(super) convicting: Vec<String>,
    /// The queue was looked at since the last wait, or there was nothing more.
    pub(super) has_looked: bool,
    /// Events that were rejected since one passed.
    pub(super) rejected_in_a_row: u32,
    /// The next event must be another one, far from those that were rejected.
    pub(super) wants_other: bool,
    /// How often it had to be.
    pub(super) others: usize,
    /// That of the last body that was divided.
    pub(super) family: u64,
    /// No more events come.
    pub(super) has_ended: bool,
    pub(super) stopping: bool,
}

impl Delivery {
    /// Nothing to send yet, and nowhere to send it: [`retarget`](Self::retarget) says where. `backoff` is for failed
    /// requests.
    pub fn new(settings: Settings, backoff: Backoff) -> Self {
        let terms = Terms::default();
        Delivery {
            size: BodySize::new(settings.body.bytes, terms.timeout),
            compression: Compression::default(),
            pauses: vec![None; settings.connections],
            pace: Pace::new(settings.rate),
            settings,
            terms,
            fresh: Batch::default(),
            fresh_since: None,
            retry: VecDeque::new(),
            suspects: VecDeque::new(),
            in_flight: Vec::new(),
            ahead: Ahead::default(),
            is_collecting: false,
            wakes: false,
            launches: 0,
            failed_at: 0,
            generation: 0,
            chance: Chance::default(),
            route: Route::new(terms.policy, &backoff),
            posted: Posted::default(),
            again: Again::default(),
            backoff,
            wait_until: None,
            failed_in_a_row: 0,
            suspects_failed: 0,
            passes: 0,
            probes: 0,
            is_content_suspicious: false,
            trouble: None,
            passed_at: None,
            convicting: Vec::new(),
            has_looked: true,
            rejected_in_a_row: 0,
            wants_other: false,
            others: 0,
            family: 0,
            has_ended: false,
            stopping: false,
        }
    }

    /// A sender comes from the queue, with events or without.
    pub fn collected(&mut self, run: Option<Run>, now: Instant) {
        self.is_collecting = false;
        self.ahead.collected(run.is_some());
        if let Some(run) = run {
            self.has_looked &= !self.looks_on();
            self.fresh_since.get_or_insert(now);
            self.fresh.push(run);
        }
    }

    /// No more events will come.
    pub fn ended(&mut self) {
        self.is_collecting = false;
        self.has_ended = true;
        self.wakes = true;
    }

    /// Whether senders that wait should look again, since this was last asked.
    pub fn wakes_others(&mut self) -> bool {
        std::mem::take(&mut self.wakes)
    }

    /// The agent stops: what is due later is tried now. Further calls change nothing.
    pub fn stop(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.stopping, true) {
            self.wait_until = None;
            self.pauses.fill(None);
            self.posted.hurry(now);
        }
    }

    /// Requests go to this target from now on; nothing is known of it yet. Each sender says so; true for the first.
    pub fn retarget(&mut self, generation: u64, terms: Terms) -> bool {
        if generation <= self.generation {
            return false;
        }
        self.generation = generation;
        self.ahead.forget();
        self.terms = terms;
        self.size = BodySize::new(self.settings.body.bytes, terms.timeout);
        let max_plain = terms.is_compressed.then_some(self.settings.raw_bytes);
        self.compression = Compression::new(max_plain);
        self.chance = Chance::default();
        self.backoff.reset();
        self.route = Route::new(terms.policy, &self.backoff);
        let lost = self.posted.retarget(terms.ack_timeout);
        self.post_again(lost);
        self.wait_until = None;
        self.failed_in_a_row = 0;
        self.suspects_failed = 0;
        self.rejected_in_a_row = 0;
        self.convicting.clear();
        self.trouble = None;
        self.release_suspects();
        self.join_retries();
        self.pauses.fill(None);
        true
    }

    /// What failed while others passed, and may stay for long. If one after the other is rejected, that may be all.
    pub fn held_back(&self) -> Extent {
        let all = self.waiting();
        let all = all.fold(Extent::default(), |sum, batch| sum.plus(batch.extent()));
        if self.rejects_all() && self.passes > 0 {
            all
        } else if self.others_pass() {
            all.minus(self.fresh.extent())
        } else {
            Extent::default()
        }
    }

    /// The events that are in memory and not in flight.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Batch> {
        let retries = self.retry.iter().map(|attempt| &attempt.batch);
        let suspects = self.suspects.iter().map(|suspect| &suspect.attempt.batch);
        retries.chain(suspects).chain([&self.fresh])
    }

    /// Whether nothing passes.
    pub(super) fn is_down(&self) -> bool {
        let enough = match self.others_pass() {
            true => DOWN_IN_BETWEEN,
            false => DOWN,
        };
        // What is taken and never acknowledged has not passed.
        let is_deaf = self.posted.distrusts_all(self.terms.policy.endpoints);
        is_deaf || self.failed_in_a_row >= enough
    }

    /// Whether requests have passed since the first failure that is not dealt with yet.
    pub(super) fn others_pass(&self) -> bool {
        self.trouble.is_some_and(|since| self.passes > since)
    }

    /// What this sender should do now.
    pub fn next(&mut self, sender: usize, now: Instant) -> Step {
        if let Some(query) = self.posted.due(sender, now) {
            return Step::Ask(query);
        }
        let due = self.posted.next_due(sender);
        let has_room = |place| self.posted.may_post(sender, place);
        let usual = self.route.pick(sender, now, has_room);
        let trial = self.route.due(now, has_room).filter(|_| !self.stopping);
        if usual.is_none() && trial.is_none() {
            return Step::Wait(due);
        }
        if self.retry.is_empty()
            && let Some(seqs) = self.again.next()
        {
            return Step::Read(seqs);
        }
        match self.next_body(sender, (usual, trial), now) {
            Step::Wait(until) => Step::Wait(until.into_iter().chain(due).min()),
            Step::Collect { wanted, until } => Step::Collect {
                wanted,
                until: until.into_iter().chain(due).min(),
            },
            step => step,
        }
    }

    fn next_body(&mut self, sender: usize, ways: Ways, now: Instant) -> Step {
        if let Some(until) = self.rests_until(sender, now) {
            return Step::Wait(Some(until));
        }
        let mut limit = self.limit();
        if let (_, Some(_)) = ways {
            limit.events = 1;
            self.ahead.forget();
        }
        if self.has_room(limit)
            && !self.is_collecting
            && !std::mem::replace(&mut self.has_looked, true)
        {
            return self.collect(limit, Some(now));
        }
        let is_probed = self.in_flight.iter().any(|flight| flight.launch.is_probe);
        if self.is_down() && is_probed {
            return Step::Wait(None);
        }
        let flight = match self.is_down() {
            true => self.take_probe(),
            false => {
                self.take_due_suspect(now)
                    .or_else(|| match std::mem::take(&mut self.wants_other) {
                        true => self.take_other(limit),
                        false => self.take_retry(limit, now),
                    })
            }
        };
        if let Some(flight) = flight {
            return self.send(flight, sender, ways, now);
        }
        if self.is_ready(limit, now) {
            // A trial is followed by none that was made ahead.
            if ways.1.is_none() && self.looks_ahead(limit) {
                return self.collect(limit, Some(now));
            }
            let batch = self.take_next(limit, now);
            return self.send(Attempt::from(batch).into(), sender, ways, now);
        }
        self.idle(limit)
    }

    /// Until when the sender must wait because of the rate or a failure, if that is not over.
    fn rests_until(&mut self, sender: usize, now: Instant) -> Option<Instant> {
        if let Some(until) = self.pace.rests_until(now)
            && self.waiting().any(|batch| !batch.is_empty())
        {
            self.has_looked = false;
            return Some(until);
        }
        if let Some(until) = self.wait_until {
            if now < until {
                return Some(until);
            }
            self.wait_until = None;
            self.has_looked = false;
        }
        self.pauses[sender].take_if(|until| *until <= now);
        self.pauses[sender]
    }

    /// What a sender does while there is nothing to send.
    fn idle(&mut self, limit: Extent) -> Step {
        let due = self.next_suspect();
        if self.has_ended {
            return match due {
                None if self.in_flight.is_empty() && self.posted() == 0 => Step::Finished,
                // What is in flight may come back.
                due => Step::Wait(due),
            };
        }
        let age = self
            .fresh_since
            .and_then(|since| since.checked_add(self.settings.age));
        let until = age.into_iter().chain(due).min();
        if self.is_collecting {
            return Step::Wait(until);
        }
        let wanted = match self.fresh.is_empty() {
            true => Extent {
                events: 1,
                bytes: 1,
            },
            false => limit.minus(self.size_of(&self.fresh)),
        };
        self.collect(wanted, until)
    }

    pub(super) fn collect(&mut self, wanted: Extent, until: Option<Instant>) -> Step {
        self.is_collecting = true;
        Step::Collect { wanted, until }
    }

    /// Counts a failure, unless it is part of the last one: sent before that was known.
    pub(super) fn count_failure(&mut self, launch: Launch) -> bool {
        let is_new = launch.number > self.failed_at;
        self.suspects_failed += u32::from(launch.is_suspect);
        if is_new {
            self.failed_at = self.launches;
            self.failed_in_a_row += 1;
        }
        self.trouble.get_or_insert(self.passes);
        is_new
    }

    /// Lets these be sent again together with newer events.
    pub(super) fn refresh(&mut self, batch: Batch, now: Instant) {
        self.fresh_since.get_or_insert(now);
        self.fresh.merge(batch);
    }

    /// Makes one attempt of all: in an outage it does not matter which of them failed how often.
    pub(super) fn join_retries(&mut self) {
        let mut all = Attempt::default();
        for attempt in std::mem::take(&mut self.retry) {
            all.join(attempt);
        }
        if !all.batch.is_empty() {
            self.retry.push_back(all);
        }
    }

    /// Whether all that is in the queue is wanted: something rests until nothing else is ready, or what failed in a row
    /// may be a run of events that are to blame, with others behind it.
    pub(super) fn looks_on(&self) -> bool {
        let is_run = self.wants_other || (self.is_down() && self.others_pass());
        is_run || self.retry.iter().any(|attempt| attempt.due.is_some())
    }

    /// Whether nothing that failed waits for another attempt.
    pub(super) fn is_calm(&self) -> bool {
        !self.is_down() && self.retry.iter().all(|attempt| attempt.failures == 0)
    }

    /// Waits this long before the next request; not long if the agent stops and the webhook is up. While requests of
    /// other senders pass, only this one waits.
    pub(super) fn wait(&mut self, sender: usize, delay: Duration, now: Instant) -> Duration {
        let delay = match self.hurries() {
            true => delay.min(HURRY),
            false => delay,
        };
        let until = now.checked_add(delay);
        match self.is_down() || self.settings.connections == 1 {
            true => self.wait_until = until,
            false => self.pauses[sender] = until,
        }
        delay
    }

    /// How long this sender must wait.
    pub(super) fn waits_for(&self, sender: usize, now: Instant) -> Duration {
        let until = self.wait_until.max(self.pauses[sender]).unwrap_or(now);
        until.saturating_duration_since(now)
    }

    /// Whether an event in this range of numbers is not final.
    pub(super) fn is_open(&self, range: &Range<Seq>) -> bool {
        let in_flight = self.in_flight.iter().flat_map(|flight| &flight.seqs);
        let mut open = (self.waiting().flat_map(Batch::seqs)).chain(in_flight.cloned());
        open.any(|seqs| overlap(&seqs, range))
    }
}
