//! What agents leave under `--state-dir`: checkpoints of files, for their next start, and their status, for `show`. All
//! hosts may write to one directory, on a mount that they share.

pub mod agents;
pub mod checkpoint;
pub mod reject_file;
pub mod status;

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use crate::sys::{lock, owner};

/// The value of `program` in every file here.
pub const PROGRAM: &str = "s3-audit-webhook";

/// How many agents of a host can have a file of a kind in one directory.
const AGENTS: u32 = 1000;

/// A file name for a host's name, which may be anything.
pub fn file_name(host: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
    let name: String = host
        .chars()
        .map(|c| if plain(c) { c } else { '_' })
        .collect();
    match name.strip_prefix('.') {
        Some(rest) => format!("_{rest}"),
        None => name,
    }
}

/// Takes the first name of this host that no other agent uses: `HOST` with this suffix, or else `HOST.2` and so on. It
/// is taken for as long as its lock is open.
///
/// # Errors
/// The directory can't be written to, or there are too many agents.
pub fn take_name(dir: &Path, host: &str, suffix: &str) -> io::Result<(String, File)> {
    let host = file_name(host);
    for number in 1..=AGENTS {
        let name = match number {
            1 => format!("{host}{suffix}"),
            number => format!("{host}.{number}{suffix}"),
        };
        if let Some(lock) = lock::try_lock(&dir.join(format!(".{name}.lock")))? {
            return Ok((name, lock));
        }
    }
    let what = format!("it has {AGENTS} agents of {host} already");
    Err(io::Error::other(what))
}

/// Makes the state directory if its parent is there.
///
/// # Errors
/// It does not exist, and can't be created.
pub fn create_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    match DirBuilder::new().mode(0o755).create(dir) {
        // Everybody may read it, whatever the umask is.
        Ok(()) => {
            fs::set_permissions(dir, Permissions::from_mode(0o755))?;
            owner::hand_over_directory(dir);
            Ok(())
        }
        // Another agent was quicker; or it is not a directory, which the next step reports.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_may_have_any_name() {
        for (host, name) in [
            ("s3-1.example.com", "s3-1.example.com"),
            ("../etc/x", "_._etc_x"),
            (".hidden", "_hidden"),
            ("hé\n", "h__"),
        ] {
            assert_eq!(file_name(host), name);
        }
    }

    #[test]
    fn the_directory_is_made_if_its_parent_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let [new, file] = ["new", "file"].map(|name| dir.path().join(name));
        for _ in 0..2 {
            create_dir(&new).unwrap();
            let mode = fs::metadata(&new).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o755);
        }
        fs::write(&file, "").unwrap();
        create_dir(&file).unwrap();
        let error = create_dir(&dir.path().join("none/new")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}
