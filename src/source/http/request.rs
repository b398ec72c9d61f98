//! Reading an HTTP/1.1 request from bytes, strictly: whatever two parsers could understand
//! differently is refused (RFC 9112, sections 6 and 11.2). No I/O.

use httparse::{EMPTY_HEADER, Status};

/// A request's line and headers at most.
pub const HEAD_BYTES: usize = 16 << 10;
const HEADERS: usize = 64;
/// A chunk's size line, or a trailer's line, at most.
const LINE_BYTES: usize = 1 << 10;

/// Why a request is refused before its body is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Not HTTP, or framed in a way that could be understood differently.
    Malformed(&'static str),
    /// Line and headers over [`HEAD_BYTES`], or more headers than anybody needs.
    HeadTooLarge,
    /// A transfer coding other than `chunked`.
    UnknownTransferCoding,
    /// A content coding other than `gzip`.
    UnknownContentCoding,
}

/// How long a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// So many bytes.
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
    pub path: &'a str,
    /// How long the body is.
    pub length: Length,
    /// The body is compressed with gzip.
    pub gzip: bool,
    /// The client waits for a word before it sends the body.
    pub expects_continue: bool,
    /// The connection may be used again.
    pub keep_alive: bool,
    /// The value of `Authorization`.
    pub authorization: Option<&'a [u8]>,
    /// Bytes of the head.
    pub bytes: usize,
}

/// The head at the beginning of `bytes`, or `None` if it is not all there.
///
/// # Errors
/// It must be refused, and the connection closed behind the answer.
pub fn parse_head(bytes: &[u8]) -> Result<Option<Head<'_>>, Refusal> {
    let mut headers = [EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let bounded = &bytes[..bytes.len().min(HEAD_BYTES)];
    let length = match request.parse(bounded) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) if bytes.len() >= HEAD_BYTES => return Err(Refusal::HeadTooLarge),
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::HeadTooLarge),
        Err(_) => return Err(Refusal::Malformed("not HTTP")),
    };
    // httparse takes a lone line feed for a line's end; a proxy before us may not.
    let head = &bytes[..length];
    if memchr::memchr_iter(b'\n', head).any(|at| at == 0 || head[at - 1] != b'\r') {
        return Err(Refusal::Malformed("a line without its carriage return"));
    }
    let is_1_1 = request.version == Some(1);
    let mut head = Head {
        method: request.method.unwrap_or_default(),
        path: request.path.unwrap_or_default(),
        length: Length::Known(0),
        gzip: false,
        expects_continue: false,
        keep_alive: is_1_1,
        authorization: None,
        bytes: length,
    };
    let (mut length, mut chunked, mut hosts) = (None, false, 0);
    for header in request.headers.iter() {
        let value = header.value;
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            if length.replace(parse_length(value)?).is_some() {
                return Err(Refusal::Malformed("more than one Content-Length"));
            }
        } else if is("transfer-encoding") {
            if chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal::UnknownTransferCoding);
            }
            chunked = true;
        } else if is("content-encoding") {
            head.gzip = value.eq_ignore_ascii_case(b"gzip");
            if !head.gzip && !value.eq_ignore_ascii_case(b"identity") {
                return Err(Refusal::UnknownContentCoding);
            }
        } else if is("connection") {
            let has = |token: &[u8]| {
                value
                    .split(|byte| *byte == b',')
                    .any(|part| part.trim_ascii().eq_ignore_ascii_case(token))
            };
            head.keep_alive &= !has(b"close");
        } else if is("expect") {
            // An older client would take the word for the answer.
            head.expects_continue = is_1_1 && value.eq_ignore_ascii_case(b"100-continue");
        } else if is("authorization") {
            if head.authorization.replace(value).is_some() {
                return Err(Refusal::Malformed("more than one Authorization"));
            }
        } else if is("host") {
            hosts += 1;
        }
    }
    if hosts > 1 || (is_1_1 && hosts == 0) {
        return Err(Refusal::Malformed("not one Host"));
    }
    head.length = match (length, chunked) {
        (Some(_), true) => {
            return Err(Refusal::Malformed("Content-Length and Transfer-Encoding"));
        }
        (None, true) if !is_1_1 => return Err(Refusal::Malformed("chunked in HTTP/1.0")),
        (None, true) => Length::Chunked,
        (length, false) => Length::Known(length.unwrap_or(0)),
    };
    Ok(Some(head))
}

fn parse_length(value: &[u8]) -> Result<u64, Refusal> {
    let digits = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(value).ok().filter(|_| digits);
    number
        .and_then(|number| number.parse().ok())
        .ok_or(Refusal::Malformed("a Content-Length that is no number"))
}

/// Takes chunked coding off a body that comes in pieces.
#[derive(Debug, Clone, Copy, Default)]
pub struct Chunked {
    state: State,
    /// Bytes of the chunk that are still to come.
    left: u64,
    /// Bytes of the line at hand.
    line: usize,
    /// Digits of the size at hand.
    digits: u8,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Extension,
    SizeEnd,
    Data,
    DataEnd,
    DataEndLine,
    Trailer,
    TrailerEnd,
    TrailerLine,
    LastEnd,
    Done,
}

/// What [`Chunked::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// So many bytes of the body stand behind so many of framing.
    Data {
        /// Bytes to pass over.
        skip: usize,
        /// Bytes of the body behind them.
        take: usize,
    },
    /// The body has ended behind so many bytes.
    Done(usize),
}

impl Chunked {
    /// The next piece of `bytes`, which go on where the last piece ended.
    ///
    /// # Errors
    /// This is no chunked coding.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Piece, Refusal> {
        for (at, byte) in bytes.iter().copied().enumerate() {
            self.line += 1;
            if self.line > LINE_BYTES {
                return Err(Refusal::Malformed(
                    "a line of chunked coding that does not end",
                ));
            }
            self.state = match (self.state, byte) {
                (State::Size, _) if byte.is_ascii_hexdigit() && self.digits < 8 => {
                    let digit = (byte as char).to_digit(16).unwrap_or(0);
                    self.left = self.left << 4 | u64::from(digit);
                    self.digits += 1;
                    State::Size
                }
                (State::Size, b'\r') if self.digits > 0 => State::SizeEnd,
                (State::Size, b';') if self.digits > 0 => State::Extension,
                (State::Extension, b'\r') => State::SizeEnd,
                (State::Extension, b'\t' | b' '..=b'~') => State::Extension,
                (State::SizeEnd, b'\n') => {
                    self.line = 0;
                    self.digits = 0;
                    if self.left == 0 {
                        State::Trailer
                    } else {
                        State::Data
                    }
                }
                (State::Data, _) => {
                    let rest = bytes.len() - at;
                    let take = usize::try_from(self.left).map_or(rest, |left| left.min(rest));
                    self.left -= take as u64;
                    self.line = 0;
                    if self.left == 0 {
                        self.state = State::DataEnd;
                    }
                    return Ok(Piece::Data { skip: at, take });
                }
                (State::DataEnd, b'\r') => State::DataEndLine,
                (State::DataEndLine, b'\n') => {
                    self.line = 0;
                    State::Size
                }
                (State::Trailer, b'\r') => State::LastEnd,
                (State::Trailer | State::TrailerLine, b'\t' | b' '..=b'~' | 0x80..) => {
                    State::TrailerLine
                }
                (State::TrailerLine, b'\r') => State::TrailerEnd,
                (State::TrailerEnd, b'\n') => State::Trailer,
                (State::LastEnd, b'\n') => {
                    self.state = State::Done;
                    return Ok(Piece::Done(at + 1));
                }
                _ => return Err(Refusal::Malformed("bad chunked coding")),
            };
        }
        Ok(Piece::Data {
            skip: bytes.len(),
            take: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
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
                path: "/a?b=c",
                length: Length::Known(12),
                gzip: true,
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
    fn a_head_has_a_limit() {
        let long = format!("POST / HTTP/1.1\r\nX: {}", "x".repeat(HEAD_BYTES));
        assert_eq!(parse_head(long.as_bytes()), Err(Refusal::HeadTooLarge));
        let many = format!("POST / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(HEADERS + 1));
        assert_eq!(parse_head(many.as_bytes()), Err(Refusal::HeadTooLarge));
    }

    fn dechunk(pieces: &[&[u8]]) -> Result<(Vec<u8>, bool), Refusal> {
        let (mut chunked, mut body) = (Chunked::default(), Vec::new());
        for mut piece in pieces.iter().copied() {
            while !piece.is_empty() {
                match chunked.next(piece)? {
                    Piece::Data { skip, take } => {
                        body.extend_from_slice(&piece[skip..skip + take]);
                        piece = &piece[skip + take..];
                    }
                    Piece::Done(at) => return Ok((body, at == piece.len())),
                }
            }
        }
        Ok((body, false))
    }

    #[test]
    fn chunked_coding() {
        let whole = b"3\r\n{\"a\r\n1;x=y\r\n\"\r\n0003\r\n:1}\r\n0\r\nTrailer: x\r\n\r\n";
        assert_eq!(dechunk(&[whole]), Ok((b"{\"a\":1}".to_vec(), true)));
        for bad in [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "3\n",
            "3\r\n{}\r\n",
            "1\r\n{}\r\n",
            "1\r\nx\n",
            ";\r\n",
            "123456789\r\n",
            "1 \r\nx\r\n",
            "0\r\n\n",
            "0\r\nA: b\n\r\n",
            "1;\u{0}\r\n",
        ] {
            assert!(
                dechunk(&[bad.as_bytes(), b"0123456789"]).is_err(),
                "{bad:?}"
            );
        }
        assert!(dechunk(&[b"1;", &[b'x'; LINE_BYTES]]).is_err());
    }

    proptest! {
        #[test]
        fn chunked_coding_comes_off_however_it_is_cut(
            chunks in vec(vec(any::<u8>(), 1..50), 0..5),
            cuts in vec(any::<prop::sample::Index>(), 0..10),
        ) {
            let mut coded = Vec::new();
            for chunk in &chunks {
                coded.extend(format!("{:x}\r\n", chunk.len()).bytes());
                coded.extend(chunk);
                coded.extend(b"\r\n");
            }
            coded.extend(b"0\r\n\r\n");
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(coded.len())).collect();
            cuts.extend([0, coded.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|cut| &coded[cut[0]..cut[1]]).collect();
            prop_assert_eq!(dechunk(&pieces), Ok((chunks.concat(), true)));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = (parse_head(&bytes), dechunk(&[&bytes]));
        }
    }
}
