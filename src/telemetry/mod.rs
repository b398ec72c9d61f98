//! What the agent counts and logs: counters, messages, the log's writer, and what `show` and `/metrics` get.

pub mod counters;
pub mod expiry;
pub mod gaps;
mod labelled;
mod line_writer;
pub mod log;
pub mod message;
pub mod metric;
pub mod metrics;
mod report;
pub mod requests;
pub mod resumes;
pub mod snapshot;
mod throttle;
pub mod watchdog;

pub use self::report::{Kept, Refused, Report, ReportedSource};
