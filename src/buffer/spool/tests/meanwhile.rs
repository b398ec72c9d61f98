//! What is written, and what of it is lost, while a call that fails has not returned yet.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex};
use std::thread;

use super::disk::{FakeDir, Meanwhile};
use super::life::{Life, SEGMENT, chunk, retry};
use crate::buffer::spool::{Appended, SyncMode};

/// How often each of these lines was read.
fn seen(life: &Life) -> Vec<(&str, usize)> {
    let seen = life.seen.iter();
    seen.map(|(line, count)| (&line[..line.len().min(9)], *count))
        .collect()
}

#[test]
fn what_comes_while_a_write_fails_is_refused_if_it_is_awaited_and_else_written_later() {
    for (kind, answer) in [
        (ErrorKind::Other, Appended::Unavailable),
        (ErrorKind::StorageFull, Appended::Full),
    ] {
        for shrinks in [true, false] {
            let dir = FakeDir::default();
            dir.disk().shrinks = shrinks;
            let mut life = Life::new(&dir, SyncMode::Second);
            life.shared.append(&mut chunk("before"), 0, true);
            life.shared.append(&mut chunk("first"), 0, false);
            let client = thread::spawn({
                let shared = Arc::clone(&life.shared);
                move || {
                    while shared.lock().writer.is_some() {
                        thread::yield_now();
                    }
                    shared.append(&mut chunk("awaited"), 0, true)
                }
            });
            dir.disk().meanwhile = Meanwhile::new({
                let (dir, shared) = (dir.clone(), Arc::clone(&life.shared));
                move || {
                    shared.append(&mut chunk("second"), 0, false);
                    while shared.lock().pending.uncounted.is_empty() {
                        thread::yield_now();
                    }
                    dir.disk().failing = Some((0, kind));
                    Ok(())
                }
            });
            let place = format!("{kind} {shrinks}");
            let claimed = life.shared.lock().claimed;
            life.write();
            assert_eq!(client.join().unwrap(), answer, "{place}");
            let state = life.shared.lock();
            // The second line is one byte longer than the first.
            let bytes = 2 * claimed + 1;
            let pending = (state.pending.bytes, state.pending.events);
            assert_eq!((pending, state.claimed), ((bytes, 2), bytes), "{place}");
            drop(state);
            dir.disk().failing = None;
            retry(&mut life.shared.lock());
            life.write();
            life.read();
            assert_eq!(
                seen(&life),
                [("before", 1), ("first", 1), ("second", 1)],
                "{place}"
            );
            let state = life.shared.lock();
            let left = (state.claimed, state.unread(), state.segments.next());
            assert_eq!(left, (0, 0, 3), "{place}");
            assert_eq!(life.report.snapshot().balance.received(), 1, "{place}");
        }
    }
}

/// Syncing it again would say that it is on disk, though the kernel may have forgotten it.
#[test]
fn what_was_written_to_a_segment_while_its_sync_failed_is_rescued_with_the_rest() {
    let dir = FakeDir::default();
    let life = Life::new(&dir, SyncMode::Always);
    let write = |line: &str| {
        life.shared.append(&mut chunk(line), 0, false);
        life.write();
    };
    write("1 synced");
    life.upkeep.sync();
    write("2 fails");
    dir.disk().meanwhile = Meanwhile::new({
        let shared = Arc::clone(&life.shared);
        move || {
            // The last one is written to the next segment.
            for line in ["3 behind", &format!("4 {:1$}", "", SEGMENT as usize - 100)] {
                shared.append(&mut chunk(line), 0, false);
                drop(shared.write(shared.lock()));
            }
            Err(ErrorKind::Other.into())
        }
    });
    life.upkeep.sync();
    let unsynced = |life: &Life| -> Vec<u64> {
        let state = life.shared.lock();
        state.unsynced.iter().map(|it| it.segment).collect()
    };
    assert_eq!(unsynced(&life), [3]);
    life.upkeep.sync();
    assert_eq!((unsynced(&life), life.shared.lock().claimed), (vec![], 0));
    dir.lose_power(|| false);
    let mut life = Life::new(&dir, SyncMode::Always);
    life.read();
    let lines = ["1 synced", "2 fails", "3 behind", "4        "];
    assert_eq!(seen(&life), lines.map(|line| (line, 1)));
}

/// A disk that hangs is logged with what that means for clients, whose thread may be the one that hangs.
#[test]
fn a_call_that_hangs_is_watched_whoever_makes_it() {
    for (sync, syncing) in [
        (SyncMode::Second, "events of the spool are not synced"),
        (SyncMode::Always, "clients of the spool wait"),
    ] {
        let dir = FakeDir::default();
        let life = Life::new(&dir, sync);
        let watched = |work: &dyn Fn()| {
            let seen = Arc::new(Mutex::new(String::new()));
            dir.disk().meanwhile = Meanwhile::new({
                let (seen, shared) = (Arc::clone(&seen), Arc::clone(&life.shared));
                move || {
                    *seen.lock().unwrap() = format!("{:?}", shared.watchdog);
                    Ok(())
                }
            });
            work();
            seen.lock().unwrap().clone()
        };
        life.shared.append(&mut chunk("event"), 0, false);
        let found = watched(&|| life.write());
        assert!(found.contains("clients of the spool wait"), "{found}");
        let found = watched(&|| life.upkeep.sync());
        assert!(found.contains(syncing), "{found}");
    }
}
