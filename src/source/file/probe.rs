//! Compares a file with what is known of contents.

use super::gzip;
use super::listing::Identity;
use super::missing::Candidate;
use super::tracked::Tracked;
use crate::state::checkpoint::Fingerprint;

/// A file that may have the content of another one.
pub(super) struct Probe<'a> {
    pub(super) file: &'a mut Tracked,
    pub(super) head: &'a [u8],
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
        self.file.has(offset, bytes).unwrap_or(false)
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
