//! A resumable check that bytes are one well-formed JSON object (RFC 8259), and where it ends.
//!
//! One pass both frames and checks: the framer hands over bytes as they arrive, in pieces cut
//! anywhere, and learns where the object ends or that it can never end well. `serde_json` does the
//! same check only on a whole slice, after somebody has found its end; it is the judge of this
//! code in the property tests and in the fuzz target.
//!
//! Nesting costs four bytes a level on the heap and no stack, so depth is bounded by the
//! event-size limit alone.

/// What [`Scanner::scan`] found.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Scan {
    /// Well-formed so far; the object goes on behind the bytes given.
    More,
    /// The object ends before this offset.
    Done(usize),
    /// The byte at this offset can't stand there.
    Error(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A value must begin here.
    Value,
    /// Just behind `[`: a value or `]`.
    FirstElement,
    /// Just behind `{`: a member name or `}`.
    FirstName,
    /// Behind a comma in an object: a member name.
    Name,
    /// Behind a member name: `:`.
    Colon,
    /// Behind a value: `,` or the closing bracket.
    AfterValue,
    String,
    Escape,
    /// Hexadecimal digits of `\uXXXX` still to come.
    Hex(u8),
    /// The rest of `true`, `false` or `null`.
    Literal(&'static [u8]),
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

/// Where one object's check stands between two reads.
#[derive(Debug)]
pub struct Scanner {
    state: State,
    /// The string being read is a member name.
    in_name: bool,
    /// Open brackets: offset of the bracket, shifted left once; lowest bit set for `[`.
    open: Vec<u32>,
    max_depth: usize,
    /// A line break stood between tokens.
    breaks: bool,
    /// High bits of all bytes in strings (and of some bytes behind them): 0 if surely ASCII.
    high_bits: u64,
}

/// Open brackets kept allocated between objects; deeper ones are given back.
const USUAL_DEPTH: usize = 1024;

impl Scanner {
    /// A scanner that refuses objects nested deeper than `max_depth`.
    pub fn new(max_depth: usize) -> Self {
        Scanner {
            state: State::Value,
            in_name: false,
            open: Vec::new(),
            max_depth,
            breaks: false,
            high_bits: 0,
        }
    }

    /// Forgets the object at hand; the next [`scan`](Self::scan) begins at a new one's `{`.
    pub fn reset(&mut self) {
        self.state = State::Value;
        self.in_name = false;
        self.open.clear();
        self.open.shrink_to(USUAL_DEPTH);
        self.breaks = false;
        self.high_bits = 0;
    }

    /// Whether line breaks stood between the object's tokens.
    pub fn has_breaks(&self) -> bool {
        self.breaks
    }

    /// Whether the object is ASCII for sure. `false` means: have it checked.
    pub fn is_ascii(&self) -> bool {
        self.high_bits & HIGH_BITS == 0
    }

    /// Offsets of the brackets that are open, outermost first.
    pub fn open_brackets(&self) -> impl Iterator<Item = usize> + '_ {
        self.open.iter().map(|entry| (entry >> 1) as usize)
    }

    /// Goes on at `bytes[at]`. Offsets count from the object's `{`, the first byte ever scanned
    /// after [`reset`](Self::reset); they must stay below 2^31.
    pub fn scan(&mut self, bytes: &[u8], mut at: usize) -> Scan {
        let mut state = self.state;
        let end = bytes.len();
        while at < end {
            let byte = bytes[at];
            match state {
                State::String => {
                    let (run, high_bits) = plain_run(&bytes[at..]);
                    self.high_bits |= high_bits;
                    at += run;
                    if at == end {
                        break;
                    }
                    match bytes[at] {
                        b'"' => {
                            // Most strings of compact JSON are followed by one more string: go on
                            // without a turn through the states, which halves the cost.
                            let next = bytes.get(at + 1..at + 3);
                            if self.in_name && next == Some(b":\"") {
                                self.in_name = false;
                                at += 3;
                                continue;
                            }
                            if !self.in_name && next == Some(b",\"") {
                                self.in_name = !self.in_array();
                                at += 3;
                                continue;
                            }
                            state = if self.in_name {
                                State::Colon
                            } else {
                                State::AfterValue
                            };
                        }
                        b'\\' => state = State::Escape,
                        _ => return Scan::Error(at),
                    }
                    at += 1;
                }
                State::Colon if byte == b':' => {
                    at += 1;
                    state = State::Value;
                }
                State::AfterValue if byte == b',' => {
                    at += 1;
                    state = if self.in_array() {
                        State::Value
                    } else {
                        State::Name
                    };
                }
                State::AfterValue if byte == b'}' || byte == b']' => {
                    if self.in_array() != (byte == b']') {
                        return Scan::Error(at);
                    }
                    at += 1;
                    self.open.pop();
                    if self.open.is_empty() {
                        return Scan::Done(at);
                    }
                }
                State::Name | State::FirstName if byte == b'"' => {
                    at += 1;
                    self.in_name = true;
                    state = State::String;
                }
                State::Value | State::FirstElement if byte == b'"' => {
                    at += 1;
                    self.in_name = false;
                    state = State::String;
                }
                State::FirstName if byte == b'}' => state = State::AfterValue,
                State::FirstElement if byte == b']' => state = State::AfterValue,
                // A string's insides have been dealt with, so white space here stands between
                // tokens, or behind a number, which the number's own states leave to be read again.
                State::Value
                | State::FirstElement
                | State::FirstName
                | State::Name
                | State::Colon
                | State::AfterValue
                    if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') =>
                {
                    self.breaks |= byte == b'\n' || byte == b'\r';
                    at += 1;
                }
                State::Value | State::FirstElement => {
                    state = match byte {
                        b'{' | b'[' => {
                            if self.open.len() >= self.max_depth {
                                return Scan::Error(at);
                            }
                            self.open.push((at as u32) << 1 | u32::from(byte == b'['));
                            if byte == b'{' {
                                State::FirstName
                            } else {
                                State::FirstElement
                            }
                        }
                        b't' => State::Literal(b"rue"),
                        b'f' => State::Literal(b"alse"),
                        b'n' => State::Literal(b"ull"),
                        b'-' => State::Minus,
                        b'0' => State::Zero,
                        b'1'..=b'9' => State::Integer,
                        _ => return Scan::Error(at),
                    };
                    at += 1;
                }
                State::Literal(rest) => {
                    if byte != rest[0] {
                        return Scan::Error(at);
                    }
                    at += 1;
                    state = match &rest[1..] {
                        [] => State::AfterValue,
                        rest => State::Literal(rest),
                    };
                }
                State::Escape => {
                    state = match byte {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => State::String,
                        b'u' => State::Hex(4),
                        _ => return Scan::Error(at),
                    };
                    at += 1;
                }
                State::Hex(left) => {
                    if !byte.is_ascii_hexdigit() {
                        return Scan::Error(at);
                    }
                    at += 1;
                    state = if left == 1 {
                        State::String
                    } else {
                        State::Hex(left - 1)
                    };
                }
                State::Minus
                | State::Zero
                | State::Integer
                | State::Point
                | State::Fraction
                | State::Exponent
                | State::ExponentSign
                | State::ExponentDigits => match number(state, byte) {
                    Some(State::AfterValue) => state = State::AfterValue,
                    Some(next) => {
                        at += 1;
                        state = next;
                    }
                    None => return Scan::Error(at),
                },
                State::FirstName | State::Name | State::Colon | State::AfterValue => {
                    return Scan::Error(at);
                }
            }
        }
        self.state = state;
        Scan::More
    }

    fn in_array(&self) -> bool {
        self.open.last().is_some_and(|entry| entry & 1 == 1)
    }
}

/// The state behind one more byte of a number; `AfterValue` if the number ended before it.
fn number(state: State, byte: u8) -> Option<State> {
    let digit = byte.is_ascii_digit();
    Some(match (state, byte) {
        (State::Minus, b'0') => State::Zero,
        (State::Minus, _) if digit => State::Integer,
        (State::Integer, _) if digit => State::Integer,
        (State::Zero | State::Integer, b'.') => State::Point,
        (State::Point | State::Fraction, _) if digit => State::Fraction,
        (State::Zero | State::Integer | State::Fraction, b'e' | b'E') => State::Exponent,
        (State::Exponent, b'+' | b'-') => State::ExponentSign,
        (State::Exponent | State::ExponentSign | State::ExponentDigits, _) if digit => {
            State::ExponentDigits
        }
        (State::Zero | State::Integer | State::Fraction | State::ExponentDigits, _) => {
            State::AfterValue
        }
        _ => return None,
    })
}

const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// How many bytes of a string come before the next quote, backslash or control character, and
/// the OR of the words looked at.
///
/// Eight bytes at a time: for a byte `b` of a word, `(b - n) & !b & 0x80` is set if `b < n`. A borrow
/// can set it wrongly only above a byte where it is set rightly, and the lowest one is what counts.
fn plain_run(bytes: &[u8]) -> (usize, u64) {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let below = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word;
    let mut seen = 0;
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        seen |= word;
        let stops = (below(word, 0x20)
            | below(word ^ (ONES * u64::from(b'"')), 1)
            | below(word ^ (ONES * u64::from(b'\\')), 1))
            & HIGH_BITS;
        if stops != 0 {
            return (index * 8 + stops.trailing_zeros() as usize / 8, seen);
        }
    }
    for (index, byte) in rest.iter().enumerate() {
        seen |= u64::from(*byte);
        if *byte < 0x20 || *byte == b'"' || *byte == b'\\' {
            return (words.len() * 8 + index, seen);
        }
    }
    (bytes.len(), seen)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    fn scan_in_pieces(bytes: &[u8], piece: usize) -> Scan {
        let mut scanner = Scanner::new(usize::MAX);
        let mut at = 0;
        for end in (piece..bytes.len()).step_by(piece).chain([bytes.len()]) {
            match scanner.scan(&bytes[..end], at) {
                Scan::More => at = end,
                found => return found,
            }
        }
        Scan::More
    }

    /// What the scanner should say, by serde_json's word.
    fn judge(bytes: &[u8]) -> Scan {
        let mut stream = serde_json::Deserializer::from_slice(bytes).into_iter::<IgnoredAny>();
        match stream.next() {
            Some(Ok(_)) => Scan::Done(stream.byte_offset()),
            Some(Err(error)) if !error.is_eof() => Scan::Error(0),
            _ => Scan::More,
        }
    }

    fn agrees(bytes: &[u8]) {
        let judged = judge(bytes);
        for piece in [1, 2, 3, 7, bytes.len().max(1)] {
            match (scan_in_pieces(bytes, piece), judged) {
                // Where an error is seen first may differ, that there is one may not.
                (Scan::Error(_), Scan::Error(_)) => {}
                // serde_json calls a number that was cut off wrong, not unfinished.
                (Scan::More, Scan::Error(_)) if b"-+.eE".contains(&bytes[bytes.len() - 1]) => {}
                // It looks at the four digits behind \u only when it has them all.
                (Scan::Error(at), Scan::More)
                    if bytes[at.saturating_sub(5)..at].contains(&b'u') => {}
                (found, judged) => {
                    assert_eq!(found, judged, "{:?}", String::from_utf8_lossy(bytes));
                }
            }
        }
    }

    #[test]
    fn agrees_with_serde_json_on_corner_cases() {
        for case in [
            r#"{}"#,
            r#"{ }x"#,
            r#"{"a":[]}"#,
            r#"{"a":[ ],"b":[[],{}]}"#,
            r#"{"a":[1,]}"#,
            r#"{"a":1,}"#,
            r#"{,}"#,
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":[}"#,
            r#"{"a":{]"#,
            r#"{"a":-}"#,
            r#"{"a":-0}"#,
            r#"{"a":01}"#,
            r#"{"a":1.}"#,
            r#"{"a":1.5e+}"#,
            r#"{"a":1.5E-07, "b":0e0}"#,
            r#"{"a":.5}"#,
            r#"{"a":+1}"#,
            r#"{"a":truex}"#,
            r#"{"a":nul}"#,
            r#"{"a":"\u00e9\ud800"}"#,
            r#"{"a":"\u00g9"}"#,
            r#"{"a":"\x"}"#,
            "{\"a\":\"\u{7f}\"}",
            "{\"a\":\"tab\tinside\"}",
            "{\"a\":\"line\ninside\"}",
            "{\n\t\"a\" :\r\n1 }",
            "{\u{a0}}",
            r#"{"a":"x","b":"y","c":["z","w"],"d":{"e":"f"}}"#,
            r#"{"a":"x",1}"#,
            r#"{"a":["x","y":"z"]}"#,
        ] {
            for end in 1..=case.len() {
                agrees(&case.as_bytes()[..end]);
            }
        }
    }

    #[test]
    fn nesting_is_bounded_by_its_limit_and_needs_no_stack() {
        let deep = |depth| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        let mut scanner = Scanner::new(1_000_001);
        let fits = deep(1_000_000);
        assert_eq!(scanner.scan(fits.as_bytes(), 0), Scan::Done(fits.len()));
        scanner.reset();
        assert_eq!(
            scanner.scan(deep(1_000_001).as_bytes(), 0),
            Scan::Error(1_000_005)
        );
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json_on_anything(tail in r#"[{}\[\]",:\\u0-9eE+\-. \n\ttruefalsn/é]{0,40}"#) {
            agrees(format!("{{{tail}").as_bytes());
        }

        #[test]
        fn agrees_with_serde_json_on_any_bytes_in_a_string(bytes: Vec<u8>) {
            let mut object = b"{\"a\":\"".to_vec();
            object.extend(bytes);
            object.extend(b"\"}");
            agrees(&object);
        }
    }
}
