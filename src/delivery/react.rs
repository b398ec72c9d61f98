//! What follows from the outcome of a request: the other half of [`Delivery`].

use std::time::{Duration, Instant};

use super::attempt::{Attempt, Flight, Launch, PER_GAP, Suspect};
use super::doubt::Doubt;
use super::machine::{DOWN_IN_BETWEEN, Delivery, HURRY};
use super::outcome::{Cause, DeliveryError, Outcome};
use super::posted::{Body, CHANGED};
use super::route::RESTS;
use super::step::Effect;

const BLOCKED: &str =
    "others are delivered: see whether a firewall before the webhook refuses these events";
/// What takes as long to fail holds others up.
const SLOW: Duration = Duration::from_secs(1);
/// Into so many parts such a body is divided, so that few requests are as slow.
const PARTS: usize = 16;

impl Delivery {
    /// The request with this body had this outcome, after the time `took`.
    pub fn on(
        &mut self,
        flight: Box<Flight>,
        outcome: Outcome,
        took: Duration,
        now: Instant,
    ) -> Vec<Effect> {
        let Flight {
            mut attempt,
            spooled,
            suspect,
            launch,
        } = *flight;
        self.landed(launch);
        self.ahead.landed(&outcome);
        self.wakes |= !self.is_calm() || self.has_ended || !matches!(outcome, Outcome::Delivered);
        let mut effects = Vec::new();
        effects.extend(redelivered(&mut attempt, &outcome));
        let is_of_another_target = launch.generation != self.generation;
        if let Some(packed) = launch.packed.filter(|_| !is_of_another_target) {
            self.compression.learn(packed);
        }
        if !is_of_another_target
            && self.is_for_elsewhere(&mut attempt, launch, &outcome, took, now, &mut effects)
        {
            self.put_back(attempt, suspect, now);
            return effects;
        }
        match outcome {
            Outcome::Partial(partial) => self.partial(attempt, launch, partial, now, &mut effects),
            outcome if is_of_another_target => self.late(attempt, &outcome, &mut effects),
            Outcome::Delivered => {
                let size = self.sent_size(launch, &attempt.batch);
                self.size.passed(size, took);
                effects.push(Effect::Delivered(attempt.batch));
                self.passed(launch, now, &mut effects);
            }
            Outcome::Accepted(id) => {
                let body = Body::new(attempt, spooled, now);
                self.accepted(body, launch, id, took, now, &mut effects);
            }
            Outcome::Rejected(error) => self.rejected(attempt, launch, error, now, &mut effects),
            Outcome::TooLarge(error) => self.too_large(attempt, launch, error, now, &mut effects),
            Outcome::Failed(error) => match error.cause {
                Cause::Aborted => self.retry.push_front(attempt),
                Cause::Unreachable => {
                    match suspect {
                        Some(suspect) => {
                            self.set_aside(Some(suspect), attempt, &error.message, now)
                        }
                        None => self.retry.push_front(attempt),
                    }
                    self.hold_off(launch, error, now, &mut effects);
                }
                Cause::Settings | Cause::Answer | Cause::Disconnected | Cause::Timeout => {
                    self.note_failure(&mut attempt, &error, took, now);
                    let flight = Flight {
                        attempt,
                        spooled,
                        suspect,
                        launch,
                    };
                    self.failed(flight, error, took, now, &mut effects);
                }
            },
        }
        effects.extend(self.conclude());
        self.has_looked &= !self.looks_on();
        effects
    }

    /// A request to the previous target has ended: nothing of it counts for this one.
    fn late(&mut self, mut attempt: Attempt, outcome: &Outcome, effects: &mut Vec<Effect>) {
        match outcome {
            Outcome::Delivered => return effects.push(Effect::Delivered(attempt.batch)),
            Outcome::Accepted(_) => attempt.doubt = Doubt::of(attempt.batch.seqs(), CHANGED),
            _ => {}
        }
        self.retry.push_front(attempt.without_history());
    }

    /// How many events that will be sent again may have arrived.
    pub fn doubtful(&self) -> usize {
        let suspects = self.suspects.iter().map(|suspect| &suspect.attempt);
        let attempts = self.retry.iter().chain(suspects);
        let doubts = attempts.filter_map(|attempt| attempt.doubt_about(&attempt.batch));
        doubts.map(|doubt| doubt.seqs.events()).sum()
    }

    /// Ends what is over once nothing that failed is left.
    fn conclude(&mut self) -> Option<Effect> {
        if self.retry.is_empty() && self.suspects.is_empty() && !self.is_down() {
            self.trouble = None;
        }
        if self.is_calm() {
            self.size.calm();
        }
        self.size.learned().map(Effect::BodySizeLearned)
    }

    /// What the outcome says of the endpoint. Returns whether the body goes to another one at once, as if never tried.
    fn is_for_elsewhere(
        &mut self,
        attempt: &mut Attempt,
        launch: Launch,
        outcome: &Outcome,
        took: Duration,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) -> bool {
        if let Outcome::Failed(error) = outcome
            && error.may_have_arrived
        {
            // Splunk may have counted a body whose id is not known here.
            let (sender, endpoint) = (launch.sender, launch.endpoint);
            let lost = self.posted.lose(sender, endpoint, &error.message);
            self.post_again(lost);
        }
        let error = match outcome {
            Outcome::Failed(error) if error.cause == Cause::Aborted => return false,
            Outcome::Failed(error) => error,
            _ => {
                for place in std::mem::take(&mut attempt.blamed) {
                    let error = self.route.convict(place);
                    effects.extend(error.map(|error| Effect::EndpointFailed(place, error)));
                }
                let is_trusted = !self.posted.distrusts(launch.endpoint);
                if is_trusted && self.route.passed(launch, now) {
                    effects.push(Effect::EndpointRestored(launch.endpoint));
                }
                return false;
            }
        };
        let suspicious = attempt.is_suspicious();
        let failure = (self.route).failed(launch, self.launches, error, suspicious, took, now);
        match (failure.is_elsewhere, failure.is_sure) {
            (_, true) => effects.push(Effect::EndpointFailed(launch.endpoint, error.clone())),
            (true, false) => attempt.blamed.push(launch.endpoint),
            (false, false) => attempt.blamed.clear(),
        }
        failure.is_elsewhere
    }

    /// Lets the same be sent again at once.
    fn put_back(&mut self, attempt: Attempt, suspect: Option<Suspect>, now: Instant) {
        match suspect {
            Some(suspect) => self.suspects.push_front(Suspect {
                attempt,
                due: now,
                had_last_chance: false,
                ..suspect
            }),
            None => self.retry.push_front(attempt),
        }
    }

    /// A request passed: the webhook is up.
    pub(super) fn passed(&mut self, launch: Launch, now: Instant, effects: &mut Vec<Effect>) {
        effects.push(Effect::Passed);
        self.passes += 1;
        self.passed_at = Some(now);
        self.failed_in_a_row = 0;
        self.suspects_failed = 0;
        self.rejected_in_a_row = 0;
        self.backoff.reset();
        let mut chance = std::mem::take(&mut self.chance);
        chance.passed(launch.is_control, |range| self.is_open(range));
        self.chance = chance;
        self.reject_convicts(effects);
    }

    fn reject_convicts(&mut self, effects: &mut Vec<Effect>) {
        while let Some((batch, message)) = self.take_convict() {
            for seqs in batch.seqs() {
                self.chance.explained(seqs.start);
            }
            self.convicting = kind(&message).map(str::to_owned).collect();
            effects.push(Effect::Rejected(batch, message));
        }
    }

    /// The webhook definitely does not take this content.
    pub(super) fn rejected(
        &mut self,
        mut attempt: Attempt,
        launch: Launch,
        error: DeliveryError,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        self.failed_in_a_row = 0;
        attempt.due = None;
        if attempt.batch.extent().events > 1 {
            if !self.rejects_all() {
                effects.push(Effect::Divided);
            }
            return self.split(attempt, true, error.wrong);
        }
        effects.push(Effect::Rejected(attempt.batch, error.message.clone()));
        self.rejected_in_a_row = self.rejected_in_a_row.saturating_add(1);
        self.wants_other = self.rejected_in_a_row > 2;
        if self.rejects_all() {
            let delay = self.backoff.next_delay();
            let delay = self.wait(launch.sender, delay, now);
            let error = DeliveryError {
                message: format!("each event is rejected: {}", error.message),
                fix: error.fix.or(error.hint),
                ..error
            };
            effects.push(Effect::Failed(error, delay));
        }
    }

    /// Whether the webhook has rejected one event after the other, also one that is far from them: then it may be the
    /// webhook that is wrong, and each that is tried now may be one more that is lost.
    pub(super) fn rejects_all(&self) -> bool {
        // What is in flight was chosen before that.
        self.rejected_in_a_row as usize > 3 + self.in_flight.len()
    }

    /// Whether the agent stops and what is left should pass soon.
    pub(super) fn hurries(&self) -> bool {
        self.stopping && self.failed_in_a_row < DOWN_IN_BETWEEN && !self.rejects_all()
    }

    /// The body is too large: the next ones are smaller.
    fn too_large(
        &mut self,
        attempt: Attempt,
        launch: Launch,
        error: DeliveryError,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let size = self.sent_size(launch, &attempt.batch);
        if attempt.batch.extent().events == 1 {
            self.size.too_large_alone(size);
            return self.rejected(attempt, launch, error, now, effects);
        }
        self.failed_in_a_row = 0;
        self.size.too_large(size);
        effects.push(Effect::Divided);
        self.retry.push_front(attempt);
    }

    /// A request failed and its events are back: wait.
    pub(super) fn hold_off(
        &mut self,
        launch: Launch,
        error: DeliveryError,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let is_new = self.count_failure(launch);
        self.is_content_suspicious = false;
        if error.cause == Cause::Settings {
            // Another event would not pass either.
            self.failed_in_a_row = self.failed_in_a_row.max(DOWN_IN_BETWEEN);
        }
        // A webhook that was not reached did not fail because of a body.
        if error.cause != Cause::Unreachable && self.is_down() {
            self.size.outage();
        }
        self.join_if_down();
        self.wait_after(launch, is_new, error, now, effects);
    }

    /// Whether the webhook is up, and what is to blame for failures is being looked for.
    fn is_searching(&self) -> bool {
        self.others_pass() && !self.is_down() && self.is_content_suspicious
    }

    fn wait_after(
        &mut self,
        launch: Launch,
        is_new: bool,
        mut error: DeliveryError,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        if error.cause == Cause::Answer && self.others_pass() {
            // What is set is right, then.
            error.fix = error.fix.map(|_| BLOCKED);
        }
        let delay = match error.retry_after {
            // If it is part of the last failure, the wait has begun already.
            _ if !is_new => self.waits_for(launch.sender, now),
            asked => {
                let delay = match asked {
                    Some(asked) => self.backoff.clamp(asked),
                    None if self.is_searching() && !error.is_overload => {
                        match self.failed_in_a_row <= PER_GAP + 1 {
                            true => Duration::ZERO,
                            false => HURRY,
                        }
                    }
                    None => self.backoff.next_delay(),
                };
                self.wait(launch.sender, delay, now)
            }
        };
        effects.push(Effect::Failed(error, delay));
    }

    /// A request failed for no clear reason.
    fn failed(
        &mut self,
        flight: Flight,
        mut error: DeliveryError,
        took: Duration,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let Flight {
            mut attempt,
            suspect,
            launch,
            ..
        } = flight;
        let is_known = !error.is_overload && kind(&error.message).eq(&self.convicting);
        if is_known && self.passes > 0 {
            // It is likely to be an event again, and others pass.
            self.trouble.get_or_insert(self.passes - 1);
        }
        let is_new = self.count_failure(launch);
        self.is_content_suspicious = true;
        self.chance.failed(launch.is_control, attempt.batch.seqs());
        // While others pass, what was asked for is for this body only.
        let is_own = self.others_pass() && (!error.is_overload || attempt.is_suspicious());
        let asked = error.retry_after.take_if(|_| is_own);
        let asked = asked.map(|asked| self.backoff.clamp(asked));
        let is_slow = took >= SLOW;
        let rest = asked.max(is_slow.then(|| took * RESTS));
        attempt.due = rest.map(|rest| now + rest);
        self.wants_other = self.others_pass() && self.failed_in_a_row > PER_GAP;
        if attempt.batch.extent().events == 1 {
            self.size.excuse();
            let is_new = suspect.is_none() && (self.others_pass() || attempt.is_suspicious());
            if suspect.is_some() || is_new {
                // Right after others it would be too much again.
                attempt.due = attempt.due.or(error.is_overload.then_some(now));
                self.set_aside(suspect, attempt, &error.message, now);
                if is_new {
                    effects.push(Effect::SetAside(error.message.clone()));
                }
                self.reject_convicts(effects);
                // It does not hold up others while they pass.
                if self.failed_in_a_row <= PER_GAP {
                    return;
                }
            } else {
                self.retry.push_back(attempt);
            }
        } else {
            let size = self.sent_size(launch, &attempt.batch);
            // What only came too soon after others would have failed whatever its size.
            if attempt.failures > 0 {
                self.size.failed(size, error.cause == Cause::Timeout);
            }
            if is_slow && attempt.family == 0 {
                self.size.held_up(size);
            }
            // What took too long would take as long again.
            match self.others_pass() || error.cause == Cause::Timeout {
                true => {
                    if !self.suspects.is_empty() {
                        // There may be more like them in each of the next bodies.
                        self.size.divided(size);
                    }
                    self.split(attempt, false, None);
                }
                false => self.retry.push_front(attempt),
            }
        }
        if self.is_down() {
            self.size.outage();
        }
        self.join_if_down();
        self.wait_after(launch, is_new, error, now, effects);
    }

    /// Queues both halves, or all parts: at the front, or behind the other parts of what this was a part of, if those
    /// are next. If it is known which event is `wrong`, what is before it is apart: the webhook may have taken that.
    fn split(&mut self, mut attempt: Attempt, at_once: bool, wrong: Option<usize>) {
        self.family += 1;
        let mut rest = std::mem::take(&mut attempt.batch);
        let wrong = wrong.filter(|at| *at < rest.extent().events);
        let is_sibling = |next: &&Attempt| next.family == attempt.family && next.family > 0;
        let mut place = match !at_once && self.others_pass() {
            true => self.retry.iter().take_while(is_sibling).count(),
            false => 0,
        };
        let parts = attempt.due.map_or(2, |_| PARTS);
        for left in (1..=parts).rev() {
            let share = rest.extent().events / left;
            let (part, others) = rest.split(wrong.filter(|_| left > 1).unwrap_or(share));
            rest = others;
            if !part.is_empty() {
                self.retry.insert(place, attempt.half(part, self.family));
                place += 1;
            }
        }
    }

    fn join_if_down(&mut self) {
        if self.is_down() {
            self.join_retries();
        }
    }
}

/// What distinguishes this failure from others: the status, without what may differ in each answer.
fn kind(message: &str) -> impl Iterator<Item = &str> {
    message.split(' ').take(2)
}

/// What to report of events that may have arrived before and were sent again now. Notes which may have arrived with
/// this request, too.
fn redelivered(attempt: &mut Attempt, outcome: &Outcome) -> Option<Effect> {
    let is_unsent = matches!(outcome, Outcome::Failed(error) if error.cause == Cause::Unreachable);
    if is_unsent {
        return None;
    }
    let doubt = attempt.doubt_about(&attempt.batch);
    attempt.doubt = Doubt::after(&attempt.batch, outcome);
    doubt.map(|doubt| Effect::Redelivered(doubt.seqs.events(), doubt.why))
}
