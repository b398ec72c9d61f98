//! What the client must know of its connection that ureq does not know: the request as it is written, whether it was
//! written whole, whether any of it can have been read, and whether anything came unasked.

pub mod socket;

use std::fmt;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ureq::Error;
use ureq::unversioned::transport::{NextTimeout, Transport};

use crate::buffer::piece::Piece;
use crate::telemetry::expiry::Expiries;
use crate::webhook::error::Sent;

/// What is known of the connection in use. There is one at a time; clones share it.
#[derive(Clone, Default)]
pub struct Wire(Arc<Mutex<State>>);

impl fmt::Debug for Wire {
    /// Without the head, which has the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

#[derive(Default)]
struct State {
    /// The request's head, and its body: they are written together, without a copy.
    head: Vec<u8>,
    body: Vec<Piece>,
    /// Bytes of the body, and how many of them ureq has not passed on yet.
    length: usize,
    left: usize,
    /// All of it was written.
    is_written: bool,
    /// Reads must return at once if nothing has arrived.
    is_probing: bool,
    /// The next request must go over another connection.
    is_unwanted: bool,
    /// No read waits beyond this.
    deadline: Option<Instant>,
    /// The peer closed the connection before the request was written whole.
    is_cut_short: bool,
    /// Bytes that the peer's kernel had acknowledged when the connection was last idle, and when it was closed.
    acked_when_idle: Option<u64>,
    acked_at_end: Option<u64>,
    /// The peer's kernel ended the connection without its program having closed it in order.
    is_reset: bool,
    /// When the certificates on a new connection expire.
    expiries: Option<Expiries>,
}

impl Wire {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called before each request, with its body. Returns the body's length in bytes.
    pub fn begin(&self, body: Vec<Piece>) -> usize {
        let length = body.iter().map(|piece| piece.len()).sum();
        let mut state = self.state();
        *state = State {
            body,
            length,
            left: length,
            is_unwanted: state.is_unwanted,
            ..State::default()
        };
        length
    }

    /// To be called after each request. Returns how much of it was sent.
    pub fn end(&self) -> Sent {
        let mut state = self.state();
        state.body.clear();
        match state.is_written && !state.is_cut_short {
            true => Sent::All,
            // There was no connection to send the body over.
            false if state.left == state.length => Sent::Nothing,
            false => Sent::Part,
        }
    }

    /// Has ureq pass on the body: the next `max` bytes at most. Returns how many.
    pub fn pass(&self, max: usize) -> usize {
        let mut state = self.state();
        let passed = max.min(state.left);
        state.left -= passed;
        passed
    }

    /// Whether what ureq wants to transmit waits until it has passed on all of the body. Before that it is the head.
    pub fn gathers(&self, output: &[u8]) -> bool {
        let mut state = self.state();
        if state.left == state.length {
            state.head.extend_from_slice(output);
        }
        state.left > 0
    }

    /// A whole request to be written, once; nothing if it is not whole, or something else is to be written.
    pub fn take_request(&self) -> Vec<Piece> {
        let mut state = self.state();
        if state.left > 0 || state.body.is_empty() {
            return Vec::new();
        }
        let head = Piece::from(std::mem::take(&mut state.head));
        let body = state.body.drain(..);
        std::iter::once(head).chain(body).collect()
    }

    /// Notes that all of the request was written.
    pub fn set_written(&self) {
        self.state().is_written = true;
    }

    /// Notes that the peer closed the connection, if the request was to be written whole just now. What else can't be
    /// written, such as an alert over an old connection, says nothing of it.
    pub fn set_cut_short(&self) {
        let mut state = self.state();
        state.is_cut_short |= state.left == 0 && !state.is_written;
    }

    /// Whether the peer closed the connection before the request was written whole.
    pub fn is_cut_short(&self) -> bool {
        self.state().is_cut_short
    }

    /// Whether the request went over a connection that had been idle before, and the peer closed it in order without
    /// having acknowledged anything since: no program can have read any of it. A reset says nothing of that: what was
    /// read just before need not be acknowledged.
    pub fn is_surely_unread(&self) -> bool {
        let state = self.state();
        let is_acked =
            state.acked_when_idle.is_none() || state.acked_when_idle != state.acked_at_end;
        !is_acked && !state.is_reset
    }

    /// Notes when the certificates on a new connection expire.
    pub fn set_expiries(&self, expiries: Expiries) {
        self.state().expiries = Some(expiries);
    }

    /// When these certificates expire, once.
    pub fn take_expiries(&self) -> Option<Expiries> {
        self.state().expiries.take()
    }

    /// Sets whether the next request must go over another connection.
    pub fn set_unwanted(&self, is_unwanted: bool) {
        self.state().is_unwanted = is_unwanted;
    }

    /// Lets no read wait beyond this time, if there is one.
    pub fn set_deadline(&self, deadline: Option<Instant>) {
        self.state().deadline = deadline;
    }

    /// Whether the connection is wanted and open, and nothing has arrived on it at any level: in the socket, in TLS, or
    /// above.
    pub fn is_idle(&self, transport: &mut dyn Transport) -> bool {
        if self.state().is_unwanted || !transport.buffers().input().is_empty() {
            return false;
        }
        self.state().is_probing = true;
        let result = transport.await_input(NextTimeout::default());
        self.state().is_probing = false;
        matches!(result, Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(texts: &[&str]) -> Vec<Piece> {
        let bytes = texts.iter().map(|text| text.as_bytes().to_vec());
        bytes.map(Piece::from).collect()
    }

    fn text(pieces: &[Piece]) -> String {
        let bytes = pieces.iter().flat_map(|piece| piece.to_vec());
        String::from_utf8(bytes.collect()).unwrap()
    }

    #[test]
    fn a_request_is_written_when_all_of_its_body_was_passed_on() {
        let wire = Wire::default();
        assert!(!wire.gathers(b"CONNECT"), "without a body");
        for _ in 0..2 {
            assert_eq!(wire.begin(pieces(&["{}\n", "{\"a\":1}\n"])), 11);
            assert!(wire.gathers(b"POST / "));
            assert!(wire.gathers(b"HTTP/1.1\r\n\r\n"));
            assert!(wire.take_request().is_empty(), "not whole");
            assert_eq!(wire.pass(4), 4);
            assert!(wire.gathers(b"what was in the buffer before"));
            assert!(wire.take_request().is_empty(), "not whole");
            assert_eq!(wire.pass(99), 7);
            assert!(!wire.gathers(b"what was in the buffer before"));
            let request = text(&wire.take_request());
            assert_eq!(request, "POST / HTTP/1.1\r\n\r\n{}\n{\"a\":1}\n");
            assert!(wire.take_request().is_empty(), "once");
        }
    }

    #[test]
    fn what_was_sent_is_what_was_written() {
        for (passed, is_written, is_cut_short, sent) in [
            (0, false, false, Sent::Nothing),
            (2, false, false, Sent::Part),
            (3, false, false, Sent::Part),
            (3, true, false, Sent::All),
            // The error that the kernel had kept back was not one of this write.
            (3, true, true, Sent::Part),
        ] {
            let wire = Wire::default();
            wire.begin(pieces(&["{}\n"]));
            // Something else, over an old connection.
            wire.set_cut_short();
            wire.pass(passed);
            if is_cut_short {
                wire.set_cut_short();
            }
            if is_written {
                wire.set_written();
                // Something else, after it.
                wire.set_cut_short();
            }
            assert_eq!(wire.is_cut_short(), is_cut_short);
            assert_eq!(wire.end(), sent, "{passed}, {is_written}, {is_cut_short}");
            assert!(wire.state().body.is_empty(), "nobody keeps it");
        }
    }
}
