//! Arbitrary bytes as fluent messages: each well-formed array is what serde_json finds in it, the end of one, cut off
//! anywhere, gives no other chunk to acknowledge than the whole, and what is made of any message is lines of JSON objects.

#![no_main]

use libfuzzer_sys::fuzz_target;
use s3_audit_webhook::buffer::chunk::Extent;
use s3_audit_webhook::framer::{Event, Frame, Framer};
use s3_audit_webhook::source::fluent::batch::Batch;
use s3_audit_webhook::source::fluent::message::{
    Entries, Events, Opening, Parsed, ack_at_end, json_ack_at_end, opening, parse_json,
    parse_msgpack,
};
use s3_audit_webhook::source::fluent::parts::{Parts, Step};
use s3_audit_webhook::source::fluent::unpack::take_whole;
use s3_audit_webhook::source::fluent::values::{Found, Values};
use serde_json::{Value, json};

const MAX_EVENT: usize = 1000;
const MAX_BYTES: usize = 10_000;

fuzz_target!(|data: &[u8]| {
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
            if let Found::Value(message) = found {
                look_at_msgpack(message);
            }
        }
    }
});

/// Takes a message whole and in parts: the same, unless it is too large to be taken whole.
fn look_at_msgpack(message: &[u8]) {
    let Parsed::Events(events) = parse_msgpack(message) else {
        ack_at_end(message);
        return;
    };
    let opening = opening(message).expect("the beginning of a message");
    let mut whole = Batch::new(MAX_EVENT);
    let is_taken = take_whole(&mut whole, events.entries, MAX_BYTES);
    let (lines, batch) = in_parts(message, opening);
    let mut count = 0;
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").expect("a line");
        assert!(line.len() <= MAX_EVENT && line.starts_with(b"{") && line.ends_with(b"}"));
        assert!(str::from_utf8(line).is_ok());
        count += 1;
    }
    assert_eq!(count, batch.lines.events);
    // In parts it is not known that there is a compression before the first byte, and what is after it.
    let is_gzip = matches!(events.entries, Entries::Many([0x1f, ..]) | Entries::Gzip(_));
    // An entry may have a long time, which nobody looks at.
    let is_same = whole.too_large == batch.too_large;
    if is_taken && is_same && !is_gzip && events.entries != Entries::Unknown {
        assert_eq!(whole.lines.bytes, lines);
        assert_eq!(whole.malformed, batch.malformed);
    }
}

/// All lines of a message, and what a batch has counted.
fn in_parts(message: &[u8], opening: Opening) -> (Vec<u8>, Batch) {
    let mut values = Values::new(message.len());
    let mut rest = message;
    values.copy_in(&mut rest);
    while values.next() == Ok(None) {
        values.copy_in(&mut rest);
    }
    let enough = Extent {
        events: 3,
        bytes: 2000,
    };
    let mut parts = Parts::begin(opening, &mut values, MAX_EVENT, enough);
    let mut batch = Batch::new(MAX_EVENT);
    let (mut lines, mut events) = (Vec::new(), 0);
    loop {
        let step = parts.next(&mut values, &mut batch).expect("a message");
        assert!(batch.lines.bytes.len() <= 3001);
        lines.append(&mut batch.lines.bytes);
        events += std::mem::take(&mut batch.lines.events);
        match step {
            Step::Done(option) => {
                assert!(message.ends_with(&option));
                // What was too large is passed over with the next look.
                assert!(values.next() == Ok(None) && !values.is_unfinished());
                batch.lines.events = events;
                return (lines, batch);
            }
            Step::Offer | Step::Pause => {}
            Step::Read => panic!("all of it is there"),
        }
    }
}

fn look_at_json(message: &Event<'_>) {
    let found = parse_json(message.raw());
    if let Parsed::Events(events) = &found {
        let mut batch = Batch::new(MAX_EVENT);
        let is_taken = batch.take_json(message, events.entries, MAX_BYTES);
        assert!(batch.lines.bytes.len() <= MAX_BYTES && (is_taken || batch.lines.is_empty()));
    } else {
        json_ack_at_end(message.raw());
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
