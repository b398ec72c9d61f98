//! Nights with files, each with what must have come of it: the same world, in which nothing is left to chance.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::world::Op::{self, *};
use super::world::{World, event};
use crate::source::spec::FileStart;

const CREATE: Op = Rename { create: true };
const MOVE: Op = Rename { create: false };

/// What came of a night, besides that everything on disk was delivered once.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Outcome {
    /// On disk, but not delivered.
    passed: BTreeSet<u64>,
    /// Delivered more than once.
    twice: BTreeSet<u64>,
    /// Files that were taken for copies.
    copies: u64,
    /// Contents that were reported as gone, and the bytes that were lost with them.
    gone: (u64, u64),
}

fn passed(events: RangeInclusive<u64>) -> Outcome {
    let passed = events.collect();
    Outcome {
        passed,
        ..Outcome::default()
    }
}

fn copies(copies: u64) -> Outcome {
    Outcome {
        copies,
        ..Outcome::default()
    }
}

fn gone(files: u64, events: RangeInclusive<u64>) -> Outcome {
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
        copies: world.hook.copies,
        gone: (world.hook.gone, world.hook.lost),
    }
}

/// Tries each row with a path and with a pattern, or with one of them.
fn try_all(rows: &[(&str, &[bool], &[Op], Outcome)]) {
    let mut wrong = Vec::new();
    for (what, kinds, ops, expected) in rows {
        for is_glob in *kinds {
            let mut world = World::new(*is_glob, false);
            if what.contains("from the end") {
                world.from = FileStart::End;
            }
            ops.iter().for_each(|op| world.apply(*op));
            world.finish();
            let found = outcome(&world);
            if found != *expected {
                wrong.push(format!("{what}, {is_glob}: {found:?}, not {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const BOTH: &[bool] = &[false, true];
const PATH: &[bool] = &[false];
const GLOB: &[bool] = &[true];

#[test]
fn what_was_read_is_known_again() {
    let once = Outcome::default;
    try_all(&[
        (
            "renamed while it runs",
            BOTH,
            &[Start, Write(20), Settle, CREATE, Write(2), Settle],
            once(),
        ),
        (
            "moved, and written on",
            BOTH,
            &[
                Start,
                Write(20),
                Settle,
                MOVE,
                WriteOld(2),
                Settle,
                Write(3),
            ],
            once(),
        ),
        (
            "renamed meanwhile",
            BOTH,
            &[Start, Write(3), Settle, Stop, CREATE, Write(2)],
            once(),
        ),
        (
            "renamed twice meanwhile",
            BOTH,
            &[
                Start,
                Write(30),
                Settle,
                Stop,
                CREATE,
                Write(2),
                CREATE,
                Write(30),
            ],
            once(),
        ),
        (
            "copied and truncated while it runs",
            BOTH,
            &[Start, Write(20), Settle, Copytruncate, Settle, Write(9)],
            once(),
        ),
        (
            "copied and truncated meanwhile",
            BOTH,
            &[Start, Write(20), Settle, Stop, Copytruncate, Write(9)],
            once(),
        ),
        (
            "a few events, copied and truncated",
            BOTH,
            &[Start, Write(3), Settle, Stop, Copytruncate, Write(9)],
            once(),
        ),
        (
            "compressed while it runs",
            BOTH,
            &[
                Start,
                Write(20),
                Settle,
                CREATE,
                Settle,
                Gzip,
                Settle,
                Write(2),
            ],
            once(),
        ),
        (
            "compressed meanwhile",
            BOTH,
            &[Start, Write(20), Settle, Stop, CREATE, Gzip, Write(2)],
            once(),
        ),
        (
            "compressed before it was read",
            BOTH,
            &[
                Start,
                Write(60),
                Outage,
                Steps(3),
                Kill,
                CREATE,
                Gzip,
                Write(2),
            ],
            once(),
        ),
        (
            "killed after a truncation in an outage",
            BOTH,
            &[
                Start,
                Outage,
                Write(20),
                Settle,
                Copytruncate,
                Settle,
                Kill,
                Start,
                Settle,
            ],
            once(),
        ),
        (
            "half an event",
            BOTH,
            &[
                Start,
                Write(20),
                Half,
                Settle,
                Stop,
                Start,
                Settle,
                Write(2),
            ],
            once(),
        ),
        (
            "killed before it was delivered",
            BOTH,
            &[Start, Outage, Write(20), Settle, Kill],
            once(),
        ),
        (
            "stopped while forwarding is off",
            BOTH,
            &[Start, Write(20), Switch, Settle, Stop],
            once(),
        ),
    ]);
}

#[test]
fn copies_are_read_once() {
    try_all(&[
        (
            "beside its original",
            BOTH,
            &[Start, Write(20), Settle, Copy, Settle],
            copies(1),
        ),
        (
            "of a few events",
            BOTH,
            &[Start, Write(3), Settle, Copy, Settle],
            copies(1),
        ),
        (
            "before the start",
            GLOB,
            &[Write(20), Copy, Start, Settle],
            copies(1),
        ),
        (
            "that grows",
            BOTH,
            &[Start, Write(20), Settle, Copy, Settle, WriteOld(2), Settle],
            copies(2),
        ),
        (
            "longer at once",
            BOTH,
            &[Start, Write(20), Settle, Copy, WriteOld(2), Settle],
            copies(1),
        ),
        (
            "whose original grows",
            BOTH,
            &[Start, Write(20), Settle, Copy, Settle, Write(2), Settle],
            copies(1),
        ),
        (
            "both grow",
            BOTH,
            &[
                Start,
                Write(20),
                Settle,
                Copy,
                Settle,
                WriteOld(2),
                Write(3),
                Settle,
            ],
            copies(1),
        ),
        (
            "with half an event",
            BOTH,
            &[Start, Write(20), Half, Settle, Copy, Settle, Write(2)],
            copies(1),
        ),
        (
            "compressed",
            BOTH,
            &[Start, Write(20), Settle, CREATE, Settle, GzipKeep, Settle],
            copies(1),
        ),
        (
            "explained by a truncation",
            BOTH,
            &[
                Start,
                Write(20),
                Settle,
                Copy,
                Steps(20),
                Truncate,
                Settle,
                Write(2),
            ],
            Outcome::default(),
        ),
    ]);
}

#[test]
fn the_first_start_passes_over_what_was_there() {
    try_all(&[
        (
            "renamed from a path",
            PATH,
            &[Write(3), CREATE, Write(2)],
            passed(1..=3),
        ),
        (
            "renamed, of a pattern",
            GLOB,
            &[Write(3), CREATE, Write(2)],
            passed(1..=0),
        ),
        (
            "compressed",
            BOTH,
            &[Write(3), CREATE, Gzip, Write(2)],
            passed(1..=3),
        ),
        (
            "compressed, renamed later",
            BOTH,
            &[
                Write(3),
                CREATE,
                Gzip,
                Write(2),
                Start,
                Settle,
                Stop,
                CREATE,
                Write(2),
            ],
            passed(1..=3),
        ),
        (
            "renamed, written on",
            PATH,
            &[Write(3), CREATE, Start, Settle, WriteOld(2)],
            passed(1..=3),
        ),
        (
            "renamed again later",
            PATH,
            &[
                Write(3),
                CREATE,
                Write(2),
                Start,
                Settle,
                Stop,
                CREATE,
                Write(2),
            ],
            passed(1..=3),
        ),
        (
            "from the end",
            BOTH,
            &[Write(3), Half, Start, Settle, Write(2)],
            passed(1..=3),
        ),
        (
            "from the end, the next file",
            BOTH,
            &[Write(3), Start, Settle, CREATE, Write(2)],
            passed(1..=3),
        ),
        (
            "compressed otherwise",
            BOTH,
            &[Zstd, Write(3), Start, Settle, Stop, Start, Settle],
            passed(1..=0),
        ),
    ]);
}

#[test]
fn what_is_gone_is_reported_with_what_was_not_read() {
    try_all(&[
        (
            "read, removed while it runs",
            BOTH,
            &[
                Start,
                Write(20),
                Settle,
                CREATE,
                CREATE,
                RemoveOldest,
                Settle,
            ],
            gone(0, 1..=0),
        ),
        (
            "read, removed meanwhile",
            BOTH,
            &[Start, Write(20), Settle, Stop, CREATE, CREATE, RemoveOldest],
            gone(1, 1..=0),
        ),
        (
            "not read, removed meanwhile",
            BOTH,
            &[
                Start,
                Write(60),
                Outage,
                Settle,
                Kill,
                CREATE,
                CREATE,
                RemoveOldest,
            ],
            gone(1, 1..=60),
        ),
        (
            "truncated after it was read",
            BOTH,
            &[Start, Write(20), Settle, Truncate, Write(3), Settle],
            gone(0, 1..=0),
        ),
        (
            "truncated meanwhile",
            BOTH,
            &[Start, Write(20), Settle, Stop, Truncate, Write(3)],
            gone(1, 1..=0),
        ),
    ]);
}
