//! One answer of the scripted webhook: a correct one, or one of the many ways in which a server fails its client.

use std::io::{self, Write};
use std::time::Duration;

use super::shared::Exchange;

/// What the webhook does with one request.
///
/// It starts as a correct answer, [`Answer::ok`] or [`Answer::status`], or as none at all, and is changed from there:
/// `Answer::status(429).header("Retry-After", "2").close()`.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    body_limit: usize,
    delay: Duration,
    sends: Sends,
    then: Then,
}

/// Which part of the answer is sent.
#[derive(Clone, Debug)]
enum Sends {
    Nothing,
    All,
    Slowly { bytes: usize, interval: Duration },
    HalfTheHead,
    HalfTheBody,
    Endlessly,
    Garbage,
}

/// What becomes of the connection after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    KeepAlive,
    /// Closed, as announced by `Connection: close`.
    Close,
    /// Closed without warning: no `Connection: close`, no TLS close_notify.
    CloseSilently,
    Reset,
    /// Gets a TLS record that nobody can decrypt, and is closed.
    Spoil,
    /// Left open and silent until the webhook stops.
    Hang,
}

impl Answer {
    /// 200 as Splunk gives it: `{"text":"Success","code":0}`.
    pub(crate) fn ok() -> Self {
        Self::status(200)
    }

    /// An answer with this status, and with the body that Splunk sends with it most often.
    pub(crate) fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: usual_body(status),
            body_limit: usize::MAX,
            delay: Duration::ZERO,
            sends: Sends::All,
            then: Then::KeepAlive,
        }
    }

    /// An answer with this status and with Splunk's body for `code`: `{"text":"Incorrect index","code":7}`.
    pub(crate) fn hec(status: u16, text: &str, code: u32) -> Self {
        Self::status(status).body(format!(r#"{{"text":"{text}","code":{code}}}"#))
    }

    /// Reads the request and never answers; the connection stays open until the webhook stops.
    pub(crate) fn hang() -> Self {
        Self::nothing(Then::Hang)
    }

    /// Reads the request and closes the connection without an answer.
    pub(crate) fn hang_up() -> Self {
        Self::nothing(Then::CloseSilently)
    }

    /// Reads the request and resets the connection (RST) without an answer.
    pub(crate) fn reset() -> Self {
        Self::nothing(Then::Reset)
    }

    /// Reads the request, and answers with a TLS record that nobody can decrypt.
    pub(crate) fn spoilt() -> Self {
        Self::nothing(Then::Spoil)
    }

    /// Reads `bytes` of the request's body and resets the connection (RST).
    pub(crate) fn reset_mid_body(bytes: usize) -> Self {
        Self {
            body_limit: bytes,
            ..Self::reset()
        }
    }

    /// Answers with bytes that are not HTTP, and closes.
    pub(crate) fn garbage() -> Self {
        Self {
            sends: Sends::Garbage,
            ..Self::nothing(Then::CloseSilently)
        }
    }

    /// Replaces the body.
    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Adds a header; `Content-Type` and `Content-Length` replace the usual ones.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Waits before answering.
    pub(crate) fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Announces `Connection: close` and closes after the answer.
    pub(crate) fn close(mut self) -> Self {
        self.then = Then::Close;
        self
    }

    /// Closes after the answer without announcing it, as a server with a short keep-alive timeout does.
    pub(crate) fn close_silently(mut self) -> Self {
        self.then = Then::CloseSilently;
        self
    }

    /// Answers as soon as the request's head is there, and closes with the body unread. As with real servers that do
    /// so, a client that is still sending may see a reset instead of the answer.
    pub(crate) fn without_reading(mut self) -> Self {
        self.body_limit = 0;
        self.close()
    }

    /// Answers as soon as the request's head is there, and then reads nothing more, but keeps the connection open.
    pub(crate) fn without_reading_or_closing(mut self) -> Self {
        self.body_limit = 0;
        self.then = Then::Hang;
        self
    }

    /// Sends the answer `bytes` at a time, with a pause of `interval` between them.
    pub(crate) fn slowly(mut self, bytes: usize, interval: Duration) -> Self {
        self.sends = Sends::Slowly { bytes, interval };
        self
    }

    /// Closes in the middle of the answer's head.
    pub(crate) fn half_a_head(mut self) -> Self {
        self.sends = Sends::HalfTheHead;
        self.close_silently()
    }

    /// Closes in the middle of the answer's body, short of its `Content-Length`.
    pub(crate) fn half_a_body(mut self) -> Self {
        self.sends = Sends::HalfTheBody;
        self.close_silently()
    }

    /// Repeats the body for as long as the client reads it.
    pub(crate) fn endless(mut self) -> Self {
        self.sends = Sends::Endlessly;
        self.close()
    }

    fn nothing(then: Then) -> Self {
        Self {
            sends: Sends::Nothing,
            then,
            ..Self::ok()
        }
    }

    /// How many bytes of the request's body are read before the answer.
    pub(super) fn body_limit(&self) -> usize {
        self.body_limit
    }

    /// Whether the connection ends with this answer.
    pub(crate) fn ends_connection(&self) -> bool {
        self.then != Then::KeepAlive
    }

    /// What becomes of the connection after [`Answer::send`].
    pub(super) fn then(&self) -> Then {
        self.then
    }

    /// Sends the answer. The exchange is marked as answered just before the byte that lets the client know: whoever has
    /// seen the client act on an answer finds it marked.
    pub(super) fn send(&self, to: &mut impl Write, exchange: &Exchange) -> io::Result<()> {
        exchange.pause(self.delay)?;
        let head = self.head();
        let whole = self.bytes();
        match self.sends {
            Sends::Nothing => {}
            Sends::Garbage => to.write_all(b"\x00\x01 this is no HTTP at all\n\n")?,
            Sends::HalfTheHead => to.write_all(&head[..head.len() / 2])?,
            Sends::HalfTheBody => {
                exchange.mark(self.status);
                to.write_all(&whole[..head.len() + self.body.len() / 2])?;
            }
            Sends::All => {
                exchange.mark(self.status);
                to.write_all(&whole)?;
            }
            Sends::Slowly { bytes, interval } => {
                let mut pieces = whole.chunks(bytes).peekable();
                while let Some(piece) = pieces.next() {
                    if pieces.peek().is_none() {
                        exchange.mark(self.status);
                    }
                    to.write_all(piece)?;
                    to.flush()?;
                    exchange.pause(interval)?;
                }
            }
            Sends::Endlessly => {
                exchange.mark(self.status);
                to.write_all(&head)?;
                // Only the client can end this, and it is right to: no error.
                while to.write_all(&self.body).is_ok() {}
                return Ok(());
            }
        }
        to.flush()
    }

    /// All of it, as it is sent.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        [self.head().as_slice(), &self.body].concat()
    }

    fn head(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        let mut line = |name: &str, value: &str| head.push_str(&format!("{name}: {value}\r\n"));
        for (name, value) in &self.headers {
            line(name, value);
        }
        if !self.has_header("Content-Type") {
            line("Content-Type", "application/json; charset=UTF-8");
        }
        // 204 has no body by definition, and the end of an endless one cannot be announced.
        let announces_length = self.status != 204 && !matches!(self.sends, Sends::Endlessly);
        if announces_length && !self.has_header("Content-Length") {
            line("Content-Length", &self.body.len().to_string());
        }
        if self.then == Then::Close {
            line("Connection", "close");
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    fn has_header(&self, wanted: &str) -> bool {
        self.headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case(wanted))
    }
}

fn usual_body(status: u16) -> Vec<u8> {
    match status {
        200 => r#"{"text":"Success","code":0}"#,
        204 => "",
        400 => r#"{"text":"Invalid data format","code":6}"#,
        401 => r#"{"text":"Invalid authorization","code":3}"#,
        403 => r#"{"text":"Invalid token","code":4}"#,
        404 => r#"{"text":"The requested URL was not found on this server.","code":404}"#,
        500 => r#"{"text":"Internal server error","code":8}"#,
        503 => r#"{"text":"Server is busy","code":9}"#,
        other => reason(other),
    }
    .into()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Whatever",
    }
}
