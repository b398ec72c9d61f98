//! One file, without a source around it.

use std::ffi::CString;
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Instant;

use crate::framer::Framer;
use crate::source::file::listing::Listed;
use crate::source::file::tracked::{Reading, Tracked};

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
