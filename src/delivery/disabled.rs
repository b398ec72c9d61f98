//! While forwarding is disabled nothing is sent: some events wait until it is enabled, and all others are dropped.

use std::time::{Duration, Instant};

use super::attempt::Attempt;
use super::batch::Batch;
use super::machine::Delivery;
use super::step::Step;
use crate::buffer::chunk::Extent;
use crate::text::ranges::Ranges;

/// While something waits, how often the agent looks whether forwarding is enabled again.
const LOOK: Duration = Duration::from_secs(1);

impl Delivery {
    /// What a sender does that has nowhere to send to, and the events that are dropped: all except those that wait, and
    /// those in flight.
    pub fn disabled(&mut self, waiting: &Ranges, now: Instant) -> (Batch, Step) {
        self.release_suspects();
        let fresh = Attempt::from(std::mem::take(&mut self.fresh));
        self.fresh_since = None;
        self.retry.push_back(fresh);
        self.join_retries();
        let mut dropped = Batch::default();
        if let Some(all) = self.retry.front_mut() {
            dropped = all.batch.take_without(waiting);
        }
        self.retry.retain(|attempt| !attempt.batch.is_empty());
        (dropped, self.wait_disabled(now))
    }

    fn wait_disabled(&mut self, now: Instant) -> Step {
        if self.has_ended && self.in_flight.is_empty() {
            return Step::Finished;
        }
        if self.has_ended || self.is_collecting {
            return Step::Wait(None);
        }
        let one = Extent {
            events: 1,
            bytes: 1,
        };
        let until = (!self.retry.is_empty()).then(|| now + LOOK);
        self.collect(one, until)
    }
}
