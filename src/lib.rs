//! The parts of `s3-audit-webhook`, as a library for its program, tests, fuzz targets and benchmarks.
//!
//! `ARCHITECTURE.md` shows the way of an event through them.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub use s3_audit_framer as framer;
pub use s3_audit_framer::json;

pub mod backoff;
pub mod batch;
pub mod body_size;
pub mod checkpoint;
pub mod chunk;
pub mod cli;
pub mod commands;
pub mod descriptors;
pub mod dry_run;
pub mod failure;
pub mod glibc;
pub mod handover;
pub mod ledger;
pub mod logger;
pub mod notify;
pub mod poll;
pub mod pulse;
pub mod quantity;
pub mod queue;
pub mod report;
pub mod run;
pub mod sender;
pub mod settings;
pub mod source;
pub mod state;
pub mod status;
pub mod stop;
mod throttle;
pub mod webhook;
