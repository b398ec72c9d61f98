//! One request and the head of its answer, over the kept connection.

use std::io::{self, ErrorKind, Read};
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use ureq::http::{Response, Uri, Version, header};
use ureq::typestate::WithBody;
use ureq::{Error, RequestBuilder, SendBody};

use super::{Webhook, clock};
use crate::buffer::piece::Piece;
use crate::webhook::error::{Sent, Unanswered, is_disconnect};
use crate::webhook::wire::Wire;

impl Webhook {
    /// A request without its body and what describes it.
    pub(super) fn request(&self, uri: &Uri, channel: Option<u64>) -> RequestBuilder<WithBody> {
        let mut request = self.agent.post(uri);
        if self.is_connection_old() {
            request = request.header(header::CONNECTION, "close");
        }
        if let Some(authorization) = &self.shared.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let mut own_cookies = None;
        for (name, value) in &self.template.headers {
            if channel.is_some() && name == header::COOKIE {
                own_cookies = Some(value);
            } else {
                request = request.header(name, value);
            }
        }
        match channel {
            Some(channel) => {
                let session = self.session.borrow();
                session.add_headers(request, channel, own_cookies)
            }
            None => request,
        }
    }

    /// Sends a request with this body, which is not empty, and waits for the answer's head.
    pub(super) fn send(
        &self,
        request: RequestBuilder<WithBody>,
        body: Vec<Piece>,
        channel: Option<u64>,
    ) -> Result<Response<ureq::Body>, Unanswered> {
        let length = self.wire.begin(body);
        if self.kept_since.is_none() {
            self.addresses.forget();
        }
        let (mut body, began) = (Unread(&self.wire), SystemTime::now());
        let request = request.header(header::CONTENT_LENGTH, length);
        let result = request.send(SendBody::from_reader(&mut body));
        let sent = self.wire.end();
        let response = result.map_err(|error| Unanswered { error, sent })?;
        self.skew.set(clock::skew(&response, began));
        if ends_connection(&response) {
            self.addresses.forget();
        }
        if response.status().is_success() && self.wire.is_cut_short() {
            // The webhook can't have what was not sent.
            let error = Error::Io(ErrorKind::ConnectionAborted.into());
            return Err(Unanswered { error, sent });
        }
        if channel.is_some() {
            let mut session = self.session.borrow_mut();
            session.note(response.headers(), Instant::now());
        }
        Ok(response)
    }

    /// Makes a request, and repeats it once if nobody can have read it.
    pub(super) fn over_kept_connection<T>(
        &mut self,
        attempt: impl Fn(&Self) -> Result<T, Unanswered>,
    ) -> Result<T, Unanswered> {
        let mut since = self.kept_since.unwrap_or_else(Instant::now);
        let mut is_last = self.is_connection_old();
        let mut result = attempt(self);
        if let Err(unanswered) = &result
            && self.kept_since.is_some()
            && self.may_repeat(unanswered)
        {
            (since, is_last) = (Instant::now(), false);
            self.kept_since = None;
            result = attempt(self);
        }
        self.kept_since = (result.is_ok() && !is_last).then_some(since);
        if self.wire.is_cut_short() {
            // What was not written would be expected before another request.
            self.leave_connection();
        }
        result
    }

    /// Has the next request look the name up, and go over another connection: a balancer may lead it to a server that
    /// works, while one that fails would answer each request over this connection.
    pub(super) fn leave_connection(&mut self) {
        self.wire.set_unwanted(true);
        self.kept_since = None;
    }

    /// Whether a request over a kept connection may be repeated at once and silently, since nobody can have read it:
    /// the webhook had closed the connection while it was idle, or has moved to another address.
    fn may_repeat(&self, Unanswered { error, sent }: &Unanswered) -> bool {
        match error {
            _ if self.is_aborted.load(Ordering::Relaxed) => false,
            Error::Io(error) if is_disconnect(error) => {
                *sent != Sent::All || self.wire.is_surely_unread()
            }
            Error::Io(error) => error.kind() == ErrorKind::ConnectionRefused,
            _ => false,
        }
    }
}

/// The body for ureq, which copies nothing but learns how long it is: the bytes are written from where they are.
struct Unread<'a>(&'a Wire);

impl Read for Unread<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        Ok(self.0.pass(out.len()))
    }
}

/// Whether the webhook wants the next request over another connection.
fn ends_connection<B>(response: &Response<B>) -> bool {
    let connection = response.headers().get(header::CONNECTION);
    response.version() < Version::HTTP_11
        || connection.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
}
