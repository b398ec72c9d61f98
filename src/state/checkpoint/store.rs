//! A source's checkpoint on disk: its name and lock, reading it, and writing what has changed.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf, absolute};
use std::time::SystemTime;

use super::file_offset::FileOffset;
use super::fingerprint::hash;
use super::journal::{MAX_LINE, unreadable};
use super::progress::{Changes, Progress};
use super::{journal, v1};
use crate::sys::atomic_file::{AtomicFile, sync_directory};
use crate::sys::lock;

/// The maximum length of the readable part of a file's name.
const READABLE: usize = 60;
/// One that 0.1 wrote is never longer than this.
const MAX_BYTES: u64 = 64 << 20;
/// A checkpoint is rewritten when it is longer than twice its necessary length by this much.
const SLACK: usize = 256 << 10;

const FILE: AtomicFile = AtomicFile {
    mode: 0o600,
    owner: None,
    sync: true,
};

/// One source's checkpoint, which nobody else may use while this lives.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    /// The file's name without its extension.
    name: String,
    source: String,
    _lock: File,
    /// The file that is appended to.
    open: Option<Journal>,
}

#[derive(Debug)]
struct Journal {
    file: File,
    /// Its length when it was last rewritten, and now.
    compact: usize,
    bytes: usize,
    /// Something was appended that was not synced to disk yet.
    is_dirty: bool,
}

/// What is found at the start.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing: this is the source's very first start.
    Nothing,
    /// How far its files were delivered.
    Files(Checkpoint),
    /// Something that can't be used, and the reason.
    Unusable(String),
}

/// A checkpoint that was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The files by their numbers.
    pub files: BTreeMap<u64, FileOffset>,
    /// When it was last written.
    pub written: SystemTime,
    /// It was written by 0.1, which did not know of files renamed from a path.
    pub is_old: bool,
    /// Records that were damaged.
    pub damaged: usize,
}

impl Store {
    /// The checkpoint in `dir` of the source that reads `path` on this host; `None` if another agent has it.
    ///
    /// # Errors
    /// The directory can't be written to.
    pub fn open(dir: &Path, host: &str, path: &Path) -> io::Result<Option<Self>> {
        // A relative path depends on where an agent was started: another agent's may name another file.
        let path = absolute(path)?;
        let name = name(host, &path);
        let lock = lock::try_lock(&dir.join(format!(".{name}.checkpoint.lock")))?;
        Ok(lock.map(|lock| Store {
            dir: dir.into(),
            name,
            source: format!("file:{}", path.display()),
            _lock: lock,
            open: None,
        }))
    }

    /// Reads the checkpoint.
    pub fn read(&self) -> Found {
        match read(&self.path(), Some(&self.source), None) {
            Ok(None) => Found::Nothing,
            Ok(Some(checkpoint)) => Found::Files(checkpoint),
            Err(error) => Found::Unusable(error),
        }
    }

    /// What other sources of this host knew that no agent reads now, such as the same files under another pattern, and
    /// what this source knew when the host had another name, if it was written after `since`. The newest is last.
    pub fn read_others(&self, host: &str, since: Option<SystemTime>) -> Vec<FileOffset> {
        let prefix = format!("{host}.");
        let own = self.name.strip_prefix(host).unwrap_or(&self.name);
        let mut others = Vec::new();
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let Some(name) = name.strip_suffix(".checkpoint") else {
                continue;
            };
            if name == self.name || !(name.starts_with(&prefix) || name.ends_with(own)) {
                continue;
            }
            // One whose agent starts meanwhile is replaced as a whole, or appended to: it can be read at any time.
            let is_free = lock::is_free(&self.dir.join(format!(".{name}.checkpoint.lock")));
            if !is_free.unwrap_or(false) {
                continue;
            }
            if let Ok(Some(checkpoint)) = read(&entry.path(), None, since) {
                others.push(checkpoint);
            }
        }
        others.sort_by_key(|checkpoint| checkpoint.written);
        let files = others
            .into_iter()
            .flat_map(|other| other.files.into_values());
        files.collect()
    }

    /// Writes the whole checkpoint. It is on disk before it replaces the old one.
    ///
    /// # Errors
    /// It can't be written; the old one remains.
    pub fn rewrite(&mut self, progress: &Progress) -> io::Result<()> {
        self.open = None;
        let path = self.path();
        let mut text = journal::header(&self.source);
        progress.each(|number, file| journal::append(&mut text, number, Some(file)));
        FILE.replace(&path, text.as_bytes())?;
        let _ = sync_directory(&path);
        let file = OpenOptions::new().append(true).open(path)?;
        self.open = Some(Journal {
            file,
            compact: text.len(),
            bytes: text.len(),
            is_dirty: false,
        });
        Ok(())
    }

    /// Appends what has changed. False if the checkpoint must be rewritten: it has grown too long or was never written.
    ///
    /// # Errors
    /// It can't be written; it must be rewritten.
    pub fn append(&mut self, changes: &Changes) -> io::Result<bool> {
        let Some(open) = &mut self.open else {
            return Ok(false);
        };
        if open.bytes > open.compact * 2 + SLACK {
            return Ok(false);
        }
        let mut text = String::new();
        for (number, file) in changes {
            journal::append(&mut text, *number, file.as_ref());
        }
        if let Err(error) = open.file.write_all(text.as_bytes()) {
            self.open = None;
            return Err(error);
        }
        open.bytes += text.len();
        open.is_dirty |= !text.is_empty();
        Ok(true)
    }

    /// Syncs to disk what was appended. False if the checkpoint must be rewritten, because its directory was replaced
    /// or the file removed.
    ///
    /// # Errors
    /// It can't be written; it must be rewritten.
    pub fn sync(&mut self) -> io::Result<bool> {
        let path = self.path();
        let Some(open) = &mut self.open else {
            return Ok(false);
        };
        if !std::mem::take(&mut open.is_dirty) {
            return Ok(true);
        }
        let is_there = fs::metadata(&path).and_then(|found| {
            let own = open.file.metadata()?;
            Ok((found.dev(), found.ino()) == (own.dev(), own.ino()))
        });
        let synced = match is_there {
            Ok(false) => Ok(false),
            Ok(true) => open.file.sync_data().map(|()| true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        };
        if !matches!(synced, Ok(true)) {
            self.open = None;
        }
        synced
    }

    /// Where the checkpoint is.
    pub fn path(&self) -> PathBuf {
        self.dir.join(format!("{}.checkpoint", self.name))
    }
}

/// Reads either version, if it is there and was not written before `since`. Without `source`, the checkpoint of any
/// source is accepted.
fn read(
    path: &Path,
    source: Option<&str>,
    since: Option<SystemTime>,
) -> Result<Option<Checkpoint>, String> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(unreadable)?,
    };
    let written = file.metadata().and_then(|found| found.modified());
    let written = written.map_err(unreadable)?;
    if since.is_some_and(|since| written < since) {
        return Ok(None);
    }
    let mut text = BufReader::with_capacity(MAX_LINE, file);
    let is_old = !journal::is_one(text.fill_buf().map_err(unreadable)?);
    let (files, damaged) = if is_old {
        let mut all = Vec::new();
        let read = text.take(MAX_BYTES).read_to_end(&mut all);
        read.map_err(unreadable)?;
        ((1..).zip(v1::parse(&all, source)?).collect(), 0)
    } else {
        let replayed = journal::replay(text, source)?;
        (replayed.files, replayed.damaged)
    };
    Ok(Some(Checkpoint {
        files,
        written,
        is_old,
        damaged,
    }))
}

/// The name, without its ending, of the checkpoint of the source with this absolute path on this host.
fn name(host: &str, path: &Path) -> String {
    let readable = path.file_name().unwrap_or_default().to_string_lossy();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let readable: String = readable
        .chars()
        .map(|c| if is_plain(c) { c } else { '_' })
        .take(READABLE)
        .collect();
    let hash = hash(path.as_os_str().as_bytes());
    format!("{host}.{readable}.{hash:016x}")
}

/// The file that has the checkpoint of the source with this path on this host, in a state directory.
pub fn file_name(host: &str, path: &Path) -> String {
    let path = absolute(path).unwrap_or_else(|_| path.to_owned());
    format!("{}.checkpoint", name(host, &path))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    use std::thread;

    use super::*;

    fn file(inode: u64) -> FileOffset {
        FileOffset {
            inode,
            ..FileOffset::default()
        }
    }

    fn progress(files: &BTreeMap<u64, FileOffset>) -> Progress {
        let progress = Progress::default();
        for (number, file) in files {
            progress.start(*number, file.clone());
        }
        progress
    }

    fn found(store: &Store) -> BTreeMap<u64, FileOffset> {
        match store.read() {
            Found::Files(checkpoint) => checkpoint.files,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_written_is_found_by_the_same_source_only() {
        let dir = tempfile::tempdir().unwrap();
        let open = |path: &str| Store::open(dir.path(), "host", Path::new(path)).unwrap();
        let mut store = open("/var/log/a b*.log").unwrap();
        assert!(open("/var/log/a b*.log").is_none(), "it is locked");
        assert_eq!(open("/var/log/other").unwrap().read(), Found::Nothing);
        assert_eq!(store.read(), Found::Nothing);
        let mut files = BTreeMap::from([(1, file(7)), (2, file(8))]);
        assert!(!store.append(&Vec::new()).unwrap(), "never written");
        store.rewrite(&progress(&files)).unwrap();
        assert_eq!(found(&store), files);
        files.insert(3, file(9));
        files.remove(&1);
        let changes = vec![(1, None), (3, Some(file(9)))];
        assert!(store.append(&changes).unwrap() && store.sync().unwrap());
        let name = store.path().file_name().unwrap().to_owned();
        let name = name.to_str().unwrap();
        assert!(name.starts_with("host.a_b_.log."), "{name}");

        let other = open("/var/log/a b.log").unwrap();
        assert!(other.read_others("host", None).is_empty(), "it is in use");
        drop(store);
        assert_eq!(other.read_others("host", None), [file(8), file(9)]);
        assert!(other.read_others("ho", None).is_empty(), "another host's");
        // The host has another name now.
        let renamed = Store::open(dir.path(), "h", Path::new("/var/log/a b*.log"));
        let renamed = renamed.unwrap().unwrap();
        assert_eq!(renamed.read(), Found::Nothing);
        assert_eq!(renamed.read_others("h", None), [file(8), file(9)]);
        assert!(
            other
                .read_others(
                    "host",
                    Some(SystemTime::now() + SystemTime::UNIX_EPOCH.elapsed().unwrap())
                )
                .is_empty()
        );
        let store = open("/var/log/a b*.log").unwrap();
        assert_eq!(found(&store), files);
        fs::write(store.path(), "{").unwrap();
        assert!(matches!(store.read(), Found::Unusable(_)));
    }

    /// As after a boot, when all agents start.
    #[test]
    fn whoever_reads_what_others_left_keeps_none_of_them_from_its_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let open = |path: &str| Store::open(dir.path(), "host", Path::new(path)).unwrap();
        let files = (1..500).map(|number| (number, file(number))).collect();
        open("/a").unwrap().rewrite(&progress(&files)).unwrap();
        let is_over = AtomicBool::new(false);
        let (others, is_over) = (["/b", "/c"].map(|path| open(path).unwrap()), &is_over);
        thread::scope(|scope| {
            for other in &others {
                scope.spawn(move || {
                    while !is_over.load(SeqCst) {
                        let found = other.read_others("host", None).len();
                        assert!([0, 499].contains(&found), "{found}");
                    }
                });
            }
            let opened = (0..200).filter(|_| open("/a").is_some()).count();
            is_over.store(true, SeqCst);
            assert_eq!(opened, 200);
        });
    }

    #[test]
    fn a_checkpoint_that_was_removed_or_has_grown_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), "host", Path::new("/a"))
            .unwrap()
            .unwrap();
        store.rewrite(&Progress::default()).unwrap();
        fs::remove_file(store.path()).unwrap();
        assert!(store.append(&vec![(1, Some(file(1)))]).unwrap());
        assert!(!store.sync().unwrap());
        store.rewrite(&Progress::default()).unwrap();
        let changes = vec![(1, Some(file(1)))];
        for (beyond, is_taken) in [(0, true), (1, false)] {
            let open = store.open.as_mut().unwrap();
            open.bytes = open.compact * 2 + SLACK + beyond;
            assert_eq!(store.append(&changes).unwrap(), is_taken);
        }
    }

    #[test]
    fn what_was_appended_is_synced_once_and_errors_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        fs::create_dir(&state).unwrap();
        let store = Store::open(&state, "host", Path::new("/a")).unwrap();
        let mut store = store.unwrap();
        let changes = vec![(1, Some(file(1)))];
        store.rewrite(&Progress::default()).unwrap();
        for _ in 0..2 {
            assert!(store.append(&changes).unwrap() && store.sync().unwrap());
        }
        assert!(store.append(&changes).unwrap());
        fs::remove_dir_all(&state).unwrap();
        fs::write(&state, "in the way").unwrap();
        assert!(store.sync().is_err());
        assert!(!store.append(&changes).unwrap(), "it must be rewritten");
        assert!(matches!(store.read(), Found::Unusable(_)));
    }

    #[test]
    fn the_checkpoint_of_another_source_counts_if_it_is_not_older() {
        let dir = tempfile::tempdir().unwrap();
        let open = |path: &str| Store::open(dir.path(), "host", Path::new(path)).unwrap();
        let mut store = open("/a").unwrap();
        store
            .rewrite(&progress(&BTreeMap::from([(1, file(7))])))
            .unwrap();
        let written = fs::metadata(store.path()).unwrap().modified().unwrap();
        drop(store);
        let other = open("/b").unwrap();
        for (later, count) in [(0, 1), (1, 0)] {
            let since = written + std::time::Duration::from_nanos(later);
            assert_eq!(other.read_others("host", Some(since)).len(), count);
        }
    }

    /// However long it is, and whatever is in it.
    #[test]
    fn a_long_checkpoint_is_read_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), "host", Path::new("/a")).unwrap();
        let mut store = store.unwrap();
        let first = BTreeMap::from([(1, file(7))]);
        store.rewrite(&progress(&first)).unwrap();
        let journal = &store.open.as_ref().unwrap().file;
        journal.set_len(MAX_BYTES + 1).unwrap();
        (&*journal).write_all(b"\n").unwrap();
        store.append(&vec![(2, Some(file(8)))]).unwrap();
        let Found::Files(checkpoint) = store.read() else {
            panic!("it is usable");
        };
        let expected = BTreeMap::from([(1, file(7)), (2, file(8))]);
        assert_eq!((checkpoint.files, checkpoint.damaged), (expected, 1));
    }
}
