//! Values made of files that may change while the agent runs: tokens and certificates of sources that listen.
//!
//! The files are read again and again, which works on network mounts and for Kubernetes' symbolic links, in a thread of
//! its own: a mount that hangs stops nothing else. A file that differs between two looks is still being written.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, unbounded};

use crate::sys::thread;
use crate::telemetry::message::Message;
use crate::text::small_file;

/// Time between two looks. A change is in use after three of them at most.
const LOOK: Duration = Duration::from_secs(1);

/// Why a value can't be made: which file, by its place in the list, and what is wrong with it.
pub type Invalid = (usize, String);

type Make<T> = dyn Fn(&[Vec<u8>]) -> Result<T, Invalid> + Send + Sync;

/// A value made of files.
pub struct Watched<T> {
    /// For the log, such as `the tokens of clients`.
    name: &'static str,
    paths: Vec<PathBuf>,
    make: Box<Make<T>>,
    /// The current value, or why there is none yet.
    current: RwLock<Result<Arc<T>, String>>,
    /// Only the thread that looks takes this.
    changes: Mutex<Changes>,
}

/// Which contents were seen, and which were last used.
struct Changes {
    seen: Contents,
    used: Contents,
}

type Contents = Result<Vec<Vec<u8>>, Invalid>;

impl Changes {
    /// Whether these contents, which were found now, are to be used: they are new, and the same as at the last look or
    /// wanted at once.
    fn found(&mut self, contents: &Contents, at_once: bool) -> bool {
        let is_settled = *contents == self.seen;
        self.seen.clone_from(contents);
        let is_wanted = (is_settled || at_once) && *contents != self.used;
        if is_wanted {
            self.used.clone_from(contents);
        }
        is_wanted
    }
}

impl<T> Watched<T> {
    /// Reads the files and makes the value of what is in them. Files that can't be read are waited for.
    ///
    /// # Errors
    /// A file's content can't be used.
    pub fn open(
        name: &'static str,
        paths: Vec<PathBuf>,
        make: impl Fn(&[Vec<u8>]) -> Result<T, Invalid> + Send + Sync + 'static,
    ) -> Result<Self, Invalid> {
        let contents = read(&paths);
        let current = match &contents {
            Ok(contents) => Ok(Arc::new(make(contents)?)),
            Err((place, error)) => Err(format!("{} {error}", paths[*place].display())),
        };
        Ok(Watched {
            name,
            paths,
            make: Box::new(make),
            current: RwLock::new(current),
            changes: Mutex::new(Changes {
                seen: contents.clone(),
                used: contents,
            }),
        })
    }

    /// The current value.
    ///
    /// # Errors
    /// There was none yet, for this reason.
    pub fn current(&self) -> Result<Arc<T>, String> {
        let current = self.current.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What an operator should know if there is no value yet.
    pub fn awaited(&self) -> Option<Message> {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let (place, error) = changes.seen.as_ref().err()?;
        Some(Message::ListenFilesAwaited {
            path: self.paths[*place].display().to_string(),
            error: error.clone(),
            files: self.name,
        })
    }
}

/// Something that is made again when its files change.
pub trait Watch: Send + Sync {
    /// Looks at the files. `at_once`: also uses what may not be completely written yet.
    fn look(&self, at_once: bool);
}

impl<T: Send + Sync> Watch for Watched<T> {
    fn look(&self, at_once: bool) {
        let contents = read(&self.paths);
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if !changes.found(&contents, at_once) {
            return;
        }
        drop(changes);
        let made = contents.and_then(|contents| (self.make)(&contents));
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let files = self.name;
        let message = match made {
            Ok(value) => {
                *current = Ok(Arc::new(value));
                Message::ListenFilesChanged { files }
            }
            Err((place, error)) => {
                let path = self.paths[place].display().to_string();
                if current.is_err() {
                    *current = Err(format!("{path} {error}"));
                    Message::ListenFilesAwaited { path, error, files }
                } else {
                    Message::ListenFilesInvalid { path, error, files }
                }
            }
        };
        drop(current);
        message.log();
    }
}

/// Looks at all files every second, and at once when something is sent to the channel, in a thread of its own.
///
/// # Errors
/// There are no more threads.
pub fn watch(files: Vec<Arc<dyn Watch>>) -> io::Result<Sender<()>> {
    let (ask, asked) = unbounded();
    if files.is_empty() {
        return Ok(ask);
    }
    let run = move || {
        loop {
            let at_once = match asked.recv_timeout(LOOK) {
                Ok(()) => true,
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            files.iter().for_each(|file| file.look(at_once));
        }
    };
    thread::spawn("listen-files", run)?;
    Ok(ask)
}

fn read(paths: &[PathBuf]) -> Contents {
    let read_one = |(place, path): (usize, &PathBuf)| {
        small_file::read(path).map_err(|error| (place, format!("can't be read: {error}")))
    };
    paths.iter().enumerate().map(read_one).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn contents_are_used_once_they_are_new_and_settled() {
        let contents = |text: &str| -> Contents { Ok(vec![text.into()]) };
        let gone = || -> Contents { Err((0, "can't be read".into())) };
        let mut changes = Changes {
            seen: contents("a"),
            used: contents("a"),
        };
        for (found, at_once, is_used) in [
            (contents("a"), false, false),
            (contents("b"), false, false),
            (contents("b"), false, true),
            (contents("b"), false, false),
            (contents("c"), false, false),
            (contents("cd"), false, false),
            (contents("cd"), false, true),
            (contents("e"), true, true),
            (contents("e"), true, false),
            (gone(), false, false),
            (contents("e"), false, false),
            (gone(), false, false),
            (gone(), false, true),
            (gone(), false, false),
            (contents("e"), false, false),
            (contents("e"), false, true),
        ] {
            assert_eq!(changes.found(&found, at_once), is_used, "{found:?}");
        }
    }

    #[test]
    fn what_can_not_be_used_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("number");
        fs::write(&path, "1").unwrap();
        let make = |contents: &[Vec<u8>]| {
            let text = String::from_utf8_lossy(&contents[0]).into_owned();
            text.parse::<u8>()
                .map_err(|_| (0, "is no number".to_owned()))
        };
        let number = Watched::open("numbers", vec![path.clone()], make).unwrap();
        for (content, expected) in [("2", 2), ("x", 2), ("", 2), ("3", 3)] {
            fs::write(&path, content).unwrap();
            number.look(true);
            assert_eq!(number.current().map(|number| *number), Ok(expected));
        }
        fs::remove_file(&path).unwrap();
        number.look(true);
        assert_eq!(number.current().map(|number| *number), Ok(3));
        let later = Watched::open("numbers", vec![path.clone()], make).unwrap();
        assert!(later.current().unwrap_err().contains(" can't be read: "));
        for (content, is_used) in [("x", false), ("4", true), ("x", true)] {
            fs::write(&path, content).unwrap();
            later.look(true);
            assert_eq!(later.current().is_ok(), is_used, "{content}");
        }
        let wrong = Watched::open("numbers", vec![path], make).err().unwrap();
        assert_eq!(wrong.1, "is no number");
    }
}
