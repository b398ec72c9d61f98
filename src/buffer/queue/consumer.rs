//! The senders' end of the queue.

use std::ops::Range;
use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};

use super::shared::{Shared, State};
use crate::buffer::acks::Seq;
use crate::buffer::chunk::{CHUNK_BYTES, Extent};
use crate::buffer::run::Run;
use crate::text::ranges::Ranges;

/// The result of [`Consumer::take`].
#[derive(Debug)]
pub enum Taken {
    /// The oldest events.
    Events(Run),
    /// Nothing came until the deadline.
    Nothing,
    /// All producers are gone and everything was taken.
    Ended,
}

/// The sender's end.
#[derive(Debug)]
pub struct Consumer {
    pub(super) shared: Arc<Shared>,
    pub(super) chunks: Receiver<Run>,
    pub(super) bell: Receiver<()>,
    pub(super) spare: Sender<Vec<u8>>,
}

impl Consumer {
    /// Events that wait while forwarding is disabled, by their numbers.
    pub fn waiting(&self) -> Ranges {
        self.shared.lock().waiting.clone()
    }

    /// A chunk, or the oldest events if there are fewer. Waits until `deadline` (`None`: without limit) if there are
    /// fewer than `wanted`; at the deadline takes what is there.
    pub fn take(&self, wanted: Extent, deadline: Option<Instant>) -> Taken {
        loop {
            if let Some(taken) = self.try_take(wanted, deadline) {
                return taken;
            }
            // What the bell means, or that all producers are gone, is seen in the queue.
            let _ = match deadline {
                None => self.bell.recv().map_err(RecvTimeoutError::from),
                Some(deadline) => self.bell.recv_deadline(deadline),
            };
        }
    }

    /// None if there is less than wanted; then the bell rings as soon as there is enough.
    fn try_take(&self, wanted: Extent, deadline: Option<Instant>) -> Option<Taken> {
        let mut state = self.shared.lock();
        let over = deadline.is_some_and(|deadline| deadline <= Instant::now());
        // The channel first: its events are older than the tail's.
        let (run, ended) = match self.chunks.try_recv() {
            Ok(run) => (Some(run), false),
            Err(error) => (None, error == TryRecvError::Disconnected),
        };
        let run = run.or_else(|| {
            let is_due = !state.tail.is_empty() && (state.has(wanted) || over || ended);
            is_due.then(|| state.take_tail())
        });
        if let Some(run) = run {
            state.untaken = state.untaken.minus(run.extent());
            return Some(Taken::Events(run));
        }
        if ended {
            return Some(Taken::Ended);
        }
        if over {
            return Some(Taken::Nothing);
        }
        state.wanted = wanted;
        None
    }

    /// These events, of this extent together, are final, which makes room for others. Those who wait for room are woken
    /// when half of what they may fill is free, and otherwise find room when their patience ends. Not to be called for
    /// what is dropped because the agent ends: a file's checkpoint must not pass that.
    pub fn finish(&self, extent: Extent, seqs: impl IntoIterator<Item = Range<Seq>>) {
        let mut state = self.shared.lock();
        seqs.into_iter().for_each(|range| state.end(range));
        self.make_room(state, extent);
    }

    /// These events, of this extent together, are not final, but need no memory any more: they can be
    /// [read again](super::super::spool::Rereader).
    pub fn release(&self, extent: Extent) {
        let mut state = self.shared.lock();
        state.released += extent.events;
        self.make_room(state, extent);
    }

    /// Released events are in memory again, whether there is room or not.
    pub fn take_back(&self, extent: Extent) {
        let mut state = self.shared.lock();
        state.released -= extent.events;
        state.buffered = state.buffered.plus(extent);
        state.peak = state.peak.max(state.buffered.bytes);
    }

    /// These released events are final.
    pub fn finish_released(&self, seqs: &Ranges) {
        let mut state = self.shared.lock();
        state.released -= seqs.events();
        seqs.iter().for_each(|range| state.end(range));
    }

    fn make_room(&self, mut state: MutexGuard<'_, State>, extent: Extent) {
        state.buffered = state.buffered.minus(extent);
        let wakes = state.buffered.fits(state.wake_at);
        if wakes {
            state.wake_at = Extent::default();
        }
        drop(state);
        if wakes {
            self.shared.room.notify_all();
        }
    }

    /// What of the buffered events stays for long while others are delivered: so sources that wait may read on, up to
    /// half of the bound.
    pub fn excuse(&self, extent: Extent) {
        let most = self.shared.bound;
        self.shared.lock().excused = Extent {
            events: extent.events.min(most.events / 2),
            bytes: extent.bytes.min(most.bytes / 2),
        };
    }

    /// Returns an emptied chunk's buffer for reuse.
    pub fn recycle(&self, mut buffer: Vec<u8>) {
        if (CHUNK_BYTES..=CHUNK_BYTES * 2).contains(&buffer.capacity()) {
            buffer.clear();
            // If there are enough spare ones, this one is freed.
            let _ = self.spare.try_send(buffer);
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.shared.close();
    }
}
