//! Notices work that takes longer than it should: a state directory that does not respond, such as one on a mount whose
//! server is down, and a request to the webhook that its own timeouts do not end. The thread doing such work can't
//! report it, so a separate thread does.

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
/// The time between two checks.
const CHECK: Duration = Duration::from_secs(1);

/// Knows what work is under way, and since when. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Watchdog(Arc<Mutex<Tasks>>);

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    /// A request to the webhook.
    Request,
    /// Work in the state directory, and the effect if that takes long.
    StateDir { effect: &'static str },
}

/// All work under way. No clock: time is an argument.
#[derive(Debug, Default)]
struct Tasks {
    running: Vec<Running>,
    /// Since when a stuck request that was logged has been running.
    stuck: Option<Instant>,
    /// The same for the state directory.
    slow: Option<Instant>,
    last: u64,
}

#[derive(Debug, Clone, Copy)]
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

    /// Whether a request has not ended within its limit.
    pub fn is_request_stuck(&self, now: Instant) -> bool {
        self.lock().overdue(now, true).is_some()
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

    /// The oldest work that is beyond its limit, of requests or of the state directory.
    fn overdue(&self, now: Instant, is_request: bool) -> Option<Running> {
        let overdue = self.running.iter().filter(|running| {
            (running.task == Task::Request) == is_request
                && now.duration_since(running.since) > running.limit
        });
        overdue.min_by_key(|running| running.since).copied()
    }

    /// What should be logged: each time something begins to take too long, and when that is over.
    fn check(&mut self, now: Instant, dir: &str) -> Vec<Message> {
        let mut messages = Vec::new();
        let for_long = |since| HumanDuration(now.duration_since(since));
        let request = self.overdue(now, true).map(|running| running.since);
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
        let slow = self.overdue(now, false);
        match (self.slow, slow.map(|running| (running.since, running.task))) {
            (None, Some((since, Task::StateDir { effect }))) => {
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
        let since = slow.map(|running| running.since);
        self.slow = since.and(self.slow.or(since));
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
        for task in [Task::Request, Task::StateDir { effect: EFFECT }] {
            let mut tasks = Tasks::default();
            let names =
                |messages: Vec<Message>| -> Vec<_> { messages.iter().map(Message::name).collect() };
            let (slow, over) = match task {
                Task::Request => ("request_stuck", "request_unstuck"),
                Task::StateDir { .. } => ("state_dir_slow", "state_dir_restored"),
            };
            let first = tasks.begin(task, MINUTE, at(0));
            assert_eq!(names(tasks.check(at(60), "")), [""; 0]);
            assert_eq!(names(tasks.check(at(61), "")), [slow]);
            assert_eq!(tasks.overdue(at(61), true).is_some(), task == Task::Request);
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
