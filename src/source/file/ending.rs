//! What happens when a file was truncated, moved or removed: its content is searched for, and reported if it can't be
//! found.

use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::follower::{COOLS, Ending, Follower, QUIET, Sink};
use super::label::label;
use super::search::may_have_been;
use super::tracked::{State, Tracked};
use crate::state::checkpoint::FileOffset;
use crate::telemetry::message::Message;
use crate::text::quantity::Size;

/// At most this many files that were read stay open.
const MAX_IDLE: usize = 64;
/// Of many missing files, at most this many are logged one by one.
const MAX_LINES: u64 = 20;
/// How often it is logged that removed files take much space.
const REMIND: Duration = Duration::from_secs(600);
/// For this long after a start, a directory without files may not be mounted yet.
const MOUNTS: Duration = Duration::from_secs(60);
/// While there are no files, or some can't be looked at, missing contents are searched for this often.
const SEARCH: Duration = Duration::from_secs(2);

impl Follower {
    /// A file has other content now: the old content is missing, and the file is read as a new one.
    pub(super) fn rewritten(&mut self, number: u64, now: Instant) -> io::Result<()> {
        let Some(mut file) = self.take(number) else {
            return Ok(());
        };
        Message::FileTruncated {
            file: label(&file.now.path),
        }
        .log();
        self.miss(number, &mut file, Ending::Unclear);
        file.restart();
        let looked = file.look_at_open(now).map(drop);
        file.longest = file.now.length;
        let new = self.number();
        self.progress.start(new, file.known());
        self.put(new, file);
        // The copy, which is older, is read first.
        self.ready.clear();
        self.looked = None;
        looked
    }

    /// A content is searched for from now on.
    fn miss(&mut self, number: u64, file: &mut Tracked, ending: Ending) {
        let known = FileOffset {
            length: file.longest,
            ..file.known()
        };
        // Half an event at its end counts as read, too.
        if file.offset >= file.longest {
            self.complete.insert(number, ending);
        }
        if let Some(rest) = file.rest() {
            self.orphans.insert(number, rest);
        }
        self.missing.insert(number, known);
        self.must_search = true;
    }

    /// Reports compressed files that are damaged, or incomplete and no longer written.
    pub(super) fn report_damaged(&mut self, now: Instant, sink: &mut impl Sink) {
        let (files, progress) = (&mut self.files, &self.progress);
        self.damaged.retain(|(number, error)| {
            let Some(file) = files.get_mut(number) else {
                return false;
            };
            let is_written = now.saturating_duration_since(file.active) < QUIET && !file.is_gone;
            // What it has gained since was not read yet.
            let is_awaited = is_written || file.is_touched;
            if error.kind() == ErrorKind::UnexpectedEof && is_awaited {
                return true;
            }
            let file_damaged = Message::FileDamaged {
                file: label(&file.now.path),
                offset: file.offset,
                error: error.to_string(),
            };
            file_damaged.log();
            let unread = file.longest.saturating_sub(file.offset);
            if unread > 0 {
                let reason = format!("{} is damaged", label(&file.now.path));
                sink.lost(unread, &reason);
            }
            // Not even half an event at its end is awaited.
            file.longest = file.reached().offset;
            progress.ended(*number, file.longest, file.now.length);
            false
        });
    }

    /// Handles files that no longer have a name.
    pub(super) fn tend_gone(&mut self, now: Instant, sink: &mut impl Sink) {
        let numbers: Vec<u64> = self.hot.iter().copied().collect();
        let mut deleted = Vec::new();
        for number in numbers {
            self.settings.watchdog.goes_on();
            let Some(file) = self.files.get_mut(&number) else {
                continue;
            };
            if !file.is_gone && !file.is_outside {
                continue;
            }
            if file.is_gone && !file.is_open() {
                self.lose(number, Ending::Unclear);
                continue;
            }
            let found = file.is_gone.then(|| file.look_at_open(now));
            if let Some(Err(_)) = found
                && now.saturating_duration_since(file.active) > QUIET
            {
                // On NFS, after another host has removed it.
                self.lose(number, Ending::Unclear);
                continue;
            }
            if let Some(Ok(found)) = found
                && found.nlink() == 0
            {
                // Files that were read to their end go first.
                let has_rest = file.longest > file.offset;
                deleted.push((has_rest, file.now.modified, number, file.now.length));
            }
            self.finish_if_done(number, now);
        }
        self.bound_deleted(deleted, now, sink);
        let files = &self.files;
        self.failing.retain(|number, _| files.contains_key(number));
    }

    /// A file that is gone and was read is finished when its writer is done, too: when nothing has come for long, and
    /// other files are there.
    fn finish_if_done(&mut self, number: u64, now: Instant) {
        let Some(file) = self.files.get(&number) else {
            return;
        };
        let is_passed = match file.state {
            State::Skipped => true,
            // It may have grown since.
            State::CopyOf { .. } => !file.is_touched,
            State::New => file.now.length == 0,
            State::Followed => file.is_read() && !file.has_pending(),
        };
        if !is_passed {
            return;
        }
        let are_many = self.open.len() * 2 > self.max_open;
        let patience = if are_many { COOLS } else { QUIET };
        let is_quiet = now.saturating_duration_since(file.active) > patience;
        let mut others = self.files.values();
        let are_others = others.any(|file| !file.is_gone && !file.is_outside);
        if !(is_quiet && are_others || matches!(file.state, State::CopyOf { .. })) {
            return;
        }
        self.lose(number, Ending::Finished);
    }

    /// A file is no longer one of the source's.
    pub(super) fn lose(&mut self, number: u64, ending: Ending) {
        let Some(mut file) = self.take(number) else {
            return;
        };
        match file.state {
            State::Skipped | State::CopyOf { .. } => self.progress.drop_file(number),
            _ => self.miss(number, &mut file, ending),
        }
    }

    /// Beyond the limit, lets go of files that no longer have a name, those that were read first, and then the oldest. A
    /// compressed one may have their content.
    fn bound_deleted(
        &mut self,
        mut deleted: Vec<(bool, std::time::SystemTime, u64, u64)>,
        now: Instant,
        sink: &mut impl Sink,
    ) {
        let max = self.settings.max_deleted;
        let mut sum: u64 = deleted.iter().map(|(.., length)| length).sum();
        let unread = deleted.iter().filter(|(has_rest, ..)| *has_rest);
        let unread: u64 = unread.map(|(.., length)| length).sum();
        let is_due = |logged| now.saturating_duration_since(logged) >= REMIND;
        if unread > max / 5 * 4 && self.held_logged.is_none_or(is_due) {
            self.held_logged = Some(now);
            Message::DeletedHeld {
                source: sink.name().to_owned(),
                held: size(unread),
                limit: size(max),
            }
            .log();
        }
        deleted.sort_unstable();
        for (.., number, length) in deleted {
            if sum <= max {
                break;
            }
            sum -= length;
            self.lose(number, Ending::Unclear);
            if self.missing.get(number).is_some() {
                self.let_go.insert(number);
            }
        }
        self.deleted_bytes = sum;
    }

    /// Searches for missing contents, and reports those that are not found.
    pub(super) fn resolve_missing(&mut self, now: Instant, sink: &mut impl Sink) {
        self.log_copies(now, sink);
        if !self.must_search {
            return;
        }
        if self.missing.awaited().next().is_none() {
            self.must_search = false;
            return;
        }
        let is_due = self
            .searched
            .is_none_or(|searched| now.saturating_duration_since(searched) >= SEARCH);
        if !self.unclear.is_empty() && !is_due {
            return;
        }
        let originals: HashSet<u64> = self.files.keys().copied().collect();
        let is_orphan = |file: &Tracked| match file.state {
            State::CopyOf { original } => !originals.contains(&original),
            _ => false,
        };
        let copies = self.files.iter().filter(|(_, file)| is_orphan(file));
        let mut copies: Vec<_> = copies
            .map(|(number, file)| (file.now.length, *number))
            .collect();
        copies.sort_unstable();
        // The longest has most of what is missing.
        for (_, number) in copies.into_iter().rev() {
            self.settings.watchdog.goes_on();
            if let Err(error) = self.examine(number, now)
                && let Some(file) = self.files.get(&number)
            {
                let path = file.now.path.clone();
                self.troubles.note(&path, error.to_string(), now);
            }
        }
        let is_nothing_there = self.files.values().all(|file| file.is_gone);
        if is_nothing_there && !is_due {
            return;
        }
        self.searched = Some(now);
        self.unclear = self.search(now);
        if self.long_work.was_cut() {
            return;
        }
        let began = *self.began.get_or_insert(now);
        if now.saturating_duration_since(began) < MOUNTS {
            let unmounted = self.unmounted();
            self.unclear.extend(unmounted);
        }
        if self.files.values().all(|file| file.is_gone) {
            // Its filesystem may not be mounted yet.
            if !std::mem::replace(&mut self.is_waiting, true) {
                let source = sink.name().to_owned();
                Message::FilesAwaited { source }.log();
            }
            return;
        }
        self.is_waiting = false;
        let compressing = self.may_be_compressed(now);
        self.unclear.extend(compressing);
        self.must_search = !self.unclear.is_empty();
        self.report_missing(sink);
    }

    fn report_missing(&mut self, sink: &mut impl Sink) {
        let awaited: Vec<u64> = self.missing.awaited().map(|(number, _)| number).collect();
        let mut lines = 0;
        for number in awaited {
            if self.unclear.contains(&number) {
                continue;
            }
            let Some(entry) = self.missing.remove(number) else {
                continue;
            };
            let mut read = entry.offset;
            if let Some(rest) = self.orphans.remove(&number) {
                // What was read of the content is passed on.
                read += rest.framer.unfinished();
                self.remainders.push_back(rest);
            }
            self.progress.lost(number, read);
            let was_restored = self.restored.remove(&number);
            let is_complete = self.complete.remove(&number).is_some();
            let limit = self.settings.max_deleted;
            let end = End {
                was_restored,
                let_go: self.let_go.remove(&number).then_some(limit),
            };
            if !is_complete || was_restored {
                lines += 1;
                let in_full = lines <= MAX_LINES;
                report_gone(&entry, read, end, in_full, sink);
            }
            self.endings.push(number);
            let gone = FileOffset {
                is_gone: true,
                ..entry
            };
            for forgotten in self.missing.insert(number, gone) {
                self.progress.drop_file(forgotten);
            }
        }
        if lines > MAX_LINES {
            Message::FilesMissing {
                source: sink.name().to_owned(),
                files: lines - MAX_LINES,
            }
            .log();
        }
    }

    pub(super) fn report_compressed(&self, path: &Path, kind: &'static str) {
        // It was compressed from the file of its name without the ending, or from one that had been renamed before.
        let original = path.with_extension("");
        let unread = |file: &&FileOffset| file.unread() > 0 && may_have_been(&original, &file.path);
        let lost = self.missing.awaited().map(|(_, file)| file);
        let lost = lost
            .filter(unread)
            .max_by_key(|file| *file.path == *original);
        let file = label(path);
        let message = match lost.map(FileOffset::unread) {
            Some(bytes) => Message::FileCompressedUnread { file, kind, bytes },
            None => Message::FileCompressed { file, kind },
        };
        message.log();
    }

    /// Closes files that were read to their end, while many are open.
    pub(super) fn close_some(&mut self) {
        let numbers: Vec<u64> = self.open.iter().copied().collect();
        for number in numbers {
            self.close_if_idle(number);
        }
    }

    /// Closes a file that was read to its end, while many are open.
    pub(super) fn close_if_idle(&mut self, number: u64) {
        let Some(file) = self.files.get_mut(&number).filter(|file| file.is_open()) else {
            self.open.remove(&number);
            return;
        };
        self.open.insert(number);
        let is_passed = matches!(file.state, State::Skipped | State::CopyOf { .. });
        // What has just been written to may be removed next.
        let is_hot = self.hot.contains(&number) && self.open.len() * 2 <= self.max_open;
        let is_idle = !is_hot && !file.is_gone && (is_passed || file.is_read());
        if self.open.len() > MAX_IDLE.min(self.max_open) && is_idle {
            file.close();
            self.open.remove(&number);
        }
    }
}

/// How a content that is not found was lost sight of.
struct End {
    /// It was known from an earlier start.
    was_restored: bool,
    /// It was let go of, because removed files took more than this.
    let_go: Option<u64>,
}

/// Reports a content that is not found. If there are many, those without a known loss are only counted.
fn report_gone(entry: &FileOffset, offset: u64, end: End, in_full: bool, sink: &mut impl Sink) {
    let file = label(&entry.path);
    let unread = entry.length.saturating_sub(offset);
    let unknown = if end.was_restored {
        "; what was written after the agent stopped is unknown"
    } else {
        ""
    };
    if unread > 0 {
        let reason = match end.let_go {
            Some(limit) => format!(
                "{file} was removed before it was read, and removed files take more than --max-deleted-bytes ({})",
                size(limit)
            ),
            None => format!("{file} is gone; it was read up to byte {offset}{unknown}"),
        };
        sink.lost(unread, &reason);
    } else if in_full {
        sink.gone(&Message::FileGone {
            file,
            offset,
            unknown,
        });
    }
}

fn size(bytes: u64) -> Size {
    Size(usize::try_from(bytes).unwrap_or(usize::MAX))
}
