//! The heads of answers. The status line decides what became of a body, so whatever else is in the head, and however it
//! is written, must not keep an answer from being understood: ureq gets a head of its own with what is needed.

use std::error;
use std::fmt;

use memchr::memchr;

/// How much of a line is looked at, in bytes.
const LINE: usize = 8 << 10;
/// A head longer than this is rejected, in bytes.
const LONGEST: usize = 1 << 20;
/// What AWS WAF says when it answers with a challenge instead of passing the request on: with 202, as if it had.
pub const FIREWALL: &str = "x-amzn-waf-action";
/// Headers that are needed.
const NEEDED: [&str; 10] = [
    "connection",
    "content-length",
    "content-type",
    "date",
    "location",
    "retry-after",
    "server",
    COOKIE,
    "transfer-encoding",
    FIREWALL,
];
const COOKIE: &str = "set-cookie";
/// How many cookies are looked at, and how many other needed headers.
const MOST: usize = 64;

/// The webhook's answer is not HTTP.
#[derive(Debug)]
pub struct NotHttp;

impl fmt::Display for NotHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer is not HTTP")
    }
}

impl error::Error for NotHttp {}

/// The head of an answer, as far as it was read.
#[derive(Debug, Default)]
pub struct Head {
    line: Vec<u8>,
    length: usize,
    is_http_1_0: bool,
    /// 0 before the status line.
    status: u16,
    /// Each needed header that was found.
    headers: Vec<(&'static str, Vec<u8>)>,
    /// The last header was a needed one, which the next line may continue.
    was_needed: bool,
}

impl Head {
    /// Reads on. Returns how many bytes belong to the head, and whether it is complete.
    ///
    /// # Errors
    /// It is not a head, or it is over a MiB.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(usize, bool), NotHttp> {
        let mut used = 0;
        while let Some(length) = memchr(b'\n', &bytes[used..]) {
            self.append(&bytes[used..used + length]);
            used += length + 1;
            let line = std::mem::take(&mut self.line);
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            match (self.status, line) {
                (0, []) => {}
                (0, line) => self.read_status(line)?,
                (_, []) => return Ok((used, true)),
                (_, line) => self.read_header(line),
            }
        }
        self.append(&bytes[used..]);
        let start = &self.line[..self.line.len().min(5)];
        if self.length > LONGEST || (self.status == 0 && !b"HTTP/".starts_with(start.trim_ascii()))
        {
            return Err(NotHttp);
        }
        Ok((bytes.len(), false))
    }

    fn append(&mut self, bytes: &[u8]) {
        self.length += bytes.len() + 1;
        let room = LINE.saturating_sub(self.line.len());
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn read_status(&mut self, line: &[u8]) -> Result<(), NotHttp> {
        let line = String::from_utf8_lossy(line);
        let mut words = line.split_ascii_whitespace();
        let version = words.next().and_then(|word| word.strip_prefix("HTTP/"));
        let status = words.next().filter(|word| word.len() == 3);
        let status = status.and_then(|word| word.parse().ok());
        let (Some(version), Some(status @ 100..)) = (version, status) else {
            return Err(NotHttp);
        };
        self.is_http_1_0 = version.starts_with('0') || version == "1.0";
        self.status = status;
        Ok(())
    }

    fn read_header(&mut self, line: &[u8]) {
        let is_continued = line.starts_with(b" ") || line.starts_with(b"\t");
        if is_continued {
            if let Some((_, value)) = self.headers.last_mut().filter(|_| self.was_needed) {
                value.push(b' ');
                value.extend_from_slice(line.trim_ascii());
                value.truncate(LINE);
            }
            return;
        }
        let colon = memchr(b':', line).unwrap_or(line.len());
        let name = line[..colon].trim_ascii();
        let is_name = |needed: &&str| name.eq_ignore_ascii_case(needed.as_bytes());
        let needed = NEEDED.into_iter().find(is_name);
        // Cookies take no other header's place.
        let is_cookie = needed == Some(COOKIE);
        let alike = self
            .headers
            .iter()
            .filter(|(found, _)| (*found == COOKIE) == is_cookie);
        let needed = needed.filter(|_| alike.count() < MOST);
        self.was_needed = needed.is_some();
        if let Some(name) = needed {
            let value = line.get(colon + 1..).unwrap_or_default().trim_ascii();
            self.headers.push((name, value.to_vec()));
        }
    }

    /// Its status; 0 before the status line.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether anything follows the status line.
    pub fn has_more(&self) -> bool {
        !self.headers.is_empty() || !self.line.is_empty()
    }

    /// The head as ureq understands it.
    pub fn rewritten(&self) -> Vec<u8> {
        let version = if self.is_http_1_0 { "1.0" } else { "1.1" };
        let mut head = format!("HTTP/{version} {}\r\n", self.status).into_bytes();
        let mut add = |name: &str, value: &[u8]| {
            let plain = |byte: &u8| if byte.is_ascii_control() { b' ' } else { *byte };
            head.extend_from_slice(format!("{name}: ").as_bytes());
            head.extend(value.iter().map(plain));
            head.extend_from_slice(b"\r\n");
        };
        // Some servers still send the coding `identity`, which means none.
        let mut codings = self.list("transfer-encoding");
        codings.retain(|coding| coding != "identity");
        let lengths = self.list("content-length");
        let length = lengths.first().and_then(|first| first.parse::<u64>().ok());
        let is_chunked = codings.last().is_some_and(|coding| coding == "chunked");
        let has_length =
            codings.is_empty() && lengths.iter().all(|one| Some(one) == lengths.first());
        // Otherwise the body ends with the connection.
        match length {
            _ if is_chunked => add("transfer-encoding", b"chunked"),
            Some(length) if has_length => add("content-length", length.to_string().as_bytes()),
            _ => {}
        }
        let is_doubtful = !codings.is_empty() && !lengths.is_empty();
        if is_doubtful || self.list("connection").iter().any(|word| word == "close") {
            add("connection", b"close");
        }
        for name in [
            "content-type",
            "date",
            "location",
            "retry-after",
            "server",
            FIREWALL,
        ] {
            if let Some(value) = self.values(name).next() {
                add(name, value);
            }
        }
        // ureq rejects a head over 64 KiB, and all others together may be 48.
        let mut room = LINE;
        for value in self.values(COOKIE) {
            if let Some(left) = room.checked_sub(value.len()) {
                room = left;
                add(COOKIE, value);
            }
        }
        head.extend_from_slice(b"\r\n");
        head
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let found = self.headers.iter().filter(move |(found, _)| *found == name);
        found.map(|(_, value)| value.as_slice())
    }

    /// The members of a header that is a list, in lower case.
    fn list(&self, name: &str) -> Vec<String> {
        let values: Vec<_> = self.values(name).map(String::from_utf8_lossy).collect();
        let values = values.join(",").to_ascii_lowercase();
        let members = values.split(',').map(|member| member.trim().to_owned());
        members.filter(|member| !member.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The head that ureq gets for this text, and how many bytes are left.
    fn rewritten(text: &str) -> Option<(String, usize)> {
        let mut head = Head::default();
        let (used, is_whole) = head.read(text.as_bytes()).ok()?;
        let rewritten = String::from_utf8(head.rewritten()).unwrap();
        is_whole.then(|| (rewritten, text.len() - used))
    }

    const CHUNKED_LAST: &str = "transfer-encoding: chunked\r\nconnection: close";

    #[test]
    fn the_status_line_decides() {
        for (head, expected) in [
            ("HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200\r\n\r\n"),
            ("HTTP/1.1 204\n\n", "HTTP/1.1 204\r\n\r\n"),
            ("\r\nHTTP/1.0  200  OK\r\n\r\n", "HTTP/1.0 200\r\n\r\n"),
            (
                "HTTP/1.1 503 \u{fffd}\u{1b}\r\n\r\n",
                "HTTP/1.1 503\r\n\r\n",
            ),
        ] {
            check(head, expected);
        }
        for (headers, expected) in [
            ("X: a\r\n b\r\nContent-Length: 0", "content-length: 0"),
            (
                "Content-Length: 3, 3\r\ncontent-length: 3",
                "content-length: 3",
            ),
            ("Content-Length: 3\r\nContent-Length: 4", ""),
            (
                "Transfer-Encoding: identity\r\nContent-Length: 3",
                "content-length: 3",
            ),
            ("Content-Length: -3", ""),
            (
                "Retry-After :\r\n\t7\r\n: x\r\nno colon\r\nA b: c\r\n\u{1b}: x",
                "retry-after:  7",
            ),
            (
                "TRANSFER-ENCODING: gzip, Chunked\r\nConnection: x, Close",
                CHUNKED_LAST,
            ),
            (
                "Content-Length: 3\r\nTransfer-Encoding: chunked",
                CHUNKED_LAST,
            ),
        ] {
            let end = if expected.is_empty() { "" } else { "\r\n" };
            let expected = format!("HTTP/1.1 200\r\n{expected}{end}\r\n");
            check(&format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n"), &expected);
        }
    }

    #[test]
    fn many_cookies_leave_room_for_the_rest() {
        let large = format!("Set-Cookie: a={}\r\n", "x".repeat(4000)).repeat(100);
        let text = format!("HTTP/1.1 200 OK\r\n{large}Content-Length: 3\r\n\r\n");
        let (found, _) = rewritten(&text).unwrap();
        assert!(found.contains("content-length: 3\r\n"), "{found}");
        assert_eq!(found.matches("set-cookie: a=").count(), 2);
        let others = [
            "Content-Type",
            "Date",
            "Location",
            "Retry-After",
            "Server",
            FIREWALL,
        ];
        let others = others.map(|name| format!("{name}: {}\r\n", "x".repeat(LINE)));
        let (found, _) = rewritten(&format!(
            "HTTP/1.1 200 OK\r\n{large}{}\r\n",
            others.concat()
        ))
        .unwrap();
        assert!(found.len() < 64 << 10, "{}", found.len());
    }

    /// What follows the head, and what is in it that is not needed, make no difference.
    fn check(head: &str, expected: &str) {
        let many = format!("X: {}\r\n", "x".repeat(1000)).repeat(500);
        let long = head.replacen("\r\n\r\n", &format!("\r\n{many}\r\n"), 1);
        for text in [head, &long] {
            let (found, left) = rewritten(&format!("{text}body")).unwrap();
            assert_eq!((found.as_str(), left), (expected, 4), "{head}");
        }
    }

    #[test]
    fn what_is_not_http_is_known_at_once() {
        for text in [
            "\u{15}\u{3}\u{1}",
            "SSH-2.0-x",
            "HTTX",
            "HTTP/1.1 2000 OK\n",
            "HTTP/1.1 20\n",
            "HTTP/1.1\n",
            "<html>",
            "HTTP/1.1 099 x\n",
        ] {
            assert!(Head::default().read(text.as_bytes()).is_err(), "{text}");
        }
        let mut endless = Head::default();
        assert!(endless.read(b"HTTP/1.1 200 OK\r\n").is_ok());
        assert!((0..2000).any(|_| endless.read(&[b'x'; 1000]).is_err()));
        assert!(endless.line.len() <= LINE);
    }

    proptest! {
        /// In whatever pieces a head comes, the result is the same.
        #[test]
        fn pieces_make_no_difference(cuts in proptest::collection::vec(0_usize..100, 0..6)) {
            let text = "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\n  \r\n 8\r\nContent-Length : 5\r\nX:\r\n\r\nhello";
            let mut head = Head::default();
            let (mut start, mut used) = (0, 0);
            let mut ends: Vec<_> = cuts.iter().map(|cut| *cut.min(&text.len())).chain([text.len()]).collect();
            ends.sort_unstable();
            for end in ends {
                let (read, is_whole) = head.read(&text.as_bytes()[start..end]).ok().unwrap();
                used += read;
                start = end;
                if is_whole {
                    break;
                }
            }
            prop_assert_eq!(used, text.len() - "hello".len());
            prop_assert_eq!(head.rewritten(), b"HTTP/1.1 503\r\ncontent-length: 5\r\nretry-after: 7  8\r\n\r\n".to_vec());
        }

        #[test]
        fn no_bytes_panic(text in "[HTP/1. 20\r\na:\t,]{0,60}", rest: Vec<u8>) {
            let bytes = [text.as_bytes(), &rest].concat();
            let mut head = Head::default();
            if head.read(&[b"HTTP/1.1 200 OK\r\n", bytes.as_slice()].concat()).is_ok() {
                let head = head.rewritten();
                prop_assert!(!head.windows(3).any(|bytes| bytes == b"\r\n "));
            }
            let _ = Head::default().read(&bytes);
        }
    }
}
