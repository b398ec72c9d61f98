//! What the report knows of one source.

use std::time::{Duration, Instant};

use super::clock::Clock;
use crate::telemetry::counters::Refusal;
use crate::telemetry::message::{Message, Peer, Requests, Within};
use crate::telemetry::snapshot::SourceState;
use crate::telemetry::throttle::{Burst, Outages};
use crate::text::quantity::HumanDuration;

/// After how many intervals it is logged that a source is still unavailable: by default once a minute.
const INTERVALS: u32 = 6;
/// Clients with the same problem that are logged, each once.
const COMPLAINTS: usize = 16;

/// The changing state of a source.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// What a snapshot shows as it was reported; its other fields are filled in when one is taken.
    pub(super) known: SourceState,
    outages: Outages,
    complaints: Vec<(&'static str, Option<String>)>,
    refused: [Burst; Refusal::ALL.len()],
    /// The last client that was refused for each reason.
    refused_peers: [Option<String>; Refusal::ALL.len()],
    clock: Clock,
    /// It runs, and nobody else knows what it has not read.
    pub(super) reads: bool,
    /// It has ended before it had read everything.
    pub(super) is_cut_off: bool,
}

/// How many seconds older or newer than its arrival an event may be, and how long events must be beyond that until it
/// is logged: a single late event is not.
const EVENT_SKEW: u64 = 60;
const EVENT_PATIENCE: Duration = Duration::from_secs(60);

impl Source {
    pub(super) fn new(name: String) -> Self {
        Source {
            known: SourceState {
                name,
                is_up: true,
                ..SourceState::default()
            },
            clock: Clock::new(EVENT_SKEW, EVENT_PATIENCE),
            ..Source::default()
        }
    }

    pub(super) fn dated(&mut self, skew: i64, now: Instant) -> Option<Message> {
        let what = format!("{}: the time of events", self.known.name);
        self.clock.seen(skew, &what, now)
    }

    pub(super) fn request_refused(
        &mut self,
        reason: Refusal,
        peer: Option<String>,
    ) -> Option<Message> {
        self.known.last_refused.clone_from(&peer);
        self.refused_peers[reason as usize] = peer;
        let is_first = self.refused[reason as usize].add(1);
        is_first.then(|| self.refused_message(reason, 1, None))
    }

    fn refused_message(&self, reason: Refusal, requests: u64, within: Option<Duration>) -> Message {
        Message::RequestsRefused {
            source: self.known.name.clone(),
            requests: Requests(requests),
            within: Within(within),
            reason: reason.name(),
            peer: Peer(self.refused_peers[reason as usize].clone()),
        }
    }

    /// The line to log now, and what went wrong if it is new.
    pub(super) fn failed(
        &mut self,
        error: &str,
        now: Instant,
        interval: Duration,
    ) -> (Option<Message>, Option<String>) {
        self.known.is_up = false;
        let is_new = self.outages.is_new(error);
        let is_due = self.outages.failed(error, None, now, interval);
        let message = is_due.then(|| Message::SourceUnavailable {
            source: self.known.name.clone(),
            error: error.to_owned(),
        });
        (
            message,
            is_new.then(|| format!("{}: {error}", self.known.name)),
        )
    }

    pub(super) fn restored(&mut self, now: Instant) -> Option<Message> {
        self.known.is_up = true;
        let outage = self.outages.ended(now)?;
        Some(Message::SourceRestored {
            source: self.known.name.clone(),
            lasted: HumanDuration(now - outage.since),
        })
    }

    pub(super) fn complaint(
        &mut self,
        problem: &'static str,
        peer: Option<String>,
    ) -> Option<Message> {
        let same = self.complaints.iter().filter(|of| of.0 == problem);
        if same.clone().count() >= COMPLAINTS || same.into_iter().any(|of| of.1 == peer) {
            return None;
        }
        self.complaints.push((problem, peer.clone()));
        Some(Message::SourceComplaint {
            source: self.known.name.clone(),
            problem,
            peer: Peer(peer),
        })
    }

    pub(super) fn lost(&mut self, bytes: u64, reason: &str) -> Message {
        self.known.lost_bytes += bytes;
        Message::SourceLostBytes {
            source: self.known.name.clone(),
            bytes,
            reason: reason.to_owned(),
        }
    }

    /// An interval is over. Returns a line about an outage, if one is due.
    pub(super) fn due(&mut self, now: Instant, interval: Duration) -> Option<Message> {
        self.clock.forget(now);
        let outage = self.outages.due(now, interval, INTERVALS)?;
        Some(Message::SourceStillUnavailable {
            source: self.known.name.clone(),
            lasts: HumanDuration(now - outage.since),
            error: outage.error.clone(),
        })
    }

    /// Outages and refusals that no line has reported yet.
    pub(super) fn sum_up(&mut self, within: Option<Duration>) -> Vec<Message> {
        let outages = self.outages.sum_up(&self.known.name, within);
        let mut messages: Vec<_> = outages.into_iter().collect();
        for reason in Refusal::ALL {
            let requests = self.refused[reason as usize].summarize();
            if requests > 0 {
                messages.push(self.refused_message(reason, requests, within));
            }
        }
        messages
    }

    /// What the balance at the end may lack.
    pub(super) fn unread(&self) -> Option<Message> {
        (self.reads || self.is_cut_off).then(|| Message::SourceCutOff {
            source: self.known.name.clone(),
        })
    }

    pub(super) fn snapshot(&self, received: u64) -> SourceState {
        let refused = Refusal::ALL
            .into_iter()
            .map(|reason| (reason, self.refused[reason as usize].total()))
            .filter(|(_, requests)| *requests > 0);
        SourceState {
            received,
            outage: self.outages.state(),
            clock_skew: self.clock.skew(),
            refused: refused.collect(),
            ..self.known.clone()
        }
    }
}
