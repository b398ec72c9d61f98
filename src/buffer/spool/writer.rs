//! Appends to segments.

use std::io::{self, ErrorKind, IoSlice};
use std::ops::Range;
use std::sync::Arc;

use super::dir::{Access, Dir, SpoolFile, is_disk_full};
use super::record::{RECORD_HEAD, Record, SEGMENT_HEAD, segment_head};
use super::segments;

/// writev(2) takes this many pieces.
const PIECES: usize = 1024;
/// How much is copied at once.
const BLOCK: usize = 256 << 10;

/// Writes to the newest segment.
#[derive(Debug)]
pub struct Writer {
    dir: Arc<dyn Dir>,
    /// A segment with this many bytes is full.
    segment_bytes: u64,
    current: Option<Current>,
    /// A part of what was written last may be in a segment, though that has failed.
    may_have_written: bool,
    /// Memory for what is written next.
    heads: Vec<[u8; RECORD_HEAD]>,
}

/// The segment that is written to.
#[derive(Debug)]
struct Current {
    first: u64,
    file: Arc<dyn SpoolFile>,
    len: u64,
}

/// What was written.
#[derive(Debug)]
pub struct Written {
    /// The segment, by the number of its first event.
    pub segment: u64,
    /// It was created for this.
    pub is_new: bool,
    /// Where the written bytes begin in the segment.
    pub from: u64,
    /// How many bytes, without a new segment's head.
    pub bytes: u64,
    /// To sync it.
    pub file: Arc<dyn SpoolFile>,
}

impl Writer {
    /// A writer that begins with a new segment.
    pub fn new(dir: Arc<dyn Dir>, segment_bytes: u64) -> Self {
        Writer {
            dir,
            segment_bytes,
            current: None,
            may_have_written: false,
            heads: Vec::new(),
        }
    }

    /// Writes these records, of which the first event has the number `first`: all or none, and to a new segment if the
    /// newest is full or can't be written to.
    ///
    /// # Errors
    /// Nothing was written that counts.
    pub fn write(&mut self, records: &[Record], first: u64, time: u32) -> io::Result<Written> {
        let bytes: u64 = records.iter().map(Record::size).sum();
        let is_full = |current: &Current| {
            current.len > SEGMENT_HEAD as u64 && current.len + bytes > self.segment_bytes
        };
        if self.current.as_ref().is_some_and(is_full) {
            self.current = None;
        }
        if self.current.is_some() {
            match self.append(records, first, time, false) {
                Err(error) if !is_disk_full(&error) => self.current = None,
                written => return written,
            }
        }
        self.current = Some(self.create(first)?);
        let written = self.append(records, first, time, true);
        if written.is_err() {
            self.current = None;
            // On a full disk it would only take room; if it stays, its name is freed when it is needed.
            let _ = self.dir.remove(&segments::name(first));
        }
        written
    }

    /// Whether a part of what could not be written may be there, and stay.
    pub fn may_have_written(&self) -> bool {
        self.may_have_written
    }

    /// Finds out whether a disk that has failed works again: writes this many bytes to a file, which is removed then.
    ///
    /// # Errors
    /// It does not.
    pub fn try_out(&self, first: u64, bytes: u64, syncs: bool) -> io::Result<()> {
        let name = segments::unfinished_name(first);
        let _ = self.dir.remove(&name);
        let tried = self.begin(&name, first).and_then(|current| {
            let (block, mut left) = (vec![0; BLOCK], bytes as usize);
            while left > 0 {
                let piece = &block[..left.min(BLOCK)];
                write_all(&*current.file, &mut [IoSlice::new(piece)])?;
                left -= piece.len();
            }
            if syncs { current.file.sync() } else { Ok(()) }
        });
        let _ = self.dir.remove(&name);
        tried
    }

    /// The newest segment is not written to any more.
    pub fn leave(&mut self) {
        self.current = None;
    }

    fn create(&self, first: u64) -> io::Result<Current> {
        let name = segments::name(first);
        match self.begin(&name, first) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.dir.rename(&name, &segments::bad_name(first))?;
                self.begin(&name, first)
            }
            begun => begun,
        }
    }

    fn begin(&self, name: &str, first: u64) -> io::Result<Current> {
        let file = self.dir.open(name, Access::New)?;
        if let Err(error) = write_all(&*file, &mut [IoSlice::new(&segment_head())]) {
            let _ = self.dir.remove(name);
            return Err(error);
        }
        Ok(Current {
            first,
            file,
            len: SEGMENT_HEAD as u64,
        })
    }

    fn append(
        &mut self,
        records: &[Record],
        first: u64,
        time: u32,
        is_new: bool,
    ) -> io::Result<Written> {
        let current = self.current.as_mut().ok_or(ErrorKind::NotFound)?;
        let mut next = first;
        self.heads.clear();
        self.heads.extend(records.iter().map(|record| {
            let head = record.head(next, time);
            next += u64::from(record.events);
            head
        }));
        let pieces = self.heads.iter().zip(records);
        let mut pieces: Vec<_> = pieces
            .flat_map(|(head, record)| [IoSlice::new(head), IoSlice::new(&record.bytes)])
            .collect();
        if let Err(error) = write_all(&*current.file, &mut pieces) {
            // What was written there is written again with the same numbers, or was never acknowledged.
            if current.file.truncate(current.len).is_err() {
                self.current = None;
                self.may_have_written = true;
            }
            return Err(error);
        }
        self.may_have_written = false;
        let bytes = records.iter().map(Record::size).sum();
        let from = current.len;
        current.len += bytes;
        Ok(Written {
            segment: current.first,
            is_new,
            from,
            bytes,
            file: Arc::clone(&current.file),
        })
    }

    /// Writes to a segment of its own what another one may have lost: these records, or the bytes between two offsets
    /// of a file. The first event has this number. They are on disk then.
    ///
    /// # Errors
    /// They are not; the other segment is as it was.
    pub fn rescue(
        &self,
        records: &[Record],
        copy: Option<(&dyn SpoolFile, Range<u64>)>,
        first: u64,
        time: u32,
    ) -> io::Result<Written> {
        let (name, unfinished) = (segments::name(first), segments::unfinished_name(first));
        // Left by an attempt that could not be finished.
        let _ = self.dir.remove(&unfinished);
        let rescued = self.begin(&unfinished, first).and_then(|current| {
            let file = Arc::clone(&current.file);
            let mut writer = Writer {
                dir: Arc::clone(&self.dir),
                segment_bytes: self.segment_bytes,
                current: Some(current),
                may_have_written: false,
                heads: Vec::new(),
            };
            let mut written = writer.append(records, first, time, true)?;
            if let Some((from, range)) = copy {
                written.bytes += copy_range(from, range, &*file)?;
            }
            file.sync()?;
            // The other segment may have the same name, and is not needed then.
            self.dir.rename(&unfinished, &name)?;
            self.dir.sync()?;
            Ok(written)
        });
        if rescued.is_err() {
            let _ = self.dir.remove(&unfinished);
        }
        rescued
    }
}

fn write_all(file: &dyn SpoolFile, pieces: &mut [IoSlice<'_>]) -> io::Result<()> {
    let mut left = pieces;
    while !left.is_empty() {
        match file.append(&left[..left.len().min(PIECES)]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => IoSlice::advance_slices(&mut left, count),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Copies what can be read: of the rest, the reader finds that it is missing. Returns how many bytes that is.
fn copy_range(from: &dyn SpoolFile, range: Range<u64>, to: &dyn SpoolFile) -> io::Result<u64> {
    let mut block = vec![0; BLOCK];
    let mut at = range.start;
    while at < range.end {
        let wanted = usize::try_from(range.end - at).map_or(BLOCK, |left| left.min(BLOCK));
        match from.read_at(&mut block[..wanted], at) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => break,
            Ok(count) => {
                write_all(to, &mut [IoSlice::new(&block[..count])])?;
                at += count as u64;
            }
        }
    }
    Ok(at - range.start)
}
