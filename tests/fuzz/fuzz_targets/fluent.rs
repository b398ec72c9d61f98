//! Arbitrary bytes as fluent messages: each well-formed array is what serde_json finds in it, the end of one, cut off
//! anywhere, gives no other chunk to acknowledge than the whole, and what is made of any message is lines of JSON objects.

#![no_main]

use libfuzzer_sys::fuzz_target;
use s3_audit_webhook::framer::{Event, Frame, Framer};
use s3_audit_webhook::source::fluent::batch::{Batch, BatchLimits};
use s3_audit_webhook::source::fluent::message::{
    Entries, Events, Parsed, json_ack_at_end, parse_json, parse_msgpack,
};
use s3_audit_webhook::source::fluent::values::{Found, Values};
use serde_json::{Value, json};

const LIMITS: BatchLimits = BatchLimits {
    event: 1000,
    whole: 10_000,
};

fuzz_target!(|data: &[u8]| {
    json_ack_at_end(data);
    let mut framer = Framer::for_arrays(4 << 20);
    let mut rest = data;
    while !rest.is_empty() {
        framer.copy_in(&mut rest);
        while let Some(frame) = framer.next() {
            if let Frame::Event(message) = frame {
                look_at_json(&message);
            }
        }
    }
    let mut values = Values::new(20_000);
    let mut rest = data;
    while !rest.is_empty() {
        values.copy_in(&mut rest);
        while let Ok(Some(found)) = values.next() {
            if let Found::Value(message) = found
                && let Parsed::Events(events) = parse_msgpack(message)
            {
                take(|batch, partly| batch.take_msgpack(events.entries, partly));
            }
        }
    }
});

/// Takes a message whole and in parts: the same, unless it is too large.
fn take(
    fill: impl Fn(&mut Batch, Option<&mut dyn FnMut(&mut s3_audit_webhook::buffer::chunk::Chunk)>),
) {
    let mut whole = Batch::new(LIMITS);
    fill(&mut whole, None);
    assert!(whole.lines.bytes.len() <= LIMITS.whole);
    let mut parts = Vec::new();
    let mut count = 0;
    let mut partly = Batch::new(LIMITS);
    let mut keep = |lines: &mut s3_audit_webhook::buffer::chunk::Chunk| {
        parts.append(&mut lines.bytes);
        count += std::mem::take(&mut lines.events);
    };
    fill(&mut partly, Some(&mut keep));
    keep(&mut partly.lines);
    let lines: Vec<_> = parts.split_inclusive(|byte| *byte == b'\n').collect();
    assert_eq!(lines.len(), count);
    for line in lines {
        let line = line.strip_suffix(b"\n").expect("a line");
        assert!(line.len() <= LIMITS.event && line.starts_with(b"{") && line.ends_with(b"}"));
        assert!(str::from_utf8(line).is_ok());
    }
    if whole.too_large == partly.too_large {
        assert_eq!(whole.lines.bytes, parts);
        assert_eq!(whole.malformed, partly.malformed);
    } else {
        assert!(whole.lines.is_empty());
    }
}

fn look_at_json(message: &Event<'_>) {
    let found = parse_json(message.raw());
    if let Parsed::Events(events) = &found {
        take(|batch, partly| batch.take_json(message, events.entries, partly));
    }
    // What is nested too deeply for serde_json, or no UTF-8, is not judged.
    let Ok(Value::Array(judged)) = serde_json::from_slice(message.raw()) else {
        return;
    };
    match (found, &judged[..]) {
        (Parsed::Events(Events { entries, ack }), [tag, second, rest @ ..]) => {
            assert!(tag.is_string());
            let option = match entries {
                Entries::Record(record) => {
                    let record: Value = serde_json::from_slice(record).expect("a record");
                    assert!(second.is_number() && record.is_object());
                    assert_eq!(Some(&record), rest.first());
                    rest.get(1)
                }
                _ => {
                    assert!(second.is_array());
                    rest.first()
                }
            };
            let chunk = option.and_then(|option| option.get("chunk")?.as_str());
            let wanted = chunk.map(|chunk| json!({ "ack": chunk }).to_string().into_bytes());
            assert_eq!(ack, wanted);
        }
        (Parsed::Handshake, [Value::String(ping), ..]) => assert_eq!(ping, "PING"),
        (Parsed::Other, [Value::String(_), Value::Number(_), Value::Object(_)])
        | (
            Parsed::Other,
            [
                Value::String(_),
                Value::Number(_),
                Value::Object(_),
                Value::Object(_),
            ],
        ) => panic!("a message: {judged:?}"),
        (Parsed::Other, _) => {}
        (found, judged) => panic!("{found:?} in {judged:?}"),
    }
}
