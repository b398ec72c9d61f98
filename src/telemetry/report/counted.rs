//! Lines about counted events, each with the reason in words.

use std::time::Duration;

use crate::telemetry::message::{Events, Message, Within};
use crate::telemetry::throttle::Burst;

/// What happened to events.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Rejected,
    RejectsUnsaved,
    SetAside,
    Redelivered,
}

impl Kind {
    /// All of them, in the order in which summaries are logged.
    pub(super) const ALL: [Kind; 4] = [
        Kind::Rejected,
        Kind::RejectsUnsaved,
        Kind::SetAside,
        Kind::Redelivered,
    ];
}

/// Events of one kind; the last reason is logged.
#[derive(Debug, Default)]
pub(super) struct Counted {
    burst: Burst,
    error: String,
}

impl Counted {
    /// How many there were so far.
    pub(super) fn total(&self) -> u64 {
        self.burst.total()
    }

    /// Counts events. Returns the line about them if it is due at once.
    pub(super) fn add(&mut self, kind: Kind, events: u64, error: &str) -> Option<Message> {
        error.clone_into(&mut self.error);
        let is_first = self.burst.add(events);
        is_first.then(|| self.message(kind, events, None))
    }

    /// The line about events that no line has reported yet.
    pub(super) fn sum_up(&mut self, kind: Kind, within: Option<Duration>) -> Option<Message> {
        let events = self.burst.summarize();
        (events > 0).then(|| self.message(kind, events, within))
    }

    fn message(&self, kind: Kind, events: u64, within: Option<Duration>) -> Message {
        let (events, within) = (Events(events), Within(within));
        let (error, total) = (self.error.clone(), self.total());
        match kind {
            Kind::Rejected => Message::Rejected {
                events,
                within,
                error,
                total,
            },
            Kind::RejectsUnsaved => Message::RejectsUnsaved {
                events,
                within,
                error,
                total,
            },
            Kind::SetAside => Message::EventSetAside {
                events,
                within,
                error,
            },
            Kind::Redelivered => Message::Redelivered {
                events,
                within,
                error,
                total,
            },
        }
    }
}
