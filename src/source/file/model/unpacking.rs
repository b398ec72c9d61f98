//! What is unpacked again of a compressed file, and compared with what was read.

use std::fs;
use std::time::Instant;

use super::hook::Hook;
use super::tracked::tracked;
use crate::framer::Framer;
use crate::source::file::follower::Follower;
use crate::source::file::kept::Reading;
use crate::source::file::reading::Step;
use crate::source::file::tracked::Tracked;
use crate::source::gunzip::gzip;

const HALF: &str = "{\"half\":";

fn events(first: u32) -> String {
    (first..first + 100)
        .map(|n| format!("{{\"n\":{n}}}\n"))
        .collect()
}

/// A file that was read to its end, and what unpacks it is still there.
fn read(text: &str) -> (tempfile::TempDir, Tracked) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.log");
    fs::write(&path, gzip(text.as_bytes())).unwrap();
    let mut file = tracked(&path, &fs::metadata(&path).unwrap());
    file.is_gzip = true;
    let mut reading = Reading::new(Framer::new(1 << 20));
    reading.gzip = Some(file.new_gzip().unwrap());
    file.reading = Some(Box::new(reading));
    while file.read_once().unwrap() > 0 {
        while file.reading.as_mut().unwrap().framer.next().is_some() {}
        file.passed_on(false);
    }
    assert_eq!(file.offset, text.len() as u64);
    (dir, file)
}

/// How far a file is unpacked, if it is what was read.
fn unpacked(file: Tracked, was_touched: bool) -> Option<u64> {
    let mut follower = Follower::new(&file.now.path, Default::default(), 9, None);
    follower.put(1, file);
    let hook = &mut Hook::default();
    let step = follower
        .unpack(1, was_touched, Instant::now(), hook)
        .unwrap();
    assert!(matches!(step, None | Some(Step::Worked)), "{step:?}");
    let reading = follower
        .files
        .get_mut(&1)
        .and_then(|file| file.reading.as_mut());
    let gzip = reading.and_then(|reading| reading.gzip.take());
    step.is_none().then(|| gzip.unwrap().offset())
}

#[test]
fn what_was_read_of_a_compressed_file_is_known_again() {
    for text in [events(0), events(0) + HALF] {
        let end = Some(text.len() as u64);
        for was_touched in [false, true] {
            let (_dir, file) = read(&text);
            assert_eq!(unpacked(file, was_touched), end, "it is still unpacked");
            let (_dir, mut file) = read(&text);
            file.stop_unpacking();
            assert_eq!(unpacked(file, was_touched), end, "half an event counts");
        }
    }
    let (_dir, mut file) = read(&events(0));
    let known = file.known();
    file.stop_unpacking();
    file.resume(&known);
    assert_eq!(unpacked(file, true), Some(known.offset), "by a later start");
    let (_dir, mut file) = read(&events(0));
    file.offset = 0;
    assert_eq!(unpacked(file, false), Some(0), "it begins again");
}

#[test]
fn another_content_of_a_compressed_file_is_noticed_when_it_was_written_to() {
    for (other, is_later) in [
        (events(7), false),
        (events(7), true),
        (events(0)[..800].into(), false),
        (events(0)[..800].into(), true),
    ] {
        let (_dir, mut file) = read(&events(0));
        fs::write(&file.now.path, gzip(other.as_bytes())).unwrap();
        if is_later {
            let known = file.known();
            file.stop_unpacking();
            file.resume(&known);
        }
        let found = unpacked(file, true);
        assert_eq!(found, None, "{} bytes, {is_later}", other.len());
    }
}
