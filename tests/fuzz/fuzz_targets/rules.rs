//! Arbitrary events through rules: what is masked stays JSON, is no longer than before and has no secret where anybody can
//! see one; what is not excluded is as it was.
//!
//! Input: a line of conditions for one rule, then the stream.

#![no_main]

use libfuzzer_sys::fuzz_target;
use memchr::memchr;
use s3_audit_webhook::buffer::chunk::Chunk;
use s3_audit_webhook::framer::{Frame, Framer};
use s3_audit_webhook::rules::Rules;
use s3_audit_webhook::rules::filter::{Action, Filter};
use s3_audit_webhook::rules::redact::Redactor;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let (rule, stream) = data.split_at(memchr(b'\n', data).unwrap_or(0));
    let before = lines(stream);

    let redacting = Rules::new(
        Filter::default(),
        Redactor::new(true, ["my-field"]),
        Vec::new(),
    );
    let mut chunk = before.clone();
    let screened = redacting.screen(&mut chunk.0, 0);
    let after = text(&chunk);
    assert_eq!(
        screened.unredactable, 0,
        "an end is always found in what is JSON"
    );
    assert_eq!(after.lines().count(), text(&before).lines().count());
    for (before, after) in text(&before).lines().zip(after.lines()) {
        assert!(after.len() <= before.len());
        let value = serde_json::from_str::<Value>(after);
        // serde_json takes no number that is too large, and no half of a surrogate pair.
        match value {
            Ok(value) => check(&value, false),
            Err(error) => {
                let before = serde_json::from_str::<Value>(before);
                assert!(before.is_err(), "{error}: {after}");
            }
        }
    }
    let again = redacting.screen(&mut chunk.0, 0);
    assert_eq!((again.redacted, text(&chunk)), (0, after), "masked twice");

    let Some(Ok(rule)) = str::from_utf8(rule).ok().map(str::parse) else {
        return;
    };
    // It may be on too many members.
    let Ok(filter) = Filter::new([(Action::Exclude, rule)]) else {
        return;
    };
    let filtering = Rules::new(filter, None, Vec::new());
    let mut chunk = before.clone();
    let screened = filtering.screen(&mut chunk.0, 0);
    let (before, after) = (text(&before), text(&chunk));
    assert_eq!(chunk.0.events + screened.events(), before.lines().count());
    let mut rest = before.lines();
    assert!(after.lines().all(|line| rest.any(|before| before == line)));
});

struct Lines(Chunk);

impl Clone for Lines {
    fn clone(&self) -> Self {
        Lines(Chunk {
            bytes: self.0.bytes.clone(),
            events: self.0.events,
        })
    }
}

fn text(lines: &Lines) -> String {
    String::from_utf8(lines.0.bytes.clone()).expect("lines are UTF-8")
}

fn lines(stream: &[u8]) -> Lines {
    let mut framer = Framer::new(1 << 20);
    let mut lines = Chunk::default();
    let mut rest = stream;
    while !rest.is_empty() {
        framer.copy_in(&mut rest);
        while let Some(frame) = framer.next() {
            if let Frame::Event(event) = frame {
                event.append_line(&mut lines.bytes);
                lines.events += 1;
            }
        }
    }
    Lines(lines)
}

fn is_masked(text: &str) -> bool {
    let inner = text.trim_matches('*');
    inner.is_empty() || inner.eq_ignore_ascii_case("redacted")
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let name = name.strip_prefix("http-").unwrap_or(&name);
    ["cookie", "sig", "token", "my-field", "x-amz-security-token"].contains(&name)
}

/// No secret is left that is to be seen without decoding anything but JSON.
fn check(value: &Value, is_secret_here: bool) {
    match value {
        Value::String(text) => {
            assert!(!is_secret_here || is_masked(text), "{text}");
            // JSON within JSON.
            if let Ok(inner @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(text) {
                check(&inner, false);
            }
            for parameter in text.split(['?', '&']) {
                let Some((name, value)) = parameter.split_once('=') else {
                    continue;
                };
                if ["sig", "x-amz-signature"].contains(&&*name.to_ascii_lowercase()) {
                    let end = |c: char| c <= ' ' || "\\\"&?,;|}<>".contains(c);
                    let value = value.split(end).next().unwrap_or_default();
                    assert!(is_masked(value), "{name}={value} in {text}");
                }
            }
        }
        Value::Number(number) => assert!(!is_secret_here || number.as_f64() == Some(0.0)),
        Value::Bool(_) => assert!(!is_secret_here),
        Value::Null => {}
        Value::Array(values) => values.iter().for_each(|value| check(value, is_secret_here)),
        Value::Object(members) => {
            for (name, value) in members {
                check(value, is_secret_here || is_secret(name));
            }
        }
    }
}
