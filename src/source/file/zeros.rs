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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_end_where_something_else_is_whether_there_is_a_hole_or_not() {
        let long = 3 * STEP as u64 + 5;
        for is_hole in [true, false] {
            let file = tempfile::tempfile().unwrap();
            match is_hole {
                true => file.set_len(10 + long).unwrap(),
                false => file.write_all_at(&vec![0; 10 + long as usize], 0).unwrap(),
            }
            file.write_all_at(b"text", 6).unwrap();
            assert_eq!(end_of_zeros(&file, 10).unwrap(), None, "{is_hole}");
            assert_eq!(end_of_zeros(&file, 10 + long).unwrap(), None);
            file.write_all_at(b"more", 10 + long).unwrap();
            for at in [10, 11, long, 9 + long, 10 + long] {
                let found = end_of_zeros(&file, at).unwrap();
                assert_eq!(found, Some(10 + long), "{is_hole} {at}");
            }
            assert_eq!(end_of_zeros(&file, 0).unwrap(), Some(6));
        }
        assert_eq!(before_zeros(b"a\0b\0\0"), 3);
        assert_eq!(before_zeros(b"\0\0"), 0);
    }
}
