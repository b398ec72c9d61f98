//! Headers before an object on its line, which are not part of it: octet counts, syslog and CRI headers, comments.

/// A header is no longer than this, in bytes.
pub(crate) const MAX_HEADER: usize = 2048;

/// Max words of a syslog header that is not one of RFC 5424: host, tag and `@cee:`.
const MAX_WORDS: usize = 3;

/// What was found between objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// No header.
    Nothing,
    /// What may be the beginning of one.
    Beginning,
    /// A comment, up to the line's end.
    Comment,
    /// A header of this many bytes.
    Header(usize, Kind),
}

/// What a header says about what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing that matters.
    Plain,
    /// CRI: what follows is a log entry, or a part of one.
    Cri {
        /// The entry continues on the stream's next line.
        is_part: bool,
        /// Its stream is the container's stderr, not stdout.
        is_stderr: bool,
    },
}

/// Looks for a header at the beginning of `bytes`. A comment is only looked for at the beginning of a line.
pub(crate) fn find(bytes: &[u8], starts_line: bool) -> Found {
    let mut cursor = Cursor {
        bytes: &bytes[..bytes.len().min(MAX_HEADER)],
        at: 0,
    };
    let parsed = match bytes {
        [b'#', ..] | [b'/', b'/', ..] if starts_line => return Found::Comment,
        [] | [b'/'] => Err(Stop::End),
        [b'<', ..] => cursor.syslog(),
        [b'0'..=b'9', ..] => cursor.number_first(),
        [b'A'..=b'Z', ..] => cursor.date().and_then(|()| cursor.words(false)),
        _ => Err(Stop::Mismatch),
    };
    match parsed {
        Ok(kind) => Found::Header(cursor.at, kind),
        Err(Stop::End) if bytes.len() < MAX_HEADER => Found::Beginning,
        Err(_) => Found::Nothing,
    }
}

/// Why a header could not be read.
#[derive(Debug, Clone, Copy)]
enum Stop {
    /// It is something else.
    Mismatch,
    /// The bytes end within it.
    End,
}

type Parsed<T = ()> = Result<T, Stop>;

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Parsed<u8> {
        self.bytes.get(self.at).copied().ok_or(Stop::End)
    }

    fn one_of(&mut self, expected: &[u8]) -> Parsed {
        if !expected.contains(&self.peek()?) {
            return Err(Stop::Mismatch);
        }
        self.at += 1;
        Ok(())
    }

    fn text(&mut self, expected: &[u8]) -> Parsed {
        expected.iter().try_for_each(|byte| self.one_of(&[*byte]))
    }

    /// Passes over all digits that are here, and returns how many there are.
    fn digits(&mut self) -> Parsed<usize> {
        let start = self.at;
        while self.peek()?.is_ascii_digit() {
            self.at += 1;
        }
        Ok(self.at - start)
    }

    fn exactly(&mut self, digits: usize) -> Parsed {
        (0..digits).try_for_each(|_| self.one_of(b"0123456789"))
    }

    fn blanks(&mut self) -> Parsed {
        while matches!(self.peek()?, b' ' | b'\t') {
            self.at += 1;
        }
        Ok(())
    }

    /// Passes over what is neither a blank, a control character nor `{`, and returns its last byte.
    fn word(&mut self) -> Parsed<u8> {
        let start = self.at;
        while !matches!(self.peek()?, 0..=b' ' | b'{' | 0x7F) {
            self.at += 1;
        }
        let word = &self.bytes[start..self.at];
        word.last().copied().ok_or(Stop::Mismatch)
    }

    /// An octet count (RFC 6587), or a header that begins with a date of ISO 8601.
    fn number_first(&mut self) -> Parsed<Kind> {
        match (self.digits()?, self.peek()?) {
            (1..=10, b' ') => {
                self.blanks()?;
                match self.peek()? {
                    b'{' | b'<' => Ok(Kind::Plain),
                    _ => Err(Stop::Mismatch),
                }
            }
            (4, b'-') => {
                self.iso_behind_year()?;
                match self.peek()? {
                    b's' => self.cri().or_else(|stop| match stop {
                        Stop::Mismatch => self.words(false),
                        Stop::End => Err(stop),
                    }),
                    _ => self.words(false),
                }
            }
            _ => Err(Stop::Mismatch),
        }
    }

    /// What follows the date of a CRI header: `stdout F `.
    fn cri(&mut self) -> Parsed<Kind> {
        let start = self.at;
        let mut read = || {
            self.text(b"std")?;
            let is_stderr = self.peek()? == b'e';
            self.text(if is_stderr { b"err " } else { b"out " })?;
            let is_part = self.peek()? == b'P';
            self.one_of(b"PF")?;
            if self.peek()? == b':' {
                self.word()?;
            }
            match self.peek()? {
                b'\n' | b'\r' => {}
                _ => self.one_of(b" ")?,
            }
            Ok(Kind::Cri { is_part, is_stderr })
        };
        let kind = read();
        if kind.is_err() {
            self.at = start;
        }
        kind
    }

    /// A header that begins with `<PRI>`, of RFC 5424 or RFC 3164 or nearly so.
    fn syslog(&mut self) -> Parsed<Kind> {
        self.text(b"<")?;
        if !(1..=3).contains(&self.digits()?) {
            return Err(Stop::Mismatch);
        }
        self.text(b">")?;
        if self.peek()?.is_ascii_digit() {
            match (self.digits()?, self.peek()?) {
                (1..=2, b' ') => return self.rfc5424_behind_version(),
                (4, b'-') => self.iso_behind_year()?,
                _ => return Err(Stop::Mismatch),
            }
        } else {
            let start = self.at;
            match self.date() {
                Err(Stop::Mismatch) => self.at = start,
                date => date?,
            }
        }
        self.words(true)
    }

    /// ` TIMESTAMP HOST APP PROCID MSGID STRUCTURED-DATA ` and the byte-order mark.
    fn rfc5424_behind_version(&mut self) -> Parsed<Kind> {
        for _ in 0..5 {
            self.text(b" ")?;
            self.word()?;
        }
        self.text(b" ")?;
        if self.peek()? == b'[' {
            while self.peek()? == b'[' {
                self.structured_data()?;
            }
        } else {
            self.text(b"-")?;
        }
        self.object_follows()
    }

    /// `[id name="value" …]`.
    fn structured_data(&mut self) -> Parsed {
        let mut in_value = false;
        loop {
            match self.peek()? {
                b'\n' | b'\0' => return Err(Stop::Mismatch),
                b'"' => in_value = !in_value,
                b'\\' if in_value => self.at += 1,
                b']' if !in_value => break,
                _ => {}
            }
            self.at += 1;
        }
        self.at += 1;
        Ok(())
    }

    /// `Nov 28 10:00:00 `.
    fn date(&mut self) -> Parsed {
        const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
        let rest = &self.bytes[self.at..];
        let name = &rest[..rest.len().min(3)];
        if !MONTHS.chunks(3).any(|month| month.starts_with(name)) {
            return Err(Stop::Mismatch);
        }
        self.at += name.len();
        self.text(b" ")?;
        self.blanks()?;
        self.digits()?;
        self.text(b" ")?;
        self.time_of_day()?;
        self.text(b" ")
    }

    /// `-11-28T10:00:00.123+00:00 `, the date's rest and a blank.
    fn iso_behind_year(&mut self) -> Parsed {
        for _ in 0..2 {
            self.text(b"-")?;
            self.exactly(2)?;
        }
        self.one_of(b"Tt ")?;
        self.time_of_day()?;
        if self.peek()? != b' ' {
            self.one_of(b"Zz+-")?;
            while matches!(self.peek()?, b'0'..=b'9' | b':') {
                self.at += 1;
            }
        }
        self.text(b" ")
    }

    fn time_of_day(&mut self) -> Parsed {
        self.exactly(2)?;
        for _ in 0..2 {
            self.text(b":")?;
            self.exactly(2)?;
        }
        if matches!(self.peek()?, b'.' | b',') {
            self.at += 1;
            self.digits()?;
        }
        Ok(())
    }

    /// Host and tag, and the object after them. Without `<PRI>` both must be there.
    fn words(&mut self, has_pri: bool) -> Parsed<Kind> {
        let mut last = b':';
        let mut count = 0;
        loop {
            self.blanks()?;
            let is_enough = has_pri || (count >= 2 && last == b':');
            match self.peek()? {
                b'{' | 0xEF if is_enough => return self.object_follows(),
                _ if count == MAX_WORDS => return Err(Stop::Mismatch),
                _ => last = self.word()?,
            }
            count += 1;
            // `tag:{`, but not `tag{`.
            if self.peek()? == b'{' && last != b':' {
                return Err(Stop::Mismatch);
            }
        }
    }

    /// Passes over blanks and a byte-order mark, up to the object.
    fn object_follows(&mut self) -> Parsed<Kind> {
        self.blanks()?;
        if self.peek()? == 0xEF {
            self.text(b"\xEF\xBB\xBF")?;
        }
        match self.peek()? {
            b'{' => Ok(Kind::Plain),
            _ => Err(Stop::Mismatch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cri(is_part: bool, is_stderr: bool) -> Kind {
        Kind::Cri { is_part, is_stderr }
    }

    #[test]
    fn headers_are_known_and_their_beginnings_too() {
        for (header, kind) in [
            ("123 ", Kind::Plain),
            ("<13>", Kind::Plain),
            ("<134>Nov 28 10:00:00 host app[1]: ", Kind::Plain),
            ("<13>Nov  8 10:00:00 app[1]: ", Kind::Plain),
            ("<13>Nov 28 10:00:00 host app: @cee: ", Kind::Plain),
            ("<13>2026-11-28T10:00:00.123+00:00 host app:", Kind::Plain),
            ("<13>app: ", Kind::Plain),
            ("Nov 28 10:00:00 host app[1]: ", Kind::Plain),
            ("2026-11-28T10:00:00+0000 host app[1]: ", Kind::Plain),
            ("<14>1 2026-03-01T00:00:00Z h app - - - ", Kind::Plain),
            ("<14>1 - - - - - - \u{feff}", Kind::Plain),
            (
                "<14>1 - h a 1 ID [x@1 a=\"b] {\\\"\" c=\"\"][y] ",
                Kind::Plain,
            ),
            ("2026-03-01T00:00:00.1Z stdout F ", cri(false, false)),
            ("2026-03-01T00:00:00.1+02:00 stderr P ", cri(true, true)),
            ("2026-03-01T00:00:00Z stdout F:x ", cri(false, false)),
        ] {
            let found = find(format!("{header}{{}}").as_bytes(), true);
            assert_eq!(found, Found::Header(header.len(), kind), "{header}");
            for end in 0..header.len() {
                let found = find(&header.as_bytes()[..end], true);
                assert_eq!(found, Found::Beginning, "{}", &header[..end]);
            }
        }
    }

    #[test]
    fn nothing_else_is_a_header() {
        for text in [
            "17\n",
            "12345678901 {}",
            "17, {}",
            "<1234>{}",
            "<>{}",
            "<13>Nov 28 10:00:00 host app: text\n",
            "<13>a b c d: {}",
            "<13>a{}",
            "<14>1 - - - - - [x\n] {}",
            "<14>1 - - - - - - text",
            "Nov 28 10:00:00 app: {}",
            "Nov 28 10:00:00 host app {}",
            "2026-03-01T00:00:00Z {}",
            "2026-03-01T00:00:00Z stdout X {}",
            "hello {}",
            "{}",
            "/ {}",
        ] {
            assert_eq!(find(text.as_bytes(), true), Found::Nothing, "{text}");
        }
        assert_eq!(find(b"# {}", true), Found::Comment);
        assert_eq!(find(b"// {}", true), Found::Comment);
        assert_eq!(find(b"# {}", false), Found::Nothing);
        let long = format!("<14>1 - - - - - [{}", "x".repeat(MAX_HEADER));
        assert_eq!(find(long.as_bytes(), true), Found::Nothing);
    }
}
