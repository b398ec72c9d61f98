//! A spool's segments, what they contain, and which are not needed any more. No I/O, except for what a start finds.

use std::collections::VecDeque;
use std::io;

use super::dir::{Access, Dir, SpoolFile};
use super::position::{self, Position, Stored};
use super::record::{self, Found, SEGMENT_HEAD};

/// The ending of a segment's name; the number of its first event comes before it.
const ENDING: &str = ".spool";
/// The ending of a damaged segment.
const BAD: &str = ".spool.bad";
/// The ending of a segment that was not finished, and is not needed.
const UNFINISHED: &str = ".spool.new";
/// Digits of that number, so that names sort like numbers.
const DIGITS: usize = 20;
/// How much is read at once.
const BLOCK: usize = 256 << 10;

/// A segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The number of its first event, which is its name.
    pub first: u64,
    /// How many bytes were written.
    pub bytes: u64,
    /// Whether parts of it are damaged.
    pub is_bad: bool,
}

/// All segments, the oldest first.
#[derive(Debug, Default)]
pub struct Segments {
    list: VecDeque<Segment>,
    /// Their bytes.
    bytes: u64,
    /// The next event's number.
    next: u64,
    /// Whether the last segment is being written to.
    is_open: bool,
    /// Bytes of damaged segments that were set aside.
    pub set_aside: u64,
}

/// What a start finds.
#[derive(Debug)]
pub struct Opened {
    /// The segments.
    pub segments: Segments,
    /// All events with lower numbers were delivered or dropped.
    pub acked: u64,
    /// The position can't be read, so the oldest segment is read from its beginning.
    pub position_is_damaged: bool,
    /// Segments that can't be read at all, and were set aside.
    pub damaged: Vec<Segment>,
}

impl Segment {
    /// The name of its file.
    pub fn name(&self) -> String {
        name(self.first)
    }

    /// The name of its file once it is set aside.
    pub fn bad_name(&self) -> String {
        bad_name(self.first)
    }
}

/// The name of a segment whose first event has this number.
pub fn name(first: u64) -> String {
    format!("{first:0DIGITS$}{ENDING}")
}

/// The name of this segment once it is set aside.
pub fn bad_name(first: u64) -> String {
    format!("{first:0DIGITS$}{BAD}")
}

/// The name of this segment until it is whole.
pub fn unfinished_name(first: u64) -> String {
    format!("{first:0DIGITS$}{UNFINISHED}")
}

/// Whether a file of this name is a segment.
pub fn is_segment(name: &str) -> bool {
    parse_name(name).is_some()
}

/// The number of a segment's first event, from its name.
fn parse_name(name: &str) -> Option<u64> {
    let number = name.strip_suffix(ENDING)?;
    let is_plain = number.len() == DIGITS && number.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| number.parse().ok()).flatten()
}

/// The segments of a directory, the oldest first.
///
/// # Errors
/// It can't be read.
pub fn list(dir: &dyn Dir) -> io::Result<Vec<Segment>> {
    Ok(of(dir.list()?))
}

fn of(files: Vec<(String, u64)>) -> Vec<Segment> {
    let segments = files.into_iter().filter_map(|(name, bytes)| {
        Some(Segment {
            first: parse_name(&name)?,
            bytes,
            is_bad: false,
        })
    });
    let mut segments: Vec<_> = segments.collect();
    segments.sort_unstable_by_key(|segment| segment.first);
    segments
}

/// The bytes of those of these files that are damaged segments which were set aside.
pub fn set_aside(files: &[(String, u64)]) -> u64 {
    let bad = files.iter().filter(|(name, _)| name.ends_with(BAD));
    bad.map(|(_, bytes)| bytes).sum()
}

/// Opens the spool of a directory, whatever else is in it. Takes no longer with more segments: reads only one.
///
/// # Errors
/// The directory or a file can't be read, or a newer version of this program has written to it.
pub fn open(dir: &dyn Dir) -> io::Result<Opened> {
    let files = dir.list()?;
    for (name, _) in files.iter().filter(|(name, _)| name.ends_with(UNFINISHED)) {
        dir.remove(name)?;
    }
    let mut set_aside = self::set_aside(&files);
    let mut list = of(files);
    let stored = position::read(dir)?;
    let (mut end, mut damaged) = (None, Vec::new());
    while let Some(last) = list.last() {
        let found = last_event(dir, last)?;
        if found.is_newer {
            return Err(newer());
        }
        end = end.max(Some(found.end));
        if found.end > last.first {
            break;
        }
        // Its name is needed again. What was begun in it was never acknowledged; the one before it may have more than
        // that begins with.
        match found.is_damaged {
            true => dir.rename(&last.name(), &last.bad_name())?,
            false => dir.remove(&last.name())?,
        }
        let last = list.pop().filter(|_| found.is_damaged);
        set_aside += last.as_ref().map_or(0, |last| last.bytes);
        damaged.extend(last);
    }
    let oldest = list.first().map(|segment| segment.first);
    let Position {
        acked,
        end: known_end,
    } = match stored {
        Stored::At(position) => position,
        Stored::Newer => return Err(newer()),
        Stored::Missing | Stored::Damaged => Position {
            acked: oldest.or(end).unwrap_or_default(),
            end: 0,
        },
    };
    Ok(Opened {
        segments: Segments {
            bytes: list.iter().map(|segment| segment.bytes).sum(),
            list: list.into(),
            // What is missing at the end is not forgotten, and its numbers are not used again.
            next: acked.max(known_end).max(end.unwrap_or_default()),
            is_open: false,
            set_aside,
        },
        acked,
        position_is_damaged: stored == Stored::Damaged,
        damaged,
    })
}

fn newer() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "a newer version of this program has written to it",
    )
}

/// What the last segment contains.
struct Last {
    /// The number after its last event.
    end: u64,
    is_newer: bool,
    is_damaged: bool,
}

fn last_event(dir: &dyn Dir, segment: &Segment) -> io::Result<Last> {
    let file = dir.open(&segment.name(), Access::Read)?;
    let mut last = Last {
        end: segment.first,
        is_newer: false,
        is_damaged: false,
    };
    let mut scan = Scan::default();
    loop {
        match scan.next(&*file, segment.bytes)? {
            Scanned::Record(head, _) => last.end = last.end.max(head.end()),
            Scanned::Damaged(_) => last.is_damaged = true,
            Scanned::Newer => {
                last.is_newer = true;
                return Ok(last);
            }
            Scanned::End(_) => return Ok(last),
        }
    }
}

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
    /// It can't be read; try again, or [skip](Self::skip).
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

    /// Skips what can't be read. Returns how many bytes before that are skipped as well.
    pub fn skip(&mut self, bytes: u64) -> u64 {
        let left = self.drain() as u64;
        self.read += bytes;
        left
    }

    /// The offset up to which it has read.
    pub fn read_to(&self) -> u64 {
        self.read
    }

    /// The offset up to which it has scanned.
    pub fn offset(&self) -> u64 {
        self.read - (self.filled - self.used) as u64
    }
}

impl Segments {
    /// The next event's number.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Bytes on disk, including those of damaged segments that were set aside.
    pub fn bytes(&self) -> u64 {
        self.bytes + self.set_aside
    }

    /// The segment that contains this event, or the first one after it.
    pub fn after(&self, seq: u64) -> Option<&Segment> {
        let place = self.list.partition_point(|segment| segment.first <= seq);
        self.list.get(place.saturating_sub(1))
    }

    /// The segment whose first event has this number, or the first one after it.
    pub fn at_or_after(&self, first: u64) -> Option<&Segment> {
        let place = self.list.partition_point(|segment| segment.first < first);
        self.list.get(place)
    }

    /// A segment was created. It is written to from now on, unless there is a newer one. It replaces one of its name.
    pub fn created(&mut self, first: u64) {
        let place = self.list.partition_point(|segment| segment.first < first);
        if self.list.get(place).is_some_and(|old| old.first == first) {
            let old = self.list.remove(place).map_or(0, |old| old.bytes);
            self.bytes -= old;
        }
        self.is_open |= place == self.list.len();
        self.list.insert(
            place,
            Segment {
                first,
                bytes: 0,
                is_bad: false,
            },
        );
        self.appended(first, SEGMENT_HEAD as u64, 0);
    }

    /// This much was appended to a segment.
    pub fn appended(&mut self, first: u64, bytes: u64, events: u64) {
        if let Some(segment) = self.list.iter_mut().rfind(|segment| segment.first == first) {
            segment.bytes += bytes;
        }
        self.bytes += bytes;
        self.next += events;
    }

    /// The last segment is not written to any more.
    pub fn close(&mut self) {
        self.is_open = false;
    }

    /// A segment is damaged, or gone. False if that was known before.
    pub fn damaged(&mut self, first: u64) -> bool {
        let found = self.list.iter_mut().find(|segment| segment.first == first);
        found.is_none_or(|segment| !std::mem::replace(&mut segment.is_bad, true))
    }

    /// Whether all events of the oldest segment have numbers below `acked`, and it is not being written to.
    pub fn can_release(&self, acked: u64) -> bool {
        match self.list.get(1) {
            Some(next) => next.first <= acked,
            None => !self.list.is_empty() && !self.is_open && self.next <= acked,
        }
    }

    /// Removes the oldest segment from the list if it [can be](Self::can_release).
    pub fn release(&mut self, acked: u64) -> Option<Segment> {
        if !self.can_release(acked) {
            return None;
        }
        let segment = self.list.pop_front()?;
        self.bytes -= segment.bytes;
        if segment.is_bad {
            self.set_aside += segment.bytes;
        }
        Some(segment)
    }
}
