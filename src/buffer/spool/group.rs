//! Events that are written together, and the result for those who wait for that.

use std::io;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use super::dir::{SpoolFile, is_disk_full};
use super::record::{RECORD_HEAD, Record};
use super::writer::Written;
use crate::buffer::chunk::CHUNK_BYTES;

/// When written events are on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncMode {
    /// When the kernel gets to it.
    Never,
    /// Within a second.
    Second,
    /// Before their writer gets its answer.
    Always,
}

impl FromStr for SyncMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "never" => Ok(SyncMode::Never),
            "second" => Ok(SyncMode::Second),
            "always" => Ok(SyncMode::Always),
            _ => Err("fix: use never, second or always".into()),
        }
    }
}

/// What became of events that were to be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// They are in the spool, or will be if nobody waits for that.
    Taken,
    /// There is no room for them.
    Full,
    /// The disk fails.
    Unavailable,
}

/// The reason why nothing is appended.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) since: Instant,
    /// None if the limit is reached; else the disk fails, and is tried again at this time.
    pub(super) retry_at: Option<Instant>,
    pub(super) result: Appended,
    /// The disk had no room for this much at once, though it may have some; and when that was last tried.
    pub(super) too_large: Option<(u64, Instant)>,
}

/// Some events that are written in one call.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) records: Vec<Record>,
    /// Those whose writers wait for the result: if they are refused, they will be sent again, and are left out.
    pub(super) awaited: Vec<Record>,
    /// Of all.
    pub(super) bytes: u64,
    pub(super) events: u64,
    /// Of those that are awaited.
    pub(super) awaited_bytes: u64,
    /// By source, how many events count as received when they are written: all that are awaited.
    pub(super) uncounted: Vec<(usize, usize)>,
    /// None while nobody waits for another thread to write the group.
    pub(super) ticket: Option<Arc<Ticket>>,
}

impl Group {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.awaited.is_empty()
    }

    /// Those to which such events are added.
    pub(super) fn list(&mut self, is_awaited: bool) -> &mut Vec<Record> {
        match is_awaited {
            true => &mut self.awaited,
            false => &mut self.records,
        }
    }

    /// How many of its events count as received before they are written.
    pub(super) fn received(&self) -> u64 {
        let uncounted = self.uncounted.iter().map(|(_, events)| *events as u64);
        self.events - uncounted.sum::<u64>()
    }

    /// Leaves out what is awaited. Returns how many bytes that was.
    pub(super) fn leave_out_awaited(&mut self) -> u64 {
        self.awaited.clear();
        self.events = self.received();
        self.uncounted.clear();
        let bytes = std::mem::take(&mut self.awaited_bytes);
        self.bytes -= bytes;
        bytes
    }

    /// Something to wait on until the group is written.
    pub(super) fn ticket(&mut self) -> Arc<Ticket> {
        Arc::clone(self.ticket.get_or_insert_default())
    }

    /// To be called while the state is locked.
    pub(super) fn end(&self, result: Appended) {
        if let Some(ticket) = &self.ticket {
            // For those who have their result already, a part may have been written again.
            let _ = ticket.result.set(result);
            if ticket.has_sleepers.load(Relaxed) {
                ticket.done.notify_all();
            }
        }
    }
}

/// What those wait on whose events are in a group.
#[derive(Debug, Default)]
pub(super) struct Ticket {
    result: OnceLock<Appended>,
    done: Condvar,
    /// To wake somebody takes a system call, even if nobody sleeps.
    has_sleepers: AtomicBool,
}

impl Ticket {
    pub(super) fn result(&self) -> Option<Appended> {
        self.result.get().copied()
    }

    /// Sleeps until it is likely that the group was written, or can be.
    pub(super) fn sleep<'a, T>(&self, state: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.has_sleepers.store(true, Relaxed);
        let waited = self.done.wait(state);
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes one of those who sleep. To be called while the state is locked.
    pub(super) fn wake_one(&self) {
        if self.has_sleepers.load(Relaxed) {
            self.done.notify_one();
        }
    }
}

/// A segment with bytes that may not be on disk.
#[derive(Debug)]
pub(super) struct Unsynced {
    pub(super) segment: u64,
    pub(super) file: Arc<dyn SpoolFile>,
    /// Where these bytes begin.
    pub(super) from: u64,
    /// The number of their first event.
    pub(super) first: u64,
    /// The events themselves, if somebody waits until they are on disk.
    pub(super) groups: Vec<Group>,
}

impl Unsynced {
    /// What was written, from the event with the number `first` on.
    pub(super) fn new(written: &Written, first: u64) -> Self {
        Unsynced {
            segment: written.segment,
            file: Arc::clone(&written.file),
            from: written.from,
            first,
            groups: Vec::new(),
        }
    }

    /// The same bytes, without the events.
    pub(super) fn again(&self) -> Self {
        Unsynced {
            file: Arc::clone(&self.file),
            groups: Vec::new(),
            ..*self
        }
    }
}

/// What an error means for events.
pub(super) fn result_of(error: &io::Error) -> Appended {
    match is_disk_full(error) {
        true => Appended::Full,
        false => Appended::Unavailable,
    }
}

/// How many bytes in a segment this many bytes of events take at most.
pub(super) fn bytes_of(lines: usize) -> u64 {
    // Of two successive records one is at least half full.
    ((lines / CHUNK_BYTES * 2 + 1) * RECORD_HEAD + lines) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_have_names() {
        for (name, mode) in [
            ("never", Some(SyncMode::Never)),
            ("second", Some(SyncMode::Second)),
            ("always", Some(SyncMode::Always)),
            ("Always", None),
        ] {
            assert_eq!(name.parse().ok(), mode, "{name}");
        }
    }

    #[test]
    fn a_full_disk_is_no_failure() {
        for (kind, result) in [
            (io::ErrorKind::StorageFull, Appended::Full),
            (io::ErrorKind::QuotaExceeded, Appended::Full),
            (io::ErrorKind::Other, Appended::Unavailable),
        ] {
            assert_eq!(result_of(&kind.into()), result, "{kind}");
        }
    }
}
