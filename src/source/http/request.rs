//! Reading an HTTP/1.1 request from bytes, strictly: whatever two parsers could understand
//! differently is refused (RFC 9112, sections 6 and 11.2). No I/O.

use std::mem::MaybeUninit;

use httparse::Status;

use super::answer::Answer;
use crate::source::foreign;
use crate::telemetry::counters::Refusal;

/// Max bytes of a request's line and headers.
pub const HEAD_BYTES: usize = 16 << 10;
const HEADERS: usize = 64;

/// How long a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// The head does not say it.
    None,
    /// This many bytes.
    Known(u64),
    /// Until the last chunk.
    Chunked,
}

/// A request's line and headers, as far as they matter here.
#[derive(Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// The method, as it was written.
    pub method: &'a str,
    /// The target, as it was written.
    pub target: &'a str,
    /// How long the body is.
    pub length: Length,
    /// The body is compressed with gzip.
    pub is_gzip: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// The connection may be used again.
    pub keep_alive: bool,
    /// The value of `Authorization`.
    pub authorization: Option<&'a [u8]>,
    /// Bytes of the head.
    pub bytes: usize,
}

impl<'a> Head<'a> {
    /// Whether it is unknown if there is a body: an answer of success would then lose it.
    pub fn lacks_length(&self) -> bool {
        self.length == Length::None && matches!(self.method, "POST" | "PUT")
    }

    /// Adds what the headers say.
    fn read(&mut self, headers: &[httparse::Header<'a>], is_1_1: bool) -> Result<(), Answer> {
        let mut hosts = 0;
        for header in headers {
            let value = header.value;
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            if is("content-length") {
                self.set_length(Length::Known(parse_length(value)?))?;
            } else if is("transfer-encoding") {
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Refusal::NotImplemented.into());
                }
                self.set_length(Length::Chunked)?;
            } else if is("content-encoding") {
                self.add_content_codings(value)?;
            } else if is("connection") {
                let closes = list(value).any(|token| token.eq_ignore_ascii_case(b"close"));
                self.keep_alive &= !closes;
            } else if is("expect") {
                // A client of HTTP/1.0 would take the interim answer for the final one.
                self.expects_continue = is_1_1 && value.eq_ignore_ascii_case(b"100-continue");
            } else if is("authorization") {
                if self.authorization.replace(value).is_some() {
                    return Err(Answer::Malformed("more than one Authorization"));
                }
            } else if is("host") {
                hosts += 1;
            }
        }
        if hosts > 1 || (is_1_1 && hosts == 0) {
            return Err(Answer::Malformed("not one Host"));
        }
        if self.length == Length::Chunked && !is_1_1 {
            return Err(Answer::Malformed("chunked in HTTP/1.0"));
        }
        Ok(())
    }

    /// It can be said once.
    fn set_length(&mut self, length: Length) -> Result<(), Answer> {
        let before = std::mem::replace(&mut self.length, length);
        match (before, length) {
            (Length::None, _) => Ok(()),
            (Length::Known(_), Length::Known(_)) => {
                Err(Answer::Malformed("more than one Content-Length"))
            }
            (Length::Chunked, Length::Chunked) => Err(Refusal::NotImplemented.into()),
            _ => Err(Answer::Malformed("Content-Length and Transfer-Encoding")),
        }
    }

    fn add_content_codings(&mut self, value: &[u8]) -> Result<(), Answer> {
        for coding in list(value) {
            let is = |name: &[u8]| coding.eq_ignore_ascii_case(name);
            if is(b"") || is(b"identity") {
                continue;
            }
            if self.is_gzip || !(is(b"gzip") || is(b"x-gzip")) {
                return Err(Refusal::Encoding.into());
            }
            self.is_gzip = true;
        }
        Ok(())
    }
}

/// The head at the beginning of `bytes`, or `None` if it is not all there.
///
/// # Errors
/// It must be refused, and the connection closed after the answer.
pub fn parse_head(bytes: &[u8]) -> Result<Option<Head<'_>>, Answer> {
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS];
    let mut request = httparse::Request::new(&mut []);
    let bounded = &bytes[..bytes.len().min(HEAD_BYTES)];
    let length = match request.parse_with_uninit_headers(bounded, &mut headers) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) if bytes.len() >= HEAD_BYTES => {
            return Err(Refusal::HeadTooLarge.into());
        }
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::HeadTooLarge.into()),
        Err(_) => {
            let foreign = foreign::of(bytes).filter(|foreign| *foreign != Refusal::Http);
            return Err(foreign.map_or(Answer::Malformed("not HTTP"), Answer::Refused));
        }
    };
    // httparse takes a lone line feed for a line's end; a proxy before us may not.
    let head = &bytes[..length];
    if memchr::memchr_iter(b'\n', head).any(|at| at == 0 || head[at - 1] != b'\r') {
        return Err(Answer::Malformed("a line without its carriage return"));
    }
    let is_1_1 = request.version == Some(1);
    let mut head = Head {
        method: request.method.unwrap_or_default(),
        target: request.path.unwrap_or_default(),
        length: Length::None,
        is_gzip: false,
        expects_continue: false,
        keep_alive: is_1_1,
        authorization: None,
        bytes: length,
    };
    head.read(request.headers, is_1_1)?;
    Ok(Some(head))
}

/// The elements of a header that is a list.
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

fn parse_length(value: &[u8]) -> Result<u64, Answer> {
    let digits = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(value).ok().filter(|_| digits);
    number
        .and_then(|number| number.parse().ok())
        .ok_or(Answer::Malformed("a Content-Length that is no number"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(headers: &str) -> bool {
        let text = format!("POST /x HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n");
        parse_head(text.as_bytes()).is_err()
    }

    #[test]
    fn a_usual_request() {
        let text = b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nAuthorization: Splunk T\r\nContent-Length: 12\r\n\
                     content-encoding: GZIP\r\nExpect: 100-continue\r\nConnection: keep-alive\r\n\r\n{}";
        let head = parse_head(text).unwrap().unwrap();
        assert_eq!(
            head,
            Head {
                method: "POST",
                target: "/a?b=c",
                length: Length::Known(12),
                is_gzip: true,
                expects_continue: true,
                keep_alive: true,
                authorization: Some(b"Splunk T"),
                bytes: text.len() - 2,
            }
        );
        for end in 0..head.bytes {
            assert_eq!(parse_head(&text[..end]), Ok(None), "{end}");
        }
    }

    #[test]
    fn what_brings_events_must_say_how_long_they_are() {
        for (method, header, lacks_length) in [
            ("POST", "X: y", true),
            ("PUT", "X: y", true),
            ("POST", "Content-Length: 0", false),
            ("PUT", "Transfer-Encoding: chunked", false),
            ("GET", "X: y", false),
            ("OPTIONS", "X: y", false),
        ] {
            let text = format!("{method} / HTTP/1.1\r\nHost: a\r\n{header}\r\n\r\n");
            let head = parse_head(text.as_bytes()).unwrap().unwrap();
            assert_eq!(head.lacks_length(), lacks_length, "{text}");
        }
    }

    #[test]
    fn older_clients_do_not_wait_for_a_word() {
        let text = b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n";
        assert!(!parse_head(text).unwrap().unwrap().expects_continue);
    }

    #[test]
    fn framing_that_could_be_understood_differently_is_refused() {
        for headers in [
            "Content-Length: 1\r\nContent-Length: 1",
            "Content-Length: 1\r\nContent-Length: 2",
            "Content-Length: 1, 1",
            "Content-Length: +1",
            "Content-Length: -1",
            "Content-Length: 0x1",
            "Content-Length: 1 1",
            "Content-Length:",
            "Content-Length: 99999999999999999999",
            "Content-Length: 1\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 1",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding : chunked",
            "Content-Length : 1",
            "X: a\r\n folded: b",
            "X: a\nContent-Length: 1",
            "Host: b",
            "Content-Encoding: br",
            "A\u{0}: b",
        ] {
            assert!(refused(headers), "{headers:?}");
        }
        assert!(!refused("Content-Length: 1"));
        assert!(!refused("Transfer-Encoding: Chunked"));
        assert!(parse_head(b"POST / HTTP/1.1\r\n\r\n").is_err(), "no Host");
        assert!(parse_head(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
        assert!(parse_head(b"POST / HTTP/2.0\r\n\r\n").is_err());
        assert!(parse_head(b"{\"a\":1}\n").is_err());
    }

    #[test]
    fn content_codings() {
        for (headers, is_gzip) in [
            ("X: y", false),
            ("Content-Encoding:", false),
            ("Content-Encoding: identity", false),
            ("Content-Encoding: GZip", true),
            ("Content-Encoding: x-gzip", true),
            ("Content-Encoding: identity, gzip,", true),
            ("Content-Encoding: gzip\r\nContent-Encoding: identity", true),
        ] {
            let text = format!("POST /x HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n");
            let head = parse_head(text.as_bytes()).unwrap().unwrap();
            assert_eq!(
                (head.is_gzip, head.length),
                (is_gzip, Length::None),
                "{headers}"
            );
        }
        for value in "deflate;zstd;br;gzip, gzip;gzip, zstd;gzi;x".split(';') {
            let text = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: {value}\r\n\r\n");
            let refused = parse_head(text.as_bytes());
            assert_eq!(refused, Err(Refusal::Encoding.into()), "{value}");
        }
    }

    #[test]
    fn other_protocols_are_refused_as_what_they_are() {
        for (bytes, error) in [
            (&b"\x16\x03\x01"[..], Answer::Refused(Refusal::TlsHello)),
            (
                b"PRI * HTTP/2.0\r\n",
                Answer::Refused(Refusal::Http2Preface),
            ),
            (
                b"\r\n\r\n\0\r\nQUIT\n",
                Answer::Refused(Refusal::ProxyHeader),
            ),
            (b"POST / HTTP/7\r\n", Answer::Malformed("not HTTP")),
            (b"{\"n\":1}\n", Answer::Malformed("not HTTP")),
        ] {
            assert_eq!(parse_head(bytes), Err(error), "{error:?}");
        }
    }

    #[test]
    fn a_head_has_a_limit() {
        let long = format!("POST / HTTP/1.1\r\nX: {}", "x".repeat(HEAD_BYTES));
        assert_eq!(
            parse_head(long.as_bytes()),
            Err(Refusal::HeadTooLarge.into())
        );
        let many = format!("POST / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(HEADERS + 1));
        assert_eq!(
            parse_head(many.as_bytes()),
            Err(Refusal::HeadTooLarge.into())
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = parse_head(&bytes);
        }
    }
}
