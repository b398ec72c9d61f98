//! How long others wait for one that there is no room for, or for a disk that hangs.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::disk::{FakeDir, Meanwhile};
use super::life::{LIMIT, Life, SEGMENT, chunk, retry};
use crate::buffer::spool::shared::{Shared, State, UNWRITTEN};
use crate::buffer::spool::trouble::{QUIET, SLOW, TRIED};
use crate::buffer::spool::{Appended, SyncMode};

#[test]
fn a_disk_that_hangs_delays_streams_once_until_it_has_written() {
    let life = Life::of(&FakeDir::default(), SyncMode::Second, 8 * UNWRITTEN);
    let stream = |line: &str| life.shared.append(&mut chunk(line), 0, false);
    for is_all_written in [true, false] {
        let began = Instant::now();
        for _ in 0..2 {
            life.shared.lock().claimed += 2 * UNWRITTEN;
            for _ in 0..20 {
                assert_eq!(stream("through memory"), Appended::Unavailable);
            }
            life.shared.lock().claimed -= 2 * UNWRITTEN;
            if is_all_written {
                assert_eq!(stream("through the spool"), Appended::Taken);
            } else {
                life.shared.made_room(&mut life.shared.lock());
            }
        }
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(500), "{took:?}");
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}

/// However little there is to write.
#[test]
fn behind_a_write_that_hangs_streams_go_through_memory() {
    let dir = FakeDir::default();
    let mut life = Life::new(&dir, SyncMode::Second);
    let stream = |shared: &Shared, line| shared.append(&mut chunk(line), 0, false);
    dir.disk().meanwhile = Meanwhile::new({
        let shared = Arc::clone(&life.shared);
        move || {
            assert_eq!(stream(&shared, "2 behind it"), Appended::Taken);
            shared.lock().writing_since = Instant::now().checked_sub(SLOW);
            assert_eq!(stream(&shared, "in memory"), Appended::Unavailable);
            Ok(())
        }
    });
    assert_eq!(stream(&life.shared, "1 hangs"), Appended::Taken);
    life.write();
    assert_eq!(stream(&life.shared, "3 later"), Appended::Taken);
    life.write();
    life.read();
    let lines = ["1 hangs", "2 behind it", "3 later"];
    assert!(life.seen.keys().eq(lines) && life.seen.values().all(|times| *times == 1));
}

/// A body that does not fit keeps nobody out for longer than until the disk is tried again, however often it comes.
#[test]
fn what_the_disk_has_no_room_for_keeps_out_only_what_is_as_large() {
    let dir = FakeDir::default();
    let life = Life::of(&dir, SyncMode::Second, 16 << 20);
    let post = |bytes: u64| {
        let line = "x".repeat(bytes as usize);
        life.shared.append(&mut chunk(&line), 0, true)
    };
    let size = |bytes| if bytes > TRIED { "large" } else { "small" };
    dir.disk().room = Some(1 << 20);
    let large = 2 << 20;
    assert_eq!(post(large), Appended::Full);
    assert_eq!(post(1), Appended::Full, "not every client tries it out");
    retry(&mut life.shared.lock());
    life.write();
    for (bytes, expected) in [
        (1, Appended::Taken),
        (large, Appended::Full),
        (1, Appended::Taken),
        (300_000, Appended::Taken),
        (large - 9, Appended::Full),
        (1, Appended::Taken),
    ] {
        assert_eq!(post(bytes), expected, "{} {bytes}", size(bytes));
    }
    retry(&mut life.shared.lock());
    life.write();
    assert_eq!(
        (post(large - 9), post(1)),
        (Appended::Full, Appended::Taken)
    );
    // After some time without trouble it is tried.
    life.shared.log_restored(Instant::now() + QUIET);
    dir.disk().room = None;
    assert_eq!(post(large), Appended::Taken);
}

#[test]
fn only_of_what_is_larger_than_what_is_tried_out_it_is_known_that_it_has_no_room() {
    let failed = Some(Instant::now());
    for (result, bytes, is_known) in [
        (Appended::Full, TRIED, false),
        (Appended::Full, TRIED + 1, true),
        (Appended::Unavailable, TRIED + 1, false),
    ] {
        for is_over in [false, true] {
            let life = Life::new(&FakeDir::default(), SyncMode::Second);
            let mut state = life.shared.lock();
            state.fail(result, failed);
            if is_over {
                life.shared.worked(&mut state);
            }
            state.refused(bytes);
            let past = state.past.as_ref().map(|(trouble, _)| trouble);
            let trouble = state.trouble.as_ref().or(past).unwrap();
            let known = trouble.too_large.map(|(bytes, _)| bytes);
            assert_eq!(known, is_known.then_some(bytes), "{result:?} {bytes}");
        }
    }
}

/// After a moment without room for something large.
#[test]
fn only_that_as_much_has_no_room_once_more_keeps_nobody_out() {
    let (full, failed) = (ErrorKind::StorageFull, ErrorKind::Other);
    for (kind, refused, is_known, is_trouble) in [
        (full, Some(TRIED + 1), true, false),
        (full, Some(TRIED + 1), false, true),
        (full, Some(TRIED), true, true),
        (full, None, true, true),
        (failed, Some(TRIED + 1), true, true),
    ] {
        let life = Life::new(&FakeDir::default(), SyncMode::Second);
        let mut state = life.shared.lock();
        state.fail(Appended::Full, Some(Instant::now()));
        if is_known {
            state.refused(TRIED + 1);
        }
        life.shared.worked(&mut state);
        life.shared.not_written(&mut state, &kind.into(), refused);
        let place = format!("{kind} {refused:?} {is_known}");
        assert_eq!(state.is_in_trouble(), is_trouble, "{place}");
    }
}

/// As long as it comes, it is tried once a second, and the disk is as full as it was: that is no news. What streams bring
/// is not refused for that, since nobody would send it again.
#[test]
fn a_large_body_is_tried_once_a_second_and_keeps_nothing_else_out_meanwhile() {
    let dir = FakeDir::default();
    let life = Life::of(&dir, SyncMode::Second, 16 << 20);
    let append = |bytes: u64, waits| {
        let line = "x".repeat(bytes as usize);
        life.shared.append(&mut chunk(&line), 0, waits)
    };
    let large = 2 << 20;
    dir.disk().room = Some(1 << 20);
    assert_eq!(append(large, true), Appended::Full);
    retry(&mut life.shared.lock());
    life.write();
    let earlier = |state: &mut State, ago| {
        let (trouble, ended) = state.past.as_mut().unwrap();
        (trouble.since, *ended) = (trouble.since - ago, *ended - ago);
        if let Some((_, tried)) = &mut trouble.too_large {
            *tried -= ago;
        }
    };
    for _ in 0..9 {
        earlier(&mut life.shared.lock(), Duration::from_secs(1));
        assert_eq!(append(large, true), Appended::Full);
        assert_eq!(append(1, true), Appended::Taken, "it was tried, and failed");
        let mut state = life.shared.lock();
        assert!(state.over(Instant::now()).is_none(), "it is not over");
        assert!(!state.is_in_trouble());
    }
    dir.disk().room = None;
    assert_eq!(append(large, true), Appended::Full, "only once a second");
    assert_eq!(append(large, false), Appended::Taken);
    life.write();
    assert_eq!(append(large, true), Appended::Taken);
    let mut state = life.shared.lock();
    earlier(&mut state, QUIET);
    assert!(state.over(Instant::now()).is_some());
}

/// Whichever of them comes first, and whatever was too large before: each that has room is taken.
#[test]
fn a_body_that_is_tried_takes_no_turn_of_a_smaller_one() {
    let dir = FakeDir::default();
    let life = Life::of(&dir, SyncMode::Second, 16 << 20);
    let post = |bytes: u64| {
        let line = "x".repeat(bytes as usize);
        life.shared.append(&mut chunk(&line), 0, true)
    };
    let (small, large) = (80 << 10, 4 << 20);
    dir.disk().room = Some(70 << 10);
    assert_eq!(post(small), Appended::Full);
    retry(&mut life.shared.lock());
    life.write();
    assert_eq!(post(1), Appended::Taken);
    dir.disk().room = Some(1 << 20);
    for _ in 0..3 {
        let mut state = life.shared.lock();
        let (trouble, _) = state.past.as_mut().unwrap();
        if let Some((_, tried)) = &mut trouble.too_large {
            *tried -= Duration::from_secs(1);
        }
        drop(state);
        for (bytes, expected) in [
            (large, Appended::Full),
            (small, Appended::Taken),
            (large, Appended::Full),
            (small, Appended::Taken),
            (1, Appended::Taken),
        ] {
            assert_eq!(post(bytes), expected, "{bytes}");
        }
    }
}

#[test]
fn a_spool_that_is_full_again_and_again_is_so_once_for_the_log() {
    let (full, failed) = (
        (Appended::Full, None),
        (Appended::Unavailable, Some(Instant::now())),
    );
    let disk_full = (Appended::Full, Some(Instant::now()));
    // What happens, how long it has been over by then, and whether it is logged.
    for steps in [
        &[
            (full, 0, true),
            (full, 0, false),
            (full, 4, false),
            (full, 5, true),
        ][..],
        &[
            (full, 0, true),
            (disk_full, 1, true),
            (failed, 1, true),
            (failed, 1, false),
        ],
    ] {
        let mut state = State::new();
        let began = Instant::now();
        let life = Life::new(&FakeDir::default(), SyncMode::Second);
        for ((result, retry_at), seconds, is_news) in steps {
            let over = state.over(Instant::now() + Duration::from_secs(*seconds));
            assert_eq!(over.is_some(), *seconds == 5, "{steps:?}");
            assert!(over.is_none_or(|lasted| lasted < began.elapsed()));
            assert_eq!(state.fail(*result, *retry_at), *is_news, "{steps:?}");
            assert!(state.over(Instant::now() + QUIET).is_none(), "it lasts");
            life.shared.worked(&mut state);
            assert!(!state.is_in_trouble());
        }
    }
}

/// Its own newest segment, of which everything is final, is not what keeps a large body out.
#[test]
fn what_fits_into_an_empty_spool_is_taken_once_all_before_it_is_final() {
    for bytes in [LIMIT - SEGMENT / 2, LIMIT - 200] {
        let large = "x".repeat(bytes as usize);
        let mut life = Life::new(&FakeDir::default(), SyncMode::Second);
        let post = |life: &Life, line: &str| life.shared.append(&mut chunk(line), 0, true);
        assert_eq!(
            post(&life, &"x".repeat(SEGMENT as usize / 2)),
            Appended::Taken
        );
        life.read();
        life.upkeep.note(true, false);
        assert_eq!(post(&life, &large), Appended::Full, "{bytes}");
        life.finish(1);
        assert_eq!(post(&life, &large), Appended::Full, "{bytes}");
        life.upkeep.note(true, false);
        assert_eq!(post(&life, &large), Appended::Taken, "{bytes}");
    }
}
