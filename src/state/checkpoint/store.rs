//! A source's checkpoint on disk: its name and lock, read once, and written so that it is whole at every moment.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf, absolute};

use super::{FileOffset, LONGEST, hash, parse, render};
use crate::sys::atomic_file::AtomicFile;
use crate::sys::lock;

/// The readable part of a file's name at most.
const READABLE: usize = 60;

const FILE: AtomicFile = AtomicFile {
    mode: 0o600,
    owner: None,
    sync: true,
};

/// One source's checkpoint, which is its own for as long as this lives.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    /// The file's name without its ending.
    name: String,
    source: String,
    _lock: File,
}

/// What a start finds.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing: the source's very first start.
    Nothing,
    /// How far its files had come.
    Places(Vec<FileOffset>),
    /// Something that can't be used, and why.
    Unusable(String),
}

impl Store {
    /// The checkpoint in `dir` of the source that reads `path` on this host; none if another agent has it.
    ///
    /// # Errors
    /// The directory can't be written to.
    pub fn open(dir: &Path, host: &str, path: &Path) -> io::Result<Option<Self>> {
        // Relative to where it was started, another agent's may be another file.
        let path = absolute(path)?;
        let readable = path.file_name().unwrap_or_default().to_string_lossy();
        let readable: String = readable
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || "-_.".contains(c) {
                    c
                } else {
                    '_'
                }
            })
            .take(READABLE)
            .collect();
        let hash = hash(path.as_os_str().as_bytes());
        let name = format!("{host}.{readable}.{hash:016x}");
        let lock = lock::try_lock(&dir.join(format!(".{name}.checkpoint.lock")))?;
        Ok(lock.map(|lock| Store {
            dir: dir.into(),
            name,
            source: format!("file:{}", path.display()),
            _lock: lock,
        }))
    }

    /// Reads it.
    pub fn read(&self) -> Found {
        let mut text = Vec::new();
        let opened = File::open(self.path());
        match opened.and_then(|file| file.take(LONGEST).read_to_end(&mut text)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Found::Nothing,
            Err(error) => Found::Unusable(format!("can't be read: {error}")),
            Ok(_) => parse(&text, &self.source).map_or_else(Found::Unusable, Found::Places),
        }
    }

    /// Replaces it. It is on disk before it takes the old one's place: after a power failure one of both
    /// is there, and the old one only makes some events come again.
    ///
    /// # Errors
    /// It can't be written; the old one stays.
    pub fn write(&self, places: &[FileOffset]) -> io::Result<()> {
        FILE.replace(&self.path(), render(&self.source, places).as_bytes())
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.dir.join(format!("{}.checkpoint", self.name))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_was_written_is_found_by_the_same_source_only() {
        let dir = tempfile::tempdir().unwrap();
        let open = |path: &str| Store::open(dir.path(), "host", Path::new(path)).unwrap();
        let store = open("/var/log/a b*.log").unwrap();
        assert!(open("/var/log/a b*.log").is_none(), "it is locked");
        assert_eq!(open("/var/log/other").unwrap().read(), Found::Nothing);
        assert_eq!(store.read(), Found::Nothing);
        let place = FileOffset {
            inode: 7,
            ..FileOffset::default()
        };
        for _ in 0..2 {
            store.write(std::slice::from_ref(&place)).unwrap();
        }
        let name = store.path().file_name().unwrap().to_owned();
        assert!(
            name.to_str().unwrap().starts_with("host.a_b_.log."),
            "{name:?}"
        );
        drop(store);
        let store = open("/var/log/a b*.log").unwrap();
        assert_eq!(store.read(), Found::Places(vec![place]));
        let text = fs::read(store.path()).unwrap();
        fs::write(store.path(), &text[..text.len() / 2]).unwrap();
        assert!(matches!(store.read(), Found::Unusable(_)));
    }
}
