//! What both ends of the queue share.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::buffer::acks::{Acks, Seq};
use crate::buffer::chunk::{Chunk, Extent};
use crate::buffer::run::Run;
use crate::text::ranges::Ranges;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    /// Signalled when room was made or never will be.
    pub(super) room: Condvar,
    pub(super) bound: Extent,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// The newest events, not yet in the channel.
    pub(super) tail: Chunk,
    /// All events that are not final.
    pub(super) buffered: Extent,
    /// The most bytes that these had.
    pub(super) peak: usize,
    /// The next event's number.
    pub(super) enqueued: Seq,
    pub(super) acks: Acks,
    /// Those that wait while forwarding is disabled.
    pub(super) waiting: Ranges,
    /// Those that the next start reads again: at the agent's end they are no loss.
    pub(super) resuming: Ranges,
    /// Sources that wait are woken when at most this is buffered.
    pub(super) wake_at: Extent,
    /// The tail goes into the channel, and wakes the sender, when it holds so many events or bytes.
    pub(super) wanted: Extent,
    /// The consumer is gone: nothing makes room any more.
    pub(super) closed: bool,
}

impl State {
    /// The oldest events that have no number yet get theirs: the tail's are the last ones that were enqueued.
    pub(super) fn number(&self, tail: Chunk) -> Run {
        let first = self.enqueued - tail.events as Seq;
        Run::new(tail, first)
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
