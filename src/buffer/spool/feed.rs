//! Passes what is in the spool to the queue, in order.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::group::{Group, SyncMode};
use super::reader::{Reader, View};
use super::shared::{Shared, State, now};
use crate::buffer::chunk::{CHUNK_BYTES, Chunk};
use crate::buffer::queue::Producer;
use crate::sys::shutdown::ShutdownSignal;
use crate::telemetry::counters::Reason;

/// How often to look whether the agent stops.
const LOOK: Duration = Duration::from_millis(100);
/// How long to wait for more when little has come: to queue each event on its own costs more than all the rest.
const GATHER: Duration = Duration::from_millis(5);
/// What a hanging directory means.
const IF_IT_HANGS: &str = "what is in the spool waits";

/// The reading thread.
pub(super) struct Feed {
    pub(super) shared: Arc<Shared>,
    pub(super) producer: Producer,
    pub(super) stop: ShutdownSignal,
    /// If more events than this are left when the agent stops, they wait for its next start.
    pub(super) last_events: usize,
}

/// What to do next.
enum Next {
    Read(View),
    /// Pass on what was written last, which begins with this event.
    PassOn(Group, u64),
    /// Wait: the queue has everything.
    Wait,
    End,
}

impl Feed {
    /// Runs until the sources have ended and everything was read, or the agent stops.
    pub(super) fn run(self) {
        self.read_on();
        self.shared.lock().fresh = None;
    }

    fn read_on(&self) {
        let mut reader = None;
        let mut chunk = Chunk {
            bytes: self.producer.buffer(),
            events: 0,
        };
        loop {
            if !self.shared.report.is_forwarding() {
                // What is in the spool is still there when forwarding is enabled.
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
                Next::PassOn(group, first) => {
                    if !self.pass_on(group, first, &mut chunk) {
                        return;
                    }
                }
                Next::Wait => self.wait(),
                Next::End => return,
            }
        }
    }

    fn next(&self, reader: &mut Option<Reader>) -> Next {
        let mut state = self.shared.lock();
        // The next start does not find what is not in its place.
        let is_stopping = self.stop.is_triggered()
            && state.unread() > self.last_events as u64
            && !state.must_reopen;
        let first = state.queued;
        if let Some(fresh) = state.fresh.as_mut().filter(|_| !is_stopping) {
            *reader = None;
            return match std::mem::take(fresh) {
                group if !group.records.is_empty() => Next::PassOn(group, first),
                _ if self.is_over(&state) => Next::End,
                _ => Next::Wait,
            };
        }
        let view = state.reader(reader, first).and_then(|reader| {
            let view = reader.view(&state.segments);
            let waits = match view {
                View::End(0) => !reader.has_damage(),
                _ => state.is_at_end(&view, first),
            };
            (!waits).then_some(view)
        });
        match view {
            _ if is_stopping => Next::End,
            Some(view) => Next::Read(view),
            None if self.is_over(&state) => Next::End,
            None => {
                // What is missing may be in a file of the same name later.
                reader.take_if(|_| state.unread() > 0);
                Next::Wait
            }
        }
    }

    /// Whether nothing more will come.
    fn is_over(&self, state: &State) -> bool {
        state.appenders == 0 && !state.has_pending()
    }

    fn wait(&self) {
        let mut state = self.shared.lock();
        if state.fresh.is_none() && state.unread() == 0 && self.shared.sync != SyncMode::Always {
            state.fresh = Some(Group::default());
        }
        state.reader_waits = true;
        let idle = |state: &mut State| state.unread() == 0 && !self.is_over(state);
        let waited = self.shared.unread.wait_timeout_while(state, LOOK, idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.reader_waits = false;
        let has_little = state.fresh_bytes() < CHUNK_BYTES as u64 && !self.is_over(&state);
        drop(state);
        if has_little {
            std::thread::sleep(GATHER);
        }
    }

    /// Passes to the queue what was written last, from this event on. False if the queue takes no more.
    fn pass_on(&self, mut group: Group, first: u64, chunk: &mut Chunk) -> bool {
        let (mut end, time) = (first, Some(now()));
        for record in &mut group.records {
            let bytes = chunk.bytes.len() + record.bytes.len();
            if bytes > CHUNK_BYTES && !self.offer(chunk, end, time) {
                return false;
            }
            match chunk.is_empty() && bytes > CHUNK_BYTES / 2 {
                true => std::mem::swap(&mut chunk.bytes, &mut record.bytes),
                false => chunk.bytes.extend_from_slice(&record.bytes),
            }
            chunk.events += record.events as usize;
            end += u64::from(record.events);
        }
        let is_open = self.offer(chunk, end, time);
        self.shared.lock().recycle(group.records.drain(..));
        is_open
    }

    /// Reads a chunk, and passes it to the queue. False if the queue takes no more.
    fn read(&self, reader: &mut Reader, view: &View, chunk: &mut Chunk) -> bool {
        let mut time = None;
        while chunk.bytes.len() < CHUNK_BYTES / 2 {
            let read = self
                .shared
                .watchdog
                .dir(IF_IT_HANGS, || reader.read(view, chunk));
            if !chunk.is_empty() {
                time.get_or_insert(reader.time());
            }
            match read {
                Ok(Some(damage)) => {
                    if !self.offer(chunk, reader.position() - damage.events, time) {
                        return false;
                    }
                    self.shared.found_damaged(&damage);
                    let events = usize::try_from(damage.events).unwrap_or(usize::MAX);
                    let report = &self.shared.report;
                    report.dropped(Reason::Corrupt, None, events);
                    report.unnumbered_gap(Reason::Corrupt.label(), damage.events);
                    self.mark(reader.position(), reader.time());
                    return true;
                }
                Ok(None) if reader.is_done(view) => break,
                Ok(None) => {}
                Err(error) => {
                    self.shared.unreadable(reader, &error, &self.stop);
                    break;
                }
            }
        }
        self.offer(chunk, reader.position(), time)
    }

    /// Passes all of a chunk to the queue; `end` is the number after its last event. False if the queue takes no more.
    fn offer(&self, chunk: &mut Chunk, end: u64, time: Option<u32>) -> bool {
        let (mut first, time) = (end - chunk.events as u64, time.unwrap_or_default());
        while !chunk.is_empty() {
            let is_open = self.producer.offer_noting(chunk, LOOK, |seqs| {
                let events = seqs.end - seqs.start;
                self.shared.marks().add(seqs, first, time);
                first += events;
            });
            self.mark(first, time);
            if !is_open {
                return false;
            }
        }
        true
    }

    /// Notes that all events before this one were passed to the queue, or are missing.
    fn mark(&self, end: u64, time: u32) {
        self.shared.marks().pass(end);
        let mut state = self.shared.lock();
        state.queued = end;
        state.unread_since = Some(time);
    }
}
