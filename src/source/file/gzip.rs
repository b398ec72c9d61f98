//! A file that gzip has compressed, read as if it were not compressed.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;

use super::listing::Identity;
use super::long_work::LongWork;
use crate::source::gunzip::Gunzip;
use crate::state::checkpoint::{Fingerprint, HEAD_BYTES};

/// What such a file begins with.
pub(super) const MAGIC: &[u8] = b"\x1f\x8b";
/// Bytes read at a time.
const STEP: usize = 32 << 10;
/// Bytes between two looks at whether the agent stops.
const STRIDE: u64 = 1 << 20;
/// At most this many compressed files can be read on without unpacking them again. Each takes some 80 KiB.
const MAX_UNPACKERS: usize = 4;

#[cfg(test)]
thread_local! {
    /// Bytes that came out of all files.
    pub(super) static UNPACKED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Such a file. Its offsets are those of the uncompressed content.
pub(super) struct Gzip {
    file: File,
    /// Where it is read on: all duplicates of a descriptor share one position, so that cannot be used.
    at: u64,
    /// Compressed bytes, of which some are used.
    input: Vec<u8>,
    used: usize,
    gunzip: Gunzip,
    offset: u64,
    /// The last bytes before the offset.
    recent: VecDeque<u8>,
}

impl Gzip {
    pub(super) fn new(file: File) -> Self {
        Gzip {
            file,
            at: 0,
            input: Vec::new(),
            used: 0,
            gunzip: Gunzip::default(),
            offset: 0,
            recent: VecDeque::new(),
        }
    }

    /// Its next bytes; none where it ends.
    pub(super) fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        loop {
            let is_at_end = self.used == self.input.len() && !self.fill()?;
            let mut input = &self.input[self.used..];
            if self.gunzip.is_done() {
                // Some fill up the last block with zeros.
                let zeros = input.iter().take_while(|byte| **byte == 0);
                input = &input[zeros.count()..];
            }
            let count = match self.gunzip.is_done() && input.is_empty() {
                true => 0,
                false => match self.gunzip.next(&mut input, space) {
                    Ok(count) => count,
                    Err(_) if is_at_end => return Err(ErrorKind::UnexpectedEof.into()),
                    Err(_) => return Err(io::Error::other("corrupt deflate stream")),
                },
            };
            self.used = self.input.len() - input.len();
            if count > 0 || space.is_empty() || (is_at_end && self.gunzip.is_done()) {
                self.offset += count as u64;
                #[cfg(test)]
                UNPACKED.set(UNPACKED.get() + count as u64);
                let last = &space[..count];
                self.recent
                    .extend(&last[count.saturating_sub(HEAD_BYTES)..]);
                let surplus = self.recent.len().saturating_sub(HEAD_BYTES);
                self.recent.drain(..surplus);
                return Ok(count);
            }
        }
    }

    /// Reads compressed bytes. False if there are no more; then those that were read last stay, to be compared.
    fn fill(&mut self) -> io::Result<bool> {
        let mut input = vec![0; STEP];
        let count = self.file.read_at(&mut input, self.at)?;
        if count > 0 {
            input.truncate(count);
            (self.input, self.at, self.used) = (input, self.at + count as u64, 0);
        }
        Ok(count > 0)
    }

    /// Whether the file still has the compressed bytes that were read last.
    pub(super) fn is_unchanged(&self) -> io::Result<bool> {
        let mut found = vec![0; self.input.len()];
        let from = self.at - found.len() as u64;
        match self.file.read_exact_at(&mut found, from) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
            read => read.map(|()| found == self.input),
        }
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

    /// The same, however far that is.
    pub(super) fn skip_far(&mut self, offset: u64, work: &LongWork) -> io::Result<bool> {
        while self.offset < offset {
            work.goes_on()?;
            let part = offset.min(self.offset + STRIDE);
            if !self.skip_to(part)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How far it was read.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// How many compressed bytes are left of so many.
    pub(super) fn rest(&self, length: u64) -> u64 {
        let unused = self.input.len() - self.used;
        length.saturating_sub(self.at - unused as u64)
    }

    /// How far it was read, and at most the [`HEAD_BYTES`] right before that.
    pub(super) fn last(&self) -> (u64, Vec<u8>) {
        (self.offset, self.recent.iter().copied().collect())
    }

    /// Whether it was read up to `offset`, and these bytes are right before that.
    pub(super) fn has_before(&self, offset: u64, bytes: Fingerprint) -> bool {
        let (at, last) = self.last();
        let skip = last.len().saturating_sub(bytes.len());
        at == offset && Fingerprint::of(&last[skip..]) == bytes
    }
}

/// What unpacks compressed files, as far as they were read, by their identity.
#[derive(Default)]
pub(super) struct Unpackers(Vec<(Identity, Gzip)>);

impl Unpackers {
    /// A file can be read on from here: more may be written to it.
    pub(super) fn keep(&mut self, identity: Identity, gzip: Option<Gzip>) {
        self.0.extend(gzip.map(|gzip| (identity, gzip)));
        let surplus = self.0.len().saturating_sub(MAX_UNPACKERS);
        self.0.drain(..surplus);
    }

    pub(super) fn take(&mut self, identity: Identity) -> Option<Gzip> {
        let at = self.0.iter().position(|(its, _)| *its == identity)?;
        Some(self.0.remove(at).1)
    }

    /// The same if it is at most so far, and the file has only grown since.
    pub(super) fn take_before(&mut self, identity: Identity, offset: u64) -> Option<Gzip> {
        let gzip = self.take(identity)?;
        let can_go_on = gzip.offset <= offset && gzip.is_unchanged().unwrap_or(false);
        can_go_on.then_some(gzip)
    }

    /// Lets go of all others.
    pub(super) fn retain(&mut self, mut is_needed: impl FnMut(Identity) -> bool) {
        self.0.retain(|(identity, _)| is_needed(*identity));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

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
            let mut gzip = Gzip::new(file.try_clone().unwrap());
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

    #[test]
    fn more_may_be_written_to_it_but_nothing_else() {
        let text = b"{\"n\":1}\n".repeat(20_000);
        let whole = gzip(&text);
        let most = whole.len() - 9;
        let mut other = whole.clone();
        other[most - 1] ^= 1;
        for (bytes, is_unchanged) in [
            (&whole[..most], true),
            (&whole[..], true),
            (&[&whole[..], &whole].concat(), true),
            (&whole[..most - 1], false),
            (&other, false),
        ] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&whole[..most]).unwrap();
            let mut gzip = Gzip::new(file.try_clone().unwrap());
            assert!(gzip.skip_to(u64::MAX).is_err(), "it ends early");
            file.set_len(0).unwrap();
            file.write_all_at(bytes, 0).unwrap();
            let place = (bytes.len(), is_unchanged);
            assert_eq!(gzip.is_unchanged().unwrap(), is_unchanged, "{place:?}");
            if is_unchanged && bytes.len() > most {
                assert!(!gzip.skip_to(u64::MAX).unwrap());
                let times = bytes.len() / whole.len();
                assert_eq!(gzip.offset(), (text.len() * times) as u64);
            }
        }
    }

    #[test]
    fn how_far_it_was_read_is_known_in_both_of_its_lengths() {
        let text = b"{\"n\":1}\n".repeat(20_000);
        let mut file = tempfile::tempfile().unwrap();
        // Stored as it is, behind a few bytes for each 64 KiB.
        let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
        encoder.write_all(&text).unwrap();
        let whole = encoder.finish().unwrap();
        file.write_all(&whole).unwrap();
        let length = whole.len() as u64;
        let mut gzip = Gzip::new(file.try_clone().unwrap());
        for offset in [0, 1, 9000, 100_000, 159_000] {
            assert!(gzip.skip_to(offset).unwrap());
            let (rest, expected) = (gzip.rest(length), length - offset);
            assert!(
                (expected - 50..=expected).contains(&rest),
                "{offset}: {rest}"
            );
            let end = usize::try_from(offset).unwrap();
            let from = end.saturating_sub(HEAD_BYTES);
            let last = Fingerprint::of(&text[from..end]);
            assert!(gzip.has_before(offset, last));
            assert!(!gzip.has_before(offset + 1, last));
            assert!(!gzip.has_before(offset, Fingerprint::of(b"x")));
        }
        assert!(!gzip.skip_to(u64::MAX).unwrap());
        assert_eq!([gzip.rest(length), gzip.rest(length + 7)], [0, 7]);
    }

    #[test]
    fn only_a_few_are_kept_and_only_those_that_are_needed() {
        let mut unpackers = Unpackers::default();
        let gzip = || Some(Gzip::new(tempfile::tempfile().unwrap()));
        let count = MAX_UNPACKERS as u64 + 2;
        (0..count).for_each(|inode| unpackers.keep((1, inode), gzip()));
        unpackers.keep((1, count), None);
        unpackers.retain(|(_, inode)| inode != 3);
        let mut taken = |inode| unpackers.take((1, inode)).is_some();
        let found: Vec<u64> = (0..=count).filter(|inode| taken(*inode)).collect();
        let expected: Vec<u64> = (2..count).filter(|inode| *inode != 3).collect();
        assert_eq!(found, expected);
        assert!(unpackers.take((1, 2)).is_none(), "it was taken");
    }

    #[test]
    fn zeros_after_a_member_are_its_end_and_all_else_is_an_error() {
        let text = b"{\"n\":1}\n".repeat(9000);
        let whole = gzip(&text);
        // All of it comes out before that is known.
        let mut wrong_sum = whole.clone();
        wrong_sum[whole.len() - 8] ^= 1;
        let half = &whole[..whole.len() / 2];
        let (early, corrupt) = (Some(ErrorKind::UnexpectedEof), Some(ErrorKind::Other));
        for (bytes, error, is_whole) in [
            (&whole[..], None, true),
            (&[&whole, &[0; 70_000][..]].concat(), None, true),
            (&[&whole, &[0; 5][..], &gzip(b"")].concat(), None, true),
            (&whole[..whole.len() - 1], early, true),
            (half, early, false),
            (&whole[..1], early, false),
            (&wrong_sum, corrupt, true),
            (&[half, &[0; 70_000][..]].concat(), corrupt, false),
            (&[&whole, &b"garbage"[..]].concat(), corrupt, true),
        ] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            // One byte at a time, the decoder has more to say after it has taken the last of its input.
            for step in [1, 100_000] {
                let mut gzip = Gzip::new(file.try_clone().unwrap());
                let mut space = vec![0; step];
                let end = loop {
                    match gzip.read(&mut space) {
                        Ok(0) => break None,
                        Ok(_) => {}
                        Err(error) => break Some(error.kind()),
                    }
                };
                assert_eq!(end, error, "{} {step}", bytes.len());
                assert_eq!(
                    gzip.offset == text.len() as u64,
                    is_whole,
                    "{}",
                    bytes.len()
                );
            }
        }
    }
}
