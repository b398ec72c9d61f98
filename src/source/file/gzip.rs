//! A file that gzip has compressed, read as if it were not compressed.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _};

use flate2::read::MultiGzDecoder;

use crate::state::checkpoint::{Fingerprint, HEAD_BYTES};

/// What such a file begins with.
pub(super) const MAGIC: &[u8] = b"\x1f\x8b";
/// Bytes read at a time where content is only passed over.
const STEP: usize = 32 << 10;

/// Such a file. Its offsets are those of the uncompressed content.
pub(super) struct Gzip {
    decoder: MultiGzDecoder<File>,
    offset: u64,
    /// The last bytes before the offset.
    recent: VecDeque<u8>,
}

impl Gzip {
    pub(super) fn new(file: File) -> Self {
        Gzip {
            decoder: MultiGzDecoder::new(file),
            offset: 0,
            recent: VecDeque::new(),
        }
    }

    pub(super) fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let count = self.decoder.read(space)?;
        self.offset += count as u64;
        let last = &space[..count];
        let last = &last[last.len().saturating_sub(HEAD_BYTES)..];
        self.recent.extend(last);
        let surplus = self.recent.len().saturating_sub(HEAD_BYTES);
        self.recent.drain(..surplus);
        Ok(count)
    }

    /// At most the first [`HEAD_BYTES`], if nothing of it was read yet.
    pub(super) fn head(mut self) -> Vec<u8> {
        let mut head = vec![0; HEAD_BYTES];
        let mut filled = 0;
        while filled < HEAD_BYTES
            && let Ok(count @ 1..) = self.read(&mut head[filled..])
        {
            filled += count;
        }
        head.truncate(filled);
        head
    }

    /// Passes over what is before `offset`. False if it ends earlier.
    pub(super) fn skip_to(&mut self, offset: u64) -> io::Result<bool> {
        let mut space = vec![0; STEP];
        while self.offset < offset {
            let left = usize::try_from(offset - self.offset).unwrap_or(usize::MAX);
            let part = &mut space[..left.min(STEP)];
            if self.read(part)? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether it was read up to `offset`, and these bytes are right before that.
    pub(super) fn has_before(&self, offset: u64, bytes: Fingerprint) -> bool {
        let skip = self.recent.len().saturating_sub(bytes.len());
        let last: Vec<u8> = self.recent.iter().skip(skip).copied().collect();
        self.offset == offset && Fingerprint::of(&last) == bytes
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::source::gunzip::gzip;

    #[test]
    fn it_is_read_on_from_where_the_original_was_read_to() {
        let text: Vec<u8> = (0..9000u32)
            .flat_map(|n| format!("{{\"n\":{n}}}\n").into_bytes())
            .collect();
        let mut file = tempfile::tempfile().unwrap();
        // Two members, as after something was appended.
        for part in [&text[..70_000], &text[70_000..]] {
            file.write_all(&gzip(part)).unwrap();
        }
        for offset in [0, 1, 1000, 69_999, 70_001, text.len()] {
            let mut copy = file.try_clone().unwrap();
            io::Seek::rewind(&mut copy).unwrap();
            let mut gzip = Gzip::new(copy);
            assert!(gzip.skip_to(offset as u64).unwrap());
            let tail = Fingerprint::of(&text[offset.saturating_sub(HEAD_BYTES)..offset]);
            assert!(gzip.has_before(offset as u64, tail));
            let mut rest = vec![0; text.len()];
            let mut filled = 0;
            while filled < rest.len() {
                match gzip.read(&mut rest[filled..]).unwrap() {
                    0 => break,
                    count => filled += count,
                }
            }
            assert!(rest[..filled] == text[offset..]);
            assert_eq!(gzip.offset, text.len() as u64);
            assert!(!gzip.skip_to(u64::MAX).unwrap());
        }
    }
}
