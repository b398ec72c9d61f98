//! What a start finds.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use super::disk::{FakeDir, FileState, Meanwhile};
use crate::buffer::chunk::Chunk;
use crate::buffer::spool::Files;
use crate::buffer::spool::position::{self, Position, PositionFile, Stored};
use crate::buffer::spool::reader::Reader;
use crate::buffer::spool::record::{RECORD_HEAD, Record, SEGMENT_HEAD, segment_head};
use crate::buffer::spool::segments::{self, Opened, Segments, bad_name, name, unfinished_name};
use crate::buffer::spool::writer::Writer;

/// When these events were written.
pub(super) const TIME: u32 = 9;

pub(super) fn put(dir: &FakeDir, name: String, bytes: Vec<u8>) {
    let mut disk = dir.disk();
    let number = disk.files.len();
    let durable = bytes.clone();
    disk.files.push(FileState { bytes, durable });
    disk.names.insert(name, number);
}

/// A segment with a record for each of these events.
pub(super) fn segment(first: u64, lengths: &[usize]) -> Vec<u8> {
    let mut bytes = segment_head().to_vec();
    for (number, length) in (first..).zip(lengths) {
        let record = Record::new(format!("{number:0length$}\n").into_bytes(), 1);
        bytes.extend(record.head(number, TIME));
        bytes.extend(&record.bytes);
    }
    bytes
}

#[test]
fn the_end_of_a_spool_is_that_of_its_last_segment_with_events() {
    let sound = || (name(0), segment(0, &[5, 5, 5]));
    let damaged = || (name(3), vec![0; 100]);
    let mut no_head = sound();
    no_head.1[..SEGMENT_HEAD].fill(b'x');
    let set_aside = (bad_name(2), vec![0; 50]);
    let unfinished = (unfinished_name(1), vec![0; 9]);
    let all = vec![name(0), bad_name(2), bad_name(3)];
    // What is there, the names that remain, and how many bytes were set aside.
    for (files, names, bytes) in [
        (vec![sound()], &all[..1], 0),
        (vec![no_head], &all[..1], 0),
        (vec![sound(), (name(3), segment(3, &[]))], &all[..1], 0),
        (vec![sound(), (name(3), vec![0; 9])], &all[..1], 0),
        (vec![sound(), unfinished], &all[..1], 0),
        (vec![sound(), set_aside.clone()], &all[..2], 50),
        (vec![sound(), set_aside, damaged()], &all, 150),
    ] {
        let dir = FakeDir::default();
        for (name, bytes) in files {
            put(&dir, name, bytes);
        }
        let opened = segments::open(&dir).unwrap();
        let left: Vec<String> = dir.disk().names.keys().cloned().collect();
        assert_eq!(left, names);
        assert_eq!(opened.segments.next(), 3);
        assert_eq!(opened.segments.set_aside, bytes);
        assert_eq!(opened.segments.bytes(), sound().1.len() as u64 + bytes);
        assert_eq!(opened.damaged.len(), usize::from(bytes > 100));
        assert!(!opened.is_unsure());
    }
}

#[test]
fn the_age_of_a_spool_is_that_of_its_first_event_that_was_not_delivered() {
    let dir = FakeDir::default();
    let mut writer = Writer::new(Arc::new(dir.clone()), 100);
    for (number, time) in [(0, 10), (1, 20), (2, 30), (3, 40)] {
        let record = Record::new(b"an event\n".to_vec(), 1);
        writer.write(&[record], number, time).unwrap();
    }
    let names = dir.disk().names.len();
    assert_eq!(names, 2, "several have a segment of their own");
    let mut position = PositionFile::open(&dir, Position { acked: 0, end: 4 }).unwrap();
    for (acked, since) in [
        (0, Some(10)),
        (1, Some(20)),
        (2, Some(30)),
        (3, Some(40)),
        (4, None),
    ] {
        position.write(Position { acked, end: 4 }).unwrap();
        let lock = tempfile::tempfile().unwrap();
        let files = Files::of(Arc::new(dir.clone()), lock).unwrap();
        assert_eq!(files.unread_since, since, "{acked}");
    }
}

/// Somebody has made it, or a power failure has left nothing of it: what others have of its numbers is delivered.
#[test]
fn an_empty_file_with_the_name_of_a_segment_costs_nothing() {
    for end in [0, 2, 3, 7] {
        for empty in [1, 2, 4, 6, 7] {
            let dir = FakeDir::default();
            PositionFile::open(&dir, Position { acked: 0, end }).unwrap();
            put(&dir, name(empty), Vec::new());
            let many = Record::new(b"0\n1\n2\n".to_vec(), 3);
            put(
                &dir,
                name(0),
                [&segment_head()[..], &many.head(0, TIME), &many.bytes].concat(),
            );
            put(&dir, name(3), segment(3, &[5, 5, 5, 5]));
            let segments = segments::open(&dir).unwrap().segments;
            assert_eq!(segments.next(), 7, "{empty} {end}");
            // It may be all that is left of one with events; the newest may be one that was just begun.
            let is_kept = dir.disk().names.contains_key(&bad_name(empty));
            assert_eq!(is_kept, empty < end.max(3), "{empty} {end}");
            let (lines, missing, damaged) = read(&mut Reader::new(Arc::new(dir), 0), &segments);
            let all = "0\n1\n2\n00003\n00004\n00005\n00006\n";
            assert_eq!((&*lines, missing, damaged), (all, 0, 0), "{empty} {end}");
        }
    }
}

impl Opened {
    fn is_unsure(&self) -> bool {
        let last = self.segments.after(u64::MAX);
        last.is_some_and(|last| last.is_unsure)
    }
}

/// Whatever of the newest segment can't be read: the spool can be used, and what can be read then comes, once.
#[test]
fn a_newest_segment_that_can_not_be_read_stops_no_start() {
    let whole = segment(3, &[990; 20]);
    let end = whole.len();
    let middle = 4096..8192;
    // What can't be read, whether the file can't be opened, how much was written, and the next number.
    for (unreadable, unopenable, known, next) in [
        (0..end, 0, 0, 4),
        (0..end, 0, 23, 23),
        (0..0, libc::EIO, 0, 4),
        (0..0, libc::EIO, 23, 23),
        (middle, 0, 0, 23),
        (end - 100..end, 0, 0, 22),
        (end - 100..end, 0, 23, 23),
    ] {
        for is_healed in [false, true] {
            let dir = FakeDir::default();
            put(&dir, name(0), segment(0, &[990; 3]));
            put(&dir, name(3), whole.clone());
            let at = Position {
                acked: 0,
                end: known,
            };
            PositionFile::open(&dir, at).unwrap();
            {
                let mut disk = dir.disk();
                (disk.unreadable, disk.unreadable_file) = (unreadable.clone(), Some(1));
                // The position is opened first.
                disk.unopenable_file = (unopenable != 0).then(|| (name(3), unopenable));
            }
            let mut opened = segments::open(&dir).unwrap();
            assert_eq!(
                opened.segments.next(),
                next,
                "{unreadable:?} {unopenable} {known}"
            );
            assert!(opened.is_unsure() && opened.damaged.is_empty());
            // Others get the numbers behind it.
            let mut writer = Writer::new(Arc::new(dir.clone()), 1 << 20);
            let record = Record::new(b"new\n".to_vec(), 1);
            let written = writer.write(&[record], next, TIME).unwrap();
            opened.segments.created(written.segment);
            opened.segments.appended(written.segment, written.bytes, 1);
            if is_healed {
                let mut disk = dir.disk();
                (disk.unreadable, disk.unopenable_file) = (0..0, None);
            }
            // Also for a start that knows nothing of this one.
            for segments in [opened.segments, segments::open(&dir).unwrap().segments] {
                let mut reader = Reader::new(Arc::new(dir.clone()), 0);
                let (lines, missing, _) = read(&mut reader, &segments);
                let old = lines.lines().count() as u64 - 1;
                assert_eq!(old + missing, next, "{unreadable:?} {unopenable} {known}");
                assert!(lines.ends_with("new\n") && lines.matches("new").count() == 1);
                assert!(!is_healed || missing == 0 || known == 0, "{missing}");
                assert_eq!(reader.position(), next + 1);
            }
        }
    }
}

#[test]
fn a_segment_that_can_not_be_set_aside_or_removed_stops_no_start() {
    for (bytes, stuck) in [
        (vec![0; 100], bad_name(3)),
        (vec![0; 100], name(3)),
        (segment(3, &[]), name(3)),
    ] {
        let dir = FakeDir::default();
        put(&dir, name(0), segment(0, &[5, 5, 5]));
        put(&dir, name(3), bytes);
        put(&dir, unfinished_name(9), Vec::new());
        for (stuck, next) in [(stuck, 4), (unfinished_name(9), 3)] {
            dir.disk().stuck = Some(stuck);
            assert_eq!(segments::open(&dir).unwrap().segments.next(), next);
        }
    }
}

#[test]
fn a_start_waits_until_the_host_has_what_it_needs() {
    for (name, error) in [
        (name(0), libc::EMFILE),
        (position::NAME.into(), libc::ENOMEM),
        // As after a start by root.
        (name(0), libc::EACCES),
        (position::NAME.into(), libc::EACCES),
    ] {
        let dir = FakeDir::default();
        put(&dir, self::name(0), segment(0, &[5]));
        PositionFile::open(&dir, Position::default()).unwrap();
        dir.disk().unopenable_file = Some((name.clone(), error));
        let error = segments::open(&dir).unwrap_err().to_string();
        assert!(error.starts_with(&name), "{error}");
        dir.disk().unopenable_file = None;
        // The same if it can be opened, and not read.
        let file = dir.disk().names[&name];
        dir.disk().unreadable = 0..usize::MAX;
        dir.disk().unreadable_file = Some(file);
        dir.disk().unreadable_because = Some(libc::ENOMEM);
        let error = segments::open(&dir).unwrap_err().to_string();
        assert!(error.starts_with(&name), "{error}");
        dir.disk().unreadable = 0..0;
        assert!(!segments::open(&dir).unwrap().is_unsure());
    }
}

/// One that can't be used as such makes room for another one.
#[test]
fn a_position_is_set_aside_only_for_what_it_is() {
    for (error, is_set_aside) in [
        (libc::EISDIR, true),
        (libc::EIO, true),
        (libc::EMFILE, false),
        (libc::EACCES, false),
        (libc::ENOSPC, false),
        (libc::EDQUOT, false),
    ] {
        let dir = FakeDir::default();
        PositionFile::open(&dir, Position { acked: 5, end: 7 }).unwrap();
        dir.disk().meanwhile = Meanwhile::new(move || Err(io::Error::from_raw_os_error(error)));
        let opened = PositionFile::open(&dir, Position::default());
        assert_eq!(opened.is_ok(), is_set_aside, "{error}");
        let names = &dir.disk().names;
        assert_eq!(names.contains_key("position.bad"), is_set_aside, "{error}");
        assert!(names.contains_key(position::NAME));
    }
}

/// What can be read of the position, and from where a spool with the events 4 to 6 is delivered then.
#[test]
fn without_a_sound_position_all_is_delivered_that_is_there_and_nothing_else_is_missed() {
    let at = |acked| Position { acked, end: 7 };
    for (what, damage, acked, is_lost) in [
        ("sound", None, 5, false),
        ("the newer slot is damaged", Some(0), 4, true),
        ("missing", Some(1), 4, true),
        ("unreadable", Some(2), 4, true),
        ("nonsense", Some(3), 4, true),
    ] {
        let dir = FakeDir::default();
        let mut file = PositionFile::open(&dir, at(2)).unwrap();
        file.write(at(5)).unwrap();
        put(&dir, name(4), segment(4, &[5, 5, 5]));
        {
            let mut disk = dir.disk();
            match damage {
                Some(0) => disk.files[0].bytes[0] ^= 1,
                Some(1) => drop(disk.names.remove(position::NAME)),
                Some(2) => (disk.unreadable, disk.unreadable_file) = (0..9, Some(0)),
                Some(_) => disk.files[0].bytes.fill(b'x'),
                None => {}
            }
        }
        let files = Files::of(Arc::new(dir.clone()), tempfile::tempfile().unwrap()).unwrap();
        assert_eq!(
            (files.at, files.position_is_lost),
            (at(acked), is_lost),
            "{what}"
        );
        let read = position::read(&dir).unwrap();
        assert_eq!(read, Stored::At(at(acked)), "{what}: it is sound again");
        let is_kept = dir.disk().names.contains_key("position.bad");
        assert_eq!(is_kept, what == "unreadable", "{what}");
    }
    // A new spool has none.
    let files = Files::of(Arc::new(FakeDir::default()), tempfile::tempfile().unwrap());
    assert!(!files.unwrap().position_is_lost);
}

#[test]
fn a_segment_has_undelivered_events_if_the_position_is_not_behind_them() {
    let bytes = segment(0, &[5, 5, 5]).len() as u64;
    for (acked, expected) in [
        (None, 2 * bytes),
        (Some(0), 2 * bytes),
        (Some(2), 2 * bytes),
        (Some(3), bytes),
        (Some(5), bytes),
        (Some(6), 0),
    ] {
        let dir = FakeDir::default();
        if let Some(acked) = acked {
            // After a kill, it may not say how much was written.
            PositionFile::open(&dir, Position { acked, end: 0 }).unwrap();
        }
        for first in [0, 3] {
            put(&dir, name(first), segment(first, &[5, 5, 5]));
        }
        assert_eq!(segments::undelivered(&dir).unwrap(), expected, "{acked:?}");
        if acked == Some(6) {
            // What the newest one has may be more.
            dir.disk().unopenable_file = Some((name(3), libc::EIO));
            assert_eq!(segments::undelivered(&dir).unwrap(), bytes);
            dir.disk().unopenable_file = None;
            let newer = dir.disk().names[&name(3)];
            dir.disk().files[newer].bytes = newer_head();
            let bytes = newer_head().len() as u64;
            assert_eq!(segments::undelivered(&dir).unwrap(), bytes);
        }
    }
}

/// What a newer version of this program would begin a segment with.
fn newer_head() -> Vec<u8> {
    let mut head = segment_head();
    head[8] = 2;
    let crc = crc32fast::hash(&head[..12]);
    head[12..].copy_from_slice(&crc.to_le_bytes());
    head.to_vec()
}

#[test]
fn a_newer_segment_is_not_touched() {
    let dir = FakeDir::default();
    put(&dir, name(0), newer_head());
    let error = segments::open(&dir).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(dir.disk().names.len(), 1);
}

#[test]
fn only_plain_numbers_are_segments() {
    assert!(segments::is_segment(&name(7)));
    for other in [
        "7.spool",
        "+0000000000000000007.spool",
        "0000000000000000000x.spool",
        // None could follow it.
        &*name(u64::MAX),
        &*name(1 << 63),
    ] {
        assert!(!segments::is_segment(other), "{other}");
    }
    let dir = FakeDir::default();
    for name in ["7.spool", &*name(7), &*name(3), &*bad_name(1)] {
        put(&dir, name.into(), segment(7, &[9]));
    }
    let listed = segments::list(&dir).unwrap();
    let firsts: Vec<_> = listed.iter().map(|segment| segment.first).collect();
    assert_eq!(firsts, [3, 7]);
    let others = ["backup.spool.new", "backup.spool.bad", &*name(u64::MAX)];
    for name in others {
        put(&dir, name.into(), segment(0, &[9]));
    }
    let opened = segments::open(&dir).unwrap();
    assert_eq!(opened.segments.next(), 8);
    assert_eq!(opened.segments.set_aside, segment(7, &[9]).len() as u64);
    let names = &dir.disk().names;
    assert!(others.iter().all(|name| names.contains_key(*name)));
}

#[test]
fn segments_are_counted_until_they_are_released() {
    let head = SEGMENT_HEAD as u64;
    let mut segments = Segments::default();
    segments.created(0);
    segments.appended(0, 100, 5);
    segments.created(5);
    segments.appended(5, 7, 1);
    // Nothing in it was acknowledged, and its name is needed again.
    segments.created(5);
    segments.appended(5, 50, 3);
    assert_eq!(segments.bytes(), 2 * head + 150);
    assert!(segments.damaged(0) && !segments.damaged(0), "known");
    assert!(segments.damaged(99), "gone");
    assert!(!segments.can_release(4) && segments.can_release(5));
    assert_eq!(segments.release(9).unwrap().first, 0);
    // Set aside, it still takes its room.
    assert_eq!(segments.bytes(), 2 * head + 150);
    assert!(!segments.can_release(9), "written to");
    segments.close();
    segments.created(3);
    assert_eq!(segments.release(5).unwrap().first, 3);
    assert!(
        !segments.can_release(8) && segments.can_release(9),
        "closed"
    );
    segments.created(9);
    assert_eq!(segments.release(9).unwrap().first, 5);
    assert!(!segments.can_release(9), "written to again");
    assert_eq!(segments.bytes(), 2 * head + 100);
}

#[test]
fn a_segment_is_full_when_no_more_fits_unless_it_is_empty() {
    let record = |bytes: usize| Record::new(vec![b'x'; bytes - RECORD_HEAD], 1);
    let mut writer = Writer::new(Arc::new(FakeDir::default()), SEGMENT_HEAD as u64 + 100);
    for (number, (bytes, is_new)) in (0..).zip([
        (50, true),
        (50, false),
        (40, true),
        (61, true),
        (39, false),
        (500, true),
        (40, true),
    ]) {
        let written = writer.write(&[record(bytes)], number, 9).unwrap();
        assert_eq!(
            (written.is_new, written.bytes),
            (is_new, bytes as u64),
            "{number}"
        );
    }
}

/// Reads until nothing more comes: the events' lines, how many are missing, and how many bytes are damaged.
pub(super) fn read(reader: &mut Reader, segments: &Segments) -> (String, u64, u64) {
    let (mut lines, mut missing, mut bytes) = (Vec::new(), 0, 0);
    for _ in 0..200 {
        let view = reader.view(segments);
        let mut chunk = Chunk::default();
        if let Ok(Some(damage)) = reader.read(&view, &mut chunk) {
            missing += damage.events;
            bytes += damage.bytes;
        }
        lines.extend(chunk.bytes);
    }
    (String::from_utf8(lines).unwrap(), missing, bytes)
}
