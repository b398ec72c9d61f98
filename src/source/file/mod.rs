//! `file:PATH` and `file:GLOB`: follows files as they grow, are renamed and made anew, copied and truncated, come
//! and go; and goes on from where an earlier start has come to.
//!
//! Polling, not inotify, because that works on network mounts too. The delay grows while nothing
//! happens.

mod pattern;
mod reader;
mod resume;
mod tracked;
mod watch;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::pattern::Pattern;
use self::resume::{Missing, Resumed};
use self::tracked::Tracked;
use self::watch::Watch;
use super::{FileStart, OpenError, Source, SourceOutput};
use crate::state::checkpoint::{FileOffset, Found, Progress, Reached, Restored};
use crate::sys::shutdown::ShutdownSignal;

const LOOK_MIN: Duration = Duration::from_millis(10);
const LOOK_MAX: Duration = Duration::from_millis(500);
/// Of many files, looking at one may take so much of the time.
const LOOK_ONE: Duration = Duration::from_micros(100);

/// The files that are followed.
pub(super) struct Follow {
    /// In the order in which they are read.
    files: Vec<Tracked>,
    watch: Arc<Mutex<Watch>>,
    is_glob: bool,
    /// The files of an earlier start that may come back, with their numbers.
    awaited: Vec<(u64, FileOffset)>,
    /// What the reader tells to later starts.
    progress: Option<Progress>,
    /// For the log, when there is one.
    notices: Vec<Missing>,
}

impl Follow {
    /// A file that is not there yet is no error; one that can't be read is.
    pub(super) fn open(
        path: &Path,
        start: FileStart,
        memory: Option<Restored>,
    ) -> Result<Self, OpenError> {
        let wrong = |error: io::Error| OpenError::Wrong(format!("can't be read: {error}"));
        let pattern = Pattern::new(path);
        if !pattern.directory().is_dir() {
            return Err(OpenError::Wrong("its directory does not exist".into()));
        }
        let mut watch = Watch::new(pattern);
        let (found, progress) = match memory {
            Some(memory) => (memory.found, Some(memory.progress)),
            None => (Found::Nothing, None),
        };
        let is_first = found == Found::Nothing;
        let mut resumed = match found {
            Found::Places(places) => resume::find(places, &mut watch).map_err(wrong)?,
            _ => Resumed::default(),
        };
        watch.look().map_err(wrong)?;
        let mut new = watch.take_found();
        if is_first && start == FileStart::End {
            for file in &mut new {
                file.skip_to_end().map_err(wrong)?;
                if watch.pattern.is_glob() {
                    file.close();
                }
            }
        }
        resumed.files.extend(new);
        let awaited = resumed.awaited.into_iter();
        let awaited: Vec<_> = awaited.map(|place| (watch.number(), place)).collect();
        let follow = Follow {
            files: resumed.files,
            awaited,
            is_glob: watch.pattern.is_glob(),
            watch: Arc::new(Mutex::new(watch)),
            progress,
            notices: resumed.notices,
        };
        if let Some(progress) = &follow.progress {
            for file in &follow.files {
                progress.start(file.number, file.reached());
                file.tell(progress);
            }
            for (number, place) in &follow.awaited {
                let reached = Reached {
                    offset: place.offset,
                    fingerprint: place.fingerprint,
                };
                progress.start(*number, reached);
                progress.seen(*number, &place.name, place.inode, place.length);
            }
        }
        Ok(follow)
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        lock(&self.watch)
    }
}

fn lock(watch: &Mutex<Watch>) -> MutexGuard<'_, Watch> {
    watch.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Source for Follow {
    fn is_lasting(&self) -> bool {
        true
    }

    fn run(mut self: Box<Self>, mut output: SourceOutput, stop: &ShutdownSignal) {
        for notice in &self.notices {
            notice.log(output.name());
        }
        let watch = Arc::clone(&self.watch);
        output.while_waiting(move || {
            // What can't be looked at now is told by the reader's next look.
            let _ = lock(&watch).look();
        });
        let mut delay = LOOK_MIN;
        loop {
            match self.step(&mut output, stop) {
                Ok(true) => delay = LOOK_MIN,
                Ok(false) => delay = (delay * 2).min(LOOK_MAX),
                Err(error) => {
                    output.failed(&error.to_string());
                    delay = LOOK_MAX;
                }
            }
            output.flush();
            let files = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
            // Half an event at a file's end is not one yet: the next start reads it when it is whole.
            if stop.wait(delay.max(LOOK_ONE.saturating_mul(files).min(LOOK_MAX))) {
                return;
            }
        }
    }
}
