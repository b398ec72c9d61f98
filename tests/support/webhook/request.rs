//! One request, as the scripted webhook read it off its connection.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::time::Instant;

/// A request as it arrived.
#[derive(Clone)]
pub(crate) struct Request {
    /// `POST`
    pub(crate) method: String,
    /// The path with its query: `/services/collector/raw`.
    pub(crate) path: String,
    /// Names and values as they were sent, in that order.
    pub(crate) headers: Vec<(String, String)>,
    /// The body without its chunk framing, as far as it was read.
    pub(crate) body: Vec<u8>,
    /// Which connection it came over, counted from 1.
    pub(crate) connection: usize,
    /// When its head had been read.
    pub(crate) at: Instant,
    /// The status it was answered with; none if there was no correct answer, or before it.
    pub(crate) answered: Option<u16>,
    /// How many lines the body has: counted once, since a test that waits for many events asks often.
    event_count: usize,
}

impl Request {
    /// The value of a header, whatever the case of its name.
    pub(crate) fn header(&self, wanted: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.as_str())
    }

    /// The lines of the body, without their newlines.
    pub(crate) fn events(&self) -> Vec<Vec<u8>> {
        self.lines().map(<[u8]>::to_vec).collect()
    }

    /// The body as text, decompressed if it says that it is compressed.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.plain()).unwrap()
    }

    /// The body, decompressed if it says that it is compressed.
    pub(crate) fn plain(&self) -> Vec<u8> {
        let Some(coding) = self.header("Content-Encoding") else {
            return self.body.clone();
        };
        assert_eq!(coding, "gzip");
        let mut plain = Vec::new();
        let mut decoder = flate2::read::MultiGzDecoder::new(self.body.as_slice());
        decoder.read_to_end(&mut plain).unwrap();
        plain
    }

    /// How many lines the body has.
    pub(crate) fn event_count(&self) -> usize {
        self.event_count
    }

    /// Whether the body holds this text.
    pub(crate) fn contains(&self, text: &str) -> bool {
        self.body
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    }

    /// Whether it was answered with 2xx, so that the client may take its events for delivered.
    pub(crate) fn delivered(&self) -> bool {
        self.answered
            .is_some_and(|status| (200..300).contains(&status))
    }

    /// Reads the request line and the headers; `None` if the client has closed the connection instead.
    pub(super) fn read_head(
        from: &mut impl BufRead,
        connection: usize,
    ) -> io::Result<Option<Self>> {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace();
        let (Some(method), Some(path), Some("HTTP/1.1")) =
            (words.next(), words.next(), words.next())
        else {
            return Err(io::Error::other(format!("not a request line: {line:?}")));
        };
        let mut request = Self {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            connection,
            at: Instant::now(),
            answered: None,
            event_count: 0,
        };
        loop {
            let line = read_line(from)?;
            if line.is_empty() {
                request.at = Instant::now();
                return Ok(Some(request));
            }
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| io::Error::other(format!("not a header: {line:?}")))?;
            request
                .headers
                .push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// Reads the body, but no more than `limit` bytes of it. What has come before an error is in `body`.
    pub(super) fn read_body(&mut self, from: &mut impl BufRead, limit: usize) -> io::Result<()> {
        let read = self.read_framed(from, limit);
        let lines = memchr::memchr_iter(b'\n', &self.body).count();
        let tail = !self.body.is_empty() && !self.body.ends_with(b"\n");
        self.event_count = lines + usize::from(tail);
        read
    }

    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.body
            .split_inclusive(|&byte| byte == b'\n')
            .map(|line| line.strip_suffix(b"\n").unwrap_or(line))
    }

    fn read_framed(&mut self, from: &mut impl BufRead, limit: usize) -> io::Result<()> {
        if self
            .header("Transfer-Encoding")
            .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
        {
            return self.read_chunks(from, limit);
        }
        let length = self
            .header("Content-Length")
            .map_or(Ok(0), |length| length.parse().map_err(io::Error::other))?;
        self.read_piece(from, limit.min(length))
    }

    fn read_chunks(&mut self, from: &mut impl BufRead, limit: usize) -> io::Result<()> {
        while self.body.len() < limit {
            let size = usize::from_str_radix(&read_line(from)?, 16).map_err(io::Error::other)?;
            self.read_piece(from, size.min(limit - self.body.len()))?;
            if self.body.len() < limit && !read_line(from)?.is_empty() {
                return Err(io::Error::other("a chunk is longer than it says"));
            }
            if size == 0 {
                break;
            }
        }
        Ok(())
    }

    fn read_piece(&mut self, from: &mut impl BufRead, length: usize) -> io::Result<()> {
        self.body.reserve(length);
        let read = from.take(length as u64).read_to_end(&mut self.body)?;
        if read < length {
            Err(io::ErrorKind::UnexpectedEof.into())
        } else {
            Ok(())
        }
    }
}

/// One line for a test's failure message, since a body may be a megabyte.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            method,
            path,
            connection,
            ..
        } = self;
        let (events, bytes) = (self.event_count, self.body.len());
        write!(
            f,
            "{method} {path}, {events} events ({bytes} bytes), connection {connection}, "
        )?;
        match self.answered {
            Some(status) => write!(f, "answered {status}"),
            None => write!(f, "not answered"),
        }
    }
}

/// The next line without its CRLF. The stream must not end here.
fn read_line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
