//! Goes through well-formed JSON (RFC 8259) without building a tree: nothing is copied or allocated, except for strings
//! that are unescaped.
//!
//! Malformed JSON never causes a panic; the iterators then end early or give parts that are not values.

use std::iter;

use crate::block::Stops;
pub use crate::text::Text;

/// The members of an object, in order: name and value, as they are written. Nothing for a value that is not an object.
pub fn members(object: &[u8]) -> impl Iterator<Item = (Text<'_>, &[u8])> {
    let mut cursor = Cursor::inside(object, b'{');
    iter::from_fn(move || Some((cursor.name()?, cursor.value()?)))
}

/// The elements of an array, in order, as they are written. Nothing for a value that is not an array.
pub fn elements(array: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut cursor = Cursor::inside(array, b'[');
    iter::from_fn(move || cursor.value())
}

/// The value that `text` begins with, as it is written.
pub fn value(text: &[u8]) -> Option<&[u8]> {
    Cursor::at_start(text).value_here()
}

/// What follows the name of an object's member, beginning with its value. The object may break off after that.
pub fn behind<'a>(object: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut walk = Cursor::inside(object, b'{');
    while !walk.name()?.is(name) {
        walk.value()?;
    }
    Some(walk.bytes[walk.at..].trim_ascii_start())
}

/// A position in JSON that moves forward.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    stops: Stops,
}

impl<'a> Cursor<'a> {
    /// After the opening bracket of a value that begins with `bracket`; otherwise, in an empty text.
    fn inside(value: &'a [u8], bracket: u8) -> Self {
        let bytes = value.trim_ascii_start().strip_prefix(&[bracket]);
        Cursor::at_start(bytes.unwrap_or_default())
    }

    /// At the beginning of these bytes.
    pub fn at_start(bytes: &'a [u8]) -> Self {
        Cursor {
            bytes,
            at: 0,
            stops: Stops::NONE,
        }
    }

    /// Goes into the object or array that begins here, and gives its bracket.
    #[inline]
    pub fn enter(&mut self) -> Option<&'a [u8]> {
        self.skip_separators();
        let bracket = self.bytes.get(self.at..=self.at)?;
        matches!(bracket, b"{" | b"[").then(|| self.at += 1)?;
        Some(bracket)
    }

    /// Passes over the rest of the object or array that was entered.
    pub fn leave(&mut self) -> Option<()> {
        self.skip_nested(1)
    }

    /// Passes over the next member's name, up to its value. `None` after the last member.
    #[inline]
    pub fn name(&mut self) -> Option<Text<'a>> {
        self.skip_separators();
        let start = self.at + 1;
        if self.peek()? != b'"' {
            return None;
        }
        self.skip_string()?;
        let name = self.bytes.get(start..self.at - 1)?;
        self.skip_blanks();
        if self.peek()? != b':' {
            return None;
        }
        self.at += 1;
        Some(Text(name))
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    #[inline(always)]
    fn skip_separators(&mut self) {
        if self.peek() == Some(b',') {
            self.at += 1;
        }
        if self.peek() == Some(b'"') {
            return;
        }
        while let Some(b' ' | b'\t' | b'\n' | b'\r' | b',') = self.peek() {
            self.at += 1;
        }
    }

    /// Passes over the next value. `None` at a closing bracket or at the end.
    #[inline]
    pub fn value(&mut self) -> Option<&'a [u8]> {
        self.skip_separators();
        self.value_here()
    }

    #[inline]
    fn value_here(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        match self.peek()? {
            b'"' => self.skip_string()?,
            first => self.skip_other(first)?,
        }
        self.bytes.get(start..self.at)
    }

    /// Passes over a value that is not a string and begins with this byte.
    fn skip_other(&mut self, first: u8) -> Option<()> {
        match first {
            b'{' | b'[' => self.skip_nested(0),
            _ => {
                let rest = &self.bytes[self.at..];
                let is_end = |byte: &u8| b",}] \t\n\r:".contains(byte);
                let length = rest.iter().position(is_end).unwrap_or(rest.len());
                self.at += length;
                // An empty value is no progress: the caller would repeat forever.
                (length > 0).then_some(())
            }
        }
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

    /// Passes over what is nested, to where this many more brackets have closed than opened.
    fn skip_nested(&mut self, mut depth: usize) -> Option<()> {
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
