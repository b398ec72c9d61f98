//! Compares a file with what is known of contents.

use super::gzip::{self, Unpackers};
use super::listing::Identity;
use super::missing::Candidate;
use super::tracked::Tracked;
use crate::state::checkpoint::{FileOffset, Fingerprint};

/// A file that may have the content of another one.
pub(super) struct Probe<'a> {
    pub(super) file: &'a mut Tracked,
    pub(super) head: &'a [u8],
    pub(super) unpackers: &'a mut Unpackers,
}

impl Candidate for Probe<'_> {
    fn identity(&self) -> Identity {
        self.file.now.identity
    }

    fn length(&self) -> Option<u64> {
        (!self.file.is_gzip).then_some(self.file.now.length)
    }

    fn head(&self) -> &[u8] {
        self.head
    }

    fn has_before(&mut self, offset: u64, bytes: Fingerprint) -> bool {
        if !self.file.is_gzip {
            return self.file.has(offset, bytes).unwrap_or(false);
        }
        let Ok(mut gzip) = self.file.new_gzip() else {
            return false;
        };
        let is_it = gzip.skip_to(offset).unwrap_or(false) && gzip.has_before(offset, bytes);
        // If it is, it is read on from there.
        self.unpackers
            .keep(self.file.now.identity, is_it.then_some(gzip));
        is_it
    }

    /// Unpacking all that was read of a compressed file may take long, while other files wait.
    fn is_compared_later(&self, known: &FileOffset) -> bool {
        let now = &self.file.now;
        let is_same = known.inode == now.identity.1 && known.is_gzip();
        self.file.is_gzip && is_same && (known.packed == 0 || known.packed == now.length)
    }
}

/// What a file begins with; for a compressed one, what its uncompressed content begins with.
pub(super) fn read_head(file: &mut Tracked) -> std::io::Result<Vec<u8>> {
    let head = file.read_head()?;
    file.is_gzip = head.starts_with(gzip::MAGIC);
    if file.is_gzip {
        Ok(file.new_gzip()?.head())
    } else {
        Ok(head)
    }
}
