//! Arbitrary bytes as an event whose time is asked for: nothing panics, and what a JSON parser finds to be epoch
//! milliseconds is found too.

#![no_main]

use libfuzzer_sys::fuzz_target;
use s3_audit_webhook::webhook::event_time::{EventTime, TimePath};
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let found = EventTime::of(data, None);
    let path: TimePath = "time.0.a".parse().expect("a path");
    let _ = EventTime::of(data, Some(&path));
    let Ok(Value::Object(event)) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    let [(key, Value::Number(number))] = &event.iter().collect::<Vec<_>>()[..] else {
        return;
    };
    let milliseconds = number
        .as_u64()
        .filter(|number| (10_u64.pow(11)..10_u64.pow(14)).contains(number));
    // A key may be written with escapes, or twice.
    let is_plain = data.iter().filter(|byte| **byte == b':').count() == 1 && !data.contains(&b'\\');
    if let Some(milliseconds) = milliseconds.filter(|_| is_plain && *key == "time") {
        assert_eq!(found, Some(EventTime { milliseconds }));
    }
});
