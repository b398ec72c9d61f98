//! Looking at names: which files there are now, which have other names or none, and which have changed.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::follower::{COOLS, Ending, Follower, MAX_HOT, QUIET, Sink};
use super::label::label;
use super::listing::{Identity, Listed, Name};
use super::tracked::{State, Tracked};
use crate::sys::glibc;
use crate::telemetry::message::{Events, Message};

/// Within this time all files are looked at.
const ALL: Duration = Duration::from_secs(20);
/// At least this many are looked at each time.
const SOME: usize = 64;
/// A source that has no file yet says so this often.
const REMIND: Duration = Duration::from_secs(60);
/// Malformed events are logged this often.
const BROKEN: Duration = Duration::from_secs(10);
/// After this many files were found at once, memory is given back.
const MANY: usize = 1000;
/// How often names are looked at while there is much to read, if that takes at most a 20th of the time.
const LOOK: Duration = Duration::from_millis(100);

impl Follower {
    /// Looks at names, if that is due.
    pub(super) fn look_if_due(&mut self, now: Instant, sink: &mut impl Sink) {
        let since = self
            .looked
            .map(|looked| now.saturating_duration_since(looked));
        let pause = LOOK.max(self.look_cost * 20);
        if self.pending.is_empty()
            || since.is_none_or(|since| since >= pause)
            || !self.dirty.is_empty()
        {
            self.look(now, sink);
        }
    }

    /// Logs, once, that another source reads one of these files too.
    fn claim(&mut self, new: &[Listed], source: &str) {
        let is_due = !self.is_doubled && !new.is_empty();
        let claims = self.settings.claims.as_ref().filter(|_| is_due);
        let Some(claims) = claims else { return };
        let name = Arc::from(source);
        for listed in new {
            if let Some(other) = claims.claim(&name, listed) {
                self.is_doubled = true;
                return Message::FileReadTwice {
                    file: label(&listed.path),
                    source: source.to_owned(),
                    other: other.to_string(),
                }
                .log();
            }
        }
    }

    /// The files that there are now.
    pub(super) fn files_now(mut self) -> HashMap<Identity, Listed> {
        let now = Instant::now();
        let names = self.listing.look(now, &HashSet::new()).names;
        let files = self.stat(names, now);
        let new = self.place(files, now).into_iter();
        new.map(|file| (file.identity, file)).collect()
    }

    /// Brings the files up to date with what there is.
    pub(super) fn look(&mut self, now: Instant, sink: &mut impl Sink) {
        let began = Instant::now();
        self.looks = self.looks.wrapping_add(1);
        self.looked = Some(now);
        self.look_at_main(now);
        self.troubles.retry(now, &mut self.dirty);
        let forced = std::mem::take(&mut self.dirty);
        let changes = self.listing.look(now, &forced);
        for (path, error) in &changes.errors {
            self.troubles.note(path, error.to_string(), now);
        }
        let found = self.stat(changes.names, now);
        let new = self.place(found, now);
        self.must_trim |= new.len() >= MANY;
        self.sweep(&changes.dirs, now);
        self.poll(now);
        self.claim(&new, sink.name());
        self.add(new, now);
        self.report_damaged(now, sink);
        self.tend_gone(now, sink);
        self.resolve_missing(now, sink);
        self.close_some();
        self.drop_unpackers(now);
        self.report(now, sink);
        self.is_first = false;
        self.before = None;
        self.progress.ready();
        if self.pending.is_empty() && std::mem::take(&mut self.must_trim) {
            glibc::trim();
        }
        self.look_cost = began.elapsed();
    }

    /// The file at a path is looked at each time: its directory may be large, or on another filesystem.
    fn look_at_main(&mut self, now: Instant) {
        let Some(path) = self.listing.pattern().path() else {
            return;
        };
        let found = fs::metadata(path);
        if let Err(error) = &found
            && !is_gone_error(error)
        {
            self.troubles.note(path, error.to_string(), now);
        }
        self.main = found.ok().map(|found| (found.dev(), found.ino()));
        if self.main.is_none() || self.main_file().is_some() {
            return;
        }
        let is_it = |file: &Tracked| !file.is_gone && !file.is_outside && *file.now.path == *path;
        let before = self.files.iter().find(|(_, file)| is_it(file));
        match before.map(|(number, _)| *number) {
            Some(number) => self.read_dir_of(number),
            None => _ = self.dirty.insert(self.listing.pattern().root().to_owned()),
        }
    }

    /// The file at a path, if it is known.
    fn main_file(&self) -> Option<&Tracked> {
        let file = self.files.get(&self.find(self.main?)?)?;
        let is_there = !file.is_gone && Some(&*file.now.path) == self.listing.pattern().path();
        is_there.then_some(file)
    }

    /// Looks at names that are new, or where something else is now.
    fn stat(&mut self, names: Vec<Name>, now: Instant) -> Vec<Listed> {
        let mut found = Vec::new();
        for name in names {
            self.settings.watchdog.goes_on();
            let is_it = |file: &Tracked| {
                file.now.entry == name.entry && !file.is_gone && *file.now.path == *name.path
            };
            if let Some(number) = self.find_where(name.entry, is_it)
                && let Some(file) = self.files.get_mut(&number)
            {
                file.look = self.looks;
                continue;
            }
            match fs::metadata(&name.path) {
                Ok(metadata) if metadata.is_file() => {
                    found.push(Listed::of(name.path, name.entry, &metadata));
                }
                Ok(metadata) => self.troubles.note_kind(&name.path, &metadata, now),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    // It was removed just now, or is a link to nothing.
                    if fs::symlink_metadata(&name.path).is_ok() {
                        self.troubles.note(&name.path, error.to_string(), now);
                    }
                }
                Err(error) => self.troubles.note(&name.path, error.to_string(), now),
            }
        }
        found
    }

    /// Handles known files that have other names now, and returns the unknown ones.
    pub(super) fn place(&mut self, mut found: Vec<Listed>, now: Instant) -> Vec<Listed> {
        // Of a file's names, the source's own counts: under another one it would be a file beside it.
        let main = self.listing.pattern().path().map(Path::to_owned);
        found.sort_by_key(|listed| Some(&*listed.path) != main.as_deref());
        let mut new: Vec<Listed> = Vec::new();
        let mut identities = HashSet::new();
        for listed in found {
            let Some(number) = self.find(listed.identity) else {
                // A file with several names is one file.
                if identities.insert(listed.identity) {
                    new.push(listed);
                }
                continue;
            };
            let Some(file) = self.files.get_mut(&number) else {
                continue;
            };
            let is_main = Some(&*listed.path) == main.as_deref();
            let is_alias = !is_main
                && (file.look == self.looks
                    || (file.now.path != listed.path
                        && !file.is_gone
                        && file.look(now).unwrap_or(false)));
            if is_alias {
                continue;
            }
            file.look = self.looks;
            file.is_outside = false;
            self.relocate(number, |file| file.see(listed, now));
            self.touched(number, now);
        }
        // However coarse times are, what was renamed from a path is older than what took its place.
        let order = |file: &Listed| {
            (
                file.modified,
                Some(&*file.path) == main.as_deref(),
                Arc::clone(&file.path),
            )
        };
        new.sort_by_cached_key(order);
        new
    }

    /// Files that were not found in a directory that was read are gone.
    fn sweep(&mut self, dirs: &HashSet<PathBuf>, now: Instant) {
        if dirs.is_empty() {
            return;
        }
        let mut gone = Vec::new();
        for (number, file) in &self.files {
            let parent = file.now.path.parent().unwrap_or(Path::new(""));
            if file.look != self.looks && !file.is_outside && !file.is_gone && dirs.contains(parent)
            {
                gone.push(*number);
            }
        }
        for number in gone {
            self.go(number, now);
        }
    }

    fn go(&mut self, number: u64, now: Instant) {
        // What was in a closed file may be in one that was just found.
        if !self.files.get(&number).is_some_and(|file| file.is_open()) {
            return self.lose(number, Ending::Unclear);
        }
        if let Some(file) = self.files.get_mut(&number) {
            file.is_gone = true;
            file.active = now;
            file.is_touched = true;
            self.noticed(number);
        }
    }

    /// Looks at the files that change, and at some of the others.
    fn poll(&mut self, now: Instant) {
        let hot: Vec<u64> = self.hot.iter().copied().collect();
        for number in hot {
            self.poll_one(number, now);
        }
        let since = self.cold_at.replace(now);
        let since = since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let share = since.as_secs_f64() / ALL.as_secs_f64();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a part of the files, or all"
        )]
        let part = (self.files.len() as f64 * share.min(1.0)).ceil() as usize;
        for _ in 0..part.max(SOME).min(self.files.len()) {
            let behind = self.files.range(self.cold + 1..).next();
            let next = behind.or_else(|| self.files.iter().next());
            let Some((&number, _)) = next else { break };
            self.cold = number;
            if !self.hot.contains(&number) {
                self.poll_one(number, now);
            }
        }
    }

    fn poll_one(&mut self, number: u64, now: Instant) {
        self.settings.watchdog.goes_on();
        let Some(file) = self.files.get_mut(&number) else {
            self.hot.remove(&number);
            return;
        };
        if file.is_gone {
            // One that can't be looked at is handled by `tend_gone`.
            if file.is_open() && file.look_at_open(now).is_ok() && file.is_touched {
                self.touched(number, now);
            }
            return;
        }
        let is_outside = file.is_outside;
        let patience = if self.hot.len() > MAX_HOT {
            COOLS
        } else {
            QUIET
        };
        match file.look(now) {
            Ok(true) => {
                if file.is_touched {
                    self.touched(number, now);
                } else if file.is_read() && now.saturating_duration_since(file.active) > patience {
                    self.hot.remove(&number);
                }
            }
            Ok(false) => self.go_or_read_dir(number, is_outside, now),
            Err(error) if is_gone_error(&error) => {
                self.go_or_read_dir(number, is_outside, now);
            }
            Err(error) => {
                let path = Arc::clone(&file.now.path);
                self.troubles.note(&path, error.to_string(), now);
            }
        }
    }

    /// Its directory says whether it has another name.
    fn go_or_read_dir(&mut self, number: u64, is_outside: bool, now: Instant) {
        if is_outside {
            self.go(number, now);
        } else {
            self.read_dir_of(number);
        }
    }

    /// Looks for what has taken a file's place: a link that leads elsewhere now may look the same in its directory.
    fn read_dir_of(&mut self, number: u64) {
        self.relocate(number, |file| file.now.entry = 0);
        if let Some(file) = self.files.get(&number) {
            let parent = file.now.path.parent().unwrap_or(Path::new("."));
            self.dirty.insert(parent.to_owned());
        }
    }

    /// Reports what is wrong, and what is not there.
    fn report(&mut self, now: Instant, sink: &mut impl Sink) {
        let is_due = |logged| now.saturating_duration_since(logged) >= BROKEN;
        if self.broken_logged.is_none_or(is_due)
            && let Some(broken) = self.broken.take()
        {
            self.broken_logged = Some(now);
            Message::FileMalformed {
                source: sink.name().to_owned(),
                events: Events(broken.events),
                file: broken.file,
                offset: broken.offset,
            }
            .log();
        }
        for (bytes, reason) in std::mem::take(&mut self.cuts) {
            sink.lost(bytes, &reason);
        }
        let main = self.listing.pattern().path().map(Path::to_owned);
        let trouble = main.as_deref().and_then(|path| self.troubles.of(path));
        if let Some(reason) = trouble {
            sink.failed(&reason);
            self.troubles.log(now, main.as_deref());
            return;
        }
        self.troubles.log(now, None);
        let file = self.main_file();
        let is_main_there = file.is_some();
        if let (Some(file), Some(path)) = (file, &main) {
            let is_other = self.main_logged.is_some_and(|it| it != file.now.identity);
            if self.main_logged.is_none() || (is_other && file.now.length > 0) {
                self.main_logged = Some(file.now.identity);
                if is_other {
                    Message::FileReplaced { file: label(path) }.log();
                }
            }
        }
        let is_there = if main.is_some() {
            is_main_there
        } else {
            !self.files.is_empty()
        };
        self.was_seen |= is_there;
        if self.was_seen {
            sink.worked();
            return;
        }
        sink.waits();
        let what = if main.is_some() {
            "no such file yet"
        } else {
            "no file matches yet"
        };
        let is_due = |logged| now.saturating_duration_since(logged) >= REMIND;
        if self.wait_logged.is_none_or(is_due) {
            self.wait_logged = Some(now);
            let source = sink.name().to_owned();
            Message::FileAwaited { source, what }.log();
        }
    }

    /// How long ago the oldest file that was not read to its end was written.
    pub(super) fn oldest_unread(&self) -> Duration {
        let unread = self
            .pending
            .iter()
            .filter_map(|number| self.files.get(number));
        let unread = unread.filter(|file| file.state == State::Followed && !file.is_read());
        let oldest = unread.map(|file| file.now.modified).min();
        let age = oldest.and_then(|oldest| SystemTime::now().duration_since(oldest).ok());
        age.unwrap_or_default()
    }
}

/// Whether a name is no longer there.
fn is_gone_error(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}
