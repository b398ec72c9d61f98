//! What a `file:` source is given at a start.

use super::file_offset::FileOffset;
use super::progress::Progress;
use super::store::Found;

/// What a `file:` source knows of earlier starts, and where it notes its own progress.
#[derive(Debug)]
pub struct Restored {
    /// What the last start left.
    pub found: Found,
    /// What other sources left that are not in use any more: the same files under another pattern.
    pub others: Vec<FileOffset>,
    /// Where this one notes how far it has come.
    pub progress: Progress,
}
