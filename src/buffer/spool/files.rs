//! The files of a spool, as found at a start.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::dir::{Dir, RealDir};
use super::position::{self, Position, PositionFile, Stored};
use super::segments::{self, Segment, Segments};
use crate::sys::lock;

/// The file that is locked by the agent that uses the spool.
const LOCK: &str = ".lock";

/// A spool that was opened.
#[derive(Debug)]
pub struct Files {
    pub(super) dir: Arc<dyn Dir>,
    pub(super) lock: File,
    pub(super) segments: Segments,
    pub(super) position: PositionFile,
    pub(super) at: Position,
    pub(super) damaged: Vec<Segment>,
    /// It is not known how far the spool was delivered: what is there is delivered again.
    pub position_is_damaged: bool,
}

impl Files {
    /// Opens the spool in this directory, in the same time whatever its size. None if another agent has it.
    ///
    /// # Errors
    /// It can't be used now.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        let dir: Arc<dyn Dir> = Arc::new(RealDir::create(path)?);
        let Some(lock) = lock::try_lock(&path.join(LOCK))? else {
            return Ok(None);
        };
        Files::of(dir, lock).map(Some)
    }

    /// Opens the spool in a directory that this agent has locked.
    pub(super) fn of(dir: Arc<dyn Dir>, lock: File) -> io::Result<Self> {
        let opened = segments::open(&*dir)?;
        let at = Position {
            acked: opened.acked,
            end: opened.segments.next(),
        };
        Ok(Files {
            position: PositionFile::open(&*dir, at)?,
            dir,
            lock,
            segments: opened.segments,
            at,
            damaged: opened.damaged,
            position_is_damaged: opened.position_is_damaged,
        })
    }

    /// What the position file says: what was found may be more.
    pub(super) fn noted(&self) -> Position {
        match position::read(&*self.dir) {
            Ok(Stored::At(noted)) => noted,
            _ => Position::default(),
        }
    }

    /// How many events are in it that were not delivered.
    pub fn recovered(&self) -> u64 {
        self.at.end - self.at.acked
    }
}

/// The bytes of events in a directory that may be a spool, if there are any.
pub fn left_in(path: &Path) -> Option<u64> {
    let files = RealDir::existing(path).ok()?.list().ok()?;
    let segments = files.iter().filter(|(name, _)| segments::is_segment(name));
    let bytes = segments.map(|(_, bytes)| bytes).sum();
    (bytes > 0).then_some(bytes)
}
