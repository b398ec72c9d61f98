//! Reads a spool's events in order, and counts what is missing.

use std::io;
use std::sync::Arc;

use memchr::memchr_iter;

use super::dir::{Access, Dir, SpoolFile, is_of_the_host};
use super::record::RECORD_HEAD;
use super::scan::{Scan, Scanned};
use super::segments::{Segment, Segments};
use crate::buffer::chunk::Chunk;

/// How often a segment is tried that can't be read until that is reported again: once a minute.
const SILENT: u32 = 60;
/// The first that can't be read of a segment is skipped after this many attempts, what follows at once.
const ATTEMPTS: u32 = 3;

/// Reads the segments, one after the other.
#[derive(Debug)]
pub struct Reader {
    dir: Arc<dyn Dir>,
    /// The number of the next event.
    next: u64,
    /// When the last one was written, in seconds since 1970.
    time: u32,
    current: Option<Current>,
    /// Damaged bytes that no [`Damage`] has reported yet.
    damaged: u64,
}

/// The segment that is being read.
#[derive(Debug)]
struct Current {
    first: u64,
    file: Option<Arc<dyn SpoolFile>>,
    scan: Scan,
    /// Everything was read when it had this many bytes.
    done_at: Option<u64>,
    /// The bytes at its end that are no whole record.
    torn: u64,
    was_reopened: bool,
    failures: u32,
    /// How often it could not be read since that was last reported.
    unreported: u32,
}

/// What is missing from the spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The number of the first event of the segment where this was noticed.
    pub segment: u64,
    /// Events whose numbers are missing.
    pub events: u64,
    /// Bytes that are not part of a record.
    pub bytes: u64,
}

/// What to read next, and how much of it is written by now.
#[derive(Debug)]
pub enum View {
    /// This segment.
    Segment(Segment),
    /// There are no more events; this many are missing at the end.
    End(u64),
}

impl Reader {
    /// Reads from this event on.
    pub fn new(dir: Arc<dyn Dir>, next: u64) -> Self {
        Reader {
            dir,
            next,
            time: 0,
            current: None,
            damaged: 0,
        }
    }

    /// The number of the next event.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// When the last event was written, in seconds since 1970.
    pub fn time(&self) -> u32 {
        self.time
    }

    /// What to read next of these segments.
    pub fn view(&self, segments: &Segments) -> View {
        let found = match &self.current {
            None => segments.after(self.next),
            Some(current) => match segments.at_or_after(current.first) {
                Some(same)
                    if same.first == current.first && current.done_at == Some(same.bytes) =>
                {
                    segments.at_or_after(current.first + 1)
                }
                other => other,
            },
        };
        match found {
            Some(segment) => View::Segment(segments.view(segment)),
            None => View::End(segments.next().saturating_sub(self.next)),
        }
    }

    /// Reads a record, appends its events to `chunk`, and returns what is missing before it. After damage, `chunk` must
    /// be emptied before more is read.
    ///
    /// # Errors
    /// Something can't be read now. After some attempts it is treated as damaged, unless it is the host that lacks
    /// something.
    pub fn read(&mut self, view: &View, chunk: &mut Chunk) -> io::Result<Option<Damage>> {
        let segment = match view {
            View::End(missing) => return Ok(self.missing(*missing)),
            View::Segment(segment) => segment,
        };
        let is_same = |current: &Current| current.first == segment.first;
        if !self.current.as_ref().is_some_and(is_same) {
            let damage = self.missing(segment.first.saturating_sub(self.next));
            self.current = Some(Current {
                first: segment.first,
                file: None,
                scan: Scan::default(),
                done_at: None,
                torn: 0,
                was_reopened: false,
                failures: 0,
                unreported: 0,
            });
            if damage.is_some() {
                return Ok(damage);
            }
        }
        let result = self.read_record(segment, chunk);
        let Some(current) = &mut self.current else {
            return result;
        };
        match &result {
            Ok(_) if current.failures < ATTEMPTS => current.failures = 0,
            // Another descriptor may be of use.
            Err(error) if is_of_the_host(error) => current.file = None,
            Err(_) => {
                current.failures += 1;
                if current.failures >= ATTEMPTS {
                    let file = current.file.as_deref();
                    self.damaged += current.scan.skip_unreadable(file, segment.bytes);
                    let is_done = current.scan.offset() >= segment.bytes;
                    current.done_at = is_done.then_some(segment.bytes);
                    return Ok(None);
                }
            }
            _ => {}
        }
        result
    }

    /// Whether damage was found that is not reported yet.
    pub fn has_damage(&self) -> bool {
        self.damaged > 0
    }

    /// The segment that can't be read, when that is to be reported: the first time, and now and then.
    pub fn newly_unreadable(&mut self) -> Option<u64> {
        let current = self.current.as_mut()?;
        let is_due = current.unreported == 0;
        current.unreported = (current.unreported + 1) % SILENT;
        is_due.then_some(current.first)
    }

    /// Whether it reads from this directory.
    pub fn is_in(&self, dir: &Arc<dyn Dir>) -> bool {
        Arc::ptr_eq(&self.dir, dir)
    }

    /// Whether everything that `view` shows has been read.
    pub fn is_done(&self, view: &View) -> bool {
        match (view, &self.current) {
            (View::Segment(segment), Some(current)) => {
                current.first != segment.first || current.done_at == Some(segment.bytes)
            }
            _ => true,
        }
    }

    fn read_record(&mut self, segment: &Segment, chunk: &mut Chunk) -> io::Result<Option<Damage>> {
        let Some(current) = &mut self.current else {
            return Ok(None);
        };
        let file = match &current.file {
            Some(file) => Arc::clone(file),
            None => match self.dir.open(&segment.name(), Access::Read) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    current.done_at = Some(segment.bytes);
                    return Ok(None);
                }
                opened => Arc::clone(current.file.insert(opened?)),
            },
        };
        match current.scan.next(&*file, segment.bytes)? {
            Scanned::Record(head, lines) => {
                if head.end() > segment.until {
                    if segment.is_unsure || head.first < segment.until {
                        self.damaged += (RECORD_HEAD + lines.len()) as u64;
                    }
                    return Ok(None);
                }
                let known = self.next.saturating_sub(head.first);
                let missing = head.first.saturating_sub(self.next);
                if missing > 0 || self.damaged > 0 {
                    current.scan.unread();
                    return Ok(self.missing(missing));
                }
                if known < u64::from(head.events) {
                    let lines = &lines[end_of(lines, known)..];
                    chunk.bytes.extend_from_slice(lines);
                    chunk.events += (u64::from(head.events) - known) as usize;
                    (self.next, self.time) = (head.end(), head.time);
                }
            }
            Scanned::Damaged(bytes) => self.damaged += bytes as u64,
            Scanned::Newer => {
                self.damaged += segment.bytes;
                current.done_at = Some(segment.bytes);
            }
            Scanned::End(left) => {
                let short = segment.bytes.saturating_sub(current.scan.offset());
                if short > 0 && !current.was_reopened {
                    // It was cut off, or replaced by one with the same records.
                    current.was_reopened = true;
                    current.file = None;
                    current.scan.back(left as u64);
                } else {
                    self.damaged += short;
                    current.torn = left as u64;
                    current.done_at = Some(segment.bytes);
                    // So that removing it now frees its room.
                    current.file = None;
                }
            }
        }
        Ok(None)
    }

    /// These events are missing, possibly because of damaged bytes.
    fn missing(&mut self, events: u64) -> Option<Damage> {
        let current = self.current.as_ref();
        // A record that was not written whole is missed only if others know of it.
        let torn = current
            .filter(|_| events > 0)
            .map_or(0, |current| current.torn);
        let bytes = std::mem::take(&mut self.damaged) + torn;
        let current = current.filter(|current| bytes > 0 || current.done_at.is_none());
        // Between two whole segments a third one is missing.
        let segment = current.map_or(self.next, |current| current.first);
        self.next += events;
        (events > 0 || bytes > 0).then_some(Damage {
            segment,
            events,
            bytes,
        })
    }
}

/// Where the first `events` of some lines end.
fn end_of(lines: &[u8], events: u64) -> usize {
    let last = usize::try_from(events).unwrap_or(usize::MAX).checked_sub(1);
    let end = last.and_then(|last| memchr_iter(b'\n', lines).nth(last));
    end.map_or(0, |end| end + 1)
}
