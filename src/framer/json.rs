//! A resumable check that bytes are one well-formed JSON object (RFC 8259), and where it ends.
//!
//! One pass both frames and checks: the framer hands over bytes as they arrive, in pieces cut
//! anywhere, and learns where the object ends or that it can never end well. `serde_json` does the
//! same check only on a whole slice, after somebody has found its end; it is the judge of this
//! code in the property tests and in the fuzz target.
//!
//! Nesting costs four bytes a level on the heap and no stack.

use crate::block::Stops;
use crate::steps::{KIND_OF, KINDS_MOST, STEPS, State, Step};

/// What [`Scanner::scan`] found.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Scan {
    /// Well-formed so far; the object continues after the bytes given.
    More,
    /// The object ends before this offset.
    Done(usize),
    /// The byte at this offset is not allowed there.
    Error(usize),
}

/// The state of an object's check between two reads.
#[derive(Debug)]
pub struct Scanner {
    place: Place,
    /// Open brackets: offset of the bracket, shifted left once; lowest bit set for `[`.
    open: Vec<u32>,
    max_depth: usize,
}

/// Its state while bytes are looked at.
#[derive(Debug, Clone, Copy)]
struct Place {
    state: State,
    /// The string being read is a member name.
    in_name: bool,
    /// The innermost open bracket is a `[`.
    in_array: bool,
    /// There was a line break between tokens.
    breaks: bool,
    /// No byte that is not ASCII was seen in a string, nor in some bytes after one.
    is_ascii: bool,
}

impl Place {
    const START: Place = Place {
        state: State::Value,
        in_name: false,
        in_array: false,
        breaks: false,
        is_ascii: true,
    };
}

impl Scanner {
    /// A scanner that refuses objects nested deeper than `max_depth`.
    pub fn new(max_depth: usize) -> Self {
        Scanner {
            place: Place::START,
            open: Vec::new(),
            max_depth,
        }
    }

    /// Forgets the current object; the next [`scan`](Self::scan) begins at a new one's `{`.
    pub fn reset(&mut self) {
        self.place = Place::START;
        self.open.clear();
    }

    /// Bytes of memory that open brackets take.
    pub fn memory(&self) -> usize {
        self.open.capacity() * size_of::<u32>()
    }

    /// Whether there were line breaks between the object's tokens.
    pub fn has_breaks(&self) -> bool {
        self.place.breaks
    }

    /// Whether the object is certainly ASCII. If `false`, that must be checked.
    pub fn is_ascii(&self) -> bool {
        self.place.is_ascii
    }

    /// Offsets of the brackets that are open, outermost first.
    pub fn open_brackets(&self) -> impl Iterator<Item = usize> + '_ {
        self.open.iter().map(|entry| (entry >> 1) as usize)
    }

    /// Continues at `bytes[at]`. Offsets count from the object's `{`, the first byte scanned after
    /// [`reset`](Self::reset); they must stay below 2^31.
    pub fn scan(&mut self, bytes: &[u8], at: usize) -> Scan {
        // A copy, since what is borrowed could not stay in registers.
        let mut place = self.place;
        let mut stops = Stops::NONE;
        let found = self.scan_from(&mut place, &mut stops, bytes, at);
        place.is_ascii &= stops.is_ascii;
        self.place = place;
        found
    }

    #[inline(always)]
    fn scan_from(
        &mut self,
        place: &mut Place,
        stops: &mut Stops,
        bytes: &[u8],
        mut at: usize,
    ) -> Scan {
        while let Some(&byte) = bytes.get(at) {
            let kind = usize::from(KIND_OF[usize::from(byte)]) % KINDS_MOST;
            at += 1;
            let (in_name, from) = match STEPS[place.state as usize][kind] {
                Step::OpenName => (true, at),
                Step::OpenText => (false, at),
                Step::Plain => (place.in_name, at - 1),
                Step::Comma if !place.in_array && bytes.get(at) == Some(&b'"') => (true, at + 1),
                Step::Comma => {
                    place.state = [State::Name, State::Value][usize::from(place.in_array)];
                    continue;
                }
                Step::To(next) => {
                    place.state = next;
                    continue;
                }
                Step::Word(next) => {
                    let found = WORDS.iter().find(|word| bytes[at - 1..].starts_with(word));
                    place.state = found.map_or(next, |_| State::AfterValue);
                    at += found.map_or(0, |word| word.len() - 1);
                    continue;
                }
                Step::Digits(next) => {
                    place.state = next;
                    // Each turn of the outer loop has to wait for the state that the turn before it found.
                    while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                        at += 1;
                    }
                    continue;
                }
                Step::Break => {
                    place.breaks = true;
                    continue;
                }
                Step::Open if self.open.len() < self.max_depth => {
                    let is_array = byte == b'[';
                    self.open.push((at as u32 - 1) << 1 | u32::from(is_array));
                    match place.enter(is_array, bytes, at) {
                        Some(name) => (true, name),
                        None => continue,
                    }
                }
                Step::Close if place.in_array == (byte == b']') => {
                    self.open.pop();
                    let Some(outer) = self.open.last() else {
                        return Scan::Done(at);
                    };
                    match place.leave(outer & 1 == 1, bytes, at) {
                        Some(name) => (true, name),
                        None => continue,
                    }
                }
                Step::EndOfNumber => {
                    place.state = State::AfterValue;
                    at -= 1;
                    continue;
                }
                Step::Open | Step::Close | Step::Error => return Scan::Error(at - 1),
            };
            at = place.pass_strings(in_name, stops, bytes, from);
        }
        Scan::More
    }
}

impl Place {
    /// Enters an object or an array. Returns where a member's name begins, if one follows at once.
    #[inline(always)]
    fn enter(&mut self, is_array: bool, bytes: &[u8], at: usize) -> Option<usize> {
        self.in_array = is_array;
        if !is_array && bytes.get(at) == Some(&b'"') {
            return Some(at + 1);
        }
        self.state = [State::FirstName, State::FirstElement][usize::from(is_array)];
        None
    }

    /// Returns to the enclosing object or array, and gives where its next member's name begins, if one follows at once.
    #[inline(always)]
    fn leave(&mut self, to_array: bool, bytes: &[u8], at: usize) -> Option<usize> {
        self.in_array = to_array;
        self.state = State::AfterValue;
        let has_name = !to_array && bytes[at..].first_chunk() == Some(b",\"");
        has_name.then_some(at + 2)
    }

    /// Passes over the rest of a string; and if another string follows, as usual in compact JSON, over that one too: to
    /// a byte that is not a plain one of a string, or to the end of `bytes`.
    #[inline(always)]
    fn pass_strings(
        &mut self,
        in_name: bool,
        stops: &mut Stops,
        bytes: &[u8],
        mut at: usize,
    ) -> usize {
        let mut between = if in_name { BEHIND_NAME } else { BEHIND_TEXT };
        let turn = if self.in_array {
            0
        } else {
            BEHIND_NAME ^ BEHIND_TEXT
        };
        loop {
            at = stops.next(bytes, at);
            if let Some(found) = bytes[at..].first_chunk()
                && u32::from_le_bytes(*found) & 0xff_ffff == between
            {
                between ^= turn;
                at += 3;
                continue;
            }
            self.in_name = between == BEHIND_NAME;
            (self.state, at) = match bytes[at..] {
                [b'"', b':', ..] if self.in_name => (State::Value, at + 2),
                [b'"', ..] if self.in_name => (State::Colon, at + 1),
                [b'"', ..] => (State::AfterValue, at + 1),
                [b'\\', ..] => (State::Escape, at + 1),
                _ => (State::String, at),
            };
            return at;
        }
    }
}

/// Values that are neither strings nor numbers.
const WORDS: [&[u8]; 3] = [b"null", b"true", b"false"];

/// In compact JSON, what is between a member name and a string value, and between a string value and a string that may
/// follow: a member name or, in an array, another value. Three bytes as a number.
const BEHIND_NAME: u32 = u32::from_le_bytes(*b"\":\"\0");
const BEHIND_TEXT: u32 = u32::from_le_bytes(*b"\",\"\0");

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
                found => {
                    if let Scan::Done(end) = found {
                        assert!(!scanner.is_ascii() || bytes[..end].is_ascii());
                    }
                    return found;
                }
            }
        }
        Scan::More
    }

    /// What the scanner should say, according to serde_json.
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
                // Both must find an error, though not at the same byte.
                (Scan::Error(_), Scan::Error(_)) => {}
                // serde_json calls a number that was cut off wrong rather than unfinished.
                (Scan::More, Scan::Error(_)) if b"-+.eE".contains(&bytes[bytes.len() - 1]) => {}
                // It looks at the four digits after \u only when it has them all.
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

        #[test]
        fn sees_each_byte_that_is_not_ascii(strings in proptest::collection::vec("[a-cé\\\\]{0,40}", 1..4)) {
            agrees(serde_json::json!({ "é": strings, "a": "é" }).to_string().as_bytes());
            agrees(serde_json::json!({ "a": strings }).to_string().as_bytes());
        }
    }
}
