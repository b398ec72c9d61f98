//! The files of a spool, as a start finds them.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::dir::{Dir, RealDir};
use super::position::{Position, PositionFile};
use super::segments::{self, Segment, Segments};
use crate::sys::lock;

/// The file that the agent has locked whose spool it is.
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
    /// How far it was delivered is not known: what is there is delivered again.
    pub position_is_damaged: bool,
}

impl Files {
    /// Opens that in this directory. Takes no longer the more is in it. None if another agent has it.
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

    /// Opens that of a directory that this agent has.
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

    /// Events that are in it, and were not delivered.
    pub fn recovered(&self) -> u64 {
        self.at.end - self.at.acked
    }
}

/// The bytes of events in a directory that may be a spool's, if there are any.
pub fn left_in(path: &Path) -> Option<u64> {
    let files = RealDir::existing(path).list().ok()?;
    let segments = files.iter().filter(|(name, _)| segments::is_segment(name));
    let bytes = segments.map(|(_, bytes)| bytes).sum();
    (bytes > 0).then_some(bytes)
}
