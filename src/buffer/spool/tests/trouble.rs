//! What a spool takes and refuses while its limit is reached or its disk fails, and what it removes to have room.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use super::disk::FakeDir;
use super::life::{LIMIT, Life, SEGMENT, chunk, retry};
use crate::buffer::chunk::Extent;
use crate::buffer::queue::queue;
use crate::buffer::spool::dir::{Access, Dir as _};
use crate::buffer::spool::position::{self, Position, Stored};
use crate::buffer::spool::reader::Damage;
use crate::buffer::spool::record::{Record, SEGMENT_HEAD};
use crate::buffer::spool::shared::{Shared, State, UNWRITTEN};
use crate::buffer::spool::writer::Writer;
use crate::buffer::spool::{Appended, Files, Settings, Spool, SyncMode, segments};
use crate::telemetry::Report;
use crate::telemetry::watchdog::Watchdog;

/// A spool of this many bytes, with its files.
fn shared(limit: u64) -> Shared {
    let lock = tempfile::tempfile().unwrap();
    let mut files = Files::of(Arc::new(FakeDir::default()), lock).unwrap();
    let report = Arc::new(Report::new(Duration::from_secs(10), Vec::new()));
    let shared = Shared::new(
        "spool".into(),
        limit,
        SyncMode::Second,
        report,
        Watchdog::default(),
    );
    shared.install(&mut shared.lock(), &mut files);
    shared
}

fn fail(shared: &Shared, state: &mut State) {
    let error = io::Error::from(ErrorKind::Other);
    shared.fail(state, Appended::Unavailable, Some(&error));
}

#[test]
fn a_full_spool_waits_for_room_and_a_failed_disk_for_its_time() {
    let shared = shared(LIMIT);
    let mut state = shared.lock();
    let what = |state: &State| {
        let (is_full, is_failing) = (state.is_full(), state.is_failing());
        (
            state.is_in_trouble(),
            is_full,
            is_failing,
            state.must_try_out(),
        )
    };
    assert_eq!(what(&state), (false, false, false, false));
    shared.fail(&mut state, Appended::Full, None);
    assert_eq!(what(&state), (true, true, false, false));
    fail(&shared, &mut state);
    assert_eq!(what(&state), (true, false, true, false));
    shared.look_for_room(&mut state, 0);
    assert_eq!(what(&state), (true, false, true, false), "room is not all");
    retry(&mut state);
    assert_eq!(what(&state), (true, false, false, true));
    // What there is to write shows it as well.
    state.collect(&mut chunk("event"), false);
    assert!(!state.must_try_out());
    state.pending = Default::default();
    let writer = state.writer.take();
    assert!(!state.must_try_out(), "it is being tried");
    state.writer = writer;
    shared.worked(&mut state);
    assert_eq!(what(&state), (false, false, false, false));
}

#[test]
fn a_disk_is_tried_out_with_a_sync_only_if_events_are_synced() {
    for (sync, is_in_trouble) in [(SyncMode::Never, false), (SyncMode::Second, true)] {
        let dir = FakeDir::default();
        let shared = Life::new(&dir, sync).shared;
        let mut state = shared.lock();
        fail(&shared, &mut state);
        // It is opened and written to, and then syncs fail.
        dir.disk().failing = Some((3, ErrorKind::Other));
        dir.disk().shrinks = true;
        let state = shared.try_out(state);
        assert_eq!(state.is_in_trouble(), is_in_trouble, "{sync:?}");
    }
}

#[test]
fn a_spool_that_could_not_be_opened_is_opened_later() {
    let dir = FakeDir::default();
    delivered_to(&dir, 2);
    let mut life = Life::new(&FakeDir::default(), SyncMode::Second);
    life.upkeep.position = None;
    life.upkeep.open = Box::new(|| Err(ErrorKind::NotFound.into()));
    life.upkeep.reopen();
    assert!(life.shared.lock().is_failing());
    life.upkeep.open = Box::new(move || {
        let lock = tempfile::tempfile()?;
        Files::of(Arc::new(dir.clone()), lock)
    });
    life.upkeep.reopen();
    let state = life.shared.lock();
    assert!(!state.is_in_trouble() && life.upkeep.position.is_some());
    assert_eq!(state.segments.next(), 2);
}

#[test]
fn events_are_refused_that_the_limit_has_no_room_for() {
    let (full, busy) = (Some(Appended::Full), UNWRITTEN);
    // What still must be written, what comes, whether its source waits, and the answer.
    for (limit, claimed, bytes, waits, expected, is_trouble) in [
        (LIMIT, 0, LIMIT, false, None, false),
        // Others have room.
        (LIMIT, 0, LIMIT + 1, false, full, false),
        (LIMIT, LIMIT - SEGMENT, SEGMENT + 1, true, full, false),
        (LIMIT, LIMIT - SEGMENT + 1, SEGMENT, true, full, true),
        (8 * busy, busy - 1, 1, false, None, false),
        // Memory may have room.
        (8 * busy, busy, 1, false, Some(Appended::Unavailable), false),
        (8 * busy, busy, 1, true, None, false),
    ] {
        let shared = shared(limit);
        let mut state = shared.lock();
        state.claimed = claimed;
        let refusal = shared.refusal(&mut state, bytes, waits);
        let found = (refusal, state.is_in_trouble());
        assert_eq!(found, (expected, is_trouble), "{claimed} {bytes} {waits}");
    }
    let shared = shared(LIMIT);
    let mut state = shared.lock();
    state.dir = None;
    let refusal = shared.refusal(&mut state, 1, true);
    assert_eq!(refusal, Some(Appended::Unavailable));
    fail(&shared, &mut state);
    let refusal = shared.refusal(&mut state, 1, true);
    assert_eq!(refusal, Some(Appended::Unavailable));
}

/// Not for every single event that has room.
#[test]
fn a_full_spool_takes_events_again_when_a_segment_has_room() {
    for (claimed, bytes, is_taken) in [
        (LIMIT - SEGMENT, 1, true),
        (LIMIT - SEGMENT + 1, 1, false),
        (LIMIT - 2 * SEGMENT, 2 * SEGMENT, true),
        (LIMIT - 2 * SEGMENT, 2 * SEGMENT + 1, false),
    ] {
        let shared = shared(LIMIT);
        let mut state = shared.lock();
        shared.fail(&mut state, Appended::Full, None);
        state.claimed = claimed;
        let refusal = shared.refusal(&mut state, bytes, true);
        assert_eq!(refusal.is_none(), is_taken, "{claimed} {bytes}");
    }
}

/// A spool with this many segments, each of one event, all of which are final.
fn delivered(count: usize) -> (FakeDir, Life) {
    let dir = FakeDir::default();
    let life = delivered_to(&dir, count);
    (dir, life)
}

fn delivered_to(dir: &FakeDir, count: usize) -> Life {
    let mut life = Life::new(dir, SyncMode::Second);
    for _ in 0..count {
        let line = "x".repeat(SEGMENT as usize - 100);
        life.shared.append(&mut chunk(&line), 0, true);
    }
    life.read();
    life.finish(usize::MAX);
    life
}

fn count(dir: &FakeDir) -> usize {
    let disk = dir.disk();
    let names = disk.names.keys();
    names.filter(|name| segments::is_segment(name)).count()
}

#[test]
fn what_was_delivered_is_removed_once_a_second_or_when_room_is_needed() {
    // The limit is eight segments, and two of them are kept free. The newest one stays.
    for (segments, is_due, left) in [(6, false, 6), (7, false, 1), (6, true, 1), (1, true, 1)] {
        let (dir, mut life) = delivered(segments);
        assert_eq!(count(&dir), segments);
        life.upkeep.note(is_due, false);
        assert_eq!(count(&dir), left, "{segments} {is_due}");
    }
}

#[test]
fn the_newest_segment_is_removed_at_the_end_and_when_its_room_may_be_what_is_missing() {
    for (is_last, is_in_trouble, is_read, left) in [
        (false, false, true, 1),
        (true, false, true, 0),
        (false, true, true, 0),
        (true, true, false, 1),
    ] {
        let (dir, mut life) = delivered(1);
        if !is_read {
            life.shared.append(&mut chunk("more"), 0, true);
        }
        if is_in_trouble {
            let mut state = life.shared.lock();
            life.shared.fail(&mut state, Appended::Full, None);
        }
        life.upkeep.note(true, is_last);
        assert_eq!(count(&dir), left, "{is_last} {is_in_trouble} {is_read}");
        if left > 0 {
            continue;
        }
        // What comes then is not written to what was removed.
        let mut state = life.shared.lock();
        life.shared.worked(&mut state);
        drop(state);
        life.shared.append(&mut chunk("later"), 0, true);
        assert_eq!(count(&dir), 1, "{is_last} {is_in_trouble}");
    }
}

#[test]
fn the_report_has_what_is_in_the_spool_and_not_in_memory() {
    let dir = FakeDir::default();
    let mut life = Life::new(&dir, SyncMode::Second);
    let state = |life: &Life| {
        life.upkeep.report();
        life.report.snapshot().spool.unwrap()
    };
    let found = state(&life);
    assert_eq!((found.bytes, found.limit, found.events), (0, LIMIT, 0));
    for line in ["one", "two"] {
        life.shared.append(&mut chunk(line), 0, true);
    }
    let found = state(&life);
    assert_eq!(
        (found.bytes, found.events),
        (life.shared.lock().segments.bytes(), 2)
    );
    assert!(
        life.shared.lock().unread_since > Some(1),
        "nothing was read yet"
    );
    life.read();
    // Their time is in 1970.
    let found = state(&life);
    assert!(found.events == 0 && found.oldest > Duration::from_secs(1 << 30));
    life.finish(usize::MAX);
    life.upkeep.note(true, false);
    life.shared.lock().unread_since = Some(1);
    assert_eq!(state(&life).oldest, Duration::ZERO, "all are final");
    life.shared.append(&mut chunk("three"), 0, true);
    assert!(
        state(&life).oldest < Duration::from_secs(60),
        "not since the last one"
    );
    life.shared.lock().unread_since = Some(1);
    life.shared.append(&mut chunk("four"), 0, true);
    assert!(
        state(&life).oldest > Duration::from_secs(60),
        "since the first one"
    );
    life.read();
    assert_eq!(state(&life).events, 0);
    life.consumer.release(Extent {
        events: 1,
        bytes: "three\n".len(),
    });
    assert_eq!(state(&life).events, 1, "only the spool has it now");
}

#[test]
fn what_is_not_synced_is_known_by_its_segment_until_that_is_removed() {
    let unsynced = |life: &Life| -> Vec<u64> {
        let state = life.shared.lock();
        state
            .unsynced
            .iter()
            .map(|unsynced| unsynced.segment)
            .collect()
    };
    let (_, mut life) = delivered(3);
    assert_eq!(unsynced(&life), [0, 1, 2]);
    life.upkeep.note(true, false);
    assert_eq!(unsynced(&life), [2]);
    // Somebody waits for these.
    let mut life = Life::new(&FakeDir::default(), SyncMode::Always);
    for _ in 0..3 {
        let line = "x".repeat(SEGMENT as usize - 100);
        life.shared.append(&mut chunk(&line), 0, false);
        life.write();
    }
    life.read();
    life.finish(usize::MAX);
    life.upkeep.note(true, false);
    assert_eq!(unsynced(&life), [0, 1, 2]);
    assert_eq!(life.shared.lock().segments.after(0).unwrap().first, 2);
}

#[test]
fn the_position_does_not_say_that_events_are_there_whose_writers_wait_for_that() {
    for (sync, end) in [(SyncMode::Second, 1), (SyncMode::Always, 0)] {
        let dir = FakeDir::default();
        let mut life = Life::new(&dir, sync);
        let note = |life: &mut Life| {
            life.upkeep.note(true, false);
            position::read(&dir).unwrap()
        };
        life.shared.append(&mut chunk("event"), 0, false);
        life.write();
        let at = |end| Stored::At(Position { acked: 0, end });
        assert_eq!(note(&mut life), at(end), "{sync:?}");
        life.upkeep.sync();
        assert_eq!(note(&mut life), at(1), "{sync:?}");
    }
}

#[test]
fn damaged_bytes_are_counted_whether_or_not_their_segment_was_known_to_be_damaged() {
    let life = Life::new(&FakeDir::default(), SyncMode::Second);
    life.upkeep.report();
    for bytes in [5, 2] {
        let damage = Damage {
            segment: 0,
            events: 1,
            bytes,
        };
        life.shared.found_damaged(&damage);
    }
    assert_eq!(life.report.snapshot().spool.unwrap().corrupt_bytes, 7);
}

#[test]
fn after_a_failure_that_a_full_disk_does_not_explain_another_segment_is_begun() {
    for (kind, shrinks, is_new) in [
        (ErrorKind::StorageFull, true, false),
        (ErrorKind::StorageFull, false, true),
        (ErrorKind::Other, true, true),
    ] {
        let dir = FakeDir::default();
        let mut writer = Writer::new(Arc::new(dir.clone()), SEGMENT);
        let mut write = |number| {
            let record = Record::new(b"event\n".to_vec(), 1);
            let written = writer.write(&[record], number, 9);
            let is_new = written.ok().map(|written| written.is_new);
            (is_new, writer.may_have_written())
        };
        assert_eq!(write(0), (Some(true), false));
        dir.disk().failing = Some((0, kind));
        dir.disk().shrinks = shrinks;
        assert_eq!(write(1), (None, !shrinks), "{kind}");
        dir.disk().failing = None;
        assert_eq!(write(1), (Some(is_new), false), "{kind} {shrinks}");
    }
}

#[test]
fn as_many_bytes_are_tried_out_as_are_asked_for() {
    // A file is opened, and its head and each block are written.
    for (bytes, calls) in [(0, 2), (1, 3), (256 << 10, 3), ((256 << 10) + 1, 4)] {
        for (left, is_ok) in [(calls - 1, false), (calls, true)] {
            let dir = FakeDir::default();
            let writer = Writer::new(Arc::new(dir.clone()), SEGMENT);
            dir.disk().failing = Some((left, ErrorKind::StorageFull));
            dir.disk().shrinks = true;
            let tried = writer.try_out(0, bytes, false);
            assert_eq!(tried.is_ok(), is_ok, "{bytes} {left}");
            assert_eq!(dir.disk().names.len(), 0);
        }
    }
}

#[test]
fn a_name_that_is_needed_again_is_freed() {
    let dir = FakeDir::default();
    dir.open(&segments::name(0), Access::New).unwrap();
    let mut writer = Writer::new(Arc::new(dir.clone()), SEGMENT);
    let record = Record::new(b"event\n".to_vec(), 1);
    assert!(writer.write(&[record], 0, 9).unwrap().is_new);
    let names: Vec<_> = dir.disk().names.keys().cloned().collect();
    assert_eq!(names, [segments::name(0), segments::bad_name(0)]);
}

#[test]
fn what_could_not_be_synced_is_copied_to_a_segment_of_its_own() {
    // Besides the blocks, a file is opened, begun, synced and renamed, and its directory synced.
    for (bytes, blocks) in [(100, 1), (600_000, 3)] {
        let dir = FakeDir::default();
        let mut writer = Writer::new(Arc::new(dir.clone()), u64::MAX);
        let mut write = |number, bytes| {
            let record = Record::new(vec![b'x'; bytes], 1);
            writer.write(&[record], number, 9).unwrap()
        };
        write(0, 10);
        let lost = write(1, bytes);
        write(2, 10);
        let range = lost.from..lost.from + lost.bytes;
        dir.disk().shrinks = true;
        dir.disk().failing = Some((99, ErrorKind::Other));
        let rescued = writer
            .rescue(&[], Some((&*lost.file, range)), 1, 9)
            .unwrap();
        assert_eq!((rescued.segment, rescued.bytes), (1, lost.bytes));
        let disk = dir.disk();
        assert_eq!(disk.failing.map(|(left, _)| 99 - left), Some(5 + blocks));
        let durable = |name: u64| &disk.files[disk.names[&segments::name(name)]].durable;
        let whole = &disk.files[disk.names[&segments::name(0)]].bytes;
        let end = lost.from + lost.bytes;
        assert!(durable(1)[SEGMENT_HEAD..] == whole[lost.from as usize..end as usize]);
    }
}

#[test]
fn an_appender_says_what_it_takes() {
    for is_open in [true, false] {
        let files = match is_open {
            true => Files::of(Arc::new(FakeDir::default()), tempfile::tempfile().unwrap()),
            false => Err(ErrorKind::Other.into()),
        };
        // If no files are given, it can't open any.
        let settings = Settings {
            path: "/dev/null/spool".into(),
            limit: LIMIT,
            sync: SyncMode::Second,
        };
        let report = Arc::new(Report::new(Duration::from_secs(10), Vec::new()));
        let (producer, _consumer) = queue(Extent {
            events: 1,
            bytes: 1 << 20,
        });
        let running = Spool::start(
            &settings,
            files,
            producer.stats(),
            report,
            Watchdog::default(),
        )
        .unwrap();
        let appender = running.spool().appender(0);
        let could_take = |bytes| appender.could_take(Extent { events: 1, bytes });
        assert!(could_take(1) && !could_take(LIMIT as usize));
        assert_eq!(appender.max_line(), LIMIT as usize / 2);
        assert_eq!(appender.takes_nothing(), !is_open);
    }
}
