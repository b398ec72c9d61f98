//! Unpacking compressed files. What was read of one can only be passed over by unpacking it again, which may take long:
//! so that is done in turns, and not at all where the file only grows or was read to its end.

use std::io;
use std::time::Instant;

use super::follower::{Follower, QUIET, Sink};
use super::reading::{Step, TURN, start_reading};
use super::tracked::{State, Tracked};

impl Follower {
    /// Unpacks a compressed file as far as it was read. Nothing is returned when that is done, and it can be read on.
    pub(super) fn unpack(
        &mut self,
        number: u64,
        was_touched: bool,
        now: Instant,
        sink: &mut impl Sink,
    ) -> io::Result<Option<Step>> {
        let Some(file) = self.files.get_mut(&number) else {
            return Ok(Some(Step::Idle));
        };
        let kept = self.unpackers.take(file.now.identity);
        let mut gzip = match file.stop_unpacking().or(kept) {
            Some(gzip)
                if gzip.offset() <= file.offset && (!was_touched || gzip.is_unchanged()?) =>
            {
                gzip
            }
            _ => file.new_gzip()?,
        };
        let (from, to) = (gzip.offset(), file.offset);
        let end = to.min(from + TURN);
        let found = gzip.skip_to(end);
        let last = match file.recent() {
            none if none.is_empty() => file.reached().tail,
            recent => recent,
        };
        let is_other = match found {
            Ok(is_there) => !is_there || (from < to && end == to && !gzip.has_before(to, last)),
            Err(_) => false,
        };
        start_reading(file, &mut self.spare, sink).gzip = Some(gzip);
        if is_other {
            self.rewritten(number, now)?;
            return Ok(Some(Step::Worked));
        }
        if let Err(error) = found {
            // It ends earlier than before, or can't be read.
            self.end_of_file(number, Err(error))?;
            self.rest(number);
            return Ok(Some(Step::Idle));
        }
        Ok((end < to).then_some(Step::Worked))
    }

    /// Lets go of what unpacks files that were read and are no longer written to, or are gone. That of a copy is used
    /// when its original goes.
    pub(super) fn drop_unpackers(&mut self, now: Instant) {
        let mut unpackers = std::mem::take(&mut self.unpackers);
        let is_in_use = |file: &Tracked| {
            let is_copy = matches!(file.state, State::CopyOf { .. });
            is_copy || file.is_touched || now.saturating_duration_since(file.active) < QUIET
        };
        unpackers.retain(|identity| {
            let number = self.find(identity);
            let file = number.and_then(|number| self.files.get(&number));
            file.is_some_and(|file| is_in_use(file))
        });
        self.unpackers = unpackers;
    }
}
