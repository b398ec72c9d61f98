//! Elasticsearch's and OpenSearch's answer to `_bulk`: under one 200 it says of each event whether it was
//! taken: `{"errors":true,"items":[{"create":{"status":400,"error":{"type":"…"}}},…]}`.
//!
//! Read as it comes, since it can be as large as what was sent; what comes before it breaks off counts.

use std::fmt;
use std::io::{BufReader, Read};

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::Value;

/// An answer, as far as it was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Items {
    /// Whether some events were not taken, if it says so.
    pub errors: Option<bool>,
    /// Of each event, in the order in which they were sent; only filled if there are errors.
    pub items: Vec<Item>,
    /// It broke off.
    pub cut_off: bool,
}

/// What became of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// As an HTTP status; 0 if there is none.
    pub status: u16,
    /// Elasticsearch's name for what was wrong, or nothing.
    pub error: String,
}

impl Items {
    /// Reads an answer. One that is something else says nothing.
    pub fn read(from: impl Read) -> Self {
        let mut items = Items::default();
        let mut json = serde_json::Deserializer::from_reader(BufReader::new(from));
        let end = json.deserialize_map(Answer(&mut items));
        let is_nothing = |error: &serde_json::Error| (error.line(), error.column()) == (1, 0);
        let cuts_off =
            |error: serde_json::Error| error.is_io() || (error.is_eof() && !is_nothing(&error));
        items.cut_off = end.is_err_and(cuts_off);
        items
    }
}

impl Item {
    /// Of `{"create":{"status":400,"error":{"type":"…"}}}`.
    fn of(value: &Value) -> Item {
        let action = value
            .as_object()
            .and_then(|actions| actions.values().next());
        let member = |name| action.and_then(|action| action.get(name));
        let status = member("status").and_then(Value::as_u64);
        let error = member("error").and_then(|error| error.get("type")?.as_str());
        Item {
            status: status
                .and_then(|status| status.try_into().ok())
                .unwrap_or(0),
            error: error.unwrap_or_default().into(),
        }
    }
}

/// Goes through the answer.
struct Answer<'a>(&'a mut Items);

impl<'de> Visitor<'de> for Answer<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut members: M) -> Result<(), M::Error> {
        while let Some(name) = members.next_key::<String>()? {
            match name.as_str() {
                "errors" => {
                    self.0.errors = Some(members.next_value()?);
                    if self.0.errors == Some(false) {
                        // There is nothing more to learn, and this ends the reading.
                        return Err(M::Error::custom("no errors"));
                    }
                }
                // Servers say first whether there are any.
                "items" if self.0.errors == Some(true) => {
                    members.next_value_seed(List(&mut self.0.items))?
                }
                _ => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Goes through its items, and keeps those before the one at which it breaks off.
struct List<'a>(&'a mut Vec<Item>);

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut items: S) -> Result<(), S::Error> {
        while let Some(value) = items.next_element::<Value>()? {
            self.0.push(Item::of(&value));
        }
        Ok(())
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
        let items = Items::read(
            &br#"{"errors":true,"items":[{"create":{"error":{"type":"x"}}},{},3]}"#[..],
        );
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
