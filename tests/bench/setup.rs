//! What all runs share: the agent's binary, a directory, and the file of events.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use crate::events;

/// A directory of its own, removed at the end.
pub(crate) struct Setup {
    /// The agent's command: its binary, preceded by what it runs under.
    pub(crate) agent: Vec<OsString>,
    /// Where everything of this run is.
    pub(crate) directory: PathBuf,
    /// How many events the file contains.
    pub(crate) events: u64,
    /// The size of that file.
    pub(crate) bytes: u64,
}

impl Setup {
    /// Writes this many events. The binary is `AGENT`, or else the one that was just built.
    pub(crate) fn new(name: &str, events: u64) -> io::Result<Self> {
        let agent = env::var_os("AGENT").unwrap_or(env!("CARGO_BIN_EXE_s3-audit-webhook").into());
        let id = std::process::id();
        let directory = env::temp_dir().join(format!("s3-audit-webhook-bench-{id}-{name}"));
        fs::create_dir(&directory)?;
        let mut setup = Self {
            agent: vec![agent],
            directory,
            events,
            bytes: 0,
        };
        let mut file = BufWriter::new(File::create(setup.file())?);
        events::write(0..setup.events, &mut file)?;
        file.flush()?;
        setup.bytes = file.get_ref().metadata()?.len();
        Ok(setup)
    }

    /// The file of events.
    pub(crate) fn file(&self) -> PathBuf {
        self.directory.join("events.ndjson")
    }

    /// A socket that a program listens on.
    pub(crate) fn socket(&self, number: usize) -> PathBuf {
        self.directory.join(format!("{number}.sock"))
    }

    /// Where a child's log goes.
    pub(crate) fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// What a child logged, or why that is not known.
    pub(crate) fn logged(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_else(|error| error.to_string())
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A number from the environment.
pub(crate) fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |value| {
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name}={value}: not a number"))
    })
}
