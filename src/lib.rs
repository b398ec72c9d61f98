//! The parts of `s3-audit-webhook`, as a library for its program, tests, fuzz targets and benchmarks.
//!
//! `ARCHITECTURE.md` shows the way of an event through them.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub use s3_audit_framer as framer;
pub use s3_audit_framer::json;

pub mod agents;
pub mod answer;
pub mod backoff;
pub mod batch;
pub mod bulk;
pub mod checkpoint;
pub mod chunk;
pub mod cli;
pub mod control;
pub mod descriptors;
pub mod destination;
pub mod dry_run;
pub mod encode;
pub mod endpoint;
pub mod event_time;
pub mod failure;
pub mod given;
pub mod glibc;
pub mod gzip;
pub mod handover;
pub mod header;
pub mod host;
pub mod last_words;
pub mod ledger;
pub mod limits;
pub mod lock;
pub mod logger;
pub mod no_proxy;
pub mod poll;
pub mod probe;
pub mod proxy;
pub mod quantity;
pub mod queue;
pub mod report;
pub mod run;
pub mod sender;
pub mod settings;
pub mod settings_file;
pub mod shape;
pub mod show;
pub mod snapshot;
pub mod source;
pub mod state;
pub mod status;
pub mod steps;
pub mod stop;
pub mod terminal;
mod throttle;
pub mod tls;
pub mod token;
pub mod token_input;
pub mod trouble;
pub mod watch;
pub mod webhook;
