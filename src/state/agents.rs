//! Reads the [status files](super::status) of agents.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use humantime::parse_rfc3339;
use serde_json::Value;

use super::PROGRAM;
use crate::sys::lock;

/// A file is written at least this often, even if nothing has changed.
pub const HEARTBEAT: Duration = Duration::from_secs(60);

/// An agent that has not reported for this long can be removed.
const FORGOTTEN: Duration = Duration::from_secs(30 * 86_400);

/// No agent's file is as large as this.
const MAX_BYTES: u64 = 1 << 20;

/// An agent, as its status file describes it.
#[derive(Debug)]
pub struct Agent {
    /// Its file's name without the extension.
    pub name: String,
    /// When it last reported, by the clock of the directory's filesystem.
    pub heard: SystemTime,
    /// All that its file holds.
    pub state: Value,
}

/// How an agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It runs.
    Up,
    /// It has stopped.
    Ended,
    /// It has not reported for three heartbeats.
    Silent,
}

impl Status {
    /// Its name for programs.
    pub fn label(self) -> &'static str {
        match self {
            Status::Up => "up",
            Status::Ended => "ended",
            Status::Silent => "silent",
        }
    }
}

/// All agents of a directory, ordered by name, and what is wrong with files that can't be read as an agent's.
///
/// # Errors
/// The directory can't be read.
pub fn read(dir: &Path) -> io::Result<(Vec<Agent>, Vec<String>)> {
    let (mut agents, mut wrong) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(dir)? {
        let file = entry?.file_name();
        let file = file.to_string_lossy();
        let Some(name) = file
            .strip_suffix(".json")
            .filter(|_| !file.starts_with('.'))
        else {
            continue;
        };
        let path = dir.join(&*file);
        match read_file(&path) {
            Ok((heard, state)) => agents.push(Agent {
                name: name.into(),
                heard,
                state,
            }),
            // Removed meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => wrong.push(format!("{}: {error}", path.display())),
        }
    }
    agents.sort_by(|a, b| a.name.cmp(&b.name));
    wrong.sort();
    Ok((agents, wrong))
}

/// Removes the files of agents that had not reported for a month before `now`, and returns their names.
///
/// # Errors
/// The first file that can't be removed.
pub fn prune(dir: &Path, agents: &[Agent], now: SystemTime) -> io::Result<Vec<String>> {
    let mut pruned = Vec::new();
    for agent in agents.iter().filter(|agent| agent.age(now) > FORGOTTEN) {
        let path = dir.join(format!(".{}.lock", agent.name));
        // An agent that hangs still has its lock.
        let Some(_lock) = lock::try_lock(&path)? else {
            continue;
        };
        fs::remove_file(dir.join(format!("{}.json", agent.name)))?;
        fs::remove_file(path)?;
        pruned.push(agent.name.clone());
    }
    Ok(pruned)
}

fn read_file(path: &Path) -> io::Result<(SystemTime, Value)> {
    let file = OpenOptions::new()
        .read(true)
        // Opening a FIFO would block forever.
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("is no regular file"));
    }
    let mut text = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut text)?;
    let state = serde_json::from_slice(&text).unwrap_or(Value::Null);
    if state["program"] != PROGRAM || !state["host"].is_string() {
        return Err(io::Error::other("is no agent's state"));
    }
    Ok((metadata.modified()?, state))
}

impl Agent {
    /// How long ago it last reported.
    pub fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.heard).unwrap_or_default()
    }

    /// Its status.
    pub fn status(&self, now: SystemTime) -> Status {
        if self.state["ended"].is_string() {
            Status::Ended
        } else if self.age(now) > 3 * HEARTBEAT {
            Status::Silent
        } else {
            Status::Up
        }
    }

    /// For programs: what it has written, and its status.
    pub fn json(&self, now: SystemTime) -> Value {
        let mut state = self.state.clone();
        state["name"] = self.name.as_str().into();
        state["status"] = self.status(now).label().into();
        state["heard_seconds_ago"] = self.age(now).as_secs().into();
        state
    }

    /// How long before its last report `at` was, a time from that report. Both times are of its
    /// own clock, so it doesn't matter if that is wrong.
    pub fn before_last_word(&self, at: &Value) -> Option<Duration> {
        let time = |at: &Value| parse_rfc3339(at.as_str()?).ok();
        let (written, at) = (time(&self.state["written"])?, time(at)?);
        Some(written.duration_since(at).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
