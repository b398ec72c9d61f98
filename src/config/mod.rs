//! Options and settings: a flag wins over the environment, this over the settings file, and that over the default.

mod command_options;
pub mod effect;
pub mod error;
pub mod file;
pub mod invocation;
pub mod limits;
mod open_files;
pub mod opt;
pub mod options;
pub mod provenance;
pub mod rules_options;
pub mod shared_options;
pub mod spool_options;
pub mod startable;
pub mod text;
pub mod trail_options;
mod webhook_options;
