//! Options that several commands share.

use std::env;
use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::Args;

/// The default settings file.
pub const DEFAULT_CONFIG: &str = "/etc/s3-audit-webhook/webhook.env";

/// The settings file.
#[derive(Debug, Args)]
pub struct ConfigOption {
    /// Settings file; flags and variables override it
    ///
    /// It has lines NAME=VALUE, as environment files of systemd.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub config: PathBuf,
}

/// The state directory.
#[derive(Debug, Args)]
pub struct StateOption {
    /// Directory for the status of agents and their checkpoints in files
    ///
    /// All hosts may share one.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/s3-audit-webhook")]
    pub state_dir: PathBuf,
}

/// Whether output has colours.
#[derive(Debug, Args)]
pub struct ColorOption {
    /// Colours: auto (on a terminal, unless NO_COLOR is set), always or never
    #[arg(long, value_name = "WHEN", default_value = "auto", value_parser = ["auto", "always", "never"])]
    pub color: String,
}

impl ColorOption {
    /// Whether standard output gets colours.
    pub fn is_on(&self) -> bool {
        match self.color.as_str() {
            "always" => true,
            "never" => false,
            _ => is_wanted() && std::io::stdout().is_terminal(),
        }
    }
}

/// Whether the environment lets terminals have colours: <https://no-color.org>.
pub fn is_wanted() -> bool {
    let is =
        |name, test: fn(&OsString) -> bool| env::var_os(name).is_some_and(|value| test(&value));
    !is("NO_COLOR", |value| !value.is_empty()) && !is("TERM", |value| value == "dumb")
}
