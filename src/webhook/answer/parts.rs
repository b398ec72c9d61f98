//! An answer that says of each event what became of it, as Elasticsearch's `_bulk` does.

use std::time::Duration;

use super::meaning::{Meaning, of_status};
use crate::delivery::outcome::{Cause, DeliveryError, EventOutcome, Outcome, Partial};
use crate::webhook::bulk::Items;

/// A document with this id exists already: an earlier request's answer was lost.
const CONFLICT: u16 = 409;

const ITEMS: &str =
    "leave `errors` and `items.*.status` in the answer, if the --endpoint has a filter_path";
const READABLE: &str = "let no proxy compress answers, and leave `format` out of the --endpoint: what became of each event \
                        is in the answer";
const OTHER: &str = "check the --endpoint, and what answers before Elasticsearch: where a path ends with /_bulk, its answer has `errors`";
const TARGET: &str = "see that the index or data stream is there, that the token may write to it, and that it is \
                      not blocked, as it is when a disk is full";

/// What a successful answer with this status means for each of `events` events. `shown`: what may be shown of a text.
pub(super) fn outcome(
    status: u16,
    found: &Items,
    events: usize,
    retry_after: Option<Duration>,
    shown: impl Fn(&str) -> String,
) -> Outcome {
    let unclear = |what, fix| {
        Outcome::Failed(DeliveryError {
            may_have_arrived: true,
            ..DeliveryError::permanent(format!("HTTP {status} with {what}"), fix)
        })
    };
    if found.is_unreadable {
        return unclear("an answer that is not in JSON", READABLE);
    }
    match found.errors {
        None if found.cut_off => return Outcome::Failed(broken_off(status)),
        None if found.is_missing => return unclear("an answer that is not a _bulk's", OTHER),
        None | Some(false) => return Outcome::Delivered,
        Some(true) => {}
    }
    let is_whole = found.items.len() == events || (found.cut_off && found.items.len() < events);
    if !is_whole || found.items.iter().any(|item| item.status == 0) {
        return unclear("errors, but not of which events", ITEMS);
    }
    let mut parts = Partial {
        events: vec![EventOutcome::Delivered; events],
        rejection: None,
        failure: None,
    };
    for (item, outcome) in found.items.iter().zip(&mut parts.events) {
        let message = || {
            format!("HTTP {} {}", item.status, shown(&item.error))
                .trim_end()
                .to_owned()
        };
        match of_status(item.status) {
            _ if item.status == CONFLICT => {}
            Meaning::Delivered => {}
            Meaning::Content(_) | Meaning::TooLarge(_) => {
                *outcome = EventOutcome::Rejected;
                parts.rejection.get_or_insert_with(|| {
                    DeliveryError::transient(Cause::Answer, message()).hint(TARGET)
                });
            }
            meaning => {
                *outcome = match item.status {
                    429 | 503 => EventOutcome::Retry,
                    _ => EventOutcome::Failed,
                };
                parts.failure.get_or_insert_with(|| DeliveryError {
                    fix: (!matches!(meaning, Meaning::Busy(_))).then_some(TARGET),
                    is_overload: matches!(item.status, 429 | 503),
                    retry_after,
                    ..DeliveryError::transient(
                        Cause::Answer,
                        format!("{} for some events", message()),
                    )
                });
            }
        }
    }
    if found.items.len() < events {
        parts.events[found.items.len()..].fill(EventOutcome::Unknown);
        parts.failure = Some(broken_off(status));
    }
    simplest(parts)
}

/// The simplest outcome that says the same.
fn simplest(parts: Partial) -> Outcome {
    let is_again =
        |event: &EventOutcome| !matches!(event, EventOutcome::Delivered | EventOutcome::Rejected);
    match parts {
        Partial {
            rejection: None,
            failure: None,
            ..
        } => Outcome::Delivered,
        Partial {
            failure: Some(error),
            ..
        } if parts.events.iter().all(is_again) => Outcome::Failed(error),
        Partial {
            rejection: Some(error),
            ..
        } if parts.events.len() == 1 => Outcome::Rejected(error),
        parts => Outcome::Partial(parts),
    }
}

pub(super) fn broken_off(status: u16) -> DeliveryError {
    DeliveryError {
        may_have_arrived: true,
        ..DeliveryError::transient(
            Cause::Answer,
            format!("HTTP {status}, but the answer broke off"),
        )
    }
}
