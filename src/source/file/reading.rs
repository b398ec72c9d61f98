//! Reading files in turn.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Instant;

use super::follower::{BrokenAt, Ending, Follower, QUIET, Sink};
use super::kept::Reading;
use super::label::label;
use super::listing::Listed;
use super::search::may_have_been;
use super::tracked::{State, Tracked};
use crate::telemetry::message::Message;

/// Bytes of a file that are read before the next file's turn.
pub(super) const TURN: u64 = 4 << 20;

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// There is no room for more.
    Full,
    /// There may be more to read.
    Worked,
    /// There is nothing to read.
    Idle,
}

impl Follower {
    /// Reads from the file whose turn it is.
    pub(super) fn read_some(&mut self, now: Instant, sink: &mut impl Sink) -> Step {
        if !sink.is_forwarding() {
            return Step::Idle;
        }
        while let Some(rest) = self.remainders.front_mut() {
            rest.framer.end();
            let is_taken = sink.take(&mut rest.framer).is_some();
            // It is not known where such a rest was.
            sink.broken();
            if !is_taken {
                return Step::Full;
            }
            self.remainders.pop_front();
        }
        if self.ready.is_empty() {
            self.line_up();
        }
        let mut worked = false;
        while let Some(&number) = self.ready.front() {
            match self.turn(number, now, sink) {
                Ok(Step::Full) => return Step::Full,
                Ok(Step::Worked) => {
                    // What was renamed from a path is read before what took its place.
                    let file = self.files.get(&number);
                    let keeps_turn = self.listing.pattern().path().is_some()
                        && self.pending.contains(&number)
                        && file.is_some_and(|file| file.longest > file.offset);
                    if !keeps_turn {
                        self.ready.pop_front();
                    }
                    return Step::Worked;
                }
                Ok(Step::Idle) => {}
                Err(error) => self.note_read_error(number, &error, now),
            }
            worked |= self.ready.pop_front().is_some() && !self.pending.contains(&number);
            self.settle_turn(number);
            self.close_if_idle(number);
        }
        if worked && !self.pending.is_empty() {
            Step::Worked
        } else {
            Step::Idle
        }
    }

    /// Files that are gone come first, being older than those that are there; those changed last come last.
    fn line_up(&mut self) {
        let mut ready: Vec<_> = self
            .pending
            .iter()
            .filter_map(|number| Some((*number, self.files.get(number)?)))
            .map(|(number, file)| {
                let modified = (!file.is_gone).then_some(file.now.modified);
                (!file.is_gone, modified, number)
            })
            .collect();
        ready.sort();
        self.ready = ready.into_iter().map(|(.., number)| number).collect();
    }

    /// After a turn that has read nothing, a file waits for a change, unless it is too early to tell what it is.
    fn settle_turn(&mut self, number: u64) {
        let waits = self
            .files
            .get(&number)
            .is_some_and(|file| file.state == State::New && file.is_touched && file.now.length > 0);
        if !waits {
            self.pending.remove(&number);
        }
    }

    /// A file can't be read. A descriptor may be dead while the file is not, as after a mount was lost: what has a name
    /// is opened again at the next try. What has none is lost if that lasts, since its descriptor is all that is left.
    pub(super) fn note_read_error(&mut self, number: u64, error: &io::Error, now: Instant) {
        let Some(file) = self.files.get_mut(&number) else {
            return;
        };
        if error.kind() == ErrorKind::Interrupted {
            return;
        }
        if file.state == State::Followed {
            file.is_touched |= error.raw_os_error().is_some();
            if !file.is_gzip {
                file.longest = file.longest.max(file.now.length);
            }
        }
        if file.is_gone {
            let since = *self.failing.entry(number).or_insert(now);
            if now.saturating_duration_since(since) >= QUIET {
                self.failing.remove(&number);
                self.lose(number, Ending::Unclear);
            }
            return;
        }
        file.reopen();
        let path = file.now.path.clone();
        let (is_behind, modified) = (!file.is_read(), file.now.modified);
        if error.kind() != ErrorKind::NotFound {
            self.troubles.note(&path, error.to_string(), now);
            if is_behind {
                // The progress counts the bytes of a known file.
                self.troubles.holds_back(&path, 0, modified);
            }
        } else {
            let parent = path.parent().unwrap_or(Path::new("."));
            self.dirty.insert(parent.to_owned());
        }
        self.note_seen(number);
    }

    /// A file that was just found can't be read. Of one that is known from an earlier start, only what was written since
    /// is not counted yet. Device numbers may change between two starts of the host.
    pub(super) fn note_unreadable(&mut self, found: &Listed, error: &io::Error, now: Instant) {
        self.troubles.note(&found.path, error.to_string(), now);
        let mut awaited = self.missing.awaited().map(|(_, file)| file);
        let known = awaited.find(|file| file.inode == found.identity.1);
        let unread = found.length - known.map_or(0, |file| file.length.min(found.length));
        let is_behind = unread > 0 || known.is_some_and(|file| file.unread() > 0);
        if is_behind {
            let path = &found.path;
            self.troubles.holds_back(path, unread, found.modified);
        }
    }

    fn turn(&mut self, number: u64, now: Instant, sink: &mut impl Sink) -> io::Result<Step> {
        let Some(file) = self.files.get(&number) else {
            return Ok(Step::Idle);
        };
        match file.state {
            State::Skipped => return Ok(Step::Idle),
            State::New | State::CopyOf { .. } if !file.is_touched => return Ok(Step::Idle),
            State::New | State::CopyOf { .. } => self.examine(number, now)?,
            State::Followed => {}
        }
        let Some(file) = self
            .files
            .get_mut(&number)
            .filter(|file| file.state == State::Followed)
        else {
            return Ok(Step::Idle);
        };
        if file.has_pending() && !self.pass_on(number, sink) {
            return Ok(Step::Full);
        }
        let Some(file) = self.files.get_mut(&number) else {
            return Ok(Step::Idle);
        };
        if !file.has_changed() {
            self.rest(number);
            return Ok(Step::Idle);
        }
        if file.is_touched && self.is_rewritten(number)? {
            self.rewritten(number, now)?;
            return Ok(Step::Worked);
        }
        let step = self.read_turn(number, now, sink)?;
        self.failing.remove(&number);
        self.note_seen(number);
        if step == Step::Idle
            && let Some(file) = self.files.get(&number)
            && !file.is_gone
        {
            let path = file.now.path.clone();
            self.troubles.solved(&path);
        }
        Ok(step)
    }

    /// Reads as much as a turn allows. Idle if there is no more.
    fn read_turn(&mut self, number: u64, now: Instant, sink: &mut impl Sink) -> io::Result<Step> {
        let Some(file) = self.files.get_mut(&number) else {
            return Ok(Step::Idle);
        };
        file.open()?;
        let was_touched = std::mem::take(&mut file.is_touched);
        if file.is_gzip
            && let Some(step) = self.unpack(number, was_touched, now, sink)?
        {
            return Ok(step);
        }
        let Some(file) = self.files.get(&number) else {
            return Ok(Step::Idle);
        };
        let end = file.offset.saturating_add(TURN);
        self.inherit(number);
        loop {
            let Some(file) = self.files.get_mut(&number) else {
                return Ok(Step::Idle);
            };
            if !file.is_gzip && file.offset >= file.now.length {
                break;
            }
            if file.offset >= end {
                // Many others may be read before its next turn.
                if let Some(reading) = &mut file.reading {
                    reading.shrink();
                }
                return Ok(Step::Worked);
            }
            start_reading(file, &mut self.spare, sink);
            let before = file.offset;
            let count = file.read_once();
            if !matches!(count, Ok(1..)) {
                self.end_of_file(number, count)?;
                break;
            }
            // A hole may be far longer than what is read at one go.
            let is_hole = file.offset - before > count? as u64;
            if !self.pass_on(number, sink) {
                return Ok(Step::Full);
            }
            if is_hole && let Some(file) = self.files.get(&number) {
                Message::FileHole {
                    file: label(&file.now.path),
                    bytes: file.offset - before,
                }
                .log();
            }
        }
        self.rest(number);
        Ok(Step::Idle)
    }

    /// A log entry that was split by a rotation continues in the file that took the place of its own.
    fn inherit(&mut self, number: u64) {
        let Some(file) = self.files.get(&number) else {
            return;
        };
        if file.offset > 0 || file.reading.is_some() || file.is_gzip {
            return;
        }
        let path = &file.now.path;
        let is_it = |file: &Tracked| {
            let Some(reading) = file.reading.as_ref().filter(|_| file.is_read()) else {
                return false;
            };
            let was_here =
                reading.former_path.as_ref() == Some(path) || may_have_been(&file.now.path, path);
            was_here && reading.framer.is_within_entry()
        };
        let mut hot = self.hot.iter().copied();
        let before = hot.find(|other| self.files.get(other).is_some_and(|file| is_it(file)));
        if let Some(before) = before
            && let Some(rest) = self.files.get_mut(&before).and_then(|file| file.rest())
            && let Some(file) = self.files.get_mut(&number)
        {
            file.reading = Some(rest);
            self.heirs.insert(number, before);
        }
    }

    /// An heir's events were passed on: once it is past the entry, no more comes from the file where the entry began.
    fn bequeathed(&mut self, number: u64, position: u64) {
        if let Some(&before) = self.heirs.get(&number)
            && let Some(file) = self.files.get(&number)
            && let Some(reading) = &file.reading
            && reading.framer.unfinished() <= file.offset
        {
            self.heirs.remove(&number);
            if let Some(file) = self.files.get_mut(&before)
                && file.start_at(file.offset).is_ok()
            {
                self.progress.mark(position, before, file.reached());
            }
        }
    }

    pub(super) fn end_of_file(&mut self, number: u64, count: io::Result<usize>) -> io::Result<()> {
        let Some(file) = self.files.get_mut(&number) else {
            return Ok(());
        };
        self.damaged.retain(|(damaged, _)| *damaged != number);
        let (mut cut, mut may_go_on) = (0, true);
        match count {
            // What the system reports is no damage.
            Err(error) if file.is_gzip && error.raw_os_error().is_none() => {
                may_go_on = error.kind() == ErrorKind::UnexpectedEof;
                self.damaged.push((number, error));
            }
            Err(error) => {
                file.is_touched = true;
                let is_passing = error.kind() == ErrorKind::Interrupted;
                return if is_passing { Ok(()) } else { Err(error) };
            }
            Ok(_) if file.is_gzip => {
                let original = self.progress.ended(number, file.offset, file.now.length);
                cut = original.saturating_sub(file.offset);
            }
            Ok(_) => {}
        }
        let identity = file.now.identity;
        let gzip = file.stop_unpacking().filter(|_| may_go_on);
        self.unpackers.keep(identity, gzip);
        self.note_cut(number, cut);
        Ok(())
    }

    /// Takes back a framer that holds nothing, or else what half an event does not need.
    pub(super) fn rest(&mut self, number: u64) {
        let Some(file) = self.files.get_mut(&number) else {
            return;
        };
        let Some(reading) = &mut file.reading else {
            return;
        };
        if reading.framer.is_done() && reading.framer.unfinished() == 0 {
            // Then it is as good as new.
            reading.framer.end();
            while reading.framer.next().is_some() {}
            self.spare = file.rest();
        } else {
            reading.shrink();
        }
    }

    /// Passes on what the framer has. False if there is not room for all of it.
    fn pass_on(&mut self, number: u64, sink: &mut impl Sink) -> bool {
        let Some(file) = self.files.get_mut(&number) else {
            return true;
        };
        let Some(reading) = &mut file.reading else {
            return true;
        };
        let position = sink.take(&mut reading.framer);
        if let Some(broken) = sink.broken() {
            let (path, end) = (&file.now.path, file.offset);
            let first = self.broken.get_or_insert_with(|| BrokenAt {
                events: 0,
                file: label(path),
                offset: end.saturating_sub(broken.bytes_back),
            });
            first.events += broken.events;
        }
        file.passed_on(position.is_none());
        let Some(position) = position else {
            return false;
        };
        self.progress.mark(position, number, file.reached());
        self.bequeathed(number, position);
        true
    }

    /// Marks what has ended, or was read in another file, when all that was read before is queued.
    pub(super) fn mark_endings(&mut self, position: u64) {
        if !self.remainders.is_empty() {
            return;
        }
        for number in std::mem::take(&mut self.endings) {
            self.progress.gone(position, number);
        }
        for number in std::mem::take(&mut self.parted) {
            if let Some(file) = self.files.get(&number) {
                self.progress.mark(position, number, file.reached());
            }
        }
    }
}

/// What a file needs to be read.
pub(super) fn start_reading<'a>(
    file: &'a mut Tracked,
    spare: &mut Option<Box<Reading>>,
    sink: &impl Sink,
) -> &'a mut Reading {
    let new = || Box::new(Reading::new(sink.framer()));
    let reading = &mut file.reading;
    reading.get_or_insert_with(|| spare.take().unwrap_or_else(new))
}
