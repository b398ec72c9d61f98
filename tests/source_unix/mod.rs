//! `unix:PATH`, where the S3 server listens and the agent connects, and `unix-listen:PATH`, where the agent listens and
//! any number of writers connect. Neither ever makes its S3 server wait.

mod gateway;
mod limits;
mod socket_file;
mod writers;

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{Agent, Webhook, eventually};

/// Options of an agent that has the time to deliver all that it has read.
const PATIENT: [&str; 4] = ["--when-full", "wait", "--shutdown-timeout", "1m"];

/// A directory for a socket.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("audit.sock")
    }

    /// `--source` for a socket of the S3 server's.
    fn unix(&self) -> String {
        format!("--source=unix:{}", self.path().display())
    }

    /// `--source` for a socket of the agent's own.
    fn unix_listen(&self) -> String {
        format!("--source=unix-listen:{}", self.path().display())
    }

    /// A writer at the agent's socket, as soon as that is there.
    fn connect(&self) -> UnixStream {
        let writer = eventually("the agent listens", || {
            UnixStream::connect(self.path()).ok()
        });
        patient(writer)
    }
}

/// A socket whose other side is to read: a write that waits for long is an error.
fn patient(socket: UnixStream) -> UnixStream {
    let limit = Some(Duration::from_secs(60));
    socket.set_write_timeout(limit).unwrap();
    socket
}

fn start(hook: &Webhook, options: &[&str]) -> Agent {
    Agent::command()
        .args(["run", "--endpoint", &hook.url()])
        .args(["--auth-token", "Splunk test", "--batch-age", "5ms"])
        .args(["--backoff-min", "10ms", "--backoff-max", "50ms"])
        .args(options)
        .spawn()
}
