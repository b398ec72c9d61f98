//! Reading the files of a source in turn, and what follows from their being renamed, removed, truncated or copied.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::time::Duration;

use super::tracked::{State, Tracked, is_compressed};
use super::watch::{self, MOST_OPEN};
use super::{Follow, lock};
use crate::source::SourceOutput;
use crate::state::checkpoint::{FileOffset, HEAD_BYTES};
use crate::sys::shutdown::ShutdownSignal;
use crate::telemetry::message::Message;

/// A file that has gone, with nothing new in its place, is done with when it has not grown for so long.
const QUIET: Duration = Duration::from_secs(60);

impl Follow {
    /// Reads what there is in each file, those changed last at the end. True if there was something.
    pub(super) fn step(
        &mut self,
        output: &mut SourceOutput,
        stop: &ShutdownSignal,
    ) -> io::Result<bool> {
        // Looked at before reading: what its writer has put into the old file before making the
        // new one is read before the new one.
        let looked = self.find_files();
        let mut result = Ok(false);
        let mut place = 0;
        let mut opened = 0;
        while let Some(file) = self.files.get(place) {
            if stop.is_triggered() {
                return Ok(false);
            }
            opened += usize::from(!file.is_open());
            if opened > MOST_OPEN {
                self.close_some();
                opened = 0;
                continue;
            }
            let number = file.number;
            match self.read(place, output, stop) {
                Ok(more) => {
                    if let Ok(result) = &mut result {
                        *result |= more;
                    }
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    if self.files[place].is_gone {
                        self.lose(place, output);
                    }
                }
                Err(error) => {
                    let error = watch::name(&self.watch().pattern, &self.files[place].path, error);
                    result = result.and(Err(error));
                }
            }
            // A file that was done with is not there any more.
            place += usize::from(
                self.files
                    .get(place)
                    .is_some_and(|file| file.number == number),
            );
        }
        self.close_some();
        looked?;
        if !self.files.is_empty() && result.is_ok() {
            output.worked();
        }
        result
    }

    /// Brings the files up to date with what there is.
    fn find_files(&mut self) -> io::Result<()> {
        let mut watch = lock(&self.watch);
        let looked = watch.look();
        for file in watch.take_found() {
            if let Some(progress) = &self.progress {
                file.tell(progress);
            }
            self.files.push(file);
        }
        let present: BTreeMap<_, _> = watch
            .present()
            .iter()
            .map(|listed| (listed.identity, listed))
            .collect();
        for file in &mut self.files {
            let found = present.get(&file.identity);
            file.is_gone = found.is_none();
            if let Some(listed) = found
                && file.see(listed)
                && let Some(progress) = &self.progress
            {
                file.tell(progress);
            }
        }
        // Those that have gone were there before those that have not.
        self.files
            .sort_by_key(|file| (!file.is_gone, (!file.is_gone).then_some(file.modified)));
        looked
    }

    /// Reads what there is in one file, and sees to it if it is done with. True if there was something.
    fn read(
        &mut self,
        place: usize,
        output: &mut SourceOutput,
        stop: &ShutdownSignal,
    ) -> io::Result<bool> {
        let file = &mut self.files[place];
        if file.is_gone {
            file.length = file.open()?.metadata()?.len();
            if let Some(progress) = &self.progress {
                file.tell(progress);
            }
        }
        self.examine(place)?;
        let file = &mut self.files[place];
        let mut more = false;
        if file.state == State::Followed && file.has_changed() {
            if file.is_rewritten()? {
                Message::FileTruncated { file: label(file) }.log();
                let file = self.hand_over(place, output);
                self.files[file].rewind();
                self.files[file].mark(output, self.progress.as_ref());
                return Ok(true);
            }
            let file = &mut self.files[place];
            more = file.read(output, self.progress.as_ref(), stop)?;
            if self.is_glob {
                file.release();
            }
        }
        let file = &self.files[place];
        if file.is_gone && (file.state != State::Followed || file.is_read()) {
            self.finish_gone(place, output);
        }
        Ok(more)
    }

    /// Looks into a file that is not followed: it is, unless it is empty, compressed or a copy.
    fn examine(&mut self, place: usize) -> io::Result<()> {
        let file = &mut self.files[place];
        if matches!(file.state, State::Followed | State::Skipped)
            || file.examined == Some(file.length)
            || file.length == 0
        {
            return Ok(());
        }
        let head = file.read_head(HEAD_BYTES)?;
        let is_back = |(_, place): &(u64, FileOffset)| {
            place.offset <= file.length && place.fingerprint.fits(&head)
        };
        if let Some(known) = self.awaited.iter().position(is_back) {
            let (number, place) = self.awaited.swap_remove(known);
            file.number = number;
            file.resume(place.offset, head[..place.fingerprint.bytes].to_vec());
            return Ok(());
        }
        let original = self.files.iter().find(|other| {
            let common = other.head().len().min(head.len());
            self.is_glob
                && other.state == State::Followed
                && common > 0
                && other.head()[..common] == head[..common]
        });
        let state = match original {
            _ if is_compressed(&head) => State::Skipped,
            Some(original) => State::CopyOf(original.number),
            None => State::Followed,
        };
        let original = original.map(label).unwrap_or_default();
        let file = &mut self.files[place];
        file.examined = Some(file.length);
        if std::mem::replace(&mut file.state, state) == state {
            return Ok(());
        }
        match state {
            State::Skipped => Message::FileCompressed { file: label(file) }.log(),
            State::CopyOf(_) => Message::FileIsCopy {
                file: label(file),
                original,
            }
            .log(),
            _ => {}
        }
        Ok(())
    }

    /// What is to be read of a file that will not be there any more is read from its copy, if it has one. Gives
    /// the file's place, which may be another one now.
    fn hand_over(&mut self, place: usize, output: &mut SourceOutput) -> usize {
        let number = self.files[place].number;
        // The copy was made before, but may have been looked at still earlier.
        let _ = self.find_files();
        for place in 0..self.files.len() {
            // One that can't be read is no copy that helps.
            let _ = self.examine(place);
        }
        let place = self.files.iter().position(|file| file.number == number);
        let place = place.unwrap_or_default();
        let original = &self.files[place];
        let (reached, head) = (original.reached(), original.head().to_vec());
        let mut heir = None;
        for copy in &mut self.files {
            if copy.state != State::CopyOf(number) {
                continue;
            }
            if let Some(heir) = heir {
                copy.state = State::CopyOf(heir);
            } else if copy.length >= reached.offset
                && copy.read_head(head.len()).is_ok_and(|found| found == head)
            {
                copy.resume(reached.offset, head.clone());
                copy.mark(output, self.progress.as_ref());
                heir = Some(copy.number);
                Message::FileContinuesInCopy {
                    file: label(copy),
                    offset: reached.offset,
                }
                .log();
            } else {
                copy.state = State::New;
                copy.examined = None;
            }
        }
        if heir.is_none() {
            self.files[place].take_last(output);
        }
        place
    }

    /// Leaves a file that has gone and was read, if its writer is done with it too: when there is something in the
    /// one that has taken its place, or nothing has come for long and others are there.
    fn finish_gone(&mut self, place: usize, output: &mut SourceOutput) {
        let file = &self.files[place];
        let is_replaced = self.watch().present().iter().any(|listed| {
            listed.path == file.path
                && listed.length > 0
                && self
                    .files
                    .iter()
                    .any(|file| file.identity == listed.identity)
        });
        let is_alone = self.files.iter().all(|file| file.is_gone);
        let is_quiet = !is_alone && file.active.elapsed() > QUIET;
        let is_read = matches!(file.state, State::New | State::Followed);
        if is_read && !is_replaced && !is_quiet {
            return;
        }
        if is_read && is_replaced {
            Message::FileReplaced { file: label(file) }.log();
        }
        let place = self.hand_over(place, output);
        self.leave(place, output);
    }

    fn leave(&mut self, place: usize, output: &mut SourceOutput) {
        let file = self.files.remove(place);
        self.watch().forget(file.identity);
        if let Some(progress) = &self.progress
            && let Some(position) = output.position()
        {
            progress.mark(position, file.number, None);
        }
    }

    /// A file was not open, and has gone.
    fn lose(&mut self, place: usize, output: &mut SourceOutput) {
        let file = &self.files[place];
        if file.state != State::Skipped && !file.is_read() {
            Message::FileRemovedUnread {
                file: label(file),
                offset: file.reached().offset,
            }
            .log();
        }
        self.leave(place, output);
    }

    /// Closes files that were read, those first that were changed longest ago, while many are open.
    fn close_some(&mut self) {
        let open = self.files.iter().filter(|file| file.is_open()).count();
        let idle = self.files.iter_mut().filter(|file| {
            let is_passed_over = matches!(file.state, State::Skipped | State::CopyOf(_));
            file.is_open() && !file.is_gone && (is_passed_over || file.is_read())
        });
        for file in idle.take(open.saturating_sub(MOST_OPEN)) {
            file.close();
        }
    }
}

/// A file as the log names it.
fn label(file: &Tracked) -> String {
    format!("file:{}", file.path.display())
}
