//! Compares a file with what is known of contents.

use super::gzip::{self, Unpackers};
use super::listing::Identity;
use super::long_work::LongWork;
use super::missing::Candidate;
use super::tracked::Tracked;
use crate::state::checkpoint::{FileOffset, Fingerprint};

/// A file that may have the content of another one.
pub(super) struct Probe<'a> {
    pub(super) file: &'a mut Tracked,
    pub(super) head: &'a [u8],
    pub(super) unpackers: &'a mut Unpackers,
    pub(super) work: &'a LongWork,
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
        let kept = self.unpackers.take_before(self.file.now.identity, offset);
        let Ok(mut gzip) = kept.map_or_else(|| self.file.new_gzip(), Ok) else {
            return false;
        };
        let is_there = gzip.skip_far(offset, self.work).unwrap_or(false);
        let is_it = is_there && gzip.has_before(offset, bytes);
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::tracked::tests::tracked;
    use super::*;
    use crate::source::gunzip::gzip;

    #[test]
    fn only_the_same_compressed_file_with_as_much_in_it_is_compared_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.gz");
        fs::write(&path, gzip(b"{}\n")).unwrap();
        let mut file = tracked(&path);
        let (inode, length) = (file.now.identity.1, file.now.length);
        for (is_gzip, was_gzip, inode, packed, is_later) in [
            (true, true, inode, length, true),
            (true, true, inode, length + 1, false),
            (true, true, inode + 1, length, false),
            (false, true, inode, length, false),
            (true, false, inode, 0, false),
        ] {
            file.is_gzip = is_gzip;
            let known = FileOffset {
                inode,
                packed,
                path: Path::new(if was_gzip { "a.gz" } else { "a" }).into(),
                ..FileOffset::default()
            };
            let unpackers = &mut Unpackers::default();
            let probe = Probe {
                file: &mut file,
                head: b"{}\n",
                unpackers,
                work: &LongWork::default(),
            };
            assert_eq!(probe.is_compared_later(&known), is_later, "{known:?}");
        }
    }

    #[test]
    fn what_is_before_an_offset_is_known_of_a_compressed_file_too() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("a.gz", gzip(b"{\"n\":1}\n{}\n")),
            ("a", b"{\"n\":1}\n{}\n".to_vec()),
        ] {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            let mut file = tracked(&path);
            file.is_gzip = name == "a.gz";
            let identity = file.now.identity;
            let unpackers = &mut Unpackers::default();
            let mut probe = Probe {
                file: &mut file,
                head: b"",
                unpackers,
                work: &LongWork::default(),
            };
            let right = Fingerprint::of(b"1}\n");
            for (offset, bytes, has) in [
                (8, right, true),
                (9, right, false),
                (8, Fingerprint::of(b"2}\n"), false),
                (99, right, false),
            ] {
                assert_eq!(probe.has_before(offset, bytes), has, "{name} {offset}");
                let is_kept = probe.unpackers.take(identity).is_some();
                assert_eq!(is_kept, has && name == "a.gz", "{name} {offset}");
            }
        }
    }
}
