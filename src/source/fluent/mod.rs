//! `fluent:ADDR:PORT` and `fluent:PATH`: the fluent forward protocol as JSON, which SeaweedFS speaks with
//! `"marshal_as_json": true`.
//!
//! A connection is never closed first: SeaweedFS loses the message in flight when it is.

pub mod message;
pub mod msgpack;
pub mod values;

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use super::listen::{self, ListeningSocket, Protocol, Stream};
use super::{OpenError, Source, SourceOutput};
use crate::framer::{Frame, Framer, Lost};
use crate::sys::shutdown::ShutdownSignal;
use crate::telemetry;
use crate::telemetry::counters::Reason;
use message::Message;

/// Message, tag and option together are this much longer than the record at most.
const ENVELOPE: usize = 4 << 10;
/// An option, which ends a message, has fewer bytes than this.
const OPTION: usize = 512;
/// The first byte of MessagePack's arrays and maps; no JSON text begins so.
const MSGPACK: u8 = 0x80;

/// A socket for fluent loggers.
pub(super) struct Listener {
    door: ListeningSocket,
    /// Others on the network can connect, and the protocol's JSON form has no authentication.
    is_open: bool,
}

impl Listener {
    pub(super) fn tcp(address: SocketAddr) -> Result<Self, OpenError> {
        Ok(Listener {
            door: ListeningSocket::tcp(address)?,
            is_open: !address.ip().is_loopback(),
        })
    }

    pub(super) fn unix(path: &Path) -> Result<Self, OpenError> {
        Ok(Listener {
            door: ListeningSocket::unix(path)?,
            is_open: false,
        })
    }
}

impl Source for Listener {
    fn is_lasting(&self) -> bool {
        false
    }

    fn run(self: Box<Self>, output: SourceOutput, stop: &ShutdownSignal) {
        if self.is_open {
            let source = output.name().to_owned();
            telemetry::message::Message::FluentUnprotected { source }.log();
        }
        let messages = |output: &SourceOutput| Messages {
            framer: Framer::for_arrays(output.max_event().saturating_add(ENVELOPE)),
            begun: false,
            is_msgpack: false,
            tail: Vec::new(),
            is_overlong: false,
        };
        listen::serve(&self.door, messages, output, stop);
    }
}

struct Messages {
    framer: Framer,
    /// Something has come.
    begun: bool,
    /// Nothing can be made of this connection, which is read all the same.
    is_msgpack: bool,
    /// What was read last.
    tail: Vec<u8>,
    /// A message was too large, and its end has not been seen.
    is_overlong: bool,
}

impl Protocol for Messages {
    fn read(&mut self, stream: &mut dyn Stream, output: &mut SourceOutput) -> io::Result<usize> {
        let space = self.framer.space();
        let count = stream.read(space)?;
        if count > 0 && !self.begun {
            self.begun = true;
            self.is_msgpack = space[0] >= MSGPACK;
            if self.is_msgpack {
                output.complain("sends MessagePack; set \"marshal_as_json\": true in the server's fluent configuration");
                output.refuse(Reason::Malformed, 1);
            }
        }
        if !self.is_msgpack {
            self.tail
                .extend_from_slice(&space[count.saturating_sub(OPTION)..count]);
            let surplus = self.tail.len().saturating_sub(OPTION);
            self.tail.drain(..surplus);
            self.framer.filled(count);
            let acknowledgements = self.take(output);
            if !acknowledgements.is_empty() {
                // What is acknowledged is in the buffer, or counted as dropped.
                output.flush();
                // A client that does not read them, but asks for ever more, is the one that must go.
                stream
                    .write_all(acknowledgements.as_bytes())
                    .map_err(io::Error::other)?;
            }
        }
        Ok(count)
    }

    fn framer(&mut self) -> &mut Framer {
        &mut self.framer
    }

    /// The client sends the message that it could not end once more.
    fn closed(&mut self, output: &mut SourceOutput) {
        output.flush();
    }

    fn cut_off(&mut self, output: &mut SourceOutput) {
        output.flush();
    }
}

impl Messages {
    /// Takes what came, and returns what the client waits for.
    fn take(&mut self, output: &mut SourceOutput) -> String {
        let mut acknowledgements = String::new();
        let mut acknowledge = |chunk: String| {
            acknowledgements += &serde_json::json!({ "ack": chunk }).to_string();
        };
        while let Some(frame) = self.framer.next() {
            self.is_overlong = matches!(frame, Frame::Lost(Lost::TooLarge));
            let message = match &frame {
                Frame::Event(message) => message,
                Frame::Lost(Lost::TooLarge) => {
                    output.refuse(Reason::TooLarge, 1);
                    continue;
                }
                Frame::Lost(Lost::Malformed) => {
                    output.complain("sends something that is no fluent message in JSON");
                    output.refuse(Reason::Malformed, 1);
                    continue;
                }
            };
            match message::parse(message.raw(), usize::MAX) {
                Message::Event { record, chunk } => {
                    output.take_event(&message.part(record));
                    if let Some(chunk) = chunk {
                        acknowledge(chunk);
                    }
                }
                Message::Batch => {
                    output.complain(
                        "sends several events in a message (Forward or PackedForward mode); set it to \
                         send each in its own, without buffering or compression",
                    );
                    output.refuse(Reason::Malformed, 1);
                }
                Message::Other => {
                    output.complain("sends something that is no fluent message in JSON");
                    output.refuse(Reason::Malformed, 1);
                }
            }
        }
        // A client that waits for a word, for ever, has sent nothing behind the message.
        if self.is_overlong && self.framer.is_done() {
            self.is_overlong = false;
            if let Some(chunk) = message::chunk_at_end(&self.tail) {
                acknowledge(chunk);
            }
        }
        acknowledgements
    }
}
