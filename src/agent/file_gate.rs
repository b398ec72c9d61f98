//! Closed when forwarding is disabled: what the sender discards from then on is no progress of a file or of the spool.

use crate::buffer::queue::QueueStats;
use crate::buffer::spool::Spool;
use crate::state::checkpoint::Progress;

/// The sources whose events are read again when forwarding is enabled.
#[derive(Debug)]
pub struct FileGate {
    progresses: Vec<Progress>,
    spool: Option<Spool>,
    stats: QueueStats,
}

impl FileGate {
    /// For these sources and the spool, whose events go through one queue.
    pub fn new(progresses: Vec<Progress>, spool: &Option<Spool>, stats: QueueStats) -> Self {
        FileGate {
            progresses,
            spool: spool.clone(),
            stats,
        }
    }

    /// To be called before the sender discards the first event. The sources go on from here when they are to read again.
    pub fn close(&self) {
        let watermark = self.stats.watermark();
        for progress in &self.progresses {
            progress.freeze(watermark);
        }
        if let Some(spool) = &self.spool {
            spool.freeze(watermark);
        }
    }
}
