//! Arbitrary bytes as a webhook's answer, also to the question what is indexed: no answer panics, shows much, or leaves an
//! event without an end.
//!
//! Input: the status, the number of events that were sent, flags (broke off, compressed, Splunk's, a content type,
//! a firewall, `_bulk`), and the answer's body.

#![no_main]

use std::time::SystemTime;

use libfuzzer_sys::fuzz_target;
use s3_audit_webhook::delivery::batch::Batch;
use s3_audit_webhook::delivery::outcome::{EventOutcome, Outcome};
use s3_audit_webhook::text::secret::Secrets;
use s3_audit_webhook::webhook::answer::{Answer, Question};
use s3_audit_webhook::webhook::bulk::Items;

fuzz_target!(|data: &[u8]| {
    let Some(([high, low, events, flags], text)) = data.split_first_chunk() else {
        return;
    };
    let events = usize::from(*events) + 1;
    let items = match flags % 2 {
        0 => Items::read(text),
        _ => Items::read(&text[..text.len() / 2]),
    };
    let header = || Some(String::from_utf8_lossy(text).into_owned());
    let answer = Answer {
        status: u16::from_be_bytes([*high, *low]),
        content_type: header().filter(|_| flags & 8 > 0),
        retry_after: header(),
        date: header(),
        location: header(),
        server: None,
        firewall: header().filter(|_| flags & 16 > 0),
        text: text.to_owned(),
        cut_off: flags & 1 > 0,
        late: false,
        events,
        items: match flags & 32 {
            0 => items,
            _ => items.demanded(events),
        },
    };
    let mut secrets = Secrets::default();
    secrets.add("B5A79AAD-D822-46CC-80D1-819F80D714D0");
    let question = Question {
        is_splunk: flags & 4 > 0,
        token: None,
        secrets: &secrets,
        is_compressed: flags & 2 > 0,
        wants_id: flags & 16 > 0,
        body: &Batch::of(b""),
    };
    if let Some(indexed) = answer.indexed() {
        assert!((200..300).contains(&answer.status) && indexed.len() <= text.len() / 8);
    }
    let message = match answer.outcome(&question, SystemTime::UNIX_EPOCH) {
        Outcome::Delivered | Outcome::Accepted(_) => return,
        Outcome::Failed(error) | Outcome::Rejected(error) | Outcome::TooLarge(error) => {
            error.message
        }
        Outcome::Partial(parts) => {
            let has = |outcome| parts.events.contains(&outcome);
            assert_eq!(parts.events.len(), events);
            let again = [
                EventOutcome::Retry,
                EventOutcome::Failed,
                EventOutcome::Unknown,
            ];
            assert_eq!(again.into_iter().any(has), parts.failure.is_some());
            assert_eq!(has(EventOutcome::Rejected), parts.rejection.is_some());
            parts
                .rejection
                .map(|error| error.message)
                .unwrap_or_default()
        }
    };
    assert!(
        message.chars().count() < 400 && !message.contains(char::is_control),
        "{message}"
    );
});
