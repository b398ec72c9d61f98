//! Changes the settings file: one at a time, and whole or not at all, whatever comes in between.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown,
};
use std::path::{Path, PathBuf};

use crate::config::error::CommandError;
use crate::config::opt::Opt;
use crate::config::text::{self, Setting, SyntaxError};

/// The settings file as it was read.
#[derive(Debug)]
pub struct SettingsFile {
    /// Where it is.
    pub path: PathBuf,
    /// The user named it, so it is more than the place where one may be.
    pub is_given: bool,
    /// Its settings, or why they are not known.
    pub settings: Result<Vec<Setting>, ErrorKind>,
}

impl SettingsFile {
    /// Reads the file. A missing one, or one that this user may not read and did not name, is no error.
    ///
    /// # Errors
    /// Names the file and the line that is wrong.
    pub fn read(path: PathBuf, is_given: bool) -> Result<Self, String> {
        let settings = match fs::read(&path) {
            Ok(bytes) => {
                let settings = text::decode(&bytes).and_then(text::parse);
                let at = |error: SyntaxError| {
                    format!("{}:{}: {}", path.display(), error.line, error.what)
                };
                Ok(settings.map_err(at)?)
            }
            Err(error) => match error.kind() {
                ErrorKind::NotFound => Err(ErrorKind::NotFound),
                ErrorKind::PermissionDenied if !is_given => Err(ErrorKind::PermissionDenied),
                _ => return Err(format!("{}: can't be read: {error}", path.display())),
            },
        };
        Ok(SettingsFile {
            path,
            is_given,
            settings,
        })
    }

    /// All settings, also those that are not ours; none if they are not known.
    pub fn settings(&self) -> &[Setting] {
        self.settings.as_deref().unwrap_or_default()
    }

    /// The line that sets an option.
    pub fn setting(&self, option: Opt) -> Option<&Setting> {
        let variable = option.variable();
        // It can't name another file in its place.
        let mut settings = self.settings().iter().filter(|_| option != Opt::Config);
        settings.find(|setting| setting.name == variable)
    }
}

/// It holds a token.
const MODE: u32 = 0o600;
/// As many as Linux follows.
const LINKS: usize = 40;

/// The new file beside the one that it is to replace. Its name is always the same, so that its lock keeps out
/// all others, and that what a killed command has left is used again. Removed when dropped.
struct Draft {
    file: File,
    path: PathBuf,
    has_moved: bool,
}

/// Replaces the file by the text that `edit` makes of its content, if it has any. Whether that was necessary.
///
/// # Errors
/// That of `edit`, or names the file and says why it can't be written; then it is as it was.
pub fn change(
    path: &Path,
    edit: impl FnOnce(Option<&[u8]>) -> Result<String, CommandError>,
) -> Result<bool, CommandError> {
    let failed = |what: String| {
        let path = path.display();
        CommandError::Failed(format!(
            "{path}: can't be changed, so it is as it was: {what}"
        ))
    };
    let at = |path: &Path, error: &io::Error| failed(format!("{}: {error}", path.display()));

    let real = follow(path).map_err(|error| at(path, &error))?;
    let (Some(directory), Some(name)) = (real.parent(), real.file_name()) else {
        return Err(failed("it is no file".into()));
    };
    let directory = match directory.as_os_str().is_empty() {
        true => Path::new("."),
        false => directory,
    };
    make_directory(directory).map_err(|error| at(directory, &error))?;
    let mut new_name = OsString::from(".");
    new_name.push(name);
    new_name.push(".new");
    let new = directory.join(new_name);

    let draft = Draft::lock(&new).map_err(|error| at(&new, &error))?;
    let old = read(&real).map_err(|error| at(&real, &error))?;
    let (content, metadata) = old.unzip();
    let text = edit(content.as_deref())?;
    let is_same = content.is_some_and(|content| content == text.as_bytes());
    if is_same
        && metadata
            .as_ref()
            .is_some_and(|old| old.mode() & 0o7777 == MODE)
    {
        return Ok(false);
    }
    draft
        .write(&text, metadata.as_ref())
        .map_err(|error| at(&new, &error))?;
    draft.replace(&real).map_err(|error| match error.kind() {
        ErrorKind::ResourceBusy => failed("it is a mount; mount its directory instead".into()),
        _ => at(&real, &error),
    })?;
    // Without this, a crash of the host could bring the old file back.
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|error| {
        let path = path.display();
        CommandError::Failed(format!(
            "{path}: is changed, but maybe not for good: {error}"
        ))
    })?;
    Ok(true)
}

/// The file that a symbolic link means, also where that is not there yet.
fn follow(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("")).join(target),
            // What else may be wrong shows when it is opened.
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

/// Not those above it: they would rather be misspelt, or not mounted.
fn make_directory(path: &Path) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    match DirBuilder::new().mode(0o755).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// The file's content, if it is there.
fn read(path: &Path) -> io::Result<Option<(Vec<u8>, Metadata)>> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(Some((fs::read(path)?, metadata))),
        Ok(_) => Err(io::Error::other("is no regular file")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Draft {
    /// Waits until nobody else has it.
    fn lock(path: &Path) -> io::Result<Self> {
        loop {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(MODE)
                .custom_flags(libc::O_NOFOLLOW)
                .open(path)?;
            file.lock()?;
            let locked = file.metadata()?;
            match fs::symlink_metadata(path) {
                Ok(found) if (found.dev(), found.ino()) == (locked.dev(), locked.ino()) => {
                    if !locked.is_file() || locked.nlink() != 1 {
                        return Err(io::Error::other("is in the way; remove it"));
                    }
                    return Ok(Draft {
                        file,
                        path: path.to_owned(),
                        has_moved: false,
                    });
                }
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                // Whoever had it has removed it, or made it the settings file.
                _ => {}
            }
        }
    }

    /// Writes the text, for the owner of the file that it is to replace.
    fn write(&self, text: &str, old: Option<&Metadata>) -> io::Result<()> {
        let new = self.file.metadata()?;
        self.file.set_len(0)?;
        self.file.set_permissions(Permissions::from_mode(MODE))?;
        if let Some(old) = old.filter(|old| (old.uid(), old.gid()) != (new.uid(), new.gid())) {
            fchown(&self.file, Some(old.uid()), Some(old.gid()))?;
        }
        (&self.file).write_all(text.as_bytes())?;
        self.file.sync_all()
    }

    fn replace(mut self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        self.has_moved = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.has_moved {
            // If it stays, the next command uses it.
            let _ = fs::remove_file(&self.path);
        }
    }
}
