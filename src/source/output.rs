//! A source's way into the queue: frames what was read, fills chunks, offers them, and counts what
//! came to nothing.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::buffer::chunk::{CHUNK_BYTES, Chunk, Extent};
use crate::buffer::queue::Producer;
use crate::framer::{Event, Frame, Framer, Lost};
use crate::source::spec::WhenFull;
use crate::telemetry::Report;
use crate::telemetry::counters::{Reason, Refusal};

/// How often something else is looked at while there is no room.
const LOOK: Duration = Duration::from_millis(100);

/// One source's end of the agent.
pub struct SourceOutput {
    /// The source's place in the report.
    source: usize,
    producer: Producer,
    report: Arc<Report>,
    when_full: WhenFull,
    max_event: usize,
    chunk: Chunk,
    /// Events were left out because nothing takes them any more.
    cut_short: bool,
    /// Done now and then while there is no room.
    while_waiting: Box<dyn Fn() + Send + Sync>,
}

impl SourceOutput {
    /// For the source at this place of the report, with events of at most `max_event` bytes.
    pub fn new(
        source: usize,
        producer: Producer,
        report: Arc<Report>,
        when_full: WhenFull,
        max_event: usize,
    ) -> Self {
        let chunk = Chunk {
            bytes: producer.buffer(),
            events: 0,
        };
        SourceOutput {
            source,
            producer,
            report,
            when_full,
            max_event,
            chunk,
            cut_short: false,
            while_waiting: Box::new(|| ()),
        }
    }

    /// Has something done now and then while a source waits for room.
    pub fn while_waiting(&mut self, look: impl Fn() + Send + Sync + 'static) {
        self.while_waiting = Box::new(look);
    }

    /// A framer for one of the source's streams.
    pub fn framer(&self) -> Framer {
        Framer::new(self.max_event)
    }

    /// Takes what the framer has, whole.
    pub fn take(&mut self, framer: &mut Framer) {
        self.take_frames(framer, None);
    }

    /// Takes what the framer has, and what it holds of an event that will never be whole, because
    /// the stream has ended.
    pub fn take_last(&mut self, framer: &mut Framer) {
        framer.end();
        self.take_frames(framer, None);
        self.flush();
    }

    /// The same, because the agent stops: a stream that is cut off is not malformed.
    pub fn take_cut_off(&mut self, framer: &mut Framer) {
        framer.end();
        self.take_frames(framer, Some(Reason::Shutdown));
        self.flush();
    }

    fn take_frames(&mut self, framer: &mut Framer, if_malformed: Option<Reason>) {
        while let Some(frame) = framer.next() {
            match frame {
                Frame::Event(event) => self.take_event(&event),
                Frame::Lost(lost) => {
                    let reason = match lost {
                        Lost::Malformed => if_malformed.unwrap_or(Reason::Malformed),
                        Lost::TooLarge => Reason::TooLarge,
                    };
                    self.refuse(reason, 1);
                }
            }
        }
    }

    /// Takes one event.
    pub fn take_event(&mut self, event: &Event<'_>) {
        let length = event.raw_len();
        if !self.chunk.is_empty() && self.chunk.bytes.len() + length >= CHUNK_BYTES {
            self.flush();
        }
        let before = self.chunk.bytes.len();
        event.append_line(&mut self.chunk.bytes);
        // Its newline and replaced bytes count too; there would never be room for it.
        let line = Extent {
            events: 1,
            bytes: self.chunk.bytes.len() - before,
        };
        if length > self.max_event || !self.producer.could_take(line) {
            self.chunk.bytes.truncate(before);
            self.refuse(Reason::TooLarge, 1);
        } else {
            self.chunk.events += 1;
        }
    }

    /// Takes all of these events, of which none is longer than [`max_line`](Self::max_line), and empties `lines`.
    pub fn take_lines(&mut self, lines: &mut Chunk) {
        if self.chunk.bytes.len() + lines.bytes.len() >= CHUNK_BYTES {
            self.flush();
        }
        self.chunk.bytes.extend_from_slice(&lines.bytes);
        self.chunk.events += lines.events;
        lines.bytes.clear();
        lines.events = 0;
    }

    /// The same as [`take_whole`](Self::take_whole), after all that was taken before.
    pub fn take_whole_after(&mut self, lines: &mut Chunk) -> bool {
        self.flush();
        self.take_whole(lines)
    }

    /// Sends on what was taken. To be called when there is nothing more to read for now.
    pub fn flush(&mut self) {
        if self.chunk.is_empty() {
            return;
        }
        self.report.received(self.source, self.chunk.events);
        let reason = match self.when_full {
            WhenFull::Drop => {
                self.producer.offer(&mut self.chunk);
                Reason::BufferFull
            }
            WhenFull::Wait => {
                while self.producer.offer_or_wait(&mut self.chunk, LOOK) && !self.chunk.is_empty() {
                    (self.while_waiting)();
                }
                self.cut_short |= !self.chunk.is_empty();
                Reason::Shutdown
            }
        };
        self.report
            .dropped(reason, Some(self.source), self.chunk.events);
        self.chunk.bytes.clear();
        self.chunk.events = 0;
    }

    /// Sends on what was taken, and tells how many events must have [ended](crate::buffer::queue::QueueStats::watermark) until all
    /// of it has. `None` if some of it never will, because the agent ends.
    pub fn position(&mut self) -> Option<u64> {
        self.flush();
        (!self.cut_short).then(|| self.producer.enqueued())
    }

    /// The longest event that is taken.
    pub fn max_event(&self) -> usize {
        self.max_event
    }

    /// The longest line that is taken, its newline not counted: it has room in the buffer.
    pub fn max_line(&self) -> usize {
        let room = self.producer.stats().bound().bytes;
        self.max_event.min(room.saturating_sub(1))
    }

    /// Whether a client's events could ever be taken at once.
    pub fn could_take(&self, chunk: &Chunk) -> bool {
        self.producer.could_take(chunk.extent())
    }

    /// Takes a client's events into the buffer, all or none. Never waits. What is not taken is in no count: the client is
    /// to be refused.
    pub fn take_whole(&self, chunk: &mut Chunk) -> bool {
        let count = |events| self.report.received(self.source, events);
        chunk.events == 0 || self.producer.offer_whole(chunk, count)
    }

    /// Counts and logs that a client was refused, for this reason.
    pub fn refused(&self, reason: Refusal, peer: impl Into<Option<IpAddr>>) {
        let peer = peer.into().map(|peer| peer.to_canonical().to_string());
        self.report.request_refused(self.source, reason, peer);
    }

    /// Counts a client's events of which none is taken, for this reason.
    pub fn refuse(&self, reason: Reason, events: usize) {
        self.report.received(self.source, events);
        self.report.dropped(reason, Some(self.source), events);
    }

    /// Tells, once, what somebody must set differently at this source.
    pub fn complain(&self, what: &'static str) {
        self.report.source_complaint(self.source, what);
    }

    /// The source's name.
    pub fn name(&self) -> &str {
        self.report.source_name(self.source)
    }

    /// The stream is away, for this reason.
    pub fn failed(&self, why: &str) {
        self.report.source_failed(self.source, why);
    }

    /// The stream is there.
    pub fn worked(&self) {
        self.report.source_restored(self.source);
    }
}
