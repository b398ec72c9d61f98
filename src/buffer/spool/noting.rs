//! What is noted in the position file and when that is synced, so that segments can be removed. No clock, no I/O.

use super::group::SyncMode;
use super::position::Position;

/// What the position file says, and what it says on disk.
#[derive(Debug)]
pub(super) struct Noted {
    written: Position,
    durable: Position,
    /// The last attempt has failed.
    is_failing: bool,
}

/// How far the spool is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reached {
    /// All events with lower numbers are final.
    pub(super) acked: u64,
    /// All with lower numbers were written. None while writers wait until some of them are on disk.
    pub(super) end: Option<u64>,
    /// Segments are not needed any more.
    pub(super) can_release: bool,
    /// Their room will be needed soon.
    pub(super) is_pressing: bool,
}

/// What to do with the position file, and then with segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// What it says afterwards.
    pub(super) at: Position,
    pub(super) writes: bool,
    pub(super) syncs: bool,
    /// Removes the segments before `at`, once that is on disk.
    pub(super) releases: bool,
}

/// A step that ended unlike the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Failed,
    Restored,
}

impl Noted {
    /// The position file says this.
    pub(super) fn at(position: Position) -> Self {
        Noted {
            written: position,
            durable: position,
            is_failing: false,
        }
    }

    /// Another file says this.
    pub(super) fn move_to(&mut self, position: Position) {
        (self.written, self.durable) = (position, position);
    }

    /// All events with lower numbers were written, as the file says.
    pub(super) fn end(&self) -> u64 {
        self.written.end
    }

    /// What to do, if anything. `is_due` is true once a second and at the end: only then everything is noted, and a file
    /// that has failed is tried again.
    pub(super) fn step(&self, sync: SyncMode, reached: Reached, is_due: bool) -> Option<Step> {
        if self.is_failing && !is_due {
            return None;
        }
        let now = Position {
            acked: reached.acked,
            // No writer was told that the rest is safe.
            end: reached.end.unwrap_or(self.written.end),
        };
        let is_new = now.acked != self.written.acked || (is_due && now != self.written);
        let is_behind = is_due && sync != SyncMode::Never && now != self.durable;
        let releases = reached.can_release && (is_due || reached.is_pressing);
        // What could not be synced is written again: the kernel may have forgotten it.
        let (writes, syncs) = (
            is_new || self.is_failing,
            releases || is_behind || self.is_failing,
        );
        (writes || syncs).then_some(Step {
            at: if writes { now } else { self.written },
            writes,
            syncs,
            releases,
        })
    }

    /// A step was taken, or has failed.
    pub(super) fn taken(&mut self, step: Step, is_ok: bool) -> Option<Change> {
        if is_ok {
            self.written = step.at;
            if step.syncs {
                self.durable = step.at;
            }
        }
        let was_failing = std::mem::replace(&mut self.is_failing, !is_ok);
        match (was_failing, is_ok) {
            (false, false) => Some(Change::Failed),
            (true, true) => Some(Change::Restored),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::tests::sync_mode;
    use super::*;

    fn position(acked: u64, end: u64) -> Position {
        Position { acked, end }
    }

    fn reached(acked: u64, end: u64) -> Reached {
        Reached {
            acked,
            end: Some(end),
            can_release: false,
            is_pressing: false,
        }
    }

    #[test]
    fn what_is_noted_when() {
        use SyncMode::{Always, Never, Second};
        let (due, between) = (true, false);
        let noted = Noted {
            written: position(5, 9),
            durable: position(3, 9),
            is_failing: false,
        };
        let removable = |reached| Reached {
            can_release: true,
            ..reached
        };
        let pressing = |reached| Reached {
            is_pressing: true,
            ..removable(reached)
        };
        let unsynced = |reached| Reached {
            end: None,
            ..reached
        };
        let (same, final_, more) = (reached(5, 9), reached(7, 9), reached(5, 12));
        for (sync, reached, is_due, expected) in [
            // Nothing is new.
            (Second, same, between, None),
            (Never, same, due, None),
            (Second, same, due, Some((5, 9, "sync"))),
            // What is final is noted at once, what was written once a second.
            (Second, final_, between, Some((7, 9, "write"))),
            (Never, final_, due, Some((7, 9, "write"))),
            (Second, final_, due, Some((7, 9, "write, sync"))),
            (Second, more, between, None),
            (Never, more, due, Some((5, 12, "write"))),
            (Second, more, due, Some((5, 12, "write, sync"))),
            // Not what a writer still waits for.
            (Always, unsynced(more), due, Some((5, 9, "sync"))),
            (Always, unsynced(final_), due, Some((7, 9, "write, sync"))),
            // Segments are removed once a second, or when there is no room, and only after a sync.
            (Never, removable(same), between, None),
            (Never, removable(same), due, Some((5, 9, "sync, release"))),
            (
                Never,
                pressing(same),
                between,
                Some((5, 9, "sync, release")),
            ),
            (
                Never,
                pressing(more),
                between,
                Some((5, 9, "sync, release")),
            ),
            (Second, removable(final_), between, Some((7, 9, "write"))),
            (
                Second,
                removable(final_),
                due,
                Some((7, 9, "write, sync, release")),
            ),
            (
                Never,
                pressing(final_),
                between,
                Some((7, 9, "write, sync, release")),
            ),
        ] {
            let step = noted.step(sync, reached, is_due);
            let found = step.map(|step| {
                let acts = [
                    (step.writes, "write"),
                    (step.syncs, "sync"),
                    (step.releases, "release"),
                ];
                let acts = acts.iter().filter(|(does, _)| *does).map(|(_, act)| *act);
                (
                    step.at.acked,
                    step.at.end,
                    acts.collect::<Vec<_>>().join(", "),
                )
            });
            let expected = expected.map(|(acked, end, acts)| (acked, end, acts.to_owned()));
            assert_eq!(found, expected, "{sync:?} {reached:?} due: {is_due}");
        }
    }

    #[test]
    fn a_file_that_failed_is_tried_again_once_a_second_as_a_whole() {
        let mut noted = Noted::at(position(1, 1));
        let step = noted.step(SyncMode::Never, reached(2, 3), false).unwrap();
        assert_eq!((step.writes, step.syncs), (true, false));
        assert_eq!(noted.taken(step, false), Some(Change::Failed));
        assert_eq!(noted.step(SyncMode::Never, reached(2, 3), false), None);
        let step = noted.step(SyncMode::Never, reached(2, 3), true).unwrap();
        assert_eq!((step.writes, step.syncs), (true, true));
        assert_eq!(noted.taken(step, false), None);
        let step = noted.step(SyncMode::Never, reached(2, 3), true).unwrap();
        assert_eq!(noted.taken(step, true), Some(Change::Restored));
        assert_eq!(noted.step(SyncMode::Never, reached(2, 3), true), None);
    }

    /// A file whose bytes are on disk after a sync only; a kernel forgets what it could not sync.
    #[derive(Debug)]
    struct Disk {
        on_disk: Position,
        in_memory: Option<Position>,
    }

    #[derive(Debug, Clone)]
    struct Tick {
        acked: u64,
        written: u64,
        is_due: bool,
        waits: bool,
        is_pressing: bool,
        write_works: bool,
        sync_works: bool,
    }

    fn tick() -> impl Strategy<Value = Tick> {
        let works = || proptest::bool::weighted(0.8);
        (
            0..4_u64,
            0..4_u64,
            any::<bool>(),
            any::<bool>(),
            any::<bool>(),
            works(),
            works(),
        )
            .prop_map(
                |(acked, written, is_due, waits, is_pressing, write_works, sync_works)| Tick {
                    acked,
                    written,
                    is_due,
                    waits,
                    is_pressing,
                    write_works,
                    sync_works,
                },
            )
    }

    proptest! {
        /// Whatever fails: what was removed is final on disk too, and what works is noted.
        #[test]
        fn nothing_is_removed_that_a_disk_still_needs(sync in sync_mode(), ticks in vec(tick(), 1..60)) {
            let begin = position(4, 4);
            let (mut noted, mut now, mut failing) = (Noted::at(begin), begin, false);
            let mut disk = Disk { on_disk: begin, in_memory: None };
            // The numbers before which segments end, each with four events.
            let (mut removed, segment) = (4, 4);
            for tick in ticks {
                now.end += tick.written;
                now.acked = (now.acked + tick.acked).min(now.end);
                let reached = Reached {
                    acked: now.acked,
                    end: (!tick.waits).then_some(now.end),
                    can_release: now.acked >= removed + segment,
                    is_pressing: tick.is_pressing,
                };
                let step = noted.step(sync, reached, tick.is_due);
                let file = disk.in_memory.unwrap_or(disk.on_disk);
                if tick.is_due && !failing && step.is_none() {
                    prop_assert_eq!(file.acked, now.acked);
                    prop_assert!(tick.waits || file.end == now.end);
                }
                let Some(step) = step else { continue };
                let mut is_ok = true;
                if step.writes {
                    is_ok = tick.write_works;
                    disk.in_memory = is_ok.then_some(step.at).or(disk.in_memory);
                }
                if step.syncs && is_ok {
                    is_ok = tick.sync_works;
                    let synced = disk.in_memory.take().filter(|_| is_ok);
                    disk.on_disk = synced.unwrap_or(disk.on_disk);
                }
                let change = noted.taken(step, is_ok);
                prop_assert_eq!(change.is_some(), failing == is_ok);
                failing = !is_ok;
                if is_ok {
                    prop_assert_eq!(disk.in_memory.unwrap_or(disk.on_disk), step.at);
                }
                if is_ok && tick.is_due && sync != SyncMode::Never {
                    prop_assert_eq!(disk.on_disk.acked, now.acked);
                    prop_assert!(tick.waits || disk.on_disk.end == now.end);
                }
                if is_ok && step.releases {
                    removed += (step.at.acked - removed) / segment * segment;
                }
                // A power failure now would find all that was not removed, and know that the rest is final.
                prop_assert!(disk.on_disk.acked >= removed);
            }
        }
    }
}
