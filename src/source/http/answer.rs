//! What the listener answers: as Splunk's HTTP Event Collector does, so that its clients know what to
//! make of it.

use super::request::Refusal;

/// An answer; whether the connection can be used behind it is the connection's matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// All events of the body are in the buffer.
    Taken,
    /// A probe: the listener is there.
    Healthy,
    /// Nothing of the body was taken: this event of it, from 0, is no JSON object.
    BadEvent(usize),
    /// Nothing of the body was taken: the buffer is full, or memory for bodies is.
    Busy,
    /// No more connections.
    TooManyConnections,
    /// The request is not to be understood.
    Refused(Refusal),
    /// The body, or an event in it, is too large.
    TooLarge,
    /// The body is not what its coding says.
    BadCoding,
    /// The request was not complete in time.
    TooSlow,
    /// No token.
    NoToken,
    /// Another token.
    WrongToken,
    /// Neither POST, PUT, GET nor HEAD.
    OtherMethod,
}

impl Answer {
    /// The whole answer as bytes. `head_only`: to HEAD, without the text.
    pub fn write(self, keep_alive: bool, head_only: bool, out: &mut Vec<u8>) {
        let (status, text, code) = match self {
            Answer::Taken => ("200 OK", "Success", 0),
            Answer::Healthy => ("200 OK", "HEC is healthy", 17),
            Answer::BadEvent(_) => ("400 Bad Request", "Invalid data format", 6),
            Answer::Busy | Answer::TooManyConnections => {
                ("503 Service Unavailable", "Server is busy", 9)
            }
            Answer::Refused(Refusal::Malformed(what)) => ("400 Bad Request", what, 6),
            Answer::Refused(Refusal::HeadTooLarge) => (
                "431 Request Header Fields Too Large",
                "Headers too large",
                6,
            ),
            Answer::Refused(Refusal::UnknownTransferCoding) => {
                ("501 Not Implemented", "Unknown Transfer-Encoding", 6)
            }
            Answer::Refused(Refusal::UnknownContentCoding) => {
                ("415 Unsupported Media Type", "Unknown Content-Encoding", 6)
            }
            Answer::TooLarge => ("413 Content Too Large", "Content too large", 6),
            Answer::BadCoding => ("400 Bad Request", "Invalid content coding", 6),
            Answer::TooSlow => ("408 Request Timeout", "Request not complete in time", 6),
            Answer::NoToken => ("401 Unauthorized", "Token is required", 2),
            Answer::WrongToken => ("403 Forbidden", "Invalid token", 4),
            Answer::OtherMethod => ("405 Method Not Allowed", "Method not allowed", 6),
        };
        let number = match self {
            Answer::BadEvent(number) => format!(",\"invalid-event-number\":{number}"),
            _ => String::new(),
        };
        let more = match self {
            Answer::Busy | Answer::TooManyConnections => "Retry-After: 1\r\n",
            Answer::OtherMethod => "Allow: POST, PUT, GET, HEAD\r\n",
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
