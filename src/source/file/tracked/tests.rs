use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::*;
use crate::framer::Framer;
use crate::source::gunzip::gzip;

const HALF: &[u8] = b"{\"half\":";

/// The file at this path, as if it was just found.
pub(in super::super) fn tracked(path: &Path) -> Tracked {
    let found = fs::metadata(path).unwrap();
    Tracked::new(Listed::of(path.into(), 0, &found), Instant::now())
}

/// Reads all there is.
fn read(file: &mut Tracked) {
    file.head = known_by(&file.read_head().unwrap());
    file.reading = Some(Box::new(Reading::new(Framer::new(1000))));
    while file.read_once().unwrap() > 0 {
        while file.reading.as_mut().unwrap().framer.next().is_some() {}
        file.passed_on(false);
    }
}

#[test]
fn a_file_is_rewritten_if_its_beginning_or_what_was_read_last_is_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let events = b"{\"n\":1}\n".repeat(500);
    let text = [&events, HALF].concat();
    let end = events.len() as u64;
    // Where another byte is written, and whether that shows: if it was read just now, or by an earlier run.
    for (at, shows, shows_later) in [
        (3, true, true),
        (1500, false, false),
        (end - 2, true, true),
        (end + 3, true, false),
        (end + HALF.len() as u64, false, false),
    ] {
        for is_later in [false, true] {
            fs::write(&path, &text).unwrap();
            let mut file = tracked(&path);
            read(&mut file);
            if is_later {
                let known = file.known();
                file = tracked(&path);
                file.resume(&known);
            }
            let writer = OpenOptions::new().write(true).open(&path).unwrap();
            writer.write_all_at(b"x", at).unwrap();
            let expected = if is_later { shows_later } else { shows };
            assert_eq!(file.is_rewritten().unwrap(), expected, "{at} {is_later}");
            assert!(expected || file.longest == writer.metadata().unwrap().len());
            writer.set_len(end - 1).unwrap();
            assert!(file.is_rewritten().unwrap(), "it is shorter");
        }
    }
}

#[test]
fn all_of_it_was_read_if_nothing_but_zeros_follows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    fs::write(&path, "").unwrap();
    let mut file = tracked(&path);
    for (offset, longest, length, is_touched, is_read) in [
        (10, 10, 10, false, true),
        (10, 10, 10, true, true),
        (10, 20, 20, false, false),
        (10, 10, 20, false, true),
        (10, 10, 20, true, false),
        (10, 20, 10, false, true),
    ] {
        (file.offset, file.longest, file.now.length) = (offset, longest, length);
        file.is_touched = is_touched;
        assert_eq!(
            file.is_read(),
            is_read,
            "{offset} {longest} {length} {is_touched}"
        );
        assert_eq!(file.has_changed(), is_touched || !is_read);
    }
    (file.is_gzip, file.is_touched) = (true, false);
    assert!(file.is_read());
    file.is_touched = true;
    assert!(!file.is_read());
}

/// Until it was read to its end, that is a guess: at least one byte follows, and its compressed rest.
#[test]
fn a_compressed_file_is_taken_for_longer_than_what_was_read_unless_all_that_is_known_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.gz");
    let text = b"{\"n\":1}\n".repeat(50_000);
    fs::write(&path, gzip(&text)).unwrap();
    let length = fs::metadata(&path).unwrap().len();
    // How far it is known, and how far after the first read.
    for known in [0, 1, length, 1 << 20] {
        let mut file = tracked(&path);
        file.is_gzip = true;
        let mut reading = Reading::new(Framer::new(1000));
        reading.gzip = Some(file.new_gzip().unwrap());
        file.reading = Some(Box::new(reading));
        file.longest = known;
        let count = file.read_once().unwrap() as u64;
        assert!(count > length, "it is read in pieces");
        assert_eq!(file.offset, count);
        let expected = match known {
            0 => count..=count,
            _ => known.max(count + 1)..=known.max(count + length),
        };
        assert!(expected.contains(&file.longest), "{known} {}", file.longest);
    }
}
