//! What is known of what is not where it should be, while it can and can't be written again.

use std::io::ErrorKind;

use super::disk::FakeDir;
use super::life::{Life, SEGMENT, chunk};
use crate::buffer::spool::dir::{Access, Dir as _};
use crate::buffer::spool::group::Unsynced;
use crate::buffer::spool::{SyncMode, segments};

fn post(life: &Life, line: &str) {
    life.shared.append(&mut chunk(line), 0, true);
}

/// Three segments of which each has an event.
fn three(dir: &FakeDir) -> Life {
    let life = Life::new(dir, SyncMode::Second);
    for line in ["one", "two", "three"] {
        post(&life, &format!("{line:-<0$}", SEGMENT as usize - 100));
    }
    life
}

/// What a segment is said to have lost, from this offset on.
fn lost(dir: &FakeDir, segment: u64, from: u64) -> Unsynced {
    Unsynced {
        segment,
        file: dir.open(&segments::name(segment), Access::Read).unwrap(),
        from,
        first: segment,
        groups: Vec::new(),
    }
}

/// The segments with something to rescue, and from where on.
fn all_lost(life: &Life) -> Vec<(u64, u64)> {
    let state = life.shared.lock();
    state.lost.iter().map(|it| (it.segment, it.from)).collect()
}

fn unseen(life: &Life) -> Vec<u64> {
    let state = life.shared.lock();
    state.unseen.iter().map(|it| it.segment).collect()
}

#[test]
fn all_that_is_lost_of_all_segments_is_known_until_it_is_rescued() {
    let dir = FakeDir::default();
    let life = three(&dir);
    let rescue = |segment, from| {
        life.upkeep.rescue(lost(&dir, segment, from));
        all_lost(&life)
    };
    dir.disk().failing = Some((0, ErrorKind::Other));
    assert_eq!(rescue(0, 16), [(0, 16)]);
    assert_eq!(rescue(1, 40), [(0, 16), (1, 40)]);
    assert_eq!(rescue(0, 16), [(0, 16), (1, 40)], "once");
    // What begins earlier holds what begins later.
    assert_eq!(rescue(0, 40), [(0, 16), (1, 40)]);
    assert_eq!(rescue(1, 16), [(0, 16), (1, 16)]);
    dir.disk().failing = None;
    assert_eq!(rescue(1, 40), [(0, 16), (1, 16)], "not all of it");
    assert_eq!(rescue(1, 16), [(0, 16)]);
    assert_eq!(rescue(0, 16), []);
}

#[test]
fn a_file_is_looked_for_until_it_was_seen_with_all_that_it_has() {
    let dir = FakeDir::default();
    let mut life = three(&dir);
    assert_eq!(unseen(&life), [0, 1, 2]);
    let files = dir.disk().files.len();
    life.upkeep.look();
    // More is written to the newest one.
    assert_eq!(unseen(&life), [2]);
    dir.remove(&segments::name(2)).unwrap();
    life.upkeep.look();
    assert!(unseen(&life).is_empty());
    assert_eq!(dir.disk().files.len(), files, "nothing was written since");
}

/// What was read before may be delivered already, and is not written again.
#[test]
fn of_a_file_that_is_gone_what_was_written_since_the_last_look_is_rescued() {
    let dir = FakeDir::default();
    let mut life = Life::new(&dir, SyncMode::Second);
    post(&life, "seen");
    life.upkeep.look();
    for line in ["one", "two"] {
        post(&life, line);
    }
    dir.remove(&segments::name(0)).unwrap();
    life.upkeep.look();
    let mut next = Life::new(&dir, SyncMode::Second);
    next.read();
    let lines: Vec<_> = next.seen.keys().collect();
    assert_eq!(lines, ["one", "two"]);
}

/// What is written behind it would be lost with it.
#[test]
fn nothing_more_is_written_to_a_segment_that_has_lost_something() {
    for (segment, next) in [(2, 3), (1, 2)] {
        let dir = FakeDir::default();
        let life = three(&dir);
        life.upkeep.rescue(lost(&dir, segment, 16));
        post(&life, "four");
        let newest = life.shared.lock().segments.after(u64::MAX).unwrap().first;
        assert_eq!(newest, next, "{segment}");
    }
}

/// What was synced before need not be opened, however much there is.
#[test]
fn a_start_syncs_only_what_the_position_does_not_say_is_there() {
    let dir = FakeDir::default();
    let mut life = three(&dir);
    life.upkeep.note(true, false);
    let life = Life::new(&dir, SyncMode::Second);
    let state = life.shared.lock();
    let unsynced: Vec<_> = state.unsynced.iter().map(|it| it.segment).collect();
    assert_eq!(unsynced, [2]);
}
