//! What the agent counts and says: counters, log lines, and the snapshot that both end in.

pub mod counters;
pub mod hang;
pub mod logger;
pub mod pulse;
pub mod report;
pub mod snapshot;
mod throttle;
