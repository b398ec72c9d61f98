//! What is kept of a file only while it is read, or as long as it ends within an event.

use std::path::Path;
use std::sync::Arc;

use super::gzip::Gzip;
use crate::framer::Framer;
use crate::state::checkpoint::HEAD_BYTES;

/// This much of what was read last is kept after it was passed on.
pub(super) const RECENT: usize = 8 << 10;

/// What is kept of a file only while it is read.
pub(super) struct Reading {
    /// What was read of an event that is not whole.
    pub(super) framer: Framer,
    /// Where the file was before it was renamed.
    pub(super) former_path: Option<Arc<Path>>,
    /// The last bytes that were read: the file itself may be truncated before they are passed on.
    pub(super) recent: Vec<u8>,
    /// The framer has events that found no room.
    pub(super) has_pending: bool,
    pub(super) gzip: Option<Gzip>,
}

impl Reading {
    pub(super) fn new(framer: Framer) -> Self {
        Reading {
            framer,
            former_path: None,
            recent: Vec::new(),
            has_pending: false,
            gzip: None,
        }
    }

    /// How many of the bytes read belong to an event that is not whole.
    pub(super) fn unfinished(&self) -> usize {
        usize::try_from(self.framer.unfinished()).unwrap_or(usize::MAX)
    }

    /// Gives back what such an event does not need: there may be very many files that end with one. All events must
    /// have been taken.
    pub(super) fn shrink(&mut self) {
        self.framer.shrink();
        // The bytes before the event are still compared when it is whole.
        let needed = self.unfinished().saturating_add(HEAD_BYTES).min(RECENT);
        let surplus = self.recent.len().saturating_sub(needed);
        self.recent.drain(..surplus);
        self.recent.shrink_to_fit();
    }
}
