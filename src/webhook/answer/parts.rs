//! An answer that tells of each event what became of it, as Elasticsearch's `_bulk` does.

use super::{Answer, Class, Question, status_class};
use crate::delivery::outcome::{Cause, DeliveryError, EventOutcome, Outcome, Partial};

/// A document of this identity is there already: an earlier request's answer was lost.
const CONFLICT: u16 = 409;

const ITEMS: &str =
    "leave `errors` and `items.*.status` in the answer, if the --endpoint has a filter_path";
const TARGET: &str = "see that the index or data stream is there, that the token may write to it, and that it is \
                      not blocked, as it is when a disk is full";

/// What an answer of success means for each event.
pub(super) fn verdict(answer: &Answer, question: &Question<'_>) -> Outcome {
    let (told, events) = (&answer.items, answer.events);
    match told.errors {
        None if told.cut_off => return Outcome::Failed(broken_off(answer)),
        None | Some(false) => return Outcome::Delivered,
        Some(true) => {}
    }
    let is_whole = told.items.len() == events || (told.cut_off && told.items.len() < events);
    if !is_whole || told.items.iter().any(|item| item.status == 0) {
        let why = format!(
            "answered {} with errors, but not of which events",
            answer.status
        );
        return Outcome::Failed(DeliveryError::permanent(why, ITEMS));
    }
    let mut parts = Partial {
        events: vec![EventOutcome::Delivered; events],
        rejection: None,
        failure: None,
    };
    for (item, outcome) in told.items.iter().zip(&mut parts.events) {
        let message = || {
            let error = question.tellable(&item.error);
            format!("{} {error}", item.status).trim_end().to_owned()
        };
        match status_class(item.status) {
            _ if item.status == CONFLICT => {}
            Class::Taken => {}
            Class::BadEvents(_) => {
                *outcome = EventOutcome::Rejected;
                parts
                    .rejection
                    .get_or_insert_with(|| DeliveryError::transient(Cause::Answer, message()));
            }
            class => {
                *outcome = EventOutcome::Retry;
                parts.failure.get_or_insert_with(|| {
                    let message = format!("answered {} for some events", message());
                    DeliveryError {
                        fix: (!matches!(class, Class::Busy(_))).then_some(TARGET),
                        retry_after: answer.wait(),
                        ..DeliveryError::transient(Cause::Answer, message)
                    }
                });
            }
        }
    }
    if told.items.len() < events {
        parts.events[told.items.len()..].fill(EventOutcome::Retry);
        parts.failure.get_or_insert_with(|| broken_off(answer));
    }
    outcome(parts)
}

/// The simplest outcome that says the same.
fn outcome(parts: Partial) -> Outcome {
    let all = |what| parts.events.iter().all(|event| *event == what);
    match parts {
        Partial {
            rejection: None,
            failure: None,
            ..
        } => Outcome::Delivered,
        Partial {
            failure: Some(error),
            ..
        } if all(EventOutcome::Retry) => Outcome::Failed(error),
        Partial {
            rejection: Some(error),
            ..
        } if parts.events.len() == 1 => Outcome::Rejected(error),
        parts => Outcome::Partial(parts),
    }
}

fn broken_off(answer: &Answer) -> DeliveryError {
    DeliveryError::transient(
        Cause::Answer,
        format!("answered {}, but the answer broke off", answer.status),
    )
}
