//! Strings of JSON (RFC 8259), and what they contain.

use std::borrow::Cow;
use std::iter;

use memchr::memchr;

/// A string as it is written, without its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text<'a>(pub(crate) &'a [u8]);

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

    /// Its content. Copied only if it has escapes; half a surrogate pair becomes U+FFFD.
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

    /// Whether its content is this, however it is written.
    #[inline]
    pub fn is(self, text: &[u8]) -> bool {
        // A string with escapes is longer than its content, and the same up to the first escape.
        self.0 == text
            || self.0.len() > text.len() && {
                let pairs = self.0.iter().zip(text);
                let same = pairs.take_while(|(a, b)| a == b).count();
                self.0[same] == b'\\' && self.is_escaped(text)
            }
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

    /// Its parts, in order.
    fn pieces(self) -> impl Iterator<Item = Piece<'a>> {
        let mut bytes = self.0;
        iter::from_fn(move || {
            let (piece, rest) = match *bytes {
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
            bytes = rest;
            Some(piece)
        })
    }
}

/// A part of a string.
enum Piece<'a> {
    /// Bytes that stand for themselves.
    Plain(&'a [u8]),
    /// The character of an escape.
    Escaped(char),
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

/// The character that four digits mean, or twice four with `\u` between them, and what follows them.
fn unicode_escape(digits: &[u8]) -> (char, &[u8]) {
    let Some((first, rest)) = hex_unit(digits) else {
        return (char::REPLACEMENT_CHARACTER, &[]);
    };
    let low = rest.strip_prefix(b"\\u").and_then(hex_unit);
    let (code, rest) = match (first, low) {
        (0xD800..0xDC00, Some((second @ 0xDC00..0xE000, rest))) => (
            0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00),
            rest,
        ),
        _ => (first, rest),
    };
    let char = char::from_u32(code);
    (char.unwrap_or(char::REPLACEMENT_CHARACTER), rest)
}

fn hex_unit(digits: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = digits.split_at_checked(4)?;
    let unit = digits.iter().try_fold(0, |unit, digit| {
        Some(unit << 4 | char::from(*digit).to_digit(16)?)
    })?;
    Some((unit, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
