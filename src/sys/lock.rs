//! A lock that one process at a time can hold, on a file that exists only for it. It ends when the file is closed,
//! even if the process is killed.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::atomic_file::directory;
use super::owner;

const MODE: u32 = 0o600;
/// How long to wait for those that ask whether a lock is free.
const PAUSE: Duration = Duration::from_millis(10);
/// How often: on a mount, what a host asked that is gone may be there for long.
const PAUSES: u32 = 200;

/// Takes the lock at `path`; `None` if another process has it.
///
/// # Errors
/// The file can't be opened or created, or the filesystem doesn't support locks.
pub fn try_lock(path: &Path) -> io::Result<Option<File>> {
    take(path, |file| {
        for _ in 0..PAUSES {
            if is_done(file.try_lock())? {
                return Ok(true);
            }
            // Unless it is shared, somebody has it.
            if !is_done(file.try_lock_shared())? {
                return Ok(false);
            }
            file.unlock()?;
            thread::sleep(PAUSE);
        }
        Ok(false)
    })
}

/// Whether nobody has the lock at `path` now. To ask keeps nobody from it: the lock is shared for that moment, which
/// [`try_lock`] waits for.
///
/// # Errors
/// As of [`try_lock`].
pub fn is_free(path: &Path) -> io::Result<bool> {
    take(path, |file| is_done(file.try_lock_shared())).map(|lock| lock.is_some())
}

fn is_done(tried: Result<(), TryLockError>) -> io::Result<bool> {
    match tried {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Waits for the lock at `path`.
///
/// # Errors
/// As of [`try_lock`].
pub fn lock(path: &Path) -> io::Result<File> {
    let locked = take(path, |file| file.lock().map(|()| true))?;
    locked.ok_or_else(|| ErrorKind::WouldBlock.into())
}

fn take(path: &Path, lock: impl Fn(&File) -> io::Result<bool>) -> io::Result<Option<File>> {
    loop {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)?;
        owner::hand_over(&file, || fs::metadata(directory(path)));
        // Whoever may open it can lock it; earlier versions left it readable by all.
        if file.metadata()?.mode() & 0o777 & !MODE != 0 {
            let _ = file.set_permissions(Permissions::from_mode(MODE));
        }
        if !lock(&file)? {
            return Ok(None);
        }
        // The previous owner may have removed the file: then its lock excludes nobody.
        let locked = file.metadata()?;
        match fs::symlink_metadata(path) {
            Ok(found) if (found.dev(), found.ino()) == (locked.dev(), locked.ino()) => {
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
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::thread;

    use super::*;

    #[test]
    fn a_lock_whose_file_was_removed_keeps_nobody_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".host.lock");
        let first = try_lock(&path).unwrap().unwrap();
        assert!(try_lock(&path).unwrap().is_none());
        fs::remove_file(&path).unwrap();
        let second = try_lock(&path).unwrap();
        assert!(second.is_some());
        drop(first);
        assert!(try_lock(&path).unwrap().is_none());
    }

    #[test]
    fn one_at_a_time_has_it_even_if_each_removes_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let inside = AtomicUsize::new(0);
        let entered = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let lock = lock(&path).unwrap();
                        assert_eq!(inside.fetch_add(1, SeqCst), 0);
                        entered.fetch_add(1, SeqCst);
                        inside.fetch_sub(1, SeqCst);
                        fs::remove_file(&path).unwrap();
                        drop(lock);
                    }
                });
            }
        });
        assert_eq!(entered.into_inner(), 200);
    }

    #[test]
    fn whoever_asks_whether_it_is_free_keeps_nobody_from_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let asking = File::create(&path).unwrap();
        asking.lock_shared().unwrap();
        assert!(is_free(&path).unwrap(), "others may ask, too");
        thread::scope(|scope| {
            let taken = scope.spawn(|| try_lock(&path).unwrap());
            drop(asking);
            let taken = taken.join().unwrap();
            assert!(taken.is_some());
            assert!(!is_free(&path).unwrap());
        });
        assert!(is_free(&path).unwrap());
    }

    #[test]
    fn nobody_else_can_open_it_and_an_old_one_is_mended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let mode = || fs::metadata(&path).unwrap().mode() & 0o777;
        drop(lock(&path).unwrap());
        assert_eq!(mode(), MODE);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        drop(try_lock(&path).unwrap().unwrap());
        assert_eq!(mode(), MODE);
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path).unwrap();
        assert!(try_lock(&path).is_err());
        assert!(lock(&path).is_err());
        assert!(!dir.path().join("elsewhere").exists());
    }
}
