//! What follows from an answer that says of each event what became of it.

use std::time::Instant;

use super::attempt::{Attempt, Launch};
use super::batch::Batch;
use super::doubt::Doubt;
use super::machine::Delivery;
use super::outcome::{Cause, DeliveryError, EventOutcome, Partial};
use super::step::Effect;

/// If more than one in this many events of a body failed, none of them is to blame.
const FEW: usize = 10;
/// Bodies are halved this often at most because of other suspects.
const HALVINGS: usize = 10;

impl Delivery {
    /// Each event has an outcome of its own.
    pub(super) fn partial(
        &mut self,
        mut attempt: Attempt,
        launch: Launch,
        partial: Partial,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let (mut delivered, mut rejected) = (Batch::default(), Batch::default());
        let (mut again, mut unknown) = (Batch::default(), Batch::default());
        let mut failed = attempt.of(Batch::default());
        let events = partial.events.len();
        let batch = std::mem::take(&mut attempt.batch);
        for (event, outcome) in batch.events().zip(&partial.events) {
            match outcome {
                EventOutcome::Delivered => delivered.append(event),
                EventOutcome::Rejected => rejected.append(event),
                EventOutcome::Retry => again.append(event),
                EventOutcome::Failed => failed.batch.append(event),
                EventOutcome::Unknown => unknown.append(event),
            }
        }
        let none_passed = delivered.is_empty();
        let failures = failed.batch.extent().events;
        let is_late = launch.generation != self.generation;
        if is_late {
            // What another webhook refused is not their fault.
            again.merge(std::mem::take(&mut rejected));
        }
        if is_late || (failures > 1 && failures * FEW > events) {
            // So many are the webhook's fault.
            again.merge(std::mem::take(&mut failed.batch));
        } else if failures > 0 {
            // The others of this body have passed since.
            self.trouble.get_or_insert(self.passes);
        }
        let is_one_apart = failures == 1 && again.is_empty() && unknown.is_empty() && !none_passed;
        if !rejected.is_empty() {
            let error = (partial.rejection)
                .unwrap_or_else(|| DeliveryError::transient(Cause::Answer, String::new()));
            match none_passed {
                // That may be the webhook's fault, too.
                true => self.rejected(attempt.of(rejected), launch, error, now, effects),
                false => effects.push(Effect::Rejected(rejected, error.message)),
            }
        }
        effects.push(Effect::Delivered(delivered));
        if !none_passed && !is_late {
            self.passed(launch, now, effects);
        }
        if !unknown.is_empty() {
            let mut attempt = Attempt::from(unknown);
            let why = partial.failure.as_ref().map(|error| &*error.message);
            attempt.doubt = Doubt::of(attempt.batch.seqs(), why.unwrap_or_default());
            self.retry.push_front(attempt);
        }
        if !again.is_empty() {
            self.refresh(again, now);
        }
        if !failed.batch.is_empty() {
            let message = partial.failure.as_ref().map(|error| &*error.message);
            self.failed_apart(failed, launch, message.unwrap_or_default(), now, effects);
        }
        if let Some(error) = partial.failure.filter(|_| !is_one_apart && !is_late) {
            self.hold_off(launch, error, now, effects);
        }
    }

    /// Of a body whose other events may have passed, these failed: they are kept apart from newer ones, so that it
    /// shows whether they are to blame.
    fn failed_apart(
        &mut self,
        mut attempt: Attempt,
        launch: Launch,
        message: &str,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        // While there are many, smaller bodies let more pass between two tries of each.
        let many = self.suspects.len().min(HALVINGS);
        if many > 0 {
            self.size.divided(self.size.limit() >> many);
        }
        attempt.failed(self.passes);
        self.chance.failed(launch.is_control, attempt.batch.seqs());
        if attempt.batch.extent().events > 1 {
            return self.retry.push_front(attempt);
        }
        self.set_aside(None, attempt, message, now);
        effects.push(Effect::SetAside(message.to_owned()));
    }
}
