//! What sources, the reader and the spool's own threads share.
//!
//! Events are collected in a group. Whoever takes the [`Writer`] out of the state writes the group, without the lock,
//! while the next group is collected: thus many clients share one call, and a single client waits for no other thread.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::dir::Dir;
use super::files::Files;
use super::group::{Appended, Group, SyncMode, Trouble, Unsynced, bytes_of, result_of};
use super::marks::Marks;
use super::record::Record;
use super::segments::{self, Segments};
use super::writer::{Writer, Written};
use crate::buffer::chunk::{CHUNK_BYTES, Chunk};
use crate::telemetry::Report;
use crate::telemetry::resumes::Resumes;
use crate::telemetry::watchdog::Watchdog;

/// How many bytes may wait to be written whose source does not wait for that.
pub(super) const UNWRITTEN: u64 = 2 << 20;
/// Writing less at once costs more than waiting a little for more.
const GATHERED: u64 = 512 << 10;
/// How often to wait until the queue has taken other events: reading events back would cost more.
const FOR_ROOM: usize = 10;
/// How many bytes that were written may wait in memory for the queue.
pub(super) const FRESH: u64 = 3 << 20;
/// Up to this many bytes of events are copied to others: one large record costs less than many small ones.
pub(super) const FEW: usize = CHUNK_BYTES / 4;
/// What a hanging directory means.
pub(super) const IF_IT_HANGS: &str = "clients of the spool wait, other events are kept in memory";
/// How often a client lets others go first before it sleeps.
const YIELDS: usize = 4;

#[derive(Debug)]
pub(super) struct State {
    /// None until it could be opened.
    pub(super) dir: Option<Arc<dyn Dir>>,
    pub(super) segments: Segments,
    /// None while a thread writes.
    pub(super) writer: Option<Writer>,
    /// Since when it does.
    pub(super) writing_since: Option<Instant>,
    /// What to write next.
    pub(super) pending: Group,
    /// How many bytes must still be written, or are being written.
    pub(super) claimed: u64,
    /// How many events are being written that count as received.
    pub(super) writing: u64,
    /// Memory of written chunks, for the next ones.
    pub(super) spare: Vec<Vec<u8>>,
    /// An empty group with reused memory.
    blank: Group,
    /// How many streams wait until something was written.
    pub(super) waiting_for_room: usize,
    /// One of them has waited in vain, and since then nothing was written.
    pub(super) hangs: bool,
    pub(super) unsynced: Vec<Unsynced>,
    pub(super) dir_is_unsynced: bool,
    /// What was written since it was looked whether these files are still there. The last one is the newest segment.
    pub(super) unseen: Vec<Unsynced>,
    /// What no other segment has taken yet, of those that could not be synced or were removed.
    pub(super) lost: Vec<Unsynced>,
    /// Somebody has removed the directory, or replaced it: nothing is written before it was opened again.
    pub(super) must_reopen: bool,
    /// The number after the last event that was passed to the queue.
    pub(super) queued: u64,
    /// The next one was written then or later, in seconds since 1970.
    pub(super) unread_since: Option<u32>,
    pub(super) trouble: Option<Trouble>,
    /// The last one, and when it ended, until that is logged.
    pub(super) past: Option<(Trouble, Instant)>,
    /// The limit had no room for something.
    pub(super) lacks_room: bool,
    /// How many sources may append something.
    pub(super) appenders: usize,
    /// What was written last, if the queue gets it next: it need not be read back.
    pub(super) fresh: Option<Group>,
    pub(super) reader_waits: bool,
    /// The thread that syncs waits for the writer.
    pub(super) is_rescuing: bool,
    pub(super) is_ending: bool,
}

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Locked last, and for moments only.
    marks: Mutex<Marks>,
    /// For the writing thread: there is something to write.
    pub(super) unwritten: Condvar,
    /// For the syncing thread: there is something to sync.
    pub(super) unsynced: Condvar,
    /// For the reader: there is something to read.
    pub(super) unread: Condvar,
    /// For streams: something was written.
    pub(super) room: Condvar,
    pub(super) path: String,
    pub(super) limit: u64,
    pub(super) segment_bytes: u64,
    pub(super) sync: SyncMode,
    pub(super) report: Arc<Report>,
    pub(super) watchdog: Watchdog,
    /// Whether the next start finds what is not delivered.
    pub(super) resumes: Resumes,
}

impl State {
    pub(super) fn new() -> Self {
        State {
            dir: None,
            segments: Segments::default(),
            writer: None,
            writing_since: None,
            pending: Group::default(),
            claimed: 0,
            writing: 0,
            spare: Vec::new(),
            blank: Group::default(),
            waiting_for_room: 0,
            hangs: false,
            unsynced: Vec::new(),
            dir_is_unsynced: false,
            unseen: Vec::new(),
            lost: Vec::new(),
            must_reopen: false,
            queued: 0,
            unread_since: None,
            trouble: None,
            past: None,
            lacks_room: false,
            appenders: 0,
            fresh: None,
            reader_waits: false,
            is_rescuing: false,
            is_ending: false,
        }
    }

    /// Whether something can be written now.
    pub(super) fn can_write(&self) -> bool {
        let is_free = self.writer.is_some() && !self.must_reopen;
        is_free && !self.pending.is_empty() && !self.is_failing()
    }

    /// How often the writing thread waits for more events, or for the queue to take earlier ones.
    pub(super) fn patience(&self) -> usize {
        let bytes = self.pending.bytes;
        match self.fresh.is_some() && self.fresh_bytes() + bytes > FRESH {
            _ if self.is_ending || !self.pending.uncounted.is_empty() => 0,
            true => FOR_ROOM,
            false => usize::from(bytes < GATHERED),
        }
    }

    /// Whether something waits to be written.
    pub(super) fn has_pending(&self) -> bool {
        self.claimed > 0 && self.trouble.is_none()
    }

    /// How many events were written and not passed to the queue.
    pub(super) fn unread(&self) -> u64 {
        self.segments.next().saturating_sub(self.queued)
    }
}

impl Shared {
    pub(super) fn new(
        path: String,
        limit: u64,
        sync: SyncMode,
        report: Arc<Report>,
        watchdog: Watchdog,
    ) -> Self {
        Shared {
            state: Mutex::new(State::new()),
            marks: Mutex::new(Marks::new(0)),
            unwritten: Condvar::new(),
            unsynced: Condvar::new(),
            unread: Condvar::new(),
            room: Condvar::new(),
            path,
            limit,
            segment_bytes: segments::size(limit),
            sync,
            report,
            watchdog,
            resumes: true.into(),
        }
    }

    /// Works with the opened files from now on.
    pub(super) fn install(&self, state: &mut State, files: &mut Files) {
        self.report.recovered(files.recovered());
        for segment in files.damaged.drain(..) {
            self.damaged(&segment.name(), 0, segment.bytes);
        }
        state.writer = Some(Writer::new(Arc::clone(&files.dir), self.segment_bytes));
        state.segments = std::mem::take(&mut files.segments);
        *self.marks() = Marks::new(files.at.acked);
        (state.queued, state.unread_since) = (files.at.acked, files.unread_since);
        state.fresh = None;
        state.dir = Some(Arc::clone(&files.dir));
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this many bytes of events could ever be taken at once.
    pub(super) fn could_take(&self, bytes: usize) -> bool {
        bytes_of(bytes) <= self.limit
    }

    /// Appends all of a chunk or nothing. If `uncounted`, its events count as received when they are written, and this
    /// waits until they are as safe as promised.
    pub(super) fn append(&self, chunk: &mut Chunk, source: usize, uncounted: bool) -> Appended {
        if chunk.is_empty() {
            return Appended::Taken;
        }
        let (events, bytes) = (chunk.events, bytes_of(chunk.bytes.len()));
        let mut state = self.lock();
        if !uncounted {
            state = self.wait_for_room(state);
        }
        if let Some(refusal) = self.refusal(&mut state, bytes, uncounted) {
            return refusal;
        }
        state.claimed += bytes;
        let is_first;
        if chunk.bytes.len() <= FEW {
            is_first = state.pending.is_empty();
            state.collect(chunk, uncounted);
        } else {
            // Not under the lock, since it may copy every byte.
            drop(state);
            let records = Record::of(chunk);
            state = self.lock();
            is_first = state.pending.is_empty();
            state.pending.list(uncounted).extend(records);
        }
        let group = &mut state.pending;
        group.bytes += bytes;
        group.events += events as u64;
        if !uncounted {
            if chunk.bytes.capacity() == 0 {
                chunk.bytes = state.spare.pop().unwrap_or_default();
            }
            if is_first {
                self.unwritten.notify_one();
            }
            return Appended::Taken;
        }
        group.uncounted.push((source, events));
        group.awaited_bytes += bytes;
        let waits_for_disk = self.sync == SyncMode::Always;
        if !waits_for_disk && state.can_write() {
            return self.write(state).1;
        }
        let ticket = state.pending.ticket();
        if !waits_for_disk && state.writer.is_none() {
            // A write takes less time than sleeping and being woken.
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
                true => self.write(state).0,
                false => ticket.sleep(state),
            };
        }
    }

    /// These events are on disk, or never will be.
    pub(super) fn end(&self, state: &mut State, groups: &[Group], result: Appended) {
        for group in groups {
            state.claimed -= group.bytes;
            group.end(result);
        }
        self.made_room(state);
    }

    /// Writes what is pending, and returns the result. To be called if [`State::can_write`] says so.
    pub(super) fn write<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
    ) -> (MutexGuard<'a, State>, Appended) {
        let Some(mut writer) = state.take_writer() else {
            return (state, Appended::Unavailable);
        };
        let blank = std::mem::take(&mut state.blank);
        let mut group = std::mem::replace(&mut state.pending, blank);
        let first = state.segments.next();
        state.writing = group.received();
        drop(state);
        let awaited_from = group.records.len();
        group.records.append(&mut group.awaited);
        let write = || writer.write(&group.records, first, now());
        let written = self.watchdog.dir(IF_IT_HANGS, write);
        let mut state = self.lock();
        state.writing = 0;
        let result = match written {
            Ok(written) => {
                self.written(&mut state, group, written, first);
                Appended::Taken
            }
            Err(error) => {
                let result = result_of(&error);
                let refused = (!writer.may_have_written()).then_some(group.awaited_bytes);
                self.not_written(&mut state, &error, refused);
                let behind = std::mem::take(&mut state.pending);
                group.end(result);
                if writer.may_have_written() {
                    // Nothing of it can be left out any more, whatever happens next.
                    self.count(&mut group);
                } else {
                    group.records.truncate(awaited_from);
                    let refused = group.leave_out_awaited();
                    state.claimed -= refused;
                    state.refused(refused);
                }
                // The rest will be written before all others when the disk works again; if a part of it may be there
                // already, all of it, with the same numbers.
                group.records.extend(behind.records);
                state.pending = Group {
                    records: group.records,
                    bytes: group.bytes + behind.bytes,
                    events: group.events + behind.events,
                    ..behind
                };
                result
            }
        };
        self.hand_back(&mut state, writer);
        self.made_room(&mut state);
        (state, result)
    }

    /// The writer is free again: a thread may be waiting for it.
    pub(super) fn hand_back(&self, state: &mut State, writer: Writer) {
        (state.writer, state.writing_since) = (Some(writer), None);
        if !state.pending.is_empty() {
            match &state.pending.ticket {
                Some(ticket) => ticket.wake_one(),
                None => self.unwritten.notify_one(),
            }
        }
        if state.is_rescuing {
            self.unsynced.notify_one();
        }
    }

    /// What is awaited of these events counts as received.
    fn count(&self, group: &mut Group) {
        for (source, events) in group.uncounted.drain(..) {
            self.report.received(source, events);
        }
        group.awaited_bytes = 0;
    }

    fn written(&self, state: &mut State, mut group: Group, written: Written, first: u64) {
        self.worked(state);
        state.fitted(group.bytes);
        if written.is_new {
            state.segments.created(written.segment);
            state.dir_is_unsynced = true;
            state.unseen.push(Unsynced::new(&written, first));
        }
        self.count(&mut group);
        if state.unread() == 0 {
            state.unread_since = Some(now());
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
            state.keep(&mut group);
        }
        if self.sync != SyncMode::Never {
            if state
                .unsynced
                .last()
                .is_none_or(|last| last.segment != segment)
            {
                state.unsynced.push(Unsynced::new(&written, first));
            }
            if self.sync == SyncMode::Always
                && let Some(last) = state.unsynced.last_mut()
            {
                last.groups.push(group);
                return self.unsynced.notify_one();
            }
        }
        group.end(Appended::Taken);
        state.blank = Group {
            records: group.records,
            awaited: group.awaited,
            uncounted: group.uncounted,
            ..Group::default()
        };
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
    })
}
