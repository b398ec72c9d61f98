//! What is known of compressed files that were not read to their end.

use std::collections::BTreeSet;

use super::night::{BOTH, GLOB};
use super::op::{Op, ops};
use super::world::{World, event};
use crate::source::file::gzip::UNPACKED;
use crate::source::file::reading::TURN;
use crate::state::checkpoint::HEAD_BYTES;

/// A pattern's world, in which a compressed file of 2000 events was read in part.
fn read_in_part(max_deleted: u64) -> World {
    let mut world = World::new(true, false);
    world.max_deleted = max_deleted;
    let line = "start write 2 settle stop write 250 write 250 write 250 write 250 write 250 write 250 write 250
        write 250 rename gzip write 1 rename outage start settle";
    ops(line).into_iter().for_each(|op| world.apply(op));
    assert!(world.behind() > 0, "it is not read to its end");
    world
}

#[test]
fn the_loss_of_a_compressed_file_that_was_read_in_part_is_reported() {
    for (max_deleted, line, are_lost) in [
        (1, "remove settle", true),
        (1 << 30, "remove settle", false),
        (1 << 30, "kill remove start settle", true),
        (1 << 30, "stop remove start settle", true),
        (
            1 << 30,
            "deliver settle kill start settle remove settle",
            false,
        ),
    ] {
        let mut world = read_in_part(max_deleted);
        ops(line).into_iter().for_each(|op| world.apply(op));
        world.finish();
        let found = (world.hook.gone > 0, world.hook.lost > 0, world.behind());
        assert_eq!(found, (are_lost, are_lost, 0), "{line}");
        let delivered = world.hook.delivered.len();
        assert_eq!(delivered == 2003, !are_lost, "{line}: {delivered}");
    }
}

#[test]
fn what_a_damaged_file_lacks_is_counted_once() {
    let mut world = World::new(true, false);
    let line = "start outage write 60 settle kill rename compressing 50 write 3 start deliver settle wait 40 deliver";
    ops(line).into_iter().for_each(|op| world.apply(op));
    assert_eq!(world.hook.lost, 0, "it may still be written");
    let length = |numbers: &mut dyn Iterator<Item = u64>| -> usize {
        numbers.map(|number| event(number).len()).sum()
    };
    let delivered = world.hook.delivered.keys().copied();
    let read = length(&mut delivered.filter(|number| *number <= 60));
    let lacks = length(&mut (1..61)) - read;
    assert!(read > 0 && lacks > 0);
    for line in ["wait 40", "wait 40", "stop start settle", "wait 100"] {
        ops(line).into_iter().for_each(|op| world.apply(op));
        let lost = usize::try_from(world.hook.lost).unwrap();
        // Half an event was read.
        assert!(
            (lacks - event(1).len()..=lacks).contains(&lost),
            "{line}: {lost} of {lacks}"
        );
        assert_eq!(world.damaged(), 0, "{line}");
        world.hook.deliver();
        assert_eq!(world.behind(), 0, "{line}");
    }
    assert_eq!(world.hook.gone, 1);
}

/// How many bytes are unpacked in all steps after this has happened, and in one of them at most.
fn unpacked(world: &mut World, line: &str) -> (u64, u64) {
    ops(line).into_iter().for_each(|op| world.apply(op));
    let before = UNPACKED.get();
    let mut most = 0;
    for _ in 0..50 {
        let last = UNPACKED.get();
        world.apply(Op::Steps(1));
        most = most.max(UNPACKED.get() - last);
    }
    (UNPACKED.get() - before, most)
}

/// Other files wait for no more than a turn of it.
#[test]
fn a_start_unpacks_what_was_read_at_most_once_and_nothing_of_what_was_read_to_its_end() {
    let head = HEAD_BYTES as u64;
    let big = 12_000_000;
    for (line, most, most_at_once) in [
        (
            "start write 2 settle big 12 settle rename settle gzip wait 100 write 2 settle stop start",
            head,
            head,
        ),
        (
            "start write 2 settle stop big 12 write 200 rename gzip write 2 outage start settle settle deliver kill outage start",
            big,
            TURN,
        ),
        // It is a copy of what is read as long as that is there, though it has no name.
        (
            "start write 2 settle big 12 settle rename settle gzip settle write 2 settle stop start",
            big,
            big,
        ),
    ] {
        for is_glob in BOTH {
            let mut world = World::new(*is_glob, false);
            let (all, at_once) = unpacked(&mut world, line);
            assert!(all <= most + most / 10, "{line} {is_glob}: {all}");
            assert!(
                at_once <= most_at_once + TURN / 10,
                "{line} {is_glob}: {at_once}"
            );
            world.finish();
            let delivered = &world.hook.delivered;
            assert_eq!(delivered.len() as u64, world.next - 1, "{line} {is_glob}");
            assert!(
                line.contains("kill") || delivered.values().all(|times| *times == 1),
                "{line} {is_glob}"
            );
        }
    }
}

#[test]
fn a_file_that_was_compressed_is_unpacked_once_to_compare_it_and_to_read_it_on() {
    for is_glob in BOTH {
        let mut world = World::new(*is_glob, false);
        let line = "start write 2 settle big 12 settle rename write 2 settle";
        ops(line).into_iter().for_each(|op| world.apply(op));
        let before = UNPACKED.get();
        // Its original is let go of after a minute.
        let line = "gzip settle wait 100 stop start settle write 2";
        ops(line).into_iter().for_each(|op| world.apply(op));
        let unpacked = UNPACKED.get() - before;
        assert!(unpacked < 13_000_000, "{is_glob}: {unpacked}");
        world.finish();
        let mut times = world.hook.delivered.values();
        assert!(times.all(|times| *times == 1) && world.hook.gone == 0);
        assert_eq!(world.hook.delivered.len() as u64, world.next - 1);
    }
}

/// What it has not found by then is neither new nor lost.
#[test]
fn a_stop_does_not_wait_until_a_compressed_file_is_compared() {
    let read = "start write 2 settle big 12 settle";
    for line in [
        "rename settle gzip",
        "rename settle gzip settle steps 20",
        "stop rename gzip write 2 start",
        "stop rename rename gzip write 2 start",
        "outage write 30 settle kill rename gzip write 2 start",
        "rename gzip settle wait 100 gunzip",
        "stop respell rename gzip write 2 start",
    ] {
        for is_glob in BOTH {
            let mut world = World::new(*is_glob, false);
            let before = [read, line].map(ops).concat();
            before.into_iter().for_each(|op| world.apply(op));
            world.begin_stop();
            let before = UNPACKED.get();
            world.apply(Op::Steps(1));
            let unpacked = UNPACKED.get() - before;
            // What is read has its turn.
            assert!(unpacked < TURN + (1 << 20), "{line} {is_glob}: {unpacked}");
            ops("settle stop start settle")
                .into_iter()
                .for_each(|op| world.apply(op));
            world.finish();
            let found = (world.hook.gone, world.hook.lost);
            assert_eq!(found, (0, 0), "{line} {is_glob}");
            let delivered = &world.hook.delivered;
            let lost = world.on_disk().into_iter();
            let lost: Vec<u64> = lost.filter(|n| !delivered.contains_key(n)).collect();
            assert!(lost.is_empty(), "{line} {is_glob}: {lost:?}");
            assert!(
                delivered.values().all(|times| *times == 1),
                "{line} {is_glob}: {delivered:?}"
            );
        }
    }
}

#[test]
fn what_is_new_does_not_wait_for_a_compressed_file_that_was_only_touched() {
    for is_glob in BOTH {
        let mut world = World::new(*is_glob, false);
        let line = "start write 2 settle big 12 settle rename settle gzip wait 100 write 2 settle deliver stop start settle write 1 tick";
        ops(line).into_iter().for_each(|op| world.apply(op));
        let before = UNPACKED.get();
        while world.hook.queued.is_empty() {
            world.apply(Op::Steps(1));
        }
        let unpacked = UNPACKED.get() - before;
        assert!(unpacked < 12_000_000, "{is_glob}: {unpacked}");
    }
}

#[test]
fn a_compressed_file_that_is_being_written_is_unpacked_once() {
    let begin = "start write 2 settle live 250 live 250 live 250 live 250 steps 90";
    for more in [
        "live 1",
        "live 1 settle live 1 settle live 250",
        "relive 250",
        "relive 250 settle relive 1",
    ] {
        let mut world = World::new(GLOB[0], false);
        ops(begin).into_iter().for_each(|op| world.apply(op));
        let new = world.next;
        let (all, _) = unpacked(&mut world, more);
        let read: usize = (new..world.next).map(|number| event(number).len()).sum();
        let heads = 10 * HEAD_BYTES;
        assert!(
            all <= (read + heads) as u64,
            "{more}: {all}, of which {read} are new"
        );
        world.finish();
        let delivered: Vec<u64> = world.hook.delivered.keys().copied().collect();
        let lost = world
            .on_disk()
            .into_iter()
            .filter(|number| !delivered.contains(number))
            .count();
        assert_eq!(lost, 0, "{more}");
        assert!(
            world.hook.delivered.values().all(|times| *times == 1),
            "{more}"
        );
    }
}

/// It ends early, and what it has gained can't be read for longer than a file is waited for that ends early.
#[test]
fn what_a_compressed_file_gains_while_forwarding_is_off_is_read_after_a_start() {
    for line in [
        "live 1 settle live 1 switch write 1 settle settle settle settle settle settle stop start",
        "live 1 settle live 1 switch settle wait 40 stop start",
        "live 1 write 36 settle live 1 switch write 1 settle move write 1 settle move write 1 settle write 1 settle
            move write 1 settle move write 1 settle stop start",
    ] {
        let mut world = World::new(false, false);
        world.apply(Op::Write(3));
        world.start();
        ops(line).into_iter().for_each(|op| world.apply(op));
        world.finish();
        let delivered: BTreeSet<u64> = world.hook.delivered.keys().copied().collect();
        assert_eq!(delivered, world.on_disk(), "{line}");
    }
}
