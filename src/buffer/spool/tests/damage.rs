//! What is noticed while a segment is read.

use std::sync::Arc;

use super::disk::FakeDir;
use super::found::{TIME, put, read, segment};
use crate::buffer::chunk::Chunk;
use crate::buffer::spool::dir::{Access, Dir as _};
use crate::buffer::spool::reader::{Reader, View};
use crate::buffer::spool::record::{RECORD_HEAD, Record, SEGMENT_HEAD};
use crate::buffer::spool::scan::Scan;
use crate::buffer::spool::segments::{self, Segment, name};

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
        ((2, libc::EIO), (200, 0, 0)),
        ((3, libc::EIO), (0, 2, whole.len() as u64)),
        ((9, libc::EMFILE), (200, 0, 0)),
        ((9, libc::ENFILE), (200, 0, 0)),
        ((9, libc::ENOMEM), (200, 0, 0)),
        ((9, libc::EACCES), (200, 0, 0)),
        ((9, libc::EPERM), (200, 0, 0)),
        ((9, libc::ESTALE), (200, 0, 0)),
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

/// In steps that grow, so that there are few attempts; but what can be read behind the first of them is found.
#[test]
fn as_much_is_skipped_as_can_not_be_read() {
    const LEN: usize = 1 << 20;
    let none = LEN..LEN;
    for (first, second, end) in [
        (0..1, none.clone(), 4096),
        (0..4096, none.clone(), 4096),
        (0..4097, none.clone(), 8192),
        (0..12_288, none.clone(), 12_288),
        (0..500_000, none.clone(), 503_808),
        (0..LEN, none, LEN),
        (0..8192, 500_000..LEN, 8192),
        // What lies between was not looked at.
        (0..12_288, 16_384..20_480, 20_480),
    ] {
        let dir = FakeDir::default();
        put(&dir, name(0), vec![0; LEN]);
        (dir.disk().unreadable, dir.disk().also_unreadable) = (first.clone(), second.clone());
        let file = dir.open(&name(0), Access::Read).unwrap();
        let skipped = Scan::default().skip_unreadable(Some(&*file), LEN as u64);
        assert_eq!(skipped, end as u64, "{first:?} {second:?}");
    }
}

#[test]
fn what_else_can_not_be_read_of_a_segment_is_skipped_at_once() {
    let dir = FakeDir::default();
    put(&dir, name(0), segment(0, &[990; 1000]));
    let segments = segments::open(&dir).unwrap().segments;
    let mut reader = Reader::new(Arc::new(dir.clone()), 0);
    let mut failures_until = |end: u64| {
        let (mut failures, mut chunk) = (0, Chunk::default());
        while reader.position() < end {
            let view = reader.view(&segments);
            failures += u32::from(reader.read(&view, &mut chunk).is_err());
        }
        failures
    };
    for (unreadable, end, failures) in [(8192..12_288, 500, 2), (800_000..804_096, 1000, 0)] {
        dir.disk().unreadable = unreadable;
        assert_eq!(failures_until(end), failures, "{end}");
    }
}

#[test]
fn that_a_segment_can_not_be_read_is_reported_once_a_minute() {
    let dir = FakeDir::default();
    put(&dir, name(0), segment(0, &[5]));
    let segments = segments::open(&dir).unwrap().segments;
    // It is tried once a second, as long as the host lacks something.
    dir.disk().unopenable = (usize::MAX, libc::EMFILE);
    let mut reader = Reader::new(Arc::new(dir), 0);
    assert_eq!(reader.newly_unreadable(), None, "there is none yet");
    let view = reader.view(&segments);
    let reported = (0..150).filter(|_| {
        assert!(reader.read(&view, &mut Chunk::default()).is_err());
        reader.newly_unreadable() == Some(0)
    });
    assert_eq!(reported.collect::<Vec<_>>(), [0, 60, 120]);
}

/// A record that goes on behind the beginning of the next segment, or that others may have followed.
#[test]
fn what_does_not_count_of_a_segment_is_damaged_unless_all_of_it_was_written_again() {
    let record = Record::new(b"{}\n{}\n".to_vec(), 2);
    let size = record.size();
    let bytes = [
        &segment(0, &[5, 5])[..],
        &record.head(2, TIME),
        &record.bytes,
    ]
    .concat();
    for (until, is_unsure, events, damaged) in [
        (4, false, 4, 0),
        (3, false, 2, size),
        (2, false, 2, 0),
        (4, true, 4, 0),
        (3, true, 2, size),
        (2, true, 2, size),
    ] {
        let dir = FakeDir::default();
        put(&dir, name(0), bytes.clone());
        let view = View::Segment(Segment {
            until,
            is_unsure,
            ..Segment::new(0, bytes.len() as u64)
        });
        let (mut reader, mut chunk) = (Reader::new(Arc::new(dir), 0), Chunk::default());
        while !reader.is_done(&view) || reader.position() == 0 {
            assert_eq!(reader.read(&view, &mut chunk).unwrap(), None);
        }
        assert_eq!(chunk.events, events, "{until} {is_unsure}");
        assert_eq!(reader.has_damage(), damaged > 0, "{until} {is_unsure}");
        let damage = reader.read(&View::End(0), &mut chunk).unwrap();
        let found = damage.map_or(0, |damage| damage.bytes);
        assert_eq!(found, damaged, "{until} {is_unsure}");
    }
}
