//! Zeros in a file: the hole that a truncation has left before its writer went on where it was, or room that is made
//! before it is filled.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;

/// Bytes read at a time.
const STEP: usize = 64 << 10;

/// How many bytes there are before the zeros at the end.
pub(super) fn before_zeros(bytes: &[u8]) -> usize {
    let last = bytes.iter().rposition(|byte| *byte != 0);
    last.map_or(0, |last| last + 1)
}

/// Where zeros end; `None` if nothing follows them.
pub(super) fn end_of_zeros(file: &File, mut at: u64) -> io::Result<Option<u64>> {
    let mut space = vec![0; STEP];
    loop {
        let from = i64::try_from(at).unwrap_or(i64::MAX);
        // SAFETY: lseek touches no memory, and the descriptor is open.
        let data = unsafe { libc::lseek(file.as_raw_fd(), from, libc::SEEK_DATA) };
        match u64::try_from(data) {
            Ok(data) => at = at.max(data),
            // There is only a hole up to its end.
            Err(_) if io::Error::last_os_error().raw_os_error() == Some(libc::ENXIO) => {
                return Ok(None);
            }
            Err(_) => {}
        }
        let count = file.read_at(&mut space, at)?;
        let data = space[..count].iter().position(|byte| *byte != 0);
        match data {
            _ if count == 0 => return Ok(None),
            Some(data) => return Ok(Some(at + data as u64)),
            None => at += count as u64,
        }
    }
}
