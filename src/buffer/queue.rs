//! The bounded queue between the sources and the senders, which numbers the events that it takes.
//!
//! A bounded channel of full chunks, and behind it one tail chunk to which small pieces are appended: a slow stream
//! fills memory with events and not with nearly empty chunks. When there is what the sender wants, a bell wakes it.
//!
//! The bound counts every event that is not final, including those that a sender has, so that memory has a known limit.

use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::buffer::acks::Seq;
use crate::buffer::chunk::{CHUNK_BYTES, Chunk, Extent, first_lines, prefix_within};
use crate::buffer::run::Run;
use crate::telemetry::resumes::Resumes;
use crate::text::ranges::Ranges;

mod consumer;
mod shared;
mod stats;

pub use consumer::{Consumer, Taken};
use shared::{Shared, State};
pub use stats::QueueStats;

/// Emptied chunk buffers kept for reuse: two batches of the default size.
const SPARE_BUFFERS: usize = 32;

/// Makes a queue that holds at most `bound`, and takes no event larger than that.
pub fn queue(bound: Extent) -> (Producer, Consumer) {
    // Of two successive chunks one is at least half full, or they would be one; except for the few between which
    // numbers were skipped.
    let slots = bound.bytes / CHUNK_BYTES * 4 + 8;
    let (chunks_in, chunks_out) = bounded(slots);
    let (bell_in, bell_out) = bounded(1);
    let (spare_in, spare_out) = bounded(SPARE_BUFFERS);
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            wanted: Extent::MAX,
            ..State::default()
        }),
        room: Condvar::new(),
        bound,
    });
    let producer = Producer {
        shared: Arc::clone(&shared),
        most: Extent::MAX,
        waits: false,
        resumes: None,
        takes_large: false,
        chunks: chunks_in,
        bell: bell_in,
        spare: spare_out,
    };
    let consumer = Consumer {
        shared,
        chunks: chunks_out,
        bell: bell_out,
        spare: spare_in,
    };
    (producer, consumer)
}

/// A source's end. The queue ends when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Producer {
    shared: Arc<Shared>,
    /// It takes nothing while the queue holds this many events or bytes.
    most: Extent,
    /// What is queued waits while forwarding is disabled.
    waits: bool,
    /// The next start reads again what is not final, if the shared state's entry at this index says so.
    resumes: Option<usize>,
    /// An empty queue takes a chunk larger than its bound.
    takes_large: bool,
    chunks: Sender<Run>,
    /// Wakes the consumer.
    bell: Sender<()>,
    spare: Receiver<Vec<u8>>,
}

impl Producer {
    /// Another one that takes nothing while the queue holds this many events or bytes: for a source that loses nothing
    /// by waiting, so that those that can't wait find room.
    pub fn while_below(&self, most: Extent) -> Self {
        Producer {
            most,
            ..self.clone()
        }
    }

    /// Another one, for a source that is not read while forwarding is disabled: what it has queued waits as well. At
    /// the next start it reads again what is not final, if `resumes` says so at the end.
    pub fn resuming(&self, resumes: Resumes) -> Self {
        let resuming = &mut self.shared.lock().resuming;
        resuming.push((resumes, Ranges::default()));
        Producer {
            waits: true,
            resumes: Some(resuming.len() - 1),
            ..self.clone()
        }
    }

    /// Another producer, from which an empty queue takes a chunk larger than its bound: one that was filled under other
    /// settings.
    pub fn taking_large(&self) -> Self {
        Producer {
            takes_large: true,
            ..self.clone()
        }
    }

    fn room(&self, state: &State) -> Extent {
        if state.closed {
            return Extent::default();
        }
        if self.takes_large && state.buffered.events == 0 {
            return Extent::MAX;
        }
        let room = self.shared.bound.minus(state.buffered);
        let below = self.most.minus(state.buffered.minus(state.excused));
        // A chunk's bytes, which may be those of one large event, are taken as a whole.
        let bytes = if below.bytes > 0 { room.bytes } else { 0 };
        Extent {
            events: room.events.min(below.events),
            bytes,
        }
    }

    /// Takes as many events from the beginning of `chunk` as there is room for, and leaves the rest
    /// in it. Never waits.
    pub fn offer(&self, chunk: &mut Chunk) -> usize {
        self.take_fitting(&mut self.shared.lock(), chunk)
    }

    /// Takes all of `chunk` or nothing. Never waits. `count` is called if it is taken, before the sender can see it.
    pub fn offer_whole(&self, chunk: &mut Chunk, count: impl FnOnce(usize)) -> bool {
        let mut state = self.shared.lock();
        // Of two successive pieces one is at least half a chunk. With slots for all of them nothing can be left.
        let pieces = chunk.bytes.len() / CHUNK_BYTES * 2 + 1;
        let slots = self
            .chunks
            .capacity()
            .map_or(pieces, |slots| slots - self.chunks.len());
        let has_room = chunk.extent().fits(self.room(&state)) && slots >= pieces;
        if has_room {
            count(chunk.events);
            if pieces == 1 {
                self.take_fitting(&mut state, chunk);
            } else {
                self.take_in_pieces(&mut state, chunk);
            }
        }
        has_room
    }

    /// Takes all of a chunk larger than a full one, in reused buffers, and leaves it its own, emptied: getting one from
    /// the kernel for each message costs more than copying.
    fn take_in_pieces(&self, state: &mut State, chunk: &mut Chunk) {
        let mut rest = &chunk.bytes[..];
        while !rest.is_empty() {
            let piece = first_lines(rest, CHUNK_BYTES);
            let (lines, behind) = rest.split_at(piece.bytes);
            self.append(state, lines, piece);
            rest = behind;
        }
        chunk.clear();
    }

    /// Takes all of `chunk`, waiting for room for `patience` at most. What is left in it when this returns was not
    /// taken. False if there is no use in going on: the consumer is gone.
    pub fn offer_or_wait(&self, chunk: &mut Chunk, patience: Duration) -> bool {
        self.offer_noting(chunk, patience, |_| ())
    }

    /// The same. `note` gets the numbers of what is taken, before the sender can see it.
    pub fn offer_noting(
        &self,
        chunk: &mut Chunk,
        patience: Duration,
        mut note: impl FnMut(Range<Seq>),
    ) -> bool {
        let deadline = Instant::now() + patience;
        let mut state = self.shared.lock();
        loop {
            let first = state.enqueued;
            if self.take_fitting(&mut state, chunk) > 0 {
                note(first..state.enqueued);
            }
            if chunk.is_empty() || state.closed {
                return !state.closed;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            // Not for every batch: waking sixteen sources for the one chunk each that finds room costs a fifth of all.
            let bound = self.shared.bound;
            let (most, wake_at) = (self.most, &mut state.wake_at);
            wake_at.events = wake_at.events.max(bound.events.min(most.events) / 2);
            wake_at.bytes = wake_at.bytes.max(bound.bytes.min(most.bytes) / 2);
            let waited = self.shared.room.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes one event, whether there is room or not: for a few that must not wait. Returns its number; none if it
    /// can't be taken for now. `count` is called if it is taken, before the sender can see it.
    pub fn push(&self, line: &[u8], count: impl FnOnce()) -> Option<Seq> {
        let mut state = self.shared.lock();
        if self.chunks.is_full() {
            return None;
        }
        count();
        let mut chunk = Chunk {
            bytes: line.to_vec(),
            events: 1,
        };
        let taken = self.take_up_to(Extent::MAX, &mut state, &mut chunk);
        (taken == 1).then(|| state.enqueued - 1)
    }

    /// Gives numbers to this many events that were dropped before they had one. None if it can't be done for now.
    pub fn skip(&self, events: u64) -> Option<Range<Seq>> {
        let mut state = self.shared.lock();
        if !self.flush(&mut state) {
            return None;
        }
        let range = state.enqueued..state.enqueued + events;
        state.enqueued = range.end;
        state.finish(range.clone());
        Some(range)
    }

    /// The number that the next event will get, from any producer: what was taken up to now is final when the
    /// [watermark](QueueStats::watermark) has reached this number.
    pub fn enqueued(&self) -> Seq {
        self.shared.lock().enqueued
    }

    /// Whether anything takes events from the queue.
    pub fn is_open(&self) -> bool {
        !self.shared.lock().closed
    }

    /// A view of the queue's state.
    pub fn stats(&self) -> QueueStats {
        QueueStats::new(Arc::clone(&self.shared))
    }

    fn take_fitting(&self, state: &mut State, chunk: &mut Chunk) -> usize {
        self.take_up_to(self.room(state), state, chunk)
    }

    fn take_up_to(&self, room: Extent, state: &mut State, chunk: &mut Chunk) -> usize {
        let part = prefix_within(&chunk.bytes, chunk.extent(), room);
        if part.events == 0 {
            return 0;
        }
        if part == chunk.extent() && part.bytes * 2 > CHUNK_BYTES {
            if !self.flush(state) {
                return 0;
            }
            let replacement = Chunk {
                bytes: self.buffer(),
                events: 0,
            };
            state.tail = std::mem::replace(chunk, replacement);
            self.taken(state, part);
            return part.events;
        }
        if !self.append(state, &chunk.bytes[..part.bytes], part) {
            return 0;
        }
        chunk.bytes.drain(..part.bytes);
        chunk.events -= part.events;
        part.events
    }

    /// Appends lines to the tail, or begins another one. False if there is no slot for the previous one.
    fn append(&self, state: &mut State, lines: &[u8], part: Extent) -> bool {
        if state.tail.bytes.len() + part.bytes > CHUNK_BYTES && !self.flush(state) {
            return false;
        }
        if state.tail.bytes.capacity() == 0 {
            state.tail.bytes = self.buffer();
        }
        state.tail.bytes.extend_from_slice(lines);
        state.tail.events += part.events;
        self.taken(state, part);
        true
    }

    /// The tail has grown by this much.
    fn taken(&self, state: &mut State, part: Extent) {
        state.buffered = state.buffered.plus(part);
        state.untaken = state.untaken.plus(part);
        state.peak = state.peak.max(state.buffered.bytes);
        let first = state.enqueued;
        state.enqueued += part.events as Seq;
        if self.waits {
            state.waiting.add(first..state.enqueued);
        }
        let resuming = self.resumes.and_then(|at| state.resuming.get_mut(at));
        if let Some((_, seqs)) = resuming {
            seqs.add(first..state.enqueued);
        }
        if state.has(state.wanted) {
            state.wanted = Extent::MAX;
            // If there is no room, it has been woken already.
            let _ = self.bell.try_send(());
        }
    }

    /// Moves the tail into the channel. False if no slot is free.
    fn flush(&self, state: &mut State) -> bool {
        if state.tail.is_empty() {
            return true;
        }
        // Only the holder of this lock fills the channel, so a free slot stays free.
        if self.chunks.is_full() {
            return false;
        }
        let chunk = &mut state.tail;
        // Only what a chunk contains is counted, so its memory must not be much larger.
        if chunk.bytes.len() < chunk.bytes.capacity() / 16 * 15 {
            chunk.bytes.shrink_to_fit();
        }
        let run = state.take_tail();
        // The consumer may have ended: then these events are not needed any more.
        let _ = self.chunks.try_send(run);
        true
    }

    /// An empty buffer for a chunk.
    pub fn buffer(&self) -> Vec<u8> {
        let spare = self.spare.try_recv();
        spare.unwrap_or_else(|_| Vec::with_capacity(CHUNK_BYTES))
    }
}

#[cfg(test)]
mod tests;
