//! One client's connection: cuts it into messages, takes their events, and acknowledges them.

use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::batch::{Batch, BatchLimits};
use super::head::Fault;
use super::message::{self, Events, Parsed};
use super::values::{Found, Values};
use crate::buffer::chunk::Chunk;
use crate::framer::{Frame, Framer, Lost};
use crate::source::listen::{End, Progress, Protocol, Stream, WaitsFor};
use crate::source::output::SourceOutput;
use crate::telemetry::counters::{Reason, Refusal};

/// Tag, time and option of a message have fewer bytes than this.
const ENVELOPE: usize = 4 << 10;
/// A JSON option, which ends a message, has fewer bytes than this.
const JSON_OPTION: usize = 512;
/// A client that has waited so long without a word waits for one from here.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(2);
/// What a TLS client begins with.
const TLS_HELLO: u8 = 0x16;
/// MessagePack's arrays, and its other values of which no JSON text begins with the same byte.
const MSGPACK: u8 = 0x80;

const NOT_FLUENT: &str = "sends something that is no fluent message";
const NOT_GZIP: &str =
    "sends chunks in a compression that the agent does not know; fix: set its compression to gzip";
const HANDSHAKE: &str = "wants the shared-key handshake, which the agent does not support; fix: remove the shared key \
                         from its output; a source fluents: with --listen-client-ca knows clients by their certificates";
const SILENT: &str = "connected, waited and left without a message; fix: if a shared key is set in its output, remove it: \
                      the agent does not support that handshake";
const SPEAKS_TLS: &str =
    "speaks TLS; fix: name the source fluents:ADDR:PORT, or turn TLS off in its output";

/// What a message may cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct MessageLimits {
    /// Bytes of a message, as it came.
    pub(super) message: usize,
    /// Bytes of all events of a message.
    pub(super) whole: usize,
}

/// A client's connection.
pub(super) struct Connection {
    peer: Option<IpAddr>,
    connected: Instant,
    limits: MessageLimits,
    form: Form,
    batch: Batch,
    /// What is to be sent when there is room for the batch.
    deferred: Option<Vec<u8>>,
    /// Acknowledgements that are to be sent now.
    acks: Vec<u8>,
    /// Messages that have ended.
    finished: u64,
    /// It is of no use any more, and counted.
    is_broken: bool,
}

/// How the client writes its messages.
enum Form {
    /// Nothing has come yet.
    Unknown,
    Json(Json),
    MessagePack(Values),
}

struct Json {
    framer: Framer,
    /// What was read last.
    tail: Vec<u8>,
    /// A message was too large, and its end has not been seen.
    is_overlong: bool,
}

impl Connection {
    pub(super) fn new(
        limits: MessageLimits,
        output: &SourceOutput,
        peer: Option<SocketAddr>,
    ) -> Self {
        let batch = BatchLimits {
            event: output.max_line(),
            whole: limits.whole,
        };
        Connection {
            peer: peer.map(|peer| peer.ip()),
            connected: Instant::now(),
            limits,
            form: Form::Unknown,
            batch: Batch::new(batch),
            deferred: None,
            acks: Vec::new(),
            finished: 0,
            is_broken: false,
        }
    }

    /// Looks at the first bytes of all.
    fn begin(&mut self, first: &[u8], output: &SourceOutput) -> io::Result<()> {
        match first.first() {
            Some(&TLS_HELLO) => {
                output.complain(SPEAKS_TLS);
                return Err(self.break_off(output, Refusal::TlsHello));
            }
            Some(MSGPACK..) => {
                let mut values = Values::new(self.limits.message);
                values.copy_in(&mut &*first);
                self.form = Form::MessagePack(values);
            }
            _ => {
                let mut json = Json {
                    framer: Framer::for_arrays(self.limits.message),
                    tail: Vec::new(),
                    is_overlong: false,
                };
                json.framer.copy_in(&mut &*first);
                keep_tail(&mut json.tail, first);
                self.form = Form::Json(json);
            }
        }
        Ok(())
    }

    /// Counts a connection that is of no use any more.
    fn break_off(&mut self, output: &SourceOutput, refusal: Refusal) -> io::Error {
        self.is_broken = true;
        output.refused(refusal, self.peer);
        io::Error::other("refused")
    }

    /// Takes what came, up to a message that there is no room for.
    fn take(&mut self, output: &mut SourceOutput) -> io::Result<()> {
        let mut form = mem::replace(&mut self.form, Form::Unknown);
        let taken = match &mut form {
            Form::Unknown => Ok(()),
            Form::Json(json) => {
                self.take_json(json, output);
                Ok(())
            }
            Form::MessagePack(values) => self.take_msgpack(values, output),
        };
        self.form = form;
        if taken.is_err() {
            output.complain(NOT_FLUENT);
            output.refuse(Reason::Malformed, 1);
            return Err(self.break_off(output, Refusal::MalformedEvents));
        }
        Ok(())
    }

    fn take_msgpack(
        &mut self,
        values: &mut Values,
        output: &mut SourceOutput,
    ) -> Result<(), Fault> {
        while self.deferred.is_none()
            && let Some(found) = values.next()?
        {
            self.finished += 1;
            match found {
                Found::Value(bytes) => match message::parse_msgpack(bytes) {
                    Parsed::Events(events) => {
                        self.take_events(events, output, |batch, entries, partly| {
                            batch.take_msgpack(entries, partly);
                        })
                    }
                    other => count_other(&other, output),
                },
                Found::TooLarge(option) => {
                    output.refuse(Reason::TooLarge, message::events_by_option(option));
                    self.acks
                        .extend(message::ack_of(option).unwrap_or_default());
                }
            }
        }
        Ok(())
    }

    fn take_json(&mut self, json: &mut Json, output: &mut SourceOutput) {
        while self.deferred.is_none()
            && let Some(frame) = json.framer.next()
        {
            self.finished += 1;
            json.is_overlong = matches!(frame, Frame::Lost(Lost::TooLarge));
            match frame {
                Frame::Event(text) => match message::parse_json(text.raw()) {
                    Parsed::Events(events) => {
                        self.take_events(events, output, |batch, entries, partly| {
                            batch.take_json(&text, entries, partly);
                        })
                    }
                    other => count_other(&other, output),
                },
                Frame::Lost(Lost::TooLarge) => output.refuse(Reason::TooLarge, 1),
                Frame::Lost(Lost::Malformed) => count_other(&Parsed::Other, output),
            }
        }
        // A client that waits for a word, for ever, has sent nothing behind the message.
        if json.is_overlong && json.framer.is_done() {
            json.is_overlong = false;
            let ack = message::json_ack_at_end(&json.tail);
            self.acks.extend(ack.unwrap_or_default());
        }
    }

    fn take_events(
        &mut self,
        events: Events<'_>,
        output: &mut SourceOutput,
        fill: impl FnOnce(&mut Batch, message::Entries<'_>, Option<&mut dyn FnMut(&mut Chunk)>),
    ) {
        if events.entries == message::Entries::Unknown {
            output.complain(NOT_GZIP);
            if events.ack.is_some() {
                // Its client keeps it.
                return output.refused(Refusal::Encoding, self.peer);
            }
        }
        let Some(ack) = events.ack else {
            fill(
                &mut self.batch,
                events.entries,
                Some(&mut |lines| output.take_lines(lines)),
            );
            output.take_lines(&mut self.batch.lines);
            return self.count_lost(output);
        };
        fill(&mut self.batch, events.entries, None);
        if !output.could_take(&self.batch.lines) {
            self.batch.lose_all();
        }
        if !self.offer(ack, output) {
            output.refused(Refusal::BufferFull, self.peer);
        }
    }

    /// Takes the batch if there is room for all of it, and acknowledges it then. Otherwise its client waits: one that
    /// gave up would send it again.
    fn offer(&mut self, ack: Vec<u8>, output: &mut SourceOutput) -> bool {
        let is_taken = output.take_whole_after(&mut self.batch.lines);
        if is_taken {
            self.acks.extend(ack);
            self.count_lost(output);
        } else {
            self.deferred = Some(ack);
        }
        is_taken
    }

    fn count_lost(&mut self, output: &SourceOutput) {
        for (reason, events) in [
            (Reason::TooLarge, mem::take(&mut self.batch.too_large)),
            (Reason::Malformed, mem::take(&mut self.batch.malformed)),
        ] {
            if events > 0 {
                output.refuse(reason, events);
            }
        }
    }

    fn send_acks(&mut self, stream: &mut dyn Stream, output: &mut SourceOutput) -> io::Result<()> {
        if self.acks.is_empty() {
            return Ok(());
        }
        // What is acknowledged is in the buffer, or counted as dropped.
        output.flush();
        // A client that does not read them, but asks for ever more, is the one that must go.
        stream
            .write_all(&mem::take(&mut self.acks))
            .map_err(io::Error::other)
    }

    /// Bytes of memory for what has begun.
    fn memory(&self) -> usize {
        let form = match &self.form {
            Form::Unknown => 0,
            Form::Json(json) => json.framer.memory(),
            Form::MessagePack(values) => values.memory(),
        };
        form + self.batch.lines.bytes.capacity()
    }

    fn is_unfinished(&self) -> bool {
        match &self.form {
            Form::Unknown => false,
            Form::Json(json) => !json.framer.is_done(),
            Form::MessagePack(values) => values.is_unfinished(),
        }
    }
}

/// Counts what carries no events.
fn count_other(parsed: &Parsed<'_>, output: &SourceOutput) {
    let complaint = match parsed {
        Parsed::Heartbeat | Parsed::Events(_) => return,
        Parsed::Handshake => HANDSHAKE,
        Parsed::Other => NOT_FLUENT,
    };
    output.complain(complaint);
    output.refuse(Reason::Malformed, 1);
}

/// Keeps the end of what was read.
fn keep_tail(tail: &mut Vec<u8>, read: &[u8]) {
    let start = read.len().saturating_sub(JSON_OPTION);
    tail.extend_from_slice(read.get(start..).unwrap_or_default());
    let surplus = tail.len().saturating_sub(JSON_OPTION);
    tail.drain(..surplus);
}

impl Protocol for Connection {
    fn read(&mut self, stream: &mut dyn Stream, output: &mut SourceOutput) -> io::Result<usize> {
        let count = match &mut self.form {
            Form::Unknown => {
                let mut first = [0; ENVELOPE];
                let count = stream.read(&mut first)?;
                self.begin(first.get(..count).unwrap_or_default(), output)?;
                count
            }
            Form::Json(json) => {
                let space = json.framer.space();
                let count = stream.read(space)?;
                keep_tail(&mut json.tail, space.get(..count).unwrap_or_default());
                json.framer.filled(count);
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
        let is_taken = match self.deferred.take() {
            Some(ack) => self.offer(ack, output),
            None => false,
        };
        let taken = if is_taken { self.take(output) } else { Ok(()) };
        self.send_acks(stream, output)?;
        taken
    }

    fn progress(&self) -> Progress {
        let waits_for = if self.deferred.is_some() {
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
            Form::Json(json) => json.framer.release(),
            Form::MessagePack(values) => values.release(&mut output.spare),
        }
        if self.batch.lines.is_empty() {
            self.batch.lines = Chunk::default();
        }
    }

    /// The client sends again the message that it could not end, or that was not acknowledged.
    fn end(&mut self, end: End, output: &mut SourceOutput) {
        output.flush();
        if end != End::Closed || self.is_broken {
            return;
        }
        if self.deferred.is_some() || self.is_unfinished() {
            output.refused(Refusal::Disconnected, self.peer);
        }
        if matches!(self.form, Form::Unknown) && self.connected.elapsed() >= HANDSHAKE_WAIT {
            output.complain(SILENT);
        }
    }
}
