//! What is visible of the queue from outside.

use std::sync::Arc;

use crossbeam_channel::Sender;

use super::shared::Shared;
use crate::buffer::acks::Seq;
use crate::buffer::chunk::Extent;
use crate::text::ranges::Ranges;

/// Looks at the queue, and may close it, without keeping it open.
#[derive(Debug, Clone)]
pub struct QueueStats {
    shared: Arc<Shared>,
}

impl QueueStats {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        QueueStats { shared }
    }

    /// All events that are in memory.
    pub fn buffered(&self) -> Extent {
        self.shared.lock().buffered
    }

    /// How many events are not final, and not in memory either.
    pub fn released(&self) -> usize {
        self.shared.lock().released
    }

    /// The most bytes of events that were not final since this was last called.
    pub fn take_peak(&self) -> usize {
        let mut state = self.shared.lock();
        let buffered = state.buffered.bytes;
        std::mem::replace(&mut state.peak, buffered)
    }

    /// All events with lower numbers are final. Never falls.
    pub fn watermark(&self) -> Seq {
        self.shared.lock().acks.watermark()
    }

    /// Sends to `wake`, if there is room, each time the [watermark](Self::watermark) has risen.
    pub fn wake_when_it_rises(&self, wake: Sender<()>) {
        self.shared.lock().wake = Some(wake);
    }

    /// The number that the next event will get, and the [watermark](Self::watermark).
    pub fn numbers(&self) -> (Seq, Seq) {
        let state = self.shared.lock();
        (state.enqueued, state.acks.watermark())
    }

    /// The numbers of all events that are not final.
    pub fn unfinished(&self) -> Ranges {
        let state = self.shared.lock();
        state.acks.unfinished(state.enqueued)
    }

    /// The numbers of those of them that the next start reads again.
    pub fn resuming(&self) -> Ranges {
        let state = self.shared.lock();
        let resuming = state.resuming.iter().filter(|(resumes, _)| resumes.get());
        resuming.flat_map(|(_, seqs)| seqs.iter()).collect()
    }

    /// No more events are taken into the queue, except for records of the trail; those who wait for room are woken.
    pub fn close(&self) {
        self.shared.close();
    }

    /// The limit of what is buffered.
    pub fn bound(&self) -> Extent {
        self.shared.bound
    }
}
