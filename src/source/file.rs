//! `file:PATH`: follows a file as it grows, is renamed and made anew, or is copied and truncated.
//!
//! Polling, not inotify, because that works on network mounts too. The delay grows while nothing
//! happens.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::info;

use super::{Intake, OpenError, Source, stream};
use crate::framer::Framer;
use crate::stop::Stop;

const LOOK_MIN: Duration = Duration::from_millis(10);
const LOOK_MAX: Duration = Duration::from_millis(500);

/// A file that is followed.
pub(super) struct Follow {
    path: PathBuf,
    /// The file that is being read, absent until there is one.
    current: Option<Current>,
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
        let wrong = |error: io::Error| OpenError::Wrong(format!("can't be read: {error}"));
        let current = Current::open(path).map_err(wrong)?;
        if current.is_none()
            && !path
                .parent()
                .is_none_or(|dir| dir == Path::new("") || dir.is_dir())
        {
            return Err(OpenError::Wrong("its directory does not exist".into()));
        }
        Ok(Follow {
            path: path.into(),
            current,
        })
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
}

impl Source for Follow {
    fn is_lasting(&self) -> bool {
        true
    }

    fn run(mut self: Box<Self>, mut intake: Intake, stop: &Stop) {
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
    /// Reads what there is, then looks whether the file was replaced or truncated. True if there
    /// may be more to read at once.
    fn step(&mut self, framer: &mut Framer, intake: &mut Intake, stop: &Stop) -> io::Result<bool> {
        let Some(current) = &mut self.current else {
            self.current = Current::open(&self.path)?;
            if self.current.is_some() {
                intake.worked();
            }
            return Ok(self.current.is_some());
        };
        // Looked at before reading: what its writer has put into the old file before making the
        // new one is read before the new one. Opened at once, since it may be renamed too by then.
        let successor = successor(&self.path, current.identity);
        if current.rewind_if_truncated()? {
            info!(
                "{} was truncated; reading it from its beginning",
                self.path.display()
            );
            intake.take_last(framer);
        }
        let before = current.offset;
        while !stop.is_given() {
            let count = stream::read_once(&mut current.file, framer, intake)?;
            current.offset += count as u64;
            if count == 0 {
                break;
            }
        }
        let more = current.offset > before;
        // A successor that can't be opened leaves the old file to be read on.
        let successor = successor?;
        intake.worked();
        if successor.is_some() && !stop.is_given() {
            info!("{} was replaced; reading the new one", self.path.display());
            intake.take_last(framer);
            self.current = successor;
            return Ok(true);
        }
        Ok(more)
    }
}

/// The file that has taken the path's place, if there is something in it. Until then the writer may
/// go on with the old one, as one does that only later is told to open its log anew.
fn successor(path: &Path, identity: Identity) -> io::Result<Option<Current>> {
    match fs::metadata(path) {
        Ok(found) if Identity::of(&found) != identity && found.len() > 0 => Current::open(path),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
