//! Gives what is in the spool to the queue, in order.

use std::sync::Arc;
use std::time::Duration;

use super::reader::{Damage, Reader, View};
use super::record::Record;
use super::segments;
use super::shared::{Shared, State, now};
use crate::buffer::chunk::{CHUNK_BYTES, Chunk};
use crate::buffer::queue::Producer;
use crate::sys::shutdown::ShutdownSignal;
use crate::telemetry::counters::Reason;
use crate::telemetry::message::Message;
use crate::telemetry::watchdog::Watchdog;

/// How often it is looked whether the agent stops.
const LOOK: Duration = Duration::from_millis(100);
/// What can't be read is tried again after this.
const RETRY: Duration = Duration::from_secs(1);
/// What it means if the directory hangs.
const IF_IT_HANGS: &str = "what is in the spool waits";

/// The reading thread.
pub(super) struct Feed {
    pub(super) shared: Arc<Shared>,
    pub(super) producer: Producer,
    pub(super) watchdog: Watchdog,
    pub(super) stop: ShutdownSignal,
    /// If more events than this are left when the agent stops, they wait for its next start.
    pub(super) last_events: usize,
}

/// What is to be done next.
enum Next {
    Read(View),
    /// The queue has everything.
    Wait,
    End,
}

impl Feed {
    /// Runs until the sources have ended and all was read, or the agent stops.
    pub(super) fn run(self) {
        self.read_on();
        self.shared.lock().queue = None;
    }

    fn read_on(&self) {
        let mut reader = None;
        let mut chunk = Chunk {
            bytes: self.producer.buffer(),
            events: 0,
        };
        loop {
            if !self.shared.report.is_forwarding() {
                // It is still there when somebody enables forwarding.
                if self.stop.wait(LOOK) {
                    return;
                }
                continue;
            }
            match self.next(&mut reader) {
                Next::Read(view) => {
                    let Some(reader) = &mut reader else { continue };
                    if !self.read(reader, &view, &mut chunk) {
                        return;
                    }
                }
                Next::Wait => self.wait(),
                Next::End => return,
            }
        }
    }

    fn next(&self, reader: &mut Option<Reader>) -> Next {
        let state = self.shared.lock();
        if reader
            .as_ref()
            .is_some_and(|reader| reader.position() != state.queued)
        {
            // What was passed on is not read again.
            if state.unread() == 0 {
                return if self.is_over(&state) {
                    Next::End
                } else {
                    Next::Wait
                };
            }
            *reader = None;
        }
        if reader.is_none() {
            let dir = state.dir.clone();
            *reader = dir.map(|dir| Reader::new(dir, state.queued));
        }
        let view = reader.as_ref().map(|reader| reader.view(&state.segments));
        if self.stop.is_triggered() && state.unread() > self.last_events as u64 {
            return Next::End;
        }
        match view {
            Some(View::End(0)) | None if self.is_over(&state) => Next::End,
            Some(View::End(0)) | None => Next::Wait,
            Some(view) => Next::Read(view),
        }
    }

    /// Nothing comes any more.
    fn is_over(&self, state: &State) -> bool {
        state.appenders == 0 && !state.has_pending()
    }

    fn wait(&self) {
        let mut state = self.shared.lock();
        if state.unread() == 0 {
            state.queue.get_or_insert_with(|| self.producer.clone());
        }
        let idle = |state: &mut State| state.unread() == 0 && !self.is_over(state);
        drop(self.shared.unread.wait_timeout_while(state, LOOK, idle));
    }

    /// Reads a chunk, and gives it to the queue. False if that takes no more.
    fn read(&self, reader: &mut Reader, view: &View, chunk: &mut Chunk) -> bool {
        let mut time = None;
        while chunk.bytes.len() < CHUNK_BYTES / 2 {
            let read = self
                .watchdog
                .state_dir(IF_IT_HANGS, || reader.read(view, chunk));
            if !chunk.is_empty() {
                time.get_or_insert(reader.time());
            }
            match read {
                Ok(Some(damage)) => {
                    if !self.offer(chunk, reader.position() - damage.events, time) {
                        return false;
                    }
                    self.damaged(&damage);
                    self.mark(reader.position(), reader.time());
                    return true;
                }
                Ok(None) if reader.is_done(view) => break,
                Ok(None) => {}
                Err(error) => {
                    Message::SpoolUnreadable {
                        dir: self.shared.path.clone(),
                        error: error.to_string(),
                    }
                    .log();
                    self.stop.wait(RETRY);
                    break;
                }
            }
        }
        self.offer(chunk, reader.position(), time)
    }

    fn damaged(&self, damage: &Damage) {
        let is_new = self.shared.lock().segments.damaged(damage.segment);
        let name = segments::name(damage.segment);
        match is_new {
            true => self.shared.damaged(&name, damage.events, damage.bytes),
            false => self.shared.report.spool_damaged(damage.bytes),
        }
        let events = usize::try_from(damage.events).unwrap_or(usize::MAX);
        self.shared.report.dropped(Reason::Corrupt, None, events);
    }

    /// Gives the queue all of a chunk, behind whose events is this one. False if it takes no more.
    fn offer(&self, chunk: &mut Chunk, end: u64, time: Option<u32>) -> bool {
        while !chunk.is_empty() {
            let is_open = self.producer.offer_or_wait(chunk, LOOK);
            self.mark(end - chunk.events as u64, time.unwrap_or_default());
            if !is_open {
                return false;
            }
        }
        true
    }

    /// Notes that all before this event was given to the queue.
    fn mark(&self, end: u64, time: u32) {
        let position = self.producer.enqueued();
        let mut state = self.shared.lock();
        state.marks.add(position, end, time);
        state.queued = end;
        state.read_at = Some(time);
    }
}

impl Shared {
    /// Gives the queue what was just written, if it has all before that: what is not read back costs nothing more. False if
    /// something is left to be read. The memory of the records may be empty afterwards, unless they are to be kept.
    pub(super) fn pass_on(
        &self,
        state: &mut State,
        records: &mut [Record],
        first: u64,
        keeps: bool,
    ) -> bool {
        let queue = state.queue.take();
        let Some(queue) = queue.filter(|_| state.queued == first && self.report.is_forwarding())
        else {
            return false;
        };
        let mut has_room = true;
        for record in records {
            let bytes = if keeps {
                let mut copy = queue.buffer();
                copy.extend_from_slice(&record.bytes);
                copy
            } else {
                std::mem::take(&mut record.bytes)
            };
            let mut chunk = Chunk {
                bytes,
                events: record.events as usize,
            };
            state.queued += queue.offer(&mut chunk) as u64;
            has_room = chunk.is_empty();
            if !keeps {
                record.bytes = chunk.bytes;
            }
            if !has_room {
                break;
            }
        }
        let (end, time) = (state.queued, now());
        state.marks.add(queue.enqueued(), end, time);
        state.read_at = Some(time);
        state.queue = Some(queue).filter(|_| has_room);
        has_room
    }
}
