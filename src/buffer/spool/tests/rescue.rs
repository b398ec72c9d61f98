//! What is written again, removed again, and counted again, once a second.

use std::io::ErrorKind;
use std::sync::Arc;

use super::disk::FakeDir;
use super::steps::{LIMIT, Life, SEGMENT, chunk, retry};
use crate::buffer::spool::dir::{Access, Dir as _};
use crate::buffer::spool::position::{self, Position, Stored};
use crate::buffer::spool::{Appended, Files, SyncMode, segments};

fn post(life: &Life, line: &str) -> Appended {
    life.shared.append(&mut chunk(line), 0, true)
}

/// The lines that the next start delivers, and whether others are missing.
fn found(dir: &FakeDir) -> Vec<String> {
    let mut life = Life::new(dir, SyncMode::Second);
    life.read();
    life.seen.into_keys().collect()
}

#[test]
fn a_spool_takes_no_events_before_those_are_on_disk_that_could_not_be_synced() {
    let dir = FakeDir::default();
    let life = &mut Life::new(&dir, SyncMode::Second);
    assert_eq!(post(life, "event"), Appended::Taken);
    dir.disk().failing = Some((0, ErrorKind::Other));
    life.upkeep.sync();
    life.upkeep.look();
    dir.disk().failing = None;
    // It works again, but has not taken what it had to.
    retry(&mut life.shared.lock());
    life.write();
    assert_eq!(post(life, "refused"), Appended::Unavailable);
    life.upkeep.look();
    dir.lose_power(|| false);
    assert_eq!(found(&dir), ["event"]);
    retry(&mut life.shared.lock());
    life.write();
    assert_eq!(post(life, "later"), Appended::Taken);
}

#[test]
fn what_an_earlier_run_wrote_last_is_synced_unless_nothing_is() {
    for (sync, is_synced) in [
        (SyncMode::Never, false),
        (SyncMode::Second, true),
        (SyncMode::Always, true),
    ] {
        let dir = FakeDir::default();
        let killed = Life::new(&dir, SyncMode::Second);
        post(&killed, "noted");
        let Life { mut upkeep, .. } = killed;
        upkeep.note(true, false);
        upkeep.sync();
        let large = "x".repeat(SEGMENT as usize);
        for line in ["one", &large, "two"] {
            upkeep.shared.append(&mut chunk(line), 0, true);
        }
        drop(upkeep);
        Life::new(&dir, sync).upkeep.sync();
        dir.lose_power(|| false);
        assert_eq!(found(&dir).len(), if is_synced { 4 } else { 1 }, "{sync:?}");
    }
}

#[test]
fn a_directory_that_was_replaced_is_opened_again_unless_it_is_another_spool() {
    let other = || {
        let other = FakeDir::default();
        post(&Life::new(&other, SyncMode::Second), "of another");
        let names: Vec<_> = other.disk().names.keys().cloned().collect();
        (other, names)
    };
    let delivered = || {
        let (other, names) = other();
        names
            .iter()
            .filter(|name| segments::is_segment(name))
            .for_each(|name| other.remove(name).unwrap());
        let at = Position { acked: 99, end: 99 };
        let lock = tempfile::tempfile().unwrap();
        let mut files = Files::of(Arc::new(other.clone()), lock).unwrap();
        files.position.write(at).unwrap();
        other
    };
    for (new, is_taken) in [
        (FakeDir::default(), true),
        (other().0, false),
        (delivered(), false),
    ] {
        let old = FakeDir::default();
        let mut life = Life::new(&old, SyncMode::Second);
        post(&life, &"x".repeat(SEGMENT as usize));
        post(&life, "last");
        old.disk().is_replaced = true;
        let opened = new.clone();
        life.upkeep.open =
            Box::new(move || Files::of(Arc::new(opened.clone()), tempfile::tempfile()?));
        life.upkeep.look();
        let expected = match is_taken {
            true => Appended::Taken,
            false => Appended::Unavailable,
        };
        assert_eq!(post(&life, "next"), expected);
        assert_eq!(life.upkeep.position.is_some(), is_taken);
        life.upkeep.note(true, false);
        if is_taken {
            let at = Position { acked: 0, end: 3 };
            assert_eq!(position::read(&new).unwrap(), Stored::At(at));
            assert!(new.open(&segments::name(2), Access::Read).is_ok());
        } else {
            life.write();
            assert!(new.open(&segments::name(2), Access::Read).is_err());
        }
    }
}

/// What was refused though a part of it may be there is written with the rest, whatever fails before that.
#[test]
fn events_have_their_numbers_after_a_failed_write_that_could_not_be_taken_back_and_other_failures()
{
    for attempts in 0..3 {
        for fails_again in [false, true] {
            let dir = FakeDir::default();
            let mut life = Life::new(&dir, SyncMode::Second);
            assert_eq!(post(&life, "before"), Appended::Taken);
            life.read();
            dir.disk().failing = Some((0, ErrorKind::Other));
            assert_eq!(post(&life, "refused"), Appended::Unavailable);
            dir.disk().failing = None;
            dir.disk().names.clear();
            dir.disk().away = Some(attempts);
            for _ in 0..=attempts {
                life.upkeep.look();
            }
            if fails_again {
                dir.disk().failing = Some((0, ErrorKind::Other));
                retry(&mut life.shared.lock());
                life.write();
                dir.disk().failing = None;
            }
            retry(&mut life.shared.lock());
            life.write();
            for line in ["one", "two"] {
                assert_eq!(post(&life, line), Appended::Taken, "{attempts}");
            }
            let place = format!("{attempts} {fails_again}");
            assert_eq!(life.shared.lock().segments.next(), 4, "{place}");
            assert_eq!(life.report.snapshot().balance.received(), 4, "{place}");
            assert_eq!(found(&dir), ["before", "one", "refused", "two"], "{place}");
        }
    }
}

#[test]
fn what_can_not_be_removed_takes_its_room_and_is_removed_later() {
    for is_bad in [false, true] {
        let dir = FakeDir::default();
        let mut life = Life::new(&dir, SyncMode::Second);
        for _ in 0..3 {
            post(&life, &"x".repeat(SEGMENT as usize - 100));
        }
        life.read();
        life.finish(usize::MAX);
        if is_bad {
            life.shared.lock().segments.damaged(0);
        }
        let bytes = |life: &Life| life.shared.lock().segments.bytes();
        let before = bytes(&life);
        dir.disk().keeps = true;
        life.upkeep.note(true, false);
        life.upkeep.free();
        assert_eq!(bytes(&life), before, "{is_bad}");
        dir.disk().keeps = false;
        life.upkeep.free();
        let left = if is_bad { 2 } else { 1 };
        assert_eq!(bytes(&life), before / 3 * left, "{is_bad}");
        let names = dir.disk().names.keys().cloned().collect::<Vec<_>>();
        let segments = names.iter().filter(|name| segments::is_segment(name));
        assert_eq!(segments.count(), 1, "{names:?}");
    }
}

#[test]
fn a_damaged_segment_that_is_gone_takes_no_room() {
    let dir = FakeDir::default();
    let mut life = Life::new(&dir, SyncMode::Second);
    for _ in 0..2 {
        post(&life, &"x".repeat(SEGMENT as usize - 100));
    }
    life.read();
    life.finish(usize::MAX);
    life.shared.lock().segments.damaged(0);
    dir.remove(&segments::name(0)).unwrap();
    life.upkeep.note(true, false);
    assert_eq!(life.shared.lock().segments.set_aside, 0);
}

#[test]
fn a_full_spool_has_room_once_somebody_has_removed_what_was_set_aside() {
    let dir = FakeDir::default();
    let name = segments::bad_name(7);
    let file = dir.open(&name, Access::New).unwrap();
    file.truncate(LIMIT).unwrap();
    let mut life = Life::new(&dir, SyncMode::Second);
    assert_eq!(post(&life, "event"), Appended::Full);
    life.upkeep.free();
    assert_eq!(post(&life, "event"), Appended::Full);
    dir.remove(&name).unwrap();
    life.upkeep.free();
    assert!(!life.shared.lock().is_in_trouble());
    assert_eq!(post(&life, "event"), Appended::Taken);
}
