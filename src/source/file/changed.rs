//! What a file that was written to is now: what was seen of it and more, or something else.

use std::time::Instant;

use super::follower::Follower;
use super::foreign::is_binary;
use super::label::label;
use super::probe::read_head;
use super::tracked::State;

impl Follower {
    /// Finds out whether a file that was written to continues what was seen of it, or is another one now. One that was
    /// empty is classified before its turn comes: it may be truncated until then.
    pub(super) fn touched(&mut self, number: u64, now: Instant) {
        let Some(file) = self.files.get(&number) else {
            return;
        };
        match file.state {
            _ if !file.is_touched => {}
            State::New | State::CopyOf { .. } if file.now.length > 0 => {
                if let Err(error) = self.examine(number, now) {
                    self.note_read_error(number, &error, now);
                }
            }
            State::New | State::Followed => self.check_rewritten(number, now),
            State::Skipped => self.check_skipped(number, now),
            State::CopyOf { .. } => {}
        }
        self.noticed(number);
    }

    /// A file that is not read may be gone, and its inode another file's.
    fn check_skipped(&mut self, number: u64, now: Instant) {
        let Some(mut file) = self.take(number) else {
            return;
        };
        let found = read_head(&mut file);
        file.close();
        file.is_touched = found.is_err();
        // `shred` overwrites a file several times.
        let is_other =
            |head: &Vec<u8>| (file.head.is_empty() || !file.head.fits(head)) && !is_binary(head);
        if found.as_ref().is_ok_and(is_other) {
            self.progress.drop_file(number);
            file.restart();
        }
        self.put(number, file);
        if let Err(error) = found {
            self.note_read_error(number, &error, now);
        }
    }

    /// A file that has changed, or that another may be a copy of, may have been truncated since.
    pub(super) fn check_rewritten(&mut self, number: u64, now: Instant) {
        let was_open = (self.files.get(&number)).is_some_and(|file| file.is_open());
        match self.is_rewritten(number) {
            Ok(true) => {
                // A file that can't be looked at now is looked at when it is read.
                let _ = self.rewritten(number, now);
            }
            Ok(false) => {
                if let Some(file) = self.files.get_mut(&number).filter(|_| !was_open) {
                    file.close();
                }
            }
            Err(error) => self.note_read_error(number, &error, now),
        }
    }

    /// Whether a file has other content than what was read of it.
    pub(super) fn is_rewritten(&mut self, number: u64) -> std::io::Result<bool> {
        let Some(file) = self.files.get_mut(&number) else {
            return Ok(false);
        };
        let (head, longest) = (file.head, file.longest);
        let is_rewritten = file.is_rewritten()?;
        let cut = longest.saturating_sub(file.longest);
        if head != file.head {
            self.by_head.remove(&(head.hash, number));
            self.by_head.insert((file.head.hash, number));
        }
        if (head, longest) != (file.head, file.longest) {
            self.note_seen(number);
        }
        self.note_cut(number, cut);
        Ok(is_rewritten)
    }

    /// The file has lost bytes at its end that were not read.
    pub(super) fn note_cut(&mut self, number: u64, bytes: u64) {
        if bytes > 0
            && let Some(file) = self.files.get(&number)
        {
            let length = file.longest;
            let reason = format!("{} was cut to {length} bytes", label(&file.now.path));
            self.progress.lost(number, length);
            self.cuts.push((bytes, reason));
        }
    }
}
