//! Takes the events of clients that are told whether they were taken: all or none.

use std::thread;
use std::time::Duration;

use super::SourceOutput;
use crate::buffer::chunk::{CHUNK_BYTES, Chunk, Extent};
use crate::buffer::spool::Appended;
use crate::rules::Screened;
use crate::source::spec::WhenFull;
use crate::telemetry::counters::Reason;

/// How often to look for room that a source is to wait for.
const ROOM_CHECK: Duration = Duration::from_millis(10);

impl SourceOutput {
    /// A client's events are to be offered when there are this many. Even then there is room for one more.
    pub fn part(&self) -> Extent {
        let bound = self.producer.stats().bound();
        let bytes = bound.bytes.saturating_sub(self.max_line());
        Extent {
            events: bound.events,
            bytes: bytes.clamp(1, CHUNK_BYTES / 2),
        }
    }

    /// Whether this much of a client's events could ever be taken at once.
    pub fn could_take(&self, extent: Extent) -> bool {
        match &self.spool {
            Some(spool) => spool.could_take(extent),
            None => extent.fits(self.producer.stats().bound()),
        }
    }

    /// Removes the events of a client that should not be sent. Then [take the rest whole](Self::take_whole).
    pub fn screen(&self, chunk: &mut Chunk) -> Screened {
        self.rules.screen(chunk, 0)
    }

    /// Takes a client's events into the buffer, all or none, after they were `screened`. Waits only until they are as
    /// safe as a spool has promised. What is not taken is not counted: the client must be refused.
    pub fn take_whole(&self, chunk: &mut Chunk, screened: &Screened) -> bool {
        let count = |events| {
            self.report
                .received(self.source, events + screened.events());
            self.count_screened(screened);
        };
        if chunk.events == 0 {
            count(0);
            return true;
        }
        self.look_at_clock(chunk);
        let Some(spool) = &self.spool else {
            return self.producer.offer_whole(chunk, count);
        };
        let is_taken = spool.append_and_wait(chunk) == Appended::Taken;
        // The spool has counted what it took.
        if is_taken && *screened != Screened::default() {
            count(0);
        }
        is_taken
    }

    /// The same for what its client will not offer again: a source that is to wait does so.
    pub fn take_whole_or_wait(&self, chunk: &mut Chunk, screened: &Screened) -> bool {
        loop {
            if self.take_whole(chunk, screened) {
                return true;
            }
            if self.when_full == WhenFull::Drop || !self.producer.is_open() {
                return false;
            }
            thread::sleep(ROOM_CHECK);
        }
    }

    /// Counts events that found no room, and that nobody has any longer.
    pub fn count_without_room(&self, events: usize) {
        let reason = match &self.spool {
            _ if !self.producer.is_open() => Reason::Shutdown,
            Some(_) => Reason::SpoolFull,
            None => Reason::BufferFull,
        };
        self.count_dropped(reason, events);
    }
}
