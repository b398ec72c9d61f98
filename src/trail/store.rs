//! The file that a trail is saved in: `HOST.trail` in the state directory; `HOST.2.trail` for a second agent on that
//! host, and so on.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::{Saved, Was};
use crate::state::{create_dir, take_name};
use crate::sys::atomic_file::{AtomicFile, sync_directory};

const FILE: AtomicFile = AtomicFile {
    mode: 0o600,
    owner: None,
    sync: false,
};

/// An agent's file, which nobody else may use while this lives.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    _lock: File,
}

impl Store {
    /// Takes the first file of this host that no other agent uses, and continues from its content, or begins a new
    /// stream. That is on disk before any event can get a number: so no number is given twice, even if this start is
    /// killed at once.
    ///
    /// # Errors
    /// The directory can't be used.
    pub fn open(dir: &Path, host: &str) -> io::Result<(Self, Saved, Was)> {
        let (store, mut saved) = Self::find(dir, host)?;
        let was = saved.begin();
        let on_disk = AtomicFile { sync: true, ..FILE };
        on_disk.replace(&store.path, &content(&saved))?;
        // Not every filesystem can do that.
        let _ = sync_directory(&store.path);
        Ok((store, saved, was))
    }

    fn find(dir: &Path, host: &str) -> io::Result<(Self, Saved)> {
        create_dir(dir)?;
        let (name, lock) = take_name(dir, host, ".trail")?;
        let path = dir.join(name);
        let saved = match fs::read(&path) {
            Ok(bytes) => Saved::parse(&bytes).unwrap_or_else(Saved::of_new_stream),
            Err(error) if error.kind() == ErrorKind::NotFound => Saved::of_new_stream(),
            Err(error) => return Err(error),
        };
        Ok((Store { path, _lock: lock }, saved))
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Saves this in place of the previous content.
    ///
    /// # Errors
    /// It can't be written.
    pub fn save(&self, saved: &Saved) -> io::Result<()> {
        FILE.replace(&self.path, &content(saved))
    }
}

fn content(saved: &Saved) -> Vec<u8> {
    format!("{:#}\n", saved.json()).into_bytes()
}
