//! The webhook of the model, with the queue before it.

use std::collections::BTreeMap;

use crate::framer::{Frame, Framer};
use crate::source::file::Broken;
use crate::source::file::follower::Sink;
use crate::telemetry::message::Message;

/// What the sink has room for.
pub(super) const ROOM: usize = 40;
/// Takes events as a webhook would: what is delivered is final, what is queued is lost with the agent.
#[derive(Default)]
pub(super) struct Hook {
    pub(super) is_away: bool,
    /// Forwarding is disabled.
    pub(super) is_off: bool,
    pub(super) queued: Vec<u64>,
    pub(super) position: u64,
    pub(super) watermark: u64,
    pub(super) delivered: BTreeMap<u64, u32>,
    /// Events were not taken in the order of their numbers.
    pub(super) is_mixed: bool,
    pub(super) last: u64,
    /// Bytes that were reported as lost.
    pub(super) lost: u64,
    /// Reports of files that are gone, with a known loss or without.
    pub(super) gone: u64,
    /// Files that were taken for the copy of another.
    pub(super) copies: u64,
    /// What was no event.
    pub(super) malformed: u64,
    /// It was reported that there is no file.
    pub(super) has_waited: bool,
}

impl Hook {
    /// Delivers what is queued, unless it waits.
    pub(super) fn deliver(&mut self) {
        if self.is_off {
            return;
        }
        for number in self.queued.drain(..) {
            *self.delivered.entry(number).or_default() += 1;
        }
        self.watermark = self.position;
    }
}

impl Sink for Hook {
    fn framer(&self) -> Framer {
        Framer::new(1 << 20)
    }

    fn take(&mut self, framer: &mut Framer) -> Option<u64> {
        loop {
            if self.queued.len() >= ROOM {
                return None;
            }
            match framer.next() {
                Some(Frame::Event(event)) => {
                    let event: serde_json::Value = serde_json::from_slice(event.raw()).unwrap();
                    let number = event["n"].as_u64().unwrap();
                    self.position += 1;
                    self.is_mixed |= number < self.last;
                    self.last = number;
                    if self.is_off {
                        // As the sender does with what it takes while forwarding is disabled.
                        self.watermark = self.position;
                    } else {
                        self.queued.push(number);
                    }
                }
                Some(_) => self.malformed += 1,
                None => return Some(self.position),
            }
        }
    }

    fn is_forwarding(&self) -> bool {
        !self.is_off
    }

    fn lost(&mut self, bytes: u64, _: &str) {
        assert!(bytes > 0, "nothing is no loss");
        self.lost += bytes;
        self.gone += 1;
    }

    fn failed(&mut self, _: &str) {}

    fn broken(&mut self) -> Option<Broken> {
        None
    }

    fn copied(&mut self) {
        self.copies += 1;
    }

    fn gone(&mut self, _: &Message) {
        self.gone += 1;
    }

    fn waits(&mut self) {
        self.has_waited = true;
    }

    fn worked(&mut self) {}

    fn name(&self) -> &'static str {
        "model"
    }
}
