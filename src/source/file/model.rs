//! The files of a source against a naive model, with real files and the reader's own code: a random sequence of writes,
//! rotations of all kinds, truncations, removals, starts, stops, kills and outages. The model knows only which events
//! were written to a file that is still there, uncompressed or gzipped, under a name that the source means: all of
//! those must have been delivered at the end. What the agent has seen, and is gone, must have been reported, and
//! nothing if nothing is gone. `FILE_MODEL_CASES` sets how many sequences are tried.

mod compressed;
mod compressing;
mod follower;
mod hook;
mod kept;
mod night;
mod not_yet;
mod op;
mod rows;
mod tracked;
mod unpacking;
mod world;

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;

use self::op::Op;
use self::world::{World, event};

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1..30_u8).prop_map(Op::Write),
        1 => Just(Op::Half),
        2 => any::<bool>().prop_map(|create| Op::Rename { create }),
        1 => Just(Op::Date),
        2 => Just(Op::Copytruncate),
        1 => Just(Op::Truncate),
        1 => Just(Op::Gzip),
        1 => Just(Op::Gunzip),
        1 => (1..9_u8).prop_map(Op::Live),
        1 => Just(Op::Replace),
        1 => Just(Op::RemoveOldest),
        1 => (1..5_u8).prop_map(Op::WriteOld),
        1 => Just(Op::BadEntry),
        1 => Just(Op::Stub),
        1 => Just(Op::Unmount),
        1 => Just(Op::Switch),
        2 => Just(Op::Settle),
        6 => (1..8_u8).prop_map(Op::Steps),
        2 => Just(Op::Deliver),
        2 => Just(Op::Outage),
        2 => Just(Op::Stop),
        2 => Just(Op::Kill),
        3 => Just(Op::Start),
    ]
}

/// Two rotations, maybe in an outage, while the agent runs, stops or is killed, and the oldest file is removed or not.
/// Most faults need such a night, which single operations seldom produce.
fn night() -> impl Strategy<Value = Vec<Op>> {
    let end = prop_oneof![Just(None), Just(Some(Op::Stop)), Just(Some(Op::Kill))];
    // More than there is room for, so that some are still to be read when their file goes.
    let writes = (1..60_u8, 1..60_u8);
    (any::<(bool, bool, bool)>(), end, writes).prop_map(
        |((is_away, create, removes), end, writes)| {
            let rotate = Op::Rename { create };
            let ops = [
                is_away.then_some(Op::Outage),
                Some(Op::Write(writes.0)),
                Some(Op::Settle),
                Some(rotate),
                Some(Op::Write(writes.1)),
                Some(Op::Settle),
                Some(rotate),
                Some(Op::Write(1)),
                Some(Op::Settle),
                end,
                removes.then_some(Op::RemoveOldest),
                Some(Op::Start),
            ];
            ops.into_iter().flatten().collect()
        },
    )
}

/// A stub, and beside it a file that begins, and grows longer than the stub.
fn stub() -> impl Strategy<Value = Vec<Op>> {
    (any::<bool>(), 1..30_u8).prop_map(|(create, count)| {
        let rotate = Op::Rename { create };
        let write = Op::Write(count);
        vec![Op::Stub, Op::Settle, rotate, write, Op::Settle]
    })
}

/// The log can't be looked at for a while, maybe over a start.
fn hidden() -> impl Strategy<Value = Vec<Op>> {
    let end = prop_oneof![Just(None), Just(Some(Op::Stop)), Just(Some(Op::Kill))];
    (any::<bool>(), end, 1..60_u8).prop_map(|(is_away, end, count)| {
        let ops = [
            is_away.then_some(Op::Outage),
            Some(Op::Write(count)),
            Some(Op::Settle),
            end,
            Some(Op::Hide),
            Some(Op::Start),
            Some(Op::Settle),
            Some(Op::Hide),
        ];
        ops.into_iter().flatten().collect()
    })
}

/// What is cut off is noticed only if that is not made up for at once.
fn cut() -> impl Strategy<Value = Vec<Op>> {
    (0..9_u8).prop_map(|count| vec![Op::Cut(count), Op::Settle])
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let some = prop_oneof![24 => op().prop_map(|op| vec![op]), 2 => night(), 1 => stub(), 1 => hidden(), 1 => cut()];
    vec(some, 1..29).prop_map(|ops| ops.concat())
}

fn run(kind: Kind, ops: &[Op]) -> Result<(), TestCaseError> {
    let mut world = World::new(kind.is_glob, kind.has_banner);
    if kind.is_closed {
        world.max_open = 0;
    }
    // Files that were rotated before the first start don't belong to a path.
    if !kind.is_late {
        world.apply(Op::Write(3));
    }
    world.start();
    prop_assert_eq!(
        world.hook.has_waited,
        kind.is_late,
        "a file that is not there is reported"
    );
    for op in ops {
        world.apply(*op);
    }
    world.finish();
    let expected = world.on_disk();
    let delivered: BTreeSet<u64> = world.hook.delivered.keys().copied().collect();
    let lost: Vec<u64> = expected.difference(&delivered).copied().collect();
    prop_assert!(lost.is_empty(), "lost: {lost:?}");
    let let_go = world.held.difference(&delivered);
    let let_go: Vec<u64> = let_go.copied().collect();
    prop_assert!(
        kind.is_closed || let_go.is_empty(),
        "removed while it was open: {let_go:?}"
    );
    // What was seen, and is gone with its file, is reported with its bytes.
    let gone = world.known.difference(&delivered);
    let gone = gone.filter(|number| !world.vague.contains(number) && !expected.contains(number));
    let gone: Vec<u64> = gone.copied().collect();
    let bytes: usize = gone.iter().map(|number| event(*number).len()).sum();
    let reported = world.hook.lost;
    // What is queued from a file that is let go early may be lost with a kill.
    // Of two files that begin alike, one that is gone before any of it was read may seem to be the other.
    prop_assert!(
        kind.has_banner || kind.is_closed || reported >= bytes as u64,
        "{gone:?} are gone, {bytes} bytes; reported: {reported}"
    );
    prop_assert!(
        world.has_removed || kind.has_banner || (reported, world.hook.gone) == (0, 0),
        "nothing is gone; reported: {} times, {reported} bytes",
        world.hook.gone
    );
    prop_assert!(
        kind.has_banner || world.hook.gone >= world.removed_meanwhile,
        "{} files are gone; reported: {}",
        world.removed_meanwhile,
        world.hook.gone
    );
    let half = world.half.as_ref().map(|(_, number)| *number);
    for number in delivered {
        prop_assert!(
            number < world.next && Some(number) != half,
            "{number} was never written"
        );
    }
    Ok(())
}

fn cases() -> Config {
    let cases = std::env::var("FILE_MODEL_CASES")
        .ok()
        .and_then(|text| text.parse().ok());
    Config {
        cases: cases.unwrap_or(300),
        ..Config::default()
    }
}

/// What stays the same throughout a sequence.
#[derive(Debug, Clone, Copy)]
struct Kind {
    is_glob: bool,
    /// All files begin with the same KiB.
    has_banner: bool,
    /// There is no file when the agent starts.
    is_late: bool,
    /// No file stays open that was read.
    is_closed: bool,
}

fn kind() -> impl Strategy<Value = Kind> {
    any::<(bool, bool, bool, bool)>().prop_map(|(is_glob, has_banner, is_late, is_closed)| Kind {
        is_glob,
        has_banner,
        is_late,
        is_closed,
    })
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn everything_on_disk_is_delivered(kind in kind(), ops in ops()) {
        run(kind, &ops)?;
    }
}
