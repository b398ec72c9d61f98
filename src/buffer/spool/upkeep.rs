//! The spool's own threads: one writes what nobody else does; the other syncs it to disk, notes how far it was
//! delivered, and removes what was.

use std::fs::File;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::dir::Dir;
use super::files::Files;
use super::group::{Appended, SyncMode};
use super::noting::{Change, Noted, Reached};
use super::overdue::Overdue;
use super::position::{self, PositionFile};
use super::segments::{self, Segment};
use super::shared::{IF_IT_HANGS, Shared, now};
use super::trouble::QUIET;
use crate::buffer::queue::QueueStats;
use crate::telemetry::message::Message;
use crate::telemetry::snapshot::SpoolState;

/// How often it is noted what has become final: a kill repeats what became final in between.
const TICK: Duration = Duration::from_millis(20);
/// How often everything is noted, and what is not needed any more is removed.
const NOTE: Duration = Duration::from_secs(1);
/// With [`SyncMode::Second`], the age of events that are not final at which they are synced: less than a second at the
/// next tick.
const UNSYNCED: Duration = NOTE.saturating_sub(TICK);
/// With [`SyncMode::Always`], the least time between two calls of fdatasync(2).
const GROUP: Duration = Duration::from_millis(2);
/// What streams have appended may be written this much later, or a multiple of that.
const GATHER: Duration = Duration::from_millis(1);
/// What a hanging directory means while clients don't wait for syncs.
const IF_SYNC_HANGS: &str = "events of the spool are not synced to disk";

/// Writes what streams have appended, until the spool ends.
pub(super) fn write(shared: &Shared) {
    let mut state = shared.lock();
    let mut waited = 0;
    loop {
        if state.can_write() && waited < state.patience() {
            drop(state);
            std::thread::sleep(GATHER);
            state = shared.lock();
            waited += 1;
        } else if state.can_write() {
            waited = 0;
            state = shared.write(state).0;
        } else if state.must_try_out() {
            state = shared.try_out(state);
        } else if state.is_ending {
            return;
        } else {
            // A failed disk is tried again.
            let waited = shared.unwritten.wait_timeout(state, NOTE / 2);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// The thread that syncs.
pub(super) struct Upkeep {
    pub(super) shared: Arc<Shared>,
    pub(super) stats: QueueStats,
    /// Tries again to open the spool.
    pub(super) open: Box<dyn Fn() -> io::Result<Files> + Send>,
    pub(super) position: Option<PositionFile>,
    /// What that says, or said, of who uses it.
    pub(super) id: u32,
    /// Keeps other agents out.
    pub(super) lock: Option<File>,
    pub(super) noted: Noted,
    pub(super) overdue: Overdue,
    /// Segments that are not needed, but can't be removed.
    pub(super) left: Vec<Segment>,
}

impl Upkeep {
    /// Runs until the spool ends.
    pub(super) fn run(mut self) {
        self.take_over();
        let (mut noted, mut grouped, mut ticked) = (Instant::now(), Instant::now(), Instant::now());
        loop {
            let is_last = self.wait(grouped, ticked);
            let now = Instant::now();
            let is_due = is_last || now.duration_since(noted) >= NOTE;
            if is_due {
                noted = now;
            }
            if is_due {
                self.look();
                self.free();
                // At the end, this is its last chance.
                self.shared
                    .log_restored(if is_last { now + QUIET } else { now });
            }
            if is_last && self.shared.lock().can_write() {
                drop(self.shared.write(self.shared.lock()));
            }
            let mut syncs = is_last || self.shared.sync == SyncMode::Always;
            // First what can be removed, since it need not be on disk.
            if is_due || now.duration_since(ticked) >= TICK {
                ticked = now;
                self.note(is_due, is_last);
                self.report();
                syncs |= self.is_overdue(now);
            }
            if syncs {
                grouped = now;
                self.sync();
            }
            if is_last {
                return;
            }
        }
    }

    /// Whether something must be synced that is not final.
    pub(super) fn is_overdue(&mut self, now: Instant) -> bool {
        if self.shared.sync != SyncMode::Second {
            return false;
        }
        let acked = self.acked();
        let next = self.shared.lock().segments.next();
        self.overdue.is_overdue(now, acked, next, UNSYNCED)
    }

    /// Waits until there is something to do. True if the spool ends.
    fn wait(&self, grouped: Instant, ticked: Instant) -> bool {
        let mut state = self.shared.lock();
        loop {
            let is_due = self.shared.sync == SyncMode::Always && !state.unsynced.is_empty();
            let until = if is_due {
                grouped + GROUP
            } else {
                ticked + TICK
            };
            let left = until.saturating_duration_since(Instant::now());
            if state.is_ending || left.is_zero() {
                return state.is_ending;
            }
            let waited = self.shared.unsynced.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Syncs what was written to disk.
    pub(super) fn sync(&self) {
        let mut state = self.shared.lock();
        let unsynced = std::mem::take(&mut state.unsynced);
        let has_new_files = std::mem::take(&mut state.dir_is_unsynced);
        let dir = state.dir.clone().filter(|_| has_new_files);
        drop(state);
        let dir_synced = dir.map_or(Ok(()), |dir| self.io(|| dir.sync()));
        for unsynced in unsynced {
            let synced = match &dir_synced {
                Ok(()) => self.io(|| unsynced.file.sync()),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            match synced {
                Ok(()) => {
                    let mut state = self.shared.lock();
                    let groups = &unsynced.groups;
                    self.shared.end(&mut state, groups, Appended::Taken);
                }
                Err(error) => {
                    let file = self.path(&segments::name(unsynced.segment));
                    let error = error.to_string();
                    Message::SpoolSyncFailed { file, error }.log();
                    self.rescue(unsynced);
                }
            }
        }
    }

    pub(super) fn io<T>(&self, work: impl FnOnce() -> T) -> T {
        self.shared.watchdog.dir(self.effect(), work)
    }

    /// What it means if this thread hangs.
    pub(super) fn effect(&self) -> &'static str {
        match self.shared.sync {
            SyncMode::Always => IF_IT_HANGS,
            _ => IF_SYNC_HANGS,
        }
    }

    /// Notes how far the spool was delivered, and written. If due, syncs that, and removes what lies before it.
    pub(super) fn note(&mut self, is_due: bool, is_last: bool) {
        let (reached, effect) = (self.reached(is_last), self.effect());
        let Some(position) = &mut self.position else {
            return;
        };
        let Some(step) = self.noted.step(self.shared.sync, reached, is_due) else {
            return;
        };
        let taken = self.shared.watchdog.dir(effect, || {
            if step.writes {
                position.write(step.at)?;
            }
            if step.syncs { position.sync() } else { Ok(()) }
        });
        let path = self.path(position::NAME);
        match (self.noted.taken(step, taken.is_ok()), &taken) {
            (Some(Change::Failed), Err(error)) => {
                let error = error.to_string();
                Message::SpoolPositionFailed { path, error }.log();
            }
            (Some(Change::Restored), _) => Message::CheckpointRestored { path }.log(),
            _ => {}
        }
        if taken.is_ok() && step.releases {
            self.release(step.at.acked);
        }
    }

    /// The number of the first event that is not final.
    pub(super) fn acked(&self) -> u64 {
        // First the watermark, then the marks: the queue locks them while it is locked itself.
        let watermark = self.stats.watermark();
        self.shared.marks().advance(watermark)
    }

    /// How far the spool is. If nothing in the newest segment is needed, it is not written to any more, so that it can
    /// be removed: at the end, and when its room may be what is missing.
    fn reached(&self, is_last: bool) -> Reached {
        let acked = self.acked();
        let mut state = self.shared.lock();
        let next = state.segments.next();
        let needs_room = std::mem::take(&mut state.lacks_room) || state.is_in_trouble();
        if (is_last || needs_room)
            && next <= acked
            && let Some(writer) = &mut state.writer
        {
            writer.leave();
            state.segments.close();
        }
        let is_awaited = self.shared.sync == SyncMode::Always && !state.unsynced.is_empty();
        let room = state.segments.bytes() + 2 * self.shared.segment_bytes;
        Reached {
            acked,
            end: (!is_awaited).then_some(next),
            can_release: state.segments.can_release(acked),
            is_pressing: room > self.shared.limit,
        }
    }

    /// Removes the segments before this event; the position on disk has its number.
    fn release(&mut self, acked: u64) {
        let mut state = self.shared.lock();
        let Some(dir) = state.dir.clone() else {
            return;
        };
        while let Some(segment) = state.segments.release(acked) {
            state.unsynced.retain(|unsynced| {
                unsynced.segment != segment.first || !unsynced.groups.is_empty()
            });
            drop(state);
            let removed = self.remove(&*dir, &segment);
            state = self.shared.lock();
            // Until it is removed, it takes its room: a damaged one is counted already.
            match removed {
                Err(error) if error.kind() == io::ErrorKind::NotFound && segment.is_bad => {
                    state.segments.set_aside -= segment.bytes;
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    if !segment.is_bad {
                        state.segments.set_aside += segment.bytes;
                    }
                    if self.left.is_empty() {
                        let (file, error) = (self.path(&segment.name()), error.to_string());
                        Message::SpoolNotRemoved { file, error }.log();
                    }
                    self.left.push(segment);
                }
                _ => {}
            }
            self.shared.look_for_room(&mut state, 0);
        }
        drop(state);
        let _ = self.io(|| dir.sync());
    }

    fn remove(&self, dir: &dyn Dir, segment: &Segment) -> io::Result<()> {
        self.io(|| match segment.is_bad {
            true => dir.rename(&segment.name(), &segment.bad_name()),
            false => dir.remove(&segment.name()),
        })
    }

    /// Tries again to remove what could not be removed; while the spool is full, counts again what was set aside, which
    /// somebody may have removed.
    pub(super) fn free(&mut self) {
        let state = self.shared.lock();
        let is_full = state.is_full() && state.segments.set_aside > 0;
        let dir = state.dir.clone();
        drop(state);
        let Some(dir) = dir.filter(|_| is_full || !self.left.is_empty()) else {
            return;
        };
        let mut left = std::mem::take(&mut self.left);
        left.retain(|segment| {
            let removed = self.remove(&*dir, segment);
            removed.is_err_and(|error| error.kind() != io::ErrorKind::NotFound)
        });
        self.left = left;
        // Nobody else changes what is counted here.
        if let Ok(files) = self.io(|| dir.list()) {
            let left: u64 = self.left.iter().map(|segment| segment.bytes).sum();
            let mut state = self.shared.lock();
            state.segments.set_aside = segments::set_aside(&files) + left;
            self.shared.look_for_room(&mut state, 0);
        }
    }

    /// Gives the report the spool's state.
    pub(super) fn report(&self) {
        let state = self.shared.lock();
        let oldest = self.shared.marks().oldest();
        let oldest = oldest.or(state.unread_since.filter(|_| state.unread() > 0));
        let spool = SpoolState {
            bytes: state.segments.bytes(),
            limit: self.shared.limit,
            events: state.unread() + self.stats.released() as u64,
            oldest: Duration::from_secs(oldest.map_or(0, |time| now().saturating_sub(time)).into()),
            corrupt_bytes: 0,
        };
        drop(state);
        self.shared.report.spool(spool);
    }
}
