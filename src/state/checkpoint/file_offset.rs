//! What is known of one file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fingerprint::Fingerprint;

/// How far one file was delivered, and what it is recognised by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOffset {
    /// Where it was last seen.
    pub path: Arc<Path>,
    /// The device number, 0 if it is not known: it may change when the host starts again.
    pub device: u64,
    /// The inode number. It may be used again when the file is gone.
    pub inode: u64,
    /// All events before this byte are final. For a compressed file, this counts uncompressed bytes.
    pub offset: u64,
    /// Its length when it was last seen.
    pub length: u64,
    /// For a compressed file that was not read to its end: the length of its original, 0 if unknown.
    pub original: u64,
    /// For a compressed file that was read to its end: how long it was then, compressed; 0 otherwise.
    pub packed: u64,
    /// What it begins with.
    pub head: Fingerprint,
    /// The bytes right before the offset; empty if unknown.
    pub tail: Fingerprint,
    /// It was seen to be gone, or reported as missing: only a copy of it may still turn up.
    pub is_gone: bool,
    /// It is not read, now or later: it is compressed and was there before the agent, or it can't be read.
    pub is_skipped: bool,
}

impl Default for FileOffset {
    fn default() -> Self {
        FileOffset {
            path: PathBuf::new().into(),
            device: 0,
            inode: 0,
            offset: 0,
            length: 0,
            original: 0,
            packed: 0,
            head: Fingerprint::default(),
            tail: Fingerprint::default(),
            is_gone: false,
            is_skipped: false,
        }
    }
}

impl FileOffset {
    /// Bytes that were not delivered when the file was last seen.
    pub fn unread(&self) -> u64 {
        self.length.saturating_sub(self.offset)
    }

    /// Whether it is a compressed file.
    pub fn is_gzip(&self) -> bool {
        self.packed > 0 || self.path.extension().is_some_and(|end| end == "gz")
    }
}
