//! One file, without a source around it.

use std::ffi::CString;
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Instant;

use crate::framer::Framer;
use crate::source::file::gzip::MAGIC;
use crate::source::file::kept::Reading;
use crate::source::file::listing::Listed;
use crate::source::file::missing::known_by;
use crate::source::file::probe::read_head;
use crate::source::file::tracked::Tracked;
use crate::source::gunzip::gzip;

pub(super) fn tracked(path: &Path, found: &Metadata) -> Tracked {
    Tracked::new(Listed::of(path.into(), 0, found), Instant::now())
}

#[test]
fn only_the_file_that_was_found_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let [path, other] = ["file", "other"].map(|name| dir.path().join(name));
    fs::write(&path, "one").unwrap();
    fs::write(&other, "two").unwrap();
    let found = fs::metadata(&path).unwrap();
    let mut file = tracked(&path, &found);
    assert_eq!(file.read_head().unwrap(), b"one");
    fs::rename(&other, &path).unwrap();
    assert_eq!(file.read_head().unwrap(), b"one", "it is still open");
    let error = tracked(&path, &found).open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "it is another one");
}

/// Opening one would wait for its writer.
#[test]
fn a_fifo_in_a_files_place_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fifo");
    let name = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: the name ends with a zero.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    let mut file = tracked(&path, &fs::metadata(&path).unwrap());
    assert_eq!(file.open().unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_compressed_file_is_read_when_it_is_neither_written_to_nor_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file.gz");
    fs::write(&path, "").unwrap();
    let found = fs::metadata(&path).unwrap();
    for (is_touched, is_unpacked, is_read) in [
        (false, false, true),
        (true, false, false),
        (false, true, false),
        (true, true, false),
    ] {
        let mut file = tracked(&path, &found);
        (file.is_gzip, file.is_touched) = (true, is_touched);
        let mut reading = Reading::new(Framer::new(1 << 20));
        reading.gzip = is_unpacked.then(|| file.new_gzip().unwrap());
        file.reading = Some(reading.into());
        assert_eq!(file.is_read(), is_read, "{is_touched} {is_unpacked}");
    }
}

/// A file that is written to, or only touched, is looked into while it is being read.
#[test]
fn a_compressed_file_is_read_on_after_it_was_looked_into() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file.gz");
    let mut seed = 1_u64;
    let text: Vec<u8> = (0..200_000)
        .map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            b"0123456789abcdef"[(seed >> 60) as usize]
        })
        .collect();
    fs::write(&path, gzip(&text)).unwrap();
    let mut file = tracked(&path, &fs::metadata(&path).unwrap());
    let head = read_head(&mut file).unwrap();
    file.head = known_by(&head);
    let (mut gzip, mut read) = (file.new_gzip().unwrap(), Vec::<u8>::new());
    let mut space = vec![0; 10_000];
    while let count @ 1.. = gzip.read(&mut space).unwrap() {
        read.extend(&space[..count]);
        assert!(!file.is_rewritten().unwrap());
        assert_eq!(file.read_at(0, 2).unwrap(), MAGIC);
    }
    assert!(read == text, "{} of {}", read.len(), text.len());
}
