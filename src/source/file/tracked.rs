//! One file that is followed, by whatever name.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use super::pattern::{Identity, Listed, name};
use crate::framer::Framer;
use crate::source::SourceOutput;
use crate::state::checkpoint::{Fingerprint, HEAD_BYTES, Progress, Reached};
use crate::sys::shutdown::ShutdownSignal;

/// How far back the beginning of a file's last line is looked for.
const LINE_BYTES: u64 = 64 << 10;
/// What compressed files begin with: gzip, zstd, xz, bzip2.
const COMPRESSED: [&[u8]; 4] = [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"BZh"];

/// What is done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing yet: it was not looked into.
    New,
    /// It is read.
    Followed,
    /// It begins as the file of this number does, which is read already.
    CopyOf(u64),
    /// It is compressed.
    Skipped,
}

/// A file that is followed.
pub(super) struct Tracked {
    /// Its number in the source's progress.
    pub(super) number: u64,
    /// Where it was seen last.
    pub(super) path: PathBuf,
    pub(super) identity: Identity,
    pub(super) modified: SystemTime,
    /// It was written to since it was read.
    is_touched: bool,
    /// It is not among the files that are meant any more.
    pub(super) is_gone: bool,
    /// When it was last seen to grow, or to be there.
    pub(super) active: Instant,
    pub(super) state: State,
    /// Its length when it was last seen.
    pub(super) length: u64,
    /// Its length when it was last looked into.
    pub(super) examined: Option<u64>,
    /// Closed while many others are open.
    file: Option<File>,
    /// How far it was read.
    offset: u64,
    /// What it begins with, as far as it was read.
    head: Vec<u8>,
    fingerprint: Fingerprint,
    /// What was read of an event that is not whole.
    framer: Option<Framer>,
}

impl Tracked {
    /// One that was just found, to be read from its beginning.
    pub(super) fn new(number: u64, listed: &Listed) -> Self {
        Tracked {
            number,
            path: listed.path.clone(),
            identity: listed.identity,
            modified: listed.modified,
            is_touched: false,
            is_gone: false,
            active: Instant::now(),
            state: State::New,
            length: listed.length,
            examined: None,
            file: None,
            offset: 0,
            head: Vec::new(),
            fingerprint: Fingerprint::default(),
            framer: None,
        }
    }

    /// Opens it, so that it can be read when it has another name, or none.
    pub(super) fn open(&mut self) -> io::Result<&File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let file = File::open(&self.path)?;
                let found = file.metadata()?;
                if Identity::of(&found) != self.identity || !found.is_file() {
                    return Err(ErrorKind::NotFound.into());
                }
                file
            }
        };
        Ok(self.file.insert(file))
    }

    pub(super) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    pub(super) fn close(&mut self) {
        self.file = None;
    }

    /// Goes on from `offset`, of a file that is known by its first bytes.
    pub(super) fn resume(&mut self, offset: u64, head: Vec<u8>) {
        self.offset = offset;
        self.fingerprint = Fingerprint::of(&head);
        self.head = head;
        self.framer = None;
        self.state = State::Followed;
    }

    /// Passes over what is in it: to the beginning of the last line, which may be half written.
    pub(super) fn skip_to_end(&mut self) -> io::Result<()> {
        let head = self.read_head(HEAD_BYTES)?;
        let file = self.open()?;
        let length = file.metadata()?.len();
        let from = length.saturating_sub(LINE_BYTES);
        let mut last = Vec::new();
        (&mut &*file).seek(SeekFrom::Start(from))?;
        (&mut &*file).take(length - from).read_to_end(&mut last)?;
        let line = last.iter().rposition(|byte| *byte == b'\n');
        self.resume(line.map_or(length, |at| from + at as u64 + 1), head);
        Ok(())
    }

    /// What it begins with now, so many bytes at most.
    pub(super) fn read_head(&mut self, most: usize) -> io::Result<Vec<u8>> {
        let file = self.open()?;
        let mut head = vec![0; most];
        let mut filled = 0;
        while filled < most {
            match file.read_at(&mut head[filled..], filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        head.truncate(filled);
        Ok(head)
    }

    /// It is there, as it is now. True if that is not as it was.
    pub(super) fn see(&mut self, listed: &Listed) -> bool {
        self.active = Instant::now();
        self.is_touched |= self.modified != listed.modified;
        self.modified = listed.modified;
        let is_same = self.path == listed.path && self.length == listed.length;
        self.path.clone_from(&listed.path);
        self.length = listed.length;
        !is_same
    }

    /// Tells of it in the checkpoint.
    pub(super) fn tell(&self, progress: &Progress) {
        progress.seen(
            self.number,
            &name(&self.path),
            self.identity.inode,
            self.length,
        );
    }

    /// How far it was read, but for an event that is not whole.
    pub(super) fn reached(&self) -> Reached {
        let unfinished = self.framer.as_ref().map_or(0, Framer::unfinished);
        Reached {
            offset: self.offset.saturating_sub(unfinished),
            fingerprint: self.fingerprint,
        }
    }

    /// What it begins with, as far as it was read.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// Whether there is nothing in it that was not read.
    pub(super) fn is_read(&self) -> bool {
        self.offset == self.length
    }

    /// Whether there may be something in it that was not read.
    pub(super) fn has_changed(&self) -> bool {
        !self.is_read() || self.is_touched
    }

    /// Whether it is shorter than what was read of it, or begins otherwise: something else was put
    /// into the file.
    pub(super) fn is_rewritten(&mut self) -> io::Result<bool> {
        let known = self.head.len();
        let is_rewritten = self.length < self.offset || self.read_head(known)? != self.head;
        self.is_touched = false;
        Ok(is_rewritten)
    }

    /// Begins again.
    pub(super) fn rewind(&mut self) {
        self.resume(0, Vec::new());
    }

    /// Takes what was read of an event that will never be whole.
    pub(super) fn take_last(&mut self, output: &mut SourceOutput) {
        if let Some(framer) = &mut self.framer {
            output.take_last(framer);
        }
    }

    /// Gives back memory that nothing is kept in.
    pub(super) fn release(&mut self) {
        if let Some(framer) = &mut self.framer {
            framer.release();
        }
    }

    /// Reads what there was when it was last seen, and maybe a little more. True if there was something.
    pub(super) fn read(
        &mut self,
        output: &mut SourceOutput,
        progress: Option<&Progress>,
        stop: &ShutdownSignal,
    ) -> io::Result<bool> {
        let before = self.offset;
        self.open()?.seek(SeekFrom::Start(before))?;
        while self.offset < self.length && !stop.is_triggered() && self.read_once(output)? {
            self.active = Instant::now();
            self.mark(output, progress);
        }
        Ok(self.offset > before)
    }

    /// One read, and its events. False at the end.
    fn read_once(&mut self, output: &mut SourceOutput) -> io::Result<bool> {
        let framer = self.framer.get_or_insert_with(|| output.framer());
        let Some(mut file) = self.file.as_ref() else {
            return Ok(false);
        };
        let space = framer.space();
        let count = loop {
            match file.read(space) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                count => break count?,
            }
        };
        if self.head.len() < HEAD_BYTES {
            // From a later place than the head's end, some of this is in the head already.
            let known = self.head.len() as u64 - self.offset.min(self.head.len() as u64);
            let new = space[..count].get(usize::try_from(known).unwrap_or(usize::MAX)..);
            let new = new.unwrap_or_default();
            self.head
                .extend_from_slice(&new[..new.len().min(HEAD_BYTES - self.head.len())]);
            self.fingerprint = Fingerprint::of(&self.head);
        }
        self.offset += count as u64;
        self.length = self.length.max(self.offset);
        framer.filled(count);
        output.take(framer);
        Ok(count > 0)
    }

    /// Notes how far it was read. All that was is on its way then.
    pub(super) fn mark(&self, output: &mut SourceOutput, progress: Option<&Progress>) {
        if let Some(progress) = progress
            && let Some(position) = output.position()
        {
            progress.mark(position, self.number, Some(self.reached()));
        }
    }
}

/// Whether a file that begins so is compressed.
pub(super) fn is_compressed(head: &[u8]) -> bool {
    COMPRESSED.iter().any(|magic| head.starts_with(magic))
}
