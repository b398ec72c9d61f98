//! Arbitrary bytes as a webhook's answer: no answer panics, tells much, or leaves an event without an end.
//!
//! Input: the status, the number of events that were sent, whether it broke off, and the answer's body.

#![no_main]

use std::io::{self, Read};

use libfuzzer_sys::fuzz_target;
use s3_audit_webhook::buffer::chunk::Extent;
use s3_audit_webhook::delivery::batch::Batch;
use s3_audit_webhook::webhook::answer::{Answer, Outcome, Question};
use s3_audit_webhook::webhook::bulk::Items;
use s3_audit_webhook::webhook::endpoint::Endpoint;

fuzz_target!(|data: &[u8]| {
    let Some(([high, low, events, broken], text)) = data.split_first_chunk() else {
        return;
    };
    let events = usize::from(*events) + 1;
    let items = if broken % 2 == 0 {
        Items::read(text)
    } else {
        Items::read(text.chain(Broken))
    };
    let answer = Answer {
        status: u16::from_be_bytes([*high, *low]),
        retry_after: Some(String::from_utf8_lossy(text).into_owned()),
        location: Some(String::from_utf8_lossy(text).into_owned()),
        text: text.to_owned(),
        events,
        items,
    };
    let endpoint = Endpoint::parse("https://hec/services/collector/raw").expect("is one");
    let batch = Batch::default();
    let verdict = answer.verdict(&Question {
        endpoint: &endpoint,
        token: None,
        headers: &[],
        is_compressed: broken % 4 > 1,
        body: &batch.body(Extent::default()),
    });
    let why = match verdict {
        Outcome::Delivered => return,
        Outcome::Failed(trouble) | Outcome::Rejected(trouble) => trouble.why,
        Outcome::Partial(parts) => {
            let again = parts.again.iter().filter(|again| **again).count();
            assert_eq!(parts.again.len(), events);
            assert_eq!(parts.delivered + parts.refused + again, events);
            assert_eq!(again > 0, parts.trouble.is_some());
            parts.why_refused
        }
    };
    assert!(
        why.chars().count() < 400 && !why.contains(char::is_control),
        "{why}"
    );
});

/// A connection that is reset.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ConnectionReset.into())
    }
}
