//! Options that several commands have.

use std::path::PathBuf;

use clap::Args;

/// The default settings file.
pub const DEFAULT_CONFIG: &str = "/etc/s3-audit-webhook/webhook.env";

/// The settings file.
#[derive(Debug, Args)]
pub struct ConfigOption {
    /// Settings file, in the syntax of environment files; flags and variables override it
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub config: PathBuf,
}

/// The state directory.
#[derive(Debug, Args)]
pub struct StateOption {
    /// Directory for the status of agents and their offsets in files; all hosts may share one
    #[arg(long, value_name = "DIR", default_value = "/var/lib/s3-audit-webhook")]
    pub state_dir: PathBuf,
}
