//! Which files there are: walks the directories of a pattern, and reads again only those that have changed.
//!
//! A directory's modification time shows that. It may be as coarse as the filesystem's clock, and no clock of this host
//! need agree with it; so a directory is read until its time has been the same for a while, and now and then anyway,
//! for mounts that do not keep that time.

use std::collections::{HashMap, HashSet};
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::pattern::Pattern;

/// A directory's time is believed when it has been the same for this long.
const SETTLES: Duration = Duration::from_secs(3);
/// A directory is read at least this often, changed or not.
const ANYWAY: Duration = Duration::from_secs(60);
/// Re-reading directories may take this part of the time, a 300th; small ones are exempt.
const SHARE: u32 = 300;
/// Directories that a pattern may lead to.
const MAX_DIRS: usize = 100_000;

/// A name that the source means.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) path: Arc<Path>,
    /// What the directory says about it; only to be compared with what it said before.
    pub(super) entry: u64,
}

/// What stays the same when a file is renamed: its device and inode numbers.
pub(super) type Identity = (u64, u64);

/// A regular file as it is now.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) path: Arc<Path>,
    /// What its directory says about it.
    pub(super) entry: u64,
    pub(super) identity: Identity,
    pub(super) length: u64,
    pub(super) modified: SystemTime,
}

impl Listed {
    pub(super) fn of(path: Arc<Path>, entry: u64, found: &Metadata) -> Self {
        Listed {
            path,
            entry,
            identity: (found.dev(), found.ino()),
            length: found.len(),
            modified: found.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        }
    }
}

/// What a look has found.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// The directories that were read, or are no longer there.
    pub(super) dirs: HashSet<PathBuf>,
    /// All names in those directories that the source means.
    pub(super) names: Vec<Name>,
    /// Directories that can't be read.
    pub(super) errors: Vec<(PathBuf, io::Error)>,
}

/// The directories of a pattern.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pattern: Pattern,
    max_dirs: usize,
    dirs: HashMap<PathBuf, Dir>,
}

#[derive(Debug)]
struct Dir {
    places: Vec<usize>,
    modified: SystemTime,
    /// When it was first seen with that time.
    since: Instant,
    /// It was read after that time had settled.
    is_settled: bool,
    read: Instant,
    cost: Duration,
    inside: Vec<(PathBuf, Vec<usize>)>,
}

impl Listing {
    pub(super) fn new(pattern: Pattern) -> Self {
        Listing {
            pattern,
            max_dirs: MAX_DIRS,
            dirs: HashMap::new(),
        }
    }

    pub(super) fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// Looks at all directories, and reads those that may have changed; those of `forced` in any case.
    pub(super) fn look(&mut self, now: Instant, forced: &HashSet<PathBuf>) -> Changes {
        let mut changes = Changes::default();
        let mut seen = HashSet::new();
        let mut open = vec![(self.pattern.root().to_owned(), vec![0])];
        while let Some((path, places)) = open.pop() {
            if seen.len() >= self.max_dirs && !seen.contains(&path) {
                let reason = format!("of its directories only {} are looked at", self.max_dirs);
                let root = self.pattern.root().to_owned();
                changes.errors.push((root, io::Error::other(reason)));
                break;
            }
            if !seen.insert(path.clone()) {
                continue;
            }
            let is_forced = forced.contains(&path);
            if let Err(error) = self.look_at(&path, places, now, is_forced, &mut changes) {
                let is_known = self.dirs.remove(&path).is_some();
                if is_known && error.kind() == ErrorKind::NotFound {
                    changes.dirs.insert(path.clone());
                }
                if error.kind() != ErrorKind::NotFound {
                    changes.errors.push((path, error));
                }
                continue;
            }
            if let Some(dir) = self.dirs.get(&path) {
                open.extend(dir.inside.iter().cloned());
            }
        }
        self.dirs.retain(|path, _| {
            let is_there = seen.contains(path);
            if !is_there {
                changes.dirs.insert(path.clone());
            }
            is_there
        });
        changes
    }

    fn look_at(
        &mut self,
        path: &Path,
        places: Vec<usize>,
        now: Instant,
        is_forced: bool,
        changes: &mut Changes,
    ) -> io::Result<()> {
        let found = fs::metadata(path)?;
        if !found.is_dir() {
            return Err(ErrorKind::NotADirectory.into());
        }
        let modified = found.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let mut since = now;
        if let Some(dir) = self.dirs.get(path) {
            let is_same = dir.modified == modified && dir.places == places;
            if is_same {
                since = dir.since;
            }
            let age = now.saturating_duration_since(dir.read);
            let is_fresh = is_same && dir.is_settled && age < ANYWAY;
            // What is cheap is read whenever it may have changed.
            let is_too_soon = age < dir.cost.saturating_mul(SHARE) && !is_forced;
            if (is_fresh && !is_forced) || is_too_soon {
                return Ok(());
            }
        }
        let began = Instant::now();
        let inside = self.read(path, &places, changes)?;
        let dir = Dir {
            places,
            modified,
            since,
            is_settled: now.saturating_duration_since(since) >= SETTLES,
            read: now,
            cost: began.elapsed(),
            inside,
        };
        self.dirs.insert(path.to_owned(), dir);
        changes.dirs.insert(path.to_owned());
        Ok(())
    }

    fn read(
        &self,
        path: &Path,
        places: &[usize],
        changes: &mut Changes,
    ) -> io::Result<Vec<(PathBuf, Vec<usize>)>> {
        let mut inside = Vec::new();
        let before = changes.names.len();
        let entries = fs::read_dir(path).inspect_err(|error| {
            // In a directory that can be entered only, the file of a path can be read, and nothing else.
            let is_refused = error.kind() == ErrorKind::PermissionDenied;
            if let Some(main) = self.pattern.path().filter(|_| is_refused)
                && let Ok(found) = fs::metadata(main)
            {
                changes.dirs.insert(path.to_owned());
                changes.names.push(Name {
                    path: main.into(),
                    entry: found.ino(),
                });
            }
        })?;
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    // Half a directory would make the other half look gone.
                    changes.names.truncate(before);
                    return Err(error);
                }
            };
            let name = entry.file_name();
            let meaning = self.pattern.meaning(places, path, name.as_bytes());
            if meaning.is_file {
                changes.names.push(Name {
                    path: path.join(&name).into(),
                    entry: entry.ino(),
                });
            }
            if meaning.inside.is_empty() {
                continue;
            }
            let is_dir = match entry.file_type() {
                Ok(kind) if kind.is_dir() => true,
                Ok(kind) if kind.is_symlink() && meaning.follows_links => {
                    fs::metadata(entry.path()).is_ok_and(|found| found.is_dir())
                }
                _ => false,
            };
            if is_dir {
                inside.push((path.join(&name), meaning.inside));
            }
        }
        Ok(inside)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn names(changes: &Changes, root: &Path) -> Vec<String> {
        let names = changes.names.iter();
        let inside = names.map(|name| name.path.strip_prefix(root).unwrap());
        let mut names: Vec<_> = inside
            .map(|path| path.to_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn only_what_has_changed_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for path in ["a/x", "b/x", "b/y"] {
            fs::create_dir_all(root.join(path)).unwrap();
            fs::write(root.join(path).join("1.log"), "").unwrap();
        }
        // Where a directory is looked for.
        fs::write(root.join("file"), "").unwrap();
        let pattern = Pattern::new(&root.join("*/x/*.log"), &[]);
        let mut listing = Listing::new(pattern);
        let start = Instant::now();
        let mut look = |seconds: u32| {
            // However busy the host is.
            let dirs = listing.dirs.values_mut();
            dirs.for_each(|dir| dir.cost = Duration::ZERO);
            listing.look(start + SECOND * seconds, &HashSet::new())
        };
        assert_eq!(names(&look(0), root), ["a/x/1.log", "b/x/1.log"]);
        // Not settled yet, so all directories are read.
        assert_eq!(look(4).dirs.len(), 5);
        assert!(look(5).dirs.is_empty());
        fs::write(root.join("b/x/2.log"), "").unwrap();
        let changes = look(6);
        assert_eq!(names(&changes, root), ["b/x/1.log", "b/x/2.log"]);
        fs::remove_dir_all(root.join("a")).unwrap();
        let changes = look(7);
        assert!(changes.dirs.contains(&root.join("a/x")), "{changes:?}");
        assert!(changes.errors.is_empty(), "{changes:?}");
        assert!(!look(63).dirs.contains(&root.join("b")));
        assert!(look(64).dirs.contains(&root.join("b")), "anyway");
    }

    #[test]
    fn what_takes_long_to_read_is_read_seldom_unless_it_must_be() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let mut listing = Listing::new(Pattern::new(&root.join("*.log"), &[]));
        let start = Instant::now();
        listing.look(start, &HashSet::new());
        fs::write(root.join("1.log"), "").unwrap();
        let forced = HashSet::from([root.to_owned()]);
        for (seconds, must, is_read) in [(299, false, false), (300, false, true), (1, true, true)] {
            let dir = listing.dirs.get_mut(root).unwrap();
            (dir.read, dir.cost, dir.is_settled) = (start, SECOND, false);
            let forced = if must { &forced } else { &HashSet::new() };
            let changes = listing.look(start + SECOND * seconds, forced);
            assert_eq!(!changes.names.is_empty(), is_read, "{seconds} {must}");
        }
    }

    #[test]
    fn a_star_follows_links_to_directories_and_two_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("in/a")).unwrap();
        fs::create_dir(root.join("out")).unwrap();
        for path in ["in/a", "out"] {
            fs::write(root.join(path).join("1.log"), "").unwrap();
        }
        for (link, to) in [("in/dir", "../out"), ("in/file", "a/1.log")] {
            std::os::unix::fs::symlink(to, root.join(link)).unwrap();
        }
        for (pattern, expected) in [
            ("in/*/*.log", &["in/a/1.log", "in/dir/1.log"][..]),
            ("in/**/*.log", &["in/a/1.log"]),
        ] {
            let mut listing = Listing::new(Pattern::new(&root.join(pattern), &[]));
            let changes = listing.look(Instant::now(), &HashSet::new());
            assert_eq!(names(&changes, root), expected);
            assert!(changes.errors.is_empty(), "{changes:?}");
        }
    }

    #[test]
    fn a_directory_that_can_only_be_entered_has_the_file_of_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_owned();
        fs::write(root.join("a.log"), "").unwrap();
        for (pattern, mode, found) in [
            ("a.log", 0o311, &["a.log"][..]),
            ("b.log", 0o311, &[]),
            ("*.log", 0o311, &[]),
            ("a.log", 0o200, &[]),
        ] {
            fs::set_permissions(&root, fs::Permissions::from_mode(mode)).unwrap();
            let root = root.clone();
            let look = move || {
                // SAFETY: that of this thread only, so that the superuser is refused, too.
                unsafe { libc::setfsuid(65534) };
                let mut listing = Listing::new(Pattern::new(&root.join(pattern), &[]));
                let changes = listing.look(Instant::now(), &HashSet::new());
                (names(&changes, &root), changes.errors.len())
            };
            let (names, errors) = std::thread::spawn(look).join().unwrap();
            assert_eq!(
                (&names[..], errors),
                (
                    &found.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()[..],
                    1
                ),
                "{pattern} {mode:o}"
            );
        }
        fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).unwrap();
    }

    #[test]
    fn more_directories_than_are_looked_at_are_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let mut listing = Listing::new(Pattern::new(&root.join("*/*.log"), &[]));
        listing.max_dirs = 20;
        let mut now = Instant::now();
        let mut look = |number: usize| {
            now += SECOND;
            // However busy the host is.
            let dirs = listing.dirs.values_mut();
            dirs.for_each(|dir| dir.cost = Duration::ZERO);
            fs::create_dir(root.join(number.to_string())).unwrap();
            listing.look(now, &HashSet::new()).errors
        };
        // The first is the root itself.
        assert!((2..=20).all(|number| look(number).is_empty()));
        let errors = look(21);
        assert!(errors.len() == 1 && errors[0].0 == root, "{errors:?}");
    }

    #[test]
    fn a_missing_directory_is_no_error_and_found_when_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let pattern = Pattern::new(&dir.path().join("later/a.log"), &[]);
        let mut listing = Listing::new(pattern);
        let changes = listing.look(Instant::now(), &HashSet::new());
        assert!(changes.errors.is_empty() && changes.names.is_empty());
        assert!(changes.dirs.is_empty(), "{changes:?}");
        fs::create_dir(dir.path().join("later")).unwrap();
        fs::write(dir.path().join("later/a.log"), "").unwrap();
        let changes = listing.look(Instant::now(), &HashSet::new());
        assert_eq!(names(&changes, dir.path()), ["later/a.log"]);
        fs::remove_file(dir.path().join("later/a.log")).unwrap();
        fs::remove_dir(dir.path().join("later")).unwrap();
        std::os::unix::fs::symlink("later", dir.path().join("later")).unwrap();
        let changes = listing.look(Instant::now(), &HashSet::new());
        assert_eq!(changes.errors.len(), 1, "{changes:?}");
        assert!(
            changes.dirs.is_empty(),
            "its files may be there: {changes:?}"
        );
    }
}
