//! Closed when forwarding is disabled: what the sender discards from then on is no progress of a file.

use super::Progress;
use crate::buffer::queue::QueueStats;

/// The sources whose events are read again when forwarding is enabled.
#[derive(Debug)]
pub struct Gate {
    progresses: Vec<Progress>,
    stats: QueueStats,
}

impl Gate {
    /// For these sources, whose events go through one queue.
    pub fn new(progresses: Vec<Progress>, stats: QueueStats) -> Self {
        Gate { progresses, stats }
    }

    /// To be called before the sender discards the first event. The sources go on from here when they are to read again.
    pub fn close(&self) {
        let watermark = self.stats.watermark();
        for progress in &self.progresses {
            progress.freeze(watermark);
        }
    }
}
