use std::io::Write as _;
use std::ops::Range;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::super::tracked::tests::tracked as tracked_at;
use super::*;
use crate::source::gunzip::gzip;

fn events(range: Range<u32>) -> String {
    range.map(|n| format!("{{\"n\":{n}}}\n")).collect()
}

#[derive(Debug)]
enum Content {
    Plain(String),
    Gzip(String),
    /// Compressed, and cut off where so many bytes of the text are there.
    Cut(String, usize),
}

use Content::{Cut, Gzip, Plain};

fn tracked(path: &Path, content: &Content) -> Tracked {
    let bytes = match content {
        Plain(text) => text.clone().into_bytes(),
        Gzip(text) => gzip(text.as_bytes()),
        Cut(text, bytes) => {
            // Stored as it is, behind two headers.
            let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap()[..10 + 5 + bytes].to_vec()
        }
    };
    fs::write(path, bytes).unwrap();
    tracked_at(path)
}

/// What files of these contents have in common.
fn common(
    compare: fn(&mut Tracked, &mut Tracked) -> Option<Common>,
    (other, is_gone): (&Content, bool),
    file: &Content,
) -> Option<Common> {
    let dir = tempfile::tempdir().unwrap();
    let mut other = tracked(&dir.path().join("other"), other);
    other.is_gone = is_gone;
    compare(&mut other, &mut tracked(&dir.path().join("file"), file))
}

fn in_compressed(other: &mut Tracked, file: &mut Tracked) -> Option<Common> {
    let mut gzip = file.new_gzip().unwrap();
    compressed(other, &mut gzip, &LongWork::default())
}

fn in_unpacked(other: &mut Tracked, file: &mut Tracked) -> Option<Common> {
    unpacked(other, file, &LongWork::default())
}

fn found(covered: usize, is_longer: bool, is_partial: bool) -> Option<Common> {
    Some(Common {
        covered: covered as u64,
        is_longer,
        is_partial,
    })
}

#[test]
fn whole_events_at_the_beginning_are_in_common() {
    let (long, x) = (events(0..300), |count| "x".repeat(count));
    for (other, file, expected) in [
        (events(0..2), events(0..3), found(16, true, false)),
        (events(0..3), events(0..2), found(16, false, false)),
        (events(0..2), events(0..2), found(16, false, false)),
        (events(0..2), events(1..3), None),
        ("{}".into(), "{}\n".into(), found(2, true, false)),
        // Half an event may go on in another way, and alone it is the beginning of too many.
        ("{\"n".into(), "{\"n\":1}\n".into(), None),
        (
            "{}\n{\"n".into(),
            "{}\n{\"n\":1}\n".into(),
            found(3, true, false),
        ),
        (long[..984].into(), long.clone(), found(980, true, false)),
        (long[..1394].into(), long.clone(), found(1390, true, false)),
        // Enough of it is not.
        (x(HEAD_BYTES - 1), x(2000), None),
        (x(HEAD_BYTES), x(2000), found(0, true, false)),
        (x(HEAD_BYTES + 7), x(2000), found(7, true, false)),
    ] {
        let (other, file) = (Plain(other), Plain(file));
        assert_eq!(
            common(plain, (&other, false), &file),
            expected,
            "{other:?} {file:?}"
        );
    }
}

#[test]
fn a_compressed_copy_may_end_early_and_one_of_what_is_gone_may_have_more() {
    for (other, is_gone, file, expected) in [
        (
            events(0..3),
            false,
            Gzip(events(0..3)),
            found(24, false, false),
        ),
        (
            events(0..3),
            true,
            Gzip(events(0..3)),
            found(24, false, false),
        ),
        (
            events(0..3),
            false,
            Gzip(events(0..4)),
            found(24, false, false),
        ),
        (
            events(0..3),
            true,
            Gzip(events(0..4)),
            found(24, true, false),
        ),
        (events(0..3), true, Gzip(events(1..5)), None),
        // Alone, half an event is the beginning of too many.
        ("{\"n".into(), false, Gzip("{\"n\":1}\n".into()), None),
        // What is there of one that is being written seldom ends with an event.
        (
            events(0..4),
            true,
            Cut(events(0..4), 20),
            found(20, false, true),
        ),
        (events(0..4), true, Cut(events(1..4), 20), None),
    ] {
        let other = Plain(other);
        assert_eq!(
            common(in_compressed, (&other, is_gone), &file),
            expected,
            "{file:?}"
        );
    }
}

#[test]
fn what_was_unpacked_is_read_if_it_has_all() {
    for (other, is_gone, file, expected) in [
        (events(0..3), false, events(0..3), found(24, false, false)),
        (events(0..3), true, events(0..3), found(24, true, false)),
        (events(0..3), false, events(0..4), found(24, true, false)),
        (events(0..3), true, events(0..2), found(16, false, false)),
        (events(0..3), false, events(1..4), None),
        (events(0..3), false, "{\"n".into(), None),
        (events(0..3), false, "{\"n\":0}\n{\"n\":".into(), None),
    ] {
        let (other, file) = (Gzip(other), Plain(file));
        assert_eq!(
            common(in_unpacked, (&other, is_gone), &file),
            expected,
            "{file:?}"
        );
    }
}
