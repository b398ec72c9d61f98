//! Whom new files belong to. Whoever runs the program once as root must not leave files in the directory of a service that
//! the service's own user can't use.

use std::fs::{File, Metadata, OpenOptions, metadata};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::Path;

use super::host;

/// Gives a file that root has just created to the owner of its directory, if it can.
pub fn hand_over(created: &File, directory: impl FnOnce() -> io::Result<Metadata>) {
    if host::user() != 0 || !overrides_permissions() {
        return;
    }
    let (Ok(found), Ok(directory)) = (created.metadata(), directory()) else {
        return;
    };
    // One that was there before, such as a link to a file of root's, must not be given to anybody.
    let is_new = found.is_dir() || (found.len() == 0 && found.nlink() == 1);
    if is_new && found.uid() == 0 && directory.uid() != 0 {
        let _ = fchown(created, Some(directory.uid()), Some(directory.gid()));
    }
}

/// Whether root can use what belongs to others, and so what it gives away: in a container it may not.
fn overrides_permissions() -> bool {
    const CAP_DAC_OVERRIDE: libc::c_ulong = 1;
    // SAFETY: it only returns a number.
    unsafe { libc::prctl(libc::PR_CAPBSET_READ, CAP_DAC_OVERRIDE) == 1 }
}

/// The same for a directory that was just created at this path.
pub fn hand_over_directory(path: &Path) {
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    if let Ok(created) = OpenOptions::new().read(true).custom_flags(flags).open(path) {
        hand_over(&created, || metadata(path.join("..")));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::chown;

    use super::*;

    /// Only root can give files away.
    #[test]
    fn what_root_creates_belongs_to_the_owner_of_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let owner = |name: &str| fs::metadata(path(name)).map(|found| found.uid()).unwrap();
        let make = |name: &str, content: &str| {
            fs::write(path(name), content).unwrap();
            let file = File::open(path(name)).unwrap();
            hand_over(&file, || metadata(dir.path()));
        };
        make("before", "");
        assert_eq!(owner("before"), host::user());
        if chown(dir.path(), Some(4711), Some(4712)).is_err() {
            return;
        }
        make("new", "");
        make("old", "content of root's");
        fs::write(path("elsewhere"), "").unwrap();
        fs::hard_link(path("elsewhere"), path("linked")).unwrap();
        hand_over(&File::open(path("linked")).unwrap(), || {
            metadata(dir.path())
        });
        fs::create_dir(path("directory")).unwrap();
        hand_over_directory(&path("directory"));
        let owners = ["new", "old", "linked", "directory"].map(owner);
        assert_eq!(owners, [4711, 0, 0, 4711]);
        assert_eq!(fs::metadata(path("new")).unwrap().gid(), 4712);
    }
}
