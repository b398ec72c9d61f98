//! What the listener answers: as Splunk's HTTP Event Collector does, so that its clients know what to
//! make of it.

use crate::telemetry::counters::Refusal;

const BAD_REQUEST: &str = "400 Bad Request";
const UNAVAILABLE: &str = "503 Service Unavailable";
/// The methods that are allowed.
const ALLOW: &str = "Allow: POST, PUT, GET, HEAD, OPTIONS\r\n";

/// An answer; whether the connection can be used after it is up to the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// All events of the body are in the buffer.
    Taken,
    /// A probe: the listener is there.
    Healthy,
    /// A probe: nothing more can be taken for now.
    Full,
    /// To OPTIONS: the listener is there.
    Options,
    /// There are no indexer acknowledgements here.
    NoAcknowledgements,
    /// Nothing of the body was taken: this event of it, from 0, is not a JSON object.
    BadEvent(usize),
    /// Not HTTP, or framed in a way that could be understood differently.
    Malformed(&'static str),
    /// Nothing was taken, for another reason.
    Refused(Refusal),
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Answer::Refused(refusal)
    }
}

impl Answer {
    /// Why the request is refused, if it is: then its events are not counted, since the client still has them.
    pub fn refusal(self) -> Option<Refusal> {
        match self {
            Answer::Taken
            | Answer::Healthy
            | Answer::Full
            | Answer::Options
            | Answer::NoAcknowledgements => None,
            Answer::BadEvent(_) => Some(Refusal::MalformedEvents),
            Answer::Malformed(_) => Some(Refusal::MalformedHead),
            Answer::Refused(refusal) => Some(refusal),
        }
    }

    /// Status line, text and Splunk's code.
    fn content(self) -> (&'static str, &'static str, u8) {
        match self {
            Answer::Taken => ("200 OK", "Success", 0),
            Answer::Healthy | Answer::Options => ("200 OK", "HEC is healthy", 17),
            Answer::Full => (UNAVAILABLE, "HEC is unhealthy, queues are full", 18),
            Answer::NoAcknowledgements => (BAD_REQUEST, "ACK is disabled", 14),
            Answer::BadEvent(_) => (BAD_REQUEST, "Invalid data format", 6),
            Answer::Malformed(what) => (BAD_REQUEST, what, 6),
            Answer::Refused(refusal) => content_of(refusal),
        }
    }

    /// The whole answer as bytes. `head_only`: to HEAD, without the text.
    pub fn write(self, keep_alive: bool, head_only: bool, out: &mut Vec<u8>) {
        let (status, text, code) = self.content();
        let number = match self {
            Answer::BadEvent(number) => format!(",\"invalid-event-number\":{number}"),
            _ => String::new(),
        };
        let more = match self {
            Answer::Refused(
                Refusal::BufferFull
                | Refusal::MemoryLimit
                | Refusal::ConnectionLimit
                | Refusal::PeerLimit,
            ) => "Retry-After: 1\r\n",
            Answer::Options | Answer::Refused(Refusal::Method) => ALLOW,
            _ => "",
        };
        let close = if keep_alive {
            ""
        } else {
            "Connection: close\r\n"
        };
        let body = format!("{{\"text\":\"{text}\",\"code\":{code}{number}}}");
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{more}{close}\r\n",
            body.len()
        );
        out.extend_from_slice(head.as_bytes());
        if !head_only {
            out.extend_from_slice(body.as_bytes());
        }
    }
}

/// Status line, text and Splunk's code for a request that is refused.
fn content_of(refusal: Refusal) -> (&'static str, &'static str, u8) {
    match refusal {
        Refusal::BufferFull
        | Refusal::MemoryLimit
        | Refusal::ConnectionLimit
        | Refusal::PeerLimit => (UNAVAILABLE, "Server is busy", 9),
        Refusal::TlsHello => (BAD_REQUEST, "no TLS here: use http", 6),
        Refusal::Http2Preface => (BAD_REQUEST, "no HTTP/2 here", 6),
        Refusal::ProxyHeader => (BAD_REQUEST, "no PROXY header here", 6),
        Refusal::HeadTooLarge => (
            "431 Request Header Fields Too Large",
            "Headers too large",
            6,
        ),
        Refusal::NotImplemented => ("501 Not Implemented", "Unknown Transfer-Encoding", 6),
        Refusal::Encoding => ("415 Unsupported Media Type", "Unknown Content-Encoding", 6),
        Refusal::BadChunking => (BAD_REQUEST, "bad chunked coding", 6),
        Refusal::NotTls => (BAD_REQUEST, "TLS is required: use https", 6),
        Refusal::TooLarge => ("413 Content Too Large", "Content too large", 6),
        Refusal::BadEncoding => (BAD_REQUEST, "Invalid content coding", 6),
        Refusal::Timeout => ("408 Request Timeout", "Request not complete in time", 6),
        Refusal::Unauthorized => ("401 Unauthorized", "Token is required", 2),
        Refusal::Forbidden => ("403 Forbidden", "Invalid token", 4),
        Refusal::Method => ("405 Method Not Allowed", "Method not allowed", 6),
        Refusal::LengthRequired => ("411 Length Required", "Content-Length is required", 6),
        // The first two have answers of their own; for the others, the connection ends without one.
        Refusal::MalformedEvents
        | Refusal::MalformedHead
        | Refusal::Http
        | Refusal::Disconnected
        | Refusal::Handshake
        | Refusal::ClientCertificate
        | Refusal::Displaced
        | Refusal::Unread => (BAD_REQUEST, "bad request", 6),
    }
}

/// The answer that nearly all requests get, ready to be written.
pub const TAKEN: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 27\r\n\r\n\
                           {\"text\":\"Success\",\"code\":0}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_answer_is_ready() {
        let mut written = Vec::new();
        Answer::Taken.write(true, false, &mut written);
        assert_eq!(String::from_utf8(written).unwrap().as_bytes(), TAKEN);
    }
}
