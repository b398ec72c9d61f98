//! The settings file: read, and changed completely or not at all, by one process at a time.

use std::fs::{self, DirBuilder, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::config::error::{CommandError, UsageError};
use crate::config::opt::Opt;
use crate::config::text::{self, Setting, SyntaxError};
use crate::sys::atomic_file::{self, AtomicFile};
use crate::sys::{host, lock};
use crate::text::small_file;

/// The settings file as it was read.
#[derive(Debug)]
pub struct SettingsFile {
    /// Where it is.
    pub path: PathBuf,
    /// The user named it, so it is more than the default place, where a file may be.
    pub is_given: bool,
    /// Its settings, or why they are unknown.
    pub settings: Result<Vec<Setting>, ErrorKind>,
}

impl SettingsFile {
    /// Reads the file. It is no error if it is missing, or if this user may not read it and did not name it.
    ///
    /// # Errors
    /// Wrong usage names the file and the line that is wrong; any other error says why the file can't be read, which
    /// may pass by itself.
    pub fn read(path: PathBuf, is_given: bool) -> Result<Self, CommandError> {
        let settings = match small_file::read(&path) {
            Ok(bytes) => {
                let settings = text::decode(&bytes).and_then(text::parse);
                let at = |error: SyntaxError| {
                    format!("{}:{}: {}", path.display(), error.line, error.what)
                };
                Ok(settings.map_err(|error| UsageError(at(error)))?)
            }
            Err(error) => match error.kind() {
                ErrorKind::NotFound => Err(ErrorKind::NotFound),
                ErrorKind::PermissionDenied if !is_given => Err(ErrorKind::PermissionDenied),
                kind => {
                    let what = format!("{}: can't be read: {error}", path.display());
                    return Err(match kind {
                        ErrorKind::IsADirectory => UsageError(what).into(),
                        _ => CommandError::Failed(what),
                    });
                }
            },
        };
        Ok(SettingsFile {
            path,
            is_given,
            settings,
        })
    }

    /// All settings, including those that are not ours; empty if they are unknown.
    pub fn settings(&self) -> &[Setting] {
        self.settings.as_deref().unwrap_or_default()
    }

    /// The line that sets an option.
    pub fn setting(&self, option: Opt) -> Option<&Setting> {
        let variable = option.variable();
        // The file can't name another file in its place.
        let mut settings = self.settings().iter().filter(|_| option != Opt::Config);
        settings.find(|setting| setting.name == variable)
    }
}

/// The file contains a token.
const MODE: u32 = 0o600;
/// For a group such as the service's, which can go on reading what it could read.
const GROUP_READS: u32 = 0o040;
/// As many as Linux follows.
const MAX_LINKS: usize = 40;

/// Replaces the file by the text that `edit` makes of its content (`None` if there is no file), while nobody else
/// changes it. Returns whether that was necessary.
///
/// # Errors
/// That of `edit`, or names the file and why it can't be written; then it is unchanged.
pub fn change(
    path: &Path,
    edit: impl FnOnce(Option<&[u8]>) -> Result<String, CommandError>,
) -> Result<bool, CommandError> {
    let failed = |error: io::Error| unchanged(path, &error.to_string());
    let real = resolve_links(path).map_err(failed)?;
    let lock_path = atomic_file::beside(&real, "lock").map_err(failed)?;
    let directory = atomic_file::directory(&real);
    let at = |place: &Path, error: io::Error| {
        let fix = match error.kind() {
            ErrorKind::PermissionDenied => "; fix: run this as root",
            _ => "",
        };
        unchanged(path, &format!("{}: {error}{fix}", place.display()))
    };
    make_directory(directory).map_err(|error| at(directory, error))?;
    let _lock = lock::lock(&lock_path).map_err(|error| at(&lock_path, error))?;
    let changed = change_locked(&real, edit);
    let _ = fs::remove_file(&lock_path);
    changed
}

fn change_locked(
    path: &Path,
    edit: impl FnOnce(Option<&[u8]>) -> Result<String, CommandError>,
) -> Result<bool, CommandError> {
    let failed = |error: io::Error| unchanged(path, &error.to_string());
    let old = read(path).map_err(failed)?;
    let (content, metadata) = old.unzip();
    let text = edit(content.as_deref())?;
    let old_mode = metadata.as_ref().map(|old| old.mode() & 0o7777);
    let mode = MODE | old_mode.unwrap_or(MODE) & GROUP_READS;
    if content.is_some_and(|content| content == text.as_bytes()) && old_mode == Some(mode) {
        return Ok(false);
    }
    refuse_foreign(&atomic_file::beside(path, "new").map_err(failed)?).map_err(failed)?;
    let file = AtomicFile {
        mode,
        owner: metadata.map(|old| (old.uid(), old.gid())),
        sync: true,
    };
    file.replace(path, text.as_bytes())
        .map_err(|error| match error.kind() {
            ErrorKind::ResourceBusy => unchanged(
                path,
                "it is a mount point; fix: mount its directory instead",
            ),
            _ => failed(error),
        })?;
    atomic_file::sync_directory(path).map_err(|error| {
        let path = path.display();
        CommandError::Failed(format!(
            "{path}: changed, but a power failure may undo that: {error}"
        ))
    })?;
    Ok(true)
}

/// Refuses to replace a temporary file that another user has made: whoever can do that can do more.
fn refuse_foreign(temporary: &Path) -> io::Result<()> {
    match fs::symlink_metadata(temporary) {
        Ok(found) if found.uid() != host::user() => Err(io::Error::other(format!(
            "{} belongs to another user ({}); fix: see who made it, and remove it",
            temporary.display(),
            found.uid()
        ))),
        _ => Ok(()),
    }
}

fn unchanged(path: &Path, what: &str) -> CommandError {
    CommandError::Failed(format!("{}: can't be changed: {what}", path.display()))
}

/// The file that a symbolic link leads to, even if that does not exist yet.
fn resolve_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("")).join(target),
            // Any other problem shows when the file is opened.
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

/// Creates the directory, but none above it: a missing parent is more likely a typing error, or not mounted.
fn make_directory(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o755).create(path) {
        Err(_) if path.is_dir() => Ok(()),
        created => created,
    }
}

/// The file's content, if there is a file.
fn read(path: &Path) -> io::Result<Option<(Vec<u8>, Metadata)>> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(Some((fs::read(path)?, metadata))),
        Ok(_) => Err(io::Error::other("it is not a regular file")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
