//! A `file:` source goes on where the last start has come to, however that ended and whatever has happened to its files
//! since: every event reaches the webhook, and comes twice only if it was in flight. Events are numbered, so
//! that what is lost or comes again shows.

mod from_end;
mod restarts;
mod rotation;
mod state_directory;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::support::{Agent, Balance, Files, append, eventually};

/// Of an event as a line.
const LINE: u64 = 50;

impl Files {
    /// Appends events to a log.
    fn write(&self, name: &str, numbers: impl IntoIterator<Item = u64>) {
        self.append(name, &lines(numbers));
    }

    /// Asserts that exactly these events have arrived over all, in this order.
    #[track_caller]
    fn assert_arrive(&self, numbers: impl IntoIterator<Item = u64>) {
        let expected: Vec<_> = numbers.into_iter().collect();
        self.hook.wait_for_events(expected.len());
        assert_eq!(self.arrived(), expected);
    }

    /// The same in any order: what was written to two files at the same moment has none.
    #[track_caller]
    fn assert_arrive_once(&self, last: u64) {
        self.hook.wait_for_events(usize::try_from(last).unwrap());
        let mut arrived = self.arrived();
        arrived.sort_unstable();
        assert!(arrived.iter().copied().eq(1..=last), "{arrived:?}");
    }

    /// Asserts that each event up to `last` arrives, some maybe more than once, and no others.
    #[track_caller]
    fn assert_all_arrive(&self, last: u64) {
        self.hook.wait_for_events(usize::try_from(last).unwrap());
        eventually("every event arrives", || {
            let arrived: BTreeSet<_> = self.arrived().into_iter().collect();
            (arrived.len() as u64 >= last).then_some(())
        });
        let arrived: BTreeSet<_> = self.arrived().into_iter().collect();
        assert!(arrived.into_iter().eq(1..=last));
    }

    /// The one checkpoint.
    fn checkpoint(&self) -> PathBuf {
        let mut checkpoints = self.checkpoints();
        assert_eq!(checkpoints.len(), 1, "{checkpoints:?}");
        checkpoints.remove(0)
    }

    fn checkpoints(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.state.path()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let is_one = |path: &PathBuf| path.extension().is_some_and(|end| end == "checkpoint");
        paths.filter(is_one).collect()
    }

    /// What the checkpoint says of its files, by their names.
    fn offsets(&self) -> Vec<(String, u64)> {
        if self.checkpoints().is_empty() {
            return Vec::new();
        }
        let text = fs::read_to_string(self.checkpoint()).unwrap();
        let mut newest = BTreeMap::new();
        for line in text.split_inclusive('\n').skip(1) {
            let record = line
                .strip_suffix('\n')
                .and_then(|line| line.split_once(' '));
            let Some((_, record)) = record else { continue };
            let record: serde_json::Value = serde_json::from_str(record).unwrap();
            newest.insert(record["id"].as_u64().unwrap(), record);
        }
        let there = newest
            .into_values()
            .filter(|file| file["dropped"] != true && file["gone"] != true);
        let mut files: Vec<_> = there
            .map(|file| {
                let path = Path::new(file["path"].as_str().unwrap());
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, file["offset"].as_u64().unwrap())
            })
            .collect();
        files.sort();
        files
    }
}

/// So that the first KiB tells files apart, as time stamps do.
fn lines(numbers: impl IntoIterator<Item = u64>) -> String {
    numbers
        .into_iter()
        .map(|number| format!("{:<49}\n", format!(r#"{{"api":"PutObject","n":{number}}}"#)))
        .collect()
}

/// Makes a file look as if it had been written so many seconds ago.
fn age(path: &Path, seconds: u64) {
    let then = SystemTime::now() - Duration::from_secs(seconds);
    let file = File::options().append(true).open(path).unwrap();
    file.set_modified(then).unwrap();
}

#[track_caller]
fn end(agent: Agent) -> Balance {
    agent.signal(libc::SIGTERM);
    agent.wait().done()
}

fn kill(agent: Agent) {
    agent.signal(libc::SIGKILL);
    agent.wait();
}

/// A server that writes some thousand events a second and rotates by `rotate` now and then.
fn write_without_pause(
    story: &Files,
    rotate: impl Fn(&Path) + Send + 'static,
) -> (thread::JoinHandle<u64>, Written) {
    let path = story.path("audit.log");
    let is_over = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_over);
    let writer = thread::spawn(move || {
        let mut last = 0;
        while !seen.load(Ordering::SeqCst) {
            append(&path, &lines(last + 1..=last + 10));
            last += 10;
            if last % 2000 == 0 {
                rotate(&path);
            }
            // The server's pace.
            thread::sleep(Duration::from_millis(3));
        }
        last
    });
    (writer, Written(is_over))
}

struct Written(Arc<AtomicBool>);

impl Written {
    /// Stops the server, and gives the last event's number.
    fn stop(&self, writer: thread::JoinHandle<u64>) -> u64 {
        self.0.store(true, Ordering::SeqCst);
        writer.join().unwrap()
    }
}

/// What logrotate does: `.2` to `.3`, `.1` to `.2`; then the log itself by renaming it.
fn rotate_by_renaming(path: &Path) {
    shift(path);
    fs::rename(path, numbered(path, 1)).unwrap();
}

/// The same, by copying and truncating the log.
fn rotate_by_copying(path: &Path) {
    shift(path);
    fs::copy(path, numbered(path, 1)).unwrap();
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(0)
        .unwrap();
}

fn shift(path: &Path) {
    for number in (1..100).rev() {
        let _ = fs::rename(numbered(path, number), numbered(path, number + 1));
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    PathBuf::from(format!("{}.{number}", path.display()))
}

/// Starts an agent, and ends it when so many events have arrived.
#[track_caller]
fn end_when_arrived(story: &Files, name: &str, last: u64) {
    let agent = story.start(name);
    agent.wait_for_log("started");
    story.assert_arrive(1..=last);
    end(agent);
}
