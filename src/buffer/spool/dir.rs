//! The directory of a spool, as far as the spool needs one: a trait, so that tests can have one that loses power.

use std::ffi::{CStr, CString, c_int};
use std::fmt::Debug;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, IoSlice, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, IntoRawFd as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::sys::owner;

/// A file of a spool.
pub trait SpoolFile: Debug + Send + Sync {
    /// Appends as much as one call takes.
    ///
    /// # Errors
    /// Those of write(2).
    fn append(&self, parts: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Writes all of these bytes at this offset.
    ///
    /// # Errors
    /// Those of pwrite(2).
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Reads from this offset; 0 at the end.
    ///
    /// # Errors
    /// Those of pread(2).
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize>;

    /// Truncates it.
    ///
    /// # Errors
    /// Those of ftruncate(2).
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Syncs its contents to disk.
    ///
    /// # Errors
    /// Those of fdatasync(2).
    fn sync(&self) -> io::Result<()>;
}

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To read it. It must exist.
    Read,
    /// To append to it. It must not exist yet.
    New,
    /// To read it and to write at offsets. It is created if it does not exist.
    Update,
}

/// A spool's directory.
pub trait Dir: Debug + Send + Sync {
    /// The names of all files, and their lengths.
    ///
    /// # Errors
    /// It can't be read.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;

    /// Opens a file.
    ///
    /// # Errors
    /// Those of open(2).
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn SpoolFile>>;

    /// Renames a file.
    ///
    /// # Errors
    /// Those of rename(2).
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// Those of unlink(2).
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Syncs to disk which files there are.
    ///
    /// # Errors
    /// Those of fsync(2).
    fn sync(&self) -> io::Result<()>;

    /// Whether it is not at its path: somebody has removed or moved it, or mounted something over it. Its files can still
    /// be used, unless they were removed too.
    fn is_replaced(&self) -> bool;
}

/// Whether it says nothing of what is in the file: descriptors, memory or permissions are missing.
pub(super) fn is_of_the_host(error: &io::Error) -> bool {
    use libc::{EACCES, EMFILE, ENFILE, ENOMEM, EPERM, ESTALE};
    let codes = [EMFILE, ENFILE, ENOMEM, EACCES, EPERM, ESTALE];
    (error.raw_os_error()).is_some_and(|code| codes.contains(&code))
}

/// Whether the disk has no room, or the user may not use more of it.
pub(super) fn is_disk_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    )
}

impl SpoolFile for File {
    fn append(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut file = self;
        file.write_vectored(parts)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, bytes, at)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// A directory of the filesystem. What is done in it is done in the directory that was opened, even if the path leads
/// elsewhere later.
#[derive(Debug)]
pub struct RealDir {
    path: PathBuf,
    handle: File,
}

impl RealDir {
    /// The directory at this path. It is created if its parent exists, and nobody else may look into it then. One that
    /// exists keeps its permissions, which others may need: files are private anyway.
    ///
    /// # Errors
    /// It can't be created.
    pub fn create(path: &Path) -> io::Result<Self> {
        if !path.is_dir() {
            DirBuilder::new().mode(0o700).create(path)?;
            owner::hand_over_directory(path);
        }
        RealDir::existing(path)
    }

    /// The directory at this path, for reading only.
    ///
    /// # Errors
    /// It can't be opened.
    pub fn existing(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_DIRECTORY);
        let (path, handle) = (path.into(), options.open(path)?);
        Ok(RealDir { path, handle })
    }

    /// Opens what has this name in it.
    fn open_at(&self, name: &CStr, flags: c_int) -> io::Result<File> {
        // Something else of this name, such as a pipe, must not block.
        let flags = flags | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
        let mode: libc::c_uint = 0o600;
        loop {
            // SAFETY: the descriptor is open, and the name ends with a zero.
            let opened =
                unsafe { libc::openat(self.handle.as_raw_fd(), name.as_ptr(), flags, mode) };
            match done(opened) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // SAFETY: it is a new descriptor that nobody else has.
                opened => return Ok(unsafe { File::from_raw_fd(opened?) }),
            }
        }
    }
}

/// The result of a call that returns -1 if it fails.
fn done(result: c_int) -> io::Result<c_int> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

/// A directory that is being listed.
struct Listing(*mut libc::DIR);

impl Listing {
    fn of(dir: &RealDir) -> io::Result<Self> {
        // Opened again, because the place in a list is that of an opened file.
        let file = dir.open_at(c".", libc::O_RDONLY | libc::O_DIRECTORY)?;
        let descriptor = file.into_raw_fd();
        // SAFETY: the descriptor belongs to the listing from here on.
        let listing = unsafe { libc::fdopendir(descriptor) };
        if listing.is_null() {
            let error = io::Error::last_os_error();
            // SAFETY: nobody has taken it.
            drop(unsafe { File::from_raw_fd(descriptor) });
            return Err(error);
        }
        Ok(Listing(listing))
    }
}

impl Iterator for Listing {
    type Item = io::Result<CString>;

    fn next(&mut self) -> Option<Self::Item> {
        // SAFETY: the listing is open, and nobody else uses it. `errno` tells the end from an error; an entry is valid
        // until the next one is read.
        unsafe {
            *libc::__errno_location() = 0;
            let entry = libc::readdir(self.0);
            if entry.is_null() {
                let error = io::Error::last_os_error();
                return (error.raw_os_error() != Some(0)).then_some(Err(error));
            }
            Some(Ok(CStr::from_ptr((*entry).d_name.as_ptr()).to_owned()))
        }
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        // SAFETY: it is open, and not used again.
        unsafe { libc::closedir(self.0) };
    }
}

impl Dir for RealDir {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for name in Listing::of(self)? {
            let name = name?;
            // SAFETY: all zeros are a valid value.
            let mut found: libc::stat = unsafe { std::mem::zeroed() };
            let (fd, flags) = (self.handle.as_raw_fd(), libc::AT_SYMLINK_NOFOLLOW);
            // SAFETY: the descriptor is open, the name ends with a zero, and `found` is written to.
            let looked = done(unsafe { libc::fstatat(fd, name.as_ptr(), &raw mut found, flags) });
            // If it was removed in the meantime, it does not count.
            if let (Ok(_), Ok(name)) = (looked, name.into_string())
                && found.st_mode & libc::S_IFMT == libc::S_IFREG
            {
                files.push((name, u64::try_from(found.st_size).unwrap_or_default()));
            }
        }
        Ok(files)
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn SpoolFile>> {
        let flags = match access {
            Access::Read => libc::O_RDONLY,
            Access::New => libc::O_RDWR | libc::O_APPEND | libc::O_CREAT | libc::O_EXCL,
            Access::Update => libc::O_RDWR | libc::O_CREAT,
        };
        let file = self.open_at(&CString::new(name)?, flags)?;
        if access != Access::Read {
            owner::hand_over(&file, || self.handle.metadata());
        }
        Ok(Arc::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (fd, from, to) = (
            self.handle.as_raw_fd(),
            CString::new(from)?,
            CString::new(to)?,
        );
        // SAFETY: the descriptor is open, and the names end with a zero.
        done(unsafe { libc::renameat(fd, from.as_ptr(), fd, to.as_ptr()) }).map(drop)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let (fd, name) = (self.handle.as_raw_fd(), CString::new(name)?);
        // SAFETY: the descriptor is open, and the name ends with a zero.
        done(unsafe { libc::unlinkat(fd, name.as_ptr(), 0) }).map(drop)
    }

    fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn is_replaced(&self) -> bool {
        let own = self.handle.metadata();
        match fs::metadata(&self.path) {
            Ok(found) => !own.is_ok_and(|own| (own.dev(), own.ino()) == (found.dev(), found.ino())),
            // Other errors may pass.
            Err(error) => error.kind() == ErrorKind::NotFound,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_written_read_renamed_and_removed() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("spool");
        let dir = RealDir::create(&path).unwrap();
        fs::create_dir(path.join("not a file")).unwrap();
        assert_eq!(dir.list().unwrap(), []);
        let file = dir.open("one", Access::New).unwrap();
        let parts = [IoSlice::new(b"first"), IoSlice::new(b" and last")];
        assert_eq!(file.append(&parts).unwrap(), 14);
        file.truncate(5).unwrap();
        assert_eq!(file.append(&[IoSlice::new(b"!")]).unwrap(), 1);
        let again = dir.open("one", Access::New).map(drop);
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        dir.rename("one", "other").unwrap();
        assert_eq!(dir.list().unwrap(), [("other".to_owned(), 6)]);
        let file = dir.open("other", Access::Update).unwrap();
        file.write_at(b"F", 0).unwrap();
        let mut bytes = [0; 9];
        assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 6);
        assert_eq!(&bytes[..6], b"First!");
        dir.remove("other").unwrap();
        assert!(dir.open("other", Access::Read).is_err());
        assert_eq!(dir.list().unwrap(), []);
    }

    /// So that a service can use what somebody has made for it as root. Only root can give files away.
    #[test]
    fn new_files_belong_to_the_owner_of_their_directory() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("spool");
        let dir = RealDir::create(&path).unwrap();
        let owner = |name: &str| fs::metadata(path.join(name)).unwrap().uid();
        fs::write(path.join("old"), "").unwrap();
        let own = owner("old");
        if std::os::unix::fs::chown(&path, Some(4711), Some(4712)).is_err() {
            return;
        }
        dir.open("old", Access::Read).unwrap();
        dir.open("new", Access::New).unwrap();
        dir.open("position", Access::Update).unwrap();
        assert_eq!(["old", "new", "position"].map(owner), [own, 4711, 4711]);
    }

    #[test]
    fn a_directory_that_was_removed_or_replaced_is_not_the_one_that_was_opened() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("spool");
        let dir = RealDir::create(&path).unwrap();
        assert!(!dir.is_replaced());
        fs::remove_dir(&path).unwrap();
        assert!(dir.is_replaced());
        fs::create_dir(&path).unwrap();
        assert!(dir.is_replaced());
        assert!(!RealDir::create(&path).unwrap().is_replaced());
    }

    #[test]
    fn a_directory_that_was_moved_is_still_used_until_it_comes_back() {
        let place = tempfile::tempdir().unwrap();
        let [path, other] = ["spool", "other"].map(|name| place.path().join(name));
        let dir = RealDir::create(&path).unwrap();
        dir.open("one", Access::New).unwrap();
        fs::rename(&path, &other).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(dir.is_replaced());
        dir.rename("one", "two").unwrap();
        dir.open("three", Access::Update).unwrap();
        dir.remove("two").unwrap();
        assert_eq!(dir.list().unwrap(), [("three".to_owned(), 0)]);
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
        fs::remove_dir(&path).unwrap();
        fs::rename(&other, &path).unwrap();
        assert!(!dir.is_replaced());
        // It does not exist any more.
        fs::remove_dir_all(&path).unwrap();
        assert_eq!(dir.list().unwrap(), []);
        let error = dir.open("one", Access::New).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_pipe_is_no_directory_and_stops_nobody() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("pipe");
        let name = CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: the name ends with a zero.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        let error = RealDir::existing(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotADirectory);
    }
}
