//! Goes through well-formed JSON (RFC 8259) without building a tree: nothing is copied or allocated, but for strings that
//! are unescaped.
//!
//! What is no well-formed JSON never panics; the iterators then end early or give parts that are no values.

use std::borrow::Cow;

use memchr::memchr;

use crate::block::Stops;

/// The members of an object, in order: name and value. None for a value that is no object.
pub fn members(object: &[u8]) -> Members<'_> {
    Members(Cursor::inside(object, b'{'))
}

/// The elements of an array, in order. None for a value that is no array.
pub fn elements(array: &[u8]) -> Elements<'_> {
    Elements(Cursor::inside(array, b'['))
}

/// The value that `text` begins with, as it is written.
pub fn value(text: &[u8]) -> Option<&[u8]> {
    Cursor::at_start(text).value()
}

/// What follows the name of an object's member, from its value on. The object may break off after that.
pub fn behind<'a>(object: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut members = members(object);
    while !members.name()?.is(name) {
        members.0.value()?;
    }
    Some(&members.0.bytes[members.0.at..])
}

/// The members of an object; see [`members`].
#[derive(Debug, Clone)]
pub struct Members<'a>(Cursor<'a>);

impl<'a> Iterator for Members<'a> {
    /// The name, and the value as it is written.
    type Item = (Text<'a>, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.name()?, self.0.value()?))
    }
}

impl<'a> Members<'a> {
    /// Passes over the next member's name, up to its value.
    #[inline]
    fn name(&mut self) -> Option<Text<'a>> {
        self.0.skip_separators();
        let name = Text::of(self.0.value()?)?;
        self.0.skip_blanks();
        if self.0.peek()? != b':' {
            return None;
        }
        self.0.at += 1;
        self.0.skip_blanks();
        Some(name)
    }
}

/// The elements of an array; see [`elements`].
#[derive(Debug, Clone)]
pub struct Elements<'a>(Cursor<'a>);

impl<'a> Iterator for Elements<'a> {
    /// The element as it is written.
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        self.0.skip_separators();
        self.0.value()
    }
}

/// A string as it is written, without its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    /// The string that this value is, if it is one.
    pub fn of(value: &'a [u8]) -> Option<Self> {
        let text = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        Some(Text(text))
    }

    /// As it is written, with its escapes.
    pub fn raw(self) -> &'a [u8] {
        self.0
    }

    /// What it says. Copied only if it has escapes; half a surrogate pair becomes U+FFFD.
    pub fn unescaped(self) -> Cow<'a, [u8]> {
        if memchr(b'\\', self.0).is_none() {
            return Cow::Borrowed(self.0);
        }
        let mut text = Vec::with_capacity(self.0.len());
        for piece in self.pieces() {
            match piece {
                Piece::Plain(bytes) => text.extend_from_slice(bytes),
                Piece::Escaped(char) => {
                    text.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
        }
        Cow::Owned(text)
    }

    /// Whether it says this, however it is written.
    #[inline]
    pub fn is(self, text: &[u8]) -> bool {
        // What has escapes is longer than what it says, and begins as that or with one.
        self.0 == text
            || self.0.len() > text.len()
                && (self.0[0] == b'\\' || text.first() == Some(&self.0[0]))
                && self.is_escaped(text)
    }

    fn is_escaped(self, text: &[u8]) -> bool {
        let mut rest = text;
        self.pieces().all(|piece| {
            let mut room = [0; 4];
            let piece = match piece {
                Piece::Plain(bytes) => bytes,
                Piece::Escaped(char) => char.encode_utf8(&mut room).as_bytes(),
            };
            rest.strip_prefix(piece)
                .map(|behind| rest = behind)
                .is_some()
        }) && rest.is_empty()
    }

    fn pieces(self) -> Pieces<'a> {
        Pieces(self.0)
    }
}

/// A part of a string.
enum Piece<'a> {
    /// Bytes that stand for themselves.
    Plain(&'a [u8]),
    /// The character of an escape.
    Escaped(char),
}

/// A string's parts, in order.
struct Pieces<'a>(&'a [u8]);

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let (piece, rest) = match *self.0 {
            [] => return None,
            [b'\\', b'u', ref rest @ ..] => {
                let (char, rest) = unicode_escape(rest);
                (Piece::Escaped(char), rest)
            }
            [b'\\', letter, ref rest @ ..] => (Piece::Escaped(short_escape(letter)), rest),
            [b'\\'] => (Piece::Escaped(char::REPLACEMENT_CHARACTER), &[][..]),
            ref plain => {
                let end = memchr(b'\\', plain).unwrap_or(plain.len());
                let (plain, rest) = plain.split_at(end);
                (Piece::Plain(plain), rest)
            }
        };
        self.0 = rest;
        Some(piece)
    }
}

fn short_escape(letter: u8) -> char {
    match letter {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        other => other.into(),
    }
}

/// What four digits mean, or twice four with `\u` between them, and what follows them.
fn unicode_escape(digits: &[u8]) -> (char, &[u8]) {
    let Some((first, rest)) = hex_unit(digits) else {
        return (char::REPLACEMENT_CHARACTER, &[]);
    };
    let low = rest.strip_prefix(b"\\u").and_then(hex_unit);
    match (first, low) {
        (0xD800..0xDC00, Some((second @ 0xDC00..0xE000, rest))) => {
            let code = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
            let char = char::from_u32(code);
            (char.unwrap_or(char::REPLACEMENT_CHARACTER), rest)
        }
        _ => {
            let char = char::from_u32(first);
            (char.unwrap_or(char::REPLACEMENT_CHARACTER), rest)
        }
    }
}

fn hex_unit(digits: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = digits.split_at_checked(4)?;
    let unit = digits.iter().try_fold(0, |unit, digit| {
        Some(unit << 4 | char::from(*digit).to_digit(16)?)
    })?;
    Some((unit, rest))
}

/// A place in JSON.
#[derive(Debug, Clone)]
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    stops: Stops,
}

impl<'a> Cursor<'a> {
    /// Behind the opening bracket of a value that begins with `bracket`; at the end of nothing otherwise.
    fn inside(value: &'a [u8], bracket: u8) -> Self {
        let bytes = value.trim_ascii_start().strip_prefix(&[bracket]);
        Cursor::at_start(bytes.unwrap_or_default())
    }

    fn at_start(bytes: &'a [u8]) -> Self {
        Cursor {
            bytes,
            at: 0,
            stops: Stops::NONE,
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn skip_separators(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r' | b',') = self.peek() {
            self.at += 1;
        }
    }

    #[inline]
    /// Passes over the value that begins here. None at a closing bracket or at the end.
    fn value(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        match self.peek()? {
            b'"' => self.skip_string()?,
            b'{' | b'[' => self.skip_nested()?,
            b'}' | b']' => return None,
            _ => {
                let rest = &self.bytes[start..];
                let is_end = |byte: &u8| b",}] \t\n\r:".contains(byte);
                self.at += rest.iter().position(is_end).unwrap_or(rest.len());
            }
        }
        let value = self.bytes.get(start..self.at)?;
        // An empty value is no progress: the caller would repeat for ever.
        (!value.is_empty()).then_some(value)
    }

    #[inline(always)]
    fn skip_string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            self.at = self.stops.next(self.bytes, self.at);
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(());
                }
                b'\\' => self.at += 2,
                // No control character can be here.
                _ => return None,
            }
        }
    }

    fn skip_nested(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.skip_string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;

    /// Any value, read back by walking.
    fn walked(value: &[u8]) -> Value {
        match value[0] {
            b'{' => members(value)
                .map(|(name, value)| {
                    let name = String::from_utf8(name.unescaped().into_owned()).unwrap();
                    (name, walked(value))
                })
                .collect::<Map<_, _>>()
                .into(),
            b'[' => elements(value).map(walked).collect::<Vec<_>>().into(),
            b'"' => {
                let text = Text::of(value).unwrap().unescaped().into_owned();
                String::from_utf8(text).unwrap().into()
            }
            _ => serde_json::from_slice(value).unwrap(),
        }
    }

    #[test]
    fn members_and_elements_are_given_as_they_are_written() {
        let object =
            b" { \"a\" : 1 ,\n\"b\":\"x\\\"}\" , \"c\\u0064\":[ 1, {\"d\":\"]\"} ],\"e\":{}}";
        let found: Vec<_> = members(object)
            .map(|(name, value)| (name.raw(), value))
            .collect();
        let expected: [(&[u8], &[u8]); 4] = [
            (b"a", b"1"),
            (b"b", b"\"x\\\"}\""),
            (b"c\\u0064", b"[ 1, {\"d\":\"]\"} ]"),
            (b"e", b"{}"),
        ];
        assert_eq!(found, expected);
        let found: Vec<_> = elements(b"[ 1, \"a,]\" ,[[]],null]").collect();
        assert_eq!(found, [&b"1"[..], b"\"a,]\"", b"[[]]", b"null"]);
        assert_eq!(elements(b"{\"a\":1}").count(), 0);
        assert_eq!(members(b"[1]").count(), 0);
        assert_eq!(members(b"{}").count(), 0);
    }

    #[test]
    fn a_member_is_found_though_the_object_breaks_off() {
        let object = br#"{"a":{"c":1},"b" : [2,3"#;
        assert_eq!(behind(object, b"b"), Some(&b"[2,3"[..]));
        assert_eq!(behind(object, b"c"), None);
        assert_eq!(behind(&object[..14], b"b"), None);
    }

    #[test]
    fn a_string_says_what_its_escapes_stand_for() {
        let text = |raw: &'static str| Text(raw.as_bytes());
        for (raw, says) in [
            ("plain", "plain"),
            (r#"\"\\\/\b\f\n\r\t"#, "\"\\/\u{8}\u{c}\n\r\t"),
            (r"\u00e9x", "éx"),
            (r"a\uD83D\uDE00b", "a😀b"),
            (r"\ud83dx", "\u{fffd}x"),
            (r"\ude00\ud83d", "\u{fffd}\u{fffd}"),
            (r"\ud83d\u0041", "\u{fffd}A"),
        ] {
            assert_eq!(text(raw).unescaped(), says.as_bytes(), "{raw}");
            assert!(text(raw).is(says.as_bytes()), "{raw}");
            assert!(!text(raw).is(b"other"), "{raw}");
            assert!(!text(raw).is(&says.as_bytes()[..says.len() - 1]), "{raw}");
            assert!(!text(raw).is(format!("{says}x").as_bytes()), "{raw}");
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i32>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
            r#"[a-z"{}\[\],:\\]{0,12}"#.prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(Into::into),
                vec((any::<String>(), inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn nothing_is_missed_or_made_up(value in value()) {
            prop_assert_eq!(&walked(value.to_string().as_bytes()), &value);
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(&walked(pretty.as_bytes()), &value);
        }

        #[test]
        fn no_bytes_panic(bytes in r#"[{}\[\]",:\\u0-9d ]{0,40}"#, any: Vec<u8>) {
            for bytes in [bytes.as_bytes(), &any] {
                for (name, value) in members(bytes) {
                    name.unescaped();
                    elements(value).for_each(drop);
                }
                elements(bytes).filter_map(Text::of).for_each(|text| {
                    text.is(&text.unescaped());
                });
            }
        }
    }
}
