//! The files of a spool, as found at a start.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::dir::{Dir, RealDir};
use super::position::{self, Position, PositionFile};
use super::segments::{self, Segment, Segments};
use crate::sys::lock;
use crate::telemetry::message::{Events, Message};

/// The file that is locked by the agent that uses the spool.
const LOCK: &str = ".lock";

/// Why a directory is not made a spool.
const OF_OTHERS: &str = "there are files of others; fix: use a directory of its own";

/// A spool that was opened.
#[derive(Debug)]
pub struct Files {
    pub(super) dir: Arc<dyn Dir>,
    pub(super) lock: File,
    pub(super) segments: Segments,
    pub(super) position: PositionFile,
    pub(super) at: Position,
    pub(super) damaged: Vec<Segment>,
    /// When the first event was written that was not delivered, in seconds since 1970, if that can be read.
    pub(super) unread_since: Option<u32>,
    /// It is not known how far the spool was delivered: what is there is delivered again.
    pub position_is_lost: bool,
}

impl Files {
    /// Opens the spool in this directory, in the same time whatever its size. None if another agent has it.
    ///
    /// # Errors
    /// It can't be used now.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        let dir: Arc<dyn Dir> = Arc::new(RealDir::create(path)?);
        Files::check(path)?;
        let locked = lock::try_lock(&path.join(LOCK));
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{LOCK}: {error}"));
        let Some(lock) = locked.map_err(named)? else {
            return Ok(None);
        };
        Files::of(dir, lock).map(Some)
    }

    /// Checks that a directory is, or can become, a spool.
    ///
    /// # Errors
    /// [`DirectoryNotEmpty`](io::ErrorKind::DirectoryNotEmpty) if there are files of others.
    pub fn check(path: &Path) -> io::Result<()> {
        match is_of_others(path)? {
            true => Err(io::Error::new(io::ErrorKind::DirectoryNotEmpty, OF_OTHERS)),
            false => Ok(()),
        }
    }

    /// Logs what is in it, if the start could not open it.
    pub(super) fn log_late(&self, path: &str) {
        if self.position_is_lost {
            Message::SpoolPositionLost { dir: path.into() }.log();
        }
        let events = Events(self.recovered());
        Message::SpoolRecovered {
            dir: path.into(),
            events,
        }
        .log();
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
            unread_since: opened.unread_since,
            position_is_lost: opened.position_is_lost,
        })
    }

    /// How many events are in it that were not delivered.
    pub fn recovered(&self) -> u64 {
        self.at.end - self.at.acked
    }
}

/// Whether a directory that has files has none of a spool. Those that are hidden may be the filesystem's own.
fn is_of_others(path: &Path) -> io::Result<bool> {
    let mut has_others = false;
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if [LOCK, position::NAME].contains(&&*name) || segments::is_segment(&name) {
            return Ok(false);
        }
        has_others |= !name.starts_with('.') && name != "lost+found";
    }
    Ok(has_others)
}

/// The bytes of segments with undelivered events in a directory that may be a spool, if there are any.
pub fn left_in(path: &Path) -> Option<u64> {
    let dir = RealDir::existing(path).ok()?;
    let bytes = segments::undelivered(&dir).ok()?;
    (bytes > 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::record::Record;
    use super::super::writer::Writer;
    use super::*;

    #[test]
    fn a_spool_is_opened_by_one_agent_at_a_time() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("spool");
        let first = Files::open(&path).unwrap();
        assert!(first.is_some());
        assert!(Files::open(&path).unwrap().is_none());
        drop(first);
        assert!(Files::open(&path).unwrap().is_some());
    }

    #[test]
    fn only_what_was_not_delivered_is_left_in_a_directory() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("spool");
        assert_eq!(left_in(&path), None, "there is no directory");
        let dir = Arc::new(RealDir::create(&path).unwrap());
        assert_eq!(left_in(&path), None);
        let record = Record::new(b"event\n".to_vec(), 1);
        let mut writer = Writer::new(Arc::<RealDir>::clone(&dir), 1 << 20);
        writer.write(&[record], 0, 9).unwrap();
        let bytes = fs::metadata(path.join(segments::name(0))).unwrap().len();
        assert_eq!(left_in(&path), Some(bytes));
        PositionFile::open(&*dir, Position { acked: 1, end: 1 }).unwrap();
        assert_eq!(left_in(&path), None);
    }

    #[test]
    fn a_directory_with_files_of_others_is_no_spool() {
        let segment = segments::name(1);
        for (names, is_spool) in [
            (&[][..], true),
            (&["lost+found", ".snapshot"], true),
            (&["notes"], false),
            (&[".hidden", "notes"], false),
            (&["notes", LOCK], true),
            (&["notes", position::NAME], true),
            (&["notes", &segment], true),
        ] {
            let dir = tempfile::tempdir().unwrap();
            for name in names {
                fs::write(dir.path().join(name), "").unwrap();
            }
            let checked = Files::check(dir.path());
            assert_eq!(checked.is_ok(), is_spool, "{names:?}");
            let kind = checked.err().map(|error| error.kind());
            let expected = io::ErrorKind::DirectoryNotEmpty;
            assert!(kind.is_none_or(|kind| kind == expected));
        }
    }
}
