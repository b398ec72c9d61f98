//! A running spool, and its handles: for sources, for the queue, and to start and end it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};

use super::feed::Feed;
use super::files::Files;
use super::group::{Appended, SyncMode, result_of};
use super::noting::Noted;
use super::overdue::Overdue;
use super::position::Position;
use super::reread::Rereader;
use super::shared::Shared;
use super::upkeep::{self, Upkeep};
use crate::buffer::chunk::{Chunk, Extent};
use crate::buffer::queue::{Producer, QueueStats};
use crate::sys::shutdown::ShutdownSignal;
use crate::sys::thread;
use crate::telemetry::Report;
use crate::telemetry::resumes::Resumes;
use crate::telemetry::watchdog::Watchdog;

/// How a spool is configured.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its directory.
    pub path: PathBuf,
    /// How many bytes it may take on disk, apart from one segment.
    pub limit: u64,
    /// When written events are on disk.
    pub sync: SyncMode,
}

/// A running spool. Clones share it.
#[derive(Debug, Clone)]
pub struct Spool(Arc<Shared>);

/// The spool's own threads.
#[derive(Debug)]
pub struct Running {
    spool: Spool,
    ended: Receiver<()>,
}

/// A source's end of the spool. When all of them are dropped, no more events come.
#[derive(Debug)]
pub struct Appender {
    shared: Arc<Shared>,
    source: usize,
}

impl Spool {
    /// Starts a spool with the files that were found, or with the reason why it can't be used yet.
    ///
    /// # Errors
    /// No more threads.
    pub fn start(
        settings: &Settings,
        files: io::Result<Files>,
        stats: QueueStats,
        report: Arc<Report>,
        watchdog: Watchdog,
    ) -> io::Result<Running> {
        let path = settings.path.display().to_string();
        let watchdog = watchdog.of(&settings.path);
        let shared = Shared::new(path, settings.limit, settings.sync, report, watchdog);
        let (mut position, mut lock, mut at) = (None, None, Position::default());
        let mut state = shared.lock();
        match files {
            Ok(mut files) => {
                shared.install(&mut state, &mut files);
                at = files.position.at();
                (position, lock) = (Some(files.position), Some(files.lock));
            }
            Err(error) => shared.fail(&mut state, result_of(&error), Some(&error)),
        }
        drop(state);
        let shared = Arc::new(shared);
        let path = settings.path.clone();
        let upkeep = Upkeep {
            shared: Arc::clone(&shared),
            stats,
            open: Box::new(move || Files::open(&path)?.ok_or(io::ErrorKind::ResourceBusy.into())),
            position,
            id: 0,
            lock,
            noted: Noted::at(at),
            overdue: Overdue::new(Instant::now()),
            left: Vec::new(),
        };
        upkeep.report();
        let (alive, ended) = bounded(0);
        let (of_writer, also_alive) = (Arc::clone(&shared), alive.clone());
        thread::spawn("spool-write", move || {
            upkeep::write(&of_writer);
            drop(also_alive);
        })?;
        thread::spawn("spool-sync", move || {
            upkeep.run();
            drop(alive);
        })?;
        Ok(Running {
            spool: Spool(shared),
            ended,
        })
    }

    /// An appender for the source at this place in the report.
    pub fn appender(&self, source: usize) -> Appender {
        self.0.lock().appenders += 1;
        Appender {
            shared: Arc::clone(&self.0),
            source,
        }
    }

    /// Whether the next start finds what is not delivered.
    pub fn resumes(&self) -> Resumes {
        self.0.resumes.clone()
    }

    /// For a sender.
    pub fn rereader(&self) -> Rereader {
        Rereader::new(Arc::clone(&self.0))
    }

    /// Passes the spool's events to the queue until all sources have ended and everything was read, or until the agent
    /// stops: what is left then, if it is more than `last_events`, waits for the next start.
    pub fn feed(&self, producer: Producer, stop: ShutdownSignal, last_events: usize) {
        let feed = Feed {
            shared: Arc::clone(&self.0),
            producer,
            stop,
            last_events,
        };
        feed.run();
    }
}

impl Running {
    /// The spool.
    pub fn spool(&self) -> &Spool {
        &self.spool
    }

    /// Ends the threads when nothing more becomes final, and waits for that, but not for long. Returns how many events
    /// of the spool were not passed to the queue and are found by the next start.
    pub fn finish(self, patience: Duration) -> usize {
        let shared = &self.spool.0;
        shared.lock().is_ending = true;
        shared.unwritten.notify_all();
        shared.unsynced.notify_all();
        let _ = self.ended.recv_timeout(patience);
        let state = shared.lock();
        // Their sources do not read them again.
        shared.never_written(state.unwritten());
        if state.must_reopen {
            let acked = shared.marks().advance(0);
            shared.hidden(state.undelivered(acked), state.unread());
            return 0;
        }
        usize::try_from(state.unread()).unwrap_or(usize::MAX)
    }
}

impl Appender {
    /// Appends what is in `chunk`, which is counted as received already, without waiting until it is written.
    pub fn append(&self, chunk: &mut Chunk) -> Appended {
        self.shared.append(chunk, self.source, false)
    }

    /// Appends all of `chunk` or nothing, and counts it as received. Returns when it is as safe as promised.
    pub fn append_and_wait(&self, chunk: &mut Chunk) -> Appended {
        self.shared.append(chunk, self.source, true)
    }

    /// Whether this much could ever be taken at once.
    pub fn could_take(&self, extent: Extent) -> bool {
        self.shared.could_take(extent.bytes)
    }

    /// Whether nothing is taken now: the limit is reached, or the disk fails.
    pub fn takes_nothing(&self) -> bool {
        self.shared.lock().is_in_trouble()
    }

    /// The longest line that is taken.
    pub fn max_line(&self) -> usize {
        usize::try_from(self.shared.limit / 2).unwrap_or(usize::MAX)
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        self.shared.lock().appenders -= 1;
        self.shared.unread.notify_all();
    }
}
