//! Events that must be posted again and that only the spool has: one more place for events, beside those of
//! [`Delivery`](super::machine::Delivery). One body at a time is read.

use std::collections::VecDeque;

use super::attempt::Attempt;
use super::batch::Batch;
use super::doubt::Doubt;
use crate::text::ranges::Ranges;

/// What the bodies held, the oldest first: all of it may have arrived before.
#[derive(Debug, Default)]
pub(super) struct Again {
    waiting: VecDeque<Doubt>,
    /// A sender reads these.
    reading: Option<Doubt>,
}

impl Again {
    /// How many events there are.
    pub(super) fn events(&self) -> usize {
        let all = self.waiting.iter().chain(&self.reading);
        all.map(|doubt| doubt.seqs.events()).sum()
    }

    pub(super) fn push(&mut self, body: Option<Doubt>) {
        self.waiting.extend(body);
    }

    /// The next body, unless one is being read.
    pub(super) fn next(&mut self) -> Option<Ranges> {
        if self.reading.is_some() {
            return None;
        }
        self.reading = self.waiting.pop_front();
        self.reading.as_ref().map(|doubt| doubt.seqs.clone())
    }

    /// These of its events were read, and the others are missing; none if it can't be read now.
    pub(super) fn read(&mut self, batch: Option<Batch>) -> Option<Attempt> {
        let doubt = self.reading.take()?;
        let Some(batch) = batch else {
            self.waiting.push_front(doubt);
            return None;
        };
        let mut attempt = Attempt::from(batch);
        attempt.doubt = Some(doubt);
        (!attempt.batch.is_empty()).then_some(attempt)
    }
}
