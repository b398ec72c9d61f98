//! What follows from the outcome of a request: the other half of [`Delivery`].

use std::time::{Duration, Instant};

use super::attempt::{Attempt, Flight, PER_GAP};
use super::batch::Batch;
use super::machine::{DOWN_IN_BETWEEN, Delivery};
use super::outcome::{Cause, DeliveryError, EventOutcome, Outcome, Partial};
use super::step::Effect;

impl Delivery {
    /// The request with [`Delivery::body`] ended so, after so long.
    pub fn on(&mut self, outcome: Outcome, took: Duration, now: Instant) -> Vec<Effect> {
        let Some(Flight {
            mut attempt,
            suspect,
        }) = self.land()
        else {
            return Vec::new();
        };
        let mut effects = Vec::new();
        let was_sent =
            !matches!(&outcome, Outcome::Failed(error) if error.cause == Cause::Unreachable);
        if was_sent && let Some(doubt) = attempt.doubt.take() {
            let events = attempt.batch.extent().events;
            effects.push(Effect::Redelivered(events, doubt));
        }
        if let Outcome::Failed(error) = &outcome
            && error.may_have_arrived
        {
            attempt.doubt = Some(error.message.clone());
        }
        match outcome {
            Outcome::Delivered => {
                let size = self.size_of(&attempt.batch).bytes;
                self.size.passed(size, took);
                effects.push(Effect::Delivered(attempt.batch));
                self.passed(&mut effects);
            }
            Outcome::Rejected(error) => self.rejected(attempt, error, now, &mut effects),
            Outcome::TooLarge(error) => self.too_large(attempt, error, now, &mut effects),
            Outcome::Partial(partial) => self.partial(attempt, partial, now, &mut effects),
            Outcome::Failed(error) => match error.cause {
                Cause::Aborted => self.retry.push_front(attempt),
                Cause::Unreachable | Cause::Settings => {
                    match suspect {
                        Some(suspect) => {
                            self.set_aside(Some(suspect), attempt, &error.message, now)
                        }
                        None => self.retry.push_front(attempt),
                    }
                    self.held(error, now, &mut effects);
                }
                Cause::Answer | Cause::Disconnected | Cause::Timeout => {
                    attempt.failed(self.passes);
                    self.failed(Flight { attempt, suspect }, error, now, &mut effects);
                }
            },
        }
        if self.retry.is_empty() && !self.is_down() {
            self.trouble = None;
        }
        if self.is_calm() {
            self.size.calm();
        }
        effects.extend(self.size.learned().map(Effect::BodySizeLearned));
        effects
    }

    /// A request passed: the webhook is up.
    fn passed(&mut self, effects: &mut Vec<Effect>) {
        self.passes += 1;
        self.failed_in_a_row = 0;
        self.last_was_rejected = false;
        self.backoff.reset();
        let mut chance = std::mem::take(&mut self.chance);
        chance.passed(|range| self.is_open(range));
        self.chance = chance;
        self.reject_convicts(effects);
    }

    fn reject_convicts(&mut self, effects: &mut Vec<Effect>) {
        while let Some((batch, message)) = self.take_convict() {
            for seqs in batch.seqs() {
                self.chance.explained(seqs.start);
            }
            effects.push(Effect::Rejected(batch, message));
        }
    }

    /// The webhook definitely does not take this content.
    fn rejected(
        &mut self,
        attempt: Attempt,
        error: DeliveryError,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        self.failed_in_a_row = 0;
        if attempt.batch.extent().events > 1 {
            effects.push(Effect::Divided);
            return self.split(attempt, true);
        }
        effects.push(Effect::Rejected(attempt.batch, error.message));
        self.slow_down_if_fruitless(true, now);
    }

    /// A webhook that rejects one event after the other is not asked in a hurry.
    fn slow_down_if_fruitless(&mut self, is_fruitless: bool, now: Instant) {
        if std::mem::replace(&mut self.last_was_rejected, is_fruitless) && is_fruitless {
            let delay = self.backoff.next_delay();
            self.wait(delay, now);
        }
    }

    /// The body is too large: the next ones are smaller.
    fn too_large(
        &mut self,
        attempt: Attempt,
        error: DeliveryError,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let size = self.size_of(&attempt.batch).bytes;
        if attempt.batch.extent().events == 1 {
            self.size.too_large_alone(size);
            return self.rejected(attempt, error, now, effects);
        }
        self.failed_in_a_row = 0;
        self.size.too_large(size);
        effects.push(Effect::Divided);
        self.retry.push_front(attempt);
    }

    /// Each event ended by itself.
    fn partial(
        &mut self,
        attempt: Attempt,
        partial: Partial,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let (mut delivered, mut again) = (Batch::default(), Batch::default());
        let mut rejected = Batch::default();
        for (event, outcome) in attempt.batch.events().zip(&partial.events) {
            match outcome {
                EventOutcome::Delivered => delivered.append(event),
                EventOutcome::Rejected => rejected.append(event),
                EventOutcome::Retry => again.append(event),
            }
        }
        let is_fruitless = delivered.is_empty();
        if !rejected.is_empty() {
            let message = partial
                .rejection
                .map_or_else(String::new, |error| error.message);
            effects.push(Effect::Rejected(rejected, message));
        }
        if !is_fruitless {
            effects.push(Effect::Delivered(delivered));
            self.passed(effects);
        }
        if !again.is_empty() {
            self.refresh(again, now);
        }
        match partial.failure {
            Some(error) => self.held(error, now, effects),
            None => self.slow_down_if_fruitless(is_fruitless, now),
        }
    }

    /// A request came to nothing and its events are back: wait.
    fn held(&mut self, error: DeliveryError, now: Instant, effects: &mut Vec<Effect>) {
        self.failed_in_a_row += 1;
        self.trouble.get_or_insert(self.passes);
        self.is_content_suspicious = false;
        if error.cause == Cause::Settings {
            // No other event would fare better.
            self.failed_in_a_row = self.failed_in_a_row.max(DOWN_IN_BETWEEN);
        }
        // Who was not reached did not fail at a body.
        if error.cause != Cause::Unreachable && self.is_down() {
            self.size.outage();
        }
        self.join_if_down();
        self.wait_after(error, now, effects);
    }

    fn wait_after(&mut self, error: DeliveryError, now: Instant, effects: &mut Vec<Effect>) {
        let delay = match error.retry_after {
            Some(asked) => self.backoff.clamp(asked),
            None => self.backoff.next_delay(),
        };
        let delay = self.wait(delay, now);
        effects.push(Effect::Failed(error, delay));
    }

    /// A request failed, and nobody can tell why.
    fn failed(
        &mut self,
        flight: Flight,
        error: DeliveryError,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let Flight { attempt, suspect } = flight;
        self.failed_in_a_row += 1;
        self.trouble.get_or_insert(self.passes);
        self.is_content_suspicious = true;
        self.chance.failed(attempt.batch.seqs());
        if attempt.batch.extent().events == 1 {
            self.size.excuse();
            let is_new = suspect.is_none() && (self.others_pass() || attempt.is_suspicious());
            if suspect.is_some() || is_new {
                self.set_aside(suspect, attempt, &error.message, now);
                if is_new {
                    effects.push(Effect::SetAside(error.message.clone()));
                }
                self.reject_convicts(effects);
                // It keeps no others waiting while they pass.
                if self.failed_in_a_row <= PER_GAP {
                    return;
                }
            } else {
                self.retry.push_back(attempt);
            }
        } else {
            let size = self.size_of(&attempt.batch).bytes;
            self.size.failed(size, error.cause == Cause::Timeout);
            // What took too long would take as long again.
            match self.others_pass() || error.cause == Cause::Timeout {
                true => self.split(attempt, false),
                false => self.retry.push_front(attempt),
            }
        }
        if self.is_down() {
            self.size.outage();
        }
        self.join_if_down();
        self.wait_after(error, now, effects);
    }

    fn join_if_down(&mut self) {
        if self.is_down() {
            self.join_retries();
        }
    }
}
