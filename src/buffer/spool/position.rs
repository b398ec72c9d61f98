//! How far a spool was delivered and written: numbers of events, in two slots of a small file that are written in
//! turns, so that at least one is always whole. They are overwritten in place, which needs no room on a full disk.

use std::io;
use std::sync::Arc;

use super::dir::{Access, Dir, SpoolFile, is_disk_full, is_of_the_host};
use super::record::VERSION;
use crate::sys::random;

/// The file's name.
pub const NAME: &str = "position";
/// The name of a file that could not be used.
const BAD: &str = "position.bad";
/// Disks write this much at once or not at all.
const SLOT: usize = 512;
const MAGIC: [u8; 8] = *b"s3aPOSIT";
const USED: usize = 32;

/// How far a spool is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// All events with lower numbers were delivered or dropped.
    pub acked: u64,
    /// All with lower numbers were written: those of them that are not there any more are missing.
    pub end: u64,
}

/// The file's contents.
#[derive(Debug, PartialEq, Eq)]
pub enum Stored {
    /// This position.
    At(Position),
    /// This position or a later one: the other slot is damaged.
    Older(Position),
    /// There is no file.
    Missing,
    /// There is a file, but it can't be read, or says nothing.
    Damaged,
    /// A newer version of this program has written the file.
    Newer,
}

/// The open position file.
#[derive(Debug)]
pub struct PositionFile {
    file: Arc<dyn SpoolFile>,
    /// The slot that is written next.
    slot: u64,
    /// What it says.
    at: Position,
    /// Who uses the spool.
    id: u32,
}

/// What the slots contain.
struct Slots {
    stored: Stored,
    /// The older one, which is written next.
    older: u64,
    /// Who uses the spool, or did last; 0 if nobody, or only earlier versions.
    id: u32,
}

impl Stored {
    /// Where to go on in a spool whose oldest segment begins with this event. What may have been delivered, and is not
    /// there, is not missed.
    pub fn resume(&self, oldest: Option<u64>) -> Position {
        let acked = oldest.unwrap_or_default();
        match *self {
            Stored::At(position) => position,
            Stored::Older(position) => Position {
                acked: position.acked.max(acked),
                ..position
            },
            Stored::Missing | Stored::Damaged | Stored::Newer => Position { acked, end: 0 },
        }
    }
}

/// Reads the file.
///
/// # Errors
/// The host lacks something.
pub fn read(dir: &dyn Dir) -> io::Result<Stored> {
    let opened = dir.open(NAME, Access::Read);
    match opened.and_then(|file| read_slots(&*file)) {
        Ok(slots) => Ok(slots.stored),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Stored::Missing),
        Err(error) if is_of_the_host(&error) => Err(error),
        Err(_) => Ok(Stored::Damaged),
    }
}

fn read_slots(file: &dyn SpoolFile) -> io::Result<Slots> {
    let mut bytes = [0; 2 * SLOT];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    let (first, second) = bytes.split_at(SLOT);
    let slots = [parse(first), parse(second)];
    let stored = match slots {
        [Some((version, ..)), _] | [_, Some((version, ..))] if version > VERSION => Stored::Newer,
        [None, None] if filled == 0 => Stored::Missing,
        [None, None] => Stored::Damaged,
        [Some((_, one, _)), Some((_, other, _))] => Stored::At(one.max(other)),
        [Some((_, one, _)), None] | [None, Some((_, one, _))] => Stored::Older(one),
    };
    let ids = slots.iter().flatten().map(|(.., id)| *id);
    Ok(Slots {
        stored,
        older: (slots[0] > slots[1]).into(),
        id: ids.max().unwrap_or_default(),
    })
}

/// The version that has written it, what it says, and who uses the spool.
fn parse(slot: &[u8]) -> Option<(u32, Position, u32)> {
    let (used, sum) = slot.split_at(USED);
    if !used.starts_with(&MAGIC) || sum.get(..4)? != crc32fast::hash(used).to_le_bytes() {
        return None;
    }
    let version = u32::from_le_bytes(used.get(8..12)?.try_into().ok()?);
    let id = u32::from_le_bytes(used.get(12..16)?.try_into().ok()?);
    let acked = u64::from_le_bytes(used.get(16..24)?.try_into().ok()?);
    let end = u64::from_le_bytes(used.get(24..32)?.try_into().ok()?);
    Some((version, Position { acked, end }, id))
}

impl PositionFile {
    /// Opens the file, or creates it with the position `begin`. What can't be used as such is set aside.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn open(dir: &dyn Dir, begin: Position) -> io::Result<Self> {
        let opened = match PositionFile::open_or_create(dir, begin) {
            Err(error)
                if !is_of_the_host(&error)
                    && !is_disk_full(&error)
                    && dir.rename(NAME, BAD).is_ok() =>
            {
                PositionFile::open_or_create(dir, begin)
            }
            opened => opened,
        };
        opened.map_err(|error| io::Error::new(error.kind(), format!("{NAME}: {error}")))
    }

    fn open_or_create(dir: &dyn Dir, begin: Position) -> io::Result<Self> {
        let file = dir.open(NAME, Access::Update)?;
        let found = read_slots(&*file)?;
        let mut position = PositionFile {
            file,
            slot: found.older,
            at: Position::default(),
            id: found.id,
        };
        if let Stored::At(at) = found.stored {
            position.at = at;
        } else {
            position.fill(begin)?;
            dir.sync()?;
        }
        Ok(position)
    }

    /// Writes the position to both slots, so that the disk has room for them, and whatever they said before. Syncs them.
    ///
    /// # Errors
    /// It can't be written.
    pub(super) fn fill(&mut self, position: Position) -> io::Result<()> {
        self.write(position)?;
        self.write(position)?;
        self.sync()
    }

    /// Writes the position.
    ///
    /// # Errors
    /// It can't be written; the other slot has what was written before.
    pub fn write(&mut self, position: Position) -> io::Result<()> {
        let mut slot = [0; SLOT];
        slot[..8].copy_from_slice(&MAGIC);
        slot[8..12].copy_from_slice(&VERSION.to_le_bytes());
        slot[12..16].copy_from_slice(&self.id.to_le_bytes());
        slot[16..24].copy_from_slice(&position.acked.to_le_bytes());
        slot[24..32].copy_from_slice(&position.end.to_le_bytes());
        let sum = crc32fast::hash(&slot[..USED]);
        slot[USED..USED + 4].copy_from_slice(&sum.to_le_bytes());
        self.file.write_at(&slot, self.slot * SLOT as u64)?;
        self.slot = 1 - self.slot;
        self.at = position;
        Ok(())
    }

    /// What it says: what was found in the spool may be more.
    pub(super) fn at(&self) -> Position {
        self.at
    }

    /// Who uses the spool, or did last: other than that only copies have this id. Versions that know nothing of it write 0.
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// Somebody else uses the spool from now on, so that the numbers in copies that others use are not taken for its own.
    ///
    /// # Errors
    /// It can't be written; the next position says so too.
    pub(super) fn renew(&mut self) -> io::Result<()> {
        self.id = (random::seed() as u32).max(1);
        self.fill(self.at)
    }

    /// Syncs the file to disk.
    ///
    /// # Errors
    /// It is not on disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::super::dir::RealDir;
    use super::*;

    fn at(acked: u64) -> Position {
        Position {
            acked,
            end: acked + 100,
        }
    }

    #[test]
    fn one_slot_is_enough_and_the_newer_one_counts() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("spool");
        let dir = RealDir::create(&path).unwrap();
        assert_eq!(read(&dir).unwrap(), Stored::Missing);
        let mut position = PositionFile::open(&dir, at(5)).unwrap();
        assert_eq!(read(&dir).unwrap(), Stored::At(at(5)));
        for seq in [7, 9, 12] {
            position.write(at(seq)).unwrap();
            assert_eq!(read(&dir).unwrap(), Stored::At(at(seq)));
        }
        drop(position);
        let mut position = PositionFile::open(&dir, at(0)).unwrap();
        position.write(at(20)).unwrap();
        let file = path.join(NAME);
        let whole = std::fs::read(&file).unwrap();
        for (damaged, expected) in [
            (vec![0], vec![Stored::Older(at(12)), Stored::Older(at(20))]),
            (
                vec![SLOT],
                vec![Stored::Older(at(12)), Stored::Older(at(20))],
            ),
            (vec![16, SLOT + 16], vec![Stored::Damaged]),
        ] {
            let mut bytes = whole.clone();
            damaged.iter().for_each(|at| bytes[*at] ^= 1);
            std::fs::write(&file, bytes).unwrap();
            assert!(expected.contains(&read(&dir).unwrap()), "{damaged:?}");
        }
        // The newer slot is not overwritten.
        std::fs::write(&file, whole).unwrap();
        let mut position = PositionFile::open(&dir, at(0)).unwrap();
        assert_eq!(
            read_slots(&*position.file).unwrap().stored,
            Stored::At(at(20))
        );
        position.write(at(21)).unwrap();
        let slots = std::fs::read(&file).unwrap();
        let mut kept = [parse(&slots[..SLOT]), parse(&slots[SLOT..])].map(|slot| slot.unwrap().1);
        kept.sort_unstable();
        assert_eq!(kept, [at(20), at(21)]);
    }

    /// Earlier versions write 0 in its place, and otherwise the same.
    #[test]
    fn whoever_uses_a_spool_gives_it_an_id() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("spool");
        let dir = RealDir::create(&path).unwrap();
        let file = path.join(NAME);
        assert_eq!(PositionFile::open(&dir, at(5)).unwrap().id(), 0);
        let mut ids = vec![0];
        for slots in [&[][..], &[0], &[1], &[0, 1]] {
            let mut position = PositionFile::open(&dir, at(0)).unwrap();
            position.renew().unwrap();
            let id = position.id();
            assert!(!ids.contains(&id));
            ids.push(id);
            let mut bytes = std::fs::read(&file).unwrap();
            for slot in slots {
                let slot = &mut bytes[slot * SLOT..][..SLOT];
                slot[12..16].fill(0);
                let sum = crc32fast::hash(&slot[..USED]);
                slot[USED..USED + 4].copy_from_slice(&sum.to_le_bytes());
            }
            std::fs::write(&file, bytes).unwrap();
            let expected = if slots.len() == 2 { 0 } else { id };
            let again = PositionFile::open(&dir, at(0)).unwrap();
            assert_eq!((again.at(), again.id()), (at(5), expected));
        }
    }

    #[test]
    fn a_newer_or_an_empty_file_is_neither_damaged_nor_missing() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("spool");
        let dir = RealDir::create(&path).unwrap();
        let file = path.join(NAME);
        std::fs::write(&file, "").unwrap();
        assert_eq!(read(&dir).unwrap(), Stored::Missing);
        std::fs::remove_file(&file).unwrap();
        PositionFile::open(&dir, at(12)).unwrap();
        let sound = std::fs::read(&file).unwrap();
        for slot in [0, SLOT] {
            let mut bytes = sound.clone();
            bytes[slot + 8] = 2;
            let sum = crc32fast::hash(&bytes[slot..slot + USED]);
            bytes[slot + USED..slot + USED + 4].copy_from_slice(&sum.to_le_bytes());
            std::fs::write(&file, bytes).unwrap();
            assert_eq!(read(&dir).unwrap(), Stored::Newer);
        }
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink(NAME, &file).unwrap();
        assert_eq!(read(&dir).unwrap(), Stored::Damaged, "a loop of links");
        // Whatever has the name, it is set aside.
        let fifo = |path: &std::path::Path| {
            let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
            // SAFETY: the path is a string that ends with a zero.
            assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
        };
        let directory = |path: &std::path::Path| std::fs::create_dir(path).unwrap();
        for other in [None, Some(&fifo as &dyn Fn(&_)), Some(&directory)] {
            if let Some(other) = other {
                std::fs::remove_file(&file).unwrap();
                let _ = std::fs::remove_file(path.join(BAD));
                other(&file);
            }
            assert_eq!(read(&dir).unwrap(), Stored::Damaged);
            PositionFile::open(&dir, at(12)).unwrap();
            assert_eq!(read(&dir).unwrap(), Stored::At(at(12)));
            assert!(path.join(BAD).symlink_metadata().is_ok());
        }
    }
}
