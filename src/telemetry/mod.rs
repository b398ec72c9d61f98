//! What the agent counts and logs: counters, messages, the log's writer, and what `show` and `/metrics` are told.

mod backlog;
pub mod counters;
pub mod hang;
pub mod log;
pub mod message;
pub mod metrics;
pub mod pulse;
mod report;
pub mod snapshot;
mod throttle;

pub use self::report::{Report, ReportedSource};
