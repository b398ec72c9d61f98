//! Tries lines of what happens in a night, and tells what came of each.

use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};

use super::op::ops;
use super::world::{World, event};
use crate::source::spec::FileStart;

/// What came of a night, besides that everything on disk was delivered once.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    /// On disk, but not delivered.
    pub(super) passed: BTreeSet<u64>,
    /// Delivered more than once.
    pub(super) twice: BTreeSet<u64>,
    /// What was no event.
    pub(super) malformed: u64,
    /// Files that were taken for copies.
    pub(super) copies: u64,
    /// Contents that were reported as gone, and the bytes that were lost with them.
    pub(super) gone: (u64, u64),
    /// Not in order.
    pub(super) is_mixed: bool,
    /// The agent has not come to rest.
    pub(super) is_busy: bool,
    /// Something counts as not yet delivered.
    pub(super) is_behind: bool,
}

pub(super) fn passed(events: RangeInclusive<u64>) -> Outcome {
    let passed = events.collect();
    Outcome {
        passed,
        ..Outcome::default()
    }
}

pub(super) fn twice(events: RangeInclusive<u64>) -> Outcome {
    let twice = events.collect();
    Outcome {
        twice,
        ..Outcome::default()
    }
}

pub(super) fn copies(copies: u64) -> Outcome {
    Outcome {
        copies,
        ..Outcome::default()
    }
}

pub(super) fn gone(files: u64, events: Range<u64>) -> Outcome {
    let bytes = events.map(|number| event(number).len() as u64).sum();
    Outcome {
        gone: (files, bytes),
        ..Outcome::default()
    }
}

fn outcome(world: &World) -> Outcome {
    let delivered = &world.hook.delivered;
    let on_disk = world.on_disk().into_iter();
    let twice = delivered.iter().filter(|(_, times)| **times > 1);
    Outcome {
        passed: on_disk
            .filter(|number| !delivered.contains_key(number))
            .collect(),
        twice: twice.map(|(number, _)| *number).collect(),
        malformed: world.hook.malformed,
        copies: world.hook.copies,
        gone: (world.hook.gone, world.hook.lost),
        is_mixed: world.hook.is_mixed,
        is_busy: !world.is_idle(),
        is_behind: world.behind() > 0,
    }
}

pub(super) const BOTH: &[bool] = &[false, true];
pub(super) const PATH: &[bool] = &[false];
pub(super) const GLOB: &[bool] = &[true];

/// Tries each line, a name and what happens, with a path and with a pattern, or with one of them.
#[track_caller]
pub(super) fn all(kinds: &[bool], expected: &Outcome, lines: &str) {
    let mut wrong = String::new();
    for line in lines.lines().filter(|line| line.contains(':')) {
        let (what, line) = line.split_once(':').unwrap();
        for is_glob in kinds {
            let mut world = World::new(*is_glob, what.contains("all begin alike"));
            if what.contains("all closed") {
                world.max_open = 0;
            }
            if what.contains("let go at once") {
                world.max_deleted = 1;
            }
            if what.contains("from the end") {
                world.from = FileStart::End;
            }
            ops(line).into_iter().for_each(|op| world.apply(op));
            world.finish();
            let found = outcome(&world);
            if found != *expected {
                wrong.push_str(&format!("{what}, {is_glob}: {found:?}\n"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}not {expected:?}");
}
