//! The time while nothing is appended: because the limit is reached, or because the disk fails.

use std::io;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::group::{Appended, SyncMode, Trouble, result_of};
use super::reader::{Damage, Reader};
use super::segments;
use super::shared::{IF_IT_HANGS, Shared, State, UNWRITTEN};
use super::writer::Writer;
use crate::buffer::chunk::CHUNK_BYTES;
use crate::sys::shutdown::ShutdownSignal;
use crate::telemetry::counters::Reason;
use crate::telemetry::message::{Events, IfAny, Message};
use crate::text::quantity::{HumanDuration, Size};

/// How long a stream is not read while too much is unwritten; then its events go through memory.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long a write may last until streams go through memory, where no write holds them up.
pub(super) const SLOW: Duration = Duration::from_secs(1);
/// How long until a disk that has failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// With how many bytes. What is larger may not have room for longer, which is to keep nothing else out.
pub(super) const TRIED: u64 = CHUNK_BYTES as u64;
/// How long until what is over is over: a spool that is full may be so many times a second.
pub(super) const QUIET: Duration = Duration::from_secs(5);

impl State {
    /// Whether nothing is appended.
    pub(super) fn is_in_trouble(&self) -> bool {
        self.trouble.is_some()
    }

    /// Nothing is appended from now on. True unless that is known.
    pub(super) fn fail(&mut self, result: Appended, retry_at: Option<Instant>) -> bool {
        let past = self.past.take().map(|(trouble, _)| trouble);
        let known = self.trouble.take().or(past);
        let is_known = known.as_ref().is_some_and(|trouble| {
            trouble.result == result && trouble.retry_at.is_some() == retry_at.is_some()
        });
        self.trouble = Some(Trouble {
            since: known
                .as_ref()
                .map_or_else(Instant::now, |known| known.since),
            retry_at,
            result,
            too_large: known.and_then(|known| known.too_large),
        });
        !is_known
    }

    /// What writes, if nobody has it.
    pub(super) fn take_writer(&mut self) -> Option<Writer> {
        let writer = self.writer.take()?;
        self.writing_since = Some(Instant::now());
        Some(writer)
    }

    /// Whether streams had better not wait for what is being written, or for all that waits to be.
    fn is_behind(&self) -> bool {
        let hangs = self
            .writing_since
            .is_some_and(|since| since.elapsed() >= SLOW);
        hangs || self.claimed >= UNWRITTEN
    }

    /// How long something was wrong, once that has been over for some time.
    pub(super) fn over(&mut self, now: Instant) -> Option<Duration> {
        let past = self.past.take_if(|(trouble, ended)| {
            let tried = trouble.too_large.map_or(*ended, |(_, tried)| tried);
            now.duration_since(tried.max(*ended)) >= QUIET
        });
        past.map(|(trouble, ended)| ended - trouble.since)
    }

    /// This much was refused because a write has failed.
    pub(super) fn refused(&mut self, bytes: u64) {
        let past = self.past.as_mut().map(|(trouble, _)| trouble);
        let trouble = self.trouble.as_mut().or(past);
        if let Some(trouble) = trouble.filter(|it| it.result == Appended::Full && bytes > TRIED) {
            trouble.too_large = Some((bytes, Instant::now()));
        }
    }

    /// This much was written.
    pub(super) fn fitted(&mut self, bytes: u64) {
        if let Some((failed, _)) = self.too_large() {
            *failed = (*failed).max(bytes + 1);
        }
    }

    /// The size for which the disk had no room a moment ago, though it has some, and when that was last tried.
    fn too_large(&mut self) -> Option<&mut (u64, Instant)> {
        let (trouble, _) = self.past.as_mut()?;
        trouble.too_large.as_mut()
    }

    /// Whether as much has failed a moment ago, and is not to be tried again now.
    fn is_too_large(&mut self, bytes: u64) -> bool {
        let Some((_, tried)) = self.too_large().filter(|(failed, _)| bytes >= *failed) else {
            return false;
        };
        let is_due = tried.elapsed() >= RETRY;
        if is_due {
            *tried = Instant::now();
        }
        !is_due
    }

    /// Whether a disk that has failed is to be tried out now: there is nothing to write that would show it.
    pub(super) fn must_try_out(&self) -> bool {
        let has_failed = self.is_in_trouble() && !self.is_full() && !self.is_failing();
        let is_idle = self.writer.is_some() && self.pending.is_empty();
        has_failed && is_idle && !self.has_lost()
    }

    /// Whether events that were taken are not where they should be.
    fn has_lost(&self) -> bool {
        self.must_reopen || !self.lost.is_empty()
    }

    /// Those whose writers wait are not written.
    pub(super) fn refuse_pending(&mut self, result: Appended) {
        self.pending.end(result);
        self.pending.ticket = None;
        self.claimed -= self.pending.leave_out_awaited();
    }

    /// Whether nothing is appended because the limit is reached.
    pub(super) fn is_full(&self) -> bool {
        let trouble = self.trouble.as_ref();
        trouble.is_some_and(|trouble| trouble.retry_at.is_none())
    }

    /// Whether the disk has failed and is not tried again yet.
    pub(super) fn is_failing(&self) -> bool {
        let retry_at = (self.trouble.as_ref()).and_then(|trouble| trouble.retry_at);
        retry_at.is_some_and(|retry_at| retry_at > Instant::now())
    }
}

impl Shared {
    /// A stream is not read on while there is much to write; but no longer when one has waited in vain.
    pub(super) fn wait_for_room<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
    ) -> MutexGuard<'a, State> {
        let busy = |state: &mut State| state.claimed >= UNWRITTEN && state.trouble.is_none();
        if busy(&mut state) && !state.hangs {
            state.waiting_for_room += 1;
            let waited = self.room.wait_timeout_while(state, PATIENCE, busy);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.waiting_for_room -= 1;
        }
        state.hangs = busy(&mut state);
        state
    }

    /// Streams may wait again. Wakes those that do, but only if there are any: it takes a system call.
    pub(super) fn made_room(&self, state: &mut State) {
        state.hangs = false;
        if state.waiting_for_room > 0 {
            self.room.notify_all();
        }
    }

    /// Why this much can't be taken now, if it can't.
    pub(super) fn refusal(&self, state: &mut State, bytes: u64, waits: bool) -> Option<Appended> {
        self.look_for_room(state, bytes);
        if let Some(trouble) = &state.trouble {
            return Some(trouble.result);
        }
        // Not what streams bring: nobody would send it again.
        if waits && state.is_too_large(bytes) {
            return Some(Appended::Full);
        }
        let used = state.segments.bytes() + state.claimed;
        if used + bytes > self.limit {
            // Not because of a body that is larger than what is left, if others have room.
            if used + self.segment_bytes > self.limit {
                self.fail(state, Appended::Full, None);
            }
            state.lacks_room = true;
            return Some(Appended::Full);
        }
        let is_busy = !waits && state.is_behind();
        match state.dir {
            None => Some(Appended::Unavailable),
            Some(_) => is_busy.then_some(Appended::Unavailable),
        }
    }

    /// Ends the trouble if the limit keeps no events out any more: not for every single event that has room.
    pub(super) fn look_for_room(&self, state: &mut State, bytes: u64) {
        let wanted = bytes.max(self.segment_bytes);
        let has_room = state.segments.bytes() + state.claimed + wanted <= self.limit;
        if has_room && state.is_full() {
            self.worked(state);
        }
    }

    /// Nothing is appended for a while, because of the limit or of an error.
    pub(super) fn fail(&self, state: &mut State, result: Appended, error: Option<&io::Error>) {
        let retry_at = error.map(|_| Instant::now() + RETRY);
        let dir = self.path.clone();
        match error.map(io::Error::to_string) {
            _ if !state.fail(result, retry_at) => {}
            None => Message::SpoolFull {
                dir,
                limit: Size(usize::try_from(self.limit).unwrap_or(usize::MAX)),
                set_aside: IfAny("bytes set aside", state.segments.set_aside),
            }
            .log(),
            Some(error) if result == Appended::Full => Message::SpoolDiskFull { dir, error }.log(),
            Some(error) => Message::SpoolFailed { dir, error }.log(),
        }
    }

    /// A write has failed, of which this much is refused. That what was too large still is says nothing of what is smaller.
    pub(super) fn not_written(&self, state: &mut State, error: &io::Error, refused: Option<u64>) {
        let result = result_of(error);
        let is_large = refused.is_some_and(|refused| refused > TRIED);
        if result == Appended::Full && is_large && state.too_large().is_some() {
            return;
        }
        self.fail(state, result, Some(error));
        state.refuse_pending(result);
    }

    /// Tries out a disk that has failed. To be called if [`State::must_try_out`] says so.
    pub(super) fn try_out<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let Some(writer) = state.take_writer() else {
            return state;
        };
        let first = state.segments.next();
        drop(state);
        let try_out = || writer.try_out(first, TRIED, self.sync != SyncMode::Never);
        let tried = self.watchdog.dir(IF_IT_HANGS, try_out);
        let mut state = self.lock();
        match tried {
            Ok(()) => self.worked(&mut state),
            Err(error) => self.fail(&mut state, result_of(&error), Some(&error)),
        }
        self.hand_back(&mut state, writer);
        state
    }

    /// A segment can't be read: logs that once, and waits until it is to be tried again. True if `stop` is triggered.
    pub(super) fn unreadable(
        &self,
        reader: &mut Reader,
        error: &io::Error,
        stop: &ShutdownSignal,
    ) -> bool {
        if let Some(segment) = reader.newly_unreadable() {
            Message::SpoolUnreadable {
                file: format!("{}/{}", self.path, segments::name(segment)),
                error: error.to_string(),
            }
            .log();
        }
        stop.wait(RETRY)
    }

    /// Reports once that a segment is damaged.
    pub(super) fn damaged(&self, name: &str, events: u64, bytes: u64) {
        Message::SpoolDamaged {
            file: format!("{}/{name}", self.path),
            events: Events(events),
            bytes,
        }
        .log();
        self.report.spool_damaged(bytes);
    }

    /// The same, when that is noticed while it is read.
    pub(super) fn found_damaged(&self, damage: &Damage) {
        let is_new = self.lock().segments.damaged(damage.segment);
        let name = segments::name(damage.segment);
        match is_new {
            true => self.damaged(&name, damage.events, damage.bytes),
            false => self.report.spool_damaged(damage.bytes),
        }
    }

    /// At the end, so many events that count as received are not on disk, which had no room for them or hangs. The
    /// balance shows them as dropped; nothing else would tell the trail.
    pub(super) fn never_written(&self, events: u64) {
        let reason = Reason::Shutdown.label();
        self.report.unnumbered_gap(reason, events);
    }

    /// At the end, these events are in a directory that is not in its place: the next start may not find them.
    pub(super) fn hidden(&self, events: u64, unread: u64) {
        if events > 0 {
            let (dir, events) = (self.path.clone(), Events(events));
            Message::SpoolHidden { dir, events }.log();
        }
        self.report.unnumbered_gap(Reason::Shutdown.label(), unread);
        self.resumes.set(false);
    }

    /// Something was written, or there is room for it. Not all is well while earlier events are lost.
    pub(super) fn worked(&self, state: &mut State) {
        if state.has_lost() {
            return;
        }
        if let Some(trouble) = state.trouble.take() {
            state.past = Some((trouble, Instant::now()));
        }
    }

    /// Logs that the spool takes events again, once it has for some time.
    pub(super) fn log_restored(&self, now: Instant) {
        if let Some(lasted) = self.lock().over(now) {
            Message::SpoolRestored {
                dir: self.path.clone(),
                lasted: HumanDuration(lasted),
            }
            .log();
        }
    }
}
