//! The host, the webhook and the agent of the model.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flate2::write::GzEncoder;
use tempfile::TempDir;

use super::hook::{Hook, ROOM};
use super::op::Op;
use crate::framer::{Frame, Framer};
use crate::source::file::follower::{FileSettings, Follower};
use crate::source::file::reading::Step;
use crate::source::spec::FileStart;
use crate::state::checkpoint::{Found, Progress, Restored, Store};

mod files;

/// A long time for a source.
const LATER: Duration = Duration::from_secs(4);

struct Agent {
    follower: Follower,
    progress: Progress,
    store: Store,
}

pub(super) struct World {
    dir: TempDir,
    state: TempDir,
    pattern: PathBuf,
    clock: Instant,
    pub(super) hook: Hook,
    /// Where the very first start begins.
    pub(super) from: FileStart,
    agent: Option<Agent>,
    started_once: bool,
    pub(super) next: u64,
    dates: u32,
    pub(super) half: Option<(PathBuf, u64)>,
    /// All files begin with the same KiB.
    has_banner: bool,
    /// Events that the agent knows to be there.
    pub(super) known: BTreeSet<u64>,
    /// Of those, what the running agent has looked at.
    seen: BTreeSet<u64>,
    /// Events of files that were removed while the agent had them open, and has not ended since.
    pub(super) held: BTreeSet<u64>,
    /// Events of copied or compressed files, of which it is not known how many bytes they take in a file, and events
    /// that are counted in another way.
    pub(super) vague: BTreeSet<u64>,
    /// Events that were cut off while the agent ran: what was read of them may be lost with a kill.
    cut: BTreeSet<u64>,
    /// Events that are in no file as a whole.
    pub(super) scattered: BTreeSet<u64>,
    /// The host's name.
    host: &'static str,
    is_upgrade: bool,
    is_damaged: bool,
    is_excluded: bool,
    /// The event of which a part was written.
    part: u64,
    /// Where the hole begins.
    hole: u64,
    /// All of the file that is being compressed.
    compressed: Vec<u8>,
    /// What is being written compressed.
    live: Option<GzEncoder<File>>,
    /// At most this many files are kept open.
    pub(super) max_open: usize,
    /// At most this many bytes of files without a name are.
    pub(super) max_deleted: u64,
    /// Something was removed, overwritten or compressed.
    pub(super) has_removed: bool,
    /// Files that the agent knew to their end, and that were removed while it did not run.
    pub(super) removed_meanwhile: u64,
}

pub(super) fn event(number: u64) -> String {
    format!("{{\"n\":{number},\"pad\":\"{:050}\"}}\n", number * 7919)
}

/// What all files begin with: an event of its own, without a number.
fn banner() -> String {
    format!("{{\"n\":0,\"banner\":\"{}\"}}\n", "x".repeat(1100))
}

impl World {
    pub(super) fn new(is_glob: bool, has_banner: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("log")).unwrap();
        let name = if is_glob { "audit.log*" } else { "audit.log" };
        World {
            pattern: dir.path().join("log").join(name),
            dir,
            // Where nothing waits for a disk.
            state: tempfile::tempdir_in("/dev/shm")
                .or_else(|_| tempfile::tempdir())
                .unwrap(),
            clock: Instant::now(),
            hook: Hook::default(),
            from: FileStart::default(),
            agent: None,
            started_once: false,
            next: 1,
            dates: 0,
            half: None,
            has_banner,
            known: BTreeSet::new(),
            seen: BTreeSet::new(),
            held: BTreeSet::new(),
            vague: BTreeSet::new(),
            cut: BTreeSet::new(),
            scattered: BTreeSet::new(),
            host: "host",
            is_upgrade: false,
            is_damaged: false,
            is_excluded: false,
            part: 0,
            hole: 0,
            compressed: Vec::new(),
            live: None,
            max_open: 100,
            max_deleted: 1 << 30,
            has_removed: false,
            removed_meanwhile: 0,
        }
    }

    fn logs(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn log(&self) -> PathBuf {
        self.logs().join("audit.log")
    }

    fn numbered(&self, number: u32) -> PathBuf {
        self.logs().join(format!("audit.log.{number}"))
    }

    fn append(path: &Path, text: &str) {
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn write(&mut self, path: &Path, count: u8) {
        let text = self.text(path, count);
        Self::append(path, &text);
    }

    /// What is written next to a file.
    fn text(&mut self, path: &Path, count: u8) -> String {
        let mut text = String::new();
        if self.has_banner && fs::metadata(path).map_or(0, |found| found.len()) == 0 {
            text.push_str(&banner());
        }
        if let Some((half, number)) = self.half.take() {
            if half == path {
                text.push_str(&event(number)[10..]);
            } else {
                self.half = Some((half, number));
            }
        }
        for _ in 0..count {
            text.push_str(&event(self.next));
            self.next += 1;
        }
        text
    }

    /// The content of a file, whole events only.
    fn events(text: &[u8]) -> BTreeSet<u64> {
        let mut framer = Framer::new(1 << 20);
        let mut events = BTreeSet::new();
        let mut rest = text;
        while !rest.is_empty() {
            framer.copy_in(&mut rest);
            while let Some(frame) = framer.next() {
                if let Frame::Event(event) = frame {
                    let event: serde_json::Value = serde_json::from_slice(event.raw()).unwrap();
                    // By chance, compressed bytes have an object, too.
                    events.extend(event["n"].as_u64());
                }
            }
        }
        events
    }

    /// All events that are on disk now under a name that the source means.
    pub(super) fn on_disk(&self) -> BTreeSet<u64> {
        let mut events = self.scattered.clone();
        for entry in fs::read_dir(self.logs()).into_iter().flatten().flatten() {
            let Ok(bytes) = fs::read(entry.path()) else {
                continue;
            };
            let bytes = if bytes.starts_with(b"\x1f\x8b") {
                let mut plain = Vec::new();
                // It may end early.
                let _ = std::io::Read::read_to_end(
                    &mut flate2::read::MultiGzDecoder::new(&bytes[..]),
                    &mut plain,
                );
                plain
            } else {
                bytes
            };
            events.extend(Self::events(&bytes));
        }
        events
    }

    fn step(&mut self) {
        let Some(agent) = &mut self.agent else { return };
        self.clock += Duration::from_millis(20);
        agent.follower.look_if_due(self.clock, &mut self.hook);
        let step = agent.follower.read_some(self.clock, &mut self.hook);
        if self.hook.queued.len() < ROOM {
            agent.follower.mark_endings(self.hook.position);
        }
        if step == Step::Full && !self.hook.is_away {
            self.hook.deliver();
        }
        self.commit();
    }

    fn commit(&mut self) {
        let Some(agent) = &mut self.agent else { return };
        let changes = agent.progress.commit(self.hook.watermark, true);
        if !agent.store.append(&changes).unwrap() {
            agent.store.rewrite(&agent.progress).unwrap();
        }
    }

    pub(super) fn start(&mut self) {
        if self.agent.is_some() {
            return;
        }
        let store = Store::open(self.state.path(), self.host, &self.pattern)
            .unwrap()
            .unwrap();
        let mut found = store.read();
        let is_unusable = matches!(found, Found::Unusable(_));
        assert_eq!(is_unusable, std::mem::take(&mut self.is_damaged));
        if let Found::Files(checkpoint) = &mut found
            && std::mem::take(&mut self.is_upgrade)
        {
            checkpoint.is_old = true;
            checkpoint.written += LATER;
            checkpoint
                .files
                .retain(|_, file| *file.path == self.pattern);
        }
        let progress = Progress::default();
        let restored = Restored {
            found,
            others: store.read_others(self.host, None),
            progress: progress.clone(),
        };
        let settings = FileSettings {
            start: self.from,
            max_deleted: self.max_deleted,
            exclude: self
                .is_excluded
                .then(|| "audit.log".into())
                .into_iter()
                .collect(),
            ..FileSettings::default()
        };
        self.agent = Some(Agent {
            follower: Follower::new(&self.pattern, settings, self.max_open, Some(restored)),
            progress,
            store,
        });
        // The first look is the start's.
        if !self.started_once {
            self.started_once = true;
            self.step();
        }
    }

    fn end(&mut self, is_kill: bool) {
        if !is_kill && !self.hook.is_away {
            self.hook.deliver();
            self.commit();
        }
        self.agent = None;
        self.held.clear();
        self.seen.clear();
        self.hook.queued.clear();
        // The next queue starts from zero.
        (self.hook.position, self.hook.watermark, self.hook.last) = (0, 0, 0);
    }

    pub(super) fn apply(&mut self, op: Op) {
        match op {
            Op::Steps(count) => (0..count).for_each(|_| self.step()),
            Op::Settle => self.settle(),
            Op::Wait(seconds) => {
                for _ in 0..seconds {
                    self.clock += LATER / 4;
                    self.step();
                }
            }
            Op::Deliver => {
                self.hook.is_away = false;
                self.hook.deliver();
                self.commit();
            }
            Op::Outage => self.hook.is_away = true,
            Op::Switch => self.hook.is_off = !self.hook.is_off,
            Op::Respell => {
                let (path, glob) = (self.log(), self.logs().join("audit.log*"));
                self.pattern = if self.pattern == path { glob } else { path };
            }
            Op::Rehost => self.host = if self.host == "host" { "other" } else { "host" },
            Op::Beside => {
                let dir = self.dir.path().join("beside");
                fs::create_dir(&dir).unwrap();
                Self::append(&dir.join("audit.log"), &event(self.next));
                self.scattered.insert(self.next);
                self.next += 1;
                self.pattern = self.dir.path().join("*/*");
            }
            Op::Upgrade => self.is_upgrade = true,
            Op::Damage => {
                let store = Store::open(self.state.path(), self.host, &self.pattern).unwrap();
                fs::write(store.unwrap().path(), "{").unwrap();
                self.is_damaged = true;
            }
            Op::Break => self.break_open(),
            Op::Exclude => self.is_excluded = !self.is_excluded,
            Op::Stop => self.end(false),
            Op::Kill => {
                self.vague.append(&mut self.cut);
                self.end(true);
            }
            Op::Start => self.start(),
            Op::Unmount => {
                let (here, away) = (self.logs(), self.dir.path().join(".away"));
                let (from, to) = if away.exists() {
                    (away, here)
                } else {
                    (here, away)
                };
                fs::rename(from, to).unwrap();
            }
            Op::Maze => {
                let logs = self.logs();
                if logs.exists() {
                    self.apply(Op::Unmount);
                    std::os::unix::fs::symlink("log", logs).unwrap();
                } else {
                    fs::remove_file(logs).unwrap();
                    self.apply(Op::Unmount);
                }
            }
            _ if self.logs().exists() => self.apply_to_files(op),
            _ => {}
        }
    }

    /// Time passes, in which the agent looks at everything, though there may be no room for what it reads.
    fn settle(&mut self) {
        for _ in 0..4 {
            self.clock += LATER;
            self.step();
        }
        if self.agent.is_some() {
            self.seen = self.on_disk();
            self.known.extend(&self.seen);
        }
    }

    /// Whether the agent waits for changes.
    pub(super) fn is_idle(&self) -> bool {
        let agent = self.agent.as_ref();
        agent.is_some_and(|agent| agent.follower.pending.is_empty())
    }

    pub(super) fn follower(&self) -> &Follower {
        &self.agent.as_ref().unwrap().follower
    }

    /// How many files the agent keeps that are gone, and how many it has open.
    pub(super) fn kept(&self) -> (usize, usize) {
        let files = || self.follower().files.values();
        let gone = files().filter(|file| file.is_gone);
        (gone.count(), files().filter(|file| file.is_open()).count())
    }

    /// How long ago the oldest file with something unread was written to.
    pub(super) fn oldest_unread(&self) -> Duration {
        self.follower().oldest_unread()
    }

    /// Bytes that the agent knows of, and that are not final.
    pub(super) fn behind(&self) -> u64 {
        self.agent.as_ref().unwrap().progress.behind()
    }

    /// How many files are damaged, which is not reported yet.
    pub(super) fn damaged(&self) -> usize {
        self.follower().damaged.len()
    }

    /// Why a name can't be used.
    pub(super) fn trouble(&self, name: &str) -> Option<String> {
        self.follower().troubles.of(&self.logs().join(name))
    }

    /// Where the checkpoint says that files are.
    pub(super) fn known_names(&self) -> BTreeSet<String> {
        let Found::Files(checkpoint) = self.agent.as_ref().unwrap().store.read() else {
            return BTreeSet::new();
        };
        let files = checkpoint.files.into_values();
        let names = files.map(|file| file.path.file_name().unwrap().to_string_lossy().into());
        names.collect()
    }

    /// In the end everything works, and all arrives.
    pub(super) fn finish(&mut self) {
        self.hook.is_away = false;
        if !self.logs().exists() {
            self.apply(Op::Unmount);
        }
        self.hook.is_off = false;
        self.start();
        let mut idle = 0;
        while idle < 8 {
            let before = self.hook.position;
            self.step();
            self.hook.deliver();
            idle = if self.hook.position == before {
                idle + 1
            } else {
                0
            };
            self.clock += LATER / 8;
        }
    }
}
