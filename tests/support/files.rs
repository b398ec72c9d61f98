//! Logs that agents read, in directories that outlive the agents.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{Agent, AgentCommand, Webhook};

/// A webhook, a directory of logs and a state directory.
pub(crate) struct Files {
    pub(crate) hook: Webhook,
    pub(crate) logs: TempDir,
    pub(crate) state: TempDir,
}

impl Files {
    pub(crate) fn new() -> Self {
        Files {
            hook: Webhook::start(),
            logs: tempfile::tempdir().unwrap(),
            state: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.logs.path().join(name)
    }

    /// An agent that follows the files of this name or pattern.
    pub(crate) fn command(&self, pattern: &str, options: &[&str]) -> AgentCommand {
        Agent::command()
            .args(["run", "--auth-token=Splunk test", "--batch-age=5ms"])
            .args(["--backoff-min=10ms", "--backoff-max=50ms"])
            .args(["--report-interval=100ms"])
            .endpoint(&self.hook.url())
            .arg("--state-dir")
            .arg(self.state.path())
            .source(&format!("file:{}", self.path(pattern).display()))
            .args(options)
    }

    pub(crate) fn start(&self, pattern: &str) -> Agent {
        self.command(pattern, &[]).spawn()
    }

    /// Appends to a log, and creates its directories if missing.
    pub(crate) fn append(&self, name: &str, text: &str) {
        append(&self.path(name), text);
    }

    /// The numbers of the events that have arrived, in order of arrival.
    pub(crate) fn arrived(&self) -> Vec<u64> {
        let events = self.hook.delivered_events().into_iter();
        events.map(|event| number(&event)).collect()
    }
}

/// The number `n` of an event.
pub(crate) fn number(event: &[u8]) -> u64 {
    let event: serde_json::Value = serde_json::from_slice(event).unwrap();
    event["n"].as_u64().unwrap()
}

/// Appends to a file, and creates its directories if missing.
pub(crate) fn append(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = OpenOptions::new();
    let mut file = file.append(true).create(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}
