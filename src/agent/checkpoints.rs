//! The thread that writes the checkpoints, so that a state directory on a mount that hangs blocks nothing else.

use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};

use crate::buffer::queue::QueueStats;
use crate::config::error::CommandError;
use crate::config::opt::Opt;
use crate::config::options::RunOptions;
use crate::config::provenance::{Origin, Provenance};
use crate::source::{FileStart, Spec};
use crate::state;
use crate::state::checkpoint::{FileOffset, Found, Progress, Restored, Store};
use crate::sys::host;
use crate::sys::thread::Worker;
use crate::telemetry::message::Message;
use crate::telemetry::resumes::Resumes;
use crate::telemetry::watchdog::Watchdog;

/// How often what has become final is written, if anything has: after a kill, events final since then are repeated.
const INTERVAL: Duration = Duration::from_millis(20);
/// How often it is synced to disk: after a power failure, events final since then are repeated.
const SYNC: Duration = Duration::from_secs(1);
/// How soon one that failed is tried again: until its first checkpoint, a restart does not know of files that were
/// renamed.
const RETRY: Duration = Duration::from_millis(200);
/// How many times as long as an attempt took passes before the next: a large checkpoint takes long.
const PAUSE: u32 = 10;
/// What it means if the directory hangs.
const IF_IT_HANGS: &str =
    "until it answers, a restart would read again what has been delivered since";

/// What a `file:` source gets of this.
#[derive(Debug)]
pub(super) struct Memory {
    /// What earlier starts left; the source reads nothing before it has this.
    pub(super) restored: Receiver<Restored>,
    /// The next start reads again what was not delivered.
    pub(super) resumes: Resumes,
}

/// All sources' checkpoints.
#[derive(Debug)]
pub(super) struct CheckpointWriter {
    dir: PathBuf,
    entries: Vec<Entry>,
    /// Sent to when there is something to write again.
    wake: Sender<()>,
    woken: Receiver<()>,
    /// What the operator should know at start: why a source has none, or has one that can't be used.
    pub(super) notices: Vec<Message>,
}

#[derive(Debug)]
struct Entry {
    spec: Spec,
    path: PathBuf,
    /// `None` while the state directory is waited for.
    store: Option<Store>,
    progress: Progress,
    /// Where the next start begins if there is no checkpoint.
    start: FileStart,
    resumes: Resumes,
    /// To the source, which reads nothing before this.
    restored: Sender<Restored>,
    /// The whole checkpoint is rewritten the next time.
    is_stale: bool,
    /// The last attempt has failed; when to try again.
    retry_at: Option<Instant>,
    /// It was logged that another agent has the store.
    is_refused: bool,
}

/// Opens the checkpoints of all `file:` sources, in the order of the sources; a dry run reads and writes none. Returns
/// for each source what it knows, which arrives later if the state directory does; and whether it resumes, which it
/// does not without a checkpoint.
///
/// # Errors
/// The directory was set explicitly, and can't be used.
pub(super) fn open(
    options: &RunOptions,
    provenance: &Provenance,
) -> Result<(CheckpointWriter, Vec<Option<Memory>>), CommandError> {
    let (wake, woken) = bounded(1);
    let mut writer = CheckpointWriter {
        dir: options.spool.dir.state.state_dir.clone(),
        entries: Vec::new(),
        wake,
        woken,
        notices: Vec::new(),
    };
    let mut all = Vec::new();
    for spec in &options.sources {
        all.push(match spec {
            Spec::File(path) if !options.dry_run => {
                Some(writer.add(spec, path, options.file_start, provenance)?)
            }
            _ => None,
        });
    }
    Ok((writer, all))
}

/// The store of a source; `None` if another agent has it.
fn open_store(dir: &Path, path: &Path) -> io::Result<Option<Store>> {
    state::create_dir(dir)?;
    Store::open(dir, &state::file_name(&host::name()), path)
}

/// How long to wait after a failed attempt that took this long.
fn pause_after(took: Duration) -> Duration {
    RETRY.max(took * PAUSE)
}

impl CheckpointWriter {
    fn add(
        &mut self,
        spec: &Spec,
        path: &Path,
        start: FileStart,
        provenance: &Provenance,
    ) -> Result<Memory, CommandError> {
        let dir = self.dir.display();
        let option = provenance.name(Opt::StateDir);
        let (restored, receiver) = bounded(1);
        let mut entry = Entry {
            spec: spec.clone(),
            path: path.to_owned(),
            store: None,
            progress: Progress::waking(self.wake.clone()),
            start,
            resumes: (start == FileStart::Beginning).into(),
            restored,
            is_stale: true,
            retry_at: None,
            is_refused: false,
        };
        let is_default = provenance.origin(Opt::StateDir) == Origin::Default;
        let problem = match open_store(&self.dir, path) {
            Ok(Some(store)) => {
                self.notices.extend(entry.restore(store));
                None
            }
            // A directory that was set explicitly is waited for.
            Err(_) if !is_default => None,
            Ok(None) => {
                let problem = format!("{dir}: another agent keeps its checkpoint of {spec} there");
                if !is_default {
                    return Err(CommandError::Failed(format!(
                        "{option}: {problem}; fix: give each agent its own"
                    )));
                }
                Some(problem)
            }
            Err(error) => Some(format!("{dir}: can't be written to: {error}")),
        };
        let resumes = entry.resumes.clone();
        match problem {
            None => self.entries.push(entry),
            Some(error) => {
                resumes.set(false);
                entry.tell(Found::Nothing, Vec::new());
                let source = spec.to_string();
                self.notices.push(Message::NoCheckpoint {
                    source,
                    start: start.name(),
                    error,
                    option,
                });
            }
        }
        Ok(Memory {
            restored: receiver,
            resumes,
        })
    }

    /// Writes them from now on, if there are any, and for the last time when it is told to end. Logs it if the directory
    /// does not respond.
    ///
    /// # Errors
    /// No more threads can be started.
    pub(super) fn start(self, stats: QueueStats, watchdog: Watchdog) -> io::Result<Option<Worker>> {
        if self.entries.is_empty() {
            return Ok(None);
        }
        Worker::start("checkpoint", move |end| self.run(&stats, end, &watchdog)).map(Some)
    }

    fn run(mut self, stats: &QueueStats, end: &Receiver<()>, watchdog: &Watchdog) {
        stats.wake_when_it_rises(self.wake.clone());
        let mut synced = Instant::now();
        let mut written = synced;
        loop {
            let is_failing = self.entries.iter().any(|entry| entry.retry_at.is_some());
            let is_last = select! {
                recv(end) -> _ => true,
                recv(self.woken) -> _ => false,
                default(if is_failing { RETRY } else { SYNC }) => false,
            };
            if !is_last {
                thread::sleep(INTERVAL.saturating_sub(written.elapsed()));
            }
            written = Instant::now();
            let is_due = is_last || synced.elapsed() >= SYNC;
            if is_due {
                synced = Instant::now();
            }
            let watermark = stats.watermark();
            for entry in &mut self.entries {
                watchdog.dir(IF_IT_HANGS, || {
                    if is_due {
                        entry.look_for_store(&self.dir);
                    }
                    entry.write_and_log(watermark, is_due);
                });
            }
            if is_last {
                return;
            }
        }
    }
}

impl Entry {
    /// Tells the source what the last start left. Returns what the operator should know about that.
    fn restore(&mut self, store: Store) -> Option<Message> {
        let found = store.read();
        let path = store.path().display().to_string();
        let source = self.spec.to_string();
        let mut since = None;
        let notice = match &found {
            Found::Unusable(error) => Some(Message::CheckpointUnusable {
                path,
                error: error.clone(),
                source,
            }),
            Found::Files(checkpoint) => {
                since = Some(checkpoint.written);
                (checkpoint.damaged > 0).then_some(Message::CheckpointDamaged {
                    path,
                    records: checkpoint.damaged,
                    source,
                })
            }
            Found::Nothing => None,
        };
        let others = match &found {
            Found::Unusable(_) => Vec::new(),
            _ => store.read_others(&state::file_name(&host::name()), since),
        };
        self.store = Some(store);
        self.look_whether_it_resumes();
        self.tell(found, others);
        notice
    }

    fn tell(&self, found: Found, others: Vec<FileOffset>) {
        // There is room for this message; the source may have ended.
        let _ = self.restored.try_send(Restored {
            found,
            others,
            progress: self.progress.clone(),
        });
    }

    /// Opens the store, if the state directory is there now.
    fn look_for_store(&mut self, dir: &Path) {
        if self.store.is_some() {
            return;
        }
        let notice = match open_store(dir, &self.path) {
            Ok(Some(store)) => self.restore(store),
            Ok(None) if !std::mem::replace(&mut self.is_refused, true) => {
                Some(Message::CheckpointAwaited {
                    dir: dir.display().to_string(),
                    source: self.spec.to_string(),
                })
            }
            _ => None,
        };
        if let Some(notice) = notice {
            notice.log();
        }
    }

    /// Writes what has changed now that all events below `watermark` are final; with `sync`, also what has only grown,
    /// and syncs it to disk.
    fn write(&mut self, watermark: u64, sync: bool) -> io::Result<()> {
        let Some(store) = &mut self.store else {
            return Ok(());
        };
        let changes = self.progress.commit(watermark, sync);
        if !changes.is_empty() && !self.is_stale {
            self.is_stale = !store.append(&changes)?;
        }
        if sync && !self.is_stale {
            self.is_stale = !store.sync()?;
        }
        if self.is_stale {
            let written = store.rewrite(&self.progress);
            self.look_whether_it_resumes();
            written?;
            self.is_stale = false;
        }
        Ok(())
    }

    /// Without a checkpoint, the next start may begin behind what was not delivered.
    fn look_whether_it_resumes(&self) {
        let is_there = |store: &Store| store.path().try_exists();
        // One that can't be looked at is as it was.
        if let Ok(is_there) = self.store.as_ref().map_or(Ok(false), is_there) {
            self.resumes
                .set(self.start == FileStart::Beginning || is_there);
        }
    }

    fn write_and_log(&mut self, watermark: u64, sync: bool) {
        let began = Instant::now();
        let must_wait = self.retry_at.is_some_and(|at| began < at) && !sync;
        if !self.progress.is_ready() || must_wait {
            return;
        }
        let result = self.write(watermark, sync);
        self.is_stale |= result.is_err();
        let was_failing = self.retry_at.is_some();
        let now = Instant::now();
        let failed = result.is_err().then(|| now.duration_since(began));
        self.retry_at = failed.map(|took| now + pause_after(took));
        let Some(store) = &self.store else { return };
        let path = store.path().display().to_string();
        match result {
            Err(error) if !was_failing => {
                let error = error.to_string();
                let effect = match self.resumes.get() {
                    true => "sends events since the last one again",
                    false => "begins at the end of each file, as there is none",
                };
                Message::CheckpointFailed {
                    path,
                    error,
                    effect,
                }
                .log();
            }
            Ok(()) if was_failing => Message::CheckpointRestored { path }.log(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
