//! Notices work that takes longer than it should: a state directory that does not respond, such as one on a mount whose
//! server is down, the same for files that are followed, and a request to the webhook that its own timeouts do not end.
//! The thread doing such work can't report it, so a separate thread does.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::sys::thread::spawn;
use crate::telemetry::message::Message;
use crate::text::quantity::HumanDuration;

/// The effect of a state directory that takes long while the agent starts.
pub const AT_START: &str = "the start waits for it";

/// How long work in the state directory may take.
const DIR_LIMIT: Duration = Duration::from_secs(5);
/// How long looking at a source's files, and one turn of reading, may take.
const FILES_LIMIT: Duration = Duration::from_secs(10);
/// The time between two checks.
const CHECK: Duration = Duration::from_secs(1);

/// Knows what work is under way, and since when. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Watchdog(Arc<Mutex<Tasks>>);

/// A kind of work.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Task {
    /// A request to the webhook.
    Request,
    /// Work in the state directory, and the effect if that takes long.
    StateDir { effect: &'static str },
    /// Looking at the files of a source, and reading them.
    Files { source: Arc<str> },
}

/// All work under way. No clock: time is an argument.
#[derive(Debug, Default)]
struct Tasks {
    running: Vec<Running>,
    /// Since when a stuck request that was logged has been running.
    stuck: Option<Instant>,
    /// The same for the state directory.
    slow: Option<Instant>,
    /// The same for the files of sources.
    silent: Vec<(Arc<str>, Instant)>,
    last: u64,
}

#[derive(Debug)]
struct Running {
    id: u64,
    task: Task,
    since: Instant,
    limit: Duration,
}

impl Watchdog {
    /// From now on, logs what takes too long, and when it no longer does. `dir` is the state directory.
    ///
    /// # Errors
    /// No more threads can be started.
    pub fn start(dir: &Path) -> io::Result<Self> {
        let watchdog = Watchdog::default();
        let (watched, dir) = (watchdog.clone(), dir.display().to_string());
        spawn("watchdog", move || {
            loop {
                thread::sleep(CHECK);
                for message in watched.lock().check(Instant::now(), &dir) {
                    message.log();
                }
            }
        })?;
        Ok(watchdog)
    }

    /// Runs `work`, a request, which should end within `limit`.
    pub fn request<T>(&self, limit: Duration, work: impl FnOnce() -> T) -> T {
        self.during(Task::Request, limit, work)
    }

    /// Runs `work` in the state directory. `effect` says what it means if that takes long.
    pub fn state_dir<T>(&self, effect: &'static str, work: impl FnOnce() -> T) -> T {
        self.during(Task::StateDir { effect }, DIR_LIMIT, work)
    }

    /// Runs `work` on the files of this source.
    pub fn files<T>(&self, source: &Arc<str>, work: impl FnOnce() -> T) -> T {
        let source = Arc::clone(source);
        self.during(Task::Files { source }, FILES_LIMIT, work)
    }

    /// Whether a request has not ended within its limit.
    pub fn is_request_stuck(&self, now: Instant) -> bool {
        self.lock()
            .overdue(now)
            .any(|(task, _)| *task == Task::Request)
    }

    fn during<T>(&self, task: Task, limit: Duration, work: impl FnOnce() -> T) -> T {
        let id = self.lock().begin(task, limit, Instant::now());
        let done = work();
        self.lock().end(id);
        done
    }

    fn lock(&self) -> MutexGuard<'_, Tasks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tasks {
    fn begin(&mut self, task: Task, limit: Duration, since: Instant) -> u64 {
        self.last += 1;
        self.running.push(Running {
            id: self.last,
            task,
            since,
            limit,
        });
        self.last
    }

    fn end(&mut self, id: u64) {
        self.running.retain(|running| running.id != id);
    }

    /// Work that is beyond its limit, and since when it runs, the oldest first.
    fn overdue(&self, now: Instant) -> impl Iterator<Item = (&Task, Instant)> {
        let is_overdue =
            move |running: &&Running| now.duration_since(running.since) > running.limit;
        let overdue = self.running.iter().filter(is_overdue);
        overdue.map(|running| (&running.task, running.since))
    }

    /// What should be logged: each time something begins to take too long, and when that is over.
    fn check(&mut self, now: Instant, dir: &str) -> Vec<Message> {
        let mut messages = Vec::new();
        let for_long = |since| HumanDuration(now.duration_since(since));
        let mut overdue = self.overdue(now);
        let request = overdue.find_map(|(task, since)| (*task == Task::Request).then_some(since));
        drop(overdue);
        match (self.stuck, request) {
            (None, Some(since)) => messages.push(Message::RequestStuck {
                lasts: for_long(since),
            }),
            (Some(since), None) => messages.push(Message::RequestUnstuck {
                lasted: for_long(since),
            }),
            _ => {}
        }
        self.stuck = request.and(self.stuck.or(request));
        let slow = self.overdue(now).find_map(|(task, since)| match task {
            Task::StateDir { effect } => Some((since, *effect)),
            _ => None,
        });
        match (self.slow, slow) {
            (None, Some((since, effect))) => {
                messages.push(Message::StateDirSlow {
                    dir: dir.to_owned(),
                    lasts: for_long(since),
                    effect,
                });
            }
            (Some(since), None) => messages.push(Message::StateDirRestored {
                dir: dir.to_owned(),
                lasted: for_long(since),
            }),
            _ => {}
        }
        let since = slow.map(|(since, _)| since);
        self.slow = since.and(self.slow.or(since));
        let silent = self.overdue(now).filter_map(|(task, since)| match task {
            Task::Files { source } => Some((Arc::clone(source), since)),
            _ => None,
        });
        let silent: Vec<_> = silent.collect();
        let is_in =
            |all: &[(Arc<str>, Instant)], source: &str| all.iter().any(|(it, _)| **it == *source);
        for (source, since) in &silent {
            if !is_in(&self.silent, source) {
                messages.push(Message::FilesSlow {
                    source: source.to_string(),
                    lasts: for_long(*since),
                });
            }
        }
        for (source, since) in &self.silent {
            if !is_in(&silent, source) {
                messages.push(Message::FilesRestored {
                    source: source.to_string(),
                    lasted: for_long(*since),
                });
            }
        }
        self.silent = silent;
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EFFECT: &str = "the start waits for it";
    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn what_takes_too_long_is_logged_once_and_so_is_its_end() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let source = Arc::from("file:/a");
        let state_dir = Task::StateDir { effect: EFFECT };
        for task in [Task::Request, state_dir, Task::Files { source }] {
            let mut tasks = Tasks::default();
            let names =
                |messages: Vec<Message>| -> Vec<_> { messages.iter().map(Message::name).collect() };
            let (slow, over) = match task {
                Task::Request => ("request_stuck", "request_unstuck"),
                Task::StateDir { .. } => ("state_dir_slow", "state_dir_restored"),
                Task::Files { .. } => ("files_slow", "files_restored"),
            };
            let first = tasks.begin(task.clone(), MINUTE, at(0));
            assert_eq!(names(tasks.check(at(60), "")), [""; 0]);
            assert_eq!(names(tasks.check(at(61), "")), [slow]);
            let second = tasks.begin(task, MINUTE, at(62));
            assert_eq!(names(tasks.check(at(70), "")), [""; 0]);
            tasks.end(first);
            assert_eq!(names(tasks.check(at(71), "")), [over]);
            assert_eq!(names(tasks.check(at(123), "")), [slow]);
            tasks.end(second);
            assert_eq!(names(tasks.check(at(124), "")), [over]);
            assert!(tasks.running.is_empty());
        }
    }

    #[test]
    fn a_request_is_stuck_only_while_it_takes_too_long() {
        let watchdog = Watchdog::default();
        let seen = watchdog.clone();
        let late = || Instant::now() + 2 * MINUTE;
        watchdog.request(MINUTE, || {
            assert!(!seen.is_request_stuck(Instant::now()));
            assert!(seen.is_request_stuck(late()));
        });
        assert!(!watchdog.is_request_stuck(late()));
        watchdog.request(Duration::MAX, || assert!(!seen.is_request_stuck(late())));
        watchdog.state_dir(EFFECT, || assert!(!seen.is_request_stuck(late())));
    }
}
