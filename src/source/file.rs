//! `file:PATH`: follows a file as it grows, is renamed and made anew, or is copied and truncated.
//!
//! Polling, not inotify, because that works on network mounts too. The delay grows while nothing
//! happens.

use std::collections::VecDeque;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use log::info;

use super::{Intake, OpenError, Source, stream};
use crate::framer::Framer;
use crate::stop::Stop;

const LOOK_MIN: Duration = Duration::from_millis(10);
const LOOK_MAX: Duration = Duration::from_millis(500);

/// A file that is followed.
pub(super) struct Follow {
    /// The file that is being read, absent until there is one.
    current: Option<Current>,
    watch: Arc<Mutex<Watch>>,
}

/// The files that have been at the path and were not read yet. They are opened when they are seen, also while
/// the reader waits for room: they may be renamed, and renamed again, before it comes to them.
struct Watch {
    path: PathBuf,
    /// The one that was opened last.
    latest: Option<Identity>,
    opened: VecDeque<Current>,
}

struct Current {
    file: File,
    identity: Identity,
    offset: u64,
}

/// What stays the same when a file is renamed.
#[derive(PartialEq, Eq, Clone, Copy)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(found: &Metadata) -> Self {
        Identity {
            device: found.dev(),
            inode: found.ino(),
        }
    }
}

impl Follow {
    /// A file that is not there yet is no error; one that can't be read is.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let mut watch = Watch {
            path: path.into(),
            latest: None,
            opened: VecDeque::new(),
        };
        watch
            .look()
            .map_err(|error| OpenError::Wrong(format!("can't be read: {error}")))?;
        let current = watch.opened.pop_front();
        let directory = path
            .parent()
            .filter(|directory| *directory != Path::new(""));
        if current.is_none() && directory.is_some_and(|directory| !directory.is_dir()) {
            return Err(OpenError::Wrong("its directory does not exist".into()));
        }
        Ok(Follow {
            current,
            watch: Arc::new(Mutex::new(watch)),
        })
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// Opens the file that has taken the path's place, if there is something in it. Until then the
    /// writer may go on with the old one, as one does that only later is told to open its log anew.
    fn look(&mut self) -> io::Result<()> {
        let found = match fs::metadata(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        let is_new = self.latest != Some(Identity::of(&found));
        if is_new && (found.len() > 0 || self.latest.is_none()) {
            let opened = Current::open(&self.path)?;
            self.latest = opened
                .as_ref()
                .map(|opened| opened.identity)
                .or(self.latest);
            self.opened.extend(opened);
        }
        Ok(())
    }
}

impl Current {
    fn open(path: &Path) -> io::Result<Option<Self>> {
        // Opening a FIFO would wait for a writer.
        match fs::metadata(path) {
            Ok(found) if !found.is_file() => {
                return Err(io::Error::other(
                    "it is no regular file; for a FIFO use stdin, for a socket unix:PATH",
                ));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            _ => {}
        }
        let file = File::open(path)?;
        let identity = Identity::of(&file.metadata()?);
        Ok(Some(Current {
            file,
            identity,
            offset: 0,
        }))
    }

    /// Starts again if the file is shorter than what was read of it: copied and truncated.
    fn rewind_if_truncated(&mut self) -> io::Result<bool> {
        let truncated = self.file.metadata()?.len() < self.offset;
        if truncated {
            self.file.seek(SeekFrom::Start(0))?;
            self.offset = 0;
        }
        Ok(truncated)
    }

    /// Reads to the end as it is now. True if there was something.
    fn read(&mut self, framer: &mut Framer, intake: &mut Intake, stop: &Stop) -> io::Result<bool> {
        let before = self.offset;
        while !stop.is_given() {
            let count = stream::read_once(&mut self.file, framer, intake)?;
            self.offset += count as u64;
            if count == 0 {
                break;
            }
        }
        Ok(self.offset > before)
    }
}

impl Source for Follow {
    fn is_lasting(&self) -> bool {
        true
    }

    fn run(mut self: Box<Self>, mut intake: Intake, stop: &Stop) {
        let watch = Arc::clone(&self.watch);
        intake.while_waiting(move || {
            // What can't be looked at now is told by the reader's next look.
            let _ = watch.lock().unwrap_or_else(PoisonError::into_inner).look();
        });
        let mut framer = intake.framer();
        let mut delay = LOOK_MIN;
        loop {
            match self.step(&mut framer, &mut intake, stop) {
                Ok(true) => delay = LOOK_MIN,
                Ok(false) => delay = (delay * 2).min(LOOK_MAX),
                Err(error) => {
                    intake.failed(&error.to_string());
                    delay = LOOK_MAX;
                }
            }
            intake.flush();
            if stop.wait(delay) {
                intake.take_cut_off(&mut framer);
                return;
            }
        }
    }
}

impl Follow {
    /// Reads what there is, then goes on to the next file if there is one. True if there may be more
    /// to read at once.
    fn step(&mut self, framer: &mut Framer, intake: &mut Intake, stop: &Stop) -> io::Result<bool> {
        // Looked at before reading: what its writer has put into the old file before making the
        // new one is read before the new one.
        let looked = self.watch().look();
        let more = match &mut self.current {
            None => false,
            Some(current) => {
                if current.rewind_if_truncated()? {
                    info!(
                        "{} was truncated; reading it from its beginning",
                        intake.name()
                    );
                    intake.take_last(framer);
                }
                current.read(framer, intake, stop)?
            }
        };
        // A successor that can't be opened leaves the old file to be read on.
        looked?;
        let next = self.watch().opened.pop_front();
        if self.current.is_some() || next.is_some() {
            intake.worked();
        }
        if next.is_none() || stop.is_given() {
            return Ok(more);
        }
        if self.current.is_some() {
            info!("{} was replaced; reading the new one", intake.name());
            intake.take_last(framer);
        }
        self.current = next;
        Ok(true)
    }
}
