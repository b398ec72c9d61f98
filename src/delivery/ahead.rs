//! The next body, compressed while the previous one is posted: with several senders others do that anyway, and for a
//! single one a helper does. Its events stay *fresh* meanwhile, so that nothing else in
//! [`Delivery`](super::machine::Delivery) knows of it: if these events are indeed posted next, the body is used, and
//! otherwise it is made again.

use super::outcome::Outcome;

/// Which body is made ahead.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// How many of the fresh events are in it.
    events: Option<usize>,
    /// The queue had no more events at the last look.
    is_exhausted: bool,
}

impl Ahead {
    /// A sender comes from the queue, with events or without.
    pub(super) fn collected(&mut self, any: bool) {
        self.is_exhausted = !any;
    }

    /// Another body is sent, or the next one can't be foreseen any more.
    pub(super) fn forget(&mut self) {
        *self = Ahead::default();
    }

    /// The next body is made ahead, with this many events.
    pub(super) fn begin(&mut self, events: usize) {
        self.events = Some(events);
    }

    /// Whether the queue may have more events than were taken before this body is sent.
    pub(super) fn may_find_more(&self) -> bool {
        !self.is_exhausted
    }

    /// A request has ended: after a failure its events come first.
    pub(super) fn landed(&mut self, outcome: &Outcome) {
        if !matches!(outcome, Outcome::Delivered | Outcome::Accepted(_)) {
            self.forget();
        }
    }

    /// How many events the next body has, if it was made ahead.
    pub(super) fn events(&self) -> Option<usize> {
        self.events
    }
}
