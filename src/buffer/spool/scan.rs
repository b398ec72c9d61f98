//! Goes through a segment, whatever is damaged in it or can't be read.

use std::io;

use super::dir::{SpoolFile, is_of_the_host};
use super::record::{self, Found, SEGMENT_HEAD};

/// How much is read at once.
const BLOCK: usize = 256 << 10;
/// What can't be read is skipped in pieces of this size.
const SECTOR: u64 = 4096;

/// Scans a segment.
#[derive(Debug, Default)]
pub struct Scan {
    /// Never shortened, so that no byte is zeroed before it is read.
    buffer: Vec<u8>,
    /// How many bytes of the buffer were read.
    filled: usize,
    /// How many bytes of the buffer were dealt with.
    used: usize,
    /// How many were before the last record.
    last: usize,
    /// The offset in the file up to which it was read.
    read: u64,
}

/// What comes next in a segment.
#[derive(Debug)]
pub enum Scanned<'a> {
    /// A record and its lines.
    Record(record::Head, &'a [u8]),
    /// This many bytes are damaged.
    Damaged(usize),
    /// The segment has the format of a newer version.
    Newer,
    /// There is no more, except for this many bytes of a record that was not written whole.
    End(usize),
}

impl Scan {
    /// Continues in `file`, which has `len` bytes.
    ///
    /// # Errors
    /// It can't be read; try again, or [skip](Self::skip_unreadable) it.
    pub fn next(&mut self, file: &dyn SpoolFile, len: u64) -> io::Result<Scanned<'_>> {
        if self.offset() == 0 {
            if !self.fill(file, len, SEGMENT_HEAD)? {
                return Ok(Scanned::End(self.drain()));
            }
            let version = record::segment_version(&self.buffer[..self.filled]);
            if version.is_some_and(|version| version > record::VERSION) {
                return Ok(Scanned::Newer);
            }
            self.used = SEGMENT_HEAD;
            if version.is_none() {
                return Ok(Scanned::Damaged(SEGMENT_HEAD));
            }
        }
        loop {
            match record::find(&self.buffer[self.used..self.filled]) {
                Found::Record(head, lines) => {
                    let start = self.used;
                    (self.last, self.used) = (start, start + lines.end);
                    let lines = start + lines.start..start + lines.end;
                    return Ok(Scanned::Record(head, &self.buffer[lines]));
                }
                Found::Damaged(bytes) => {
                    self.used += bytes;
                    return Ok(Scanned::Damaged(bytes));
                }
                Found::Incomplete(wanted) => {
                    if !self.fill(file, len, wanted)? {
                        return Ok(Scanned::End(self.drain()));
                    }
                }
            }
        }
    }

    fn drain(&mut self) -> usize {
        let left = self.filled - self.used;
        self.used = self.filled;
        left
    }

    /// Reads on until `wanted` bytes are there. False if there are fewer.
    fn fill(&mut self, file: &dyn SpoolFile, len: u64, wanted: usize) -> io::Result<bool> {
        self.buffer.copy_within(self.used..self.filled, 0);
        self.filled -= self.used;
        (self.used, self.last) = (0, 0);
        while self.filled < wanted {
            let left = usize::try_from(len.saturating_sub(self.read)).unwrap_or(usize::MAX);
            let end = self.filled + (wanted - self.filled).max(BLOCK).min(left);
            if self.buffer.len() < end {
                self.buffer.resize(end, 0);
            }
            let count = file.read_at(&mut self.buffer[self.filled..end], self.read)?;
            if count == 0 {
                return Ok(false);
            }
            self.filled += count;
            self.read += count as u64;
        }
        Ok(true)
    }

    /// Returns to the last record, so that it comes once more.
    pub fn unread(&mut self) {
        self.used = self.last;
    }

    /// Goes back by this many bytes, which are read again.
    pub fn back(&mut self, bytes: u64) {
        (self.filled, self.used, self.last) = (0, 0, 0);
        self.read -= bytes;
    }

    /// Skips what can't be read, all if there is no file, and what is left of a record before it. Returns how many bytes
    /// these are.
    pub fn skip_unreadable(&mut self, file: Option<&dyn SpoolFile>, len: u64) -> u64 {
        let from = self.offset();
        self.drain();
        self.read = file
            .map_or(len, |file| unreadable_end(file, self.read, len))
            .max(self.read);
        self.read - from
    }

    /// The offset up to which it has scanned.
    pub fn offset(&self) -> u64 {
        self.read - (self.filled - self.used) as u64
    }
}

/// Where the part of a file that can't be read from `from` on ends, or the file, which has `len` bytes. Each attempt may
/// take a failing disk seconds: so there are few, and what lies between sectors that can't be read counts as such.
fn unreadable_end(file: &dyn SpoolFile, from: u64, len: u64) -> u64 {
    let is_readable = |at| {
        let read = file.read_at(&mut [0], at);
        read.err().is_none_or(|error| is_of_the_host(&error))
    };
    let sector_after = |at: u64| (at / SECTOR + 1) * SECTOR;
    let (mut bad, mut end, mut step) = (from, sector_after(from), SECTOR);
    while end < len && !is_readable(end) {
        (bad, end, step) = (end, end + step, step * 2);
    }
    end = end.min(len);
    while end > bad + SECTOR {
        let middle = sector_after((bad + end) / 2 - 1);
        match is_readable(middle) {
            true => end = middle,
            false => bad = middle,
        }
    }
    end
}
