//! The thread that writes the checkpoints: so that a state directory on a mount that hangs stops nothing.

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::file_offset::FileOffset;
use super::progress::Progress;
use super::store::{Found, Store};
use crate::buffer::queue::QueueStats;
use crate::config::error::CommandError;
use crate::config::opt::Opt;
use crate::config::options::RunOptions;
use crate::config::provenance::{Origin, Provenance};
use crate::source::{OpenError, Spec};
use crate::state;
use crate::sys::host;
use crate::telemetry::message::Message;
use crate::telemetry::watchdog::Watchdog;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

/// What has become final is written so often: a kill repeats what did in between.
const INTERVAL: Duration = Duration::from_millis(20);
/// It is on disk so often: a power failure repeats what became final in between.
const SYNC: Duration = Duration::from_secs(1);
/// What it means if the directory hangs.
const IF_IT_HANGS: &str = "a start before it does would read again what has come since";

/// What a `file:` source knows of earlier starts, and where it notes its own progress.
#[derive(Debug)]
pub struct Restored {
    /// What the last start left.
    pub found: Found,
    /// What other sources left that are not in use any more: the same files under another pattern.
    pub others: Vec<FileOffset>,
    /// Where this one notes how far it has come.
    pub progress: Progress,
}

/// All sources' checkpoints.
#[derive(Debug)]
pub struct CheckpointWriter {
    entries: Vec<Entry>,
    /// What the operator should know at start: why a source has none, or has one that can't be used.
    pub notices: Vec<Message>,
}

#[derive(Debug)]
struct Entry {
    store: Store,
    progress: Progress,
    /// It is written as a whole the next time.
    is_stale: bool,
    is_failing: bool,
}

/// The running thread.
#[derive(Debug)]
pub struct Running {
    end: Sender<()>,
    ended: Receiver<()>,
}

/// Opens the checkpoints of all `file:` sources, in the order of the sources; a dry run reads and writes none.
///
/// # Errors
/// There is none to be had in a directory that was asked for.
pub fn open(
    options: &RunOptions,
    provenance: &Provenance,
) -> Result<(CheckpointWriter, Vec<Option<Restored>>), CommandError> {
    let mut writer = CheckpointWriter {
        entries: Vec::new(),
        notices: Vec::new(),
    };
    let mut all = Vec::new();
    for spec in &options.sources {
        let restored = match spec {
            Spec::File(path) if !options.dry_run => {
                match open_store(&options.spool.dir.state.state_dir, spec, path) {
                    Ok(store) => Some(writer.add(spec, store)),
                    Err(problem) => {
                        writer.do_without(spec, problem, provenance)?;
                        None
                    }
                }
            }
            _ => None,
        };
        all.push(restored);
    }
    Ok((writer, all))
}

fn open_store(dir: &Path, spec: &Spec, path: &Path) -> Result<Store, OpenError> {
    let host = state::file_name(&host::name());
    match state::create_dir(dir).and_then(|()| Store::open(dir, &host, path)) {
        Ok(Some(store)) => Ok(store),
        Ok(None) => Err(OpenError::InUse(format!(
            "{}: another agent keeps its checkpoint of {spec} there",
            dir.display()
        ))),
        Err(error) => Err(OpenError::Wrong(unwritable(dir, &error))),
    }
}

fn unwritable(path: &Path, error: &io::Error) -> String {
    format!("{}: can't be written to: {error}", path.display())
}

impl CheckpointWriter {
    fn add(&mut self, spec: &Spec, store: Store) -> Restored {
        let found = store.read();
        let path = store.path();
        let mut since = None;
        match &found {
            Found::Unusable(reason) => self.notices.push(Message::CheckpointUnusable {
                path: path.display().to_string(),
                error: reason.clone(),
                source: spec.to_string(),
            }),
            Found::Files(checkpoint) => {
                since = Some(checkpoint.written);
                if checkpoint.damaged > 0 {
                    self.notices.push(Message::CheckpointDamaged {
                        path: path.display().to_string(),
                        records: checkpoint.damaged,
                        source: spec.to_string(),
                    });
                }
            }
            Found::Nothing => {}
        }
        let others = match &found {
            Found::Unusable(_) => Vec::new(),
            _ => store.read_others(&state::file_name(&host::name()), since),
        };
        let progress = Progress::default();
        self.entries.push(Entry {
            store,
            progress: progress.clone(),
            is_stale: true,
            is_failing: false,
        });
        Restored {
            found,
            others,
            progress,
        }
    }

    /// A directory that was asked for must work; the default one need not.
    fn do_without(
        &mut self,
        spec: &impl Display,
        problem: OpenError,
        provenance: &Provenance,
    ) -> Result<(), CommandError> {
        let is_default = provenance.origin(Opt::StateDir) == Origin::Default;
        match problem {
            OpenError::Wrong(what) | OpenError::InUse(what) if is_default => {
                self.notices.push(Message::NoCheckpoint {
                    source: spec.to_string(),
                    error: what,
                    option: provenance.name(Opt::StateDir),
                });
                Ok(())
            }
            OpenError::Wrong(what) => Err(provenance.error(Opt::StateDir, what).into()),
            OpenError::InUse(what) => {
                let name = provenance.name(Opt::StateDir);
                Err(CommandError::Failed(format!("{name}: {what}")))
            }
        }
    }

    /// The progress of all sources that have one.
    pub fn progresses(&self) -> Vec<Progress> {
        let entries = self.entries.iter();
        entries.map(|entry| entry.progress.clone()).collect()
    }

    /// Writes them from now on, if there are any, and says so where the directory does not answer.
    ///
    /// # Errors
    /// No more threads.
    pub fn start(self, stats: QueueStats, watchdog: Watchdog) -> io::Result<Option<Running>> {
        if self.entries.is_empty() {
            return Ok(None);
        }
        let (end, told) = bounded(1);
        let (alive, ended) = bounded(0);
        thread::Builder::new()
            .name("checkpoint".into())
            .spawn(move || {
                self.run(&stats, &told, &watchdog);
                drop(alive);
            })?;
        Ok(Some(Running { end, ended }))
    }

    fn run(mut self, stats: &QueueStats, told: &Receiver<()>, watchdog: &Watchdog) {
        let mut synced = Instant::now();
        loop {
            let is_last = told.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout);
            let is_due = is_last || synced.elapsed() >= SYNC;
            if is_due {
                synced = Instant::now();
            }
            let watermark = stats.watermark();
            for entry in &mut self.entries {
                watchdog.state_dir(IF_IT_HANGS, || entry.write_and_log(watermark, is_due));
            }
            if is_last {
                return;
            }
        }
    }
}

impl Entry {
    /// Writes what has changed now that all events below `watermark` are final; with `sync` also what only grew, and
    /// has it on disk.
    fn write(&mut self, watermark: u64, sync: bool) -> io::Result<()> {
        let changes = self.progress.commit(watermark, sync);
        if !changes.is_empty() && !self.is_stale {
            self.is_stale = !self.store.append(&changes)?;
        }
        if sync && !self.is_stale {
            self.is_stale = !self.store.sync()?;
        }
        if self.is_stale {
            self.store.rewrite(&self.progress)?;
            self.is_stale = false;
        }
        Ok(())
    }

    fn write_and_log(&mut self, watermark: u64, sync: bool) {
        // One that fails is tried again once a second.
        if !self.progress.is_ready() || (self.is_failing && !sync) {
            return;
        }
        let result = self.write(watermark, sync);
        self.is_stale |= result.is_err();
        let was_failing = std::mem::replace(&mut self.is_failing, result.is_err());
        let path = self.store.path().display().to_string();
        match result {
            Err(error) if !was_failing => {
                let error = error.to_string();
                Message::CheckpointFailed { path, error }.log();
            }
            Ok(()) if was_failing => Message::CheckpointRestored { path }.log(),
            _ => {}
        }
    }
}

impl Running {
    /// Has them written for the last time, when no more events become final, and waits for that, but not for long.
    pub fn finish(self, patience: Duration) {
        // Never waits: there is room for this one.
        let _ = self.end.try_send(());
        let _ = self.ended.recv_timeout(patience);
    }
}
