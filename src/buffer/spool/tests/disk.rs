//! A disk in memory that is killed, loses power, fails, and is damaged.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use super::super::dir::{Access, Dir, SpoolFile};

/// A page is written to disk as a whole or not at all.
const PAGE: usize = 64;

/// Numbers as if by chance, the same for the same seed.
pub(super) fn dice(seed: u64) -> impl FnMut() -> u64 {
    let mut random = seed | 1;
    move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    }
}

/// A disk in memory: what is on it, and what is only in the page cache.
#[derive(Debug, Default, Clone)]
pub(super) struct Disk {
    /// Indexed by the number of the file.
    pub(super) files: Vec<FileState>,
    /// Names as programs see them, and as they are on disk.
    pub(super) names: BTreeMap<String, usize>,
    pub(super) durable_names: BTreeMap<String, usize>,
    /// How many calls until one fails, if that is planned.
    pub(super) failing: Option<(usize, ErrorKind)>,
    /// How many bytes it has room for, if not for any number.
    pub(super) room: Option<usize>,
    /// Even then files can be made shorter, and removed.
    pub(super) shrinks: bool,
    /// It is not at its place any more.
    pub(super) is_replaced: bool,
    /// The same, until it was looked for this often.
    pub(super) away: Option<usize>,
    /// No file can be removed or renamed.
    pub(super) keeps: bool,
    /// Bytes that can't be read, of every file or of this one, and the system's reason, if it gives one.
    pub(super) unreadable: Range<usize>,
    pub(super) also_unreadable: Range<usize>,
    pub(super) unreadable_because: Option<i32>,
    pub(super) unreadable_file: Option<usize>,
    /// How often that was tried.
    pub(super) failed_reads: usize,
    /// A file that can't be opened for reading, and the system's reason.
    pub(super) unopenable_file: Option<(String, i32)>,
    /// No file gets this name or loses it.
    pub(super) stuck: Option<String>,
    /// How often files can't be opened for reading from now on, and the system's reason.
    pub(super) unopenable: (usize, i32),
    /// What others do during the next call that may fail, and its result.
    pub(super) meanwhile: Meanwhile,
}

/// Something that is done once.
#[derive(Default, Clone)]
pub(super) struct Meanwhile(Option<Arc<dyn Fn() -> io::Result<()> + Send + Sync>>);

impl Meanwhile {
    pub(super) fn new(others: impl Fn() -> io::Result<()> + Send + Sync + 'static) -> Self {
        Meanwhile(Some(Arc::new(others)))
    }
}

impl fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Meanwhile({})", self.0.is_some())
    }
}

#[derive(Debug, Default, Clone)]
pub(super) struct FileState {
    pub(super) bytes: Vec<u8>,
    pub(super) durable: Vec<u8>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct FakeDir(pub(super) Arc<Mutex<Disk>>);

#[derive(Debug)]
struct FakeFile(FakeDir, usize);

impl Disk {
    /// Looks for it where it should be.
    pub(super) fn come_back(&mut self) -> io::Result<()> {
        match &mut self.away {
            None | Some(0) => {
                self.away = None;
                Ok(())
            }
            Some(left) => {
                *left -= 1;
                Err(ErrorKind::NotFound.into())
            }
        }
    }

    fn refuse_if_stuck(&self, name: &str) -> io::Result<()> {
        match self.stuck.as_deref() == Some(name) {
            true => Err(ErrorKind::PermissionDenied.into()),
            false => Ok(()),
        }
    }
}

impl FakeDir {
    pub(super) fn disk(&self) -> std::sync::MutexGuard<'_, Disk> {
        self.0.lock().unwrap()
    }

    /// One more call that frees room.
    fn shrink(&self) -> io::Result<()> {
        let shrinks = self.disk().shrinks;
        if shrinks { Ok(()) } else { self.call() }
    }

    fn keep(&self) -> io::Result<()> {
        match self.disk().keeps {
            true => Err(ErrorKind::PermissionDenied.into()),
            false => Ok(()),
        }
    }

    /// One more call that may fail.
    fn call(&self) -> io::Result<()> {
        let meanwhile = self.disk().meanwhile.0.take();
        if let Some(others) = meanwhile {
            others()?;
        }
        let mut disk = self.disk();
        match &mut disk.failing {
            Some((0, kind)) => Err((*kind).into()),
            Some((left, _)) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The power fails: of what is not on disk, only the pages and names for which `survives` is true remain.
    pub(super) fn lose_power(&self, mut survives: impl FnMut() -> bool) {
        let mut disk = self.disk();
        for file in &mut disk.files {
            let pages = file.bytes.len().max(file.durable.len()).div_ceil(PAGE);
            // The length may be on disk or not, too.
            let len = match survives() {
                true => file.bytes.len(),
                false => file.durable.len(),
            };
            for page in 0..pages {
                let range = page * PAGE..((page + 1) * PAGE).min(file.bytes.len());
                if range.start < range.end && survives() {
                    let old = file.durable.len();
                    file.durable.resize(old.max(range.end), 0);
                    file.durable[range.clone()].copy_from_slice(&file.bytes[range]);
                }
            }
            file.durable.resize(len, 0);
            file.bytes = file.durable.clone();
        }
        let all: Vec<_> = disk
            .names
            .keys()
            .chain(disk.durable_names.keys())
            .cloned()
            .collect();
        for name in all {
            if survives() {
                match disk.names.get(&name).copied() {
                    Some(file) => drop(disk.durable_names.insert(name, file)),
                    None => drop(disk.durable_names.remove(&name)),
                }
            }
        }
        disk.names = disk.durable_names.clone();
    }
}

impl Dir for FakeDir {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let disk = self.disk();
        let names = disk.names.iter();
        Ok(names
            .map(|(name, file)| (name.clone(), disk.files[*file].bytes.len() as u64))
            .collect())
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn SpoolFile>> {
        if access != Access::Read {
            self.call()?;
        }
        let mut disk = self.disk();
        if access == Access::Read && disk.unopenable.0 > 0 {
            disk.unopenable.0 -= 1;
            return Err(io::Error::from_raw_os_error(disk.unopenable.1));
        }
        if let Some((file, error)) = &disk.unopenable_file
            && (file.as_str(), access) == (name, Access::Read)
        {
            return Err(io::Error::from_raw_os_error(*error));
        }
        let number = match (disk.names.get(name), access) {
            (Some(_), Access::New) => return Err(ErrorKind::AlreadyExists.into()),
            (Some(number), _) => *number,
            (None, Access::Read) => return Err(ErrorKind::NotFound.into()),
            (None, _) => {
                disk.files.push(FileState::default());
                let number = disk.files.len() - 1;
                disk.names.insert(name.into(), number);
                number
            }
        };
        Ok(Arc::new(FakeFile(self.clone(), number)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.call()?;
        self.keep()?;
        let mut disk = self.disk();
        disk.refuse_if_stuck(from)?;
        disk.refuse_if_stuck(to)?;
        let file = disk.names.remove(from).ok_or(ErrorKind::NotFound)?;
        disk.names.insert(to.into(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.shrink()?;
        self.keep()?;
        let mut disk = self.disk();
        disk.refuse_if_stuck(name)?;
        disk.names
            .remove(name)
            .map(drop)
            .ok_or(ErrorKind::NotFound.into())
    }

    fn sync(&self) -> io::Result<()> {
        self.call()?;
        let mut disk = self.disk();
        disk.durable_names = disk.names.clone();
        Ok(())
    }

    fn is_replaced(&self) -> bool {
        let disk = self.disk();
        disk.is_replaced || disk.away.is_some()
    }
}

impl SpoolFile for FakeFile {
    fn append(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.call()?;
        let mut disk = self.0.disk();
        let used: usize = disk
            .names
            .values()
            .map(|file| disk.files[*file].bytes.len())
            .sum();
        let mut room = disk
            .room
            .map_or(usize::MAX, |room| room.saturating_sub(used));
        if room == 0 {
            return Err(ErrorKind::StorageFull.into());
        }
        let bytes = &mut disk.files[self.1].bytes;
        // A whole piece and a part of the next, as on a disk that is nearly full.
        let mut count = 0;
        for (place, part) in parts.iter().take(2).enumerate() {
            let taken = if place == 1 {
                part.len().div_ceil(2)
            } else {
                part.len()
            };
            let taken = taken.min(room);
            room -= taken;
            bytes.extend_from_slice(&part[..taken]);
            count += taken;
        }
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.0.call()?;
        let mut disk = self.0.disk();
        let (file, end) = (&mut disk.files[self.1].bytes, at as usize + bytes.len());
        let len = file.len().max(end);
        file.resize(len, 0);
        file[at as usize..end].copy_from_slice(bytes);
        Ok(())
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        let mut disk = self.0.disk();
        let is_bad = disk.unreadable_file.is_none_or(|file| file == self.1);
        let bad = match is_bad {
            true => [disk.unreadable.clone(), disk.also_unreadable.clone()],
            false => [0..0, 0..0],
        };
        let at = at as usize;
        if bad.iter().any(|bad| bad.contains(&at)) && at < disk.files[self.1].bytes.len() {
            disk.failed_reads += 1;
            let code = disk.unreadable_because;
            return Err(code.map_or(ErrorKind::Other.into(), io::Error::from_raw_os_error));
        }
        let rest = disk.files[self.1].bytes.get(at..).unwrap_or_default();
        let bad = bad.iter().filter(|bad| !bad.is_empty());
        let sound = bad.filter_map(|bad| bad.start.checked_sub(at)).min();
        let count = rest.len().min(bytes.len()).min(sound.unwrap_or(usize::MAX));
        bytes[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.shrink()?;
        self.0.disk().files[self.1].bytes.resize(len as usize, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.call()?;
        let mut disk = self.0.disk();
        let file = &mut disk.files[self.1];
        file.durable = file.bytes.clone();
        Ok(())
    }
}
