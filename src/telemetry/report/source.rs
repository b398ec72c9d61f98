//! What the report knows of one source.

use std::time::{Duration, Instant};

use super::clock::Clock;
use crate::telemetry::counters::Refusal;
use crate::telemetry::message::{Message, Peer, Requests, Within};
use crate::telemetry::snapshot::{Lag, SourceState};
use crate::telemetry::throttle::{Burst, Outages};
use crate::text::quantity::HumanDuration;

/// After how many intervals it is logged that a source is still unavailable: by default once a minute.
const INTERVALS: u32 = 6;

/// The changing state of a source.
#[derive(Debug, Default)]
pub(super) struct Source {
    name: String,
    outages: Outages,
    pub(super) is_up: bool,
    pub(super) lag: Option<Lag>,
    lost_bytes: u64,
    pub(super) copies: u64,
    pub(super) deleted_bytes: u64,
    complaints: Vec<&'static str>,
    refused: [Burst; Refusal::ALL.len()],
    last_refused: Option<String>,
    clock: Clock,
}

/// How many seconds older or newer than its arrival an event may be, and how long events must be beyond that until it
/// is logged: a single late event is not.
const EVENT_SKEW: u64 = 60;
const EVENT_PATIENCE: Duration = Duration::from_secs(60);

impl Source {
    pub(super) fn new(name: String) -> Self {
        Source {
            name,
            is_up: true,
            clock: Clock::new(EVENT_SKEW, EVENT_PATIENCE),
            ..Source::default()
        }
    }

    pub(super) fn dated(&mut self, skew: i64, now: Instant) -> Option<Message> {
        let what = format!("{}: the time of events", self.name);
        self.clock.seen(skew, &what, now)
    }

    pub(super) fn request_refused(
        &mut self,
        reason: Refusal,
        peer: Option<String>,
    ) -> Option<Message> {
        self.last_refused = peer;
        let is_first = self.refused[reason as usize].add(1);
        is_first.then(|| self.refused_message(reason, 1, None))
    }

    fn refused_message(&self, reason: Refusal, requests: u64, within: Option<Duration>) -> Message {
        Message::RequestsRefused {
            source: self.name.clone(),
            requests: Requests(requests),
            within: Within(within),
            reason: reason.name(),
            peer: Peer(self.last_refused.clone()),
        }
    }

    /// The line to log now, and what went wrong if it is new.
    pub(super) fn failed(
        &mut self,
        error: &str,
        now: Instant,
        interval: Duration,
    ) -> (Option<Message>, Option<String>) {
        self.is_up = false;
        let is_new = self.outages.is_new(error);
        let is_due = self.outages.failed(error, None, now, interval);
        let message = is_due.then(|| Message::SourceUnavailable {
            source: self.name.clone(),
            error: error.to_owned(),
        });
        (message, is_new.then(|| format!("{}: {error}", self.name)))
    }

    pub(super) fn restored(&mut self, now: Instant) -> Option<Message> {
        self.is_up = true;
        let outage = self.outages.ended(now)?;
        Some(Message::SourceRestored {
            source: self.name.clone(),
            lasted: HumanDuration(now - outage.since),
        })
    }

    pub(super) fn complaint(&mut self, problem: &'static str) -> Option<Message> {
        if self.complaints.contains(&problem) {
            return None;
        }
        self.complaints.push(problem);
        Some(Message::SourceComplaint {
            source: self.name.clone(),
            problem,
        })
    }

    pub(super) fn lost(&mut self, bytes: u64, reason: &str) -> Message {
        self.lost_bytes += bytes;
        Message::SourceLostBytes {
            source: self.name.clone(),
            bytes,
            reason: reason.to_owned(),
        }
    }

    /// A line about an outage, if one is due.
    pub(super) fn due(&mut self, now: Instant, interval: Duration) -> Option<Message> {
        let outage = self.outages.due(now, interval, INTERVALS)?;
        Some(Message::SourceStillUnavailable {
            source: self.name.clone(),
            lasts: HumanDuration(now - outage.since),
            error: outage.error.clone(),
        })
    }

    /// Refusals that no line has reported yet.
    pub(super) fn sum_up(&mut self, within: Option<Duration>) -> Vec<Message> {
        let mut messages = Vec::new();
        for reason in Refusal::ALL {
            let requests = self.refused[reason as usize].summarize();
            if requests > 0 {
                messages.push(self.refused_message(reason, requests, within));
            }
        }
        messages
    }

    pub(super) fn snapshot(&self, received: u64) -> SourceState {
        let refused = Refusal::ALL
            .into_iter()
            .map(|reason| (reason, self.refused[reason as usize].total()))
            .filter(|(_, requests)| *requests > 0);
        SourceState {
            name: self.name.clone(),
            received,
            outage: self.outages.state(),
            is_up: self.is_up,
            clock_skew: self.clock.skew(),
            lag: self.lag.clone(),
            lost_bytes: self.lost_bytes,
            copies: self.copies,
            deleted_bytes: self.deleted_bytes,
            refused: refused.collect(),
            last_refused: self.last_refused.clone(),
        }
    }
}
