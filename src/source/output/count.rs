//! Counts events before they are queued.

use std::time::SystemTime;

use super::SourceOutput;
use crate::buffer::chunk::Chunk;
use crate::rules::{FIRST_EVENTS, Screened};
use crate::telemetry::counters::Reason;
use crate::webhook::event_time;

impl SourceOutput {
    /// Counts what is about to be queued, and takes out what is not to be sent.
    pub(super) fn count(&mut self) {
        let events = self.chunk.events.saturating_sub(self.counted.events);
        self.look_at_clock(&self.chunk);
        self.report.received(self.source, events);
        self.events += events as u64;
        let screened = self.rules.screen(&mut self.chunk, self.counted.bytes);
        self.count_screened(&screened);
        self.counted = self.chunk.extent();
    }

    /// Reports now and then how far from the current time the last of these events happened.
    pub(super) fn look_at_clock(&self, chunk: &Chunk) {
        if self.report.wants_time(self.source) {
            let skew = event_time::skew_of_last(&chunk.bytes, SystemTime::now());
            self.report.event_time(self.source, skew);
        }
    }

    pub(super) fn count_screened(&self, screened: &Screened) {
        for (rule, events) in &screened.filtered {
            self.report.filtered(rule, *events);
        }
        self.report.redacted(screened.redacted);
        let (source, dropped) = (Some(self.source), screened.unredactable);
        self.report.dropped(Reason::Unredactable, source, dropped);
        for path in &screened.unseen {
            self.report.rule_unseen(path.clone(), FIRST_EVENTS);
        }
    }
}
