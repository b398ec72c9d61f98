//! A name that one process at a time may have, by the lock on a file that stands for it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Takes the lock at `path`, until the file is closed; none if somebody else has it.
///
/// # Errors
/// The file can't be opened or made, or the filesystem knows no locks.
pub fn take(path: &Path) -> io::Result<Option<File>> {
    loop {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Somebody who cleared up may have removed it: then it keeps nobody out.
        let held = file.metadata()?;
        match fs::symlink_metadata(path) {
            Ok(found) if (found.dev(), found.ino()) == (held.dev(), held.ino()) => {
                return Ok(Some(file));
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_was_cleared_up_keeps_nobody_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".host.lock");
        let first = take(&path).unwrap().unwrap();
        assert!(take(&path).unwrap().is_none());
        fs::remove_file(&path).unwrap();
        let second = take(&path).unwrap();
        assert!(second.is_some());
        drop(first);
        assert!(take(&path).unwrap().is_none());
    }
}
