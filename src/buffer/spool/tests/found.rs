//! What a start finds, and what is noticed while a segment is read.

use std::io::ErrorKind;
use std::sync::Arc;

use super::disk::{FakeDir, FileState};
use crate::buffer::chunk::Chunk;
use crate::buffer::spool::Files;
use crate::buffer::spool::position::{self, Position, PositionFile, Stored};
use crate::buffer::spool::reader::{Reader, View};
use crate::buffer::spool::record::{RECORD_HEAD, Record, SEGMENT_HEAD, segment_head};
use crate::buffer::spool::segments::{self, Opened, Segments, bad_name, name, unfinished_name};
use crate::buffer::spool::writer::Writer;

/// When these events were written.
const TIME: u32 = 9;

fn put(dir: &FakeDir, name: String, bytes: Vec<u8>) {
    let mut disk = dir.disk();
    let number = disk.files.len();
    let durable = bytes.clone();
    disk.files.push(FileState { bytes, durable });
    disk.names.insert(name, number);
}

/// A segment with a record for each of these events.
fn segment(first: u64, lengths: &[usize]) -> Vec<u8> {
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
        (0..0, libc::EACCES, 0, 4),
        (0..0, libc::EACCES, 23, 23),
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
    ] {
        let dir = FakeDir::default();
        put(&dir, self::name(0), segment(0, &[5]));
        PositionFile::open(&dir, Position::default()).unwrap();
        dir.disk().unopenable_file = Some((name, error));
        assert!(segments::open(&dir).is_err());
        dir.disk().unopenable_file = None;
        assert!(!segments::open(&dir).unwrap().is_unsure());
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
fn a_newer_segment_is_not_touched() {
    let mut head = segment_head();
    head[8] = 2;
    let crc = crc32fast::hash(&head[..12]);
    head[12..].copy_from_slice(&crc.to_le_bytes());
    let dir = FakeDir::default();
    put(&dir, name(0), head.to_vec());
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
fn read(reader: &mut Reader, segments: &Segments) -> (String, u64, u64) {
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

#[test]
fn sectors_that_cannot_be_read_cost_the_events_in_them() {
    let whole = segment(0, &[990; 40]);
    let end = whole.len();
    for (bad, most) in [
        (4096..8192, 6),
        (4096..12_288, 10),
        (20_000..20_001, 6),
        (end - 100..end, 1),
    ] {
        let dir = FakeDir::default();
        put(&dir, name(0), whole.clone());
        let segments = segments::open(&dir).unwrap().segments;
        dir.disk().unreadable = bad.clone();
        let (lines, missing, damaged) = read(&mut Reader::new(Arc::new(dir), 0), &segments);
        let count = lines.lines().count();
        assert_eq!(count as u64 + missing, 40, "{bad:?}");
        let sound = SEGMENT_HEAD + count * RECORD_HEAD + lines.len();
        assert_eq!(sound as u64 + damaged, end as u64, "{bad:?}");
        assert!((1..=most).contains(&missing), "{bad:?}: {missing}");
    }
}

/// However long it is: each attempt may take a failing disk seconds, and what is behind it waits.
#[test]
fn a_long_stretch_that_can_not_be_read_is_skipped_at_once_and_nothing_else() {
    let whole = segment(0, &[990; 4000]);
    let end = whole.len();
    let record = (990 + 1 + RECORD_HEAD) as u64;
    for bad in [40_960..106_496, 40_960..3_000_000, 40_960..end, 0..end] {
        let dir = FakeDir::default();
        put(&dir, name(0), whole.clone());
        let segments = segments::open(&dir).unwrap().segments;
        let before = dir.disk().failed_reads;
        dir.disk().unreadable = bad.clone();
        let mut reader = Reader::new(Arc::new(dir.clone()), 0);
        let (mut count, mut missing, mut failures, mut reported) = (0, 0, 0, Vec::new());
        while count + missing < 4000 {
            let mut chunk = Chunk::default();
            match reader.read(&reader.view(&segments), &mut chunk) {
                Ok(damage) => missing += damage.map_or(0, |damage| damage.events),
                Err(_) => {
                    failures += 1;
                    reported.extend(reader.newly_unreadable());
                }
            }
            count += chunk.events as u64;
        }
        assert_eq!((failures, reported), (2, vec![0]), "{bad:?}");
        assert!(dir.disk().failed_reads - before < 40, "{bad:?}");
        let most = (bad.end - bad.start) as u64 / record + 3;
        assert!(missing <= most.min(4000), "{bad:?}: {missing}");
    }
}

#[test]
fn a_segment_that_is_cut_off_is_opened_again() {
    let dir = FakeDir::default();
    let whole = segment(0, &[100, 100]);
    put(&dir, name(0), whole.clone());
    let segments = segments::open(&dir).unwrap().segments;
    dir.disk().files[0].bytes.truncate(whole.len() - 10);
    let mut reader = Reader::new(Arc::new(dir.clone()), 0);
    for _ in 0..2 {
        let view = reader.view(&segments);
        reader.read(&view, &mut Chunk::default()).unwrap();
    }
    dir.disk().files[0].bytes = whole;
    let (lines, ..) = read(&mut reader, &segments);
    assert_eq!(lines, format!("{:0100}\n", 1));
}

#[test]
fn what_cannot_be_read_is_tried_three_times() {
    let dir = FakeDir::default();
    // More than is read at once.
    put(&dir, name(0), segment(0, &[60_000; 6]));
    let segments = segments::open(&dir).unwrap().segments;
    let mut reader = Reader::new(Arc::new(dir.clone()), 0);
    let mut try_to_read = |unreadable| {
        dir.disk().unreadable = unreadable;
        let mut chunk = Chunk::default();
        let result = reader.read(&reader.view(&segments), &mut chunk);
        (result.is_err(), chunk.events, reader.time())
    };
    let all = 0..usize::MAX;
    for _ in 0..2 {
        assert_eq!(try_to_read(all.clone()), (true, 0, 0));
    }
    // What can be read in between begins the count again.
    for _ in 0..4 {
        assert_eq!(try_to_read(0..0), (false, 1, TIME));
    }
    for is_error in [true, true, false] {
        assert_eq!(try_to_read(all.clone()), (is_error, 0, TIME));
    }
}

#[test]
fn a_segment_that_can_not_be_opened_is_tried_three_times_or_as_long_as_the_host_lacks_something() {
    let whole = segment(0, &[100, 100]);
    for (unopenable, expected) in [
        ((0, 0), (200, 0, 0)),
        ((2, libc::EACCES), (200, 0, 0)),
        ((3, libc::EACCES), (0, 2, whole.len() as u64)),
        ((9, libc::EMFILE), (200, 0, 0)),
        ((9, libc::ENFILE), (200, 0, 0)),
        ((9, libc::ENOMEM), (200, 0, 0)),
    ] {
        let dir = FakeDir::default();
        put(&dir, name(0), whole.clone());
        let segments = segments::open(&dir).unwrap().segments;
        dir.disk().unopenable = unopenable;
        let (lines, missing, damaged) = read(&mut Reader::new(Arc::new(dir), 0), &segments);
        let digits = lines.bytes().filter(u8::is_ascii_digit).count();
        assert_eq!((digits, missing, damaged), expected, "{unopenable:?}");
    }
}

#[test]
fn gaps_and_damaged_bytes_are_told_before_what_follows_them() {
    let record = |number: u64| segment(number, &[100]).split_off(SEGMENT_HEAD);
    let damaged = vec![0; 64];
    for (between, next, missing, bytes) in [
        (&[][..], 1, 0, 0),
        (&[], 5, 4, 0),
        (&damaged, 1, 0, 64),
        (&damaged, 5, 4, 64),
    ] {
        let dir = FakeDir::default();
        let parts = [segment(0, &[100]), between.to_vec(), record(next)];
        put(&dir, name(0), parts.concat());
        let segments = segments::open(&dir).unwrap().segments;
        let mut reader = Reader::new(Arc::new(dir), 0);
        let (mut found, mut events) = ((0, 0), Vec::new());
        while let view @ View::Segment(_) = reader.view(&segments) {
            let is_new = reader.position() == 0;
            assert_eq!(reader.is_done(&view), is_new, "one that was not looked at");
            let mut chunk = Chunk::default();
            if let Some(damage) = reader.read(&view, &mut chunk).unwrap() {
                assert_eq!((damage.segment, events.len()), (0, 1), "after the first");
                found = (found.0 + damage.events, found.1 + damage.bytes);
            }
            events.extend((chunk.events > 0).then_some(chunk.bytes));
        }
        assert_eq!(found, (missing, bytes), "{next}");
        let expected = [0, next].map(|number| format!("{number:0100}\n").into_bytes());
        assert_eq!(events, expected);
        assert!(reader.is_done(&View::End(0)));
    }
}

#[test]
fn what_stays_cut_off_or_is_of_a_newer_version_is_damaged() {
    let whole = segment(0, &[100, 100]);
    let mut newer = whole.clone();
    newer[8..12].copy_from_slice(&2_u32.to_le_bytes());
    let sum = crc32fast::hash(&newer[..12]);
    newer[12..16].copy_from_slice(&sum.to_le_bytes());
    for (what, bytes, expected) in [
        (
            "cut off",
            whole[..whole.len() - 10].to_vec(),
            (1, (whole.len() - SEGMENT_HEAD) as u64 / 2),
        ),
        ("newer", newer, (2, whole.len() as u64)),
    ] {
        let dir = FakeDir::default();
        put(&dir, name(0), whole.clone());
        let segments = segments::open(&dir).unwrap().segments;
        dir.disk().files[0].bytes = bytes;
        let mut reader = Reader::new(Arc::new(dir), 0);
        let (_, missing, damaged) = read(&mut reader, &segments);
        assert_eq!((missing, damaged), expected, "{what}");
        assert!(matches!(reader.view(&segments), View::End(0)));
    }
}

#[test]
fn damage_has_the_name_of_its_segment() {
    let whole = segment(0, &[100, 100]);
    let torn = (whole.len() - SEGMENT_HEAD) as u64 / 2 - 10;
    for (cut, was_before, expected) in [
        (0, false, vec![(2, 8, 0)]),
        (10, false, vec![(0, 9, 10 + torn)]),
        (10, true, vec![(0, 9, torn)]),
    ] {
        let dir = FakeDir::default();
        put(&dir, name(0), whole.clone());
        put(&dir, name(10), segment(10, &[100]));
        let left = whole.len() - cut;
        if was_before {
            dir.disk().files[0].bytes.truncate(left);
        }
        let segments = segments::open(&dir).unwrap().segments;
        dir.disk().files[0].bytes.truncate(left);
        let mut reader = Reader::new(Arc::new(dir), 0);
        let mut found = Vec::new();
        while let view @ View::Segment(_) = reader.view(&segments) {
            let damage = reader.read(&view, &mut Chunk::default()).unwrap();
            found.extend(damage.map(|damage| (damage.segment, damage.events, damage.bytes)));
        }
        assert_eq!(found, expected, "{cut} bytes cut off");
    }
}
