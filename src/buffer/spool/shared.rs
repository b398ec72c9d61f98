//! What sources, the reader and the spool's own threads share.
//!
//! Events are collected in a group. Whoever takes the [`Writer`] out of the state writes the group, without the lock, while
//! the next group is collected: so many clients share one call, and one client alone waits for no other thread.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::dir::Dir;
use super::files::Files;
use super::group::{Appended, Group, SyncMode, Unsynced, bytes_of, result_of};
use super::position::Marks;
use super::record::Record;
use super::segments::Segments;
use super::writer::{Writer, Written};
use crate::buffer::chunk::{CHUNK_BYTES, Chunk};
use crate::telemetry::Report;
use crate::telemetry::message::{Events, Message};
use crate::text::quantity::{HumanDuration, Size};

/// Bytes that are to be written and whose source does not wait for that.
const UNWRITTEN: u64 = 4 << 20;
/// A stream is read no further for so long while there are so many; then its events are dropped.
const PATIENCE: Duration = Duration::from_millis(250);
const MIN_SEGMENT: u64 = 4 << 10;
const MAX_SEGMENT: u64 = 16 << 20;
/// How often a client lets others go first before it sleeps.
const YIELDS: usize = 4;
/// Buffers kept for reuse.
const SPARE: usize = 16;
/// A disk that has failed is tried again after this.
const RETRY: Duration = Duration::from_secs(1);

/// Why nothing is appended.
#[derive(Debug)]
struct Trouble {
    since: Instant,
    /// The limit is reached; else the disk fails, which is tried again at this time.
    retry_at: Option<Instant>,
    result: Appended,
}

#[derive(Debug)]
pub(super) struct State {
    /// None until it could be opened.
    pub(super) dir: Option<Arc<dyn Dir>>,
    pub(super) segments: Segments,
    /// None while somebody writes.
    pub(super) writer: Option<Writer>,
    /// What is to be written next.
    pending: Group,
    /// Bytes that are to be written, or are just being.
    claimed: u64,
    /// Memory of chunks that were written, for the next ones.
    spare: Vec<Vec<u8>>,
    pub(super) unsynced: Vec<Unsynced>,
    pub(super) dir_is_unsynced: bool,
    pub(super) marks: Marks,
    /// The number behind the last event that was given to the queue, and when it was written.
    pub(super) queued: u64,
    pub(super) read_at: Option<u32>,
    trouble: Option<Trouble>,
    /// Sources that may append something.
    pub(super) appenders: usize,
    pub(super) reader_waits: bool,
    /// The thread that syncs waits for the writer.
    pub(super) is_rescuing: bool,
    pub(super) is_ending: bool,
}

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// For the thread that writes: there is something to write.
    pub(super) unwritten: Condvar,
    /// For the thread that syncs: there is something to have on disk.
    pub(super) unsynced: Condvar,
    /// For the reader: there is something to read.
    pub(super) unread: Condvar,
    /// For streams: something was written.
    room: Condvar,
    pub(super) path: String,
    pub(super) limit: u64,
    pub(super) segment_bytes: u64,
    pub(super) sync: SyncMode,
    pub(super) report: Arc<Report>,
}

impl State {
    pub(super) fn new() -> Self {
        State {
            dir: None,
            segments: Segments::default(),
            writer: None,
            pending: Group::default(),
            claimed: 0,
            spare: Vec::new(),
            unsynced: Vec::new(),
            dir_is_unsynced: false,
            marks: Marks::new(0),
            queued: 0,
            read_at: None,
            trouble: None,
            appenders: 0,
            reader_waits: false,
            is_rescuing: false,
            is_ending: false,
        }
    }

    /// Nothing is appended.
    pub(super) fn is_in_trouble(&self) -> bool {
        self.trouble.is_some()
    }

    /// Nothing is appended, because the limit is reached.
    pub(super) fn is_full(&self) -> bool {
        let trouble = self.trouble.as_ref();
        trouble.is_some_and(|trouble| trouble.retry_at.is_none())
    }

    /// Something can be written now.
    pub(super) fn can_write(&self) -> bool {
        let is_failing = (self.trouble.as_ref()).and_then(|trouble| trouble.retry_at);
        self.writer.is_some()
            && !self.pending.records.is_empty()
            && is_failing.is_none_or(|retry_at| retry_at <= Instant::now())
    }

    /// Keeps the memory of full chunks.
    fn recycle(&mut self, records: impl Iterator<Item = Record>) {
        let full = records.map(|record| record.bytes);
        let full =
            full.filter(|bytes| (CHUNK_BYTES / 2..=CHUNK_BYTES * 2).contains(&bytes.capacity()));
        for mut bytes in full.take(SPARE.saturating_sub(self.spare.len())) {
            bytes.clear();
            self.spare.push(bytes);
        }
    }

    /// Something waits to be written.
    pub(super) fn has_pending(&self) -> bool {
        self.claimed > 0 && self.trouble.is_none()
    }

    /// Events that were written and not given to the queue.
    pub(super) fn unread(&self) -> u64 {
        self.segments.next().saturating_sub(self.queued)
    }
}

impl Shared {
    pub(super) fn new(path: String, limit: u64, sync: SyncMode, report: Arc<Report>) -> Self {
        Shared {
            state: Mutex::new(State::new()),
            unwritten: Condvar::new(),
            unsynced: Condvar::new(),
            unread: Condvar::new(),
            room: Condvar::new(),
            path,
            limit,
            segment_bytes: segment_bytes(limit),
            sync,
            report,
        }
    }

    /// Works with what was opened from now on.
    pub(super) fn install(&self, state: &mut State, files: &mut Files) {
        self.report.recovered(files.recovered());
        for segment in files.damaged.drain(..) {
            self.damaged(&segment.name(), 0, segment.bytes);
        }
        state.writer = Some(Writer::new(Arc::clone(&files.dir), self.segment_bytes));
        state.segments = std::mem::take(&mut files.segments);
        state.marks = Marks::new(files.acked);
        state.queued = files.acked;
        state.dir = Some(Arc::clone(&files.dir));
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether so many bytes of events could ever be taken at once.
    pub(super) fn could_take(&self, bytes: usize) -> bool {
        bytes_of(bytes) <= self.limit
    }

    /// Appends all of a chunk or nothing. If `uncounted`, its events count as received when they are written, and this
    /// waits until they are as safe as was promised.
    pub(super) fn append(&self, chunk: &mut Chunk, source: usize, uncounted: bool) -> Appended {
        if chunk.is_empty() {
            return Appended::Taken;
        }
        let (events, bytes) = (chunk.events, bytes_of(chunk.bytes.len()));
        let mut state = self.lock();
        if !uncounted {
            let busy = |state: &mut State| state.claimed >= UNWRITTEN && state.trouble.is_none();
            let waited = self.room.wait_timeout_while(state, PATIENCE, busy);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if let Some(refusal) = self.refusal(&mut state, bytes, uncounted) {
            return refusal;
        }
        state.claimed += bytes;
        drop(state);
        // Not under the lock: it reads each byte.
        let records = Record::of(chunk);
        let mut state = self.lock();
        let group = &mut state.pending;
        group.records.extend(records);
        group.bytes += bytes;
        group.events += events as u64;
        if !uncounted {
            chunk.bytes = state.spare.pop().unwrap_or_default();
            self.unwritten.notify_one();
            return Appended::Taken;
        }
        group.uncounted.push((source, events));
        let ticket = Arc::clone(&group.ticket);
        if self.sync != SyncMode::Always && state.writer.is_none() {
            // A write takes less time than to sleep and be woken.
            drop(state);
            for _ in 0..YIELDS {
                thread::yield_now();
                if let Some(result) = ticket.result() {
                    return result;
                }
            }
            state = self.lock();
        }
        loop {
            if let Some(result) = ticket.result() {
                return result;
            }
            state = match state.can_write() {
                true => self.write(state),
                false => ticket
                    .done
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Why so much can't be taken now, if it can't.
    fn refusal(&self, state: &mut State, bytes: u64, waits: bool) -> Option<Appended> {
        self.look_for_room(state, bytes);
        // What could not be written is tried first, and alone.
        let has_kept = !state.pending.records.is_empty();
        if let Some(trouble) = &state.trouble
            && (trouble.retry_at).is_none_or(|at| has_kept || at > Instant::now())
        {
            return Some(trouble.result);
        }
        if state.segments.bytes() + state.claimed + bytes > self.limit {
            self.fail(state, Appended::Full, None);
            return Some(Appended::Full);
        }
        let is_busy = !waits && state.claimed >= UNWRITTEN;
        match state.dir {
            None => Some(Appended::Unavailable),
            Some(_) => is_busy.then_some(Appended::Full),
        }
    }

    /// Says so if the limit does not keep events out any more: not for every one of them that has room.
    pub(super) fn look_for_room(&self, state: &mut State, bytes: u64) {
        let wanted = bytes.max(self.segment_bytes);
        let has_room = state.segments.bytes() + state.claimed + wanted <= self.limit;
        if has_room && state.is_full() {
            self.worked(state);
        }
    }

    /// Says once of a segment that it is damaged.
    pub(super) fn damaged(&self, name: &str, events: u64, bytes: u64) {
        Message::SpoolDamaged {
            file: format!("{}/{name}", self.path),
            events: Events(events),
            bytes,
        }
        .log();
        self.report.spool_damaged(bytes);
    }

    /// Nothing is appended for a while, because of the limit or of an error.
    pub(super) fn fail(&self, state: &mut State, result: Appended, error: Option<&io::Error>) {
        let retry_at = error.map(|_| Instant::now() + RETRY);
        let dir = self.path.clone();
        let is_known = state.trouble.as_ref().is_some_and(|trouble| {
            trouble.result == result && trouble.retry_at.is_some() == retry_at.is_some()
        });
        match error {
            _ if is_known => {}
            None => Message::SpoolFull {
                dir,
                limit: Size(usize::try_from(self.limit).unwrap_or(usize::MAX)),
            }
            .log(),
            Some(error) => Message::SpoolFailed {
                dir,
                error: error.to_string(),
            }
            .log(),
        }
        let since = state
            .trouble
            .as_ref()
            .map_or_else(Instant::now, |trouble| trouble.since);
        state.trouble = Some(Trouble {
            since,
            retry_at,
            result,
        });
    }

    /// These events are on disk, or never will be.
    pub(super) fn end(&self, state: &mut State, groups: &[Group], result: Appended) {
        for group in groups {
            state.claimed -= group.bytes;
            group.ticket.end(result);
        }
        self.room.notify_all();
    }

    /// Something was written, or there is room for it.
    pub(super) fn worked(&self, state: &mut State) {
        if let Some(trouble) = state.trouble.take() {
            Message::SpoolRestored {
                dir: self.path.clone(),
                lasted: HumanDuration(trouble.since.elapsed()),
            }
            .log();
        }
    }

    /// Writes what is pending. To be called if that [can be](State::can_write).
    pub(super) fn write<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let Some(mut writer) = state.writer.take() else {
            return state;
        };
        let group = std::mem::take(&mut state.pending);
        let first = state.segments.next();
        drop(state);
        let result = writer.write(&group.records, first, now());
        let mut state = self.lock();
        match result {
            Ok(written) => self.written(&mut state, group, written, first),
            Err(error) => {
                let result = result_of(&error);
                self.fail(&mut state, result, Some(&error));
                group.ticket.end(result);
                // It is written before all others when the disk works again, with the same numbers: a part of it may be
                // there already.
                let behind = std::mem::replace(&mut state.pending, group);
                let group = &mut state.pending;
                group.ticket = behind.ticket;
                group.records.extend(behind.records);
                group.uncounted.extend(behind.uncounted);
                group.bytes += behind.bytes;
                group.events += behind.events;
                group.ticket.end(result);
                group.ticket = Arc::default();
            }
        }
        self.hand_back(&mut state, writer);
        self.room.notify_all();
        state
    }

    /// The writer is free again: somebody may be waiting for it.
    pub(super) fn hand_back(&self, state: &mut State, writer: Writer) {
        state.writer = Some(writer);
        if !state.pending.records.is_empty() {
            match state.pending.uncounted.is_empty() {
                true => self.unwritten.notify_one(),
                false => state.pending.ticket.done.notify_one(),
            }
        }
        if state.is_rescuing {
            self.unsynced.notify_one();
        }
    }

    fn written(&self, state: &mut State, mut group: Group, written: Written, first: u64) {
        self.worked(state);
        if written.is_new {
            state.segments.created(written.segment);
            state.dir_is_unsynced = true;
        }
        for (source, events) in group.uncounted.drain(..) {
            self.report.received(source, events);
        }
        let (segment, events) = (written.segment, group.events);
        state.segments.appended(segment, written.bytes, events);
        if self.sync != SyncMode::Always {
            state.claimed -= group.bytes;
        }
        if std::mem::take(&mut state.reader_waits) {
            self.unread.notify_one();
        }
        if self.sync != SyncMode::Always {
            state.recycle(group.records.drain(..));
        }
        if self.sync == SyncMode::Never {
            return group.ticket.end(Appended::Taken);
        }
        if state
            .unsynced
            .last()
            .is_none_or(|last| last.segment != segment)
        {
            state.unsynced.push(Unsynced {
                segment,
                file: written.file,
                from: written.from,
                first,
                groups: Vec::new(),
            });
        }
        match (self.sync, state.unsynced.last_mut()) {
            (SyncMode::Always, Some(last)) => {
                last.groups.push(group);
                self.unsynced.notify_one();
            }
            _ => group.ticket.end(Appended::Taken),
        }
    }
}

/// The size of a segment, in a spool of at most so many bytes.
fn segment_bytes(limit: u64) -> u64 {
    (limit / 8).clamp(MIN_SEGMENT, MAX_SEGMENT)
}

/// Seconds since 1970.
pub(super) fn now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
    })
}
