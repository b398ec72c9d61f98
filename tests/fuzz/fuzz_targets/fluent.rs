//! Arbitrary bytes as fluent messages: each well-formed array is what serde_json finds in it, and the end of one, cut off
//! anywhere, gives no other chunk to acknowledge than the whole.

#![no_main]

use libfuzzer_sys::fuzz_target;
use s3_audit_webhook::framer::{Frame, Framer};
use s3_audit_webhook::source::fluent::message::{Message, chunk_at_end, parse};
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    chunk_at_end(data);
    let mut framer = Framer::for_arrays(4 << 20);
    let mut rest = data;
    while !rest.is_empty() {
        framer.copy_in(&mut rest);
        while let Some(frame) = framer.next() {
            if let Frame::Event(message) = frame {
                look_at(message.raw());
            }
        }
    }
});

fn look_at(message: &[u8]) {
    let found = parse(message, usize::MAX);
    // What is nested too deeply for serde_json, or no UTF-8, is not judged.
    let Ok(Value::Array(judged)) = serde_json::from_slice(message) else {
        return;
    };
    match (found, &judged[..]) {
        (Message::Event { record, chunk }, [tag, time, value, option @ ..]) => {
            assert!(tag.is_string() && time.is_number() && option.len() <= 1);
            let record: Value = serde_json::from_slice(record).expect("a record");
            assert_eq!(record, *value);
            assert!(record.is_object());
            let wanted = option
                .first()
                .and_then(|option| option.get("chunk")?.as_str());
            assert_eq!(chunk.as_deref(), wanted);
        }
        (Message::Batch, [Value::String(_), Value::Array(_) | Value::String(_), ..]) => {}
        (Message::Other, judged) => match judged {
            [Value::String(_), Value::Array(_) | Value::String(_), ..] => {
                panic!("a batch: {judged:?}")
            }
            [Value::String(_), Value::Number(time), Value::Object(_)]
            | [Value::String(_), Value::Number(time), Value::Object(_), _] => {
                assert!(
                    time.as_f64().is_some_and(f64::is_sign_negative),
                    "{judged:?}"
                );
            }
            _ => {}
        },
        (found, judged) => panic!("{found:?} in {judged:?}"),
    }
}
