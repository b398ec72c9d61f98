//! Replaces a file so that a reader finds either the old content or the new, never a part: a temporary file beside it
//! is written and renamed over it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use super::owner;

/// How a file is written. Its writers must exclude each other: the temporary file has only one name.
#[derive(Debug, Clone, Copy)]
pub struct AtomicFile {
    /// Its permissions, whatever the umask is.
    pub mode: u32,
    /// Its user and group; `None` for those of this process, or of the directory if this is root.
    pub owner: Option<(u32, u32)>,
    /// Flush the content to disk before it replaces the old one, so that a power failure leaves one of the two.
    pub sync: bool,
}

impl AtomicFile {
    /// Replaces the file at `path`, or creates it.
    ///
    /// # Errors
    /// It can't be written; the old file is unchanged, and the temporary one removed.
    pub fn replace(self, path: &Path, content: &[u8]) -> io::Result<()> {
        let temporary = temporary(path)?;
        let written = self
            .write(&temporary, content)
            .and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            // On a full disk, it would only take up space.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    /// Checks that [`replace`](Self::replace) could write: that a file can be created beside `path`.
    ///
    /// # Errors
    /// No file can be created there.
    pub fn check(self, path: &Path) -> io::Result<()> {
        let temporary = temporary(path)?;
        self.write(&temporary, b"")
            .and_then(|()| fs::remove_file(&temporary))
    }

    fn write(self, temporary: &Path, content: &[u8]) -> io::Result<()> {
        // A file that a killed process has left, or a link that another user made, is removed, never followed.
        match fs::remove_file(temporary) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                let what = format!("{} is in the way: {error}", temporary.display());
                return Err(io::Error::new(error.kind(), what));
            }
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(self.mode)
            .open(temporary)?;
        file.set_permissions(Permissions::from_mode(self.mode))?;
        if let Some((user, group)) = self.owner {
            fchown(&file, Some(user), Some(group))?;
        } else {
            owner::hand_over(&file, || fs::metadata(directory(temporary)));
        }
        file.write_all(content)?;
        if self.sync { file.sync_all() } else { Ok(()) }
    }
}

/// Flushes the directory of `path` to disk: without this, a power failure could bring the old file back.
///
/// # Errors
/// The directory can't be opened or flushed.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory(path)).and_then(|directory| directory.sync_all())
}

/// The directory that a file is in.
pub fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A hidden name beside `path`: `.NAME.ENDING`.
///
/// # Errors
/// The path has no file name.
pub fn beside(path: &Path, ending: &str) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(ErrorKind::InvalidFilename)?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".");
    hidden.push(ending);
    Ok(directory(path).join(hidden))
}

fn temporary(path: &Path) -> io::Result<PathBuf> {
    beside(path, "new")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    const PUBLIC: AtomicFile = AtomicFile {
        mode: 0o644,
        owner: None,
        sync: false,
    };
    const SECRET: AtomicFile = AtomicFile {
        mode: 0o600,
        owner: None,
        sync: true,
    };

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_created_and_replaced_with_its_permissions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        for (file, content) in [(PUBLIC, "one"), (SECRET, "two"), (PUBLIC, "")] {
            file.check(&path).unwrap();
            file.replace(&path, content.as_bytes()).unwrap();
            sync_directory(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, file.mode);
            assert_eq!(names(dir.path()), ["a"]);
        }
    }

    #[test]
    fn what_an_earlier_writer_left_is_replaced_and_a_link_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, victim) = (dir.path().join("a"), dir.path().join("victim"));
        fs::write(&victim, "untouched").unwrap();
        fs::write(dir.path().join(".a.new"), "longer than what comes").unwrap();
        SECRET.replace(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        symlink(&victim, dir.path().join(".a.new")).unwrap();
        SECRET.replace(&path, b"newer").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"newer");
        assert_eq!(fs::read(&victim).unwrap(), b"untouched");
        assert_eq!(names(dir.path()), ["a", "victim"]);
    }

    #[test]
    fn a_failure_leaves_the_old_file_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        // A directory can't be replaced by a file.
        let path = dir.path().join("a");
        fs::create_dir(&path).unwrap();
        SECRET.replace(&path, b"x").unwrap_err();
        assert_eq!(names(dir.path()), ["a"]);
        // A directory in the place of the temporary file is named in the error.
        fs::create_dir(dir.path().join(".b.new")).unwrap();
        let error = SECRET.replace(&dir.path().join("b"), b"x").unwrap_err();
        assert!(
            error.to_string().contains(".b.new is in the way"),
            "{error}"
        );
        assert_eq!(names(dir.path()), [".b.new", "a"]);
        let missing = dir.path().join("missing/a");
        assert_eq!(
            SECRET.check(&missing).unwrap_err().kind(),
            ErrorKind::NotFound
        );
        SECRET.replace(Path::new("/"), b"x").unwrap_err();
    }

    #[test]
    fn a_reader_finds_the_old_content_or_the_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let contents = [vec![b'x'; 100_000], vec![b'y'; 50_000]];
        PUBLIC.replace(&path, &contents[0]).unwrap();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for turn in 0..200 {
                    PUBLIC.replace(&path, &contents[turn % 2]).unwrap();
                }
            });
            while !writer.is_finished() {
                let found = fs::read(&path).unwrap();
                assert!(contents.contains(&found), "{} bytes", found.len());
            }
        });
    }
}
