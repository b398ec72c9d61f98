//! The files of a source against a naive model, with real files and the reader's own code: a random sequence of writes,
//! rotations of all kinds, truncations, removals, starts, stops, kills and outages. The model knows nothing but which
//! events were written to a file that is still there, uncompressed or gzipped, under a name that the source means:
//! those must all have been delivered at the end. `FILE_MODEL_CASES` sets how many sequences are tried.

mod world;

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;

use self::world::{Op, World};

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1..30_u8).prop_map(Op::Write),
        1 => Just(Op::Half),
        2 => any::<bool>().prop_map(|create| Op::Rename { create }),
        1 => Just(Op::Date),
        2 => Just(Op::Copytruncate),
        1 => Just(Op::Gzip),
        1 => Just(Op::RemoveOldest),
        1 => (1..5_u8).prop_map(Op::WriteOld),
        1 => Just(Op::BadEntry),
        6 => (1..8_u8).prop_map(Op::Steps),
        2 => Just(Op::Deliver),
        2 => Just(Op::Outage),
        2 => Just(Op::Stop),
        2 => Just(Op::Kill),
        3 => Just(Op::Start),
    ]
}

fn run(is_glob: bool, ops: &[Op]) -> Result<(), TestCaseError> {
    let mut world = World::new(is_glob);
    // What was rotated before the first start is none of a path's business.
    world.apply(Op::Write(3));
    world.start();
    for op in ops {
        world.apply(*op);
    }
    let expected = world.on_disk();
    world.finish();
    let delivered: BTreeSet<u64> = world.hook.delivered.keys().copied().collect();
    let lost: Vec<u64> = expected.difference(&delivered).copied().collect();
    prop_assert!(lost.is_empty(), "lost: {lost:?}");
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
        cases: cases.unwrap_or(1000),
        ..Config::default()
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn everything_on_disk_is_delivered(is_glob in any::<bool>(), ops in vec(op(), 1..40)) {
        run(is_glob, &ops)?;
    }
}
