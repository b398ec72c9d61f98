//! What is known of compressed files that were not read to their end.

use super::op::ops;
use super::world::{World, event};

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
    for line in ["wait 40", "wait 40", "stop start settle wait 100"] {
        ops(line).into_iter().for_each(|op| world.apply(op));
        let lost = usize::try_from(world.hook.lost).unwrap();
        // Half an event was read.
        assert!(
            (lacks - event(1).len()..=lacks).contains(&lost),
            "{line}: {lost} of {lacks}"
        );
        world.hook.deliver();
        assert_eq!(world.behind(), 0, "{line}");
    }
    assert_eq!(world.hook.gone, 1);
}
