//! Arbitrary text as a settings file: it is read without a panic, and an edit sets what it was to set, and nothing else.
//!
//! Input: the value (its first byte odd: none), to the first line break, and the file's text.

#![no_main]

use libfuzzer_sys::fuzz_target;
use s3_audit_webhook::config::text::{decode, edit, parse};

const NAME: &str = "S3_AUDIT_WEBHOOK_ENDPOINT";

fuzz_target!(|data: &[u8]| {
    let Ok(input) = decode(data) else {
        return;
    };
    let Some((value, text)) = input.split_once('\n') else {
        return;
    };
    if value.contains(['\r', '\0']) {
        return;
    }
    let value = (data[0] % 2 == 0).then_some(value);
    let edited = edit(text, &[(NAME, value)]);
    assert_eq!(edit(&edited, &[(NAME, value)]), edited, "changed again");
    let Ok(before) = parse(text) else {
        return;
    };
    let after = parse(&edited).expect("what was right is right");
    let (set, rest): (Vec<_>, Vec<_>) = after.iter().partition(|setting| setting.name == NAME);
    let set: Vec<_> = set.iter().map(|setting| &*setting.value).collect();
    assert_eq!(set, Vec::from_iter(value));
    let kept = before.iter().filter(|setting| setting.name != NAME);
    let kept = kept.map(|setting| (&setting.name, &setting.value));
    assert!(
        rest.iter()
            .map(|setting| (&setting.name, &setting.value))
            .eq(kept)
    );
});
