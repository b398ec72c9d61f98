//! The way of a message's events into the buffer: at once, when there is room, or not at all.

use std::mem;
use std::net::IpAddr;

use super::batch::Batch;
use crate::rules::Screened;
use crate::source::output::SourceOutput;
use crate::telemetry::counters::{Reason, Refusal};

/// Takes the events of one message after the other.
pub(super) struct Intake {
    peer: Option<IpAddr>,
    /// The events of a message, or of a part of it.
    pub(super) batch: Batch,
    /// What the rules have taken out of the batch.
    screened: Screened,
    /// What to send when there is room for the batch.
    deferred: Option<Vec<u8>>,
    /// The message has waited for room in the buffer.
    has_waited: bool,
    /// Acknowledgements to send now.
    pub(super) acks: Vec<u8>,
    /// Nothing waits for room any longer, and this is what found none.
    ending: Option<Ending>,
}

#[derive(Default)]
struct Ending {
    /// Events of the current message: nobody has them, unless its client did not send all of it, or wants an
    /// acknowledgement.
    missed: usize,
    /// A client has sent a message that it will send again.
    is_kept: bool,
}

impl Intake {
    /// Before the first message, whose events may have `max_event` bytes each.
    pub(super) fn new(max_event: usize, peer: Option<IpAddr>) -> Self {
        Intake {
            peer,
            batch: Batch::new(max_event),
            screened: Screened::default(),
            deferred: None,
            has_waited: false,
            acks: Vec::new(),
            ending: None,
        }
    }

    /// Whether the batch waits for room.
    pub(super) fn is_waiting(&self) -> bool {
        self.deferred.is_some()
    }

    /// Whether the client has to send again a message that it has sent.
    pub(super) fn is_kept(&self) -> bool {
        self.is_waiting() || self.ending.as_ref().is_some_and(|ending| ending.is_kept)
    }

    /// A message has begun.
    pub(super) fn begin(&mut self) {
        self.has_waited = false;
    }

    /// Takes the batch, or has it wait. `ack` is to be sent then.
    pub(super) fn offer(&mut self, ack: Vec<u8>, output: &mut SourceOutput) {
        self.screened = output.screen(&mut self.batch.lines);
        self.offer_screened(ack, output);
        if self.is_waiting() && !mem::replace(&mut self.has_waited, true) {
            output.refused(Refusal::BufferFull, self.peer);
        }
    }

    /// Offers again what waits. True if it waits no longer.
    pub(super) fn offer_again(&mut self, output: &mut SourceOutput) -> bool {
        if let Some(ack) = self.deferred.take() {
            self.offer_screened(ack, output);
        }
        !self.is_waiting()
    }

    /// Takes the batch if there is room for all of it, and acknowledges it then. Otherwise its client waits: if it gave
    /// up, it would send the message again.
    fn offer_screened(&mut self, ack: Vec<u8>, output: &mut SourceOutput) {
        // After all that was taken before.
        output.flush();
        let lines = &mut self.batch.lines;
        let Some(ending) = &mut self.ending else {
            if output.take_whole(lines, &self.screened) {
                self.acks.extend(ack);
                self.count_lost(output);
            } else {
                self.deferred = Some(ack);
            }
            return;
        };
        if !ack.is_empty() {
            return self.leave_to_client();
        }
        if !output.take_whole_or_wait(lines, &self.screened) {
            ending.missed += lines.events;
            lines.clear();
            // What the rules have taken out is counted all the same.
            output.take_whole(lines, &self.screened);
        }
        self.count_lost(output);
    }

    /// None of the current message is taken, except for the parts that were: its client will send all of it again.
    pub(super) fn leave_to_client(&mut self) {
        self.batch.clear();
        if let Some(ending) = &mut self.ending {
            (ending.missed, ending.is_kept) = (0, true);
        }
    }

    /// Nothing waits for room from here on. The current message ends later, if it is taken in parts.
    pub(super) fn stop_waiting(&mut self, output: &mut SourceOutput) {
        self.ending.get_or_insert_default();
        self.offer_again(output);
    }

    /// All of a message has come, and was offered.
    pub(super) fn end(&mut self, output: &SourceOutput) {
        if let Some(ending) = &mut self.ending {
            output.count_without_room(mem::take(&mut ending.missed));
        }
    }

    /// The rest of the current message, which is taken in parts, can't be understood. What came before goes on, or is
    /// counted if there is no room.
    pub(super) fn break_off(&mut self, output: &mut SourceOutput) {
        self.ending.get_or_insert_default();
        self.offer(Vec::new(), output);
        self.end(output);
    }

    /// Counts events that can never be taken.
    pub(super) fn count_lost(&mut self, output: &SourceOutput) {
        for (reason, events) in [
            (Reason::TooLarge, mem::take(&mut self.batch.too_large)),
            (Reason::Malformed, mem::take(&mut self.batch.malformed)),
        ] {
            if events > 0 {
                output.count_dropped(reason, events);
            }
        }
    }
}
