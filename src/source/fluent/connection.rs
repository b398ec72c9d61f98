//! One client's connection: cuts it into messages, takes their events, and acknowledges them.
//!
//! An acknowledgement means that each event of its message is in the buffer, or can never be: it is malformed or over
//! `--max-event-bytes`, and counted as such. Sending those again would not help, and would block all that follows.

use std::io::{self, ErrorKind};
use std::mem;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::batch::Batch;
use super::complaint::{HANDSHAKE, NOT_FLUENT, NOT_GZIP, SILENT, SPEAKS_TLS, TOO_LARGE};
use super::head::Fault;
use super::intake::Intake;
use super::message::{self, Entries, Events, Parsed};
use super::parts::{Parts, Step};
use super::unpack::take_whole;
use super::values::{Found, Values};
use crate::framer::{Frame, Framer, Lost};
use crate::source::foreign;
use crate::source::listen::{End, Progress, Protocol, Stream, WaitsFor};
use crate::source::output::SourceOutput;
use crate::telemetry::counters::{Reason, Refusal};

/// Max bytes of tag, option and heads of a message.
const ENVELOPE: usize = 64 << 10;
/// How much is read of a new client.
const FIRST_READ: usize = 4 << 10;
/// A client that has sent nothing for this long is waiting for the server to speak first.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(2);
/// First bytes from here on are MessagePack's: its arrays, and other values that begin no JSON text.
const MSGPACK: u8 = 0x80;

/// A client's connection.
pub(super) struct Connection {
    peer: Option<IpAddr>,
    connected: Instant,
    /// Max bytes of all events of a message that is taken at once.
    max: usize,
    form: Form,
    intake: Intake,
    /// The current message is taken in parts.
    parts: Option<Parts>,
    /// There is more to be done before more is read.
    is_busy: bool,
    /// Messages, or parts of them, that have ended.
    finished: u64,
    /// It is no longer of use, and was counted.
    is_broken: bool,
}

/// How the client writes its messages.
enum Form {
    /// Nothing has come yet.
    Unknown,
    Json(Framer),
    MessagePack(Values),
}

impl Connection {
    /// All messages that are not whole may take `memory` bytes.
    pub(super) fn new(memory: usize, output: &SourceOutput, peer: Option<IpAddr>) -> Self {
        Connection {
            peer,
            connected: Instant::now(),
            max: memory,
            form: Form::Unknown,
            intake: Intake::new(output.max_line(), peer),
            parts: None,
            is_busy: false,
            finished: 0,
            is_broken: false,
        }
    }

    /// Looks at the first bytes of the connection.
    fn begin(&mut self, mut first: &[u8], output: &SourceOutput) -> io::Result<()> {
        if let Some(refusal) = foreign::of(first) {
            if refusal == Refusal::TlsHello {
                output.complain(SPEAKS_TLS, self.peer);
            }
            return Err(self.break_off(output, refusal));
        }
        match first.first() {
            Some(MSGPACK..) => {
                let mut values = Values::new(self.max_message());
                values.copy_in(&mut first);
                self.form = Form::MessagePack(values);
            }
            _ => {
                let mut framer = Framer::for_arrays(self.max_message());
                framer.copy_in(&mut first);
                self.form = Form::Json(framer);
            }
        }
        Ok(())
    }

    /// Max bytes of a message that is taken at once, as it came: what it produces needs room besides.
    fn max_message(&self) -> usize {
        self.max / 2 + ENVELOPE
    }

    /// Counts a connection that is no longer of use.
    fn break_off(&mut self, output: &SourceOutput, refusal: Refusal) -> io::Error {
        self.is_broken = true;
        output.refused(refusal, self.peer);
        io::Error::other("refused")
    }

    /// Takes what came, up to a message that there is no room for.
    fn take(&mut self, output: &mut SourceOutput) -> io::Result<()> {
        self.is_busy = false;
        let mut form = mem::replace(&mut self.form, Form::Unknown);
        let taken = match &mut form {
            Form::Unknown => Ok(()),
            Form::Json(framer) => {
                self.take_json(framer, output);
                Ok(())
            }
            Form::MessagePack(values) => self.take_msgpack(values, output),
        };
        self.form = form;
        if taken.is_err() {
            if self.parts.is_some() {
                self.intake.break_off(output);
            }
            output.complain(NOT_FLUENT, self.peer);
            output.count_dropped(Reason::Malformed, 1);
            return Err(self.break_off(output, Refusal::MalformedEvents));
        }
        Ok(())
    }

    fn take_msgpack(
        &mut self,
        values: &mut Values,
        output: &mut SourceOutput,
    ) -> Result<(), Fault> {
        while !self.intake.is_waiting() {
            if let Some(parts) = &mut self.parts {
                match parts.next(values, &mut self.intake.batch)? {
                    Step::Read => break,
                    Step::Pause => {
                        self.is_busy = true;
                        break;
                    }
                    Step::Offer => self.intake.offer(Vec::new(), output),
                    Step::Done(option) => self.end_parts(&option, values, output),
                }
                self.finished += 1;
                continue;
            }
            self.intake.begin();
            let begun = match values.next()? {
                None => break,
                // A client that only shows that it is there may go when all places are taken.
                Some(Found::Value([0xc0])) => continue,
                Some(Found::TooLarge(beginning)) => {
                    let opening = message::opening(beginning);
                    if opening.is_none() {
                        count_other(&Parsed::Other, self.peer, output);
                    }
                    opening
                }
                Some(Found::Value(bytes)) => match message::parse_msgpack(bytes) {
                    Parsed::Events(events) => {
                        let fill = |batch: &mut Batch, max| take_whole(batch, events.entries, max);
                        let is_taken = self.take_events(&events, output, fill);
                        message::opening(bytes).filter(|_| !is_taken)
                    }
                    other => {
                        count_other(&other, self.peer, output);
                        let ack = message::ack_at_end(bytes);
                        self.intake.acks.extend(ack.unwrap_or_default());
                        None
                    }
                },
            };
            self.finished += 1;
            let begin = |opening| Parts::begin(opening, values, output.max_line(), output.part());
            self.parts = begun.map(begin);
        }
        Ok(())
    }

    /// All events of a message have been taken in parts, except for the last ones.
    fn end_parts(&mut self, option: &[u8], values: &mut Values, output: &mut SourceOutput) {
        values.set_limit(self.max_message());
        let ack = message::ack_of(option);
        if message::is_unknown_compression(option) && ack.is_some() {
            output.complain(NOT_GZIP, self.peer);
            self.intake.leave_to_client();
            output.refused(Refusal::Encoding, self.peer);
        } else {
            self.intake.offer(ack.unwrap_or_default(), output);
            self.intake.end(output);
        }
        self.parts = None;
    }

    fn take_json(&mut self, framer: &mut Framer, output: &mut SourceOutput) {
        while !self.intake.is_waiting()
            && let Some(frame) = framer.next()
        {
            self.finished += 1;
            self.intake.begin();
            match frame {
                Frame::Event(text) => match message::parse_json(text.raw()) {
                    Parsed::Events(events) => {
                        let fill =
                            |batch: &mut Batch, max| batch.take_json(&text, events.entries, max);
                        if !self.take_events(&events, output, fill) {
                            self.refuse_json(events.ack.is_some(), output);
                        }
                    }
                    other => {
                        count_other(&other, self.peer, output);
                        let ack = message::json_ack_at_end(text.raw());
                        self.intake.acks.extend(ack.unwrap_or_default());
                    }
                },
                Frame::Lost(Lost::TooLarge) => self.refuse_json(false, output),
                Frame::Lost(Lost::Malformed) => count_other(&Parsed::Other, self.peer, output),
            }
        }
    }

    /// A message can't be taken at once, nor in parts.
    fn refuse_json(&self, is_kept: bool, output: &SourceOutput) {
        output.complain(TOO_LARGE, self.peer);
        if is_kept {
            output.refused(Refusal::TooLarge, self.peer);
        } else {
            output.count_dropped(Reason::TooLarge, 1);
        }
    }

    /// Takes a message's events, or has them wait. False if they can't be taken at once.
    fn take_events(
        &mut self,
        events: &Events<'_>,
        output: &mut SourceOutput,
        fill: impl FnOnce(&mut Batch, usize) -> bool,
    ) -> bool {
        if events.entries == Entries::Unknown {
            output.complain(NOT_GZIP, self.peer);
            if events.ack.is_some() {
                // Its client keeps it.
                output.refused(Refusal::Encoding, self.peer);
                return true;
            }
        }
        let batch = &mut self.intake.batch;
        batch.borrow(&mut output.spare_lines);
        if !fill(batch, self.max) {
            return false;
        }
        let Some(ack) = &events.ack else {
            output.take_lines(&mut batch.lines);
            self.intake.count_lost(output);
            return true;
        };
        let could_take = output.could_take(batch.lines.extent());
        if could_take {
            self.intake.offer(ack.clone(), output);
        } else {
            batch.clear();
        }
        could_take
    }

    fn send_acks(&mut self, stream: &mut dyn Stream, output: &mut SourceOutput) -> io::Result<()> {
        if self.intake.acks.is_empty() {
            return Ok(());
        }
        // What is acknowledged is in the buffer, or counted as dropped.
        output.flush();
        // A client that does not read acknowledgements, but asks for more and more, must go.
        let sent = stream.write_all(&mem::take(&mut self.intake.acks));
        sent.map_err(|error| match error.kind() {
            // The latter inside TLS.
            ErrorKind::WouldBlock | ErrorKind::WriteZero => self.break_off(output, Refusal::Unread),
            _ => io::Error::other(error),
        })
    }

    /// Bytes of memory for incomplete messages.
    fn memory(&self) -> usize {
        let form = match &self.form {
            Form::Unknown => 0,
            Form::Json(framer) => framer.memory(),
            Form::MessagePack(values) => values.memory(),
        };
        let parts = self.parts.as_ref().map_or(0, Parts::memory);
        form + parts + self.intake.batch.lines.bytes.capacity()
    }

    fn is_unfinished(&self) -> bool {
        self.parts.is_some()
            || match &self.form {
                Form::Unknown => false,
                Form::Json(framer) => !framer.is_done(),
                Form::MessagePack(values) => values.is_unfinished(),
            }
    }
}

/// Counts what carries no events.
fn count_other(parsed: &Parsed<'_>, peer: Option<IpAddr>, output: &SourceOutput) {
    let complaint = match parsed {
        Parsed::Heartbeat | Parsed::Events(_) => return,
        Parsed::Handshake => HANDSHAKE,
        Parsed::Other => NOT_FLUENT,
    };
    output.complain(complaint, peer);
    output.count_dropped(Reason::Malformed, 1);
}

impl Protocol for Connection {
    fn read(&mut self, stream: &mut dyn Stream, output: &mut SourceOutput) -> io::Result<usize> {
        let count = match &mut self.form {
            _ if self.is_busy => 1,
            Form::Unknown => {
                let mut first = [0; FIRST_READ];
                let count = stream.read(&mut first)?;
                if count == 0 {
                    return Ok(0);
                }
                self.begin(first.get(..count).unwrap_or_default(), output)?;
                count
            }
            Form::Json(framer) => {
                let count = stream.read(framer.space())?;
                framer.filled(count);
                count
            }
            Form::MessagePack(values) => {
                values.borrow(&mut output.spare);
                let count = stream.read(values.space())?;
                values.filled(count);
                count
            }
        };
        let taken = self.take(output);
        self.send_acks(stream, output)?;
        taken.map(|()| count)
    }

    fn offer_again(
        &mut self,
        stream: &mut dyn Stream,
        output: &mut SourceOutput,
    ) -> io::Result<()> {
        let taken = match self.intake.offer_again(output) {
            true => self.take(output),
            false => Ok(()),
        };
        self.send_acks(stream, output)?;
        taken
    }

    fn stop_waiting(&mut self, output: &mut SourceOutput) {
        self.intake.stop_waiting(output);
        if self.parts.is_none() {
            self.intake.end(output);
        }
        // What has come is taken before more is read.
        self.is_busy = true;
    }

    fn progress(&self) -> Progress {
        let waits_for = if self.intake.is_waiting() {
            WaitsFor::Room
        } else if self.is_unfinished() {
            WaitsFor::Rest
        } else {
            WaitsFor::Message
        };
        Progress {
            finished: self.finished,
            waits_for,
            memory: self.memory(),
        }
    }

    fn release(&mut self, output: &mut SourceOutput) {
        match &mut self.form {
            Form::Unknown => {}
            Form::Json(framer) => framer.release(),
            Form::MessagePack(values) => values.release(&mut output.spare),
        }
        self.intake.batch.release(&mut output.spare_lines);
    }

    /// The client sends again the message that it could not end, or that was not acknowledged.
    fn end(&mut self, end: End, output: &mut SourceOutput) {
        output.flush();
        if end != End::Closed || self.is_broken {
            return;
        }
        if self.intake.is_kept() || self.is_unfinished() {
            output.refused(Refusal::Disconnected, self.peer);
        }
        if matches!(self.form, Form::Unknown) && self.connected.elapsed() >= HANDSHAKE_WAIT {
            output.complain(SILENT, self.peer);
        }
    }
}
