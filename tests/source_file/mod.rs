//! `file:PATH`: the agent follows a log while its server appends to it, rotates it, truncates it or takes it away. The
//! file is the buffer while the webhook is, so nothing of it is dropped.

mod reading;
mod rotation;
mod waiting;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::support::{Agent, Webhook, arrived, event, eventually};

/// An audit log and the server that writes it.
struct Log {
    dir: TempDir,
    /// The server's own handle: after a rename it stays with the renamed file until the server opens its log anew.
    file: File,
    rotations: usize,
}

impl Log {
    /// An empty log in a directory of its own.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = append_to(&dir.path().join("audit.log"), 0o644);
        Self {
            dir,
            file,
            rotations: 0,
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("audit.log")
    }

    fn source(&self) -> String {
        format!("file:{}", self.path().display())
    }

    fn write(&mut self, text: &str) {
        self.file.write_all(text.as_bytes()).unwrap();
    }

    fn write_events(&mut self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            self.write(&(event(number) + "\n"));
        }
    }

    /// What logrotate does first. The server does not know of it yet.
    fn rename(&mut self) {
        self.rotations += 1;
        let to = self.path().with_extension(self.rotations.to_string());
        fs::rename(self.path(), to).unwrap();
    }

    /// What the server does when it is told of the rename.
    fn reopen(&mut self) {
        self.file = append_to(&self.path(), 0o644);
    }
}

fn append_to(path: &PathBuf, mode: u32) -> File {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(mode);
    options.open(path).unwrap()
}

/// Options that make everything happen soon.
const SOON: [&str; 9] = [
    "--auth-token=Splunk test",
    "--batch-age",
    "5ms",
    "--backoff-min",
    "10ms",
    "--backoff-max",
    "50ms",
    "--report-interval",
    "100ms",
];

fn start(hook: &Webhook, sources: &[&str], options: &[&str]) -> Agent {
    let sources = sources.iter().flat_map(|source| ["--source", source]);
    Agent::command()
        .args(["run", "--endpoint", &hook.url()])
        .args(SOON)
        .args(sources)
        .args(options)
        .spawn()
}

/// Waits until the agent has read all that was written.
#[track_caller]
fn wait_until_read(agent: &Agent, log: &Log) {
    let size = log.path().metadata().unwrap().len();
    eventually("the agent has read the whole file", || {
        (agent.offset(&log.path()) == Some(size)).then_some(())
    });
}

/// Each event up to the last has arrived once. After an outage they come in whatever order the sender finds best.
#[track_caller]
fn assert_all_arrive(hook: &Webhook, last: u64) {
    hook.wait_for_events(usize::try_from(last).unwrap());
    let mut arrived = arrived(hook);
    arrived.sort_unstable();
    let mut expected: Vec<_> = (1..=last).map(event).collect();
    expected.sort_unstable();
    assert_eq!(arrived, expected);
}
