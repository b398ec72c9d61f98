//! What is written again, removed again, and counted again, once a second.

use std::io::ErrorKind;
use std::iter;
use std::sync::{Arc, Mutex};
use std::thread;

use super::disk::FakeDir;
use super::life::{LIMIT, Life, SEGMENT, chunk, retry};
use crate::buffer::spool::dir::{Access, Dir as _};
use crate::buffer::spool::position::{self, Position, Stored};
use crate::buffer::spool::{Appended, Files, Rereader, SyncMode, segments};
use crate::sys::shutdown::ShutdownSignal;

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

/// The handle is stale from now on, as when the server of a mount was started again, and this is at the path.
fn make_stale(life: &mut Life, old: &FakeDir, new: &FakeDir) {
    let mut disk = old.disk();
    disk.is_replaced = true;
    disk.unopenable_file = Some((position::NAME.into(), libc::ESTALE));
    disk.failing = Some((0, ErrorKind::StaleNetworkFileHandle));
    disk.unreadable = 0..usize::MAX;
    let new = new.clone();
    life.upkeep.open = Box::new(move || Files::of(Arc::new(new.clone()), tempfile::tempfile()?));
}

/// The server may have lost what it had not written to disk, and may have again what was removed.
#[test]
fn a_directory_with_a_stale_handle_is_opened_again() {
    let cut = |new: &FakeDir| {
        let list = segments::list(new).unwrap();
        let newest = list.last().unwrap();
        let file = new.open(&newest.name(), Access::Update).unwrap();
        file.truncate(newest.bytes - 1).unwrap();
    };
    let remove = |new: &FakeDir| new.remove(&segments::name(1)).unwrap();
    for (change, left) in [
        (&(|_: &FakeDir| ()) as &dyn Fn(&FakeDir), 3),
        (&cut, 2),
        (&remove, 2),
    ] {
        for is_synced in [false, true] {
            let old = FakeDir::default();
            let (mut life, _) = displaced(&old, copy);
            life.read();
            life.finish(1);
            let removed = copy(&old);
            life.upkeep.note(true, false);
            post(&life, "newest");
            if is_synced {
                life.upkeep.sync();
            }
            removed.disk().names.remove(position::NAME);
            let new = copy(&old);
            new.disk().is_replaced = false;
            let removed = removed.disk().clone();
            for (name, file) in removed.names {
                let bytes = removed.files[file].clone();
                if !new.disk().names.contains_key(&name) {
                    let mut disk = new.disk();
                    disk.files.push(bytes);
                    let file = disk.files.len() - 1;
                    disk.names.insert(name, file);
                }
            }
            change(&new);
            make_stale(&mut life, &old, &new);
            life.upkeep.sync();
            life.upkeep.look();
            retry(&mut life.shared.lock());
            life.write();
            assert_eq!(post(&life, "next"), Appended::Taken, "{left} {is_synced}");
            life.upkeep.look();
            life.read();
            assert_eq!(life.seen.contains_key("newest"), left == 3);
            assert_eq!((life.seen.len(), life.missing), (left + 1, left < 3));
            life.finish(usize::MAX);
            life.upkeep.note(true, true);
            assert!(found(&new).is_empty());
        }
    }
}

#[test]
fn what_a_server_lost_while_clients_wait_is_written_again_from_memory() {
    let old = FakeDir::default();
    let life = &mut Life::new(&old, SyncMode::Always);
    let new = copy(&old);
    thread::scope(|scope| {
        let shared = Arc::clone(&life.shared);
        let client = scope.spawn(move || shared.append(&mut chunk("event"), 0, true));
        while life.shared.lock().unsynced.is_empty() {
            thread::yield_now();
        }
        make_stale(life, &old, &new);
        life.upkeep.look();
        life.upkeep.sync();
        assert_eq!(client.join().unwrap(), Appended::Taken);
    });
    new.lose_power(|| false);
    assert_eq!(found(&new), ["event"]);
}

/// Nobody can deliver what was there before, and nobody waits for it for ever.
#[test]
fn another_spool_behind_a_stale_handle_is_used_once_all_before_it_is_missed() {
    for new in [&(|_: &FakeDir| other()) as &dyn Fn(&_) -> _, &twin] {
        let old = FakeDir::default();
        let (mut life, new) = displaced(&old, new);
        make_stale(&mut life, &old, &new);
        life.upkeep.look();
        assert_eq!(post(&life, "early"), Appended::Unavailable);
        life.read();
        assert!(life.missing);
        life.upkeep.look();
        assert_eq!(post(&life, "next"), Appended::Taken);
        life.read();
        assert!(life.seen.contains_key("next") && life.seen.len() > 1);
    }
}

/// Each has given the same numbers to other events.
#[test]
fn nothing_is_skipped_of_a_copy_that_another_start_has_used() {
    let old = FakeDir::default();
    post(&Life::new(&old, SyncMode::Second), "both");
    let original = copy(&old);
    post(&Life::new(&original, SyncMode::Second), "original");
    let (mut life, _) = displaced(&old, |_| original.clone());
    life.read();
    life.finish(usize::MAX);
    life.upkeep.look();
    life.read();
    assert!(life.seen.contains_key("original"), "{:?}", life.seen.keys());
}

/// A spool with an event of 3.
fn other() -> FakeDir {
    let other = FakeDir::default();
    post(&Life::new(&other, SyncMode::Second), "of another");
    other
}

/// A spool of so many events, which were all delivered.
fn delivered(end: u64) -> FakeDir {
    let other = FakeDir::default();
    let lock = tempfile::tempfile().unwrap();
    let mut files = Files::of(Arc::new(other.clone()), lock).unwrap();
    files.position.write(Position { acked: end, end }).unwrap();
    other
}

/// The same files elsewhere.
fn copy(dir: &FakeDir) -> FakeDir {
    FakeDir(Arc::new(Mutex::new(dir.disk().clone())))
}

/// Files that only look the same.
fn twin(dir: &FakeDir) -> FakeDir {
    let twin = copy(dir);
    twin.remove(position::NAME).unwrap();
    let lock = tempfile::tempfile().unwrap();
    Files::of(Arc::new(twin.clone()), lock).unwrap();
    twin
}

/// A spool with two events, one in each of two segments, and something else is found at its path from now on.
fn displaced(old: &FakeDir, new: impl Fn(&FakeDir) -> FakeDir) -> (Life, FakeDir) {
    let mut life = Life::new(old, SyncMode::Second);
    post(&life, &"x".repeat(SEGMENT as usize));
    post(&life, "last");
    let new = new(old);
    old.disk().is_replaced = true;
    let opened = new.clone();
    life.upkeep.open = Box::new(move || Files::of(Arc::new(opened.clone()), tempfile::tempfile()?));
    (life, new)
}

#[test]
fn a_directory_that_was_removed_is_opened_again_unless_it_is_another_spool() {
    for (new, is_taken) in [
        (
            &(|_: &FakeDir| FakeDir::default()) as &dyn Fn(&_) -> _,
            true,
        ),
        (&copy, true),
        (&twin, false),
        (&|_: &FakeDir| other(), false),
        (&|_: &FakeDir| delivered(99), false),
        (&|_: &FakeDir| delivered(2), false),
    ] {
        let old = FakeDir::default();
        let (mut life, new) = displaced(&old, new);
        old.disk().names.clear();
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
            // What was lost with the directory is missed, and then nothing has the numbers any more.
            life.read();
            life.finish(usize::MAX);
            life.upkeep.look();
            assert_eq!(post(&life, "next"), Appended::Taken);
            life.read();
            assert!(life.seen.contains_key("next"));
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

/// As when something was mounted over it.
#[test]
fn what_is_in_a_directory_that_is_not_in_its_place_is_delivered_before_another_is_used() {
    for (new, is_another) in [
        (
            &(|_: &FakeDir| FakeDir::default()) as &dyn Fn(&_) -> _,
            false,
        ),
        (&twin, false),
        (&copy, false),
        (&|_: &FakeDir| other(), true),
        (&|_: &FakeDir| delivered(99), false),
        (&|_: &FakeDir| delivered(2), false),
    ] {
        let old = FakeDir::default();
        let (mut life, new) = displaced(&old, new);
        let untouched = format!("{:?}", new.disk());
        life.upkeep.look();
        assert_eq!(post(&life, "early"), Appended::Unavailable);
        life.read();
        life.upkeep.look();
        assert_eq!(post(&life, "early"), Appended::Unavailable, "not final");
        assert_eq!(format!("{:?}", new.disk()), untouched);
        life.finish(usize::MAX);
        life.upkeep.note(true, false);
        life.upkeep.look();
        assert_eq!(post(&life, "next"), Appended::Taken);
        life.read();
        let seen = |line: &str| life.seen.contains_key(line);
        assert_eq!(
            (seen("of another"), seen("last"), seen("next")),
            (is_another, true, true)
        );
        life.finish(usize::MAX);
        life.upkeep.note(true, true);
        for dir in [&old, &new] {
            let position = position::read(dir).unwrap();
            assert!(matches!(position, Stored::At(at) if at.acked == at.end && at.end > 0));
            assert!(segments::list(dir).unwrap().is_empty());
        }
    }
}

/// What a sender has read before must not be taken for events of the same numbers.
#[test]
fn events_are_read_again_from_the_spool_that_has_them() {
    let two_of = |life: &Life, name: &str| {
        let mut both = chunk(&format!("{name}-0\n{name}-1"));
        both.events = 2;
        assert_eq!(life.shared.append(&mut both, 0, true), Appended::Taken);
    };
    let (old, new) = (FakeDir::default(), FakeDir::default());
    two_of(&Life::new(&new, SyncMode::Second), "new");
    let mut life = Life::new(&old, SyncMode::Second);
    two_of(&life, "old");
    life.read();
    let mut rereader = Rereader::new(Arc::clone(&life.shared));
    let abort = ShutdownSignal::new().unwrap();
    let mut read = |number| {
        let runs = rereader
            .read(&iter::once(number..number + 1).collect(), &abort)
            .unwrap();
        let lines = runs.iter().map(|run| String::from_utf8_lossy(run.lines()));
        lines.collect::<String>()
    };
    assert_eq!(read(0), "old-0\n");
    life.finish(usize::MAX);
    old.disk().is_replaced = true;
    life.upkeep.open = Box::new(move || Files::of(Arc::new(new.clone()), tempfile::tempfile()?));
    life.upkeep.look();
    life.read();
    assert_eq!(read(3), "new-1\n");
    assert_eq!(read(2), "new-0\n");
}

#[test]
fn a_directory_that_comes_back_is_used_as_before() {
    let old = FakeDir::default();
    let (mut life, new) = displaced(&old, |_| other());
    life.upkeep.look();
    assert_eq!(post(&life, "refused"), Appended::Unavailable);
    old.disk().is_replaced = false;
    life.upkeep.look();
    assert_eq!(post(&life, "next"), Appended::Taken);
    assert_eq!(found(&new), ["of another"]);
    life.read();
    let seen: Vec<_> = life
        .seen
        .keys()
        .map(|line| line.get(..4).unwrap())
        .collect();
    assert_eq!(seen, ["last", "next", "xxxx"]);
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
        assert_eq!(bytes(&life), before, "{is_bad}");
        life.upkeep.free();
        assert_eq!(bytes(&life), before, "{is_bad}, counted again");
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
fn a_segment_that_is_gone_takes_no_room() {
    for is_bad in [false, true] {
        let dir = FakeDir::default();
        let mut life = Life::new(&dir, SyncMode::Second);
        for _ in 0..2 {
            post(&life, &"x".repeat(SEGMENT as usize - 100));
        }
        life.read();
        life.finish(usize::MAX);
        if is_bad {
            life.shared.lock().segments.damaged(0);
        }
        dir.remove(&segments::name(0)).unwrap();
        life.upkeep.note(true, false);
        assert_eq!(life.shared.lock().segments.set_aside, 0, "{is_bad}");
        assert!(life.upkeep.left.is_empty(), "{is_bad}");
    }
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
