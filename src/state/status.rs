//! The status that an agent writes for `show`: one small JSON file per agent, complete at every moment.
//!
//! An agent's file is `HOST.json`, that of a second agent on that host `HOST.2.json`, and so on: the first name whose
//! lock, such as `.HOST.lock`, is free. A thread of its own writes it, so that a mount that hangs stops nothing.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use humantime::format_rfc3339_seconds;
use serde_json::{Value, json};

use super::agents::HEARTBEAT;
use super::{PROGRAM, create_dir, take_name};
use crate::sys::atomic_file::AtomicFile;
use crate::sys::host;
use crate::sys::thread::spawn;
use crate::telemetry::Report;
use crate::telemetry::counters::Reason;
use crate::telemetry::message::Message;
use crate::telemetry::snapshot::{Forwarding, OutageState, Snapshot, SourceState};
use crate::telemetry::watchdog::Watchdog;

/// Everybody may read it; the next version is due soon, so it need not survive a power failure.
const FILE: AtomicFile = AtomicFile {
    mode: 0o644,
    owner: None,
    sync: false,
};
/// The time between two checks for changes: a file is written at most this often.
const LOOK: Duration = Duration::from_secs(5);
/// How often a missing state directory is looked for, and how often that is logged.
const RETRY: Duration = Duration::from_secs(1);
const REMIND: Duration = Duration::from_secs(60);
/// What it means if the directory hangs.
const IF_IT_HANGS: &str = "until it answers, `show` shows an old status of this agent";

/// An agent's file, which nobody else may use while this lives.
#[derive(Debug)]
pub struct StatusFile {
    dir: PathBuf,
    /// The file's name without its extension.
    name: String,
    host: String,
    watchdog: Watchdog,
    _lock: File,
}

/// Where an agent's file is.
#[derive(Debug)]
pub enum Place {
    /// The agent has its file.
    Taken(StatusFile),
    /// The directory is missing or not writable, and is waited for.
    Awaited,
}

/// The thread that writes the file.
#[derive(Debug)]
pub struct Writer {
    last: Sender<Snapshot>,
    ended: Receiver<()>,
}

impl StatusFile {
    /// Takes the first name of this host that no other agent uses. The directory is created if its parent exists.
    ///
    /// # Errors
    /// The directory can't be created or written to.
    pub fn open(dir: &Path, host: String) -> io::Result<Self> {
        let failed = |what: &str, error: &io::Error| {
            let text = format!("{}: can't be {what}: {error}", dir.display());
            io::Error::new(error.kind(), text)
        };
        create_dir(dir).map_err(|error| failed("created", &error))?;
        let taken = take_name(dir, &host, "");
        let (name, lock) = taken.map_err(|error| failed("written to", &error))?;
        let file = StatusFile {
            dir: dir.into(),
            name,
            host,
            watchdog: Watchdog::default(),
            _lock: lock,
        };
        // The lock file may have existed already: only this check shows whether files can be created.
        match FILE.check(&file.path()) {
            // A full disk may have room again later.
            Err(error) if error.kind() != ErrorKind::StorageFull => {
                Err(failed("written to", &error))
            }
            _ => Ok(file),
        }
    }

    /// Opens it as soon as the directory can be used, trying every `retry`, and until then logs now and then that it
    /// can't. `None` if the agent ends first.
    fn await_dir(
        dir: &Path,
        host: &str,
        told: &Receiver<Snapshot>,
        retry: Duration,
    ) -> Option<Self> {
        let mut logged = Instant::now();
        loop {
            // What was sent is the last snapshot, which then can't be written anywhere.
            if told.recv_timeout(retry) != Err(RecvTimeoutError::Timeout) {
                return None;
            }
            match StatusFile::open(dir, host.to_owned()) {
                Ok(file) => return Some(file),
                Err(error) if logged.elapsed() >= REMIND => {
                    logged = Instant::now();
                    let error = error.to_string();
                    Message::StateDirAwaited { error }.log();
                }
                Err(_) => {}
            }
        }
    }

    /// Writes when something has changed, checking every `look`, and every `heartbeat` if nothing has;
    /// ends with the last snapshot.
    fn run(&self, report: &Report, told: &Receiver<Snapshot>, look: Duration, heartbeat: Duration) {
        let started = SystemTime::now();
        let mut written: Option<(Snapshot, Instant)> = None;
        loop {
            let now = report.snapshot();
            let is_due = written
                .as_ref()
                .is_none_or(|(old, at)| *old != now || at.elapsed() >= heartbeat);
            if is_due {
                let at = Instant::now();
                let state = self.describe(&now, started, None);
                written = match self.watchdog.dir(IF_IT_HANGS, || self.write(&state)) {
                    Ok(()) => {
                        report.status_file_restored();
                        Some((now, at))
                    }
                    Err(error) => {
                        let path = self.path().display().to_string();
                        report.status_file_failed(&format!("{path}: {error}"));
                        None
                    }
                };
            }
            match told.recv_timeout(look) {
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
                Ok(last) => {
                    // The log's last line was written: a failure can't be logged any more.
                    let _ = self.write(&self.describe(&last, started, Some(SystemTime::now())));
                    return;
                }
            }
        }
    }

    /// The file's content. What its names mean is explained at [`show`](crate::cli::show).
    fn describe(&self, now: &Snapshot, started: SystemTime, ended: Option<SystemTime>) -> Value {
        let balance = &now.balance;
        let sources = now.sources.iter().map(|source| {
            json!({
                "name": source.name,
                "received": source.received,
                "away_since": source.outage.as_ref().map(since),
                "why": source.outage.as_ref().map(|outage| &outage.error),
                "requests_refused": refused(source),
                "last_refused": source.last_refused,
                "lost_bytes": source.lost_bytes,
                "copies": source.copies,
                "is_up": source.is_up,
                "lag_bytes": source.lag.as_ref().map(|lag| lag.bytes),
                "lag_seconds": source.lag.as_ref().map(|lag| lag.oldest.as_secs()),
                "unreadable": source.lag.as_ref().and_then(|lag| lag.unreadable.clone()),
                "catching_up": source.lag.as_ref().and_then(|lag| lag.catching_up.clone()),
            })
        });
        let dropped = Reason::ALL.into_iter().map(|reason| {
            (
                reason.label().to_owned(),
                balance.dropped_for(reason).into(),
            )
        });
        let filtered = balance.filtered.iter();
        let filtered = filtered.map(|(rule, events)| (rule.to_string(), (*events).into()));
        json!({
            "program": PROGRAM,
            "version": env!("CARGO_PKG_VERSION"),
            "host": self.host,
            "pid": process::id(),
            "started": time(started),
            "written": time(ended.unwrap_or_else(SystemTime::now)),
            "ended": ended.map(time),
            "webhook": webhook(now),
            "sources": sources.collect::<Vec<_>>(),
            "received": balance.received(),
            "recovered": balance.recovered,
            "delivered": balance.delivered,
            "dropped": Value::Object(dropped.collect()),
            "rejected": balance.rejected,
            "filtered": Value::Object(filtered.collect()),
            "redacted_values": balance.redacted,
            "redelivered": now.redelivered,
            "in_buffer": balance.buffered(),
            "posted_not_indexed": now.posted,
            "spool": now.spool.map(|spool| json!({
                "bytes": spool.bytes,
                "limit": spool.limit,
                "events": spool.events,
                "oldest_seconds": spool.oldest.as_secs(),
                "corrupt_bytes": spool.corrupt_bytes,
            })),
            "settings_rejected": now.settings_rejected.as_ref().map(|rejected| json!({
                "since": since(rejected),
                "why": rejected.error,
            })),
            "trail": now.trail.as_ref().map(|trail| json!({
                "stream": trail.stream,
                "last": trail.last,
                "pending": trail.pending,
            })),
            "last_error": now.last_error.as_ref().map(|error| json!({
                "at": time(error.at),
                "what": error.message,
            })),
        })
    }

    fn write(&self, state: &Value) -> io::Result<()> {
        FILE.replace(&self.path(), format!("{state:#}\n").as_bytes())
    }

    fn path(&self) -> PathBuf {
        self.dir.join(format!("{}.json", self.name))
    }
}

impl Place {
    /// Writes the file from now on, in a thread of its own, and logs that it waits for the directory.
    ///
    /// # Errors
    /// No more threads can be started.
    pub fn follow(self, dir: &Path, report: Arc<Report>, watchdog: Watchdog) -> io::Result<Writer> {
        let (last, told) = bounded(1);
        let (end, ended) = bounded(0);
        let dir = dir.to_owned();
        spawn("state", move || {
            let file = match self {
                Place::Taken(file) => Some(file),
                Place::Awaited => StatusFile::await_dir(&dir, &host::name(), &told, RETRY),
            };
            if let Some(mut file) = file {
                file.watchdog = watchdog;
                file.run(&report, &told, LOOK, HEARTBEAT);
            }
            drop(end);
        })?;
        Ok(Writer { last, ended })
    }
}

impl Writer {
    /// Has the last snapshot written, and waits for that up to `patience`.
    pub fn finish(self, last: Snapshot, patience: Duration) {
        // If the directory hangs, the thread may have no room for it: then it is not written.
        if self.last.try_send(last).is_ok() {
            let _ = self.ended.recv_timeout(patience);
        }
    }
}

fn webhook(now: &Snapshot) -> Value {
    // The log's words for it begin with that.
    let bare = |text: &str| text.strip_prefix("webhook ").unwrap_or(text).to_owned();
    let (endpoint, disabled) = match &now.forwarding {
        Some(Forwarding::On(endpoint)) => {
            let (endpoint, _) = endpoint.split_once(" through ").unwrap_or((endpoint, ""));
            (Some(bare(endpoint)), None)
        }
        Some(Forwarding::Off(why) | Forwarding::Unset(why) | Forwarding::Awaited(why)) => {
            (None, Some(bare(why)))
        }
        None => (None, None),
    };
    let outage = now.outage.as_ref().filter(|_| disabled.is_none());
    let state = match outage {
        _ if matches!(now.forwarding, Some(Forwarding::Awaited(_))) => "waiting",
        _ if disabled.is_some() => "disabled",
        Some(_) => "failing",
        None if now.reached => "connected",
        None => "untried",
    };
    let endpoints = now.endpoints.iter().map(|(name, outage)| {
        json!({
            "name": name,
            "failing_since": outage.as_ref().map(since),
            "why": outage.as_ref().map(|outage| &outage.error),
        })
    });
    json!({
        "state": state,
        "endpoint": endpoint,
        "endpoints": endpoints.collect::<Vec<_>>(),
        "failing_since": outage.map(since),
        "why": disabled.or_else(|| outage.map(|outage| outage.error.clone())),
        // That of an untried one was another webhook's.
        "last_delivery": now.last_delivery.filter(|_| state != "untried").map(time),
    })
}

/// Refused requests of a source, by reason.
fn refused(source: &SourceState) -> Value {
    let refused = source.refused.iter();
    Value::Object(
        refused
            .map(|(reason, requests)| (reason.label().to_owned(), (*requests).into()))
            .collect(),
    )
}

fn since(outage: &OutageState) -> String {
    let since = SystemTime::now().checked_sub(outage.since.elapsed());
    time(since.unwrap_or(SystemTime::UNIX_EPOCH))
}

/// RFC 3339, in UTC. What a clock without a battery dates before 1970 is shown as 1970: there is no form for
/// earlier times.
fn time(time: SystemTime) -> String {
    format_rfc3339_seconds(time.max(SystemTime::UNIX_EPOCH)).to_string()
}

#[cfg(test)]
mod tests;
