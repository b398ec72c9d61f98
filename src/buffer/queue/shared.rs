//! What both ends of the queue share.

use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::Sender;

use crate::buffer::acks::{Acks, Seq};
use crate::buffer::chunk::{Chunk, Extent};
use crate::buffer::run::Run;
use crate::telemetry::resumes::Resumes;
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
    /// All events that are not final, except those that were released.
    pub(super) buffered: Extent,
    /// Of these, what sources that wait may fill besides their share: it stays for long while others are delivered.
    pub(super) excused: Extent,
    /// Events that are not final and not in memory.
    pub(super) released: usize,
    /// The most bytes that these events had.
    pub(super) peak: usize,
    /// The next event's number.
    pub(super) enqueued: Seq,
    pub(super) acks: Acks,
    /// Sent to when the watermark rises.
    pub(super) wake: Option<Sender<()>>,
    /// The events that wait while forwarding is disabled.
    pub(super) waiting: Ranges,
    /// The events that the next start reads again, if it does: they are not lost when the agent ends.
    pub(super) resuming: Vec<(Resumes, Ranges)>,
    /// Sources that wait are woken when at most this is buffered.
    pub(super) wake_at: Extent,
    /// The events that no sender has taken.
    pub(super) untaken: Extent,
    /// The sender is woken when this many events or bytes can be taken.
    pub(super) wanted: Extent,
    /// The consumer is gone, or will take nothing more: there will be no more room.
    pub(super) closed: bool,
}

impl State {
    /// Whether this many events or bytes can be taken.
    pub(super) fn has(&self, wanted: Extent) -> bool {
        self.untaken.events >= wanted.events || self.untaken.bytes >= wanted.bytes
    }

    /// The tail's events with their numbers: they are the last ones that were enqueued.
    pub(super) fn take_tail(&mut self) -> Run {
        let tail = std::mem::take(&mut self.tail);
        let first = self.enqueued - tail.events as Seq;
        Run::new(tail, first)
    }

    /// These events, which were queued, are final.
    pub(super) fn end(&mut self, seqs: Range<Seq>) {
        self.finish(seqs.clone());
        self.waiting.remove(seqs.clone());
        for (_, resuming) in &mut self.resuming {
            resuming.remove(seqs.clone());
        }
    }

    /// These numbers are final.
    pub(super) fn finish(&mut self, seqs: Range<Seq>) {
        let watermark = self.acks.watermark();
        self.acks.finish(seqs);
        if self.acks.watermark() > watermark
            && let Some(wake) = &self.wake
        {
            // If there is no room, it has been woken already.
            let _ = wake.try_send(());
        }
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.room.notify_all();
    }
}
