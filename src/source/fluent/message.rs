//! One message of the fluent forward protocol, as JSON: `[tag, time, record, option]`
//! (<https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1>).

use crate::json::{Scan, Scanner};

/// What a message turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// An event.
    Event {
        /// The record, as it came.
        record: &'a [u8],
        /// What the sender waits to have acknowledged.
        chunk: Option<String>,
    },
    /// Many events in one message: Forward or PackedForward mode.
    Batch,
    /// Something else.
    Other,
}

/// Reads a message, which must be one well-formed JSON array of at most `max_depth` levels.
pub fn parse(message: &[u8], max_depth: usize) -> Message<'_> {
    let mut elements = Elements {
        bytes: message.get(1..).unwrap_or_default(),
        max_depth,
    };
    let parts = (
        elements.next(),
        elements.next(),
        elements.next(),
        elements.next(),
        elements.next(),
    );
    match parts {
        (Some([b'"', ..]), Some([b'[' | b'"', ..]), _, _, _) => Message::Batch,
        (Some([b'"', ..]), Some([b'0'..=b'9', ..]), Some(record @ [b'{', ..]), option, None) => {
            let chunk = option.and_then(chunk);
            Message::Event { record, chunk }
        }
        _ => Message::Other,
    }
}

fn chunk(option: &[u8]) -> Option<String> {
    let option: serde_json::Value = serde_json::from_slice(option).ok()?;
    option.get("chunk")?.as_str().map(str::to_owned)
}

/// The chunk of a message of which only the end is left.
pub fn chunk_at_end(tail: &[u8]) -> Option<String> {
    let start = tail.iter().rposition(|byte| *byte == b'{')?;
    let option = tail[start..].trim_ascii_end().strip_suffix(b"]")?;
    chunk(option)
}

/// The elements of an array that is known to be well-formed.
struct Elements<'a> {
    bytes: &'a [u8],
    max_depth: usize,
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let start = self
            .bytes
            .iter()
            .position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b','))?;
        self.bytes = &self.bytes[start..];
        let length = match self.bytes[0] {
            b']' => return None,
            b'{' | b'[' => match Scanner::new(self.max_depth).scan(self.bytes, 0) {
                Scan::Done(length) => length,
                _ => return None,
            },
            b'"' => {
                let mut escaped = true; // the opening quote ends nothing
                let end = self.bytes.iter().position(|byte| {
                    let ends = *byte == b'"' && !escaped;
                    escaped = *byte == b'\\' && !escaped;
                    ends
                })?;
                end + 1
            }
            _ => self
                .bytes
                .iter()
                .position(|byte| matches!(byte, b',' | b']' | b' ' | b'\t' | b'\n' | b'\r'))?,
        };
        let (element, rest) = self.bytes.split_at(length);
        self.bytes = rest;
        Some(element)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(record: &str, chunk: Option<&str>) -> (Vec<u8>, Option<String>) {
        (record.as_bytes().to_vec(), chunk.map(str::to_owned))
    }

    fn parsed(message: &str) -> (Vec<u8>, Option<String>) {
        match parse(message.as_bytes(), 100) {
            Message::Event { record, chunk } => (record.to_vec(), chunk),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_message_holds_one_event() {
        let tagged = r#"["a.b",1795326382,{"k":"]},{\""},{}]"#;
        assert_eq!(parsed(tagged), event(r#"{"k":"]},{\""}"#, None));
        let spaced = "[ \"a\\\"\\\\\" , 1.5 ,\n{ } , { \"chunk\" : \"p8n9==\" } ]";
        assert_eq!(parsed(spaced), event("{ }", Some("p8n9==")));
        assert_eq!(parsed(r#"["",0,{}]"#), event("{}", None));
    }

    #[test]
    fn a_chunk_is_found_at_the_end() {
        let tail = b"xx\"},{\"n\":1}},{\"chunk\":\"p8n9==\"} ]\n";
        assert_eq!(chunk_at_end(tail).as_deref(), Some("p8n9=="));
        for none in [
            "",
            "x\"},{}]",
            "{\"chunk\":\"a\"}}]",
            "{\"chunk\":\"a\"}",
            "{\"chunk\":1}]",
        ] {
            assert_eq!(chunk_at_end(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn other_modes_are_told_apart() {
        for batch in [r#"["t",[[1,{"a":1}]],{}]"#, r#"["t","k9MB",{"size":1}]"#] {
            assert_eq!(parse(batch.as_bytes(), 100), Message::Batch, "{batch}");
        }
        for other in [
            "[]",
            "[1,2]",
            r#"["t",1]"#,
            r#"["t",1,2]"#,
            r#"["t",1,{},{},{}]"#,
            r#"[{"a":1}]"#,
        ] {
            assert_eq!(parse(other.as_bytes(), 100), Message::Other, "{other}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            parse(&bytes, 100);
        }
    }
}
