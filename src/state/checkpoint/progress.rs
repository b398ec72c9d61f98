//! Which places of a source's files its events have passed. The source's thread marks what it has read, the
//! keeper's asks what of that has ended.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{FileOffset, Fingerprint};

/// Marks kept at most: later ones are then merged, which makes the places coarser but never wrong.
const MARKS: usize = 256;

/// How far one file was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// Whole events only.
    pub offset: u64,
    /// What it begins with.
    pub fingerprint: Fingerprint,
}

/// A source's files; clones are the same ones.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// By the number that the source has given them.
    passed: BTreeMap<u64, FileOffset>,
    marks: VecDeque<Mark>,
}

/// When so many events have ended, these files have come so far; those with nothing are done with.
#[derive(Debug)]
struct Mark {
    position: u64,
    files: Vec<(u64, Option<Reached>)>,
}

impl Progress {
    /// A file is followed from here on.
    pub fn start(&self, file: u64, reached: Reached) {
        let mut state = self.lock();
        state.pass(file, Some(reached));
    }

    /// A file is there, of this name, inode number and length.
    pub fn seen(&self, file: u64, name: &str, inode: u64, length: u64) {
        let mut state = self.lock();
        let place = state.passed.entry(file).or_default();
        if place.name != name {
            name.clone_into(&mut place.name);
        }
        (place.inode, place.length) = (inode, length);
    }

    /// When `position` events have ended, all have that stand in the file before the place reached, or, if
    /// there is none, the file is done with. Positions never fall.
    pub fn mark(&self, position: u64, file: u64, reached: Option<Reached>) {
        let mut state = self.lock();
        let is_full = state.marks.len() >= MARKS;
        match state.marks.back_mut() {
            Some(last) if is_full || last.position == position => {
                last.position = position;
                match last.files.iter_mut().find(|(known, _)| *known == file) {
                    Some(known) => known.1 = reached,
                    None => last.files.push((file, reached)),
                }
            }
            _ => state.marks.push_back(Mark {
                position,
                files: vec![(file, reached)],
            }),
        }
    }

    /// The places that are passed now that so many events have ended.
    pub fn places(&self, ended: u64) -> Vec<FileOffset> {
        let mut state = self.lock();
        while state
            .marks
            .front()
            .is_some_and(|mark| mark.position <= ended)
        {
            let files = state.marks.pop_front().map(|mark| mark.files);
            for (file, reached) in files.unwrap_or_default() {
                state.pass(file, reached);
            }
        }
        let passed = state.passed.values();
        // Of the others nothing is known that a start without it would not find out.
        passed
            .filter(|place| place.fingerprint.bytes > 0)
            .cloned()
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn pass(&mut self, file: u64, reached: Option<Reached>) {
        let Some(reached) = reached else {
            self.passed.remove(&file);
            return;
        };
        let place = self.passed.entry(file).or_default();
        (place.offset, place.fingerprint) = (reached.offset, reached.fingerprint);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(offset: u64) -> Option<Reached> {
        Some(Reached {
            offset,
            fingerprint: Fingerprint { bytes: 9, hash: 9 },
        })
    }

    fn offsets(progress: &Progress, ended: u64) -> Vec<u64> {
        let places = progress.places(ended).into_iter();
        places.map(|place| place.offset).collect()
    }

    #[test]
    fn a_place_is_passed_when_all_before_it_has_ended() {
        let progress = Progress::default();
        progress.mark(10, 1, reached(100));
        progress.mark(10, 1, reached(110));
        progress.mark(20, 2, reached(50));
        progress.mark(25, 1, None);
        assert_eq!(offsets(&progress, 9), [0; 0]);
        assert_eq!(offsets(&progress, 19), [110]);
        assert_eq!(offsets(&progress, 20), [110, 50]);
        assert_eq!(offsets(&progress, 25), [50]);
    }

    #[test]
    fn a_file_that_is_done_with_stays_while_its_events_have_not_ended() {
        let progress = Progress::default();
        progress.start(1, reached(7).unwrap());
        progress.mark(3, 1, reached(30));
        progress.mark(3, 1, None);
        assert_eq!(offsets(&progress, 2), [7]);
        assert_eq!(offsets(&progress, 3), [0; 0]);
    }

    #[test]
    fn many_marks_are_merged_to_a_later_place() {
        let progress = Progress::default();
        let files = 3;
        for position in 1..=10_000 {
            progress.mark(position, position % files, reached(position * 10));
        }
        assert!(progress.lock().marks.len() <= MARKS);
        for ended in 0..=10_000u64 {
            let passed = offsets(&progress, ended).into_iter().max().unwrap_or(0);
            assert!(passed <= ended * 10, "{passed} after {ended}");
        }
        assert_eq!(offsets(&progress, 10_000), [99_990, 100_000, 99_980]);
    }
}
