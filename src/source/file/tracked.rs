//! One file that is followed, under whatever name.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::sync::Arc;
use std::time::Instant;

use super::foreign::unreadable;
use super::gzip::Gzip;
use super::kept::{RECENT, Reading};
use super::listing::Listed;
use super::missing::known_by;
use super::zeros::{before_zeros, end_of_zeros};
use crate::state::checkpoint::{FileOffset, Fingerprint, HEAD_BYTES, Reached};

/// The most that one read takes, so that a checkpoint is not coarser than that.
const READ_BYTES: usize = 64 << 10;

/// What is done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing yet: it is empty, or was not looked into.
    New,
    /// It is being read.
    Followed,
    /// Its first bytes, as many as its offset says, are those of another file, which is read.
    CopyOf { original: u64 },
    /// It is compressed, and not read.
    Skipped,
}

/// A file that is followed. It is small, because there may be very many of which only a few are being read.
pub(super) struct Tracked {
    pub(super) now: Listed,
    pub(super) state: State,
    /// It was written to since it was read.
    pub(super) is_touched: bool,
    /// It no longer has a name that the source means.
    pub(super) is_gone: bool,
    /// Its name does not match the source, but it was read before.
    pub(super) is_outside: bool,
    /// When it was last seen to grow, or to be there.
    pub(super) active: Instant,
    /// The look at which its name was last seen.
    pub(super) look: u32,
    /// Closed while many others are open.
    file: Option<File>,
    pub(super) is_gzip: bool,
    /// The greatest length of this content, when it was last known to be still the same. That of a compressed file is
    /// not known before it was read to its end: at least what was read, and as much as its compressed rest. Zeros that
    /// nothing follows do not count.
    pub(super) longest: u64,
    /// How far it was read.
    pub(super) offset: u64,
    pub(super) head: Fingerprint,
    tail: Fingerprint,
    pub(super) reading: Option<Box<Reading>>,
}

// With what the allocator adds, a multiple of 16.
const _: () = assert!(size_of::<Tracked>() <= 152);

impl Tracked {
    /// One that was just found, to be read from its beginning.
    pub(super) fn new(listed: Listed, now: Instant) -> Self {
        Tracked {
            longest: listed.length,
            now: listed,
            state: State::New,
            is_touched: true,
            is_gone: false,
            is_outside: false,
            active: now,
            look: 0,
            file: None,
            is_gzip: false,
            offset: 0,
            head: Fingerprint::default(),
            tail: Fingerprint::default(),
            reading: None,
        }
    }

    /// Opens it, so that it can be read when it has another name, or none.
    pub(super) fn open(&mut self) -> io::Result<&File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                // Without waiting, in case a FIFO has taken its place.
                let mut options = OpenOptions::new();
                let options = options
                    .read(true)
                    .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
                let file = options.open(&self.now.path)?;
                let found = file.metadata()?;
                if (found.dev(), found.ino()) != self.now.identity || !found.is_file() {
                    return Err(ErrorKind::NotFound.into());
                }
                file
            }
        };
        Ok(self.file.insert(file))
    }

    /// Replaces its descriptor, if it can be opened by its name: otherwise that may be all that is left of it.
    pub(super) fn reopen(&mut self) {
        self.stop_unpacking();
        if let Some(before) = self.file.take()
            && self.open().is_err()
        {
            self.file = Some(before);
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    pub(super) fn close(&mut self) {
        self.file = None;
        self.stop_unpacking();
    }

    /// Takes out what unpacks it.
    pub(super) fn stop_unpacking(&mut self) -> Option<Gzip> {
        self.reading.as_mut()?.gzip.take()
    }

    /// Continues from what was committed of it.
    pub(super) fn resume(&mut self, from: &FileOffset) {
        self.offset = from.offset;
        (self.head, self.tail) = (from.head, from.tail);
        self.reading = None;
        self.state = State::Followed;
        self.is_touched = true;
    }

    /// Begins again, as an unknown file.
    pub(super) fn restart(&mut self) {
        self.resume(&FileOffset::default());
        self.longest = 0;
        self.state = State::New;
    }

    /// At most its first [`HEAD_BYTES`], as they are now.
    pub(super) fn read_head(&mut self) -> io::Result<Vec<u8>> {
        let mut head = self.read_at(0, HEAD_BYTES)?;
        // Zeros behind its events may be filled later.
        match before_zeros(&head) {
            0 => {}
            bytes => head.truncate(bytes),
        }
        Ok(head)
    }

    /// A reader of its uncompressed content, from the beginning.
    pub(super) fn new_gzip(&mut self) -> io::Result<Gzip> {
        Ok(Gzip::new(self.open()?.try_clone()?))
    }

    /// Bytes from `offset` on, fewer at its end.
    pub(super) fn read_at(&mut self, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let file = self.open()?;
        let mut found = vec![0; bytes];
        let mut filled = 0;
        while filled < bytes {
            match file.read_at(&mut found[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        found.truncate(filled);
        Ok(found)
    }

    /// It was found here, as it is now.
    pub(super) fn see(&mut self, listed: Listed, now: Instant) {
        let has_changed = self.now.length != listed.length || self.now.modified != listed.modified;
        if has_changed {
            self.active = now;
            self.is_touched = true;
        }
        self.is_gone = false;
        let former = std::mem::replace(&mut self.now, listed);
        if let Some(reading) = &mut self.reading
            && former.path != self.now.path
        {
            reading.former_path = Some(former.path);
        }
    }

    /// Looks at its own path. False if another file is there, or none.
    pub(super) fn look(&mut self, now: Instant) -> io::Result<bool> {
        let found = fs::metadata(&self.now.path)?;
        let listed = Listed::of(Arc::clone(&self.now.path), self.now.entry, &found);
        let is_same = listed.identity == self.now.identity;
        if is_same {
            self.see(listed, now);
        }
        Ok(is_same)
    }

    /// Looks at the open file, which no longer has a name. True if it has grown.
    pub(super) fn look_at_open(&mut self, now: Instant) -> io::Result<Metadata> {
        let found = self.open()?.metadata()?;
        if found.len() != self.now.length {
            self.active = now;
            self.is_touched = true;
            self.now.length = found.len();
        }
        Ok(found)
    }

    /// All that is known of it, for the checkpoint.
    pub(super) fn known(&self) -> FileOffset {
        let reached = self.reached();
        FileOffset {
            path: Arc::clone(&self.now.path),
            device: self.now.identity.0,
            inode: self.now.identity.1,
            offset: reached.offset,
            length: if self.is_gzip {
                self.longest
            } else {
                self.now.length
            },
            head: reached.head,
            tail: reached.tail,
            ..FileOffset::default()
        }
    }

    /// How far it was read, not counting an event that is not whole.
    pub(super) fn reached(&self) -> Reached {
        let reading = self.reading.as_ref();
        let unfinished = reading.map_or(0, |reading| reading.framer.unfinished());
        Reached {
            offset: self.offset.saturating_sub(unfinished),
            unfinished,
            head: self.head,
            tail: self.tail,
        }
    }

    /// Notes the bytes before the new offset, after more was passed on, even if not all of it.
    pub(super) fn passed_on(&mut self, has_pending: bool) {
        let Some(reading) = &mut self.reading else {
            return;
        };
        reading.has_pending = has_pending;
        let unfinished = reading.unfinished();
        let recent = &mut reading.recent;
        let end = recent.len().saturating_sub(unfinished);
        let tail = &recent[end.saturating_sub(HEAD_BYTES)..end];
        // If all that was read since belongs to one event, the offset reached is the same as before.
        if !tail.is_empty() {
            self.tail = Fingerprint::of(tail);
        }
        if !has_pending && recent.len() > RECENT {
            *recent = recent.split_off(recent.len() - RECENT);
        }
    }

    /// Continues at an offset up to which it was not read.
    pub(super) fn start_at(&mut self, offset: u64) -> io::Result<()> {
        let bytes = offset.min(HEAD_BYTES as u64);
        let tail = self.read_at(offset - bytes, usize::try_from(bytes).unwrap_or(HEAD_BYTES))?;
        self.offset = offset;
        self.tail = Fingerprint::of(&tail);
        self.reading = None;
        self.state = State::Followed;
        Ok(())
    }

    /// Takes out what is not needed while nothing is read; the result is as new, except for its framer.
    pub(super) fn rest(&mut self) -> Option<Box<Reading>> {
        let mut reading = self.reading.take()?;
        (reading.recent, reading.gzip, reading.former_path) = (Vec::new(), None, None);
        Some(reading)
    }

    /// Whether there are events that found no room.
    pub(super) fn has_pending(&self) -> bool {
        let reading = self.reading.as_ref();
        reading.is_some_and(|reading| reading.has_pending)
    }

    /// Whether all of it was read.
    pub(super) fn is_read(&self) -> bool {
        let reading = self.reading.as_ref();
        if self.is_gzip {
            return !self.is_touched && reading.is_none_or(|reading| reading.gzip.is_none());
        }
        let is_blank = self.offset == self.longest && !self.is_touched;
        (self.offset == self.now.length || is_blank) && !self.has_pending()
    }

    /// Whether some of it may not have been read.
    pub(super) fn has_changed(&self) -> bool {
        !self.is_read() || self.is_touched
    }

    /// Whether it is no longer what was read: shorter, or with other bytes at its beginning or before the offset.
    pub(super) fn is_rewritten(&mut self) -> io::Result<bool> {
        if self.is_gzip {
            let is_gzip = self.read_head()?.starts_with(super::gzip::MAGIC);
            let head = self.new_gzip()?.head();
            if !is_gzip || !self.head.fits(&head) {
                return Ok(true);
            }
            // The rest is compared when it is unpacked.
            self.begins_with(&head);
            return Ok(false);
        }
        let length = self.open()?.metadata()?.len();
        let reached = self.reached();
        if length < self.offset {
            return Ok(true);
        }
        let head = self.read_head()?;
        // A file of which nothing was read has nothing to compare, but its inode may be a compressed one's now.
        if self.head.is_empty() && unreadable(&head).is_some() {
            return Ok(true);
        }
        let has_tail = self.has(reached.offset, reached.tail)?;
        if !has_tail || !reached.head.fits(&head) || !self.has(self.offset, self.recent())? {
            return Ok(true);
        }
        self.begins_with(&head);
        self.longest = length;
        Ok(false)
    }

    fn begins_with(&mut self, head: &[u8]) {
        if head.len() > self.head.len() {
            self.head = known_by(head);
        }
    }

    /// What was read last, including half an event at its end; empty if that is not known.
    pub(super) fn recent(&self) -> Fingerprint {
        let reading = self.reading.as_ref();
        let recent = reading.map_or(&[][..], |reading| &reading.recent[..]);
        Fingerprint::of(&recent[recent.len().saturating_sub(HEAD_BYTES)..])
    }

    /// Whether these bytes are right before `offset`; not of a compressed file.
    pub(super) fn has(&mut self, offset: u64, bytes: Fingerprint) -> io::Result<bool> {
        if bytes.is_empty() {
            return Ok(true);
        }
        match offset.checked_sub(bytes.len() as u64) {
            Some(from) => Ok(Fingerprint::of(&self.read_at(from, bytes.len())?) == bytes),
            None => Ok(false),
        }
    }

    /// One read. 0 at the end.
    pub(super) fn read_once(&mut self) -> io::Result<usize> {
        let Some(reading) = &mut self.reading else {
            return Ok(0);
        };
        let (is_done, is_plain) = (reading.framer.is_done(), reading.gzip.is_none());
        let space = reading.framer.space();
        let most = space.len().min(READ_BYTES);
        let space = &mut space[..most];
        let count = match (&mut reading.gzip, &self.file) {
            (Some(gzip), _) => {
                let count = gzip.read(space)?;
                let read = self.offset + count as u64;
                // Even if all compressed bytes were taken, there may be more to come of them.
                let rest = gzip.rest(self.now.length).max(1);
                self.longest = match count {
                    0 => read,
                    _ if self.longest > self.offset => self.longest.max(read + rest),
                    // All that is known of it was read, or is damaged.
                    _ => read,
                };
                count
            }
            (None, Some(file)) => {
                // So that `lsof` shows how far it was read.
                (&mut &*file).seek(SeekFrom::Start(self.offset))?;
                (&mut &*file).read(space)?
            }
            (None, None) => 0,
        };
        let mut read = &space[..count];
        if is_plain && count > 0 && read[count - 1] == 0 {
            // Zeros at its end may be filled later, and those in an event belong to that.
            read = &read[..before_zeros(read)];
            if read.is_empty() {
                let Some(file) = &self.file else { return Ok(0) };
                let Some(end) = end_of_zeros(file, self.offset + count as u64)? else {
                    self.longest = self.offset;
                    return Ok(0);
                };
                if is_done {
                    reading.recent.clear();
                    self.tail = Fingerprint::default();
                    self.offset = end;
                    return Ok(count);
                }
                read = &space[..count];
            }
        }
        let count = read.len();
        reading.recent.extend(read);
        self.offset += count as u64;
        reading.framer.filled(count);
        Ok(count)
    }
}

#[cfg(test)]
pub(super) mod tests;
