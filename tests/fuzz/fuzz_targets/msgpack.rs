//! Arbitrary bytes as MessagePack: what is written is JSON and within the limit, a value ends at one place however it comes,
//! and what is written is what a tree says.

#![no_main]

use libfuzzer_sys::fuzz_target;
use s3_audit_webhook::source::fluent::head::{Fault, split_value};
use s3_audit_webhook::source::fluent::msgpack::Transcoder;
use s3_audit_webhook::source::fluent::values::{Found, Values};

fuzz_target!(|data: &[u8]| {
    let Some((&[first, second], data)) = data.split_first_chunk::<2>() else {
        return;
    };
    let max = usize::from(first) * 16;
    let mut out = Vec::new();
    match Transcoder::default().write(data, &mut out, max) {
        Ok(length) => {
            assert!(out.len() <= max);
            assert_eq!(split_value(data).expect("a value").0.len(), length);
            let text = str::from_utf8(&out).expect("UTF-8");
            // What is nested too deeply for serde_json is not judged.
            match serde_json::from_str::<serde::de::IgnoredAny>(text) {
                Err(error) if !error.to_string().contains("recursion limit") => {
                    panic!("{error} in {text}")
                }
                _ => {}
            }
        }
        Err(fault) => {
            assert!(out.is_empty());
            assert!(out.capacity() <= 16 * max + 1024);
            // Of nothing more than some forty times as much becomes text.
            let whole = Transcoder::default().write(data, &mut out, 40 * data.len() + 100);
            assert!(fault == Fault::Malformed || whole.is_err() || out.len() > max);
        }
    }
    cut(data, usize::from(second) % 64 + 1);
});

/// Cuts a stream that comes in pieces, and looks at each value.
fn cut(data: &[u8], piece: usize) {
    const LIMIT: usize = 1000;
    let mut values = Values::new(LIMIT);
    let mut rest = data;
    for mut piece in data.chunks(piece) {
        values.copy_in(&mut piece);
        assert!(piece.is_empty());
        loop {
            match values.next() {
                Ok(Some(Found::Value(value))) => {
                    assert!(value.len() <= LIMIT);
                    let (expected, behind) = split_value(rest).expect("a value");
                    assert_eq!(value, expected);
                    rest = behind;
                }
                Ok(Some(Found::TooLarge(_))) => {
                    // It may not have an end.
                    if let Some((long, behind)) = split_value(rest) {
                        assert!(long.len() > LIMIT);
                        rest = behind;
                    }
                }
                Ok(None) => break,
                Err(_) => return assert!(split_value(rest).is_none()),
            }
        }
        values.release(&mut Vec::new());
        assert!(values.memory() <= 8 * LIMIT);
    }
    assert_eq!(values.is_unfinished(), !rest.is_empty());
}
