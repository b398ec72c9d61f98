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
        self.change(|state| {
            state.behind = None;
            if let Some(file) = state.files.get_mut(&number) {
                file.length = length;
                state.changed.insert(number);
            }
        });
    }

    /// A file can be forgotten: nothing of it was read, or it has been gone for a long time.
    pub fn drop_file(&self, number: u64) {
        self.change(|state| {
            state.files.remove(&number);
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

    /// Bytes that are not final yet, of all files that are present.
    pub fn behind(&self) -> u64 {
        let mut state = self.lock();
        if let Some(behind) = state.behind {
            return behind;
        }
        let there = state.files.values().filter(|file| !file.is_gone);
        let behind = there.map(|file| file.unread()).sum();
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
        }
        file.is_gone |= step.is_gone;
        self.changed.insert(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(offset: u64) -> Reached {
        Reached {
            offset,
            head: Fingerprint { bytes: 9, hash: 9 },
            tail: Fingerprint::default(),
        }
    }

    fn with_files(numbers: std::ops::Range<u64>) -> Progress {
        let progress = Progress::default();
        numbers.for_each(|number| progress.start(number, FileOffset::default()));
        progress
    }

    fn files(progress: &Progress) -> BTreeMap<u64, FileOffset> {
        let mut files = BTreeMap::new();
        progress.each(|number, file| drop(files.insert(number, file.clone())));
        files
    }

    fn offsets(progress: &Progress, watermark: u64) -> Vec<u64> {
        progress.advance(watermark);
        let found = files(progress).into_values();
        found.map(|file| file.offset).collect()
    }

    #[test]
    fn an_offset_is_committed_when_all_before_it_is_final() {
        let progress = with_files(1..3);
        progress.mark(10, 1, reached(100));
        progress.mark(10, 1, reached(110));
        progress.mark(20, 2, reached(50));
        assert_eq!(offsets(&progress, 9), [0, 0]);
        assert_eq!(offsets(&progress, 19), [110, 0]);
        assert_eq!(offsets(&progress, 20), [110, 50]);
        progress.drop_file(1);
        assert_eq!(offsets(&progress, 25), [50]);
    }

    #[test]
    fn who_writes_it_is_woken_when_there_is_something_to_write() {
        let (wake, woken) = crossbeam_channel::bounded(1);
        let progress = Progress::waking(wake);
        let is_woken = || woken.try_recv().is_ok();
        assert!(!is_woken());
        progress.start(1, FileOffset::default());
        progress.start(2, FileOffset::default());
        assert!(is_woken() && !is_woken(), "once");
        progress.mark(3, 1, reached(30));
        assert!(is_woken(), "its events may be final already");
        progress.mark(4, 1, reached(40));
        assert!(!is_woken(), "the watermark wakes");
        progress.commit(3, false);
        progress.lost(2, 7);
        assert!(is_woken(), "while a mark waits");
        progress.commit(3, false);
        let path: Arc<Path> = Path::new("").into();
        progress.seen(2, &path, 0, 0, 70, Fingerprint::default());
        assert!(!is_woken(), "only grown");
        progress.seen(2, &path, 0, 1, 70, Fingerprint::default());
        assert!(is_woken());
        progress.commit(4, true);
        progress.gone(4, 1);
        assert!(is_woken());
        progress.commit(4, true);
        progress.drop_file(2);
        assert!(is_woken());
    }

    #[test]
    fn a_file_is_gone_only_when_its_events_are_final() {
        let progress = with_files(1..2);
        progress.mark(3, 1, reached(30));
        progress.gone(3, 1);
        progress.advance(2);
        assert!(!files(&progress)[&1].is_gone);
        progress.advance(3);
        let file = &files(&progress)[&1];
        assert!(file.is_gone && file.offset == 30);
    }

    #[test]
    fn many_marks_are_merged_to_a_later_offset() {
        let progress = with_files(0..3);
        for position in 1..=10_000 {
            progress.mark(position, position % 3, reached(position * 10));
        }
        assert!(progress.lock().marks.len() <= MARKS);
        for watermark in 0..=10_000u64 {
            let committed = offsets(&progress, watermark).into_iter().max().unwrap_or(0);
            assert!(committed <= watermark * 10, "{committed} after {watermark}");
        }
        assert_eq!(offsets(&progress, 10_000), [99_990, 100_000, 99_980]);
    }

    #[test]
    fn only_what_has_changed_is_written() {
        let progress = with_files(1..4);
        let numbers = |changes: Changes| -> Vec<u64> {
            changes.into_iter().map(|(number, _)| number).collect()
        };
        assert_eq!(numbers(progress.commit(0, false)), [1, 2, 3]);
        let path: Arc<Path> = Path::new("").into();
        progress.seen(2, &path, 1, 0, 0, Fingerprint::default());
        assert_eq!(numbers(progress.commit(0, false)), [2], "its device");
        progress.seen(2, &path, 1, 0, 70, Fingerprint::default());
        assert_eq!(numbers(progress.commit(0, false)), [0; 0]);
        assert_eq!(numbers(progress.commit(0, true)), [2], "its length");
        progress.mark(5, 3, reached(1));
        assert_eq!(numbers(progress.commit(4, true)), [0; 0]);
        assert_eq!(numbers(progress.commit(5, true)), [3]);
    }
    #[test]
    fn what_was_read_and_is_complete_is_gone_at_once() {
        for (length, marked, is_gone) in [(0, false, true), (9, false, false), (0, true, false)] {
            let progress = Progress::default();
            let file = FileOffset {
                length,
                ..FileOffset::default()
            };
            progress.start(1, file);
            if marked {
                progress.mark(4, 1, reached(0));
            }
            progress.gone(5, 1);
            assert_eq!(files(&progress)[&1].is_gone, is_gone, "{length} {marked}");
            progress.advance(5);
            assert!(files(&progress)[&1].is_gone);
        }
    }

    #[test]
    fn what_is_not_final_and_what_became_so_is_counted() {
        let progress = Progress::default();
        assert!(!progress.is_ready());
        progress.ready();
        assert!(progress.is_ready());
        for (number, offset, length, is_gone) in
            [(1, 20, 100, false), (2, 50, 50, false), (3, 0, 30, true)]
        {
            let file = FileOffset {
                offset,
                length,
                is_gone,
                ..FileOffset::default()
            };
            progress.start(number, file);
        }
        assert_eq!((progress.behind(), progress.done()), (80, 0));
        progress.mark(10, 1, reached(60));
        assert_eq!((progress.behind(), progress.done()), (80, 0));
        progress.advance(10);
        assert_eq!((progress.behind(), progress.done()), (40, 40));
        progress.mark(11, 1, reached(100));
        progress.advance(11);
        assert_eq!((progress.behind(), progress.done()), (0, 80));
    }
}
