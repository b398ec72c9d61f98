//! An agent at one moment, as [`Report`](crate::telemetry::report::Report) tells it to [`state`](crate::state).

use std::time::{Instant, SystemTime};

use crate::telemetry::counters::Balance;
use crate::telemetry::report::Forwarding;

/// All that can be told of an agent at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Where events go, once that is known.
    pub forwarding: Option<Forwarding>,
    /// The webhook has answered to a request's content.
    pub reached: bool,
    /// The webhook's outage, if there is one now.
    pub webhook: Option<OutageState>,
    /// When the webhook last took events.
    pub delivered: Option<SystemTime>,
    /// The sources.
    pub sources: Vec<SourceNow>,
    /// The counts.
    pub balance: Balance,
    /// What last went wrong.
    pub error: Option<LastError>,
}

/// A source at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceNow {
    /// As it was given.
    pub name: String,
    /// Events that came in from it.
    pub received: u64,
    /// Its outage, if there is one now.
    pub away: Option<OutageState>,
}

/// An outage that lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutageState {
    /// When it began.
    pub since: Instant,
    /// What the last attempt failed for, and what an operator must do if that is known.
    pub why: String,
}

/// Something that went wrong; of an outage, its beginning or its last change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// When.
    pub at: SystemTime,
    /// What.
    pub what: String,
}
