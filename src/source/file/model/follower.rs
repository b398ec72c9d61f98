//! The steps of a source's files, each alone.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::hook::Hook;
use super::tracked::tracked;
use crate::source::file::follower::{FileSettings, Follower, MAX_HOT, QUIET};
use crate::source::file::gzip::MAGIC;
use crate::source::file::listing::Listed;
use crate::source::file::missing::known_by;
use crate::source::file::reading::Step;
use crate::source::file::tracked::{State, Tracked};
use crate::source::gunzip::gzip;
use crate::source::spec::FileStart;
use crate::state::checkpoint::{FileOffset, Fingerprint};
use crate::sys::shutdown::ShutdownSignal;

/// All logs of a directory.
pub(super) fn follower(dir: &Path) -> Follower {
    Follower::new(&dir.join("*.log"), Default::default(), 100, None)
}

/// A file that was just found, and holds this.
pub(super) fn found(dir: &Path, name: &str, text: &[u8]) -> Tracked {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    tracked(&path, &fs::metadata(&path).unwrap())
}

/// Its time is ahead, so that it does not matter how long the test takes.
#[test]
fn what_can_not_be_told_yet_is_looked_into_again_if_it_has_anything() {
    for (text, waits) in [(&b""[..], false), (MAGIC, true)] {
        let dir = tempfile::tempdir().unwrap();
        let mut follower = follower(dir.path());
        let path = dir.path().join("a.log");
        fs::write(&path, text).unwrap();
        let later = SystemTime::now() + Duration::from_secs(3600);
        let file = File::options().append(true).open(&path).unwrap();
        file.set_modified(later).unwrap();
        let now = Instant::now();
        let mut file = tracked(&path, &fs::metadata(&path).unwrap());
        file.active = now;
        follower.put(1, file);
        follower.examine(1, now).unwrap();
        let file = &follower.files[&1];
        let found = (file.state, file.is_touched, follower.pending.contains(&1));
        assert_eq!(found, (State::New, waits, waits), "{text:?}");
    }
}

/// Its content may be in a file that is just being compressed, unless that begins with something else.
#[test]
fn missing_contents_are_reported_at_once_if_there_are_files_unless_one_can_not_be_told_yet() {
    let gz = |text: &str| gzip(text.repeat(300).as_bytes());
    let (same, other, short) = (gz("{\"n\":1}\n"), gz("{\"n\":2}\n"), &MAGIC[..1]);
    for (state, is_gzip, is_touched, found_there, is_reported) in [
        (State::Followed, false, true, short, true),
        (State::Followed, true, true, short, true),
        (State::New, false, true, short, true),
        (State::New, true, false, short, true),
        (State::New, true, true, short, false),
        (State::New, true, true, &same, false),
        (State::New, true, true, &other, true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (mut follower, mut hook) = (follower(dir.path()), Hook::default());
        let mut file = found(dir.path(), "a.log", found_there);
        (file.state, file.is_gzip, file.is_touched) = (state, is_gzip, is_touched);
        follower.put(1, file);
        let gone = FileOffset {
            path: dir.path().join("gone.log").into(),
            length: 5,
            head: known_by(b"{\"n\":1}\n"),
            ..FileOffset::default()
        };
        follower.missing.insert(2, gone);
        let now = Instant::now();
        // They were searched for a moment ago.
        follower.searched = Some(now);
        follower.resolve_missing(now, &mut hook);
        let place = format!("{state:?} {is_gzip} {is_touched} {}", found_there.len());
        let lost = if is_reported { 5 } else { 0 };
        assert_eq!(
            (hook.lost, follower.must_search),
            (lost, !is_reported),
            "{place}"
        );
        for (later, lost) in [(QUIET - Duration::from_secs(3), lost), (QUIET, 5)] {
            follower.resolve_missing(now + later, &mut hook);
            assert_eq!(hook.lost, lost, "{place}");
        }
    }
}

/// Its copy may not have been compared with it.
#[test]
fn what_is_missing_is_not_reported_once_a_stop_has_ended_the_search() {
    let (one, two) = ("{\"n\":1}\n", "{\"n\":2}\n");
    for (text, stops, lost) in [
        ([one, two].concat(), false, 0),
        ([two, one].concat(), false, 8),
        ([one, two].concat(), true, 0),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (mut follower, mut hook) = (follower(dir.path()), Hook::default());
        let mut copy = found(dir.path(), "a.log", &gzip(text.as_bytes()));
        (copy.is_gzip, copy.state) = (true, State::CopyOf { original: 2 });
        copy.now.modified -= Duration::from_secs(9);
        follower.put(1, copy);
        let gone = FileOffset {
            path: dir.path().join("gone.log").into(),
            offset: 8,
            length: 16,
            head: known_by(one.as_bytes()),
            tail: Fingerprint::of(one.as_bytes()),
            ..FileOffset::default()
        };
        follower.missing.insert(2, gone);
        if stops {
            let stop = ShutdownSignal::new().unwrap();
            stop.trigger();
            follower.long_work.stop = Some(stop);
        }
        follower.resolve_missing(Instant::now(), &mut hook);
        assert_eq!(hook.lost, lost, "{text} {stops}");
        assert_eq!(follower.long_work.was_cut(), stops);
    }
}

#[test]
fn a_file_that_can_not_be_read_waits_for_a_change() {
    let dir = tempfile::tempdir().unwrap();
    let (mut follower, mut hook) = (follower(dir.path()), Hook::default());
    let mut file = found(dir.path(), "a.log", b"{}\n");
    file.state = State::Followed;
    follower.put(1, file);
    fs::remove_file(dir.path().join("a.log")).unwrap();
    follower.read_some(Instant::now(), &mut hook);
    assert!(follower.pending.is_empty());
    let dirty: Vec<&PathBuf> = follower.dirty.iter().collect();
    assert_eq!(dirty, [dir.path()], "is it renamed, or gone?");
}

/// The descriptor that is there may be all that is left of it.
#[test]
fn after_an_error_a_file_is_closed_only_if_it_can_be_opened_again() {
    for has_name in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let mut follower = follower(dir.path());
        let mut file = found(dir.path(), "a.log", b"{}\n");
        file.state = State::Followed;
        let before = file.open().unwrap().as_raw_fd();
        // So that it is not used again.
        let in_use = file.open().unwrap().try_clone().unwrap();
        follower.put(1, file);
        if !has_name {
            fs::remove_file(dir.path().join("a.log")).unwrap();
        }
        let error = io::Error::from_raw_os_error(libc::EIO);
        follower.note_read_error(1, &error, Instant::now());
        let file = follower.files.get_mut(&1).unwrap();
        assert!(file.is_open(), "{has_name}");
        let is_same = file.open().unwrap().as_raw_fd() == before;
        assert_eq!(is_same, !has_name);
        assert_eq!(file.read_at(0, 9).unwrap(), b"{}\n", "{has_name}");
        drop(in_use);
    }
}

/// As that of another source: its end shows whether it has all of its original.
#[test]
fn how_long_the_original_of_a_compressed_file_was_stays_known_when_it_is_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let mut follower = follower(dir.path());
    let mut file = found(dir.path(), "a.log.gz", &gzip(b"{}\n{}\n"));
    file.is_gzip = true;
    let known = FileOffset {
        offset: 3,
        original: 500,
        ..file.known()
    };
    follower.resume(7, &known, file);
    assert_eq!(follower.progress.ended(7, 6, 99), 500);
}

/// The error alone tells nothing of what is missing.
#[test]
fn of_a_damaged_file_what_is_known_to_be_missing_is_lost() {
    for missing in [0, 5] {
        let dir = tempfile::tempdir().unwrap();
        let (mut follower, mut hook) = (follower(dir.path()), Hook::default());
        let mut file = found(dir.path(), "a.log", &gzip(b"{}\n"));
        (file.is_gzip, file.state) = (true, State::Followed);
        (file.offset, file.longest) = (3, 3 + missing);
        follower.put(1, file);
        follower.damaged = vec![(1, ErrorKind::InvalidData.into())];
        for _ in 0..2 {
            follower.report_damaged(Instant::now(), &mut hook);
            assert_eq!((hook.lost, hook.gone), (missing, missing.min(1)));
        }
    }
}

/// It may still be written, or have gained what was not read yet.
#[test]
fn a_compressed_file_that_ends_early_is_damaged_once_nothing_more_is_awaited() {
    let (early, other) = (ErrorKind::UnexpectedEof, ErrorKind::InvalidData);
    let just = QUIET - Duration::from_nanos(1);
    for (kind, after, is_gone, is_touched, is_damaged) in [
        (early, just, false, false, false),
        (early, QUIET, false, false, true),
        (early, just, true, false, true),
        (early, just, false, true, false),
        (early, QUIET, false, true, false),
        (early, QUIET, true, true, false),
        (other, Duration::ZERO, false, true, true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (mut follower, mut hook) = (follower(dir.path()), Hook::default());
        let mut file = found(dir.path(), "a.log", &gzip(b"{}\n"));
        (file.is_gzip, file.is_gone) = (true, is_gone);
        let (start, known) = (
            file.active,
            FileOffset {
                offset: 3,
                original: 500,
                ..file.known()
            },
        );
        follower.resume(1, &known, file);
        let file = follower.files.get_mut(&1).unwrap();
        (file.is_touched, file.longest) = (is_touched, 8);
        follower.damaged = [1, 2].map(|number| (number, kind.into())).into();
        follower.report_damaged(start + after, &mut hook);
        let place = format!("{kind} {after:?} {is_gone} {is_touched}");
        let waits: Vec<u64> = follower.damaged.iter().map(|(number, _)| *number).collect();
        assert_eq!(
            waits,
            [1][usize::from(is_damaged)..],
            "{place}: the other is no longer there"
        );
        let (lost, length, original) = if is_damaged { (5, 3, 0) } else { (0, 8, 500) };
        assert_eq!(
            (hook.lost, follower.files[&1].longest),
            (lost, length),
            "{place}"
        );
        assert_eq!(
            follower.progress.ended(1, 3, 99),
            original,
            "{place}: it has ended"
        );
    }
}

/// To open it again may not be possible: it may have no name any more.
#[test]
fn a_file_that_is_being_compressed_stays_open_or_closed_when_it_is_looked_into() {
    let dir = tempfile::tempdir().unwrap();
    for is_open in [true, false] {
        let mut follower = follower(dir.path());
        let mut file = found(dir.path(), "a.log", &gzip(b"{}\n"));
        file.is_gzip = true;
        if is_open {
            file.open().unwrap();
        }
        follower.put(1, file);
        follower.may_be_compressed(Instant::now());
        assert!(follower.compressing.contains_key(&1), "it was looked into");
        assert_eq!(follower.files[&1].is_open(), is_open);
    }
}

#[test]
fn how_long_a_file_can_not_be_read_is_known_only_while_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let (mut follower, mut hook) = (follower(dir.path()), Hook::default());
    for (number, name) in [(1, "a.log"), (2, "b.log")] {
        let mut file = found(dir.path(), name, b"{}\n");
        file.state = State::Followed;
        file.open().unwrap();
        file.is_gone = true;
        follower.put(number, file);
        fs::remove_file(dir.path().join(name)).unwrap();
        follower.failing.insert(number, Instant::now());
    }
    let known = |follower: &Follower| follower.failing.keys().copied().collect::<Vec<_>>();
    follower.settings.max_deleted = 4;
    follower.tend_gone(Instant::now(), &mut hook);
    assert_eq!(known(&follower), [2], "they take too much");
    follower.files.get_mut(&2).unwrap().close();
    follower.tend_gone(Instant::now(), &mut hook);
    assert!(known(&follower).is_empty(), "it is closed");
}

/// In which order a directory lists its names is chance.
#[test]
fn of_a_files_names_the_path_of_the_source_comes_first() {
    for (names, is_known) in [
        (["a.log", "a.log-1"], false),
        (["a.log-1", "a.log"], false),
        (["a.log-1", "a.log"], true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let [main, other] = ["a.log", "a.log-1"].map(|name| dir.path().join(name));
        fs::write(&other, "{}\n").unwrap();
        fs::hard_link(&other, &main).unwrap();
        let mut follower = Follower::new(&main, Default::default(), 100, None);
        let listed = |name: &str| {
            let path = dir.path().join(name);
            let found = fs::metadata(&path).unwrap();
            Listed::of(path.into(), 0, &found)
        };
        let now = Instant::now();
        if is_known {
            let mut file = Tracked::new(listed("a.log-1"), now);
            // It was just seen there.
            file.look = follower.looks;
            follower.put(1, file);
        }
        let new = follower.place(names.map(listed).into(), now);
        let known = follower.files.values().map(|file| &*file.now.path);
        let found: Vec<_> = new
            .iter()
            .map(|listed| &*listed.path)
            .chain(known)
            .collect();
        assert_eq!(found, [&*main], "{names:?} {is_known}");
    }
}

/// Files that come, grow, are renamed or truncated while the state directory is awaited.
#[test]
fn what_is_passed_at_the_first_start_is_what_was_there_then() {
    let events = |numbers: std::ops::Range<u64>| -> String {
        numbers.map(|n| format!("{{\"n\":{n}}}\n")).collect()
    };
    for (pattern, start, delivered) in [
        ("a.log*", FileStart::End, &[2, 3, 5][..]),
        ("a.log*", FileStart::Beginning, &[1, 2, 3, 5]),
        ("a.log", FileStart::Beginning, &[1, 2, 3, 5]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let settings = FileSettings {
            start,
            ..FileSettings::default()
        };
        let new = || Follower::new(&path(pattern), settings.clone(), 100, None);
        fs::write(path("a.log"), events(1..2)).unwrap();
        fs::write(path("a.log-other"), events(4..5).repeat(2)).unwrap();
        let before = new().files_now();
        fs::write(path("a.log"), events(1..3)).unwrap();
        fs::rename(path("a.log"), path("a.log.1")).unwrap();
        fs::write(path("a.log"), events(3..4)).unwrap();
        fs::write(path("a.log-other"), events(5..6)).unwrap();
        let (mut follower, mut hook, now) = (new(), Hook::default(), Instant::now());
        follower.before = Some(before);
        follower.look(now, &mut hook);
        while follower.read_some(now, &mut hook) != Step::Idle {}
        hook.deliver();
        let found: Vec<_> = hook.delivered.keys().copied().collect();
        assert_eq!(found, delivered, "{pattern} {start:?}");
    }
}

/// Its descriptor holds its space on disk, and nothing but looking at it each time lets go of that.
#[test]
fn a_file_that_a_longer_one_has_replaced_is_let_go_however_many_others_change() {
    for count in [2, MAX_HOT + 2] {
        let dir = tempfile::tempdir().unwrap();
        let path = |n: usize| dir.path().join(format!("{n:03}.log"));
        let (mut follower, mut hook) = (follower(dir.path()), Hook::default());
        follower.max_open = 2 * count + 2;
        let mut now = Instant::now();
        let mut step = |follower: &mut Follower| {
            now += Duration::from_millis(20);
            follower.look(now, &mut hook);
            while follower.read_some(now, &mut hook) != Step::Idle {
                hook.deliver();
            }
        };
        let text = |n: usize| format!("{{\"n\":{n},\"pad\":\"{n:0200}\"}}\n");
        (0..count).for_each(|n| fs::write(path(n), text(n)).unwrap());
        step(&mut follower);
        (0..count).for_each(|n| fs::write(path(n), text(n).repeat(2)).unwrap());
        for _ in 0..9 {
            step(&mut follower);
        }
        assert_eq!(follower.hot.len(), count, "all have just changed");
        fs::write(dir.path().join("new"), text(0).repeat(3)).unwrap();
        fs::rename(dir.path().join("new"), path(0)).unwrap();
        for _ in 0..3 {
            step(&mut follower);
        }
        let gone = follower.files.values().filter(|file| file.is_gone);
        assert_eq!((gone.count(), follower.files.len()), (0, count), "{count}");
    }
}

/// There may be thousands of them.
#[test]
fn files_that_end_within_an_event_take_hardly_more_memory_than_it_has() {
    // Read at one go, without room for the last event, and in turns.
    for (count, length) in [(15, 10_000), (40, 5000), (48, 110_000)] {
        let dir = tempfile::tempdir().unwrap();
        let (mut follower, mut hook) = (follower(dir.path()), Hook::default());
        let files = [1, 2, 3].map(|n| {
            let event = format!("{{\"n\":{n},\"pad\":\"{}\"}}\n", "x".repeat(length));
            let path = dir.path().join(format!("{n}.log"));
            fs::write(&path, event.repeat(count as usize) + &event[..length / 2]).unwrap();
            (path, event[length / 2..].to_owned())
        });
        let mut read = |follower: &mut Follower, seconds| {
            let now = Instant::now() + Duration::from_secs(seconds);
            follower.look(now, &mut hook);
            loop {
                let step = follower.read_some(now, &mut hook);
                hook.deliver();
                let files = follower.files.values();
                for reading in files.filter_map(|file| file.reading.as_ref()) {
                    let unfinished = reading.unfinished();
                    let [framer, recent] = [reading.framer.memory(), reading.recent.capacity()];
                    let is_little = framer <= 2 * unfinished + 500 && recent <= unfinished + 1024;
                    let place = format!("{count} {step:?}: {framer} {recent} for {unfinished}");
                    assert!(is_little || step == Step::Full, "{place}");
                }
                if step == Step::Idle {
                    return [1, 2, 3].map(|n| hook.delivered[&n]);
                }
            }
        };
        assert_eq!(read(&mut follower, 0), [count; 3]);
        for (path, rest) in &files {
            let mut file = File::options().append(true).open(path).unwrap();
            file.write_all(rest.as_bytes()).unwrap();
        }
        assert_eq!(read(&mut follower, 1), [count + 1; 3]);
    }
}
