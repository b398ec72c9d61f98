//! An agent at one moment: what `show`, `/metrics`, `/healthz` and systemd get.

use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use crate::telemetry::counters::{Balance, Refusal};
use crate::telemetry::expiry::Expiries;

/// Where events go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forwarding {
    /// To this webhook, named as in the log.
    On(String),
    /// Nowhere yet, since this is missing: files and the spool wait, and what other sources read is buffered.
    Awaited(String),
    /// Nowhere, for this reason: files and the spool wait, and what other sources read is dropped.
    Off(String),
    /// As `Off`, because forwarding was never configured.
    Unset(String),
}

impl fmt::Display for Forwarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Forwarding::On(webhook) => f.write_str(webhook),
            Forwarding::Awaited(what) => write!(f, "webhook unavailable: {what}; waiting for it"),
            Forwarding::Off(reason) | Forwarding::Unset(reason) => write!(
                f,
                "{reason}: files and the spool wait; other events are dropped"
            ),
        }
    }
}

/// All that is known of an agent at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Where events go, once that is known.
    pub forwarding: Option<Forwarding>,
    /// The webhook has answered a request's content.
    pub reached: bool,
    /// The webhook's outage, if there is one now.
    pub outage: Option<OutageState>,
    /// Several endpoints, each with its outage.
    pub endpoints: Vec<(String, Option<OutageState>)>,
    /// Events that were posted and are not acknowledged as indexed.
    pub posted: u64,
    /// When the webhook last took events.
    pub last_delivery: Option<SystemTime>,
    /// Seconds between the webhook's clock and this host's, if that is known.
    pub clock_skew: Option<u64>,
    /// The sources.
    pub sources: Vec<SourceState>,
    /// The counts.
    pub balance: Balance,
    /// Events that were sent again though they may have arrived.
    pub redelivered: u64,
    /// What became of rejected events that should be saved.
    pub rejects: Rejects,
    /// The spool, if there is one.
    pub spool: Option<SpoolState>,
    /// Since when the settings in effect have not been those of the file, because the file is invalid.
    pub settings_rejected: Option<OutageState>,
    /// The trail, if there is one.
    pub trail: Option<TrailState>,
    /// What last went wrong.
    pub last_error: Option<LastError>,
    /// When the certificates on the last new connection to the webhook expire.
    pub expiries: Expiries,
}

/// Rejected events, if there is a file for them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rejects {
    /// How many are in the file.
    pub saved: u64,
    /// How many could not be written to it.
    pub unsaved: u64,
}

impl Snapshot {
    /// Clients' requests that were refused, at all sources.
    pub fn refused(&self) -> u64 {
        self.sources.iter().map(SourceState::refused_requests).sum()
    }
}

/// A source at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceState {
    /// As it was given.
    pub name: String,
    /// Events received from it.
    pub received: u64,
    /// Its outage, if there is one now.
    pub outage: Option<OutageState>,
    /// It can be read.
    pub is_up: bool,
    /// Seconds between the time of the last event that was checked and its arrival.
    pub clock_skew: Option<u64>,
    /// What is in it and was not read yet, if that is known.
    pub lag: Option<Lag>,
    /// Bytes of it that are lost, in no count of events.
    pub lost_bytes: u64,
    /// Files of it that were taken for copies of others.
    pub copies: u64,
    /// Bytes used by removed files that are kept open.
    pub deleted_bytes: u64,
    /// Clients' requests that were refused, by reason; reasons that did not occur are left out.
    pub refused: Vec<(Refusal, u64)>,
    /// The client whose request was refused last, if it has an address.
    pub last_refused: Option<String>,
}

impl SourceState {
    /// Requests that were refused.
    pub fn refused_requests(&self) -> u64 {
        self.refused.iter().map(|(_, requests)| requests).sum()
    }
}

/// How much of a source was not read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lag {
    /// Bytes.
    pub bytes: u64,
    /// For how long the oldest of them has been there.
    pub oldest: Duration,
    /// Which of its files can't be read, and why, in words.
    pub unreadable: Option<String>,
    /// How much of a backlog was worked off, in words.
    pub catching_up: Option<String>,
}

/// The spool at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpoolState {
    /// Bytes on disk.
    pub bytes: u64,
    /// The most bytes that it may have.
    pub limit: u64,
    /// Events in it that are not in memory.
    pub events: u64,
    /// For how long the oldest event that is not final has been there.
    pub oldest: Duration,
    /// Bytes that were damaged.
    pub corrupt_bytes: u64,
}

/// The trail at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailState {
    /// The stream's name.
    pub stream: String,
    /// The number that was assigned last.
    pub last: u64,
    /// Records that were not delivered yet.
    pub pending: u64,
}

/// An outage that lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutageState {
    /// When it began.
    pub since: Instant,
    /// Why the last attempt failed, and what an operator must do if that is known.
    pub error: String,
}

/// Something that went wrong; of an outage, its beginning or its last change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// When it went wrong.
    pub at: SystemTime,
    /// What went wrong.
    pub message: String,
}
