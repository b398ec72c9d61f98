//! What a file that was just found, or has grown, is: one that was read before under another name, the copy of another
//! one, or a new one.

use std::io;
use std::time::{Duration, Instant, SystemTime};

use super::alike::Common;
use super::follower::{Follower, QUIET};
use super::foreign::unreadable;
use super::label::label;
use super::listing::Listed;
use super::missing::known_by;
use super::probe::{Probe, read_head};
use super::tracked::{State, Tracked};
use crate::source::spec::FileStart;
use crate::state::checkpoint::{FileOffset, Fingerprint, HEAD_BYTES, Reached};
use crate::telemetry::message::Message;

/// A compressed file is looked into when it has not been written to for this long.
const SETTLES: Duration = Duration::from_secs(2);
/// How far back the beginning of a file's last line is searched for.
const LINE_BYTES: usize = 64 << 10;

/// What a file is.
enum Class {
    /// It has the content that was read before under this number.
    Known(u64, FileOffset),
    /// Its first `covered` bytes are those of another file.
    Copy { original: u64, covered: u64 },
    /// It begins with all of another file.
    Longer { original: u64, covered: u64 },
    /// There is nothing like it.
    New,
    /// It is too early to tell.
    Later,
    /// It can't be read, because it is in this format.
    Compressed(&'static str),
    /// It was there before the agent.
    Old,
}

impl Follower {
    /// Handles files that were just found, the last changed ones last.
    pub(super) fn add(&mut self, new: Vec<Listed>, now: Instant) {
        let mut was_known = !self.is_first;
        // Inode and device decide first, for all files, and content only then.
        let mut rest = Vec::new();
        for listed in new {
            let inode = listed.identity.1;
            if !self.missing.has_inode(inode) && !self.others.has_inode(inode) {
                rest.push(listed);
                continue;
            }
            let Some((mut file, head)) = self.look_into(listed.clone(), now) else {
                continue;
            };
            match self.take_same(&mut file, &head) {
                Some((number, known)) => {
                    was_known = true;
                    self.resume(number, &known, file);
                }
                None => rest.push(listed),
            }
        }
        for listed in rest {
            if let Some((file, head)) = self.look_into(listed, now) {
                self.place_new(file, &head, was_known, now);
            }
        }
    }

    /// Opens a file that was just found.
    fn look_into(&mut self, listed: Listed, now: Instant) -> Option<(Tracked, Vec<u8>)> {
        self.settings.watchdog.goes_on();
        let path = listed.path.clone();
        let mut file = Tracked::new(listed, now);
        match read_head(&mut file) {
            Ok(head) => {
                self.troubles.solved(&path);
                Some((file, head))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // It was replaced just now.
                let parent = path.parent().unwrap_or(std::path::Path::new("."));
                self.dirty.insert(parent.to_owned());
                None
            }
            Err(error) => {
                self.note_unreadable(&file.now, &error, now);
                None
            }
        }
    }

    fn take_same(&mut self, file: &mut Tracked, head: &[u8]) -> Option<(u64, FileOffset)> {
        let mut probe = Probe {
            file,
            head,
            unpackers: &mut self.unpackers,
            work: &self.long_work,
        };
        let own = self.missing.take_same(&mut probe);
        let other = self.others.take_same(&mut probe);
        match (own, other) {
            (Some((number, own)), Some((_, other))) if other.offset > own.offset => {
                self.progress.start(number, other.clone());
                Some((number, other))
            }
            (Some(own), _) => Some(own),
            (None, Some((_, other))) => Some((self.number(), other)),
            (None, None) => None,
        }
    }

    /// A file continues a known content.
    pub(super) fn resume(&mut self, number: u64, known: &FileOffset, mut file: Tracked) {
        self.complete.remove(&number);
        self.restored.remove(&number);
        self.let_go.remove(&number);
        self.orphans.remove(&number);
        if known.is_skipped {
            file.state = State::Skipped;
            file.head = known.head;
            file.is_touched = false;
            file.close();
            self.progress.start(number, known.clone());
            self.put(number, file);
            self.pending.remove(&number);
            return;
        }
        file.resume(known);
        if file.is_gzip {
            // It may have more than its original had when that was last seen.
            let is_other = known.inode != file.now.identity.1;
            file.longest = known.length.max(known.offset + u64::from(is_other));
            // It was read to its end, and nothing was appended to it.
            let is_read = known.unread() == 0 && known.packed == file.now.length;
            file.is_touched = is_other || !is_read;
        }
        let (device, inode) = file.now.identity;
        let path = &file.now.path;
        // What was read before may not be final yet: then the checkpoint says less than `known`.
        if !self
            .progress
            .seen(number, path, device, inode, file.longest, file.head)
        {
            let original = known.original;
            let start = FileOffset {
                original,
                ..file.known()
            };
            self.progress.start(number, start);
        }
        // That of a compressed file is a guess.
        let is_guess = known.is_gzip() || (file.is_gzip && known.inode == inode);
        let mut cut = 0;
        if file.is_gzip && !is_guess {
            // Its end shows whether it has all of that.
            self.progress.expects(number, known.length);
        } else if !is_guess {
            cut = known.length.saturating_sub(file.longest);
        }
        self.put(number, file);
        self.note_cut(number, cut);
    }

    fn place_new(&mut self, mut file: Tracked, head: &[u8], was_known: bool, now: Instant) {
        let before = self.before.as_ref();
        let before = before.map(|before| before.get(&file.now.identity));
        let is_since = matches!(before, Some(None));
        let length = before.flatten().map(|file| file.length);
        let main = self.listing.pattern().path();
        let path = before.flatten().map_or(&file.now.path, |file| &file.path);
        let is_sibling = main.is_some_and(|main| main != &**path);
        let is_start_over = self.is_first && !was_known && !is_since;
        let is_old = self
            .old_before
            .is_some_and(|before| file.now.modified < before);
        let is_from_end = is_sibling || self.settings.start == FileStart::End;
        let is_passed =
            (is_start_over && !self.reads_again && is_from_end) || (is_old && is_sibling);
        if is_passed && !file.is_gzip && unreadable(head).is_none() {
            let number = self.number();
            file.head = known_by(head);
            if let Err(error) = skip_to_end(&mut file, length) {
                self.troubles
                    .note(&file.now.path, error.to_string(), file.active);
                return;
            }
            file.is_touched = false;
            if is_sibling {
                file.close();
            }
            self.progress.start(number, file.known());
            self.put(number, file);
            return;
        }
        let number = self.number();
        let class = if file.is_gzip && (is_start_over || is_old) {
            Class::Old
        } else {
            self.classify(number, &mut file, head, now)
        };
        self.apply_if_whole(number, file, head, class);
    }

    /// Looks again into a file that could not be classified, or that was a copy when it was shorter.
    pub(super) fn examine(&mut self, number: u64, now: Instant) -> io::Result<()> {
        let Some(mut file) = self.take(number) else {
            return Ok(());
        };
        let head = match read_head(&mut file) {
            Ok(head) => head,
            Err(error) => {
                self.put(number, file);
                self.pending.remove(&number);
                return Err(error);
            }
        };
        file.longest = file.longest.max(file.now.length);
        let class = self.classify(number, &mut file, &head, now);
        self.apply_if_whole(number, file, &head, class);
        Ok(())
    }

    /// What a file is remains open if it was not compared with all others: the next start does that.
    fn apply_if_whole(&mut self, number: u64, file: Tracked, head: &[u8], class: Class) {
        match self.long_work.was_cut() {
            true => self.put(number, file),
            false => self.apply(number, file, head, class),
        }
    }

    fn classify(&mut self, number: u64, file: &mut Tracked, head: &[u8], now: Instant) -> Class {
        if file.now.length == 0 {
            return Class::Later;
        }
        if !file.is_gzip
            && let Some(kind) = unreadable(head)
        {
            return Class::Compressed(kind);
        }
        let age = SystemTime::now().duration_since(file.now.modified);
        // Its time may be another host's, whose clock is ahead.
        let age = age.unwrap_or_else(|_| now.saturating_duration_since(file.active));
        if file.is_gzip && age < SETTLES && self.may_settle(number, head, now) {
            return Class::Later;
        }
        self.compressing.remove(&number);
        let alike = self.alike(number, file, head);
        for other in &alike {
            self.check_rewritten(*other, now);
        }
        let mut probe = Probe {
            file,
            head,
            unpackers: &mut self.unpackers,
            work: &self.long_work,
        };
        if let Some((known, entry)) = self.missing.take_content(&mut probe) {
            return Class::Known(known, entry);
        }
        if let State::CopyOf { original } = probe.file.state
            && let Some(entry) = self.missing.take_original(original, &mut probe)
        {
            return Class::Known(original, entry);
        }
        if let Some((_, entry)) = self.others.take_content(&mut probe) {
            return Class::Known(number, entry);
        }
        for original in alike {
            let Some(common) = self.common(original, file) else {
                continue;
            };
            let covered = common.covered;
            return match common {
                // Its original is just being compressed.
                Common {
                    is_partial: true, ..
                } if age < QUIET => Class::Later,
                Common {
                    is_longer: true, ..
                } => Class::Longer { original, covered },
                _ => Class::Copy { original, covered },
            };
        }
        Class::New
    }

    fn apply(&mut self, number: u64, mut file: Tracked, head: &[u8], class: Class) {
        let path = file.now.path.clone();
        // What was covered by another file was read there.
        let was = file.reached();
        let covered = was.offset.min(self.read_of_original(&file));
        file.resume(&FileOffset::default());
        match class {
            Class::Known(known, entry) => {
                Message::FileResumed {
                    file: label(&path),
                    offset: entry.offset,
                }
                .log();
                self.progress.drop_file(number);
                self.resume(known, &entry, file);
            }
            Class::Copy { original, covered } => {
                let _ = file.start_at(covered);
                file.state = State::CopyOf { original };
                file.is_touched = false;
                self.progress.drop_file(number);
                self.put(number, file);
                self.pending.remove(&number);
                self.copies.insert(number, self.files[&number].active);
            }
            Class::Longer { original, covered } => self.take_over(number, file, original, covered),
            Class::New => {
                file.head = known_by(head);
                file.state = State::Followed;
                file.is_touched = true;
                self.progress.start(number, file.known());
                self.part(number, &mut file, was, covered);
                self.put(number, file);
            }
            Class::Later => {
                file.state = State::New;
                file.is_touched = file.now.length > 0;
                let is_over = !file.is_touched;
                // A later start would take a file that is still being compressed for one of which nothing was read.
                if file.is_gzip {
                    self.progress.drop_file(number);
                } else {
                    self.progress.start(number, file.known());
                }
                self.put(number, file);
                if is_over {
                    self.pending.remove(&number);
                }
            }
            Class::Compressed(name) => {
                file.state = State::Skipped;
                self.report_compressed(&path, name);
                self.pass(number, file, head);
            }
            Class::Old => {
                file.state = State::Skipped;
                Message::FileCompressed {
                    file: label(&path),
                    kind: "compressed with gzip",
                }
                .log();
                self.pass(number, file, head);
            }
        }
    }

    /// A file is no copy any more: what is covered by its former original is not read again.
    fn part(&mut self, number: u64, file: &mut Tracked, was: Reached, covered: u64) {
        // As little as one event may be the same by chance.
        let is_covered = (HEAD_BYTES as u64..=file.now.length).contains(&covered);
        // It may have been written anew.
        let is_same = !file.is_gzip && file.has(was.offset, was.tail).unwrap_or(false);
        // If it can't be read now, it is read from its beginning.
        if is_covered && is_same && file.start_at(covered).is_ok() {
            Message::FileParted {
                file: label(&file.now.path),
                offset: covered,
            }
            .log();
            self.parted.push(number);
        }
    }

    /// Notes a file as known, but does not read it.
    fn pass(&mut self, number: u64, mut file: Tracked, head: &[u8]) {
        file.head = Fingerprint::of(head);
        file.is_touched = false;
        file.close();
        let entry = FileOffset {
            is_gone: true,
            is_skipped: true,
            ..file.known()
        };
        self.progress.start(number, entry);
        self.put(number, file);
        self.pending.remove(&number);
    }
}

/// Passes over what is in a file, or was when it had the length `before`, if it was not truncated since: to the
/// beginning of the last line, which may be half written.
fn skip_to_end(file: &mut Tracked, before: Option<u64>) -> io::Result<()> {
    let length = file.open()?.metadata()?.len();
    let length = before.map_or(length, |before| if before > length { 0 } else { before });
    let from = length.saturating_sub(LINE_BYTES as u64);
    let mut last = file.read_at(from, LINE_BYTES)?;
    last.truncate((length - from) as usize);
    let line = last.iter().rposition(|byte| *byte == b'\n');
    file.start_at(line.map_or(length, |at| from + at as u64 + 1))
}

#[cfg(test)]
mod tests;
