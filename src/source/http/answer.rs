//! What the listener answers: as Splunk's HTTP Event Collector does, so that its clients know what to
//! make of it.

use super::request::HeadError;
use crate::source::foreign::Foreign;
use crate::telemetry::counters::Refusal;

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
    /// Nothing of the body was taken: the buffer is full, or the memory for bodies is used up.
    Busy,
    /// There are as many connections as are allowed.
    TooManyConnections,
    /// The same of this client's address.
    TooManyOfPeer,
    /// The request can't be understood.
    Refused(HeadError),
    /// The body is not chunked as it says.
    BadChunking,
    /// The client does not speak TLS.
    NotTls,
    /// The body, or an event in it, is too large.
    TooLarge,
    /// The body does not have the coding that its head says.
    BadCoding,
    /// The request was not complete in time.
    TooSlow,
    /// No token.
    NoToken,
    /// Another token.
    WrongToken,
    /// A method that the path does not know.
    OtherMethod,
    /// It is not known where the body ends.
    NoLength,
}

impl Answer {
    /// Why the request is refused, if it is: then its events are not counted, since the client still has them.
    pub fn refusal(self) -> Option<Refusal> {
        Some(match self {
            Answer::Taken
            | Answer::Healthy
            | Answer::Full
            | Answer::Options
            | Answer::NoAcknowledgements => return None,
            Answer::BadEvent(_) => Refusal::MalformedEvents,
            Answer::Busy => Refusal::BufferFull,
            Answer::TooManyConnections => Refusal::ConnectionLimit,
            Answer::TooManyOfPeer => Refusal::PeerLimit,
            Answer::Refused(HeadError::Malformed(_)) => Refusal::MalformedHead,
            Answer::Refused(HeadError::Foreign(foreign)) => foreign.refusal(),
            Answer::Refused(HeadError::TooLarge) => Refusal::HeadTooLarge,
            Answer::Refused(HeadError::UnknownTransferCoding) => Refusal::NotImplemented,
            Answer::Refused(HeadError::UnknownContentCoding) => Refusal::Encoding,
            Answer::BadChunking => Refusal::BadChunking,
            Answer::NotTls => Refusal::NotTls,
            Answer::TooLarge => Refusal::TooLarge,
            Answer::BadCoding => Refusal::BadEncoding,
            Answer::TooSlow => Refusal::Timeout,
            Answer::NoToken => Refusal::Unauthorized,
            Answer::WrongToken => Refusal::Forbidden,
            Answer::OtherMethod => Refusal::Method,
            Answer::NoLength => Refusal::LengthRequired,
        })
    }

    /// Status line, text and Splunk's code.
    fn content(self) -> (&'static str, &'static str, u8) {
        match self {
            Answer::Taken => ("200 OK", "Success", 0),
            Answer::Healthy | Answer::Options => ("200 OK", "HEC is healthy", 17),
            Answer::Full => (
                "503 Service Unavailable",
                "HEC is unhealthy, queues are full",
                18,
            ),
            Answer::NoAcknowledgements => ("400 Bad Request", "ACK is disabled", 14),
            Answer::BadEvent(_) => ("400 Bad Request", "Invalid data format", 6),
            Answer::Busy | Answer::TooManyConnections | Answer::TooManyOfPeer => {
                ("503 Service Unavailable", "Server is busy", 9)
            }
            Answer::Refused(error) => head_error(error),
            Answer::BadChunking => ("400 Bad Request", "bad chunked coding", 6),
            Answer::NotTls => ("400 Bad Request", "TLS is required: use https", 6),
            Answer::TooLarge => ("413 Content Too Large", "Content too large", 6),
            Answer::BadCoding => ("400 Bad Request", "Invalid content coding", 6),
            Answer::TooSlow => ("408 Request Timeout", "Request not complete in time", 6),
            Answer::NoToken => ("401 Unauthorized", "Token is required", 2),
            Answer::WrongToken => ("403 Forbidden", "Invalid token", 4),
            Answer::OtherMethod => ("405 Method Not Allowed", "Method not allowed", 6),
            Answer::NoLength => ("411 Length Required", "Content-Length is required", 6),
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
            Answer::Busy | Answer::TooManyConnections | Answer::TooManyOfPeer => {
                "Retry-After: 1\r\n"
            }
            Answer::Options | Answer::OtherMethod => ALLOW,
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

fn head_error(error: HeadError) -> (&'static str, &'static str, u8) {
    let foreign = |foreign| match foreign {
        Foreign::Tls => "no TLS here: use http",
        Foreign::Http2 => "no HTTP/2 here",
        Foreign::ProxyHeader => "no PROXY header here",
        Foreign::Http => "not HTTP",
    };
    match error {
        HeadError::Malformed(what) => ("400 Bad Request", what, 6),
        HeadError::Foreign(found) => ("400 Bad Request", foreign(found), 6),
        HeadError::TooLarge => (
            "431 Request Header Fields Too Large",
            "Headers too large",
            6,
        ),
        HeadError::UnknownTransferCoding => ("501 Not Implemented", "Unknown Transfer-Encoding", 6),
        HeadError::UnknownContentCoding => {
            ("415 Unsupported Media Type", "Unknown Content-Encoding", 6)
        }
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
