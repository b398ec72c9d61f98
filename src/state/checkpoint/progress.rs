//! Which bytes of a source's files are final. The source's thread marks what it has queued; the queue's watermark
//! tells how much of that is final.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::Sender;

use super::file_offset::FileOffset;
use super::fingerprint::Fingerprint;

/// The most marks that are kept: later ones are merged, which makes offsets coarser but never wrong.
const MARKS: usize = 256;

/// How far one file was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// Whole events only.
    pub offset: u64,
    /// Bytes behind the offset that were read too, but are no whole event: it may still be written.
    pub unfinished: u64,
    /// What the file begins with, up to where it was read.
    pub head: Fingerprint,
    /// The bytes right before the offset; empty if unknown.
    pub tail: Fingerprint,
}

/// What is known of a file once its events are final: how far it was read, and whether that was all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Step {
    reached: Option<Reached>,
    /// It is gone, but a copy of it may turn up.
    is_gone: bool,
}

/// What a checkpoint must learn: for each file its newest state, or that its number was dropped.
pub type Changes = Vec<(u64, Option<FileOffset>)>;

/// A source's files; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    state: Arc<Mutex<State>>,
    wake: Option<Sender<()>>,
}

#[derive(Debug, Default)]
struct State {
    /// By the number that the source has given them.
    files: BTreeMap<u64, Box<FileOffset>>,
    /// How much was read behind the offsets of these.
    unfinished: BTreeMap<u64, u64>,
    marks: VecDeque<Mark>,
    /// Files that differ from what the checkpoint says.
    changed: BTreeSet<u64>,
    /// Files that differ from it only in their length, which is not urgent.
    grown: BTreeSet<u64>,
    /// The source has looked for its files at least once.
    is_ready: bool,
    /// Bytes that became final so far.
    done: u64,
    /// Bytes that are not final, if nothing has changed since they were summed up.
    behind: Option<u64>,
}

/// Once all events below the position are final, these files have reached these steps.
#[derive(Debug)]
struct Mark {
    position: u64,
    files: BTreeMap<u64, Step>,
}

impl Progress {
    /// Sends to `wake`, if there is room, when there is something to write, or when the first change to write waits for
    /// its events to become final: they may be so already.
    pub fn waking(wake: Sender<()>) -> Self {
        Progress {
            wake: Some(wake),
            ..Progress::default()
        }
    }

    /// The source has looked for its files: from now on there is something to write, even if it is that there are none.
    pub fn ready(&self) {
        self.lock().is_ready = true;
    }

    /// Whether the source has looked for its files.
    pub fn is_ready(&self) -> bool {
        self.lock().is_ready
    }

    /// A file is known from here on.
    pub fn start(&self, number: u64, file: FileOffset) {
        self.change(|state| {
            state.files.insert(number, Box::new(file));
            state.unfinished.remove(&number);
            state.behind = None;
            state.changed.insert(number);
        });
    }

    /// A file is here now, with this identity, length and beginning. False if its number is unknown.
    pub fn seen(
        &self,
        number: u64,
        path: &Arc<Path>,
        device: u64,
        inode: u64,
        length: u64,
        head: Fingerprint,
    ) -> bool {
        self.change(|state| {
            let Some(file) = state.files.get_mut(&number) else {
                return false;
            };
            let is_same =
                file.path == *path && file.inode == inode && file.device == device && !file.is_gone;
            let has_grown = std::mem::replace(&mut file.length, length) != length;
            if has_grown {
                file.packed = 0;
            }
            let has_begun = std::mem::replace(&mut file.head, head) != head;
            if !is_same {
                file.path = Arc::clone(path);
                (file.device, file.inode, file.is_gone) = (device, inode, false);
                state.changed.insert(number);
            } else if has_grown || has_begun {
                state.grown.insert(number);
            }
            if has_grown {
                state.behind = None;
            }
            true
        })
    }

    /// Once all events below `position` are final, so is all before the offset in `reached`. Positions never fall.
    pub fn mark(&self, position: u64, number: u64, reached: Reached) {
        self.change(|state| state.mark(position, number, |step| step.reached = Some(reached)));
    }

    /// Once all events below `position` are final, nothing more comes from the file, but a copy of it may turn up. If
    /// all of it is final already, that applies now.
    pub fn gone(&self, position: u64, number: u64) {
        self.change(|state| {
            let is_gone = true;
            let is_read = state
                .files
                .get(&number)
                .is_some_and(|file| file.unread() == 0);
            let is_marked = |mark: &Mark| mark.files.contains_key(&number);
            if is_read && !state.marks.iter().any(is_marked) {
                let reached = None;
                return state.apply(number, Step { reached, is_gone });
            }
            state.mark(position, number, |step| step.is_gone = is_gone);
        });
    }

    /// What is beyond `length` in a file is lost, and counted: the next start must not count it again.
    pub fn lost(&self, number: u64, length: u64) {
        self.ended(number, length, 0);
    }

    /// The original of a compressed file was this long when it was last seen.
    pub fn expects(&self, number: u64, original: u64) {
        self.change(|state| {
            if let Some(file) = state.files.get_mut(&number) {
                file.original = original;
                state.changed.insert(number);
            }
        });
    }

    /// A compressed file is `packed` bytes long, and its content `length`. Returns how long its original was.
    pub fn ended(&self, number: u64, length: u64, packed: u64) -> u64 {
        self.change(|state| {
            state.behind = None;
            let Some(file) = state.files.get_mut(&number) else {
                return 0;
            };
            (file.length, file.packed) = (length, packed);
            state.changed.insert(number);
            std::mem::take(&mut file.original)
        })
    }

    /// A file can be forgotten: nothing of it was read, or it has been gone for a long time.
    pub fn drop_file(&self, number: u64) {
        self.change(|state| {
            state.files.remove(&number);
            state.unfinished.remove(&number);
            state.behind = None;
            state.changed.insert(number);
        });
    }

    /// All events below `watermark` are final.
    pub fn advance(&self, watermark: u64) {
        self.lock().advance(watermark);
    }

    /// What has changed since the last call, now that all events below `watermark` are final; with `lengths`, also the
    /// files that have only grown.
    pub fn commit(&self, watermark: u64, lengths: bool) -> Changes {
        let mut state = self.lock();
        state.advance(watermark);
        let mut changed = std::mem::take(&mut state.changed);
        if lengths {
            changed.append(&mut state.grown);
        }
        let changes = changed.into_iter().map(|number| {
            (
                number,
                state.files.get(&number).map(|file| (**file).clone()),
            )
        });
        changes.collect()
    }

    /// Passes all files to `show` as they are committed now, one after the other.
    pub fn each(&self, mut show: impl FnMut(u64, &FileOffset)) {
        for (number, file) in &self.lock().files {
            show(*number, file);
        }
    }

    /// Bytes of all files that are present and that are not final yet. What was read but is no whole event does not
    /// count: no event may ever come of it.
    pub fn behind(&self) -> u64 {
        let mut state = self.lock();
        if let Some(behind) = state.behind {
            return behind;
        }
        let there = state.files.iter().filter(|(_, file)| !file.is_gone);
        let unread = there.map(|(number, file)| {
            let unfinished = state.unfinished.get(number).copied().unwrap_or_default();
            file.unread().saturating_sub(unfinished)
        });
        let behind = unread.sum();
        state.behind = Some(behind);
        behind
    }

    /// Bytes that became final so far.
    pub fn done(&self) -> u64 {
        self.lock().done
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let had = (!state.marks.is_empty(), !state.changed.is_empty());
        let result = change(&mut state);
        let has = (!state.marks.is_empty(), !state.changed.is_empty());
        if ((has.0 && !had.0) || (has.1 && !had.1))
            && let Some(wake) = &self.wake
        {
            // If there is no room, the writer has been woken already.
            let _ = wake.try_send(());
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Notes what a position makes known of a file.
    fn mark(&mut self, position: u64, number: u64, note: impl FnOnce(&mut Step)) {
        let last = self.marks.back().map_or(0, |last| last.position);
        let position = position.max(last);
        if self.marks.is_empty() || (last != position && self.marks.len() < MARKS) {
            self.marks.push_back(Mark {
                position,
                files: BTreeMap::new(),
            });
        }
        if let Some(mark) = self.marks.back_mut() {
            mark.position = position;
            note(mark.files.entry(number).or_default());
        }
    }

    fn advance(&mut self, watermark: u64) {
        while self
            .marks
            .front()
            .is_some_and(|mark| mark.position <= watermark)
        {
            for (number, step) in self
                .marks
                .pop_front()
                .map(|mark| mark.files)
                .unwrap_or_default()
            {
                self.apply(number, step);
            }
        }
    }

    fn apply(&mut self, number: u64, step: Step) {
        let Some(file) = self.files.get_mut(&number) else {
            return;
        };
        self.behind = None;
        if let Some(reached) = step.reached {
            self.done += reached.offset.saturating_sub(file.offset);
            file.offset = reached.offset;
            file.length = file.length.max(reached.offset);
            (file.head, file.tail) = (reached.head, reached.tail);
            match reached.unfinished {
                0 => self.unfinished.remove(&number),
                bytes => self.unfinished.insert(number, bytes),
            };
        }
        file.is_gone |= step.is_gone;
        self.changed.insert(number);
    }
}

#[cfg(test)]
mod tests;
