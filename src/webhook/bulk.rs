//! Elasticsearch's and OpenSearch's answer to `_bulk`: one status 200, and for each event whether it was taken:
//! `{"errors":true,"items":[{"create":{"status":400,"error":{"type":"…"}}},…]}`.
//!
//! It can be as large as what was sent, so it is walked, and no tree is built; what comes before it breaks off counts.

use crate::framer::walk::{self, Text};

/// How answers begin in two of the formats that Elasticsearch has beside JSON; the third, CBOR, is no text.
const YAML: &[u8] = b"---";
const SMILE: &[u8] = b":)\n";

/// An answer, as far as it was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Items {
    /// Whether some events were not taken, if it says so.
    pub errors: Option<bool>,
    /// One for each event, in the order in which they were sent; not filled if it says that there are no errors.
    pub items: Vec<Item>,
    /// The answer broke off.
    pub cut_off: bool,
    /// It is no text, or none in JSON, as when something has compressed it.
    pub is_unreadable: bool,
    /// It had to say what became of the events, and does not: something else has answered.
    pub is_missing: bool,
}

/// What became of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// An HTTP status; 0 if there is none.
    pub status: u16,
    /// Elasticsearch's name for the error, or empty.
    pub error: String,
}

impl Items {
    /// Reads an answer, or its beginning. From anything else, nothing is filled in.
    pub fn read(text: &[u8]) -> Self {
        let text = text.trim_ascii_start();
        let errors = match walk::behind(text, b"errors") {
            // There is nothing more to learn, whatever follows.
            Some(value) if value.starts_with(b"false") => Some(false),
            Some(value) if value.starts_with(b"true") => Some(true),
            _ => None,
        };
        let items = walk::behind(text, b"items").filter(|_| errors != Some(false));
        let items = walk::elements(items.unwrap_or_default()).map(Item::of);
        let items: Vec<_> = items.collect();
        // As with a filter_path that leaves `errors` out.
        let errors = errors.or_else(|| items.iter().any(Item::is_wrong).then_some(true));
        let is_of_another_format = text.starts_with(YAML) || text.starts_with(SMILE);
        Items {
            errors,
            items,
            cut_off: errors != Some(false) && text.starts_with(b"{") && walk::value(text).is_none(),
            is_unreadable: !is_text(text) || is_of_another_format,
            is_missing: false,
        }
    }

    /// The same, from an endpoint that says whether there were errors, or what became of each of so many events.
    pub fn demanded(self, events: usize) -> Self {
        let is_told = self.items.len() == events && self.items.iter().all(|item| item.status > 0);
        let is_missing = self.errors.is_none() && !is_told;
        Items { is_missing, ..self }
    }
}

/// Judging by its beginning.
fn is_text(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(64)];
    let is_control = |byte: &u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
    // The last character may be cut.
    let is_utf8 =
        std::str::from_utf8(start).map_or_else(|wrong| wrong.error_len().is_none(), |_| true);
    is_utf8 && !start.iter().any(is_control)
}

impl Item {
    /// From `{"create":{"status":400,"error":{"type":"…"}}}`.
    fn of(item: &[u8]) -> Item {
        let (mut status, mut error) = (0, String::new());
        let action = walk::members(item).next();
        for (name, value) in walk::members(action.map_or(&[], |(_, action)| action)) {
            if name.is(b"status") {
                let digits = std::str::from_utf8(value).ok();
                status = digits.and_then(|digits| digits.parse().ok()).unwrap_or(0);
            } else if name.is(b"error") {
                let mut members = walk::members(value).filter(|(name, _)| name.is(b"type"));
                let text = members.next().and_then(|(_, value)| Text::of(value));
                let text = text.map(Text::unescaped).unwrap_or_default();
                error = String::from_utf8_lossy(&text).into_owned();
            }
        }
        Item { status, error }
    }

    fn is_wrong(&self) -> bool {
        self.status >= 300 || !self.error.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As Elasticsearch 8 answers.
    const ANSWER: &str = r#"{"errors":true,"took":7,"items":[
        {"create":{"_index":".ds-s3","_id":"a","_version":1,"result":"created","_shards":{"total":2},"status":201}},
        {"create":{"_index":".ds-s3","_id":"b","status":400,"error":{"type":"document_parsing_exception",
            "reason":"failed","caused_by":{"type":"x","reason":"For input string: \"\u00e9\""}}}},
        {"create":{"_index":".ds-s3","_id":"c","status":429,"error":{"type":"es_rejected_execution_exception"}}}
    ]}"#;

    fn statuses(items: &Items) -> Vec<u16> {
        items.items.iter().map(|item| item.status).collect()
    }

    #[test]
    fn each_event_has_its_item() {
        let items = Items::read(ANSWER.as_bytes());
        assert_eq!(statuses(&items), [201, 400, 429]);
        assert_eq!(items.items[1].error, "document_parsing_exception");
        assert!(items.errors == Some(true) && !items.cut_off);
        let items =
            Items::read(br#"{"errors":true,"items":[{"create":{"error":{"type":"x"}}},{},3]}"#);
        assert_eq!(statuses(&items), [0, 0, 0]);
    }

    #[test]
    fn no_errors_need_no_items() {
        let text = r#"{"took":3,"errors":false,"items":[{"create":{"status":201}}]}"#;
        let items = Items::read(text.as_bytes());
        assert_eq!((items.errors, items.items), (Some(false), Vec::new()));
        for text in ["{}", "", r#"{"text":"Success","code":0}"#, "<html>", "[]"] {
            assert_eq!(Items::read(text.as_bytes()), Items::default(), "{text}");
        }
    }

    #[test]
    fn errors_are_found_without_a_summary() {
        for (text, errors) in [
            (
                r#"{"items":[{"create":{"error":{"type":"x"}}}]}"#,
                Some(true),
            ),
            (
                r#"{"items":[{"create":{"status":201}},{"create":{"status":429}}]}"#,
                Some(true),
            ),
            (r#"{"items":[{"create":{"status":201}}]}"#, None),
            (r#"{"items":[]}"#, None),
        ] {
            assert_eq!(Items::read(text.as_bytes()).errors, errors, "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_not_taken_for_an_answer_without_errors() {
        for (text, is_unreadable) in [
            (&b"\x28\xb5\x2f\xfd"[..], true),
            (b"\x1f\x8b\x08", true),
            (b"---\nerrors: true\n", true),
            (b":)\n\x00", true),
            (b"\xbfferrors", true),
            (b" {}", false),
            (b"", false),
            (b"ok", false),
        ] {
            assert_eq!(Items::read(text).is_unreadable, is_unreadable, "{text:?}");
        }
    }

    #[test]
    fn what_comes_before_an_answer_breaks_off_counts() {
        for end in 1..ANSWER.len() {
            let items = Items::read(&ANSWER.as_bytes()[..end]);
            assert!(items.cut_off, "{}", &ANSWER[..end]);
            assert!([201, 400, 429].starts_with(&statuses(&items)));
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(text in "[{}\\[\\]\":,\\\\a-z0-9 -]{0,80}", end in 0_usize..80) {
            let end = end.min(text.len());
            let _ = Items::read(text.as_bytes());
            let text = format!(r#"{{"errors":true,"items":[{}"#, &text[..end]);
            prop_assert!(Items::read(text.as_bytes()).items.len() <= text.len());
        }
    }
}
