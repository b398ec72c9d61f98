//! The directory of a spool, as far as the spool needs one: a trait, so that tests can have one that loses power.

use std::fmt::Debug;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, IoSlice, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

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

    /// Whether somebody has removed it, or put another one in its place.
    fn is_replaced(&self) -> bool;
}

/// Whether it says nothing of the file: descriptors or memory are missing.
pub(super) fn is_of_the_host(error: &io::Error) -> bool {
    let codes = [libc::EMFILE, libc::ENFILE, libc::ENOMEM];
    (error.raw_os_error()).is_some_and(|code| codes.contains(&code))
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

/// A directory of the filesystem.
#[derive(Debug)]
pub struct RealDir {
    path: PathBuf,
    /// To sync it even when no more files can be opened: that must not look like a disk that fails.
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
        }
        RealDir::existing(path)
    }

    /// The directory at this path, for reading only.
    ///
    /// # Errors
    /// It can't be opened.
    pub fn existing(path: &Path) -> io::Result<Self> {
        let (path, handle) = (path.into(), File::open(path)?);
        Ok(RealDir { path, handle })
    }
}

impl Dir for RealDir {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            // If it was removed in the meantime, it does not count.
            if let (Ok(name), Ok(found)) = (entry.file_name().into_string(), entry.metadata())
                && found.is_file()
            {
                files.push((name, found.len()));
            }
        }
        Ok(files)
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn SpoolFile>> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .mode(0o600)
            // Something else of this name, such as a pipe, must not block.
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        match access {
            Access::Read => {}
            Access::New => _ = options.append(true).create_new(true),
            Access::Update => _ = options.write(true).create(true).truncate(false),
        }
        Ok(Arc::new(options.open(self.path.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn is_replaced(&self) -> bool {
        match (fs::metadata(&self.path), self.handle.metadata()) {
            (Ok(found), Ok(own)) => (found.dev(), found.ino()) != (own.dev(), own.ino()),
            // Other errors may pass.
            (found, _) => found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound),
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
}
