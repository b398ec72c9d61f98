//! Searching for contents that are missing: under names that the source does not mean.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirEntry};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirEntryExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::follower::{Ending, Follower, QUIET};
use super::gzip::Gzip;
use super::label::label;
use super::listing::Listed;
use super::probe::{Probe, read_head};
use super::tracked::{State, Tracked};
use crate::state::checkpoint::{FileOffset, HEAD_BYTES};
use crate::telemetry::message::Message;

impl Follower {
    /// Searches for missing contents under names of their inode, or renamed from theirs.
    /// Returns those whose file or directory may be there, but can't be looked at now.
    pub(super) fn search(&mut self, now: Instant) -> HashSet<u64> {
        let mut unclear = HashSet::new();
        let mut dirs = BTreeSet::new();
        let mut names = HashSet::new();
        let mut inodes = HashSet::new();
        for (number, file) in self.missing.awaited() {
            if self.complete.get(&number) == Some(&Ending::Finished) {
                continue;
            }
            dirs.insert(file.path.parent().unwrap_or(Path::new(".")).to_owned());
            inodes.insert(file.inode);
            names.extend(file.path.file_name().map(OsStr::to_owned));
        }
        for dir in dirs {
            let is_there = |error: &io::Error| error.kind() != ErrorKind::NotFound;
            let entries = match fs::read_dir(&dir) {
                Ok(entries) => entries.flatten(),
                Err(error) if is_there(&error) => {
                    let is_inside = |_, file: &FileOffset| file.path.parent() == Some(&dir);
                    unclear.extend(self.awaited_where(&is_inside));
                    continue;
                }
                Err(_) => continue,
            };
            let entries = entries.filter(|entry| {
                inodes.contains(&entry.ino()) || is_renamed_from(&entry.file_name(), &names)
            });
            let entries: Vec<DirEntry> = entries.collect();
            for entry in entries {
                self.settings.watchdog.goes_on();
                let Err(error) = self.search_one(&entry, &dir, now) else {
                    continue;
                };
                let path = entry.path();
                let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
                let is_it = |_, file: &FileOffset| {
                    (file.inode == entry.ino() && !is_link) || *file.path == *path
                };
                let hidden = self.awaited_where(&is_it);
                if !hidden.is_empty() {
                    self.troubles.note(&path, error.to_string(), now);
                }
                unclear.extend(hidden);
            }
        }
        unclear
    }

    /// Contents of an earlier start whose directories have no file now.
    pub(super) fn unmounted(&self) -> Vec<u64> {
        let there = self.files.values().filter(|file| !file.is_gone);
        let dirs = there.filter_map(|file| file.now.path.parent());
        let dirs: HashSet<PathBuf> = dirs.map(Path::to_owned).collect();
        self.awaited_where(&|number, file| {
            let dir = file.path.parent().unwrap_or(Path::new("."));
            self.restored.contains(&number) && !dirs.contains(dir)
        })
    }

    /// Contents that a file may have that is just being compressed: it begins with them, or that can't be told yet. One
    /// that is written to for ever must not hold back what is gone.
    pub(super) fn may_be_compressed(&mut self, now: Instant) -> Vec<u64> {
        let (mut heads, mut compressing) = (Vec::new(), BTreeMap::new());
        for (number, file) in &mut self.files {
            if !(file.is_gzip && file.is_touched && file.state == State::New) {
                continue;
            }
            let since = self.compressing.get(number).copied().unwrap_or(now);
            compressing.insert(*number, since);
            if now.saturating_duration_since(since) >= QUIET {
                continue;
            }
            let was_open = file.is_open();
            heads.push(file.new_gzip().map(Gzip::head).unwrap_or_default());
            if !was_open {
                file.close();
            }
        }
        self.compressing = compressing;
        let is_it =
            |file: &FileOffset, head: &Vec<u8>| head.len() < HEAD_BYTES || file.head.fits(head);
        self.awaited_where(&|_, file| heads.iter().any(|head| is_it(file, head)))
    }

    /// Whether a compressed file that was just written to is waited for: one that is written to for ever is read like
    /// any other, unless it may be the copy of what was read before.
    pub(super) fn may_settle(&mut self, number: u64, head: &[u8], now: Instant) -> bool {
        let files = &self.files;
        (self.compressing).retain(|other, _| *other == number || files.contains_key(other));
        let since = *self.compressing.entry(number).or_insert(now);
        let is_known = self.missing.begins_alike(head) || self.others.begins_alike(head);
        is_known || now.saturating_duration_since(since) < QUIET
    }

    fn awaited_where(&self, is_it: &dyn Fn(u64, &FileOffset) -> bool) -> Vec<u64> {
        let awaited = self.missing.awaited();
        let awaited = awaited.filter(|(number, file)| is_it(*number, file));
        awaited.map(|(number, _)| number).collect()
    }

    fn search_one(&mut self, entry: &DirEntry, dir: &Path, now: Instant) -> io::Result<()> {
        let path = entry.path();
        let found = fs::metadata(&path)?;
        let listed = Listed::of(path.into(), entry.ino(), &found);
        let name = entry.file_name();
        if !found.is_file()
            || self.find(listed.identity).is_some()
            || self.listing.pattern().is_excluded(dir, name.as_bytes())
        {
            return Ok(());
        }
        let mut file = Tracked::new(listed, now);
        let head = read_head(&mut file)?;
        let mut probe = Probe {
            file: &mut file,
            head: &head,
            unpackers: &mut self.unpackers,
            work: &self.long_work,
        };
        let same = self.missing.take_same(&mut probe);
        let Some((number, known)) = same.or_else(|| self.missing.take_content(&mut probe)) else {
            return Ok(());
        };
        Message::FileResumed {
            file: label(&file.now.path),
            offset: known.offset,
        }
        .log();
        file.is_outside = true;
        self.resume(number, &known, file);
        Ok(())
    }
}

/// Whether a file at `path` may have been at `before`: it is still there, or something was appended to its name.
pub(super) fn may_have_been(path: &Path, before: &Path) -> bool {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_owned();
    let names = HashSet::from([name(before)]);
    path.parent() == before.parent() && is_renamed_from(&name(path), &names)
}

/// Whether a name is one of `names`, or was before something was appended to it.
fn is_renamed_from(name: &OsStr, names: &HashSet<OsString>) -> bool {
    names.contains(name) || stems(name).any(|stem| names.contains(stem))
}

/// What a name may have been before something was appended to it.
pub(super) fn stems(name: &OsStr) -> impl Iterator<Item = &OsStr> {
    let bytes = name.as_bytes();
    let ends = bytes.iter().enumerate();
    let ends = ends.filter(|(_, byte)| b".-".contains(byte));
    ends.map(|(end, _)| OsStr::from_bytes(&bytes[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renamed_file_is_in_the_same_directory_and_has_a_longer_name() {
        for (path, before, expected) in [
            ("/a/log", "/a/log", true),
            ("/a/log.1", "/a/log", true),
            ("/a/log-2.gz", "/a/log", true),
            ("/a/log.1.gz", "/a/log.1", true),
            ("/b/log.1", "/a/log", false),
            ("/a/logs", "/a/log", false),
            ("/a/log", "/a/log.1", false),
        ] {
            let found = may_have_been(Path::new(path), Path::new(before));
            assert_eq!(found, expected, "{path} {before}");
        }
    }
}
