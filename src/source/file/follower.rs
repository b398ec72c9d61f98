//! All files of a source: which there are, under which names, and in which order they are read.
//!
//! A content keeps its number for as long as it is known, whatever file it is in: a renamed file keeps it, and the copy
//! of a truncated one inherits it. The current time is an argument; events go to a [`Sink`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::claims::Claims;
use super::gzip::Unpackers;
use super::kept::Reading;
use super::listing::{Identity, Listed, Listing};
use super::long_work::LongWork;
use super::missing::Missing;
use super::pattern::Pattern;
use super::tracked::{State, Tracked};
use super::trouble::Troubles;
use crate::framer::Framer;
use crate::source::output::Broken;
use crate::source::spec::FileStart;
use crate::state::checkpoint::{Found, Progress, Restored};
use crate::telemetry::message::Message;
use crate::telemetry::watchdog::Watchdog;

/// A file that has not changed for this long is looked at less often.
pub(super) const QUIET: Duration = Duration::from_secs(60);
/// The same, while there are too many files.
pub(super) const COOLS: Duration = Duration::from_secs(1);
/// At most this many files are looked at each time, besides those that have just changed.
pub(super) const MAX_HOT: usize = 256;

/// Where events go.
pub(super) trait Sink {
    /// A framer for one more file.
    fn framer(&self) -> Framer;
    /// Takes what the framer has, as far as there is room, and never waits. Returns the position after all of it, if
    /// all of it was taken.
    fn take(&mut self, framer: &mut Framer) -> Option<u64>;
    /// Which events it has found malformed since the last call.
    fn broken(&mut self) -> Option<Broken>;
    /// Whether events go anywhere at all.
    fn is_forwarding(&self) -> bool;
    /// This many bytes are lost.
    fn lost(&mut self, bytes: u64, reason: &str);
    /// A file is gone, without a known loss.
    fn gone(&mut self, report: &Message);
    /// A file is taken for the copy of another.
    fn copied(&mut self);
    /// The source is unavailable, for this reason.
    fn failed(&mut self, reason: &str);
    /// There is nothing yet, which is logged.
    fn waits(&mut self);
    /// The source is there.
    fn worked(&mut self);
    /// The source as its user named it.
    fn name(&self) -> &str;
}

/// What holds for all `file:` sources.
#[derive(Debug, Clone, Default)]
pub struct FileSettings {
    /// Where reading begins at the very first start.
    pub start: FileStart,
    /// Patterns of files that are not read.
    pub exclude: Vec<String>,
    /// Files that no longer have a name are kept open up to this many bytes.
    pub max_deleted: u64,
    /// Which source reads which file, if there are several.
    pub claims: Option<Claims>,
    /// Logs it if a mount does not answer.
    pub watchdog: Watchdog,
}

/// How it is known that all of a content was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// It was read when its writer was done with it.
    Finished,
    /// It was read up to the length at which it was last seen.
    Unclear,
}

/// The files of a source.
#[derive(Default)]
pub(super) struct Follower {
    pub(super) listing: Listing,
    pub(super) settings: FileSettings,
    /// At most this many files are kept open.
    pub(super) max_open: usize,
    pub(super) files: BTreeMap<u64, Box<Tracked>>,
    /// The same by their inode numbers, and by those that their directories show.
    by_inode: BTreeSet<(u64, u64)>,
    /// Those that are followed, by the hash of what they begin with.
    pub(super) by_head: BTreeSet<(u64, u64)>,
    /// Contents of this source whose file is not there.
    pub(super) missing: Missing,
    /// Missing contents that were read to their end before they were gone.
    pub(super) complete: BTreeMap<u64, Ending>,
    /// Missing contents that were let go of, because removed files took too much.
    pub(super) let_go: BTreeSet<u64>,
    /// Contents from an earlier start that were not found yet.
    pub(super) restored: BTreeSet<u64>,
    /// Half events of missing contents.
    pub(super) orphans: BTreeMap<u64, Box<Reading>>,
    /// Readings that are complete, to be passed on when there is room.
    pub(super) remainders: VecDeque<Box<Reading>>,
    pub(super) unpackers: Unpackers,
    pub(super) long_work: LongWork,
    /// Compressed files that ended early, and how: they may still be written.
    pub(super) damaged: Vec<(u64, io::Error)>,
    /// Files that begin within a log entry, and the file in which that entry began.
    pub(super) heirs: BTreeMap<u64, u64>,
    /// A reading that is not in use.
    pub(super) spare: Option<Box<Reading>>,
    /// What other sources left.
    pub(super) others: Missing,
    pub(super) progress: Progress,
    pub(super) troubles: Troubles,
    next: u64,
    /// How many looks there were so far.
    pub(super) looks: u32,
    pub(super) looked: Option<Instant>,
    pub(super) look_cost: Duration,
    /// Nothing was known before, and this is the first look.
    pub(super) is_first: bool,
    /// The files that were there when the agent started, if it had to wait for what was known before.
    pub(super) before: Option<HashMap<Identity, Listed>>,
    /// The checkpoint can't be used, so that what was read before is read again.
    pub(super) reads_again: bool,
    /// The checkpoint is from 0.1, which has seen the files from before this time.
    pub(super) old_before: Option<SystemTime>,
    /// Files that may have something to read.
    pub(super) pending: BTreeSet<u64>,
    /// Those whose turn it is, in their order.
    pub(super) ready: VecDeque<u64>,
    /// Those that are looked at each time.
    pub(super) hot: BTreeSet<u64>,
    /// Files that are open, and some that no longer are.
    pub(super) open: BTreeSet<u64>,
    /// How far the round through the other files has come.
    pub(super) cold: u64,
    pub(super) cold_at: Option<Instant>,
    /// Directories to be read again.
    pub(super) dirty: HashSet<PathBuf>,
    /// Contents that are complete, once all that was read of them is final.
    pub(super) endings: Vec<u64>,
    /// Former copies: what is before their offsets was read in their originals, and is final when that is.
    pub(super) parted: Vec<u64>,
    /// Bytes that were cut off before they were read, and where.
    pub(super) cuts: Vec<(u64, String)>,
    /// Missing contents are searched for at the next look.
    pub(super) must_search: bool,
    pub(super) searched: Option<Instant>,
    /// When that was done for the first time.
    pub(super) began: Option<Instant>,
    /// Since when files that are being compressed are waited for: they may have contents that were read before.
    pub(super) compressing: BTreeMap<u64, Instant>,
    /// Since when a removed file can't be read.
    pub(super) failing: BTreeMap<u64, Instant>,
    /// Missing contents of which it can't be told yet whether they are gone.
    pub(super) unclear: HashSet<u64>,
    /// Nothing of what was read before is there.
    pub(super) is_waiting: bool,
    /// Bytes that files without a name take.
    pub(super) deleted_bytes: u64,
    /// The file at the path was seen.
    pub(super) was_seen: bool,
    /// What is at a path now, and what was there when it was last reported.
    pub(super) main: Option<Identity>,
    pub(super) main_logged: Option<Identity>,
    pub(super) wait_logged: Option<Instant>,
    /// Another source reads the same file, and that was logged.
    pub(super) is_doubled: bool,
    /// Copies are logged once.
    pub(super) copies: BTreeMap<u64, Instant>,
    /// Malformed events that were not logged yet, with the first one's place.
    pub(super) broken: Option<BrokenAt>,
    pub(super) broken_logged: Option<Instant>,
    pub(super) held_logged: Option<Instant>,
    /// Many files were found.
    pub(super) must_trim: bool,
}

/// Malformed events of a source, and where the first is.
pub(super) struct BrokenAt {
    pub(super) events: u64,
    pub(super) file: String,
    pub(super) offset: u64,
}

impl Follower {
    /// For the files that this path or pattern means, of which at most `max_open` are kept open.
    pub(super) fn new(
        path: &Path,
        settings: FileSettings,
        max_open: usize,
        restored: Option<Restored>,
    ) -> Self {
        let mut follower = Follower {
            long_work: LongWork::new(&settings.watchdog),
            listing: Listing::new(Pattern::new(path, &settings.exclude)),
            settings,
            max_open,
            next: 1,
            is_first: true,
            must_search: true,
            ..Follower::default()
        };
        if let Some(restored) = restored {
            follower.restore(restored);
        }
        follower
    }

    fn restore(&mut self, restored: Restored) {
        self.progress = restored.progress;
        self.reads_again = matches!(restored.found, Found::Unusable(_));
        if let Found::Files(checkpoint) = restored.found {
            self.is_first = false;
            self.old_before = checkpoint.is_old.then_some(checkpoint.written);
            for (number, mut file) in checkpoint.files {
                self.next = self.next.max(number + 1);
                // One that is excluded now is not awaited, but known if it is included again.
                file.is_gone |= self.is_excluded(&file.path);
                if file.length == 0 && !file.is_skipped {
                    // It was empty: what is in it now may be the copy of another one.
                    self.progress.drop_file(number);
                    continue;
                }
                self.progress.start(number, file.clone());
                if !file.is_gone {
                    self.restored.insert(number);
                }
                for forgotten in self.missing.insert(number, file) {
                    self.progress.drop_file(forgotten);
                }
            }
        }
        for (number, file) in (0..).zip(restored.others) {
            self.others.insert(number, file);
        }
    }

    fn is_excluded(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().as_bytes();
        let dir = path.parent().unwrap_or(Path::new("."));
        self.listing.pattern().is_excluded(dir, name)
    }

    /// A number that no content has.
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// A file has changed: from now on it is looked at each time, and read.
    pub(super) fn noticed(&mut self, number: u64) {
        let Some(file) = self.files.get(&number) else {
            return;
        };
        self.hot.insert(number);
        self.pending.insert(number);
        if file.state != State::Skipped {
            self.note_seen(number);
        }
    }

    /// Notes where a file is, how long it is, and what it begins with. False if it was not known.
    pub(super) fn note_seen(&self, number: u64) -> bool {
        self.files.get(&number).is_some_and(|file| {
            let (device, inode) = file.now.identity;
            let path = &file.now.path;
            self.progress
                .seen(number, path, device, inode, file.longest, file.head)
        })
    }

    /// A file is one of the source's from now on, under this number.
    pub(super) fn put(&mut self, number: u64, mut file: Tracked) {
        if self.open.len() >= self.max_open && !file.is_gone {
            file.close();
        }
        self.by_inode.extend(keys(&file, number));
        if file.state == State::Followed && !file.head.is_empty() {
            self.by_head.insert((file.head.hash, number));
        }
        if file.is_open() {
            self.open.insert(number);
        }
        // What is gone is only let go of while it is looked at.
        if file.is_gone || self.hot.len() < MAX_HOT {
            self.hot.insert(number);
        }
        self.files.insert(number, Box::new(file));
        self.pending.insert(number);
    }

    /// Takes a file out, to be put back under the same or another number, or not.
    pub(super) fn take(&mut self, number: u64) -> Option<Tracked> {
        let file = self.files.remove(&number)?;
        for key in keys(&file, number) {
            self.by_inode.remove(&key);
        }
        self.by_head.remove(&(file.head.hash, number));
        self.hot.remove(&number);
        self.open.remove(&number);
        self.pending.remove(&number);
        self.copies.remove(&number);
        Some(*file)
    }

    /// A file's number, by its device and inode.
    pub(super) fn find(&self, (device, inode): Identity) -> Option<u64> {
        self.find_where(inode, |file| file.now.identity == (device, inode))
    }

    /// The same by an inode number, the file's own or that in its directory; `is` says whether a file is the one.
    pub(super) fn find_where(&self, entry: u64, is: impl Fn(&Tracked) -> bool) -> Option<u64> {
        let mut numbers = self.by_inode.range((entry, 0)..=(entry, u64::MAX));
        let is = |number| self.files.get(number).is_some_and(|file| is(file));
        numbers
            .find(|(_, number)| is(number))
            .map(|(_, number)| *number)
    }

    /// Changes what is known of where a file is.
    pub(super) fn relocate(&mut self, number: u64, change: impl FnOnce(&mut Tracked)) {
        let Some(file) = self.files.get_mut(&number) else {
            return;
        };
        for key in keys(file, number) {
            self.by_inode.remove(&key);
        }
        change(file);
        self.by_inode.extend(keys(file, number));
    }
}

/// What a file is found by: for most files the two are the same.
fn keys(file: &Tracked, number: u64) -> [(u64, u64); 2] {
    [(file.now.identity.1, number), (file.now.entry, number)]
}
