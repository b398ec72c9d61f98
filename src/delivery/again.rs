//! Events that must be posted again and that only the spool has: one more place for events, beside those of
//! [`Delivery`](super::machine::Delivery). One body at a time is read.

use std::collections::VecDeque;

use super::attempt::Attempt;
use super::batch::Batch;
use crate::text::ranges::Ranges;

/// Events of a body, and the reason why they may have arrived before.
type Unread = (Ranges, Option<String>);

/// The bodies, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Again {
    waiting: VecDeque<Unread>,
    /// A sender reads these.
    reading: Option<Unread>,
}

impl Again {
    /// How many events there are.
    pub(super) fn events(&self) -> usize {
        let all = self.waiting.iter().chain(&self.reading);
        all.map(|(seqs, _)| seqs.events()).sum()
    }

    pub(super) fn push(&mut self, seqs: Ranges, doubt: Option<String>) {
        if !seqs.is_empty() {
            self.waiting.push_back((seqs, doubt));
        }
    }

    /// The next body, unless one is being read.
    pub(super) fn next(&mut self) -> Option<Ranges> {
        if self.reading.is_some() {
            return None;
        }
        self.reading = self.waiting.pop_front();
        self.reading.as_ref().map(|(seqs, _)| seqs.clone())
    }

    /// These of its events were read, and the others are missing; none if it can't be read now.
    pub(super) fn read(&mut self, batch: Option<Batch>) -> Option<Attempt> {
        let (seqs, doubt) = self.reading.take()?;
        let Some(batch) = batch else {
            self.waiting.push_front((seqs, doubt));
            return None;
        };
        let mut attempt = Attempt::from(batch);
        attempt.doubt = doubt;
        (!attempt.batch.is_empty()).then_some(attempt)
    }
}
