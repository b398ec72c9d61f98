//! The spool's options, declared like those in [`options`](crate::config::options).

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use crate::buffer::spool::SyncMode;
use crate::config::shared_options::{ConfigOption, StateOption};
use crate::text::choice::choose;
use crate::text::quantity::parse_size;

/// The spool's directory.
#[derive(Debug, Args)]
pub struct SpoolOption {
    /// The state directory.
    #[command(flatten)]
    pub state: StateOption,

    /// Directory of the spool; by default spool in the state directory
    ///
    /// Each agent needs one of its own.
    #[arg(long, value_name = "DIR")]
    pub spool_dir: Option<PathBuf>,
}

impl SpoolOption {
    /// Where the spool is.
    pub fn directory(&self) -> PathBuf {
        let given = self.spool_dir.clone();
        given.unwrap_or_else(|| self.default_directory())
    }

    /// Where the spool is by default.
    pub fn default_directory(&self) -> PathBuf {
        self.state.state_dir.join("spool")
    }
}

/// What to do with a spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpoolAction {
    /// Show what is in it.
    List,
    /// Print its events.
    Cat,
    /// Check it.
    Verify,
}

impl FromStr for SpoolAction {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let actions = [
            ("list", SpoolAction::List),
            ("cat", SpoolAction::Cat),
            ("verify", SpoolAction::Verify),
        ];
        choose(text, &actions)
    }
}

/// Options of `spool`.
#[derive(Debug, Args)]
pub struct SpoolOptions {
    /// list: what is in it; cat: print the events that were not delivered, a line each; verify: look for damage
    #[arg(value_name = "list|cat|verify")]
    pub action: SpoolAction,

    /// The settings file.
    #[command(flatten)]
    pub config: ConfigOption,

    /// Where it is.
    #[command(flatten)]
    pub spool: SpoolOption,

    /// Print one JSON object, for programs; cat prints events either way
    #[arg(long)]
    pub json: bool,
}

/// Options of `run` for the spool.
#[derive(Debug, Args)]
pub struct SpoolRunOptions {
    /// Where it is.
    #[command(flatten)]
    pub dir: SpoolOption,

    /// Max size of the spool on disk; 0: no spool
    ///
    /// In the spool, events of sources other than file: survive outages, restarts and crashes. Clients of http: and
    /// fluent: are answered when their events are in it, and refused when it is full. With a spool, the agent needs no
    /// more than 8 MiB of --buffer-bytes.
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = parse_size)]
    pub spool_bytes: usize,

    /// When the spool is flushed to disk for power failures: never, second or always
    ///
    /// A kill or crash of the agent loses nothing of the spool, whatever this says. second: within a second, except what was
    /// delivered by then. always: before a client is answered.
    #[arg(long, value_name = "never|second|always", default_value = "second")]
    pub spool_sync: SyncMode,
}
