//! A state directory that does not answer, such as one on a mount whose server is away. Who waits for it can't tell, so
//! a thread of its own does.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::message::Message;
use crate::text::quantity::HumanDuration;

/// After so long it is told.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Knows who waits for the directory, and since when.
#[derive(Debug, Clone, Default)]
pub struct Waits(Arc<Mutex<Vec<Wait>>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wait {
    since: Instant,
    /// What that means for the agent.
    so: &'static str,
}

impl Waits {
    /// Tells in the log from now on if work in `dir` takes too long, and when it no longer does.
    ///
    /// # Errors
    /// No more threads.
    pub fn watch(dir: &Path) -> io::Result<Self> {
        let waits = Waits::default();
        let (watched, dir) = (waits.clone(), dir.display().to_string());
        thread::Builder::new().name("hang".into()).spawn(move || {
            let mut told: Option<Wait> = None;
            loop {
                thread::sleep(LOOK);
                let oldest = watched.oldest();
                match (told, oldest) {
                    (Some(wait), oldest)
                        if oldest.is_none_or(|oldest| oldest.since > wait.since) =>
                    {
                        let lasted = HumanDuration(wait.since.elapsed());
                        Message::StateDirRestored {
                            dir: dir.clone(),
                            lasted,
                        }
                        .log();
                        told = None;
                    }
                    (None, Some(wait)) if wait.since.elapsed() >= PATIENCE => {
                        Message::StateDirSlow {
                            dir: dir.clone(),
                            lasts: HumanDuration(wait.since.elapsed()),
                            effect: wait.so,
                        }
                        .log();
                        told = Some(wait);
                    }
                    _ => {}
                }
            }
        })?;
        Ok(waits)
    }

    /// Does work in the directory. `so` says what it means if that takes long.
    pub fn during<T>(&self, so: &'static str, work: impl FnOnce() -> T) -> T {
        let wait = Wait {
            since: Instant::now(),
            so,
        };
        self.lock().push(wait);
        let done = work();
        let mut waits = self.lock();
        if let Some(place) = waits.iter().position(|other| *other == wait) {
            waits.swap_remove(place);
        }
        done
    }

    fn oldest(&self) -> Option<Wait> {
        self.lock().iter().min_by_key(|wait| wait.since).copied()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Wait>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
