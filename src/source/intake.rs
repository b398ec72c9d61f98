//! A source's way into the queue: frames what was read, fills chunks, offers them, and counts what
//! came to nothing.

use std::str::FromStr;
use std::sync::Arc;

use crate::chunk::{CHUNK_BYTES, Chunk};
use crate::framer::{Frame, Framer, Lost};
use crate::ledger::Reason;
use crate::queue::Inlet;
use crate::report::Report;

/// What a source does when the buffer is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// Drops the newest events, so that whoever writes them never waits.
    Drop,
    /// Waits, so that nothing is lost as long as the writer can wait too.
    Wait,
}

impl FromStr for WhenFull {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "drop" => Ok(WhenFull::Drop),
            "wait" => Ok(WhenFull::Wait),
            _ => Err("expected drop or wait".into()),
        }
    }
}

/// One source's end of the agent.
pub struct Intake {
    name: String,
    inlet: Inlet,
    report: Arc<Report>,
    when_full: WhenFull,
    max_event: usize,
    chunk: Chunk,
}

impl Intake {
    /// For the source called `name`, with events of at most `max_event` bytes.
    pub fn new(
        name: String,
        inlet: Inlet,
        report: Arc<Report>,
        when_full: WhenFull,
        max_event: usize,
    ) -> Self {
        let chunk = Chunk {
            bytes: inlet.buffer(),
            events: 0,
        };
        Intake {
            name,
            inlet,
            report,
            when_full,
            max_event,
            chunk,
        }
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
                Frame::Event(event) => {
                    if !self.chunk.is_empty()
                        && self.chunk.bytes.len() + event.raw_len() >= CHUNK_BYTES
                    {
                        self.flush();
                    }
                    let before = self.chunk.bytes.len();
                    event.append_line(&mut self.chunk.bytes);
                    // Its newline and replaced bytes count too; there would never be room for it.
                    if !self.inlet.could_take(self.chunk.bytes.len() - before) {
                        self.chunk.bytes.truncate(before);
                        self.report.received(1);
                        self.report.dropped(Reason::TooLarge, 1);
                        continue;
                    }
                    self.chunk.events += 1;
                }
                Frame::Lost(lost) => {
                    let reason = match lost {
                        Lost::Malformed => if_malformed.unwrap_or(Reason::Malformed),
                        Lost::TooLarge => Reason::TooLarge,
                    };
                    self.report.received(1);
                    self.report.dropped(reason, 1);
                }
            }
        }
    }

    /// Sends on what was taken. To be called when there is nothing more to read for now.
    pub fn flush(&mut self) {
        if self.chunk.is_empty() {
            return;
        }
        self.report.received(self.chunk.events);
        let reason = match self.when_full {
            WhenFull::Drop => {
                self.inlet.offer(&mut self.chunk);
                Reason::BufferFull
            }
            WhenFull::Wait => {
                self.inlet.offer_or_wait(&mut self.chunk);
                Reason::Shutdown
            }
        };
        self.report.dropped(reason, self.chunk.events);
        self.chunk.bytes.clear();
        self.chunk.events = 0;
    }

    /// The stream is away, for this reason.
    pub fn failed(&self, why: &str) {
        self.report.source_failed(&self.name, why);
    }

    /// The stream is there.
    pub fn worked(&self) {
        self.report.source_worked(&self.name);
    }
}
