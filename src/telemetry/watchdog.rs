//! Notices work that takes longer than it should: a state directory that does not respond, such as one on a mount whose
//! server is down, the same for files that are followed, and a request to the webhook that its own timeouts do not end.
//! The thread doing such work can't report it, so a separate thread does.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
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
pub struct Watchdog {
    tasks: Arc<Mutex<Tasks>>,
    /// What it is told of is done here, unless it is something else.
    dir: Arc<str>,
}

/// A kind of work.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Task {
    /// A request to the webhook.
    Request,
    /// Work in a directory of the agent's, and the effect if that takes long.
    Dir { dir: Arc<str>, effect: &'static str },
    /// Looking at the files of a source, and reading them.
    Files { source: Arc<str> },
}

/// All work under way. No clock: time is an argument.
#[derive(Debug, Default)]
struct Tasks {
    running: Vec<Running>,
    /// What was logged, and since when that has been running.
    known: Vec<(Task, Instant)>,
    last: u64,
}

#[derive(Debug)]
struct Running {
    id: u64,
    thread: ThreadId,
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
        let watchdog = Watchdog::default().of(dir);
        let watched = watchdog.clone();
        spawn("watchdog", move || {
            loop {
                thread::sleep(CHECK);
                for message in watched.lock().check(Instant::now()) {
                    message.log();
                }
            }
        })?;
        Ok(watchdog)
    }

    /// The same one, for those who work in this directory.
    #[must_use]
    pub fn of(&self, dir: &Path) -> Self {
        Watchdog {
            tasks: Arc::clone(&self.tasks),
            dir: dir.display().to_string().into(),
        }
    }

    /// Runs `work`, a request, which should end within `limit`.
    pub fn request<T>(&self, limit: Duration, work: impl FnOnce() -> T) -> T {
        self.during(Task::Request, limit, work)
    }

    /// Runs `work` in the directory. `effect` says what it means if that takes long.
    pub fn dir<T>(&self, effect: &'static str, work: impl FnOnce() -> T) -> T {
        let dir = Arc::clone(&self.dir);
        self.during(Task::Dir { dir, effect }, DIR_LIMIT, work)
    }

    /// Runs `work` on the files of this source.
    pub fn files<T>(&self, source: &Arc<str>, work: impl FnOnce() -> T) -> T {
        let source = Arc::clone(source);
        self.during(Task::Files { source }, FILES_LIMIT, work)
    }

    /// The work of this thread does not hang, however long all of it takes.
    pub fn goes_on(&self) {
        self.lock().goes_on(thread::current().id(), Instant::now());
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
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tasks {
    fn begin(&mut self, task: Task, limit: Duration, since: Instant) -> u64 {
        self.last += 1;
        self.running.push(Running {
            id: self.last,
            thread: thread::current().id(),
            task,
            since,
            limit,
        });
        self.last
    }

    fn goes_on(&mut self, thread: ThreadId, now: Instant) {
        let own = self.running.iter_mut().filter(|it| it.thread == thread);
        own.for_each(|running| running.since = now);
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

    /// What should be logged: each time something begins to take too long, and when that is over. Of a directory, that
    /// is when nothing waits for it any more.
    fn check(&mut self, now: Instant) -> Vec<Message> {
        let overdue: Vec<_> = self
            .overdue(now)
            .map(|(task, since)| (task.clone(), since))
            .collect();
        let mut messages = Vec::new();
        for (task, since) in &overdue {
            if self.known.iter().all(|(known, _)| known != task) {
                self.known.push((task.clone(), *since));
                messages.push(task.slow(HumanDuration(now.duration_since(*since))));
            }
        }
        let is_over =
            |(task, _): &mut (Task, Instant)| !overdue.iter().any(|(it, _)| it.is_like(task));
        let mut told: Vec<Task> = Vec::new();
        for (task, since) in self.known.extract_if(.., is_over) {
            if !told.iter().any(|it| it.is_like(&task)) {
                messages.push(task.over(HumanDuration(now.duration_since(since))));
                told.push(task);
            }
        }
        messages
    }
}

impl Task {
    /// Whether both are over at once.
    fn is_like(&self, other: &Task) -> bool {
        match (self, other) {
            (Task::Dir { dir, .. }, Task::Dir { dir: other, .. }) => dir == other,
            _ => self == other,
        }
    }

    fn slow(&self, lasts: HumanDuration) -> Message {
        match self {
            Task::Request => Message::RequestStuck { lasts },
            Task::Dir { dir, effect } => Message::StateDirSlow {
                dir: dir.to_string(),
                lasts,
                effect,
            },
            Task::Files { source } => Message::FilesSlow {
                source: source.to_string(),
                lasts,
            },
        }
    }

    fn over(&self, lasted: HumanDuration) -> Message {
        match self {
            Task::Request => Message::RequestUnstuck { lasted },
            Task::Dir { dir, .. } => Message::StateDirRestored {
                dir: dir.to_string(),
                lasted,
            },
            Task::Files { source } => Message::FilesRestored {
                source: source.to_string(),
                lasted,
            },
        }
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
        let dir = Task::Dir {
            dir: "/b".into(),
            effect: EFFECT,
        };
        for task in [Task::Request, dir, Task::Files { source }] {
            let mut tasks = Tasks::default();
            let names =
                |messages: Vec<Message>| -> Vec<_> { messages.iter().map(Message::name).collect() };
            let (slow, over) = match task {
                Task::Request => ("request_stuck", "request_unstuck"),
                Task::Dir { .. } => ("state_dir_slow", "state_dir_restored"),
                Task::Files { .. } => ("files_slow", "files_restored"),
            };
            let first = tasks.begin(task.clone(), MINUTE, at(0));
            assert_eq!(names(tasks.check(at(60))), [""; 0]);
            assert_eq!(names(tasks.check(at(61))), [slow]);
            let second = tasks.begin(task, MINUTE, at(62));
            assert_eq!(names(tasks.check(at(70))), [""; 0]);
            tasks.end(first);
            assert_eq!(names(tasks.check(at(71))), [over]);
            assert_eq!(names(tasks.check(at(123))), [slow]);
            tasks.end(second);
            assert_eq!(names(tasks.check(at(124))), [over]);
            assert!(tasks.running.is_empty());
        }
    }

    #[test]
    fn a_directory_is_logged_by_its_name_once_for_each_effect_and_when_nothing_waits_for_it() {
        let watchdog = Watchdog::default().of(Path::new("/state"));
        let spool = watchdog.of(Path::new("/spool"));
        let messages = |later| -> Vec<String> {
            let messages = watchdog.lock().check(Instant::now() + later);
            messages.iter().map(Message::to_string).collect()
        };
        let assert_slow = |effect| {
            let slow = messages(MINUTE);
            assert!(slow.len() == 1 && slow[0].starts_with("/spool: no answer for 1m"));
            assert!(slow[0].ends_with(effect), "{slow:?}");
        };
        spool.dir("events wait", || {
            assert_slow("events wait");
            spool.dir("clients wait", || {
                assert_slow("clients wait");
                watchdog.dir(EFFECT, || {
                    let slow = messages(MINUTE);
                    assert!(slow.len() == 1 && slow[0].starts_with("/state: no answer"));
                });
                assert!(messages(MINUTE)[0].starts_with("/state: answered"));
            });
            for effect in ["clients wait", "events wait"] {
                assert_eq!(messages(MINUTE), [""; 0]);
                spool.dir(effect, || assert_eq!(messages(MINUTE), [""; 0]));
            }
        });
        let over = messages(MINUTE);
        assert!(over.len() == 1 && over[0].starts_with("/spool: answered"));
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
        watchdog.dir(EFFECT, || assert!(!seen.is_request_stuck(late())));
    }

    #[test]
    fn a_look_at_many_files_does_not_hang_while_it_goes_on() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let other = thread::spawn(|| thread::current().id()).join().unwrap();
        let mut tasks = Tasks::default();
        let source = Arc::from("file:/a");
        tasks.begin(Task::Files { source }, MINUTE, at(0));
        for (thread, seconds, logged) in [
            (thread::current().id(), 50, None),
            (other, 100, Some("files_slow")),
            (thread::current().id(), 111, Some("files_restored")),
        ] {
            tasks.goes_on(thread, at(seconds));
            let messages = tasks.check(at(seconds + 11).max(at(110)));
            assert_eq!(messages.first().map(Message::name), logged, "{seconds}");
        }
    }
}
