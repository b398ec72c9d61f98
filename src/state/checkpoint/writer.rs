//! The thread that keeps the checkpoints: so that a state directory on a mount that hangs stops nothing.

use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::store::Found;
use super::{FileOffset, Progress, Store};
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

/// A checkpoint is written at most so often.
const INTERVAL: Duration = Duration::from_secs(1);
/// What it means if the directory hangs.
const IF_IT_HANGS: &str = "a start before it does would read again what has come since";

/// A `file:` source's memory of earlier starts, and for later ones.
#[derive(Debug)]
pub struct Restored {
    /// What the last start left.
    pub found: Found,
    /// Where this one writes what it reads.
    pub progress: Progress,
}

/// All sources' checkpoints.
#[derive(Debug)]
pub struct CheckpointWriter {
    kept: Vec<Entry>,
    /// What the operator should know at start: why a source has none, or has one that can't be used.
    pub notices: Vec<Message>,
}

#[derive(Debug)]
struct Entry {
    spec: String,
    store: Store,
    progress: Progress,
    /// What was written last, lengths aside.
    written: Option<Vec<FileOffset>>,
    is_failing: bool,
}

/// The running thread.
#[derive(Debug)]
pub struct Running {
    end: Sender<()>,
    ended: Receiver<()>,
}

/// Opens the checkpoints of all `file:` sources, in the order of the sources; of a dry run none.
///
/// # Errors
/// There is none to be had in a directory that was asked for.
pub fn open(
    options: &RunOptions,
    provenance: &Provenance,
) -> Result<(CheckpointWriter, Vec<Option<Restored>>), CommandError> {
    let mut keeper = CheckpointWriter {
        kept: Vec::new(),
        notices: Vec::new(),
    };
    let mut memories = Vec::new();
    for spec in &options.sources {
        let memory = match spec {
            Spec::File(path) if !options.dry_run => {
                match open_store(&options.state.state_dir, spec, path) {
                    Ok(store) => Some(keeper.keep(spec, store)),
                    Err(problem) => {
                        keeper.do_without(spec, problem, provenance)?;
                        None
                    }
                }
            }
            _ => None,
        };
        memories.push(memory);
    }
    Ok((keeper, memories))
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
    fn keep(&mut self, spec: &Spec, store: Store) -> Restored {
        let found = store.read();
        if let Found::Unusable(why) = &found {
            let path = store.path();
            self.notices.push(Message::CheckpointUnusable {
                path: path.display().to_string(),
                error: why.clone(),
                source: spec.to_string(),
            });
        }
        let progress = Progress::default();
        self.kept.push(Entry {
            spec: spec.to_string(),
            store,
            progress: progress.clone(),
            written: None,
            is_failing: false,
        });
        Restored { found, progress }
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

    /// Writes all of them for the first time, when the sources have found their files and before anything is read:
    /// a file that appears later is new, also to the next start.
    ///
    /// # Errors
    /// They can't be written to a directory that was asked for.
    pub fn write_first(&mut self, provenance: &Provenance) -> Result<(), CommandError> {
        for mut kept in std::mem::take(&mut self.kept) {
            match kept.write(0) {
                Ok(()) => self.kept.push(kept),
                // The last one stays in force until there is room.
                Err(error) if error.kind() == ErrorKind::StorageFull => {
                    self.notices.push(kept.failed(&error));
                    self.kept.push(kept);
                }
                Err(error) => {
                    let problem = OpenError::Wrong(unwritable(&kept.store.path(), &error));
                    self.do_without(&kept.spec, problem, provenance)?;
                }
            }
        }
        Ok(())
    }

    /// Keeps them from now on, if there are any, and says so where the directory does not answer.
    ///
    /// # Errors
    /// No more threads.
    pub fn start(self, stats: QueueStats, watchdog: Watchdog) -> io::Result<Option<Running>> {
        if self.kept.is_empty() {
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
        loop {
            let is_last = told.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout);
            let ended = stats.watermark();
            for kept in &mut self.kept {
                watchdog.state_dir(IF_IT_HANGS, || kept.write_and_tell(ended));
            }
            if is_last {
                return;
            }
        }
    }
}

impl Entry {
    /// Writes what has been passed now that so many events have ended, if that is not what was written last.
    fn write(&mut self, ended: u64) -> io::Result<()> {
        let places = self.progress.places(ended);
        let without_lengths = |place: &FileOffset| FileOffset {
            length: 0,
            ..place.clone()
        };
        let bare = Some(places.iter().map(without_lengths).collect());
        if self.written != bare {
            self.store.write(&places)?;
            self.written = bare;
        }
        Ok(())
    }

    fn write_and_tell(&mut self, ended: u64) {
        let result = self.write(ended);
        let was_failing = std::mem::replace(&mut self.is_failing, result.is_err());
        match result {
            Err(error) if !was_failing => self.failed(&error).log(),
            Ok(()) if was_failing => {
                let path = self.store.path().display().to_string();
                Message::CheckpointRestored { path }.log();
            }
            _ => {}
        }
    }

    /// Remembers and words that it can't be written for now.
    fn failed(&mut self, error: &io::Error) -> Message {
        self.is_failing = true;
        Message::CheckpointFailed {
            path: self.store.path().display().to_string(),
            error: error.to_string(),
        }
    }
}

impl Running {
    /// Has them written for the last time, when no more events end, and waits for that, but not for long.
    pub fn finish(self, patience: Duration) {
        // Never waits: there is room for this one.
        let _ = self.end.try_send(());
        let _ = self.ended.recv_timeout(patience);
    }
}
