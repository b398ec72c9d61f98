//! What a `file:` source is given at the start.

use super::file_offset::FileOffset;
use super::progress::Progress;
use super::store::Found;

/// What a `file:` source knows from earlier starts, and where it notes its own progress.
#[derive(Debug)]
pub struct Restored {
    /// What the last start left.
    pub found: Found,
    /// What sources that are no longer in use left: the same files under another pattern.
    pub others: Vec<FileOffset>,
    /// Where this source notes its progress.
    pub progress: Progress,
}
