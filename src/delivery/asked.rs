//! What follows from Splunk's answers about bodies that it has taken: one more part of [`Delivery`].

use std::time::{Duration, Instant};

use super::attempt::{Attempt, Launch};
use super::machine::Delivery;
use super::outcome::{Cause, DeliveryError};
use super::posted::MOVED;
use super::step::{Effect, Query};

impl Delivery {
    /// Splunk has taken a body, and will index it.
    pub(super) fn accepted(
        &mut self,
        attempt: Attempt,
        launch: Launch,
        id: u64,
        took: Duration,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let size = self.sent_size(launch, &attempt.batch);
        self.size.passed(size, took);
        let lost = self.posted.accepted(launch, id, attempt, now);
        self.retry.extend(lost);
        if !self.is_distrusted {
            effects.push(Effect::Posted);
            self.passed(effects);
        }
    }

    /// How many events were posted and are not known to be indexed.
    pub fn posted(&self) -> usize {
        self.posted.events()
    }

    /// The endpoint's answers come from another server from now on.
    pub fn moved(&mut self, sender: usize, endpoint: usize) {
        let lost = self.posted.lose(sender, endpoint, MOVED);
        self.retry.extend(lost);
    }

    /// A query has ended after the time `took`, with the ids of what is indexed.
    pub fn asked(
        &mut self,
        query: &Query,
        answer: Result<Vec<u64>, DeliveryError>,
        took: Duration,
        now: Instant,
    ) -> Vec<Effect> {
        let ids = answer.as_deref().unwrap_or_default();
        let mut effects = Vec::new();
        let Some(indexed) = self.posted.answered(query, ids, took, now) else {
            return effects;
        };
        self.wakes = true;
        if !indexed.is_empty() {
            effects.push(Effect::Delivered(indexed));
            if std::mem::take(&mut self.is_distrusted) {
                self.passed(&mut effects);
            }
        }
        match answer {
            Ok(_) => effects.push(Effect::QueryAnswered),
            Err(error) if error.cause == Cause::Aborted => {}
            Err(error) if error.cause == Cause::Settings => {
                let lost = self
                    .posted
                    .lose(query.sender, query.endpoint, &error.message);
                self.retry.extend(lost);
                // Only an acknowledgement shows that the settings are right again.
                self.is_distrusted = true;
                let launch = Launch {
                    number: self.launches + 1,
                    sender: query.sender,
                    ..Launch::default()
                };
                self.held(launch, error, now, &mut effects);
            }
            Err(error) => effects.push(Effect::QueryFailed(error)),
        }
        effects
    }
}
