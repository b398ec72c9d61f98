//! The file that a trail is saved in: `HOST.trail` in the state directory; `HOST.2.trail` for a second agent on that
//! host, and so on.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::{Saved, Was};
use crate::state::{create_dir, file_name, take_name};
use crate::sys::atomic_file::{AtomicFile, sync_directory};
use crate::telemetry::message::Message;

const FILE: AtomicFile = AtomicFile {
    mode: 0o600,
    owner: None,
    sync: true,
};

/// An agent's file, which nobody else may use while this lives.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// What the operator should know about the files of this directory.
    pub notices: Vec<Message>,
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
        let (mut store, mut saved) = Self::find(dir, host)?;
        store.notices.extend(unused(dir, host));
        let was = saved.begin();
        store.save(&saved)?;
        Ok((store, saved, was))
    }

    fn find(dir: &Path, host: &str) -> io::Result<(Self, Saved)> {
        create_dir(dir)?;
        let (name, lock) = take_name(dir, host, ".trail")?;
        let path = dir.join(name);
        let (mut notices, mut saved) = (Vec::new(), None);
        match fs::read(&path) {
            Ok(bytes) => {
                saved = Saved::parse(&bytes);
                if saved.is_none() {
                    let kept = path.with_extension("trail.bad");
                    fs::rename(&path, &kept)?;
                    let [path, kept] = [&path, &kept].map(|path| path.display().to_string());
                    notices.push(Message::TrailDamaged { path, kept });
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let store = Store {
            path,
            notices,
            _lock: lock,
        };
        Ok((store, saved.unwrap_or_else(Saved::of_new_stream)))
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Saves this in place of the previous content, so that not even a power failure undoes it: a record's number must
    /// not be given again. No save may do without, since some filesystems would leave an empty file of either.
    ///
    /// # Errors
    /// It can't be written.
    pub fn save(&self, saved: &Saved) -> io::Result<()> {
        FILE.replace(&self.path, &content(saved))?;
        // Not every filesystem can do that.
        let _ = sync_directory(&self.path);
        Ok(())
    }
}

/// Trails of other host names that ended in order, with something left to deliver. Their locks are not tried: an agent
/// that starts at this moment would take another name.
fn unused(dir: &Path, host: &str) -> Vec<Message> {
    let host = file_name(host);
    let names = fs::read_dir(dir).into_iter().flatten().flatten();
    let paths = names.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let own = name.strip_prefix(&host);
        let own = own.and_then(|rest| rest.strip_suffix("trail"));
        let is_own = own.is_some_and(|rest| {
            rest.starts_with('.') && rest.bytes().all(|byte| b".0123456789".contains(&byte))
        });
        !is_own && !name.starts_with('.') && name.ends_with(".trail")
    });
    let left = paths.filter_map(|path| {
        let saved = Saved::parse(&fs::read(&path).ok()?)?;
        let records = (saved.gaps.len() + saved.outbox.len()) as u64;
        let path = path.display().to_string();
        (saved.is_clean && records > 0).then_some(Message::TrailUnused { path, records })
    });
    left.collect()
}

fn content(saved: &Saved) -> Vec<u8> {
    format!("{:#}\n", saved.json()).into_bytes()
}
