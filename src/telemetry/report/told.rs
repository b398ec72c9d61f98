//! Lines about counted events, each with the reason in words.

use std::time::Duration;

use crate::telemetry::counters::Reason;
use crate::telemetry::message::{Events, Message, Within};
use crate::telemetry::throttle::Burst;

/// Occurrences that have a reason in words; the last reason is logged.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) burst: Burst,
    error: String,
}

impl Told {
    pub(super) fn add(&mut self, occurrences: u64, error: &str) -> bool {
        error.clone_into(&mut self.error);
        self.burst.add(occurrences)
    }
}

pub(super) fn dropped(
    reason: Reason,
    events: u64,
    within: Option<Duration>,
    burst: &Burst,
) -> Message {
    Message::Dropped {
        events: Events(events),
        within: Within(within),
        reason: reason.name(),
        total: burst.total(),
    }
}

pub(super) fn rejected_message(events: u64, within: Option<Duration>, told: &Told) -> Message {
    Message::Rejected {
        events: Events(events),
        within: Within(within),
        error: told.error.clone(),
        total: told.burst.total(),
    }
}

pub(super) fn unsaved_message(events: u64, within: Option<Duration>, told: &Told) -> Message {
    Message::RejectsUnsaved {
        events: Events(events),
        within: Within(within),
        error: told.error.clone(),
        total: told.burst.total(),
    }
}

pub(super) fn redelivered_message(events: u64, within: Option<Duration>, told: &Told) -> Message {
    Message::Redelivered {
        events: Events(events),
        within: Within(within),
        error: told.error.clone(),
        total: told.burst.total(),
    }
}

pub(super) fn set_aside_message(events: u64, within: Option<Duration>, told: &Told) -> Message {
    Message::EventSetAside {
        events: Events(events),
        within: Within(within),
        error: told.error.clone(),
    }
}
