//! Which files of the model the agent keeps open, and what it knows of the others.

use std::collections::BTreeSet;
use std::ops::Range;

use super::op::ops;
use super::world::{World, event};

/// The world of a pattern after what happens in a line.
fn after(mut world: World, line: &str) -> World {
    ops(line).into_iter().for_each(|op| world.apply(op));
    world
}

fn of_pattern(line: &str) -> World {
    after(World::new(true, false), line)
}

#[test]
fn a_removed_file_is_kept_open_for_a_minute() {
    let removed = "start write 20 settle rename settle write 2 settle unlink 2";
    let compressed =
        "start write 20 settle stop write 5 rename gzip write 1 start settle rename settle remove";
    for (line, kept) in [
        (&*format!("{removed} wait 40"), 1),
        (&format!("{removed} wait 60"), 0),
        // Without any other file, its successor may be yet to come.
        ("start write 20 settle unlink 2 wait 100", 1),
        // Longer if it was not read.
        (
            "start outage write 60 settle rename write 5 settle unlink 0 wait 100",
            1,
        ),
        ("start write 20 settle rename settle unlink 0 wait 20", 1),
        ("start write 20 settle rename settle unlink 0 wait 60", 0),
        (&format!("{compressed} wait 40"), 1),
        (&format!("{compressed} wait 80"), 0),
        (
            &format!("{} wait 80", compressed.replace("write 5", "write 5 half")),
            0,
        ),
        ("start write 20 settle outside settle back settle", 0),
        // Behind a link, or under a name that the source does not mean.
        ("start write 20 settle link settle link settle", 1),
        (
            "start outage write 60 settle kill outside write 2 start settle vanish settle",
            1,
        ),
    ] {
        assert_eq!(of_pattern(line).kept().0, kept, "{line}");
    }
}

#[test]
fn a_copy_that_has_grown_and_is_removed_is_read_before_it_is_let_go() {
    let line = "start outage write 60 settle copy settle write-old 2 settle rename remove settle";
    let mut world = of_pattern(line);
    world.finish();
    let delivered: BTreeSet<u64> = world.hook.delivered.keys().copied().collect();
    assert_eq!(delivered, (1..=62).collect());
}

#[test]
fn while_many_are_open_a_removed_file_is_kept_open_for_a_second() {
    let removed = "start write 20 settle date write 2 settle date write 2 settle unlink 0";
    for (max_open, kept) in [(5, 0), (6, 1)] {
        let mut world = World::new(true, false);
        world.max_open = max_open;
        assert_eq!(after(world, removed).kept(), (kept, 2 + kept));
    }
}

#[test]
fn only_some_of_many_files_stay_open() {
    let many = "start ".to_owned() + &"write 1 steps 9 date ".repeat(70);
    for (max_open, open) in [(200, 70), (138, 69), (100, 64)] {
        let mut world = World::new(true, false);
        world.max_open = max_open;
        assert_eq!(after(world, &many).kept(), (0, open), "{max_open}");
    }
}

#[test]
fn removed_files_take_no_more_than_they_may() {
    let files = "start outage write 60 settle rename write 30 old settle rename write 40 settle rename write 1 settle";
    let removed = format!("{files} remove settle remove settle");
    let size =
        |events: Range<u64>| -> u64 { events.map(|number| event(number).len() as u64).sum() };
    let (read, unread) = (size(1..61), size(61..91));
    // The first one was read, and goes first, though the time of the other is earlier.
    for (max, kept, gone, lost) in [
        (read + unread, 2, 0, 0),
        (read + unread - 1, 1, 0, 0),
        (unread, 1, 0, 0),
        (unread - 1, 0, 1, unread),
    ] {
        let mut world = World::new(true, false);
        world.max_deleted = max;
        let world = after(world, &removed);
        let found = (world.kept().0, world.hook.gone, world.hook.lost);
        assert_eq!(found, (kept, gone, lost), "{max}");
    }
}

#[test]
fn only_removed_files_that_were_not_read_are_logged_as_such() {
    let removed = "rename write 1 settle rename settle remove settle";
    for (before, are_logged) in [
        ("start write 30 settle", false),
        ("start outage write 250 write 250 settle", true),
    ] {
        let mut world = World::new(true, false);
        world.max_deleted = 1;
        let world = after(world, &format!("{before} {removed}"));
        let logged = world.follower().held_logged;
        assert_eq!(logged.is_some(), are_logged, "{before}");
    }
}

#[test]
fn what_is_no_file_and_where_files_are_is_known() {
    let world = of_pattern("start write 20 settle directory settle");
    assert!(
        world
            .trouble("audit.log.d")
            .unwrap()
            .contains("a directory")
    );
    assert_eq!(world.trouble("audit.log"), None);
    let world = of_pattern("start write 20 settle link settle link settle");
    assert!(world.trouble("audit.log").is_some(), "it leads nowhere");
    let world = of_pattern("start write 20 settle rename settle deliver");
    let names = ["audit.log", "audit.log.1"].map(str::to_owned);
    assert_eq!(world.known_names(), BTreeSet::from(names));
}

#[test]
fn the_oldest_unread_file_says_how_late_events_are() {
    let hours = |line: &str| of_pattern(line).oldest_unread().as_secs() / 3600;
    assert_eq!(hours("start outage write 60 settle old settle"), 1);
    assert_eq!(
        hours("start outage write 60 settle old settle deliver settle"),
        0
    );
    assert_eq!(
        hours("start write 20 settle copy settle old settle"),
        0,
        "read"
    );
}
