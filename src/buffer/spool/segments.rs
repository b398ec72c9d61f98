//! A spool's segments, what they contain, and which are not needed any more. No I/O, except for what a start finds.

use std::collections::VecDeque;
use std::io;

use super::dir::{Access, Dir, is_of_the_host};
use super::position::{self, Stored};
use super::record::SEGMENT_HEAD;
use super::scan::{Scan, Scanned};

/// The ending of a segment's name; the number of its first event comes before it.
const ENDING: &str = ".spool";
/// The ending of a damaged segment.
const BAD: &str = ".spool.bad";
/// The ending of a segment that was not finished, and is not needed.
const UNFINISHED: &str = ".spool.new";
/// Digits of that number, so that names sort like numbers.
const DIGITS: usize = 20;
/// The sizes that a segment may have.
const SIZES: (u64, u64) = (4 << 10, 16 << 20);

/// The size of a segment, in a spool of at most this many bytes.
pub fn size(limit: u64) -> u64 {
    (limit / 8).clamp(SIZES.0, SIZES.1)
}

/// A segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The number of its first event, which is its name.
    pub first: u64,
    /// How many bytes were written.
    pub bytes: u64,
    /// Whether parts of it are damaged.
    pub is_bad: bool,
    /// What it has from this number on does not count: the next segment has it, or others that got the same numbers.
    pub until: u64,
    /// Its end could not be read, so there may be such others.
    pub is_unsure: bool,
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
    /// The position is damaged, or it is missing though there are segments: events may be delivered again.
    pub position_is_lost: bool,
    /// Segments that can't be read at all, and were set aside.
    pub damaged: Vec<Segment>,
    /// When the first event was written that is not below `acked`, in seconds since 1970, if that can be read.
    pub unread_since: Option<u32>,
}

impl Segment {
    /// A segment whose first event has this number.
    pub fn new(first: u64, bytes: u64) -> Self {
        Segment {
            first,
            bytes,
            is_bad: false,
            until: u64::MAX,
            is_unsure: false,
        }
    }

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
    number_of(name, ENDING).is_some()
}

/// The number of a segment's first event, from its name. So large a number that others can't follow is not ours.
fn number_of(name: &str, ending: &str) -> Option<u64> {
    let number = name.strip_suffix(ending)?;
    let is_plain = number.len() == DIGITS && number.bytes().all(|byte| byte.is_ascii_digit());
    let number = number.parse().ok().filter(|_| is_plain)?;
    (number <= u64::MAX / 2).then_some(number)
}

/// The segments of a directory, the oldest first.
///
/// # Errors
/// It can't be read.
pub fn list(dir: &dyn Dir) -> io::Result<Vec<Segment>> {
    Ok(of(dir.list()?))
}

/// The same, each with the number [until](Segment::until) which a start reads it. `known_end` is what the position says.
///
/// # Errors
/// The directory can't be read.
pub fn as_read(dir: &dyn Dir, known_end: u64) -> io::Result<Vec<Segment>> {
    let mut list = list(dir)?;
    let (mut until, mut is_last) = (u64::MAX, true);
    for segment in list.iter_mut().rev() {
        segment.until = until;
        // As in `open`: an empty one, and a last one without events, take nothing from those before.
        let is_needed = !is_last || known_end > segment.first || has_events(dir, segment);
        if segment.bytes > 0 && is_needed {
            (until, is_last) = (segment.first, false);
        }
    }
    Ok(list)
}

/// Whether it has events, or may have some.
fn has_events(dir: &dyn Dir, segment: &Segment) -> bool {
    let last = last_event(dir, segment);
    last.map_or(true, |last| last.is_unreadable || last.end > segment.first)
}

/// The bytes of those that have events which were not delivered. Reads only the last one.
///
/// # Errors
/// The directory can't be read.
pub fn undelivered(dir: &dyn Dir) -> io::Result<u64> {
    let list = list(dir)?;
    let oldest = list.first().map(|segment| segment.first);
    let acked = position::read(dir)
        .unwrap_or(Stored::Missing)
        .resume(oldest)
        .acked;
    let last = list.last().map(|last| last_event(dir, last));
    let end = match last {
        Some(Ok(last)) if !last.is_unreadable && !last.is_newer => last.end,
        _ => u64::MAX,
    };
    let ends = list.iter().skip(1).map(|next| next.first).chain([end]);
    let left = list.iter().zip(ends).filter(|(_, end)| *end > acked);
    Ok(left.map(|(segment, _)| segment.bytes).sum())
}

fn of(files: Vec<(String, u64)>) -> Vec<Segment> {
    let segments = (files.into_iter())
        .filter_map(|(name, bytes)| Some(Segment::new(number_of(&name, ENDING)?, bytes)));
    let mut segments: Vec<_> = segments.collect();
    segments.sort_unstable_by_key(|segment| segment.first);
    segments
}

/// The bytes of those of these files that are damaged segments which were set aside.
pub fn set_aside(files: &[(String, u64)]) -> u64 {
    let bad = files
        .iter()
        .filter(|file| number_of(&file.0, BAD).is_some());
    bad.map(|(_, bytes)| bytes).sum()
}

/// Opens the spool of a directory, whatever else is in it. Takes no longer with more segments: reads only two.
///
/// # Errors
/// The directory can't be read, the host lacks something, or a newer version of this program has written to it.
pub fn open(dir: &dyn Dir) -> io::Result<Opened> {
    let files = dir.list()?;
    for (name, _) in &files {
        if number_of(name, UNFINISHED).is_some() {
            // If it stays, it only takes room.
            let _ = dir.remove(name);
        }
    }
    let mut set_aside = self::set_aside(&files);
    let mut list = of(files);
    let stored = position::read(dir).map_err(|error| named(position::NAME, &error))?;
    if stored == Stored::Newer {
        return Err(newer());
    }
    let known_end = stored.resume(None).end;
    let known = known_end.max(list.last().map_or(0, |last| last.first));
    list.retain(|segment| match segment.bytes {
        // It would take from the one before it what that has of the numbers from its own on.
        0 if segment.first < known => dir.rename(&segment.name(), &segment.bad_name()).is_err(),
        _ => true,
    });
    let (mut end, mut damaged, mut is_unsure) = (None, Vec::new(), false);
    while let Some(last) = list.last() {
        let found = last_event(dir, last).map_err(|error| named(&last.name(), &error))?;
        if found.is_newer {
            return Err(newer());
        }
        is_unsure = found.is_unreadable;
        end = end.max(Some(found.end));
        if found.end.max(known_end) > last.first {
            break;
        }
        // Its name is needed again. What was begun in it was never acknowledged; the one before it may have more than
        // that begins with.
        let freed = match (is_unsure, found.is_damaged) {
            (true, _) => Err(io::ErrorKind::Other.into()),
            (_, true) => dir.rename(&last.name(), &last.bad_name()),
            (_, false) => dir.remove(&last.name()),
        };
        if freed.is_err() {
            // It stays, and the reader finds out what can be read by then. The next one needs another name.
            end = end.max(Some(last.first + 1));
            break;
        }
        let last = list.pop().filter(|_| found.is_damaged);
        set_aside += last.as_ref().map_or(0, |last| last.bytes);
        damaged.extend(last);
    }
    let oldest = list.first().map(|segment| segment.first);
    let at = stored.resume(oldest.or(end));
    // What is missing at the end is not forgotten, and its numbers are not used again.
    let next = at.acked.max(at.end).max(end.unwrap_or_default());
    if let Some(last) = list.last_mut().filter(|_| is_unsure) {
        (last.until, last.is_unsure) = (next, true);
    }
    let segments = Segments {
        bytes: list.iter().map(|segment| segment.bytes).sum(),
        list: list.into(),
        next,
        is_open: false,
        set_aside,
    };
    let unread = segments.after(at.acked);
    Ok(Opened {
        unread_since: unread.and_then(|segment| time_of(dir, segment, at.acked)),
        position_is_lost: match stored {
            Stored::At(_) | Stored::Newer => false,
            Stored::Older(_) | Stored::Missing => oldest.is_some(),
            Stored::Damaged => true,
        },
        segments,
        acked: at.acked,
        damaged,
    })
}

fn named(name: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{name}: {error}"))
}

fn newer() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "a newer version of this program has written to it",
    )
}

/// What the last segment contains.
struct Last {
    /// The number after its last event, as far as it can be read.
    end: u64,
    is_newer: bool,
    is_damaged: bool,
    /// Some of it can't be read, perhaps not now.
    is_unreadable: bool,
}

fn last_event(dir: &dyn Dir, segment: &Segment) -> io::Result<Last> {
    let mut last = Last {
        end: segment.first,
        is_newer: false,
        is_damaged: false,
        is_unreadable: false,
    };
    let file = match dir.open(&segment.name(), Access::Read) {
        Err(error) if !is_of_the_host(&error) => {
            last.is_unreadable = true;
            return Ok(last);
        }
        opened => opened?,
    };
    let mut scan = Scan::default();
    loop {
        match scan.next(&*file, segment.bytes) {
            Ok(Scanned::Record(head, _)) => last.end = last.end.max(head.end()),
            Ok(Scanned::Damaged(_)) => last.is_damaged = true,
            Ok(Scanned::Newer) => {
                last.is_newer = true;
                return Ok(last);
            }
            Ok(Scanned::End(_)) => return Ok(last),
            Err(error) if is_of_the_host(&error) => return Err(error),
            Err(_) => {
                last.is_unreadable = true;
                if scan.skip_unreadable(Some(&*file), segment.bytes) == 0 {
                    return Ok(last);
                }
            }
        }
    }
}

/// When this event of a segment, or the one after it, was written.
fn time_of(dir: &dyn Dir, segment: &Segment, number: u64) -> Option<u32> {
    let file = dir.open(&segment.name(), Access::Read).ok()?;
    let mut scan = Scan::default();
    loop {
        match scan.next(&*file, segment.bytes).ok()? {
            Scanned::Record(head, _) if head.end() > number => return Some(head.time),
            Scanned::Record(..) | Scanned::Damaged(_) => {}
            Scanned::Newer | Scanned::End(_) => return None,
        }
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

    /// None of them can be read any more: what is in them is missing.
    pub fn forget(&mut self) {
        self.list.clear();
        self.bytes = 0;
    }

    /// The segment that contains this event, or the first one after it.
    pub fn after(&self, seq: u64) -> Option<&Segment> {
        let place = self.list.partition_point(|segment| segment.first <= seq);
        self.list.get(place.saturating_sub(1))
    }

    /// This segment, as it is to be read.
    pub fn view(&self, segment: &Segment) -> Segment {
        let next = self.at_or_after(segment.first + 1);
        let until = next.map_or(u64::MAX, |next| next.first);
        Segment {
            until: segment.until.min(until),
            ..*segment
        }
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
        self.list.insert(place, Segment::new(first, 0));
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
