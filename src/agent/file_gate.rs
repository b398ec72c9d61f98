//! Closed when forwarding is disabled: what the sender discards from then on is no progress of a file.

use crate::buffer::queue::QueueStats;
use crate::state::checkpoint::Progress;

/// The sources whose events are read again when forwarding is enabled.
#[derive(Debug)]
pub struct FileGate {
    progresses: Vec<Progress>,
    stats: QueueStats,
}

impl FileGate {
    /// For these sources, whose events go through one queue.
    pub fn new(progresses: Vec<Progress>, stats: QueueStats) -> Self {
        FileGate { progresses, stats }
    }

    /// To be called before the sender discards the first event. The sources go on from here when they are to read again.
    pub fn close(&self) {
        let watermark = self.stats.watermark();
        for progress in &self.progresses {
            progress.freeze(watermark);
        }
    }
}
