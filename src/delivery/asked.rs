//! What follows from Splunk's answers about bodies that it has taken: one more part of [`Delivery`].

use std::time::{Duration, Instant};

use super::attempt::Launch;
use super::batch::Batch;
use super::machine::Delivery;
use super::outcome::{Cause, DeliveryError};
use super::posted::{Body, MOVED};
use super::step::{Effect, Query};

impl Delivery {
    /// Splunk has taken a body, and will index it.
    pub(super) fn accepted(
        &mut self,
        body: Body,
        launch: Launch,
        id: u64,
        took: Duration,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let size = self.sent_size(launch, &body.attempt.batch);
        self.size.passed(size, took);
        let (released, again) = self.posted.accepted(launch, id, body);
        let is_given_up = !again.is_empty();
        self.post_again(again);
        if !released.is_empty() {
            effects.push(Effect::Released(released));
        }
        if is_given_up {
            // Nothing was gained, and the same may happen again.
            let delay = self.backoff.next_delay();
            self.wait(launch.sender, delay, now);
        } else if !self.posted.distrusts(launch.endpoint) {
            self.passed(launch, now, effects);
        }
    }

    /// These are posted again.
    pub(super) fn post_again(&mut self, bodies: Vec<Body>) {
        // There may be room for others.
        self.wakes |= !bodies.is_empty();
        for Body {
            attempt, spooled, ..
        } in bodies
        {
            let doubt = attempt.doubt.as_ref();
            let unread = doubt.and_then(|doubt| doubt.about(spooled.iter()));
            self.again.push(unread);
            if !attempt.batch.is_empty() {
                self.retry.push_back(attempt);
            }
        }
    }

    /// A sender has read what it was to read, except for what is missing; none if it can't.
    pub fn read(&mut self, batch: Option<Batch>) {
        self.wakes = true;
        self.retry.extend(self.again.read(batch));
    }

    /// How many events were posted and are not known to be indexed, and are not sent again now.
    pub fn posted(&self) -> usize {
        self.posted.events() + self.again.events()
    }

    /// The endpoint's answers come from another server from now on.
    pub fn moved(&mut self, sender: usize, endpoint: usize) {
        let lost = self.posted.lose(sender, endpoint, MOVED);
        self.post_again(lost);
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
        let Some((indexed, spooled, bytes)) = self.posted.answered(query, ids, took, now) else {
            return effects;
        };
        self.wakes = true;
        if !indexed.is_empty() || !spooled.is_empty() {
            effects.push(Effect::Delivered(indexed));
            effects.push(Effect::Indexed(spooled, bytes));
            if self.posted.trust(query.endpoint) {
                if self.route.restore(query.endpoint, now) {
                    effects.push(Effect::EndpointRestored(query.endpoint));
                }
                self.passed(Launch::default(), now, &mut effects);
            }
        }
        match answer {
            Ok(_) => effects.push(Effect::QueryAnswered),
            Err(error) if error.cause == Cause::Aborted => return effects,
            Err(error) if error.cause == Cause::Settings => {
                let (sender, endpoint) = (query.sender, query.endpoint);
                let lost = self.posted.lose(sender, endpoint, &error.message);
                self.post_again(lost);
                self.distrust(query, error, now, &mut effects);
                return effects;
            }
            Err(error) => effects.push(Effect::QueryFailed(error)),
        }
        let (late, why) = self.posted.expire(query, now);
        self.post_again(late);
        if let Some(why) = why {
            let error = DeliveryError::transient(Cause::Timeout, why);
            self.distrust(query, error, now, &mut effects);
        }
        effects
    }

    /// The endpoint takes bodies, but does not say that they are indexed.
    fn distrust(
        &mut self,
        query: &Query,
        error: DeliveryError,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let (sender, endpoint) = (query.sender, query.endpoint);
        self.posted.distrust(endpoint);
        (self.route).blame(endpoint, self.launches, &error, now);
        effects.push(Effect::EndpointFailed(endpoint, error.clone()));
        if !self.route.any_works() {
            let launch = Launch {
                number: self.launches + 1,
                sender,
                ..Launch::default()
            };
            self.hold_off(launch, error, now, effects);
        }
    }
}
