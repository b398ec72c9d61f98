//! Writes again, to another segment, what a file has lost: the disk did not take it, or somebody has removed the file.

use std::io::{self, ErrorKind};
use std::sync::{Arc, MutexGuard, PoisonError};

use super::dir::{Access, Dir, SpoolFile};
use super::files::Files;
use super::group::{Appended, SyncMode, Unsynced, result_of};
use super::position::{self, Position};
use super::record::{Record, SEGMENT_HEAD};
use super::segments::{self, Segment};
use super::shared::{State, now};
use super::upkeep::Upkeep;
use super::writer::{Writer, Written};
use crate::telemetry::message::{Events, Message};

impl Upkeep {
    /// Once a second: opens a spool that could not be opened, or whose directory somebody has removed or replaced; leaves
    /// a segment that was removed, since nobody would ever find what is written to it; and tries again to rescue what
    /// could not be.
    pub(super) fn look(&mut self) {
        match self
            .position
            .as_ref()
            .map(|_| self.error_of(position::NAME))
        {
            // With a stale handle, the same may be at the path.
            Some(Some(error @ (ErrorKind::NotFound | ErrorKind::StaleNetworkFileHandle))) => {
                self.close(error);
            }
            Some(_) => self.look_for_directory(),
            None => {}
        }
        if self.position.is_none() {
            self.reopen();
        }
        if self.shared.lock().must_reopen || self.position.is_none() {
            return;
        }
        self.look_for_files();
        let state = self.shared.lock();
        let lost: Vec<_> = state.lost.iter().map(Unsynced::again).collect();
        drop(state);
        lost.into_iter().for_each(|lost| self.rescue(lost));
    }

    pub(super) fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.shared.path)
    }

    fn is_replaced(&self) -> bool {
        let dir = self.shared.lock().dir.clone();
        dir.is_some_and(|dir| self.io(|| dir.is_replaced()))
    }

    /// Why this file can't be opened, if it can't.
    fn error_of(&self, name: &str) -> Option<ErrorKind> {
        let dir = self.shared.lock().dir.clone()?;
        let opened = self.io(|| dir.open(name, Access::Read));
        opened.err().map(|error| error.kind())
    }

    /// Nothing is written to a directory that is not in its place: no start would find it there. But what is in it is
    /// delivered, and then what is in its place is used, unless it comes back.
    fn look_for_directory(&mut self) {
        let (is_replaced, acked) = (self.is_replaced(), self.acked());
        let mut state = self.shared.lock();
        if !is_replaced {
            if std::mem::take(&mut state.must_reopen) {
                self.shared.worked(&mut state);
            }
            return;
        }
        if !state.must_reopen {
            state.must_reopen = true;
            state = self.wait_for_writer(state, |_| true);
        }
        match state.undelivered(acked) {
            0 => {
                drop(state);
                // Should it come back, nothing of it is delivered again.
                self.note(true, true);
                (self.position, self.lock) = (None, None);
            }
            events => self.refuse(state, &displaced(events)),
        }
    }

    fn refuse(&self, mut state: MutexGuard<'_, State>, error: &io::Error) {
        let result = result_of(error);
        self.shared.fail(&mut state, result, Some(error));
        state.refuse_pending(result);
    }

    /// The directory is not the one that is locked: nothing is written to it.
    fn close(&mut self, error: ErrorKind) {
        (self.position, self.lock) = (None, None);
        if error == ErrorKind::NotFound {
            let file = self.path(position::NAME);
            Message::SpoolRemoved { file }.log();
        }
        let mut state = self.shared.lock();
        state.must_reopen = true;
        drop(self.wait_for_writer(state, |_| true));
    }

    pub(super) fn reopen(&mut self) {
        let opened = self.io(&self.open);
        match opened.and_then(|files| self.check(files)) {
            Ok((mut files, is_same)) => {
                self.noted.move_to(files.position.at());
                if !is_same {
                    // Of one that was used before, everything was delivered.
                    self.sync();
                    self.left.clear();
                }
                let opened = if is_same {
                    self.open_again(&*files.dir)
                } else {
                    Vec::new()
                };
                let mut state = self.shared.lock();
                let mut awaited = Vec::new();
                if is_same {
                    // What is in memory is written again: it may not be in the files that are there now.
                    let is_awaited = |unsynced: &mut Unsynced| !unsynced.groups.is_empty();
                    awaited.extend(state.unsynced.extract_if(.., is_awaited));
                    for unsynced in state.all_unsynced() {
                        let same = opened.iter().find(|same| same.0 == unsynced.segment);
                        if let Some((_, file)) = same {
                            unsynced.file = Arc::clone(file);
                        }
                    }
                    // With the same numbers: those of the queue still count, and what is missing is noticed.
                    let dir = Arc::clone(&files.dir);
                    state.writer = Some(Writer::new(dir, self.shared.segment_bytes));
                    state.dir = Some(Arc::clone(&files.dir));
                } else {
                    (state.unseen, state.lost) = (Vec::new(), Vec::new());
                    self.shared.install(&mut state, &mut files);
                }
                state.must_reopen = false;
                self.shared.worked(&mut state);
                drop(state);
                if !is_same {
                    files.log_late(&self.shared.path);
                }
                (self.position, self.lock) = (Some(files.position), Some(files.lock));
                self.take_over();
                awaited.into_iter().for_each(|lost| self.rescue(lost));
            }
            Err(error) => self.refuse(self.shared.lock(), &error),
        }
    }

    /// Opens the segments that may have to be read or synced: those that were opened may be gone, or stale.
    fn open_again(&self, dir: &dyn Dir) -> Vec<(u64, Arc<dyn SpoolFile>)> {
        let mut segments = Vec::new();
        let used = |unsynced: &mut Unsynced| segments.push(unsynced.segment);
        self.shared.lock().all_unsynced().for_each(used);
        let open = |segment| {
            Some((
                segment,
                dir.open(&segments::name(segment), Access::Read).ok()?,
            ))
        };
        self.io(|| segments.into_iter().filter_map(open).collect())
    }

    /// Whether these files are those of the spool that was used before. The numbers of another one would be taken for its
    /// own, so that waits until it is delivered. A new position says how far this one is: what is left of the segments may
    /// begin later than what memory will write again. A server that was started again may have lost some of them, and may
    /// have again what was removed.
    fn check(&self, mut files: Files) -> io::Result<(Files, bool)> {
        let is_stale = self.error_of(position::NAME) == Some(ErrorKind::StaleNetworkFileHandle);
        let found = self.io(|| segments::list(&*files.dir))?;
        let is_new = found.is_empty() && files.at.end == 0;
        let is_ours = is_new || files.position.id() == self.id || !self.is_replaced();
        let acked = self.acked();
        let mut state = self.shared.lock();
        let next = state.segments.next();
        // What could not be written as a whole may be there in part.
        let is_known = |found: &Segment| {
            found.first == next || state.bytes_of(found.first) == Some(found.bytes)
        };
        let is_known = files.at.end <= next + state.pending.events && found.iter().all(is_known);
        let is_same = is_ours && (is_stale || is_known);
        let left = state.undelivered(acked);
        if !state.must_reopen || (!is_same && left == 0) {
            return Ok((files, false));
        }
        if !is_same {
            // There is no place for what removed files have, so it is missed.
            (state.unseen, state.lost) = (Vec::new(), Vec::new());
            for unsynced in std::mem::take(&mut state.unsynced) {
                let groups = &unsynced.groups;
                self.shared.end(&mut state, groups, Appended::Unavailable);
            }
            if is_stale {
                state.segments.forget();
            }
            return Err(displaced(left));
        }
        drop(state);
        let at = Position { acked, end: next };
        self.io(|| files.position.fill(at))?;
        Ok((files, true))
    }

    /// What an earlier run has written last may not be on disk.
    pub(super) fn take_over(&mut self) {
        let effect = self.effect();
        if let Some(position) = &mut self.position {
            // As long as that fails, it is not found again when its handle is stale.
            let _ = self.shared.watchdog.dir(effect, || position.renew());
            self.id = position.id();
        }
        let state = self.shared.lock();
        let mut found = state.segments.after(self.noted.end()).cloned();
        let dir = state.dir.clone();
        drop(state);
        let Some(dir) = dir.filter(|_| self.shared.sync != SyncMode::Never) else {
            return;
        };
        while let Some(segment) = found {
            let opened = self.io(|| dir.open(&segment.name(), Access::Read));
            let mut state = self.shared.lock();
            state.dir_is_unsynced = true;
            // If it can't be opened, its reader notices that.
            state.unsynced.extend(opened.ok().map(|file| Unsynced {
                segment: segment.first,
                file,
                from: SEGMENT_HEAD as u64,
                first: segment.first,
                groups: Vec::new(),
            }));
            found = state.segments.at_or_after(segment.first + 1).cloned();
        }
    }

    /// Looks for the files that were written to.
    fn look_for_files(&self) {
        let state = self.shared.lock();
        let (next, unseen) = (state.segments.next(), state.unseen.iter());
        let unseen: Vec<_> = unseen
            .map(|unseen| (unseen.again(), state.bytes_of(unseen.segment)))
            .collect();
        drop(state);
        let last = unseen.len().saturating_sub(1);
        for (place, (unseen, bytes)) in unseen.into_iter().enumerate() {
            let name = segments::name(unseen.segment);
            let is_gone = bytes.is_some() && self.error_of(&name) == Some(ErrorKind::NotFound);
            if is_gone {
                self.rescue(unseen);
                let file = self.path(&name);
                Message::SpoolRemoved { file }.log();
                continue;
            }
            let mut state = self.shared.lock();
            let is_same = |other: &Unsynced| other.segment == unseen.segment;
            match (state.unseen.iter_mut().find(|other| is_same(other)), bytes) {
                (Some(newest), Some(bytes)) if place == last => {
                    (newest.from, newest.first) = (bytes, next);
                }
                _ => state.unseen.retain(|other| !is_same(other)),
            }
        }
    }

    /// Waits until nobody writes, if that is needed. The segment that was written to gets no more.
    fn wait_for_writer<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        is_needed: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        while is_needed(&state) {
            if let Some(writer) = &mut state.writer {
                writer.leave();
                break;
            }
            state.is_rescuing = true;
            let waited = self.shared.unsynced.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        state.is_rescuing = false;
        state
    }

    /// Writes to a segment of its own what another one has lost. To sync that again would not help, since the kernel may
    /// have forgotten it.
    pub(super) fn rescue(&self, mut lost: Unsynced) {
        let segment = lost.segment;
        let mut state = self.wait_for_writer(self.shared.lock(), |state| {
            (state.unseen.last()).is_some_and(|newest| newest.segment == segment)
        });
        // What was synced before may still be in a file that was removed.
        state.unseen.retain(|unseen| is_more(unseen, &lost));
        let is_in_memory = !lost.groups.is_empty();
        for more in state
            .unsynced
            .extract_if(.., |more| more.segment == segment)
        {
            lost.groups.extend(more.groups);
        }
        // Else it was delivered and removed meanwhile, or nothing is missing.
        let end = state.bytes_of(segment).filter(|end| *end > lost.from);
        let dir = state.dir.clone().filter(|_| !state.must_reopen);
        drop(state);
        let written = match (end, dir) {
            (None, _) => Ok(None),
            (Some(_), None) => Err(ErrorKind::NotFound.into()),
            (Some(end), Some(dir)) => self
                .io(|| write_again(&dir, &mut lost, is_in_memory, end))
                .map(Some),
        };
        let mut state = self.shared.lock();
        let result = match written {
            Ok(written) => {
                if let Some(written) = written {
                    state.segments.created(written.segment);
                    state.segments.appended(written.segment, written.bytes, 0);
                }
                state.lost.retain(|known| is_more(known, &lost));
                Appended::Taken
            }
            Err(error) => {
                let result = result_of(&error);
                self.shared.fail(&mut state, result, Some(&error));
                let is_known = |known: &Unsynced| known.segment == segment;
                // What begins earlier holds what begins later.
                if !state
                    .lost
                    .iter()
                    .any(|known| is_known(known) && known.from <= lost.from)
                {
                    state.lost.retain(|known| !is_known(known));
                    state.lost.push(lost.again());
                }
                result
            }
        };
        self.shared.end(&mut state, &lost.groups, result);
    }
}

fn displaced(events: u64) -> io::Error {
    let events = Events(events);
    io::Error::other(format!(
        "its directory was moved or unmounted, or something was mounted over it; {events} in it are delivered first, then what is \
         there now is used (fix: wait for that, or put it back; a restart may not find them)"
    ))
}

/// Whether this is not, or not all, in what is rescued.
fn is_more(known: &Unsynced, rescued: &Unsynced) -> bool {
    known.segment != rescued.segment || known.from < rescued.from
}

fn write_again(
    dir: &Arc<dyn Dir>,
    lost: &mut Unsynced,
    is_in_memory: bool,
    end: u64,
) -> io::Result<Written> {
    let writer = Writer::new(Arc::clone(dir), u64::MAX);
    let groups = lost.groups.iter_mut().filter(|_| is_in_memory);
    let records: Vec<Record> = groups.flat_map(|group| group.records.drain(..)).collect();
    let copy = (!is_in_memory).then_some((&*lost.file, lost.from..end));
    writer.rescue(&records, copy, lost.first, now())
}
