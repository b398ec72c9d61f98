//! What the report knows, and which lines follow from it. No clock, no I/O: time is an argument.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use super::clock::Clock;
use super::counted::{Counted, Kind};
use super::source::Source;
use crate::telemetry::counters::{Balance, Reason};
use crate::telemetry::expiry::{DAY, Expiries};
use crate::telemetry::log;
use crate::telemetry::message::{
    Attempts, Buffered, Events, IfAny, Message, MoreOutages, Reasons, Within,
};
use crate::telemetry::snapshot::{LastError, OutageState, Rejects, Snapshot, SpoolState};
use crate::telemetry::throttle::{Burst, Outage, Outages};
use crate::text::quantity::HumanDuration;

/// One moment, by both clocks: the wall clock and the monotonic one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) instant: Instant,
    pub(super) time: SystemTime,
}

/// Why settings can't be used, at least for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What is wrong.
    pub error: String,
    /// What remains as it was.
    pub kept: Kept,
}

/// What a running agent keeps of its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// All of them.
    Settings,
    /// Those of the webhook: the others are in effect.
    Webhook,
}

impl Kept {
    /// For the log.
    fn name(self) -> &'static str {
        match self {
            Kept::Settings => "settings",
            Kept::Webhook => "webhook",
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) interval: Duration,
    /// What a snapshot shows as it was reported; its other fields are filled in when one is taken.
    pub(super) known: Snapshot,
    pub(super) dropped: [Burst; Reason::ALL.len()],
    counted: [Counted; Kind::ALL.len()],
    pub(super) webhook: Outages,
    /// One that lasted when another webhook took the place of the one that failed: its end is logged with that one's.
    pub(super) replaced: Option<Outage>,
    /// Outages of queries for what is indexed.
    pub(super) queries: Outages,
    /// The clock of each endpoint seen so far.
    pub(super) clocks: Vec<Clock>,
    /// If there are several endpoints, each with its outages, by name.
    pub(super) endpoints: Vec<(String, Outages)>,
    pub(super) sources: Vec<Source>,
    /// Outages of the file for `show`.
    status_file: Outages,
    /// Of certificates, by endpoint.
    pub(super) expiries: BTreeMap<String, Expiries>,
    /// When certificates that expire soon are logged again.
    next_reminder: Option<Instant>,
    pub(super) corrupt_bytes: u64,
    /// Events outside of the queue at the end that the next start reads again.
    pub(super) left: u64,
    /// The last line was logged.
    has_stopped: bool,
}

impl State {
    pub(super) fn new(interval: Duration, names: impl Iterator<Item = String>) -> Self {
        State {
            interval,
            sources: names.map(Source::new).collect(),
            ..State::default()
        }
    }

    /// Logs a message, unless the last line was logged.
    pub(super) fn log(&self, message: &Message) {
        if !self.has_stopped {
            message.log();
        }
    }

    pub(super) fn went_wrong(&mut self, message: String, now: Now) {
        self.known.last_error = Some(LastError {
            at: now.time,
            message,
        });
    }

    pub(super) fn dropped(&mut self, reason: Reason, events: u64) -> Option<Message> {
        let burst = &mut self.dropped[reason as usize];
        if reason == Reason::Disabled {
            // This is intended, so it is reported only when forwarding is enabled.
            burst.count(events);
            return None;
        }
        burst
            .add(events)
            .then(|| dropped(reason, events, None, burst))
    }

    pub(super) fn count(&mut self, kind: Kind, events: u64, error: &str) -> Option<Message> {
        self.counted[kind as usize].add(kind, events, error)
    }

    pub(super) fn rejected(&mut self, events: u64, error: &str, now: Now) -> Option<Message> {
        self.known.reached = true;
        self.went_wrong(format!("webhook rejected an event: {error}"), now);
        self.count(Kind::Rejected, events, error)
    }

    pub(super) fn source_failed(
        &mut self,
        source: usize,
        error: &str,
        now: Now,
    ) -> Option<Message> {
        let state = self.sources.get_mut(source)?;
        let (message, new) = state.failed(error, now.instant, self.interval);
        if let Some(what) = new {
            self.went_wrong(what, now);
        }
        message
    }

    pub(super) fn source_complaint(
        &mut self,
        source: usize,
        problem: &'static str,
        peer: Option<String>,
        now: Now,
    ) -> Option<Message> {
        let message = self.sources.get_mut(source)?.complaint(problem, peer)?;
        self.went_wrong(message.text(), now);
        Some(message)
    }

    pub(super) fn source_lost_bytes(
        &mut self,
        source: usize,
        bytes: u64,
        reason: &str,
        now: Now,
    ) -> Option<Message> {
        let message = self.sources.get_mut(source)?.lost(bytes, reason);
        self.went_wrong(message.text(), now);
        Some(message)
    }

    pub(super) fn status_file_failed(&mut self, error: &str, now: Now) -> Option<Message> {
        let is_due = self
            .status_file
            .failed(error, None, now.instant, self.interval);
        is_due.then(|| Message::StatusFileFailed {
            error: error.to_owned(),
        })
    }

    pub(super) fn status_file_restored(&mut self, now: Now) -> Option<Message> {
        let outage = self.status_file.ended(now.instant)?;
        Some(Message::StatusFileRestored {
            lasted: HumanDuration(now.instant - outage.since),
        })
    }

    pub(super) fn settings(
        &mut self,
        refused: Option<Refused>,
        is_asked: bool,
        now: Now,
    ) -> Option<Message> {
        let previous = self.known.settings_rejected.take();
        let Some(Refused { error, kept }) = refused else {
            return previous.map(|_| Message::SettingsValid {});
        };
        let is_new = previous.as_ref().is_none_or(|outage| outage.error != error);
        self.known.settings_rejected = Some(OutageState {
            since: previous.map_or(now.instant, |outage| outage.since),
            error: error.clone(),
        });
        let kept = kept.name();
        (is_new || is_asked).then_some(Message::SettingsInvalid { error, kept })
    }

    /// The webhook's outage. As long as it can't be asked what is indexed, nothing counts as delivered.
    pub(super) fn outage(&self) -> Option<OutageState> {
        let (posting, asking) = (self.webhook.state(), self.queries.state());
        let since = posting.iter().chain(&asking).map(|it| it.since).min()?;
        let asking = asking.map(|it| format!("can't ask which events are indexed: {}", it.error));
        let error = posting.map(|it| it.error).or(asking)?;
        Some(OutageState { since, error })
    }

    pub(super) fn snapshot(&self, balance: Balance) -> Snapshot {
        let sources = self.sources.iter().enumerate();
        let sources = sources.map(|(place, source)| source.snapshot(balance.received_from(place)));
        let endpoints = self.endpoints.iter();
        let endpoints = endpoints.map(|(name, outages)| (name.clone(), outages.state()));
        let known = self.known.clone();
        Snapshot {
            outage: self.outage(),
            endpoints: endpoints.collect(),
            posted: known.posted.min(balance.buffered()),
            clock_skew: self.clocks.iter().filter_map(Clock::skew).max(),
            sources: sources.collect(),
            redelivered: self.counted[Kind::Redelivered as usize].total(),
            rejects: Rejects {
                unsaved: self.counted[Kind::RejectsUnsaved as usize].total(),
                ..known.rejects
            },
            spool: known.spool.map(|spool| SpoolState {
                // It was read a moment earlier than the balance.
                events: spool.events.min(balance.buffered()),
                corrupt_bytes: self.corrupt_bytes,
                ..spool
            }),
            expiries: Expiries::first(self.expiries.values()),
            balance,
            ..known
        }
    }

    /// The summaries that are due.
    pub(super) fn tick(&mut self, buffered: u64, now: Now) -> Vec<Message> {
        let failing = self.webhook.due(now.instant, self.interval, 1);
        let failing = failing.map(|outage| {
            let lasts = HumanDuration(now.instant - outage.since);
            let (attempts, error) = (Attempts(outage.attempts), outage.error.clone());
            (lasts, attempts, error, outage.fix)
        });
        let sources = self.sources.iter_mut();
        let sources = sources.filter_map(|source| source.due(now.instant, self.interval));
        let sources: Vec<_> = sources.collect();
        let mut messages = self.sum_up(Some(self.interval));
        let drops = messages.iter().any(|message| {
            matches!(message, Message::Dropped { reason, .. } if *reason == Reason::BufferFull.name())
        });
        if let Some((lasts, attempts, error, fix)) = failing {
            let buffer = Buffered {
                events: buffered,
                drops,
            };
            messages.push(match fix {
                None => Message::DeliveryFailing {
                    lasts,
                    attempts,
                    error,
                    buffer,
                },
                Some(fix) => Message::DeliveryStillBlocked {
                    lasts,
                    attempts,
                    error,
                    buffer,
                    fix,
                },
            });
        }
        messages.extend(self.still_asking(now));
        messages.extend(sources);
        if self.next_reminder.is_none_or(|due| now.instant >= due) {
            let soon = Expiries::first(self.expiries.values()).soon(now.time);
            if let Some(message) = soon.first() {
                self.next_reminder = Some(now.instant + DAY);
                self.went_wrong(message.text(), now);
            }
            messages.extend(soon);
        }
        messages
    }

    /// What no line has reported yet.
    fn sum_up(&mut self, within: Option<Duration>) -> Vec<Message> {
        let mut messages = Vec::new();
        for reason in Reason::ALL {
            if reason == Reason::Disabled && within.is_some() {
                continue;
            }
            let burst = &mut self.dropped[reason as usize];
            let events = burst.summarize();
            if events > 0 {
                messages.push(dropped(reason, events, within, burst));
            }
        }
        for kind in Kind::ALL {
            messages.extend(self.counted[kind as usize].sum_up(kind, within));
        }
        for (what, outages) in [
            ("delivery", &mut self.webhook),
            ("asking which events are indexed", &mut self.queries),
            ("the status for `show`", &mut self.status_file),
        ] {
            messages.extend(outages.sum_up(what, within));
        }
        for (endpoint, outages) in &mut self.endpoints {
            let unlogged = outages.summarize();
            messages.extend(unlogged.map(|(outages, error)| Message::EndpointUnstable {
                endpoint: endpoint.clone(),
                outages: MoreOutages(outages),
                within: Within(within),
                error,
            }));
        }
        for source in &mut self.sources {
            messages.extend(source.sum_up(within));
        }
        messages
    }

    /// What must be logged before the balance.
    pub(super) fn stopped(&mut self, last: &Snapshot) -> Vec<Message> {
        let shutdown = &mut self.dropped[Reason::Shutdown as usize];
        let lost = last.balance.dropped_for(Reason::Shutdown);
        shutdown.count(lost.saturating_sub(shutdown.total()));
        let mut messages = self.sum_up(None);
        messages.extend(self.sources.iter().filter_map(Source::unread));
        if last.posted > 0 {
            messages.push(Message::LeftUnacknowledged {
                events: Events(last.posted),
                when: "the agent ended",
            });
        }
        messages
    }

    /// Logs the balance, and nothing after it.
    pub(super) fn log_last(&mut self, last: &Snapshot) {
        self.has_stopped = true;
        let balance = &last.balance;
        let reasons = Reason::ALL
            .into_iter()
            .map(|reason| (reason.name(), balance.dropped_for(reason)))
            .filter(|(_, events)| *events > 0);
        log::write_last(&Message::Stopped {
            received: balance.received(),
            recovered: IfAny("recovered", balance.recovered),
            delivered: balance.delivered,
            dropped: balance.dropped(),
            reasons: Reasons(reasons.collect()),
            rejected: IfAny("rejected", balance.rejected),
            filtered: IfAny("filtered", balance.filtered()),
            redacted: IfAny("redacted values", balance.redacted),
            buffered: balance.buffered(),
            redelivered: IfAny("redelivered", last.redelivered),
            refused: IfAny("requests refused", last.refused()),
        });
    }
}

fn dropped(reason: Reason, events: u64, within: Option<Duration>, burst: &Burst) -> Message {
    Message::Dropped {
        events: Events(events),
        within: Within(within),
        reason: reason.name(),
        total: burst.total(),
    }
}
